package drivertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers/relational"
)

// closing is a database before and after people worked, of which rows are found by their times alone and closed.
type closing struct {
	t       *testing.T
	h       RelationalHarness
	base    []string
	work    []string
	edges   map[string][]relational.Edge // by the child's name
	meaning map[string][]string          // by the table's
	noDump  bool
	// baseOnly is what the dump has instead of base; declare adds what the configuration and Django's tables tell.
	baseOnly []string
	declare  func(relational.View, *relational.ClosureConfig)
	diff     bool // rows are found by comparison
	budget   int64
	memory   int64
	missing  func(*relational.Missing) error
}

// Close holds a driver to what a rescue adds to the rows that were found.
func Close(t *testing.T, h RelationalHarness) {
	t.Helper()
	runAll(t, h, closeTests())
}

func closeTests() []named {
	return []named{
		{"Chain", closeChain},
		{"NewParent", closeNewParent},
		{"NoDump", closeNoDump},
		{"SelfTree", closeSelfTree},
		{"TwoSelfKeys", closeTwoSelf},
		{"OverlappingCycles", closeCycles},
		{"PartlyNull", closePartlyNull},
		{"NotPrimary", closeUnique},
		{"Orphan", closeOrphan},
		{"Hub", closeHub},
		{"GenericKeys", closeGeneric},
		{"PlainColumn", closeColumn},
		{"ArrayAndPath", closePath},
		{"Inheritance", closeInheritance},
		{"NoKey", closeNoKey},
		{"NumberedDifferently", closeNumbered},
		{"Budget", closeBudget},
		{"Spilled", closeSpilled},
		{"ContentTypes", closeContentTypes},
		{"UnbreakableCycle", closeUnbreakable},
		{"AcrossSchemas", closeSchemas},
	}
}

