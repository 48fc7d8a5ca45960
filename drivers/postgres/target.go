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
	tables    map[string][]loadPart // by key
	objects   []loadPart
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
		case kindSchema:
			c.schema, c.schemaRef = p, r
		case kindGlobals:
			c.globals = &p
		case kindSequences:
			c.sequences = &p
		case kindTable:
			c.tables[r.key()] = append(c.tables[r.key()], loadPart{p, r})
		case kindObjects:
			c.objects = append(c.objects, loadPart{p, r})
		}
	}
	if c.schemaRef == nil {
		return nil, fmt.Errorf("read dump: %w: it has no schema", drivers.ErrCorrupt)
	}
	return c, nil
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

// look finds out what the target is. run is that of an unfinished restore, differs what tells it from the dump. It changes
// nothing.
func (s *Source) look(ctx context.Context, target drivers.Target, c *contents) (st state, run, differs string, err error) {
	w, err := s.connect(ctx, "check target")
	if isCode(err, codeNoDatabase) {
		return stateAbsent, "", "", nil
	}
	if err != nil {
		return 0, "", "", s.explain(err)
	}
	defer w.close(ctx)
	began, err := w.text(ctx, "SELECT (pg_catalog.to_regclass('salvor_progress.run') IS NOT NULL)::text")
	if err != nil {
		return 0, "", "", fmt.Errorf("look at target: %w", classify(err))
	}
	if began == "true" {
		run, err := w.text(ctx, "SELECT id FROM salvor_progress.run")
		if err != nil && !errors.Is(err, errNoRow) {
			return 0, "", "", fmt.Errorf("look at target: %w", classify(err))
		}
		if run == target.Run {
			return stateBegun, run, "", nil
		}
		return stateForeign, run, "", nil
	}
	if len(target.Only) > 0 {
		return s.lookOnly(ctx, w, c)
	}
	n, err := w.number(ctx, emptyQuery)
	if err != nil {
		return 0, "", "", fmt.Errorf("look at target: %w", classify(err))
	}
	if n == 0 {
		return stateEmpty, "", "", nil
	}
	if differs, err = s.differs(ctx, w, target, c); err != nil {
		return 0, "", "", err
	}
	if differs == "" {
		return stateEqual, "", "", nil
	}
	return stateOccupied, "", differs, nil
}

// lookOnly tells whether the selected tables are in the target already. Other things may be.
func (s *Source) lookOnly(ctx context.Context, w *conn, c *contents) (st state, run, differs string, err error) {
	tables, err := s.targetTables(ctx, w)
	if err != nil {
		return 0, "", "", err
	}
	var there []string
	for key := range c.tables {
		if t, ok := tables[key]; ok {
			there = append(there, t.label())
		}
	}
	if len(there) == 0 {
		return stateEmpty, "", "", nil
	}
	slices.Sort(there)
	equal := true
	for key, parts := range c.tables {
		text, err := s.compareTable(ctx, tables[key], parts)
		if err != nil {
			return 0, "", "", err
		}
		equal = equal && text == ""
	}
	if equal {
		return stateEqual, "", "", nil
	}
	return stateOccupied, "", "it has " + strings.Join(there, ", "), nil
}

// verdict turns what a target is into what is to be done: nil for going on.
func (s *Source) verdict(target drivers.Target, st state, run, differs string) error {
	clean := target.Clean || target.Replace()
	switch st {
	case stateEmpty, stateEqual, stateBegun:
		return nil
	case stateAbsent:
		if target.Create || target.Replace() {
			return nil
		}
		return drivers.WithHint(fmt.Errorf("database %s: %w", s.name(), drivers.ErrNotFound), "--create makes it, as the one that was dumped was made")
	case stateForeign:
		if clean && len(target.Only) == 0 {
			return nil
		}
		return drivers.WithHint(fmt.Errorf("database %s: %w: the restore %s began there and did not end", s.name(), drivers.ErrNotEmpty, run),
			"salvor resume "+run+" goes on with it; --clean removes what it left, and everything else in the database")
	default:
		if clean {
			return nil
		}
		return drivers.WithHint(fmt.Errorf("database %s: %w: %s", s.name(), drivers.ErrNotEmpty, differs),
			"restore into a new database (--create), or allow to remove what is there (--clean)")
	}
}

// CheckTarget tells whether the database is absent (and may be created), empty, equal, or may be removed.
func (s *Source) CheckTarget(ctx context.Context, target drivers.Target, parts []drivers.Part) error {
	c, err := readContents(parts)
	if err != nil {
		return err
	}
	if _, err := findProgram(ctx, "pg_restore", 0); err != nil {
		return err
	}
	st, run, differs, err := s.look(ctx, target, c)
	if err != nil {
		return told(ctx, err)
	}
	return s.verdict(target, st, run, differs)
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
