package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"salvor/drivers"
)

// selectTables takes the selected tables out of a schema. A partition comes with the tables that it is a partition of, and
// is attached to them after its rows: where the parent is there already, it would make indexes of its own.
func selectTables(before, after []*entry, c *contents) (pre, post []*entry) {
	byID := make(map[int]*entry, len(before))
	for _, e := range before {
		byID[e.id] = e
	}
	with := &contents{tables: maps.Clone(c.tables)}
	for key := range c.bare {
		with.tables[key] = nil
	}
	var attach []*entry
	for more := true; more; {
		more = false
		for _, e := range before {
			if _, ok := with.tables[keyOf(e.schema, e.name)]; !ok || e.kind != kindAttach || slices.Contains(attach, e) {
				continue
			}
			attach, more = append(attach, e), true
			for _, d := range e.deps {
				if p := byID[d]; p != nil && p.kind == "TABLE" {
					if key := keyOf(p.schema, p.name); with.tables[key] == nil {
						with.tables[key] = nil // known, and without rows to restore
					}
				}
			}
		}
	}
	pre, post = selectEntries(before, after, with)
	return pre, append(attach, post...)
}

// kindAttach is an entry that makes a table a partition of another.
const kindAttach = "TABLE ATTACH"

// withoutRoles leaves out what a trial on another server has no use for: owners and rights, whose roles are missing there,
// and what would reach out to other servers, or keep the database from being dropped.
func withoutRoles(list []*entry) []*entry {
	out := make([]*entry, 0, len(list))
	for _, e := range list {
		switch e.kind {
		case "ACL", "DEFAULT ACL", "POLICY", "SECURITY LABEL", "SUBSCRIPTION", "SUBSCRIPTION TABLE", "USER MAPPING":
			continue
		case "COMMENT":
			if strings.HasPrefix(e.name, "POLICY ") || strings.HasPrefix(e.name, "SUBSCRIPTION ") {
				continue
			}
		}
		plain := *e
		plain.owner = ""
		out = append(out, &plain)
	}
	return out
}

// makeSelection removes the selected tables where the user allowed it, makes them, and stores what comes after their rows,
// all in one transaction: where something fails, the database is as it was.
func (w *work) makeSelection(ctx context.Context, r *recipe, settle []*entry) error {
	return w.once(ctx, "schema", "", func() error {
		if r.target.Clean {
			if err := w.dropTables(ctx, r.c); err != nil {
				return err
			}
		}
		if err := w.exec(ctx, "CREATE TABLE salvor_progress.before AS SELECT oid FROM pg_catalog.pg_class"); err != nil {
			return fmt.Errorf("list relations: %w", classify(err))
		}
		needed := make(map[string]bool)
		for _, list := range r.c.tables {
			needed[list[0].ref.Schema] = true
		}
		for _, b := range r.c.bare {
			needed[b.Schema] = true
		}
		if err := w.makeSchemas(ctx, slices.DeleteFunc(slices.Clone(r.c.schemaRef.Schemas), func(name string) bool { return !needed[name] })); err != nil {
			return err
		}
		there := &presence{gone: make(map[int]bool), tables: make(map[string]bool)}
		for _, e := range r.schema.before {
			if err := w.makeSelected(ctx, r.c, e, there); err != nil {
				return err
			}
		}
		err := w.exec(ctx, `INSERT INTO salvor_progress.made SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relkind IN ('r', 'p', 'S', 'v', 'm', 'f') AND n.nspname <> 'salvor_progress'
			AND NOT EXISTS (SELECT FROM salvor_progress.before b WHERE b.oid = c.oid);
			DROP TABLE salvor_progress.before`)
		if err != nil {
			return fmt.Errorf("list relations: %w", classify(err))
		}
		if err := w.setSequences(ctx, r.states, true); err != nil {
			return err
		}
		return w.storeStatements(ctx, r.c, slices.Concat(slices.DeleteFunc(slices.Clone(r.schema.after), there.has), settle))
	})
}

// makeSelected makes one entry of a selection. What others use too may be there already, and stays as it is.
func (w *work) makeSelected(ctx context.Context, c *contents, e *entry, there *presence) error {
	if there.has(e) {
		return nil
	}
	if c.has(keyOf(e.schema, e.name)) && isRelation(e) {
		return w.statement(ctx, e)
	}
	if err := w.exec(ctx, "SAVEPOINT maybe"); err != nil {
		return classify(err)
	}
	err := w.exec(ctx, e.sets+"\n"+e.sql)
	if err == nil {
		if err := w.exec(ctx, "RELEASE SAVEPOINT maybe"); err != nil {
			return classify(err)
		}
		return w.one(ctx, e, "owner of "+e.label(), e.owner)
	}
	if ctx.Err() != nil || w.IsClosed() {
		return told(ctx, err)
	}
	if undoErr := w.exec(ctx, "ROLLBACK TO SAVEPOINT maybe"); undoErr != nil {
		return classify(undoErr)
	}
	if isCode(err, "42P06", "42710", "42P07", "42723", "42P16") {
		there.add(e)
		return nil
	}
	return w.statement(ctx, e) // which fails again, and says so or notes it
}

