package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"salvor/drivers"
)

// batchSize is the number of objects that one transaction makes: each takes locks, of which the server has room for some
// thousands.
const batchSize = 200

// Prepare makes the database where it is absent, its tables without indexes, and sets the sequences. What an earlier
// attempt of the run did is not done again.
func (s *Source) Prepare(ctx context.Context, target drivers.Target, parts []drivers.Part) error {
	c, err := readContents(parts)
	if err != nil {
		return err
	}
	st, run, differs, err := s.look(ctx, target, c)
	if err == nil {
		err = s.verdict(target, st, run, differs)
	}
	if err != nil {
		return told(ctx, err)
	}
	replaced := false
	switch st {
	case stateForeign, stateOccupied:
		if len(target.Only) > 0 {
			break
		}
		if err := s.Drop(ctx); err != nil {
			return err
		}
		st, replaced = stateAbsent, true
		fallthrough
	case stateAbsent:
		if err := s.create(ctx, c.schemaRef.Database); err != nil {
			return err
		}
	default:
	}
	w, err := s.begin(ctx, target, "prepare", "")
	if err != nil {
		return err
	}
	defer w.close(ctx)
	if st != stateBegun {
		if err := w.beginRun(ctx, st, c); err != nil {
			return told(ctx, err)
		}
	}
	if st == stateEqual {
		return nil
	}
	if c.globals != nil && len(target.Only) == 0 {
		if err := w.makeGlobals(ctx, target, *c.globals); err != nil {
			return told(ctx, err)
		}
	}
	if target.Create || replaced || st == stateAbsent {
		if err := w.settle(ctx, c.schemaRef.Database); err != nil {
			return told(ctx, err)
		}
	}
	return told(ctx, w.makeSchema(ctx, target, c, st == stateOccupied))
}

// beginRun makes the restore's own tables. Of a target that is equal already everything is noted as done.
func (w *work) beginRun(ctx context.Context, st state, c *contents) error {
	if err := w.exec(ctx, "BEGIN"); err != nil {
		return fmt.Errorf("begin: %w", classify(err))
	}
	err := w.exec(ctx, progressSQL)
	if err == nil {
		_, err = w.rows(ctx, "INSERT INTO salvor_progress.run (id) VALUES ($1)", w.run)
	}
	note := func(list []loadPart, tbl string) {
		for _, p := range list {
			if err == nil {
				_, err = w.rows(ctx, "INSERT INTO salvor_progress.done (item, tbl) VALUES ($1, $2)", p.Name, tbl)
			}
		}
	}
	if st == stateEqual {
		for key, list := range c.tables {
			note(list, key)
		}
		note(c.objects, "")
	}
	if err != nil {
		w.rollback(ctx)
		if isCode(err, codePrivilege) {
			return drivers.WithHint(fmt.Errorf("begin restore: %w", classify(err)), "the role must be allowed to create schemas in the database: grant it CREATE on it")
		}
		return fmt.Errorf("begin restore: %w", classify(err))
	}
	return w.commit(ctx)
}

// settle sets what belongs to the database itself.
func (w *work) settle(ctx context.Context, d *database) error {
	return w.once(ctx, "database", "", func() error {
		for _, sql := range d.settleSQL(w.source.config.Database) {
			if err := w.statement(ctx, &entry{kind: "DATABASE", name: w.source.config.Database, sql: sql}); err != nil {
				return err
			}
		}
		return nil
	})
}

// makeSchema makes what comes before the rows, and stores what comes after them.
func (w *work) makeSchema(ctx context.Context, target drivers.Target, c *contents, occupied bool) error {
	file, err := w.source.openSchema(ctx, target, c.schema)
	if err != nil {
		return err
	}
	defer file.close()
	before, err := file.entries(ctx, "pre-data")
	if err != nil {
		return err
	}
	after, err := file.entries(ctx, "post-data")
	if err != nil {
		return err
	}
	if len(target.Only) > 0 {
		before, after = selectEntries(before, after, c)
		if occupied {
			if err := w.dropTables(ctx, c); err != nil {
				return err
			}
		}
	}
	if err := w.makeSchemas(ctx, c.schemaRef.Schemas); err != nil {
		return err
	}
	for i := 0; len(before) > 0; i++ {
		n := min(batchSize, len(before))
		if err := w.once(ctx, fmt.Sprintf("schema/%d", i), "", func() error { return w.makeBatch(ctx, before[:n], len(target.Only) > 0) }); err != nil {
			return err
		}
		before = before[n:]
	}
	if c.sequences != nil {
		if err := w.once(ctx, "sequences", "", func() error { return w.setSequences(ctx, target, *c.sequences) }); err != nil {
			return err
		}
	}
	return w.once(ctx, "statements", "", func() error { return w.storeStatements(ctx, c, after) })
}

