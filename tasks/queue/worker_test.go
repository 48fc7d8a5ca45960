package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"salvor/internal/testenv"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/tasks/queue"
)

// Times of the tests: those of the product, some fifteen times shorter.
func scaled() ledger.Options {
	return ledger.Options{
		Lease: 2 * time.Second, Beat: 100 * time.Millisecond, ReEmit: 300 * time.Millisecond,
		Backoff: func(int) time.Duration { return 20 * time.Millisecond },
	}
}

const workerEnv = "SALVOR_QUEUE_TEST_WORKER"

// TestMain is also the program of the workers that tests kill.
func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		if err := childMain(); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// childMain is a worker until its standard input ends.
func childMain() error {
	conn, err := queue.Open(context.Background(), os.Getenv(workerEnv))
	if err != nil {
		return err
	}
	id := os.Getenv(workerEnv + "_ID")
	dieAt, _ := strconv.Atoi(os.Getenv(workerEnv + "_DIE"))
	w := &worker{id: id, conn: conn, ledger: ledger.New(conn.Redis(), scaled()), dieBeforeClaim: int64(dieAt)}
	if err := w.start(); err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	return errors.Join(w.stop(ctx), conn.Close())
}

// worker does what a worker does, with tasks that take a few milliseconds: freeze tasks grow 20 parts and hold them.
type worker struct {
	id             string
	conn           *queue.Conn
	ledger         *ledger.Ledger
	slow           time.Duration
	noSweep        bool
	dieBeforeClaim int64 // exits at the delivery of that number, after it was taken and before it is claimed

	sender     *queue.Sender
	server     *queue.Server
	stopSweep  context.CancelFunc
	sweeping   sync.WaitGroup
	deliveries atomic.Int64
	running    atomic.Int64
	most       atomic.Int64
	ended      atomic.Int64
}

const partsOfANode = 20

func (w *worker) start() error {
	w.sender = queue.NewSender(w.conn, w.ledger)
	server, err := queue.NewServer(w.conn, w.ledger, queue.Config{Worker: w.id, WorkSlots: 2, HoldSlots: 2, Handler: w.handle})
	if err != nil {
		return err
	}
	w.server = server
	if err := server.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stopSweep = cancel
	if !w.noSweep {
		w.sweeping.Go(func() { queue.NewSweeper(w.conn, w.ledger, nil).Run(ctx) })
	}
	return nil
}

func (w *worker) stop(ctx context.Context) error {
	err := w.server.Stop(ctx)
	w.stopSweep()
	w.sweeping.Wait()
	return err
}

func (w *worker) handle(ctx context.Context, d queue.Delivery) {
	if n := w.deliveries.Add(1); n == w.dieBeforeClaim {
		os.Exit(0)
	}
	c, err := w.ledger.Claim(ctx, d.Run, d.Task, d.Attempt, w.id)
	if err != nil {
		return
	}
	defer w.ended.Add(1)
	n := w.running.Add(1)
	defer w.running.Add(-1)
	for m := w.most.Load(); n > m && !w.most.CompareAndSwap(m, n); m = w.most.Load() {
	}
	ctx, cancel := context.WithCancelCause(ctx)
	released := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() { w.beat(ctx, cancel, c, released) })
	err = w.work(ctx, c, released)
	cause := context.Cause(ctx)
	cancel(nil)
	beating.Wait()
	if errors.Is(cause, ledger.ErrStale) || errors.Is(cause, ledger.ErrNoRun) {
		return
	}
	report, stop := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer stop()
	var ready []ledger.Emission
	if err != nil || cause != nil {
		ready, err = w.ledger.Fail(report, c, tasks.Failure{Class: tasks.HandBack})
	} else {
		result, _ := json.Marshal(map[string]string{"worker": w.id, "token": c.Token})
		ready, err = w.ledger.Finish(report, c, result, tasks.Progress{Entries: 1})
	}
	if err == nil {
		_ = w.sender.Send(report, ready) // the sweep sends what this could not
	}
}

func (w *worker) beat(ctx context.Context, cancel context.CancelCauseFunc, c ledger.Claim, released chan struct{}) {
	done := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(w.ledger.Options().Beat / 2):
		}
		signal, err := w.ledger.Beat(ctx, c, tasks.Progress{Entries: 1})
		switch {
		case errors.Is(err, ledger.ErrStale), errors.Is(err, ledger.ErrNoRun):
			cancel(err)
			return
		case err == nil && signal.Cancel:
			cancel(errors.New("run is ending"))
			return
		case err == nil && signal.Release && !done:
			close(released)
			done = true
		}
	}
}

