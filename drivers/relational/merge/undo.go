package merge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"salvor/drivers/relational"
)

// Undo makes the plan that takes this one back: it gives every row that was written what it had before, and counters too. units are
// those that were applied, nil for all. Applying it is refused where a row has been changed since.
func (pl *Plan) Undo(units []int, dir string) (_ *Plan, err error) {
	undo := &Plan{Format: format, Engine: pl.Engine, Capture: pl.Capture, Target: pl.Target, Sequences: pl.Before, model: pl.model}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("turn a plan around: %w", err), undo.Close())
		}
	}()
	for _, f := range []**records{&undo.changes, &undo.conflicts, &undo.mappings} {
		if *f, err = newRecords(dir); err != nil {
			return nil, err
		}
	}
	number := make(map[int]int) // units count anew
	for _, b := range slices.Backward(pl.Batches) {
		if units != nil && !slices.Contains(units, b.Unit) {
			continue
		}
		if _, known := number[b.Unit]; !known {
			number[b.Unit] = len(number)
		}
		if err := pl.turn(undo, b, number[b.Unit]); err != nil {
			return nil, err
		}
	}
	if undo.Batches == nil {
		undo.Batches = []*relational.Batch{}
	}
	return undo, undo.seal()
}

// turn turns a batch around.
func (pl *Plan) turn(undo *Plan, b *relational.Batch, unit int) error {
	back := *b
	back.Number, back.Unit = len(undo.Batches), unit
	back.Interim, back.Returns = b.Returns, b.Interim
	switch b.Kind {
	case relational.ChangeInsert:
		back.Kind = relational.ChangeDelete
	case relational.ChangeDelete:
		back.Kind = relational.ChangeInsert
	case relational.ChangeUpdate:
	}
	t := pl.model.Table(b.Table)
	keyAt := t.Indexes(b.Key)
	from := undo.changes.end
	err := pl.Changes(b)(func(c *relational.Change) error {
		turned := &relational.Change{New: c.Old, Old: c.New}
		if b.Kind == relational.ChangeUpdate {
			for _, i := range keyAt { // which no change changes
				turned.Old[i] = c.Old[i]
			}
		}
		raw := appendChange(nil, t, &back, turned)
		_, err := undo.changes.raw(append(binary.AppendUvarint(nil, uint64(len(raw))), raw...))
		return err
	})
	if err != nil {
		return err
	}
	undo.Batches = append(undo.Batches, &back)
	undo.regions = append(undo.regions, region{[][2]int64{{from, undo.changes.end}}})
	return nil
}
