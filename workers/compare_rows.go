package workers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/tasks"
)

// rowsMemory is what a table's comparison, and its counts, take before they use files.
const rowsMemory = 8 << 20

// compareRows finds what became of one table's rows.
//
// They are kept in a file of the worker's first: whether a change is one of a mass is known only when all are there.
func (a *attempt) compareRows(ctx context.Context) (_ any, err error) {
	var spec tasks.CompareSpec
	if err := a.spec(&spec); err != nil {
		return nil, err
	}
	t := &tableCapture{attempt: a, spec: spec}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.open(ctx); err != nil {
		return nil, err
	}
	coverage, err := t.find(ctx)
	if err != nil {
		return nil, err
	}
	result := tasks.CompareResult{Schema: spec.Schema, Table: spec.Table}
	groups, err := t.store(ctx, &result)
	if err == nil {
		err = t.noteTouched(ctx, groups, coverage)
	}
	if err != nil {
		return nil, fmt.Errorf("capture table %s: %w", t.table.Name, err)
	}
	if result.Coverage, err = json.Marshal(coverage); err != nil {
		return nil, fmt.Errorf("encode coverage of table %s: %w", t.table.Name, err)
	}
	return result, nil
}

// tableCapture captures one table.
type tableCapture struct {
	*attempt
	spec       tasks.CompareSpec
	live, base relational.View
	done       []func()
	table      *relational.Table
	other      *relational.Table // the same of the dump; nil where there is none
	detectors  relational.Detectors
	spool      *relational.Spool
	mass       *relational.Mass
	rows       int64 // how many the table had before
}

func (t *tableCapture) close() error {
	var err error
	if t.spool != nil {
		err = errors.Join(err, t.spool.Close())
	}
	if t.mass != nil {
		err = errors.Join(err, t.mass.Close())
	}
	for _, done := range t.done {
		done()
	}
	return err
}

// open joins the views and finds the table in them.
func (t *tableCapture) open(ctx context.Context) (err error) {
	c := t.run.plan.Capture
	if t.live, err = t.viewRows(ctx, c.Node, t.spec.Live, t.openLive); err != nil {
		return err
	}
	model, err := t.live.Model(ctx)
	if err != nil {
		return fmt.Errorf("capture node %s: %w", c.Node, err)
	}
	name := relational.Name{Schema: t.spec.Schema, Name: t.spec.Table}
	if t.table = model.Table(name); t.table == nil {
		return fmt.Errorf("capture table %s of node %s: %w", name, c.Node, drivers.ErrNotFound)
	}
	if c.Base != nil {
		open := func(ctx context.Context) (drivers.Source, error) {
			_, source, err := t.openCompared(ctx)
			return source, err
		}
		if t.base, err = t.viewRows(ctx, tasks.BasePath(c.Node), t.spec.Base, open); err != nil {
			return err
		}
		baseModel, err := t.base.Model(ctx)
		if err != nil {
			return fmt.Errorf("capture node %s: %w", c.Node, err)
		}
		t.other = baseModel.Table(name)
	}
	t.detectors = relational.Detectors{Created: t.spec.Created, Modified: t.spec.Modified}
	if t.spool, err = relational.NewSpool(t.cfg.Scratch); err != nil {
		return err
	}
	t.mass = relational.NewMass(t.table, t.detectors, t.cfg.Scratch, rowsMemory)
	return nil
}

// viewRows returns a view by rows that this process holds, or that it joins.
func (t *tableCapture) viewRows(ctx context.Context, path string, ticket json.RawMessage, open func(context.Context) (drivers.Source, error)) (relational.View, error) {
	view, done, err := t.sharedView(ctx, viewKey{t.claim.Life(), path, t.spec.Epoch}, ticket, joinWith{open, joinRows})
	if err != nil {
		return nil, err
	}
	t.done = append(t.done, done)
	rows, ok := view.(relational.View)
	if !ok {
		return nil, fmt.Errorf("view of node %s: %w: it has no rows", path, drivers.ErrInvalid)
	}
	return rows, nil
}

