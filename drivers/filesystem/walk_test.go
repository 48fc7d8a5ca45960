package filesystem

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"salvor/drivers"
	"salvor/internal/secret"
)

func TestWalkMetadata(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	at := func(name string) string { return filepath.Join(place, name) }
	mtime := time.Date(2001, 2, 3, 4, 5, 6, 789012345, time.UTC)
	write(t, at("file"), "text")
	must(t, os.Chmod(at("file"), 0o4751|os.ModeSetuid))
	must(t, os.Chmod(at("file"), 0o751|os.ModeSetuid|os.ModeSticky))
	must(t, os.Chtimes(at("file"), mtime, mtime))
	must(t, os.Link(at("file"), at("second")))
	must(t, os.Mkdir(at("dir"), 0o700))
	must(t, os.Chmod(at("dir"), 0o2710|os.ModeSetgid))
	must(t, os.Symlink("no/where\xff", at("link")))
	must(t, unix.Mkfifo(at("fifo"), 0o600))
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(socket) //nolint:errcheck // a test's
	must(t, unix.Bind(socket, &unix.SockaddrUnix{Name: at("socket")}))

	found := walked(t, open(t, place, nil))
	types := make(map[string]drivers.EntryType)
	for path, e := range found {
		if e.Err != nil {
			t.Errorf("%q: %v", path, e.Err)
		}
		types[path] = e.Type
		if e.Type != drivers.TypeFile && (e.Version != "" || e.Size != 0 || e.Meta.Link != "") {
			t.Errorf("%q: a %s has version %q, size %d, link %q", path, e.Type, e.Version, e.Size, e.Meta.Link)
		}
	}
	if diff := cmp.Diff(map[string]drivers.EntryType{
		"": drivers.TypeDir, "dir": drivers.TypeDir, "file": drivers.TypeFile, "second": drivers.TypeFile,
		"link": drivers.TypeSymlink, "fifo": drivers.TypeFIFO, "socket": drivers.TypeSocket,
	}, types); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
	file := found["file"]
	if file.Meta.Mode != 0o5751 || !file.Meta.ModTime.Equal(mtime) || file.Size != 4 {
		t.Errorf("file: mode %o, time %v, size %d", file.Meta.Mode, file.Meta.ModTime, file.Size)
	}
	if found["dir"].Meta.Mode != 0o2710 {
		t.Errorf("dir: mode %o", found["dir"].Meta.Mode)
	}
	if string(found["link"].Meta.Target) != "no/where\xff" {
		t.Errorf("link: target %q", found["link"].Meta.Target)
	}
	if file.Meta.Link == "" || file.Meta.Link != found["second"].Meta.Link {
		t.Errorf("links: %q, %q", file.Meta.Link, found["second"].Meta.Link)
	}
	if uid := uint32(os.Getuid()); file.Meta.UID == nil || *file.Meta.UID != uid {
		t.Errorf("file: uid %v, want %d", file.Meta.UID, uid)
	}
	if os.Getuid() == 0 && (file.Meta.User != "root" || file.Meta.Group != "root") {
		t.Errorf("file: user %q, group %q", file.Meta.User, file.Meta.Group)
	}
}

func TestWalkVersion(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	path := filepath.Join(place, "file")
	write(t, path, "text")
	tree := open(t, place, nil)
	if young := one(t, tree, "file"); young.Version != "" {
		t.Errorf("a file that was just written has version %q", young.Version)
	}
	// The clock of changes cannot be set, so it must be waited for.
	var first drivers.Entry
	deadline := time.Now().Add(10 * time.Second)
	for first.Version == "" {
		if time.Now().After(deadline) {
			t.Fatal("the file never gets a version")
		}
		<-time.After(50 * time.Millisecond)
		first = one(t, tree, "file")
	}
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	if time.Since(timeOf(st.Ctim)) < racy {
		t.Errorf("version %q after %v", first.Version, time.Since(timeOf(st.Ctim)))
	}
	content, err := tree.Open(t.Context(), first)
	must(t, err)
	must(t, content.Close())
	// Written and set back: only the time of change tells.
	must(t, os.WriteFile(path, []byte("TEXT"), 0o644))
	must(t, os.Chtimes(path, *first.Meta.ModTime, *first.Meta.ModTime))
	must(t, unix.Stat(path, &st))
	if version(&st) == first.Version {
		t.Errorf("version %q stands for two contents", first.Version)
	}
	if content, err := tree.Open(t.Context(), first); !errors.Is(err, drivers.ErrChanged) {
		t.Errorf("open a file that was written and set back: %v, %v", content, err)
	}
}

