package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
)

func TestCheckTarget(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	_, otherData := image(t, newDatabase(t, wal, 60))
	noObjects := filepath.Join(t.TempDir(), "no objects")
	execAll(t, application(t, noObjects), "PRAGMA user_version=7")

	for name, test := range map[string]struct {
		make func(t *testing.T, path string)
		want error
	}{
		"absent":              {func(*testing.T, string) {}, nil},
		"empty file":          {func(t *testing.T, p string) { t.Helper(); writeFile(t, p, nil, 0o600) }, nil},
		"empty database":      {func(t *testing.T, p string) { t.Helper(); writeFile(t, p, readFile(t, noObjects), 0o600) }, nil},
		"equal":               {func(t *testing.T, p string) { t.Helper(); writeFile(t, p, data, 0o600) }, nil},
		"different":           {func(t *testing.T, p string) { t.Helper(); writeFile(t, p, otherData, 0o600) }, drivers.ErrNotEmpty},
		"different by a byte": {func(t *testing.T, p string) { t.Helper(); writeFile(t, p, flip(data), 0o600) }, drivers.ErrNotEmpty},
		"not a database":      {func(t *testing.T, p string) { t.Helper(); writeFile(t, p, []byte("letter"), 0o600) }, drivers.ErrNotEmpty},
		"equal with a log": {func(t *testing.T, p string) {
			t.Helper()
			writeFile(t, p, data, 0o600)
			writeFile(t, p+"-wal", []byte("log"), 0o600)
		}, drivers.ErrNotEmpty},
		"empty file with a journal": {func(t *testing.T, p string) {
			t.Helper()
			writeFile(t, p, nil, 0o600)
			writeFile(t, p+"-journal", []byte("journal"), 0o600)
		}, drivers.ErrNotEmpty},
		"directory": {func(t *testing.T, p string) { t.Helper(); mkdir(t, p) }, drivers.ErrInvalid},
		"pipe": {func(t *testing.T, p string) {
			t.Helper()
			if err := syscall.Mkfifo(p, 0o600); err != nil {
				t.Fatal(err)
			}
		}, drivers.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "app.db")
			test.make(t, path)
			before := beside(t, path)
			s := openSource(t, path)
			rules := drivers.Target{Run: "run-1"}
			err := s.CheckTarget(t.Context(), rules, []drivers.Part{part})
			if !errors.Is(err, test.want) || test.want == nil && err != nil {
				t.Errorf("CheckTarget = %v, want %v", err, test.want)
			}
			rules.Overwrite = true
			err = s.CheckTarget(t.Context(), rules, []drivers.Part{part})
			if wantReplace := errors.Is(test.want, drivers.ErrInvalid); (err != nil) != wantReplace {
				t.Errorf("CheckTarget with overwrite = %v", err)
			}
			if diff := cmp.Diff(before, beside(t, path)); diff != "" {
				t.Errorf("CheckTarget changed the directory:\n%s", diff)
			}
		})
	}
}

