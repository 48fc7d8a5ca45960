package workers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"

	"salvor/archive"
	"salvor/drivers"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// growLoads adds a task for each selected segment of the node, and for each selected part, or bundle of parts where the driver makes
// such.
func (a *attempt) growLoads(ctx context.Context, t *target, fresh bool) error {
	path := a.claim.Task.Node
	node := a.run.nodes[path]
	window := ledger.Window{ID: "load:" + a.claim.Run + ":" + path, Limit: node.Limit}
	if tree, ok := t.source.(drivers.Tree); ok {
		window.Limit = windowOf(node.Limit, tree)
	}
	g := ledger.Growth{Step: a.stepOf(tasks.KindLoad, path), Window: window}
	route := a.claim.Task.Route
	add := func(spec tasks.LoadSpec, weight int64) error {
		spec.Fresh = fresh
		raw, err := json.Marshal(spec)
		if err != nil {
			return fmt.Errorf("encode load %d of node %s: %w", spec.Index, path, err)
		}
		g.Tasks = append(g.Tasks, tasks.Task{
			ID: fmt.Sprintf("load:%s:%06d", path, spec.Index), Kind: tasks.KindLoad, Node: path, Weight: weight, Route: route, Spec: raw,
		})
		if len(g.Tasks) < ledger.AtomicGrowth {
			return nil
		}
		return a.grow(ctx, &g)
	}
	bundles, err := a.bundles(ctx, t, g)
	if err != nil {
		return err
	}
	for _, b := range bundles {
		if err := add(b.LoadSpec, b.size); err != nil {
			return err
		}
	}
	for _, s := range t.manifest.Segments {
		if !t.only.touches(drivers.Range{From: string(s.From), To: string(s.To)}) {
			continue
		}
		if err := add(tasks.LoadSpec{Index: s.Index}, s.Bytes); err != nil {
			return err
		}
	}
	g.Close = true
	return a.grow(ctx, &g)
}

// bundle is what one task loads.
type bundle struct {
	tasks.LoadSpec
	size int64
}

// loadCheckpoint is what the attempts at a preparation have in common: parts that a later one put together in another way would
// be missing among the tasks that are there already.
type loadCheckpoint struct {
	SideBySide int `json:"side_by_side"`
}

// sideBySide is the number of tasks that are taken to load at the same time: the node's limit, or what the processors of the host
// of the first attempt can keep busy.
func (a *attempt) sideBySide(ctx context.Context, g ledger.Growth) (int, error) {
	c := loadCheckpoint{SideBySide: cmp.Or(a.run.nodes[a.claim.Task.Node].Limit, max(runtime.GOMAXPROCS(0), 2))}
	if len(a.claim.Checkpoint) > 0 {
		err := json.Unmarshal(a.claim.Checkpoint, &c)
		return c.SideBySide, err
	}
	var err error
	if g.Checkpoint, err = json.Marshal(c); err != nil {
		return 0, err
	}
	return c.SideBySide, a.grow(ctx, &g)
}

// bundles returns the selected parts of a stream, as tasks load them.
func (a *attempt) bundles(ctx context.Context, t *target, g ledger.Growth) ([]bundle, error) {
	var records []archive.PartRecord
	var parts []drivers.Part
	for _, p := range t.manifest.Parts {
		if !p.Base && t.only.takes(p.Name) {
			records, parts = append(records, p), append(parts, partOf(p))
		}
	}
	lists := make([][]int, len(parts))
	for i := range parts {
		lists[i] = []int{i}
	}
	if b, ok := t.source.(drivers.Bundler); ok {
		sideBySide, err := a.sideBySide(ctx, g)
		if err != nil {
			return nil, fmt.Errorf("put the parts of node %s together: %w", a.claim.Task.Node, err)
		}
		lists = b.Bundle(parts, sideBySide)
	}
	all := make([]bundle, len(lists))
	for i, list := range lists {
		for _, at := range list {
			all[i].Also = append(all[i].Also, records[at].Index)
			all[i].size += records[at].Size
		}
		all[i].Index, all[i].Also = all[i].Also[0], all[i].Also[1:]
	}
	return all, nil
}

// load restores one part, a bundle of them, or one segment.
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
	return a.loadParts(ctx, t, append([]int{spec.Index}, spec.Also...))
}

// loadParts loads parts of a stream. The archive's reader ends in an error if any byte of one is not what was dumped, and the
// driver then shows nothing of it.
func (a *attempt) loadParts(ctx context.Context, t *target, indexes []int) (any, error) {
	path := a.claim.Task.Node
	stream, err := t.stream()
	if err != nil {
		return nil, err
	}
	records := make(map[string]archive.PartRecord, len(indexes))
	parts := make([]drivers.Part, len(indexes))
	result := tasks.LoadResult{Entries: int64(len(indexes))}
	for i, index := range indexes {
		at, ok := slices.BinarySearchFunc(t.manifest.Parts, index, func(p archive.PartRecord, index int) int { return p.Index - index })
		if !ok {
			return nil, fmt.Errorf("load part %d of node %s: %w: the dump has none", index, path, drivers.ErrInvalid)
		}
		record := t.manifest.Parts[at]
		parts[i], records[record.Name] = partOf(record), record
		result.Bytes += record.Size
	}
	if err := a.loadInto(ctx, stream, t.rules, parts, records); err != nil {
		return nil, fmt.Errorf("load part %s of node %s: %w", parts[0].Name, path, err)
	}
	a.entries.Add(result.Entries)
	return result, nil
}

func (a *attempt) loadInto(ctx context.Context, stream drivers.Stream, rules drivers.Target, parts []drivers.Part, records map[string]archive.PartRecord) error {
	open := func(p drivers.Part) (io.ReadCloser, error) {
		in, err := a.run.archive.OpenPart(ctx, records[p.Name])
		if err != nil {
			return nil, fmt.Errorf("open part %s: %w", p.Name, err)
		}
		return &countingReader{in, a}, nil
	}
	if b, ok := stream.(drivers.Bundler); ok {
		return b.LoadBundle(ctx, rules, a.name(), parts, open)
	}
	for _, p := range parts {
		in, err := open(p)
		if err != nil {
			return err
		}
		if err := errors.Join(stream.Load(ctx, rules, a.name(), p, in), in.Close()); err != nil {
			return err
		}
	}
	return nil
}

// name is how drivers know this attempt.
func (a *attempt) name() drivers.Attempt {
	return drivers.Attempt{Run: a.claim.Run, Task: a.claim.Task.ID, Token: a.claim.Token}
}

// countingReader tells the progress of what runs through it.
type countingReader struct {
	from io.ReadCloser
	a    *attempt
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.a.bytes.Add(int64(n))
	return n, err
}

// Close closes what is read.
func (r *countingReader) Close() error { return r.from.Close() }
