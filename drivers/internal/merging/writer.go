package merging

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// Session is a connection to the target, used by one goroutine.
type Session interface {
	// Exec runs a statement and returns how many rows it wrote.
	Exec(ctx context.Context, sql string) (int64, error)
	// Number runs a query and returns the number that it gives.
	Number(ctx context.Context, sql string) (int64, error)
	// Begin begins a transaction in which references are not checked, and triggers silent, as far as the engine can, for tables that
	// are going to be written. Rollback ends it also where ctx has ended.
	Begin(ctx context.Context, tables []*relational.Table) error
	Commit(ctx context.Context) error
	Rollback(ctx context.Context)
	// Refusal tells why the engine refuses a change; ok is false where an error is of something else.
	Refusal(err error) (code relational.RefusalCode, ok bool)
	// Classify gives an error its class.
	Classify(err error) error
}

// Writer writes staged batches.
type Writer struct {
	Dialect   *Dialect
	Session   Session
	Model     *relational.Model
	Spec      relational.MergeSpec
	Abilities relational.Abilities
}

// tables are those of batches, each once, in the model's order.
func (w *Writer) tables(batches []*relational.Batch) (list []*relational.Table, err error) {
	for _, b := range batches {
		t := w.Model.Table(b.Table)
		if t == nil || slices.Contains(t.Indexes(b.Columns), -1) || slices.Contains(t.Indexes(b.Key), -1) {
			return nil, fmt.Errorf("table %s: it is not what it was: %w", b.Table, relational.ErrTargetMoved)
		}
		if !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	return list, nil
}

// mayFire refuses to write where triggers fire that nobody has allowed.
func (w *Writer) mayFire(batches []*relational.Batch) error {
	if w.Spec.Triggers {
		return nil
	}
	for _, b := range batches {
		for _, tr := range w.Model.Table(b.Table).Triggers {
			if tr.Disabled || w.Abilities.Silent && !slices.Contains(w.Abilities.Firing, b.Table.String()+" "+tr.Name) {
				continue
			}
			if slices.Contains(tr.Events, string(b.Kind)) || slices.Contains(tr.Events, "any") {
				return drivers.WithHint(fmt.Errorf("table %s: the trigger %s would fire: %w", b.Table, tr.Name, drivers.ErrInvalid),
					"look at what it does, then allow triggers, or drop it for the time of the merge")
			}
		}
	}
	return nil
}

// Apply writes batches in one transaction, unless the unit is done.
func (w *Writer) Apply(ctx context.Context, unit int, batches []*relational.Batch) (err error) {
	tables, err := w.tables(batches)
	if err != nil {
		return err
	}
	if err := w.mayFire(batches); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			w.Session.Rollback(ctx)
		}
	}()
	if err := w.Session.Begin(ctx, tables); err != nil {
		return fmt.Errorf("begin: %w", w.Session.Classify(err))
	}
	if err := w.ours(ctx); err != nil {
		return err
	}
	_, err = w.Session.Exec(ctx, "INSERT INTO "+w.Dialect.Done+" (unit) VALUES ("+strconv.Itoa(unit)+")")
	if err != nil {
		if code, ok := w.Session.Refusal(err); ok && code == relational.RefusedUnique {
			w.Session.Rollback(ctx)
			return nil // it was done before
		}
		return fmt.Errorf("note unit %d as done: %w", unit, w.Session.Classify(err))
	}
	for _, b := range batches {
		s := span{w.Model.Table(b.Table), b, 0, b.Rows}
		if err := w.write(ctx, s); err != nil {
			return w.refused(s, err)
		}
	}
	if err := w.checkOrphans(ctx, batches); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := w.Session.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", w.Session.Classify(err))
	}
	return nil
}

// ours makes sure that the database is still this merge's.
func (w *Writer) ours(ctx context.Context) error {
	n, err := w.Session.Number(ctx, "SELECT COUNT(*) FROM "+w.Dialect.Run+" WHERE id = '"+w.Spec.ID+"' AND plan = '"+w.Spec.Plan+"'")
	if err != nil {
		return fmt.Errorf("look whose the database is: %w", w.Session.Classify(err))
	}
	if n != 1 {
		return relational.ErrInUse
	}
	return nil
}

