package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/internal/testenv"
)

// occupied makes a database with something in it that the dump lacks.
func occupied(s *testenv.PostgresServer, owner string) string {
	name := s.NewDatabase()
	s.Exec(name, "CREATE TABLE precious AS SELECT 42 AS i")
	if owner != "" {
		s.Exec("postgres", "ALTER DATABASE "+name+" OWNER TO "+owner)
	}
	return name
}

// keeps fails where a database was changed or something was left beside it.
func keeps(t *testing.T, s *testenv.PostgresServer, name string) {
	t.Helper()
	if got := s.Query(name, "SELECT i, (SELECT count(*) FROM pg_namespace WHERE nspname = 'salvor_progress') FROM precious"); got != "42|0" {
		t.Errorf("the database holds %q", got)
	}
	if got := s.Query("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'salvor_new%'"); got != "0" {
		t.Errorf("%s new databases are left", got)
	}
}

// edited changes what the dump says of its database.
func (d *stash) edited(t *testing.T, edit func(*database)) []drivers.Part {
	t.Helper()
	parts := append([]drivers.Part(nil), d.parts...)
	for i := range parts {
		r, err := readRef(parts[i])
		requireNoError(t, "read ref", err)
		if r.Kind != kindSchema {
			continue
		}
		edit(r.Database)
		parts[i].Ref, err = json.Marshal(r)
		requireNoError(t, "marshal", err)
	}
	return parts
}

// TestCleanKeepsUntilSure lets everything fail that can: the old database is dropped only when the new one is there.
func TestCleanKeepsUntilSure(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), "", nil)
	rules := d.rules()
	rules.Clean = true

	s.Exec("postgres", "CREATE ROLE poor LOGIN")
	name := occupied(s, "poor")
	poor := openSource(t, s.URLAs(name, "poor", ""), "")
	if err := poor.CheckTarget(t.Context(), rules, d.parts); !errors.Is(err, drivers.ErrAccess) || hintText(err) == "" {
		t.Errorf("check as an owner without CREATEDB: %v", err)
	}
	if err := poor.install(t.Context(), mustRead(t, poor, rules, d.parts), mustLook(t, poor, rules, d)); !errors.Is(err, drivers.ErrAccess) {
		t.Errorf("replace as an owner without CREATEDB: %v", err)
	}
	keeps(t, s, name)

	target := openSource(t, s.URL(name), "")
	err := target.Prepare(t.Context(), rules, d.edited(t, func(db *database) { db.Collate, db.Ctype = "xx_XX", "xx_XX" }))
	if err == nil || !strings.Contains(err.Error(), "create database") {
		t.Errorf("prepare with a locale that the server lacks: %v", err)
	}
	keeps(t, s, name)
	for what, parts := range map[string][]drivers.Part{
		"two statements": d.edited(t, func(db *database) {
			db.GrantsOnly, db.Grants = true, []string{"GRANT CREATE ON DATABASE %s TO x; DROP TABLE precious"}
		}),
		"no database": d.edited(t, func(db *database) { *db = database{} })[:0],
	} {
		if err := target.Prepare(t.Context(), rules, parts); !errors.Is(err, drivers.ErrCorrupt) {
			t.Errorf("prepare with %s: %v", what, err)
		}
	}

	if err := target.Prepare(t.Context(), rules, d.edited(t, func(db *database) { db.Owner = "gone" })); !errors.Is(err, drivers.ErrFailed) || !strings.Contains(hintText(err), "create the role") {
		t.Errorf("prepare where the owner is missing: %v (hint %q)", err, hintText(err))
	}
	keeps(t, s, name)

	damaged := *d
	damaged.content = map[string][]byte{"schema": d.content["schema"][:len(d.content["schema"])/2], "sequences": d.content["sequences"]}
	bad := damaged.rules()
	bad.Clean = true
	if err := target.CheckTarget(t.Context(), bad, d.parts); err == nil {
		t.Error("check with half a schema: no error")
	}
	if err := target.Prepare(t.Context(), bad, d.parts); err == nil {
		t.Error("prepare with half a schema: no error")
	}
	damaged.content = map[string][]byte{"schema": d.content["schema"], "sequences": []byte("SELECT pg_catalog.setval('s', 1, true); DROP TABLE precious;\n")}
	if err := target.Prepare(t.Context(), bad, d.parts); !errors.Is(err, drivers.ErrCorrupt) {
		t.Errorf("prepare with other statements among the sequences: %v", err)
	}
	keeps(t, s, name)

	for _, only := range []drivers.Target{{Overwrite: true}, {Mirror: true}} {
		only.Run, only.Open, only.Create = rules.Run, rules.Open, true
		if err := target.Prepare(t.Context(), only, d.parts); !errors.Is(err, drivers.ErrNotEmpty) || !strings.Contains(hintText(err), "--clean") {
			t.Errorf("prepare with %+v: %v (hint %q)", only, err, hintText(err))
		}
	}
	keeps(t, s, name)

	s.Exec(name, "CREATE SUBSCRIPTION sub CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE)")
	if err := target.CheckTarget(t.Context(), rules, d.parts); !errors.Is(err, drivers.ErrFailed) || !strings.Contains(hintText(err), "DROP SUBSCRIPTION") {
		t.Errorf("check of a database with a subscription: %v (hint %q)", err, hintText(err))
	}
	f := mustLook(t, target, rules, d)
	if err := target.install(t.Context(), mustRead(t, target, rules, d.parts), f); !errors.Is(err, drivers.ErrFailed) || !strings.Contains(hintText(err), "DROP SUBSCRIPTION") {
		t.Errorf("replace a database with a subscription: %v (hint %q)", err, hintText(err))
	}
	keeps(t, s, name)
	s.Exec(name, "DROP SUBSCRIPTION sub")
	requireNoError(t, "restore", d.restore(t.Context(), target, rules))
	if got := s.Query(name, "SELECT to_regclass('precious') IS NULL, (SELECT count(*) FROM shop.customer)"); got != "t|4000" {
		t.Errorf("after the restore: %s", got)
	}
}

