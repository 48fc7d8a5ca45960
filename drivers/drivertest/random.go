package drivertest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"salvor/drivers/relational"
)

// randomTable is a table of a random schema, with the rows that it has in a model of it.
type randomTable struct {
	name string
	key  []string // types of the key's columns: int, text, uuid
	refs []int    // tables that it refers to by the columns r0, r1, …
	sql  string
}

// randomRow is a row: its key and its other values, as SQL.
type randomRow struct {
	key  []string
	refs [][]string // of each reference: a parent's key, or nil
	text string
}

func (r randomRow) String() string { return fmt.Sprint(r.refs, r.text) }

// random is a schema with what is in it, before and after.
type random struct {
	h         RelationalHarness
	tables    []*randomTable
	base, now []map[string]randomRow
	setup     []string
	work      []string
	declared  bool // references are foreign keys
}

// Random makes random schemas (keys of numbers, texts, UUIDs and several columns, references to themselves and in cycles) with random
// rows, and lets people work on them: what a comparison finds must be their work, exactly, and a closure of it must add
// nothing, since every row that hangs on a new one is new or changed itself. rounds is how many.
func Random(t *testing.T, h RelationalHarness, rounds int) {
	t.Helper()
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			r := rapid.Custom(func(t *rapid.T) *random { return newRandom(t, h, false) }).Example(round)
			r.check(t)
		})
	}
}

func newRandom(t *rapid.T, h RelationalHarness, declared bool) *random {
	r := &random{h: h, declared: declared}
	n := rapid.IntRange(1, 5).Draw(t, "tables")
	for i := range n {
		tab := &randomTable{
			name: fmt.Sprintf("t%d", i),
			key:  rapid.SliceOfN(rapid.SampledFrom([]string{"int", "text", "uuid"}), 1, 3).Draw(t, "key"),
			refs: rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 3).Draw(t, "refs"),
		}
		r.tables = append(r.tables, tab)
		r.base = append(r.base, map[string]randomRow{})
	}
	for _, tab := range r.tables {
		r.create(tab)
		r.setup = append(r.setup, tab.sql)
	}
	if declared && h.Enforces {
		for _, tab := range r.tables {
			for n := range tab.refs {
				r.setup = append(r.setup, fmt.Sprintf(`ALTER TABLE "%s" ADD %s`, tab.name, r.foreign(tab, n)))
			}
		}
	}
	r.now = make([]map[string]randomRow, n)
	for i := range r.now {
		r.now[i] = map[string]randomRow{}
	}
	r.change(t, rapid.IntRange(0, 40).Draw(t, "rows"), &r.setup)
	for i := range r.now {
		r.base[i] = maps.Clone(r.now[i])
	}
	r.change(t, rapid.IntRange(0, 40).Draw(t, "changes"), &r.work)
	return r
}

// create writes a table. References are declared to tables that are there already, and to itself; the others are for the
// configuration: see edges.
func (r *random) create(tab *randomTable) {
	types := map[string]string{"int": r.h.Int, "text": r.h.Key, "uuid": r.h.Key}
	var columns, key []string
	for i, k := range tab.key {
		columns = append(columns, fmt.Sprintf(`"k%d" %s NOT NULL`, i, types[k]))
		key = append(key, fmt.Sprintf(`"k%d"`, i))
	}
	for n, ref := range tab.refs {
		for i, k := range r.tables[ref].key {
			columns = append(columns, fmt.Sprintf(`"r%d_%d" %s`, n, i, types[k]))
		}
	}
	constraints := []string{`PRIMARY KEY (` + strings.Join(key, ", ") + `)`}
	for n := range tab.refs {
		if r.declared && !r.h.Enforces { // where a table may refer to one that is not there yet
			constraints = append(constraints, r.foreign(tab, n))
		}
	}
	tab.sql = `CREATE TABLE "` + tab.name + `" (` + strings.Join(columns, ", ") + `, "v" ` + r.h.Text + `, ` + strings.Join(constraints, ", ") + `)`
}