func TestRoot(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	write(t, filepath.Join(place, "real", "file"), "text")
	must(t, os.Symlink("real", filepath.Join(place, "link")))
	must(t, os.Symlink("nowhere", filepath.Join(place, "dangling")))
	none := func(e drivers.Entry) error { return fmt.Errorf("entry %q", e.Path) }

	// A root may be named through links, with all that the system understands.
	ids, err := open(t, filepath.Join(place, "real"), nil).Identities(t.Context())
	must(t, err)
	for _, path := range []string{"/link", "/link/", "/real/../link//.", "/link/../real"} {
		tree := open(t, place+path, nil)
		if e := one(t, tree, "file"); e.Size != 4 {
			t.Errorf("%s: %+v", path, e)
		}
		got, err := tree.Identities(t.Context())
		must(t, err)
		if diff := cmp.Diff(ids, got); diff != "" {
			t.Errorf("%s: identities (-want +got):\n%s", path, diff)
		}
	}
	file := open(t, filepath.Join(place, "real", "file"), nil)
	if err := file.Walk(t.Context(), drivers.Range{}, none); !errors.Is(err, drivers.ErrInvalid) {
		t.Errorf("walk a file: %v", err)
	}
	if err := file.Target().Prepare(t.Context(), mirror); !errors.Is(err, drivers.ErrInvalid) {
		t.Errorf("prepare a file: %v", err)
	}
	below := open(t, filepath.Join(place, "real", "file", "below"), nil)
	if err := below.Target().Prepare(t.Context(), mirror); err == nil {
		t.Error("prepare below a file: no error")
	}
	dangling := open(t, filepath.Join(place, "dangling"), nil)
	if err := dangling.Walk(t.Context(), drivers.Range{}, none); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("walk a dangling link: %v", err)
	}
	if err := dangling.Target().Prepare(t.Context(), mirror); err == nil {
		t.Error("prepare a dangling link: no error")
	}
	// One that is gone is not walked from its grave.
	gone := open(t, filepath.Join(place, "link"), nil)
	one(t, gone, "file")
	must(t, os.RemoveAll(filepath.Join(place, "real")))
	if err := gone.Walk(t.Context(), drivers.Range{}, none); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("walk a directory that is gone: %v", err)
	}
	for _, source := range []string{"", "a\x00b"} {
		if _, err := Open(drivers.Spec{Source: secret.New(source)}); !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("open %q: %v", source, err)
		}
	}
}

func TestRelativeRoot(t *testing.T) {
	place := t.TempDir()
	t.Chdir(place)
	write(t, "dir/file", "text")
	tree := open(t, "dir", nil)
	t.Chdir("/")
	one(t, tree, "file")
	ids, err := tree.Identities(t.Context())
	must(t, err)
	resolved, err := filepath.EvalSymlinks(place)
	must(t, err)
	if ids[0] != "path:"+resolved+"/dir" {
		t.Errorf("identities %q", ids)
	}
}

// TestOpenSwapped has something else in the place of each file that was walked.
func TestOpenSwapped(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, outside, "text")
	for name, swap := range map[string]func(path string) error{
		"fifo":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"link":      func(path string) error { return os.Symlink(outside, path) },
		"socket": func(path string) error {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd) //nolint:errcheck // a test's
			return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
		},
		"parent is a link": func(path string) error {
			dir := filepath.Dir(path)
			if err := os.Remove(dir); err != nil {
				return err
			}
			return os.Symlink(filepath.Dir(outside), dir)
		},
		"parent is a file": func(path string) error {
			dir := filepath.Dir(path)
			if err := os.Remove(dir); err != nil {
				return err
			}
			return os.WriteFile(dir, nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := t.TempDir()
			path := filepath.Join(place, "d", "outside")
			write(t, path, "text")
			tree := open(t, place, nil)
			entry := one(t, tree, "d/outside")
			must(t, os.Remove(path))
			must(t, swap(path))
			content, err := tree.Open(t.Context(), entry)
			if !errors.Is(err, drivers.ErrChanged) {
				t.Errorf("got %v, error %v", content, err)
			}
		})
	}
}

// TestWalkSwapped swaps a directory for a link out of the tree while it is walked and read.
func TestWalkSwapped(t *testing.T) {
	t.Parallel()
	place, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "secret"), "secret")
	for i := range 20 {
		write(t, filepath.Join(place, "d", fmt.Sprint(i)), "inside")
	}
	swaps, stop := swapForLink(t, place, "d", outside)
	defer stop()
	tree := open(t, place, nil)
	for deadline := time.Now().Add(3 * time.Second); swaps.Load() == 0 || swaps.Load() < 100 && time.Now().Before(deadline); {
		must(t, tree.Walk(t.Context(), drivers.Range{}, func(e drivers.Entry) error {
			if strings.Contains(e.Path, "secret") {
				t.Errorf("the walk left the tree: %q", e.Path)
			}
			return nil
		}))
		content, err := tree.Open(t.Context(), drivers.Entry{Path: "d/secret", Type: drivers.TypeFile, Size: 6})
		if err == nil {
			t.Errorf("a file outside was opened: %v", content.Close())
		}
	}
	if swaps.Load() == 0 {
		t.Error("nothing was swapped")
	}
}

