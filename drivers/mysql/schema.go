package mysql

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"salvor/drivers"
)

// The kinds of entries, in the order in which they are made.
const (
	entrySequence = "sequence"
	entrySetval   = "setval" // the state of a sequence
	entryTable    = "table"
	entryPackage  = "package"
	entryBody     = "package body"
	entryFunction = "function"
	entryRoutine  = "procedure"
	entryView     = "view"
	entryTrigger  = "trigger"
	entryEvent    = "event"
)

// entry is a definition: a statement with the settings that it is to be run with. Its text is of the character set in which it
// was made, as the server keeps it. It is stored in dumps: names and meanings of fields never change.
type entry struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Table is that of a trigger.
	Table string `json:"table,omitempty"`
	// Mode, Charset, Collation and Database (its collation) are what the object was made with, Zone an event's time zone.
	Mode      string `json:"sql_mode,omitempty"`
	Charset   string `json:"character_set_client,omitempty"`
	Collation string `json:"collation_connection,omitempty"`
	Database  string `json:"database_collation,omitempty"`
	Zone      string `json:"time_zone,omitempty"`
	// Broken tells that the view could not be used in the source either.
	Broken bool `json:"broken,omitempty"`
	// Bytes is the length of the statement in the file.
	Bytes int `json:"bytes"`

	sql string
}

// label names the object for people.
func (e *entry) label() string { return e.Kind + " " + e.Name }

// hasContext tells whether the object keeps the settings that it was made with.
func (e *entry) hasContext() bool { return e.Charset != "" }

// settings are the statement that sets what the entry is run with, on a server.
func (e *entry) settings(s dialect) string {
	charset, collation, mode := "utf8mb4", "", writeMode
	if e.hasContext() {
		charset, collation, mode = e.Charset, e.Collation, s.mode(e.Mode)
	}
	sql := "SET character_set_client=" + literal(charset)
	if collation != "" {
		sql += ", collation_connection=" + literal(collation)
	}
	if e.Kind != entryView { // views keep no mode
		sql += ", sql_mode=" + literal(mode)
	}
	if e.Zone != "" {
		sql += ", time_zone=" + literal(e.Zone)
	}
	return sql
}

// disabled is an event that does not run: in a database that is made for a trial it would do a second time what it does to others.
func (e *entry) disabled() (*entry, error) {
	l := &lexer{text: e.sql}
	for {
		t, err := l.next()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w: %w", e.label(), drivers.ErrCorrupt, err)
		}
		switch word := e.sql[t.from:t.to]; {
		case t.kind == tokenEnd, t.kind == tokenWord && strings.EqualFold(word, "DO"):
			return e, nil // it is disabled as it is
		case t.kind == tokenWord && strings.EqualFold(word, "ENABLE"):
			other := *e
			other.sql = e.sql[:t.from] + "DISABLE" + e.sql[t.to:]
			return &other, nil
		}
	}
}

