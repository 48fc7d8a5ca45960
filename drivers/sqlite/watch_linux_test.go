package sqlite

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
)

// TestLostLocks closes a file of a frozen database elsewhere in the process, which drops the locks of SQLite.
func TestLostLocks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ journal, suffix string }{
		"main file":     {delete, ""},
		"main file wal": {wal, ""},
		"shared memory": {wal, "-shm"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newDatabase(t, test.journal, 50)
			v, err := openSource(t, path).Freeze(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			part := partOf(t, v)
			if err := v.Alive(t.Context()); err != nil {
				t.Errorf("Alive: %v", err)
			}
			readFile(t, path+test.suffix)
			if err := v.Alive(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
				t.Errorf("Alive without locks = %v, want ErrViewLost", err)
			}
			if _, err := v.Dump(t.Context(), part, &bytes.Buffer{}); !errors.Is(err, drivers.ErrViewLost) {
				t.Errorf("Dump without locks = %v, want ErrViewLost", err)
			}
			if err := v.End(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
				t.Errorf("End without locks = %v, want ErrViewLost", err)
			}
			if err := v.End(t.Context()); err != nil {
				t.Errorf("second End = %v, want nil", err)
			}
			image(t, path) // a new view is whole again
		})
	}
}

func TestParseLocks(t *testing.T) {
	t.Parallel()
	text := `1: POSIX  ADVISORY  READ 19909 fe:00:9977890 123 123
2: POSIX  ADVISORY  WRITE 19909 00:2a:17 128 EOF
2: -> POSIX  ADVISORY  WRITE 19909 fe:00:1 0 EOF
3: FLOCK  ADVISORY  WRITE 19909 fe:00:2 0 EOF
4: OFDLCK ADVISORY  READ -1 fe:00:3 0 1
5: POSIX  ADVISORY  READ 1990 fe:00:4 0 1
6: POSIX  ADVISORY  READ 19909 fe:00:x 0 1
`
	want := lockRanges{{9977890, 123, 123}, {17, 128, 1<<63 - 1}}
	got := parseLocks([]byte(text), 19909)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(lockRange{})); diff != "" {
		t.Errorf("parseLocks (-want +got):\n%s", diff)
	}
}

// asNobody runs f in a thread that has no more rights than any user.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	setfsuid := func(uid uintptr) {
		// A thread that leaves user 0 with this call loses its rights over files, and gets them back with 0.
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, uid, 0, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	setfsuid(65534)
	defer setfsuid(0)
	f()
}

// readOnlyDir copies files into a directory that nobody may write to.
func readOnlyDir(t *testing.T, path string, mode os.FileMode, suffixes ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "salvor-test-") //nolint:usetesting // what is above t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(os.Chmod(dir, 0o755), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	for _, suffix := range suffixes {
		copied := filepath.Join(dir, "app.db"+suffix)
		writeFile(t, copied, readFile(t, path+suffix), 0o644)
		if err := os.Chmod(copied, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "app.db")
}

func TestReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	live := filepath.Join(t.TempDir(), "app.db")
	app := application(t, live, "journal_mode(wal)", "wal_autocheckpoint(0)")
	seed(t, app, 50)
	want := contents(t, live)
	closed := newDatabase(t, wal, 50)
	for name, test := range map[string]struct {
		path     string
		suffixes []string
		want     string
		err      error
	}{
		"rollback journal": {newDatabase(t, delete, 50), []string{""}, strings.Replace(want, "[wal]", "[delete]", 1), nil},
		"log at rest":      {closed, []string{""}, want, nil},
		"log in use":       {live, []string{"", "-wal", "-shm"}, want, nil},
		"log without shm":  {live, []string{"", "-wal"}, "", drivers.ErrAccess},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := readOnlyDir(t, test.path, 0o444, test.suffixes...)
			var part drivers.Part
			var data []byte
			asNobody(t, func() {
				v, err := openSource(t, path).Freeze(t.Context())
				if !errors.Is(err, test.err) || test.err == nil && err != nil {
					t.Errorf("Freeze = %v, want %v", err, test.err)
				}
				if err != nil {
					return
				}
				part, data = partOf(t, v), dumpOf(t, v)
				if err := v.End(t.Context()); err != nil {
					t.Errorf("End: %v", err)
				}
			})
			if test.err != nil || t.Failed() {
				return
			}
			target := filepath.Join(t.TempDir(), "copy.db")
			if err := restoreImage(t.Context(), openSource(t, target), drivers.Target{Run: "r"}, "one", part, data); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, contents(t, target)); diff != "" {
				t.Errorf("restored database (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWrittenWithoutLock: a view that could not be locked ends as lost when the file changes.
func TestWrittenWithoutLock(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(t *testing.T, path string){
		"a log appears": func(t *testing.T, path string) { t.Helper(); writeFile(t, path+"-wal", []byte("log"), 0o600) },
		"the file changes": func(t *testing.T, path string) {
			t.Helper()
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err == nil {
				_, err = f.Write([]byte{0})
				err = errors.Join(err, f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"the file is replaced": func(t *testing.T, path string) {
			t.Helper()
			writeFile(t, path+".new", readFile(t, path), 0o600)
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		},
		"the file goes": func(t *testing.T, path string) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newDatabase(t, wal, 10)
			v, err := openSource(t, path).freeze(t.Context(), modeImmutable)
			if err != nil {
				t.Fatal(err)
			}
			if err := v.Alive(t.Context()); err != nil {
				t.Errorf("Alive: %v", err)
			}
			write(t, path)
			if err := v.Alive(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
				t.Errorf("Alive = %v, want ErrViewLost", err)
			}
			if err := v.End(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
				t.Errorf("End = %v, want ErrViewLost", err)
			}
		})
	}
}

func TestNoAccess(t *testing.T) {
	t.Parallel()
	path := readOnlyDir(t, newDatabase(t, delete, 10), 0o000, "")
	part, data := image(t, newDatabase(t, delete, 10))
	asNobody(t, func() {
		if _, err := openSource(t, path).Freeze(t.Context()); !errors.Is(err, drivers.ErrAccess) {
			t.Errorf("Freeze of an unreadable file = %v, want ErrAccess", err)
		}
		for _, name := range []string{"new.db", "sub/dir/new.db"} {
			s := openSource(t, filepath.Join(filepath.Dir(path), name))
			rules := drivers.Target{Run: "r", Overwrite: true}
			if err := s.CheckTarget(t.Context(), rules, []drivers.Part{part}); !errors.Is(err, drivers.ErrAccess) {
				t.Errorf("CheckTarget of %s in a read-only directory = %v, want ErrAccess", name, err)
			}
			if err := s.Prepare(t.Context(), rules, []drivers.Part{part}); !errors.Is(err, drivers.ErrAccess) {
				t.Errorf("Prepare of %s in a read-only directory = %v, want ErrAccess", name, err)
			}
			err := s.Load(t.Context(), rules, drivers.Attempt{Run: "r", Token: "t"}, part, bytes.NewReader(data))
			if !errors.Is(err, drivers.ErrInvalid) {
				t.Errorf("Load of %s without Prepare = %v, want ErrInvalid", name, err)
			}
		}
	})
}