// swapForLink swaps a directory for a symbolic link and back, until stop is called. It counts how often it did.
func swapForLink(t *testing.T, place, name, target string) (count *atomic.Int64, stop func()) {
	t.Helper()
	path, aside := filepath.Join(place, name), filepath.Join(place, "aside")
	link := filepath.Join(place, "swap")
	must(t, os.Symlink(target, link))
	done := make(chan struct{})
	var swapped sync.WaitGroup
	count = new(atomic.Int64)
	linger := func() {
		for range 50 {
			_, _ = os.Lstat(path)
		}
	}
	swapped.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			linger()
			if os.Rename(path, aside) != nil {
				continue // a restore has made something else there
			}
			errLink := os.Rename(link, path)
			linger()
			if errLink == nil && os.Rename(path, link) == nil {
				count.Add(1)
			}
			if os.Rename(aside, path) != nil {
				_ = os.RemoveAll(path)
				_ = os.Rename(aside, path)
			}
			if _, err := os.Readlink(link); err != nil {
				_ = os.RemoveAll(link)
				_ = os.Symlink(target, link)
			}
		}
	})
	return count, func() {
		close(done)
		swapped.Wait()
	}
}

func TestSparseFile(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	path := filepath.Join(place, "sparse")
	const size, middle = 10 << 30, 5 << 30
	f, err := os.Create(path)
	must(t, err)
	_, err = f.WriteAt([]byte("in the middle"), middle)
	must(t, err)
	must(t, f.Truncate(size))
	must(t, f.Close())
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	if st.Blocks*512 > 1<<20 {
		t.Skip("the file system has no holes")
	}
	began := time.Now()
	from, to := open(t, place, nil), open(t, t.TempDir(), nil)
	if _, err := copyTo(t.Context(), from, to.target, careful); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	copied := filepath.Join(to.path, "sparse")
	must(t, unix.Stat(copied, &st))
	if st.Size != size || st.Blocks*512 > 1<<20 {
		t.Errorf("the copy has %d bytes and takes %d", st.Size, st.Blocks*512)
	}
	f, err = os.Open(copied)
	must(t, err)
	defer f.Close() //nolint:errcheck // read only
	head := make([]byte, 13)
	if _, err := f.ReadAt(head, middle); err != nil || string(head) != "in the middle" {
		t.Errorf("got %q, %v", head, err)
	}
}

// TestDeepTree has paths that are longer than any one system call takes.
func TestDeepTree(t *testing.T) {
	t.Parallel()
	const depth = 60
	name := strings.Repeat("deep", 25) // 60 x 101 bytes
	place := t.TempDir()
	fd, err := unix.Open(place, unix.O_DIRECTORY, 0)
	must(t, err)
	var parts []string
	for range depth {
		must(t, unix.Mkdirat(fd, name, 0o755))
		next, err := openDirAt(fd, name)
		must(t, err)
		must(t, unix.Close(fd))
		fd = next
		parts = append(parts, name)
	}
	file, err := openAt(fd, "file", unix.O_CREAT|unix.O_WRONLY, 0o644)
	must(t, err)
	_, err = unix.Write(file, []byte("far down"))
	must(t, err)
	must(t, unix.Close(file))
	must(t, unix.Close(fd))
	path := strings.Join(append(parts, "file"), "/")

	from, to := open(t, place, nil), open(t, t.TempDir(), nil)
	if _, err := copyTo(t.Context(), from, to.target, careful); err != nil {
		t.Fatal(err)
	}
	entry := one(t, to, path)
	content, err := to.Open(t.Context(), entry)
	must(t, err)
	_, err = content.Next()
	must(t, err)
	text := make([]byte, 20)
	if n, err := content.Read(text); err != nil || string(text[:n]) != "far down" {
		t.Errorf("got %q, %v", text[:n], err)
	}
	must(t, content.Close())
	for _, tree := range []*Tree{from, to} {
		must(t, tree.Target().Remove(t.Context(), name))
		if got := walked(t, tree); len(got) != 1 {
			t.Errorf("%d entries are left", len(got))
		}
	}
}

func TestDiskError(t *testing.T) {
	t.Parallel()
	// A directory gives EISDIR to every read, as a bad disk gives EIO.
	fd, err := unix.Open(t.TempDir(), unix.O_RDONLY, 0)
	must(t, err)
	c := &content{path: "file", fd: fd, size: 10, whole: true}
	must(t, statHandle(fd, &c.before))
	_, err = c.Next()
	must(t, err)
	if n, err := c.Read(make([]byte, 10)); n != 0 || !errors.Is(err, syscall.EISDIR) || errors.Is(err, drivers.ErrChanged) {
		t.Errorf("read: %d, %v", n, err)
	}
	_ = c.Close()
}
