// Package merging writes the batches of a merge into a SQL database: the drivers' [relational.Merger]s share the statements and what
// holds them together, and tell in a Dialect and a Session what their engine does in its own way.
//
// Staged changes are rows of one staging table for each table: the columns b (the batch), n (the change's place in it), n0, n1, …
// (new values) and o0, o1, … (old ones), by the table's columns. All that is done to the target is done by statements over whole
// batches.
package merging

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"salvor/drivers/relational"
)

// Grammar is whose UPDATE and DELETE of several tables are written.
type Grammar int

// The grammars.
const (
	Postgres Grammar = iota
	MySQL
	SQLite
)

// Dialect is how an engine writes what a merge needs.
type Dialect struct {
	Grammar Grammar
	Ident   func(string) string
	// Table names a table to write to and to read, Stage the one in which its changes are staged.
	Table, Stage func(*relational.Table) string
	// Value makes a value of a column of a staged one, Key one that the column is compared with to find a row.
	Value, Key func(t *relational.Table, column int, staged string) string
	// Same tells whether a column and a staged value are the same to the byte, or both NULL. It is never NULL itself.
	Same func(t *relational.Table, column int, value, staged string) string
	// Parts are what a column is told apart by, where rows have no key; RowID are columns that name a row. Where there are none, rows are deleted one by
	// one.
	Parts func(t *relational.Table, column int, value string) []string
	RowID []string
	// Run and Done name the tables of the merge in the target: whose it is, and the units that are done.
	Run, Done string
}

// column is a column of the target in a statement.
func (d *Dialect) column(alias string, t *relational.Table, i int) string {
	return alias + "." + d.Ident(t.Columns[i].Name)
}

func staged(side byte, i int) string { return "s." + string(side) + strconv.Itoa(i) }

// span is a part of a batch: changes from one place to another.
type span struct {
	t        *relational.Table
	b        *relational.Batch
	from, to int
}

func (s span) where() string {
	return fmt.Sprintf("s.b = %d AND s.n >= %d AND s.n < %d", s.b.Number, s.from, s.to)
}

// on joins the table's rows with the staged changes by the key.
func (d *Dialect) on(t *relational.Table, key []string, alias string, side byte) string {
	list := make([]string, len(key))
	for i, place := range t.Indexes(key) {
		list[i] = d.column(alias, t, place) + " = " + d.Key(t, place, staged(side, place))
	}
	return strings.Join(list, " AND ")
}

// orAbort keeps SQLite from what a table says of its own conflicts: ON CONFLICT REPLACE would delete rows that are in the way.
func (d *Dialect) orAbort() string {
	if d.Grammar == SQLite {
		return "OR ABORT "
	}
	return ""
}

// insertSQL writes new rows.
func (d *Dialect) insertSQL(s span) string {
	names, values := make([]string, len(s.b.Columns)), make([]string, len(s.b.Columns))
	for i, place := range s.t.Indexes(s.b.Columns) {
		names[i], values[i] = d.Ident(s.b.Columns[i]), d.Value(s.t, place, staged('n', place))
	}
	overriding := ""
	if d.Grammar == Postgres {
		overriding = " OVERRIDING SYSTEM VALUE"
	}
	return "INSERT " + d.orAbort() + "INTO " + strings.TrimPrefix(d.Table(s.t), "ONLY ") + " (" + strings.Join(names, ", ") + ")" + overriding + " SELECT " + strings.Join(values, ", ") +
		" FROM " + d.Stage(s.t) + " s WHERE " + s.where() + " ORDER BY s.n"
}

// sameSQL counts the changes whose rows are what they were, and locks those: nobody changes them before the statement that follows,
// which sees what this one has seen.
func (d *Dialect) sameSQL(s span) string {
	where := []string{s.where()}
	for _, place := range s.t.Indexes(s.b.Columns) {
		if !slices.Contains(s.b.Key, s.t.Columns[place].Name) {
			where = append(where, d.Same(s.t, place, d.column("t", s.t, place), staged('o', place)))
		}
	}
	from := " FROM " + d.Stage(s.t) + " s JOIN " + d.Table(s.t) + " t ON " + d.on(s.t, s.b.Key, "t", 'o') + " WHERE " + strings.Join(where, " AND ")
	switch d.Grammar {
	case Postgres: // which locks no rows of an aggregate
		return "SELECT COUNT(*) FROM (SELECT 1" + from + " FOR UPDATE OF t) x"
	case MySQL:
		return "SELECT COUNT(*)" + from + " FOR UPDATE"
	case SQLite: // where the transaction has locked the database
	}
	return "SELECT COUNT(*)" + from
}

