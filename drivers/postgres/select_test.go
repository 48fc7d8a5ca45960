package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/internal/testenv"
)

const shops = `
CREATE SCHEMA p; CREATE SCHEMA "a.b"; CREATE SCHEMA other;
CREATE TABLE public.orders (id serial PRIMARY KEY, t text); INSERT INTO public.orders (t) VALUES ('a'), ('b');
CREATE TABLE public.parts (id int GENERATED ALWAYS AS IDENTITY, t text); INSERT INTO public.parts (t) VALUES ('c');
CREATE TABLE p.orders (i int); INSERT INTO p.orders VALUES (1), (2), (3);
CREATE TABLE p."Parts" (i int); INSERT INTO p."Parts" VALUES (1);
CREATE TABLE "a.b".t (i int); INSERT INTO "a.b".t VALUES (7);
CREATE TABLE other."x.y" (i int); INSERT INTO other."x.y" VALUES (8);
CREATE TABLE other."q*?" (i int); INSERT INTO other."q*?" VALUES (9);
CREATE VIEW p.seen AS SELECT i FROM p.orders;
CREATE MATERIALIZED VIEW p.counted AS SELECT count(*) AS n FROM p.orders;
CREATE SEQUENCE other.free; SELECT setval('other.free', 77);
SELECT lo_from_bytea(815, 'large'), lo_from_bytea(4294967295, ''), lo_from_bytea(816, convert_to(repeat('x', 600000), 'UTF8'));
CREATE SCHEMA salvor_progress; CREATE TABLE salvor_progress.left_over (i int);`

// chosen are the tables with rows, views that were filled, sequences and large objects of a database, with what is in them.
func chosen(t *testing.T, s *testenv.PostgresServer, db string) []string {
	t.Helper()
	var list []string
	relations := s.Query(db, `SELECT c.relkind, format('%I.%I', nspname, relname), relispopulated FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE relkind IN ('r', 'v', 'm', 'S') AND nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'salvor_progress')`)
	for line := range strings.Lines(relations) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		query := "SELECT count(*) FROM " + cells[1]
		switch {
		case cells[0] == "S":
			query = "SELECT last_value, is_called FROM " + cells[1]
		case cells[2] == "f":
			query = "SELECT 'not filled'"
		}
		list = append(list, fmt.Sprintf("%s %s: %s", cells[0], cells[1], s.Query(db, query)))
	}
	if objects := s.Query(db, "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata"); objects != "" {
		list = append(list, strings.Split(objects, "\n")...)
	}
	slices.Sort(list)
	return list
}

// TestSelections dumps and restores by every kind of pattern, and compares what is there with what pg_dump and pg_restore make
// of the same choice.
func TestSelections(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, shops)
	for name, c := range map[string]struct {
		options string
		args    []string
	}{
		"all":                     {`{}`, nil},
		"exclude one":             {`{"exclude_tables": ["public.orders"]}`, []string{"-T", "public.orders"}},
		"exclude without a dot":   {`{"exclude_tables": ["p*"]}`, []string{"-T", "*.p*"}},
		"exclude case":            {`{"exclude_tables": ["P*"]}`, []string{"-T", `*."P"*`}},
		"exclude a dotted name":   {`{"exclude_tables": ["other.x.y"]}`, []string{"-T", `other."x.y"`}},
		"exclude schemas":         {`{"exclude_schemas": ["p", "a.b"]}`, []string{"-N", "p", "-N", `"a.b"`}},
		"exclude schemas ?":       {`{"exclude_schemas": "?"}`, []string{"-N", "?"}},
		"exclude data":            {`{"exclude_table_data": ["p?rts", "public.*", "other.*"]}`, []string{"--exclude-table-data=*.parts", "--exclude-table-data=public.orders", "--exclude-table-data=other.x*", "--exclude-table-data=other.q*"}},
		"exclude data of a view":  {`{"exclude_table_data": "counted"}`, []string{"--exclude-table-data=*.counted"}},
		"schemas":                 {`{"schemas": ["p*", "other"]}`, []string{"-n", "p", "-n", "public", "-n", "other"}},
		"schemas with everything": {`{"schemas": "*", "exclude_schemas": ["other"]}`, []string{"-n", "p", "-n", "public", "-n", `"a.b"`}},
		"tables":                  {`{"tables": ["public.orders"]}`, []string{"-t", "public.orders"}},
		"tables without a dot":    {`{"tables": ["p*", "t"]}`, []string{"-t", "public.p*", "-t", `"a.b".t`}},
		"tables of any schema":    {`{"tables": ["p*.o*"], "exclude_schemas": ["public"]}`, []string{"-t", "p.o*"}},
		"tables but":              {`{"tables": ["*"], "exclude_tables": ["*.*ts"]}`, []string{"-t", "p.*", "-t", "public.*", "-t", `"a.b".*`, "-t", "other.*", "-T", "*.*ts"}},
		"sequences":               {`{"tables": ["other.free"]}`, []string{"-t", "other.free"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := dumpDatabase(t, s.URL(db), c.options, nil)
			restored, vanilla := s.NewName(), s.NewDatabase()
			requireNoError(t, "restore", d.restore(t.Context(), openSource(t, s.URL(restored), ""), d.rules()))
			if strings.Contains(c.options, `"schemas"`) {
				s.Exec(vanilla, "DROP SCHEMA public")
			}
			if strings.Contains(c.options, `"tables"`) { // whose schemas pg_dump does not make
				s.Exec(vanilla, `CREATE SCHEMA p; CREATE SCHEMA "a.b"; CREATE SCHEMA other`)
			}
			file := t.TempDir() + "/vanilla.dump"
			s.Tool(db, "pg_dump", append([]string{"-Fc", "-N", "salvor_progress", "-T", "salvor_progress.*", "-f", file}, c.args...)...)
			s.Tool(vanilla, "pg_restore", "-d", vanilla, file)
			if diff := cmp.Diff(chosen(t, s, vanilla), chosen(t, s, restored)); diff != "" {
				t.Errorf("what is there (-by pg_dump +by us):\n%s", diff)
			}
		})
	}
}

func TestBadPatterns(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		`{"tables": "a[b]"}`, `{"exclude_tables": ["a\\b"]}`, `{"schemas": "a]"}`, `{"tables": ".a"}`, `{"tables": "a."}`, `{"databases": "["}`, `{"schemas": ""}`,
		`{"schemas": "a", "tables": "b"}`,
	} {
		if _, err := parseOptions([]byte(bad)); !errors.Is(err, drivers.ErrInvalid) || hintText(err) == "" {
			t.Errorf("%s = %v (hint %q)", bad, err, hintText(err))
		}
	}
}

func TestChunk(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{`{"chunk": "64MiB"}`: 64 << 20, `{"chunk": "1GB"}`: 1 << 30, `{"chunk": 200000}`: 200000, `{"chunk": "1KiB"}`: 0, `{"chunk": "much"}`: 0, `{"chunk": -1}`: 0} {
		o, err := parseOptions([]byte(text))
		if (want == 0) != errors.Is(err, drivers.ErrInvalid) || want > 0 && int64(o.Chunk) != want {
			t.Errorf("%s: %d, %v, want %d", text, o.Chunk, err, want)
		}
	}
}
