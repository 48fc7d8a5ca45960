package review

import (
	"fmt"
	"slices"

	"salvor/drivers/relational"
	"salvor/drivers/relational/merge"
)

// Action is what becomes of a line.
type Action string

// The actions.
const (
	Take Action = "take" // its row is written into the target, or deleted there
	Keep Action = "keep" // the target's row stays as it is, or absent; what hangs on the captured one is judged by itself
	Skip Action = "skip" // as keep, and all captured rows that hang on it are left out too
)

// Verdict is what was decided on a line.
type Verdict struct {
	Action Action
	// Columns are those of a modified row that are taken, in the order of the line's; nil for all else.
	Columns []string
	// By says who decided: "row", "rule 3", "table", "default", "group".
	By string
}

// Decisions are what a file of decisions says. They are not changed, and safe for concurrent use.
type Decisions struct {
	def    choice
	tables map[relational.Name]*choice
	rules  []*rule
	rows   map[relational.Name]map[string]*rowChoice
	groups map[int]Group
}

// choice is what is said about lines; zero values say nothing.
type choice struct {
	action  Action
	columns []string // of take_columns or keep_columns
	without bool     // of keep_columns
	deleted Action
	// conflicts are policies by code.
	conflicts map[merge.Code]merge.Policy
}

// rule is a choice for the lines that it fits.
type rule struct {
	choice
	number  int
	table   *relational.Table // nil for any
	group   int               // 0 for none
	ops     []relational.Op   // nil for all but deleted ones
	changed []string          // nil for any
	where   []cell
}

// narrow tells whether a rule of a group is of some of its rows only.
func (r *rule) narrow() bool { return len(r.where) > 0 || len(r.changed) > 0 }

// cell is a value that a column of a line must have.
type cell struct {
	column string
	value  relational.Value
}

// rowChoice is a choice for one row.
type rowChoice struct {
	choice
	place string // in the file, for messages
	key   string // as it is written
}

// None are the decisions of a file in which nothing is decided, on a capture with those groups.
func None(groups []Group) *Decisions {
	d := &Decisions{tables: make(map[relational.Name]*choice), rows: make(map[relational.Name]map[string]*rowChoice), groups: make(map[int]Group)}
	for _, g := range groups {
		d.groups[g.Number] = g
	}
	return d
}

// Of tells what becomes of a line, which is in the group of that number, or in none (0).
func (d *Decisions) Of(l *relational.Line, group int) Verdict {
	if row := d.row(l); row != nil && row.decides() {
		return row.of(l, "row")
	}
	for _, r := range d.rules {
		if r.decides() && r.fits(l, group) {
			return r.of(l, fmt.Sprintf("rule %d", r.number))
		}
	}
	if group != 0 {
		return Verdict{Action: Keep, By: "group"}
	}
	for _, level := range []struct {
		*choice
		by string
	}{{d.tables[l.Table.Name], "table"}, {&d.def, "default"}} {
		switch {
		case level.choice == nil:
		case l.Op == relational.OpDeleted && level.deleted != "":
			return Verdict{Action: level.deleted, By: level.by}
		case l.Op != relational.OpDeleted && level.decides() && (level.columns == nil || l.Op == relational.OpModified):
			return level.of(l, level.by)
		}
	}
	if l.Op == relational.OpDeleted {
		return Verdict{Action: Keep, By: "default"}
	}
	return (&choice{action: Take}).of(l, "default")
}

// Policy tells what becomes of a conflict of a line; "" where nobody has said it.
func (d *Decisions) Policy(code merge.Code, l *relational.Line) merge.Policy {
	if row := d.row(l); row != nil && row.conflicts[code] != "" {
		return row.conflicts[code]
	}
	for _, r := range d.rules {
		if r.conflicts[code] != "" && (r.table == nil || r.table.Name == l.Table.Name) && (r.ops == nil || slices.Contains(r.ops, l.Op)) {
			return r.conflicts[code]
		}
	}
	if table := d.tables[l.Table.Name]; table != nil && table.conflicts[code] != "" {
		return table.conflicts[code]
	}
	return d.def.conflicts[code]
}

// Undecided are the groups that no rule decides on as a whole.
func (d *Decisions) Undecided() []Group {
	var list []Group
	for _, g := range d.groups {
		if !slices.ContainsFunc(d.rules, func(r *rule) bool { return r.group == g.Number && r.decides() && !r.narrow() }) {
			list = append(list, g)
		}
	}
	slices.SortFunc(list, func(a, b Group) int { return a.Number - b.Number })
	return list
}

// row is what is said of the row of a line.
func (d *Decisions) row(l *relational.Line) *rowChoice {
	rows := d.rows[l.Table.Name]
	if rows == nil {
		return nil
	}
	key, ok := identity(l)
	if !ok {
		return nil
	}
	return rows[key]
}

// identity is the key of a line's row as text. ok is false for a row without one.
func identity(l *relational.Line) (string, bool) {
	key := l.Table.Identity()
	if key == nil {
		return "", false
	}
	values, has := cells(l)
	var list []relational.Value
	for _, i := range l.Table.Indexes(key.Columns) {
		if !has[i] {
			return "", false
		}
		list = append(list, values[i])
	}
	return string(relational.AppendValues(nil, list)), true
}

// cells are the values that a line shows of its row.
func cells(l *relational.Line) ([]relational.Value, []bool) {
	if l.Data == nil {
		return l.Base, l.HadBase
	}
	return l.Data, l.Has
}

// decides tells whether a choice says what becomes of rows.
func (c *choice) decides() bool { return c.action != "" || c.columns != nil }

// of is what a choice makes of a line.
func (c *choice) of(l *relational.Line, by string) Verdict {
	v := Verdict{Action: c.action, By: by}
	if c.columns == nil && c.action != Take || l.Op != relational.OpModified {
		switch {
		case c.columns != nil && l.Op == relational.OpDeleted:
			v.Action = Keep
		case c.columns != nil:
			v.Action = Take // a new row has no columns of the target's to keep
		}
		return v
	}
	for _, column := range changes(l) {
		if c.columns == nil || slices.Contains(c.columns, column) != c.without {
			v.Columns = append(v.Columns, column)
		}
	}
	v.Action = Take
	if v.Columns == nil {
		v.Action = Keep
	}
	return v
}

// changes are the columns that a modified line would write: those that differ, or all where nobody knows which do.
func changes(l *relational.Line) []string {
	if len(l.Changed) > 0 {
		return l.Changed
	}
	var list []string
	key := l.Table.Identity()
	for i, c := range l.Table.Columns {
		if l.Has[i] && !c.Generated && (key == nil || !slices.Contains(key.Columns, c.Name)) {
			list = append(list, c.Name)
		}
	}
	return list
}

// fits tells whether a rule is about a line.
func (r *rule) fits(l *relational.Line, group int) bool {
	switch {
	case r.table != nil && r.table.Name != l.Table.Name, r.group != group:
		return false
	case r.ops == nil && r.group == 0 && l.Op == relational.OpDeleted, r.ops != nil && !slices.Contains(r.ops, l.Op):
		return false
	case r.columns != nil && l.Op != relational.OpModified:
		return false
	case r.changed != nil && (l.Op != relational.OpModified || slices.ContainsFunc(changes(l), func(c string) bool { return !slices.Contains(r.changed, c) })):
		return false
	}
	values, has := cells(l)
	for _, w := range r.where {
		i := l.Table.Index(w.column)
		if i < 0 || !has[i] || !values[i].Equal(w.value) {
			return false
		}
	}
	return true
}
