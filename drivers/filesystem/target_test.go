package filesystem

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"salvor/drivers"
	"salvor/drivers/drivertest"
)

// putFile puts a file of mode 644 with a text.
func putFile(t *testing.T, target *Target, rules drivers.Target, path, text string) error {
	t.Helper()
	return target.Put(t.Context(), rules, attempt, fileEntry(path, text), drivertest.Extents(text))
}

func fileEntry(path, text string) drivers.Entry {
	mtime, uid, gid := time.Unix(1_000_000_000, 123456789), uint32(os.Getuid()), uint32(os.Getgid())
	return drivers.Entry{
		Path: path, Type: drivers.TypeFile, Size: int64(len(text)),
		Meta: drivers.Meta{Mode: 0o644, ModTime: &mtime, UID: &uid, GID: &gid},
	}
}

func dirEntry(path string, mode uint32) drivers.Entry {
	e := fileEntry(path, "")
	e.Type, e.Meta.Mode = drivers.TypeDir, mode
	return e
}

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	must(t, err)
	found := []string{}
	for _, e := range list {
		found = append(found, e.Name())
	}
	return found
}

func modeOf(t *testing.T, path string) uint32 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return permissions(&st)
}

// alike strips what differs between a source and its copy.
func alike(entries map[string]drivers.Entry) map[string]drivers.Entry {
	for path, e := range entries {
		e.Version = ""
		if e.Meta.Link != "" {
			e.Meta.Link = "linked"
		}
		if len(e.Meta.Xattrs) == 0 {
			e.Meta.Xattrs = nil
		}
		entries[path] = e
	}
	return entries
}

