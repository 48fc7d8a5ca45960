package postgres

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
)

// sequenceState is one statement of a dump's sequences.
type sequenceState struct {
	name    string // as SQL has it: "shop"."order_id_seq"
	sql     string
	defined bool // the dump's schema makes the sequence, by itself or as that of an identity column
}

// schema is what a schema part holds, in the order in which it is to be made.
type schema struct {
	before, after []*entry

	defined map[string]bool // sequences, by key
}

// readSchema reads the schema's entries, those of the selection where there is one.
func (s *Source) readSchema(ctx context.Context, target drivers.Target, c *contents) (*schema, error) {
	file, err := s.openSchema(ctx, target, c.schema)
	if err != nil {
		return nil, err
	}
	defer file.close()
	var before, after []*entry
	group, reading := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		before, err = file.entries(reading, "pre-data")
		return err
	})
	group.Go(func() (err error) {
		after, err = file.entries(reading, "post-data")
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if len(c.metadata) > 0 { // which says the same, whatever pg_dump's version
		before, after = slices.DeleteFunc(before, isOfObject), slices.DeleteFunc(after, isOfObject)
	}
	if len(target.Only) > 0 {
		before, after = selectTables(before, after, c)
	}
	if s.isScratch() {
		before, after = withoutRoles(before), withoutRoles(after)
	}
	sc := &schema{before: before, after: after, defined: make(map[string]bool)}
	for _, e := range before {
		if e.kind == "SEQUENCE" {
			sc.defined[keyOf(e.schema, e.name)] = true
		}
	}
	return sc, nil
}

// sequences reads the states of sequences. Each must be one call of setval and nothing else: it runs as the restoring role.
func (sc *schema) sequences(ctx context.Context, target drivers.Target, part drivers.Part) ([]sequenceState, error) {
	in, err := target.Open(ctx, part)
	if err != nil {
		return nil, fmt.Errorf("read sequences: %w", err)
	}
	data, err := io.ReadAll(in)
	if closeErr := in.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("read sequences: %w", err)
	}
	list, err := splitStatements(string(data), false)
	if err != nil {
		return nil, fmt.Errorf("read sequences: %w: %w", drivers.ErrCorrupt, err)
	}
	states := make([]sequenceState, 0, len(list))
	for _, sql := range list {
		name, ok := setvalName(sql)
		parts := splitName(name)
		if !ok || len(parts) != 2 {
			return nil, fmt.Errorf("read sequences: %w: a statement that does not set one", drivers.ErrCorrupt)
		}
		states = append(states, sequenceState{name: name, sql: sql, defined: sc.defined[keyOf(parts[0], parts[1])]})
	}
	return states, nil
}

// setvalName returns the name in SELECT pg_catalog.setval('NAME', NUMBER, BOOLEAN); and whether the statement is one.
func setvalName(sql string) (string, bool) {
	w, err := words(sql)
	if err != nil || len(w) < 12 {
		return "", false
	}
	name := w[5]
	number := w[7 : len(w)-4]
	if len(number) == 2 && number[0] == "-" {
		number = number[1:]
	}
	head, tail := strings.Join(w[:5], " "), strings.Join(w[len(w)-4:], " ")
	if head != "SELECT pg_catalog . setval (" || w[6] != "," || len(number) != 1 || strings.Trim(number[0], "0123456789") != "" ||
		(tail != ", true ) ;" && tail != ", false ) ;") {
		return "", false
	}
	return unquoteLiteral(name)
}

// unquoteLiteral reads a text as literal writes it.
func unquoteLiteral(word string) (string, bool) {
	escaped := strings.HasPrefix(word, "E'")
	word = strings.TrimPrefix(word, "E")
	if len(word) < 2 || word[0] != '\'' {
		return "", false
	}
	word = strings.ReplaceAll(word[1:len(word)-1], "''", "'")
	if escaped {
		word = strings.ReplaceAll(word, `\\`, `\`)
	}
	return word, true
}

// setSequences sets the sequences that the dump's schema has made, and those of extensions. Others are not the dump's: a
// sequence of a table that was left out, or, in a selection, one that was there before.
func (w *work) setSequences(ctx context.Context, states []sequenceState, selection bool) error {
	query := `SELECT COALESCE((SELECT (CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
		AND d.objid = c.oid AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e') THEN 'extension' ELSE 'own' END)
		FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind = 'S'), '')`
	if selection {
		query = `SELECT COALESCE((SELECT 'own' FROM salvor_progress.made m WHERE m.oid = pg_catalog.to_regclass($1)), '')`
	}
	for _, st := range states {
		is, err := w.text(ctx, query, st.name)
		if err != nil {
			return fmt.Errorf("set sequence %s: %w", st.name, classify(err))
		}
		if is == "" || is == "own" && !st.defined {
			continue
		}
		if err := w.statement(ctx, &entry{kind: "SEQUENCE", schema: "-", name: "state of " + st.name, sql: st.sql}); err != nil {
			return err
		}
	}
	return nil
}
