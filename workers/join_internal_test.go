package workers

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"salvor/drivers"
	"salvor/internal/secret"
	"salvor/internal/testenv"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// slowJoiner is a source whose views take as long to join as the test wants.
type slowJoiner struct {
	drivers.Stream
	began   chan struct{}
	release chan func() (drivers.View, error)
	closed  atomic.Int32
}

func (s *slowJoiner) Join(ctx context.Context, _ json.RawMessage) (drivers.View, error) {
	s.began <- struct{}{}
	select {
	case f := <-s.release:
		return f()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *slowJoiner) Close() error {
	s.closed.Add(1)
	return nil
}

type joinableView struct {
	drivers.View
	ended atomic.Int32
}

func (v *joinableView) End(context.Context) error {
	v.ended.Add(1)
	return nil
}

func joiningAttempt(s *slowJoiner) *attempt {
	registry := new(drivers.Registry)
	registry.Register(drivers.Kind{
		Name: "slow", Scheme: "slow", Shape: drivers.ShapeStream,
		Open: func(context.Context, drivers.Spec) (drivers.Source, error) { return s, nil },
	})
	fill := func(context.Context, string, string, string) (secret.Text, error) { return secret.Text{}, nil }
	return &attempt{
		Worker: &Worker{cfg: Config{Registry: registry, Source: fill}.WithDefaults()},
		run:    &runContext{nodes: map[string]tasks.Node{"n": {Name: "n", Driver: "slow"}}},
		claim:  ledger.Claim{Run: "r", Task: tasks.Task{ID: "t", Node: "n"}},
	}
}

// TestJoinTogether ends the attempt that began to join a view which another waits for: that one gets it all the same.
func TestJoinTogether(t *testing.T) {
	t.Parallel()
	s := &slowJoiner{began: make(chan struct{}), release: make(chan func() (drivers.View, error))}
	a := joiningAttempt(s)
	spec := tasks.PartSpec{Ticket: json.RawMessage(`{}`)}
	type outcome struct {
		view drivers.View
		done func()
		err  error
	}
	begin := func(ctx context.Context) chan outcome {
		c := make(chan outcome, 1)
		go func() {
			view, done, err := a.viewOf(ctx, spec)
			c <- outcome{view, done, err}
		}()
		return c
	}
	users := func(n int) {
		t.Helper()
		testenv.Eventually(t, time.Minute, func() string {
			a.views.mu.Lock()
			defer a.views.mu.Unlock()
			for _, j := range a.views.joined {
				if j.users == n {
					return ""
				}
			}
			return "not as many wait for the view"
		})
	}

	// The first is revoked, the second waits on.
	ctx, revoke := context.WithCancelCause(t.Context())
	first := begin(ctx)
	<-s.began
	second := begin(t.Context())
	users(2)
	revoke(errRevoked)
	if got := <-first; !errors.Is(got.err, errRevoked) {
		t.Errorf("the revoked attempt got %v", got.err)
	}
	view := new(joinableView)
	s.release <- func() (drivers.View, error) { return view, nil }
	got := <-second
	if got.err != nil || got.view != view {
		t.Fatalf("the other got %v, %v", got.view, got.err)
	}
	got.done()
	if err := a.views.endJoined(t.Context()); err != nil || view.ended.Load() != 1 {
		t.Errorf("end: %v, ended %d times", err, view.ended.Load())
	}

	// A panic reaches all that wait, and the next tries again.
	first = begin(t.Context())
	<-s.began
	second = begin(t.Context())
	users(2)
	s.release <- func() (drivers.View, error) { panic("fault") }
	for _, c := range []chan outcome{first, second} {
		if got := <-c; !errors.Is(got.err, errPanic) {
			t.Errorf("after a panic: %v", got.err)
		}
	}

	// What nobody waits for any more does not stay open.
	ctx, revoke = context.WithCancelCause(t.Context())
	first = begin(ctx)
	<-s.began
	revoke(errRevoked)
	<-first
	view = new(joinableView)
	s.release <- func() (drivers.View, error) { return view, nil }
	if err := a.views.endJoined(t.Context()); err != nil || view.ended.Load() != 1 {
		t.Errorf("end: %v, ended %d times", err, view.ended.Load())
	}
}