// TestCopyEverything restores a tree of everything that there is.
func TestCopyEverything(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	at := func(name string) string { return filepath.Join(place, name) }
	root := os.Getuid() == 0
	times := func(path string, seconds int64) {
		t.Helper()
		ts := []unix.Timespec{{Sec: 1, Nsec: 2}, unix.NsecToTimespec(seconds*1e9 + 999999999)}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW))
	}
	write(t, at("file"), "text")
	must(t, unix.Chmod(at("file"), 0o4755))
	write(t, at("none/allowed"), "text")
	must(t, unix.Chmod(at("none/allowed"), 0))
	write(t, at("old"), "before 1970")
	write(t, at("linked/a"), "one file")
	must(t, os.Link(at("linked/a"), at("linked/b")))
	must(t, os.Link(at("linked/a"), at("zz")))
	must(t, os.Symlink("dangling", at("link")))
	must(t, os.Link(at("link"), at("linked/link"))) // two names of one link
	must(t, os.Symlink("/etc", at("dirlink")))
	must(t, unix.Mkfifo(at("fifo"), 0o642))
	must(t, unix.Chmod(at("fifo"), 0o642))
	must(t, os.Link(at("fifo"), at("linked/fifo")))
	write(t, at("dir/sub/x"), "x")
	wantWarnings := map[string]int64{}
	if hasXattrs(t, place) {
		must(t, unix.Setxattr(at("file"), "user.salvor.test", []byte("value\x00\xff"), 0))
		must(t, unix.Setxattr(at("file"), "user.empty", nil, 0))
		must(t, unix.Setxattr(at("file"), "user.\xff\xfe", []byte("a name of any bytes"), 0))
		must(t, unix.Setxattr(at("file"), "user.\xff\xfd", []byte("another"), 0))
		must(t, unix.Setxattr(at("dir"), "user.dir", bytes.Repeat([]byte("long"), 500), 0))
		must(t, unix.Setxattr(at("none/allowed"), "user.readonly", []byte("x"), 0))
		must(t, unix.Setxattr(at("dir"), "system.posix_acl_default", acl(7, 5, 0), 0))
		must(t, unix.Setxattr(at("old"), "system.posix_acl_access", acl(6, 4, 4), 0))
	}
	if root {
		must(t, unix.Mknod(at("null"), unix.S_IFCHR|0o640, int(unix.Mkdev(1, 3))))
		must(t, os.Link(at("null"), at("linked/null")))
		must(t, unix.Mknod(at("block"), unix.S_IFBLK|0o600, int(unix.Mkdev(300, 70000))))
		must(t, os.Lchown(at("link"), 1234, 4321))
		must(t, os.Lchown(at("dir"), 99999, 88888))
		must(t, os.Lchown(at("old"), 1, 2))
		if hasXattrs(t, place) {
			must(t, unix.Setxattr(at("file"), "security.capability", capability(), 0))
			must(t, unix.Setxattr(at("dir"), "trusted.salvor", []byte("x"), 0))
		}
	}
	must(t, unix.Chmod(at("dir"), 0o1555))
	must(t, unix.Chmod(at("dir/sub"), 0o500))
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(socket) //nolint:errcheck // a test's
	must(t, unix.Bind(socket, &unix.SockaddrUnix{Name: at("socket")}))
	wantWarnings[warnSocket] = 1
	for i, name := range []string{"file", "old", "linked/a", "link", "fifo", "dir/sub/x", "dir/sub", "dir", "linked", "none", "."} {
		times(at(name), int64(i)*1e9-1e9)
	}

	from, to := open(t, place, nil), open(t, filepath.Join(t.TempDir(), "new"), nil)
	warnings, err := copyTo(t.Context(), from, to.target, careful)
	must(t, err)
	if diff := cmp.Diff(wantWarnings, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	want := alike(walked(t, from))
	delete(want, "socket")
	got := alike(walked(t, to))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	for path := range want {
		if e := want[path]; !to.target.Same(e, got[path]) {
			t.Errorf("%q is not the same", path)
		}
	}
	pairs := map[string]string{"linked/a": "zz", "linked/link": "link", "linked/fifo": "fifo"}
	if root {
		pairs["linked/null"] = "null"
	}
	for first, second := range pairs {
		if a, b := one(t, to, first).Meta.Link, one(t, to, second).Meta.Link; a == "" || a != b {
			t.Errorf("%s and %s were not joined: %q, %q", first, second, a, b)
		}
	}
	// Over itself, as after a crash at the end, and as an overwrite.
	for _, rules := range []drivers.Target{careful, overwrite, mirror} {
		if _, err := copyTo(t.Context(), from, to.target, rules); err != nil {
			t.Fatalf("%+v: %v", rules, err)
		}
		if diff := cmp.Diff(want, alike(walked(t, to))); diff != "" {
			t.Errorf("%+v: entries (-want +got):\n%s", rules, diff)
		}
	}
}

// hasXattrs tells whether the file system of the temporary directory has user attributes.
func hasXattrs(t *testing.T, place string) bool {
	t.Helper()
	err := unix.Setxattr(place, "user.salvor.probe", []byte("x"), 0)
	if errors.Is(err, unix.ENOTSUP) {
		return false
	}
	must(t, err)
	must(t, unix.Removexattr(place, "user.salvor.probe"))
	return true
}

// acl builds a POSIX ACL that gives user 12345 the right to read (linux/posix_acl_xattr.h).
func acl(user, group, other uint16) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, user, ^uint32(0)}, {2, 4, 12345}, {4, group, ^uint32(0)}, {0x10, 5, ^uint32(0)}, {0x20, other, ^uint32(0)}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// capability builds the attribute of a program that may bind low ports (linux/capability.h, revision 2).
func capability() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	b = binary.LittleEndian.AppendUint32(b, 1<<10)
	return append(b, make([]byte, 12)...)
}

