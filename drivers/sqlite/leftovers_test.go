package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
)

// stepsOf returns the names of the steps of a restore over a database.
func stepsOf(t *testing.T, part drivers.Part, data, old []byte) (steps []string) {
	t.Helper()
	s := openSource(t, filepath.Join(t.TempDir(), "app.db"))
	if old != nil {
		writeFile(t, s.path, old, 0o600)
	}
	s.hook = func(step string) { steps = append(steps, step) }
	if err := restoreImage(t.Context(), s, drivers.Target{Run: "run-1", Overwrite: true}, "one", part, data); err != nil {
		t.Fatal(err)
	}
	return steps
}

// killAt restores in another process, which is killed after a step.
func killAt(t *testing.T, path string, rules drivers.Target, part drivers.Part, data []byte, step int) {
	t.Helper()
	imagePath := filepath.Join(t.TempDir(), "image")
	writeFile(t, imagePath, data, 0o600)
	if !runChild(t, order{Path: path, Image: imagePath, Part: part, Rules: rules, Token: "dead", DieAt: step}) {
		t.Fatalf("the child was not killed at step %d", step)
	}
}

// stepAt returns the number of a step.
func stepAt(t *testing.T, steps []string, name string) int {
	t.Helper()
	for i, step := range steps {
		if step == name {
			return i + 1
		}
	}
	t.Fatalf("no step %q in %q", name, steps)
	return 0
}

// TestDeadRestoresGo kills a restore for good after each of its steps; the restore of another run removes what it left,
// and loses nothing that was not to be replaced.
func TestDeadRestoresGo(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	_, old := image(t, newDatabase(t, delete, 60))
	for name, test := range map[string]struct{ old []byte }{"absent": {nil}, "overwrite": {old}} {
		for i, step := range stepsOf(t, part, data, test.old) {
			t.Run(fmt.Sprintf("%s %d %s", name, i+1, step), func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "app.db")
				if test.old != nil {
					writeFile(t, path, test.old, 0o600)
				}
				killAt(t, path, drivers.Target{Run: "run-1", Overwrite: true}, part, data, i+1)

				rules := drivers.Target{Run: "run-2", Overwrite: true}
				s := openSource(t, path)
				if err := s.Prepare(t.Context(), rules, []drivers.Part{part}); err != nil {
					t.Fatalf("Prepare: %v", err)
				}
				if diff := cmp.Diff([]string{".app.db.salvor-run-2"}, beside(t, path)); diff != "" {
					t.Errorf("beside the target after Prepare (-want +got):\n%s", diff)
				}
				if got, err := os.ReadFile(path); test.old != nil && (err != nil || !bytes.Equal(got, test.old) && !bytes.Equal(got, data)) {
					t.Errorf("after Prepare the target is neither the old database nor the new one: %d bytes, %v", len(got), err)
				}
				if err := restoreImage(t.Context(), s, rules, "two", part, data); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(readFile(t, path), data) {
					t.Error("restored other bytes")
				}
				if left := beside(t, path); len(left) > 0 {
					t.Errorf("left %q", left)
				}
			})
		}
	}
}

