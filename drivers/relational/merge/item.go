package merge

import (
	"encoding/binary"
	"slices"

	"salvor/drivers/relational"
)

// item is a line on its way through a plan: by the target's columns.
type item struct {
	table *table
	op    relational.Op
	leave bool
	fells bool // what hangs on it is left out too
	apply bool // a deleted row is to be deleted
	// live is the row as it was captured, values what is to be written of it, has which of them there are.
	live, values []relational.Value
	has          []bool
	changed      []int
	base         []relational.Value
	hadBase      []bool
	later        []int // places that are set once the others are written
	tangled      bool  // rows of a cycle that nothing breaks

	// What the target says.
	asked  []relational.Value // values when it was asked
	there  []relational.Value
	hits   []hit
	absent []bool // by edge: the target lacks the parent
}

// hit is a row of the target that has a unique value of the item.
type hit struct {
	unique int
	row    []relational.Value
	bound  bool // it gives the value up, which cannot be put aside meanwhile
}

// item makes one of a line.
func (p *planner) item(t *table, l *relational.Line) (*item, error) {
	choice, err := p.c.Decisions.Decide(l)
	if err != nil {
		return nil, err
	}
	it := &item{table: t, op: l.Op, leave: choice.Verdict == Leave || choice.Verdict == LeaveAll, fells: choice.Verdict == LeaveAll, apply: choice.Verdict == Take || choice.Verdict == Undecided && p.c.Deletes}
	take := func(values []relational.Value, has []bool) ([]relational.Value, []bool) {
		if values == nil {
			return nil, nil
		}
		list, there := make([]relational.Value, len(t.Columns)), make([]bool, len(t.Columns))
		for i, from := range t.from {
			if from >= 0 && has[from] {
				list[i], there[i] = values[from], true
			}
		}
		return list, there
	}
	it.live, it.has = take(l.Data, l.Has)
	it.base, it.hadBase = take(l.Base, l.HadBase)
	for _, name := range l.Changed {
		if i := t.Index(name); i >= 0 && !t.Columns[i].Generated && it.has[i] && !slices.Contains(t.keyAt, i) && (choice.Columns == nil || slices.Contains(choice.Columns, name)) {
			it.changed = append(it.changed, i)
		}
	}
	if l.Op == relational.OpModified && l.Base == nil && len(l.Changed) == 0 {
		// Nobody knows what it was. All that it is now is taken, and what the target has for what it was.
		for i, c := range t.Columns {
			if it.has[i] && !c.Generated && !slices.Contains(t.keyAt, i) && (choice.Columns == nil || slices.Contains(choice.Columns, c.Name)) {
				it.changed = append(it.changed, i)
			}
		}
	}
	if choice.Columns != nil && l.Op != relational.OpModified {
		for i, c := range t.Columns {
			if it.has != nil && !slices.Contains(choice.Columns, c.Name) && !slices.Contains(t.keyAt, i) {
				it.has[i] = false
			}
		}
	}
	it.values = it.live
	return it, nil
}

// own gives the item memory of its own.
func (it *item) own() {
	if it.live != nil {
		it.live = relational.CloneValues(it.live)
		it.values = slices.Clone(it.live)
	}
	if it.base != nil {
		it.base = relational.CloneValues(it.base)
	}
}

// hasAll tells whether the item has all of some columns.
func (it *item) hasAll(places []int) bool {
	return !slices.ContainsFunc(places, func(i int) bool { return !it.has[i] })
}

// row is what identifies the item: the row, or what it was.
func (it *item) row() []relational.Value {
	if it.live != nil {
		return it.live
	}
	return it.base
}

// written tells which columns the item would write.
func (it *item) written(place int) bool {
	if it.op == relational.OpModified {
		return slices.Contains(it.changed, place)
	}
	return it.has[place] && !it.table.Columns[place].Generated
}

// touches tells whether the item would write any of some columns.
func (it *item) touches(places []int) bool { return slices.ContainsFunc(places, it.written) }

// encode writes the item, as it was before anything was decided.
func (it *item) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(it.table.number))
	b = append(b, it.op[0])
	flags := byte(0)
	for i, f := range []bool{it.leave, it.apply, it.tangled, it.live != nil, it.base != nil} {
		if f {
			flags |= 1 << i
		}
	}
	b = append(b, flags)
	for _, side := range []struct {
		values []relational.Value
		has    []bool
	}{{it.live, it.has}, {it.base, it.hadBase}} {
		if side.values == nil {
			continue
		}
		for _, h := range side.has {
			b = append(b, byte(0))
			if h {
				b[len(b)-1] = 1
			}
		}
		b = relational.AppendValues(b, side.values)
	}
	for _, list := range [][]int{it.changed, it.later} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, i := range list {
			b = binary.AppendUvarint(b, uint64(i)) //nolint:gosec // a place
		}
	}
	return b
}

// decode reads an item back. Its values are parts of b.
func (p *planner) decode(b []byte) (*item, error) {
	number, n := binary.Uvarint(b)
	if n <= 0 || number >= uint64(len(p.target.Tables)) || len(b) < n+2 {
		return nil, errRecord
	}
	it := &item{table: p.tables[p.target.Tables[number].Name], op: relational.Op(b[n : n+1])}
	flags := b[n+1]
	b = b[n+2:]
	it.leave, it.apply, it.tangled = flags&1 != 0, flags&2 != 0, flags&4 != 0
	width := len(it.table.Columns)
	var err error
	for i, side := range []struct {
		values *[]relational.Value
		has    *[]bool
	}{{&it.live, &it.has}, {&it.base, &it.hadBase}} {
		if flags&(8<<i) == 0 {
			continue
		}
		if len(b) < width {
			return nil, errRecord
		}
		*side.has = make([]bool, width)
		for j := range width {
			(*side.has)[j] = b[j] == 1
		}
		if *side.values, b, err = relational.ReadValues(b[width:], width); err != nil {
			return nil, err
		}
	}
	for _, list := range []*[]int{&it.changed, &it.later} {
		count, n := binary.Uvarint(b)
		if n <= 0 || count > uint64(width) {
			return nil, errRecord
		}
		b = b[n:]
		for range count {
			place, n := binary.Uvarint(b)
			if n <= 0 || place >= uint64(width) {
				return nil, errRecord
			}
			b = b[n:]
			*list = append(*list, int(place)) //nolint:gosec // below width
		}
	}
	it.values = it.live
	return it, nil
}
