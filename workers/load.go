package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"salvor/drivers"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// growLoads adds one task for each selected part or segment of the node.
func (a *attempt) growLoads(ctx context.Context, t *target, fresh bool) error {
	path := a.claim.Task.Node
	node := a.run.nodes[path]
	window := ledger.Window{ID: "load:" + a.claim.Run + ":" + path, Limit: node.Limit}
	if tree, ok := t.source.(drivers.Tree); ok {
		window.Limit = windowOf(node.Limit, tree)
	}
	g := ledger.Growth{Step: a.stepOf(tasks.KindLoad, path), Window: window}
	route := a.claim.Task.Route
	add := func(index int, weight int64) error {
		spec, err := json.Marshal(tasks.LoadSpec{Index: index, Fresh: fresh})
		if err != nil {
			return fmt.Errorf("encode load %d of node %s: %w", index, path, err)
		}
		g.Tasks = append(g.Tasks, tasks.Task{
			ID: fmt.Sprintf("load:%s:%06d", path, index), Kind: tasks.KindLoad, Node: path, Weight: weight, Route: route, Spec: spec,
		})
		if len(g.Tasks) < ledger.AtomicGrowth {
			return nil
		}
		return a.grow(ctx, &g)
	}
	for _, p := range t.manifest.Parts {
		if p.Base || !t.only.takes(p.Name) {
			continue
		}
		if err := add(p.Index, p.Size); err != nil {
			return err
		}
	}
	for _, s := range t.manifest.Segments {
		if !t.only.touches(drivers.Range{From: string(s.From), To: string(s.To)}) {
			continue
		}
		if err := add(s.Index, s.Bytes); err != nil {
			return err
		}
	}
	g.Close = true
	return a.grow(ctx, &g)
}

// load restores one part or segment.
func (a *attempt) load(ctx context.Context) (_ any, err error) {
	var spec tasks.LoadSpec
	if err := a.spec(&spec); err != nil {
		return nil, err
	}
	t, err := a.openTarget(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.source.Close()) }()
	if t.manifest.Shape == string(drivers.ShapeTree) {
		return a.loadSegment(ctx, t, spec)
	}
	return a.loadPart(ctx, t, spec.Index)
}

// loadPart loads one part of a stream. The archive's reader ends in an error if any byte of it is not what was dumped, and
// the driver then shows nothing of it.
func (a *attempt) loadPart(ctx context.Context, t *target, index int) (any, error) {
	path := a.claim.Task.Node
	if index < 0 || index >= len(t.manifest.Parts) {
		return nil, fmt.Errorf("load part %d of node %s: %w: the dump has %d", index, path, drivers.ErrInvalid, len(t.manifest.Parts))
	}
	stream, err := t.stream()
	if err != nil {
		return nil, err
	}
	record := t.manifest.Parts[index]
	in, err := a.run.archive.OpenPart(ctx, record)
	if err != nil {
		return nil, fmt.Errorf("open part %s of node %s: %w", record.Name, path, err)
	}
	counted := &countingReader{in, a}
	err = stream.Load(ctx, t.rules, a.name(), partOf(record), counted)
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, fmt.Errorf("load part %s of node %s: %w", record.Name, path, err)
	}
	a.entries.Add(1)
	return tasks.LoadResult{Entries: 1, Bytes: record.Size}, nil
}

// name is how drivers know this attempt.
func (a *attempt) name() drivers.Attempt {
	return drivers.Attempt{Run: a.claim.Run, Task: a.claim.Task.ID, Token: a.claim.Token}
}

// countingReader tells the progress of what runs through it.
type countingReader struct {
	from io.Reader
	a    *attempt
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.a.bytes.Add(int64(n))
	return n, err
}
