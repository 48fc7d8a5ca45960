package postgres

import (
	"bytes"
	"strings"
	"testing"

	"salvor/drivers"
)

// TestExtensionReferences restores tables of an extension that refer to each other, whose foreign keys are there before the
// rows, in an order that no reference allows.
func TestExtensionReferences(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	// Only an extension's own script can make such tables; what it would make in the target is made there by hand.
	const tables = `CREATE TABLE node (id int PRIMARY KEY);
		CREATE TABLE edge (id int PRIMARY KEY, n int REFERENCES node, up int REFERENCES edge, note text);
		CREATE TABLE attribute (e int REFERENCES edge);
		ALTER EXTENSION hstore ADD TABLE node; ALTER EXTENSION hstore ADD TABLE edge; ALTER EXTENSION hstore ADD TABLE attribute;
		UPDATE pg_extension SET extconfig = ARRAY['node'::regclass, 'edge'::regclass, 'attribute'::regclass]::oid[], extcondition = ARRAY['', '', ''] WHERE extname = 'hstore'`
	s.Exec(db, "CREATE EXTENSION hstore; "+tables+`; INSERT INTO node SELECT generate_series(1, 100);
		INSERT INTO edge SELECT i, 1 + i % 100, 1001 - i, repeat(md5(i::text), 8) FROM generate_series(1, 1000) i; INSERT INTO attribute SELECT generate_series(1, 1000)`)
	d := dumpDatabase(t, s.URL(db), `{"chunk": 65536}`, nil)
	name := s.NewName()
	target := openSource(t, s.URL(name), "")
	rules := d.rules()
	requireNoError(t, "prepare", target.Prepare(t.Context(), rules, d.parts))
	s.Exec(name, tables)
	edges := 0
	for _, first := range []string{"public.attribute", "public.edge", "public.node"} {
		for i, p := range d.parts {
			if !strings.HasPrefix(p.Name, first) {
				continue
			}
			if first == "public.edge" {
				edges++
			}
			attempt := drivers.Attempt{Run: rules.Run, Task: p.Name, Token: "one"}
			requireNoError(t, "load "+p.Name, target.Load(t.Context(), rules, attempt, d.parts[i], bytes.NewReader(d.content[p.Name])))
		}
	}
	if edges < 2 {
		t.Fatalf("%d parts of edges: the test shows less than it should", edges)
	}
	requireNoError(t, "finish", target.Finish(t.Context(), rules, d.parts))
	proof, err := target.Prove(t.Context(), rules, d.parts)
	if err != nil || len(proof.Differences) > 0 || proof.Rows != 2100 {
		t.Errorf("proof %v, %v", proof, err)
	}
}

// TestAnalyze looks for statistics of what holds no rows of its own: partitioned tables, and those that others inherit from.
func TestAnalyze(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, `CREATE TABLE p (a int, b int) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (50) PARTITION BY RANGE (b);
		CREATE TABLE p11 PARTITION OF p1 DEFAULT; CREATE TABLE p2 PARTITION OF p DEFAULT; INSERT INTO p SELECT i, i FROM generate_series(1, 100) i;
		CREATE TABLE parent (a int); CREATE TABLE child () INHERITS (parent); INSERT INTO child SELECT generate_series(1, 100)`)
	d := dumpDatabase(t, s.URL(db), "", nil)
	name := s.NewName()
	d.mustProve(t, s, name)
	const query = "SELECT string_agg(DISTINCT tablename || CASE WHEN inherited THEN '*' ELSE '' END, ' ' ORDER BY tablename || CASE WHEN inherited THEN '*' ELSE '' END) FROM pg_stats WHERE schemaname = 'public'"
	if got, want := s.Query(name, query), "child p* p1* p11 p2 parent*"; got != want {
		t.Errorf("statistics of %s, want %s", got, want)
	}
}
