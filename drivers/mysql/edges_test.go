package mysql

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"salvor/drivers"
	"salvor/internal/testenv"
)

// TestFoldedNames restores tables whose names differ by case alone onto a server that does not tell them apart: it is refused, and
// no rows are mixed.
func TestFoldedNames(t *testing.T) {
	t.Parallel()
	s := server(t)
	target := server(t, "lower_case_table_names=1")
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE `Case` (i int PRIMARY KEY); INSERT INTO `Case` VALUES (1)")
	name := target.NewName()
	dumpDatabase(t, s.URL(db), "").mustProve(t, target, name)
	s.Exec(db, "CREATE TABLE `case` (i int PRIMARY KEY); INSERT INTO `case` VALUES (2)")
	d := dumpDatabase(t, s.URL(db), "")
	name = target.NewName()
	err := d.restore(t.Context(), openSource(t, target.URL(name), ""), d.rules())
	if err == nil || !strings.Contains(strings.ToLower(err.Error()), "case") {
		t.Errorf("restore of two tables of one name: %v (hint %q)", err, hintText(err))
	}
	if got, err := target.Do(t.Context(), name, "SELECT COUNT(*) FROM `case`"); err == nil && got == "2" {
		t.Error("the rows of two tables are in one")
	}
}

// TestOddDefinitions dumps definitions whose texts look like others.
func TestOddDefinitions(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE odd (\n"+
		"`id` int NOT NULL AUTO_INCREMENT COMMENT ') ENGINE=InnoDB AUTO_INCREMENT=5;\n  PRIMARY KEY (`x`),\n  KEY `a` (`b`)',\n"+
		"`PRIMARY KEY` int DEFAULT 5 COMMENT '-- not a comment',\n"+
		"`KEY ``x`` (``y``),` varchar(50) DEFAULT ',\n  KEY `z` (`q`)\n) ENGINE=MyISAM',\n"+
		"`c` varchar(20) DEFAULT '/* x */ # y \\\\ '' \"',\n"+
		"`d` int GENERATED ALWAYS AS (length(concat(`c`,', KEY (`x`), FOREIGN KEY (y) REFERENCES z'))) VIRTUAL,\n"+
		"PRIMARY KEY (`id`), KEY `) ENGINE=` (`PRIMARY KEY`) COMMENT 'KEY `k` (`l`),', UNIQUE KEY `FOREIGN KEY` (`c`,`PRIMARY KEY`),\n"+
		"CONSTRAINT `, KEY ``(` CHECK (`c` <> ', FOREIGN KEY (`a`) REFERENCES `b` (`c`)')\n"+
		") AUTO_INCREMENT=77 COMMENT='AUTO_INCREMENT=5 ) ENGINE=x PARTITION BY HASH (a)';\n"+
		"INSERT INTO odd (`PRIMARY KEY`) VALUES (1), (2);\n"+
		"CREATE TABLE refers (id int PRIMARY KEY, o int, p varchar(20), q int, CONSTRAINT `KEY ``(` FOREIGN KEY (o) REFERENCES odd (id) ON DELETE CASCADE ON UPDATE NO ACTION,\n"+
		"CONSTRAINT `second` FOREIGN KEY (p, q) REFERENCES odd (c, `PRIMARY KEY`)) COMMENT 'CONSTRAINT `x` FOREIGN KEY (a) REFERENCES b (c)'")
	other := server(t)
	for _, sql := range []string{
		"CREATE TABLE no_primary (a int AUTO_INCREMENT, b int NOT NULL, UNIQUE KEY (b), KEY (a), FULLTEXT KEY (c), c text)",
		"CREATE TABLE auto_in_the_middle (a int, b int, c int NOT NULL AUTO_INCREMENT, KEY k1 (a), KEY k2 (c, a), KEY k3 (b), PRIMARY KEY (b, c))",
		"CREATE TABLE parts_of_parts (i int, KEY (i)) PARTITION BY RANGE (i) (PARTITION `KEY (x)` VALUES LESS THAN (5) COMMENT = ', KEY (`y`)', PARTITION p1 VALUES LESS THAN MAXVALUE)",
	} {
		s.Exec(db, sql)
	}
	name := other.NewName()
	dumpDatabase(t, s.URL(db), "").mustProve(t, other, name)
	requireSame(t, s, db, other, name)
}

