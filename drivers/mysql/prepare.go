package mysql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"salvor/drivers"
)

// errChanged tells that the target is no longer what it was found to be: it is to be looked at again.
var errChanged = errors.New("the target changed while it was prepared")

// prepareTries bounds how often a target is looked at again that changed meanwhile.
const prepareTries = 3

// Prepare makes the database where it is absent, its sequences, and its tables without secondary indexes. What an earlier
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

// prepare looks at the target and makes it ready, while no other restore can change what it is.
func (s *Source) prepare(ctx context.Context, r *recipe) error {
	m, err := s.beginBeside(ctx, r.target, taskPrepare)
	if err != nil {
		return err
	}
	defer m.close()
	if err := m.lockTask(ctx); err != nil {
		return err
	}
	if err := m.lockTarget(ctx); err != nil {
		return err
	}
	f, err := s.look(ctx, r.target, r.c, r.schema)
	if err != nil {
		return err
	}
	if err := s.verdict(r.target, f); err != nil {
		return err
	}
	if err := s.first(ctx, r.target, f); err != nil {
		return err
	}
	if err := m.checkCase(ctx, r.schema); err != nil {
		return err
	}
	only := len(r.target.Only) > 0
	fresh := false
	switch {
	case f.state == stateForeign && only:
		if err := m.discard(ctx, f); err != nil {
			return err
		}
		return errChanged // what is there now is to be looked at
	case f.state == stateAbsent:
		if err := m.createDatabase(ctx, s.place.database, r.c.schemaRef.Database); err != nil {
			return err
		}
		fresh = true
	case f.state == stateForeign, f.state == stateOccupied && !only:
		if f.state == stateForeign {
			if err := s.endForeign(ctx); err != nil {
				return err
			}
		}
		if err := m.replaceDatabase(ctx, r); err != nil {
			return err
		}
		fresh = true
	}
	if f.state != stateBegun {
		if err := m.beginRun(ctx, f.state, fresh, only, r.c); err != nil {
			return err
		}
	}
	w, err := s.begin(ctx, r.target, taskPrepare, m.token)
	if err != nil {
		return err
	}
	defer w.close()
	w.again = f.state == stateBegun
	if err := w.register(ctx); err != nil {
		return err
	}
	if _, err := w.endEarlier(ctx); err != nil {
		return err
	}
	if f.state == stateEqual {
		return nil
	}
	err = w.fill(ctx, r)
	if err != nil && ctx.Err() == nil && isLasting(err) {
		err = errors.Join(err, w.abandon(ctx))
	}
	return err
}

// checkCase refuses tables that differ in capitals alone where the server takes them for one: the rows of both would go into it.
func (w *work) checkCase(ctx context.Context, schema []*entry) error {
	folds, err := w.text(ctx, "SELECT @@GLOBAL.lower_case_table_names")
	if err != nil {
		return fmt.Errorf("look whether capitals count: %w", classify(err))
	}
	if folds == "0" {
		return nil
	}
	seen := make(map[string]string)
	for _, e := range ofKinds(schema, entrySequence, entryTable, entryView) {
		folded := strings.ToLower(e.Name)
		if other, ok := seen[folded]; ok {
			return drivers.WithHint(fmt.Errorf("restore into %s: %w: %s and %s are one on this server", w.source.name(), drivers.ErrFailed, other, e.label()),
				"restore into a server with lower_case_table_names=0, or one of them alone (--only)")
		}
		seen[folded] = e.label()
	}
	return nil
}

// beginBeside opens a session on no database: one that can make and drop the target's.
func (s *Source) beginBeside(ctx context.Context, target drivers.Target, task string) (*work, error) {
	w, err := s.at("").begin(ctx, target, task, "")
	if err != nil {
		return nil, err
	}
	w.source = s
	return w, nil
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
	if w.broken {
		return nil
	}
	w.rollback(ctx)
	n, err := w.text(ctx, "SELECT (SELECT COUNT(*) FROM "+progressDone+" WHERE item NOT LIKE 'globals/%' AND item NOT LIKE '"+itemCollation+"%') + (SELECT fresh FROM "+progressRun+")")
	if err == nil && n == "0" {
		err = w.ddl(ctx, dropProgressSQL)
	}
	if err != nil {
		return fmt.Errorf("remove the restore's own tables: %w", classify(err))
	}
	return nil
}