// refused gives an error of a change its form.
func (w *Writer) refused(s span, err error) error {
	if code, ok := w.Session.Refusal(err); ok {
		return &relational.RefusedError{Table: s.t.Name, Refusal: relational.Refusal{Batch: s.b.Number, Code: code, Message: err.Error()}, Err: w.Session.Classify(err)}
	}
	return fmt.Errorf("write table %s: %w", s.t.Name, w.Session.Classify(err))
}

// write writes a part of a batch.
func (w *Writer) write(ctx context.Context, s span) error {
	n := int64(s.to - s.from)
	var done int64
	var err error
	switch {
	case s.b.Kind == relational.ChangeInsert:
		done, err = w.Session.Exec(ctx, w.Dialect.insertSQL(s))
	case len(s.b.Key) == 0 && s.b.Kind == relational.ChangeDelete:
		done, err = w.deleteKeyless(ctx, s)
	case len(s.b.Key) == 0:
		return fmt.Errorf("batch %d changes rows that no key tells apart: %w", s.b.Number, drivers.ErrInvalid)
	default:
		same, err := w.Session.Number(ctx, w.Dialect.sameSQL(s))
		if err != nil {
			return err
		}
		if same != n {
			return fmt.Errorf("%d rows are not what they were, or their changes are not staged: %w", n-same, relational.ErrTargetMoved)
		}
		sql := w.Dialect.updateSQL(s)
		if s.b.Kind == relational.ChangeDelete {
			sql = w.Dialect.deleteSQL(s)
		}
		// How many rows change is not told in the same way everywhere; that they are those, the question before has told.
		_, err = w.Session.Exec(ctx, sql)
		return err
	}
	if err == nil && done != n {
		err = fmt.Errorf("%d rows were written of %d: %w", done, n, relational.ErrTargetMoved)
	}
	return err
}

