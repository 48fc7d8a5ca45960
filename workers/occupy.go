package workers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"salvor/drivers"
	"salvor/tasks/ledger"
)

// A tree that is prepared as a target keeps other runs out for as long as it is open. Tasks open and close their own, and
// between two of them another run would find the place free: the two would mix. So each process that works on a target
// keeps it open from its first task there to the end of the run.
type occupancy struct {
	end context.CancelFunc

	mu     sync.Mutex     // held while the target is prepared, which others of the run wait for
	source drivers.Source // nil until it is prepared
	over   bool
}

type occupancyKey struct{ run, node string }

// occupy prepares the attempt's target, unless this process did, and keeps it so.
func (a *attempt) occupy(ctx context.Context, t *target) error {
	for {
		if done, err := a.occupation(ctx).prepare(ctx, a, t); done || err != nil {
			return err
		}
	}
}

// occupation returns what keeps the attempt's target, and sees to its end.
func (a *attempt) occupation(ctx context.Context) *occupancy {
	key := occupancyKey{a.claim.Run, a.claim.Task.Node}
	a.mu.Lock()
	defer a.mu.Unlock()
	if o := a.occupied[key]; o != nil {
		return o
	}
	ctx, end := context.WithCancel(context.WithoutCancel(ctx))
	o := &occupancy{end: end}
	a.occupied[key] = o
	a.watchers.Go(func() { a.watch(ctx, key, o) })
	return o
}

// prepare prepares the target; false if it was let go meanwhile.
func (o *occupancy) prepare(ctx context.Context, a *attempt, t *target) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over || o.source != nil {
		return !o.over, nil
	}
	_, source, err := a.openSource(ctx, a.run, a.claim.Task.Node, t.node.Driver, t.node.Source)
	if err != nil {
		return false, err
	}
	tree, ok := source.(drivers.Tree)
	if !ok {
		return false, errors.Join(fmt.Errorf("%w: driver %s is not a tree", drivers.ErrInvalid, t.node.Driver), source.Close())
	}
	if err := tree.Target().Prepare(ctx, t.rules); err != nil {
		return false, errors.Join(err, source.Close())
	}
	o.source = source
	return true, nil
}

// watch closes a target that is kept when its run has ended, or when it is let go.
func (w *Worker) watch(ctx context.Context, key occupancyKey, o *occupancy) {
	defer o.end()
	for over := false; !over; {
		select {
		case <-ctx.Done():
			over = true
		case <-time.After(w.cfg.Ledger.Options().Beat):
			state, err := w.cfg.Ledger.State(ctx, key.run)
			over = errors.Is(err, ledger.ErrNoRun) || err == nil && state.State.Terminal() // any other error may pass
		}
	}
	w.mu.Lock()
	if w.occupied[key] == o {
		delete(w.occupied, key)
	}
	w.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	if o.source == nil {
		return
	}
	if err := o.source.Close(); err != nil {
		w.cfg.Log.WarnContext(ctx, "a target was not closed cleanly", "run", key.run, "node", key.node, "error", err)
	}
}

// vacate lets go a target that is finished. A late attempt that comes after it prepares the target again.
func (a *attempt) vacate() {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := occupancyKey{a.claim.Run, a.claim.Task.Node}
	if o := a.occupied[key]; o != nil {
		delete(a.occupied, key)
		o.end()
	}
}

// vacateAll lets go all targets and waits until they are closed.
func (w *Worker) vacateAll() {
	w.mu.Lock()
	for _, o := range w.occupied {
		o.end()
	}
	w.mu.Unlock()
	w.watchers.Wait()
}
