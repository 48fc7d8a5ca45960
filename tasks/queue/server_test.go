package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"salvor/internal/testenv"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/tasks/queue"
)

func embedded(t *testing.T) *fleet {
	t.Helper()
	conn, err := queue.OpenEmbedded(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return fleetOn(t, "", conn)
}

// serve starts a server that stops with the test.
func (f *fleet) serve(c queue.Config) *queue.Server {
	f.t.Helper()
	s, err := queue.NewServer(f.conn, f.ledger, c)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.Stop(ctx); err != nil {
			f.t.Error(err)
		}
	})
	return s
}

// onePlan is run r1, a step with a task for each route.
func onePlan(routes ...tasks.Route) tasks.Plan {
	s := tasks.Step{ID: "s", Kind: tasks.KindPart}
	for i, r := range routes {
		s.Tasks = append(s.Tasks, tasks.Task{ID: fmt.Sprintf("t%02d", i), Kind: tasks.KindPart, Route: r})
	}
	return tasks.Plan{Contract: tasks.Contract, Run: "r1", Operation: tasks.OpDump, Steps: []tasks.Step{s}}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	f := embedded(t)
	handler := func(context.Context, queue.Delivery) {}
	for name, c := range map[string]queue.Config{
		"worker has no name": {WorkSlots: 1, Handler: handler},
		"handler is missing": {WorkSlots: 1, Worker: "w"},
		"0 slots for work":   {Worker: "w", Handler: handler},
		"-1 slots for work":  {Worker: "w", Handler: handler, WorkSlots: -1, HoldSlots: 3},
		"braces":             {Worker: "w{", WorkSlots: 1, Handler: handler},
	} {
		if _, err := queue.NewServer(f.conn, f.ledger, c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("config %+v: %v, want %q", c, err, name)
		}
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	f := embedded(t)
	var mu sync.Mutex
	got := map[string][]string{}
	take := func(worker, host string) queue.Config {
		return queue.Config{Worker: worker, Host: host, WorkSlots: 1, HoldSlots: 1, Handler: func(ctx context.Context, d queue.Delivery) {
			c, err := f.ledger.Claim(ctx, d.Run, d.Task, d.Attempt, worker)
			if err != nil {
				return
			}
			mu.Lock()
			got[worker] = append(got[worker], d.Task)
			mu.Unlock()
			if _, err := f.ledger.Finish(ctx, c, nil, tasks.Progress{}); err != nil {
				t.Error(err)
			}
		}}
	}
	f.serve(take("w1", "h1"))
	f.start(onePlan(tasks.Route{Host: "h2"}, tasks.Route{Host: "h1"}, tasks.Route{Worker: "w2"}, tasks.Route{Hold: true, Host: "h2"},
		tasks.Route{Hold: true, Host: "h1"}, tasks.Route{Worker: "w1", Hold: true}))
	f.reached(3)
	mu.Lock()
	if diff := cmp.Diff(map[string]int{"w1": 3}, map[string]int{"w1": len(got["w1"])}); diff != "" {
		t.Errorf("taken (-want +got):\n%s: %v", diff, got)
	}
	mu.Unlock()
	f.serve(take("w2", "h2"))
	f.reached(6)
	mu.Lock()
	defer mu.Unlock()
	for worker, want := range map[string]string{"w1": "t01 t04 t05", "w2": "t00 t02 t03"} {
		text := strings.Join(got[worker], " ")
		for id := range strings.SplitSeq(want, " ") {
			if !strings.Contains(text, id) {
				t.Errorf("worker %s took %s, want %s", worker, text, want)
			}
		}
	}
}

// TestSlots: holders do not use up the slots of those that work, and no pool runs more than it has.
func TestSlots(t *testing.T) {
	t.Parallel()
	f := embedded(t)
	var mu sync.Mutex
	running, most := 0, 0
	release := make(chan struct{})
	entered := make(chan string, 100)
	f.serve(queue.Config{Worker: "w", WorkSlots: 2, HoldSlots: 1, Handler: func(ctx context.Context, d queue.Delivery) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		entered <- d.Task
		select {
		case <-release:
		case <-ctx.Done():
		}
		mu.Lock()
		running--
		mu.Unlock()
	}})
	var routes []tasks.Route
	for range 4 {
		routes = append(routes, tasks.Route{}, tasks.Route{Hold: true})
	}
	f.start(onePlan(routes...))
	for range 3 {
		select {
		case <-entered:
		case <-time.After(soon):
			t.Fatal("the slots are not used")
		}
	}
	wait(t, 100*time.Millisecond) // nobody else enters
	close(release)
	for range 5 {
		<-entered
	}
	mu.Lock()
	defer mu.Unlock()
	if most != 3 {
		t.Errorf("%d handlers ran at once, want 3", most)
	}
}