// makeSchemas makes the schemas that a dump of single tables needs and does not hold.
func (w *work) makeSchemas(ctx context.Context, schemas []string) error {
	if len(schemas) == 0 {
		return nil
	}
	return w.once(ctx, "schemas", "", func() error {
		for _, name := range schemas {
			if err := w.statement(ctx, &entry{kind: "SCHEMA", name: name, sql: "CREATE SCHEMA IF NOT EXISTS " + ident(name)}); err != nil {
				return err
			}
		}
		return nil
	})
}

// makeBatch makes some objects. Of a selection, what others use too may be there already.
func (w *work) makeBatch(ctx context.Context, list []*entry, selection bool) error {
	for _, e := range list {
		if e.kind == "SCHEMA" && e.name == "public" { // a new database has it, and a dump of chosen schemas makes it
			made := *e
			made.sql = strings.Replace(e.sql, "CREATE SCHEMA public;", "CREATE SCHEMA IF NOT EXISTS public;", 1)
			e = &made
		}
		if !selection || e.kind == "TABLE" {
			if err := w.statement(ctx, e); err != nil {
				return err
			}
			continue
		}
		if err := w.exec(ctx, "SAVEPOINT maybe"); err != nil {
			return classify(err)
		}
		err := w.statement(ctx, e)
		if err == nil {
			if err := w.exec(ctx, "RELEASE SAVEPOINT maybe"); err != nil {
				return classify(err)
			}
			continue
		}
		if !isCode(err, "42P06", "42710", "42P07", "42723") {
			return err
		}
		if err := w.exec(ctx, "ROLLBACK TO SAVEPOINT maybe"); err != nil {
			return classify(err)
		}
	}
	return nil
}

// dropTables removes the selected tables, where the user allowed it. What others need is not removed with them.
func (w *work) dropTables(ctx context.Context, c *contents) error {
	return w.once(ctx, "drop", "", func() error {
		var names []string
		for _, list := range c.tables {
			names = append(names, qualified(list[0].ref.Schema, list[0].ref.Table))
		}
		slices.Sort(names)
		sql := "DROP TABLE IF EXISTS " + strings.Join(names, ", ")
		if err := w.exec(ctx, sql); err != nil {
			return drivers.WithHint(statementError("remove the selected tables", sql, err), "drop what depends on them first")
		}
		return nil
	})
}

// setSequences runs the statements of the sequences' part. Those of sequences that were not restored are left out.
func (w *work) setSequences(ctx context.Context, target drivers.Target, part drivers.Part) error {
	in, err := target.Open(ctx, part)
	if err != nil {
		return fmt.Errorf("read sequences: %w", err)
	}
	defer func() { _ = in.Close() }() // read to its end, or the error is told
	r := bufio.NewReader(in)
	for {
		line, err := r.ReadString('\n')
		if line = strings.TrimSpace(line); line != "" {
			if err := w.setSequence(ctx, line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read sequences: %w", err)
		}
	}
}

func (w *work) setSequence(ctx context.Context, sql string) error {
	name, ok := strings.CutPrefix(sql, "SELECT pg_catalog.setval(")
	end := strings.LastIndex(name, "', ")
	if !ok || end < 0 {
		return fmt.Errorf("read sequences: %w: a statement that sets none", drivers.ErrCorrupt)
	}
	there, err := w.text(ctx, "SELECT (pg_catalog.to_regclass("+name[:end+1]+") IS NOT NULL)::text")
	if err != nil {
		return fmt.Errorf("set sequence: %w", classify(err))
	}
	if there != "true" {
		return nil
	}
	return w.statement(ctx, &entry{kind: "SEQUENCE", name: "state", sql: sql})
}

// storeStatements keeps what comes after the rows, for whoever loads a table's last part, and for Finish.
func (w *work) storeStatements(ctx context.Context, c *contents, after []*entry) error {
	for key, parts := range c.tables {
		if _, err := w.rows(ctx, "INSERT INTO salvor_progress.tbl VALUES ($1, $2)", key, fmt.Sprint(len(parts))); err != nil {
			return fmt.Errorf("store tables: %w", classify(err))
		}
	}
	for i, e := range after {
		phase, tbl, uses := phaseOf(e)
		_, err := w.rows(ctx, "INSERT INTO salvor_progress.statement VALUES ($1, $2, $3, $4, $5, $6, $7)",
			fmt.Sprint(i), phase, tbl, uses, e.label(), e.sets, strings.TrimSpace(e.sql+"\n\n"+e.owner))
		if err != nil {
			return fmt.Errorf("store statements: %w", classify(err))
		}
	}
	return nil
}