// TestOddDatabases dumps and restores databases with names of all kinds.
func TestOddDatabases(t *testing.T) {
	t.Parallel()
	s := server(t)
	for _, db := range []string{"a b", "we`ird/db%20.x-ü", "select", strings.Repeat("x", 64), "MiXed", "a?b#c@d:e&f=g", `back\slash'quote"`} {
		s.Exec("", "CREATE DATABASE "+ident(db))
		s.Exec("", "USE "+ident(db)+"; CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT i FROM t; CREATE FUNCTION f() RETURNS int DETERMINISTIC RETURN 5")
		d := dumpDatabase(t, s.URL(db), "")
		name := "r" + db[1:]
		d.mustProve(t, s, name)
		if got := s.Query("", "USE "+ident(name)+"; SELECT i, f() FROM v"); got != "1|5" {
			t.Errorf("database %s holds %s", name, got)
		}
		rules := d.rules()
		rules.Clean = true
		rules.Run += "2"
		s.Exec("", "USE "+ident(name)+"; DROP TABLE t")
		requireNoError(t, "restore over it", d.restore(t.Context(), openSource(t, s.URL(name), ""), rules))
	}
}

// TestLargeRows dumps and restores rows of more than a packet of the protocol holds.
func TestLargeRows(t *testing.T) {
	t.Parallel()
	s := server(t, "max_allowed_packet=256M", "loose-innodb_log_file_size=128M", "loose-innodb-redo-log-capacity=512M")
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE t (i int PRIMARY KEY, a longblob, b longtext)")
	s.Exec(db, "INSERT INTO t VALUES (1, REPEAT(x'0a5c0900', 5000000), REPEAT('é', 6000000)), (2, REPEAT('x', 16777215), ''), (3, REPEAT('y', 16777216), 'b'), (4, '', NULL)")
	d := dumpDatabase(t, s.URL(db), "")
	name := s.NewName()
	d.mustProve(t, s, name)
	if want, got := checksums(t, s, db), checksums(t, s, name); want != got {
		t.Errorf("checksums %s, want %s", got, want)
	}
}

// TestInvalidText dumps text that is not valid in its column's character set, as old versions let it in.
func TestInvalidText(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	// No statement writes such text any more. Rows of bytes take the place of rows of text, by the files.
	s.Exec(db, `CREATE TABLE raw (k int, a varbinary(200)) ENGINE = MyISAM; CREATE TABLE bad (k int, a varchar(50)) ENGINE = MyISAM CHARACTER SET utf8mb4;
		INSERT INTO raw VALUES (1, x'61ff62'), (2, x'f09f98'), (3, x'eda080'), (4, x'c3090a5c'), (5, 'valid'); FLUSH TABLES`)
	for _, ext := range []string{".MYD", ".MYI"} {
		data, err := os.ReadFile(filepath.Join(s.Dir, "data", db, "raw"+ext))
		requireNoError(t, "read", err)
		requireNoError(t, "write", os.WriteFile(filepath.Join(s.Dir, "data", db, "bad"+ext), data, 0o600))
	}
	s.Exec(db, "FLUSH TABLES; DROP TABLE raw")
	if !s.MySQL { // which looks at the text
		s.Exec(db, "ALTER TABLE bad ENGINE = InnoDB")
	}
	const bytes = "SELECT k, HEX(a) FROM bad ORDER BY k"
	if got := s.Query(db, bytes); got != "1|61FF62\n2|F09F98\n3|EDA080\n4|C3090A5C\n5|76616C6964" {
		t.Fatalf("the source holds %s", got)
	}
	s.Exec(db, "CREATE TABLE good (k int PRIMARY KEY); INSERT INTO good VALUES (1)")
	d := dumpDatabase(t, s.URL(db), "")
	if content := string(d.content["bad"]); !strings.Contains(content, "1\ta\xffb\n") {
		t.Errorf("the dump holds %q", content)
	}
	// A server takes such text from nobody: that is said, and nothing is changed on the way.
	for _, infile := range []string{"1", "0"} {
		target := server(t, "local_infile="+infile)
		name, rules := target.NewName(), d.rules()
		err := d.restore(t.Context(), openSource(t, target.URL(name), ""), rules)
		if !errors.Is(err, drivers.ErrFailed) || !strings.Contains(err.Error(), "bad") || !strings.Contains(hintText(err), "not valid in its column's character set") {
			t.Errorf("restore of text that is not valid: %v (hint %q)", err, hintText(err))
		}
		var problems []string
		name, rules.Continue, rules.Problem = target.NewName(), true, func(name, _ string) { problems = append(problems, name) }
		requireNoError(t, "restore the rest", d.restore(t.Context(), openSource(t, target.URL(name), ""), rules))
		if got := target.Query(name, "SELECT (SELECT COUNT(*) FROM bad), (SELECT COUNT(*) FROM good)"); got != "0|1" || len(problems) != 1 {
			t.Errorf("the copy holds %s, problems %q", got, problems)
		}
	}
}

