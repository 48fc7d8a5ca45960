package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"salvor/drivers"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// A range of a tree is one task: big enough that its fixed cost does not matter, small enough that its segment and its
// entries fit in memory and that little is lost with a worker.
const (
	rangeEntries = 4096
	rangeBytes   = 256 << 20
)

// flushEvery is how long ranges are collected before they are given to the ledger.
const flushEvery = 100 * time.Millisecond

// treeCheckpoint is where a listing that was interrupted goes on.
type treeCheckpoint struct {
	Index int    `json:"index"`
	From  []byte `json:"from"`
	// Done tells that all ranges were given to the ledger.
	Done bool `json:"done,omitempty"`
	// Identities are those of the root that the ranges were cut from.
	Identities []string `json:"identities,omitempty"`
}

// listTree cuts a tree into adjacent ranges that cover all paths there can be: what appears after the listing falls into
// one of them, too.
func (a *attempt) listTree(ctx context.Context, n tasks.FreezeNode) (_ any, err error) {
	node := a.run.nodes[n.Node]
	tree, err := a.openTree(ctx, n.Node, node.Driver, node.Source)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	frozen, err := describe(ctx, tree)
	if err != nil {
		return nil, fmt.Errorf("identify node %s: %w", n.Node, err)
	}
	c := cutter{attempt: a, node: n, host: node.Host, next: treeCheckpoint{Identities: frozen.Identities}, growth: ledger.Growth{
		Step: n.Step, Window: ledger.Window{ID: "tree:" + a.claim.Run + ":" + n.Node, Limit: windowOf(node.Limit, tree)},
	}}
	if len(a.claim.Checkpoint) > 0 {
		if err := json.Unmarshal(a.claim.Checkpoint, &c.next); err != nil {
			return nil, fmt.Errorf("decode checkpoint of node %s: %w", n.Node, err)
		}
	}
	if err := sameRoot(ctx, tree, n.Node, c.next.Identities); err != nil {
		return nil, err
	}
	if !c.next.Done {
		err = list(ctx, tree, drivers.Range{From: string(c.next.From)}, func(e drivers.Entry) error { return c.add(ctx, e) })
		if err != nil {
			return nil, fmt.Errorf("list node %s: %w", n.Node, err)
		}
		if err := c.last(ctx); err != nil {
			return nil, err
		}
	}
	_, frozen.Keys = tree.(drivers.Bucket)
	frozen.Parts, frozen.Ended = c.next.Index, time.Now().UTC()
	return tasks.FreezeResult{Nodes: map[string]tasks.Frozen{n.Node: frozen}}, nil
}

// list yields the paths, types and sizes of a tree's entries; what else they hold may be missing.
func list(ctx context.Context, tree drivers.Tree, r drivers.Range, yield func(drivers.Entry) error) error {
	if bucket, ok := tree.(drivers.Bucket); ok {
		return bucket.List(ctx, r, yield)
	}
	return tree.Walk(ctx, r, yield)
}

// openTree opens a node's source as a tree.
func (a *attempt) openTree(ctx context.Context, path, driver, source string) (drivers.Tree, error) {
	_, s, err := a.openSource(ctx, a.run, path, driver, source)
	if err != nil {
		return nil, err
	}
	tree, ok := s.(drivers.Tree)
	if !ok {
		return nil, errors.Join(fmt.Errorf("node %s: %w: driver %s is not a tree", path, drivers.ErrInvalid, driver), s.Close())
	}
	return tree, nil
}

// sameRoot fails if a tree's root is not the one that was listed: it was unmounted or replaced meanwhile, or this is another
// machine. What is missing then was not deleted.
func sameRoot(ctx context.Context, tree drivers.Tree, node string, listed []string) error {
	now, err := tree.Identities(ctx)
	if err != nil {
		return fmt.Errorf("identify node %s: %w", node, err)
	}
	if !slices.Equal(now, listed) {
		return fmt.Errorf("dump node %s: %w: it is not the place that was listed; was it unmounted or replaced?", node, drivers.ErrNotFound)
	}
	return nil
}

// cutter makes tasks of a listing: paths and sizes are all that it needs.
type cutter struct {
	*attempt
	node    tasks.FreezeNode
	host    string
	growth  ledger.Growth
	next    treeCheckpoint // the range that is being collected
	entries int
	bytes   int64
	flushed time.Time // when ranges were given to the ledger last
}

// add takes one entry into the current range, or begins a new range with it.
func (c *cutter) add(ctx context.Context, e drivers.Entry) error {
	full := c.entries > 0 && (c.entries >= rangeEntries || c.bytes+e.Size > rangeBytes)
	if full {
		if err := c.cut(e.Path); err != nil {
			return err
		}
		if err := c.flushSome(ctx); err != nil {
			return err
		}
	}
	c.entries++
	c.bytes += e.Size
	return nil
}

// flushSome gives what was collected to the ledger now and then: parts are read while the listing goes on.
func (c *cutter) flushSome(ctx context.Context) error {
	if len(c.growth.Tasks) < ledger.AtomicGrowth && time.Since(c.flushed) <= flushEvery {
		return nil
	}
	if err := c.flush(ctx); err != nil {
		return err
	}
	c.flushed = time.Now()
	return nil
}

// cut ends the current range before to ("": the end).
func (c *cutter) cut(to string) error {
	spec, err := json.Marshal(tasks.PartSpec{
		Index: c.next.Index, Epoch: c.claim.Epoch, From: c.next.From, To: []byte(to), Identities: c.next.Identities,
	})
	if err != nil {
		return fmt.Errorf("encode range %d of node %s: %w", c.next.Index, c.node.Node, err)
	}
	c.growth.Tasks = append(c.growth.Tasks, tasks.Task{
		ID: fmt.Sprintf("part:%s:%06d", c.node.Node, c.next.Index), Kind: tasks.KindPart, Node: c.node.Node,
		Weight: c.bytes, Route: tasks.Route{Host: c.host}, Spec: spec,
	})
	c.next.Index, c.next.From = c.next.Index+1, []byte(to)
	c.entries, c.bytes = 0, 0
	return nil
}

// flush gives the ranges to the ledger, with the place where a later attempt would go on: one script stores both.
func (c *cutter) flush(ctx context.Context) error {
	checkpoint, err := json.Marshal(c.next)
	if err != nil {
		return fmt.Errorf("encode checkpoint of node %s: %w", c.node.Node, err)
	}
	c.growth.Checkpoint = checkpoint
	return c.grow(ctx, &c.growth)
}

func (c *cutter) last(ctx context.Context) error {
	if err := c.cut(""); err != nil {
		return err
	}
	c.growth.Close, c.next.Done = true, true
	return c.flush(ctx)
}
