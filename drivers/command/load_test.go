package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
)

// Memory does not grow with what a program prints, says or reads. Not parallel: it counts all allocations.
func TestHugeStreams(t *testing.T) {
	const size = 256 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	count := &countWriter{}
	if err := dump(t, openSource(t, shell("head -c 268435456 /dev/zero; yes error | head -c 33554432 >&2"), nil), count); err != nil {
		t.Fatalf("dump: %v", err)
	}
	if count.n != size {
		t.Errorf("dump gave %d bytes, want %d", count.n, size)
	}
	file := filepath.Join(t.TempDir(), "count")
	s := openSource(t, shell("yes message | head -c 33554432; wc -c > "+file), nil)
	if err := load(t.Context(), s, io.LimitReader(zeros{}, size)); err != nil {
		t.Fatalf("load: %v", err)
	}
	if got := strings.TrimSpace(readFile(t, file)); got != "268435456" {
		t.Errorf("the program read %s bytes, want %d", got, size)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
		t.Errorf("%d bytes were allocated to move %d", grown, 2*size)
	}
}

type countWriter struct{ n int64 }

func (w *countWriter) Write(p []byte) (int, error) {
	w.n += int64(len(p))
	return len(p), nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// logged is a program that writes down how often it ran, then does as a script says.
func logged(t *testing.T, script string) (source string, runs func() int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "runs")
	return shell("echo run >> " + file + "; " + script), func() int { return strings.Count(readFile(t, file), "run\n") }
}

func expectRuns(t *testing.T, runs func() int, want int) {
	t.Helper()
	if got := runs(); got != want {
		t.Errorf("the program ran %d times, want %d", got, want)
	}
}

func TestLoadFailure(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 1<<20)
	for _, test := range []struct {
		name, script, data string
		class              error
		want               string
	}{
		{"status", "cat >/dev/null; echo said; echo bad >&2; exit 5", large, drivers.ErrFailed, "program sh ended with status 5: said | bad"},
		{"status before all is read", "exit 5", large, drivers.ErrFailed, "program sh ended with status 5 and said nothing"},
		{"signal before all is read", "kill -9 $$", large, drivers.ErrFailed, "program sh was ended by a signal (killed) and said nothing"},
		{"nothing is read", "exit 0", "x", drivers.ErrInvalid, "program sh ended well without having read all of its input"},
		{"little is read", "head -c 10 >/dev/null; exec 0<&-; exit 0", large, drivers.ErrInvalid, "without having read all"},
		{"nearly all is read", "exec dd bs=1 count=10 of=/dev/null status=none", "01234567890", drivers.ErrInvalid, "without having read all"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			source, runs := logged(t, test.script)
			s := openSource(t, source, nil)
			for range 2 { // it is known that it failed: it can be tried again
				err := load(t.Context(), s, strings.NewReader(test.data))
				if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, test.class) {
					t.Errorf("load = %v, want %s (%v)", err, test.want, test.class)
				}
				if errors.Is(err, drivers.ErrNotEmpty) {
					t.Errorf("load = %v, but how the program ended is known", err)
				}
			}
			expectRuns(t, runs, 2)
		})
	}
}

// A program that has all of its input, and is killed, may have done what it does.
func TestUnclearEnd(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"signal":           "cat >/dev/null; kill -9 $$",
		"signal in a pipe": "cat >/dev/null; sh -c 'kill -9 $$'; exit $?",
		"lost connection":  "cat >/dev/null; exit 255",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, runs := logged(t, script)
			scratch := t.TempDir()
			first := load(t.Context(), openIn(t, scratch, source, nil), strings.NewReader("x"))
			if !errors.Is(first, drivers.ErrFailed) || !strings.Contains(hintOf(first), "idempotent") {
				t.Errorf("load = %v, want ErrFailed with a hint", first)
			}
			err := load(t.Context(), openIn(t, scratch, source, nil), strings.NewReader("x"))
			if !errors.Is(err, drivers.ErrNotEmpty) || !strings.Contains(hintOf(err), "idempotent") {
				t.Errorf("second load = %v, want ErrNotEmpty with a hint", err)
			}
			expectRuns(t, runs, 1)
			idempotent := openIn(t, scratch, source, map[string]any{"idempotent": true})
			if err := load(t.Context(), idempotent, strings.NewReader("x")); err == nil || errors.Is(err, drivers.ErrNotEmpty) || errors.Is(err, drivers.ErrFailed) {
				t.Errorf("load of what may run twice = %v, want how the program ended, to be tried again", err)
			}
			expectRuns(t, runs, 2)
		})
	}
}

