package merge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// ErrUnproven tells that a target is not what was written into it.
var ErrUnproven = fmt.Errorf("the target is not what was written: %w", drivers.ErrFailed)

// Prove reads every row that the plan has written, and compares it. view is of the target after the merge. The error wraps
// [ErrUnproven] and names the first row that is another one.
func (pl *Plan) Prove(ctx context.Context, view relational.View, dir string, memory int64) error {
	model, err := view.Model(ctx)
	if err != nil {
		return fmt.Errorf("prove a merge: %w", err)
	}
	keyless := make(map[relational.Name]*sought)
	defer func() {
		for _, s := range keyless {
			_ = s.tally.Close() // whatever is left of it is in a directory of the run
		}
	}()
	for _, b := range pl.Batches {
		t := model.Table(b.Table)
		if t == nil || slices.Contains(t.Indexes(b.Columns), -1) {
			return fmt.Errorf("prove a merge: table %s: %w", b.Table, ErrUnproven)
		}
		switch {
		case b.Interim:
		case len(b.Key) > 0:
			err = pl.proveBatch(ctx, view, t, b)
		case b.Kind == relational.ChangeInsert:
			s := keyless[b.Table]
			if s == nil {
				s = &sought{tally: relational.NewTally(dir, memory)}
				keyless[b.Table] = s
			}
			err = pl.countRows(ctx, t, b, s)
		}
		if err != nil {
			return fmt.Errorf("prove a merge: table %s: %w", b.Table, err)
		}
	}
	for name, s := range keyless {
		if err := s.prove(ctx, view, model.Table(name)); err != nil {
			return fmt.Errorf("prove a merge: table %s: %w", name, err)
		}
	}
	return nil
}

// proveBatch reads a batch's rows by their keys.
func (pl *Plan) proveBatch(ctx context.Context, view relational.View, t *relational.Table, b *relational.Batch) error {
	keyAt := t.Indexes(b.Key)
	var columns []int
	for _, c := range b.Columns {
		if !slices.Contains(b.Later, c) {
			columns = append(columns, t.Index(c))
		}
	}
	p := &planner{c: &Config{Target: view}}
	tab := &table{Table: t, key: &relational.Key{Columns: b.Key}, keyAt: keyAt}
	var changes []*relational.Change
	var keys [][]relational.Value
	flush := func() error {
		seen := make([]bool, len(changes))
		err := p.look(ctx, tab, b.Key, keys, func(asked int, row []relational.Value) error {
			seen[asked] = true
			if b.Kind == relational.ChangeDelete {
				return fmt.Errorf("row %s is still there: %w", tab.identify(row), ErrUnproven)
			}
			for _, i := range columns {
				if !row[i].Equal(changes[asked].New[i]) {
					return fmt.Errorf("row %s: column %q is another value: %w", tab.identify(row), t.Columns[i].Name, ErrUnproven)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if i := slices.Index(seen, false); i >= 0 && b.Kind != relational.ChangeDelete {
			row := changes[i].New
			if b.Kind == relational.ChangeUpdate {
				row = changes[i].Old
			}
			return fmt.Errorf("row %s is not there: %w", tab.identify(row), ErrUnproven)
		}
		changes, keys = changes[:0], keys[:0]
		return nil
	}
	err := pl.Changes(b)(func(c *relational.Change) error {
		kept := &relational.Change{}
		if c.New != nil {
			kept.New = relational.CloneValues(c.New)
		}
		if c.Old != nil {
			kept.Old = relational.CloneValues(c.Old)
		}
		key := kept.New
		if b.Kind != relational.ChangeInsert {
			key = kept.Old
		}
		changes, keys = append(changes, kept), append(keys, pick(key, keyAt))
		if len(changes) < relational.LookupMost {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// sought counts rows of a table without a key, by what they hold.
type sought struct {
	tally *relational.Tally
	rows  int64
}

// countRows counts the rows of a batch.
func (pl *Plan) countRows(ctx context.Context, t *relational.Table, b *relational.Batch, s *sought) error {
	at := t.Indexes(b.Columns)
	var h relational.Hash
	var scratch []byte
	return pl.Changes(b)(func(c *relational.Change) error {
		h, scratch = relational.HashValues(pick(c.New, at), scratch)
		s.rows++
		_, err := s.tally.Add(ctx, h[:], 1)
		return err
	})
}

// prove looks for the rows among all of the table's.
func (s *sought) prove(ctx context.Context, view relational.View, t *relational.Table) (err error) {
	rows, err := view.Scan(ctx, relational.Scan{Table: t})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var at []int
	for i, c := range t.Columns {
		if !c.Generated {
			at = append(at, i)
		}
	}
	var h relational.Hash
	var scratch []byte
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		h, scratch = relational.HashValues(pick(row.Values, at), scratch)
		n, err := s.tally.Count(ctx, h[:])
		if err == nil && n > 0 {
			s.rows--
			_, err = s.tally.Add(ctx, h[:], -1)
		}
		if err != nil {
			return err
		}
	}
	if s.rows > 0 {
		return fmt.Errorf("a row without a key is not there: %w", ErrUnproven)
	}
	return nil
}