// TestInheritedACL: what a directory hands down to new files is not what was dumped.
func TestInheritedACL(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	if !hasXattrs(t, place) {
		t.Skip("no extended attributes here")
	}
	must(t, unix.Setxattr(place, "system.posix_acl_default", acl(7, 5, 5), 0))
	tree := open(t, place, nil)
	for _, path := range []string{"d/file", "d/next", "top", "d/last"} {
		must(t, putFile(t, tree.target, careful, path, "text"))
	}
	must(t, tree.target.Settle(t.Context(), careful, attempt, dirEntry("d", 0o750)))
	for path, mode := range map[string]uint32{"d": 0o750, "d/file": 0o644, "d/next": 0o644, "d/last": 0o644, "top": 0o644} {
		if e := one(t, tree, path); len(e.Meta.Xattrs) > 0 || e.Meta.Mode != mode {
			t.Errorf("%q has mode %o and attributes %q", path, e.Meta.Mode, e.Meta.Xattrs)
		}
	}
}

// TestRemovedDirectory: a directory that is kept open from one entry to the next may go meanwhile.
func TestRemovedDirectory(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	tree := open(t, place, nil)
	must(t, putFile(t, tree.target, careful, "d/first", "text"))
	must(t, os.RemoveAll(filepath.Join(place, "d")))
	if err := putFile(t, tree.target, careful, "d/second", "text"); err == nil {
		t.Error("a file was put into a directory that is gone")
	}
	must(t, putFile(t, tree.target, careful, "d/second", "text"))
	if diff := cmp.Diff([]string{"second"}, names(t, filepath.Join(place, "d"))); diff != "" {
		t.Errorf("put again (-want +got):\n%s", diff)
	}
}