func (w *worker) work(ctx context.Context, c ledger.Claim, released chan struct{}) error {
	if c.Task.Kind == tasks.KindFreeze {
		g := ledger.Growth{Step: "part:" + c.Task.Node, Close: true, Window: ledger.Window{ID: c.Task.Node, Limit: 8, HolderCounts: true}}
		for i := range partsOfANode {
			g.Tasks = append(g.Tasks, tasks.Task{ID: fmt.Sprintf("part:%s:%06d", c.Task.Node, i), Kind: tasks.KindPart, Node: c.Task.Node})
		}
		ready, err := w.ledger.Grow(ctx, c, g)
		if err != nil {
			return err
		}
		_ = w.sender.Send(ctx, ready)
		select {
		case <-released:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	select {
	case <-time.After(10*time.Millisecond + w.slow):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fleetPlan is a run of two nodes.
func fleetPlan(run string) tasks.Plan {
	p := tasks.Plan{Contract: tasks.Contract, Run: run, Operation: tasks.OpDump, Archive: "/a", Set: "s", Dump: "d", OnError: tasks.OnErrorStop}
	commit := tasks.Step{ID: "commit", Kind: tasks.KindCommit, Tasks: []tasks.Task{{ID: "commit", Kind: tasks.KindCommit}}}
	for _, node := range []string{"a", "b"} {
		h := "freeze:" + node
		p.Steps = append(p.Steps,
			tasks.Step{
				ID: h, Kind: tasks.KindFreeze, Node: node, Gate: &tasks.Gate{Name: "views", Limit: 2, Until: "seal:" + node},
				Tasks: []tasks.Task{{ID: h, Kind: tasks.KindFreeze, Node: node, Route: tasks.Route{Hold: true}}},
			},
			tasks.Step{ID: "part:" + node, Kind: tasks.KindPart, Node: node, Grower: h, Holder: h},
			tasks.Step{
				ID: "seal:" + node, Kind: tasks.KindSeal, Node: node, Needs: []string{h, "part:" + node},
				Tasks: []tasks.Task{{ID: "seal:" + node, Kind: tasks.KindSeal, Node: node}},
			})
		commit.Needs = append(commit.Needs, "seal:"+node)
	}
	p.Steps = append(p.Steps, commit)
	return p
}

// fleet is a run's coordinator and its view of Redis.
type fleet struct {
	t      *testing.T
	url    string
	conn   *queue.Conn
	ledger *ledger.Ledger
	sender *queue.Sender
}

func newFleet(t *testing.T, url string) *fleet {
	t.Helper()
	conn, err := queue.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return fleetOn(t, url, conn)
}

func fleetOn(t *testing.T, url string, conn *queue.Conn) *fleet {
	t.Helper()
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	l := ledger.New(conn.Redis(), scaled())
	return &fleet{t: t, url: url, conn: conn, ledger: l, sender: queue.NewSender(conn, l)}
}

func (f *fleet) start(p tasks.Plan) {
	f.t.Helper()
	ready, err := f.ledger.Create(f.t.Context(), p)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.sender.Send(f.t.Context(), ready); err != nil {
		f.t.Fatal(err)
	}
}

// worker starts a worker in this process; on a connection of its own unless the queue is embedded.
func (f *fleet) worker(id string, changes ...func(*worker)) *worker {
	f.t.Helper()
	w := &worker{id: id, conn: f.conn, ledger: f.ledger}
	if !f.conn.Embedded() {
		conn, err := queue.Open(f.t.Context(), f.url)
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() {
			if err := conn.Close(); err != nil {
				f.t.Error(err)
			}
		})
		w.conn, w.ledger = conn, ledger.New(conn.Redis(), scaled())
	}
	for _, change := range changes {
		change(w)
	}
	if err := w.start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := w.stop(ctx); err != nil {
			f.t.Errorf("stop worker %s: %v", id, err)
		}
	})
	return w
}

// child is a worker in a process of its own.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *strings.Builder
}

func (f *fleet) child(id string, env ...string) *child {
	f.t.Helper()
	c := &child{t: f.t, cmd: exec.Command(os.Args[0]), out: &strings.Builder{}}
	c.cmd.Env = append(append(os.Environ(), workerEnv+"="+f.url, workerEnv+"_ID="+id), env...)
	c.cmd.Stderr = c.out
	in, err := c.cmd.StdinPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	c.in = in
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	})
	if n, err := out.Read(make([]byte, 5)); err != nil || n == 0 {
		f.t.Fatalf("worker %s does not start: %v %s", id, err, c.out)
	}
	return c
}

func (c *child) signal(s os.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

const soon = 30 * time.Second

// reached waits until run r1 has finished so many tasks.
func (f *fleet) reached(n int) {
	f.t.Helper()
	testenv.Eventually(f.t, soon, func() string {
		s, err := f.ledger.State(f.t.Context(), "r1")
		if err != nil || s.TasksDone >= n || s.State.Terminal() {
			return ""
		}
		return fmt.Sprintf("%d of %d tasks are done", s.TasksDone, n)
	})
}

// done waits for a run's good end and holds its results against the plan: one effect for each task.
func (f *fleet) done(run string) ledger.RunState {
	f.t.Helper()
	var s ledger.RunState
	testenv.Eventually(f.t, soon, func() string {
		var err error
		if s, err = f.ledger.State(f.t.Context(), run); err != nil || !s.State.Terminal() {
			return fmt.Sprintf("run is %+v, %v: %s", s, err, f.steps(run))
		}
		return ""
	})
	if s.State != ledger.StateDone || s.Tasks != s.TasksDone {
		f.t.Fatalf("run ended as %+v", s)
	}
	plan, err := f.ledger.Plan(f.t.Context(), run)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, step := range plan.Steps {
		var got []string
		err := f.ledger.Results(f.t.Context(), run, step.ID, func(task string, _ json.RawMessage) error {
			got = append(got, task)
			return nil
		})
		if err != nil {
			f.t.Fatal(err)
		}
		slices.Sort(got)
		want := len(step.Tasks)
		if step.Grower != "" {
			want = partsOfANode
		}
		if len(got) != want || len(slices.Compact(slices.Clone(got))) != want {
			f.t.Errorf("step %s has the results %v, want %d", step.ID, got, want)
		}
	}
	return s
}

func (f *fleet) steps(run string) string {
	steps, err := f.ledger.Steps(f.t.Context(), run)
	text := ""
	for _, s := range steps {
		text += fmt.Sprintf("%s %s epoch %d %d/%d live %d; ", s.ID, s.State, s.Epoch, s.Done, s.Tasks, s.Live)
	}
	return fmt.Sprint(text, err)
}
