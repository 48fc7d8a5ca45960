package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
)

// childEnv holds the order for a process that restores and kills itself on the way.
const childEnv = "SALVOR_SQLITE_TEST_CHILD"

type order struct {
	Path  string
	Image string
	Part  drivers.Part
	Hash  string // of the part, which its JSON lacks
	Rules drivers.Target
	Token string
	DieAt int // the step after which it dies, counted from 1
}

func restoreAndDie() {
	err := func() error {
		var o order
		if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &o); err != nil {
			return err
		}
		o.Part.SHA256 = o.Hash
		data, err := os.ReadFile(o.Image)
		if err != nil {
			return err
		}
		steps := 0
		s := &Source{path: o.Path, busy: busyTimeout, hook: func(string) {
			if steps++; steps == o.DieAt {
				if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
					panic(err)
				}
				select {}
			}
		}}
		return restoreImage(context.Background(), s, o.Rules, o.Token, o.Part, data)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runChild tells whether the child was killed before it was done.
func runChild(t *testing.T, o order) (killed bool) {
	t.Helper()
	o.Hash = o.Part.SHA256
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	var exit *exec.ExitError
	if status, ok := exitStatus(err, &exit); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("child: %v\n%s", err, out)
	}
	return true
}

func exitStatus(err error, exit **exec.ExitError) (syscall.WaitStatus, bool) {
	if !errors.As(err, exit) {
		return 0, false
	}
	status, ok := (*exit).Sys().(syscall.WaitStatus)
	return status, ok && status.Signaled()
}

// TestKilledAnywhere kills a restore after each of its steps, some twice, and lets another attempt do the rest.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	source := newDatabase(t, wal, 50)
	part, data := image(t, source)
	want := contents(t, source)
	imagePath := filepath.Join(t.TempDir(), "image")
	writeFile(t, imagePath, data, 0o600)
	other, otherData := image(t, newDatabase(t, wal, 60))
	if other.Size == 0 {
		t.Fatal("no other database")
	}
	garbage := bytes.Repeat([]byte("not a database, "), 100)

	for name, place := range map[string]struct {
		files    map[string][]byte // by suffix
		rules    drivers.Target
		minSteps int
		kills    int
	}{
		"absent":                {nil, drivers.Target{}, 9, 2},
		"vanished database":     {map[string][]byte{"-wal": garbage, "-journal": garbage}, drivers.Target{}, 11, 1},
		"empty":                 {map[string][]byte{"": {}}, drivers.Target{}, 10, 1},
		"equal":                 {map[string][]byte{"": data}, drivers.Target{}, 7, 1},
		"overwrite":             {map[string][]byte{"": otherData}, drivers.Target{Overwrite: true}, 10, 2},
		"overwrite with a log":  {map[string][]byte{"": garbage, "-wal": garbage, "-shm": garbage}, drivers.Target{Overwrite: true}, 12, 1},
		"mirror with a journal": {map[string][]byte{"": garbage, "-journal": garbage}, drivers.Target{Mirror: true}, 11, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place.rules.Run = "run-1"
			for step := 1; ; step++ {
				path := filepath.Join(t.TempDir(), "app.db")
				for suffix, data := range place.files {
					writeFile(t, path+suffix, data, 0o640)
				}
				o := order{Path: path, Image: imagePath, Part: part, Rules: place.rules, DieAt: step}
				for i := range place.kills {
					o.Token = fmt.Sprintf("dead%d", i)
					if !runChild(t, o) {
						if i == 0 && step <= place.minSteps {
							t.Fatalf("a restore has only %d steps, want at least %d", step-1, place.minSteps)
						}
						if i == 0 {
							return
						}
					}
					checkHalfWay(t, path, place.files, data)
				}
				err := restoreImage(t.Context(), openSource(t, path), place.rules, "alive", part, data)
				if err != nil {
					t.Fatalf("restore after a kill at step %d: %v (beside it: %q)", step, err, beside(t, path))
				}
				if !bytes.Equal(readFile(t, path), data) {
					t.Fatalf("restore after a kill at step %d: other bytes", step)
				}
				if left := beside(t, path); len(left) > 0 {
					t.Fatalf("restore after a kill at step %d left %q", step, left)
				}
				if diff := cmp.Diff(want, contents(t, path)); diff != "" {
					t.Fatalf("restore after a kill at step %d (-want +got):\n%s", step, diff)
				}
			}
		})
	}
}

