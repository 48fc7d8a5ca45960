package relational

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"salvor/drivers"
)

// Model is what the tables of a database are. It is plain data: it is stored with what was captured, and compared with the
// model of another database.
type Model struct {
	// Engine is the name of the driver: "postgres".
	Engine string `json:"engine"`
	// Version is the server's, as it says it.
	Version string `json:"version"`
	// TimeZone is what a time without a zone is taken to be in, where nothing else is said: an IANA name, or "" where the
	// database has no such notion.
	TimeZone string `json:"time_zone,omitempty"`
	// Tables are sorted by name. Views are none; the partitions of a table are part of it.
	Tables []*Table `json:"tables"`
	// Sequences are sorted by name.
	Sequences []Sequence `json:"sequences,omitempty"`
	// Labels are the names that Django has for tables, sorted by the tables' own. No driver knows them: see package declared.
	Labels []Label `json:"labels,omitempty"`
	// Omitted is what holds rows, or binds them, and is not in the model, sorted by name: somebody must say so.
	Omitted []Omitted `json:"omitted,omitempty"`
}

// Omitted is a thing that a model leaves out.
type Omitted struct {
	Name
	Reason string `json:"reason"`
}

// Label is what Django calls a table: the app and, in small letters, the model.
type Label struct {
	Table Name   `json:"table"`
	App   string `json:"app"`
	Model string `json:"model"`
}

// Label returns the names that Django has for a table; empty ones where there are none.
func (m *Model) Label(table Name) Label {
	i, ok := slices.BinarySearchFunc(m.Labels, table, func(l Label, n Name) int { return l.Table.Compare(n) })
	if !ok {
		return Label{}
	}
	return m.Labels[i]
}

// Name is that of a table or a sequence. Schema is "" where the engine has none.
type Name struct {
	Schema string `json:"schema,omitempty"`
	Name   string `json:"name"`
}

// String is the name as people write it. It is no key: a dot in a name is not told from the one between two.
func (n Name) String() string {
	if n.Schema == "" {
		return n.Name
	}
	return n.Schema + "." + n.Name
}

// Compare orders names as a Model has them.
func (n Name) Compare(other Name) int {
	return cmp.Or(strings.Compare(n.Schema, other.Schema), strings.Compare(n.Name, other.Name))
}

// Table is a relation with rows.
type Table struct {
	Name
	Columns []Column `json:"columns"`
	// Primary is nil where there is none.
	Primary *Key `json:"primary,omitempty"`
	// Unique are the other unique keys, of constraints and of indexes, sorted by name.
	Unique []Key `json:"unique,omitempty"`
	// Foreign are the declared foreign keys, sorted by name.
	Foreign []Edge `json:"foreign,omitempty"`
	// Triggers are those that would fire where rows are written.
	Triggers []Trigger `json:"triggers,omitempty"`
	// Rows is an estimate; negative where there is none.
	Rows int64 `json:"rows_estimate"`
}

// Type says what a column holds, as far as that matters to whoever reads, shows and compares it.
type Type string

// The types.
const (
	TypeBool    Type = "bool"
	TypeInt     Type = "int" // whole numbers of up to 64 bits, signed or not
	TypeDecimal Type = "decimal"
	TypeFloat   Type = "float"
	TypeText    Type = "text"
	TypeBytes   Type = "bytes"
	TypeTime    Type = "time" // a date, a time of day, a moment
	TypeJSON    Type = "json"
	TypeOther   Type = "other" // a text in a form of the engine's own: arrays, ranges, intervals, addresses
)

// Clock says what a column of TypeTime tells.
type Clock string

// The clocks.
const (
	ClockNone   Clock = ""       // no moment: a time of day, or no time at all
	ClockMoment Clock = "moment" // a point in time, whatever the zone it is shown in
	ClockWall   Clock = "wall"   // what a clock on a wall showed, in a zone that the column does not tell
	ClockDate   Clock = "date"   // a day, in a zone that the column does not tell
	ClockMixed  Clock = "mixed"  // whatever each value is by itself: SQLite
)

// Column is one of a table's, in the table's order.
type Column struct {
	Name string `json:"name"`
	// SQL is the type as the engine writes it: "numeric(10,2)".
	SQL  string `json:"sql"`
	Type Type   `json:"type"`
	// Clock is set for what can be compared with a moment.
	Clock Clock `json:"clock,omitempty"`
	// Dynamic tells that each value has a type of its own, whatever the column's is: SQLite.
	Dynamic bool `json:"dynamic,omitempty"`
	// Nullable tells that the column may be NULL.
	Nullable bool `json:"nullable,omitempty"`
	// Generated columns are computed from others and never written.
	Generated bool `json:"generated,omitempty"`
	// Identity tells that the engine numbers new rows by this column: by an identity, by AUTO_INCREMENT, by the rowid. Always tells
	// that it takes no other number without being told to.
	Identity bool `json:"identity,omitempty"`
	Always   bool `json:"identity_always,omitempty"`
	// Default is the expression that a new row gets; "" for none.
	Default string `json:"default,omitempty"`
	// Renewed tells that the engine sets the column again where a row is changed: ON UPDATE CURRENT_TIMESTAMP.
	Renewed bool `json:"renewed,omitempty"`
	// Sequence is what Default draws from.
	Sequence *Name `json:"sequence,omitempty"`
}