func mustRead(t *testing.T, s *Source, rules drivers.Target, parts []drivers.Part) *recipe {
	t.Helper()
	r, err := s.readRecipe(t.Context(), rules, parts)
	requireNoError(t, "read recipe", err)
	return r
}

func mustLook(t *testing.T, s *Source, rules drivers.Target, d *stash) *found {
	t.Helper()
	f, err := s.look(t.Context(), rules, mustRead(t, s, rules, d.parts).c)
	requireNoError(t, "look", err)
	return f
}

// TestCleanGoesOn ends attempts at every step of replacing a database: the next goes on, and loses nothing of what is set
// for the database. One that was stopped and wakes up late drops nothing.
func TestCleanGoesOn(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	s.Exec("postgres", "CREATE ROLE keeper; CREATE ROLE app LOGIN; ALTER DATABASE "+db+" OWNER TO keeper; COMMENT ON DATABASE "+db+" IS 'it; is'; "+
		"ALTER DATABASE "+db+" SET work_mem = '5MB'; ALTER ROLE app IN DATABASE "+db+" SET search_path = shop, \"a b\"; "+
		"ALTER DATABASE "+db+" CONNECTION LIMIT 7; ALTER DATABASE "+db+" IS_TEMPLATE true; REVOKE ALL ON DATABASE "+db+" FROM PUBLIC; "+
		"GRANT CONNECT ON DATABASE "+db+" TO app WITH GRANT OPTION")
	d := dumpDatabase(t, s.URL(db), "", nil)
	const about = `SELECT pg_get_userbyid(datdba), datconnlimit, datistemplate, shobj_description(d.oid, 'pg_database'),
		ARRAY(SELECT a::text FROM unnest(datacl) a ORDER BY 1), ARRAY(SELECT setrole::regrole || array_to_string(setconfig, ';') FROM pg_db_role_setting
		WHERE setdatabase = d.oid ORDER BY 1) FROM pg_database d WHERE datname = current_database()`
	want := s.Query(db, about)
	if !strings.Contains(want, `search_path=shop`) || !strings.Contains(want, "keeper|7|t") {
		t.Fatalf("the source is set so: %s", want)
	}
	rules := d.rules()
	rules.Create, rules.Clean = false, true
	r := mustRead(t, openSource(t, s.URL("x"), ""), rules, d.parts)
	c := r.c
	for what, stop := range map[string]func(target *Source, name string){
		"after create": func(target *Source, _ string) {
			m, err := target.connectBeside(t.Context(), "test")
			requireNoError(t, "connect", err)
			defer m.close(t.Context())
			requireNoError(t, "create", target.at(newName(rules.Run, target.config.Database)).create(t.Context(), m, c.schemaRef.Database))
		},
		"after drop": func(target *Source, name string) {
			m, err := target.connectBeside(t.Context(), "test")
			requireNoError(t, "connect", err)
			defer m.close(t.Context())
			fresh := target.at(newName(rules.Run, target.config.Database))
			requireNoError(t, "create", fresh.create(t.Context(), m, c.schemaRef.Database))
			requireNoError(t, "fill", fresh.fillFresh(t.Context(), r, name))
			requireNoError(t, "drop", m.dropDatabase(t.Context(), name))
		},
		"after rename": func(target *Source, _ string) {
			requireNoError(t, "install", target.install(t.Context(), r, mustLook(t, target, rules, d)))
		},
	} {
		name := occupied(s, "")
		target := openSource(t, s.URL(name), "")
		stopped := mustLook(t, target, rules, d)
		stop(target, name)
		requireNoError(t, what+": restore", d.restore(t.Context(), openSource(t, s.URL(name), ""), rules))
		if diff := cmp.Diff(want, s.Query(name, about)); diff != "" {
			t.Errorf("%s: the database (-source +restored):\n%s", what, diff)
		}
		for _, f := range []*found{stopped, {state: stateAbsent}} {
			if err := target.install(t.Context(), r, f); !errors.Is(err, errChanged) {
				t.Errorf("%s: an attempt that wakes up late: %v", what, err)
			}
		}
		if got := s.Query(name, "SELECT count(*) FROM shop.customer"); got != "4000" {
			t.Errorf("%s: %s rows", what, got)
		}
		if got := s.Query("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'salvor_new%'"); got != "0" {
			t.Errorf("%s: %s new databases are left", what, got)
		}
	}
}

