package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/internal/testenv"
)

const mysqlApp = "CREATE TABLE t (i int PRIMARY KEY, j int, KEY (j)); INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i, i FROM n; " +
	"CREATE TABLE u AS SELECT i FROM t; CREATE VIEW v AS SELECT COUNT(*) AS n FROM t"

// TestMySQL goes the way of a user: a server is dumped, a database restored, damaged, refused, replaced, and drilled.
func TestMySQL(t *testing.T) {
	t.Parallel()
	s := testenv.MariaDB(t, testenv.MariaDBOptions{Password: "secret"})
	dir := t.TempDir()
	s.Exec("", "CREATE DATABASE app; CREATE DATABASE `Other db`")
	s.Exec("app", mysqlApp)
	config, password := filepath.Join(dir, "set.yaml"), filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := strings.Replace(s.URL(""), ":secret@", ":${file:"+password+"}@", 1)
	text := fmt.Sprintf("archive: %s/archive\nset:\n  name: site\n  children:\n    - {name: server, driver: mysql, source: %q, databases: [app, \"O*\"]}\n", dir, server)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	into := func(db string) string { return "app=" + server + db }
	replace := strings.NewReplacer(dir, "$DIR", fmt.Sprintf("127.0.0.1:%d", s.Port), "$SERVER")

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
	expect(t, exitUsage, "salvor: error: check target of node site/server/app: database new on $SERVER: target is not empty: u: 990 rows, the dump has 1000\n"+
		"salvor: hint: restore into a new database (--create), or allow to drop this one with all that is in it (--clean)\n"+
		"salvor: error: restore failed, run $RUN\n", replace, "restore", "-c", config, "-q", "--only", "app", "--into", into("new"))
	mustCall(t, "restore", "-c", config, "-q", "--only", "app:u", "--into", into("new"), "--clean", "--prove")
	if got := s.Query("new", "SELECT (SELECT COUNT(*) FROM t), (SELECT COUNT(*) FROM u)"); got != "1000|1000" {
		t.Errorf("tables hold %s rows", got)
	}
	s.Exec("new", "DROP TABLE t; CREATE TABLE x (i int)")
	mustCall(t, "restore", "-c", config, "-q", "--only", "app", "--into", into("new"), "--clean", "--prove")
	if got := s.Query("new", "SELECT GROUP_CONCAT(table_name ORDER BY table_name SEPARATOR ' ') FROM information_schema.tables WHERE table_schema = DATABASE()"); got != "t u v" {
		t.Errorf("tables %s", got)
	}
	expect(t, exitUsage, "salvor: error: check target of node site/server/app: restore node site/server/app: target is not empty: "+
		"the target is the source that was dumped, or one lies in the other\n"+
		"salvor: hint: restore elsewhere with --into app=…, or allow it with --in-place\n"+
		"salvor: error: restore failed, run $RUN\n", strings.NewReplacer("error: restore node site", "error: check target of node site/server/app: restore node site"),
		"restore", "-c", config, "-q", "--only", "app", "--into", into("app"), "--clean")

	// Only --clean drops, and the plan says so.
	s.Exec("new", "CREATE TABLE x (i int)")
	_, stderr, code := call(t, "restore", "-c", config, "-q", "--only", "app", "--into", into("new"), "--overwrite")
	if code != exitUsage || !strings.Contains(stderr, "target is not empty: it has x, which the dump lacks") {
		t.Errorf("overwrite: exit code %d: %s", code, stderr)
	}
	plan := mustCall(t, "restore", "-c", config, "-q", "--only", "app", "--into", into("new"), "--clean", "--plan")
	if !strings.Contains(plan, "site/server/app: the database is DROPPED with all that it holds") {
		t.Errorf("plan:\n%s", plan)
	}

	mustCall(t, "drill", "-c", config, "--continue", "--on", into("new"))
	if left := s.Query("new", "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'new' AND table_name = 'x'"); left != "1" {
		t.Error("the drill dropped the database that the URL names")
	}
	if left := s.Query("", "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'salvor%'"); left != "0" {
		t.Errorf("%s scratch databases are left", left)
	}

	// Errors of the source.
	_, stderr, code = call(t, "dump", "--archive", filepath.Join(dir, "a"), "-q", strings.Replace("db="+s.URL("app"), "secret", "wrong", 1))
	if code != exitAccess || !strings.Contains(stderr, "Access denied") || strings.Contains(stderr, "wrong@") {
		t.Errorf("wrong password: exit code %d: %s", code, stderr)
	}
	_, stderr, code = call(t, "dump", "--archive", filepath.Join(dir, "a"), "-q", "db="+s.URL("nothing"))
	if code != exitMissing || !strings.Contains(stderr, "Unknown database 'nothing'") || !strings.Contains(stderr, "hint: ") {
		t.Errorf("no database: exit code %d: %s", code, stderr)
	}
	_, stderr, code = call(t, "dump", "--archive", filepath.Join(dir, "a"), "-q", "mysql://nobody@nowhere.invalid")
	if code != exitUsage || !strings.Contains(stderr, "hint: ") {
		t.Errorf("no database named: exit code %d: %s", code, stderr)
	}
}