// updateSQL changes rows.
func (d *Dialect) updateSQL(s span) string {
	var set []string
	prefix := ""
	if d.Grammar == MySQL {
		prefix = "t."
	}
	for i, c := range s.t.Columns {
		switch {
		case slices.Contains(s.b.Columns, c.Name):
			set = append(set, prefix+d.Ident(c.Name)+" = "+d.Value(s.t, i, staged('n', i)))
		case c.Renewed: // stays as it is only where that is said
			set = append(set, prefix+d.Ident(c.Name)+" = t."+d.Ident(c.Name))
		}
	}
	assignments := strings.Join(set, ", ")
	on := d.on(s.t, s.b.Key, "t", 'o')
	if d.Grammar == MySQL {
		return "UPDATE " + d.Table(s.t) + " t JOIN " + d.Stage(s.t) + " s ON " + on + " SET " + assignments + " WHERE " + s.where()
	}
	return "UPDATE " + d.orAbort() + d.Table(s.t) + " AS t SET " + assignments + " FROM " + d.Stage(s.t) + " AS s WHERE " + s.where() + " AND " + on
}

// deleteSQL deletes rows.
func (d *Dialect) deleteSQL(s span) string {
	on := d.on(s.t, s.b.Key, "t", 'o')
	switch d.Grammar {
	case MySQL:
		return "DELETE t FROM " + d.Table(s.t) + " t JOIN " + d.Stage(s.t) + " s ON " + on + " WHERE " + s.where()
	case SQLite:
		var names, values []string
		for _, place := range s.t.Indexes(s.b.Key) {
			names, values = append(names, d.Ident(s.t.Columns[place].Name)), append(values, staged('o', place))
		}
		return "DELETE FROM " + d.Table(s.t) + " WHERE (" + strings.Join(names, ", ") + ") IN (SELECT " + strings.Join(values, ", ") + " FROM " + d.Stage(s.t) + " s WHERE " + s.where() + ")"
	case Postgres:
	}
	return "DELETE FROM " + d.Table(s.t) + " AS t USING " + d.Stage(s.t) + " AS s WHERE " + s.where() + " AND " + on
}

// keylessSQL deletes rows of a table without a key: of rows that are alike, as many as there are changes.
func (d *Dialect) keylessSQL(s span) string {
	var parts, same, staging, groups, ids, picked []string
	for i, id := range d.RowID {
		ids = append(ids, "t."+id+" AS salvor_id"+strconv.Itoa(i))
		picked = append(picked, "x.salvor_id"+strconv.Itoa(i))
	}
	for _, place := range s.t.Indexes(s.b.Columns) {
		parts = append(parts, d.Parts(s.t, place, d.column("t", s.t, place))...)
		staging = append(staging, staged('o', place))
		groups = append(groups, d.Parts(s.t, place, staged('o', place))...)
		same = append(same, d.Same(s.t, place, d.column("x", s.t, place), "y.o"+strconv.Itoa(place)))
	}
	if d.Grammar == Postgres {
		groups = staging // texts already
	}
	return "DELETE FROM " + d.Table(s.t) + " WHERE (" + strings.Join(d.RowID, ", ") + ") IN (SELECT " + strings.Join(picked, ", ") + " FROM (SELECT t.*, " +
		strings.Join(ids, ", ") + ", ROW_NUMBER() OVER (PARTITION BY " + strings.Join(parts, ", ") + ") AS salvor_nth FROM " + d.Table(s.t) + " t) x JOIN (SELECT " +
		strings.Join(staging, ", ") + ", COUNT(*) AS salvor_rows FROM " + d.Stage(s.t) + " s WHERE " + s.where() + " GROUP BY " + strings.Join(append(staging, groups...), ", ") +
		") y ON " + strings.Join(same, " AND ") + " WHERE x.salvor_nth <= y.salvor_rows)"
}

