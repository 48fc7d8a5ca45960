package mysql

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"salvor/drivers"
	"salvor/drivers/internal/rows"
)

// contents is what a dump holds, as its parts tell.
type contents struct {
	schema    drivers.Part
	schemaRef *ref
	globals   *drivers.Part
	tables    map[string][]loadPart // by name
}

type loadPart struct {
	drivers.Part
	ref *ref
}

func readContents(parts []drivers.Part) (*contents, error) {
	c := &contents{tables: make(map[string][]loadPart)}
	for _, p := range parts {
		r, err := readRef(p)
		if err != nil {
			return nil, err
		}
		switch r.Kind {
		case partSchema:
			c.schema, c.schemaRef = p, r
		case partGlobals:
			c.globals = &p
		case partTable:
			c.tables[r.Table] = append(c.tables[r.Table], loadPart{p, r})
		}
	}
	if c.schemaRef == nil {
		return nil, fmt.Errorf("read dump: %w: it has no definitions", drivers.ErrCorrupt)
	}
	d := c.schemaRef.Database
	if d == nil || !isName(d.Charset) || !isName(d.Collation) {
		return nil, fmt.Errorf("read dump: %w: it does not say how the database was made", drivers.ErrCorrupt)
	}
	return c, nil
}

// names are the tables of the parts, sorted.
func (c *contents) names() []string {
	list := make([]string, 0, len(c.tables))
	for name := range c.tables {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// state is what a target is found to be.
type state int

const (
	stateAbsent   state = iota // no such database
	stateEmpty                 // nothing is in it
	stateEqual                 // it holds what is to be restored
	stateBegun                 // this very restore began there
	stateForeign               // another restore began there
	stateOccupied              // something else is in it
)

// found is what a target was found to be.
type found struct {
	state     state
	run       string // of an unfinished restore
	selection bool   // which was one of some tables
	differs   string // what tells it from the dump
	print     string // tells the database from one that takes its place
}

// look finds out what the target is. It changes nothing.
func (s *Source) look(ctx context.Context, target drivers.Target, c *contents, schema []*entry) (*found, error) {
	w, err := s.connect(ctx, "check target")
	if isCode(err, codeNoDatabase) {
		return &found{state: stateAbsent}, nil
	}
	if err != nil {
		return nil, s.explain(err)
	}
	defer w.close()
	f := &found{}
	if f.run, f.selection, err = w.begun(ctx); err != nil {
		return nil, err
	}
	if f.print, err = w.fingerprint(ctx); err != nil {
		return nil, err
	}
	switch f.run {
	case "":
	case target.Run:
		f.state = stateBegun
		return f, nil
	default:
		f.state = stateForeign
		return f, nil
	}
	if len(target.Only) > 0 {
		return f, s.lookOnly(ctx, w, c, f)
	}
	if f.print == "" {
		f.state = stateEmpty
		return f, nil
	}
	if f.differs, err = s.differs(ctx, w, c, schema); err != nil {
		return nil, err
	}
	f.state = stateOccupied
	if f.differs == "" {
		f.state = stateEqual
	}
	return f, nil
}

// fingerprint is a text that tells a database from another one of its name: what is in it, and since when. It is "" of an empty
// database.
func (c *conn) fingerprint(ctx context.Context) (string, error) {
	list, err := c.catalog(ctx, `SELECT CONCAT('table ', TABLE_NAME), COALESCE(CREATE_TIME, '') FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()
		UNION ALL SELECT CONCAT('routine ', ROUTINE_TYPE, ROUTINE_NAME), CREATED FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()
		UNION ALL SELECT CONCAT('event ', EVENT_NAME), CREATED FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()`)
	if err != nil {
		return "", fmt.Errorf("look at target: %w", classify(err))
	}
	list = slices.DeleteFunc(list, func(r []string) bool { return strings.HasPrefix(r[0], "table "+progressPrefix) })
	if len(list) == 0 {
		return "", nil
	}
	slices.SortFunc(list, slices.Compare[[]string])
	h := fnv.New64a()
	for _, r := range list {
		_, _ = h.Write([]byte(r[0] + "\x00" + r[1] + "\x00"))
	}
	return fmt.Sprintf("%d objects %016x", len(list), h.Sum64()), nil
}

// lookOnly tells whether the selected tables are in the target already. Other things may be.
func (s *Source) lookOnly(ctx context.Context, w *conn, c *contents, f *found) error {
	tables, err := w.tableNames(ctx)
	if err != nil {
		return err
	}
	var there []string
	for name := range c.tables {
		if tables[name] {
			there = append(there, name)
		}
	}
	if len(there) == 0 {
		f.state = stateEmpty
		return nil
	}
	slices.Sort(there)
	f.state = stateEqual
	for _, name := range c.names() {
		text, err := s.compareTable(ctx, w, name, c.tables[name])
		if err != nil {
			return err
		}
		if text != "" {
			f.state, f.differs = stateOccupied, "it has "+strings.Join(there, ", ")
			return nil
		}
	}
	return nil
}

func (c *conn) tableNames(ctx context.Context) (map[string]bool, error) {
	list, err := c.catalog(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()")
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", classify(err))
	}
	names := make(map[string]bool, len(list))
	for _, r := range list {
		names[r[0]] = true
	}
	return names, nil
}

// verdict turns what a target is into what is to be done: nil for going on.
func (s *Source) verdict(target drivers.Target, f *found) error {
	only := len(target.Only) > 0
	if isServersOwn(s.place.database) {
		return drivers.WithHint(fmt.Errorf("restore into database %s: %w: it is the server's own", s.name(), drivers.ErrInvalid), "name another database")
	}
	switch f.state {
	case stateEmpty, stateEqual, stateBegun:
		return nil
	case stateAbsent:
		if target.Create || target.Clean {
			return nil
		}
		return drivers.WithHint(fmt.Errorf("database %s: %w", s.name(), drivers.ErrNotFound), "--create makes it, as the one that was dumped was made")
	case stateForeign:
		if target.Clean && only == f.selection {
			return nil
		}
		hint := "salvor resume " + f.run + " goes on with it"
		switch {
		case only && f.selection:
			hint += "; --clean removes the tables that it made, and those that are restored"
		case !only && !f.selection:
			hint += "; --clean drops the database with all that is in it"
		}
		return drivers.WithHint(fmt.Errorf("database %s: %w: the restore %s began there and did not end", s.name(), drivers.ErrNotEmpty, f.run), hint)
	default:
		if target.Clean {
			return nil
		}
		err := fmt.Errorf("database %s: %w: %s", s.name(), drivers.ErrNotEmpty, f.differs)
		if only {
			return drivers.WithHint(err, "restore into another database, or allow to drop these tables (--clean)")
		}
		return drivers.WithHint(err, "restore into a new database (--create), or allow to drop this one with all that is in it (--clean)")
	}
}

// recipe is all that a restore is made from but the rows, read before anything is changed.
type recipe struct {
	target  drivers.Target
	c       *contents
	schema  []*entry
	globals []*entry
}

func (s *Source) readRecipe(ctx context.Context, target drivers.Target, parts []drivers.Part) (*recipe, error) {
	c, err := readContents(parts)
	if err != nil {
		return nil, err
	}
	r := &recipe{target: target, c: c}
	if r.schema, err = readSchema(ctx, target, c.schema); err != nil {
		return nil, err
	}
	defined := make(map[string]bool)
	for _, e := range r.schema {
		if e.Kind == entryTable {
			defined[e.Name] = true
		}
	}
	for name := range c.tables {
		if !defined[name] {
			return nil, fmt.Errorf("read dump: %w: it has rows of table %s and not its definition", drivers.ErrCorrupt, name)
		}
	}
	if len(target.Only) > 0 {
		r.schema, err = selectEntries(r.schema, c)
		return r, err
	}
	if s.options.Definer == definerDrop {
		for _, e := range r.schema {
			if !e.hasContext() {
				continue
			}
			if e.sql, err = withoutDefiner(e.sql); err != nil {
				return nil, fmt.Errorf("read %s: %w", e.label(), err)
			}
		}
	}
	if c.globals != nil && !s.isScratch() {
		if r.globals, err = readSchema(ctx, target, *c.globals); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// selectEntries takes the selected tables out of the definitions: with the sequences that their columns take values from, their
// triggers, and the foreign keys between them.
func selectEntries(list []*entry, c *contents) ([]*entry, error) {
	used := make(map[string]bool)
	var out []*entry
	for _, e := range ofKinds(list, entryTable) {
		if c.tables[e.Name] == nil {
			continue
		}
		words, err := wordsOf(e.sql)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", e.label(), errors.Join(drivers.ErrCorrupt, err))
		}
		for _, w := range words {
			used[unquoteName(w)] = true
		}
	}
	for _, e := range list {
		switch e.Kind {
		case entrySequence, entrySetval:
			if used[e.Name] {
				out = append(out, e)
			}
		case entryTable:
			if c.tables[e.Name] != nil {
				out = append(out, e)
			}
		case entryTrigger:
			if c.tables[e.Table] != nil {
				out = append(out, e)
			}
		}
	}
	return out, nil
}

// CheckTarget tells whether the database is absent (and may be created), empty, equal, or may be removed.
func (s *Source) CheckTarget(ctx context.Context, target drivers.Target, parts []drivers.Part) error {
	c, err := readContents(parts)
	if err != nil {
		return err
	}
	var schema []*entry
	if target.Open != nil {
		r, err := s.readRecipe(ctx, target, parts)
		if err != nil {
			return told(ctx, err)
		}
		schema = r.schema
	}
	f, err := s.look(ctx, target, c, schema)
	if err != nil {
		return told(ctx, err)
	}
	if err := s.verdict(target, f); err != nil {
		return err
	}
	return s.first(ctx, target, f)
}

// first tells whether the database that is going to be dropped is the one that the run found at its beginning. A run may be
// resumed when another restore has long put its own in that place, and users have written to it.
func (s *Source) first(ctx context.Context, target drivers.Target, f *found) error {
	if target.Found == nil || !target.Clean || len(target.Only) > 0 || f.state == stateBegun {
		return nil
	}
	what := f.print
	switch f.state {
	case stateAbsent:
		what = "no database"
	case stateEmpty:
		what = "a database with nothing in it"
	case stateEqual:
		what += " with what was dumped"
	default:
	}
	was, err := target.Found(ctx, what)
	if err != nil {
		return err
	}
	if was == what || f.state != stateForeign && f.state != stateOccupied { // nothing is dropped
		return nil
	}
	return drivers.WithHint(fmt.Errorf("replace database %s: %w: it is not what this restore found there when it began (%s, now %s): another was put in its place since",
		s.name(), drivers.ErrNotEmpty, was, what), "begin a new restore, if this one shall be dropped too")
}

// differs tells how the whole database differs from a dump; "" where it does not. What costs little is compared first.
func (s *Source) differs(ctx context.Context, w *conn, c *contents, schema []*entry) (string, error) {
	// Only what is in both is known to be equal: patterns of the node take nothing away from what is there.
	all := *s
	all.options.Tables, all.options.ExcludeTables, all.options.NoData = nil, nil, nil
	tables, err := all.listTables(ctx, w)
	if err != nil {
		return "", err
	}
	wanted := make(map[string]bool)
	for _, e := range schema {
		wanted[e.Name] = true
	}
	for _, t := range tables {
		if !wanted[t.name] {
			return "it has " + t.name + ", which the dump lacks", nil
		}
	}
	have, err := all.collect(ctx, w, tables)
	if err != nil {
		return "", err
	}
	for _, t := range tables {
		if t.kind == sequenceTable {
			e, err := sequenceState(ctx, w, t.name)
			if err != nil {
				return "", err
			}
			have = append(have, e)
		}
	}
	if text := compareEntries(have, schema); text != "" {
		return text, nil
	}
	var first string
	err = s.compareAll(ctx, c, func(text string) error {
		first = text
		return errDiffers
	})
	if err != nil && !errors.Is(err, errDiffers) {
		return "", err
	}
	return first, nil
}

// compareEntries tells how definitions differ from those of a dump; "" where they do not.
func compareEntries(have, want []*entry) string {
	key := func(e *entry) string { return e.Kind + "\x00" + e.Name }
	other := make(map[string]*entry, len(want))
	for _, e := range want {
		other[key(e)] = e
	}
	for _, e := range have {
		w := other[key(e)]
		if w == nil {
			return "it has the " + e.label() + ", which the dump lacks"
		}
		delete(other, key(e))
		if e.whole() != w.whole() || e.Mode != w.Mode || e.Charset != w.Charset || e.Collation != w.Collation {
			return "its " + e.label() + " is another"
		}
	}
	for _, e := range other {
		return "it lacks the " + e.label()
	}
	return ""
}

// whole is the statement without what MySQL keeps behind a trigger that was made by one of several statements.
func (e *entry) whole() string { return strings.TrimRight(e.sql, "; \t\r\n") }

// errDiffers ends a comparison at the first difference.
var errDiffers = errors.New("target differs")

// expected adds up what the dump says of a table.
func expected(parts []loadPart) (*rows.Digest, error) {
	d := &rows.Digest{}
	for _, p := range parts {
		if err := d.AddText(p.Digest, p.Rows); err != nil {
			return nil, err
		}
	}
	return d, nil
}
