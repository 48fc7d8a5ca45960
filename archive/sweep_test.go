package archive

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSweep removes what other attempts stored, keeps what the manifest names, and leaves alone what may still be written.
func TestSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := create(t, dir, Options{})
	s := newSample(testRef)
	if err := s.put(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	stray := must(s.putPart(t.Context(), a, PartName{Node: "site/databases/main", Name: "database", Ext: "sql", Token: "lost"}))(t)
	temporary := filepath.Join(dir, filepath.Dir(stray.Key), ".salvor-tmp-X")
	if err := os.WriteFile(temporary, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.Sweep(t.Context(), *s.done["stream"]); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, stray.Key)); !os.IsNotExist(err) {
		t.Errorf("the lost part is still there: %v", err)
	}
	if _, err := os.Stat(temporary); err != nil {
		t.Errorf("somebody's temporary file is gone: %v", err)
	}
	if err := s.check(t.Context(), a); err != nil {
		t.Error(err)
	}
}
