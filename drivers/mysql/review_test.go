package mysql

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sync/errgroup"

	"salvor/drivers"
	"salvor/internal/testenv"
)

// TestTablesNamedLikeNotes restores tables that are called what a restore notes of itself, among them those whose parts are named
// like objects: no note is taken for another.
func TestTablesNamedLikeNotes(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	names := []string{"prepared", "equal", "finish", "drop", "globals", "000000", "000001"}
	for _, name := range names {
		s.Exec(db, "CREATE TABLE `"+name+"` (i int, KEY (i)); INSERT INTO `"+name+"` VALUES (1), (2)")
	}
	s.Exec(db, "CREATE TABLE n (i int PRIMARY KEY); INSERT INTO n WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 49) SELECT i FROM n")
	for _, name := range []string{"table", "index"} { // of several ranges: table/000000, …
		s.Exec(db, "CREATE TABLE `"+name+"` (i int PRIMARY KEY, c char(250), KEY (c)); INSERT INTO `"+name+"` SELECT a.i * 50 + b.i, REPEAT('x', 250) FROM n a JOIN n b; ANALYZE TABLE `"+name+"`")
	}
	s.Exec(db, "CREATE VIEW v AS SELECT * FROM `equal`; CREATE TRIGGER g BEFORE INSERT ON `drop` FOR EACH ROW SET NEW.i = 5")
	d := dumpDatabase(t, s.URL(db), `{"chunk": 65536}`)
	if d.part(t, "table").Name == "table" {
		t.Fatal("the table is one part: the test shows nothing")
	}
	copied := s.NewName()
	d.mustProve(t, s, copied)
	if got := s.Query(copied, "SELECT COUNT(*) FROM information_schema.views WHERE table_schema = DATABASE()") +
		s.Query(copied, "SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE()"); got != "11" {
		t.Errorf("%s views and triggers", got)
	}
	requireSame(t, s, db, s, copied)
	// Of a selection, one that replaces what is there.
	rules := d.rules()
	rules.Create, rules.Clean, rules.Only = false, true, []string{"drop", "prepared"}
	s.Exec(copied, "DELETE FROM `drop`; DELETE FROM prepared")
	requireNoError(t, "restore two", d.restore(t.Context(), openSource(t, s.URL(copied), ""), rules))
	requireSame(t, s, db, s, copied)
}

// TestProgressTablesOfTheArchive: a dump that says that it holds rows of a restore's own tables is refused.
func TestProgressTablesOfTheArchive(t *testing.T) {
	t.Parallel()
	for _, name := range []string{progressDone, strings.ToUpper(progressRun)} {
		if _, err := readRef(drivers.Part{Name: name, Ref: []byte(`{"kind": "table", "table": "` + name + `"}`)}); err == nil {
			t.Errorf("a part of table %s is taken", name)
		}
	}
	if _, err := readRef(drivers.Part{Name: "t", Ref: []byte(`{"kind": "table", "table": "t", "columns": [{"name": "a", "kind": "later"}]}`)}); err == nil {
		t.Error("a column of a kind that is not known is taken")
	}
	data, err := writeEntries([]*entry{{Kind: entryTable, Name: progressDone, sql: "CREATE TABLE a (i int)"}})
	requireNoError(t, "write", err)
	if _, err := readEntries(bytes.NewReader(data)); err == nil {
		t.Error("a definition of a restore's own table is taken")
	}
}

