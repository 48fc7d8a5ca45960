package postgres

import (
	"slices"
	"strings"
	"testing"

	"salvor/internal/testenv"
)

// TestServersArrayNulls: a server that takes NULL within an array for a text is told not to.
func TestServersArrayNulls(t *testing.T) {
	t.Parallel()
	s := server(t, "array_nulls = off")
	db := s.NewDatabase()
	s.Exec(db, `SET array_nulls = on; CREATE TABLE t (a text[] DEFAULT '{x,NULL}'); INSERT INTO t VALUES ('{a,NULL}'), ('{"NULL"}')`)
	name := s.NewName()
	dumpDatabase(t, s.URL(db), "", nil).mustProve(t, s, name)
	const look = "SELECT count(*) FILTER (WHERE a[2] IS NULL AND cardinality(a) = 2), count(*) FILTER (WHERE a[1] = 'NULL') FROM t"
	if got := s.Query(name, look); got != "1|1" {
		t.Errorf("arrays with a NULL and with the text: %s", got)
	}
	s.Exec(name, "INSERT INTO t DEFAULT VALUES")
	if got := s.Query(name, look); got != "2|1" {
		t.Errorf("arrays with a NULL and with the text: %s", got)
	}
}

// TestListSettings: settings of a database that are lists of names come back, empty names too.
func TestListSettings(t *testing.T) {
	t.Parallel()
	s := server(t)
	for _, list := range []string{"''", "'', 'a'", "'a, b', public, '\"$user\"', 'it''s'", "'$user', public"} {
		db := s.NewDatabase()
		s.Exec(db, "ALTER DATABASE "+db+" SET search_path = "+list+"; ALTER DATABASE "+db+" SET temp_tablespaces = ''; CREATE TABLE public.t (i int)")
		name := s.NewName()
		dumpDatabase(t, s.URL(db), "", nil).mustProve(t, s, name)
		const look = "SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())"
		if want, got := s.Query(db, look), s.Query(name, look); got != want || want == "" {
			t.Errorf("%s: the settings are %s, want %s", list, got, want)
		}
	}
}

// TestContinueWithoutTable: a table that cannot be made at all keeps nothing else out.
func TestContinueWithoutTable(t *testing.T) {
	t.Parallel()
	s, other := server(t), server(t)
	db := s.NewDatabase()
	s.Exec(db, `CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler; CREATE TABLE v (i int PRIMARY KEY) USING heap2; INSERT INTO v VALUES (1), (2);
		CREATE TABLE w (i int PRIMARY KEY); INSERT INTO w VALUES (7)`)
	d := dumpDatabase(t, s.URL(db), "", nil)
	name := other.NewDatabase()
	other.Exec(name, "CREATE ROLE plain LOGIN; ALTER DATABASE "+name+" OWNER TO plain; ALTER SCHEMA public OWNER TO plain; GRANT plain TO "+testenv.PostgresUser)
	var problems []string
	rules := d.rules()
	rules.Continue, rules.Problem = true, func(name, _ string) { problems = append(problems, name) }
	requireNoError(t, "restore what can be", d.restore(t.Context(), openSource(t, other.URLAs(name, "plain", ""), ""), rules))
	if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, "table public.v") }) {
		t.Errorf("problems %q", problems)
	}
	if got := other.Query(name, "SELECT i, to_regclass('v') IS NULL, (SELECT count(*) FROM pg_index WHERE indrelid = 'w'::regclass) FROM w"); got != "7|t|1" {
		t.Errorf("the other table: %s", got)
	}
	if left := other.Query(name, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'salvor%'"); left != "" {
		t.Errorf("left: %s", left)
	}
}
