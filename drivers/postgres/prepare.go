package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"salvor/drivers"
)

// batchSize is the number of objects that one transaction makes: each takes locks, of which the server has room for some
// thousands.
const batchSize = 200

// prepareTries bounds how often a target is looked at again that changed meanwhile.
const prepareTries = 3

// recipe is all that a restore is made from but the rows, read before anything is changed.
type recipe struct {
	target  drivers.Target
	c       *contents
	schema  *schema
	states  []sequenceState
	globals []*global
}

func (s *Source) readRecipe(ctx context.Context, target drivers.Target, parts []drivers.Part) (*recipe, error) {
	c, err := readContents(parts, target.Only)
	if err != nil {
		return nil, err
	}
	r := &recipe{target: target, c: c}
	if r.schema, err = s.readSchema(ctx, target, c); err != nil {
		return nil, err
	}
	if c.sequences != nil {
		if r.states, err = r.schema.sequences(ctx, target, *c.sequences); err != nil {
			return nil, err
		}
	}
	for _, p := range c.metadata { // nothing is changed before all of it is known to be good
		if err := readObjectMetadata(ctx, target, p.Part, func(*entry) error { return nil }); err != nil {
			return nil, err
		}
	}
	if c.globals != nil && len(target.Only) == 0 && !s.isScratch() {
		if r.globals, err = readGlobals(ctx, target, *c.globals); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Prepare makes the database where it is absent, its tables without indexes, and sets the sequences. What an earlier
// attempt of the run did is not done again.
func (s *Source) Prepare(ctx context.Context, target drivers.Target, parts []drivers.Part) error {
	r, err := s.readRecipe(ctx, target, parts)
	if err != nil {
		return told(ctx, err)
	}
	for try := 1; ; try++ {
		err := s.prepare(ctx, r)
		if !errors.Is(err, errChanged) || ctx.Err() != nil || try == prepareTries {
			return told(ctx, err)
		}
	}
}

func (s *Source) prepare(ctx context.Context, r *recipe) error {
	f, err := s.look(ctx, r.target, r.c)
	if err != nil {
		return err
	}
	if err := s.verdict(r.target, f); err != nil {
		return err
	}
	if err := s.first(ctx, r.target, f); err != nil {
		return err
	}
	only := len(r.target.Only) > 0
	switch {
	case f.state == stateAbsent && s.isScratch():
		m, err := s.connectBeside(ctx, "create database")
		if err != nil {
			return err
		}
		defer m.close(ctx)
		if err := s.create(ctx, m, r.c.schemaRef.Database); err != nil {
			return err
		}
	case f.state == stateForeign && only:
		if err := s.discard(ctx, f); err != nil {
			return err
		}
		return errChanged // what is there now is to be looked at
	case f.state == stateAbsent, f.state == stateForeign, f.state == stateOccupied && !only:
		return s.install(ctx, r, f)
	}
	w, err := s.beginTask(ctx, r.target, taskPrepare)
	if err != nil {
		return err
	}
	defer w.close(ctx)
	if f.state == stateBegun {
		// Loads of an earlier life of the run may have put the parts together in another way, so that no attempt at a later task would end
		// them. (Where Prepare is repeated within one life it may meet that life's own: they are tried again.)
		if _, err := w.endSessions(ctx, "salvor "+r.target.Run+" "); err != nil {
			return err
		}
	} else {
		if err := w.beginRun(ctx, place{selection: only}, f.state, r.c); err != nil {
			return err
		}
	}
	if f.state == stateEqual {
		return nil
	}
	err = w.fill(ctx, r, s.config.Database)
	if err != nil && ctx.Err() == nil && isLasting(err) {
		err = errors.Join(err, w.abandon(ctx))
	}
	return err
}

// isLasting tells whether an error would come again.
func isLasting(err error) bool {
	for _, class := range []error{drivers.ErrFailed, drivers.ErrAccess, drivers.ErrInvalid, drivers.ErrCorrupt, drivers.ErrNotFound} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// abandon removes the restore's own tables where nothing was restored: they would keep other restores out.
func (w *work) abandon(ctx context.Context) error {
	w.rollback(ctx)
	err := w.exec(ctx, `DO $$ BEGIN IF NOT (SELECT fresh FROM salvor_progress.place) AND NOT EXISTS (SELECT FROM salvor_progress.done)
		THEN DROP SCHEMA salvor_progress CASCADE; END IF; END $$`)
	if err != nil && !w.IsClosed() {
		return fmt.Errorf("remove salvor_progress: %w", classify(err))
	}
	return nil
}

// place says what a run found its target to be.
type place struct {
	fresh     bool // the run made the database
	selection bool // only some tables are restored into it
}

const placeSQL = `CREATE TABLE salvor_progress.place (fresh boolean NOT NULL, selection boolean NOT NULL);
CREATE TABLE salvor_progress.made (oid oid PRIMARY KEY);`

// beginRun makes the restore's own tables. Of a target that is equal already everything is noted as done.
func (w *work) beginRun(ctx context.Context, p place, st state, c *contents) error {
	if err := w.exec(ctx, "BEGIN"); err != nil {
		return fmt.Errorf("begin: %w", classify(err))
	}
	// Whoever makes this schema has the database for itself. A Prepare that was stopped after its look and goes on after the end of
	// the run must not begin it again.
	err := w.exec(ctx, "CREATE SCHEMA salvor_progress")
	if err == nil && st == stateEmpty && !p.selection {
		var n int64
		if n, err = w.number(ctx, emptyQuery); err == nil && n != 1 {
			err = errChanged
		}
	}
	if err == nil {
		err = w.exec(ctx, progressSQL+placeSQL)
	}
	if err == nil {
		_, err = w.rows(ctx, "INSERT INTO salvor_progress.run (id) VALUES ($1)", w.run)
	}
	if err == nil {
		_, err = w.rows(ctx, "INSERT INTO salvor_progress.place VALUES ($1, $2)", fmt.Sprint(p.fresh), fmt.Sprint(p.selection))
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
	switch {
	case err == nil:
		return w.commit(ctx)
	case isCode(err, "42P06", codeDuplicateName):
		err = errChanged // another restore began meanwhile
	case isCode(err, codePrivilege):
		err = drivers.WithHint(classify(err), "the role must be allowed to create schemas in the database: grant it CREATE on it")
	}
	w.rollback(ctx)
	return fmt.Errorf("begin restore: %w", classify(err))
}

// fill makes what comes before the rows, and stores what comes after them. name is the one that the database will have.
func (w *work) fill(ctx context.Context, r *recipe, name string) error {
	if len(r.globals) > 0 {
		if err := w.makeGlobals(ctx, r.globals); err != nil {
			return err
		}
	}
	settle, err := w.settle(ctx, r.c.schemaRef.Database, name)
	if err != nil {
		return err
	}
	if len(r.target.Only) > 0 {
		return w.makeSelection(ctx, r, settle)
	}
	if schemas := r.c.schemaRef.Schemas; len(schemas) > 0 {
		if err := w.once(ctx, "schemas", "", func() error { return w.makeSchemas(ctx, schemas) }); err != nil {
			return err
		}
	}
	for i, before := 0, r.schema.before; len(before) > 0; i++ {
		n := min(batchSize, len(before))
		if err := w.once(ctx, fmt.Sprintf("schema/%d", i), "", func() error { return w.makeBatch(ctx, before[:n]) }); err != nil {
			return err
		}
		before = before[n:]
	}
	if err := w.makeObjects(ctx, r); err != nil {
		return err
	}
	if err := w.once(ctx, "sequences", "", func() error { return w.setSequences(ctx, r.states, false) }); err != nil {
		return err
	}
	return w.once(ctx, "statements", "", func() error { return w.storeStatements(ctx, r.c, slices.Concat(r.schema.after, settle)) })
}

// makeSchemas makes the schemas that a dump of single tables needs and does not hold.
func (w *work) makeSchemas(ctx context.Context, schemas []string) error {
	for _, name := range schemas {
		if err := w.statement(ctx, &entry{kind: "SCHEMA", name: name, sql: "CREATE SCHEMA IF NOT EXISTS " + ident(name)}); err != nil {
			return err
		}
	}
	return nil
}

// settle returns the statements that set what belongs to the database itself, where this run made it. They are run at the
// very end; that their roles are missing is told now.
func (w *work) settle(ctx context.Context, d *database, name string) ([]*entry, error) {
	fresh, err := w.text(ctx, "SELECT fresh::text FROM salvor_progress.place")
	if err != nil {
		return nil, fmt.Errorf("settle database: %w", classify(err))
	}
	if fresh != "true" || w.source.isScratch() {
		return nil, nil
	}
	if !w.keep {
		roles, err := w.names(ctx, "SELECT rolname FROM pg_catalog.pg_roles")
		if err != nil {
			return nil, fmt.Errorf("settle database: %w", classify(err))
		}
		for _, r := range d.roles() {
			if !roles[r] {
				return nil, drivers.WithHint(fmt.Errorf("settle database %s: %w: role %q does not exist", name, drivers.ErrFailed, r),
					"create the role on the target's server; a dump with globals: true holds the roles; --continue goes on without what needs it")
			}
		}
	}
	var list []*entry
	for _, sql := range d.settleSQL(name) {
		list = append(list, &entry{kind: kindDatabase, schema: "-", name: name, sql: sql})
	}
	return list, nil
}

// kindDatabase is an entry that sets what belongs to the database itself.
const kindDatabase = "DATABASE"

// makeBatch makes some objects.
func (w *work) makeBatch(ctx context.Context, list []*entry) error {
	for _, e := range list {
		if e.kind == "SCHEMA" && e.name == "public" { // a new database has it, and a dump of chosen schemas makes it
			made := *e
			made.sql = strings.Replace(e.sql, "CREATE SCHEMA public;", "CREATE SCHEMA IF NOT EXISTS public;", 1)
			e = &made
		}
		if err := w.statement(ctx, e); err != nil {
			return err
		}
	}
	return nil
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
		switch e.kind {
		case kindAttach:
			phase = phaseAttach
		case kindDatabase:
			phase = phaseLast
		}
		_, err := w.rows(ctx, "INSERT INTO salvor_progress.statement VALUES ($1, $2, $3, $4, $5, $6, $7)",
			fmt.Sprint(i), phase, tbl, uses, e.label(), e.sets, strings.TrimSpace(e.sql+"\n\n"+e.owner))
		if err != nil {
			return fmt.Errorf("store statements: %w", classify(err))
		}
	}
	return nil
}
