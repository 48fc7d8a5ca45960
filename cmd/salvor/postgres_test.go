package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/archive"
	"salvor/coordinator"
	"salvor/internal/testenv"
)

// expect runs the command, whose exit code and stderr (ids and places of this run made equal) must be these.
func expect(t *testing.T, code int, want string, replace *strings.Replacer, args ...string) {
	t.Helper()
	_, stderr, got := call(t, args...)
	stderr = replace.Replace(stderr)
	stderr = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).ReplaceAllString(stderr, "$$RUN")
	if diff := cmp.Diff(want, stderr); got != code || diff != "" {
		t.Errorf("salvor %s: exit code %d, want %d; stderr (-want +got):\n%s", strings.Join(args, " "), got, code, diff)
	}
}

// TestPostgres goes the way of a user: a server is dumped, a database restored, damaged, refused, replaced, and drilled.
func TestPostgres(t *testing.T) {
	t.Parallel()
	s := testenv.Postgres(t, testenv.PostgresOptions{Password: "secret"})
	dir := t.TempDir()
	s.Exec("postgres", "CREATE DATABASE app")
	s.Exec("postgres", `CREATE DATABASE "Other db"`)
	s.Exec("app", "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000); CREATE TABLE u AS TABLE t")
	config, password := filepath.Join(dir, "set.yaml"), filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := strings.Replace(s.URL("postgres"), ":secret@", ":${file:"+password+"}@", 1)
	text := fmt.Sprintf("archive: %s/archive\nset:\n  name: site\n  children:\n    - {name: server, driver: postgres, source: %q, databases: [app, \"O*\"]}\n", dir, server)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	into := func(db string) string { return "app=" + strings.Replace(server, "/postgres?", "/"+db+"?", 1) }
	replace := strings.NewReplacer(dir, "$DIR", fmt.Sprintf("127.0.0.1:%d", s.Port), "$SERVER", fmt.Sprintf("localhost:%d", s.Port), "$SERVER")

	var dump dumpResult
	if err := json.Unmarshal([]byte(mustCall(t, "dump", "-c", config, "--json", "-q")), &dump); err != nil {
		t.Fatal(err)
	}
	var nodes []string
	for _, n := range dump.Nodes {
		nodes = append(nodes, n.Node)
	}
	if diff := cmp.Diff([]string{"site/server/Other%20db", "site/server/app"}, nodes); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}

	expect(t, exitMissing, "salvor: error: check target of node site/server/app: database new on $SERVER: does not exist\n"+
		"salvor: hint: --create makes it, as the one that was dumped was made\n"+
		"salvor: error: restore failed, run $RUN\n", replace, "restore", "-c", config, "-q", "--only", "app", "--into", into("new"))
	var restored restoreResult
	out := mustCall(t, "restore", "-c", config, "-q", "--json", "--only", "app", "--into", into("new"), "--create", "--prove")
	if err := json.Unmarshal([]byte(out), &restored); err != nil {
		t.Fatal(err)
	}
	if p := readProof(restored.Nodes[0].Proof); p == nil || p.Rows != 2000 || p.Tables != 2 {
		t.Errorf("proof %s", restored.Nodes[0].Proof)
	}
	// What is equal is left; what differs is refused, and replaced where that is allowed.
	mustCall(t, "restore", "-c", config, "-q", "--only", "app", "--into", into("new"))
	s.Exec("new", "DELETE FROM u WHERE i > 990")
	expect(t, exitUsage, "salvor: error: check target of node site/server/app: database new on $SERVER: target is not empty: public.u: 990 rows, the dump has 1000\n"+
		"salvor: hint: restore into a new database (--create), or allow to drop this one with all that is in it (--clean)\n"+
		"salvor: error: restore failed, run $RUN\n", replace, "restore", "-c", config, "-q", "--only", "app", "--into", into("new"))
	mustCall(t, "restore", "-c", config, "-q", "--only", "app:public.u", "--into", into("new"), "--clean", "--prove")
	if got := s.Query("new", "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u)"); got != "1000|1000" {
		t.Errorf("tables hold %s rows", got)
	}
	s.Exec("new", "DROP TABLE t; CREATE TABLE x ()")
	mustCall(t, "restore", "-c", config, "-q", "--only", "app", "--into", into("new"), "--clean", "--prove")
	if got := s.Query("new", "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"); got != "t u" {
		t.Errorf("tables %s", got)
	}
	expect(t, exitUsage, "salvor: error: check target of node site/server/app: restore node site/server/app: target is not empty: "+
		"the target is the source that was dumped, or one lies in the other\n"+
		"salvor: hint: restore elsewhere with --into app=…, or allow it with --in-place\n"+
		"salvor: error: restore failed, run $RUN\n", strings.NewReplacer("error: restore node site", "error: check target of node site/server/app: restore node site"),
		"restore", "-c", config, "-q", "--only", "app", "--into", into("app"), "--clean")

	// A place with a password in it is named without.
	_, shown, code := call(t, "restore", "-c", config, "--only", "app", "--into", "app="+s.URL("new"))
	if want := "into postgres:" + strings.Replace(s.URL("new"), ":secret@", ":${redacted}@", 1); code != exitOK || !strings.Contains(shown, want) {
		t.Errorf("restore with a literal password: exit code %d: %s", code, shown)
	}

	// Only --clean drops, and the plan says so.
	s.Exec("new", "CREATE TABLE x ()")
	_, stderr, code := call(t, "restore", "-c", config, "-q", "--only", "app", "--into", into("new"), "--overwrite")
	if code != exitUsage || !strings.Contains(stderr, "target is not empty: it has public.x, which the dump lacks") {
		t.Errorf("overwrite: exit code %d: %s", code, stderr)
	}
	plan := mustCall(t, "restore", "-c", config, "-q", "--only", "app", "--into", into("new"), "--clean", "--plan")
	if !strings.Contains(plan, "site/server/app: the database is DROPPED with all that it holds") {
		t.Errorf("plan:\n%s", plan)
	}

	mustCall(t, "drill", "-c", config, "--continue", "--on", into("postgres")+"&database=new")
	if left := s.Query("new", "SELECT to_regclass('x') IS NOT NULL"); left != "t" {
		t.Error("the drill dropped the database that the URL names")
	}
	if left := s.Query("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'salvor%'"); left != "0" {
		t.Errorf("%s scratch databases are left", left)
	}

	// Errors of the source.
	_, stderr, code = call(t, "dump", "--archive", filepath.Join(dir, "a"), "-q", strings.Replace("db="+s.URL("app"), "secret", "wrong", 1))
	if code != exitAccess || !strings.Contains(stderr, "password authentication failed") || strings.Contains(stderr, "wrong@") {
		t.Errorf("wrong password: exit code %d: %s", code, stderr)
	}
	_, stderr, code = call(t, "dump", "--archive", filepath.Join(dir, "a"), "-q", "db="+s.URL("nothing"))
	if code != exitMissing || !strings.Contains(stderr, `database "nothing" does not exist`) {
		t.Errorf("no database: exit code %d: %s", code, stderr)
	}
	_, stderr, code = call(t, "dump", "--archive", filepath.Join(dir, "a"), "-q", "postgres:host=")
	if code == exitOK {
		t.Errorf("no host: %s", stderr)
	}
}

