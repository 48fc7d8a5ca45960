package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/tasks/queue"
)

// freeze opens the views of one node, or of a group that is frozen together, lists their parts, and holds the views until
// all parts are done. A tree has no view: its freeze cuts the tree into ranges of paths.
func (a *attempt) freeze(ctx context.Context) (any, error) {
	var spec tasks.FreezeSpec
	if err := a.spec(&spec); err != nil {
		return nil, err
	}
	if len(spec.Nodes) == 0 {
		return nil, fmt.Errorf("task %s: %w: no nodes", a.claim.Task.ID, drivers.ErrInvalid)
	}
	node := a.run.nodes[spec.Nodes[0].Node]
	kind, err := a.cfg.Registry.Lookup(node.Driver)
	if err != nil {
		return nil, errors.Join(drivers.ErrInvalid, err)
	}
	if kind.Shape == drivers.ShapeTree {
		return a.listTree(ctx, spec.Nodes[0])
	}
	return a.holdViews(ctx, spec)
}

// held is one view that a freeze task holds.
type held struct {
	tasks.FreezeNode
	source drivers.Source
	stream drivers.Stream
	ready  drivers.Ready // of a view that is about to be opened
	view   drivers.View
	key    viewKey
	limit  int
	frozen tasks.Frozen
}

// holdViews opens all views before any is read, then grows each node's parts, then waits for their end.
func (a *attempt) holdViews(ctx context.Context, spec tasks.FreezeSpec) (_ any, err error) {
	var all []*held
	defer func() {
		for _, h := range all {
			err = errors.Join(err, a.letGo(ctx, h))
		}
	}()
	for _, n := range spec.Nodes {
		h, err := a.openNode(ctx, n)
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	if len(all) == 1 {
		err = openView(ctx, all[0])
	} else {
		err = openTogether(ctx, all)
	}
	if err != nil {
		return nil, err
	}
	for _, h := range all {
		h.frozen.Facts = h.view.Facts()
		a.views.put(h.key, h.view)
	}
	for _, h := range all {
		if h.frozen.Parts, err = a.growParts(ctx, h); err != nil {
			return nil, err
		}
	}
	if err := a.hold(ctx, all); err != nil {
		return nil, err
	}
	result := tasks.FreezeResult{Nodes: make(map[string]tasks.Frozen)}
	for _, h := range all {
		if err := h.view.End(ctx); err != nil {
			return nil, fmt.Errorf("end view of node %s: %w", h.Node, err)
		}
		h.frozen.Ended = time.Now().UTC()
		result.Nodes[h.Node] = h.frozen
	}
	return result, nil
}

// openNode opens a node's source.
func (a *attempt) openNode(ctx context.Context, n tasks.FreezeNode) (*held, error) {
	node := a.run.nodes[n.Node]
	_, source, err := a.openSource(ctx, a.run, n.Node, node.Driver, node.Source)
	if err != nil {
		return nil, err
	}
	stream, ok := source.(drivers.Stream)
	if !ok {
		return nil, errors.Join(fmt.Errorf("node %s: %w: driver %s has no views", n.Node, drivers.ErrInvalid, node.Driver), source.Close())
	}
	return &held{FreezeNode: n, source: source, stream: stream, limit: node.Limit, key: viewKey{a.claim.Life(), n.Node, a.claim.Epoch}}, nil
}

func openView(ctx context.Context, h *held) (err error) {
	if h.frozen, err = describe(ctx, h.source); err != nil {
		return fmt.Errorf("identify node %s: %w", h.Node, err)
	}
	return freezeNode(ctx, h)
}

func freezeNode(ctx context.Context, h *held) (err error) {
	if h.view, err = h.stream.Freeze(ctx); err != nil {
		return fmt.Errorf("freeze node %s: %w", h.Node, err)
	}
	return nil
}

// readyAtOnce bounds the nodes of a group that get ready at a time.
const readyAtOnce = 8

// openTogether opens the views of a group as nearly at one moment as their drivers can: those that can get ready do so first, then
// all moments are taken side by side. Views that can only be opened as a whole are opened one after the other meanwhile, as
// two of one server may wait for each other's locks.
func openTogether(ctx context.Context, all []*held) error {
	getReady, readyCtx := errgroup.WithContext(ctx)
	getReady.SetLimit(readyAtOnce)
	for _, h := range all {
		getReady.Go(func() (err error) {
			if h.frozen, err = describe(readyCtx, h.source); err != nil {
				return fmt.Errorf("identify node %s: %w", h.Node, err)
			}
			p, ok := h.stream.(drivers.Punctual)
			if !ok {
				return nil
			}
			if h.ready, err = p.GetReady(readyCtx); err != nil {
				h.ready = nil
				return fmt.Errorf("freeze node %s: %w", h.Node, err)
			}
			return nil
		})
	}
	if err := getReady.Wait(); err != nil {
		return err
	}

	first := time.Now()
	take, takeCtx := errgroup.WithContext(ctx)
	take.Go(func() error {
		for _, h := range all {
			if h.ready != nil {
				continue
			}
			if err := freezeNode(takeCtx, h); err != nil {
				return err
			}
		}
		return nil
	})
	for _, h := range all {
		if h.ready == nil {
			continue
		}
		take.Go(func() error {
			if err := h.ready.Take(takeCtx); err != nil {
				return fmt.Errorf("freeze node %s: %w", h.Node, err)
			}
			return nil
		})
	}
	if err := take.Wait(); err != nil {
		return err
	}
	skew := time.Since(first)

	open, openCtx := errgroup.WithContext(ctx)
	open.SetLimit(readyAtOnce)
	for _, h := range all {
		h.frozen.Skew = skew
		if h.ready == nil {
			continue
		}
		open.Go(func() (err error) {
			if h.view, err = h.ready.View(openCtx); err != nil {
				h.view = nil
				return fmt.Errorf("freeze node %s: %w", h.Node, err)
			}
			return nil
		})
	}
	return open.Wait()
}

// describe tells where a source is and starts its clock.
func describe(ctx context.Context, source drivers.Source) (tasks.Frozen, error) {
	identities, err := source.Identities(ctx)
	if err != nil {
		return tasks.Frozen{}, err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return tasks.Frozen{}, fmt.Errorf("read host name: %w", err)
	}
	return tasks.Frozen{Started: time.Now().UTC(), Identities: identities, Hostname: hostname}, nil
}

// letGo ends a view and closes its source, however the attempt ends. The context may have ended.
func (a *attempt) letGo(ctx context.Context, h *held) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	a.views.drop(h.key)
	if h.ready != nil {
		h.ready.End(ctx)
	}
	if h.view != nil && h.frozen.Ended.IsZero() {
		_ = h.view.End(ctx) // the attempt failed already; what the view proves is of no use
	}
	if err := h.source.Close(); err != nil {
		return fmt.Errorf("close node %s: %w", h.Node, err)
	}
	return nil
}