// Key is a list of columns that no two rows of a table have the same values in.
type Key struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
	// Order is that of each column. Keys of two databases can be compared where their orders are the same.
	Order []Order `json:"order,omitempty"`
	// Condition restricts the key to some rows, as SQL; Expression tells that it is of more than columns, which are then those
	// that could be told. Such a key identifies nothing.
	Condition  string `json:"condition,omitempty"`
	Expression bool   `json:"expression,omitempty"`
	// NullsEqual tells that two rows may not both be NULL there.
	NullsEqual bool `json:"nulls_equal,omitempty"`
	// Deferrable tells that it can be checked at the end of a transaction.
	Deferrable bool `json:"deferrable,omitempty"`
	// Exclusion tells that it is no key but a constraint of PostgreSQL's that excludes more than equal rows.
	Exclusion bool `json:"exclusion,omitempty"`
	// Ambiguous tells that some row has NULL in it, so that it does not identify every row. SQLite allows that in a primary key.
	Ambiguous bool `json:"ambiguous,omitempty"`
}

// EdgeKind says where an edge comes from.
type EdgeKind string

// The kinds of edges.
const (
	EdgeForeign EdgeKind = "foreign" // a foreign key of the database
	EdgeColumn  EdgeKind = "column"  // columns that name a row, which only the configuration tells
	EdgeArray   EdgeKind = "array"   // a column that holds many keys
	EdgePath    EdgeKind = "path"    // keys within JSON
	EdgeGeneric EdgeKind = "generic" // a content type beside an object's key
)

// Edge leads from a table, its child, to the rows of a parent that it names.
type Edge struct {
	Name    string   `json:"name"`
	Kind    EdgeKind `json:"kind,omitempty"` // "" is EdgeForeign
	Columns []string `json:"columns"`
	// Parent and ParentColumns are what the columns are compared with, in the same order.
	Parent        Name     `json:"parent"`
	ParentColumns []string `json:"parent_columns"`
	// OnDelete is what becomes of the child where the parent is deleted: "cascade", "set null", "set default", "restrict",
	// "no action".
	OnDelete string `json:"on_delete,omitempty"`
	// Deferrable tells that it can be checked at the end of a transaction.
	Deferrable bool `json:"deferrable,omitempty"`
	// Full tells that a partly NULL key is not allowed (MATCH FULL). Without it such a key names nothing.
	Full bool `json:"match_full,omitempty"`
	// Unenforced tells that rows may break it: a foreign key that was never validated, or a reference of the configuration.
	Unenforced bool `json:"unenforced,omitempty"`
	// Path leads to the keys within JSON: names, and "*" for all elements of a list. For EdgePath.
	Path []string `json:"path,omitempty"`
	// When restricts the edge to rows whose column has a value, in canonical text. For EdgeGeneric.
	When *Match `json:"when,omitempty"`
}

// Match is a column and the value that it must have.
type Match struct {
	Column string `json:"column"`
	Value  string `json:"value"`
}

// Trigger is one of a table's.
type Trigger struct {
	Name string `json:"name"`
	// Events are those of insert, update, delete that it fires at.
	Events []string `json:"events"`
	// Disabled tells that it does not fire.
	Disabled bool `json:"disabled,omitempty"`
}

// Sequence is a source of numbers.
type Sequence struct {
	Name
	// Last is the number that was given last; Called tells that it was given, and is not the first to be.
	Last   string `json:"last"`
	Called bool   `json:"called"`
	// Increment is negative for one that counts down.
	Increment string `json:"increment"`
	// Table and Column own the sequence; "" where none does.
	Table  *Name  `json:"table,omitempty"`
	Column string `json:"column,omitempty"`
}

// Table returns the table of that name; nil where there is none.
func (m *Model) Table(name Name) *Table {
	i, ok := slices.BinarySearchFunc(m.Tables, name, func(t *Table, n Name) int { return t.Name.Compare(n) })
	if !ok {
		return nil
	}
	return m.Tables[i]
}