// TestStoppedWhileLocked leaves the session that locks the server alone, as a process does that is stopped then: the server ends it.
func TestStoppedWhileLocked(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	lock := someone(t, s, db)
	requireNoError(t, "limit", lock.limitLock(t.Context(), time.Second))
	plan := lock.server.lockPlan()
	for _, sql := range append(plan.ddl, plan.all...) {
		requireNoError(t, sql, lock.exec(t.Context(), sql))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := s.Do(ctx, db, "INSERT INTO no_key VALUES (1, 'x')"); err != nil {
		t.Errorf("write beside a lock whose process is stopped: %v", err)
	}
	if err := lock.exec(t.Context(), plan.release[0]); err == nil {
		t.Error("the session that lost its lock says that it let go of it")
	}
}

// TestRefusedLock: where a provider's server refuses the lock in its own way the view is opened without it.
func TestRefusedLock(t *testing.T) {
	t.Parallel()
	f := &freezing{view: &view{source: &Source{}}}
	for _, number := range []uint16{codePrivilege, codeLogin} {
		if err := f.lockError(t.Context(), "FLUSH TABLES WITH READ LOCK", &mysql.MySQLError{Number: number}); !errors.Is(err, errNoLock) {
			t.Errorf("%d: %v", number, err)
		}
	}
}

// TestReplaceStoppedRestore replaces a restore whose process was stopped in the middle of a part: its session is ended, so that
// nobody waits for it and it writes nothing more.
func TestReplaceStoppedRestore(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), "")
	name := s.NewName()
	target, rules := openSource(t, s.URL(name), ""), d.rules()
	requireNoError(t, "prepare", target.Prepare(t.Context(), rules, d.parts))
	part := d.part(t, "customer")
	hanging, release := io.Pipe()
	stuck := make(chan error, 1)
	go func() {
		stuck <- target.Load(t.Context(), rules, drivers.Attempt{Run: rules.Run, Task: "t", Token: "stopped"}, part, hanging)
	}()
	_, err := release.Write(d.content[part.Name][:len(d.content[part.Name])/2])
	requireNoError(t, "write", err)
	other := rules
	other.Run, other.Clean = rules.Run+"2", true
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	requireNoError(t, "replace", d.restore(ctx, target, other))
	_ = release.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-stuck; err == nil {
		t.Error("the restore that was replaced says it loaded a part")
	}
	d.mustBeProved(t, s, name)
}

// TestLatePreparation wakes an attempt at Prepare that another one has followed, before it began: it takes nothing of what is noted.
func TestLatePreparation(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), "")
	name := s.NewDatabase()
	target, rules := openSource(t, s.URL(name), ""), d.rules()
	late, err := target.beginBeside(t.Context(), rules, taskPrepare)
	requireNoError(t, "begin", err)
	defer late.close()
	requireNoError(t, "lock", errors.Join(late.lockTask(t.Context()), late.lockTarget(t.Context())))
	requireNoError(t, "prepare", target.Prepare(t.Context(), rules, d.parts))
	c, err := readContents(d.parts)
	requireNoError(t, "read", err)
	if err := late.beginRun(t.Context(), stateEmpty, false, false, c); err == nil {
		t.Error("an attempt that was ended begins the restore")
	}
	if err := late.discard(t.Context(), &found{run: rules.Run}); err == nil {
		t.Error("an attempt that was ended removes a restore")
	}
	requireNoError(t, "restore", d.restore(t.Context(), target, rules))
	d.mustBeProved(t, s, name)
}

// TestDatabaseInNames dumps and restores tables whose names hold what stands for the database in queries.
func TestDatabaseInNames(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE `a DATABASE()` (i int PRIMARY KEY, j int, KEY (j)); INSERT INTO `a DATABASE()` VALUES (1, 2);"+
		"CREATE TABLE `b' = DATABASE()` (i int, FOREIGN KEY (i) REFERENCES `a DATABASE()` (i)); INSERT INTO `b' = DATABASE()` VALUES (1)")
	d := dumpDatabase(t, s.URL(db), "")
	copied := s.NewName()
	d.mustProve(t, s, copied)
	requireSame(t, s, db, s, copied)
	rules := d.rules()
	rules.Create, rules.Clean, rules.Only = false, true, []string{"a DATABASE()", "b' = DATABASE()"}
	s.Exec(copied, "DELETE FROM `b' = DATABASE()`")
	requireNoError(t, "restore both", d.restore(t.Context(), openSource(t, s.URL(copied), ""), rules))
	requireSame(t, s, db, s, copied)
}

// TestLateSecrets: a secret that stands behind what an error shows of a statement is not in the server's words either.
func TestLateSecrets(t *testing.T) {
	t.Parallel()
	sql := "CREATE TABLE t (" + strings.Repeat("`column` int, ", 100) + "PRIMARY KEY (i)) ENGINE=FEDERATED CONNECTION='mysql://u:hunter2@h/d/t'"
	for _, sql := range []string{sql, sql[:len(sql)-1]} {
		err := statementError("restore table t", sql, &mysql.MySQLError{Number: 1432, Message: "The data source connection string 'mysql://u:hunter2@h/d/t' is not in the correct format"})
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("err = %v", err)
		}
	}
}

