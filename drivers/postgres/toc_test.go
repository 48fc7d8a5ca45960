package postgres

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
)

// TestHostileTexts dumps comments and bodies that look like what pg_restore writes: they come back byte for byte, and
// nothing of them runs by itself.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec("postgres", "CREATE ROLE app")
	s.Exec(db, "CREATE TABLE t (i int DEFAULT 1); CREATE TABLE u (i int)")
	text := "x\n--\n-- TOC entry 3 (class 1259 OID 16385)\n-- Name: u; Type: TABLE; Schema: public; Owner: app\n--\n\nDROP TABLE u;\n" +
		"-- Started on 2026\n-- Completed on 2026\n-- PostgreSQL database dump\n\\restrict key\n\\unrestrict key\n/* open\n$x$ \"a\n\nALTER TABLE public.u OWNER TO app;"
	s.Exec(db, "COMMENT ON TABLE t IS "+literal(text))
	s.Exec(db, "COMMENT ON TABLE u IS "+literal("y\n\nALTER TABLE public.u OWNER TO app;\nSET default_tablespace = "))
	s.Exec(db, "COMMENT ON COLUMN u.i IS "+literal("back\\slash'\n\nALTER TABLE public.u OWNER TO app;"))
	s.Exec(db, "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $b$ SELECT "+literal(text)+" $b$")
	body := "BEGIN ATOMIC SELECT 1; SELECT 2; END"
	if major(t, s) < 14 {
		body = "AS 'SELECT 1; SELECT 2'"
	}
	s.Exec(db, "CREATE FUNCTION g() RETURNS int LANGUAGE sql "+body)
	s.Exec(db, "CREATE VIEW v AS SELECT "+literal(text)+"::text AS c")
	s.Exec(db, "CREATE TABLE \"odd\n-- TOC entry 1 (class 0 OID 0)\nname; Type: VIEW\" (\"a\"\"\n--\" int)")
	s.Exec(db, "ALTER FUNCTION g() OWNER TO app")
	s.Exec(db, "CREATE RULE r AS ON UPDATE TO t DO INSTEAD (INSERT INTO u VALUES (1); INSERT INTO u VALUES (2))")
	d := dumpDatabase(t, s.URL(db), "", nil)
	name := s.NewName()
	d.mustProve(t, s, name)
	sameAsVanilla(t, s, db, name)
	for _, query := range []string{
		"SELECT obj_description('t'::regclass), obj_description('u'::regclass), col_description('u'::regclass, 1), f(), g(), (TABLE v)",
		"SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
		"SELECT proname, pg_get_userbyid(proowner), prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1",
	} {
		if diff := cmp.Diff(s.Query(db, query), s.Query(name, query)); diff != "" {
			t.Errorf("%s (-source +restored):\n%s", query, diff)
		}
	}
	// What is equal is told so, and a body that differs in a line that looks like a comment is not.
	rules := d.rules()
	rules.Run += "2"
	requireNoError(t, "restore again", d.restore(t.Context(), openSource(t, s.URL(name), ""), rules))
	s.Exec(name, "CREATE OR REPLACE FUNCTION f() RETURNS text LANGUAGE sql AS $b$ SELECT "+literal(strings.Replace(text, "-- Started on 2026\n", "", 1))+" $b$")
	if err := d.restore(t.Context(), openSource(t, s.URL(name), ""), rules); err == nil || !strings.Contains(err.Error(), "another schema") {
		t.Errorf("restore onto another body: %v", err)
	}
}