// presence is what was in the target before a selection, and what belongs to it.
type presence struct {
	gone   map[int]bool    // ids of entries that are not made
	tables map[string]bool // of these, tables by key
}

func (p *presence) add(e *entry) {
	if !isRelation(e) && !isHolder(e) {
		return
	}
	p.gone[e.id] = true
	if e.kind == "TABLE" {
		p.tables[keyOf(e.schema, e.name)] = true
	}
}

// has tells whether an entry belongs to something that was there before.
func (p *presence) has(e *entry) bool {
	if p.gone[e.id] {
		return true
	}
	belongs := false
	switch e.kind {
	case "DEFAULT", "CONSTRAINT", "CHECK CONSTRAINT", "FK CONSTRAINT", "TRIGGER", "RULE", "POLICY", "ROW SECURITY":
		// These are named by their table and their own name; what else they depend on may have been there.
		for i := range len(e.name) + 1 {
			if (i == len(e.name) || e.name[i] == ' ') && p.tables[keyOf(e.schema, e.name[:i])] {
				belongs = true
			}
		}
	case kindAttach:
		belongs = p.tables[keyOf(e.schema, e.name)]
	case "INDEX", "INDEX ATTACH", "SEQUENCE", "SEQUENCE OWNED BY", "STATISTICS", "ACL", "COMMENT", "SECURITY LABEL":
		belongs = slices.ContainsFunc(e.deps, func(d int) bool { return p.gone[d] })
	}
	if belongs {
		p.gone[e.id] = true
	}
	return belongs
}

// dropTables removes the selected tables. What others need is not removed with them.
func (w *work) dropTables(ctx context.Context, c *contents) error {
	names := make(map[string][]string) // by what they are
	for _, list := range c.tables {
		names["TABLE"] = append(names["TABLE"], qualified(list[0].ref.Schema, list[0].ref.Table))
	}
	for _, b := range c.bare {
		names[b.dropWord()] = append(names[b.dropWord()], qualified(b.Schema, b.Table))
	}
	for _, what := range []string{"MATERIALIZED VIEW", "VIEW", "FOREIGN TABLE", "TABLE"} {
		if len(names[what]) == 0 {
			continue
		}
		slices.Sort(names[what])
		sql := "DROP " + what + " IF EXISTS " + strings.Join(names[what], ", ")
		if err := w.exec(ctx, sql); err != nil {
			return drivers.WithHint(statementError("remove the selected tables", sql, err),
				"drop what depends on them first (foreign keys, views), or restore into another database")
		}
	}
	return nil
}

// discard removes what another run's unfinished restore of a selection made, and nothing else.
func (s *Source) discard(ctx context.Context, f *found) error {
	c, err := s.connect(ctx, "discard "+f.run)
	if err != nil {
		return s.explain(err)
	}
	w := &work{conn: c, source: s, run: f.run}
	defer w.close(ctx)
	if _, err := w.endSessions(ctx, "salvor "+f.run+" "); err != nil {
		return err
	}
	if err := w.exec(ctx, "BEGIN; SET LOCAL lock_timeout = '"+claimWait+"'"); err != nil {
		return fmt.Errorf("begin: %w", classify(err))
	}
	if err := w.discardMade(ctx); err != nil {
		w.rollback(ctx)
		return drivers.WithHint(fmt.Errorf("remove what the restore %s left: %w", f.run, err), "salvor resume "+f.run+" goes on with it; or drop what depends on its tables")
	}
	return w.commit(ctx)
}

func (w *work) discardMade(ctx context.Context) error {
	run, selection, err := w.begun(ctx)
	if err != nil {
		return err
	}
	if run != w.run || !selection {
		return errChanged
	}
	rows, err := w.rows(ctx, `SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
		n.nspname, c.relname FROM salvor_progress.made m JOIN pg_catalog.pg_class c ON c.oid = m.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		ORDER BY c.relkind NOT IN ('v', 'm'), c.relkind = 'S', c.oid DESC`) // what shows others before them; later ones may show earlier ones
	if err != nil {
		return classify(err)
	}
	var views, tables, rest []string
	for _, r := range rows {
		name := qualified(r[1], r[2])
		switch r[0] {
		case "TABLE":
			tables = append(tables, name)
		case "VIEW", "MATERIALIZED VIEW":
			views = append(views, "DROP "+r[0]+" "+name)
		default:
			rest = append(rest, "DROP "+r[0]+" IF EXISTS "+name) // one that a table owns goes with it
		}
	}
	if len(tables) > 0 {
		views = append(views, "DROP TABLE "+strings.Join(tables, ", ")) // in one statement, as they may refer to each other
	}
	sql := strings.Join(append(views, rest...), "; ")
	if err := w.exec(ctx, sql); err != nil {
		return statementError("drop", sql, err)
	}
	if err := w.exec(ctx, "DROP SCHEMA salvor_progress CASCADE"); err != nil {
		return classify(err)
	}
	return nil
}
