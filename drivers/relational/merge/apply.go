package merge

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// Stage stages all batches, so many side by side.
func (pl *Plan) Stage(ctx context.Context, m relational.Merger, atOnce int) error {
	if err := pl.changes.flush(); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(atOnce, 1))
	for _, b := range pl.Batches {
		group.Go(func() error {
			if err := m.Stage(ctx, b, pl.Changes(b)); err != nil {
				return fmt.Errorf("stage batch %d of table %s: %w", b.Number, b.Table, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// Try writes all of the plan and takes it back, and returns the rows that the database refuses: they are to be planned again with
// [Config.Refusals]. All batches are staged.
func (pl *Plan) Try(ctx context.Context, m relational.Merger) ([]Rejected, error) {
	refusals, err := m.Try(ctx, pl.Batches)
	if err != nil {
		return nil, fmt.Errorf("try a merge: %w", err)
	}
	var list []Rejected
	for _, r := range refusals {
		rejected, err := pl.rejected(r)
		if err != nil {
			return nil, fmt.Errorf("try a merge: %w", err)
		}
		list = append(list, rejected)
	}
	return list, nil
}

// rejected names the row of a refusal.
func (pl *Plan) rejected(r relational.Refusal) (Rejected, error) {
	if r.Batch < 0 || r.Batch >= len(pl.Batches) {
		return Rejected{}, fmt.Errorf("a refusal of batch %d: %w", r.Batch, drivers.ErrInvalid)
	}
	b := pl.Batches[r.Batch]
	bare := pl.model.Table(b.Table)
	t := &table{Table: bare, key: bare.Identity()}
	if t.key != nil {
		t.keyAt = bare.Indexes(t.key.Columns)
	}
	out := Rejected{Table: b.Table, Code: r.Code, Message: r.Message}
	n := 0
	err := pl.Changes(b)(func(c *relational.Change) error {
		if n == r.Row {
			values := c.New
			if b.Kind != relational.ChangeInsert {
				values = c.Old
			}
			out.Key = rejectKey(t, values)
		}
		n++
		return nil
	})
	return out, err
}

// ApplyAll writes all of the plan in one transaction.
func (pl *Plan) ApplyAll(ctx context.Context, m relational.Merger) error {
	if len(pl.Batches) > 0 {
		if err := m.Apply(ctx, 0, pl.Batches); err != nil {
			return fmt.Errorf("merge: %w", err)
		}
	}
	return pl.setSequences(ctx, m)
}

// ApplyUnits writes the units of the plan, each in a transaction of its own. Those that are done already are passed over.
func (pl *Plan) ApplyUnits(ctx context.Context, m relational.Merger) error {
	for _, unit := range pl.Units() {
		if err := m.Apply(ctx, unit, pl.Unit(unit)); err != nil {
			return fmt.Errorf("merge unit %d: %w", unit, err)
		}
	}
	return pl.setSequences(ctx, m)
}

func (pl *Plan) setSequences(ctx context.Context, m relational.Merger) error {
	if len(pl.Sequences) == 0 {
		return nil
	}
	if err := m.SetSequences(ctx, pl.Sequences); err != nil {
		return fmt.Errorf("set the counters: %w", err)
	}
	return nil
}
