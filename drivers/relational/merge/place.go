package merge

import (
	"context"
	"fmt"
	"slices"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// created writes a row that was made.
func (p *planner) created(ctx context.Context, it *item) error {
	t := it.table
	if t.natural >= 0 {
		if done, err := p.sameByNature(ctx, it); done || err != nil {
			return err
		}
	}
	if it.there != nil && it.equals(it.there) {
		t.tally.Equal++
		return p.setFate(ctx, it, it.there)
	}
	others, err := p.others(ctx, it, it.there)
	if err != nil {
		return err
	}
	switch n := t.distinct(others); {
	case it.there == nil && n == 0:
		return p.insert(ctx, it)
	case it.there != nil && n == 0:
		return p.keyTaken(ctx, it)
	case it.there == nil && n == 1:
		return p.uniqueTaken(ctx, it, others)
	}
	c := it.conflict(UniqueMulti)
	c.against(t, others)
	if it.there != nil {
		c.Other = append([]string{t.identify(it.there)}, c.Other...)
	}
	if err := p.settle(c); err != nil {
		return err
	}
	return p.skip(ctx, it)
}

// sameByNature takes a row of a table that is the same in all databases by a key of its own for the one that is there.
func (p *planner) sameByNature(ctx context.Context, it *item) (done bool, err error) {
	for _, h := range it.hits {
		if h.unique == it.table.natural {
			return true, p.unify(ctx, it, h.row)
		}
	}
	if it.there == nil {
		return false, nil
	}
	return true, p.remap(ctx, it) // another one has its number
}

// keyTaken settles that a row of the same key is there.
func (p *planner) keyTaken(ctx context.Context, it *item) error {
	t := it.table
	c := it.conflict(PKDiff)
	c.Other = []string{t.identify(it.there)}
	for i := range it.values {
		if it.written(i) && !it.values[i].Equal(it.there[i]) {
			c.Columns = append(c.Columns, t.Columns[i].Name)
		}
	}
	var except []Policy
	_, canRenew := t.newKeyAt()
	if !canRenew || slices.ContainsFunc(it.hits, func(h hit) bool { return it.touches(t.unique[h.unique].at) }) {
		except = append(except, Remap) // a natural key, or a second row with its unique values
	}
	if err := p.settle(c, except...); err != nil {
		return err
	}
	switch c.Policy {
	case Overwrite:
		return p.overwrite(ctx, it, it.there)
	case Remap:
		return p.remap(ctx, it)
	case Unify:
		return p.unify(ctx, it, it.there)
	default:
		return p.skip(ctx, it)
	}
}

// uniqueTaken settles that a row of another key has a unique value.
func (p *planner) uniqueTaken(ctx context.Context, it *item, hits []hit) error {
	t := it.table
	c := it.conflict(uniqueCode(UniqueOtherPK, hits))
	c.against(t, hits)
	if err := p.settle(c, MergeColumns); err != nil {
		return err
	}
	switch c.Policy {
	case Overwrite:
		return p.overwrite(ctx, it, hits[0].row)
	case Unify:
		return p.unify(ctx, it, hits[0].row)
	default:
		return p.skip(ctx, it)
	}
}

// unify takes a row that is there for the item.
func (p *planner) unify(ctx context.Context, it *item, row []relational.Value) error {
	it.table.tally.Unified++
	if err := p.mapped(it, row); err != nil {
		return err
	}
	return p.setFate(ctx, it, row)
}

// mapped notes that the item has another key.
func (p *planner) mapped(it *item, row []relational.Value) error {
	t := it.table
	if relational.EqualValues(t.keyOf(it.live), t.keyOf(row)) {
		return nil
	}
	m := &Mapping{Table: t.Name}
	for _, i := range t.keyAt {
		m.Old = append(m.Old, relational.AppendJSON(nil, &t.Columns[i], it.live[i]))
		m.New = append(m.New, relational.AppendJSON(nil, &t.Columns[i], row[i]))
	}
	return p.addMapping(m)
}

// overwrite writes the item's columns into a row that is there, which keeps its key.
func (p *planner) overwrite(ctx context.Context, it *item, row []relational.Value) error {
	t := it.table
	for _, i := range t.keyAt {
		it.values[i] = row[i]
	}
	it.followItself()
	now := slices.Clone(row)
	var columns []int
	for i := range it.values {
		if it.written(i) && !slices.Contains(t.keyAt, i) && !it.values[i].Equal(row[i]) {
			columns = append(columns, i)
			now[i] = it.values[i]
		}
	}
	if !relational.EqualValues(t.keyOf(it.live), t.keyOf(row)) {
		t.tally.Unified++
	}
	if err := p.mapped(it, row); err != nil {
		return err
	}
	if err := p.update(ctx, it, row, now, columns); err != nil {
		return err
	}
	return p.setFate(ctx, it, now)
}

// modified writes what was changed of a row.
func (p *planner) modified(ctx context.Context, it *item) error {
	t := it.table
	if it.there == nil {
		return p.rowMissing(ctx, it)
	}
	var write, collide []int
	for _, i := range it.changed {
		switch {
		case it.values[i].Equal(it.there[i]):
		case it.base == nil || it.hadBase[i] && it.base[i].Equal(it.there[i]):
			write = append(write, i)
		default:
			collide = append(collide, i)
		}
	}
	if len(write)+len(collide) == 0 {
		t.tally.Equal++
		return p.setFate(ctx, it, it.there)
	}
	code := Code("")
	var columns []int
	if len(collide) > 0 {
		code, columns = BothChanged, collide
	} else {
		for i := range it.live {
			if it.has[i] && !slices.Contains(it.changed, i) && !t.Columns[i].Generated && !it.values[i].Equal(it.there[i]) {
				code, columns = DisjointChanged, append(columns, i)
			}
		}
	}
	if code != "" {
		c := it.conflict(code)
		c.Columns = t.names(columns)
		if err := p.settle(c); err != nil {
			return err
		}
		switch c.Policy {
		case Overwrite:
			write = append(write, collide...)
		case MergeColumns:
		default:
			return p.skip(ctx, it)
		}
	}
	slices.Sort(write)
	return p.change(ctx, it, write)
}

// change writes columns of a row, of which unique values may be taken.
func (p *planner) change(ctx context.Context, it *item, write []int) error {
	t := it.table
	it.changed = write
	others, err := p.others(ctx, it, it.there)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		c := it.conflict(uniqueCode(UniqueOtherPK, others))
		if t.distinct(others) > 1 {
			c.Code = UniqueMulti
		}
		c.against(t, others)
		if err := p.settle(c, Overwrite, Unify); err != nil {
			return err
		}
		if c.Policy != MergeColumns {
			return p.skip(ctx, it)
		}
		for _, h := range others {
			it.changed = slices.DeleteFunc(it.changed, func(i int) bool { return slices.Contains(t.unique[h.unique].at, i) })
		}
	}
	now := slices.Clone(it.there)
	for _, i := range it.changed {
		now[i] = it.values[i]
	}
	if err := p.update(ctx, it, it.there, now, it.changed); err != nil {
		return err
	}
	return p.setFate(ctx, it, now)
}