// TestPostgresSplit restores one table that is stored as several objects, beside one whose name begins like it.
func TestPostgresSplit(t *testing.T) {
	t.Parallel()
	s := testenv.Postgres(t, testenv.PostgresOptions{})
	dir := t.TempDir()
	db := s.NewDatabase()
	// One page that unpacks to much more: no range of pages can cut it, so it is cut as it is written.
	s.Exec(db, `CREATE TABLE orders (i int PRIMARY KEY, t text); INSERT INTO orders SELECT i, repeat('x', 100000) FROM generate_series(1, 40) i;
		CREATE TABLE "orders.1" (i int); INSERT INTO "orders.1" VALUES (1); CREATE TABLE orders_old (i int)`)
	config := filepath.Join(dir, "set.yaml")
	text := fmt.Sprintf("archive: %s/archive\nset: {name: db, driver: postgres, source: %q, chunk: 1000000}\n", dir, s.URL(db))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	dump := strings.TrimSpace(mustCall(t, "dump", "-c", config, "-q"))
	var names []string
	for line := range strings.Lines(mustCall(t, "show", "-c", config, dump, "db:public.orders")) {
		names = append(names, strings.Fields(line)[3])
	}
	if diff := cmp.Diff([]string{"public.orders", "public.orders/1", "public.orders/2", "public.orders/3"}, names); diff != "" {
		t.Fatalf("objects (-want +got):\n%s", diff)
	}
	name := s.NewName()
	mustCall(t, "restore", "-c", config, "-q", "--only", "db:public.orders", "--into", s.URL(name), "--create", "--prove")
	if got := s.Query(name, "SELECT count(*), sum(length(t)) FROM orders"); got != "40|4000000" {
		t.Errorf("the restored table holds %s", got)
	}
	if got := s.Query(name, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"); got != "1" {
		t.Errorf("%s tables were restored", got)
	}
}

