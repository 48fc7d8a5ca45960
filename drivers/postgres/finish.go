package postgres

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
)

// sessions is the number of sessions that build indexes, check keys and read tables side by side.
func sessions() int { return min(max(runtime.GOMAXPROCS(0), 2), 8) }

// Finish makes what comes after the rows: the indexes that no Load built, foreign keys, then the rest in order. It ends with
// one transaction that removes the restore's own tables and makes the event triggers.
func (s *Source) Finish(ctx context.Context, target drivers.Target, parts []drivers.Part) error {
	c, err := readContents(parts, target.Only)
	if err != nil {
		return err
	}
	w, err := s.beginTask(ctx, target, taskFinish)
	if err != nil {
		return err
	}
	defer w.close(ctx)
	run, err := w.text(ctx, `SELECT COALESCE((SELECT 'there' FROM pg_catalog.pg_namespace WHERE nspname = 'salvor_progress'), '')`)
	if err != nil {
		return fmt.Errorf("finish: %w", classify(err))
	}
	if run == "" {
		return nil // it was finished before
	}
	if run, err = w.text(ctx, "SELECT id FROM salvor_progress.run"); err != nil {
		return fmt.Errorf("finish: %w", classify(err))
	}
	if run != target.Run {
		return fmt.Errorf("finish: %w: the target belongs to the restore %s", drivers.ErrNotEmpty, run)
	}
	return told(ctx, w.finish(ctx, target, c))
}

func (w *work) finish(ctx context.Context, target drivers.Target, c *contents) error {
	if _, err := w.endSessions(ctx, "salvor "+w.run+" "); err != nil {
		return err
	}
	if err := w.loadDeferred(ctx, target, c); err != nil {
		return err
	}
	if err := w.checkLoaded(ctx, c); err != nil {
		return err
	}
	if err := w.makeTables(ctx, target); err != nil {
		return err
	}
	if err := w.makeInOrder(ctx, phaseAttach); err != nil {
		return err
	}
	if err := w.makeForeign(ctx, target); err != nil {
		return err
	}
	if err := w.makeInOrder(ctx, phaseRest); err != nil {
		return err
	}
	if err := w.analyze(ctx, target, c); err != nil {
		return err
	}
	if err := w.rehearse(ctx); err != nil {
		return err
	}
	if err := w.tell(ctx, target); err != nil {
		return err
	}
	return w.end(ctx)
}

// checkLoaded tells whether every part is in.
func (w *work) checkLoaded(ctx context.Context, c *contents) error {
	rows, err := w.rows(ctx, "SELECT item FROM salvor_progress.done")
	if err != nil {
		return fmt.Errorf("finish: %w", classify(err))
	}
	done := make(map[string]bool, len(rows))
	for _, r := range rows {
		done[r[0]] = true
	}
	check := func(list []loadPart) error {
		for _, p := range list {
			if !done[p.Name] {
				return fmt.Errorf("finish: %w: part %s is not in the target", drivers.ErrFailed, p.Name)
			}
		}
		return nil
	}
	for _, list := range c.tables {
		if err := check(list); err != nil {
			return err
		}
	}
	return check(c.objects)
}