// collect reads the definitions of all that is dumped. It takes one statement each.
func (s *Source) collect(ctx context.Context, c *conn, tables []*table) ([]*entry, error) {
	var list []*entry
	add := func(e *entry, err error) error {
		if err == nil {
			list = append(list, e)
		}
		return err
	}
	for _, t := range tables {
		if t.kind == sequenceTable {
			if err := add(c.showCreate(ctx, &entry{Kind: entrySequence, Name: t.name})); err != nil {
				return nil, err
			}
		}
	}
	for _, t := range tables {
		if t.kind == baseTable {
			if err := add(c.showCreate(ctx, &entry{Kind: entryTable, Name: t.name})); err != nil {
				return nil, err
			}
		}
	}
	if !s.options.selective() {
		routines, err := c.catalog(ctx, `SELECT LOWER(ROUTINE_TYPE), ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()
			ORDER BY FIELD(ROUTINE_TYPE, 'PACKAGE', 'PACKAGE BODY', 'FUNCTION', 'PROCEDURE'), ROUTINE_NAME`)
		if err != nil {
			return nil, fmt.Errorf("list routines: %w", classify(err))
		}
		for _, r := range routines {
			if err := add(c.showCreate(ctx, &entry{Kind: r[0], Name: r[1]})); err != nil {
				return nil, err
			}
		}
	}
	views, err := s.collectViews(ctx, c, tables)
	if err != nil {
		return nil, err
	}
	list = append(list, views...)
	triggers, err := c.catalog(ctx, `SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()
		ORDER BY EVENT_OBJECT_TABLE, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER, TRIGGER_NAME`)
	if err != nil {
		return nil, fmt.Errorf("list triggers: %w", classify(err))
	}
	taken := make(map[string]bool)
	for _, t := range tables {
		taken[t.name] = true
	}
	for _, r := range triggers {
		if taken[r[1]] {
			if err := add(c.showCreate(ctx, &entry{Kind: entryTrigger, Name: r[0], Table: r[1]})); err != nil {
				return nil, err
			}
		}
	}
	if s.options.selective() {
		return list, nil
	}
	events, err := c.catalog(ctx, "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE() ORDER BY EVENT_NAME")
	if err != nil {
		return nil, fmt.Errorf("list events: %w", classify(err))
	}
	for _, r := range events {
		if err := add(c.showCreate(ctx, &entry{Kind: entryEvent, Name: r[0]})); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// collectViews reads views, and puts those that others use before them.
func (s *Source) collectViews(ctx context.Context, c *conn, tables []*table) ([]*entry, error) {
	var list []*entry
	for _, t := range tables {
		if t.kind != viewTable {
			continue
		}
		e, err := c.showCreate(ctx, &entry{Kind: entryView, Name: t.name})
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	if len(list) == 0 {
		return nil, nil
	}
	// The server says in the comment of a view that it cannot be used.
	broken, err := c.catalog(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'VIEW' AND TABLE_COMMENT <> 'VIEW'")
	if err != nil {
		return nil, fmt.Errorf("look at views: %w", classify(err))
	}
	for _, r := range broken {
		for _, e := range list {
			e.Broken = e.Broken || e.Name == r[0]
		}
	}
	return sortViews(list)
}

// sortViews orders views so that each comes after those whose names it mentions.
func sortViews(list []*entry) ([]*entry, error) {
	byName := make(map[string]*entry, len(list))
	for _, e := range list {
		byName[e.Name] = e
	}
	var sorted []*entry
	begun := make(map[*entry]bool)
	var visit func(e *entry) error
	visit = func(e *entry) error {
		if begun[e] {
			return nil
		}
		begun[e] = true
		words, err := wordsOf(e.sql)
		if err != nil {
			return fmt.Errorf("read %s: %w", e.label(), err)
		}
		for _, w := range words {
			if other := byName[unquoteName(w)]; other != nil && w[0] == '`' {
				if err := visit(other); err != nil {
					return err
				}
			}
		}
		sorted = append(sorted, e)
		return nil
	}
	for _, e := range list {
		if err := visit(e); err != nil {
			return nil, err
		}
	}
	return sorted, nil
}

// createColumn is the column of SHOW CREATE that holds the statement of each kind.
func createColumn(kind string) string {
	switch kind {
	case entrySequence, entryTable:
		return "Create Table"
	case entryTrigger:
		return "SQL Original Statement"
	}
	return "Create " + kind
}

// showCreate fills in the statement of an object, and what it was made with.
func (c *conn) showCreate(ctx context.Context, e *entry) (*entry, error) {
	what := "SHOW CREATE " + strings.ToUpper(e.Kind) + " " + ident(e.Name)
	in, err := c.query(ctx, what)
	if err != nil {
		return nil, c.showError(e, err)
	}
	names := in.Columns()
	rows, err := c.all(ctx, in)
	if err != nil {
		return nil, c.showError(e, err)
	}
	if len(rows) != 1 {
		return nil, fmt.Errorf("read %s: %w", e.label(), errNoRow)
	}
	for i, name := range names {
		value := rows[0][i]
		switch {
		case strings.EqualFold(name, createColumn(e.Kind)):
			e.sql = value
		case strings.EqualFold(name, "sql_mode"):
			e.Mode = value
		case strings.EqualFold(name, "character_set_client"):
			e.Charset = value
		case strings.EqualFold(name, "collation_connection"):
			e.Collation = value
		case strings.EqualFold(name, "Database Collation"):
			e.Database = value
		case strings.EqualFold(name, "time_zone"):
			e.Zone = value
		}
	}
	if e.sql == "" { // the server shows that it is there, and not what it says
		return nil, drivers.WithHint(fmt.Errorf("read %s: %w: its definition is not shown to this account", e.label(), drivers.ErrAccess), c.server.routineHint())
	}
	if e.Kind != entryTable && e.Kind != entryView {
		return e, nil // the others are as somebody wrote them
	}
	if e.sql, err = unqualify(e.sql, c.source.place.database); err != nil {
		return nil, fmt.Errorf("read %s: %w", e.label(), err)
	}
	return e, nil
}

func (c *conn) showError(e *entry, err error) error {
	if isCode(err, codeLockWait) {
		return fmt.Errorf("read %s: %w: %w", e.label(), errBeingChanged, err)
	}
	err = fmt.Errorf("read %s: %w", e.label(), classify(err))
	if !errors.Is(err, drivers.ErrAccess) {
		return err
	}
	switch e.Kind {
	case entryView:
		return drivers.WithHint(err, "GRANT SELECT, SHOW VIEW on the database TO the account, or exclude the view with exclude_tables")
	case entryTable, entrySequence:
		return drivers.WithHint(err, "GRANT SELECT on the database TO the account, or exclude the table with exclude_tables")
	case entryTrigger:
		return drivers.WithHint(err, "GRANT TRIGGER on the database TO the account")
	case entryEvent:
		return drivers.WithHint(err, "GRANT EVENT on the database TO the account")
	}
	return drivers.WithHint(err, c.server.routineHint())
}

// lead and tail stand around an entry's statement in the file, so that MySQL's own client can run it.
func (e *entry) around(head string) (lead, tail string) {
	mark := ";;"
	for _, other := range []string{"$$", "//", "@@@@", "~~~~", "||||", "%%%%"} {
		if !strings.Contains(e.sql, mark) {
			break
		}
		mark = other
	}
	lead = entryMark + head + "\n" + e.settings(dialect{}) + ";\nDELIMITER " + mark + "\n"
	return lead, "\n" + mark + "\nDELIMITER ;\n\n"
}

const (
	entryMark = "-- salvor: "
	// Whoever runs the file at once, triggers before rows, gets false rows.
	schemaTitle = "-- Definitions, as Salvor dumps them. The archive's README.txt says how to run them by hand, and when: rows come before triggers.\n"
	schemaHead  = "SET NAMES utf8mb4;\nSET foreign_key_checks=0;\n\n"
)

// writeEntries writes a file of definitions.
func writeEntries(list []*entry) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(schemaTitle + schemaHead)
	for _, e := range list {
		e.Bytes = len(e.sql)
		head, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("describe %s: %w", e.label(), err)
		}
		lead, tail := e.around(string(head))
		b.WriteString(lead)
		b.WriteString(e.sql)
		b.WriteString(tail)
	}
	return b.Bytes(), nil
}

// mostDefinitions bounds what is read of a file of definitions into memory.
const mostDefinitions = 1 << 30

// readEntries reads a file of definitions. It takes it only in the form in which it is written.
func readEntries(in io.Reader) ([]*entry, error) {
	r := bufio.NewReader(io.LimitReader(in, mostDefinitions))
	title, err := r.ReadString('\n') // which has said other things
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !strings.HasPrefix(title, "-- ") {
		return nil, fmt.Errorf("%w: the definitions are not in the form of a dump", drivers.ErrCorrupt)
	}
	if err := expect(r, schemaHead); err != nil {
		return nil, err
	}
	var list []*entry
	for {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			return list, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		head, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), entryMark)
		e := &entry{}
		if !ok || json.Unmarshal([]byte(head), e) != nil || e.Bytes < 0 || e.Bytes > mostDefinitions {
			return nil, fmt.Errorf("%w: a line that begins no definition", drivers.ErrCorrupt)
		}
		if isProgress(e.Name) && slices.Contains([]string{entryTable, entrySequence, entryView}, e.Kind) {
			return nil, fmt.Errorf("%w: %s is a restore's own", drivers.ErrCorrupt, e.label())
		}
		// What stands around the statement follows from the two, but for the delimiter, which is a word.
		settings := e.settings(dialect{}) + ";\nDELIMITER "
		if err := expect(r, settings); err != nil {
			return nil, err
		}
		if _, err := r.ReadString('\n'); err != nil {
			return nil, fmt.Errorf("%w: %s has no end", drivers.ErrCorrupt, e.label())
		}
		var body strings.Builder
		if _, err := io.CopyN(&body, r, int64(e.Bytes)); err != nil {
			return nil, cut(e, err)
		}
		e.sql = body.String()
		if _, tail := e.around(head); true {
			if err := expect(r, tail); err != nil {
				return nil, err
			}
		}
		list = append(list, e)
	}
}

func cut(e *entry, err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %s has no end", drivers.ErrCorrupt, e.label())
	}
	return err
}

// expect reads a text that must be there.
func expect(r io.Reader, text string) error {
	b := make([]byte, len(text))
	if _, err := io.ReadFull(r, b); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if string(b) != text {
		return fmt.Errorf("%w: the definitions are not in the form of a dump", drivers.ErrCorrupt)
	}
	return nil
}

// readSchema reads the definitions that a dump holds.
func readSchema(ctx context.Context, target drivers.Target, part drivers.Part) ([]*entry, error) {
	if target.Open == nil {
		return nil, fmt.Errorf("read definitions: %w: the dump cannot be read", drivers.ErrInvalid)
	}
	in, err := target.Open(ctx, part)
	if err != nil {
		return nil, fmt.Errorf("read definitions: %w", err)
	}
	list, err := readEntries(in)
	if closeErr := in.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("read definitions: %w", err)
	}
	return list, nil
}

// ofKinds are the entries of some kinds, in their order.
func ofKinds(list []*entry, kinds ...string) []*entry {
	return slices.DeleteFunc(slices.Clone(list), func(e *entry) bool { return !slices.Contains(kinds, e.Kind) })
}