func joinRows(ctx context.Context, source drivers.Source, ticket json.RawMessage) (anyView, error) {
	joiner, ok := source.(relational.Joiner)
	if !ok {
		return nil, errNotJoined
	}
	return joiner.JoinView(ctx, ticket)
}

// find compares the table and counts what has one cause.
func (t *tableCapture) find(ctx context.Context) (*relational.Coverage, error) {
	c := t.run.plan.Capture
	model, err := t.live.Model(ctx)
	if err != nil {
		return nil, fmt.Errorf("capture node %s: %w", c.Node, err)
	}
	zone, err := t.zoneOf(model)
	if err != nil {
		return nil, err
	}
	comparison := relational.Comparison{
		Live: t.live, Base: t.base, Table: t.table, Other: t.other, Detectors: t.detectors,
		Since: c.Since.Add(-c.Margin), Zone: zone, Scratch: t.cfg.Scratch, Memory: rowsMemory,
	}
	coverage, err := comparison.Run(ctx, func(f *relational.Found) error {
		t.entries.Add(1)
		if err := t.mass.Count(ctx, f); err != nil {
			return err
		}
		return t.spool.Add(f)
	})
	if err != nil {
		return nil, fmt.Errorf("capture node %s: %w", c.Node, err)
	}
	if t.rows = coverage.Rows - coverage.Created + coverage.Deleted; coverage.Rows < 0 {
		t.rows = max(t.table.Rows, 0)
	}
	return coverage, nil
}

// judged is a row with what the table says of it.
type judged struct {
	*relational.Found
	groups []relational.Group
	left   []int // the changed columns that no group has
}

// own tells whether the row is in the table's own file.
func (j *judged) own() bool { return len(j.groups) == 0 || len(j.left) > 0 }

// each judges every row that was found.
func (t *tableCapture) each(ctx context.Context, yield func(*judged) error) error {
	return t.spool.Each(func(f *relational.Found) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		groups, left, err := t.mass.Judge(ctx, f, t.rows)
		if err != nil {
			return err
		}
		return yield(&judged{f, groups, left})
	})
}

// store writes the rows: those of the table, what a closure begins from, and each group, one after the other. It returns the groups.
func (t *tableCapture) store(ctx context.Context, result *tasks.CompareResult) ([]relational.Group, error) {
	if t.spool.Rows() == 0 {
		return nil, nil
	}
	groups := make(map[relational.Group]bool)
	var buf []byte
	own, err := t.part(ctx, "rows", "jsonl", func(w *capturePart, j *judged) error {
		for _, g := range j.groups {
			groups[g] = true
		}
		if !j.own() {
			return nil
		}
		buf = relational.AppendLine(buf[:0], t.labelled(t.table.Line(t.other, j.Found, j.left, without(j))))
		return w.write(buf, j.Op, 1)
	})
	if err != nil {
		return nil, err
	}
	result.Rows = own
	seeds, err := t.part(ctx, "seeds", "rows", func(w *capturePart, j *judged) error {
		if !j.own() || j.Op == relational.OpDeleted {
			return nil
		}
		buf = relational.AppendFound(buf[:0], &relational.Found{Op: j.Op, Why: j.Why, Key: j.Key, Live: j.Live})
		return w.write(buf, j.Op, 1)
	})
	if err != nil {
		return nil, err
	}
	if seeds != nil {
		result.Seeds = seeds.Part
	}
	sorted := sortedGroups(groups)
	for i, group := range sorted {
		part, err := t.part(ctx, fmt.Sprintf("mass-%03d", i+1), "jsonl", func(w *capturePart, j *judged) error {
			if !slices.Contains(j.groups, group) {
				return nil
			}
			buf = relational.AppendLine(buf[:0], t.labelled(t.table.GroupLine(t.other, j.Found, t.ofGroup(j, group))))
			return w.write(buf, j.Op, 1)
		})
		if err != nil {
			return nil, err
		}
		if part.Detail, err = json.Marshal(group); err != nil {
			return nil, fmt.Errorf("encode group: %w", err)
		}
		result.Groups = append(result.Groups, *part)
	}
	return sorted, nil
}

