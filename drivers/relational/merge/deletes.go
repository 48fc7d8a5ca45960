package merge

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"salvor/drivers/relational"
)

// deletes decides on the rows that were deleted, children first. A row is deleted only where the target has it as it was, and where all
// that refers to it is deleted too or comes to refer to something else.
func (p *planner) deletes(ctx context.Context) error {
	start, err := p.here()
	if err != nil {
		return err
	}
	waiting := maps.Clone(p.waiting)
	for {
		again := false
		for _, component := range slices.Backward(p.graph.Components) {
			for _, bare := range slices.Backward(component) {
				t := p.tables[bare.Name]
				if t.tally == nil || t.tally.Lines == 0 {
					continue
				}
				kept, err := p.deleteRows(ctx, t)
				if err != nil {
					return fmt.Errorf("table %s: %w", t.Name, err)
				}
				again = again || kept
			}
		}
		if !again {
			return nil
		}
		// A row that stays keeps what it refers to.
		if err := p.back(start); err != nil {
			return err
		}
		p.waiting = maps.Clone(waiting)
	}
}

// deleteRows decides on a table's. kept tells that a row turned out to stay.
func (p *planner) deleteRows(ctx context.Context, t *table) (kept bool, err error) {
	var batch []*item
	flush := func() error {
		more, err := p.deleteBatch(ctx, t, batch)
		kept = kept || more
		batch = batch[:0]
		return err
	}
	err = p.c.Lines(ctx, t.live, func(l *relational.Line) error {
		if l.Op != relational.OpDeleted {
			return nil
		}
		it, err := p.item(t, l)
		switch {
		case err != nil:
			return err
		case it.leave:
			t.tally.Left++
			return nil
		case !it.apply || t.key == nil:
			t.tally.Unwritten++
			return nil
		}
		it.own()
		if batch = append(batch, it); len(batch) < lookBatch {
			return nil
		}
		return flush()
	})
	if err != nil {
		return kept, err
	}
	return kept, flush()
}

func (p *planner) deleteBatch(ctx context.Context, t *table, items []*item) (kept bool, err error) {
	lists := make([][]relational.Value, len(items))
	for i, it := range items {
		lists[i] = t.keyOf(it.base)
	}
	if len(items) == 0 {
		return false, nil
	}
	err = p.look(ctx, t, t.key.Columns, lists, func(asked int, row []relational.Value) error {
		items[asked].there = row
		return nil
	})
	if err != nil {
		return false, err
	}
	for _, it := range items {
		stays, err := p.deleteRow(ctx, it)
		if err != nil {
			return false, err
		}
		kept = kept || stays
	}
	return kept, nil
}

// deleteRow decides on one. kept tells that it turned out to stay, which it was not known to before.
func (p *planner) deleteRow(ctx context.Context, it *item) (kept bool, err error) {
	t := it.table
	if it.there == nil {
		t.tally.Equal++
		return false, nil
	}
	key := t.keyOf(it.there)
	code := Code("")
	c := it.conflict(DeleteChanged)
	for i := range it.there {
		if it.hadBase[i] && !t.Columns[i].Generated && !it.base[i].Equal(it.there[i]) {
			c.Columns = append(c.Columns, t.Columns[i].Name)
			code = DeleteChanged
		}
	}
	if code == DeleteChanged {
		if err := p.settle(c); err != nil {
			return false, err
		}
		if c.Policy != Overwrite {
			return p.keep(ctx, it, key)
		}
	}
	children, err := p.children(ctx, it)
	if err != nil {
		return false, err
	}
	if len(children) > 0 {
		c := it.conflict(DeleteChildren)
		c.Other = children
		if err := p.settle(c); err != nil {
			return false, err
		}
		return p.keep(ctx, it, key)
	}
	var columns []int
	for i := range it.there {
		if !t.Columns[i].Generated {
			columns = append(columns, i)
		}
	}
	old, aside, err := p.comeBack(ctx, t, it.there, columns)
	if err != nil {
		return false, err
	}
	t.tally.Deleted++
	return false, p.out.add(phaseDelete, t, relational.ChangeDelete, columns, aside, &relational.Change{Old: old})
}

// keep lets a row stay.
func (p *planner) keep(ctx context.Context, it *item, key []relational.Value) (kept bool, err error) {
	t := it.table
	t.tally.Skipped++
	if _, known, err := p.rows.get(ctx, t.mark(kindKept, 0, key)); err != nil || known {
		return false, err
	}
	if err := p.rows.put(ctx, t.mark(kindStays, 0, key), nil); err != nil {
		return false, err
	}
	return true, p.rows.put(ctx, t.mark(kindKept, 0, key), nil)
}

// children are rows of the target that refer to a row that is to be deleted, and stay: a few of them.
func (p *planner) children(ctx context.Context, it *item) (names []string, err error) {
	const most = 5
	for _, bare := range p.target.Tables {
		child := p.tables[bare.Name]
		for n := range child.up {
			e := &child.up[n]
			if e.parent != it.table || !e.enforced() || len(names) >= most {
				continue
			}
			wanted := pick(it.there, it.table.refs[e.ref].at)
			if relational.HasNull(wanted) {
				continue
			}
			err := p.look(ctx, child, e.Columns, [][]relational.Value{wanted}, func(_ int, row []relational.Value) error {
				stays, err := p.childStays(ctx, child, e, row)
				if stays && len(names) < most {
					names = append(names, child.Name.String()+" "+child.identify(row))
				}
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("look for rows of table %s that refer to it: %w", child.Name, err)
			}
		}
	}
	return names, nil
}

// childStays tells whether a row goes on to refer to what it does.
func (p *planner) childStays(ctx context.Context, t *table, e *upEdge, row []relational.Value) (bool, error) {
	if t.key == nil {
		return true, nil
	}
	key := t.keyOf(row)
	for _, kind := range []byte{kindKept, kindStays} {
		if _, kept, err := p.rows.get(ctx, t.mark(kind, 0, key)); err != nil || kept {
			return true, err
		}
	}
	if _, doomed, err := p.rows.get(ctx, t.mark(kindDoomKey, 0, key)); err != nil || doomed {
		return false, err
	}
	text, moves, err := p.rows.get(ctx, t.mark(kindMoves, 0, key))
	if err != nil || !moves {
		return true, err
	}
	changed := readPlaces(text)
	return !slices.ContainsFunc(e.at, func(i int) bool { return slices.Contains(changed, i) }), nil
}
