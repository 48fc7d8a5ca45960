package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/internal/secret"
)

// RelationalHarness says how a driver's databases are made for the suite. Statements are of standard SQL, with names in double
// quotes; what engines write each in their own way is in the harness.
type RelationalHarness struct {
	Kind drivers.Kind
	// New makes an empty database and returns its source, and what runs statements in it.
	New func(t *testing.T) (source string, exec func(statements ...string))
	// Keys are types of columns with literals in the order of the database, no two of them equal to it: for each a table is
	// made that has one as its primary key. A type may hold several columns: "{k} integer".
	Keys []RelationalKey
	// Moment and Wall are types of columns with a moment and with a time without a zone, to the microsecond.
	Moment, Wall, Date string
	// Text, Int, Decimal, Float, Bytes, Bool are types. BytesLiteral writes bytes given in hexadecimal, True the truth.
	Text, Int, Decimal, Float, Bytes, Bool string
	BytesLiteral                           string // with %s
	// Serial is a column that numbers itself, as the primary key, and Generated one that is computed: twice n.
	Serial, Generated string
	// Schema is where the tables are, in the model's names.
	Schema string
	// OnConflict is what the engine lets a unique key say of conflicts that deletes the row that is in the way; "" where it does not.
	OnConflict string
	// Enforces tells that foreign keys hold without being asked for.
	Enforces bool
	// Key is a type of short texts that can be a key.
	Key string
	// Deep is how deep a tree of rows is that a rescue has to follow.
	Deep int
	// Session opens a session of its own on a database of New's, in which statements run one after the other, and which can hold
	// a transaction open.
	Session func(t *testing.T, source string) (exec func(statements ...string))
	// UUID is a type of UUIDs, as Django makes it here. JSON are types of documents, and whether they keep the order of keys.
	UUID string
	JSON map[string]bool
	// Digits are types of numbers, and whether 1.0 and 1.00 are two values of them.
	Digits map[string]bool
	// OtherSchema is another schema of the same database, in which New's statements may make tables; "" where there is no such.
	OtherSchema string
	// Cascade is what has foreign keys hold in a session; "" where they do.
	Cascade string
	// NoNegativeZero tells that -0 is stored as 0, or that an UPDATE from 0 to it changes nothing.
	NoNegativeZero bool
	// Trigger makes a trigger that copies what is inserted into "t" to "log": both are tables of an "id".
	Trigger []string
	// Faithful are databases that a merge has to write as they are.
	Faithful []Faithful
}

// RelationalKey is a type of keys.
type RelationalKey struct {
	Name string
	// Type is that of the column.
	Type string
	// Literals are in SQL.
	Literals []string
	// Same are literals that the database takes for equal.
	Same []string
}

// Relational holds a driver to the contract of [relational.Source].
func Relational(t *testing.T, h RelationalHarness) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, RelationalHarness)
	}{
		{"Absent", relationalAbsent},
		{"Model", relationalModel},
		{"Generated", relationalGenerated},
		{"Keys", relationalKeys},
		{"CompositeKeys", relationalComposite},
		{"Values", relationalValues},
		{"Names", relationalNames},
		{"Snapshot", relationalSnapshot},
		{"Lookup", relationalLookup},
		{"Marks", relationalMarks},
		{"WallClock", relationalWall},
		{"Cancel", relationalCancel},
		{"End", relationalEnd},
		{"Join", relationalJoin},
		{"Memory", relationalLongRows},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, h)
		})
	}
}

// observe opens a source and a view of it, which end with the test.
func observe(t *testing.T, h RelationalHarness, source string) relational.View {
	t.Helper()
	opened, err := h.Kind.Open(t.Context(), drivers.Spec{Node: "db", Source: secret.New(source), Scratch: t.TempDir()})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	rel, ok := opened.(relational.Source)
	if !ok {
		t.Fatal("the source cannot be read by rows")
	}
	v, err := rel.Observe(t.Context())
	if err != nil {
		t.Fatalf("observe: %v", err)
	}
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() { _ = v.End(ctx) })
	return v
}

// tableOf returns a table of the view's model.
func tableOf(t *testing.T, v relational.View, name string) *relational.Table {
	t.Helper()
	m, err := v.Model(t.Context())
	if err != nil {
		t.Fatalf("model: %v", err)
	}
	if err := m.Check(); err != nil {
		t.Fatalf("model: %v", err)
	}
	table, err := m.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// all reads all rows, with memory of their own.
func all(t *testing.T, rows relational.Rows, err error) []relational.Row {
	t.Helper()
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	var list []relational.Row
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		list = append(list, relational.Row{
			Values: relational.CloneValues(row.Values), Key: bytes.Clone(row.Key), Answers: slices.Clone(row.Answers), Asked: row.Asked,
		})
	}
	if err := rows.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if err := rows.Close(); err != nil {
		t.Fatalf("close again: %v", err)
	}
	return list
}