// TestCollationComesBack ends an attempt while the database has the collation of an object that is made: it has its own in the end.
func TestCollationComesBack(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	s.Exec(db, "ALTER DATABASE `"+db+"` COLLATE utf8mb4_unicode_ci")
	d := dumpDatabase(t, s.URL(db), "")
	collation := func(name string) string {
		return s.Query("", "SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = '"+name+"'")
	}
	for _, only := range [][]string{nil, {"customer"}} {
		name := s.NewDatabase()
		want := "utf8mb4_unicode_ci"
		if only != nil {
			want = "utf8mb4_czech_ci"
		}
		s.Exec(name, "ALTER DATABASE `"+name+"` COLLATE "+want)
		target, rules := openSource(t, s.URL(name), ""), d.rules()
		rules.Only = only
		requireNoError(t, "prepare", target.Prepare(t.Context(), rules, d.selected(rules)))
		s.Exec(name, "ALTER DATABASE `"+name+"` COLLATE utf8mb4_german2_ci")
		requireNoError(t, "restore", d.restore(t.Context(), target, rules))
		if got := collation(name); got != want {
			t.Errorf("of %q: the database has %s, want %s", only, got, want)
		}
	}
}

// TestProgressHasKeys: some servers take no table without a primary key.
func TestProgressHasKeys(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	if s.MySQL {
		s.Exec("", "SET GLOBAL sql_require_primary_key = 1")
	} else {
		s.Exec("", "SET GLOBAL innodb_force_primary_key = 1")
	}
	s.Exec(db, "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1)")
	dumpDatabase(t, s.URL(db), "").mustProve(t, s, s.NewName())
}

// TestForeignTrigger restores a table whose trigger has the name of another table's: that is an error, at every attempt.
func TestForeignTrigger(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), "")
	name := s.NewDatabase()
	s.Exec(name, "CREATE TABLE other (i int); CREATE TRIGGER loud BEFORE INSERT ON other FOR EACH ROW SET NEW.i = 1")
	target, rules := openSource(t, s.URL(name), ""), d.rules()
	rules.Only = []string{"customer"}
	for range 2 {
		if err := d.restore(t.Context(), target, rules); !errors.Is(err, drivers.ErrFailed) {
			t.Errorf("restore beside another trigger of the name: %v", err)
		}
	}
	s.Exec(name, "DROP TRIGGER loud")
	requireNoError(t, "restore", d.restore(t.Context(), target, rules))
	if got := s.Query(name, "SELECT event_object_table FROM information_schema.triggers WHERE trigger_schema = DATABASE()"); got != "customer" {
		t.Errorf("the trigger is of %q", got)
	}
}

// TestTablesOfOneName: two tables that a server takes for one are not restored into it, nor by another attempt.
func TestTablesOfOneName(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE item (i int); CREATE TABLE Item (i int); INSERT INTO item VALUES (1); INSERT INTO Item VALUES (2)")
	d := dumpDatabase(t, s.URL(db), "")
	if s.MySQL {
		return // it takes this setting only when its directory is made
	}
	other := server(t, "lower_case_table_names=1")
	name := other.NewDatabase()
	for range 2 {
		err := d.restore(t.Context(), openSource(t, other.URL(name), ""), d.rules())
		if !errors.Is(err, drivers.ErrFailed) || hintText(err) == "" {
			t.Errorf("restore = %v (hint %q)", err, hintText(err))
		}
	}
}

// TestLongRow: a row that no statement of the server can hold is not read into memory whole.
func TestLongRow(t *testing.T) {
	t.Parallel()
	in := &lines{in: bufio.NewReader(io.MultiReader(strings.NewReader(strings.Repeat("x", 10_000)), iotest.ErrReader(errNone))), most: 8192}
	if _, err := in.next(1); !errors.Is(err, mysql.ErrPktTooLarge) {
		t.Errorf("err = %v", err)
	}
}

