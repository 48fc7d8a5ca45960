package mysql

import (
	"strings"
	"testing"

	"salvor/drivers"
	"salvor/internal/secret"
)

// TestGlobals dumps accounts with a database, and restores those that another server lacks.
func TestGlobals(t *testing.T) {
	t.Parallel()
	s, other := server(t), server(t)
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1)")
	s.Exec("", "CREATE ROLE reading; GRANT SELECT ON *.* TO reading; CREATE USER `da'ta`@`10.%` IDENTIFIED BY 'hunter2'; CREATE USER twice IDENTIFIED BY 'one'; "+
		"GRANT reading TO `da'ta`@`10.%`; GRANT INSERT, UPDATE (i) ON "+db+".t TO `da'ta`@`10.%`; GRANT DELETE ON *.* TO twice; CREATE DEFINER = `da'ta`@`10.%` VIEW "+db+".v AS SELECT * FROM "+db+".t")
	other.Exec("", "CREATE USER twice IDENTIFIED BY 'two'; GRANT INSERT ON *.* TO twice")
	before := other.Query("", "SHOW GRANTS FOR twice")
	d := dumpDatabase(t, s.URL(db), `{"globals": true}`)
	if text := string(d.content[globalsName]); !strings.Contains(text, "10.%") || strings.Contains(text, "hunter2") {
		t.Errorf("globals:\n%s", text)
	}
	rules := d.rules()
	var problems []string
	rules.Problem = func(name, message string) { problems = append(problems, name+": "+message) }
	requireNoError(t, "restore", d.restore(t.Context(), openSource(t, other.URL(db), ""), rules))
	if len(problems) > 0 {
		t.Errorf("problems: %q", problems)
	}
	for _, sql := range []string{"SHOW CREATE USER `da'ta`@`10.%`", "SHOW GRANTS FOR `da'ta`@`10.%`", "SHOW GRANTS FOR reading"} {
		if want, got := s.Query("", sql), other.Query("", sql); want != got {
			t.Errorf("%s = %s, want %s", sql, got, want)
		}
	}
	if got := other.Query("", "SHOW GRANTS FOR twice"); got != before {
		t.Errorf("an account that was there has the rights %s, had %s", got, before)
	}
}

// TestMissingDefiner restores a view whose definer the server does not know: it is told, or left out.
func TestMissingDefiner(t *testing.T) {
	t.Parallel()
	s, other := server(t), server(t)
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE t (i int PRIMARY KEY); CREATE USER gone; CREATE DEFINER = gone VIEW v AS SELECT * FROM t; CREATE DEFINER = gone PROCEDURE p() SELECT 1")
	d := dumpDatabase(t, s.URL(db), "")
	for options, want := range map[string]string{"": "gone", `{"definer": "drop"}`: ""} {
		name := other.NewName()
		rules := d.rules()
		var problems []string
		rules.Problem = func(name, message string) { problems = append(problems, name+": "+message) }
		requireNoError(t, "restore", d.restore(t.Context(), openSource(t, other.URL(name), options), rules))
		if all := strings.Join(problems, "; "); (want == "") != (all == "") || !strings.Contains(all, want) {
			t.Errorf("options %s: problems %q", options, all)
		}
		got := other.Query(name, "SELECT COUNT(*) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = '"+name+"' AND DEFINER LIKE 'gone%'")
		if (got == "1") != (want != "") {
			t.Errorf("options %s: %s views have the missing definer", options, got)
		}
	}
}

// TestExpand lists the databases of a server.
func TestExpand(t *testing.T) {
	t.Parallel()
	s := server(t)
	s.Exec("", "CREATE DATABASE shop_a; CREATE DATABASE shop_b; CREATE DATABASE other")
	for patterns, want := range map[string]string{`"all"`: "other,shop_a,shop_b", `["shop_*"]`: "shop_a,shop_b", `"none"`: ""} {
		spec := drivers.Spec{Source: secret.New(s.URL("")), Options: []byte(`{"globals": true, "databases": ` + patterns + `}`)}
		places, err := Kind().Expand(t.Context(), spec)
		var names, globals []string
		for _, p := range places {
			names = append(names, p.Name)
			if strings.Contains(string(p.Options), `"globals":true`) {
				globals = append(globals, p.Name)
			}
		}
		got := strings.Join(names, ",")
		got = strings.ReplaceAll(got, "test,", "")
		if got != want || (want == "") != (err != nil) || want != "" && len(globals) != 1 {
			t.Errorf("%s = %s (globals with %v), %v", patterns, got, globals, err)
		}
	}
}