func TestSplitStatements(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"a; b":                       {"a;", "b"},
		"-- x;\n/* ; /* ; */ ; */ a": {"a"},
		"\\restrict ';\na;":          {"a;"},
		`'a;''\'; b`:                 {`'a;''\';`, "b"},
		`E'a\';'; b`:                 {`E'a\';';`, "b"},
		`nameE'a\'; b`:               {`nameE'a\';`, "b"},
		`"a;"";"; b`:                 {`"a;"";";`, "b"},
		"$a$ ; $b$ ; $a$; b":         {"$a$ ; $b$ ; $a$;", "b"},
		"x$a$ ; b":                   {"x$a$ ;", "b"},
		"$1; b":                      {"$1;", "b"},
		"(a; b); c":                  {"(a; b);", "c"},
		"":                           nil,
	} {
		got, err := splitStatements(text, false)
		requireNoError(t, text, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{"'a", `E'a\'`, `"a`, "$a$ ; $b$", "/* /* */"} {
		if got, err := splitStatements(text, false); err == nil {
			t.Errorf("%s = %q, want an error", text, got)
		}
	}
	if got, err := splitStatements(`'a\'; b'; c`, true); err != nil || len(got) != 2 {
		t.Errorf("with escapes: %q, %v", got, err)
	}
}

func TestSetvalName(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		`SELECT pg_catalog.setval('"a"."b"', 5, true);`:                    `"a"."b"`,
		`SELECT pg_catalog.setval(E'"a"."b\\''"', -5, false);`:             `"a"."b\'"`,
		`SELECT pg_catalog.setval('"a"."b"', 5, true), pg_read_file('x');`: "",
		`SELECT pg_catalog.setval('"a"."b"', (SELECT 1), true);`:           "",
		`SELECT pg_catalog.setval('"a"."b"' || 'c', 5, true);`:             "",
		`COPY (SELECT pg_catalog.setval('"a"."b"', 5, true);`:              "",
		`SELECT pg_catalog.setval(current_setting('"a"."b"'), 5, true);`:   "",
		`SELECT pg_catalog.setval('"a"."b"', 5, true) FROM pg_sleep(10);`:  "",
	} {
		if got, ok := setvalName(sql); got != want || ok != (want != "") {
			t.Errorf("setvalName(%s) = %q, %v, want %q", sql, got, ok, want)
		}
	}
	for condition, ok := range map[string]bool{
		"":                           true,
		"WHERE a = ')' AND (b = 1)":  true,
		"WHERE true) TO PROGRAM 'x'": false,
		"WHERE (a":                   false,
		"WHERE a; b":                 false,
		"WHERE a -- b":               false,
		"WHERE 'a":                   false,
	} {
		if err := checkCondition(condition); (err == nil) != ok {
			t.Errorf("checkCondition(%q) = %v", condition, err)
		}
	}
}

