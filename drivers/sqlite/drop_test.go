package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/internal/secret"
)

// Drop removes what was made for a trial, with what lies beside it, and nothing else.
func TestDrop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const name = drivers.ScratchPrefix + "0123"
	at := func(path string) *Source {
		s, err := open(drivers.Spec{Source: secret.New(path)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := at(filepath.Join(dir, name))
	if err := s.Drop(t.Context(), name); err != nil {
		t.Errorf("a database that was never made: %v", err)
	}
	if err := at(filepath.Join(dir, "absent", name)).Drop(t.Context(), name); err != nil {
		t.Errorf("a directory that was never made: %v", err)
	}
	kept := []string{"." + name + "x.salvor-run", name + "-other", name + "4", "site.db"}
	for _, file := range append([]string{name, name + "-wal", name + "-shm", name + "-journal"}, kept...) {
		writeFile(t, filepath.Join(dir, file), []byte("x"), 0o600)
	}
	if err := os.Mkdir(filepath.Join(dir, "."+name+".salvor-run"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, other := range []struct{ path, name string }{{name, name + "4"}, {"site.db", "site.db"}, {"site.db", name}} {
		if err := at(filepath.Join(dir, other.path)).Drop(t.Context(), other.name); !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("drop %s as %s: %v", other.path, other.name, err)
		}
	}
	for range 2 {
		if err := s.Drop(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	var left []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if diff := cmp.Diff(kept, left); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
}
