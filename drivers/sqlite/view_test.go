package sqlite

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"modernc.org/sqlite"

	"salvor/drivers"
)

// backup copies a database with SQLite's own backup interface, the reference for a dump.
func backup(tb testing.TB, from, to string) {
	tb.Helper()
	c, err := connect(from, modeWrite)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := c.close(); err != nil {
			tb.Error(err)
		}
	}()
	b, err := c.raw.(interface { //nolint:errcheck,forcetypeassert // the driver's only connection
		NewBackup(uri string) (*sqlite.Backup, error)
	}).NewBackup(uri(to, "mode=rwc"))
	if err != nil {
		tb.Fatal(err)
	}
	for more := true; more; {
		if more, err = b.Step(-1); err != nil {
			tb.Fatal(err)
		}
	}
	if err := b.Finish(); err != nil {
		tb.Fatal(err)
	}
}

// withoutCounters blanks what the backup interface counts up in its copy: the file change counter, the schema cookie,
// and which version wrote at which counter.
func withoutCounters(data []byte) []byte {
	data = bytes.Clone(data)
	for _, field := range [][2]int{{24, 28}, {40, 44}, {92, 100}} {
		clear(data[field[0]:field[1]])
	}
	return data
}

// TestSameAsBackup compares dumps with what the backup interface copies, with a log that holds much of the database.
func TestSameAsBackup(t *testing.T) {
	t.Parallel()
	shapes := []struct{ pragma, want string }{
		{"auto_vacuum=full", "1"},
		{"auto_vacuum=incremental", "2"},
		{"encoding='UTF-16be'", "UTF-16be"},
		{"secure_delete=on", "1"},
	}
	for size := 512; size <= 65536; size *= 2 {
		shapes = append(shapes, struct{ pragma, want string }{fmt.Sprintf("page_size=%d", size), fmt.Sprint(size)})
	}
	for i, shape := range shapes {
		journals := []string{wal, delete}
		if i == 0 { // the other two differ only in what becomes of the journal
			journals = append(journals, "truncate", "persist")
		}
		for _, journal := range journals {
			t.Run(shape.pragma+" "+journal, func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "app.db")
				app := application(t, path, shape.pragma, "journal_mode("+journal+")", "wal_autocheckpoint(0)")
				seed(t, app, 150)
				execAll(t, app, "DELETE FROM item WHERE id % 3 = 0", "INSERT INTO change VALUES (1)")
				name, _, _ := strings.Cut(shape.pragma, "=")
				if got := rowsOf(t, app, "PRAGMA "+name); !strings.HasSuffix(got[0], shape.want) {
					t.Fatalf("%s of the test's database is %s, want %s", name, got, shape.want)
				}
				want := contents(t, path)
				part, data := image(t, path)
				reference := filepath.Join(t.TempDir(), "reference.db")
				backup(t, path, reference)
				if !bytes.Equal(withoutCounters(data), withoutCounters(readFile(t, reference))) {
					t.Error("the dump differs from a copy by the backup interface")
				}
				target := filepath.Join(t.TempDir(), "copy.db")
				if err := restoreImage(t.Context(), openSource(t, target), drivers.Target{Run: "r"}, "one", part, data); err != nil {
					t.Fatal(err)
				}
				want = strings.Replace(want, "journal: [truncate]", "journal: [delete]", 1) // not a property of the file
				want = strings.Replace(want, "journal: [persist]", "journal: [delete]", 1)
				if diff := cmp.Diff(want, contents(t, target)); diff != "" {
					t.Errorf("restored database (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestPendingByte dumps a database across the page at 1 GiB that SQLite never uses. The file is sparse.
func TestPendingByte(t *testing.T) {
	t.Parallel()
	const pageSize, pendingByte, pages = 65536, 1 << 30, 1<<14 + 20
	path := newDatabase(t, delete, 10, "page_size(65536)")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	mark := func(at int64, with []byte) {
		if _, err := f.WriteAt(with, at); err != nil {
			t.Fatal(err)
		}
	}
	mark(28, []byte{0, 0, pages >> 8, pages & 0xff}) // the page count
	for _, at := range []int64{pendingByte - pageSize, pendingByte, pendingByte + pageSize, (pages - 1) * pageSize} {
		mark(at, bytes.Repeat([]byte("mark"), pageSize/4))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	v := freezeAt(t, path)
	if v.image.size() != pages*pageSize {
		t.Fatalf("image has %d bytes, want %d", v.image.size(), int64(pages*pageSize))
	}
	if f, err = os.Open(path); err != nil {
		t.Fatal(err)
	}
	w := &compareWriter{file: f, zeroFrom: pendingByte, zeroTo: pendingByte + pageSize}
	part := partOf(t, v)
	v.watch.locks = nil // this test reads the file itself and so drops them at its close
	if _, err := v.Dump(t.Context(), part, w); err != nil {
		t.Errorf("Dump: %v", err)
	}
	if w.at != pages*pageSize {
		t.Errorf("Dump wrote %d bytes, want %d", w.at, int64(pages*pageSize))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// compareWriter compares what it is given with a file, a range of which is to be zeros.
type compareWriter struct {
	file             *os.File
	at               int64
	zeroFrom, zeroTo int64
	buf              []byte
}

func (w *compareWriter) Write(p []byte) (int, error) {
	if len(w.buf) < len(p) {
		w.buf = make([]byte, len(p))
	}
	want := w.buf[:len(p)]
	if _, err := w.file.ReadAt(want, w.at); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	for i := max(w.zeroFrom, w.at); i < min(w.zeroTo, w.at+int64(len(p))); i++ {
		want[i-w.at] = 0
	}
	if !bytes.Equal(p, want) {
		return 0, fmt.Errorf("other bytes between %d and %d", w.at, w.at+int64(len(p)))
	}
	w.at += int64(len(p))
	return len(p), nil
}

// TestPrefixUnderWriter freezes again and again while a writer, which keeps its connection, inserts without a pause.
func TestPrefixUnderWriter(t *testing.T) {
	t.Parallel()
	const views = 12
	for _, journal := range []string{wal, delete} {
		t.Run(journal, func(t *testing.T) {
			t.Parallel()
			path := newDatabase(t, journal, 100)
			app := application(t, path, "wal_autocheckpoint(20)")
			stop, inserted := make(chan struct{}), make(chan struct{}, 1)
			var writer sync.WaitGroup
			writer.Go(func() {
				for n := 1; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := app.ExecContext(t.Context(), "INSERT INTO change VALUES (?)", n); err != nil {
						t.Errorf("insert %d: %v", n, err)
						return
					}
					select {
					case inserted <- struct{}{}:
					default:
					}
				}
			})
			var parts []drivers.Part
			var images [][]byte
			for range views {
				<-inserted
				part, data := image(t, path)
				parts, images = append(parts, part), append(images, data)
			}
			close(stop)
			writer.Wait()
			target := filepath.Join(t.TempDir(), "copy.db")
			last := 0
			for i := range views {
				rules := drivers.Target{Run: fmt.Sprint("run-", i), Overwrite: true}
				if err := restoreImage(t.Context(), openSource(t, target), rules, "one", parts[i], images[i]); err != nil {
					t.Fatalf("restore %d: %v", i, err)
				}
				got := contents(t, target)
				if err := consistent(got); err != nil {
					t.Errorf("restore %d: %v", i, err)
				}
				n := strings.Count(got, "int64 ")
				if n < last {
					t.Errorf("view %d has %d changes, the one before it %d", i, n, last)
				}
				last = n
			}
			if last == 0 {
				t.Error("no view has a change")
			}
		})
	}
}

func TestFacts(t *testing.T) {
	t.Parallel()
	path := newDatabase(t, wal, 10, "page_size(8192)", "application_id(77)", "encoding('UTF-16le')")
	var got facts
	if err := json.Unmarshal(freezeAt(t, path).Facts(), &got); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	want := facts{
		Version: got.Version, PageSize: 8192, PageCount: info.Size() / 8192, JournalMode: wal, Encoding: "UTF-16le",
		UserVersion: 42, ApplicationID: 77, SchemaVersion: got.SchemaVersion, DataVersion: got.DataVersion,
		FileSize: info.Size(),
	}
	if diff := cmp.Diff(want, got); diff != "" || !strings.HasPrefix(got.Version, "3.") || got.SchemaVersion == 0 {
		t.Errorf("facts (-want +got):\n%s%+v", diff, got)
	}
}

// TestHotJournal freezes what a writer left that was killed in the middle of a commit.
func TestHotJournal(t *testing.T) {
	t.Parallel()
	path := newDatabase(t, delete, 300)
	want := contents(t, path)
	app := application(t, path, "cache_size(5)")
	execAll(t, app, "BEGIN IMMEDIATE", "UPDATE item SET name = name || '!', body = zeroblob(300)")
	killed := filepath.Join(t.TempDir(), "app.db")
	writeFile(t, killed, readFile(t, path), 0o600)
	writeFile(t, killed+"-journal", readFile(t, path+"-journal"), 0o600)
	execAll(t, app, "ROLLBACK")
	if bytes.Equal(readFile(t, killed), readFile(t, path)) {
		t.Fatal("the killed writer had written nothing")
	}
	part, data := image(t, killed)
	target := filepath.Join(t.TempDir(), "copy.db")
	if err := restoreImage(t.Context(), openSource(t, target), drivers.Target{Run: "r"}, "one", part, data); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, contents(t, target)); diff != "" {
		t.Errorf("restored database (-want +got):\n%s", diff)
	}
}

// TestLogWithoutWriter freezes a database whose application was killed: half of it is in the log.
func TestLogWithoutWriter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	app := application(t, path, "journal_mode(wal)", "wal_autocheckpoint(0)")
	seed(t, app, 50)
	want := contents(t, path)
	killed := filepath.Join(t.TempDir(), "app.db")
	for _, suffix := range []string{"", "-wal"} {
		writeFile(t, killed+suffix, readFile(t, path+suffix), 0o600)
	}
	part, data := image(t, killed)
	target := filepath.Join(t.TempDir(), "copy.db")
	if err := restoreImage(t.Context(), openSource(t, target), drivers.Target{Run: "r"}, "one", part, data); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, contents(t, target)); diff != "" {
		t.Errorf("restored database (-want +got):\n%s", diff)
	}
}

func TestLocked(t *testing.T) {
	t.Parallel()
	path := newDatabase(t, delete, 10)
	app := application(t, path)
	execAll(t, app, "BEGIN EXCLUSIVE")

	s := openSource(t, path)
	s.busy = 50 * time.Millisecond
	_, err := s.Freeze(t.Context())
	var hint interface{ Hint() string }
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "locked") || !errors.As(err, &hint) {
		t.Errorf("Freeze of a locked database = %v, want an error with its path and a hint", err)
	}
	for _, class := range []error{
		drivers.ErrNotFound, drivers.ErrAccess, drivers.ErrInvalid, drivers.ErrCorrupt, drivers.ErrViewLost,
	} {
		if errors.Is(err, class) {
			t.Errorf("Freeze of a locked database: %v is taken for %v, want it retried", err, class)
		}
	}

	// The wait ends with the context, long before its limit.
	s.busy = busyTimeout
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := s.Freeze(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > busyTimeout/2 {
		t.Errorf("Freeze of a locked database = %v after %v, want the context's end", err, time.Since(start))
	}

	// It waits while there is hope.
	result := make(chan error, 1)
	go func() {
		v, err := s.Freeze(t.Context())
		if err == nil {
			err = v.End(t.Context())
		}
		result <- err
	}()
	execAll(t, app, "COMMIT")
	if err := <-result; err != nil {
		t.Errorf("Freeze of a database that was locked for a moment: %v", err)
	}
}

func TestNotADatabase(t *testing.T) {
	t.Parallel()
	good := readFile(t, newDatabase(t, delete, 100))
	for name, test := range map[string]struct {
		data []byte
		want error
	}{
		"text":      {[]byte(strings.Repeat("no database\n", 1000)), drivers.ErrInvalid},
		"short":     {[]byte(strings.Repeat("x", 300)), drivers.ErrInvalid},
		"encrypted": {append([]byte("\x8f\x1e0123456789abcdef"), good[18:]...), drivers.ErrInvalid},
		"schema":    {append(bytes.Clone(good[:100]), bytes.Repeat([]byte{0xee}, len(good)-100)...), drivers.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "app.db")
			writeFile(t, path, test.data, 0o600)
			_, err := openSource(t, path).Freeze(t.Context())
			var hint interface{ Hint() string }
			if !errors.Is(err, test.want) || !errors.As(err, &hint) || !strings.Contains(err.Error(), path) {
				t.Errorf("Freeze = %v, want %v with the path and a hint", err, test.want)
			}
			if left := beside(t, path); len(left) > 0 {
				t.Errorf("left %q", left)
			}
			if !bytes.Equal(readFile(t, path), test.data) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestOddPaths(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"with space", "q?mode=memory", "hash#x", "per%20cent%", "new\nline", "tab\t", `back\slash`, "a&b=c;d", "'quote\"",
		":memory:", "file:x?y", "caf\u00e9 \U0001F40D", "not utf-8 \xff\xfe", "-dash", "~", strings.Repeat("long", 60),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "dir "+name[:min(len(name), 100)])
			mkdir(t, dir)
			path := filepath.Join(dir, name)
			seed(t, application(t, path, "journal_mode(wal)"), 5)
			want := contents(t, path)
			part, data := image(t, path)
			target := filepath.Join(dir, "to", name)
			rules := drivers.Target{Run: "019aa000-0000-7000-8000-000000000001"}
			if err := restoreImage(t.Context(), openSource(t, target), rules, "one", part, data); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, contents(t, target)); diff != "" {
				t.Errorf("restored database (-want +got):\n%s", diff)
			}
			if left := beside(t, target); len(left) > 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}

func TestRelativePath(t *testing.T) {
	t.Parallel()
	s := openSource(t, "some/app.db")
	if !filepath.IsAbs(s.path) || !strings.HasSuffix(s.path, "/some/app.db") {
		t.Errorf("path of some/app.db is %s", s.path)
	}
}

// TestUnknownCollation restores a database with an index that only its application can check.
func TestUnknownCollation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	app := &sqlite.Driver{}
	app.MustRegisterCollationUtf8("house", strings.Compare)
	app.MustRegisterDeterministicScalarFunction("house_hash", 1, houseHash)
	raw, err := app.Open(uri(path, "mode=rwc"))
	if err != nil {
		t.Fatal(err)
	}
	c := &conn{raw: raw.(rawConn)} //nolint:errcheck,forcetypeassert // the driver's only connection
	err = c.exec(t.Context(),
		"CREATE TABLE t(a TEXT COLLATE house, b TEXT)",
		"INSERT INTO t VALUES ('x', 'y'), ('z', 'w')",
		"CREATE INDEX i ON t(a)",
		"CREATE INDEX j ON t(house_hash(b))",
	)
	if err := errors.Join(err, c.close()); err != nil {
		t.Fatal(err)
	}
	part, data := image(t, path)
	target := filepath.Join(t.TempDir(), "copy.db")
	if err := restoreImage(t.Context(), openSource(t, target), drivers.Target{Run: "r"}, "one", part, data); err != nil {
		t.Errorf("restore: %v", err)
	}
}

func houseHash(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
	return fmt.Sprint(args[0], "#"), nil
}
