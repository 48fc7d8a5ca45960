//go:build linux

package chaos_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"salvor/internal/chaos"
	"salvor/internal/testenv"
)

// testFleet does the same to two workers and their Redis: a worker is killed, Redis restarted, emptied, or away for a while.
// The run ends right, or is resumed and then does.
func testFleet(t *testing.T, s *subject, seed int) {
	t.Helper()
	for name, fault := range map[string]func(t *testing.T, f *fleet){
		"worker killed": func(t *testing.T, f *fleet) {
			t.Helper()
			f.kill(f.random.IntN(len(f.workers)))
			f.start(t)
		},
		"all workers killed": func(t *testing.T, f *fleet) {
			t.Helper()
			f.kill(0)
			f.kill(1)
			f.start(t)
		},
		"restarted": func(_ *testing.T, f *fleet) { f.redis.Restart() },
		"emptied":   func(_ *testing.T, f *fleet) { f.redis.FlushAll() },
		"away": func(t *testing.T, f *fleet) {
			t.Helper()
			f.redis.Stop()
			select {
			case <-time.After(away):
			case <-t.Context().Done():
			}
			f.redis.Cont()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &round{subject: s, random: rand.New(rand.NewPCG(uint64(seed), 1)), dir: place(t)}
			r.archive = filepath.Join(r.dir, "archive")
			f := &fleet{round: r, redis: testenv.Redis(t, "--appendonly", "yes", "--appendfsync", "always")}
			t.Cleanup(func() {
				for i := range f.workers {
					f.kill(i)
				}
			})
			f.start(t)
			f.start(t)
			id := strings.TrimSpace(f.carryOut(t, s.dumpTime, fault, r.dumpArgs()))
			dumps, err := chaos.Dumps(r.archive)
			if err != nil || len(dumps) != 1 || filepath.Base(dumps[0]) != id {
				t.Fatalf("the program says it made %q; committed are %v (%v)", id, dumps, err)
			}
			r.readBack(t, dumps[0])
			f.carryOut(t, s.restoreTime, fault, r.restoreArgs())
			r.compare(t)
		})
	}
}

const (
	lease = "3s" // after which a worker counts as dead
	away  = 6 * time.Second
)

// fleet is a round on a Redis with workers.
type fleet struct {
	*round
	redis   *testenv.RedisServer
	workers []*worker
}

type worker struct {
	cmd  *exec.Cmd
	done chan struct{}
	says bytes.Buffer
}

func (f *fleet) options() []string { return []string{"--queue", f.redis.URL(), "--lease", lease} }

// start adds a worker.
func (f *fleet) start(t *testing.T) {
	t.Helper()
	args := append([]string{"worker", "--host", "one", "--concurrency", "2"}, f.options()...)
	w := &worker{cmd: exec.CommandContext(t.Context(), f.program, args...), done: make(chan struct{})}
	w.cmd.Stdout, w.cmd.Stderr = &w.says, &w.says
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.done)
		_ = w.cmd.Wait() // it is killed
	}()
	f.workers = append(f.workers, w)
	f.ready(t)
}

// ready waits until the last worker is known: who emptied Redis made it forget all of them.
func (f *fleet) ready(t *testing.T) {
	t.Helper()
	last := f.workers[len(f.workers)-1]
	testenv.Eventually(t, time.Minute, func() string {
		stdout, stderr, _ := f.call(t, 0, append([]string{"workers", "--json"}, f.options()...)...)
		if !strings.Contains(stdout, fmt.Sprintf("-%d-", last.cmd.Process.Pid)) {
			return "the worker is not there: " + stdout + stderr
		}
		return ""
	})
}

func (f *fleet) kill(i int) {
	_ = f.workers[i].cmd.Process.Kill() // it may be gone
	<-f.workers[i].done
}

// stopAll stops all workers, starts another, and lets the stopped ones go on a while later, before or after their lease is over.
func (f *fleet) stopAll(t *testing.T) {
	t.Helper()
	for _, w := range f.workers {
		_ = w.cmd.Process.Signal(unix.SIGSTOP) // it runs until the test ends
	}
	stopped := slices.Clone(f.workers)
	f.start(t)
	select {
	case <-time.After(away/2 + time.Duration(f.random.Int64N(int64(away)/2))):
	case <-t.Context().Done():
	}
	for _, w := range stopped {
		_ = w.cmd.Process.Signal(unix.SIGCONT)
	}
}

// carryOut runs a command on the fleet with a fault at a random moment of it, and resumes what the fault ended.
func (f *fleet) carryOut(t *testing.T, usual time.Duration, fault func(*testing.T, *fleet), args []string) string {
	t.Helper()
	type answer struct {
		stdout, stderr string
		code           int
	}
	answers := make(chan answer, 1)
	go func() {
		defer close(answers) // without an answer if the call fails the test
		var a answer
		a.stdout, a.stderr, a.code = f.call(t, 0, append(args, f.options()...)...)
		answers <- a
	}()
	select {
	case <-time.After(usual/5 + time.Duration(f.random.Int64N(int64(usual)*3/4))):
	case <-t.Context().Done():
	}
	fault(t, f)
	a, ok := <-answers
	if !ok {
		t.FailNow()
	}
	f.ready(t)
	if a.code == 2 && strings.Contains(a.stderr, "no worker serves the queue") {
		// The fault came before the run began.
		a.stdout, a.stderr, a.code = f.call(t, 0, append(args, f.options()...)...)
	}
	t.Logf("salvor %s: exit code %d", args[0], a.code)
	f.judge(t)
	if a.code == 5 {
		again := append([]string{"resume", "--archive", f.archive, "--quiet"}, f.options()...)
		a.stdout, a.stderr, a.code = f.call(t, 0, again...)
		f.judge(t)
	}
	if a.code != 0 {
		t.Fatalf("salvor %s: exit code %d\n%s", args[0], a.code, a.stderr)
	}
	return a.stdout
}