// checkHalfWay checks what a dead restore may leave: the new database, or the old one with all that belongs to it, where
// it was or moved aside.
func checkHalfWay(t *testing.T, path string, old map[string][]byte, image []byte) {
	t.Helper()
	main, err := os.ReadFile(path)
	if err == nil && bytes.Equal(main, image) {
		for _, suffix := range sidecars() {
			if there, err := exists(path + suffix); err != nil || there {
				t.Errorf("new database stands beside an old %s (%v)", suffix, err)
			}
		}
		return
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for suffix, data := range old {
		here, err := os.ReadFile(path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			here, err = os.ReadFile(filepath.Join(filepath.Dir(path), ".app.db.salvor-run-1", "old", "app.db"+suffix))
		}
		if err != nil || !bytes.Equal(here, data) {
			t.Errorf("old database's file %q is lost or changed: %v", suffix, err)
		}
	}
	if _, hadMain := old[""]; err == nil && !hadMain {
		t.Errorf("a database appeared that is not the image: %d bytes", len(main))
	}
}

// sleeper restores to path in another goroutine and stops after a step until it is woken.
func sleeper(t *testing.T, path, at string, rules drivers.Target, part drivers.Part, data []byte) (wake func() error) {
	t.Helper()
	there, wakeUp, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	s := openSource(t, path)
	s.hook = func(step string) {
		if step == at {
			close(there)
			<-wakeUp
		}
	}
	if err := s.Prepare(t.Context(), rules, []drivers.Part{part}); err != nil {
		t.Fatalf("Prepare: %v", err)
	}
	go func() {
		attempt := drivers.Attempt{Run: rules.Run, Task: "load", Token: "sleeper"}
		result <- s.Load(t.Context(), rules, attempt, part, bytes.NewReader(data))
	}()
	<-there
	return func() error {
		close(wakeUp)
		return <-result
	}
}

func TestLateAttemptPublishesNothing(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	for _, test := range []struct {
		step  string
		again bool // the run is prepared once more
	}{{"created", false}, {"received", false}, {"verified", false}, {"verified", true}} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "app.db")
			rules := drivers.Target{Run: "run-1", Overwrite: true}
			wake := sleeper(t, path, test.step, rules, part, data)
			if err := restoreImage(t.Context(), openSource(t, path), rules, "awake", part, data); err != nil {
				t.Fatalf("restore beside a sleeping attempt: %v", err)
			}
			if err := insertChange(t.Context(), path); err != nil {
				t.Fatal(err)
			}
			want := contents(t, path)
			if test.again {
				if err := openSource(t, path).Prepare(t.Context(), rules, []drivers.Part{part}); err != nil {
					t.Fatal(err)
				}
			}
			if err := wake(); err == nil {
				t.Error("Load of an attempt that woke after Finish: no error")
			}
			if diff := cmp.Diff(want, contents(t, path)); diff != "" {
				t.Errorf("a late attempt changed the database (-want +got):\n%s", diff)
			}
			if left := beside(t, path); len(left) > 0 && !test.again {
				t.Errorf("a late attempt left %q", left)
			}
		})
	}
}

func TestAttemptsPublishOneAfterAnother(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	for _, step := range []string{"locked", "recorded", "placed"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "app.db")
			rules := drivers.Target{Run: "run-1"}
			wake := sleeper(t, path, step, rules, part, data)
			s := openSource(t, path)
			waits, result := make(chan struct{}), make(chan error, 1)
			s.hook = func(step string) {
				if step == "verified" {
					close(waits)
				}
			}
			go func() {
				result <- restoreImage(t.Context(), s, rules, "second", part, data)
			}()
			<-waits
			if err := wake(); err != nil {
				t.Errorf("first attempt: %v", err)
			}
			if err := <-result; err != nil {
				t.Errorf("second attempt: %v", err)
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

// TestPutBack lets another process make the target while the restore replaces it.
func TestPutBack(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, delete, 50))
	t.Run("old database returns", func(t *testing.T) {
		t.Parallel()
		path := newDatabase(t, delete, 60)
		writeFile(t, path+"-journal", []byte("not a journal"), 0o600)
		before := readFile(t, path)
		s := openSource(t, path)
		s.hook = func(step string) {
			if step != "moved aside" {
				return
			}
			// Publishing fails: the image is gone.
			if err := os.Remove(filepath.Join(filepath.Dir(path), ".app.db.salvor-run-1", "one.new")); err != nil {
				t.Error(err)
			}
		}
		rules := drivers.Target{Run: "run-1", Overwrite: true}
		if err := restoreImage(t.Context(), s, rules, "one", part, data); err == nil {
			t.Fatal("restore without an image: no error")
		}
		if !bytes.Equal(readFile(t, path), before) {
			t.Error("the old database was not put back")
		}
	})
	t.Run("foreign database stays", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "app.db")
		s := openSource(t, path)
		s.hook = func(step string) {
			if step == "moved aside" {
				writeFile(t, path, []byte("foreign"), 0o600)
			}
		}
		err := restoreImage(t.Context(), s, drivers.Target{Run: "run-1", Overwrite: true}, "one", part, data)
		if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "while it was restored") {
			t.Errorf("restore beside another writer = %v", err)
		}
		if string(readFile(t, path)) != "foreign" {
			t.Error("a foreign file was replaced")
		}
	})
}

