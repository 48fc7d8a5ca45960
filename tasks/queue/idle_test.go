package queue

import (
	"context"
	"testing"
	"time"

	"salvor/internal/testenv"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// TestIdlingIsCheap: an idle server on an embedded queue runs no scripts. It fails when asynq's dequeue takes another shape.
func TestIdlingIsCheap(t *testing.T) {
	t.Parallel()
	conn, err := OpenEmbedded(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := ledger.New(conn.Redis(), ledger.Options{})
	taken := make(chan struct{}, 1)
	s, err := NewServer(conn, l, Config{Worker: "w", WorkSlots: 1, HoldSlots: 1, Handler: func(context.Context, Delivery) { taken <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	// asynq's servers say a few words at their start.
	quietSince, last := time.Now(), -1
	testenv.Eventually(t, 20*time.Second, func() string {
		if n := conn.embedded.CommandCount(); n != last {
			quietSince, last = time.Now(), n
		}
		if time.Since(quietSince) < 10*checkInterval {
			return "the idle server keeps asking"
		}
		return ""
	})
	e := ledger.Emission{Run: "r", Task: "t", Attempt: "a", Route: tasks.Route{Hold: true}}
	if err := s.sender.Send(t.Context(), []ledger.Emission{e}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-taken:
	case <-time.After(20 * time.Second):
		t.Error("the idle server does not wake up")
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}