// flip changes a byte that no header counts.
func flip(data []byte) []byte {
	data = bytes.Clone(data)
	data[len(data)-1] ^= 1
	return data
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestLoadRefusesDamage(t *testing.T) {
	t.Parallel()
	source := newDatabase(t, delete, 500)
	part, data := image(t, source)
	var described ref
	if err := json.Unmarshal(part.Ref, &described); err != nil {
		t.Fatal(err)
	}
	// As an archive of a source that was damaged already: nothing but the check of the image can find it.
	unhashedPart, err := described.part()
	if err != nil {
		t.Fatal(err)
	}
	page := int(described.PageSize)
	overwrite := func(at int, with string) []byte {
		damaged := bytes.Clone(data)
		copy(damaged[at:], with)
		return damaged
	}
	for name, test := range map[string]struct {
		part drivers.Part
		data []byte
		want string
	}{
		"truncated":         {unhashedPart, data[:len(data)-1], "bytes, the dump says"},
		"a page short":      {unhashedPart, data[:len(data)-page], "bytes, the dump says"},
		"nothing":           {unhashedPart, nil, "0 bytes, the dump says"},
		"longer":            {unhashedPart, append(bytes.Clone(data), 0), "longer than"},
		"other magic":       {unhashedPart, overwrite(0, "SQLite format 4"), "not a SQLite database"},
		"other page size":   {unhashedPart, overwrite(16, "\x00\x07"), "page size of 7"},
		"other header":      {unhashedPart, overwrite(60, "zzzz"), "not the database that was dumped"},
		"other bytes":       {part, flip(data), "not the database that was dumped"},
		"damaged pages":     {unhashedPart, overwrite(3*page, strings.Repeat("\xff", page)), "fails its integrity_check"},
		"damaged free list": {unhashedPart, overwrite(int(freePage(data))*page-page, "\xff\xff\xff\xff"), "fails its integrity_check"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "app.db")
			err := restoreImage(t.Context(), openSource(t, path), drivers.Target{Run: "run-1"}, "one", test.part, test.data)
			if !errors.Is(err, drivers.ErrCorrupt) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("restore = %v, want ErrCorrupt with %q", err, test.want)
			}
			if there, err := exists(path); err != nil || there {
				t.Errorf("a damaged image was published (%v)", err)
			}
			if diff := cmp.Diff([]string(nil), beside(t, path)); diff != "" {
				t.Errorf("a refused load left (-want +got):\n%s", diff)
			}
		})
	}
}

func freePage(data []byte) uint32 {
	return uint32(data[32])<<24 | uint32(data[33])<<16 | uint32(data[34])<<8 | uint32(data[35])
}

// TestRowsThatBreakRules restores what an application wrote with its checks off: not damage.
func TestRowsThatBreakRules(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	db := application(t, path)
	execAll(t, db,
		"CREATE TABLE t(a INTEGER, b TEXT NOT NULL, CHECK (a < 10))",
		"INSERT INTO t VALUES (1, 'x')",
		"PRAGMA ignore_check_constraints=1",
		"UPDATE t SET a = 100",
		"PRAGMA writable_schema=1",
		"UPDATE sqlite_schema SET sql = 'CREATE TABLE t(a INTEGER, b TEXT NOT NULL, c NOT NULL, CHECK (a < 10))' WHERE name='t'",
	)
	part, data := image(t, path)
	target := filepath.Join(t.TempDir(), "copy.db")
	if err := restoreImage(t.Context(), openSource(t, target), drivers.Target{Run: "r"}, "one", part, data); err != nil {
		t.Fatalf("restore: %v", err)
	}
	got := rowsOf(t, application(t, target), "PRAGMA integrity_check")
	if !strings.Contains(strings.Join(got, "\n"), "CHECK constraint failed") {
		t.Errorf("the test's database breaks no rule: %q", got)
	}
	if !bytes.Equal(readFile(t, target), data) {
		t.Error("restored other bytes")
	}
}

func TestModeAndOwner(t *testing.T) {
	t.Parallel()
	source := newDatabase(t, delete, 10)
	if err := os.Chmod(source, 0o640); err != nil {
		t.Fatal(err)
	}
	owner := os.Geteuid()
	if owner == 0 {
		owner = 12345
		if err := os.Chown(source, owner, 54321); err != nil {
			t.Fatal(err)
		}
	}
	part, data := image(t, source)
	check := func(path string, mode fs.FileMode, wantUID int) {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := ownerOf(info)
		if info.Mode() != mode || int(*uid) != wantUID {
			t.Errorf("restored file has mode %v and owner %d, want %v and %d", info.Mode(), *uid, mode, wantUID)
		}
	}
	target := filepath.Join(t.TempDir(), "app.db")
	if err := restoreImage(t.Context(), openSource(t, target), drivers.Target{Run: "r"}, "one", part, data); err != nil {
		t.Fatal(err)
	}
	check(target, 0o640, owner)

	// What is replaced hands its own on.
	other := newDatabase(t, delete, 20)
	if err := os.Chmod(other, 0o604); err != nil {
		t.Fatal(err)
	}
	rules := drivers.Target{Run: "r", Overwrite: true}
	if err := restoreImage(t.Context(), openSource(t, other), rules, "one", part, data); err != nil {
		t.Fatal(err)
	}
	check(other, 0o604, os.Geteuid())

	// An archive that says nothing of them gives the careful default.
	plain, err := ref{PageSize: 4096, PageCount: int64(len(data)) / 4096}.part()
	if err != nil {
		t.Fatal(err)
	}
	target = filepath.Join(t.TempDir(), "app.db")
	if err := restoreImage(t.Context(), openSource(t, target), drivers.Target{Run: "r"}, "one", plain, data); err != nil {
		t.Fatal(err)
	}
	check(target, 0o600, os.Geteuid())
}

