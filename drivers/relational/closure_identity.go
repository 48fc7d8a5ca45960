package relational

import (
	"context"
	"encoding/binary"
	"slices"
)

// tally counts the captured rows of a table by their identity.
func (cl *Closure) tally(t *Table) *Tally {
	tally := cl.captured[t.Name]
	if tally == nil {
		tally = NewTally(cl.c.Scratch, cl.c.Memory)
		cl.captured[t.Name] = tally
	}
	return tally
}

// identity is what tells a row from others of its table: the values of its key, or all. A comparison may know it by another key, or by
// what the dump has of it, so its own word for the row is none here. It is good until the next call.
func (cl *Closure) identity(t *Table, values []Value) []byte {
	if key := t.Identity(); key != nil {
		list := make([]Value, len(key.Columns))
		for i, place := range t.Indexes(key.Columns) {
			list[i] = values[place]
		}
		cl.scratch = AppendValues(cl.scratch[:0], list)
		return cl.scratch
	}
	var h Hash
	h, cl.scratch = HashValues(values, cl.scratch)
	return h[:]
}

// twins counts the rows of one lookup in a table without a key. A lookup finds all rows that are the same in every column or none of them,
// so a row is one that is not captured yet when there are more of its kind than are captured. In a table with a key it counts nothing.
type twins struct {
	*Tally
	table *Table
}

func (cl *Closure) newTwins(t *Table) *twins {
	if t.Identity() != nil {
		return &twins{table: t}
	}
	return &twins{NewTally(cl.c.Scratch, cl.c.Memory), t}
}

func (t *twins) close() error {
	if t.Tally == nil {
		return nil
	}
	return t.Close()
}

// capture notes a row of a lookup, and tells whether it is new.
func (cl *Closure) capture(ctx context.Context, t *twins, row *Row) (bool, error) {
	key := cl.identity(t.table, row.Values)
	nth := int64(1)
	if t.Tally != nil {
		var err error
		if nth, err = t.Add(ctx, binary.AppendUvarint(slices.Clone(key), uint64(row.Asked)), 1); err != nil { //nolint:gosec // a place in a list
			return false, err
		}
	}
	captured := cl.tally(t.table)
	n, err := captured.Count(ctx, key)
	if err != nil || n >= nth {
		return false, err
	}
	_, err = captured.Add(ctx, key, 1)
	return true, err
}
