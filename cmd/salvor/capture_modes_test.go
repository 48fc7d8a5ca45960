package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/internal/testenv"
)

// shopSQL makes tables that all engines take: one that says when its rows were made, one that does not, links, and one without a key.
var shopSQL = []string{
	"CREATE TABLE customers (id int PRIMARY KEY, name varchar(40) NOT NULL, created_at timestamp NULL, age int)",
	"CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers (id), total decimal(10,2))",
	"CREATE TABLE order_tags (order_id int NOT NULL, tag varchar(10) NOT NULL, PRIMARY KEY (order_id, tag), FOREIGN KEY (order_id) REFERENCES orders (id))",
	"CREATE TABLE visits (page varchar(10), seconds int)",
	"INSERT INTO customers VALUES (1, 'Ann', '2020-01-01 00:00:00', 0), (2, 'Bob', '2020-01-01 00:00:00', NULL), (3, 'Cid', '2020-01-01 00:00:00', 7)",
	"INSERT INTO orders VALUES (1, 1, 1.10), (2, 2, 2.00)",
	"INSERT INTO order_tags VALUES (1, 'new'), (2, '')",
	"INSERT INTO visits VALUES ('a', 1), ('a', 1), ('b', NULL)",
}

// workSQL is what people do.
var workSQL = []string{
	"INSERT INTO customers VALUES (10, '', '2037-01-01 00:00:00', 0)",
	"INSERT INTO orders VALUES (20, 10, 0.00), (21, 1, NULL)",
	"INSERT INTO order_tags VALUES (20, ''), (1, 'late')",
	"UPDATE customers SET age = 0 WHERE id = 2",
	"DELETE FROM customers WHERE id = 3",
	"INSERT INTO visits VALUES ('a', 1), ('b', 0)",
}

func (e captureEngine) all(list []string) {
	for _, sql := range list {
		e.exec(sql)
	}
}

func (e captureEngine) named(want map[string][]string) map[string][]string {
	named := make(map[string][]string)
	for table, lines := range want {
		named[e.schema+table] = lines
	}
	return named
}

// writeConfig describes a set of one database.
func (e captureEngine) writeConfig(t *testing.T, dir string) string {
	t.Helper()
	driver, source, _ := strings.Cut(e.source, ":")
	if driver != "sqlite" {
		source = e.source
	}
	config := filepath.Join(dir, "set.yaml")
	text := fmt.Sprintf("archive: %s/archive\nset:\n  name: site\n  children:\n    - {name: main, driver: %s, source: %q}\n", dir, driver, source)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config
}