// beginRun makes the restore's own tables. Of a target that is equal already everything is noted as done. What an attempt left
// that was ended before the run's row was there is nobody's. It is the session's work that keeps other restores away: of an attempt
// that another has followed that one has ended, and it can take away nothing that was noted since, however late it wakes.
func (w *work) beginRun(ctx context.Context, st state, fresh, only bool, c *contents) error {
	err := w.enter(ctx)
	if err == nil {
		err = w.ddl(ctx, dropProgressSQL)
	}
	for _, sql := range progressSQL() {
		if err == nil {
			err = w.ddl(ctx, sql)
		}
	}
	if err == nil {
		err = w.exec(ctx, "START TRANSACTION")
	}
	if st == stateEqual {
		for _, name := range c.names() {
			for _, p := range c.tables[name] {
				if err == nil {
					err = w.exec(ctx, "INSERT INTO "+progressDone+" VALUES ("+literal(partItem(p.Name))+", "+literal(name)+")")
				}
			}
		}
		if err == nil {
			err = w.exec(ctx, "INSERT INTO "+progressDone+" VALUES ('equal', '')")
		}
	}
	if err == nil && only {
		err = w.exec(ctx, "INSERT INTO "+progressDone+" SELECT CONCAT('"+itemCollation+"', @@collation_database), ''")
	}
	if err == nil {
		err = w.exec(ctx, fmt.Sprintf("INSERT INTO %s VALUES (1, %s, %d, %d)", progressRun, literal(w.run), digit(only), digit(fresh)))
	}
	if err == nil {
		return w.commit(ctx)
	}
	w.rollback(ctx)
	if isCode(err, codeTableDenied, codeDatabaseDenied, codePrivilege) {
		return drivers.WithHint(fmt.Errorf("begin restore into %s: %w", w.source.name(), classify(err)), "grant the account all rights on the database")
	}
	return fmt.Errorf("begin restore: %w", classify(told(ctx, err)))
}

func digit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// itemCollation begins the note of the collation that the database had.
const itemCollation = "collation/"

// itemPrepared notes that all that comes before the rows is there.
const itemPrepared = "prepared"

// fill makes what comes before the rows, and keeps what comes after those of each table.
func (w *work) fill(ctx context.Context, r *recipe) error {
	n, err := w.text(ctx, "SELECT COUNT(*) FROM "+progressDone+" WHERE item IN ('"+itemPrepared+"', 'equal')")
	if err != nil {
		return fmt.Errorf("prepare: %w", classify(err))
	}
	if n != "0" {
		return nil
	}
	only := len(r.target.Only) > 0
	if r.globals != nil {
		if err := w.makeAccounts(ctx, r.globals); err != nil {
			return err
		}
	}
	if only && r.target.Clean {
		if err := w.dropTables(ctx, r.c); err != nil {
			return err
		}
	}
	if !only {
		d := r.c.schemaRef.Database
		if err := w.ddl(ctx, "ALTER DATABASE "+ident(w.source.place.database)+" CHARACTER SET "+d.Charset+" COLLATE "+d.Collation); err != nil {
			return fmt.Errorf("set the database's character set: %w", classify(told(ctx, err)))
		}
	}
	for _, e := range ofKinds(r.schema, entrySequence, entrySetval) {
		codes := []uint16{codeTableExists}
		if err := w.makeSequence(ctx, e, only, codes); err != nil {
			return err
		}
	}
	for _, e := range ofKinds(r.schema, entryTable) {
		if err := w.makeTable(ctx, e, r.c); err != nil {
			return err
		}
	}
	return w.once(ctx, itemPrepared, "", func() error { return nil })
}