// TestDropRefuses drops what a drill made and nothing else, whatever the URL says.
func TestDropRefuses(t *testing.T) {
	t.Parallel()
	s := server(t)
	name := occupied(s, "")
	const scratch = drivers.ScratchPrefix + "0123"
	for _, source := range []string{s.URL("postgres") + "&database=" + name, s.URL("postgres") + "&dbname=" + name, s.SocketDSN("postgres") + " database=" + name} {
		place, err := parsePlace(source, "")
		requireNoError(t, "parse", err)
		target := openSource(t, place.renamed(scratch), "")
		if target.config.Database != scratch {
			t.Errorf("%s stands for database %s", source, target.config.Database)
		}
		requireNoError(t, "drop", target.Drop(t.Context(), scratch))
	}
	for _, other := range []string{name, scratch} {
		if err := openSource(t, s.URL(name), "").Drop(t.Context(), other); !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("drop %s as %s: %v", name, other, err)
		}
	}
	keeps(t, s, name)
}

// TestScratchDatabase drills a database on a server without its roles: no role is made there, and the scratch can be dropped.
func TestScratchDatabase(t *testing.T) {
	t.Parallel()
	s, other := server(t), server(t)
	db := seeded(t, s)
	s.Exec(db, "CREATE ROLE gone PASSWORD 'x'; CREATE ROLE app; ALTER TABLE shop.counter OWNER TO gone; GRANT SELECT ON shop.customer TO app; "+
		"CREATE POLICY p ON shop.customer TO app USING (true); ALTER DEFAULT PRIVILEGES FOR ROLE gone GRANT SELECT ON TABLES TO app; "+
		"COMMENT ON POLICY p ON shop.customer IS 'p'; CREATE SUBSCRIPTION sub CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false); "+
		"COMMENT ON SUBSCRIPTION sub IS 's'; ALTER DATABASE "+db+" OWNER TO gone")
	d := dumpDatabase(t, s.URL(db), `{"globals": true}`, nil)
	const scratch = drivers.ScratchPrefix + "4567"
	d.mustProve(t, other, scratch)
	if got := other.Query("postgres", "SELECT count(*) FROM pg_roles WHERE rolname IN ('gone', 'app')"); got != "0" {
		t.Errorf("the drill made %s roles", got)
	}
	requireNoError(t, "drop", openSource(t, other.URL(scratch), "").Drop(t.Context(), scratch))
	if got := other.Query("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'salvor%'"); got != "0" {
		t.Errorf("%s databases are left", got)
	}
	s.Exec(db, "ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub")
}

