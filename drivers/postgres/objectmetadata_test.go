package postgres

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"salvor/drivers"
)

func TestObjectStatement(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"SELECT pg_catalog.lo_create(7) WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata WHERE oid = 7);\n": "large object 7",
		"SELECT pg_catalog.lo_create(7) WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata WHERE oid = 8);":   "",
		"ALTER LARGE OBJECT 7 OWNER TO \"a; \n b\";":                   "large object 7",
		"ALTER LARGE OBJECT 7 OWNER TO a; DROP TABLE b;":               "",
		"REVOKE ALL ON LARGE OBJECT 7 FROM a;":                         "acl LARGE OBJECT 7",
		"GRANT SELECT ON LARGE OBJECT 7 TO PUBLIC;":                    "acl LARGE OBJECT 7",
		"SET ROLE a; GRANT UPDATE ON LARGE OBJECT 7 TO b; RESET ROLE;": "acl LARGE OBJECT 7",
		"SET ROLE a; GRANT UPDATE ON LARGE OBJECT 7 TO b;":             "",
		"GRANT SELECT ON TABLE t TO b;":                                "",
		"COMMENT ON LARGE OBJECT 7 IS E'it''s; \\n \\\\';":             "comment LARGE OBJECT 7",
		"COMMENT ON LARGE OBJECT 7 IS E'a' || f();":                    "",
		"COMMENT ON LARGE OBJECT 7 IS f;":                              "",
		"SECURITY LABEL FOR \"P\" ON LARGE OBJECT 7 IS E'secret';":     "security label LARGE OBJECT 7",
		"COMMENT ON LARGE OBJECT 7 IS E'open":                          "",
		"":                                                             "",
	} {
		e, ok := objectStatement(text)
		if ok != (want != "") || ok && e.label() != want {
			t.Errorf("%q: %v, %v, want %q", text, e, ok, want)
		}
	}
}

// TestEndlessLine: what an archive holds in place of rows does not take the memory.
func TestEndlessLine(t *testing.T) {
	t.Parallel()
	endless := &bytesOf{}
	if _, err := readLine(bufio.NewReader(endless), 1<<20); !errors.Is(err, drivers.ErrCorrupt) || endless.read > 2<<20 {
		t.Errorf("a line without an end: %v after %d bytes", err, endless.read)
	}
	r := bufio.NewReaderSize(strings.NewReader("first line\nrest"), 16)
	for _, want := range []string{"first line\n", "rest"} {
		if line, err := readLine(r, 11); line != want || err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("line %q, %v; want %q", line, err, want)
		}
	}
}

// bytesOf is a text without an end.
type bytesOf struct{ read int }

func (b *bytesOf) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	b.read += len(p)
	return len(p), nil
}

// TestObjectMetadataSplit: statements that take more than an object are stored as several, and all are run.
func TestObjectMetadataSplit(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "SELECT lo_create(i) FROM generate_series(1, 800) i; COMMENT ON LARGE OBJECT 800 IS 'last'")
	d := dumpDatabase(t, s.URL(db), `{"chunk": 65536}`, nil)
	n := 0
	for _, p := range d.parts {
		if strings.HasPrefix(p.Name, kindMetadata) {
			n++
		}
	}
	name := s.NewName()
	d.mustProve(t, s, name)
	if got := s.Query(name, "SELECT count(*), obj_description(800, 'pg_largeobject') FROM pg_largeobject_metadata"); got != "800|last" || n < 2 {
		t.Errorf("%s of %d objects", got, n)
	}
}

// TestObjectMetadata restores large objects of a dump that has no metadata of theirs, and one that is no good; and tells apart
// databases that differ in it alone.
func TestObjectMetadata(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, `CREATE ROLE reader; CREATE ROLE "odd
role"; SELECT lo_from_bytea(i, 'x') FROM generate_series(1, 250) i; ALTER LARGE OBJECT 3 OWNER TO "odd
role"; GRANT SELECT ON LARGE OBJECT 4 TO reader; COMMENT ON LARGE OBJECT 5 IS 'five'`)
	const query = "SELECT oid, lomowner::regrole, lomacl, lo_get(oid), obj_description(oid, 'pg_largeobject') FROM pg_largeobject_metadata ORDER BY oid"
	d := dumpDatabase(t, s.URL(db), "", nil)
	name := s.NewName()
	d.mustProve(t, s, name)
	if want, got := s.Query(db, query), s.Query(name, query); want != got {
		t.Errorf("restored %s\nwant %s", got, want)
	}
	rules := d.rules()
	rules.Run += "2"
	target := openSource(t, s.URL(name), "")
	requireNoError(t, "restore onto what is equal", d.restore(t.Context(), target, rules))
	s.Exec(name, "REVOKE SELECT ON LARGE OBJECT 4 FROM reader")
	if err := target.CheckTarget(t.Context(), rules, d.parts); err == nil || !strings.Contains(err.Error(), "other owners, rights or comments") {
		t.Errorf("check of a target with other rights: %v", err)
	}

	part := d.part(t, kindMetadata)
	good := d.content[part.Name]
	d.content[part.Name] = append(slices.Clone(good), "DROP TABLE t;\n"...)
	name = s.NewName()
	if err := d.restore(t.Context(), openSource(t, s.URL(name), ""), d.rules()); err == nil || !strings.Contains(err.Error(), drivers.ErrCorrupt.Error()) {
		t.Errorf("restore of another statement: %v", err)
	}
	if there := s.Query("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '"+name+"%'"); there != "0" {
		t.Error("the refused restore made a database")
	}
	d.parts = slices.DeleteFunc(d.parts, func(p drivers.Part) bool { return p.Name == kindMetadata })
	d.mustProve(t, s, name)
	if got := s.Query(name, "SELECT count(*), sum(length(lo_get(oid))) FROM pg_largeobject_metadata"); got != "250|250" {
		t.Errorf("objects of a dump without metadata: %s", got)
	}
}
