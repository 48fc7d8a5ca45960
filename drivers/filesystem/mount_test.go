//go:build linux

package filesystem

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// mount mounts a file system in memory, or skips the test where the process may not.
func mount(t *testing.T, dir, options string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	if err := unix.Mount("salvor-test", dir, "tmpfs", 0, options); err != nil {
		if os.Getuid() == 0 && os.Getenv("SALVOR_TEST_REQUIRE") == "all" {
			t.Fatalf("mount: %v", err)
		}
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
}

func TestOneFileSystem(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	write(t, filepath.Join(place, "here"), "x")
	mount(t, filepath.Join(place, "mnt"), "mode=750")
	write(t, filepath.Join(place, "mnt", "there"), "x")
	for _, test := range []struct {
		options map[string]any
		there   bool
	}{{nil, true}, {map[string]any{"one_file_system": true}, false}} {
		found := walked(t, open(t, place, test.options))
		if _, ok := found["mnt/there"]; ok != test.there {
			t.Errorf("options %v: mnt/there is there: %v", test.options, ok)
		}
		if e := found["mnt"]; e.Type != drivers.TypeDir || e.Err != nil || e.Meta.Mode != 0o750 {
			t.Errorf("options %v: mnt: %+v", test.options, e)
		}
	}
	// The root may itself be a mount.
	if found := walked(t, open(t, filepath.Join(place, "mnt"), map[string]any{"one_file_system": true})); len(found) != 2 {
		t.Errorf("found %v", found)
	}
	// What is mounted is never removed, and parts of several file systems are synced.
	tree := open(t, place, nil)
	for _, path := range []string{"mnt", "here"} {
		err := tree.target.Remove(t.Context(), path)
		if path == "mnt" && (!isMountError(err)) || path == "here" && err != nil {
			t.Errorf("remove %s: %v", path, err)
		}
	}
	if err := putFile(t, tree.target, mirror, "mnt", "x"); !isMountError(err) {
		t.Errorf("put a file over a mount: %v", err)
	}
	must(t, putFile(t, tree.target, mirror, "mnt/new", "x"))
	must(t, tree.target.Sync(t.Context()))
	if len(tree.target.devices) != 2 {
		t.Errorf("%d file systems were synced", len(tree.target.devices))
	}
	if diff := len(names(t, filepath.Join(place, "mnt"))); diff != 2 {
		t.Errorf("%d entries in the mount", diff)
	}
}

// isMountError tells a refusal that says why, and what to do.
func isMountError(err error) bool {
	var hint interface{ Hint() string }
	return err != nil && strings.Contains(err.Error(), "is a mount point") && !strings.Contains(err.Error(), "denied") &&
		errors.Is(err, drivers.ErrAccess) && errors.As(err, &hint) && strings.Contains(hint.Hint(), "one_file_system")
}

// TestRemoveMounts: what is mounted below something extra is neither emptied nor in the way, if it is left out.
func TestRemoveMounts(t *testing.T) {
	t.Parallel()
	place, elsewhere := t.TempDir(), t.TempDir()
	write(t, filepath.Join(elsewhere, "kept"), "x")
	mount(t, filepath.Join(place, "extra/mnt"), "")
	write(t, filepath.Join(place, "extra/mnt/kept"), "x")
	write(t, filepath.Join(place, "bound/file"), "x")
	must(t, os.Mkdir(filepath.Join(place, "bound/mnt"), 0o755))
	must(t, unix.Mount(elsewhere, filepath.Join(place, "bound/mnt"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, unix.Unmount(filepath.Join(place, "bound/mnt"), unix.MNT_DETACH)) })
	write(t, filepath.Join(place, "single/file"), "x")
	must(t, unix.Mount(filepath.Join(elsewhere, "kept"), filepath.Join(place, "single/file"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, unix.Unmount(filepath.Join(place, "single/file"), unix.MNT_DETACH)) })

	tree := open(t, place, nil)
	for path, at := range map[string]string{"extra": "extra/mnt", "bound": "bound/mnt", "single": "single/file"} {
		if err := tree.target.Remove(t.Context(), path); !isMountError(err) || !strings.Contains(err.Error(), at) {
			t.Errorf("remove %s: %v", path, err)
		}
		if path == "single" {
			continue
		}
		if err := putFile(t, tree.target, mirror, path, "x"); !isMountError(err) || !strings.Contains(err.Error(), at) {
			t.Errorf("put a file over %s: %v", path, err)
		}
	}
	left := open(t, place, map[string]any{"one_file_system": true})
	write(t, filepath.Join(place, "extra/file"), "x")
	for _, path := range []string{"extra", "extra/mnt/kept"} {
		must(t, left.target.Remove(t.Context(), path))
		if n := left.target.Warnings()[warnKept]; n != 1 {
			t.Errorf("remove %s: %d kept entries", path, n)
		}
	}
	err := putFile(t, left.target, mirror, "extra", "x")
	if !errors.Is(err, drivers.ErrNotEmpty) || !strings.Contains(err.Error(), "extra/mnt") {
		t.Errorf("put a file over a mount that is left out: %v", err)
	}
	if got := names(t, filepath.Join(place, "extra")); len(got) != 1 {
		t.Errorf("extra holds %q", got)
	}
	for _, dir := range []string{filepath.Join(place, "extra/mnt"), elsewhere} {
		if got := names(t, dir); len(got) != 1 {
			t.Errorf("%s holds %q", dir, got)
		}
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "small")
	mount(t, dir, "size=256k,nr_inodes=8")
	tree := open(t, dir, nil)
	must(t, tree.target.Prepare(t.Context(), careful))
	must(t, putFile(t, tree.target, careful, "kept", "kept"))
	if err := putFile(t, tree.target, overwrite, "kept", strings.Repeat("x", 1<<20)); !errors.Is(err, drivers.ErrNoSpace) {
		t.Errorf("put more than there is room for: %v", err)
	}
	if got := names(t, dir); len(got) != 1 || got[0] != "kept" {
		t.Errorf("after a full disk: %q", got)
	}
	text, err := os.ReadFile(filepath.Join(dir, "kept"))
	if err != nil || string(text) != "kept" {
		t.Errorf("kept: %q, %v", text, err)
	}
	for _, path := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"} {
		err = tree.target.Put(t.Context(), careful, attempt, dirEntry(path, 0o755), nil)
	}
	if !errors.Is(err, drivers.ErrNoSpace) {
		t.Errorf("more directories than there are inodes: %v", err)
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "readonly")
	mount(t, dir, "")
	write(t, filepath.Join(dir, "file"), "x")
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("remount: %v", err)
	}
	tree := open(t, dir, nil)
	if err := tree.target.Prepare(t.Context(), careful); !errors.Is(err, drivers.ErrAccess) {
		t.Errorf("prepare: %v", err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "new", "er")} {
		if err := open(t, path, nil).target.Check(t.Context(), careful); !errors.Is(err, drivers.ErrAccess) {
			t.Errorf("check %s: %v", path, err)
		}
	}
	if err := putFile(t, tree.target, overwrite, "file", "y"); !errors.Is(err, drivers.ErrAccess) {
		t.Errorf("put: %v", err)
	}
}