// TestLateResume resumes a restore with Clean when another one has put its own database in that place: that one stays.
func TestLateResume(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), "", nil)
	name := occupied(s, "")
	target := openSource(t, s.URL(name), "")
	first := ""
	early := d.rules()
	early.Create, early.Clean = false, true
	early.Found = func(_ context.Context, what string) (string, error) {
		if first == "" {
			first = what
		}
		return first, nil
	}
	requireNoError(t, "check", target.CheckTarget(t.Context(), early, d.parts))
	other := d.rules()
	other.Run, other.Create, other.Clean = "other", false, true
	requireNoError(t, "restore", d.restore(t.Context(), target, other))
	s.Exec(name, "CREATE TABLE written_since AS SELECT 1 AS n")
	for what, err := range map[string]error{
		"check":   target.CheckTarget(t.Context(), early, d.parts),
		"prepare": target.Prepare(t.Context(), early, d.parts),
	} {
		if !errors.Is(err, drivers.ErrNotEmpty) || !strings.Contains(err.Error(), "another was put in its place since") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := s.Query(name, "SELECT n FROM written_since"); got != "1" {
		t.Errorf("what was written since: %q", got)
	}
	// What it found may be gone, and then it is made anew.
	s.Exec("postgres", "DROP DATABASE "+name)
	requireNoError(t, "restore", d.restore(t.Context(), target, early))
}

// TestNeverDropped lists what --clean leaves alone, whatever the role may do.
func TestNeverDropped(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), "", nil)
	rules := d.rules()
	rules.Create, rules.Clean = false, true
	marked := occupied(s, "")
	s.Exec("postgres", "ALTER DATABASE "+marked+" IS_TEMPLATE true")
	for name, want := range map[string]string{marked: "it is a template", "template1": "it is the server's own"} {
		err := openSource(t, s.URL(name), "").CheckTarget(t.Context(), rules, d.parts)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("restore over %s: %v, want %q", name, err, want)
		}
	}
}

// TestKeptOut: while it is filled, a new database is open to nobody but its maker and superusers; then it is as ever.
func TestKeptOut(t *testing.T) {
	t.Parallel()
	s := server(t)
	s.Exec("postgres", "CREATE ROLE kept_out LOGIN")
	d := dumpDatabase(t, s.URL(seeded(t, s)), "", nil)
	rules := d.rules()
	name := s.NewName()
	target := openSource(t, s.URL(name), "")
	may := "SELECT has_database_privilege('kept_out', '" + name + "', 'CONNECT')::text"
	requireNoError(t, "prepare", target.Prepare(t.Context(), rules, d.parts))
	if got := s.Query("postgres", may); got != "false" {
		t.Errorf("another role may connect to a database that is not whole: %s", got)
	}
	requireNoError(t, "restore", d.restore(t.Context(), target, rules))
	if got := s.Query("postgres", may); got != "true" {
		t.Errorf("another role may connect to the restored database: %s", got)
	}
}
