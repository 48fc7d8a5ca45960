package postgres

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
)

// entry is one entry of a schema's table of contents, with its SQL.
type entry struct {
	id     int // pg_dump's own number
	deps   []int
	kind   string // TABLE, INDEX, FK CONSTRAINT, …
	schema string // "-" for what is in none
	name   string
	sets   string // what has to be set before it, as it lasts from entry to entry
	sql    string
	owner  string // the statement that sets the owner, where there is one
}

// label names the entry in messages.
func (e *entry) label() string {
	if e.schema == "-" || e.schema == "" {
		return strings.ToLower(e.kind) + " " + e.name
	}
	return strings.ToLower(e.kind) + " " + e.schema + "." + e.name
}

// schemaFile is a schema part in a file, which pg_restore needs.
type schemaFile struct {
	source  *Source
	path    string
	program program
}

// openSchema copies the schema part into a temporary file. The caller closes it.
func (s *Source) openSchema(ctx context.Context, target drivers.Target, part drivers.Part) (_ *schemaFile, err error) {
	p, err := findProgram(ctx, "pg_restore", 0)
	if err != nil {
		return nil, err
	}
	if target.Open == nil {
		return nil, fmt.Errorf("read schema: %w: its content cannot be opened", drivers.ErrInvalid)
	}
	in, err := target.Open(ctx, part)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	defer func() { _ = in.Close() }() // it was read to its end, or the error is told
	file, err := os.CreateTemp(s.scratch, "salvor-schema-*")
	if err != nil {
		return nil, fmt.Errorf("make temporary file: %w", err)
	}
	f := &schemaFile{source: s, path: file.Name(), program: p}
	f.hide(file)
	if _, err = io.Copy(file, in); err != nil {
		f.close()
		return nil, fmt.Errorf("read schema: %w", err)
	}
	return f, nil
}

// hide takes the file's name away where it can be read without one, so that nothing of it stays behind a process that is
// killed: a schema holds the passwords of user mappings. On Linux opening a descriptor's path opens the file anew.
func (f *schemaFile) hide(file *os.File) {
	f.program.input = file
	if _, err := os.Stat(filepath.Dir(inputPath)); runtime.GOOS != "linux" || err != nil {
		return
	}
	if os.Remove(f.path) == nil {
		f.path = inputPath
	}
}

func (f *schemaFile) close() {
	_ = f.program.input.Close() // whatever was not written shows when it is read
	if f.path != inputPath {
		_ = os.Remove(f.path)
	}
}

// entries returns a section's entries in the order in which they are to be made.
func (f *schemaFile) entries(ctx context.Context, section string) ([]*entry, error) {
	var list, text bytes.Buffer
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return f.source.run(ctx, f.program, &list, "--list", "--section="+section, f.path)
	})
	group.Go(func() error {
		return f.source.run(ctx, f.program, &text, "--verbose", "--file=-", "--section="+section, f.path)
	})
	if err := group.Wait(); err != nil {
		return nil, f.tooNew(err)
	}
	entries, err := parseEntries(&text, listedIDs(list.String()))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", section, err)
	}
	return entries, nil
}

// lines returns a schema's lines without what stands between its statements, to be compared with another's. Whether large
// objects are among them is a matter of pg_dump's version: where the dump tells of them by itself, they are left out.
func (f *schemaFile) lines(ctx context.Context, c *contents) ([]string, error) {
	var text bytes.Buffer
	if err := f.source.run(ctx, f.program, &text, "--file=-", f.path); err != nil {
		return nil, f.tooNew(err)
	}
	statements, err := splitStatements(text.String(), escapesIn(text.String()))
	if err != nil {
		return nil, fmt.Errorf("read schema: %w: %w", drivers.ErrCorrupt, err)
	}
	var lines []string
	ofObjects := ofObjects()
	for _, sql := range statements {
		if sql, err = dropVersions(sql, false); err != nil {
			return nil, fmt.Errorf("read schema: %w: %w", drivers.ErrCorrupt, err)
		}
		if len(c.metadata) > 0 && ofObjects.MatchString(sql) {
			continue
		}
		for line := range strings.Lines(sql) {
			if line = strings.TrimRight(line, "\n"); line != "" {
				lines = append(lines, line)
			}
		}
	}
	return lines, nil
}

