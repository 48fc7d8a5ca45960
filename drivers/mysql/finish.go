package mysql

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
)

// sideBySide is the number of sessions that build indexes and read tables at the same time.
func sideBySide() int { return min(max(runtime.GOMAXPROCS(0), 2), 8) }

// Finish makes what comes after the rows: the indexes that no Load built, foreign keys, then routines, views, triggers and
// events. It ends by removing the restore's own tables.
func (s *Source) Finish(ctx context.Context, target drivers.Target, parts []drivers.Part) error {
	c, err := readContents(parts)
	if err != nil {
		return err
	}
	w, err := s.begin(ctx, target, taskFinish, "")
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.lockTask(ctx); err != nil {
		return err
	}
	run, _, err := w.begun(ctx)
	if err != nil {
		return err
	}
	if run == "" {
		return w.sweep(ctx) // it was finished before
	}
	if run != target.Run {
		return fmt.Errorf("finish: %w: the target belongs to the restore %s", drivers.ErrNotEmpty, run)
	}
	if err := w.register(ctx); err != nil {
		return fmt.Errorf("finish: %w", err)
	}
	return told(ctx, w.finish(ctx, target, c, parts))
}

// sweep removes what is left of the restore's own tables, where the server was ended while it dropped them one by one.
func (w *work) sweep(ctx context.Context) error {
	if err := w.lockTarget(ctx); err != nil {
		return err
	}
	run, _, err := w.begun(ctx)
	if err != nil || run != "" {
		return err // somebody else's
	}
	if err := w.ddl(ctx, dropProgressSQL); err != nil {
		return fmt.Errorf("finish: %w", classify(told(ctx, err)))
	}
	return nil
}

func (w *work) finish(ctx context.Context, target drivers.Target, c *contents, parts []drivers.Part) error {
	if _, err := w.endSessions(ctx, "token <> "+literal(w.token)); err != nil {
		return err
	}
	if err := w.checkLoaded(ctx, c); err != nil {
		return err
	}
	// An object that is there already was made by an earlier attempt, if there was one.
	w.again = true
	err := w.once(ctx, "finish", "", func() error {
		w.again = false
		return nil
	})
	if err != nil {
		return err
	}
	equal, err := w.text(ctx, "SELECT COUNT(*) FROM "+progressDone+" WHERE item = 'equal'")
	if err != nil {
		return fmt.Errorf("finish: %w", classify(err))
	}
	if equal == "0" {
		r, err := w.source.readRecipe(ctx, target, parts)
		if err != nil {
			return err
		}
		if err := w.complete(ctx, r); err != nil {
			return err
		}
	}
	if err := w.tell(ctx, target); err != nil {
		return err
	}
	if err := w.ddl(ctx, dropProgressSQL); err != nil {
		return fmt.Errorf("finish: %w", classify(err))
	}
	return nil
}