// TestHiddenReplica dumps a replica that does not log what it applies, by an account that may not lock it: its log stands still while
// rows change, and is no proof of anything.
func TestHiddenReplica(t *testing.T) {
	t.Parallel()
	s := testenv.MariaDB(t, testenv.MariaDBOptions{Binlog: true})
	if s.MySQL {
		return // its GTIDs tell of all
	}
	db := seeded(t, s)
	s.Exec("", fmt.Sprintf("CREATE USER plain; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON %s.* TO plain; GRANT SELECT ON mysql.* TO plain", db))
	for _, c := range []struct{ settings, want string }{
		{"SET GLOBAL read_only = 0", methodPosition}, {"SET GLOBAL read_only = 1", methodOne}, {"SET GLOBAL read_only = 0, gtid_slave_pos = '7-7-7'", methodOne},
	} {
		s.Exec("", c.settings)
		d := dumpDatabase(t, s.URLAs(db, "plain", ""), "")
		if d.facts.Method != c.want || d.facts.Method == methodOne && d.facts.File != "" {
			t.Errorf("%s: the view was opened by %s at %q, want %s", c.settings, d.facts.Method, d.facts.File, c.want)
		}
	}
}

// TestStillness: a view without a lock takes more than a moment of a server that tells no position of a snapshot.
func TestStillness(t *testing.T) {
	t.Parallel()
	s := testenv.MariaDB(t, testenv.MariaDBOptions{Binlog: true})
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE t (i int PRIMARY KEY)")
	side, reader, writer := someone(t, s, db), someone(t, s, db), someone(t, s, db)
	if !s.MySQL {
		side.server = dialect{flavour: mysqlServer, version: 80036}
	}
	f := &freezing{view: &view{source: side.source, server: side.server}, side: side, sessions: []*session{{conn: reader}}}
	same, known, err := f.beginStill(t.Context())
	if !same || !known || err != nil {
		t.Fatalf("a log that stands still: %v, %v, %v", same, known, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group errgroup.Group
	group.Go(func() error { // one commit in each half of the time
		tick := time.NewTicker(stillTime / 2)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				if err := writer.exec(t.Context(), fmt.Sprintf("INSERT INTO t VALUES (%d)", i)); err != nil {
					return err
				}
			}
		}
	})
	for range 3 {
		if same, known, err = f.beginStill(t.Context()); same || !known || err != nil {
			t.Errorf("a log that moves now and then: %v, %v, %v", same, known, err)
		}
	}
	cancel()
	requireNoError(t, "write", group.Wait())
}

func TestCutDefaultRole(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string][2]string{
		"CREATE USER `a`@`%` IDENTIFIED WITH 'x' AS 'DEFAULT ROLE `n`' DEFAULT ROLE `z`@`%`,`y,`@`h` REQUIRE NONE": {
			"CREATE USER `a`@`%` IDENTIFIED WITH 'x' AS 'DEFAULT ROLE `n`' REQUIRE NONE", "`z`@`%`,`y,`@`h`",
		},
		"CREATE USER `a`@`%` DEFAULT ROLE `z`@`%`":                  {"CREATE USER `a`@`%` ", "`z`@`%`"},
		"CREATE USER `a`@`%` REQUIRE NONE PASSWORD HISTORY DEFAULT": {"CREATE USER `a`@`%` REQUIRE NONE PASSWORD HISTORY DEFAULT", ""},
	} {
		if got, roles, err := cutDefaultRole(sql); err != nil || got != want[0] || roles != want[1] {
			t.Errorf("%s: %q, %q, %v", sql, got, roles, err)
		}
	}
}

// TestDefaultRoles restores an account whose role comes after it.
func TestDefaultRoles(t *testing.T) {
	t.Parallel()
	s, other := server(t), server(t)
	s.Exec("", "CREATE ROLE z_role; CREATE USER a_user; GRANT SELECT ON *.* TO z_role; GRANT z_role TO a_user")
	if s.MySQL {
		s.Exec("", "SET DEFAULT ROLE z_role TO a_user")
	} else {
		s.Exec("", "SET DEFAULT ROLE z_role FOR a_user")
	}
	d := dumpDatabase(t, s.URL(s.NewDatabase()), `{"globals": true}`)
	requireNoError(t, "restore", d.restore(t.Context(), openSource(t, other.URL(other.NewName()), ""), d.rules()))
	for _, sql := range []string{"SHOW CREATE USER a_user", "SHOW GRANTS FOR a_user"} {
		if want, got := s.Query("", sql), other.Query("", sql); want != got {
			t.Errorf("%s = %s, want %s", sql, got, want)
		}
	}
}

