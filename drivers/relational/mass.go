package relational

import (
	"context"
)

// Mass counts changes that have one cause: a statement without its condition, a script gone wrong. The same new value of a column in
// many rows, many rows changed at one moment, many deleted: such changes are damage until somebody says otherwise.
//
// Columns are judged one by one, so that a row whose plan the damage has set, and whose name somebody has really changed, is
// captured with its name. Rows are counted first, all of a table's, and judged after: it takes two passes over what was found.
type Mass struct {
	table     *Table
	detectors Detectors
	tally     *Tally
	deleted   int64
	created   int64
	scratch   []byte
}

// The least numbers of rows that are a mass: so many, and so many of a hundred of the table's.
const (
	massChanged, massChangedPercent = 1000, 5
	massDeleted, massDeletedPercent = 100, 1
)

// NewMass counts the rows of a table. dir and budget are those of a [Tally].
func NewMass(table *Table, detectors Detectors, dir string, budget int64) *Mass {
	return &Mass{table: table, detectors: detectors, tally: NewTally(dir, budget)}
}

// Close removes what the counts are kept in.
func (m *Mass) Close() error { return m.tally.Close() }

// Group is a mass of changes.
type Group struct {
	Op Op `json:"op"`
	// Column was set to Value in so many Rows of the table; or it is the time of modification, at which they were changed.
	Column string `json:"column,omitempty"`
	Value  string `json:"value,omitempty"` // as JSON
	Moment bool   `json:"moment,omitempty"`
	Rows   int64  `json:"rows"`
}

// Count takes a row.
func (m *Mass) Count(ctx context.Context, f *Found) error {
	switch f.Op {
	case OpDeleted:
		m.deleted++
	case OpModified:
		for _, i := range m.changed(f) {
			if _, err := m.tally.Add(ctx, m.cell(i, f.Live[i]), 1); err != nil {
				return err
			}
		}
	case OpCreated:
		m.created++
	case OpSupport, OpChild:
	}
	return nil
}

// changed are the places of the columns that were changed. Where nobody knows, the time of it says what has one cause.
func (m *Mass) changed(f *Found) []int {
	if f.Changed == nil && m.detectors.Modified != "" {
		return []int{m.table.Index(m.detectors.Modified)}
	}
	return f.Changed
}

// cell is the key of a column's new value.
func (m *Mass) cell(column int, v Value) []byte {
	var h Hash
	h, m.scratch = HashValues([]Value{IntValue(int64(column)), v}, m.scratch)
	return h[:]
}

// Judge returns the groups that a row is in, and the places of the changed columns that are in none: none at all where the whole
// change is. rows is how many the table had before: those that are there, and those that were deleted, without the new ones. A row that was
// changed at the same moment as a mass of others is in that group with all its columns. The time of modification alone is no change of anybody's.
func (m *Mass) Judge(ctx context.Context, f *Found, rows int64) (groups []Group, left []int, err error) {
	if f.Op == OpDeleted {
		if isMass(m.deleted, rows, massDeleted, massDeletedPercent) {
			groups = append(groups, Group{Op: OpDeleted, Rows: m.deleted})
		}
		return groups, nil, nil
	}
	if f.Op == OpCreated && m.table.Identity() == nil && isMass(m.deleted, rows, massDeleted, massDeletedPercent) &&
		isMass(m.created, rows, massChanged, massChangedPercent) {
		// Without a key, a change of all rows is seen as if they were deleted, and others made.
		return []Group{{Op: OpCreated, Rows: m.created}}, nil, nil
	}
	if f.Op != OpModified {
		return nil, nil, nil
	}
	genuine := false
	moment := false
	for _, i := range m.changed(f) {
		c := &m.table.Columns[i]
		n, err := m.tally.Count(ctx, m.cell(i, f.Live[i]))
		if err != nil {
			return nil, nil, err
		}
		modified := c.Name == m.detectors.Modified
		if isMass(n, rows, massChanged, massChangedPercent) {
			groups = append(groups, Group{Op: OpModified, Column: c.Name, Value: string(AppendJSON(nil, c, f.Live[i])), Moment: modified, Rows: n})
			moment = moment || modified
			continue
		}
		genuine = genuine || !modified
		left = append(left, i)
	}
	if f.Changed == nil || len(groups) > 0 && (moment || !genuine) {
		left = nil
	}
	return groups, left, nil
}

// isMass tells whether so many rows of a table are more than people change.
func isMass(n, rows, least, percent int64) bool {
	return n > max(least, rows*percent/100)
}
