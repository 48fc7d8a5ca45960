package queue_test

import (
	"context"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"salvor/internal/testenv"
	"salvor/tasks/queue"
)

// The queue tells who serves it; those who stop, and servers of other programs, do not count.
func TestWorkers(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	f := newFleet(t, server.URL())
	if f.conn.Where() != server.Addr() {
		t.Errorf("the queue is at %q", f.conn.Where())
	}
	idle := func(context.Context, queue.Delivery) {}
	f.serve(queue.Config{Worker: "b", Host: "web-2", Version: "v1.2.3+dirty", WorkSlots: 3, HoldSlots: 5, Handler: idle})
	f.serve(queue.Config{Worker: "a", WorkSlots: 1, Handler: idle})
	leaving := f.serve(queue.Config{Worker: "c", Host: "web-1", WorkSlots: 1, HoldSlots: 1, Handler: idle})
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	c := queue.Worker{ID: "c", Host: "web-1", Hostname: hostname, PID: os.Getpid(), WorkSlots: 1, HoldSlots: 1}
	rest := []queue.Worker{
		{ID: "a", Hostname: hostname, PID: os.Getpid(), WorkSlots: 1},
		{ID: "b", Host: "web-2", Hostname: hostname, PID: os.Getpid(), Version: "v1.2.3+dirty", WorkSlots: 3, HoldSlots: 5},
	}
	see := func(want ...queue.Worker) {
		t.Helper()
		testenv.Eventually(t, soon, func() string {
			got, err := f.conn.Workers(t.Context())
			if err != nil {
				return err.Error()
			}
			return cmp.Diff(want, got, cmpopts.IgnoreFields(queue.Worker{}, "Started"))
		})
	}
	see(rest[0], c, rest[1])
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := leaving.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	see(rest...)
	// What was emptied is known again once the workers have said that they live.
	server.FlushAll()
	see(rest...)
}
