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
	view   anyView
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

// viewOf returns the view that a part is read from. The caller calls done after use.
func (a *attempt) viewOf(ctx context.Context, spec tasks.PartSpec) (_ drivers.View, done func(), err error) {
	path := a.claim.Task.Node
	node := a.run.nodes[path]
	open := func(ctx context.Context) (drivers.Source, error) {
		_, source, err := a.openSource(ctx, a.run, path, node.Driver, node.Source)
		return source, err
	}
	view, done, err := a.sharedView(ctx, viewKey{a.claim.Life(), path, spec.Epoch}, spec.Ticket, joinWith{open, joinParts})
	if err != nil {
		return nil, nil, err
	}
	parts, ok := view.(drivers.View)
	if !ok {
		done()
		return nil, nil, fmt.Errorf("view of node %s: %w: it has no parts", path, drivers.ErrInvalid)
	}
	return parts, done, nil
}

// joinWith says how a view is joined: its source is opened, and then joined.
type joinWith struct {
	open func(ctx context.Context) (drivers.Source, error)
	join func(ctx context.Context, source drivers.Source, ticket json.RawMessage) (anyView, error)
}

var errNotJoined = fmt.Errorf("%w: views of the driver cannot be joined", drivers.ErrInvalid)

func joinParts(ctx context.Context, source drivers.Source, ticket json.RawMessage) (anyView, error) {
	joiner, ok := source.(drivers.Joiner)
	if !ok {
		return nil, errNotJoined
	}
	return joiner.Join(ctx, ticket)
}

// sharedView returns a view that this process holds, or one that it joins. The caller calls done after use.
func (a *attempt) sharedView(ctx context.Context, key viewKey, ticket json.RawMessage, with joinWith) (_ anyView, done func(), err error) {
	view, err := a.views.get(key)
	if err == nil || ticket == nil {
		return view, func() {}, err
	}
	j, first := a.views.enter(key)
	if first {
		// The others wait for it too: the end of this attempt is not theirs.
		a.views.joining.Go(func() { a.joinFor(context.WithoutCancel(ctx), key.node, j, ticket, with) })
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
func (a *attempt) joinFor(ctx context.Context, node string, j *joinedView, ticket json.RawMessage, with joinWith) {
	ctx, cancel := context.WithTimeout(ctx, joinedWait)
	defer cancel()
	var view anyView
	var source drivers.Source
	err := fmt.Errorf("join view of node %s: %w", node, errPanic)
	defer func() {
		if p := recover(); p != nil {
			a.logPanic(ctx)(p, debug.Stack())
			err = fmt.Errorf("join view of node %s: %w: %v", node, errPanic, p)
		}
		a.views.joinedAs(ctx, j, view, source, err)
	}()
	if source, err = with.open(ctx); err != nil {
		return
	}
	if view, err = with.join(ctx, source, ticket); err != nil {
		err = errors.Join(fmt.Errorf("join view of node %s: %w", node, err), source.Close())
	}
}

// joinedAs tells those that wait what came of the join. Where nobody does any more, nothing stays open.
func (v *views) joinedAs(ctx context.Context, j *joinedView, view anyView, source drivers.Source, err error) {
	v.mu.Lock()
	j.view, j.source, j.err = view, source, err
	unused := j.users == 0
	close(j.ready)
	v.mu.Unlock()
	if unused && err == nil {
		_ = j.end(ctx) // nothing was read from it
	}
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

// endIdle ends the joined views of a node that nobody uses.
func (v *views) endIdle(ctx context.Context, node string) {
	v.mu.Lock()
	var idle []*joinedView
	for key, j := range v.joined {
		if key.node == node && j.users == 0 && j.idle != nil {
			j.idle.Stop()
			delete(v.joined, key)
			idle = append(idle, j)
		}
	}
	v.mu.Unlock()
	for _, j := range idle {
		_ = j.end(context.WithoutCancel(ctx)) // all that was read from it has been reported
	}
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