// rowMissing settles that the row that was changed is not there.
func (p *planner) rowMissing(ctx context.Context, it *item) error {
	c := it.conflict(RowMissing)
	if err := p.settle(c); err != nil {
		return err
	}
	if c.Policy != Overwrite {
		it.table.tally.Skipped++
		return p.setFate(ctx, it, nil)
	}
	it.op = relational.OpCreated
	if over, err := p.checkParents(ctx, it); over || err != nil {
		return err
	}
	return p.created(ctx, it)
}

// remap writes the item under a new key.
func (p *planner) remap(ctx context.Context, it *item) error {
	t := it.table
	place, ok := t.newKeyAt()
	if !ok {
		return drivers.WithHint(fmt.Errorf("table %s, row %s: its key cannot be given a new value: %w", t.Name, t.identify(it.live), drivers.ErrInvalid),
			"decide by another policy: the key is nothing that the database numbers")
	}
	v, err := p.newKey(ctx, it, place)
	if err != nil {
		return err
	}
	it.values[place] = v
	it.followItself()
	t.tally.Remapped++
	if err := p.mapped(it, it.values); err != nil {
		return err
	}
	return p.insert(ctx, it)
}

// insert puts a new row into the output.
func (p *planner) insert(ctx context.Context, it *item) error {
	t := it.table
	now := slices.Clone(it.values)
	var columns []int
	for i := range now {
		if it.written(i) {
			columns = append(columns, i)
		}
	}
	for _, i := range it.later {
		now[i] = relational.Value{}
	}
	if err := p.makeRoom(ctx, it); err != nil {
		return err
	}
	t.tally.Inserted++
	if err := p.ordered(it); err != nil {
		return err
	}
	if err := p.out.add(phaseInsert, t, relational.ChangeInsert, columns, it.later, &relational.Change{New: now}); err != nil {
		return err
	}
	if err := p.postpone(it, now); err != nil {
		return err
	}
	return p.setFate(ctx, it, it.values)
}

// update puts changes of a row into the output. was is the row as the target has it.
func (p *planner) update(ctx context.Context, it *item, was, now []relational.Value, columns []int) error {
	t := it.table
	if len(columns) == 0 {
		t.tally.Equal++
		return nil
	}
	if err := p.makeRoom(ctx, it); err != nil {
		return err
	}
	old, aside, err := p.comeBack(ctx, t, was, columns)
	if err != nil {
		return err
	}
	t.tally.Updated++
	first := slices.Clone(now)
	var later []int
	columns = slices.DeleteFunc(slices.Clone(columns), func(i int) bool {
		if slices.Contains(it.later, i) {
			later = append(later, i)
		}
		return slices.Contains(it.later, i)
	})
	if len(t.refs) > 0 && slices.ContainsFunc(t.refs, func(r reference) bool {
		return slices.ContainsFunc(r.at, func(i int) bool { return slices.Contains(columns, i) })
	}) {
		p.out.held++ // children that follow it are of the same unit, whatever comes between
	}
	if err := p.ordered(it); err != nil {
		return err
	}
	if len(columns) > 0 {
		phase := phaseUpdate
		if len(aside) > 0 {
			phase = phaseReturn
		}
		if err := p.out.add(phase, t, relational.ChangeUpdate, columns, nil, &relational.Change{New: first, Old: old}); err != nil {
			return err
		}
	}
	it.later = later
	return p.postpone(it, was)
}

// ordered ends the segment where the target needs rows in their order, and the next one is of another table.
func (p *planner) ordered(it *item) error {
	if p.c.Abilities.AnyOrder || len(p.out.list) == 0 || p.out.list[len(p.out.list)-1].table == it.table {
		return nil
	}
	return p.out.end()
}