// Find returns the table that a person calls so: by its own name, where only one schema has it, or by schema.table. The error
// is [drivers.ErrNotFound], or [drivers.ErrInvalid] where the name fits several.
func (m *Model) Find(text string) (*Table, error) {
	var found []*Table
	for _, t := range m.Tables {
		if t.Name.String() == text {
			return t, nil
		}
		if t.Name.Name == text {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("table %q: %w", text, drivers.ErrNotFound)
	}
	names := make([]string, len(found))
	for i, t := range found {
		names[i] = t.Name.String()
	}
	return nil, drivers.WithHint(fmt.Errorf("table %q may be any of %s: %w", text, strings.Join(names, ", "), drivers.ErrInvalid), "write SCHEMA.TABLE")
}

// Sort puts tables, keys, edges and sequences in the order that a Model promises. Drivers call it last.
func (m *Model) Sort() {
	slices.SortFunc(m.Tables, func(a, b *Table) int { return a.Name.Compare(b.Name) })
	slices.SortFunc(m.Sequences, func(a, b Sequence) int { return a.Name.Compare(b.Name) })
	slices.SortFunc(m.Omitted, func(a, b Omitted) int { return cmp.Or(a.Name.Compare(b.Name), strings.Compare(a.Reason, b.Reason)) })
	for _, t := range m.Tables {
		slices.SortFunc(t.Unique, func(a, b Key) int { return strings.Compare(a.Name, b.Name) })
		slices.SortFunc(t.Foreign, func(a, b Edge) int { return strings.Compare(a.Name, b.Name) })
		slices.SortFunc(t.Triggers, func(a, b Trigger) int { return strings.Compare(a.Name, b.Name) })
	}
}

// Check tells what in a model contradicts itself: a key of no column, a reference to a table that is not there.
// Drivers' models are held to it by their tests; one that was read from a capture is checked before it is used.
func (m *Model) Check() error {
	for i, t := range m.Tables {
		if i > 0 && m.Tables[i-1].Name.Compare(t.Name) >= 0 {
			return fmt.Errorf("table %s: twice, or not in order: %w", t.Name, drivers.ErrInvalid)
		}
		if err := t.check(m); err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	return nil
}

func (t *Table) check(m *Model) error {
	seen := make(map[string]bool, len(t.Columns))
	for _, c := range t.Columns {
		if seen[c.Name] {
			return fmt.Errorf("column %q: twice: %w", c.Name, drivers.ErrInvalid)
		}
		seen[c.Name] = true
	}
	keys := t.Unique
	if t.Primary != nil {
		keys = append([]Key{*t.Primary}, keys...)
	}
	for _, k := range keys {
		if len(k.Columns) == 0 && !k.Expression && !k.Exclusion {
			return fmt.Errorf("key %q: no columns: %w", k.Name, drivers.ErrInvalid)
		}
		if k.identifies() && len(k.Order) != len(k.Columns) {
			return fmt.Errorf("key %q: %d orders of %d columns: %w", k.Name, len(k.Order), len(k.Columns), drivers.ErrInvalid)
		}
		if err := t.have(k.Columns); err != nil {
			return fmt.Errorf("key %q: %w", k.Name, err)
		}
	}
	for _, e := range t.Foreign {
		if err := m.checkEdge(t, e); err != nil {
			return fmt.Errorf("edge %q: %w", e.Name, err)
		}
	}
	return nil
}

func (m *Model) checkEdge(t *Table, e Edge) error {
	if len(e.Columns) == 0 || len(e.Columns) != len(e.ParentColumns) {
		return fmt.Errorf("%d columns for %d: %w", len(e.Columns), len(e.ParentColumns), drivers.ErrInvalid)
	}
	if err := t.have(e.Columns); err != nil {
		return err
	}
	parent := m.Table(e.Parent)
	if parent == nil {
		return fmt.Errorf("table %s: %w", e.Parent, drivers.ErrNotFound)
	}
	if err := parent.have(e.ParentColumns); err != nil {
		return fmt.Errorf("table %s: %w", e.Parent, err)
	}
	if e.When != nil {
		return t.have([]string{e.When.Column})
	}
	return nil
}

// has tells whether all columns are there.
func (t *Table) has(columns []string) bool { return !slices.Contains(t.Indexes(columns), -1) }

func (t *Table) have(columns []string) error {
	for _, name := range columns {
		if t.Index(name) < 0 {
			return fmt.Errorf("column %q: %w", name, drivers.ErrNotFound)
		}
	}
	return nil
}

// Index returns a column's place in the table and in its rows; -1 where there is no such column.
func (t *Table) Index(column string) int {
	return slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == column })
}

// Indexes are the places of several columns, which must be there.
func (t *Table) Indexes(columns []string) []int {
	list := make([]int, len(columns))
	for i, c := range columns {
		list[i] = t.Index(c)
	}
	return list
}

// identifies tells whether a key's values name at most one row.
func (k *Key) identifies() bool {
	return k.Condition == "" && !k.Expression && !k.Exclusion && !k.Ambiguous
}

// Identity returns the key by which rows are told apart: the primary key, or else the first unique one that is never NULL. Nil
// tells that there is none: then a row is known by all that it holds.
func (t *Table) Identity() *Key {
	if t.Primary != nil && t.Primary.identifies() {
		return t.Primary
	}
	for i := range t.Unique {
		k := &t.Unique[i]
		if k.identifies() && !slices.ContainsFunc(k.Columns, func(c string) bool { return t.Columns[t.Index(c)].Nullable }) {
			return k
		}
	}
	return nil
}
