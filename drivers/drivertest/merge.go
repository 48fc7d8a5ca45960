package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/drivers/relational/merge"
	"salvor/internal/secret"
)

// merging is a base, the work that people did on it, and what became of the target, which is a restore of the base.
type merging struct {
	t       *testing.T
	h       RelationalHarness
	base    []string
	work    []string
	target  []string
	edges   map[string][]relational.Edge // by the child's name
	natural map[string][]string
	policy  func(*merge.Conflict) merge.Policy
	choose  func(*relational.Line) merge.Choice
	edit    func(line []byte) []byte // of a capture
	deletes bool
	units   int // rows of a unit; 0 writes all in one transaction
	firing  bool
	known   []*merge.Mapping

	source   string
	exec     func(...string)
	captured *relational.Model
	lines    map[relational.Name][][]byte
	before   []string
	written  *merge.Plan // the last one
}

// Decide asks choose.
func (m *merging) Decide(l *relational.Line) (merge.Choice, error) {
	if m.choose == nil {
		return merge.Choice{}, nil
	}
	return m.choose(l), nil
}

// Policy asks policy.
func (m *merging) Policy(c *merge.Conflict) (merge.Policy, error) {
	if m.policy == nil {
		return "", nil
	}
	return m.policy(c), nil
}

// prepare makes the databases and captures the work.
func (m *merging) prepare() {
	m.t.Helper()
	t := m.t
	liveSource, live := m.h.New(t)
	live(m.base...)
	if len(m.work) > 0 {
		live(m.work...)
	}
	m.source, m.exec = m.h.New(t)
	m.exec(m.base...)
	liveView, baseView := observe(t, m.h, liveSource), observe(t, m.h, m.source)
	var err error
	if m.captured, err = liveView.Model(t.Context()); err != nil {
		t.Fatal(err)
	}
	baseModel, err := baseView.Model(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.lines = make(map[relational.Name][][]byte)
	for _, table := range m.captured.Tables {
		c := relational.Comparison{Live: liveView, Base: baseView, Table: table, Other: baseModel.Table(table.Name), Scratch: t.TempDir(), Memory: 1 << 20}
		_, err := c.Run(t.Context(), func(f *relational.Found) error {
			line := relational.AppendLine(nil, lineOf(table, c.Other, f))
			if m.edit != nil {
				line = m.edit(line)
			}
			m.lines[table.Name] = append(m.lines[table.Name], line)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range []relational.View{liveView, baseView} {
		if err := v.End(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.target) > 0 {
		m.exec(m.target...)
	}
	m.before = m.contents(m.source)
}

// lineOf makes a line of what a comparison found.
func lineOf(t, other *relational.Table, f *relational.Found) *relational.Line {
	l := &relational.Line{Table: t, Op: f.Op, Why: f.Why}
	if f.Live != nil {
		l.Data, l.Has = f.Live, t.Written()
	}
	if f.Base == nil || f.Op == relational.OpCreated {
		return l
	}
	l.Base, l.HadBase = make([]relational.Value, len(t.Columns)), make([]bool, len(t.Columns))
	for i, c := range t.Columns {
		if from := other.Index(c.Name); from >= 0 {
			l.Base[i] = f.Base[from]
			l.HadBase[i] = f.Op == relational.OpDeleted && !c.Generated || slices.Contains(f.Changed, i)
		}
	}
	if key := t.Identity(); key != nil && f.Op == relational.OpDeleted {
		for _, i := range t.Indexes(key.Columns) {
			l.HadBase[i] = true
		}
	}
	for _, i := range f.Changed {
		l.Changed = append(l.Changed, t.Columns[i].Name)
	}
	return l
}

// contents are all rows and counters of a database, as texts.
func (m *merging) contents(source string) []string {
	m.t.Helper()
	v := observe(m.t, m.h, source)
	model, err := v.Model(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	var list []string
	for _, table := range model.Tables {
		rows, err := v.Scan(m.t.Context(), relational.Scan{Table: table})
		for _, row := range all(m.t, rows, err) {
			text := []byte(table.Name.Name + ":")
			for i, value := range row.Values {
				text = append(append(text, ' '), relational.AppendJSON(nil, &table.Columns[i], value)...)
			}
			list = append(list, string(text))
		}
	}
	slices.Sort(list)
	for _, s := range model.Sequences {
		list = append(list, fmt.Sprintf("sequence %s: %s %v", s.Name, s.Last, s.Called))
	}
	if err := v.End(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	return list
}

// rowsOf are the contents without counters.
func rowsOf(contents []string) []string {
	return slices.DeleteFunc(slices.Clone(contents), func(s string) bool { return strings.HasPrefix(s, "sequence ") })
}

// open opens the target.
func (m *merging) open() relational.Target {
	m.t.Helper()
	opened, err := m.h.Kind.Open(m.t.Context(), drivers.Spec{Node: "db", Source: secret.New(m.source), Scratch: m.t.TempDir()})
	if err != nil {
		m.t.Fatalf("open: %v", err)
	}
	m.t.Cleanup(func() { _ = opened.Close() })
	target, ok := opened.(relational.Target)
	if !ok {
		m.t.Fatal("nothing can be merged into the source")
	}
	return target
}

// plan makes a plan of what was captured.
func (m *merging) plan(refusals []merge.Rejected) (*merge.Plan, error) {
	m.t.Helper()
	t := m.t
	target := m.open()
	abilities, err := target.Abilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := observe(t, m.h, m.source)
	defer func() {
		if err := v.End(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	c := &merge.Config{
		ID: "capture", Capture: m.captured, Target: v, Abilities: abilities, Decisions: m, Deletes: m.deletes, Refusals: refusals, Rows: m.units, Scratch: t.TempDir(), Memory: 1 << 20,
		Edges: map[relational.Name][]relational.Edge{}, Natural: map[relational.Name][]string{},
		Lines: func(_ context.Context, table *relational.Table, yield func(*relational.Line) error) error {
			for _, raw := range m.lines[table.Name] {
				l, err := m.captured.ParseLine(raw)
				if err != nil {
					return err
				}
				if err := yield(l); err != nil {
					return err
				}
			}
			return nil
		},
		Known: func(yield func(*merge.Mapping) error) error {
			for _, k := range m.known {
				if err := yield(k); err != nil {
					return err
				}
			}
			return nil
		},
	}
	for child, edges := range m.edges {
		for i := range edges {
			edges[i].Parent.Schema = m.h.Schema
		}
		c.Edges[relational.Name{Schema: m.h.Schema, Name: child}] = edges
	}
	for name, columns := range m.natural {
		c.Natural[relational.Name{Schema: m.h.Schema, Name: name}] = columns
	}
	plan, err := merge.Make(t.Context(), c)
	if err == nil {
		t.Cleanup(func() { _ = plan.Close() })
	}
	return plan, err
}

// mustPlan makes a plan that has nothing open.
func (m *merging) mustPlan() *merge.Plan {
	m.t.Helper()
	plan, err := m.plan(nil)
	if err != nil {
		m.t.Fatal(err)
	}
	m.closed(plan)
	return plan
}

func (m *merging) closed(plan *merge.Plan) {
	m.t.Helper()
	if plan.Open > 0 {
		var list []string
		for _, c := range plan.Conflicts {
			for _, s := range c.Samples {
				list = append(list, s.String()+" "+s.Message)
			}
		}
		m.t.Fatalf("conflicts are open:\n%s", strings.Join(list, "\n"))
	}
}

// take takes the target for a plan.
func (m *merging) take(plan *merge.Plan) relational.Merger {
	m.t.Helper()
	merger, err := m.open().Merge(m.t.Context(), m.spec(plan))
	if err != nil {
		m.t.Fatalf("take the target: %v", err)
	}
	ctx := context.WithoutCancel(m.t.Context())
	m.t.Cleanup(func() { _ = merger.Close(ctx) })
	return merger
}

func (m *merging) spec(plan *merge.Plan) relational.MergeSpec {
	return relational.MergeSpec{ID: "run-1", Plan: plan.Hash, Triggers: m.firing}
}

// write stages a plan and writes it.
func (m *merging) write(plan *merge.Plan, merger relational.Merger) error {
	m.t.Helper()
	ctx := m.t.Context()
	if err := plan.Stage(ctx, merger, 3); err != nil {
		return err
	}
	if m.units > 0 {
		return plan.ApplyUnits(ctx, merger)
	}
	return plan.ApplyAll(ctx, merger)
}

// end ends a merge.
func (m *merging) end(merger relational.Merger) {
	m.t.Helper()
	if err := errors.Join(merger.Discard(m.t.Context()), merger.Close(m.t.Context())); err != nil {
		m.t.Fatalf("end the merge: %v", err)
	}
}

// run merges, proves, merges again, and takes back, and leaves the target merged. It returns the plan.
func (m *merging) run() *merge.Plan {
	m.t.Helper()
	t := m.t
	m.prepare()
	plan := m.mustPlan()
	m.sameSaved(plan)
	m.apply(plan)
	after := m.contents(m.source)
	if err := plan.EachMapping(func(k *merge.Mapping) error {
		m.known = append(m.known, k)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	again, err := m.plan(nil)
	if err != nil {
		t.Fatalf("plan again: %v", err)
	}
	if !again.Empty() {
		t.Errorf("a second merge would write %s", describe(again))
	}
	undo, err := plan.Undo(nil, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = undo.Close() })
	m.undo(undo)
	if diff := cmp.Diff(m.before, m.contents(m.source)); diff != "" {
		t.Errorf("what is taken back is not what was (-want +got):\n%s", diff)
	}
	m.apply(plan)
	if diff := cmp.Diff(after, m.contents(m.source)); diff != "" {
		t.Errorf("a merge after an undo is another one (-want +got):\n%s", diff)
	}
	return plan
}

// apply writes and proves a plan.
func (m *merging) apply(plan *merge.Plan) {
	m.t.Helper()
	t := m.t
	merger := m.take(plan)
	if err := plan.Stage(t.Context(), merger, 3); err != nil {
		t.Fatalf("stage: %v", err)
	}
	refused, err := plan.Try(t.Context(), merger)
	if err != nil || len(refused) > 0 {
		t.Fatalf("try: %v, refused: %+v\n%s", err, refused, describe(plan))
	}
	if diff := cmp.Diff(rowsOf(m.before), rowsOf(m.contents(m.source))); diff != "" && m.written == nil {
		t.Errorf("a trial changes the target (-want +got):\n%s", diff)
	}
	m.written = plan
	if err := m.write(plan, merger); err != nil {
		t.Fatalf("apply: %v\n%s", err, describe(plan))
	}
	m.prove(plan)
	m.end(merger)
}

// undo writes and proves a plan that takes another one back.
func (m *merging) undo(undo *merge.Plan) {
	m.t.Helper()
	t := m.t
	spec := m.spec(undo)
	spec.ID, spec.Undo = "undo-1", true
	merger, err := m.open().Merge(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(undo.Stage(t.Context(), merger, 1), undo.ApplyAll(t.Context(), merger)); err != nil {
		t.Fatalf("undo: %v\n%s", err, describe(undo))
	}
	m.prove(undo)
	m.end(merger)
}

func (m *merging) prove(plan *merge.Plan) {
	m.t.Helper()
	v := observe(m.t, m.h, m.source)
	if err := plan.Prove(m.t.Context(), v, m.t.TempDir(), 1<<20); err != nil {
		m.t.Errorf("%v\n%s", err, describe(plan))
	}
	if err := v.End(m.t.Context()); err != nil {
		m.t.Error(err)
	}
}

// sameSaved saves a plan and reads it back.
func (m *merging) sameSaved(plan *merge.Plan) {
	m.t.Helper()
	var b bytes.Buffer
	if err := plan.Save(&b); err != nil {
		m.t.Fatal(err)
	}
	read, err := merge.Read(&b, m.t.TempDir())
	if err != nil {
		m.t.Fatal(err)
	}
	if read.Hash != plan.Hash || describe(read) != describe(plan) {
		m.t.Errorf("a plan that was saved is another one: %s, %s", describe(plan), describe(read))
	}
	if err := read.Close(); err != nil {
		m.t.Error(err)
	}
}

// describe shows what a plan writes.
func describe(plan *merge.Plan) string {
	var b strings.Builder
	for _, batch := range plan.Batches {
		t := plan.Model().Table(batch.Table)
		fmt.Fprintf(&b, "\nunit %d, batch %d: %s %s (%s)", batch.Unit, batch.Number, batch.Kind, batch.Table.Name, strings.Join(batch.Columns, ", "))
		err := plan.Changes(batch)(func(c *relational.Change) error {
			if b.Len() > 4000 {
				return nil
			}
			for _, side := range [][]relational.Value{c.Old, c.New} {
				b.WriteString("\n   ")
				for i, v := range side {
					fmt.Fprintf(&b, " %s", relational.AppendJSON(nil, &t.Columns[i], v))
				}
			}
			return nil
		})
		if err != nil {
			fmt.Fprintf(&b, " %v", err)
		}
	}
	return b.String()
}

// want compares the target's rows.
func (m *merging) want(rows ...string) {
	m.t.Helper()
	slices.Sort(rows)
	if diff := cmp.Diff(rows, rowsOf(m.contents(m.source))); diff != "" {
		m.t.Errorf("the target (-want +got):\n%s", diff)
	}
}

// conflicts are a plan's, as texts: code, table, policy, count.
func conflicts(plan *merge.Plan) (list []string) {
	for _, c := range plan.Conflicts {
		list = append(list, fmt.Sprintf("%s %s %s %d", c.Code, c.Table.Name, c.Policy, c.Count))
	}
	return list
}

// conflicting plans and compares the conflicts.
func (m *merging) conflicting(want ...string) *merge.Plan {
	m.t.Helper()
	if m.lines == nil {
		m.prepare()
	}
	plan, err := m.plan(nil)
	if err != nil {
		m.t.Fatal(err)
	}
	if diff := cmp.Diff(want, conflicts(plan)); diff != "" {
		m.t.Errorf("conflicts (-want +got):\n%s", diff)
	}
	return plan
}