// growParts adds one task for each part of a view and returns how many.
func (a *attempt) growParts(ctx context.Context, h *held) (int, error) {
	g := ledger.Growth{Step: h.Step, Window: ledger.Window{ID: fmt.Sprintf("view:%s:%s:%d", a.claim.Run, h.Node, h.key.epoch), Limit: h.limit}}
	// Parts of a view that only this process has come to it; those of one that can be joined to whoever is free.
	route := tasks.Route{Worker: a.cfg.ID}
	var ticket json.RawMessage
	if shared, ok := h.view.(drivers.Shared); ok {
		ticket, route = shared.Ticket(), tasks.Route{Host: a.run.nodes[h.Node].Host}
	}
	index := 0
	err := h.view.Parts(ctx, func(p drivers.Part) error {
		part, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("encode part %s: %w", p.Name, err)
		}
		spec, err := json.Marshal(tasks.PartSpec{Index: index, Part: part, Epoch: a.claim.Epoch, Ticket: ticket})
		if err != nil {
			return fmt.Errorf("encode part %s: %w", p.Name, err)
		}
		g.Tasks = append(g.Tasks, tasks.Task{
			ID: fmt.Sprintf("part:%s:%06d", h.Node, index), Kind: tasks.KindPart, Node: h.Node,
			Weight: p.Size, First: p.Base, Route: route, Spec: spec,
		})
		index++
		if len(g.Tasks) < ledger.AtomicGrowth {
			return nil
		}
		return a.grow(ctx, &g)
	})
	if err != nil {
		return 0, fmt.Errorf("list parts of node %s: %w", h.Node, err)
	}
	g.Close = true
	return index, a.grow(ctx, &g)
}

// grow gives tasks to the ledger, sends what may start, and empties the growth for the next.
func (a *attempt) grow(ctx context.Context, g *ledger.Growth) error {
	ready, err := a.cfg.Ledger.Grow(ctx, a.claim, *g)
	if errors.Is(err, ledger.ErrStale) || errors.Is(err, ledger.ErrNoRun) {
		return errRevoked
	}
	if err != nil {
		return fmt.Errorf("add tasks to step %s: %w", g.Step, err)
	}
	a.send(ctx, ready)
	g.Tasks = nil
	return nil
}

// hold waits until the ledger says that all parts are done, and watches the views meanwhile. A worker that stops takes no more parts:
// views that nobody else can read are given up.
func (a *attempt) hold(ctx context.Context, all []*held) error {
	stops := a.stops
	if !slices.ContainsFunc(all, func(h *held) bool { _, shared := h.view.(drivers.Shared); return !shared }) {
		stops = nil
	}
	tick := time.NewTicker(a.cfg.Ledger.Options().Beat)
	defer tick.Stop()
	for {
		select {
		case <-a.released:
			return nil
		case <-stops:
			return queue.ErrStopped
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		for _, h := range all {
			if err := h.view.Alive(ctx); err != nil {
				return fmt.Errorf("hold view of node %s: %w", h.Node, err)
			}
		}
	}
}