// foreign declares a reference.
func (r *random) foreign(tab *randomTable, n int) string {
	parent := r.tables[tab.refs[n]]
	var columns, parents []string
	for i := range parent.key {
		columns, parents = append(columns, fmt.Sprintf(`"r%d_%d"`, n, i)), append(parents, fmt.Sprintf(`"k%d"`, i))
	}
	return `FOREIGN KEY (` + strings.Join(columns, ", ") + `) REFERENCES "` + parent.name + `" (` + strings.Join(parents, ", ") + `)`
}

// edges are the references, which no constraint holds: rows come and go in any order, but none ever refers to one that is not there.
func (r *random) edges() map[relational.Name][]relational.Edge {
	all := make(map[relational.Name][]relational.Edge)
	if r.declared {
		return all
	}
	for _, tab := range r.tables {
		name := relational.Name{Schema: r.h.Schema, Name: tab.name}
		for n, ref := range tab.refs {
			parent := r.tables[ref]
			e := relational.Edge{Name: fmt.Sprintf("%s_r%d", tab.name, n), Kind: relational.EdgeColumn, Parent: relational.Name{Schema: r.h.Schema, Name: parent.name}}
			for i := range parent.key {
				e.Columns = append(e.Columns, fmt.Sprintf("r%d_%d", n, i))
				e.ParentColumns = append(e.ParentColumns, fmt.Sprintf("k%d", i))
			}
			all[name] = append(all[name], e)
		}
	}
	return all
}

func (r *random) newKey(t *rapid.T, tab *randomTable) []string {
	var key []string
	for _, k := range tab.key {
		switch k {
		case "int":
			key = append(key, fmt.Sprint(rapid.Int64Range(-20, 20).Draw(t, "int")))
		case "text":
			key = append(key, "'"+rapid.SampledFrom([]string{"", "a", "b", "ab", "é", "zz", "''", "x-1"}).Draw(t, "text")+"'")
		default:
			key = append(key, fmt.Sprintf("'%08x-0000-4000-8000-000000000000'", rapid.Uint32Range(0, 9).Draw(t, "uuid")*0x1fffffff))
		}
	}
	return key
}

// change lets people work: they insert, update, and delete what nothing refers to.
func (r *random) change(t *rapid.T, steps int, out *[]string) {
	for range steps {
		i := rapid.IntRange(0, len(r.tables)-1).Draw(t, "table")
		tab, rows := r.tables[i], r.now[i]
		keys := slices.Sorted(maps.Keys(rows))
		action := rapid.IntRange(0, 3).Draw(t, "action")
		switch {
		case action < 2 || len(keys) == 0:
			row := r.newRow(t, tab, r.newKey(t, tab))
			if _, taken := rows[strings.Join(row.key, ",")]; taken {
				continue
			}
			rows[strings.Join(row.key, ",")] = row
			*out = append(*out, `INSERT INTO "`+tab.name+`" VALUES (`+strings.Join(r.values(tab, row), ", ")+`)`)
		case action == 2:
			row := rows[rapid.SampledFrom(keys).Draw(t, "row")]
			changed := r.newRow(t, tab, row.key)
			rows[strings.Join(row.key, ",")] = changed
			values := r.values(tab, changed)[len(tab.key):]
			var set []string
			for n, c := range r.columns(tab)[len(tab.key):] {
				set = append(set, c+" = "+values[n])
			}
			*out = append(*out, `UPDATE "`+tab.name+`" SET `+strings.Join(set, ", ")+` WHERE `+where(row.key))
		default:
			row := rows[rapid.SampledFrom(keys).Draw(t, "row")]
			if r.isReferred(i, row.key) {
				continue
			}
			delete(rows, strings.Join(row.key, ","))
			*out = append(*out, `DELETE FROM "`+tab.name+`" WHERE `+where(row.key))
		}
	}
}

func where(key []string) string {
	var list []string
	for i, k := range key {
		list = append(list, fmt.Sprintf(`"k%d" = %s`, i, k))
	}
	return strings.Join(list, " AND ")
}

