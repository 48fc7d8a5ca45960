package merge

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"salvor/drivers/relational"
)

// Rows may exchange values that no two rows may have. A row whose value another one takes before it has its own new one gets a value
// meanwhile that nobody has; both are then of one unit.

// leaveState tells whether a row of the target gives a unique value up.
type leaveState int

const (
	staysThere  leaveState = iota
	leaves                 // it has done so, or its value can be put aside
	leavesBound            // it does, but nothing can stand in for the value
)

// uniqueCode is that of a conflict over values that rows of the target have.
func uniqueCode(code Code, hits []hit) Code {
	if slices.ContainsFunc(hits, func(h hit) bool { return h.bound }) {
		return UniqueCycle
	}
	return code
}

// leaving tells whether the row of the target that has a unique value gives it up.
func (p *planner) leaving(ctx context.Context, t *table, k *uniqueKey, row []relational.Value) (leaveState, error) {
	key := t.keyOf(row)
	_, going, err := p.rows.get(ctx, t.mark(kindLeaving, 0, key))
	if err != nil || !going {
		return staysThere, err
	}
	if _, stays, err := p.rows.get(ctx, t.mark(kindStays, 0, key)); err != nil || stays {
		return staysThere, err
	}
	columns, err := p.givesUp(ctx, t, k, key)
	if err != nil || len(columns) == 0 {
		return staysThere, err
	}
	if _, settled, err := p.rows.get(ctx, t.mark(kindSettled, p.attempt, key)); err != nil || settled {
		return leaves, err
	}
	if _, _, ok := p.standIn(t, k, columns); !ok {
		return leavesBound, nil
	}
	return leaves, nil
}

// givesUp are the columns of a unique key that a row changes: all of them where it is deleted.
func (p *planner) givesUp(ctx context.Context, t *table, k *uniqueKey, key []relational.Value) ([]int, error) {
	text, _, err := p.rows.get(ctx, t.mark(kindLeaving, 0, key))
	if err != nil {
		return nil, err
	}
	if len(text) == 0 {
		return k.at, nil
	}
	changed := readPlaces(text)
	return slices.DeleteFunc(slices.Clone(k.at), func(i int) bool { return !slices.Contains(changed, i) }), nil
}

// standIn chooses a column of a unique key and a value that it may have meanwhile.
func (p *planner) standIn(t *table, k *uniqueKey, columns []int) (place int, v relational.Value, ok bool) {
	for _, i := range columns {
		c := &t.Columns[i]
		if c.Nullable && !c.Generated && !k.NullsEqual && !slices.Contains(t.keyAt, i) {
			return i, v, true
		}
	}
	for _, i := range columns {
		c := &t.Columns[i]
		refers := slices.ContainsFunc(t.up, func(e upEdge) bool { return slices.Contains(e.at, i) })
		if c.Generated || refers || slices.Contains(t.keyAt, i) {
			continue
		}
		if v, ok := unusual(c, p.asides); ok {
			return i, v, true
		}
	}
	return 0, v, false
}

// unusual is the nth value of a column that nobody is likely to have.
func unusual(c *relational.Column, n int64) (v relational.Value, ok bool) {
	sql := strings.ToLower(c.SQL)
	switch c.Type {
	case relational.TypeInt:
		bits := 64
		for _, t := range []struct {
			name string
			bits int
		}{{"tinyint", 8}, {"smallint", 16}, {"mediumint", 24}, {"bigint", 64}, {"int", 32}} {
			if strings.HasPrefix(sql, t.name) && !c.Dynamic {
				bits = t.bits
				break
			}
		}
		if strings.Contains(sql, "unsigned") {
			return relational.Value{Kind: relational.Int, Text: strconv.AppendUint(nil, 1<<bits-1-uint64(n), 10)}, true //nolint:gosec // a count
		}
		return relational.IntValue(-1<<(bits-1) + n), true
	case relational.TypeText:
		text := "\x01" + strconv.FormatInt(n, 36)
		if _, rest, found := strings.Cut(sql, "("); found {
			size, err := strconv.Atoi(strings.TrimRight(rest, ") abcdefghijklmnopqrstuvwxyz0_"))
			if err == nil && size < len(text) {
				return v, false
			}
		}
		return relational.TextValue(text), true
	case relational.TypeBytes:
		return relational.BytesValue(binary.BigEndian.AppendUint64(nil, ^uint64(n))), !strings.HasPrefix(sql, "bit") //nolint:gosec // a count
	case relational.TypeTime:
		day := time.Date(9999, 12, 30, 0, 0, 0, 0, time.UTC).AddDate(0, 0, -int(n))
		switch c.Clock {
		case relational.ClockDate:
			return relational.TextValue(day.Format("2006-01-02")), true
		case relational.ClockWall, relational.ClockMixed:
			return relational.TextValue(day.Format("2006-01-02 15:04:05")), true
		case relational.ClockNone, relational.ClockMoment:
		}
	case relational.TypeOther:
		if sql == "uuid" {
			return relational.TextValue(fmt.Sprintf("ffffffff-ffff-4fff-8fff-%012x", n)), true
		}
	case relational.TypeBool, relational.TypeDecimal, relational.TypeFloat, relational.TypeJSON:
	}
	return v, false
}