// oneSQL deletes one row that is as a change says.
func (d *Dialect) oneSQL(s span) string {
	var same []string
	for _, place := range s.t.Indexes(s.b.Columns) {
		value := "(SELECT " + staged('o', place) + " FROM " + d.Stage(s.t) + " s WHERE " + s.where() + ")"
		same = append(same, d.Same(s.t, place, d.Ident(s.t.Columns[place].Name), value))
	}
	return "DELETE FROM " + d.Table(s.t) + " WHERE " + strings.Join(same, " AND ") + " LIMIT 1"
}

// lacks joins a child's rows with those that they refer to, and is true of those that refer to nothing. It needs no rows of a
// staging table.
func (d *Dialect) lacks(child, parent *relational.Table, e *relational.Edge) (join, where string) {
	var on, set, null []string
	parents := parent.Indexes(e.ParentColumns)
	for i, place := range child.Indexes(e.Columns) {
		on = append(on, d.column("p", parent, parents[i])+" = "+d.column("c", child, place))
		set = append(set, d.column("c", child, place)+" IS NOT NULL")
		null = append(null, d.column("c", child, place)+" IS NULL")
	}
	whole := strings.Join(set, " AND ")
	if e.Full && len(set) > 1 {
		whole = "NOT (" + strings.Join(null, " AND ") + ")" // in part NULL, it is refused as well
	}
	return " LEFT JOIN " + d.Table(parent) + " p ON " + strings.Join(on, " AND "), whole + " AND " + d.column("p", parent, parents[0]) + " IS NULL"
}

// orphansSQL counts the rows that refer to nothing, of all.
func (d *Dialect) orphansSQL(child, parent *relational.Table, e *relational.Edge) string {
	join, where := d.lacks(child, parent, e)
	return "SELECT COUNT(*) FROM " + d.Table(child) + " c" + join + " WHERE " + where
}

// newOrphansSQL counts those among the rows that batches have written. side is where their keys are.
func (d *Dialect) newOrphansSQL(child, parent *relational.Table, e *relational.Edge, key []string, side byte, batches []string) string {
	join, where := d.lacks(child, parent, e)
	in := "s.b IN (" + strings.Join(batches, ", ") + ")"
	if len(key) == 0 {
		// Nothing leads from a change to its row, but what it refers to is in the change itself.
		var on, set []string
		parents := parent.Indexes(e.ParentColumns)
		for i, place := range child.Indexes(e.Columns) {
			on = append(on, d.column("p", parent, parents[i])+" = "+d.Key(child, place, staged('n', place)))
			set = append(set, staged('n', place)+" IS NOT NULL")
		}
		return "SELECT COUNT(*) FROM " + d.Stage(child) + " s LEFT JOIN " + d.Table(parent) + " p ON " + strings.Join(on, " AND ") + " WHERE " + in +
			" AND " + strings.Join(set, " AND ") + " AND " + d.column("p", parent, parents[0]) + " IS NULL"
	}
	return "SELECT COUNT(*) FROM " + d.Stage(child) + " s JOIN " + d.Table(child) + " c ON " + d.on(child, key, "c", side) + join + " WHERE " + in + " AND " + where
}

// leftOrphansSQL counts the rows that referred to what batches have deleted or changed, and now to nothing.
func (d *Dialect) leftOrphansSQL(child, parent *relational.Table, e *relational.Edge, batches []string) string {
	join, where := d.lacks(child, parent, e)
	var on []string
	parents := parent.Indexes(e.ParentColumns)
	for i, place := range child.Indexes(e.Columns) {
		on = append(on, d.column("c", child, place)+" = "+d.Key(parent, parents[i], staged('o', parents[i])))
	}
	return "SELECT COUNT(*) FROM " + d.Stage(parent) + " s JOIN " + d.Table(child) + " c ON " + strings.Join(on, " AND ") + join +
		" WHERE s.b IN (" + strings.Join(batches, ", ") + ") AND " + where
}
