package workers

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// crew runs tasks at the same time, as many as there are hands and room for. It is used by one goroutine; the tasks run in
// others, which end with close.
type crew struct {
	ctx    context.Context //nolint:containedctx // that of its goroutines, which close ends
	cancel context.CancelFunc
	most   int
	log    func(panicked any, stack []byte)

	mu    sync.Mutex
	ended sync.Cond // a task has
	busy  int
	room  ring
	err   error // the first
}

// newCrew returns a crew; the caller closes it.
func newCrew(ctx context.Context, most, room int, log func(any, []byte)) *crew {
	c := &crew{most: most, log: log, room: ring{size: room}}
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.ended.L = &c.mu
	return c
}

// start runs a task that needs n bytes of the room, when they are free; n is at most the room. It returns the first error that
// any task returned: no other is begun then.
func (c *crew) start(n int, task func(ctx context.Context, at *span) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var at *span
	for ok := false; !ok; {
		if c.err != nil {
			return c.err
		}
		if c.busy < c.most {
			at, ok = c.room.take(n)
		}
		if !ok {
			c.ended.Wait()
		}
	}
	c.busy++
	go func() {
		err := c.guarded(at, task)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.busy--
		c.room.give(at)
		if err != nil && c.err == nil {
			c.err = err
			c.cancel() // what the others do is void
		}
		c.ended.Broadcast()
	}()
	return nil
}

func (c *crew) guarded(at *span, task func(context.Context, *span) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log(p, debug.Stack())
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return task(c.ctx, at)
}

// wait waits until no task runs, and returns the first error.
func (c *crew) wait() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.busy > 0 {
		c.ended.Wait()
	}
	return c.err
}

// close ends the tasks and waits for them.
func (c *crew) close() {
	c.cancel()
	_ = c.wait() // told already, or void
}
