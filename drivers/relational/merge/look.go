package merge

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// fate is what becomes of a captured row.
type fate struct {
	kind   byte
	values []relational.Value // of the reference that was asked by, where they are others
}

// The fates.
const (
	fateNone   byte = 0   // nothing is known: it is not captured, or not decided yet
	fateThere  byte = 'p' // it is in the target as it was captured, or will be
	fateMapped byte = 'm' // under other values
	fateGone   byte = 's' // it will not be there
)

func (p *planner) fateMark(t *table, ref int, values []relational.Value) []byte {
	return append(t.refMark(kindFate, ref, values), binary.AppendUvarint(nil, uint64(p.attempt))...) //nolint:gosec // a count
}

// setFate notes a captured row's: by is the row as it was captured, now what it is in the target, nil where it is not.
func (p *planner) setFate(ctx context.Context, it *item, now []relational.Value) error {
	t := it.table
	for ref := range t.refs {
		at := t.refs[ref].at
		if !it.hasAll(at) {
			continue
		}
		before := pick(it.live, at)
		if relational.HasNull(before) {
			continue
		}
		text := []byte{fateGone}
		if now != nil {
			after := pick(now, at)
			text[0] = fateThere
			if !relational.EqualValues(before, after) {
				text = relational.AppendValues([]byte{fateMapped}, after)
			}
		}
		if it.tangled {
			if err := p.presume(ctx, t, ref, before, text); err != nil {
				return err
			}
		}
		if err := p.fates.put(ctx, p.fateMark(t, ref, before), text); err != nil {
			return err
		}
	}
	return nil
}

// fateOf returns that of the row that an edge leads to.
func (p *planner) fateOf(ctx context.Context, e *upEdge, values []relational.Value) (fate, error) {
	text, ok, err := p.fates.get(ctx, p.fateMark(e.parent, e.ref, values))
	if err != nil || !ok {
		return fate{}, err
	}
	f := fate{kind: text[0]}
	if f.kind == fateMapped {
		f.values, _, err = relational.ReadValues(text[1:], len(values))
	}
	return f, err
}

// look reads the rows of the target that have lists of values, in as many questions as it takes.
func (p *planner) look(ctx context.Context, t *table, columns []string, lists [][]relational.Value, yield func(asked int, row []relational.Value) error) error {
	for from := 0; from < len(lists); from += relational.LookupMost {
		part := lists[from:min(from+relational.LookupMost, len(lists))]
		rows, err := p.c.Target.Lookup(ctx, relational.Lookup{Table: t.Table, Columns: columns, Values: part})
		if err != nil {
			return err
		}
		for {
			row, err := rows.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				err = yield(from+row.Asked, relational.CloneValues(row.Values))
			}
			if err != nil {
				return errors.Join(err, rows.Close())
			}
		}
		if err := rows.Close(); err != nil {
			return err
		}
	}
	return nil
}

// wanted collects lists of values to look up, with the items that want them.
type wanted struct {
	lists [][]relational.Value
	items []*item
}

func (w *wanted) add(it *item, places []int) {
	list := pick(it.values, places)
	if !relational.HasNull(list) {
		w.lists, w.items = append(w.lists, list), append(w.items, it)
	}
}

// prefetch asks the target about items, with as few questions as possible.
func (p *planner) prefetch(ctx context.Context, items []*item) error {
	var tables []*table
	groups := make(map[*table][]*item)
	for _, it := range items {
		if err := p.follow(ctx, it); err != nil {
			return err
		}
		it.asked, it.there, it.hits, it.absent = slices.Clone(it.values), nil, nil, make([]bool, len(it.table.up))
		if groups[it.table] == nil {
			tables = append(tables, it.table)
		}
		groups[it.table] = append(groups[it.table], it)
	}
	for _, t := range tables {
		if err := p.fetchRows(ctx, t, groups[t]); err != nil {
			return fmt.Errorf("look at table %s of the target: %w", t.Name, err)
		}
		for i := range t.up {
			if err := p.fetchParents(ctx, t, i, groups[t]); err != nil {
				return fmt.Errorf("look at table %s of the target: %w", t.up[i].parent.Name, err)
			}
		}
	}
	return nil
}