func (*schemaFile) tooNew(err error) error {
	if strings.Contains(err.Error(), "unsupported version") {
		return drivers.WithHint(fmt.Errorf("%w: %w", drivers.ErrInvalid, err),
			"the schema was dumped by a newer pg_dump: install its pg_restore, or set "+BinVariable+" to its directory")
	}
	return err
}

// listedIDs are the ids that pg_restore --list prints, one a line before a semicolon.
func listedIDs(list string) map[int]bool {
	ids := make(map[int]bool)
	for line := range strings.Lines(list) {
		number, _, ok := strings.Cut(line, ";")
		if id, err := strconv.Atoi(number); ok && err == nil {
			ids[id] = true
		}
	}
	return ids
}

// headPatterns are compiled for each parse: a schema is parsed once.
func headPatterns() (head, name *regexp.Regexp) {
	return regexp.MustCompile(`^-- TOC entry (\d+) \(class \d+ OID \d+\)$`),
		regexp.MustCompile(`^-- Name: (.*); Type: ([^;]*); Schema: (.*); Owner: (.*?)(; Tablespace: .*)?$`)
}

// escapesIn tells whether a schema's plain literals take backslashes for escapes: pg_dump writes it before the first entry.
func escapesIn(text string) bool {
	return strings.Contains(text[:min(len(text), 4<<10)], "\nSET standard_conforming_strings = off;\n")
}

// tocParser splits what pg_restore --verbose prints. An entry begins with comments of its own form between two tokens of
// SQL: what has that form within a literal, a comment's text or a function's body, is part of the literal.
type tocParser struct {
	lex          lexer
	ids          map[int]bool // listed and not seen
	head, naming *regexp.Regexp
	entries      []*entry
	current      *entry // nil before the first
	sql          strings.Builder
	sets         []string // default_tablespace and default_table_access_method, and whether literals are escaped
	inside       bool     // a statement has begun
	depth        int      // of parentheses
}

// parseEntries reads the entries whose ids are listed. Each of them must be there once, and no other.
func parseEntries(r io.Reader, ids map[int]bool) ([]*entry, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	p := &tocParser{lex: lexer{text: string(data), escapes: escapesIn(string(data))}, ids: ids}
	p.head, p.naming = headPatterns()
	if p.lex.escapes {
		p.sets = append(p.sets, "SET standard_conforming_strings = off;")
	}
	for {
		t, err := p.lex.next()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", drivers.ErrCorrupt, err)
		}
		if t.kind == tokenEnd {
			break
		}
		if err := p.take(t); err != nil {
			return nil, err
		}
	}
	if err := p.finish(); err != nil {
		return nil, err
	}
	if len(ids) > 0 {
		return nil, fmt.Errorf("%w: pg_restore printed %d entries, and listed %d more", drivers.ErrFailed, len(p.entries), len(ids))
	}
	return p.entries, nil
}

