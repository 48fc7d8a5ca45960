package workers

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"gocloud.dev/blob/memblob"

	"salvor/archive"
)

// TestOpenArchives: a place that does not answer holds up nobody but those who want it, and they may give up.
func TestOpenArchives(t *testing.T) {
	t.Parallel()
	bucket := memblob.OpenBucket(nil)
	defer func() { _ = bucket.Close() }()
	if _, err := archive.Create(t.Context(), "mem://test", archive.Options{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	var opened atomic.Int64
	began, answer := make(chan context.Context, 9), make(chan struct{})
	s := newArchives(func(ctx context.Context, location string) (*archive.Archive, error) {
		opened.Add(1)
		if location != "good" {
			began <- ctx
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-answer:
			}
		}
		return archive.Open(ctx, "mem://test", archive.Options{Bucket: bucket})
	})
	type result struct {
		a   *archive.Archive
		err error
	}
	at := func(ctx context.Context, location string) chan result {
		done := make(chan result, 1)
		go func() {
			a, err := s.at(ctx, location)
			done <- result{a, err}
		}()
		return done
	}
	waiting := func(n int) {
		t.Helper()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
			s.mu.Lock()
			o := s.opening["slow"]
			have := o != nil && o.waiting == n
			s.mu.Unlock()
			if have {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("nobody waits")
			}
		}
	}

	// The first gives up, the second still gets it: it is one opening for both.
	first, giveUp := context.WithCancel(t.Context())
	one := at(first, "slow")
	<-began
	two := at(t.Context(), "slow")
	waiting(2)
	if got := <-at(t.Context(), "good"); got.err != nil || got.a == nil {
		t.Fatalf("another archive: %v", got.err)
	}
	giveUp()
	if got := <-one; !errors.Is(got.err, context.Canceled) {
		t.Errorf("gave up: %v", got.err)
	}
	close(answer)
	got := <-two
	if got.err != nil || got.a == nil {
		t.Fatalf("waited: %v", got.err)
	}
	if again := <-at(t.Context(), "slow"); again.a != got.a {
		t.Error("it was opened again")
	}
	if n := opened.Load(); n != 2 {
		t.Errorf("%d were opened, want 2", n)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// TestOpenArchiveGivenUp: an opening that nobody waits for ends, and the next one begins anew.
func TestOpenArchiveGivenUp(t *testing.T) {
	t.Parallel()
	began := make(chan context.Context, 1)
	s := newArchives(func(ctx context.Context, _ string) (*archive.Archive, error) {
		began <- ctx
		<-ctx.Done()
		return nil, ctx.Err()
	})
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := s.at(ctx, "slow")
			done <- err
		}()
		opening := <-began
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("gave up: %v", err)
		}
		<-opening.Done()
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	broken := errors.New("broken")
	s = newArchives(func(context.Context, string) (*archive.Archive, error) { return nil, broken })
	for range 2 { // an error is not kept
		if _, err := s.at(t.Context(), "bad"); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}