// TestOneDirectoryAtOnce puts into two directories from several goroutines: the one that is kept open belongs to all of them.
func TestOneDirectoryAtOnce(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	tree := open(t, place, nil)
	var g errgroup.Group
	for i := range 4 {
		g.Go(func() error {
			for j := range 50 {
				path, text := fmt.Sprintf("%d/%d-%d", j%2, i, j), fmt.Sprint(i, j)
				if err := tree.target.Put(t.Context(), careful, attempt, fileEntry(path, text), drivertest.Extents(text)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, g.Wait())
	for _, dir := range []string{"0", "1"} {
		if n := len(names(t, filepath.Join(place, dir))); n != 100 {
			t.Errorf("%d files in directory %s", n, dir)
		}
	}
}

func TestLeftovers(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	leave := func() {
		t.Helper()
		write(t, filepath.Join(place, ".salvor-tmp-dead-1"), "part of a file")
		write(t, filepath.Join(place, "a", "b", ".salvor-tmp-dead-2"), "part of a file")
		must(t, os.Symlink("/etc/passwd", filepath.Join(place, "a", ".salvor-tmp-dead-3")))
		write(t, filepath.Join(place, "a", ".salvor-tmp-dead-4", "deep", "x"), "a directory")
	}
	left := func() (found []string) {
		must(t, filepath.WalkDir(place, func(path string, _ os.DirEntry, err error) error {
			if isTemporary(filepath.Base(path)) {
				found = append(found, path)
			}
			return err
		}))
		return found
	}
	clean := func() {
		t.Helper()
		for _, path := range left() {
			must(t, os.RemoveAll(path))
		}
	}
	leave()
	write(t, filepath.Join(place, ".salvor-tmp-", "mine"), "only looks like one")
	tree := open(t, place, nil)
	want := []string{"", ".salvor-tmp-", ".salvor-tmp-/mine", "a", "a/b"}
	var got []string
	must(t, tree.Walk(t.Context(), drivers.Range{}, func(e drivers.Entry) error {
		got = append(got, e.Path)
		return e.Err
	}))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	must(t, tree.target.Prepare(t.Context(), careful))
	if found := left(); len(found) > 0 {
		t.Errorf("prepare left %q", found)
	}
	// Another process of the run is writing: what lies there may be its.
	other := open(t, place, nil)
	must(t, putFile(t, other.target, careful, "file", "text"))
	leave()
	must(t, tree.target.Prepare(t.Context(), careful))
	if found := left(); len(found) != 4 {
		t.Errorf("prepare took the files of a live writer: %q", found)
	}
	// At the end, nobody is.
	for _, path := range []string{"file", "a/b", "a", ""} {
		e := dirEntry(path, 0o755)
		if path == "file" {
			e = fileEntry(path, "text")
		}
		must(t, tree.target.Settle(t.Context(), careful, attempt, e))
	}
	if found := left(); len(found) > 0 {
		t.Errorf("settle left %q", found)
	}
	clean()
	must(t, other.Close())
	leave()
	must(t, tree.target.Prepare(t.Context(), careful))
	if found := left(); len(found) > 0 {
		t.Errorf("prepare left %q", found)
	}
	for _, name := range []string{".salvor-tmp-dead-1", "a/.salvor-tmp-dead-1/x"} {
		if err := putFile(t, tree.target, careful, name, "x"); !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("put %q: %v", name, err)
		}
	}
}

func TestAnotherRestore(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	first, second := open(t, place, nil), open(t, place, nil)
	must(t, first.target.Prepare(t.Context(), careful))
	foreign := drivers.Target{Run: "another", Overwrite: true}
	refused := func(what string, err error) {
		t.Helper()
		var hint interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), "another restore is writing there") || !errors.As(err, &hint) {
			t.Errorf("%s while another restore is writing: %v", what, err)
		}
	}
	refused("prepare", second.target.Prepare(t.Context(), foreign))
	refused("put", putFile(t, second.target, foreign, "x", "x"))
	must(t, putFile(t, first.target, careful, "x", "x"))
	must(t, open(t, place, nil).target.Prepare(t.Context(), careful)) // the same run in another process
	must(t, first.Close())
	refused("prepare", open(t, place, nil).target.Prepare(t.Context(), drivers.Target{Run: "third"}))
}

func TestImplicitParents(t *testing.T) {
	t.Parallel()
	place := filepath.Join(t.TempDir(), "root")
	at := func(name string) string { return filepath.Join(place, name) }
	expect := func(want map[string]uint32) {
		t.Helper()
		got := make(map[string]uint32)
		for name := range want {
			got[name] = modeOf(t, at(name))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("modes (-want +got):\n%s", diff)
		}
	}
	tree := open(t, place, nil)
	must(t, tree.target.Prepare(t.Context(), careful))
	// What a bucket knows: no mode, no directories.
	object := drivers.Entry{Path: "a/b/object", Type: drivers.TypeFile, Size: 1}
	must(t, tree.target.Put(t.Context(), careful, attempt, object, drivertest.Extents("x")))
	must(t, putFile(t, tree.target, careful, "own/mode/file", "x"))
	must(t, tree.target.Put(t.Context(), careful, attempt, dirEntry("own", 0o711), nil))
	expect(map[string]uint32{".": 0o1700, "a": 0o1700, "a/b": 0o1700, "a/b/object": 0o644, "own": 0o700, "own/mode": 0o1700})
	for _, e := range []drivers.Entry{fileEntry("own/mode/file", "x"), dirEntry("own/mode", 0o1700), dirEntry("own", 0o711), object} {
		must(t, tree.target.Settle(t.Context(), careful, attempt, e))
	}
	expect(map[string]uint32{"own": 0o711, "own/mode": 0o1700})
	must(t, tree.target.Sync(t.Context()))
	must(t, unix.Chmod(at("a"), 0o2755))
	object.Path = "a/group/object"
	must(t, tree.target.Put(t.Context(), careful, attempt, object, drivertest.Extents("x")))
	expect(map[string]uint32{"a/group": 0o3700})
	must(t, tree.target.Settle(t.Context(), careful, attempt, object))
	must(t, tree.target.Sync(t.Context()))
	expect(map[string]uint32{"a/group": 0o2755})
	expect(map[string]uint32{".": 0o755, "a": 0o2755, "a/b": 0o755, "own": 0o711, "own/mode": 0o1700})
	if e := one(t, tree, "a/b/object"); !tree.target.Same(object, e) {
		t.Errorf("the object is not the same: %+v", e)
	}
}

// TestHardLinkGuard: a name is joined only to a file that is what was put.
func TestHardLinkGuard(t *testing.T) {
	t.Parallel()
	tree := open(t, t.TempDir(), nil)
	var entries []drivers.Entry
	for _, path := range []string{"a", "b", "c"} {
		e := fileEntry(path, "text")
		e.Meta.Link = "1:2"
		entries = append(entries, e)
		must(t, tree.target.Put(t.Context(), careful, attempt, e, drivertest.Extents("text")))
	}
	must(t, os.WriteFile(filepath.Join(tree.path, "c"), []byte("of another's making"), 0o600))
	for _, e := range slices.Backward(entries) {
		must(t, tree.target.Settle(t.Context(), careful, attempt, e))
	}
	if diff := cmp.Diff(map[string]int64{warnLink: 1}, tree.target.Warnings()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	// Links of another text, and FIFOs where links were, are not joined either.
	mtime := time.Unix(1_000_000_000, 0)
	link := func(path, text string) drivers.Entry {
		return drivers.Entry{
			Path: path, Type: drivers.TypeSymlink,
			Meta: drivers.Meta{ModTime: &mtime, Link: "1:3", Target: []byte(text)},
		}
	}
	for path, text := range map[string]string{"l1": "x", "l2": "x", "l3": "other"} {
		must(t, tree.target.Put(t.Context(), careful, attempt, link(path, text), nil))
	}
	for _, path := range []string{"l3", "l2", "l1"} {
		must(t, tree.target.Settle(t.Context(), careful, attempt, link(path, "x")))
	}
	if diff := cmp.Diff(map[string]int64{warnLink: 1}, tree.target.Warnings()); diff != "" {
		t.Errorf("warnings for links (-want +got):\n%s", diff)
	}
	if e := one(t, tree, "l3"); string(e.Meta.Target) != "other" || e.Meta.Link != "" {
		t.Errorf("l3: %+v", e)
	}
	a, b, c := one(t, tree, "a"), one(t, tree, "b"), one(t, tree, "c")
	if a.Meta.Link == "" || a.Meta.Link != b.Meta.Link || c.Meta.Link != "" {
		t.Errorf("links: %q, %q, %q", a.Meta.Link, b.Meta.Link, c.Meta.Link)
	}
}

// TestPutSwapped puts files below a directory that is swapped for a link out of the tree all the time.
func TestPutSwapped(t *testing.T) {
	t.Parallel()
	for _, rules := range []drivers.Target{careful, mirror} {
		place, outside := t.TempDir(), t.TempDir()
		must(t, os.Mkdir(filepath.Join(place, "d"), 0o755))
		write(t, filepath.Join(outside, "kept"), "kept")
		swaps, stop := swapForLink(t, place, "d", outside)
		tree := open(t, place, nil)
		done := 0
		deadline := time.Now().Add(3 * time.Second)
		patience := deadline.Add(20 * time.Second) // a busy machine may give the one that swaps no turn for long
		for i := 0; i < 50 || (done == 0 || swaps.Load() == 0) && time.Now().Before(patience) || (i < 1000 || done < 50 || swaps.Load() < 50) && time.Now().Before(deadline); i++ {
			if putFile(t, tree.target, rules, fmt.Sprintf("d/%d", i), "x") == nil {
				done++
			}
			tree.target.forgetDir() // it is reached anew each time
			if i%10 == 0 {
				_ = tree.target.Remove(t.Context(), "d/kept")
				_ = tree.target.Settle(t.Context(), rules, attempt, dirEntry("d", 0o1777))
			}
		}
		stop()
		if diff := cmp.Diff([]string{"kept"}, names(t, outside)); diff != "" {
			t.Errorf("outside (-want +got):\n%s", diff)
		}
		if mode := modeOf(t, outside); mode != 0o755 {
			t.Errorf("outside has mode %o", mode)
		}
		if swaps.Load() == 0 || done == 0 {
			t.Errorf("%d swaps, %d files", swaps.Load(), done)
		}
	}
}

// TestHostileLinks restores what a hostile archive would hold.
func TestHostileLinks(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	write(t, filepath.Join(outside, "kept"), "kept")
	for _, rules := range []drivers.Target{careful, overwrite, mirror} {
		tree := open(t, t.TempDir(), nil)
		link := drivers.Entry{Path: "a", Type: drivers.TypeSymlink, Meta: drivers.Meta{Target: []byte(outside)}}
		must(t, tree.target.Put(t.Context(), rules, attempt, link, nil))
		err := putFile(t, tree.target, rules, "a/kept", "evil")
		if rules.Replace() {
			must(t, err)
		} else if !errors.Is(err, drivers.ErrUnsafePath) {
			t.Errorf("put below a link: %v", err)
		}
		// A link in the place of a file is replaced, not written through.
		link.Path, link.Meta.Target = "b", []byte(filepath.Join(outside, "kept"))
		must(t, tree.target.Put(t.Context(), rules, attempt, link, nil))
		err = putFile(t, tree.target, rules, "b", "evil")
		if !rules.Replace() && !errors.Is(err, drivers.ErrNotEmpty) || rules.Replace() && err != nil {
			t.Errorf("put over a link: %v", err)
		}
		// Nor does settling go through it.
		link.Path, link.Meta.Target = "c", []byte(outside)
		must(t, tree.target.Put(t.Context(), rules, attempt, link, nil))
		if err := tree.target.Settle(t.Context(), rules, attempt, dirEntry("c", 0o1777)); !errors.Is(err, drivers.ErrNotFound) {
			t.Errorf("settle a link as a directory: %v", err)
		}
		must(t, tree.target.Remove(t.Context(), "c"))
	}
	text, err := os.ReadFile(filepath.Join(outside, "kept"))
	must(t, err)
	if string(text) != "kept" || modeOf(t, outside) != 0o755 || len(names(t, outside)) != 1 {
		t.Errorf("outside was touched: %q, %o, %q", text, modeOf(t, outside), names(t, outside))
	}
}

// TestNeverThrough: what is there may have other names, or other readers.
func TestNeverThrough(t *testing.T) {
	t.Parallel()
	place, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "name")
	write(t, filepath.Join(place, "file"), "old")
	if err := os.Link(filepath.Join(place, "file"), elsewhere); err != nil {
		t.Skip("temporary directories lie on different file systems")
	}
	reader, err := os.Open(filepath.Join(place, "file"))
	must(t, err)
	defer reader.Close() //nolint:errcheck // read only
	tree := open(t, place, nil)
	must(t, putFile(t, tree.target, overwrite, "file", "new"))
	text, err := os.ReadFile(elsewhere)
	must(t, err)
	head := make([]byte, 3)
	_, err = reader.ReadAt(head, 0)
	must(t, err)
	if string(text) != "old" || string(head) != "old" {
		t.Errorf("other name: %q, reader: %q", text, head)
	}
}

func TestDevices(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "b", "b 1", "x 1 2", "b -1 2", "b 1 99999999999"} {
		if _, _, err := parseDevice(text); !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
	tree := open(t, t.TempDir(), nil)
	bad := drivers.Entry{Path: "x", Type: drivers.TypeDevice, Meta: drivers.Meta{Device: "nonsense"}}
	if err := tree.target.Put(t.Context(), careful, attempt, bad, nil); !errors.Is(err, drivers.ErrInvalid) {
		t.Errorf("put: %v", err)
	}
}