func TestCaptureModes(t *testing.T) {
	t.Parallel()
	captureEngines(t, false, func(t *testing.T, e captureEngine) {
		dir := t.TempDir()
		archive, config := filepath.Join(dir, "archive"), e.writeConfig(t, dir)
		e.all(shopSQL)
		mustCall(t, "dump", "-q", "-c", config)
		other := e.other()
		other.all(shopSQL)
		e.all(workSQL)

		want := e.named(map[string][]string{
			"customers":  {"c[10]", "d[3]", "m[2] age"},
			"orders":     {"c[20]", "c[21]"},
			"order_tags": {`c[1,"late"]`, `c[20,""]`},
			"visits":     {"cnull", "cnull"},
		})
		for _, against := range [][]string{
			{"main", "-c", config, "--against", "latest"},
			{"-c", config, "--against-db", other.source},
			{"main", "--archive", archive, "--against", "latest"}, // the dump knows where the database is
		} {
			l := mustCapture(t, against...)
			if diff := cmp.Diff(want, capturedRows(t, archive, l)); diff != "" {
				t.Errorf("capture %q (-want +got):\n%s", against, diff)
			}
			if l.Node != "site/main" || l.Set != "site" || len(l.Blind) > 0 || l.Created != 7 || l.Modified != 1 || l.Deleted != 1 {
				t.Errorf("capture %q: %+v", against, l)
			}
		}

		// Without the dump: what rows say of their own times, and what hangs on them. What does not say so is not seen, and that is said.
		l := mustCapture(t, "main", "-c", config, "--since", "2026-01-01")
		since := e.named(map[string][]string{"customers": {"c[10]"}, "orders": {"x[20]"}, "order_tags": {`x[20,""]`}})
		if diff := cmp.Diff(since, capturedRows(t, archive, l)); diff != "" {
			t.Errorf("captured since (-want +got):\n%s", diff)
		}
		blind := []string{e.tableName("order_tags"), e.tableName("orders"), e.tableName("visits")}
		if diff := cmp.Diff(blind, l.Blind); diff != "" {
			t.Errorf("blind tables (-want +got):\n%s", diff)
		}
		_, stderr, code := call(t, "capture", "main", "-c", config, "-q", "--since", "2026-01-01", "--require-coverage")
		if code != exitFailed || !strings.Contains(stderr, "tables are blind: no column tells when rows of "+strings.Join(blind, ", ")) || !strings.Contains(stderr, "hint: compare with a dump") {
			t.Errorf("blind tables: exit code %d: %s", code, stderr)
		}
		_, stderr, code = call(t, "capture", "main", "-c", config, "-q", "--since", "2026-01-01", "--budget", "1")
		if code != exitOK {
			t.Errorf("a budget that suffices: exit code %d: %s", code, stderr)
		}
		e.exec("INSERT INTO orders VALUES (30, 10, 1), (31, 10, 1)")
		_, stderr, code = call(t, "capture", "main", "-c", config, "-q", "--since", "2026-01-01", "--budget", "1")
		if code != exitFailed || !strings.Contains(stderr, "the budget is used up") || !strings.Contains(stderr, "orders") {
			t.Errorf("a budget that is used up: exit code %d: %s", code, stderr)
		}
		noStrayCaptures(t, archive)
		if list := strings.Count(mustCall(t, "list", "--json", "-c", config), `"type":"capture"`); list != 5 {
			t.Errorf("%d captures are listed", list)
		}
		if runs := mustCall(t, "runs", "-c", config); !strings.Contains(runs, l.Capture) || !strings.Contains(mustCall(t, "show", "-c", config, l.Run), "capture    "+l.Capture) {
			t.Errorf("the run of %s is not told: %s", l.Capture, runs)
		}
		if left := e.scratches(); left != 0 {
			t.Errorf("%d scratch databases are left", left)
		}
	})
}

func (e captureEngine) tableName(name string) string { return e.schema + name }

// A table that lost its key, and one that lost a column, since the dump, are compared as far as they can be, and listed; so is one
// that is not there any more.
func TestCaptureChangedTables(t *testing.T) {
	t.Parallel()
	captureEngines(t, false, func(t *testing.T, e captureEngine) {
		dir := t.TempDir()
		archive, config := filepath.Join(dir, "archive"), e.writeConfig(t, dir)
		e.exec("CREATE TABLE keyed (id int PRIMARY KEY, v varchar(10))")
		e.exec("CREATE TABLE wide (id int PRIMARY KEY, v varchar(10), gone varchar(10))")
		e.exec("CREATE TABLE dropped (id int PRIMARY KEY)")
		e.exec("INSERT INTO keyed VALUES (1, 'a'), (2, 'b')")
		e.exec("INSERT INTO wide VALUES (1, 'a', 'x'), (2, 'b', 'y'), (3, 'c', 'z')")
		e.exec("INSERT INTO dropped VALUES (1)")
		mustCall(t, "dump", "-q", "-c", config)
		e.exec("CREATE TABLE again AS SELECT id, v FROM keyed")
		e.exec("DROP TABLE keyed")
		e.exec("ALTER TABLE again RENAME TO keyed")
		e.exec("ALTER TABLE wide DROP COLUMN gone")
		e.exec("ALTER TABLE wide ADD COLUMN fresh int")
		e.exec("UPDATE wide SET fresh = 5 WHERE id = 3")
		e.exec("DROP TABLE dropped")
		e.exec("INSERT INTO keyed VALUES (3, 'c')")
		e.exec("UPDATE wide SET v = '' WHERE id = 2")
		e.exec("DELETE FROM wide WHERE id = 1")

		l := mustCapture(t, "-c", config, "--against", "latest")
		want := e.named(map[string][]string{"keyed": {"cnull"}, "wide": {"d[1]", "m[2] v"}})
		if diff := cmp.Diff(want, capturedRows(t, archive, l)); diff != "" {
			t.Errorf("captured (-want +got):\n%s", diff)
		}
		shown := mustCall(t, "show", "-c", config, l.Capture)
		for _, text := range []string{
			e.tableName("keyed") + ": the table and the dump share no key: rows are compared by all that they hold",
			e.tableName("wide") + ": column gone was dropped since the dump",
			e.tableName("wide") + ": column fresh was added since the dump: 1 row that was there holds something in it, which is not captured",
			e.tableName("dropped") + ": the table was dropped since the dump",
		} {
			if !strings.Contains(shown, text) {
				t.Errorf("show does not say %q:\n%s", text, shown)
			}
		}
		_, stderr, _ := call(t, "capture", "-c", config, "--against", "latest")
		if !strings.Contains(stderr, "warning: tables of the dump that are not there any more are not captured: "+e.tableName("dropped")) {
			t.Errorf("a table that is gone is not told: %s", stderr)
		}
	})
}

