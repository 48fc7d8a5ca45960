package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"salvor/drivers"
	"salvor/drivers/drivertest"
	"salvor/drivers/relational"
	"salvor/internal/secret"
	"salvor/internal/testenv"
)

func TestRelational(t *testing.T) {
	t.Parallel()
	s := server(t, "max_connections = 200", "timezone = 'Asia/Tokyo'")
	h := drivertest.RelationalHarness{
		Kind: Kind(),
		New: func(t *testing.T) (string, func(...string)) {
			t.Helper()
			name := s.NewDatabase()
			return s.URL(name), func(statements ...string) {
				t.Helper()
				s.Exec(name, "SET timezone = 'UTC'; "+strings.Join(statements, ";\n"))
			}
		},
		Keys: []drivertest.RelationalKey{
			{Name: "bigint", Type: "bigint", Literals: []string{"-9223372036854775808", "-1", "0", "1", "9007199254740993", "9223372036854775807"}},
			{Name: "numeric", Type: "numeric", Literals: []string{"-1e40", "-1.05", "-0.001", "0", "0.5", "1.05", "1e40", "'NaN'"}, Same: []string{"1.0", "1.00", "1"}},
			{Name: "double", Type: "double precision", Literals: []string{"'-Infinity'", "-1.5", "0", "1e-300", "'Infinity'", "'NaN'"}, Same: []string{"0", "'-0'"}},
			{Name: "text", Type: "text", Literals: []string{"''", "'A'", "'B'", "'a'", "'a '", "'ab'", "'é'", "'𝄞'"}},
			{Name: "collated", Type: `text COLLATE "en-x-icu"`, Literals: []string{"'A'", "'B'", "'a'", "'b'", "'Á'"}},
			{Name: "char", Type: "char(5)", Literals: []string{"''", "'a'", "'a b'", "'b'"}, Same: []string{"'a'", "'a  '"}},
			{Name: "uuid", Type: "uuid", Literals: []string{"'00000000-0000-0000-0000-000000000000'", "'0a000000-0000-4000-8000-000000000000'", "'A0000000-0000-4000-8000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"}},
			{Name: "bytea", Type: "bytea", Literals: []string{`''`, `'\x00'`, `'\x0001'`, `'\x61'`, `'\xff'`}},
			{Name: "timestamptz", Type: "timestamptz", Literals: []string{"'-infinity'", "'4713-01-01 00:00:00+00 BC'", "'0044-03-15 12:00:00+00 BC'", "'2026-11-30 10:00:00+00'", "'2026-11-30 10:00:00.000001+00'", "'294276-12-31 23:59:59.999999+00'"}},
			{Name: "date", Type: "date", Literals: []string{"'-infinity'", "'4713-01-01 BC'", "'2026-11-30'", "'10000-01-01'", "'infinity'"}},
			{Name: "boolean", Type: "boolean", Literals: []string{"false", "true"}},
			{Name: "interval", Type: "interval", Literals: []string{"'1 day'", "'2 days'"}},
			{Name: "inet", Type: "inet", Literals: []string{"'10.0.0.1'", "'9.0.0.1'"}},
		},
		Moment: "timestamptz", Wall: "timestamp", Date: "date",
		Text: "text", Int: "bigint", Decimal: "numeric(10,2)", Float: "double precision", Bytes: "bytea", Bool: "boolean", BytesLiteral: `'\x%s'`,
		Serial: `"id" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY`, Generated: `"twice" bigint GENERATED ALWAYS AS ("n" * 2) STORED`,
		Trigger: []string{`CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log VALUES (NEW.id); RETURN NEW; END $$`, `CREATE TRIGGER copy AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION copy()`},
		Faithful: []drivertest.Faithful{
			{
				Name: "TypesOfPostgres",
				Base: []string{
					`CREATE TYPE mood AS ENUM ('sad', 'ok')`, `CREATE DOMAIN price AS numeric(10,2) CHECK (VALUE >= 0)`,
					`CREATE TABLE x (id int PRIMARY KEY, a int[], t text[], m mood, r int4range, tr tstzrange, i interval, n inet, ts timestamp, tz timestamptz, b bit(5), vb bit varying, u uuid, j json, jb jsonb, p price, money money, c char(5), xml xml, pt point, bi numeric, by bytea, tv tsvector)`,
					`INSERT INTO x (id, c) VALUES (1, 'ab'), (2, 'ab')`,
					`CREATE DOMAIN code AS char(5)`, `CREATE TABLE host (id int PRIMARY KEY, n inet, c code)`, `INSERT INTO host VALUES (1, '10.0.0.1', 'ab'), (2, '10.0.0.2', 'ab'), (3, '10.0.0.3', '')`,
				},
				Work: []string{
					`INSERT INTO x VALUES (3, '{{1,NULL},{3,4}}', '{"a,b",NULL,"NULL","q\"x"}', 'ok', '[1,5)', '[2026-01-01,)', '1 year 2 mons -3 days 04:05:06.7', '10.0.0.1/24', 'infinity', '-infinity', B'10101', B'1', '0a000000-0000-4000-8000-000000000000', '{"b": 1,  "a":2}', '{"b":1,"a":2}', 1.50, '12.34', 'a', '<a>b</a>', '(1,2)', 1e100, '\x00ff', 'a:1 b:2')`,
					`INSERT INTO x (id, a, t, ts, tz, c, j) VALUES (4, '{}', '[0:1]={x,y}', '0044-03-15 12:00:00 BC', '2026-11-30 10:00:00.000001+00', '', 'null')`,
					`UPDATE host SET n = '10.0.0.9', c = 'b' WHERE id = 1`, `DELETE FROM host WHERE id > 1`, `INSERT INTO host VALUES (4, '::1', 'x')`,
					`UPDATE x SET c = 'ab c', j = '[1, 2]', xml = '<x/>', pt = '(0,-0)' WHERE id = 1`,
				},
			},
			{
				Name: "Partitions",
				Base: []string{
					`CREATE TABLE p (id int, at date, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)`, `CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`, `CREATE TABLE p2 PARTITION OF p DEFAULT`,
					`INSERT INTO p VALUES (1, '2020-05-05', 'a'), (2, '2025-01-01', 'b')`,
				},
				Work: []string{`INSERT INTO p VALUES (3, '2020-06-06', 'c'), (4, '2030-01-01', 'd')`, `UPDATE p SET v = 'z'`, `DELETE FROM p WHERE id = 2`},
			},
			{
				Name: "PartitionsWithoutKey",
				Base: []string{`CREATE TABLE p (id int, v text) PARTITION BY RANGE (id)`, `CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)`, `CREATE TABLE p2 PARTITION OF p DEFAULT`, `INSERT INTO p VALUES (1, 'a'), (20, 'b')`},
				Work: []string{`INSERT INTO p VALUES (1, 'a'), (20, 'b'), (20, 'b')`},
			},
			{
				Name: "InheritedTables",
				Base: []string{`CREATE TABLE a (id int PRIMARY KEY, t text)`, `CREATE TABLE b (extra int, PRIMARY KEY (id)) INHERITS (a)`, `INSERT INTO a VALUES (1, 'a')`, `INSERT INTO b VALUES (1, 'b', 5)`},
				Work: []string{`UPDATE ONLY a SET t = 'changed'`, `INSERT INTO b VALUES (2, 'c', 6)`, `INSERT INTO a VALUES (2, 'x')`, `DELETE FROM b WHERE id = 1`},
			},
			{
				Name: "UniqueOfManyKinds",
				Base: []string{
					`CREATE TABLE x (id int PRIMARY KEY, d int UNIQUE DEFERRABLE INITIALLY DEFERRED, part int, live bool, low text, r int4range, EXCLUDE USING gist (r WITH &&))`,
					`CREATE UNIQUE INDEX ON x (part) WHERE live`, `CREATE UNIQUE INDEX ON x (lower(low))`, `INSERT INTO x VALUES (1, 1, 1, true, 'a', '[1,2)'), (2, 2, 2, true, 'b', '[2,3)')`,
				},
				Work: []string{`UPDATE x SET d = 3 - d`, `INSERT INTO x VALUES (3, 3, 1, false, 'c', '[3,4)')`},
			},
		},
		Session: func(t *testing.T, source string) func(...string) {
			t.Helper()
			c, err := pgconn.Connect(t.Context(), source)
			requireNoError(t, "connect", err)
			t.Cleanup(func() { requireNoError(t, "close", c.Close(context.WithoutCancel(t.Context()))) })
			return func(statements ...string) {
				t.Helper()
				_, err := c.Exec(t.Context(), "SET timezone = 'UTC'; "+strings.Join(statements, ";\n")).ReadAll()
				requireNoError(t, "execute", err)
			}
		},
		UUID: "uuid", JSON: map[string]bool{"json": true, "jsonb": false}, Digits: map[string]bool{"numeric": true, "numeric(10,2)": false, "double precision": false},
		OtherSchema: "other",
		Schema:      "public", Enforces: true, Key: "TEXT", Deep: 1000,
	}
	t.Run("Rows", func(t *testing.T) { t.Parallel(); drivertest.Relational(t, h) })
	t.Run("Compare", func(t *testing.T) { t.Parallel(); drivertest.Compare(t, h) })
	t.Run("Close", func(t *testing.T) { t.Parallel(); drivertest.Close(t, h) })
	t.Run("Damage", func(t *testing.T) { t.Parallel(); drivertest.Damage(t, h) })
	t.Run("Random", func(t *testing.T) { t.Parallel(); drivertest.Random(t, h, 8) })
	t.Run("RandomMerge", func(t *testing.T) { t.Parallel(); drivertest.RandomMerge(t, h, 5) })
	t.Run("MergeConflicts", func(t *testing.T) { t.Parallel(); drivertest.MergeConflicts(t, h) })
	t.Run("MergeOperations", func(t *testing.T) { t.Parallel(); drivertest.MergeOperations(t, h) })
	t.Run("MergeFidelity", func(t *testing.T) { t.Parallel(); drivertest.MergeFidelity(t, h) })
}