// TestIdleWriters opens a view beside a transaction that has written and does not end: the view neither waits for it nor shows
// what it wrote.
func TestIdleWriters(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	writer := someone(t, s, db)
	for _, sql := range []string{"START TRANSACTION", "DELETE FROM no_key", "UPDATE customer SET name = CONCAT('x', name)"} {
		requireNoError(t, sql, writer.exec(t.Context(), sql))
	}
	began := time.Now()
	d := dumpDatabase(t, s.URL(db), `{"lock_timeout": 10}`)
	t.Logf("it took %v", time.Since(began))
	requireNoError(t, "commit", writer.exec(t.Context(), "COMMIT"))
	name := s.NewName()
	d.mustProve(t, s, name)
	if got := s.Query(name, "SELECT (SELECT COUNT(*) FROM no_key), (SELECT COUNT(*) FROM customer WHERE name LIKE 'x%')"); got != "1000|0" {
		t.Errorf("the copy holds %s", got)
	}
}

// TestDeadSessions ends the view's sessions one by one: it lasts as long as the last of those that keep it.
func TestDeadSessions(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	want := dumpDatabase(t, s.URL(db), "")
	v, err := openLimited(t, s.URL(db), "", 3).Freeze(t.Context())
	requireNoError(t, "freeze", err)
	s.Exec(db, "DELETE FROM `or.der/x`; DELETE FROM no_key")
	var parts []drivers.Part
	requireNoError(t, "parts", v.Parts(t.Context(), func(p drivers.Part) error {
		parts = append(parts, p)
		return nil
	}))
	lost := 0
	for sessions := 5; sessions > 0; sessions-- {
		var list []string
		alive := func(n int) func() string {
			return func() string {
				list = strings.Fields(s.Query("", "SELECT id FROM information_schema.processlist WHERE user = '"+testenv.MariaDBUser+"' AND id <> CONNECTION_ID() ORDER BY id DESC"))
				if len(list) != n {
					return fmt.Sprintf("%d sessions, want %d", len(list), n)
				}
				return ""
			}
		}
		testenv.Eventually(t, 10*time.Second, alive(sessions))
		s.Exec("", "KILL "+list[0])
		testenv.Eventually(t, 10*time.Second, alive(sessions-1))
		for _, p := range parts {
			if p.Base {
				continue
			}
			var out objects
			for range 6 { // a session that is dead is noticed by its use
				out = objects{}
				if _, err = v.Dump(t.Context(), p, &out); err == nil {
					break
				}
			}
			switch {
			case errors.Is(err, drivers.ErrViewLost):
				lost++
			case err != nil:
				t.Errorf("%d sessions left: dump %s: %v", sessions-1, p.Name, err)
			case out.String() != string(want.content[p.Name]):
				t.Errorf("%d sessions left: %s differs", sessions-1, p.Name)
			}
		}
		if lost > 0 {
			t.Logf("the view is lost with %d sessions left", sessions-1)
			break
		}
	}
	if err := v.Alive(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("alive without sessions: %v", err)
	}
	if err := v.End(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("end without sessions: %v", err)
	}
}

