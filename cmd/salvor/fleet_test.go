package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers/all"
	"salvor/internal/secret"
	"salvor/internal/testenv"
	"salvor/tasks"
)

// testLease makes the tests of lost processes quick.
const testLease = "3s"

// ground is a queue, an archive, and what is dumped through them.
type ground struct {
	t       *testing.T
	redis   *testenv.RedisServer
	dir     string
	archive string
	config  string
	env     []string // of processes that are started from now on, beside this one's
}

// newGround makes a site with a config whose set is the YAML given; $DIR stands for the site's directory.
func newGround(t *testing.T, set string) *ground {
	t.Helper()
	dir := t.TempDir()
	s := &ground{t: t, redis: testenv.Redis(t, "--appendonly", "yes", "--appendfsync", "always"), dir: dir, archive: filepath.Join(dir, "archive"), config: filepath.Join(dir, "set.yaml")}
	text := fmt.Sprintf("archive: %s\nqueue: %s\nset: %s\n", s.archive, s.redis.URL(), strings.ReplaceAll(set, "$DIR", dir))
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// files makes a directory of files of a size.
func (s *ground) files(name string, count, size int) {
	s.t.Helper()
	dir := filepath.Join(s.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	for i := range count {
		data := bytes.Repeat([]byte{byte(i), byte(i >> 8), name[0]}, size/3+1)[:size]
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d", i)), data, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

// program is a running salvor.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout bytes.Buffer
	done   chan struct{}
	err    error

	mu     sync.Mutex
	stderr strings.Builder
}

// start starts the command as a process of its own, which ends with the test.
func (s *ground) start(args ...string) *program {
	s.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	p := &program{t: s.t, cmd: exec.Command(exe, append(args, "--config", s.config, "--lease", testLease)...), done: make(chan struct{})}
	p.cmd.Args[0] = "salvor" // which makes the test binary the command
	p.cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), s.env...)
	p.cmd.Stdout = &p.stdout
	errs, err := p.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		r := bufio.NewReader(errs)
		for {
			line, err := r.ReadString('\n')
			p.mu.Lock()
			p.stderr.WriteString(line)
			p.mu.Unlock()
			if err != nil {
				break
			}
		}
		_, _ = io.Copy(io.Discard, r)
		p.err = p.cmd.Wait()
	}()
	s.t.Cleanup(func() { p.kill() })
	return p
}

func (p *program) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// says waits until stderr holds a text.
func (p *program) says(text string) {
	p.t.Helper()
	testenv.Eventually(p.t, time.Minute, func() string {
		if said := p.said(); !strings.Contains(said, text) {
			return fmt.Sprintf("it does not say %q but %q", text, said)
		}
		return ""
	})
}

func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (p *program) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// ends waits for the end and checks the exit code.
func (p *program) ends(code int) {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		p.t.Fatalf("%v does not end: %s", p.cmd.Args, p.said())
	}
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok {
		got = exit.ExitCode()
	} else if p.err != nil {
		p.t.Fatal(p.err)
	}
	if got != code {
		p.t.Fatalf("%v: exit code %d, want %d: %s", p.cmd.Args, got, code, p.said())
	}
}

// worker starts a worker and waits until it serves.
func (s *ground) worker(host string, args ...string) *program {
	s.t.Helper()
	p := s.start(append([]string{"worker", "--host", host, "--verbose"}, args...)...)
	p.says("serving host " + host)
	return p
}

