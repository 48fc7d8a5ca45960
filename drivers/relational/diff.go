package relational

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"salvor/drivers"
)

// Comparison looks for what became of the rows of one table since a dump.
//
// With the dump restored (Base), both tables are read once in the order of a key that they share and compared row by row; what a
// row says of its own times is a cross-check. Tables without such a key are compared by the hashes of their rows, of which those
// that differ are kept. Without it the rows' own times are all there is.
type Comparison struct {
	// Live is the database now, Base the dump; nil where that is not there.
	Live, Base View
	// Table is one of Live's model, Other the same of Base's; nil for a table that the dump does not have: all its rows are new.
	Table, Other *Table
	// Detectors are columns of Table, see [Table.Detect].
	Detectors Detectors
	// Since is what the times are compared with, Zone what those without a zone are in.
	Since time.Time
	Zone  *time.Location
	// Scratch is a directory for keys beyond Memory bytes.
	Scratch string
	Memory  int64
}

// Run calls yield for every row that was made, changed or deleted, and stops at its first error. In the order of the key, where
// there is one. yield must not read out of the views.
func (c *Comparison) Run(ctx context.Context, yield func(*Found) error) (*Coverage, error) {
	r := &run{Comparison: c, yield: yield, coverage: &Coverage{Table: c.Table.Name, Detectors: c.Detectors, Diff: c.Base != nil}}
	for _, d := range []struct {
		column string
		why    Why
	}{{c.Detectors.Created, WhyCreated}, {c.Detectors.Modified, WhyModified}} {
		if d.column != "" {
			r.marks = append(r.marks, Mark{Column: d.column, Since: c.Since, Zone: c.Zone})
			r.whys = append(r.whys, d.why)
		}
	}
	if c.Other != nil {
		r.align()
	}
	var err error
	switch {
	case c.Base == nil:
		err = r.byTimes(ctx)
	case c.Other == nil:
		r.coverage.note("the dump does not have the table: all its rows are new")
		err = r.allNew(ctx)
	case r.key != nil:
		err = r.merge(ctx)
	default:
		err = r.byHash(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("compare table %s: %w", c.Table.Name, err)
	}
	r.noteAdded()
	return r.coverage, nil
}

// run is one comparison.
type run struct {
	*Comparison
	yield    func(*Found) error
	coverage *Coverage
	marks    []Mark
	whys     []Why

	key, otherKey *Key
	pairs         []pair // the columns that both have
	added         []added
	found         Found
	scratch       []byte
	values        []Value
}

// pair is a column of both tables.
type pair struct {
	live, base int
	retyped    bool
	generated  bool
}

// added is a column that the dump lacks, with the number of rows that both have and that hold something in it.
type added struct {
	live int
	rows int64
}

// noteAdded notes the columns that the dump lacks. What people wrote into one of a row that was there is no difference to anything:
// somebody has to know.
func (r *run) noteAdded() {
	for _, a := range r.added {
		c := &r.Table.Columns[a.live]
		switch a.rows {
		case 0:
			r.coverage.note("column %s was added since the dump", c.Name)
		case 1:
			r.coverage.note("column %s was added since the dump: 1 row that was there holds something in it, which is not captured", c.Name)
		default:
			r.coverage.note("column %s was added since the dump: %d rows that were there hold something in it, which is not captured", c.Name, a.rows)
		}
	}
}

// align finds the columns and the key that both tables have, and notes what only one has.
func (r *run) align() {
	for i, c := range r.Table.Columns {
		j := r.Other.Index(c.Name)
		if j < 0 {
			if c.Generated {
				r.coverage.note("column %s was added since the dump", c.Name)
			} else {
				r.added = append(r.added, added{live: i})
			}
			continue
		}
		o := r.Other.Columns[j]
		retyped := o.SQL != c.SQL || o.Type != c.Type
		if retyped {
			r.coverage.note("column %s was %s in the dump and is %s", c.Name, o.SQL, c.SQL)
		}
		// What is computed from other columns says nothing that those do not.
		r.pairs = append(r.pairs, pair{live: i, base: j, retyped: retyped, generated: c.Generated})
	}
	for _, o := range r.Other.Columns {
		if r.Table.Index(o.Name) < 0 {
			r.coverage.note("column %s was dropped since the dump", o.Name)
		}
	}
	for _, k := range r.Table.identities() {
		for _, o := range r.Other.identities() {
			if slices.Equal(k.Columns, o.Columns) && slices.Equal(k.Order, o.Order) {
				r.key, r.otherKey = k, o
				r.coverage.Identity = k.Columns
				return
			}
		}
	}
	if r.Table.Identity() != nil || r.Other.Identity() != nil {
		r.coverage.note("the table and the dump share no key: rows are compared by all that they hold")
	}
}

// identities are all keys that tell every row from the others, the primary key first.
func (t *Table) identities() []*Key {
	var list []*Key
	first := t.Identity()
	if first != nil {
		list = append(list, first)
	}
	for i := range t.Unique {
		k := &t.Unique[i]
		if k != first && k.identifies() && !slices.ContainsFunc(k.Columns, func(c string) bool { return t.Columns[t.Index(c)].Nullable }) {
			list = append(list, k)
		}
	}
	return list
}

// why reads a row's answers, and counts them.
func (r *run) why(row *Row) (why Why) {
	for i, w := range r.whys {
		switch row.Answers[i] {
		case Yes:
			why |= w
			if w == WhyCreated {
				r.coverage.ByCreated++
			} else {
				r.coverage.ByModified++
			}
		case Unknown:
			if w == WhyCreated {
				r.coverage.NoTime++
			}
		case No:
		}
	}
	return why
}

// emit hands a row on.
func (r *run) emit(op Op, why Why, key []byte, live, base []Value, changed []int) error {
	switch op {
	case OpCreated:
		r.coverage.Created++
		if why&WhyDiff != 0 && r.Detectors.Created != "" && why&WhyCreated == 0 {
			r.coverage.Backdated++
		}
	case OpModified:
		r.coverage.Modified++
		if why&WhyDiff != 0 && r.Detectors.Modified != "" && why&WhyModified == 0 {
			r.coverage.Silent++
		}
	case OpDeleted:
		r.coverage.Deleted++
	case OpSupport, OpChild: // a closure's
	}
	r.found = Found{Op: op, Why: why, Key: key, Live: live, Base: base, Changed: changed}
	return r.yield(&r.found)
}

// byTimes has nothing but the rows' own times.
func (r *run) byTimes(ctx context.Context) error {
	r.coverage.Rows = -1
	if len(r.marks) == 0 {
		return nil
	}
	key := r.Table.Identity()
	if key != nil {
		r.coverage.Identity = key.Columns
	}
	return each(ctx, r.Live, Scan{Table: r.Table, Key: key, Marks: r.marks, Marked: true}, func(row *Row) error {
		why := r.why(row)
		switch {
		case why&WhyCreated != 0:
			return r.emit(OpCreated, why, r.keyOf(row), row.Values, nil, nil)
		case why&WhyModified != 0:
			return r.emit(OpModified, why, r.keyOf(row), row.Values, nil, nil)
		}
		return nil
	})
}

// allNew takes all rows.
func (r *run) allNew(ctx context.Context) error {
	key := r.Table.Identity()
	if key != nil {
		r.coverage.Identity = key.Columns
	}
	return each(ctx, r.Live, Scan{Table: r.Table, Key: key, Marks: r.marks}, func(row *Row) error {
		r.coverage.Rows++
		return r.emit(OpCreated, r.why(row)|WhyDiff, r.keyOf(row), row.Values, nil, nil)
	})
}

// keyOf is the row's key, or the hash of all its values.
func (r *run) keyOf(row *Row) []byte {
	if row.Key != nil {
		return row.Key
	}
	var h Hash
	h, r.scratch = HashValues(row.Values, r.scratch)
	return h[:]
}

// each reads the rows of a scan.
func each(ctx context.Context, v View, scan Scan, do func(*Row) error) error {
	rows, err := v.Scan(ctx, scan)
	if err != nil {
		return err
	}
	return drain(rows, do)
}

// drain reads rows to their end and closes them.
func drain(rows Rows, do func(*Row) error) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := do(row); err != nil {
			return err
		}
	}
}