// makeRoom sees to it that the unique values which an item is about to take are free by then.
func (p *planner) makeRoom(ctx context.Context, it *item) error {
	t := it.table
	for _, h := range it.hits {
		k := &t.unique[h.unique]
		key := t.keyOf(h.row)
		if !it.touches(k.at) || it.there != nil && relational.EqualValues(t.keyOf(it.there), key) {
			continue
		}
		state, err := p.leaving(ctx, t, k, h.row)
		if err != nil {
			return err
		}
		if state != leaves {
			continue // the row itself is written over
		}
		segment, settled, err := p.rows.get(ctx, t.mark(kindSettled, p.attempt, key))
		switch {
		case err != nil:
			return err
		case settled && string(segment) == strconv.Itoa(p.out.segment):
			err = p.out.end()
		case !settled:
			err = p.putAside(ctx, t, k, h.row)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// putAside gives a row another value meanwhile.
func (p *planner) putAside(ctx context.Context, t *table, k *uniqueKey, row []relational.Value) error {
	key := t.keyOf(row)
	mark := t.mark(kindAside, p.attempt, key)
	was, columns, err := p.aside(ctx, t, row)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(columns, func(i int) bool { return slices.Contains(k.at, i) }) {
		return nil
	}
	able, err := p.givesUp(ctx, t, k, key)
	if err != nil {
		return err
	}
	place, v, _ := p.standIn(t, k, able)
	p.asides++
	if len(columns) == 0 {
		p.out.held++
		p.waiting[string(mark)] = t.mark(kindStays, 0, key)
	}
	now := slices.Clone(was)
	now[place] = v
	columns = append(columns, place)
	if err := p.out.add(phaseAside, t, relational.ChangeUpdate, []int{place}, nil, &relational.Change{New: now, Old: was}); err != nil {
		return err
	}
	text := binary.AppendUvarint(nil, uint64(len(columns)))
	text = append(text, places(columns)...)
	return p.rows.put(ctx, mark, relational.AppendValues(text, pick(now, columns)))
}

// aside is a row of the target as the plan has left it so far, and the columns that were put aside.
func (p *planner) aside(ctx context.Context, t *table, row []relational.Value) (now []relational.Value, columns []int, err error) {
	now = slices.Clone(row)
	text, ok, err := p.rows.get(ctx, t.mark(kindAside, p.attempt, t.keyOf(row)))
	if err != nil || !ok {
		return now, nil, err
	}
	n, size := binary.Uvarint(text)
	if size <= 0 || uint64(len(text)) < 2*n+uint64(size) {
		return nil, nil, errRecord
	}
	text = text[size:]
	columns = readPlaces(text[:2*n])
	values, _, err := relational.ReadValues(text[2*n:], len(columns))
	if err != nil {
		return nil, nil, err
	}
	for i, place := range columns {
		now[place] = values[i]
	}
	return now, columns, nil
}

// comeBack tells what a row is before its last change, of which columns are written, and what of it was put aside.
func (p *planner) comeBack(ctx context.Context, t *table, row []relational.Value, columns []int) (old []relational.Value, aside []int, err error) {
	key := t.keyOf(row)
	_, going, err := p.rows.get(ctx, t.mark(kindLeaving, 0, key))
	if err != nil || !going {
		return row, nil, err
	}
	if old, aside, err = p.aside(ctx, t, row); err != nil {
		return nil, nil, err
	}
	if len(aside) > 0 && !slices.ContainsFunc(aside, func(i int) bool { return !slices.Contains(columns, i) }) {
		delete(p.waiting, string(t.mark(kindAside, p.attempt, key)))
		p.out.held--
	}
	return old, aside, p.rows.put(ctx, t.mark(kindSettled, p.attempt, key), []byte(strconv.Itoa(p.out.segment)))
}
