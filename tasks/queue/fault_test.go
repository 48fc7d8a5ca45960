package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"salvor/internal/testenv"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/tasks/queue"
)

func nothingLost(t *testing.T, s ledger.RunState) {
	t.Helper()
	if s.Deaths != 0 || s.Epochs != 0 || s.Retries != 0 {
		t.Errorf("without need %d attempts died, %d views were opened again, %d were tried again", s.Deaths, s.Epochs, s.Retries)
	}
}

func TestFaultNone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.Redis(t).URL())
	w1, w2 := f.worker("w1"), f.worker("w2")
	f.start(fleetPlan("r1"))
	nothingLost(t, f.done("r1"))
	for _, w := range []*worker{w1, w2} {
		if n := w.most.Load(); n > 4 {
			t.Errorf("worker %s ran %d tasks at once in 4 slots", w.id, n)
		}
	}
	workers, err := f.ledger.Workers(t.Context(), "r1")
	if err != nil || len(workers) == 0 {
		t.Errorf("workers: %v, %v", workers, err)
	}
}

func TestFaultEmbedded(t *testing.T) {
	t.Parallel()
	conn, err := queue.OpenEmbedded(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := fleetOn(t, "", conn)
	f.worker("w1")
	f.start(fleetPlan("r1"))
	nothingLost(t, f.done("r1"))
}

func TestFaultWorkerKilled(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.Redis(t).URL())
	// The first worker alone takes both views and begins the parts.
	victim := f.child("victim")
	f.start(fleetPlan("r1"))
	f.reached(5)
	victim.signal(syscall.SIGKILL)
	f.worker("w2")
	s := f.done("r1")
	if s.Epochs != 2 || s.Deaths < 2 {
		t.Errorf("two views were lost with their holder; the run counts %d epochs and %d deaths", s.Epochs, s.Deaths)
	}
}

func TestFaultWorkerKilledBetweenDequeueAndClaim(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.Redis(t).URL())
	for i, n := range []string{"1", "3", "12"} {
		f.child(fmt.Sprintf("victim%d", i), workerEnv+"_DIE="+n)
	}
	f.start(fleetPlan("r1"))
	f.worker("w2")
	f.done("r1")
}

func TestFaultWorkerSuspended(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.Redis(t).URL())
	c := f.child("sleeper")
	f.start(fleetPlan("r1"))
	f.reached(5)
	c.signal(syscall.SIGSTOP)
	f.worker("w2")
	testenv.Eventually(t, soon, func() string {
		s, err := f.ledger.State(t.Context(), "r1")
		if err != nil || s.Deaths == 0 {
			return fmt.Sprintf("nobody was given up: %+v, %v", s, err)
		}
		return ""
	})
	c.signal(syscall.SIGCONT) // it comes back with what is not its own any more
	f.done("r1")
}

func TestFaultRedisSuspended(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	f := newFleet(t, server.URL())
	f.worker("w1")
	f.worker("w2")
	f.start(fleetPlan("r1"))
	f.reached(5)
	server.Stop()
	wait(t, scaled().Lease+time.Second) // longer than a lease: nobody can beat
	server.Cont()
	nothingLost(t, f.done("r1"))
}

// wait waits for a time that is itself what is tested.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

func TestFaultRedisKilledWithLog(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	f := newFleet(t, server.URL())
	f.worker("w1")
	f.worker("w2")
	f.start(fleetPlan("r1"))
	f.reached(5)
	server.Restart()
	f.done("r1")
}

func TestFaultRedisKilledWithoutPersistence(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	f := newFleet(t, server.URL())
	slow := func(w *worker) { w.slow = 200 * time.Millisecond }
	w1, w2 := f.worker("w1", slow), f.worker("w2", slow)
	f.start(fleetPlan("r1"))
	f.reached(2)
	server.Restart()
	f.gone("r1", w1, w2)
	f.start(fleetPlan("r2"))
	f.done("r2")
}

// gone waits until a lost run is noticed and its attempts have ended by themselves.
func (f *fleet) gone(run string, workers ...*worker) {
	f.t.Helper()
	testenv.Eventually(f.t, soon, func() string {
		if _, err := f.ledger.State(f.t.Context(), run); !errors.Is(err, ledger.ErrNoRun) {
			return fmt.Sprintf("state of a lost run: %v", err)
		}
		for _, w := range workers {
			if n := w.running.Load(); n > 0 {
				return fmt.Sprintf("worker %s still runs %d attempts of a lost run", w.id, n)
			}
		}
		return ""
	})
}

func TestFaultRedisEmptied(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	f := newFleet(t, server.URL())
	slow := func(w *worker) { w.slow = 100 * time.Millisecond }
	w1, w2 := f.worker("w1", slow), f.worker("w2", slow)
	f.start(fleetPlan("r1"))
	f.reached(2)
	server.FlushAll()
	f.gone("r1", w1, w2)
	// The same clients carry the next run.
	f.start(fleetPlan("r2"))
	f.done("r2")
}

func TestFaultRedisComesBackOlder(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	f := newFleet(t, server.URL())
	f.worker("w1")
	f.worker("w2")
	f.start(fleetPlan("r1"))
	f.reached(4)
	server.Do("SAVE")
	f.reached(15)
	if _, err := os.Stat(filepath.Join(server.Dir, "dump.rdb")); err != nil {
		t.Fatal(err)
	}
	server.Restart()
	f.done("r1")
}

