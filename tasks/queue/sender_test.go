package queue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"salvor/internal/testenv"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/tasks/queue"
)

// sweepNow makes everything of a run due and sweeps.
func (f *fleet) sweepNow(run string) {
	f.t.Helper()
	rdb, ctx := f.conn.Redis(), f.t.Context()
	key := "{salvor2}:r:" + run + ":out"
	waiting, err := rdb.ZRange(ctx, key, 0, -1).Result()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, task := range waiting {
		if err := rdb.ZAdd(ctx, key, redis.Z{Score: 1, Member: task}).Err(); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := rdb.Del(ctx, "{salvor2}:sweep").Err(); err != nil {
		f.t.Fatal(err)
	}
	if err := queue.NewSweeper(f.conn, f.ledger, nil).Sweep(ctx); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) pending() []string {
	f.t.Helper()
	list, err := asynq.NewInspectorFromRedisClient(f.conn.Redis()).ListPendingTasks(queue.Name(tasks.Route{}))
	if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
		f.t.Fatal(err)
	}
	var ids []string
	for _, info := range list {
		ids = append(ids, info.ID)
	}
	return ids
}

func TestSendTwice(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.Redis(t).URL())
	ready, err := f.ledger.Create(t.Context(), onePlan(tasks.Route{}))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.sender.Send(t.Context(), ready); err != nil {
			t.Fatal(err)
		}
	}
	f.sweepNow("r1")
	want := "r1:t00:" + ready[0].Attempt
	if got := f.pending(); len(got) != 1 || got[0] != want {
		t.Errorf("pending are %v, want %s", got, want)
	}
}

// TestLostDeliveries: an attempt whose id asynq blocks, though nobody claimed it, gets another.
func TestLostDeliveries(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, f *fleet, id string){
		"archived": func(t *testing.T, f *fleet, id string) {
			if err := asynq.NewInspectorFromRedisClient(f.conn.Redis()).ArchiveTask(queue.Name(tasks.Route{}), id); err != nil {
				t.Fatal(err)
			}
		},
		"active with a dead worker": func(t *testing.T, f *fleet, id string) {
			base := "asynq:{" + queue.Name(tasks.Route{}) + "}:"
			rdb := f.conn.Redis()
			if err := rdb.LMove(t.Context(), base+"pending", base+"active", "RIGHT", "LEFT").Err(); err != nil {
				t.Fatal(err)
			}
			if err := rdb.HSet(t.Context(), base+"t:"+id, "state", "active").Err(); err != nil {
				t.Fatal(err)
			}
		},
		"completed": func(t *testing.T, f *fleet, id string) {
			base := "asynq:{" + queue.Name(tasks.Route{}) + "}:"
			if err := f.conn.Redis().HSet(t.Context(), base+"t:"+id, "state", "completed").Err(); err != nil {
				t.Fatal(err)
			}
			if err := f.conn.Redis().Del(t.Context(), base+"pending").Err(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, testenv.Redis(t).URL())
			ready, err := f.ledger.Create(t.Context(), onePlan(tasks.Route{}))
			if err != nil {
				t.Fatal(err)
			}
			if err := f.sender.Send(t.Context(), ready); err != nil {
				t.Fatal(err)
			}
			old := "r1:t00:" + ready[0].Attempt
			lose(t, f, old)
			if err := f.sender.Send(t.Context(), ready); err != nil { // a first send leaves it alone
				t.Fatal(err)
			}
			f.sweepNow("r1")
			got := f.pending()
			if len(got) != 1 || got[0] == old {
				t.Fatalf("pending are %v, lost was %s", got, old)
			}
			f.sweepNow("r1")
			if again := f.pending(); len(again) != 1 || again[0] != got[0] {
				t.Errorf("the second sweep made of %v %v", got, again)
			}
		})
	}
}