// observed opens a view of a database that SQL makes.
func observed(t *testing.T, s *testenv.PostgresServer, sql string) (relational.View, *relational.Model) {
	t.Helper()
	db := s.NewDatabase()
	s.Exec(db, sql)
	source, err := open(drivers.Spec{Node: "db", Source: secret.New(s.URL(db)), Scratch: t.TempDir()})
	requireNoError(t, "open", err)
	v, err := source.Observe(t.Context())
	requireNoError(t, "observe", err)
	t.Cleanup(func() { requireNoError(t, "end", v.End(t.Context())) })
	m, err := v.Model(t.Context())
	requireNoError(t, "model", err)
	requireNoError(t, "check", m.Check())
	return v, m
}

func TestModelOfPostgres(t *testing.T) {
	t.Parallel()
	s := server(t, "timezone = 'Asia/Tokyo'")
	t.Run("Partitions", func(t *testing.T) {
		t.Parallel()
		v, m := observed(t, s, `
			CREATE TABLE p (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
			CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') PARTITION BY LIST (id);
			CREATE TABLE p1a PARTITION OF p1 DEFAULT;
			CREATE TABLE p2 (at date NOT NULL, gone int, id int NOT NULL);
			ALTER TABLE p2 DROP COLUMN gone;
			ALTER TABLE p ATTACH PARTITION p2 DEFAULT;
			CREATE TABLE c (id int PRIMARY KEY, pid int, pat date, FOREIGN KEY (pid, pat) REFERENCES p);
			CREATE TABLE c2 (id int PRIMARY KEY, pid int, pat date, FOREIGN KEY (pid, pat) REFERENCES p2 (id, at));
			INSERT INTO p VALUES (2, '2020-05-05'), (1, '2026-01-01');`)
		if got := tableNames(m); got != "public.c public.c2 public.p" {
			t.Errorf("tables: %s", got)
		}
		p := m.Table(relational.Name{Schema: "public", Name: "p"})
		rows, err := v.Scan(t.Context(), relational.Scan{Table: p, Key: p.Primary})
		requireNoError(t, "scan", err)
		first, err := rows.Next()
		requireNoError(t, "read", err)
		if string(first.Values[0].Text) != "1" {
			t.Errorf("the first row is %s", first.Values[0].Text)
		}
		_, err = rows.Next()
		requireNoError(t, "read the row of another partition", err)
		requireNoError(t, "close", rows.Close())
		for _, name := range []string{"c", "c2"} {
			c := m.Table(relational.Name{Schema: "public", Name: name})
			if len(c.Foreign) != 1 || c.Foreign[0].Parent.Name != "p" || !cmp.Equal(c.Foreign[0].ParentColumns, []string{"id", "at"}) {
				t.Errorf("%s: a reference to partitions: %+v", name, c.Foreign)
			}
		}
	})
	t.Run("Inheritance", func(t *testing.T) {
		t.Parallel()
		v, m := observed(t, s, `
			CREATE TABLE a (id int PRIMARY KEY, t text);
			CREATE TABLE b (extra int, PRIMARY KEY (id)) INHERITS (a);
			INSERT INTO a VALUES (1, 'a'); INSERT INTO b VALUES (2, 'b', 5);`)
		a := m.Table(relational.Name{Schema: "public", Name: "a"})
		rows, err := v.Scan(t.Context(), relational.Scan{Table: a, Key: a.Primary})
		requireNoError(t, "scan", err)
		n := 0
		for {
			if _, err := rows.Next(); err != nil {
				break
			}
			n++
		}
		requireNoError(t, "close", rows.Close())
		if n != 1 || tableNames(m) != "public.a public.b" {
			t.Errorf("%d rows of a table that another inherits from, in %s", n, tableNames(m))
		}
	})
	t.Run("Columns", func(t *testing.T) {
		t.Parallel()
		_, m := observed(t, s, `
			CREATE SCHEMA other;
			CREATE DOMAIN other.price AS numeric(10,2); CREATE DOMAIN other.cost AS other.price CHECK (VALUE >= 0);
			CREATE TYPE other.mood AS ENUM ('sad', 'ok');
			CREATE TABLE other.root (code text COLLATE "C" UNIQUE, n serial PRIMARY KEY, x int UNIQUE DEFERRABLE);
			CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, d int GENERATED BY DEFAULT AS IDENTITY, c other.cost, m other.mood, j jsonb, a int[],
				r text REFERENCES other.root (code) DEFERRABLE, tz timestamptz, ts timestamp, dt date, tm time,
				EXCLUDE USING gist (int4range(id, id) WITH &&));
			CREATE UNIQUE INDEX part ON t (m) WHERE d > 5; CREATE UNIQUE INDEX low ON t (lower(r));
			CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TRIGGER trg BEFORE INSERT OR UPDATE ON t EXECUTE FUNCTION f();
			CREATE TRIGGER off AFTER DELETE ON t EXECUTE FUNCTION f(); ALTER TABLE t DISABLE TRIGGER off;
			SELECT nextval('other.root_n_seq'), nextval('other.root_n_seq');`)
		if m.TimeZone != "Asia/Tokyo" {
			t.Errorf("time zone %q", m.TimeZone)
		}
		table, root := m.Table(relational.Name{Schema: "public", Name: "t"}), m.Table(relational.Name{Schema: "other", Name: "root"})
		var got []string
		for _, c := range table.Columns {
			got = append(got, c.Name+" "+string(c.Type)+" "+string(c.Clock))
		}
		want := []string{"id int ", "d int ", "c decimal ", "m other ", "j json ", "a other ", "r text ", "tz time moment", "ts time wall", "dt time date", "tm time "}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("columns (-want +got):\n%s", diff)
		}
		if c := table.Columns; !c[0].Always || !c[0].Identity || c[1].Always || !c[1].Identity || c[1].Sequence == nil || c[2].Identity {
			t.Errorf("identities: %+v", c[:3])
		}
		if c := root.Columns[1]; c.Sequence == nil || c.Sequence.Name != "root_n_seq" || !c.Identity {
			t.Errorf("serial: %+v", c)
		}
		if e := table.Foreign; len(e) != 1 || e[0].Parent.Schema != "other" || !e[0].Deferrable || e[0].Unenforced {
			t.Errorf("references: %+v", e)
		}
		if len(root.Unique) != 2 || root.Unique[0].Deferrable || !root.Unique[1].Deferrable {
			t.Errorf("deferrable keys: %+v", root.Unique)
		}
		kinds := map[string]bool{}
		for _, k := range table.Unique {
			kinds["exclusion"] = kinds["exclusion"] || k.Exclusion
			kinds["condition"] = kinds["condition"] || k.Condition == "(d > 5)"
			kinds["expression"] = kinds["expression"] || k.Expression && !k.Exclusion
		}
		if len(table.Unique) != 3 || !kinds["exclusion"] || !kinds["condition"] || !kinds["expression"] {
			t.Errorf("unique keys: %+v", table.Unique)
		}
		wantTriggers := []relational.Trigger{{Name: "off", Events: []string{"delete"}, Disabled: true}, {Name: "trg", Events: []string{"insert", "update"}}}
		if diff := cmp.Diff(wantTriggers, table.Triggers); diff != "" {
			t.Errorf("triggers (-want +got):\n%s", diff)
		}
		for _, q := range m.Sequences {
			if q.Name.Name == "root_n_seq" && (q.Last != "2" || !q.Called || q.Table == nil || q.Column != "n") {
				t.Errorf("sequence: %+v", q)
			}
			if q.Name.Name == "t_id_seq" && (q.Last != "1" || q.Called) {
				t.Errorf("sequence: %+v", q)
			}
		}
		if len(m.Sequences) != 3 {
			t.Errorf("%d sequences", len(m.Sequences))
		}
	})
	t.Run("RowSecurity", func(t *testing.T) {
		t.Parallel()
		db := s.NewDatabase()
		role := s.NewName()
		s.Exec(db, `CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (id > 1);
			INSERT INTO t VALUES (1), (2); CREATE ROLE `+role+` LOGIN; GRANT SELECT ON t TO `+role)
		source, err := open(drivers.Spec{Node: "db", Source: secret.New(strings.Replace(s.URL(db), testenv.PostgresUser, role, 1)), Scratch: t.TempDir()})
		requireNoError(t, "open", err)
		v, err := source.Observe(t.Context())
		if err == nil {
			_ = v.End(t.Context())
		}
		if !errors.Is(err, drivers.ErrAccess) {
			t.Errorf("observe what row security hides: %v", err)
		}
	})
}

func tableNames(m *relational.Model) string {
	var names []string
	for _, t := range m.Tables {
		names = append(names, t.Name.String())
	}
	return strings.Join(names, " ")
}
