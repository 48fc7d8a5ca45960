package merge

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"salvor/drivers/relational"
)

// The phases of a segment, in which batches are written: what is put aside first, what is set later last.
const (
	phaseAside = iota
	phaseInsert
	phaseUpdate
	phaseReturn // of what was put aside
	phaseLater  // of rows that are new
	phaseDelete
)

// output collects changes into batches. Changes that belong together in time are a segment: within one, phases follow each other, and
// one segment follows another. A unit is one segment or more.
type output struct {
	plan  *Plan
	rows  int   // of a segment
	bytes int64 // of a segment
	open  map[string]*openBatch
	list  []*openBatch

	count   int
	size    int64
	segment int
	unit    int
	held    int // reasons not to end the unit
}

type openBatch struct {
	*relational.Batch
	table  *table
	phase  int
	buffer []byte
	pieces [][2]int64
}

// batchRows and batchBytes bound a segment, and with it a unit, unless it is held.
const (
	batchRows  = 10_000
	batchBytes = 16 << 20
	pieceBytes = 1 << 20
)

// add puts a change into its batch.
func (o *output) add(phase int, t *table, kind relational.ChangeKind, columns, later []int, c *relational.Change) error {
	name := append(t.mark(byte(phase), 0, nil), kind...) //nolint:gosec // a phase
	name = append(append(append(name, 0), places(columns)...), 0xff, 0xff)
	key := string(append(name, places(later)...))
	b := o.open[key]
	if b == nil {
		b = &openBatch{Batch: &relational.Batch{Table: t.Name, Kind: kind, Columns: t.names(columns), Later: t.names(later), Interim: phase == phaseAside, Returns: phase == phaseReturn || phase == phaseLater}, table: t, phase: phase}
		if t.key != nil {
			b.Key = t.key.Columns
		}
		o.open[key] = b
		o.list = append(o.list, b)
	}
	raw := appendChange(nil, t.Table, b.Batch, c)
	b.buffer = append(binary.AppendUvarint(b.buffer, uint64(len(raw))), raw...)
	b.Rows++
	o.count++
	o.size += int64(len(raw))
	if len(b.buffer) >= pieceBytes {
		if err := o.spill(b); err != nil {
			return err
		}
	}
	if o.count >= o.rows || o.size >= o.bytes {
		return o.end()
	}
	return nil
}

// names are the names of columns.
func (t *table) names(places []int) []string {
	list := make([]string, len(places))
	for i, place := range places {
		list[i] = t.Columns[place].Name
	}
	return list
}

func (o *output) spill(b *openBatch) error {
	if len(b.buffer) == 0 {
		return nil
	}
	at, err := o.plan.changes.raw(b.buffer)
	if err != nil {
		return err
	}
	b.pieces = append(b.pieces, [2]int64{at, o.plan.changes.end})
	b.buffer = b.buffer[:0]
	return nil
}

// end ends the segment, and the unit where nothing holds it.
func (o *output) end() error {
	slices.SortStableFunc(o.list, func(a, b *openBatch) int { return cmp.Compare(a.phase, b.phase) })
	for _, b := range o.list {
		if err := o.spill(b); err != nil {
			return err
		}
		b.Number, b.Unit = len(o.plan.Batches), o.unit
		o.plan.Batches = append(o.plan.Batches, b.Batch)
		o.plan.regions = append(o.plan.regions, region{b.pieces})
	}
	if len(o.list) > 0 {
		o.segment++
	}
	o.list, o.count, o.size = nil, 0, 0
	clear(o.open)
	if o.held == 0 && len(o.plan.Batches) > 0 && o.plan.Batches[len(o.plan.Batches)-1].Unit == o.unit {
		o.unit++
	}
	return nil
}

// place is where the output is, to go back to.
type place struct {
	batches     int
	end         int64
	unit, held  int
	conflicts   int64
	mappings    int64
	open        int64
	mapped      int64
	counts      []TableCounts
	conflicting map[string]ConflictCount
}

// here ends the segment and remembers the place.
func (p *planner) here() (place, error) {
	if err := p.out.end(); err != nil {
		return place{}, err
	}
	at := place{
		batches: len(p.plan.Batches), end: p.plan.changes.end, unit: p.out.unit, held: p.out.held, conflicts: p.plan.conflicts.end,
		mappings: p.plan.mappings.end, open: p.plan.Open, mapped: p.plan.Mapped, conflicting: make(map[string]ConflictCount),
	}
	for _, c := range p.plan.Tables {
		at.counts = append(at.counts, *c)
	}
	for key, c := range p.counted {
		kept := *c
		kept.Samples = slices.Clone(c.Samples)
		at.conflicting[key] = kept
	}
	return at, nil
}

// back goes back to a place, as if nothing had come after it.
func (p *planner) back(at place) error {
	p.out.list, p.out.count, p.out.size = nil, 0, 0
	clear(p.out.open)
	p.out.unit, p.out.held = at.unit, at.held
	p.plan.Batches, p.plan.regions = p.plan.Batches[:at.batches], p.plan.regions[:at.batches]
	p.plan.Open, p.plan.Mapped = at.open, at.mapped
	for i, c := range at.counts {
		*p.plan.Tables[i] = c
	}
	clear(p.counted)
	for key, c := range at.conflicting {
		p.counted[key] = &c
	}
	for _, cut := range []struct {
		file *records
		at   int64
	}{{p.plan.changes, at.end}, {p.plan.conflicts, at.conflicts}, {p.plan.mappings, at.mappings}} {
		if err := cut.file.cut(cut.at); err != nil {
			return err
		}
	}
	return nil
}

// sorted are the counts of conflicts in an order that does not depend on anything else.
func sorted(counted map[string]*ConflictCount) []*ConflictCount {
	var list []*ConflictCount
	for _, c := range counted {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *ConflictCount) int {
		return cmp.Or(strings.Compare(a.Table.Schema, b.Table.Schema), strings.Compare(a.Table.Name, b.Table.Name), strings.Compare(string(a.Code), string(b.Code)),
			strings.Compare(string(a.Policy), string(b.Policy)))
	})
	return list
}