// TestOldDatabaseReturns: a restore that may not replace anything puts back what a dead one had moved aside, and ends.
func TestOldDatabaseReturns(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	garbage := bytes.Repeat([]byte("not a database, "), 100)
	steps := stepsOf(t, part, data, garbage)
	for _, step := range []string{"moved aside ", "moved aside"} {
		t.Run(step+".", func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "app.db")
			writeFile(t, path, garbage, 0o600)
			writeFile(t, path+"-journal", garbage[1:], 0o600)
			at := stepAt(t, steps, step)
			if step == "moved aside" {
				at++ // one file more
			}
			killAt(t, path, drivers.Target{Run: "run-1", Overwrite: true}, part, data, at)
			if there, err := exists(path); err != nil || there {
				t.Fatalf("the child was not killed while the target was absent (%v)", err)
			}

			s, rules := openSource(t, path), drivers.Target{Run: "run-2"}
			err := s.Prepare(t.Context(), rules, []drivers.Part{part})
			if !errors.Is(err, drivers.ErrNotEmpty) || !strings.Contains(err.Error(), "put back") {
				t.Errorf("Prepare = %v, want ErrNotEmpty that says what was put back", err)
			}
			if !bytes.Equal(readFile(t, path), garbage) || !bytes.Equal(readFile(t, path+"-journal"), garbage[1:]) {
				t.Error("the old database did not return as it was")
			}
			if diff := cmp.Diff([]string{"app.db-journal"}, beside(t, path)); diff != "" {
				t.Errorf("beside the target (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOnlyCopyStays: where an application has made a database in the place of the one that a dead restore moved aside,
// that one is not removed.
func TestOnlyCopyStays(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	_, old := image(t, newDatabase(t, delete, 60))
	path := filepath.Join(t.TempDir(), "app.db")
	writeFile(t, path, old, 0o600)
	killAt(t, path, drivers.Target{Run: "run-1", Overwrite: true}, part, data, stepAt(t, stepsOf(t, part, data, old), "moved aside"))
	writeFile(t, path, []byte("new"), 0o600)

	kept := filepath.Join(filepath.Dir(path), ".app.db.salvor-run-1", "old", "app.db")
	s, rules := openSource(t, path), drivers.Target{Run: "run-2", Overwrite: true}
	for range 2 {
		err := s.Prepare(t.Context(), rules, []drivers.Part{part})
		var hint interface{ Hint() string }
		if !errors.Is(err, drivers.ErrNotEmpty) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), kept) {
			t.Fatalf("Prepare = %v, want ErrNotEmpty with a hint that names %s", err, kept)
		}
		if !bytes.Equal(readFile(t, kept), old) || string(readFile(t, path)) != "new" {
			t.Fatal("a database was lost")
		}
		if diff := cmp.Diff([]string{".app.db.salvor-run-1"}, beside(t, path)); diff != "" {
			t.Errorf("beside the target (-want +got):\n%s", diff)
		}
	}
	// When the user has taken it, all is well.
	if err := os.Remove(kept); err != nil {
		t.Fatal(err)
	}
	if err := restoreImage(t.Context(), s, rules, "two", part, data); err != nil {
		t.Fatal(err)
	}
	if left := beside(t, path); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// TestLiveRestoreStays: of two restores that meet, neither removes what the other works with.
func TestLiveRestoreStays(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	other, otherData := image(t, newDatabase(t, wal, 60))
	for _, step := range []string{"created", "verified", "locked", "moved aside"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "app.db")
			writeFile(t, path, otherData, 0o600)
			first, second := drivers.Target{Run: "run-1", Overwrite: true}, drivers.Target{Run: "run-2", Overwrite: true}
			wake := sleeper(t, path, step, first, part, data)
			s := openSource(t, path)
			if err := s.Prepare(t.Context(), second, []drivers.Part{other}); err != nil {
				t.Fatalf("Prepare beside a live restore: %v", err)
			}
			both := []string{".app.db.salvor-run-1", ".app.db.salvor-run-2"}
			if diff := cmp.Diff(both, beside(t, path)); diff != "" {
				t.Fatalf("beside the target (-want +got):\n%s", diff)
			}
			if err := wake(); err != nil {
				t.Fatalf("first restore: %v", err)
			}
			// Its Finish does not come: the second one's removes what it left.
			err := s.Load(t.Context(), second, drivers.Attempt{Run: "run-2", Token: "two"}, other, bytes.NewReader(otherData))
			if err != nil {
				t.Fatalf("second restore: %v", err)
			}
			if err := s.Finish(t.Context(), second, []drivers.Part{other}); err != nil {
				t.Fatalf("Finish: %v", err)
			}
			if !bytes.Equal(readFile(t, path), otherData) {
				t.Error("the later restore is not what stands")
			}
			if left := beside(t, path); len(left) > 0 {
				t.Errorf("left %q", left)
			}
			if err := openSource(t, path).Finish(t.Context(), first, []drivers.Part{part}); err != nil {
				t.Errorf("late Finish of the first restore: %v", err)
			}
		})
	}
}

// TestLaterRestoreStays: a Finish leaves alone a restore that began after its own, though no process works in it now.
func TestLaterRestoreStays(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	path := filepath.Join(t.TempDir(), "app.db")
	first, second := drivers.Target{Run: "run-1", Overwrite: true}, drivers.Target{Run: "run-2", Overwrite: true}
	wake := sleeper(t, path, "verified", first, part, data)
	s := openSource(t, path)
	if err := s.Prepare(t.Context(), second, []drivers.Part{part}); err != nil {
		t.Fatal(err)
	}
	if err := wake(); err != nil {
		t.Fatal(err)
	}
	if err := openSource(t, path).Finish(t.Context(), first, []drivers.Part{part}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".app.db.salvor-run-2"}, beside(t, path)); diff != "" {
		t.Errorf("beside the target (-want +got):\n%s", diff)
	}
	if err := restoreImage(t.Context(), s, second, "two", part, data); err != nil {
		t.Errorf("second restore: %v", err)
	}
}

// TestNeighboursStay: names that only look like a work directory of the target are not touched.
func TestNeighboursStay(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	path := filepath.Join(t.TempDir(), "app.db")
	want := []string{".app.db.salvor-a.b", ".app.db.salvor-file", ".app.db.salvor-x.salvor-run", ".app.db2.salvor-run"}
	for _, name := range want {
		if name == ".app.db.salvor-file" {
			writeFile(t, filepath.Join(filepath.Dir(path), name), []byte("x"), 0o600)
			continue
		}
		mkdir(t, filepath.Join(filepath.Dir(path), name))
	}
	if err := restoreImage(t.Context(), openSource(t, path), drivers.Target{Run: "run-2"}, "one", part, data); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, beside(t, path)); diff != "" {
		t.Errorf("beside the target (-want +got):\n%s", diff)
	}
}