// side is one of two tables that are read in step.
type side struct {
	rows Rows
	name string
	row  *Row // nil at the end
	last []byte
	any  bool
}

func openSide(ctx context.Context, v View, scan Scan, name string) (*side, error) {
	rows, err := v.Scan(ctx, scan)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &side{rows: rows, name: name}, nil
}

// errOrder tells that a database sorts otherwise than its driver says: nothing that a comparison says would be true.
var errOrder = errors.New("rows did not come in the order of their key")

// next reads a row. Keys that do not ascend are an error, whatever the reason: rows would be taken for new and for deleted.
func (s *side) next(ordered bool) error {
	row, err := s.rows.Next()
	if errors.Is(err, io.EOF) {
		s.row = nil
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	s.row = row
	if !ordered {
		return nil
	}
	if s.any && bytes.Compare(s.last, row.Key) >= 0 {
		return fmt.Errorf("%s: %w: %w (%x, then %x)", s.name, drivers.ErrFailed, errOrder, s.last, row.Key)
	}
	s.last, s.any = append(s.last[:0], row.Key...), true
	return nil
}

// both opens the two sides of a comparison.
func (r *run) both(ctx context.Context, live, base Scan) (l, b *side, err error) {
	if l, err = openSide(ctx, r.Live, live, "the database"); err != nil {
		return nil, nil, err
	}
	if b, err = openSide(ctx, r.Base, base, "the dump"); err != nil {
		return nil, nil, errors.Join(err, l.rows.Close())
	}
	return l, b, nil
}

// merge reads both tables in the order of their key.
func (r *run) merge(ctx context.Context) (err error) {
	l, b, err := r.both(ctx, Scan{Table: r.Table, Key: r.key, Marks: r.marks}, Scan{Table: r.Other, Key: r.otherKey})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.rows.Close(), b.rows.Close()) }()
	if err := errors.Join(l.next(true), b.next(true)); err != nil {
		return err
	}
	for l.row != nil || b.row != nil {
		var order int
		switch {
		case l.row == nil:
			order = 1
		case b.row == nil:
			order = -1
		default:
			order = bytes.Compare(l.row.Key, b.row.Key)
		}
		if err := r.step(l, b, order); err != nil {
			return err
		}
	}
	return nil
}

