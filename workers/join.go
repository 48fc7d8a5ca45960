package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"salvor/drivers"
	"salvor/tasks"
)

// joinedView is a view that another process holds and this one has joined. Parts share it: to join costs a connection.
type joinedView struct {
	ready chan struct{} // closed when it is joined, or could not be

	// Under the lock of the views, until ready is closed.
	view   drivers.View
	source drivers.Source
	err    error
	users  int
	idle   *time.Timer // ends it, once nobody uses it
}

const (
	// joinedIdle is how long a joined view is kept for the next part.
	joinedIdle = time.Second
	// joinedWait bounds how long it may take to join one.
	joinedWait = 2 * time.Minute
	// joinedEnd bounds how long the end of a joined view may take.
	joinedEnd = 30 * time.Second
)

// viewOf returns the view that a part is read from: the one that this process holds, or one that it joins. The caller calls
// done after use.
func (a *attempt) viewOf(ctx context.Context, spec tasks.PartSpec) (_ drivers.View, done func(), err error) {
	key := viewKey{a.claim.Life(), a.claim.Task.Node, spec.Epoch}
	view, err := a.views.get(key)
	if err == nil || spec.Ticket == nil {
		return view, func() {}, err
	}
	j, first := a.views.enter(key)
	if first {
		// The others wait for it too: the end of this attempt is not theirs.
		a.views.joining.Go(func() { a.joinFor(context.WithoutCancel(ctx), j, spec.Ticket) })
	}
	select {
	case <-j.ready:
	case <-ctx.Done():
		a.views.leave(ctx, key, j)
		return nil, nil, context.Cause(ctx)
	}
	if j.err != nil {
		a.views.leave(ctx, key, j)
		return nil, nil, j.err
	}
	return j.view, func() { a.views.leave(ctx, key, j) }, nil
}

// joinFor joins a view for all that wait for it.
func (a *attempt) joinFor(ctx context.Context, j *joinedView, ticket json.RawMessage) {
	ctx, cancel := context.WithTimeout(ctx, joinedWait)
	defer cancel()
	var view drivers.View
	var source drivers.Source
	err := fmt.Errorf("join view of node %s: %w", a.claim.Task.Node, errPanic)
	defer func() {
		if p := recover(); p != nil {
			a.logPanic(ctx)(p, debug.Stack())
			err = fmt.Errorf("join view of node %s: %w: %v", a.claim.Task.Node, errPanic, p)
		}
		a.views.joinedAs(ctx, j, view, source, err)
	}()
	view, source, err = a.join(ctx, ticket)
}

// joinedAs tells those that wait what came of the join. Where nobody does any more, nothing stays open.
func (v *views) joinedAs(ctx context.Context, j *joinedView, view drivers.View, source drivers.Source, err error) {
	v.mu.Lock()
	j.view, j.source, j.err = view, source, err
	unused := j.users == 0
	close(j.ready)
	v.mu.Unlock()
	if unused && err == nil {
		_ = j.end(ctx) // nothing was read from it
	}
}

// join opens the node's source and joins the view that the ticket stands for.
func (a *attempt) join(ctx context.Context, ticket json.RawMessage) (drivers.View, drivers.Source, error) {
	path := a.claim.Task.Node
	node := a.run.nodes[path]
	_, source, err := a.openSource(ctx, a.run, path, node.Driver, node.Source)
	if err != nil {
		return nil, nil, err
	}
	joiner, ok := source.(drivers.Joiner)
	if !ok {
		err = fmt.Errorf("node %s: %w: views of driver %s cannot be joined", path, drivers.ErrInvalid, node.Driver)
		return nil, nil, errors.Join(err, source.Close())
	}
	view, err := joiner.Join(ctx, ticket)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("join view of node %s: %w", path, err), source.Close())
	}
	return view, source, nil
}

// enter returns the joined view of a key for use, and whether the caller is the one to join it.
func (v *views) enter(key viewKey) (j *joinedView, first bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	j, ok := v.joined[key]
	if !ok {
		j = &joinedView{ready: make(chan struct{})}
		if v.joined == nil {
			v.joined = make(map[viewKey]*joinedView)
		}
		v.joined[key] = j
	}
	j.users++
	if j.idle != nil {
		j.idle.Stop()
		j.idle = nil
	}
	return j, !ok
}

// leave ends a use. A view that could not be joined is forgotten, so that the next part tries again.
func (v *views) leave(ctx context.Context, key viewKey, j *joinedView) {
	v.mu.Lock()
	defer v.mu.Unlock()
	j.users--
	joining := true
	select {
	case <-j.ready:
		joining = false
	default:
	}
	// One that is joined for nobody ends when it is.
	if (j.err != nil || joining && j.users == 0) && v.joined[key] == j {
		delete(v.joined, key)
	}
	if j.users > 0 || j.err != nil || joining {
		return
	}
	ctx = context.WithoutCancel(ctx)
	var end *time.Timer
	end = time.AfterFunc(joinedIdle, func() {
		v.mu.Lock()
		over := j.idle == end && v.joined[key] == j
		if over {
			delete(v.joined, key)
		}
		v.mu.Unlock()
		if over {
			_ = j.end(ctx) // all that was read from it has been reported
		}
	})
	j.idle = end
}

// endJoined ends all joined views; no part uses one any more.
func (v *views) endJoined(ctx context.Context) error {
	v.joining.Wait()
	v.mu.Lock()
	all := v.joined
	v.joined = nil
	v.mu.Unlock()
	var wait sync.WaitGroup
	errs := make(chan error, len(all))
	for _, j := range all {
		wait.Go(func() { errs <- j.end(ctx) })
	}
	wait.Wait()
	close(errs)
	var err error
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}

// end ends the view and closes its source. What the view proves is the holder's to say.
func (j *joinedView) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, joinedEnd)
	defer cancel()
	if j.view == nil {
		return nil
	}
	_ = j.view.End(ctx)
	return j.source.Close()
}