// TestStoppedOutside wakes an attempt at a table without transactions that another one has followed: it undoes nothing of that one's.
func TestStoppedOutside(t *testing.T) {
	t.Parallel()
	for _, infile := range []string{"1", "0"} {
		s := server(t, "local_infile="+infile)
		db := s.NewDatabase()
		s.Exec(db, "CREATE TABLE old (i int, c char(200)) ENGINE=MyISAM; INSERT INTO old WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i, REPEAT('x', 200) FROM n")
		d := dumpDatabase(t, s.URL(db), "")
		name := s.NewName()
		target, rules := openSource(t, s.URL(name), ""), d.rules()
		requireNoError(t, "prepare", target.Prepare(t.Context(), rules, d.parts))
		part := d.part(t, "old")
		d.loadAfterStopped(t, target, rules, part, 3, 4)
		if got := s.Query(name, "SELECT COUNT(*) FROM old"); got != "900" {
			t.Errorf("%s rows", got)
		}
		requireNoError(t, "restore", d.restore(t.Context(), target, rules))
		d.mustBeProved(t, s, name)
	}
}

// TestStoppedHistory ends an attempt in the middle of a table that keeps its history and has no transactions: nothing is there twice.
func TestStoppedHistory(t *testing.T) {
	t.Parallel()
	s := server(t)
	if s.MySQL {
		return // it has no such tables
	}
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE h (i int, c char(200)) ENGINE=Aria WITH SYSTEM VERSIONING; INSERT INTO h SELECT seq, seq FROM seq_1_to_2000; UPDATE h SET i = i + 1; DELETE FROM h WHERE i > 5")
	d := dumpDatabase(t, s.URL(db), "")
	name := s.NewName()
	target, rules := openSource(t, s.URL(name), ""), d.rules()
	requireNoError(t, "prepare", target.Prepare(t.Context(), rules, d.parts))
	part := d.part(t, "h")
	d.loadAfterStopped(t, target, rules, part, 3, 4)
	requireNoError(t, "restore", d.restore(t.Context(), target, rules))
	d.mustBeProved(t, s, name)
}

// TestDrilledEvents: an event of a database that is made for a trial does not run.
func TestDrilledEvents(t *testing.T) {
	t.Parallel()
	s := server(t, "event_scheduler=1")
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE n (i int PRIMARY KEY AUTO_INCREMENT); CREATE EVENT `ENABLE` ON SCHEDULE EVERY 1 DAY COMMENT 'ENABLE DO' DO INSERT INTO n VALUES (NULL); CREATE EVENT off ON SCHEDULE EVERY 1 DAY DISABLE DO INSERT INTO n VALUES (NULL)")
	d := dumpDatabase(t, s.URL(db), "")
	for name, want := range map[string]string{drivers.ScratchPrefix + "x": "DISABLED,DISABLED", s.NewName(): "ENABLED,DISABLED"} {
		requireNoError(t, "restore", d.restore(t.Context(), openSource(t, s.URL(name), ""), d.rules()))
		if got := s.Query("", "SELECT GROUP_CONCAT(status ORDER BY event_name) FROM information_schema.events WHERE event_schema = '"+name+"'"); got != want {
			t.Errorf("the events of %s are %s, want %s", name, got, want)
		}
		if strings.HasPrefix(name, drivers.ScratchPrefix) {
			requireNoError(t, "drop", openSource(t, s.URL(name), "").Drop(t.Context(), name))
		}
	}
}

// TestEstimates: a table is cut by what the server estimates, on every server.
func TestEstimates(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE n (i int PRIMARY KEY); INSERT INTO n WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 49) SELECT i FROM n")
	s.Exec(db, "CREATE TABLE t (i int PRIMARY KEY, c char(250)); INSERT INTO t SELECT a.i * 50 + b.i, REPEAT('x', 250) FROM n a JOIN n b; ANALYZE TABLE t")
	d := dumpDatabase(t, s.URL(db), `{"chunk": 65536}`)
	var r ref
	requireNoError(t, "ref", json.Unmarshal(d.part(t, "t").Ref, &r))
	if r.Ranges < 5 || r.Ranges > 60 {
		t.Errorf("a table of 700 kB was cut into %d ranges", r.Ranges)
	}
	d.mustProve(t, s, s.NewName())
}
