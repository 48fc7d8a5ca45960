package postgres

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"salvor/drivers"
	"salvor/drivers/internal/rows"
)

// objectMetadataQuery gives the statements that make the large objects, with owners, rights, comments and security labels.
// pg_dump from 17 on has them with the contents, which are not its part here. Rights that whoever makes an object has
// anyway are not granted; a right that another than the owner has granted on is granted by him.
const objectMetadataQuery = `SELECT sql FROM (
SELECT oid, 0 AS step, 0::bigint AS n, pg_catalog.format(
  'SELECT pg_catalog.lo_create(%s) WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata WHERE oid = %s);', oid, oid) AS sql
FROM pg_catalog.pg_largeobject_metadata
UNION ALL SELECT oid, 1, 0, pg_catalog.format('ALTER LARGE OBJECT %s OWNER TO %I;', oid, pg_catalog.pg_get_userbyid(lomowner))
FROM pg_catalog.pg_largeobject_metadata
UNION ALL SELECT m.oid, 2, 0, pg_catalog.format('REVOKE ALL ON LARGE OBJECT %s FROM %I;', m.oid, pg_catalog.pg_get_userbyid(m.lomowner))
FROM pg_catalog.pg_largeobject_metadata m WHERE m.lomacl IS NOT NULL AND NOT ` + usualRights + `
UNION ALL SELECT m.oid, 3, a.n,
  CASE WHEN a.grantor <> m.lomowner THEN pg_catalog.format('SET ROLE %I; ', pg_catalog.pg_get_userbyid(a.grantor)) ELSE '' END
  || pg_catalog.format('GRANT %s ON LARGE OBJECT %s TO %s', a.privilege_type, m.oid,
    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
  || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION;' ELSE ';' END
  || CASE WHEN a.grantor <> m.lomowner THEN ' RESET ROLE;' ELSE '' END
FROM pg_catalog.pg_largeobject_metadata m,
  pg_catalog.aclexplode(m.lomacl) WITH ORDINALITY AS a(grantor, grantee, privilege_type, is_grantable, n)
WHERE NOT (a.grantee = m.lomowner AND a.grantor = m.lomowner AND ` + usualRights + `)
UNION ALL SELECT objoid, 4, 0, pg_catalog.format('COMMENT ON LARGE OBJECT %s IS %s;', objoid, ` + escapedDescription + `)
FROM pg_catalog.pg_description d WHERE classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass
UNION ALL SELECT objoid, 5, pg_catalog.row_number() OVER (PARTITION BY objoid ORDER BY provider),
  pg_catalog.format('SECURITY LABEL FOR %I ON LARGE OBJECT %s IS %s;', provider, objoid, ` + escapedLabel + `)
FROM pg_catalog.pg_seclabel d WHERE classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass
) s ORDER BY oid, step, n`

// Texts are written so that a statement with one takes a line.
const (
	escapedDescription = `'E''' || pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(d.description, E'\\', E'\\\\'), '''', ''''''), E'\n', E'\\n') || ''''`
	escapedLabel       = `'E''' || pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(d.label, E'\\', E'\\\\'), '''', ''''''), E'\n', E'\\n') || ''''`
)

// usualRights tells whether the owner's own rights are those that he has by making the object.
const usualRights = `COALESCE((SELECT pg_catalog.array_agg(x.privilege_type || x.is_grantable::text ORDER BY x.privilege_type)
  FROM pg_catalog.aclexplode(m.lomacl) x WHERE x.grantee = m.lomowner AND x.grantor = m.lomowner) = '{SELECTfalse,UPDATEfalse}'::text[], false)`

// dumpObjectMetadata writes the statements, one a line but where a role's name has a line feed.
func (v *view) dumpObjectMetadata(ctx context.Context, w *wire, out io.Writer) (drivers.Counts, error) {
	sink := rows.NewSink(out, v.source.split)
	var line []byte
	err := w.copyOut(ctx, "COPY ("+objectMetadataQuery+") TO STDOUT", func(p []byte) error {
		for line = append(line, p...); ; {
			end := bytes.IndexByte(line, '\n')
			if end < 0 {
				return nil
			}
			if err := sink.Write([]byte(unescapeCopy(string(line[:end])) + "\n")); err != nil {
				return err
			}
			line = append(line[:0], line[end+1:]...)
		}
	})
	if err == nil {
		err = sink.Flush()
	}
	if err != nil {
		return drivers.Counts{}, v.objectError(ctx, sink, err)
	}
	return sink.Counts(), nil
}

// mostMetadata bounds a statement.
const mostMetadata = 64 << 20

// readLine reads a line with its line feed, or what is left. One that is longer than any that a dump writes is not read to its end.
func readLine(r *bufio.Reader, most int) (string, error) {
	var line []byte
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		if len(line) > most {
			return "", fmt.Errorf("%w: a line is too long", drivers.ErrCorrupt)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return string(line), err
		}
	}
}