// TestPublishedOnce kills a restore when its database is in its place but nothing says so yet; what the application
// writes then must survive the next attempt.
func TestPublishedOnce(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	imagePath := filepath.Join(t.TempDir(), "image")
	writeFile(t, imagePath, data, 0o600)
	steps := countSteps(t, part, data, "placed")
	path := filepath.Join(t.TempDir(), "app.db")
	rules := drivers.Target{Run: "run-1", Overwrite: true}
	if !runChild(t, order{Path: path, Image: imagePath, Part: part, Rules: rules, Token: "dead", DieAt: steps}) {
		t.Fatal("the child was not killed")
	}
	if there, err := exists(filepath.Join(filepath.Dir(path), ".app.db.salvor-run-1", "loaded")); err != nil || there {
		t.Fatalf("the child was killed too late (%v)", err)
	}
	if err := insertChange(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	want := contents(t, path)
	if err := restoreImage(t.Context(), openSource(t, path), rules, "alive", part, data); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, contents(t, path)); diff != "" {
		t.Errorf("the database was loaded twice (-want +got):\n%s", diff)
	}
}

// countSteps returns how many steps a restore to an absent place takes to a step.
func countSteps(t *testing.T, part drivers.Part, data []byte, to string) (n int) {
	t.Helper()
	s := openSource(t, filepath.Join(t.TempDir(), "app.db"))
	steps := 0
	s.hook = func(step string) {
		if steps++; step == to {
			n = steps
		}
	}
	if err := restoreImage(t.Context(), s, drivers.Target{Run: "run-1"}, "one", part, data); err != nil || n == 0 {
		t.Fatalf("restore to step %s: %d, %v", to, n, err)
	}
	return n
}

// TestLoadedOnceOntoEqual: a second attempt that wakes before Finish leaves alone what the first found to be there.
func TestLoadedOnceOntoEqual(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	path := filepath.Join(t.TempDir(), "app.db")
	writeFile(t, path, data, 0o600)
	rules := drivers.Target{Run: "run-1", Overwrite: true}
	wake := sleeper(t, path, "verified", rules, part, data)
	s := openSource(t, path)
	err := s.Load(t.Context(), rules, drivers.Attempt{Run: "run-1", Token: "awake"}, part, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := insertChange(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	want := contents(t, path)
	if err := wake(); err != nil {
		t.Errorf("second attempt = %v, want nil", err)
	}
	if diff := cmp.Diff(want, contents(t, path)); diff != "" {
		t.Errorf("the database was loaded twice (-want +got):\n%s", diff)
	}
}

// TestDeadImagesGo: a retry has the space of the attempts before it, and knows nothing of their inodes.
func TestDeadImagesGo(t *testing.T) {
	t.Parallel()
	part, data := image(t, newDatabase(t, wal, 50))
	imagePath := filepath.Join(t.TempDir(), "image")
	writeFile(t, imagePath, data, 0o600)
	path := filepath.Join(t.TempDir(), "app.db")
	rules := drivers.Target{Run: "run-1"}
	o := order{Path: path, Image: imagePath, Part: part, Rules: rules, Token: "dead"}
	o.DieAt = countSteps(t, part, data, "recorded")
	if !runChild(t, o) {
		t.Fatal("the child was not killed")
	}
	inWork := func() []string { return beside(t, filepath.Join(filepath.Dir(path), ".app.db.salvor-run-1", "-")) }
	if diff := cmp.Diff([]string{"dead.new", "lock", "published"}, inWork()); diff != "" {
		t.Fatalf("a dead restore left (-want +got):\n%s", diff)
	}
	s := openSource(t, path)
	s.hook = func(step string) {
		if step != "created" {
			return
		}
		if diff := cmp.Diff([]string{"alive.new", "lock"}, inWork()); diff != "" {
			t.Errorf("what a retry found (-want +got):\n%s", diff)
		}
	}
	err := s.Load(t.Context(), rules, drivers.Attempt{Run: "run-1", Token: "alive"}, part, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
}

func TestLockHolds(t *testing.T) {
	t.Parallel()
	s := openSource(t, filepath.Join(t.TempDir(), "app.db"))
	if err := s.Prepare(t.Context(), drivers.Target{Run: "r"}, nil); err != nil {
		t.Fatal(err)
	}
	w, err := s.work("r")
	if err != nil {
		t.Fatal(err)
	}
	release, err := w.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := w.acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("second acquire = %v, want it to wait until its context ends", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if release, err = w.acquire(t.Context()); err != nil {
		t.Fatalf("acquire after a release: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}