// A part that turns out to be damaged, or a cancel, ends the program before its input ends, even one that does not heed
// requests: it would take the end for that of the data.
func TestStoppedBeforeTheInputEnds(t *testing.T) {
	t.Parallel()
	damaged := errors.New("damaged part")
	for name, fail := range map[string]func(cancel context.CancelCauseFunc) error{
		"damaged": func(context.CancelCauseFunc) error { return damaged },
		"cancelled": func(cancel context.CancelCauseFunc) error {
			cancel(damaged)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done := filepath.Join(t.TempDir(), "done")
			source, runs := logged(t, "trap '' TERM; cat >/dev/null && touch "+done)
			s := openSource(t, source, nil)
			s.limits.grace = 200 * time.Millisecond
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			pieces := 0
			err := load(ctx, s, readerFunc(func(p []byte) (int, error) {
				if pieces++; pieces < 3 {
					return copy(p, "some data"), nil
				}
				eventually(t, "the program", func() bool { return runs() == 1 })
				return 0, fail(cancel)
			}))
			if !errors.Is(err, damaged) {
				t.Errorf("load = %v, want the reader's error or the cancel's cause", err)
			}
			if _, err := os.Stat(done); err == nil {
				t.Error("the program was told that its input was at its end")
			}
			// Nothing was changed, so it can be tried again.
			if err := load(t.Context(), s, strings.NewReader("x")); err != nil {
				t.Errorf("second load: %v", err)
			}
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestCancelAfterTheInput(t *testing.T) {
	t.Parallel()
	source, runs := logged(t, "cat >/dev/null; exec sleep 600")
	s := openSource(t, source, nil)
	ctx, cancel := context.WithCancel(t.Context())
	s.hook = func(step string) {
		if step == "fed" {
			// The input fits into the pipe: the program may not have begun yet, and would be ended before it does.
			eventually(t, "the program's start", func() bool { return runs() == 1 })
			cancel()
		}
	}
	if err := load(ctx, s, strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("load = %v, want context.Canceled", err)
	}
	if err := load(t.Context(), s, strings.NewReader("x")); !errors.Is(err, drivers.ErrNotEmpty) {
		t.Errorf("second load = %v, want ErrNotEmpty: the program had all of its input", err)
	}
	expectRuns(t, runs, 1)
}

// dieAt is a process that loads and is killed at a step; see TestKilled.
func dieAt(args []string) {
	scratch, source, step := args[0], args[1], args[2]
	s := &Source{
		node: "site/it", options: options{Ext: "bin", StderrLines: 1}, scratch: scratch,
		limits: limits{grace: time.Second, quiet: time.Second, lock: time.Second},
	}
	s.named, _ = splitWords(source)
	s.hook = func(at string) {
		if at == step {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	r := readerFunc(func(p []byte) (int, error) {
		if step == "stay" {
			select {}
		}
		return copy(p, "x"), io.EOF
	})
	_ = s.Prepare(context.Background(), rules, nil)
	_ = s.Load(context.Background(), rules, drivers.Attempt{Run: rules.Run, Task: "load", Token: "dead"}, onlyPart, r)
}

// After the death of the process that restores, the program is not run again, and it is said why.
func TestKilled(t *testing.T) {
	t.Parallel()
	for step, ran := range map[string]int{"started": 0, "reading": 1, "fed": 1, "done": 1} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			scratch := t.TempDir()
			file := filepath.Join(t.TempDir(), "pid")
			script := "cat >/dev/null; true"
			if step == "reading" || step == "fed" {
				script = "echo $$ > " + file + "; cat >/dev/null; exec sleep 600"
			}
			source, runs := logged(t, script)
			cmd := exec.CommandContext(t.Context(), os.Args[0], scratch, source, step)
			cmd.Env = append(os.Environ(), roleVariable+"=die")
			if step == "reading" || step == "fed" {
				// The program must have begun when the process dies, so the process dies by this one's hand.
				cmd.Args[3] = "-"
				if step == "reading" {
					cmd.Args[3] = "stay"
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				pid := pidIn(t, file)
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait()
				if runtime.GOOS == "linux" {
					eventually(t, "the program's end", func() bool { return processGone(pid) })
				} else {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			} else {
				_ = cmd.Run()
			}
			expectRuns(t, runs, ran)
			err := load(t.Context(), openIn(t, scratch, source, nil), strings.NewReader("x"))
			if !errors.Is(err, drivers.ErrNotEmpty) || hintOf(err) == "" {
				t.Errorf("load = %v, want ErrNotEmpty with a hint", err)
			}
			expectRuns(t, runs, ran)
			if step == "started" || step == "done" {
				again := openIn(t, scratch, source, map[string]any{"idempotent": true})
				if err := load(t.Context(), again, strings.NewReader("x")); err != nil {
					t.Errorf("load of what may run twice: %v", err)
				}
				expectRuns(t, runs, ran+1)
			}
		})
	}
}

func TestLateAttempt(t *testing.T) {
	t.Parallel()
	source, runs := logged(t, "cat >/dev/null")
	s := openSource(t, source, nil)
	if err := load(t.Context(), s, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(t.Context(), rules, nil); err != nil {
		t.Fatal(err)
	}
	// A late attempt, or the run when it is resumed because of another node, finds that the program has run.
	for range 2 {
		if err := s.Load(t.Context(), rules, drivers.Attempt{}, onlyPart, strings.NewReader("x")); err != nil {
			t.Errorf("Load after Finish = %v", err)
		}
		if err := s.Prepare(t.Context(), rules, nil); err != nil {
			t.Error(err)
		}
	}
	expectRuns(t, runs, 1)
	r, err := s.record(rules.Run)
	if err == nil {
		err = r.remove() // as the sweep does in time
	}
	if err != nil {
		t.Fatal(err)
	}
	err = s.Load(t.Context(), rules, drivers.Attempt{}, onlyPart, strings.NewReader("x"))
	if !errors.Is(err, drivers.ErrInvalid) || !strings.Contains(hintOf(err), "--scratch") {
		t.Errorf("Load without a record = %v, want ErrInvalid with a hint", err)
	}
	if err := s.Finish(t.Context(), rules, nil); err != nil {
		t.Errorf("second Finish: %v", err)
	}
}

// Two nodes, and two runs, have records of their own.
func TestRecordsAreApart(t *testing.T) {
	t.Parallel()
	source, runs := logged(t, "cat >/dev/null")
	s := openSource(t, source, nil)
	other := openIn(t, s.scratch, source, nil)
	other.node = "site/other"
	for i, each := range []*Source{s, other} {
		if err := load(t.Context(), each, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		expectRuns(t, runs, i+1)
	}
	again := drivers.Target{Run: "run-2"}
	if err := errors.Join(s.Prepare(t.Context(), again, nil), s.Load(t.Context(), again, drivers.Attempt{}, onlyPart, strings.NewReader("x"))); err != nil {
		t.Fatal(err)
	}
	expectRuns(t, runs, 3)
	if err := s.Prepare(t.Context(), drivers.Target{Run: "../x"}, nil); !errors.Is(err, drivers.ErrInvalid) {
		t.Errorf("Prepare of a run with a path for its name = %v, want ErrInvalid", err)
	}
}

// What failed restores left is removed once it is old and nobody uses it.
func TestOldRecords(t *testing.T) {
	t.Parallel()
	s := openSource(t, "cat", nil)
	long := time.Now().Add(-2 * recordAge)
	var kept []string
	for name, goes := range map[string]bool{"old": true, "new": false, "used": false} {
		r, err := s.record(name)
		if err == nil {
			err = errors.Join(r.create(), r.mark("started"))
		}
		if err != nil {
			t.Fatal(err)
		}
		if name == "used" {
			release, err := r.acquire(t.Context(), time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = release() }()
		}
		if name != "new" {
			if err := os.Chtimes(r.dir, long, long); err != nil {
				t.Fatal(err)
			}
		}
		if !goes {
			kept = append(kept, filepath.Base(r.dir))
		}
	}
	other := filepath.Join(s.scratch, "other")
	if err := errors.Join(os.Mkdir(other, 0o700), os.Chtimes(other, long, long)); err != nil {
		t.Fatal(err)
	}
	if err := s.Prepare(t.Context(), rules, nil); err != nil {
		t.Fatal(err)
	}
	mine, err := s.record(rules.Run)
	if err != nil {
		t.Fatal(err)
	}
	kept = append(kept, "other", filepath.Base(mine.dir))
	slices.Sort(kept)
	var got []string
	entries, err := os.ReadDir(s.scratch)
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(kept, got); err != nil || diff != "" {
		t.Errorf("records (-want +got): %v\n%s", err, diff)
	}
}

func TestCheckTarget(t *testing.T) {
	t.Parallel()
	source := shell("echo data")
	v, err := openSource(t, source, nil).Freeze(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var contents []drivers.Part
	err = v.Parts(t.Context(), func(p drivers.Part) error {
		contents = append(contents, p)
		return nil
	})
	if err := errors.Join(err, v.End(t.Context())); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{partName, "bin"}, []string{contents[0].Name, contents[0].Ext}); diff != "" {
		t.Errorf("part (-want +got):\n%s", diff)
	}
	if err := openSource(t, shell("cat >/dev/null"), nil).CheckTarget(t.Context(), rules, contents); err != nil {
		t.Errorf("CheckTarget of a program that restores: %v", err)
	}
	err = openSource(t, source, nil).CheckTarget(t.Context(), drivers.Target{Run: "r", Overwrite: true}, contents)
	if !errors.Is(err, drivers.ErrInvalid) || !strings.Contains(hintOf(err), "--into") {
		t.Errorf("CheckTarget of the program that dumped = %v, want ErrInvalid with a hint", err)
	}
	err = openIn(t, filepath.Join(t.TempDir(), "none"), shell("cat"), nil).CheckTarget(t.Context(), rules, contents)
	if err == nil {
		t.Error("CheckTarget without scratch space: no error")
	}
	foreign := []drivers.Part{{Name: "database", Ref: contents[0].Ref}}
	if err := openSource(t, "cat", nil).CheckTarget(t.Context(), rules, foreign); !errors.Is(err, drivers.ErrInvalid) {
		t.Errorf("CheckTarget of a foreign part = %v, want ErrInvalid", err)
	}
}

// A program restores what another dumped, byte for byte, through an empty part as well.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"", "x", "\x00\xff\n", strings.Repeat("0123456789abcdef", 1<<16)} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "from"), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		s := openSource(t, "", map[string]any{"dir": dir, "dump": []string{"cat", "from"}, "restore": []string{"tee", "to"}})
		var b bytes.Buffer
		if err := dump(t, s, &b); err != nil {
			t.Fatal(err)
		}
		if err := load(t.Context(), s, &b); err != nil {
			t.Fatal(err)
		}
		if got := readFile(t, filepath.Join(dir, "to")); got != data {
			t.Errorf("%d bytes came back as %d", len(data), len(got))
		}
	}
}
