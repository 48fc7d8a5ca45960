package review

import (
	"slices"

	"salvor/drivers/relational"
	"salvor/drivers/relational/merge"
)

// Codes are the conflicts that can be decided on, sorted.
func Codes() []merge.Code {
	list := []merge.Code{
		merge.NoopEqual, merge.PKDiff, merge.BothChanged, merge.DisjointChanged, merge.RowMissing, merge.UniqueOtherPK, merge.UniqueMulti, merge.UniqueCycle, merge.FKMissing,
		merge.FKParentSkipped, merge.Check, merge.DeleteChanged, merge.DeleteChildren, merge.MissingCol, merge.ExtraCol,
	}
	slices.Sort(list)
	return list
}

// policies are all that there are.
func policies() []merge.Policy {
	return []merge.Policy{merge.Skip, merge.Overwrite, merge.Remap, merge.Unify, merge.MergeColumns, merge.NullFK, merge.Fail}
}

// Merging are decisions as a merge asks for them, on lines of tables' own files. The lines of groups are the reader's to leave out: Of tells
// what becomes of them.
type Merging struct {
	*Decisions

	Model *relational.Model // the capture's
}

var _ merge.Decisions = Merging{}

// Decide tells what of a line is taken.
func (m Merging) Decide(l *relational.Line) (merge.Choice, error) {
	v := m.Of(l, 0)
	switch v.Action {
	case Take:
	case Skip:
		return merge.Choice{Verdict: merge.LeaveAll}, nil
	default:
		return merge.Choice{Verdict: merge.Leave}, nil
	}
	return merge.Choice{Verdict: merge.Take, Columns: v.Columns}, nil
}

// Policy tells how a conflict is to be settled. Rules with policies are of tables and ops alone, so that what a conflict tells of its line is enough.
func (m Merging) Policy(c *merge.Conflict) (merge.Policy, error) {
	t := m.Model.Table(c.Table)
	if t == nil {
		return "", nil // of the target's alone: nobody can have decided on it
	}
	l := &relational.Line{Table: t, Op: c.Op, Data: make([]relational.Value, len(t.Columns)), Has: make([]bool, len(t.Columns))}
	if key := t.Identity(); key != nil && len(c.PK) == len(key.Columns) {
		for i, place := range t.Indexes(key.Columns) {
			v, err := relational.ParseJSON(&t.Columns[place], c.PK[i])
			if err != nil {
				return "", err
			}
			l.Data[place], l.Has[place] = v, true
		}
	}
	return m.Decisions.Policy(c.Code, l), nil
}