// TestManyTables dumps a database of more tables than a statement names, and of many columns and partitions.
func TestManyTables(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	var sql strings.Builder
	for i := range 300 {
		fmt.Fprintf(&sql, "CREATE TABLE t%d (i int PRIMARY KEY, j int, KEY (j)); INSERT INTO t%[1]d VALUES (%[1]d, 1);", i)
	}
	s.Exec(db, sql.String())
	columns := make([]string, 500)
	for i := range columns {
		columns[i] = fmt.Sprintf("c%d varchar(3) DEFAULT 'x'", i)
	}
	s.Exec(db, "CREATE TABLE wide (id int PRIMARY KEY, "+strings.Join(columns, ", ")+") CHARACTER SET latin1; INSERT INTO wide (id) VALUES (1), (2)")
	s.Exec(db, "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 200; INSERT INTO parted VALUES (1), (2), (3)")
	d := dumpDatabase(t, s.URL(db), "")
	name := s.NewName()
	d.mustProve(t, s, name)
	if want, got := checksums(t, s, db), checksums(t, s, name); want != got {
		t.Errorf("checksums %s, want %s", got, want)
	}
}

// TestServerRules restores onto servers that have rules for new tables, which the old ones break.
func TestServerRules(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := features(t, s)
	rules := []string{"default_storage_engine=MyISAM", "explicit_defaults_for_timestamp=0"}
	if s.MySQL {
		rules = []string{"sql_require_primary_key=ON", "sql_generate_invisible_primary_key=ON", "default_storage_engine=MyISAM", "explicit_defaults_for_timestamp=0"}
	}
	for _, rule := range rules {
		target := server(t, rule)
		name := target.NewName()
		dumpDatabase(t, s.URL(db), "").mustProve(t, target, name)
		requireSame(t, s, db, target, name)
	}
	if s.MySQL {
		// An account that may not change the rule restores what keeps to it.
		target := server(t, rules[0])
		db := s.NewDatabase()
		s.Exec(db, "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1)")
		target.Exec("", "CREATE DATABASE mine; CREATE USER plain; GRANT ALL ON mine.* TO plain")
		d := dumpDatabase(t, s.URL(db), "")
		requireNoError(t, "restore", d.restore(t.Context(), openSource(t, target.URLAs("mine", "plain", ""), ""), d.rules()))
		d.mustBeProved(t, target, "mine")
	}
}

// TestReadOnly restores onto a server that takes no writes.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), "")
	target := server(t)
	target.Exec("", "CREATE USER plain; GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES ON *.* TO plain; SET GLOBAL read_only = 1; CREATE DATABASE there")
	err := d.restore(t.Context(), openSource(t, target.URLAs("there", "plain", ""), ""), d.rules())
	if err == nil || !strings.Contains(err.Error(), "read-only") && !strings.Contains(err.Error(), "read_only") {
		t.Errorf("restore onto a server for reading only: %v (hint %q)", err, hintText(err))
	}
	t.Log(err, hintText(err))
}

// TestZeroNumbers restores rows whose AUTO_INCREMENT is 0, in tables whose other columns are written by expressions.
func TestZeroNumbers(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, `SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
		CREATE TABLE e (id int AUTO_INCREMENT PRIMARY KEY, s enum('a','b'), t set('x','y'), n bigint unsigned, d decimal(40,10), g double, f float);
		INSERT INTO e VALUES (0, 'a', 'x,y', 18446744073709551615, 123456789012345678901234567890.0123456789, -0e0, 0.1), (1, 'b', NULL, 5, NULL, 2, NULL), (-3, 'a', '', 0, -0.5, 1e308, 16777217);
		CREATE TABLE j (g bigint AUTO_INCREMENT PRIMARY KEY, j json, e enum('a')); INSERT INTO j VALUES (0, '{"a": 1}', 'a'), (7, NULL, 'a')`)
	if !s.MySQL {
		s.Exec(db, `SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'; CREATE TABLE u (id int AUTO_INCREMENT PRIMARY KEY, u uuid, i inet6); INSERT INTO u VALUES (0, UUID(), '::1'), (1, NULL, '::2')`)
	}
	want := checksums(t, s, db)
	d := dumpDatabase(t, s.URL(db), "")
	for _, infile := range []string{"1", "0"} {
		target := server(t, "local_infile="+infile)
		name := target.NewName()
		d.mustProve(t, target, name)
		if got := checksums(t, target, name); got != want {
			t.Errorf("local_infile=%s: checksums %s, want %s", infile, got, want)
		}
	}
}