// run returns what was found and added: "x t3 5 via t3_fk" without the names of edges.
func (c closing) run() ([]string, error) {
	t := c.t
	t.Helper()
	liveSource, live := c.h.New(t)
	live(c.base...)
	if len(c.work) > 0 {
		live(c.work...)
	}
	view := observe(t, c.h, liveSource)
	m, err := view.Model(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config := &relational.ClosureConfig{
		Live: view, Model: m, Edges: map[relational.Name][]relational.Edge{}, Scratch: t.TempDir(), Memory: 1 << 20, Budget: c.budget, Missing: c.missing,
	}
	if c.memory > 0 {
		config.Memory = c.memory
	}
	for child, edges := range c.edges {
		for i := range edges {
			edges[i].Parent.Schema = c.h.Schema
		}
		config.Edges[relational.Name{Schema: c.h.Schema, Name: child}] = edges
	}
	for name, columns := range c.meaning {
		config.Meaning = map[relational.Name][]string{{Schema: c.h.Schema, Name: name}: columns}
	}
	if !c.noDump {
		baseSource, base := c.h.New(t)
		if c.baseOnly != nil {
			c.base = c.baseOnly
		}
		base(c.base...)
		config.Base = observe(t, c.h, baseSource)
		if config.BaseModel, err = config.Base.Model(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if c.declare != nil {
		c.declare(view, config)
	}
	closure, err := relational.NewClosure(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closure.Close(); err != nil {
			t.Error(err)
		}
	}()
	var list []string
	for _, table := range m.Tables {
		detectors, err := table.Detect(relational.Detectors{})
		if err != nil {
			t.Fatal(err)
		}
		comparison := relational.Comparison{Live: view, Table: table, Detectors: detectors, Since: dumpMoment(), Scratch: config.Scratch, Memory: config.Memory}
		if c.diff {
			comparison.Base, comparison.Other = config.Base, config.BaseModel.Table(table.Name)
		}
		_, err = comparison.Run(t.Context(), func(f *relational.Found) error {
			values := f.Live
			if values == nil {
				values = f.Base
			}
			list = append(list, fmt.Sprintf("%s:%s %s", f.Op, table.Name.Name, values[0].Text))
			return closure.Seed(t.Context(), table, f)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err = closure.Run(t.Context(), func(a *relational.Added) error {
		via := a.Reached()
		if via.Edge == "" || via.From != a.FromTable.Name.String() || via.Depth < 1 || len(a.Key) == 0 {
			t.Errorf("a row of %s that is added for no reason: %+v", a.Table.Name, via)
		}
		if key := a.FromTable.Identity(); key != nil && (len(via.PK) != len(key.Columns) || !strings.Contains(string(via.PK[0]), string(a.From[a.FromTable.Index(key.Columns[0])].Text))) {
			t.Errorf("a row of %s is reached from %s %s", a.Table.Name, via.From, via.PK)
		}
		list = append(list, fmt.Sprintf("%s:%s %s", a.Op, a.Table.Name.Name, a.Row.Values[0].Text))
		return nil
	})
	slices.Sort(list)
	return list, err
}

func (c closing) want(want ...string) {
	c.t.Helper()
	got, err := c.run()
	if err != nil {
		c.t.Fatal(err)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
		c.t.Errorf("captured (-want +got):\n%s", diff)
	}
}

// node is a table of a number, a time where it has one, and references to other tables by number.
func (h RelationalHarness) node(name string, created bool, refs ...string) string {
	columns := []string{`"id" ` + h.Int + ` PRIMARY KEY`}
	if created {
		columns = append(columns, `"created" `+h.Moment)
	}
	var keys []string
	for _, r := range refs {
		column, parent, _ := strings.Cut(r, ">")
		columns = append(columns, `"`+column+`" `+h.Int)
		keys = append(keys, `FOREIGN KEY ("`+column+`") REFERENCES "`+parent+`" ("id")`)
	}
	return `CREATE TABLE "` + name + `" (` + strings.Join(append(columns, keys...), ", ") + `)`
}

func closeChain(t *testing.T, h RelationalHarness) {
	const n = 12
	base, work := []string{h.node("t00", true)}, []string{`INSERT INTO "t00" VALUES (1, ` + now + `)`}
	want := []string{"c:t00 1"}
	for i := 1; i < n; i++ {
		base = append(base, h.node(fmt.Sprintf("t%02d", i), false, fmt.Sprintf("up>t%02d", i-1)))
		work = append(work, fmt.Sprintf(`INSERT INTO "t%02d" VALUES (1, 1)`, i))
		want = append(want, fmt.Sprintf("x:t%02d 1", i))
	}
	closing{t: t, h: h, base: base, work: work}.want(want...)
}

func closeNewParent(t *testing.T, h RelationalHarness) {
	base := []string{h.node("grand", false), h.node("parent", false, "up>grand"), h.node("child", true, "up>parent"), `INSERT INTO "grand" VALUES (1)`, `INSERT INTO "parent" VALUES (1, 1)`}
	work := []string{`INSERT INTO "grand" VALUES (2)`, `INSERT INTO "parent" VALUES (2, 2), (3, 2)`, `INSERT INTO "child" VALUES (1, ` + now + `, 2), (2, ` + now + `, 1)`}
	closing{t: t, h: h, base: base, work: work}.want("c:child 1", "c:child 2", "s:parent 2", "s:grand 2")
	closing{t: t, h: h, base: base, work: work, diff: true}.want("c:child 1", "c:child 2", "c:parent 2", "c:parent 3", "c:grand 2")
}

// closeNoDump: without the dump nobody knows what it has, so every parent is taken.
func closeNoDump(t *testing.T, h RelationalHarness) {
	base := []string{h.node("grand", false), h.node("parent", false, "up>grand"), h.node("child", true, "up>parent"), `INSERT INTO "grand" VALUES (1), (2)`, `INSERT INTO "parent" VALUES (1, 1), (2, 2)`}
	closing{t: t, h: h, base: base, work: []string{`INSERT INTO "child" VALUES (1, ` + now + `, 1)`}, noDump: true}.want("c:child 1", "s:parent 1", "s:grand 1")
}

func closeSelfTree(t *testing.T, h RelationalHarness) {
	const index = `CREATE INDEX "tree_up" ON "tree" ("up")`
	base := []string{h.node("tree", true, "up>tree"), index, h.node("leaf", false, "tree>tree")}
	work := []string{`INSERT INTO "tree" VALUES (0, ` + now + `, 0)`}
	want := []string{"c:tree 0"}
	var rows []string
	for i := 1; i < h.Deep; i++ {
		rows = append(rows, fmt.Sprintf("(%d, %s, %d)", i, old, i-1))
		want = append(want, fmt.Sprintf("x:tree %d", i))
	}
	work = append(work, `INSERT INTO "tree" VALUES `+strings.Join(rows, ", "), fmt.Sprintf(`INSERT INTO "leaf" VALUES (1, %d)`, h.Deep-1))
	closing{t: t, h: h, base: base, work: work}.want(append(want, "x:leaf 1")...)
	// And from the leaf up.
	base = []string{h.node("tree", false, "up>tree"), h.node("leaf", true, "tree>tree")}
	rows, want = []string{"(0, 0)"}, []string{"c:leaf 1", "s:tree 0"}
	for i := 1; i < h.Deep; i++ {
		rows = append(rows, fmt.Sprintf("(%d, %d)", i, i-1))
		want = append(want, fmt.Sprintf("s:tree %d", i))
	}
	work = []string{`INSERT INTO "tree" VALUES ` + strings.Join(rows, ", "), fmt.Sprintf(`INSERT INTO "leaf" VALUES (1, %s, %d)`, now, h.Deep-1)}
	closing{t: t, h: h, base: base, work: work}.want(want...)
}

func closeTwoSelf(t *testing.T, h RelationalHarness) {
	base := []string{h.node("t", true, "parent>t", "root>t"), `INSERT INTO "t" VALUES (1, ` + old + `, NULL, 1)`}
	work := []string{`INSERT INTO "t" VALUES (2, ` + now + `, 1, 1), (3, ` + old + `, 2, 1), (4, ` + old + `, 1, 2), (5, ` + old + `, 1, 1)`}
	closing{t: t, h: h, base: base, work: work}.want("c:t 2", "x:t 3", "x:t 4")
}

// closeCycles: a and b refer to each other, and so do b and c; each is followed once.
func closeCycles(t *testing.T, h RelationalHarness) {
	base := []string{
		h.node("b0", false), `CREATE TABLE "b" ("id" ` + h.Int + ` PRIMARY KEY, "a" ` + h.Int + `, "c" ` + h.Int + `)`,
		h.node("a", true, "b>b"), h.node("c", false, "b>b"),
	}
	edges := map[string][]relational.Edge{"b": {
		{Name: "b_a", Kind: relational.EdgeColumn, Columns: []string{"a"}, Parent: relational.Name{Name: "a"}, ParentColumns: []string{"id"}},
		{Name: "b_c", Kind: relational.EdgeColumn, Columns: []string{"c"}, Parent: relational.Name{Name: "c"}, ParentColumns: []string{"id"}},
	}}
	work := []string{`INSERT INTO "b" VALUES (1, 1, 1), (2, 1, NULL), (3, 2, NULL)`, `INSERT INTO "a" VALUES (1, ` + now + `, 1), (2, ` + old + `, 2)`, `INSERT INTO "c" VALUES (1, 1), (2, 2)`}
	// Down from a 1 to b 1 and b 2, from b 1 to c 1, from b 2 to c 2 and a 2, from a 2 to b 3.
	closing{t: t, h: h, base: base, work: work, edges: edges}.want("c:a 1", "x:b 1", "x:b 2", "x:b 3", "x:c 1", "x:c 2", "x:a 2")
}

func closePartlyNull(t *testing.T, h RelationalHarness) {
	base := []string{
		`CREATE TABLE "p" ("a" ` + h.Int + ` NOT NULL, "b" ` + h.Int + ` NOT NULL, PRIMARY KEY ("a", "b"))`,
		`CREATE TABLE "c" ("id" ` + h.Int + ` PRIMARY KEY, "created" ` + h.Moment + `, "a" ` + h.Int + `, "b" ` + h.Int + `, FOREIGN KEY ("a", "b") REFERENCES "p" ("a", "b"))`,
	}
	work := []string{`INSERT INTO "p" VALUES (1, 1), (1, 2), (2, 1)`, `INSERT INTO "c" VALUES (1, ` + now + `, 1, 1), (2, ` + now + `, 2, NULL), (3, ` + now + `, NULL, NULL)`}
	closing{t: t, h: h, base: base, work: work}.want("c:c 1", "c:c 2", "c:c 3", "s:p 1")
}

func closeUnique(t *testing.T, h RelationalHarness) {
	base := []string{
		`CREATE TABLE "p" ("id" ` + h.Int + ` PRIMARY KEY, "created" ` + h.Moment + `, "code" ` + h.Text + ` NOT NULL, UNIQUE ("code"))`,
		`CREATE TABLE "c" ("id" ` + h.Int + ` PRIMARY KEY, "code" ` + h.Text + `, FOREIGN KEY ("code") REFERENCES "p" ("code"))`,
	}
	work := []string{`INSERT INTO "p" VALUES (1, ` + now + `, 'x')`, `INSERT INTO "c" VALUES (7, 'x'), (8, NULL)`}
	closing{t: t, h: h, base: base, work: work}.want("c:p 1", "x:c 7")
}

func closeOrphan(t *testing.T, h RelationalHarness) {
	base := []string{h.node("p", false), `CREATE TABLE "c" ("id" ` + h.Int + ` PRIMARY KEY, "created" ` + h.Moment + `, "up" ` + h.Int + `)`}
	edges := func() map[string][]relational.Edge {
		return map[string][]relational.Edge{"c": {{Name: "c_up", Kind: relational.EdgeColumn, Columns: []string{"up"}, Parent: relational.Name{Name: "p"}, ParentColumns: []string{"id"}}}}
	}
	work := []string{`INSERT INTO "p" VALUES (1)`, `INSERT INTO "c" VALUES (1, ` + now + `, 1), (2, ` + now + `, 99)`}
	var told []string
	closing{t: t, h: h, base: base, work: work, edges: edges(), missing: func(m *relational.Missing) error {
		told = append(told, fmt.Sprintf("%s %s %s", m.Edge.Name, m.Values[0].Text, m.Wanted[0].Text))
		return nil
	}}.want("c:c 1", "c:c 2", "s:p 1")
	if diff := cmp.Diff([]string{"c_up 2 99"}, told); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if _, err := (closing{t: t, h: h, base: base, work: work, edges: edges(), missing: func(*relational.Missing) error { return errOrphan }}).run(); !errors.Is(err, errOrphan) {
		t.Errorf("a row that refers to nothing: %v", err)
	}
}

var errOrphan = errors.New("orphan")

func closeHub(t *testing.T, h RelationalHarness) {
	base := []string{h.node("hub", false), h.node("c", true, "hub>hub"), `INSERT INTO "hub" VALUES (1)`}
	var rows []string
	for i := range 1000 {
		rows = append(rows, fmt.Sprintf("(%d, %s, 1)", i, old))
	}
	base = append(base, `INSERT INTO "c" VALUES `+strings.Join(rows, ", "))
	work := []string{`INSERT INTO "c" VALUES (5000, ` + now + `, 1)`}
	closing{t: t, h: h, base: base, work: work}.want("c:c 5000")
	// Even where nobody knows that the dump has it.
	closing{t: t, h: h, base: base, work: work, noDump: true}.want("c:c 5000", "s:hub 1")
}

// closeGeneric: a tag hangs on rows of two tables, whose keys it has as texts, beside the number of the table's content type.
func closeGeneric(t *testing.T, h RelationalHarness) {
	base := []string{
		h.node("post", true), h.node("photo", true),
		`CREATE TABLE "tag" ("id" ` + h.Int + ` PRIMARY KEY, "type" ` + h.Int + `, "object" ` + h.Text + `)`,
		`INSERT INTO "post" VALUES (1, ` + old + `)`, `INSERT INTO "tag" VALUES (1, 10, '1')`,
	}
	edge := func(name, typ string) relational.Edge {
		return relational.Edge{
			Name: "tag_" + name, Kind: relational.EdgeGeneric, Columns: []string{"object"}, Parent: relational.Name{Name: name}, ParentColumns: []string{"id"},
			When: &relational.Match{Column: "type", Value: typ},
		}
	}
	work := []string{
		`INSERT INTO "post" VALUES (2, ` + now + `)`, `INSERT INTO "photo" VALUES (2, ` + old + `), (1, ` + now + `)`,
		`INSERT INTO "tag" VALUES (2, 10, '2'), (3, 11, '2'), (4, 11, '1'), (5, 12, '2'), (6, 10, 'none')`,
	}
	closing{t: t, h: h, base: base, work: work, edges: map[string][]relational.Edge{"tag": {edge("post", "10"), edge("photo", "11")}}}.
		want("c:post 2", "c:photo 1", "x:tag 2", "x:tag 4")
}

func closeColumn(t *testing.T, h RelationalHarness) {
	base := []string{h.node("p", false), `CREATE TABLE "c" ("id" ` + h.Int + ` PRIMARY KEY, "created" ` + h.Moment + `, "p_id" ` + h.Text + `)`}
	edges := map[string][]relational.Edge{"c": {{Name: "c_p", Kind: relational.EdgeColumn, Columns: []string{"p_id"}, Parent: relational.Name{Name: "p"}, ParentColumns: []string{"id"}}}}
	closing{t: t, h: h, base: base, work: []string{`INSERT INTO "p" VALUES (5)`, `INSERT INTO "c" VALUES (1, ` + now + `, '5'), (2, ` + now + `, 'five'), (3, ` + now + `, '99999999999999999999')`}, edges: edges}.
		want("c:c 1", "c:c 2", "c:c 3", "s:p 5")
}

func closePath(t *testing.T, h RelationalHarness) {
	base := []string{h.node("p", false), `CREATE TABLE "c" ("id" ` + h.Int + ` PRIMARY KEY, "created" ` + h.Moment + `, "doc" ` + h.Text + `, "list" ` + h.Text + `)`}
	edges := map[string][]relational.Edge{"c": {
		{Name: "c_doc", Kind: relational.EdgePath, Columns: []string{"doc"}, Path: []string{"items", "*", "p"}, Parent: relational.Name{Name: "p"}, ParentColumns: []string{"id"}},
		{Name: "c_list", Kind: relational.EdgeArray, Columns: []string{"list"}, Parent: relational.Name{Name: "p"}, ParentColumns: []string{"id"}},
	}}
	work := []string{
		`INSERT INTO "p" VALUES (1), (2), (3), (4), (5), (6)`,
		`INSERT INTO "c" VALUES (1, ` + now + `, '{"items": [{"p": 1}, {"p": "2"}, {"q": 3}, {"p": null}]}', '{4,NULL,"5"}'), (2, ` + now + `, 'not json', '[6]')`,
	}
	closing{t: t, h: h, base: base, work: work, edges: edges}.want("c:c 1", "c:c 2", "s:p 1", "s:p 2", "s:p 4", "s:p 5", "s:p 6")
}

func closeInheritance(t *testing.T, h RelationalHarness) {
	level := func(name, parent string) string {
		return `CREATE TABLE "` + name + `" ("ptr" ` + h.Int + ` PRIMARY KEY, FOREIGN KEY ("ptr") REFERENCES "` + parent + `")`
	}
	base := []string{h.node("place", true), strings.Replace(level("restaurant", "place"), `"place")`, `"place" ("id"))`, 1), strings.Replace(level("pizzeria", "restaurant"), `"restaurant")`, `"restaurant" ("ptr"))`, 1)}
	work := []string{`INSERT INTO "place" VALUES (1, ` + now + `), (2, ` + old + `)`, `INSERT INTO "restaurant" VALUES (1), (2)`, `INSERT INTO "pizzeria" VALUES (1), (2)`}
	closing{t: t, h: h, base: base, work: work}.want("c:place 1", "x:restaurant 1", "x:pizzeria 1")
}

// closeNoKey: rows without a key are as many as there are, and what a comparison has found is not found again.
func closeNoKey(t *testing.T, h RelationalHarness) {
	base := []string{
		h.node("p", true), `CREATE TABLE "link" ("p" ` + h.Int + `, "v" ` + h.Text + `, FOREIGN KEY ("p") REFERENCES "p" ("id"))`,
		`CREATE TABLE "made" ("n" ` + h.Int + `, ` + h.Generated + `, FOREIGN KEY ("n") REFERENCES "p" ("id"))`,
	}
	work := []string{
		`INSERT INTO "p" VALUES (1, ` + now + `), (2, ` + now + `)`, `INSERT INTO "link" VALUES (1, 'a'), (1, 'b'), (1, 'a'), (2, 'a'), (NULL, 'c')`,
		`INSERT INTO "made" ("n") VALUES (1), (1)`,
	}
	closing{t: t, h: h, base: base, work: work}.want("c:p 1", "c:p 2", "x:link 1", "x:link 1", "x:link 1", "x:link 2", "x:made 1", "x:made 1")
	closing{t: t, h: h, base: base, work: work, diff: true}.want("c:p 1", "c:p 2", "c:link 1", "c:link 1", "c:link 1", "c:link 2", "c:link ", "c:made 1", "c:made 1")
}

// closeNumbered: the dump has content types of the same numbers, one of which means something else there.
func closeNumbered(t *testing.T, h RelationalHarness) {
	base := []string{
		`CREATE TABLE "content_type" ("id" ` + h.Int + ` PRIMARY KEY, "app_label" ` + h.Text + `, "model" ` + h.Text + `)`,
		h.node("post", true), h.node("photo", true),
		`CREATE TABLE "tag" ("id" ` + h.Int + ` PRIMARY KEY, "created" ` + h.Moment + `, "type" ` + h.Int + `, "object" ` + h.Text + `, FOREIGN KEY ("type") REFERENCES "content_type" ("id"))`,
		`INSERT INTO "content_type" VALUES (1, 'blog', 'post'), (2, 'blog', 'video')`,
	}
	edge := func(name, typ string) relational.Edge {
		return relational.Edge{
			Name: "tag_" + name, Kind: relational.EdgeGeneric, Columns: []string{"object"}, Parent: relational.Name{Name: name}, ParentColumns: []string{"id"},
			When: &relational.Match{Column: "type", Value: typ},
		}
	}
	edges := func() map[string][]relational.Edge {
		return map[string][]relational.Edge{"tag": {edge("post", "1"), edge("photo", "2")}}
	}
	work := []string{
		`UPDATE "content_type" SET "model" = 'photo' WHERE "id" = 2`, `INSERT INTO "post" VALUES (7, ` + old + `)`, `INSERT INTO "photo" VALUES (7, ` + old + `)`,
		`INSERT INTO "tag" VALUES (1, ` + now + `, 1, '7'), (2, ` + now + `, 2, '7')`,
	}
	closing{t: t, h: h, base: base, work: work, edges: edges()}.want("c:tag 1", "c:tag 2", "s:post 7", "s:photo 7")
	closing{t: t, h: h, base: base, work: work, edges: edges(), meaning: map[string][]string{"content_type": {"app_label", "model"}}}.
		want("c:tag 1", "c:tag 2", "s:content_type 2", "s:post 7", "s:photo 7")
}

func closeBudget(t *testing.T, h RelationalHarness) {
	base := []string{h.node("p", true), h.node("c", false, "up>p")}
	work := []string{`INSERT INTO "p" VALUES (1, ` + now + `)`, `INSERT INTO "c" VALUES (1, 1), (2, 1), (3, 1)`}
	closing{t: t, h: h, base: base, work: work, budget: 3}.want("c:p 1", "x:c 1", "x:c 2", "x:c 3")
	if _, err := (closing{t: t, h: h, base: base, work: work, budget: 2}).run(); err == nil || !strings.Contains(err.Error(), "down to table") {
		t.Errorf("a budget that is used up: %v", err)
	}
}

func closeSpilled(t *testing.T, h RelationalHarness) {
	base := []string{h.node("p", true), h.node("c", false, "up>p")}
	var parents, children, want []string
	for i := range 300 {
		parents = append(parents, fmt.Sprintf("(%d, %s)", i, now))
		children = append(children, fmt.Sprintf("(%d, %d)", i, i))
		want = append(want, fmt.Sprintf("c:p %d", i), fmt.Sprintf("x:c %d", i))
	}
	work := []string{`INSERT INTO "p" VALUES ` + strings.Join(parents, ", "), `INSERT INTO "c" VALUES ` + strings.Join(children, ", ")}
	closing{t: t, h: h, base: base, work: work, memory: 1}.want(want...)
}
