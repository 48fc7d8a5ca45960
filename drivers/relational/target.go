package relational

import (
	"context"
	"errors"
	"fmt"

	"salvor/drivers"
)

// Target is a source that captured rows can be merged into. Sources of the SQL drivers implement it beside [Source].
type Target interface {
	Source

	// Abilities tells what a merge may rely on here. It changes nothing.
	Abilities(ctx context.Context) (Abilities, error)

	// Merge takes the database for a merge, or joins the merge that has it. One merge has a database at a time: another one is
	// refused with [ErrInUse]. What a merge that died has staged is removed where nothing of it was applied.
	// The merger outlives ctx; the caller closes it.
	Merge(ctx context.Context, spec MergeSpec) (Merger, error)
}

// Abilities are what a target can do for a merge.
type Abilities struct {
	// AnyOrder tells that rows of one transaction can be written in any order, as no reference is checked before its end.
	AnyOrder bool `json:"any_order,omitempty"`
	// Silent tells that triggers do not fire at what a merge writes, but for those named in Firing.
	Silent bool `json:"silent,omitempty"`
	// Firing are triggers that fire all the same, as table and name.
	Firing []string `json:"firing,omitempty"`
}

// MergeSpec says whose merge it is.
type MergeSpec struct {
	// ID is the merge's, of letters, digits and dashes. Plan is the hash of its plan: a merge goes on with the plan that it began
	// with, and is refused with [ErrTargetMoved] by another one.
	ID, Plan string
	// Join tells that another process has taken the database for this merge, and holds it.
	Join bool
	// Triggers allows to write where triggers fire.
	Triggers bool
	// Undo tells that rows become what they were: whatever they referred to then is not asked.
	Undo bool
}

// ErrInUse tells that another merge has the database. It is returned by Merge, and a retry does not help while that one lives.
var ErrInUse = fmt.Errorf("another merge has the database: %w", drivers.ErrFailed)

// ErrTargetMoved tells that a row is not what the plan was made for. A new plan helps.
var ErrTargetMoved = fmt.Errorf("the target is not what the plan was made for: %w", drivers.ErrFailed)

// ErrOrphans tells that rows would refer to nothing. Nothing was written.
var ErrOrphans = fmt.Errorf("rows would refer to rows that are not there: %w", drivers.ErrFailed)

// IsRefused tells whether an error is of rows that the database does not take.
func IsRefused(err error) bool {
	var r *RefusedError
	return errors.As(err, &r)
}

// Merger writes the batches of a merge into a database. All its methods can be repeated; Stage is safe for concurrent use, the
// others are used by one goroutine. Every process of a merge has one of its own.
type Merger interface {
	// Stage keeps a batch's changes in or beside the target, where nothing but Apply sees them. changes calls yield for each, in
	// their order, and returns its error; it may be called again. A batch that is staged again replaces itself.
	Stage(ctx context.Context, b *Batch, changes Changes) error

	// Try writes batches that are staged, in their order, and takes all back again: it returns the changes that the database
	// refuses, at most [RefusalMost], and nothing else of the target has changed.
	Try(ctx context.Context, batches []*Batch) ([]Refusal, error)

	// Apply writes batches in one transaction, with a note that the unit is done; where it is noted, nothing is written. Before a
	// batch is written its rows must be what the plan found, else the error is [ErrTargetMoved]; before the end of the
	// transaction no row that was written, and none that referred to one, may refer to nothing, else it is [ErrOrphans]. A change that
	// the database does not take is a [RefusedError].
	Apply(ctx context.Context, unit int, batches []*Batch) error

	// Applied lists the units that are noted as done, in their order.
	Applied(ctx context.Context) ([]int, error)

	// Orphans counts the rows of a table that refer to nothing by an edge of plain columns.
	Orphans(ctx context.Context, table *Table, e *Edge) (int64, error)

	// SetSequences sets counters, outside of any transaction.
	SetSequences(ctx context.Context, list []SequenceState) error

	// Discard removes what the merge has in and beside the target: what was staged, and the notes. It ends the merge.
	Discard(ctx context.Context) error

	// Close lets go of the database. What is staged and noted stays.
	Close(ctx context.Context) error
}

// Changes yields the changes of a batch.
type Changes func(yield func(*Change) error) error

// RefusalMost is how many refused changes are told.
const RefusalMost = 200

// ChangeKind is what is done to a row.
type ChangeKind string

// The kinds of changes.
const (
	ChangeInsert ChangeKind = "insert"
	ChangeUpdate ChangeKind = "update"
	ChangeDelete ChangeKind = "delete"
)

// Batch is changes of one kind to rows of one table, all to the same columns.
type Batch struct {
	// Number tells it from others of the merge, and is its place in the order of writing, from 0 on. Unit is what is written in
	// one transaction with it: batches of a unit have adjacent numbers.
	Number int        `json:"number"`
	Unit   int        `json:"unit"`
	Table  Name       `json:"table"`
	Kind   ChangeKind `json:"kind"`
	// Columns are those that are written; all that the row had for a row that is deleted.
	Columns []string `json:"columns"`
	// Key are the columns that tell the rows apart; none in a table without a key, where rows are told apart by all Columns.
	Key  []string `json:"key,omitempty"`
	Rows int      `json:"rows"`
	// Interim tells that a later batch writes the same cells again, Returns that an earlier one has. Later are columns of which alone
	// that is so: of a row that is new they are written again, of one that is deleted they have been.
	Interim bool     `json:"interim,omitempty"`
	Returns bool     `json:"returns,omitempty"`
	Later   []string `json:"later,omitempty"`
}

// Change is what becomes of one row. Both lists are by the table's columns; only those that matter are filled in.
type Change struct {
	// New are the values of the batch's columns; nil for a row that is deleted.
	New []Value
	// Old are those that the row must have, of the batch's key and columns; nil for one that is inserted.
	Old []Value
}

// SequenceState is what a counter is set to: one of the model's, by its name or by the column that it numbers.
type SequenceState struct {
	Sequence
	// Exact sets it to that, whatever it is; otherwise it goes forward only, and behind every key of its columns.
	Exact bool `json:"exact,omitempty"`
}

// RefusalCode says why a change is refused.
type RefusalCode string

// The reasons of refusals.
const (
	RefusedUnique RefusalCode = "unique" // another row has the value
	RefusedCheck  RefusalCode = "check"  // a condition of the table, or the form of the value
	RefusedParent RefusalCode = "parent" // it refers to nothing
)

// Refusal is a change that the database does not take.
type Refusal struct {
	Batch int // the number
	Row   int // the change's place in the batch, from 0 on
	Code  RefusalCode
	// Message is the database's.
	Message string
}

// RefusedError is the error of a change that the database does not take.
type RefusedError struct {
	Table Name
	Refusal
	Err error
}

// Error names the table.
func (r *RefusedError) Error() string { return fmt.Sprintf("write table %s: %v", r.Table, r.Err) }

// Unwrap returns the database's error.
func (r *RefusedError) Unwrap() error { return r.Err }