func TestStopWaitsThenEnds(t *testing.T) {
	t.Parallel()
	f := embedded(t)
	entered := make(chan struct{}, 2)
	release := make(chan struct{})
	causes := make(chan error, 2)
	s := f.serve(queue.Config{Worker: "w", WorkSlots: 2, Handler: func(ctx context.Context, d queue.Delivery) {
		entered <- struct{}{}
		if d.Task == "t00" {
			<-release
			causes <- context.Cause(ctx)
			return
		}
		<-ctx.Done()
		causes <- context.Cause(ctx)
	}})
	f.start(onePlan(tasks.Route{}, tasks.Route{}))
	<-entered
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error)
	go func() { stopped <- s.Stop(ctx) }()
	close(release)
	if cause := <-causes; cause != nil {
		t.Errorf("the handler that was let end saw %v", cause)
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped while a handler runs: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	if cause := <-causes; !errors.Is(cause, queue.ErrStopped) {
		t.Errorf("the other ended with %v", cause)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if err := s.Start(); err == nil {
		t.Error("a stopped server was started")
	}
}

func TestStopDeletesItsQueue(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.Redis(t).URL())
	s := f.serve(queue.Config{Worker: "w9", WorkSlots: 1, Handler: func(context.Context, queue.Delivery) {}})
	e := ledger.Emission{Run: "r1", Task: "t", Attempt: "1", Route: tasks.Route{Worker: "w9"}}
	if err := f.sender.Send(t.Context(), []ledger.Emission{e}); err != nil {
		t.Fatal(err)
	}
	inspector := asynq.NewInspectorFromRedisClient(f.conn.Redis())
	testenv.Eventually(t, soon, func() string {
		if _, err := inspector.GetTaskInfo("salvor2.own.w9", "r1:t:1"); errors.Is(err, asynq.ErrTaskNotFound) {
			return ""
		}
		return "the task was not taken"
	})
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.Attempt = "2" // a late one
	if err := f.sender.Send(t.Context(), []ledger.Emission{e}); err != nil {
		t.Fatal(err)
	}
	keys, err := f.conn.Redis().Keys(t.Context(), "asynq:{salvor2.own.w9}:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if !strings.HasSuffix(k, ":pending") && !strings.HasSuffix(k, ":t:r1:t:2") {
			t.Errorf("the queue left %s", k)
		}
	}
}

func TestPanicsLoseOneAttempt(t *testing.T) {
	t.Parallel()
	f := embedded(t)
	var log lockedBuffer
	done := make(chan struct{}, 1)
	f.serve(queue.Config{
		Worker: "w", WorkSlots: 1, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Handler: func(_ context.Context, d queue.Delivery) {
			if d.Task == "t00" {
				panic("ouch")
			}
			done <- struct{}{}
		},
	})
	f.start(onePlan(tasks.Route{}, tasks.Route{}))
	select {
	case <-done:
	case <-time.After(soon):
		t.Fatal("the next task was not taken")
	}
	deadline := time.After(soon) // the tasks may come in any order
	for {
		text := log.String()
		if strings.Contains(text, "panic=ouch") && strings.Contains(text, "task=t00") {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("log: %s", text)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestUnreadableDeliveriesAreDropped(t *testing.T) {
	t.Parallel()
	f := embedded(t)
	var log lockedBuffer
	f.serve(queue.Config{
		Worker: "w", WorkSlots: 1, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Handler: func(_ context.Context, d queue.Delivery) { t.Errorf("delivery %+v", d) },
	})
	client := asynq.NewClientFromRedisClient(f.conn.Redis())
	if _, err := client.Enqueue(asynq.NewTask("attempt", []byte("junk")), asynq.Queue(queue.Name(tasks.Route{})), asynq.MaxRetry(0)); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, soon, func() string {
		if !strings.Contains(log.String(), "cannot be read") {
			return "nothing was said"
		}
		return ""
	})
}

func TestStartWithoutRedis(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	f := newFleet(t, server.URL())
	server.Kill()
	s, err := queue.NewServer(f.conn, f.ledger, queue.Config{Worker: "w", WorkSlots: 1, Handler: func(context.Context, queue.Delivery) {}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err == nil {
		t.Error("the server started without Redis")
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("stop of a server that did not start: %v", err)
	}
}

func TestStopWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	f := newFleet(t, server.URL())
	s, err := queue.NewServer(f.conn, f.ledger, queue.Config{Worker: "w", WorkSlots: 1, HoldSlots: 1, Handler: func(context.Context, queue.Delivery) {}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	started := time.Now()
	if err := s.Stop(t.Context()); err == nil {
		t.Error("its queue was deleted without Redis")
	}
	if d := time.Since(started); d > 20*time.Second {
		t.Errorf("the stop took %v", d)
	}
}

// TestTrivialRunIsQuick: an embedded queue is started for a single run of the command line.
func TestTrivialRunIsQuick(t *testing.T) {
	t.Parallel()
	best := time.Hour
	for range 5 { // the machine may be busy
		started := time.Now()
		conn, err := queue.OpenEmbedded(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s, err := queue.NewServer(conn, ledger.New(conn.Redis(), ledger.Options{}), queue.Config{
			Worker: "w", WorkSlots: 4, HoldSlots: 4, Handler: func(context.Context, queue.Delivery) {},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(started))
	}
	t.Logf("start and stop took %v", best)
	if best > 300*time.Millisecond {
		t.Errorf("start and stop took %v at best", best)
	}
}
