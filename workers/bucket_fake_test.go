package workers_test

import (
	"context"
	"errors"
	"sync"

	"salvor/drivers"
)

// crowd counts those who are in it at the same time, and can hold them until there are enough.
type crowd struct {
	mu     sync.Mutex
	want   int // all go on when so many have come together; 0: nobody waits
	in     int
	most   int
	enough chan struct{}
}

func newCrowd(want int) *crowd { return &crowd{want: want, enough: make(chan struct{})} }

// visit waits until there are enough, or ctx ends.
func (c *crowd) visit(ctx context.Context) error {
	c.mu.Lock()
	c.in++
	c.most = max(c.most, c.in)
	if c.want > 0 && c.in == c.want {
		c.want = 0
		close(c.enough)
	}
	waits := c.want > 0
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.in--
	}()
	if !waits {
		return ctx.Err()
	}
	select {
	case <-c.enough:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("fewer came together than were to"), ctx.Err())
	}
}

func (c *crowd) greatest() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most
}

// fakeBucket is a fake tree that is a bucket: its openings and puttings can be held until enough of them came together.
type fakeBucket struct {
	fakeTree
	opens, puts *crowd
	atOnce      int
}

var _ drivers.Bucket = (*fakeBucket)(nil)

func (f *fakeBucket) AtOnce() int { return f.atOnce }

func (f *fakeBucket) List(ctx context.Context, r drivers.Range, yield func(drivers.Entry) error) error {
	return f.Walk(ctx, r, yield)
}

func (f *fakeBucket) Open(ctx context.Context, e drivers.Entry) (drivers.Content, error) {
	if f.opens != nil {
		if err := f.opens.visit(ctx); err != nil {
			return nil, err
		}
	}
	return f.fakeTree.Open(ctx, e)
}

func (f *fakeBucket) Target() drivers.TreeTarget { return f }

func (f *fakeBucket) Put(ctx context.Context, target drivers.Target, attempt drivers.Attempt, e drivers.Entry, content drivers.ContentReader) error {
	if f.puts != nil {
		if err := f.puts.visit(ctx); err != nil {
			return err
		}
	}
	return f.fakeTree.Put(ctx, target, attempt, e, content)
}
