package merge

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// Code says what stands against a line. The codes are stored and decided by: they never change.
type Code string

// The codes.
const (
	NoopEqual       Code = "noop_equal"        // the target has it already
	PKDiff          Code = "pk_diff"           // a row of the same key is there, and is another one
	BothChanged     Code = "both_changed"      // the target's row was changed in the same columns
	DisjointChanged Code = "disjoint_changed"  // and in other columns only
	RowMissing      Code = "row_missing"       // the row that was changed is not there
	UniqueOtherPK   Code = "unique_other_pk"   // a row of another key has a value that no two may have
	UniqueMulti     Code = "unique_multi"      // several rows do
	UniqueCycle     Code = "unique_cycle"      // rows exchange such values, which cannot be put aside meanwhile
	FKMissing       Code = "fk_missing"        // it refers to a row that is nowhere
	FKParentSkipped Code = "fk_parent_skipped" // it refers to a captured row that is left out
	Check           Code = "check"             // the database does not take the row
	DeleteChanged   Code = "delete_changed"    // a row that was deleted has been changed in the target
	DeleteChildren  Code = "delete_has_children"
	MissingCol      Code = "schema_missing_col" // the target has a column that needs a value, and the capture has none
	ExtraCol        Code = "schema_extra_col"   // the capture has a column that the target lacks
	TargetMoved     Code = "target_moved"
	Unbreakable     Code = "cycle_unbreakable"
)

// Policy says how a conflict is settled.
type Policy string

// The policies.
const (
	Skip         Policy = "skip"          // leave the line out, and what hangs on it
	Overwrite    Policy = "overwrite"     // write the captured values into the row that is there
	Remap        Policy = "remap"         // give the line a new key, and what refers to it
	Unify        Policy = "unify"         // take the row that is there for it
	MergeColumns Policy = "merge_columns" // write the columns that do not collide
	NullFK       Policy = "null_fk"       // let it refer to nothing
	Fail         Policy = "fail"
)

// Policies are those that can settle a conflict of a code; the first is the default.
func (c Code) Policies() []Policy {
	switch c {
	case NoopEqual:
		return []Policy{Skip}
	case PKDiff:
		return []Policy{Fail, Skip, Overwrite, Remap, Unify}
	case BothChanged:
		return []Policy{Fail, Skip, Overwrite, MergeColumns}
	case DisjointChanged:
		return []Policy{MergeColumns, Skip, Overwrite, Fail}
	case RowMissing:
		return []Policy{Fail, Skip, Overwrite}
	case UniqueOtherPK:
		return []Policy{Fail, Skip, Overwrite, Unify, MergeColumns}
	case FKMissing:
		return []Policy{Fail, Skip, NullFK, MergeColumns}
	case FKParentSkipped:
		return []Policy{Skip, NullFK, MergeColumns, Fail}
	case DeleteChanged:
		return []Policy{Fail, Skip, Overwrite}
	case UniqueMulti, UniqueCycle, Check, DeleteChildren, MissingCol, ExtraCol:
		return []Policy{Fail, Skip}
	case TargetMoved, Unbreakable:
	}
	return []Policy{Fail}
}

// Conflict is what stands against a line, and how it is settled.
type Conflict struct {
	Code  Code            `json:"code"`
	Table relational.Name `json:"table"`
	Op    relational.Op   `json:"op,omitempty"`
	// Row names the captured row by its key, Other those of the target that it collides with.
	Row   string   `json:"row,omitempty"`
	Other []string `json:"other,omitempty"`
	// PK is the captured row's key as JSON, as its line has it.
	PK []json.RawMessage `json:"pk,omitempty"`
	// Columns are those that collide, Constraint the key or the reference that they are of.
	Columns    []string `json:"columns,omitempty"`
	Constraint string   `json:"constraint,omitempty"`
	// Message is the database's, where it has one.
	Message string `json:"message,omitempty"`
	// Policy settles it.
	Policy Policy `json:"policy"`
}

// Open tells that nothing settles it.
func (c *Conflict) Open() bool { return c.Policy == Fail }

// String is the conflict as people read it.
func (c *Conflict) String() string {
	text := fmt.Sprintf("%s %s", c.Table, c.Code)
	if c.Row != "" {
		text += " " + c.Row
	}
	if len(c.Columns) > 0 {
		text += " in " + strings.Join(c.Columns, ", ")
	}
	if len(c.Other) > 0 {
		text += " against " + strings.Join(c.Other, "; ")
	}
	return text + ": " + string(c.Policy)
}

// Verdict is what somebody has said of a line.
type Verdict byte

// The verdicts.
const (
	Undecided Verdict = iota // a deleted row stays, any other line is taken
	Take
	Leave
	LeaveAll // with all captured rows that hang on it
)

// Choice is what of a line is taken.
type Choice struct {
	Verdict Verdict
	// Columns are those that are taken; nil for all.
	Columns []string
}

// Decisions are what somebody has said. They answer the same to the same question, whenever it is asked.
type Decisions interface {
	// Decide tells what of a line is taken.
	Decide(l *relational.Line) (Choice, error)
	// Policy tells how a conflict is to be settled; "" leaves it to the default of its code.
	Policy(c *Conflict) (Policy, error)
}

// Defaults decide nothing.
type Defaults struct{}

// Decide leaves every line to the default.
func (Defaults) Decide(*relational.Line) (Choice, error) { return Choice{}, nil }

// Policy leaves every conflict to the default.
func (Defaults) Policy(*Conflict) (Policy, error) { return "", nil }

// settle asks for a conflict's policy, and refuses one that cannot settle it.
func (p *planner) settle(c *Conflict, except ...Policy) error {
	policy, err := p.c.Decisions.Policy(c)
	if err != nil {
		return fmt.Errorf("decide on %s of table %s: %w", c.Code, c.Table, err)
	}
	able := slices.DeleteFunc(c.Code.Policies(), func(p Policy) bool { return slices.Contains(except, p) })
	if policy == "" {
		policy = able[0]
	}
	if !slices.Contains(able, policy) {
		names := make([]string, len(able))
		for i, a := range able {
			names[i] = string(a)
		}
		return drivers.WithHint(fmt.Errorf("table %s, row %s: the policy %q cannot settle %s here: %w", c.Table, c.Row, policy, c.Code, drivers.ErrInvalid),
			"decide by one of "+strings.Join(names, ", "))
	}
	c.Policy = policy
	return p.note(c)
}
