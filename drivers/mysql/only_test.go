package mysql

import (
	"strings"
	"testing"
)

// TestOnly restores a table beside others, and replaces it where that is allowed.
func TestOnly(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE p (i int PRIMARY KEY); CREATE TABLE `c/d` (i int PRIMARY KEY AUTO_INCREMENT, p int, KEY (p), CONSTRAINT c_p FOREIGN KEY (p) REFERENCES p (i)); "+
		"INSERT INTO p VALUES (1), (2); INSERT INTO `c/d` VALUES (5, 1), (6, 2); CREATE TRIGGER tr BEFORE INSERT ON `c/d` FOR EACH ROW SET NEW.p = 1; CREATE VIEW v AS SELECT * FROM p")
	d := dumpDatabase(t, s.URL(db), "")
	target := s.NewDatabase()
	s.Exec(target, "CREATE TABLE keep (i int); INSERT INTO keep VALUES (7)")
	only := func(clean bool, names ...string) error {
		rules := d.rules()
		rules.Only, rules.Clean, rules.Create = names, clean, false
		return d.restore(t.Context(), openSource(t, s.URL(target), ""), rules)
	}
	requireNoError(t, "restore one", only(false, "c%2Fd"))
	if got := s.Query(target, "SELECT (SELECT GROUP_CONCAT(i, p) FROM `c/d`), (SELECT i FROM keep), (SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = '"+target+"'), "+
		"(SELECT COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = '"+target+"'), (SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = '"+target+"')"); got != "51,62|7|2|0|1" {
		t.Errorf("after one: %s", got)
	}
	requireNoError(t, "restore one again", only(false, "c%2Fd"))
	s.Exec(target, "DELETE FROM `c/d` WHERE i = 5")
	if err := only(false, "c%2Fd"); err == nil || !strings.Contains(hintText(err), "--clean") {
		t.Errorf("restore over another table = %v (hint %q)", err, hintText(err))
	}
	requireNoError(t, "replace", only(true, "c%2Fd", "p"))
	if got := s.Query(target, "SELECT (SELECT COUNT(*) FROM `c/d`), (SELECT COUNT(*) FROM p), (SELECT COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = '"+target+"')"); got != "2|2|1" {
		t.Errorf("after both: %s", got)
	}
	s.Exec(target, "INSERT INTO p VALUES (3)")
	if err := only(true, "p"); err == nil || !strings.Contains(err.Error(), "refers to it") || s.Query(target, "SELECT COUNT(*) FROM p") != "3" {
		t.Errorf("replace a table that another refers to = %v", err)
	}
	if left := s.Query("", "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_NAME LIKE 'salvor%'"); left != "0" {
		t.Errorf("%s tables are left", left)
	}
}
