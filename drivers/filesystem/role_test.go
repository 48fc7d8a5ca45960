package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"salvor/drivers"
	"salvor/drivers/drivertest"
	"salvor/internal/secret"
)

// Root may do everything. What others may not is tried by the test binary itself, started once more: runRole gives up
// root's rights and does one thing in the directory that it gets.
const (
	roleVariable = "SALVOR_TEST_ROLE"
	roleDir      = "SALVOR_TEST_DIR"
	roleUser     = 65534
)

func runRole(role string) int {
	dir := os.Getenv(roleDir)
	if os.Getuid() == 0 {
		err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(roleUser),
			syscall.Setuid(roleUser))
		if err != nil {
			fmt.Fprintln(os.Stderr, "give up root:", err)
			return 1
		}
	}
	run, ok := map[string]func(context.Context, string) error{
		"unreadable": roleUnreadable, "restore": roleRestore, "readonly": roleReadonly, "denied": roleDenied,
	}[role]
	if !ok {
		fmt.Fprintln(os.Stderr, "no such role:", role)
		return 1
	}
	if err := run(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// asUser runs a role in a directory that belongs to its user.
func asUser(t *testing.T, role string, prepare func(dir string)) string {
	t.Helper()
	top := t.TempDir()
	must(t, os.Chmod(filepath.Dir(top), 0o755)) // testing makes it for its own user alone
	dir := filepath.Join(top, "place")
	must(t, os.Mkdir(dir, 0o755))
	prepare(dir)
	if os.Getuid() == 0 {
		must(t, os.Chown(dir, roleUser, roleUser))
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, roleDir+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	return dir
}

func openPlain(dir string) (*Tree, error) {
	return Open(drivers.Spec{Node: "n", Source: secret.New(dir)})
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	asUser(t, "unreadable", func(dir string) {
		for _, path := range []string{"a/x", "a-b", "closed/x/y", "closed-z", "file", "list/x", "pass/x", "z"} {
			write(t, filepath.Join(dir, path), "text")
		}
		if os.Getuid() == 0 {
			must(t, os.Chown(filepath.Join(dir, "pass"), roleUser, roleUser))
		}
		must(t, os.Chmod(filepath.Join(dir, "file"), 0o200))
		must(t, os.Chmod(filepath.Join(dir, "closed"), 0o000))
		must(t, os.Chmod(filepath.Join(dir, "list"), 0o444)) // names, but nothing about them
		must(t, os.Chmod(filepath.Join(dir, "pass"), 0o311)) // the other way round
		t.Cleanup(func() {
			for _, path := range []string{"closed", "list", "pass"} {
				must(t, os.Chmod(filepath.Join(dir, path), 0o755))
			}
		})
	})
}

func roleUnreadable(ctx context.Context, dir string) error {
	tree, err := openPlain(dir)
	if err != nil {
		return err
	}
	defer tree.Close() //nolint:errcheck // read only
	walk := func(r drivers.Range) (got []string, err error) {
		err = tree.Walk(ctx, r, func(e drivers.Entry) error {
			text := e.Path
			if e.Err != nil {
				text += " !"
				if !errors.Is(e.Err, drivers.ErrAccess) {
					return fmt.Errorf("%q: error of another class: %w", e.Path, e.Err)
				}
				if !strings.Contains(e.Err.Error(), "permission denied") {
					return fmt.Errorf("%q: %w", e.Path, e.Err)
				}
			}
			got = append(got, text)
			return nil
		})
		return got, err
	}
	for _, test := range []struct {
		r    drivers.Range
		want []string
	}{
		{drivers.Range{}, []string{"", "a", "a-b", "a/x", "closed !", "closed-z", "file", "list", "list/x !", "pass !", "z"}},
		// What is below must not be missing in silence where the directory itself is in another range.
		{drivers.Range{From: "closed", To: "closed-"}, []string{"closed !"}},
		{drivers.Range{From: "closed-z", To: "file"}, []string{"closed-z", "closed/ !"}},
		{drivers.Range{From: "closed/x", To: "file"}, []string{"closed/x !"}},
		{drivers.Range{From: "closed0", To: "file"}, nil},
		{drivers.Range{From: "pass/x", To: "pass/x\x00"}, []string{"pass/x !"}},
	} {
		got, err := walk(test.r)
		if err != nil {
			return err
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			return fmt.Errorf("range %q (-want +got):\n%s", test.r, diff)
		}
	}
	for _, path := range []string{"file", "closed/x", "list/x"} {
		if _, err := tree.Open(ctx, drivers.Entry{Path: path, Type: drivers.TypeFile, Size: 4}); !errors.Is(err, drivers.ErrAccess) {
			return fmt.Errorf("open %q: %w", path, err)
		}
	}
	closed, err := openPlain(filepath.Join(dir, "closed"))
	if err != nil {
		return err
	}
	err = closed.Walk(ctx, drivers.Range{}, func(drivers.Entry) error { return nil })
	if !errors.Is(err, drivers.ErrAccess) {
		return fmt.Errorf("walk a closed root: %w", err)
	}
	return nil
}

// TestRestoreAsUser: owners and devices are root's to give.
func TestRestoreAsUser(t *testing.T) {
	t.Parallel()
	asUser(t, "restore", func(string) {})
}

func roleRestore(ctx context.Context, dir string) error {
	tree, err := openPlain(dir)
	if err != nil {
		return err
	}
	if err := tree.target.Prepare(ctx, careful); err != nil {
		return err
	}
	stranger, mine, mtime := uint32(4242), uint32(os.Getuid()), time.Unix(1e9, 5)
	entries := map[string]drivers.Entry{
		"device": {Type: drivers.TypeDevice, Meta: drivers.Meta{Device: "c 1 3"}},
		"fifo":   {Type: drivers.TypeFIFO, Meta: drivers.Meta{Mode: 0o622}},
		"file":   {Type: drivers.TypeFile, Meta: drivers.Meta{Mode: 0o6755, Xattrs: map[string][]byte{"security.capability": capability()}}},
		"link":   {Type: drivers.TypeSymlink, Meta: drivers.Meta{Target: []byte("x")}},
		"mine":   {Type: drivers.TypeFile, Meta: drivers.Meta{Mode: 0o4511}},
	}
	for range 2 { // the second time everything is there
		for _, path := range slices.Sorted(maps.Keys(entries)) {
			e := entries[path]
			e.Path, e.Meta.ModTime, e.Meta.UID, e.Meta.GID = path, &mtime, &stranger, &stranger
			if path == "mine" {
				e.Meta.UID, e.Meta.GID = &mine, &mine
			}
			if err := tree.target.Put(ctx, careful, attempt, e, drivertest.Extents()); err != nil {
				return err
			}
			if path == "device" {
				continue
			}
			err := tree.Walk(ctx, drivers.Range{From: path, To: path + "\x00"}, func(have drivers.Entry) error {
				want := e.Meta.Mode
				if path == "file" {
					want = 0o755
				}
				if path != "link" && have.Meta.Mode != want || !tree.target.Same(e, have) {
					return fmt.Errorf("%q has mode %o, want %o, or is not the same", path, have.Meta.Mode, want)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		want := map[string]int64{warnDevice: 1, warnOwner: 3, warnSetID: 1, warnXattr: 1}
		if diff := cmp.Diff(want, tree.target.Warnings()); diff != "" {
			return fmt.Errorf("warnings (-want +got):\n%s", diff)
		}
	}
	return tree.Close()
}

// TestReadonlyDirectories restores into what an earlier restore made read-only.
func TestReadonlyDirectories(t *testing.T) {
	t.Parallel()
	asUser(t, "readonly", func(string) {})
}

func roleReadonly(ctx context.Context, dir string) error {
	place := filepath.Join(dir, "from")
	for _, path := range []string{"ro/deep/file", "ro/other", "none/file"} {
		path = filepath.Join(place, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("one"), 0o644)); err != nil {
			return err
		}
		// Attributes of a file, and of a directory, that are read-only in the end.
		for _, path := range []string{path, filepath.Dir(path)} {
			if err := unix.Setxattr(path, "user.x", []byte("x"), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
				return err
			}
		}
		if err := os.Chmod(path, 0o444); err != nil {
			return err
		}
	}
	chmod := func(place string, ro, none os.FileMode) error {
		return errors.Join(os.Chmod(filepath.Join(place, "none"), none), os.Chmod(filepath.Join(place, "ro"), ro),
			os.Chmod(filepath.Join(place, "ro", "deep"), ro))
	}
	if err := chmod(place, 0o555, 0o500); err != nil {
		return err
	}
	from, err := openPlain(place)
	if err != nil {
		return err
	}
	to, err := openPlain(filepath.Join(dir, "to"))
	if err != nil {
		return err
	}
	for _, rules := range []drivers.Target{careful, overwrite, mirror, careful} {
		if warnings, err := copyTo(ctx, from, to.target, rules); err != nil || len(warnings) > 0 {
			return fmt.Errorf("%+v: %w, warnings %v", rules, err, warnings)
		}
		var modes bytes.Buffer
		err := to.Walk(ctx, drivers.Range{}, func(e drivers.Entry) error {
			fmt.Fprintf(&modes, "%s %o\n", e.Path, e.Meta.Mode)
			return e.Err
		})
		want := " 755\nnone 500\nnone/file 444\nro 555\nro/deep 555\nro/deep/file 444\nro/other 444\n"
		if diff := cmp.Diff(want, modes.String()); diff != "" || err != nil {
			return fmt.Errorf("%+v: error %w, modes (-want +got):\n%s", rules, err, diff)
		}
	}
	// An attribute of a directory that is read-only already.
	if err := to.Walk(ctx, drivers.Range{From: "ro", To: "ro\x00"}, func(e drivers.Entry) error {
		if len(e.Meta.Xattrs) == 0 {
			return nil // the file system has none
		}
		e.Meta.Xattrs = map[string][]byte{"user.x": []byte("other")}
		return to.target.Settle(ctx, overwrite, attempt, e)
	}); err != nil || len(to.target.Warnings()) > 0 {
		return fmt.Errorf("settle ro: %w, or warnings", err)
	}
	// A single file, whose directories are not entries of the restore: they stay as they are.
	mtime := time.Unix(1e9, 0)
	e := drivers.Entry{Path: "ro/deep/file", Type: drivers.TypeFile, Size: 3, Meta: drivers.Meta{Mode: 0o400, ModTime: &mtime}}
	if err := to.target.Put(ctx, overwrite, attempt, e, drivertest.Extents("two")); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(dir, "to", "ro", "deep"))
	if err != nil || info.Mode().Perm() != 0o555 {
		return fmt.Errorf("ro/deep has mode %v, %w", info.Mode(), err)
	}
	// Gone with all that is in it, closed directories too.
	if err := os.Chmod(filepath.Join(dir, "to", "none"), 0); err != nil {
		return err
	}
	for _, path := range []string{"ro", "none"} {
		if err := to.target.Remove(ctx, path); err != nil {
			return err
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "to")); err != nil || len(left) > 0 {
		return fmt.Errorf("left: %v, %w", left, err)
	}
	return errors.Join(to.Close(), chmod(place, 0o755, 0o755))
}

// TestAccessDenied writes where the user may not.
func TestAccessDenied(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs a directory of another user")
	}
	dir := asUser(t, "denied", func(dir string) { write(t, filepath.Join(dir, "roots", "file"), "x") })
	if text, err := os.ReadFile(filepath.Join(dir, "roots", "file")); err != nil || string(text) != "x" {
		t.Errorf("%q, %v", text, err)
	}
}

func roleDenied(ctx context.Context, dir string) error {
	for _, path := range []string{"roots", "roots/new/er"} {
		tree, err := openPlain(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		if err := tree.target.Check(ctx, mirror); !errors.Is(err, drivers.ErrAccess) {
			return fmt.Errorf("check %q: %w", path, err)
		}
		if err := tree.target.Prepare(ctx, mirror); !errors.Is(err, drivers.ErrAccess) {
			return fmt.Errorf("prepare %q: %w", path, err)
		}
	}
	// One's own without the right to write, as an earlier restore may have left it, will do; making a name in it will not.
	own := filepath.Join(dir, "own")
	if err := os.Mkdir(own, 0o555); err != nil {
		return err
	}
	for path, class := range map[string]error{own: nil, filepath.Join(own, "new"): drivers.ErrAccess} {
		tree, err := openPlain(path)
		if err != nil {
			return err
		}
		if err := tree.target.Check(ctx, careful); !errors.Is(err, class) {
			return fmt.Errorf("check %q: %w", path, err)
		}
		if class == nil {
			if err := tree.target.Prepare(ctx, careful); err != nil {
				return err
			}
		}
		if err := tree.Close(); err != nil {
			return err
		}
	}
	tree, err := openPlain(dir)
	if err != nil {
		return err
	}
	e := drivers.Entry{Path: "roots/file", Type: drivers.TypeFile}
	for what, err := range map[string]error{
		"put":    tree.target.Put(ctx, mirror, attempt, e, drivertest.Extents()),
		"remove": tree.target.Remove(ctx, "roots/file"),
	} {
		if !errors.Is(err, drivers.ErrAccess) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}
