package merge

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"salvor/drivers/relational"
)

// lookBatch is how many lines are looked up together.
const lookBatch = 5 * relational.LookupMost

// write decides on all lines but those of deleted rows, parents first. Where something turns out otherwise than it had to be assumed, it
// begins again and knows better.
func (p *planner) write(ctx context.Context) error {
	start, err := p.here()
	if err != nil {
		return err
	}
	for ; ; p.attempt++ {
		p.stuck, p.waiting = false, make(map[string][]byte)
		clear(p.nextKey)
		for _, component := range p.graph.Components {
			var tables []*table
			for _, t := range component {
				if tab := p.tables[t.Name]; tab.tally != nil && tab.tally.Lines > 0 {
					tables = append(tables, tab)
				}
			}
			if len(tables) == 0 {
				continue
			}
			if err := p.component(ctx, tables); err != nil {
				return err
			}
		}
		if err := p.deletes(ctx); err != nil {
			return err
		}
		for _, stays := range p.waiting {
			p.stuck = true
			if err := p.rows.put(ctx, stays, nil); err != nil {
				return err
			}
		}
		if !p.stuck {
			return nil
		}
		if err := p.back(start); err != nil {
			return err
		}
	}
}

// component decides on the lines of tables that refer to each other, or of one.
func (p *planner) component(ctx context.Context, tables []*table) (err error) {
	if p.laters, err = newRecords(p.c.Scratch); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.laters.close()) }()
	inner := slices.ContainsFunc(tables, func(t *table) bool { return slices.ContainsFunc(t.up, func(e upEdge) bool { return e.inner }) })
	var batch []*item
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if err := p.prefetch(ctx, batch); err != nil {
			return err
		}
		for _, it := range batch {
			if err := p.decide(ctx, it); err != nil {
				return err
			}
		}
		batch = batch[:0]
		return nil
	}
	take := func(it *item) error {
		batch = append(batch, it)
		if len(batch) < lookBatch {
			return nil
		}
		return flush()
	}
	if !inner {
		err := p.c.Lines(ctx, tables[0].live, func(l *relational.Line) error {
			if l.Op == relational.OpDeleted {
				return nil
			}
			it, err := p.item(tables[0], l)
			if err != nil {
				return err
			}
			it.own()
			return take(it)
		})
		if err != nil {
			return fmt.Errorf("table %s: %w", tables[0].Name, err)
		}
		return flush()
	}
	lines, tangled, err := p.order(ctx, tables)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lines.close()) }()
	each := func(from, to int64, yield func(*item) error) error {
		return lines.each(from, to, func(raw []byte) error {
			it, err := p.decode(slices.Clone(raw))
			if err != nil {
				return err
			}
			return yield(it)
		})
	}
	straight := lines.end
	if tangled >= 0 {
		straight = tangled
	}
	if err := errors.Join(each(0, straight, take), flush()); err != nil {
		return err
	}
	if tangled >= 0 {
		p.out.held++
		if err := each(tangled, lines.end, func(it *item) error { return p.presumed(ctx, it) }); err != nil {
			return err
		}
		if err := errors.Join(each(tangled, lines.end, take), flush()); err != nil {
			return err
		}
		p.out.held--
	}
	return p.writeLater(ctx)
}

// presumed sets the fates of an item of a cycle before it is decided on: those that an earlier attempt found, or that it will be there.
func (p *planner) presumed(ctx context.Context, it *item) error {
	t := it.table
	for ref := range t.refs {
		if !it.hasAll(t.refs[ref].at) {
			continue
		}
		values := pick(it.live, t.refs[ref].at)
		if relational.HasNull(values) {
			continue
		}
		text, ok, err := p.rows.get(ctx, t.refMark(kindTangled, ref, values))
		if err != nil {
			return err
		}
		if !ok {
			text = []byte{fateThere}
		}
		if err := p.fates.put(ctx, p.fateMark(t, ref, values), text); err != nil {
			return err
		}
	}
	return nil
}

// presume notes the fate of an item of a cycle. Where it is not what others of the cycle have assumed, all is decided again.
func (p *planner) presume(ctx context.Context, t *table, ref int, values []relational.Value, fate []byte) error {
	mark := t.refMark(kindTangled, ref, values)
	text, ok, err := p.rows.get(ctx, mark)
	if err != nil {
		return err
	}
	if !ok {
		text = []byte{fateThere}
	}
	if string(text) == string(fate) || text[0] == fateGone {
		return nil // and what is gone does not come back, or it might go on for ever
	}
	p.stuck = true
	return p.rows.put(ctx, mark, fate)
}

// postpone keeps an item whose columns are set later. row is what it is until then.
func (p *planner) postpone(it *item, row []relational.Value) error {
	if len(it.later) == 0 {
		return nil
	}
	raw := it.encode()
	raw = append(binary.AppendUvarint(nil, uint64(len(raw))), raw...)
	_, err := p.laters.add(relational.AppendValues(raw, row))
	return err
}

// writeLater sets the columns that had to wait for rows which they refer to.
func (p *planner) writeLater(ctx context.Context) error {
	return p.laters.each(0, p.laters.end, func(raw []byte) error {
		raw = slices.Clone(raw)
		size, n := binary.Uvarint(raw)
		if n <= 0 || size > uint64(len(raw)-n) { //nolint:gosec // a size
			return errRecord
		}
		raw = raw[n:]
		it, err := p.decode(raw[:size])
		if err != nil {
			return err
		}
		t := it.table
		was, _, err := relational.ReadValues(raw[size:], len(t.Columns))
		if err != nil {
			return err
		}
		for n := range t.up {
			e := &t.up[n]
			if !slices.ContainsFunc(e.at, func(i int) bool { return slices.Contains(it.later, i) }) {
				continue
			}
			for _, values := range e.Targets(t.Table, e.parent.Table, it.live) {
				f, err := p.fateOf(ctx, e, values)
				if err != nil {
					return err
				}
				if f.kind == fateGone {
					p.stuck = true
					return p.rows.put(ctx, t.mark(kindStays, 1, t.keyOf(it.live)), nil)
				}
			}
		}
		if err := p.follow(ctx, it); err != nil {
			return err
		}
		now := slices.Clone(was)
		for _, i := range it.later {
			now[i] = it.values[i]
		}
		phase := phaseLater
		if it.op == relational.OpModified {
			phase = phaseUpdate
		}
		return p.out.add(phase, t, relational.ChangeUpdate, it.later, nil, &relational.Change{New: now, Old: was})
	})
}