// readObjectMetadata reads the statements of a part and hands each on. Each must be one that a dump writes and nothing else: it
// runs as the restoring role.
func readObjectMetadata(ctx context.Context, target drivers.Target, part drivers.Part, take func(*entry) error) (err error) {
	in, err := target.Open(ctx, part)
	if err != nil {
		return fmt.Errorf("read large objects' metadata: %w", err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	lines := bufio.NewReaderSize(in, 64<<10)
	text := ""
	for {
		line, err := readLine(lines, mostMetadata)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read large objects' metadata: %w", err)
		}
		text += line
		if text == "" {
			return nil
		}
		e, ok := objectStatement(text)
		switch {
		case ok:
			text = ""
			if err := take(e); err != nil {
				return err
			}
		case err != nil || len(text) > mostMetadata || !strings.Contains(text, `"`): // only a quoted name goes on in the next line
			return fmt.Errorf("read large objects' metadata: %w: a statement that is none of theirs", drivers.ErrCorrupt)
		}
	}
}

// objectForms are the statements about large objects, word by word: # is the object's number, @ a name, $ a text.
func objectForms() map[string]string {
	return map[string]string{
		"SELECT pg_catalog . lo_create ( # ) WHERE NOT EXISTS ( SELECT FROM pg_catalog . pg_largeobject_metadata WHERE oid = # ) ;": "",
		"ALTER LARGE OBJECT # OWNER TO @ ;":                                            "OWNER",
		"REVOKE ALL ON LARGE OBJECT # FROM @ ;":                                        "ACL",
		"GRANT @ ON LARGE OBJECT # TO @ ;":                                             "ACL",
		"GRANT @ ON LARGE OBJECT # TO @ WITH GRANT OPTION ;":                           "ACL",
		"SET ROLE @ ; GRANT @ ON LARGE OBJECT # TO @ ; RESET ROLE ;":                   "ACL",
		"SET ROLE @ ; GRANT @ ON LARGE OBJECT # TO @ WITH GRANT OPTION ; RESET ROLE ;": "ACL",
		"COMMENT ON LARGE OBJECT # IS $ ;":                                             "COMMENT",
		"SECURITY LABEL FOR @ ON LARGE OBJECT # IS $ ;":                                "SECURITY LABEL",
	}
}

// objectStatement reads one statement about a large object.
func objectStatement(text string) (*entry, bool) {
	have, err := words(text)
	if err != nil {
		return nil, false
	}
	for form, kind := range objectForms() {
		number := ""
		if !slices.EqualFunc(strings.Fields(form), have, func(want, word string) bool {
			switch want {
			case "#":
				same := number == "" || number == word
				number = word
				return same && strings.Trim(word, "0123456789") == ""
			case "@":
				return word[0] == '"' || isWordStart(word[0])
			case "$":
				_, ok := unquoteLiteral(word)
				return ok
			}
			return want == word
		}) {
			continue
		}
		text = strings.TrimSpace(text)
		switch kind {
		case "":
			return &entry{kind: "LARGE OBJECT", schema: "-", name: number, sql: text}, true
		case "OWNER":
			return &entry{kind: "LARGE OBJECT", schema: "-", name: number, owner: text}, true
		}
		return &entry{kind: kind, schema: "-", name: "LARGE OBJECT " + number, sql: text}, true
	}
	return nil, false
}

// isOfObject tells whether an entry of a schema makes a large object, or says something of one.
func isOfObject(e *entry) bool {
	switch e.kind {
	case "BLOB":
		return true
	case "ACL", "COMMENT", "SECURITY LABEL":
		return strings.HasPrefix(e.name, "LARGE OBJECT ")
	}
	return false
}

// ofObjects matches the statements of such entries.
func ofObjects() *regexp.Regexp {
	return regexp.MustCompile(`^(?:SELECT pg_catalog\.lo_create\(|(?:ALTER|COMMENT ON|(?:GRANT|REVOKE) [A-Z, ]+ ON|SECURITY LABEL FOR \S+ ON) LARGE OBJECT \d)`)
}

// makeObjects makes the large objects, some of them in each transaction.
func (w *work) makeObjects(ctx context.Context, r *recipe) error {
	var batch []*entry
	n := 0
	flush := func() error {
		list := batch
		if w.source.isScratch() {
			list = withoutRoles(list)
		}
		err := w.once(ctx, fmt.Sprintf("metadata/%d", n), "", func() error { return w.makeBatch(ctx, list) })
		batch, n = batch[:0], n+1
		return err
	}
	for _, part := range r.c.metadata {
		err := readObjectMetadata(ctx, r.target, part.Part, func(e *entry) error {
			if batch = append(batch, e); len(batch) < batchSize {
				return nil
			}
			return flush()
		})
		if err != nil {
			return err
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return flush()
}

// compareObjectMetadata tells whether the large objects' owners, rights and comments are those of the dump; "" where they are, or
// where the dump does not say.
func (s *Source) compareObjectMetadata(ctx context.Context, c *contents) (string, error) {
	if len(c.metadata) == 0 {
		return "", nil
	}
	want, err := expected(c.metadata)
	if err != nil {
		return "", err
	}
	w, err := s.reader(ctx, "compare metadata")
	if err != nil {
		return "", err
	}
	defer w.close()
	have, err := (&view{source: s}).dumpObjectMetadata(ctx, w, io.Discard)
	if err != nil {
		return "", err
	}
	if have != want.Counts() {
		return "its large objects have other owners, rights or comments", nil
	}
	return "", nil
}