// TestPostgresResumeAfterWrites resumes a restore of two databases, the first of which is done and was written to since: it
// stays as it is, also where the restore may remove what it finds.
func TestPostgresResumeAfterWrites(t *testing.T) {
	t.Parallel()
	s := testenv.Postgres(t, testenv.PostgresOptions{})
	for _, rule := range []string{"--create", "--clean"} {
		dir, first, second, role := t.TempDir(), s.NewDatabase(), s.NewDatabase(), "owner"+s.NewName()
		s.Exec(first, "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1)")
		s.Exec(second, "CREATE ROLE "+role+"; CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1); ALTER TABLE t OWNER TO "+role)
		config := filepath.Join(dir, "set.yaml")
		text := fmt.Sprintf("archive: %s/archive\nset:\n  name: site\n  children:\n    - {name: second, driver: postgres, source: %q}\n"+
			"    - {name: first, driver: postgres, source: %q}\n", dir, s.URL(second), s.URL(first))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		mustCall(t, "dump", "-c", config, "-q")
		s.Exec("postgres", "DROP DATABASE "+second)
		s.Exec("postgres", "DROP ROLE "+role)
		a, b := s.NewName(), s.NewName()
		if rule == "--clean" {
			s.Exec("postgres", "CREATE DATABASE "+a)
			s.Exec(a, "CREATE TABLE old (i int)")
			s.Exec("postgres", "CREATE DATABASE "+b)
		}
		_, stderr, code := call(t, "restore", "-c", config, "-q", "--into", "first="+s.URL(a), "--into", "second="+s.URL(b), rule, "--prove")
		if code != exitFailed || !strings.Contains(stderr, role) {
			t.Fatalf("restore where a role is missing: exit code %d: %s", code, stderr)
		}
		run := regexp.MustCompile(`salvor resume ([0-9a-f-]{36})`).FindStringSubmatch(stderr)
		if run == nil {
			t.Fatalf("no hint how to go on: %s", stderr)
		}
		s.Exec(a, "INSERT INTO t VALUES (2); CREATE TABLE mine (i int)")
		s.Exec("postgres", "CREATE ROLE "+role)
		var restored restoreResult
		if err := json.Unmarshal([]byte(mustCall(t, "resume", run[1], "-c", config, "-q", "--json")), &restored); err != nil {
			t.Fatal(err)
		}
		if len(restored.Nodes) != 2 || readProof(restored.Nodes[0].Proof) == nil || readProof(restored.Nodes[1].Proof) == nil {
			t.Errorf("restored %+v", restored.Nodes)
		}
		if got := s.Query(a, "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM mine)"); got != "2|0" {
			t.Errorf("the first database holds %s: what its users wrote is lost", got)
		}
		if got := s.Query(b, "SELECT count(*) FROM t"); got != "1" {
			t.Errorf("the second database holds %s", got)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "archive", "runs", "*.restored")); len(left) > 0 || err != nil {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}

// beginOlder makes an archive that holds of a run of another archive what a program of contract 1 leaves that is killed when it
// has begun.
func beginOlder(t *testing.T, place, older, run string) {
	t.Helper()
	options := archive.Options{Memory: minMemory}
	a, err := archive.Open(t.Context(), place, options)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close() //nolint:errcheck // it was only read
	r, err := a.Run(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	ref := archive.Ref{Set: r.Set, Dump: r.Dump}
	plan, err := coordinator.StoredPlan(t.Context(), a, ref)
	if err != nil {
		t.Fatal(err)
	}
	plan.Contract = 1
	data, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	b, err := archive.Create(t.Context(), older, options)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Begin(t.Context(), ref, run, data, nil), b.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestPostgresLiteral resumes a dump of a server's databases whose password stands in the config itself, and plans one.
func TestPostgresLiteral(t *testing.T) {
	t.Parallel()
	s := testenv.Postgres(t, testenv.PostgresOptions{Password: "secret"})
	dir := t.TempDir()
	s.Exec("postgres", "CREATE DATABASE app")
	s.Exec("postgres", "CREATE ROLE plain LOGIN PASSWORD 'plain'")
	s.Exec("app", "CREATE TABLE t (i int PRIMARY KEY)")
	config := filepath.Join(dir, "set.yaml")
	text := fmt.Sprintf("archive: %s/archive\nset:\n  name: site\n  children:\n    - {name: server, driver: postgres, source: %q, databases: [a*]}\n",
		dir, s.URLAs("postgres", "plain", "plain"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := call(t, "dump", "-c", config, "-q")
	if code != exitAccess {
		t.Fatalf("dump without the privilege: exit code %d: %s", code, stderr)
	}
	run := regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).FindString(stderr)
	s.Exec("app", "GRANT SELECT ON t TO plain")
	_, stderr, code = call(t, "resume", run, "--archive", filepath.Join(dir, "archive"), "-q")
	if code != exitUsage || !strings.Contains(stderr, "held a secret") {
		t.Errorf("resume without the config: exit code %d: %s", code, stderr)
	}
	// What is dumped was settled when the dump began, also where that was by the contract before this one.
	s.Exec("postgres", "CREATE DATABASE another")
	older := filepath.Join(dir, "older")
	beginOlder(t, filepath.Join(dir, "archive"), older, run)
	mustCall(t, "resume", run, "-c", config, "-q", "--archive", older, "--force")
	var dump dumpResult
	if err := json.Unmarshal([]byte(mustCall(t, "resume", run, "-c", config, "-q", "--json")), &dump); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"site/server/app"}, nodesOf(dump)); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}

	if out := mustCall(t, "plan", "-c", config); !strings.Contains(out, "site/server/app") {
		t.Errorf("the plan does not name the database:\n%s", out)
	}
	s.Shutdown()
	out, stderr, code := call(t, "plan", "-c", config)
	if code != exitOK || !strings.Contains(out, "site/server ") || !strings.Contains(stderr, "warning: node site/server stands for several places") || strings.Contains(stderr, "plain@") {
		t.Errorf("plan without the server: exit code %d\n%s%s", code, out, stderr)
	}
}
