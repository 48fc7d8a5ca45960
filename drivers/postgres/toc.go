package postgres

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

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
	_, err = io.Copy(file, in)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		f.close()
		return nil, fmt.Errorf("read schema: %w", err)
	}
	return f, nil
}

func (f *schemaFile) close() { _ = os.Remove(f.path) }

// entries returns a section's entries in the order in which they are to be made.
func (f *schemaFile) entries(ctx context.Context, section string) ([]*entry, error) {
	var list, text bytes.Buffer
	if err := f.source.run(ctx, f.program, &list, "--list", "--section="+section, f.path); err != nil {
		return nil, f.tooNew(err)
	}
	if err := f.source.run(ctx, f.program, &text, "--verbose", "--file=-", "--section="+section, f.path); err != nil {
		return nil, f.tooNew(err)
	}
	entries, err := parseEntries(&text, listedIDs(list.String()))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", section, err)
	}
	return entries, nil
}

// text returns a schema's lines without comments, to be compared with another's.
func (f *schemaFile) lines(ctx context.Context) ([]string, error) {
	var text bytes.Buffer
	if err := f.source.run(ctx, f.program, &text, "--file=-", f.path); err != nil {
		return nil, f.tooNew(err)
	}
	var lines []string
	for line := range strings.Lines(text.String()) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "--") || isNoise([]byte(line)) {
			continue
		}
		lines = append(lines, line)
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

// headLine and nameLine are compiled for each parse: a schema is parsed once.
func headPatterns() (head, name *regexp.Regexp) {
	return regexp.MustCompile(`^-- TOC entry (\d+) \(class \d+ OID \d+\)$`),
		regexp.MustCompile(`^-- Name: (.*); Type: ([^;]*); Schema: (.*); Owner: (.*?)(; Tablespace: .*)?$`)
}

// parseEntries splits what pg_restore --verbose prints. An entry begins with a comment of its own form; a text of that form
// within a function is no entry unless its number is listed and was not seen.
func parseEntries(r io.Reader, ids map[int]bool) ([]*entry, error) {
	head, naming := headPatterns()
	in := bufio.NewReader(r)
	var entries []*entry
	var current *entry
	var sql strings.Builder
	var sets []string // default_tablespace and default_table_access_method
	finish := func() {
		if current == nil {
			return
		}
		text, changed := cutSettings(sql.String())
		current.sql, current.owner = cutOwner(strings.TrimSpace(text))
		sets = mergeSettings(sets, changed)
		entries = append(entries, current)
		current = nil
	}
	preamble := true
	for {
		line, err := in.ReadString('\n')
		if line == "" && err != nil {
			break
		}
		trimmed := strings.TrimRight(line, "\n")
		if m := head.FindStringSubmatch(trimmed); m != nil {
			id, convErr := strconv.Atoi(m[1])
			if convErr == nil && ids[id] {
				delete(ids, id)
				if preamble {
					_, changed := cutSettings(sql.String())
					sets, preamble = mergeSettings(sets, changed), false
				}
				finish()
				current = &entry{id: id, sets: ""}
				sql.Reset()
				if err := readHead(in, current, naming); err != nil {
					return nil, err
				}
				current.sets = strings.Join(sets, " ")
				continue
			}
		}
		if isNoise([]byte(line)) || strings.HasPrefix(line, "-- PostgreSQL database dump") {
			continue
		}
		sql.WriteString(line)
	}
	finish()
	if len(ids) > 0 {
		return nil, fmt.Errorf("%w: pg_restore printed %d entries, and listed %d more", drivers.ErrFailed, len(entries), len(ids))
	}
	return entries, nil
}

// readHead reads the comment lines that describe an entry.
func readHead(in *bufio.Reader, e *entry, naming *regexp.Regexp) error {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.id, io.ErrUnexpectedEOF)
		}
		line = strings.TrimRight(line, "\n")
		if deps, ok := strings.CutPrefix(line, "-- Dependencies: "); ok {
			for word := range strings.FieldsSeq(deps) {
				if id, err := strconv.Atoi(word); err == nil {
					e.deps = append(e.deps, id)
				}
			}
			continue
		}
		if m := naming.FindStringSubmatch(line); m != nil {
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

// cutOwner takes the statement that sets the owner from the end of an entry's text: pg_dump writes it on a line of its own,
// after a blank one.
func cutOwner(text string) (sql, owner string) {
	at := strings.LastIndex(text, "\n\nALTER ")
	if at < 0 || !regexp.MustCompile(`^\n\nALTER [^\n]+ OWNER TO [^\n]+;$`).MatchString(text[at:]) {
		return text, ""
	}
	return strings.TrimSpace(text[:at]), text[at+2:]
}

// cutSettings takes the settings from the end of an entry's text: they belong to what follows.
func cutSettings(text string) (rest string, settings []string) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for len(lines) > 0 {
		line := strings.TrimSpace(lines[len(lines)-1])
		switch {
		case line == "" || line == "--":
		case (strings.HasPrefix(line, "SET default_tablespace = ") || strings.HasPrefix(line, "SET default_table_access_method = ")) &&
			strings.HasSuffix(line, ";"):
			settings = append([]string{line}, settings...)
		default:
			return strings.Join(lines, "\n"), settings
		}
		lines = lines[:len(lines)-1]
	}
	return "", settings
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