// makeSequence makes a sequence or sets its state. Of a selection, a sequence that others use too may be there: it stays as it is.
func (w *work) makeSequence(ctx context.Context, e *entry, only bool, codes []uint16) error {
	if !only {
		return w.define(ctx, e, codes...)
	}
	if e.Kind == entrySetval {
		n, err := w.text(ctx, "SELECT COUNT(*) FROM "+progressDone+" WHERE item = "+literal("made/"+e.Name))
		if err != nil {
			return fmt.Errorf("restore %s: %w", e.label(), classify(err))
		}
		if n == "0" {
			return nil
		}
		return w.define(ctx, e)
	}
	there, err := w.tableNames(ctx)
	if err != nil {
		return err
	}
	if there[e.Name] {
		return nil
	}
	if err := w.once(ctx, "made/"+e.Name, "", func() error { return nil }); err != nil {
		return err
	}
	return w.define(ctx, e, codes...)
}

// makeTable makes a table without its secondary indexes, and keeps these.
func (w *work) makeTable(ctx context.Context, e *entry, c *contents) error {
	d, err := splitTable(e.sql)
	if err != nil {
		return fmt.Errorf("read %s: %w", e.label(), errors.Join(drivers.ErrCorrupt, err))
	}
	if w.server.flavour == mysqlServer {
		if err := d.inheritCollation(); err != nil {
			return fmt.Errorf("read %s: %w", e.label(), errors.Join(drivers.ErrCorrupt, err))
		}
	}
	plain := *e
	plain.sql = d.create()
	if err := w.define(ctx, &plain, codeTableExists); err != nil {
		return err
	}
	indexes, err := json.Marshal(d.indexes)
	if err != nil {
		return fmt.Errorf("keep the indexes of %s: %w", e.Name, err)
	}
	sql := fmt.Sprintf("REPLACE INTO %s VALUES (%s, %d, %s)", progressTable, literal(e.Name), len(c.tables[e.Name]), binary(indexes))
	if err := w.ddl(ctx, sql); err != nil {
		return fmt.Errorf("keep the indexes of %s: %w", e.Name, classify(err))
	}
	return nil
}

// dropTables removes the selected tables, unless others refer to them.
func (w *work) dropTables(ctx context.Context, c *contents) error {
	names := c.names()
	if len(names) == 0 {
		return nil
	}
	quoted, texts := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		quoted[i], texts[i] = ident(name), literal(name)
	}
	in := "(" + strings.Join(texts, ", ") + ")"
	return w.alone(ctx, "drop", "", waitForOthers, func() error {
		others, err := w.catalog(ctx, `SELECT TABLE_NAME, REFERENCED_TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS
			WHERE CONSTRAINT_SCHEMA = DATABASE() AND REFERENCED_TABLE_NAME IN `, in, " AND TABLE_NAME NOT IN ", in)
		if err != nil {
			return fmt.Errorf("look what refers to the tables: %w", classify(err))
		}
		if len(others) > 0 {
			return drivers.WithHint(fmt.Errorf("drop table %s: %w: a foreign key of table %s refers to it", others[0][1], drivers.ErrFailed, others[0][0]),
				"restore that table too, drop its foreign key, or restore into another database")
		}
		sql := "DROP TABLE IF EXISTS " + strings.Join(quoted, ", ")
		if err := w.ddl(ctx, sql); err != nil {
			return statementError("drop tables", sql, told(ctx, err))
		}
		return nil
	})
}

// enter makes the target the database of a session that began on none.
func (w *work) enter(ctx context.Context) error {
	return w.exec(ctx, "USE "+ident(w.source.place.database))
}

// endForeign ends the sessions of the restore that is in the target, and is to be replaced. The database could not be dropped while
// they hold its tables; and one that has slept would go on in the new one.
func (s *Source) endForeign(ctx context.Context) error {
	c, err := s.connect(ctx, "end restore")
	if err != nil {
		return s.explain(err)
	}
	defer c.close()
	_, err = (&work{conn: c}).endSessions(ctx, "TRUE")
	return err
}