// step handles the least key of the two.
func (r *run) step(l, b *side, order int) error {
	if order > 0 {
		if err := r.emit(OpDeleted, WhyDiff, b.row.Key, nil, b.row.Values, nil); err != nil {
			return err
		}
		return b.next(true)
	}
	r.coverage.Rows++
	why := r.why(l.row)
	if order < 0 {
		if err := r.emit(OpCreated, why|WhyDiff, l.row.Key, l.row.Values, nil, nil); err != nil {
			return err
		}
		return l.next(true)
	}
	for i := range r.added {
		if l.row.Values[r.added[i].live].Kind != Null {
			r.added[i].rows++
		}
	}
	if changed := r.differences(l.row.Values, b.row.Values); len(changed) > 0 {
		if err := r.emit(OpModified, why|WhyDiff, l.row.Key, l.row.Values, b.row.Values, changed); err != nil {
			return err
		}
	} else if why != 0 {
		r.coverage.Touched++
	}
	if err := l.next(true); err != nil {
		return err
	}
	return b.next(true)
}

// differences are the places of the columns that differ.
func (r *run) differences(live, base []Value) []int {
	var changed []int
	for _, p := range r.pairs {
		if p.generated {
			continue
		}
		a, b := live[p.live], base[p.base]
		if a.Equal(b) || p.retyped && sameThing(a, b) {
			continue
		}
		changed = append(changed, p.live)
	}
	return changed
}

