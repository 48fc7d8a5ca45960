package sqlite

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/internal/testenv"
)

func TestChinook(t *testing.T) {
	t.Parallel()
	chinook := testenv.RealData(t, "chinook", "Chinook_Sqlite.sqlite")
	// A copy, because a reader may make files beside a database.
	source := filepath.Join(t.TempDir(), "chinook.sqlite")
	writeFile(t, source, readFile(t, chinook), 0o600)
	part, data := image(t, source)
	target := filepath.Join(t.TempDir(), "copy.sqlite")
	if err := restoreImage(t.Context(), openSource(t, target), drivers.Target{Run: "r"}, "one", part, data); err != nil {
		t.Fatal(err)
	}
	want, got := shellDump(t, source), shellDump(t, target)
	if len(want) < 100_000 || !bytes.Equal(want, got) {
		t.Errorf("sqlite3 .dump of the copy differs (%d and %d bytes):\n%s", len(want), len(got),
			cmp.Diff(string(want[:min(len(want), 2000)]), string(got[:min(len(got), 2000)])))
	}
}

// shellDump is what the sqlite3 program says of a database: another reader than the one that wrote it.
func shellDump(t *testing.T, path string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sqlite3", path, ".dump").CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 .dump: %v\n%s", err, out)
	}
	return out
}