// TestInUse refuses to replace a database under an application that has it open.
func TestInUse(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	for name, test := range map[string]struct {
		journal string
		use     []string
	}{
		"open in WAL mode":      {wal, []string{"SELECT count(*) FROM item"}},
		"reading":               {delete, []string{"BEGIN", "SELECT count(*) FROM item"}},
		"writing":               {delete, []string{"BEGIN IMMEDIATE"}},
		"writing in WAL mode":   {wal, []string{"BEGIN IMMEDIATE", "INSERT INTO change VALUES (1)"}},
		"reading in WAL mode":   {wal, []string{"BEGIN", "SELECT count(*) FROM item"}},
		"exclusively in use":    {delete, []string{"PRAGMA locking_mode=exclusive", "INSERT INTO change VALUES (1)"}},
		"exclusive in WAL mode": {wal, []string{"PRAGMA locking_mode=exclusive", "INSERT INTO change VALUES (1)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newDatabase(t, test.journal, 60)
			app := application(t, path)
			execAll(t, app, test.use...)
			before := readFile(t, path)
			rules := drivers.Target{Run: "run-1", Overwrite: true}
			err := restoreImage(t.Context(), openSource(t, path), rules, "one", part, data)
			var hint interface{ Hint() string }
			if err == nil || !strings.Contains(err.Error(), "in use") || !errors.As(err, &hint) {
				t.Fatalf("restore over a database in use = %v, want it refused with a hint", err)
			}
			if !bytes.Equal(readFile(t, path), before) {
				t.Error("a database in use was changed")
			}
			if err := app.Close(); err != nil {
				t.Fatal(err)
			}
			if err := restoreImage(t.Context(), openSource(t, path), rules, "two", part, data); err != nil {
				t.Errorf("restore when the application has stopped: %v", err)
			}
			if left := beside(t, path); len(left) > 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}

func TestRestoreThroughLink(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	for name, there := range map[string]bool{"to a file": true, "to nothing yet": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "data", "real.db")
			mkdir(t, filepath.Dir(file))
			if there {
				writeFile(t, file, nil, 0o600)
			}
			for link, to := range map[string]string{"link": "data/hop", "data/hop": "real.db"} {
				if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			s := openSource(t, filepath.Join(dir, "link"))
			if err := restoreImage(t.Context(), s, drivers.Target{Run: "r"}, "one", part, data); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(readFile(t, file), data) {
				t.Error("the file behind the link is not the image")
			}
			if info, err := os.Lstat(filepath.Join(dir, "link")); err != nil || info.Mode()&fs.ModeSymlink == 0 {
				t.Errorf("the link was replaced: %v, %v", info, err)
			}
			a, errA := s.Identities(t.Context())
			b, errB := openSource(t, file).Identities(t.Context())
			if diff := cmp.Diff(a, b); diff != "" || errA != nil || errB != nil {
				t.Errorf("a link and its file differ (%v, %v):\n%s", errA, errB, diff)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "a\x00b", "/tmp/"} {
		if s, err := open(specOf(path)); !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("open %q = %v, %v, want ErrInvalid", path, s, err)
		}
	}
	loop := filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	s := openSource(t, loop)
	if _, err := s.Freeze(t.Context()); !errors.Is(err, drivers.ErrInvalid) {
		t.Errorf("Freeze of a link to itself = %v, want ErrInvalid", err)
	}
}

func TestNoSpace(t *testing.T) {
	t.Parallel()
	huge, err := ref{PageSize: 65536, PageCount: maxPages}.part()
	if err != nil {
		t.Fatal(err)
	}
	s := openSource(t, filepath.Join(t.TempDir(), "app.db"))
	err = s.Prepare(t.Context(), drivers.Target{Run: "r"}, []drivers.Part{huge})
	if !errors.Is(err, drivers.ErrNoSpace) {
		t.Errorf("Prepare for 280 TB = %v, want ErrNoSpace", err)
	}
	if left := beside(t, s.path); len(left) > 0 {
		t.Errorf("a refused Prepare left %q", left)
	}
}

func TestForeignWorkDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Symlink(t.TempDir(), filepath.Join(dir, ".app.db.salvor-r")); err != nil {
		t.Fatal(err)
	}
	s := openSource(t, filepath.Join(dir, "app.db"))
	if err := s.Prepare(t.Context(), drivers.Target{Run: "r"}, nil); !errors.Is(err, drivers.ErrAccess) {
		t.Errorf("Prepare in a linked directory = %v, want ErrAccess", err)
	}
	for _, run := range []string{"", "../x", "a/b", strings.Repeat("x", 81)} {
		if err := s.Prepare(t.Context(), drivers.Target{Run: run}, nil); !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("Prepare of run %q = %v, want ErrInvalid", run, err)
		}
	}
}

// TestCancelledCheck cancels a load when all has been read and nothing checked.
func TestCancelledCheck(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	path := filepath.Join(t.TempDir(), "app.db")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := openSource(t, path)
	s.hook = func(step string) {
		if step == "received" {
			cancel()
		}
	}
	err := restoreImage(ctx, s, drivers.Target{Run: "r"}, "one", part, data)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("restore that is cancelled = %v, want context.Canceled", err)
	}
	// Another attempt of the run may come, and needs the directory.
	left := beside(t, filepath.Join(filepath.Dir(path), ".app.db.salvor-r", "-"))
	if diff := cmp.Diff([]string{"lock"}, left); diff != "" {
		t.Errorf("a cancelled load left (-want +got):\n%s", diff)
	}
	if there, err := exists(path); err != nil || there {
		t.Errorf("a cancelled load published (%v)", err)
	}
}

