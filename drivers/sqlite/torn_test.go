package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"salvor/drivers"
)

// TestTruncated refuses a file that ends within one of its pages; SQLite itself fills the page with zeros.
func TestTruncated(t *testing.T) {
	t.Parallel()
	live := filepath.Join(t.TempDir(), "app.db")
	app := application(t, live, "journal_mode(wal)", "wal_autocheckpoint(0)")
	seed(t, app, 100)
	rowsOf(t, app, "PRAGMA wal_checkpoint(passive)")
	execAll(t, app, "INSERT INTO change VALUES (1)")
	for name, test := range map[string]struct {
		path     string
		suffixes []string
	}{
		"rollback journal": {newDatabase(t, delete, 100), []string{""}},
		"large pages":      {newDatabase(t, delete, 1000, "page_size(65536)"), []string{""}},
		"log at rest":      {newDatabase(t, wal, 100), []string{""}},
		"log with frames":  {live, []string{"", "-wal"}},
	} {
		for _, cut := range []int64{1, 511} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "app.db")
				for _, suffix := range test.suffixes {
					writeFile(t, path+suffix, readFile(t, test.path+suffix), 0o600)
				}
				image(t, path) // whole, as it is
				for _, suffix := range test.suffixes {
					writeFile(t, path+suffix, readFile(t, test.path+suffix), 0o600)
				}
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(path, info.Size()-cut); err != nil {
					t.Fatal(err)
				}
				v, err := openSource(t, path).Freeze(t.Context())
				if err == nil {
					t.Fatalf("Freeze of a truncated file succeeded; End: %v", v.End(t.Context()))
				}
				var hint interface{ Hint() string }
				if !errors.Is(err, drivers.ErrCorrupt) || !strings.Contains(err.Error(), "truncated") || !errors.As(err, &hint) {
					t.Errorf("Freeze of a truncated file = %v, want ErrCorrupt with a hint", err)
				}
			})
		}
	}
}

// TestBytesAfterLastPage: space beyond the database is no damage.
func TestBytesAfterLastPage(t *testing.T) {
	t.Parallel()
	path := newDatabase(t, delete, 100)
	data := readFile(t, path)
	writeFile(t, path, append(data, make([]byte, 1000)...), 0o600)
	if _, got := image(t, path); len(got) != len(data) {
		t.Errorf("dumped %d bytes, want %d", len(got), len(data))
	}
}

// TestExtendedMeanwhile: a file that a checkpoint is just extending is looked at again.
func TestExtendedMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "app.db")
		writeFile(t, path, make([]byte, 3*4096+100), 0o600)
		v := &view{path: path}
		time.AfterFunc(15*time.Millisecond, func() {
			if err := os.Truncate(path, 4*4096); err != nil {
				t.Error(err)
			}
		})
		if err := v.checkWhole(t.Context(), 4096, 5); err != nil {
			t.Errorf("a file that is being extended = %v, want nil", err)
		}
	})
}
