package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"salvor/drivers"
)

// contents is what a dump holds, as its parts tell.
type contents struct {
	schema    drivers.Part
	schemaRef *ref
	globals   *drivers.Part
	sequences *drivers.Part
	tables    map[string][]loadPart    // by key
	bare      map[string]*bareRelation // selected, without rows; by key
	objects   []loadPart
	metadata  []loadPart // of large objects; earlier dumps have none
}

type loadPart struct {
	drivers.Part
	ref *ref
}

// readContents reads the parts of a restore, of a selection those that it takes.
func readContents(parts []drivers.Part, only []string) (*contents, error) {
	c := &contents{tables: make(map[string][]loadPart), bare: make(map[string]*bareRelation)}
	for _, p := range parts {
		r, err := readRef(p)
		if err != nil {
			return nil, err
		}
		switch r.Kind {
		case kindSchema:
			c.schema, c.schemaRef = p, r
		case kindGlobals:
			c.globals = &p
		case kindSequences:
			c.sequences = &p
		case kindTable:
			if err := checkCondition(r.Condition); err != nil {
				return nil, fmt.Errorf("part %q: %w", p.Name, err)
			}
			c.tables[r.key()] = append(c.tables[r.key()], loadPart{p, r})
		case kindObjects:
			c.objects = append(c.objects, loadPart{p, r})
		case kindMetadata:
			c.metadata = append(c.metadata, loadPart{p, r})
		}
	}
	if c.schemaRef == nil {
		return nil, fmt.Errorf("read dump: %w: it has no schema", drivers.ErrCorrupt)
	}
	c.chooseBare(only)
	if d := c.schemaRef.Database; d != nil {
		return c, d.checkSettle()
	}
	return nil, fmt.Errorf("read dump: %w: it does not say how the database was made", drivers.ErrCorrupt)
}

// checkCondition refuses a condition that would end the query that it is a part of.
func checkCondition(condition string) error {
	l := &lexer{text: condition}
	depth := 0
	for {
		t, err := l.next()
		if err == nil && t.kind == tokenEnd && depth == 0 {
			return nil
		}
		switch text := condition[t.from:t.to]; {
		case t.kind == tokenSymbol && text == "(":
			depth++
		case t.kind == tokenSymbol && text == ")":
			depth--
		}
		if err != nil || t.kind == tokenEnd || t.kind == tokenComment || depth < 0 || condition[t.from:t.to] == ";" {
			return fmt.Errorf("%w: its condition is none", drivers.ErrCorrupt)
		}
	}
}

// state is what a target is found to be.
type state int

const (
	stateAbsent   state = iota // no such database
	stateEmpty                 // nothing of a user's is in it
	stateEqual                 // it holds what is to be restored
	stateBegun                 // this very restore began there
	stateForeign               // another restore began there
	stateOccupied              // something else is in it
)

// emptyQuery counts what users make. Objects that the server brings have oids below 16384.
const emptyQuery = `SELECT
  (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid >= 16384 AND n.nspname !~ '^pg_')
+ (SELECT count(*) FROM pg_catalog.pg_proc WHERE oid >= 16384) + (SELECT count(*) FROM pg_catalog.pg_type WHERE oid >= 16384)
+ (SELECT count(*) FROM pg_catalog.pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_(toast_)?temp')
+ (SELECT count(*) FROM pg_catalog.pg_extension WHERE oid >= 16384) + (SELECT count(*) FROM pg_catalog.pg_event_trigger)
+ (SELECT count(*) FROM pg_catalog.pg_publication) + (SELECT count(*) FROM pg_catalog.pg_foreign_data_wrapper WHERE oid >= 16384)
+ (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata) + (SELECT count(*) FROM pg_catalog.pg_language WHERE oid >= 16384)
+ (SELECT count(*) FROM pg_catalog.pg_cast WHERE oid >= 16384) + (SELECT count(*) FROM pg_catalog.pg_operator WHERE oid >= 16384)
+ (SELECT count(*) FROM pg_catalog.pg_collation WHERE oid >= 16384) + (SELECT count(*) FROM pg_catalog.pg_conversion WHERE oid >= 16384)
+ (SELECT count(*) FROM pg_catalog.pg_ts_config WHERE oid >= 16384) + (SELECT count(*) FROM pg_catalog.pg_ts_dict WHERE oid >= 16384)`