// TestMySQLSplit restores one table that is stored as several objects, beside those whose names begin like it.
func TestMySQLSplit(t *testing.T) {
	t.Parallel()
	s := testenv.MariaDB(t, testenv.MariaDBOptions{})
	dir := t.TempDir()
	db := s.NewDatabase()
	// No key cuts it, so it is cut as it is written.
	s.Exec(db, "CREATE TABLE orders (i int, t longtext); CREATE TABLE `orders.1` (i int); INSERT INTO `orders.1` VALUES (1); CREATE TABLE orders_old (i int); CREATE TABLE `orders/1` (i int)")
	for i := range 40 {
		s.Exec(db, fmt.Sprintf("INSERT INTO orders VALUES (%d, REPEAT('x', 100000))", i))
	}
	config := filepath.Join(dir, "set.yaml")
	text := fmt.Sprintf("archive: %s/archive\nset: {name: db, driver: mysql, source: %q, chunk: 1000000}\n", dir, s.URL(db))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	dump := strings.TrimSpace(mustCall(t, "dump", "-c", config, "-q"))
	var names []string
	for line := range strings.Lines(mustCall(t, "show", "-c", config, dump, "db:orders")) {
		names = append(names, strings.Fields(line)[3])
	}
	if diff := cmp.Diff([]string{"orders", "orders/1", "orders/2", "orders/3"}, names); diff != "" {
		t.Fatalf("objects (-want +got):\n%s", diff)
	}
	name := s.NewName()
	mustCall(t, "restore", "-c", config, "-q", "--only", "db:orders", "--into", s.URL(name), "--create", "--prove")
	if got := s.Query(name, "SELECT COUNT(*), SUM(LENGTH(t)) FROM orders"); got != "40|4000000" {
		t.Errorf("the restored table holds %s", got)
	}
	if got := s.Query(name, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()"); got != "1" {
		t.Errorf("%s tables were restored", got)
	}
}