func TestDropVersions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"CREATE TABLE s.t (\n    a integer\n);\nALTER TABLE ONLY s.t ALTER COLUMN a SET (pg_attver=7);":  "CREATE TABLE s.t (\n    a integer\n);",
		"ALTER TABLE ONLY s.t ALTER COLUMN \"a b\" SET (n_distinct=5, pg_attver=7);":                     "ALTER TABLE ONLY s.t ALTER COLUMN \"a b\" SET (n_distinct=5);",
		"COMMENT ON TABLE s.t IS 'x;\nALTER TABLE ONLY s.t ALTER COLUMN a SET (pg_attver=7);'; -- stays": "COMMENT ON TABLE s.t IS 'x;\nALTER TABLE ONLY s.t ALTER COLUMN a SET (pg_attver=7);'; -- stays",
	} {
		if got, err := dropVersions(text, false); got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

// FuzzEntries puts any text into a comment's literal: the entries around it stay as they are.
func FuzzEntries(f *testing.F) {
	for _, text := range []string{
		"x", "--\n-- TOC entry 2 (class 1 OID 1)\n-- Name: b; Type: TABLE; Schema: s; Owner: o\n--\n", "\n\nALTER TABLE t OWNER TO app;", "\\", "'", "$$", "/*",
		"\nSET default_tablespace = ", "\\restrict x\n", "E'\\'",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const frame = "--\n-- TOC entry %d (class 1 OID 1)\n-- Name: %s; Type: %s; Schema: s; Owner: o\n--\n\n%s\n\n\n"
		comment := "COMMENT ON TABLE s.a IS " + strings.TrimSpace(literal(text)) + ";"
		all := "--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n\nSET a = 1;\n\nSET default_tablespace = '';\n\n" +
			fmt.Sprintf(frame, 1, "a", "TABLE", "CREATE TABLE s.a (\n);\n\n\nALTER TABLE s.a OWNER TO \"o p\";") +
			fmt.Sprintf(frame, 2, "TABLE a", "COMMENT", comment) +
			fmt.Sprintf(frame, 3, "b", "TABLE", "CREATE TABLE s.b ();") + "-- Completed on x\n\n\\unrestrict x\n\n"
		entries, err := parseEntries(strings.NewReader(all), map[int]bool{1: true, 2: true, 3: true})
		if err != nil || len(entries) != 3 {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		for i, want := range [][2]string{{"CREATE TABLE s.a (\n);", "ALTER TABLE s.a OWNER TO \"o p\";"}, {comment, ""}, {"CREATE TABLE s.b ();", ""}} {
			if e := entries[i]; e.sql != want[0] || e.owner != want[1] || e.sets != "SET default_tablespace = '';" {
				t.Fatalf("entry %d: %q, owner %q, sets %q", i, e.sql, e.owner, e.sets)
			}
		}
	})
}

// TestGlobals restores roles and a tablespace to another server, twice: the second attempt makes nothing anew.
func TestGlobals(t *testing.T) {
	t.Parallel()
	const inPlace = "allow_in_place_tablespaces = on"
	s, other := server(t, inPlace), server(t, inPlace)
	db := s.NewDatabase()
	s.Exec("postgres", "CREATE TABLESPACE fast LOCATION ''")
	s.Exec("postgres", `CREATE ROLE "Odd; Role" LOGIN PASSWORD 'it''s; x'; CREATE ROLE member; GRANT member TO "Odd; Role"; ALTER ROLE member SET work_mem = '7MB';
		COMMENT ON ROLE member IS 'a; b'; GRANT CREATE ON TABLESPACE fast TO member; COMMENT ON TABLESPACE fast IS 'fast'`)
	parameters := "SELECT"
	if major(t, s) >= 15 {
		s.Exec("postgres", "GRANT SET ON PARAMETER work_mem TO member")
		parameters = "SELECT parname, paracl FROM pg_parameter_acl"
	}
	s.Exec(db, `CREATE TABLE t (i int) TABLESPACE fast; ALTER TABLE t OWNER TO member; INSERT INTO t VALUES (1)`)
	d := dumpDatabase(t, s.URL(db), `{"globals": true}`, nil)
	d.content["globals"] = []byte(strings.ReplaceAll(string(d.content["globals"]), "CREATE TABLESPACE", "SET client_encoding = 'UTF8';\nCREATE TABLESPACE"))
	name := other.NewName()
	target := openSource(t, other.URL(name), "")
	// The tablespace's directory is of no use to the other server: the user makes the tablespace before.
	location := regexp.MustCompile(`LOCATION '[^']*'`)
	d.content["globals"] = location.ReplaceAll(d.content["globals"], []byte("LOCATION '/nowhere'"))
	err := target.Prepare(t.Context(), d.rules(), d.parts)
	if err == nil || !strings.Contains(err.Error(), "tablespace fast") || !strings.Contains(hintText(err), "make the tablespace there before") {
		t.Fatalf("prepare without the tablespace: %v (hint %q)", err, hintText(err))
	}
	d.content["globals"] = location.ReplaceAll(d.content["globals"], []byte("LOCATION ''"))
	requireNoError(t, "restore", d.restore(t.Context(), target, d.rules()))
	for _, query := range []string{
		"SELECT rolname, rolcanlogin, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE oid >= 16384 ORDER BY 1",
		"SELECT rolname, rolpassword FROM pg_authid WHERE oid >= 16384 ORDER BY 1",
		"SELECT spcacl, shobj_description(oid, 'pg_tablespace') FROM pg_tablespace WHERE spcname = 'fast'",
		"SELECT roleid::regrole, member::regrole FROM pg_auth_members WHERE roleid >= 16384",
		"SELECT setrole::regrole, setconfig FROM pg_db_role_setting WHERE setdatabase = 0",
		parameters,
	} {
		if diff := cmp.Diff(s.Query("postgres", query), other.Query("postgres", query)); diff != "" {
			t.Errorf("%s (-source +restored):\n%s", query, diff)
		}
	}
	if got := other.Query(name, "SELECT tableowner, tablespace FROM pg_tables WHERE tablename = 't'"); got != "member|fast" {
		t.Errorf("the table is %s", got)
	}
	d.content["globals"] = append(d.content["globals"], "DROP ROLE member;\n"...)
	if err := openSource(t, other.URL(other.NewName()), "").Prepare(t.Context(), d.rules(), d.parts); err == nil || !strings.Contains(err.Error(), "not known: DROP ROLE") {
		t.Errorf("globals with another statement: %v, of class %v", err, drivers.ErrFailed)
	}
}