// sameThing tells whether a value is what it was before its column got another type: the same text, or the same number.
func sameThing(a, b Value) bool {
	if a.Kind == Null || b.Kind == Null {
		return a.Kind == b.Kind
	}
	if bytes.Equal(a.Text, b.Text) {
		return true
	}
	x, errX := AppendKey(nil, OrderDecimal, a)
	y, errY := AppendKey(nil, OrderDecimal, b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// hash is that of the columns that both tables have.
func (r *run) hash(values []Value, live bool) Hash {
	r.values = r.values[:0]
	for _, p := range r.pairs {
		if p.generated {
			continue
		}
		v := values[p.base]
		if live {
			v = values[p.live]
		}
		if p.retyped && v.Kind != Null {
			v.Kind = Text
		}
		r.values = append(r.values, v)
	}
	var h Hash
	h, r.scratch = HashValues(r.values, r.scratch)
	return h
}

// byHash counts the rows of one table for and those of the other against. What is left over is new, or deleted, as often as it is
// left. The tables are read in step: rows that are where they were cancel each other out at once.
func (r *run) byHash(ctx context.Context) (err error) {
	tally := NewTally(r.Scratch, r.Memory)
	defer func() { err = errors.Join(err, tally.Close()) }()
	if err := r.count(ctx, tally); err != nil {
		return err
	}
	err = each(ctx, r.Live, Scan{Table: r.Table, Marks: r.marks}, func(row *Row) error {
		why := r.why(row)
		h := r.hash(row.Values, true)
		n, err := tally.Count(ctx, h[:])
		switch {
		case err != nil:
			return err
		case n > 0:
			if _, err := tally.Add(ctx, h[:], -1); err != nil {
				return err
			}
			return r.emit(OpCreated, why|WhyDiff, h[:], row.Values, nil, nil)
		case why != 0:
			r.coverage.Touched++
		}
		return nil
	})
	if err != nil {
		return err
	}
	return each(ctx, r.Base, Scan{Table: r.Other}, func(row *Row) error {
		h := r.hash(row.Values, false)
		n, err := tally.Count(ctx, h[:])
		if err != nil || n >= 0 {
			return err
		}
		if _, err := tally.Add(ctx, h[:], 1); err != nil {
			return err
		}
		return r.emit(OpDeleted, WhyDiff, h[:], nil, row.Values, nil)
	})
}

func (r *run) count(ctx context.Context, tally *Tally) (err error) {
	l, b, err := r.both(ctx, Scan{Table: r.Table}, Scan{Table: r.Other})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.rows.Close(), b.rows.Close()) }()
	if err := errors.Join(l.next(false), b.next(false)); err != nil {
		return err
	}
	for l.row != nil || b.row != nil {
		if l.row != nil {
			r.coverage.Rows++
			h := r.hash(l.row.Values, true)
			if _, err := tally.Add(ctx, h[:], 1); err != nil {
				return err
			}
			if err := l.next(false); err != nil {
				return err
			}
		}
		if b.row != nil {
			h := r.hash(b.row.Values, false)
			if _, err := tally.Add(ctx, h[:], -1); err != nil {
				return err
			}
			if err := b.next(false); err != nil {
				return err
			}
		}
	}
	return nil
}

// Describe names a row by its key, for messages: columns and values.
func (t *Table) Describe(k *Key, values []Value) string {
	if k == nil {
		return "a row of " + t.Name.String()
	}
	var list []string
	for i, place := range t.Indexes(k.Columns) {
		list = append(list, k.Columns[i]+"="+string(AppendJSON(nil, &t.Columns[place], values[place])))
	}
	return t.Name.String() + " " + strings.Join(list, ", ")
}