func (r *random) newRow(t *rapid.T, tab *randomTable, key []string) randomRow {
	row := randomRow{key: key, text: rapid.SampledFrom([]string{"NULL", "''", "'0'", "'x'", "'y'"}).Draw(t, "v")}
	for _, ref := range tab.refs {
		parents := slices.Sorted(maps.Keys(r.now[ref]))
		if len(parents) == 0 || rapid.IntRange(0, 3).Draw(t, "null") == 0 {
			row.refs = append(row.refs, nil)
			continue
		}
		row.refs = append(row.refs, r.now[ref][rapid.SampledFrom(parents).Draw(t, "parent")].key)
	}
	return row
}

func (r *random) columns(tab *randomTable) []string {
	var list []string
	for i := range tab.key {
		list = append(list, fmt.Sprintf(`"k%d"`, i))
	}
	for n, ref := range tab.refs {
		for i := range r.tables[ref].key {
			list = append(list, fmt.Sprintf(`"r%d_%d"`, n, i))
		}
	}
	return append(list, `"v"`)
}

func (r *random) values(tab *randomTable, row randomRow) []string {
	list := slices.Clone(row.key)
	for n, ref := range tab.refs {
		if row.refs[n] != nil {
			list = append(list, row.refs[n]...)
			continue
		}
		for range r.tables[ref].key {
			list = append(list, "NULL")
		}
	}
	return append(list, row.text)
}

// isReferred tells whether a row is another's parent; its own does not count, unless the database would mind (InnoDB does).
func (r *random) isReferred(table int, key []string) bool {
	for i, tab := range r.tables {
		for n, ref := range tab.refs {
			if ref != table {
				continue
			}
			for _, row := range r.now[i] {
				if slices.Equal(row.refs[n], key) && (r.declared || i != table || !slices.Equal(row.key, key)) {
					return true
				}
			}
		}
	}
	return false
}

// check compares what is found with what was done.
func (r *random) check(t *testing.T) {
	liveSource, live := r.h.New(t)
	live(slices.Concat(r.setup, r.work)...)
	baseSource, base := r.h.New(t)
	base(r.setup...)
	liveView, baseView := observe(t, r.h, liveSource), observe(t, r.h, baseSource)
	m, err := liveView.Model(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	baseModel, err := baseView.Model(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closure, err := relational.NewClosure(&relational.ClosureConfig{
		Live: liveView, Base: baseView, Model: m, BaseModel: baseModel, Edges: r.edges(), Scratch: t.TempDir(), Memory: 100,
		Missing: func(missing *relational.Missing) error {
			t.Errorf("a row of %s refers to nothing by %s", missing.Table.Name, missing.Edge.Name)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closure.Close(); err != nil {
			t.Error(err)
		}
	}()
	var got, want []string
	for i, tab := range r.tables {
		table := tableOf(t, liveView, tab.name)
		c := relational.Comparison{Live: liveView, Base: baseView, Table: table, Other: baseModel.Table(table.Name), Scratch: t.TempDir(), Memory: 100}
		_, err := c.Run(t.Context(), func(f *relational.Found) error {
			values := f.Live
			if values == nil {
				values = f.Base
			}
			var key []string
			for k, kind := range tab.key {
				text := string(values[k].Text)
				if kind != "int" {
					text = "'" + strings.ReplaceAll(text, "'", "''") + "'"
				}
				key = append(key, text)
			}
			got = append(got, string(f.Op)+" "+tab.name+" "+strings.Join(key, ","))
			return closure.Seed(t.Context(), table, f)
		})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, r.done(i)...)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
		t.Errorf("captured is not the work (-want +got):\n%s\n%s", diff, strings.Join(slices.Concat(r.setup, r.work), ";\n"))
	}
	err = closure.Run(t.Context(), func(a *relational.Added) error {
		t.Errorf("a closure adds a row of %s as %s by %s", a.Table.Name, a.Op, a.Via)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// done is the work on a table.
func (r *random) done(i int) (list []string) {
	for key, row := range r.now[i] {
		before, there := r.base[i][key]
		switch {
		case !there:
			list = append(list, "c "+r.tables[i].name+" "+key)
		case before.String() != row.String():
			list = append(list, "m "+r.tables[i].name+" "+key)
		}
	}
	for key := range r.base[i] {
		if _, there := r.now[i][key]; !there {
			list = append(list, "d "+r.tables[i].name+" "+key)
		}
	}
	return list
}