// TestQueueIsNotRegistered: after Redis was emptied a long-lived asynq client never registers its queue again.
func TestQueueIsNotRegistered(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.Redis(t).URL())
	ready, err := f.ledger.Create(t.Context(), onePlan(tasks.Route{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.sender.Send(t.Context(), ready); err != nil {
		t.Fatal(err)
	}
	if err := f.conn.Redis().SRem(t.Context(), "asynq:queues", queue.Name(tasks.Route{})).Err(); err != nil {
		t.Fatal(err)
	}
	if err := f.sender.Resend(t.Context(), ready); err != nil {
		t.Fatal(err)
	}
	if got := f.pending(); len(got) != 1 || got[0] != "r1:t00:"+ready[0].Attempt {
		t.Errorf("pending are %v", got)
	}
}

func TestSendMany(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.Redis(t).URL())
	var list []ledger.Emission
	for i := range 300 {
		list = append(list, ledger.Emission{Run: "r1", Task: fmt.Sprint(i), Attempt: "x-1"})
	}
	if err := f.sender.Send(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	info, err := asynq.NewInspectorFromRedisClient(f.conn.Redis()).GetQueueInfo(queue.Name(tasks.Route{}))
	if err != nil || info.Pending != 300 {
		t.Errorf("%+v, %v", info, err)
	}
	task, err := asynq.NewInspectorFromRedisClient(f.conn.Redis()).GetTaskInfo(queue.Name(tasks.Route{}), "r1:7:x-1")
	if err != nil {
		t.Fatal(err)
	}
	if task.MaxRetry != 0 || task.Timeout != 7*24*time.Hour || task.Retention != 0 || string(task.Payload) != `{"run":"r1","task":"7","attempt":"x-1"}` {
		t.Errorf("task is %+v", task)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.sender.Send(ctx, list); err == nil {
		t.Error("a cancelled send says nothing")
	}
	if err := f.sender.Send(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// TestTidy: what asynq keeps of lost deliveries and dead workers is removed.
func TestTidy(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	f := newFleet(t, server.URL())
	ctx, rdb := t.Context(), f.conn.Redis()
	f.serve(queue.Config{Worker: "alive", WorkSlots: 1, Handler: func(context.Context, queue.Delivery) {}})
	dead := queue.Name(tasks.Route{Worker: "dead"})
	for _, e := range []ledger.Emission{
		{Run: "r", Task: "1", Attempt: "a", Route: tasks.Route{Worker: "dead"}},
		{Run: "r", Task: "2", Attempt: "a", Route: tasks.Route{Worker: "dead"}},
		{Run: "r", Task: "3", Attempt: "a", Route: tasks.Route{Host: "h"}},
	} {
		if err := f.sender.Send(ctx, []ledger.Emission{e}); err != nil {
			t.Fatal(err)
		}
	}
	if err := rdb.LMove(ctx, "asynq:{"+dead+"}:pending", "asynq:{"+dead+"}:active", "RIGHT", "LEFT").Err(); err != nil {
		t.Fatal(err)
	}
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	host := queue.Name(tasks.Route{Host: "h"})
	if err := inspector.ArchiveTask(host, "r:3:a"); err != nil {
		t.Fatal(err)
	}
	foreign := asynq.NewClientFromRedisClient(rdb)
	if _, err := foreign.Enqueue(asynq.NewTask("x", nil), asynq.Queue("other.own.dead"), asynq.TaskID("f")); err != nil {
		t.Fatal(err)
	}
	if err := inspector.ArchiveTask("other.own.dead", "f"); err != nil {
		t.Fatal(err)
	}
	s := queue.NewSweeper(f.conn, f.ledger, nil)
	if err := s.Tidy(ctx); err != nil {
		t.Fatal(err)
	}
	if info, err := inspector.GetQueueInfo(host); err != nil || info.Archived != 0 {
		t.Errorf("archived are %+v, %v", info, err)
	}
	if n := rdb.Exists(ctx, "asynq:{"+dead+"}:active").Val(); n != 1 {
		t.Error("the queue was deleted at the first look")
	}
	if err := s.Tidy(ctx); err != nil {
		t.Fatal(err)
	}
	if keys := rdb.Keys(ctx, "asynq:{"+dead+"}:*").Val(); len(keys) != 0 {
		t.Errorf("the dead worker's queue left %v", keys)
	}
	if info, err := inspector.GetQueueInfo("other.own.dead"); err != nil || info.Archived != 1 {
		t.Errorf("the queue of others is %+v, %v", info, err)
	}
}