// noteTouched notes how many new rows have a value that a mass of changes set: what they had before nobody knows.
func (t *tableCapture) noteTouched(ctx context.Context, groups []relational.Group, coverage *relational.Coverage) error {
	if coverage.Created == 0 {
		return nil
	}
	for _, g := range groups {
		place := t.table.Index(g.Column)
		if place < 0 || g.Moment {
			continue
		}
		n := 0
		var buf []byte
		err := t.each(ctx, func(j *judged) error {
			if j.Op != relational.OpCreated {
				return nil
			}
			if buf = relational.AppendJSON(buf[:0], &t.table.Columns[place], j.Live[place]); string(buf) == g.Value {
				n++
			}
			return nil
		})
		if err != nil {
			return err
		}
		if n > 0 {
			rows := "1 new row"
			if n > 1 {
				rows = fmt.Sprintf("%d new rows", n)
			}
			coverage.Notes = append(coverage.Notes, fmt.Sprintf("the value that a mass of changes gave %s is that of %s too: look there", g.Column, rows))
		}
	}
	return nil
}

// labelled adds Django's names to a line.
func (t *tableCapture) labelled(l *relational.Line) *relational.Line {
	l.App, l.Model = t.spec.App, t.spec.Model
	return l
}

// part writes one part; nil where nothing was written.
func (t *tableCapture) part(ctx context.Context, name, ext string, line func(*capturePart, *judged) error) (*tasks.CapturedPart, error) {
	// The task's id tells the table, and is short.
	w := t.newCapturePart(ctx, fmt.Sprintf("%s-%s", t.claim.Task.ID[len("compare:"+t.claim.Task.Node+":"):], name), ext)
	defer w.abort()
	if err := t.each(ctx, func(j *judged) error { return line(w, j) }); err != nil {
		return nil, err
	}
	record, err := w.commit()
	if err != nil || record == nil {
		return nil, err
	}
	return &tasks.CapturedPart{Schema: t.table.Schema, Table: t.table.Name.Name, Part: record, Lines: w.lines}, nil
}

// without are the columns that groups took of a row: they are no work of people, and stand in the lines of the groups.
func without(j *judged) []int {
	if len(j.groups) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(j.Changed), func(place int) bool { return slices.Contains(j.left, place) })
}

// ofGroup are the columns of a row that a group changed: where they were changed at one moment, all that have no group of their own.
// The time of a change goes with the first of a row's groups, where no line of the row's own has it.
func (t *tableCapture) ofGroup(j *judged, group relational.Group) []int {
	if group.Column == "" {
		return j.Changed
	}
	own := func(place int) bool {
		return slices.ContainsFunc(j.groups, func(g relational.Group) bool { return g.Column == t.table.Columns[place].Name })
	}
	columns := []int{t.table.Index(group.Column)}
	for _, place := range j.Changed {
		modified := t.table.Columns[place].Name == t.detectors.Modified
		if !own(place) && (group.Moment || modified && !j.own() && group == j.groups[0]) {
			columns = append(columns, place)
		}
	}
	slices.Sort(columns)
	return columns
}

func sortedGroups(groups map[relational.Group]bool) []relational.Group {
	list := make([]relational.Group, 0, len(groups))
	for g := range groups {
		list = append(list, g)
	}
	slices.SortFunc(list, func(x, y relational.Group) int {
		return cmp.Or(cmp.Compare(x.Op, y.Op), cmp.Compare(x.Column, y.Column), cmp.Compare(x.Value, y.Value))
	})
	return list
}
