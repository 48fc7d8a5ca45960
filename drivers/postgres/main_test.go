package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"salvor/drivers"
	"salvor/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seed is a small database with rows enough for several writes, in tables of several ranges.
const seed = `
CREATE SCHEMA shop;
CREATE TABLE shop.customer (id serial PRIMARY KEY, name text NOT NULL UNIQUE, data bytea);
INSERT INTO shop.customer (name, data) SELECT 'customer ' || i, decode(repeat(md5(i::text), 4), 'hex') FROM generate_series(1, 4000) i;
CREATE TABLE shop."or.der/x" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int REFERENCES shop.customer, note text, total int GENERATED ALWAYS AS (1) STORED);
INSERT INTO shop."or.der/x" (customer, note) SELECT 1 + i % 4000, E'tab\t new\nline \\ end ' || i FROM generate_series(1, 3000) i;
CREATE INDEX ON shop."or.der/x" (customer);
CREATE INDEX ON shop."or.der/x" (note);
CREATE TABLE shop.empty (a int);
CREATE TABLE shop.change (n int);
CREATE TABLE shop.counter (n int);
INSERT INTO shop.counter VALUES (0);
CREATE MATERIALIZED VIEW shop.sums AS SELECT count(*) FROM shop.customer;
CREATE VIEW shop.grouped AS SELECT id, name FROM shop.customer GROUP BY id;
SELECT lo_from_bytea(4711, decode(repeat('00ff', 400000), 'hex'));
SELECT lo_from_bytea(4712, '');
COMMENT ON LARGE OBJECT 4711 IS 'hey';
`

// rowsOf lists all rows of a database's tables, and its large objects, by what psql would show.
func rowsOf(ctx context.Context, s *testenv.PostgresServer, db string) (string, error) {
	tables, err := s.Do(ctx, db, `SELECT format('%I.%I', nspname, relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'salvor_progress') ORDER BY 1`)
	if err != nil {
		if strings.Contains(err.Error(), "3D000") {
			return "", nil
		}
		return "", err
	}
	var all []string
	for table := range strings.SplitSeq(tables, "\n") {
		if table == "" {
			continue
		}
		rows, err := s.Do(ctx, db, "SELECT t::text FROM ONLY "+table+" t")
		if err != nil {
			return "", err
		}
		if rows == "" {
			continue
		}
		for row := range strings.SplitSeq(rows, "\n") {
			all = append(all, table+"\t"+row)
		}
	}
	objects, err := s.Do(ctx, db, "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata WHERE length(lo_get(oid)) > 0")
	if err != nil {
		return "", err
	}
	if objects != "" {
		all = append(all, objects)
	}
	slices.Sort(all)
	return strings.Join(all, "\n"), nil
}

// lines is a database as pg_dump sees it, as a set of lines.
func lines(t *testing.T, s *testenv.PostgresServer, db string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(s.Tool(db, "pg_dump")) {
		line = strings.TrimRight(line, "\n")
		if line != "" && !strings.HasPrefix(line, "--") && !strings.HasPrefix(line, `\restrict`) && !strings.HasPrefix(line, `\unrestrict`) {
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return out
}

// server starts one server for all tests of the package that share it by subtests.
func server(t *testing.T, settings ...string) *testenv.PostgresServer {
	t.Helper()
	return testenv.Postgres(t, testenv.PostgresOptions{Settings: settings})
}

// major is the server's version.
func major(t *testing.T, s *testenv.PostgresServer) int {
	t.Helper()
	return versionOf(s.Query("postgres", "SHOW server_version")) / 10000
}

// counter counts the changes of each database.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) next(place string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]int)
	}
	c.n[place]++
	return c.n[place]
}

// consistent tells whether contents have as many changes as the counter says.
func consistent(contents string) error {
	changes, count := 0, ""
	for line := range strings.Lines(contents) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "shop.change\t") {
			changes++
		}
		if after, ok := strings.CutPrefix(line, "shop.counter\t"); ok {
			count = after
		}
	}
	if count != fmt.Sprintf("(%d)", changes) {
		return fmt.Errorf("%d changes, and the counter says %s", changes, count)
	}
	return nil
}

// createAll lets a suite's restores make databases, and drop those that they may replace.
func createAll(rules drivers.Target) drivers.Target {
	rules.Create, rules.Clean = true, rules.Replace()
	return rules
}

// databaseOf is the database of a source that testenv made.
func databaseOf(source string) string {
	source, _, _ = strings.Cut(source, "?")
	return source[strings.LastIndexByte(source, '/')+1:]
}

var errNone = errors.New("none")

func requireNoError(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