func relationalAbsent(t *testing.T, h RelationalHarness) {
	source, _ := h.New(t)
	opened, err := h.Kind.Open(t.Context(), drivers.Spec{Node: "db", Source: secret.New(absentBeside(source))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = opened.Close() }()
	rel, ok := opened.(relational.Source)
	if !ok {
		t.Fatal("the source cannot be read by rows")
	}
	if _, err := rel.Observe(t.Context()); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("observe what is not there: %v", err)
	}
}

// absentBeside names a database that does not exist.
func absentBeside(source string) string {
	place, query, found := strings.Cut(source, "?")
	place += "_absent"
	if found {
		place += "?" + query
	}
	return place
}

func relationalModel(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	exec(
		`CREATE TABLE "parent" ("a" `+h.Int+` NOT NULL, "b" `+h.Text+` NOT NULL, "code" `+h.Text+` NOT NULL, PRIMARY KEY ("a", "b"), UNIQUE ("code"))`,
		`CREATE TABLE "child" ("id" `+h.Int+` PRIMARY KEY, "pa" `+h.Int+`, "pb" `+h.Text+`, "pcode" `+h.Text+`, "up" `+h.Int+`,
			FOREIGN KEY ("pa", "pb") REFERENCES "parent" ("a", "b") ON DELETE CASCADE, FOREIGN KEY ("pcode") REFERENCES "parent" ("code") ON DELETE SET NULL,
			FOREIGN KEY ("up") REFERENCES "child" ("id"))`,
		`CREATE TABLE "bare" ("x" `+h.Text+`)`,
		`CREATE TABLE "loose" ("x" `+h.Text+` NOT NULL, "y" `+h.Text+`, UNIQUE ("x"), UNIQUE ("y"))`,
		`CREATE VIEW "seen" AS SELECT * FROM "bare"`,
		`INSERT INTO "parent" VALUES (1, 'x', 'c1')`,
	)
	v := observe(t, h, source)
	m, err := v.Model(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	if m.Engine != h.Kind.Name || m.Version == "" {
		t.Errorf("engine %q, version %q", m.Engine, m.Version)
	}
	var names []string
	for _, table := range m.Tables {
		names = append(names, table.Name.Name)
		if table.Schema != h.Schema {
			t.Errorf("table %s: schema %q", table.Name, table.Schema)
		}
	}
	if diff := cmp.Diff([]string{"bare", "child", "loose", "parent"}, names); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	parent, child := tableOf(t, v, "parent"), tableOf(t, v, "child")
	if k := parent.Identity(); k == nil || !slices.Equal(k.Columns, []string{"a", "b"}) || len(k.Order) != 2 {
		t.Errorf("the parent is identified by %+v", k)
	}
	if len(parent.Unique) != 1 || !slices.Equal(parent.Unique[0].Columns, []string{"code"}) {
		t.Errorf("unique keys of the parent: %+v", parent.Unique)
	}
	if parent.Columns[0].Type != relational.TypeInt || parent.Columns[1].Type != relational.TypeText || parent.Columns[2].Nullable || !child.Columns[1].Nullable {
		t.Errorf("columns: %+v, %+v", parent.Columns, child.Columns)
	}
	var edges []string
	for _, e := range child.Foreign {
		edges = append(edges, fmt.Sprintf("%s → %s(%s) %s", strings.Join(e.Columns, ","), e.Parent.Name, strings.Join(e.ParentColumns, ","), e.OnDelete))
		if e.Unenforced == h.Enforces {
			t.Errorf("edge %s: unenforced is %v", e.Name, e.Unenforced)
		}
	}
	slices.Sort(edges)
	want := []string{"pa,pb → parent(a,b) cascade", "pcode → parent(code) set null", "up → child(id) no action"}
	for i, e := range edges {
		if strings.HasPrefix(e, "up ") && strings.HasSuffix(e, " restrict") {
			edges[i] = want[2] // which is the same to MySQL
		}
	}
	if diff := cmp.Diff(want, edges); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
	if k := tableOf(t, v, "bare").Identity(); k != nil {
		t.Errorf("a table without keys is identified by %+v", k)
	}
	if k := tableOf(t, v, "loose").Identity(); k == nil || !slices.Equal(k.Columns, []string{"x"}) {
		t.Errorf("a table with a unique key that is never NULL is identified by %+v", k)
	}
	g := relational.NewGraph(m, nil)
	if g.Level(child.Name) != 1 || g.Level(parent.Name) != 0 {
		t.Errorf("levels: child %d, parent %d", g.Level(child.Name), g.Level(parent.Name))
	}
}

func relationalGenerated(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	exec(
		`CREATE TABLE "g" (`+h.Serial+`, "n" `+h.Int+`, `+h.Generated+`)`,
		`INSERT INTO "g" ("n") VALUES (5), (6)`,
	)
	v := observe(t, h, source)
	table := tableOf(t, v, "g")
	if !table.Columns[0].Identity || table.Columns[1].Identity || !table.Columns[2].Generated || table.Columns[1].Generated {
		t.Errorf("columns: %+v", table.Columns)
	}
	rows, err := v.Scan(t.Context(), relational.Scan{Table: table, Key: table.Identity()})
	got := all(t, rows, err)
	if len(got) != 2 || string(got[1].Values[0].Text) != "2" || string(got[1].Values[2].Text) != "12" {
		t.Errorf("rows: %s", show(got))
	}
}

func relationalKeys(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	for i, k := range h.Keys {
		exec(fmt.Sprintf(`CREATE TABLE "k%d" ("n" %s, "k" %s NOT NULL, PRIMARY KEY ("k"))`, i, h.Int, k.Type))
		for n, literal := range k.Literals {
			// Not in their order, so that it is not that of the table.
			exec(fmt.Sprintf(`INSERT INTO "k%d" VALUES (%d, %s)`, i, (n*7+3)%len(k.Literals), k.Literals[(n*7+3)%len(k.Literals)]))
			_ = literal
		}
	}
	v := observe(t, h, source)
	for i, k := range h.Keys {
		table := tableOf(t, v, fmt.Sprintf("k%d", i))
		rows, err := v.Scan(t.Context(), relational.Scan{Table: table, Key: table.Primary})
		got := all(t, rows, err)
		if len(got) != len(k.Literals) {
			t.Errorf("%s: %d rows of %d: the literals must be of a number that 7 does not divide, and differ", k.Name, len(got), len(k.Literals))
		}
		for n, row := range got {
			if string(row.Values[0].Text) != fmt.Sprint(n) {
				t.Errorf("%s: row %d is %s", k.Name, n, show(got[n:n+1]))
			}
			if n > 0 && bytes.Compare(got[n-1].Key, row.Key) >= 0 {
				t.Errorf("%s: the key of %s does not come after that of %s: %x, %x", k.Name, k.Literals[n], k.Literals[n-1], row.Key, got[n-1].Key)
			}
		}
		if len(k.Same) == 0 {
			continue
		}
		relationalSame(t, h, k)
	}
}

// relationalSame tells whether what is one key to the database has one form.
func relationalSame(t *testing.T, h RelationalHarness, k RelationalKey) {
	t.Helper()
	var first []byte
	for n, literal := range k.Same {
		source, exec := h.New(t)
		exec(fmt.Sprintf(`CREATE TABLE "k" ("k" %s NOT NULL, PRIMARY KEY ("k"))`, k.Type), fmt.Sprintf(`INSERT INTO "k" VALUES (%s)`, literal))
		v := observe(t, h, source)
		table := tableOf(t, v, "k")
		rows, err := v.Scan(t.Context(), relational.Scan{Table: table, Key: table.Primary})
		got := all(t, rows, err)
		if n == 0 {
			first = got[0].Key
		}
		if !bytes.Equal(got[0].Key, first) {
			t.Errorf("%s: %s and %s have different keys: %x, %x", k.Name, k.Same[0], literal, first, got[0].Key)
		}
		if err := v.End(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func relationalComposite(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	exec(
		`CREATE TABLE "c" ("b" `+h.Text+` NOT NULL, "a" `+h.Text+` NOT NULL, "n" `+h.Int+`, PRIMARY KEY ("a", "b"))`,
		`INSERT INTO "c" ("a", "b", "n") VALUES ('ab', 'c', 1), ('a', 'bc', 0), ('b', '', 3), ('ab', 'd', 2)`,
	)
	v := observe(t, h, source)
	table := tableOf(t, v, "c")
	rows, err := v.Scan(t.Context(), relational.Scan{Table: table, Key: table.Primary})
	got := all(t, rows, err)
	for i, row := range got {
		if string(row.Values[2].Text) != fmt.Sprint(i) || i > 0 && bytes.Compare(got[i-1].Key, row.Key) >= 0 {
			t.Errorf("row %d of %s", i, show(got))
		}
	}
}

// show writes rows for messages.
func show(rows []relational.Row) string {
	list := make([]string, len(rows))
	for i, row := range rows {
		var values []string
		for _, v := range row.Values {
			if v.Kind == relational.Null {
				values = append(values, "NULL")
				continue
			}
			values = append(values, string(v.Text))
		}
		list[i] = strings.Join(values, " ")
	}
	return strings.Join(list, ", ")
}
