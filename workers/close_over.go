package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"salvor/archive"
	"salvor/drivers/relational"
	"salvor/drivers/relational/declared"
	"salvor/tasks"
	"salvor/workers/captured"
)

// closeOver finds the rows without which those that were found are not whole, in the views that these were found in.
func (a *attempt) closeOver(ctx context.Context, live, base *observed, bound *declared.Bound, result *tasks.ObserveResult) (err error) {
	c := a.run.plan.Capture
	missing := newMissing()
	names := relational.Model{Labels: bound.Labels}
	config := relational.ClosureConfig{
		Live: live.view, Model: live.model, Edges: bound.Edges, Meaning: bound.Meaning, Scratch: a.cfg.Scratch, Memory: rowsMemory, Budget: c.Budget, Missing: missing.add,
	}
	if base != nil {
		config.Base, config.BaseModel = base.view, base.model
	}
	closure, err := relational.NewClosure(&config)
	if err != nil {
		return fmt.Errorf("close over node %s: %w", c.Node, err)
	}
	defer func() { err = errors.Join(err, closure.Close()) }()
	if err := a.seed(ctx, live.model, closure); err != nil {
		return err
	}
	lines, err := newLineSpool(a.cfg.Scratch, live.model)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lines.close()) }()
	err = closure.Run(ctx, func(added *relational.Added) error {
		a.entries.Add(1)
		line := added.Line()
		label := names.Label(added.Table.Name)
		line.App, line.Model = label.App, label.Model
		return lines.add(line)
	})
	if err != nil {
		return fmt.Errorf("close over node %s: %w", c.Node, err)
	}
	if result.Missing, err = missing.encode(); err != nil {
		return err
	}
	for i, t := range live.model.Tables {
		part, err := a.addedPart(ctx, lines, i)
		if err != nil {
			return err
		}
		if part == nil {
			continue
		}
		part.Schema, part.Table = t.Schema, t.Name.Name
		result.Added = append(result.Added, *part)
	}
	return nil
}

// seed gives a closure what was found in all tables, in the order of the model.
func (a *attempt) seed(ctx context.Context, model *relational.Model, closure *relational.Closure) error {
	seeds := make(map[relational.Name]json.RawMessage)
	path := a.run.plan.Capture.Node
	step := a.stepOf(tasks.KindCompare, path)
	err := a.cfg.Ledger.Results(ctx, a.claim.Run, step, func(task string, data json.RawMessage) error {
		var r tasks.CompareResult
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("decode result of task %s: %w", task, err)
		}
		seeds[relational.Name{Schema: r.Schema, Name: r.Table}] = r.Seeds
		return nil
	})
	if err != nil {
		return fmt.Errorf("read results of step %s: %w", step, err)
	}
	for _, t := range model.Tables {
		raw, ok := seeds[t.Name]
		if !ok {
			return fmt.Errorf("close over node %s: %w: table %s is missing", path, errIncomplete, t.Name)
		}
		if raw == nil {
			continue
		}
		err := a.readPart(ctx, raw, func(in io.Reader) error {
			return relational.EachFound(in, func(f *relational.Found) error {
				if len(f.Live) != len(t.Columns) {
					return fmt.Errorf("%w: a row of %d columns in table %s of %d", archive.ErrCorrupt, len(f.Live), t.Name, len(t.Columns))
				}
				return closure.Seed(ctx, t, f)
			})
		})
		if err != nil {
			return fmt.Errorf("close over table %s: %w", t.Name, err)
		}
	}
	return nil
}

// addedPart stores the lines that were added to a table; nil where there are none.
func (a *attempt) addedPart(ctx context.Context, lines *lineSpool, table int) (*tasks.CapturedPart, error) {
	w := a.newCapturePart(ctx, fmt.Sprintf("%06d-closure", table), "jsonl")
	defer w.abort()
	if err := lines.each(table, func(data []byte) error { return w.write(data, "", 0) }); err != nil {
		return nil, err
	}
	record, err := w.commit()
	if err != nil || record == nil {
		return nil, err
	}
	return &tasks.CapturedPart{Part: record, Lines: lines.counts[table]}, nil
}

// missingSamples is how many rows are named that refer to what is nowhere.
const missingSamples = 5

// missing collects references that lead nowhere.
type missing struct {
	list  []*captured.Missing
	place map[string]*captured.Missing
}

func newMissing() *missing { return &missing{place: make(map[string]*captured.Missing)} }

func (m *missing) add(lost *relational.Missing) error {
	key := strings.Join([]string{lost.Table.Schema, lost.Table.Name.Name, lost.Edge.Name}, "\x00")
	r := m.place[key]
	if r == nil {
		r = &captured.Missing{Table: lost.Table.Name, Edge: lost.Edge.Name, Parent: lost.Edge.Parent}
		m.list, m.place[key] = append(m.list, r), r
	}
	r.Rows++
	if len(r.Samples) < missingSamples {
		r.Samples = append(r.Samples, lost.Table.Describe(lost.Table.Identity(), lost.Values))
	}
	return nil
}

func (m *missing) encode() (json.RawMessage, error) {
	if len(m.list) == 0 {
		return nil, nil
	}
	data, err := json.Marshal(m.list)
	if err != nil {
		return nil, fmt.Errorf("encode missing references: %w", err)
	}
	return data, nil
}