// over is the cause of a context whose run makes no other attempt.
type over bool

func (over) Error() string   { return "run is over" }
func (o over) RunOver() bool { return bool(o) }

// TestCleanFailureLeavesNothing: what no other attempt will take up is not left beside the target.
func TestCleanFailureLeavesNothing(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	for name, test := range map[string]struct {
		at   string
		fail func(t *testing.T, path string, cancel context.CancelCauseFunc)
		want error
		left []string
	}{
		"cancelled while it reads":  {"created", func(_ *testing.T, _ string, cancel context.CancelCauseFunc) { cancel(over(true)) }, over(true), nil},
		"cancelled while it checks": {"received", func(_ *testing.T, _ string, cancel context.CancelCauseFunc) { cancel(over(true)) }, over(true), nil},
		"another attempt comes": {
			"received", func(_ *testing.T, _ string, cancel context.CancelCauseFunc) { cancel(over(false)) }, over(false),
			[]string{".app.db.salvor-r"},
		},
		"a database appears": {"verified", func(t *testing.T, path string, _ context.CancelCauseFunc) {
			t.Helper()
			writeFile(t, path, []byte("foreign"), 0o600)
		}, drivers.ErrNotEmpty, nil},
		"it becomes a directory": {"verified", func(t *testing.T, path string, _ context.CancelCauseFunc) {
			t.Helper()
			mkdir(t, path)
		}, drivers.ErrInvalid, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "app.db")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			s := openSource(t, path)
			s.hook = func(step string) {
				if step == test.at {
					test.fail(t, path, cancel)
				}
			}
			err := restoreImage(ctx, s, drivers.Target{Run: "r"}, "one", part, data)
			if !errors.Is(err, test.want) {
				t.Errorf("restore = %v, want %v", err, test.want)
			}
			if diff := cmp.Diff(test.left, beside(t, path)); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
}