// TestFaultCoordinatorDies between storing the plan and sending its first tasks.
func TestFaultCoordinatorDies(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.Redis(t).URL())
	f.worker("w1")
	f.worker("w2")
	if _, err := f.ledger.Create(t.Context(), fleetPlan("r1")); err != nil {
		t.Fatal(err)
	}
	nothingLost(t, f.done("r1"))
}

// TestFaultNobodySweeps for a while, with workers dying; then somebody does.
func TestFaultNobodySweeps(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.Redis(t).URL())
	still := func(w *worker) { w.noSweep = true }
	victim := f.child("victim")
	f.start(fleetPlan("r1"))
	f.reached(3)
	victim.signal(syscall.SIGKILL)
	f.worker("w1", still)
	f.worker("w2", still)
	wait(t, 500*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		queue.NewSweeper(f.conn, f.ledger, nil).Run(ctx)
	}()
	f.done("r1")
	cancel()
	<-done
}

// TestFaultRepeatedDeliveries sends every attempt twice more, under other ids.
func TestFaultRepeatedDeliveries(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.Redis(t).URL())
	client := asynq.NewClientFromRedisClient(f.conn.Redis())
	hook := &repeater{client: client}
	repeat := func(w *worker) { w.conn.Redis().AddHook(hook) }
	f.worker("w1", repeat)
	f.worker("w2", repeat)
	f.start(fleetPlan("r1"))
	nothingLost(t, f.done("r1"))
	if hook.n.Load() < 40 {
		t.Errorf("only %d deliveries were repeated", hook.n.Load())
	}
}

// repeater enqueues what is enqueued again, as another asynq task with the same payload.
type repeater struct {
	client *asynq.Client
	n      atomic.Int64
}

func (h *repeater) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *repeater) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *repeater) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		args := cmd.Args()
		// asynq's enqueue: two keys, the task's and the pending list, then message, id and time.
		if err != nil || cmd.Name() != "evalsha" || len(args) != 8 || fmt.Sprint(args[2]) != "2" || ctx.Err() != nil {
			return err
		}
		key := fmt.Sprint(args[4])
		const open, closing = "asynq:{", "}:pending"
		if len(key) < len(open)+len(closing) || key[:len(open)] != open || key[len(key)-len(closing):] != closing {
			return err
		}
		id := fmt.Sprint(args[6])
		d, ok := split(id)
		if !ok {
			return err
		}
		for range 2 {
			_, again := h.client.EnqueueContext(ctx, asynq.NewTask("attempt", d), asynq.Queue(key[len(open):len(key)-len(closing)]),
				asynq.TaskID(fmt.Sprintf("again-%d-%s", h.n.Add(1), id)), asynq.MaxRetry(0), asynq.Timeout(time.Hour))
			if again != nil {
				return again
			}
		}
		return err
	}
}

// split makes a payload of a task's id, "run:task:attempt".
func split(id string) ([]byte, bool) {
	first, last := -1, -1
	for i, r := range id {
		if r == ':' {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if first < 0 || first == last {
		return nil, false
	}
	return fmt.Appendf(nil, `{"run":%q,"task":%q,"attempt":%q}`, id[:first], id[first+1:last], id[last+1:]), true
}

// TestFaultRepliesLost loses every third reply of the ledger's scripts on their way to the workers.
func TestFaultRepliesLost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.Redis(t).URL())
	var lost atomic.Int64
	lose := func(w *worker) { w.conn.Redis().AddHook(&loser{lost: &lost}) }
	f.worker("w1", lose)
	f.worker("w2", lose)
	f.start(fleetPlan("r1"))
	nothingLost(t, f.done("r1"))
	if lost.Load() == 0 {
		t.Error("nothing was lost")
	}
}

type loser struct {
	n    atomic.Int64
	lost *atomic.Int64
}

func (h *loser) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *loser) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *loser) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		args := cmd.Args()
		if cmd.Name() != "evalsha" || len(args) < 4 || err != nil || fmt.Sprint(args[3])[0] != '{' || h.n.Add(1)%3 != 0 {
			return err
		}
		h.lost.Add(1)
		cmd.SetErr(&net.OpError{Op: "read", Err: io.ErrUnexpectedEOF})
		return cmd.Err()
	}
}

// TestFaultCancelled: a run that is cancelled ends, and what it had queued does no harm to the next.
func TestFaultCancelled(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.Redis(t).URL())
	slow := func(w *worker) { w.slow = 200 * time.Millisecond }
	f.worker("w1", slow)
	f.worker("w2", slow)
	f.start(fleetPlan("r1"))
	f.reached(2)
	if err := f.ledger.Cancel(t.Context(), "r1", tasks.Failure{Message: "enough"}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, soon, func() string {
		if s, err := f.ledger.State(t.Context(), "r1"); err != nil || s.State != ledger.StateCancelled || s.Live != 0 {
			return fmt.Sprintf("run is %+v, %v", s, err)
		}
		return ""
	})
	if err := f.ledger.Forget(t.Context(), "r1"); err != nil {
		t.Fatal(err)
	}
	f.start(fleetPlan("r2"))
	f.done("r2")
}