func (w *Writer) deleteKeyless(ctx context.Context, s span) (done int64, err error) {
	if len(w.Dialect.RowID) > 0 {
		return w.Session.Exec(ctx, w.Dialect.keylessSQL(s))
	}
	for i := s.from; i < s.to; i++ {
		n, err := w.Session.Exec(ctx, w.Dialect.oneSQL(span{s.t, s.b, i, i + 1}))
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// Try writes batches and takes them back.
func (w *Writer) Try(ctx context.Context, batches []*relational.Batch) (refusals []relational.Refusal, err error) {
	tables, err := w.tables(batches)
	if err != nil {
		return nil, err
	}
	if err := w.mayFire(batches); err != nil {
		return nil, err
	}
	defer w.Session.Rollback(ctx) // also of what began and failed in the middle
	if err := w.Session.Begin(ctx, tables); err != nil {
		return nil, fmt.Errorf("begin: %w", w.Session.Classify(err))
	}
	if err := w.ours(ctx); err != nil {
		return nil, err
	}
	for _, b := range batches {
		s := span{w.Model.Table(b.Table), b, 0, b.Rows}
		if err := w.try(ctx, s, &refusals); err != nil {
			return nil, fmt.Errorf("try table %s: %w", s.t.Name, w.Session.Classify(err))
		}
		if len(refusals) >= relational.RefusalMost {
			return refusals, nil
		}
	}
	if len(refusals) == 0 {
		return nil, w.checkOrphans(ctx, batches)
	}
	return refusals, nil
}

// try writes a part of a batch, and where that is refused its halves.
func (w *Writer) try(ctx context.Context, s span, refusals *[]relational.Refusal) error {
	if len(*refusals) >= relational.RefusalMost || s.from >= s.to {
		return nil
	}
	if _, err := w.Session.Exec(ctx, "SAVEPOINT salvor_try"); err != nil {
		return err
	}
	err := w.write(ctx, s)
	if err == nil {
		_, err := w.Session.Exec(ctx, "RELEASE SAVEPOINT salvor_try")
		return err
	}
	code, ok := w.Session.Refusal(err)
	if !ok {
		return err
	}
	if _, undo := w.Session.Exec(ctx, "ROLLBACK TO SAVEPOINT salvor_try"); undo != nil {
		return errors.Join(err, undo)
	}
	if _, undo := w.Session.Exec(ctx, "RELEASE SAVEPOINT salvor_try"); undo != nil {
		return errors.Join(err, undo)
	}
	if s.to-s.from == 1 {
		*refusals = append(*refusals, relational.Refusal{Batch: s.b.Number, Row: s.from, Code: code, Message: strings.ToValidUTF8(err.Error(), "?")})
		return nil
	}
	middle := s.from + (s.to-s.from)/2
	if err := w.try(ctx, span{s.t, s.b, s.from, middle}, refusals); err != nil {
		return err
	}
	return w.try(ctx, span{s.t, s.b, middle, s.to}, refusals)
}

// checkOrphans looks whether what was written refers to something, and whether something refers to what was taken away.
func (w *Writer) checkOrphans(ctx context.Context, batches []*relational.Batch) error {
	for _, child := range w.Model.Tables {
		for i := range child.Foreign {
			e := &child.Foreign[i]
			parent := w.Model.Table(e.Parent)
			for _, sql := range w.orphanQueries(child, parent, e, batches) {
				n, err := w.Session.Number(ctx, sql)
				if err != nil {
					return fmt.Errorf("check reference %s of table %s: %w", e.Name, child.Name, w.Session.Classify(err))
				}
				if n > 0 {
					return fmt.Errorf("%d rows of table %s by %s: %w", n, child.Name, e.Name, relational.ErrOrphans)
				}
			}
		}
	}
	return nil
}

func (w *Writer) orphanQueries(child, parent *relational.Table, e *relational.Edge, batches []*relational.Batch) (list []string) {
	touches := func(b *relational.Batch, columns []string) bool {
		return slices.ContainsFunc(columns, func(c string) bool { return slices.Contains(b.Columns, c) })
	}
	var inserted, updated, gone []string
	var key []string
	for _, b := range batches {
		number := strconv.Itoa(b.Number)
		if b.Table == child.Name && touches(b, e.Columns) {
			switch b.Kind {
			case relational.ChangeInsert:
				key, inserted = b.Key, append(inserted, number)
			case relational.ChangeUpdate:
				key, updated = b.Key, append(updated, number)
			case relational.ChangeDelete:
			}
		}
		if b.Table == parent.Name && b.Kind != relational.ChangeInsert && touches(b, e.ParentColumns) {
			gone = append(gone, number)
		}
	}
	if len(inserted) > 0 && !w.Spec.Undo {
		list = append(list, w.Dialect.newOrphansSQL(child, parent, e, key, 'n', inserted))
	}
	if len(updated) > 0 && !w.Spec.Undo {
		list = append(list, w.Dialect.newOrphansSQL(child, parent, e, key, 'o', updated))
	}
	if len(gone) > 0 {
		list = append(list, w.Dialect.leftOrphansSQL(child, parent, e, gone))
	}
	return list
}

// Orphans counts the rows of a table that refer to nothing.
func (w *Writer) Orphans(ctx context.Context, t *relational.Table, e *relational.Edge) (int64, error) {
	child, parent := w.Model.Table(t.Name), w.Model.Table(e.Parent)
	if child == nil || parent == nil || e.Kind == relational.EdgeArray || e.Kind == relational.EdgePath || e.When != nil {
		return 0, fmt.Errorf("reference %s of table %s: %w", e.Name, t.Name, drivers.ErrInvalid)
	}
	n, err := w.Session.Number(ctx, w.Dialect.orphansSQL(child, parent, e))
	if err != nil {
		return 0, fmt.Errorf("check reference %s of table %s: %w", e.Name, t.Name, w.Session.Classify(err))
	}
	return n, nil
}