// complete makes all that comes after the rows.
func (w *work) complete(ctx context.Context, r *recipe) error {
	if err := w.makeIndexes(ctx, r.target); err != nil {
		return err
	}
	if err := w.makeForeign(ctx, r); err != nil {
		return err
	}
	if err := w.setAuto(ctx, r); err != nil {
		return err
	}
	for _, e := range ofKinds(r.schema, entryPackage, entryBody, entryFunction, entryRoutine) {
		if err := w.define(ctx, e, codeRoutineExists); err != nil {
			return err
		}
	}
	err := w.makeViews(ctx, ofKinds(r.schema, entryView), func(e *entry) error {
		return w.alone(ctx, e.item(), "", waitForOthers, func() error {
			err := w.run1(ctx, e)
			if w.again && isCode(err, codeTableExists) {
				return nil
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	for _, e := range ofKinds(r.schema, entryTrigger) {
		if err := w.define(ctx, e, codeTriggerExists); err != nil {
			return err
		}
	}
	if err := w.makeGrants(ctx, r.globals); err != nil {
		return err
	}
	if err := w.analyze(ctx, r); err != nil {
		return err
	}
	for _, e := range ofKinds(r.schema, entryEvent) {
		if w.source.isScratch() {
			if e, err = e.disabled(); err != nil {
				return err
			}
		}
		if err := w.define(ctx, e, codeEventExists); err != nil {
			return err
		}
	}
	return w.settleDatabase(ctx, r)
}

// settleDatabase gives the database its own collation back, which objects of others have changed for a moment: an attempt may have
// been ended in it. Of a selection that is the one that it had when the restore began.
func (w *work) settleDatabase(ctx context.Context, r *recipe) error {
	want := r.c.schemaRef.Database.Collation
	if len(r.target.Only) > 0 {
		list, err := w.rows(ctx, "SELECT SUBSTRING(item, LENGTH('"+itemCollation+"') + 1) FROM "+progressDone+" WHERE item LIKE '"+itemCollation+"%'")
		if err != nil {
			return fmt.Errorf("read the database's collation: %w", classify(err))
		}
		if len(list) != 1 || !isName(list[0][0]) {
			return nil
		}
		want = list[0][0]
	}
	now, err := w.text(ctx, "SELECT @@collation_database")
	if err == nil && now != want {
		err = w.ddl(ctx, "ALTER DATABASE "+ident(w.source.place.database)+" COLLATE "+want)
	}
	if err != nil {
		return fmt.Errorf("set the database's collation: %w", classify(told(ctx, err)))
	}
	return nil
}

// checkLoaded tells whether every part is in.
func (w *work) checkLoaded(ctx context.Context, c *contents) error {
	list, err := w.rows(ctx, "SELECT item FROM "+progressDone)
	if err != nil {
		return fmt.Errorf("finish: %w", classify(err))
	}
	done := make(map[string]bool, len(list))
	for _, r := range list {
		done[r[0]] = true
	}
	for _, name := range c.names() {
		for _, p := range c.tables[name] {
			if !done[partItem(p.Name)] {
				return fmt.Errorf("finish: %w: part %s is not in the target", drivers.ErrFailed, p.Name)
			}
		}
	}
	return nil
}

// each runs f for every item by several sessions.
func each[T any](ctx context.Context, w *work, target drivers.Target, list []T, f func(context.Context, *work, T) error) error {
	if len(list) == 0 {
		return nil
	}
	next := make(chan T, len(list))
	for _, item := range list {
		next <- item
	}
	close(next)
	group, ctx := errgroup.WithContext(ctx)
	for range min(sideBySide(), len(list)) {
		group.Go(func() error {
			other, err := w.beside(ctx, target)
			if err != nil {
				return err
			}
			defer other.close()
			for item := range next {
				if err := f(ctx, other, item); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// makeIndexes builds the indexes that no load built: those of tables without rows in the dump, and of interrupted ones.
func (w *work) makeIndexes(ctx context.Context, target drivers.Target) error {
	list, err := w.rows(ctx, "SELECT tbl, indexes FROM "+progressTable+" WHERE indexes NOT IN ('null', '[]') AND CONCAT('index/', tbl) NOT IN (SELECT item FROM "+progressDone+")")
	if err != nil {
		return fmt.Errorf("finish: %w", classify(err))
	}
	return each(ctx, w, target, list, func(ctx context.Context, w *work, r []string) error {
		return w.buildIndexes(ctx, r[0], r[1], waitForOthers)
	})
}

// makeForeign adds the foreign keys, of each table by one statement. They are not checked: the dump is of one moment, in which the
// source held them, or was told not to check either. Of a selection only those between selected tables are made.
func (w *work) makeForeign(ctx context.Context, r *recipe) error {
	selected := make(map[string]bool)
	for _, e := range ofKinds(r.schema, entryTable) {
		selected[strings.ToLower(e.Name)] = true
	}
	for _, e := range ofKinds(r.schema, entryTable) {
		d, err := splitTable(e.sql)
		if err != nil {
			return fmt.Errorf("read %s: %w", e.label(), errors.Join(drivers.ErrCorrupt, err))
		}
		defs := d.foreign
		if len(r.target.Only) > 0 {
			if defs, err = between(defs, selected); err != nil {
				return fmt.Errorf("read %s: %w", e.label(), err)
			}
		}
		if len(defs) == 0 {
			continue
		}
		err = w.alone(ctx, "foreign/"+e.Name, "", waitForOthers, func() error {
			missing, err := w.without(ctx, defs, "SELECT CONSTRAINT_NAME FROM information_schema.TABLE_CONSTRAINTS WHERE CONSTRAINT_TYPE = 'FOREIGN KEY' AND TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ", literal(e.Name))
			if err != nil {
				return fmt.Errorf("look at the foreign keys of %s: %w", e.Name, classify(err))
			}
			if len(missing) == 0 {
				return nil
			}
			sql := alter(e.Name, missing)
			return w.refused(ctx, &entry{Kind: "foreign keys of table", Name: e.Name, sql: sql}, w.ddl(ctx, sql))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// between takes the foreign keys that refer to selected tables.
func between(defs []string, selected map[string]bool) ([]string, error) {
	var list []string
	for _, def := range defs {
		words, err := wordsOf(def)
		if err != nil {
			return nil, err
		}
		for i, word := range words {
			if strings.EqualFold(word, "REFERENCES") && i+2 < len(words) && words[i+2] != "." && selected[strings.ToLower(unquoteName(words[i+1]))] {
				list = append(list, def)
			}
		}
	}
	return list, nil
}

// setAuto raises the next values of AUTO_INCREMENT that are lower than the dump's: a table that was emptied has lost its own.
func (w *work) setAuto(ctx context.Context, r *recipe) error {
	have, err := readAuto(ctx, w.conn)
	if err != nil {
		return err
	}
	for _, e := range ofKinds(r.schema, entryTable) {
		_, want, err := cutAutoIncrement(e.sql)
		if err != nil {
			return fmt.Errorf("read %s: %w", e.label(), errors.Join(drivers.ErrCorrupt, err))
		}
		if n, ok := have[e.Name]; !ok || want <= n {
			continue
		}
		sql := fmt.Sprintf("ALTER TABLE %s AUTO_INCREMENT=%d", ident(e.Name), want)
		if err := w.refused(ctx, &entry{Kind: "AUTO_INCREMENT of table", Name: e.Name, sql: sql}, w.ddl(ctx, sql)); err != nil {
			return err
		}
	}
	return nil
}

// analyze lets the optimizer know what the tables hold.
func (w *work) analyze(ctx context.Context, r *recipe) error {
	return each(ctx, w, r.target, r.c.names(), func(ctx context.Context, w *work, name string) error {
		parts := r.c.tables[name]
		if len(parts) == 1 && parts[0].Rows == 0 {
			return nil
		}
		_, err := w.rows(ctx, "ANALYZE NO_WRITE_TO_BINLOG TABLE "+ident(name))
		if err == nil || isOwnFault(err) {
			return nil // statistics are no data; the server makes them too
		}
		return fmt.Errorf("analyze %s: %w", name, classify(told(ctx, err)))
	})
}

// tell says what could not be restored, and that all else is done, while the target still knows both.
func (w *work) tell(ctx context.Context, target drivers.Target) error {
	list, err := w.rows(ctx, "SELECT name, message FROM "+progressProblem+" ORDER BY seq")
	if err != nil {
		return fmt.Errorf("finish: %w", classify(err))
	}
	for _, r := range list {
		if target.Problem != nil {
			target.Problem(r[0], r[1])
		}
	}
	if target.Finished == nil {
		return nil
	}
	return target.Finished(ctx)
}