func (p *planner) fetchRows(ctx context.Context, t *table, items []*item) error {
	var byKey wanted
	for _, it := range items {
		if t.key != nil && it.hasAll(t.keyAt) {
			byKey.add(it, t.keyAt)
		}
	}
	if len(byKey.lists) > 0 {
		err := p.look(ctx, t, t.key.Columns, byKey.lists, func(asked int, row []relational.Value) error {
			byKey.items[asked].there = row
			return nil
		})
		if err != nil {
			return err
		}
	}
	for n, k := range t.unique {
		var want wanted
		for _, it := range items {
			if it.hasAll(k.at) && (it.op != relational.OpModified || it.touches(k.at) || it.there == nil) {
				want.add(it, k.at)
			}
		}
		if len(want.lists) == 0 {
			continue
		}
		err := p.look(ctx, t, k.Columns, want.lists, func(asked int, row []relational.Value) error {
			it := want.items[asked]
			it.hits = append(it.hits, hit{unique: n, row: row})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fetchParents asks which parents the target lacks, of those that the plan does not bring.
func (p *planner) fetchParents(ctx context.Context, t *table, n int, items []*item) error {
	e := &t.up[n]
	if !e.enforced() {
		return nil
	}
	var lists [][]relational.Value
	asked := make(map[string]int) // many rows have the same parent
	var wanting [][]*item
	for _, it := range items {
		if it.op != relational.OpModified && !it.hasAll(e.at) || !it.touches(e.at) {
			continue
		}
		for _, values := range e.Targets(t.Table, e.parent.Table, it.values) {
			f, err := p.fateOf(ctx, e, values)
			if err != nil {
				return err
			}
			if f.kind == fateThere {
				continue
			}
			key := string(relational.AppendValues(nil, values))
			place, known := asked[key]
			if !known {
				place = len(lists)
				asked[key] = place
				lists, wanting = append(lists, values), append(wanting, nil)
			}
			wanting[place] = append(wanting[place], it)
			it.absent[n] = true
		}
	}
	if len(lists) == 0 {
		return nil
	}
	found := make([]bool, len(lists))
	err := p.look(ctx, e.parent, e.ParentColumns, lists, func(asked int, _ []relational.Value) error {
		found[asked] = true
		return nil
	})
	if err != nil {
		return err
	}
	for i, there := range found {
		if !there {
			continue
		}
		_, doomed, err := p.rows.get(ctx, e.parent.refMark(kindDoomed, e.ref, lists[i]))
		if err != nil {
			return err
		}
		for _, it := range wanting[i] {
			it.absent[n] = doomed
		}
	}
	return nil
}

// follow rewrites an item by the fates of the rows that it refers to, and by the key that an earlier merge has given it.
func (p *planner) follow(ctx context.Context, it *item) error {
	if it.live == nil {
		return nil
	}
	t := it.table
	it.values = slices.Clone(it.live)
	for i := range t.up {
		e := &t.up[i]
		if !it.hasAll(e.at) {
			continue
		}
		work := slices.Clone(it.live)
		var failed error
		changed, err := e.Rewrite(t.Table, e.parent.Table, work, func(old []relational.Value) ([]relational.Value, bool) {
			f, err := p.fateOf(ctx, e, old)
			if err != nil {
				failed = err
			}
			return f.values, f.kind == fateMapped
		})
		if err := errors.Join(failed, err); err != nil {
			return fmt.Errorf("table %s, row %s, edge %s: %w", t.Name, t.identify(it.live), e.Name, err)
		}
		for _, place := range changed {
			it.values[place] = work[place]
		}
	}
	if t.key == nil || !it.hasAll(t.keyAt) {
		return nil
	}
	text, ok, err := p.rows.get(ctx, t.mark(kindKnown, 0, t.keyOf(it.live)))
	if err != nil || !ok {
		return err
	}
	defer it.followItself()
	key, _, err := relational.ReadValues(text, len(t.keyAt))
	if err != nil {
		return fmt.Errorf("table %s: %w", t.Name, errors.Join(drivers.ErrCorrupt, err))
	}
	for i, place := range t.keyAt {
		it.values[place] = key[i]
	}
	return nil
}

// followItself lets a row that refers to itself do so under its new key.
func (it *item) followItself() {
	t := it.table
	for i := range t.up {
		e := &t.up[i]
		if e.parent != t || !it.hasAll(e.at) || !it.hasAll(t.refs[e.ref].at) {
			continue
		}
		before, after := pick(it.live, t.refs[e.ref].at), pick(it.values, t.refs[e.ref].at)
		work := slices.Clone(it.live)
		changed, err := e.Rewrite(t.Table, t.Table, work, func(old []relational.Value) ([]relational.Value, bool) {
			return after, relational.EqualValues(old, before)
		})
		if err != nil {
			continue // what it cannot hold it does not refer to
		}
		for _, place := range changed {
			if !slices.Contains(t.refs[e.ref].at, place) {
				it.values[place] = work[place]
			}
		}
	}
}

// weightsKept is how many weights are remembered.
const weightsKept = 20_000

// weight asks the database for what it tells a key apart by; nil where it cannot say. What goes wrong is told by decide.
func (p *planner) weight(w relational.Weigher, t *relational.Table, k *relational.Key, values []relational.Value) []byte {
	name := string(relational.AppendValues([]byte(t.Name.String()+"\x00"+k.Name+"\x00"), values))
	if weight, known := p.weights[name]; known {
		return weight
	}
	list, err := w.Weigh(p.asking, t, k, [][]relational.Value{values})
	if err != nil || len(list) != 1 {
		p.unweighed = errors.Join(p.unweighed, fmt.Errorf("tell keys of table %s apart: %w", t.Name, err))
		return nil
	}
	if len(p.weights) >= weightsKept {
		clear(p.weights)
	}
	p.weights[name] = list[0]
	return list[0]
}