// found is what a target was found to be.
type found struct {
	state     state
	oid       string // of the database, "" where there is none
	run       string // of an unfinished restore
	selection bool   // which was one of some tables
	differs   string // what tells it from the dump
	owned     bool   // the role owns the database, by itself or as a member
	maker     bool   // the role may create databases
	uses      string // subscriptions, which keep the database from being dropped
	slots     string // replication slots, which go with it
	template  bool   // it is marked as a template
}

// look finds out what the target is. It changes nothing.
func (s *Source) look(ctx context.Context, target drivers.Target, c *contents) (*found, error) {
	w, err := s.connect(ctx, "check target")
	if isCode(err, codeNoDatabase) {
		return &found{state: stateAbsent}, nil
	}
	if err != nil {
		return nil, s.explain(err)
	}
	defer w.close(ctx)
	// What an archive says is compared with the target; nothing of it can write.
	if err := w.exec(ctx, "SET default_transaction_read_only = on"); err != nil {
		return nil, fmt.Errorf("look at target: %w", classify(err))
	}
	rows, err := w.rows(ctx, `SELECT d.oid, pg_catalog.pg_has_role(d.datdba, 'USAGE')::text,
		(SELECT rolsuper OR rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER)::text,
		COALESCE((SELECT pg_catalog.string_agg(pg_catalog.quote_ident(subname), ', ' ORDER BY subname) FROM pg_catalog.pg_subscription WHERE subdbid = d.oid), ''),
		COALESCE((SELECT pg_catalog.string_agg(pg_catalog.quote_ident(slot_name), ', ' ORDER BY slot_name) FROM pg_catalog.pg_replication_slots WHERE database = d.datname), ''),
		d.datistemplate::text
		FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()`)
	if err != nil || len(rows) == 0 {
		return nil, fmt.Errorf("look at target: %w", classify(errors.Join(err, ctx.Err())))
	}
	f := &found{oid: rows[0][0], owned: rows[0][1] == "true", maker: rows[0][2] == "true", uses: rows[0][3], slots: rows[0][4], template: rows[0][5] == "true"}
	if f.run, f.selection, err = w.begun(ctx); err != nil {
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
	n, err := w.number(ctx, emptyQuery)
	if err != nil {
		return nil, fmt.Errorf("look at target: %w", classify(err))
	}
	if n == 0 {
		f.state = stateEmpty
		return f, nil
	}
	if f.differs, err = s.differs(ctx, w, target, c); err != nil {
		return nil, err
	}
	f.state = stateOccupied
	if f.differs == "" {
		f.state = stateEqual
	}
	return f, nil
}

// lookOnly tells whether the selected tables are in the target already. Other things may be.
func (s *Source) lookOnly(ctx context.Context, w *conn, c *contents, f *found) error {
	tables, err := s.targetTables(ctx, w)
	if err != nil {
		return err
	}
	var there []string
	for key := range c.tables {
		if t, ok := tables[key]; ok {
			there = append(there, t.label())
		}
	}
	bare, err := c.bareThere(ctx, w)
	if err != nil {
		return err
	}
	lacks := false
	for key, b := range c.bare {
		if bare[key] {
			there = append(there, b.Schema+"."+b.Table)
		} else {
			lacks = true
		}
	}
	if len(there) == 0 {
		f.state = stateEmpty
		return nil
	}
	slices.Sort(there)
	f.state, f.differs = stateEqual, "it has "+strings.Join(there, ", ")
	for _, b := range c.bare {
		if lacks || b.Kind != "p" || len(b.Of) == 0 { // of what has no rows, nobody can tell whether it is the same
			f.state = stateOccupied
			return nil
		}
	}
	for key, parts := range c.tables {
		text, err := s.compareTable(ctx, tables[key], parts)
		if err != nil {
			return err
		}
		if text != "" {
			f.state = stateOccupied
			return nil
		}
	}
	return nil
}

// verdict turns what a target is into what is to be done: nil for going on.
func (s *Source) verdict(target drivers.Target, f *found) error {
	only := len(target.Only) > 0
	if s.config.Database == "template0" || s.config.Database == "template1" {
		return drivers.WithHint(fmt.Errorf("restore into database %s: %w: it is the server's own, and new databases are copies of it", s.name(), drivers.ErrInvalid),
			"name another database")
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
		switch {
		case target.Clean && only && f.selection:
			return nil // what that one left of its tables is removed
		case target.Clean && !only:
			return s.droppable(f)
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
		err := fmt.Errorf("database %s: %w: %s", s.name(), drivers.ErrNotEmpty, f.differs)
		switch {
		case only && target.Clean:
			return nil
		case only:
			return drivers.WithHint(err, "restore into another database, or allow to drop these tables (--clean)")
		case target.Clean:
			return s.droppable(f)
		}
		return drivers.WithHint(err, "restore into a new database (--create), or allow to drop this one with all that is in it (--clean)")
	}
}

// droppable tells whether the database can be dropped and another be made in its place. What cannot is left as it is.
func (s *Source) droppable(f *found) error {
	what := "replace database " + s.name()
	switch {
	case s.config.Database == "postgres":
		return fmt.Errorf("%s: %w: it is the server's own", what, drivers.ErrInvalid)
	case f.template:
		return drivers.WithHint(fmt.Errorf("%s: %w: it is a template, which keeps it from being dropped", what, drivers.ErrFailed),
			"ALTER DATABASE … IS_TEMPLATE false, if it shall be dropped")
	case f.slots != "":
		return drivers.WithHint(fmt.Errorf("%s: %w: it has the replication slots %s, and their consumers' positions", what, drivers.ErrFailed, f.slots),
			"drop the slots first (pg_drop_replication_slot), if nobody needs them")
	case f.uses != "":
		return drivers.WithHint(fmt.Errorf("%s: %w: it has subscriptions: %s", what, drivers.ErrFailed, f.uses), subscriptionHint)
	case !f.owned || !f.maker:
		return drivers.WithHint(fmt.Errorf("%s: %w: it takes a role that owns it and has CREATEDB", what, drivers.ErrAccess),
			"restore as such a role; or empty the database and restore into it without --clean")
	}
	return nil
}

// CheckTarget tells whether the database is absent (and may be created), empty, equal, or may be removed, and whether the
// schema can be read here.
func (s *Source) CheckTarget(ctx context.Context, target drivers.Target, parts []drivers.Part) error {
	c, err := readContents(parts, target.Only)
	if err != nil {
		return err
	}
	if target.Open != nil {
		_, err = s.readSchema(ctx, target, c)
	} else {
		_, err = findProgram(ctx, "pg_restore", 0)
	}
	if err != nil {
		return told(ctx, err)
	}
	f, err := s.look(ctx, target, c)
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
	what := "database " + f.oid
	switch f.state {
	case stateAbsent:
		what = "no database"
	case stateEmpty:
		what += " with nothing in it"
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

// targetTables lists the target's tables by key.
func (s *Source) targetTables(ctx context.Context, c *conn) (map[string]*table, error) {
	list, err := s.listTables(ctx, c)
	if err != nil {
		return nil, err
	}
	byKey := make(map[string]*table, len(list))
	for _, t := range list {
		byKey[t.key()] = t
	}
	return byKey, nil
}
