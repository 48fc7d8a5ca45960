package review

import (
	"maps"
	"slices"
)

// Code names a kind of conflict between a captured row and the database that it is merged into. Codes never change.
type Code string

// The conflicts.
const (
	NoopEqual         Code = "noop_equal"          // the target has the row as it was captured
	PKDiff            Code = "pk_diff"             // another row has the key of a new one
	BothChanged       Code = "both_changed"        // a cell was changed here and there, to different values
	DisjointChanged   Code = "disjoint_changed"    // other columns of the row were changed in the target
	RowMissing        Code = "row_missing"         // the target lacks a row that was modified
	UniqueOtherPK     Code = "unique_other_pk"     // a row of another key has a unique value
	UniqueMulti       Code = "unique_multi"        // several rows of the target have unique values of one captured row
	UniqueCycle       Code = "unique_cycle"        // unique values that go around among captured rows
	FKMissing         Code = "fk_missing"          // it refers to a row that is neither captured nor in the target
	FKParentSkipped   Code = "fk_parent_skipped"   // it refers to a captured row that is left out
	Check             Code = "check"               // the target's constraints do not take the row
	DeleteChanged     Code = "delete_changed"      // a row that was deleted was changed in the target
	DeleteHasChildren Code = "delete_has_children" // rows of the target hang on one that was deleted
	SchemaMissingCol  Code = "schema_missing_col"  // the target lacks a column
	SchemaExtraCol    Code = "schema_extra_col"    // the target has a column more, which takes no default
	TargetMoved       Code = "target_moved"        // the row is not what it was when the plan was made
)

// Policy is what becomes of a conflict.
type Policy string

// The policies.
const (
	PolicySkip         Policy = "skip"          // the captured row is left out, and what hangs on it
	PolicyOverwrite    Policy = "overwrite"     // the changed columns are written all the same
	PolicyRemap        Policy = "remap"         // the row gets a new key, and whatever refers to it
	PolicyUnify        Policy = "unify"         // the row is the target's row of the same unique values
	PolicyMergeColumns Policy = "merge_columns" // both changes are kept, each in its columns
	PolicyNullFK       Policy = "null_fk"       // the reference is set to NULL
	PolicyFail         Policy = "fail"          // nothing is merged
)

// table says what can become of each conflict, the default first.
func table() map[Code][]Policy {
	return map[Code][]Policy{
		NoopEqual:         {PolicySkip, PolicyFail},
		PKDiff:            {PolicyFail, PolicySkip, PolicyOverwrite, PolicyRemap, PolicyUnify},
		BothChanged:       {PolicyFail, PolicySkip, PolicyOverwrite},
		DisjointChanged:   {PolicyMergeColumns, PolicySkip, PolicyOverwrite, PolicyFail},
		RowMissing:        {PolicyFail, PolicySkip, PolicyOverwrite},
		UniqueOtherPK:     {PolicyFail, PolicySkip, PolicyOverwrite, PolicyRemap, PolicyUnify},
		UniqueMulti:       {PolicyFail, PolicySkip},
		UniqueCycle:       {PolicyFail, PolicySkip},
		FKMissing:         {PolicyFail, PolicySkip, PolicyNullFK},
		FKParentSkipped:   {PolicyFail, PolicySkip, PolicyNullFK},
		Check:             {PolicyFail, PolicySkip},
		DeleteChanged:     {PolicyFail, PolicySkip, PolicyOverwrite},
		DeleteHasChildren: {PolicyFail, PolicySkip, PolicyNullFK},
		SchemaMissingCol:  {PolicyFail, PolicySkip},
		SchemaExtraCol:    {PolicyFail, PolicySkip},
		TargetMoved:       {PolicyFail, PolicySkip},
	}
}

// Codes are all conflicts, sorted.
func Codes() []Code { return slices.Sorted(maps.Keys(table())) }

// Policies are what can become of a conflict, the default first; none for one that is not known.
func (c Code) Policies() []Policy { return table()[c] }

// Default is what becomes of a conflict about which nothing is said: what is equal is skipped, changes of different columns are
// merged, and all else fails.
func (c Code) Default() Policy {
	if list := table()[c]; len(list) > 0 {
		return list[0]
	}
	return PolicyFail
}

// policies are all that there are.
func policies() []Policy {
	return []Policy{PolicySkip, PolicyOverwrite, PolicyRemap, PolicyUnify, PolicyMergeColumns, PolicyNullFK, PolicyFail}
}
