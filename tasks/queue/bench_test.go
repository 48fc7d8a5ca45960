package queue_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"salvor/internal/testenv"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/tasks/queue"
)

// BenchmarkLedgerNoop carries tasks that do nothing through the whole of asynq and ledger, with one worker.
func BenchmarkLedgerNoop(b *testing.B) {
	b.Run("redis", func(b *testing.B) {
		conn, err := queue.Open(b.Context(), testenv.Redis(b).URL())
		if err != nil {
			b.Fatal(err)
		}
		benchmarkNoop(b, conn)
	})
	b.Run("embedded", func(b *testing.B) {
		conn, err := queue.OpenEmbedded(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		benchmarkNoop(b, conn)
	})
}

func benchmarkNoop(b *testing.B, conn *queue.Conn) {
	b.Helper()
	defer func() {
		if err := conn.Close(); err != nil {
			b.Error(err)
		}
	}()
	l := ledger.New(conn.Redis(), ledger.Options{})
	sender := queue.NewSender(conn, l)
	end := make(chan struct{})
	s, err := queue.NewServer(conn, l, queue.Config{Worker: "w", WorkSlots: 8, Handler: func(ctx context.Context, d queue.Delivery) {
		c, err := l.Claim(ctx, d.Run, d.Task, d.Attempt, "w")
		if err != nil {
			b.Errorf("claim: %v", err)
			return
		}
		ready, err := l.Finish(ctx, c, nil, tasks.Progress{})
		if err != nil {
			b.Errorf("finish: %v", err)
		}
		if c.Step == "end" {
			close(end)
		}
		if err := sender.Send(ctx, ready); err != nil {
			b.Errorf("send: %v", err)
		}
	}})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Stop(context.Background()); err != nil {
			b.Error(err)
		}
	}()
	p := onePlan()
	for i := range b.N {
		p.Steps[0].Tasks = append(p.Steps[0].Tasks, tasks.Task{ID: fmt.Sprintf("t%07d", i), Kind: tasks.KindPart})
	}
	p.Steps = append(p.Steps, tasks.Step{ID: "end", Needs: []string{"s"}, Tasks: []tasks.Task{{ID: "end"}}})
	b.ResetTimer()
	started := time.Now()
	ready, err := l.Create(b.Context(), p)
	if err != nil {
		b.Fatal(err)
	}
	if err := sender.Send(b.Context(), ready); err != nil {
		b.Fatal(err)
	}
	<-end
	b.ReportMetric(float64(b.N)/time.Since(started).Seconds(), "tasks/s")
}