// The time of a change belongs to the change: it is in the line of the row's group where no line of its own has it, and a group of one
// moment leaves out what has a group of its own.
func TestCaptureTimeOfMassChange(t *testing.T) {
	t.Parallel()
	captureEngines(t, false, func(t *testing.T, e captureEngine) {
		dir := t.TempDir()
		archive, config := filepath.Join(dir, "archive"), e.writeConfig(t, dir)
		e.exec("CREATE TABLE mass (id int PRIMARY KEY, name varchar(20), plan varchar(20), updated_at varchar(30))")
		if e.schema != "" {
			e.exec("ALTER TABLE mass ALTER COLUMN updated_at TYPE timestamp USING updated_at::timestamp")
		} else {
			e.exec("DROP TABLE mass")
			e.exec("CREATE TABLE mass (id int PRIMARY KEY, name varchar(20), plan varchar(20), updated_at datetime)")
		}
		var rows []string
		for i := range 2000 {
			rows = append(rows, fmt.Sprintf("(%d, 'n', 'free', '2026-01-01 10:00:00')", i))
		}
		e.exec("INSERT INTO mass VALUES " + strings.Join(rows, ", "))
		mustCall(t, "dump", "-q", "-c", config)
		for _, half := range []string{"id % 2 = 0", "id % 2 = 1"} { // two moments, each of less than a mass
			e.exec("UPDATE mass SET plan = 'paid', updated_at = '2026-11-30 10:00:0" + half[len(half)-1:] + "' WHERE " + half + " AND id < 1990")
		}
		e.exec("UPDATE mass SET name = 'Ada' WHERE id = 7")
		l := mustCapture(t, "-c", config, "--against", "latest")
		data, err := os.ReadFile(filepath.Join(archive, "captures", "site", l.Capture, "mass", "001.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		if n := strings.Count(string(data), `"plan":"paid","updated_at":"2026-11-30 10:00:0`); len(lines) != 1990 || n != 1989 {
			t.Errorf("%d lines of the mass, %d with the time of the change: %.300s", len(lines), n, data)
		}
		own, err := os.ReadFile(filepath.Join(archive, "captures", "site", l.Capture, e.tableName("mass")+".jsonl"))
		if err != nil || strings.Count(string(own), "\n") != 1 || !strings.Contains(string(own), `"changed":["name","updated_at"]`) {
			t.Errorf("the row's own line: %s, %v", own, err)
		}
	})
}

// What cannot be compared with keeps nothing, and leaves nothing behind.
func TestCaptureDamagedDump(t *testing.T) {
	t.Parallel()
	captureEngines(t, false, func(t *testing.T, e captureEngine) {
		dir := t.TempDir()
		archive, config := filepath.Join(dir, "archive"), e.writeConfig(t, dir)
		e.all(shopSQL)
		mustCall(t, "dump", "-q", "-c", config)
		var parts []string
		err := filepath.Walk(filepath.Join(archive, "dumps"), func(path string, info os.FileInfo, err error) error {
			if err == nil && strings.HasSuffix(path, ".zst") {
				parts = append(parts, path)
			}
			return err
		})
		if err != nil || len(parts) == 0 {
			t.Fatalf("parts %v: %v", parts, err)
		}
		damaged := parts[0]
		if i := slices.IndexFunc(parts, func(p string) bool { return strings.Contains(p, "customers") }); i >= 0 {
			damaged = parts[i]
		}
		data, err := os.ReadFile(damaged)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(damaged, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, stderr, code := call(t, "capture", "-c", config, "-q", "--against", "latest")
		if code != exitCorrupt || !strings.Contains(stderr, "corrupt") || !strings.Contains(stderr, "hint: salvor verify") || !strings.Contains(stderr, "capture failed, nothing was kept") {
			t.Errorf("exit code %d: %s", code, stderr)
		}
		if left := e.scratches(); left != 0 {
			t.Errorf("%d scratch databases are left", left)
		}
		if list := mustCall(t, "list", "--json", "-c", config); strings.Contains(list, `"type":"capture"`) {
			t.Errorf("a capture is listed: %s", list)
		}
		mustCall(t, "runs", "-c", config)
	})
}

// A user who may not read, or not make a database, is told so.
func TestCaptureRights(t *testing.T) {
	t.Parallel()
	s := testenv.Postgres(t, testenv.PostgresOptions{})
	database, dir := s.NewDatabase(), t.TempDir()
	s.Exec(database, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE ROLE reader LOGIN; GRANT SELECT ON a, b TO reader")
	archive := filepath.Join(dir, "archive")
	mustCall(t, "dump", "-q", "--archive", archive, "main="+s.URL(database))
	reader := "main=" + s.URLAs(database, "reader", "")

	// The server's owner makes the scratch database, the reader reads.
	l := mustCapture(t, "--archive", archive, "--source", reader, "--against", "latest", "--scratch", s.URL("postgres"))
	if l.Created+l.Modified+l.Deleted != 0 {
		t.Errorf("captured %+v", l)
	}
	_, stderr, code := call(t, "capture", "--archive", archive, "-q", "--source", reader, "--against", "latest")
	if code != exitAccess || !strings.Contains(stderr, "access denied") || !strings.Contains(stderr, "--scratch") {
		t.Errorf("no right to make a database: exit code %d: %s", code, stderr)
	}
	s.Exec(database, "REVOKE SELECT ON b FROM reader")
	for _, args := range [][]string{{"--against", "latest", "--scratch", s.URL("postgres")}, {"--since", "1d"}} {
		_, stderr, code = call(t, append([]string{"capture", "--archive", archive, "-q", "--source", reader}, args...)...)
		if code != exitAccess || !strings.Contains(stderr, "access denied") || !strings.Contains(stderr, "b") {
			t.Errorf("no right to read (%q): exit code %d: %s", args, code, stderr)
		}
	}
	if left := s.Query("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'salvor%'"); left != "0" {
		t.Errorf("%s scratch databases are left", left)
	}
}

// By an indexed time of creation a capture reads the rows that it is after, and not the table.
func TestCaptureSinceByIndex(t *testing.T) {
	t.Parallel()
	const rows = 60_000
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		s := testenv.Postgres(t, testenv.PostgresOptions{})
		database := s.NewDatabase()
		s.Exec(database, fmt.Sprintf(`CREATE TABLE plans (id int PRIMARY KEY); INSERT INTO plans SELECT generate_series(1, %d);
			CREATE TABLE users (id int PRIMARY KEY, plan int REFERENCES plans, created_at timestamptz);
			INSERT INTO users SELECT i, i AS plan, timestamptz '2020-01-01' + i * interval '1 s' FROM generate_series(1, %[1]d) i;
			INSERT INTO users VALUES (-1, 1, now()), (-2, 2, NULL);
			CREATE INDEX ON users (created_at)`, rows))
		s.Exec(database, "VACUUM ANALYZE")
		s.Exec(database, "SELECT pg_stat_reset()")
		l := mustCapture(t, "--archive", filepath.Join(t.TempDir(), "a"), "--source", "main="+s.URL(database), "--since", "1h")
		if l.Created != 1 || l.Parents != 1 {
			t.Errorf("captured %+v", l)
		}
		testenv.Eventually(t, time.Minute, func() string {
			// What a session did is counted when it ends.
			got := s.Query(database, "SELECT count(*) FILTER (WHERE seq_scan = 0 AND idx_scan > 0 AND idx_tup_fetch + seq_tup_read < 10) FROM pg_stat_user_tables")
			if got != "2" {
				return got + " of 2 tables were read by an index alone: " +
					s.Query(database, "SELECT string_agg(format('%s %s %s %s', relname, seq_scan, seq_tup_read, idx_tup_fetch), '; ') FROM pg_stat_user_tables")
			}
			return ""
		})
	})
	t.Run("mariadb", func(t *testing.T) {
		t.Parallel()
		s := testenv.MariaDB(t, testenv.MariaDBOptions{})
		database := s.NewDatabase()
		s.Exec(database, fmt.Sprintf(`CREATE TABLE plans (id int PRIMARY KEY); INSERT INTO plans SELECT seq FROM seq_1_to_%d;
			CREATE TABLE users (id int PRIMARY KEY, plan int, created_at timestamp NULL, KEY (created_at), FOREIGN KEY (plan) REFERENCES plans (id));
			INSERT INTO users SELECT seq, seq AS plan, TIMESTAMP'2020-01-01 00:00:00' + INTERVAL seq SECOND FROM seq_1_to_%[1]d;
			INSERT INTO users VALUES (-1, 1, NOW()), (-2, 2, NULL); ANALYZE TABLE users, plans`, rows))
		read := func() int64 {
			n, err := strconv.ParseInt(s.Query("", "SELECT SUM(variable_value) FROM information_schema.global_status WHERE variable_name LIKE 'Handler_read%' AND variable_name <> 'Handler_read_key'"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := read()
		l := mustCapture(t, "--archive", filepath.Join(t.TempDir(), "a"), "--source", "main="+s.URL(database), "--since", "1h")
		if l.Created != 1 || l.Parents != 1 {
			t.Errorf("captured %+v", l)
		}
		if n := read() - before; n == 0 || n > rows/10 {
			t.Errorf("%d rows were read of %d", n, rows)
		}
	})
}

// One of the databases that a node stands for is captured by its name in the dump; a password that stands in the config is nowhere else.
func TestCaptureOfServer(t *testing.T) {
	t.Parallel()
	s := testenv.Postgres(t, testenv.PostgresOptions{Password: "secret"})
	dir := t.TempDir()
	s.Exec("postgres", "CREATE DATABASE app")
	s.Exec("app", "CREATE TABLE t (i int PRIMARY KEY)")
	config := filepath.Join(dir, "set.yaml")
	text := fmt.Sprintf("archive: %s/archive\nset:\n  name: site\n  children:\n    - {name: server, driver: postgres, source: %q, databases: [app]}\n", dir, s.URL("postgres"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	mustCall(t, "dump", "-q", "-c", config)
	s.Exec("app", "INSERT INTO t VALUES (1)")
	for _, args := range [][]string{
		{"app", "-c", config, "--against", "latest"},
		{"--archive", filepath.Join(dir, "archive"), "--source", "app=" + s.URL("app"), "--against", "latest"},
		{"app", "-c", config, "--against", "latest", "--scratch", s.URL("postgres")},
	} {
		l := mustCapture(t, args...)
		if l.Created != 1 || l.Node != "site/server/app" {
			t.Errorf("capture %q: %+v", args, l)
		}
	}
	_, stderr, code := call(t, "capture", "server", "-c", config, "--against", "latest")
	if code != exitUsage || !strings.Contains(stderr, "node site/server stands for several databases") {
		t.Errorf("a server: exit code %d: %s", code, stderr)
	}
	_, stderr, code = call(t, "capture", "app", "--archive", filepath.Join(dir, "archive"), "--against", "latest")
	if code != exitUsage || !strings.Contains(stderr, "held a secret, which is not stored") {
		t.Errorf("without the config: exit code %d: %s", code, stderr)
	}
	if left := s.Query("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'salvor%'"); left != "0" {
		t.Errorf("%s scratch databases are left", left)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == config {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), ":secret@") {
			t.Errorf("%s holds the password", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