// take adds a token to the entry that it belongs to.
func (p *tocParser) take(t token) error {
	text := p.lex.text[t.from:t.to]
	switch {
	case t.kind == tokenComment && (t.from == 0 || p.lex.text[t.from-1] == '\n'):
		if m := p.head.FindStringSubmatch(text); m != nil {
			return p.begin(m[1])
		}
		if !p.inside {
			return nil // pg_restore's own words between entries
		}
	case t.kind == tokenSpace, t.kind == tokenComment:
	case !p.inside && strings.HasPrefix(text, `\`):
		p.lex.skip(func(c byte) bool { return c != '\n' }) // psql's \restrict
		return nil
	case t.kind == tokenSymbol:
		p.inside = true
		switch text {
		case "(", "[":
			p.depth++
		case ")", "]":
			p.depth--
		case ";":
			p.inside = p.depth > 0
		}
	default:
		p.inside = true
	}
	p.sql.WriteString(text)
	return nil
}

// begin begins an entry, whose description follows.
func (p *tocParser) begin(number string) error {
	id, err := strconv.Atoi(number)
	if err != nil || !p.ids[id] {
		return fmt.Errorf("%w: entry %s is not listed, or comes twice", drivers.ErrFailed, number)
	}
	delete(p.ids, id)
	if err := p.finish(); err != nil {
		return err
	}
	p.current = &entry{id: id, sets: strings.Join(p.sets, " ")}
	p.inside, p.depth = false, 0
	return p.describe()
}

// finish ends the entry before the next: the settings at its end belong to what follows.
func (p *tocParser) finish() error {
	text, changed, err := cutSettings(p.sql.String(), p.lex.escapes)
	p.sql.Reset()
	if err != nil {
		return fmt.Errorf("%w: %w", drivers.ErrCorrupt, err)
	}
	p.sets = mergeSettings(p.sets, changed)
	if p.current == nil {
		return nil
	}
	e := p.current
	p.current = nil
	if e.sql, e.owner, err = cutOwner(e.kind, strings.TrimSpace(text), p.lex.escapes); err != nil {
		return fmt.Errorf("%w: %s: %w", drivers.ErrCorrupt, e.label(), err)
	}
	if e.sql, err = dropVersions(e.sql, p.lex.escapes); err != nil {
		return fmt.Errorf("%w: %s: %w", drivers.ErrCorrupt, e.label(), err)
	}
	p.entries = append(p.entries, e)
	attach, err := cutAttach(e, p.lex.escapes)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", drivers.ErrCorrupt, e.label(), err)
	}
	if attach != nil {
		p.entries = append(p.entries, attach)
	}
	return nil
}

// describe reads the comment lines that describe an entry.
func (p *tocParser) describe() error {
	e := p.current
	for {
		t, err := p.lex.next()
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.id, err)
		}
		line := p.lex.text[t.from:t.to]
		switch {
		case t.kind == tokenSpace:
			continue
		case t.kind != tokenComment:
			return fmt.Errorf("%w: entry %d has no name", drivers.ErrFailed, e.id)
		}
		if deps, ok := strings.CutPrefix(line, "-- Dependencies: "); ok {
			for word := range strings.FieldsSeq(deps) {
				if id, err := strconv.Atoi(word); err == nil {
					e.deps = append(e.deps, id)
				}
			}
			continue
		}
		if m := p.naming.FindStringSubmatch(line); m != nil {
			e.name, e.kind, e.schema = m[1], m[2], m[3]
			continue
		}
		if line == "--" {
			break
		}
	}
	if e.kind == "" {
		return fmt.Errorf("%w: entry %d has no name", drivers.ErrFailed, e.id)
	}
	return nil
}

// cutOwner takes the statement that sets the owner from the end of an entry's text: the last statement of an object that
// has an owner, where it is one that sets it and there are others before it.
func cutOwner(kind, text string, escapes bool) (sql, owner string, err error) {
	if !hasOwner(kind) {
		return text, "", nil
	}
	list, err := splitStatements(text, escapes)
	if err != nil || len(list) < 2 {
		return text, "", err
	}
	last := list[len(list)-1]
	w, err := words(last)
	if err != nil {
		return "", "", err
	}
	n := len(w)
	if n < 6 || w[0] != "ALTER" || w[n-4] != "OWNER" || w[n-3] != "TO" || w[n-1] != ";" {
		return text, "", nil
	}
	rest, ok := strings.CutSuffix(text, last)
	if !ok {
		return text, "", nil // a comment follows it, which pg_dump does not write
	}
	return strings.TrimSpace(rest), last, nil
}

// cutAttach takes the statement that makes a table a partition out of the table's entry, where pg_dump before 14 writes it: it
// becomes an entry of its own, as it is from then on.
func cutAttach(e *entry, escapes bool) (*entry, error) {
	if e.kind != "TABLE" || !strings.Contains(e.sql, " ATTACH PARTITION ") {
		return nil, nil //nolint:nilnil // most tables have none
	}
	list, err := splitStatements(e.sql, escapes)
	if err != nil {
		return nil, err
	}
	attaches := regexp.MustCompile(`^ALTER TABLE ONLY ` + names + ` ATTACH PARTITION `)
	i := slices.IndexFunc(list, attaches.MatchString)
	if i < 0 {
		return nil, nil //nolint:nilnil // a literal has the words
	}
	attach := &entry{
		id: -e.id, deps: append(slices.Clone(e.deps), e.id), kind: kindAttach, schema: e.schema, name: e.name, sets: e.sets, sql: list[i],
	}
	e.sql = strings.Join(slices.Delete(list, i, i+1), "\n")
	return attach, nil
}

// dropVersions removes the version that newer servers (17.12) keep among a column's options: it is the server's own, and others
// refuse it. A pg_dump that was released before takes it for an option like any other.
func dropVersions(text string, escapes bool) (string, error) {
	if !strings.Contains(text, "pg_attver=") {
		return text, nil
	}
	list, err := splitStatements(text, escapes)
	if err != nil {
		return "", err
	}
	options := regexp.MustCompile(`^(ALTER (?:FOREIGN )?TABLE (?:ONLY )?` + names + ` ALTER COLUMN (?:"(?:[^"]|"")+"|\S+) SET \()([^()]*)\);$`)
	found := false
	var kept []string
	for _, sql := range list {
		if m := options.FindStringSubmatch(sql); m != nil {
			rest := slices.DeleteFunc(strings.Split(m[3], ", "), func(o string) bool { return strings.HasPrefix(o, "pg_attver=") })
			found = true
			if len(rest) == 0 {
				continue
			}
			sql = m[1] + strings.Join(rest, ", ") + ");"
		}
		kept = append(kept, sql)
	}
	if !found {
		return text, nil // a literal has the word
	}
	return strings.Join(kept, "\n"), nil
}

// hasOwner tells whether pg_restore sets the owner of such an entry by a statement of its own.
func hasOwner(kind string) bool {
	switch kind {
	case "AGGREGATE", "BLOB", "BLOB METADATA", "COLLATION", "CONVERSION", "DOMAIN", "EVENT TRIGGER", "FOREIGN DATA WRAPPER", "FOREIGN TABLE", "FUNCTION",
		"LARGE OBJECT", "MATERIALIZED VIEW", "OPERATOR", "OPERATOR CLASS", "OPERATOR FAMILY", "PROCEDURAL LANGUAGE", "PROCEDURE", "PUBLICATION", "SCHEMA",
		"SEQUENCE", "SERVER", "SHELL TYPE", "STATISTICS", "SUBSCRIPTION", "TABLE", "TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY", "TYPE", "VIEW":
		return true
	}
	return false
}

// cutSettings takes the settings from the end of an entry's text: they belong to what follows.
func cutSettings(text string, escapes bool) (rest string, settings []string, err error) {
	list, err := splitStatements(text, escapes)
	if err != nil {
		return "", nil, err
	}
	text = strings.TrimSpace(text)
	for len(list) > 0 {
		last := list[len(list)-1]
		rest, ok := strings.CutSuffix(text, last)
		lasts := strings.HasPrefix(last, "SET default_tablespace = ") || strings.HasPrefix(last, "SET default_table_access_method = ")
		if !ok || !lasts {
			break
		}
		settings = append([]string{last}, settings...)
		text, list = strings.TrimSpace(rest), list[:len(list)-1]
	}
	return text, settings, nil
}

// mergeSettings replaces settings by later ones of the same name.
func mergeSettings(have, changed []string) []string {
	name := func(s string) string { n, _, _ := strings.Cut(s, " = "); return n }
	out := append([]string(nil), have...)
	for _, c := range changed {
		for i, h := range out {
			if name(h) == name(c) {
				out[i] = c
				c = ""
				break
			}
		}
		if c != "" {
			out = append(out, c)
		}
	}
	return out
}