// each runs f for every item by several sessions.
func each[T any](ctx context.Context, w *work, target drivers.Target, list []T, f func(context.Context, *work, T) error) error {
	if len(list) == 0 {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	next := make(chan T)
	group.Go(func() error {
		defer close(next)
		for _, item := range list {
			select {
			case next <- item:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	for range min(sessions(), len(list)) {
		group.Go(func() error {
			other, err := w.beside(ctx, target)
			if err != nil {
				return err
			}
			defer other.close(ctx)
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

// makeTables makes the indexes that no load built: those of tables without rows of their own, and of interrupted ones. What
// belongs to one table is made by one session, one after another.
func (w *work) makeTables(ctx context.Context, target drivers.Target) error {
	list, err := w.statements(ctx, phaseTable, "")
	if err != nil {
		return err
	}
	byTable := make(map[string][]*stored)
	var order []string
	for _, st := range list {
		if _, ok := byTable[st.tbl]; !ok {
			order = append(order, st.tbl)
		}
		byTable[st.tbl] = append(byTable[st.tbl], st)
	}
	return each(ctx, w, target, order, func(ctx context.Context, w *work, tbl string) error {
		for _, st := range byTable[tbl] {
			if err := w.make(ctx, st, waitForOthers); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *work) makeInOrder(ctx context.Context, phase string) error {
	list, err := w.statements(ctx, phase, "")
	if err != nil {
		return err
	}
	for _, st := range list {
		if err := w.make(ctx, st, waitForOthers); err != nil {
			return err
		}
	}
	return nil
}

// makeForeign adds foreign keys side by side, but never two that lock the same table: they would wait for each other.
func (w *work) makeForeign(ctx context.Context, target drivers.Target) error {
	list, err := w.statements(ctx, phaseForeign, "")
	if err != nil || len(list) == 0 {
		return err
	}
	var mu sync.Mutex
	changed := sync.NewCond(&mu)
	busy := make(map[string]bool)
	free := func(st *stored) bool { return !slices.ContainsFunc(st.uses, func(t string) bool { return busy[t] }) }
	stop := context.AfterFunc(ctx, changed.Broadcast)
	defer stop()
	turns := make([]int, min(sessions(), len(list)))
	failed := false
	return each(ctx, w, target, turns, func(ctx context.Context, w *work, _ int) error {
		for {
			mu.Lock()
			var st *stored
			for len(list) > 0 && !failed && ctx.Err() == nil {
				if i := slices.IndexFunc(list, free); i >= 0 {
					st = list[i]
					list = slices.Delete(list, i, i+1)
					break
				}
				changed.Wait()
			}
			if st == nil {
				mu.Unlock()
				return context.Cause(ctx)
			}
			for _, t := range st.uses {
				busy[t] = true
			}
			mu.Unlock()
			err := w.make(ctx, st, waitForOthers)
			mu.Lock()
			for _, t := range st.uses {
				delete(busy, t)
			}
			failed = failed || err != nil
			changed.Broadcast()
			mu.Unlock()
			if err != nil {
				return err
			}
		}
	})
}

// rehearse finds out, where the restore is to go on without what fails, which of the last statements do: what end would
// learn of them could be told to nobody any more.
func (w *work) rehearse(ctx context.Context) error {
	if !w.keep {
		return nil
	}
	last, err := w.statements(ctx, phaseLast, "")
	if err != nil || len(last) == 0 {
		return err
	}
	if err := w.exec(ctx, "BEGIN"); err != nil {
		return fmt.Errorf("rehearse: %w", classify(err))
	}
	defer w.rollback(ctx)
	failed := make(map[*stored]error)
	for _, st := range last {
		if err := w.exec(ctx, "SAVEPOINT last"); err != nil {
			return fmt.Errorf("rehearse: %w", classify(err))
		}
		err := w.exec(ctx, st.sets+"\n"+st.sql)
		if err == nil {
			continue
		}
		if !isOwnFault(err) {
			return w.explain(&st.entry, st.label(), told(ctx, err))
		}
		failed[st] = w.explain(&st.entry, st.label(), err)
		if err := w.exec(ctx, "ROLLBACK TO SAVEPOINT last"); err != nil {
			return fmt.Errorf("rehearse: %w", classify(err))
		}
	}
	w.rollback(ctx)
	for _, st := range last {
		if failed[st] == nil {
			continue
		}
		if err := w.once(ctx, st.item(), "", func() error { return w.problem(ctx, st.label(), failed[st]) }); err != nil {
			return err
		}
	}
	return nil
}

// tell says what could not be restored, and that all else is done, while the target still knows both.
func (w *work) tell(ctx context.Context, target drivers.Target) error {
	problems, err := w.rows(ctx, "SELECT name, message FROM salvor_progress.problem")
	if err != nil {
		return fmt.Errorf("finish: %w", classify(err))
	}
	for _, p := range problems {
		if target.Problem != nil {
			target.Problem(p[0], p[1])
		}
	}
	if target.Finished == nil {
		return nil
	}
	return target.Finished(ctx)
}

// end removes the restore's own tables. The event triggers are made in the same transaction, after all that they would see.
func (w *work) end(ctx context.Context) error {
	last, err := w.statements(ctx, phaseLast, "")
	if err != nil {
		return err
	}
	if err := w.exec(ctx, "BEGIN; DROP SCHEMA salvor_progress CASCADE"); err != nil {
		w.rollback(ctx)
		return fmt.Errorf("finish: %w", classify(err))
	}
	for _, st := range last {
		if err := w.exec(ctx, st.sets+"\n"+st.sql); err != nil {
			w.rollback(ctx)
			return w.explain(&st.entry, st.label(), told(ctx, err))
		}
	}
	return w.commit(ctx)
}