// run runs a command in this process, which must exit with the code.
func (s *ground) run(code int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	stdout, stderr, got := call(s.t, append(args, "--config", s.config, "--lease", testLease)...)
	if got != code {
		s.t.Fatalf("salvor %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, stderr)
	}
	return stdout, stderr
}

// runID waits until the archive has a run and returns its id.
func (s *ground) runID() string {
	s.t.Helper()
	var id string
	testenv.Eventually(s.t, time.Minute, func() string {
		marks, err := filepath.Glob(filepath.Join(s.archive, "runs", "*.open"))
		if err != nil || len(marks) != 1 {
			return fmt.Sprintf("open runs: %v, %v", marks, err)
		}
		id = strings.TrimSuffix(filepath.Base(marks[0]), ".open")
		return ""
	})
	return id
}

// runIs waits until the only run of the archive is in a state.
func (s *ground) runIs(state string) (r runLine) {
	s.t.Helper()
	testenv.Eventually(s.t, time.Minute, func() string {
		stdout, _ := s.run(exitOK, "runs", "--json")
		if err := json.Unmarshal([]byte(stdout), &r); err != nil {
			return err.Error()
		}
		if r.State != state {
			return fmt.Sprintf("the run is %s", r.State)
		}
		return ""
	})
	return r
}

// held keeps the database db from being read until the test ends or it is told to let go.
func (s *ground) held() (let func()) {
	s.t.Helper()
	db, err := openDB(filepath.Join(s.dir, "db"))
	if err != nil {
		s.t.Fatal(err)
	}
	let = sync.OnceFunc(func() { _ = db.Close() })
	s.t.Cleanup(let)
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(s.t.Context(), "CREATE TABLE t (a); INSERT INTO t VALUES (1); BEGIN EXCLUSIVE"); err != nil {
		s.t.Fatal(err)
	}
	return let
}

func (s *ground) same(a, b string) {
	s.t.Helper()
	want, err := describeTree(filepath.Join(s.dir, a))
	if err != nil {
		s.t.Fatal(err)
	}
	got, err := describeTree(filepath.Join(s.dir, b))
	if err != nil {
		s.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("%s differs from %s:\n%s", b, a, diff)
	}
}

// Two workers of different hosts share a run of a set with nodes bound to either, and its restore; the run's report says who
// did what.
func TestFleetSharesARun(t *testing.T) {
	t.Parallel()
	s := newGround(t, `{name: s, order: parallel, children: [
		{name: one, driver: filesystem, source: $DIR/one, host: web-1}, {name: two, driver: filesystem, source: $DIR/two, host: web-2}]}`)
	s.files("one", 20, 3000)
	s.files("two", 30, 5000)
	s.worker("web-1")
	s.worker("web-2", "--concurrency", "2", "--holders", "3")

	stdout, _ := s.run(exitOK, "workers", "--json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var w workerLine
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &w); err != nil || len(lines) != 2 {
		t.Fatalf("workers: %s: %v", stdout, err)
	}
	if w.Host != "web-2" || w.Slots != 2 || w.Holders != 3 || w.Version != programVersion().Version || w.State != "idle" || w.PID == 0 {
		t.Errorf("worker %+v", w)
	}

	stdout, _ = s.run(exitOK, "dump", "--json")
	var dump dumpResult
	if err := json.Unmarshal([]byte(stdout), &dump); err != nil {
		t.Fatal(err)
	}
	stdout, _ = s.run(exitOK, "show", dump.Run[:13], "--json")
	var shown struct {
		State   string
		Outcome struct {
			Workers []struct {
				Worker, Host, Node, Kind string
				Tasks                    int
			}
		}
	}
	if err := json.Unmarshal([]byte(stdout), &shown); err != nil {
		t.Fatal(err)
	}
	did := make(map[string]string)
	for _, w := range shown.Outcome.Workers {
		if !strings.HasPrefix(w.Worker, w.Host+"-") {
			t.Errorf("worker %s of host %s", w.Worker, w.Host)
		}
		if w.Kind == "freeze" || w.Kind == "part" {
			did[w.Node+" "+w.Kind] += w.Host
		}
	}
	want := map[string]string{"s/one freeze": "web-1", "s/one part": "web-1", "s/two freeze": "web-2", "s/two part": "web-2"}
	if diff := cmp.Diff(want, did); diff != "" || shown.State != "done" {
		t.Errorf("state %s, who did what (-want +got):\n%s", shown.State, diff)
	}
	stdout, _ = s.run(exitOK, "show", dump.Run)
	for _, text := range []string{"web-1  web-1-", "web-2  web-2-"} {
		if !strings.Contains(stdout, text) {
			t.Errorf("show does not say %q:\n%s", text, stdout)
		}
	}

	// Each node to its own host in place, and elsewhere where --host says.
	s.run(exitOK, "restore", "--in-place", "--only", "two")
	_, stderr := s.run(exitUsage, "restore", "--only", "one", "--into", filepath.Join(s.dir, "new"))
	if !strings.Contains(stderr, "node s/one is a place of one host, and names none (workers serve web-1, web-2)") {
		t.Errorf("stderr %s", stderr)
	}
	s.run(exitOK, "restore", "--only", "one", "--into", filepath.Join(s.dir, "new"), "--host", "web-2")
	s.same("one", "new")
	stdout, _ = s.run(exitOK, "runs", "--json")
	lines = strings.Split(strings.TrimSpace(stdout), "\n")
	var last runLine
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	stdout, _ = s.run(exitOK, "show", last.Run)
	if strings.Contains(stdout, "web-1-") {
		t.Errorf("web-1 did something of what was for web-2:\n%s", stdout)
	}
	_, stderr = s.run(exitUsage, "watch", last.Run[:8])
	if !strings.Contains(stderr, "could be") {
		t.Errorf("stderr %s", stderr)
	}
	if _, stderr = s.run(exitOK, "watch", last.Run); !strings.Contains(stderr, "done after") {
		t.Errorf("stderr %s", stderr)
	}
	if _, stderr = s.run(exitUsage, "cancel", last.Run); !strings.Contains(stderr, "has ended already: done") {
		t.Errorf("stderr %s", stderr)
	}
}

// A run that nobody would carry out is refused before anything is made.
func TestFleetRefuses(t *testing.T) {
	t.Parallel()
	s := newGround(t, `{name: s, children: [{name: one, driver: filesystem, source: $DIR/one, host: web-9},
		{name: two, driver: filesystem, source: $DIR/two}]}`)
	s.files("one", 1, 1)
	s.files("two", 1, 1)
	refused := func(want []string, args ...string) {
		t.Helper()
		_, stderr := s.run(exitUsage, args...)
		for _, text := range want {
			if !strings.Contains(stderr, text) {
				t.Errorf("%v: stderr lacks %q:\n%s", args, text, stderr)
			}
		}
		if _, err := os.Stat(s.archive); !os.IsNotExist(err) {
			t.Errorf("%v: there is an archive: %v", args, err)
		}
	}
	nobody := []string{"error: no worker serves the queue " + s.redis.Addr(), "hint: start one on each host: salvor worker --queue"}
	refused(nobody, "dump")
	if stdout, stderr := s.run(exitOK, "workers"); stdout != "" || !strings.Contains(stderr, "no worker serves") {
		t.Errorf("workers: %q, %q", stdout, stderr)
	}
	s.worker("web-1")
	bound := []string{
		"node s/one is bound to host web-9, which no worker serves (workers serve web-1)",
		"hint: start a worker there: salvor worker --queue URL --host web-9",
	}
	refused(bound, "dump")
	s.worker("web-2")
	refused(append(bound[1:], "node s/two is a place of one host, and names none (workers serve web-1, web-2)"), "dump")
	refused([]string{"--host: -x is no host name"}, "dump", "--host=-x")
}

// A secret that stands in a source stays in the process that was told it.
func TestLiteralsDoNotTravel(t *testing.T) {
	t.Parallel()
	a := &app{registry: all.Registry(), env: environment{lookup: func(string) (string, bool) { return "", false }}}
	s := settings{queue: "redis://x", set: tasks.BackupSet{Set: tasks.Node{
		Name: "s", Driver: "sqlite", Source: tasks.RedactedSource, Literal: secret.New("any://u:geheim@h/d"),
	}}}
	err := a.checkSet(t.Context(), s)
	if exitOf(err) != exitUsage || hintOf(err) == "" || strings.Contains(err.Error(), "geheim") {
		t.Errorf("with a queue: %v", err)
	}
	s.queue = ""
	if err := a.checkSet(t.Context(), s); err != nil {
		t.Errorf("without: %v", err)
	}
}

// A worker that is told to stop hands its work back, and another one of its host ends the run.
func TestFleetWorkerStops(t *testing.T) {
	t.Parallel()
	s := newGround(t, `{name: s, children: [{name: files, driver: filesystem, source: $DIR/files}, {name: db, driver: sqlite, source: $DIR/db}]}`)
	s.files("files", 10, 1000)
	let := s.held()
	first := s.worker("web-1", "--drain", "200ms")
	dump := s.start("dump", "--quiet")
	id := s.runID()
	testenv.Eventually(t, time.Minute, func() string {
		stdout, _ := s.run(exitOK, "workers")
		if !strings.Contains(stdout, "freeze:s/db") || !strings.Contains(stdout, "busy") {
			return stdout
		}
		return ""
	})
	second := s.worker("web-1")
	first.signal(syscall.SIGTERM)
	first.ends(exitOK)
	first.says("stopped")
	let()
	dump.ends(exitOK)
	second.says("task=seal:s/db")
	stdout, _ := s.run(exitOK, "show", id)
	if !strings.Contains(stdout, "state      done") || strings.Contains(stdout, "lost with a worker") && !strings.Contains(stdout, " 0 lost with a worker") {
		t.Errorf("show:\n%s", stdout)
	}
	s.run(exitOK, "verify")
}

// What a killed worker had in hand another one does, and the user hears of it.
func TestFleetWorkerIsKilled(t *testing.T) {
	t.Parallel()
	s := newGround(t, `{name: s, children: [{name: db, driver: sqlite, source: $DIR/db}]}`)
	let := s.held()
	first := s.worker("web-1")
	dump := s.start("dump")
	s.runID()
	testenv.Eventually(t, time.Minute, func() string {
		stdout, _ := s.run(exitOK, "workers")
		if !strings.Contains(stdout, "freeze:s/db") {
			return stdout
		}
		return ""
	})
	first.kill()
	s.worker("web-1")
	dump.says("opening the view of s/db again")
	dump.says("doing a part of s/db again: worker web-1-")
	let()
	dump.ends(exitOK)
	s.run(exitOK, "verify")
}

// The run of a coordinator that was killed goes on; a worker stores its report, and whoever watches hears how it ended.
func TestFleetCoordinatorIsKilled(t *testing.T) {
	t.Parallel()
	s := newGround(t, `{name: s, children: [{name: files, driver: filesystem, source: $DIR/files}, {name: db, driver: sqlite, source: $DIR/db}]}`)
	s.files("files", 10, 1000)
	let := s.held()
	s.worker("web-1")
	dump := s.start("dump", "--quiet")
	id := s.runID()
	s.runIs("running")
	dump.kill()
	let()
	r := s.runIs("done")
	if r.Run != id || r.Nodes != 2 {
		t.Errorf("report %+v", r)
	}
	s.run(exitOK, "verify")
	testenv.Eventually(t, time.Minute, func() string { // the report comes first
		if keys := s.redis.Do("EXISTS {salvor2}:r:" + id); keys != ":0" {
			return "the ledger still has the run: " + keys
		}
		return ""
	})
}

// A coordinator that was but slow learns how its run ended from the report that a worker stored.
func TestFleetCoordinatorIsSlow(t *testing.T) {
	t.Parallel()
	s := newGround(t, `{name: s, driver: sqlite, source: $DIR/db}`)
	let := s.held()
	s.worker("web-1")
	dump := s.start("dump")
	s.runID()
	s.runIs("running")
	dump.signal(syscall.SIGSTOP)
	let()
	r := s.runIs("done")
	dump.signal(syscall.SIGCONT)
	dump.ends(exitOK)
	if got := strings.TrimSpace(dump.stdout.String()); got != r.Dump {
		t.Errorf("it printed %q, want %q", got, r.Dump)
	}
}

// Watching shows a run to its end and ends as it does; cancelling ends it for everybody.
func TestFleetWatchAndCancel(t *testing.T) {
	t.Parallel()
	s := newGround(t, `{name: s, children: [{name: db, driver: sqlite, source: $DIR/db}]}`)
	s.held()
	if _, stderr := s.run(exitUsage, "watch"); !strings.Contains(stderr, "no run is active") {
		t.Errorf("stderr %s", stderr)
	}
	s.worker("web-1")
	dump := s.start("dump")
	id := s.runID()
	dump.says("run " + id + " on " + s.redis.Addr())
	gone := s.start("watch")
	gone.says("dump 2")
	gone.signal(os.Interrupt)
	gone.ends(exitInterrupted)

	watch := s.start("watch", id[:20], "--json")
	testenv.Eventually(t, time.Minute, func() string {
		stdout, _ := s.run(exitOK, "runs")
		if !strings.Contains(stdout, "running, 0 %") {
			return stdout
		}
		return ""
	})
	watch.says("dump 2")
	_, stderr := s.run(exitOK, "cancel", id[:20])
	if !strings.Contains(stderr, "run "+id+" was cancelled") {
		t.Errorf("stderr %s", stderr)
	}
	dump.ends(exitInterrupted)
	watch.ends(exitInterrupted)
	var states []string
	for line := range strings.Lines(watch.stdout.String()) {
		var l struct{ Type, State, Run string }
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Run != id {
			t.Fatalf("%q: %v", line, err)
		}
		if text := l.Type + " " + l.State; len(states) == 0 || states[len(states)-1] != text {
			states = append(states, text)
		}
	}
	if len(states) < 2 || states[0] != "progress running" || states[len(states)-1] != "run cancelled" {
		t.Errorf("states %q", states)
	}
	s.runIs("cancelled")
	if _, stderr = s.run(exitUsage, "cancel", id); !strings.Contains(stderr, "has ended already: cancelled") {
		t.Errorf("stderr %s", stderr)
	}
	if _, stderr = s.run(exitInterrupted, "watch", id); !strings.Contains(stderr, "cancelled after") {
		t.Errorf("stderr %s", stderr)
	}
	if _, stderr = s.run(exitUsage, "cancel", "nothing"); !strings.Contains(stderr, "no run") && !strings.Contains(stderr, "nothing") {
		t.Errorf("stderr %s", stderr)
	}
}

// A run whose coordinator is dead is told to its end by the one who watches it, also where no worker concludes it.
func TestFleetWatchConcludes(t *testing.T) {
	t.Parallel()
	s := newGround(t, `{name: s, driver: sqlite, source: $DIR/db}`)
	s.held()
	s.worker("web-1", "--lease", "1h") // which never takes a coordinator for dead
	dump := s.start("dump")
	id := s.runID()
	s.runIs("running")
	dump.kill()
	s.run(exitOK, "cancel", id)
	s.runIs("cancelled")
}

// A Redis that goes and comes back with what it had is waited for, by worker, coordinator and who watches.
func TestFleetOutlivesRedis(t *testing.T) {
	t.Parallel()
	s := newGround(t, `{name: s, children: [{name: files, driver: filesystem, source: $DIR/files}, {name: db, driver: sqlite, source: $DIR/db}]}`)
	s.files("files", 10, 1000)
	let := s.held()
	w := s.worker("web-1")
	dump := s.start("dump")
	id := s.runID()
	s.runIs("running")
	watch := s.start("watch", id)
	watch.says("run " + id)
	s.redis.Kill()
	dump.says("the ledger does not answer; trying again")
	let()
	s.redis.Restart()
	dump.ends(exitOK)
	watch.ends(exitOK)
	if again := s.worker("web-2"); !strings.Contains(again.said(), "serving") || strings.Count(w.said(), "warning") > 5 {
		t.Errorf("the worker said:\n%s", w.said())
	}
	s.run(exitOK, "verify")
}