// TestMySQLResumeAfterWrites resumes a restore of two databases, the first of which is done and was written to since: it stays
// as it is, also where the restore may remove what it finds.
func TestMySQLResumeAfterWrites(t *testing.T) {
	t.Parallel()
	s := testenv.MariaDB(t, testenv.MariaDBOptions{})
	for _, rule := range []string{"--create", "--clean"} {
		dir, first, second, account := t.TempDir(), s.NewDatabase(), s.NewDatabase(), "owner"+s.NewName()
		s.Exec(first, "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1)")
		s.Exec(second, "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT i FROM t")
		config := filepath.Join(dir, "set.yaml")
		text := fmt.Sprintf("archive: %s/archive\nset:\n  name: site\n  children:\n    - {name: second, driver: mysql, source: %q}\n"+
			"    - {name: first, driver: mysql, source: %q}\n", dir, s.URL(second), s.URL(first))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		mustCall(t, "dump", "-c", config, "-q")
		a, b := s.NewName(), s.NewName()
		if rule == "--clean" {
			s.Exec("", fmt.Sprintf("CREATE DATABASE %s; CREATE TABLE %[1]s.old (i int); CREATE DATABASE %s", a, b))
		}
		// The account may restore the first database, and of the second all but the view.
		s.Exec("", fmt.Sprintf("CREATE USER %[1]s; GRANT ALL ON %[2]s.* TO %[1]s; GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES ON %[3]s.* TO %[1]s", account, a, b))
		_, stderr, code := call(t, "restore", "-c", config, "-q", "--into", "first="+s.URLAs(a, account, ""), "--into", "second="+s.URLAs(b, account, ""), rule, "--prove")
		if code != exitAccess {
			t.Fatalf("restore without rights: exit code %d: %s", code, stderr)
		}
		run := regexp.MustCompile(`run ([0-9a-f-]{36})`).FindStringSubmatch(stderr)
		if run == nil {
			t.Fatalf("no run is named: %s", stderr)
		}
		s.Exec(a, "INSERT INTO t VALUES (2)")
		s.Exec("", "GRANT ALL ON *.* TO "+account)
		var restored restoreResult
		if err := json.Unmarshal([]byte(mustCall(t, "resume", run[1], "-c", config, "-q", "--json")), &restored); err != nil {
			t.Fatal(err)
		}
		if len(restored.Nodes) != 2 || readProof(restored.Nodes[0].Proof) == nil || readProof(restored.Nodes[1].Proof) == nil {
			t.Errorf("restored %+v", restored.Nodes)
		}
		if got := s.Query(a, "SELECT COUNT(*) FROM t"); got != "2" {
			t.Errorf("the first database holds %s: what its users wrote is lost", got)
		}
		if got := s.Query(b, "SELECT COUNT(*) FROM t"); got != "1" {
			t.Errorf("the second database holds %s", got)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "archive", "runs", "*.restored")); len(left) > 0 || err != nil {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}

// TestMySQLLiteral resumes a dump of a server's databases whose password stands in the config itself, and plans one.
func TestMySQLLiteral(t *testing.T) {
	t.Parallel()
	s := testenv.MariaDB(t, testenv.MariaDBOptions{Password: "secret"})
	dir := t.TempDir()
	s.Exec("", "CREATE DATABASE app; CREATE USER plain IDENTIFIED BY 'plain'; GRANT SHOW DATABASES, RELOAD ON *.* TO plain; GRANT INSERT ON app.* TO plain")
	s.Exec("app", "CREATE TABLE t (i int PRIMARY KEY)")
	config := filepath.Join(dir, "set.yaml")
	text := fmt.Sprintf("archive: %s/archive\nset:\n  name: site\n  children:\n    - {name: server, driver: mysql, source: %q, databases: [a*]}\n",
		dir, s.URLAs("", "plain", "plain"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := call(t, "dump", "-c", config, "-q")
	if code != exitAccess {
		t.Fatalf("dump without the privilege: exit code %d: %s", code, stderr)
	}
	run := regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).FindString(stderr)
	s.Exec("", "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON app.* TO plain; GRANT SELECT ON mysql.* TO plain")
	_, stderr, code = call(t, "resume", run, "--archive", filepath.Join(dir, "archive"), "-q")
	if code != exitUsage || !strings.Contains(stderr, "held a secret") {
		t.Errorf("resume without the config: exit code %d: %s", code, stderr)
	}
	mustCall(t, "resume", run, "-c", config, "-q")

	if out := mustCall(t, "plan", "-c", config); !strings.Contains(out, "site/server/app") {
		t.Errorf("the plan does not name the database:\n%s", out)
	}
	s.Shutdown()
	out, stderr, code := call(t, "plan", "-c", config)
	if code != exitOK || !strings.Contains(out, "site/server ") || !strings.Contains(stderr, "warning: node site/server stands for several places") || strings.Contains(stderr, "plain@") {
		t.Errorf("plan without the server: exit code %d\n%s%s", code, out, stderr)
	}
}

// TestMySQLWorkers dumps and restores by workers on a real Redis: the one that holds the view dumps all of its parts, and both
// load.
func TestMySQLWorkers(t *testing.T) {
	t.Parallel()
	s := testenv.MariaDB(t, testenv.MariaDBOptions{})
	db, name := s.NewDatabase(), s.NewName()
	s.Exec(db, mysqlApp)
	s.Exec(db, "CREATE TABLE wide (i int PRIMARY KEY, t varchar(1000)); INSERT INTO wide SELECT i, REPEAT('x', 1000) FROM t")
	g := newGround(t, fmt.Sprintf("{name: db, driver: mysql, source: %q, chunk: 65536}", s.URL(db)))
	g.worker("one")
	g.worker("two")
	g.run(exitOK, "dump", "-q")
	g.run(exitOK, "restore", "-q", "--into", s.URL(name), "--create", "--prove")
	if got := s.Query(name, "SELECT (SELECT n FROM v), (SELECT SUM(LENGTH(t)) FROM wide)"); got != "1000|1000000" {
		t.Errorf("the restored database holds %s", got)
	}
}
