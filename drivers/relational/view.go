package relational

import (
	"context"
	"encoding/json"
	"time"

	"salvor/drivers"
)

// Source is a database that can be read by rows. Sources of the SQL drivers implement it beside [drivers.Stream].
type Source interface {
	drivers.Source

	// Observe opens a consistent view of the database: all that is read out of it is one moment's state, whoever writes meanwhile.
	// It changes nothing. Errors: [drivers.ErrNotFound], [drivers.ErrAccess]. The view outlives ctx; the caller ends it.
	Observe(ctx context.Context) (View, error)
}

// View is one moment of a database. Its methods are safe for concurrent use, except End; but where a database has one session
// for a view, rows wait for other rows to be closed: nobody opens [Rows] while having others of the same view open.
type View interface {
	// Moment is the database's own time directly before the view was opened.
	Moment() time.Time

	// Model describes the tables as the view sees them. A table whose rows the role may not see, or not all of (row security), is
	// [drivers.ErrAccess]: what is not seen would be taken for deleted. The model is the same at every call and not to be changed.
	Model(ctx context.Context) (*Model, error)

	// Scan reads the rows of a table. The caller closes the rows. Where the view is gone, it or they return [drivers.ErrViewLost].
	Scan(ctx context.Context, scan Scan) (Rows, error)

	// Lookup reads the rows of a table that have one of several lists of values. The caller closes the rows.
	Lookup(ctx context.Context, lookup Lookup) (Rows, error)

	// End closes the view. A nil result proves that it lasted until now. A second call returns nil.
	End(ctx context.Context) error
}

// Weigher is a [View] of a database whose keys only the database itself can tell apart, by its collations.
type Weigher interface {
	// Weigh returns for each list of values of columns the bytes that Row.Key has for a row that holds them, with a key of those
	// columns.
	Weigh(ctx context.Context, t *Table, key *Key, values [][]Value) ([][]byte, error)
}

// Scan says which rows of a table are read.
type Scan struct {
	// Table is one of the view's own model.
	Table *Table
	// Key is one of the table's, by which the rows are sorted and which fills in Row.Key; nil takes them in any order.
	Key *Key
	// Marks are asked of each row.
	Marks []Mark
	// Marked leaves out the rows for which every mark is No.
	Marked bool
}

// Mark asks whether a time of a row is a moment or later.
type Mark struct {
	// Column is one with a [Clock].
	Column string
	// Since is the moment. It is compared with a precision of microseconds, or of the column where that is coarser: a column of
	// days has the whole day of the moment.
	Since time.Time
	// Zone is what times without a zone are in; nil means UTC. An hour that a clock showed twice counts as the later one: it is
	// better to have a row too many.
	Zone *time.Location
}

// Answer is what a row says to a [Mark].
type Answer byte

// The answers.
const (
	No      Answer = iota
	Yes            // it is the moment or later
	Unknown        // it is NULL, or nothing that can be told to be a time
)

// Lookup says which rows of a table are wanted by their values.
type Lookup struct {
	Table *Table
	// Key fills in Row.Key; it may be nil.
	Key *Key
	// Columns are compared with each of Values, by the equality of the database and by the columns' own collations. NULL is equal to
	// nothing. There are at most [LookupMost] lists, in a form that the columns take.
	Columns []string
	Values  [][]Value
}

// LookupMost is how many lists of values a lookup has at most.
const LookupMost = 200

// Rows are read one after the other, by one goroutine.
type Rows interface {
	// Next returns the next row, which is good until the next call, or io.EOF.
	Next() (*Row, error)
	// Close ends reading, wherever it is. It is idempotent. Its error is that of an end that the rows could not be told from.
	Close() error
}

// Row is a row of a table.
type Row struct {
	// Values are those of the table's columns, in their order.
	Values []Value
	// Key is the row's key as bytes that sort as the key does; nil where none was asked for.
	Key []byte
	// Answers are those to the scan's marks, in their order.
	Answers []Answer
	// Asked is the place of the lookup's list that the row has. A row that has several comes several times.
	Asked int
}

// Joiner is a source whose views other processes can read from, on any host that reaches it.
type Joiner interface {
	Source

	// JoinView opens another view of the moment that a ticket of [Shared] stands for. It returns [drivers.ErrViewLost] where that moment can
	// no longer be seen. The caller ends the view; that the moment lasted is for the first view's End to say.
	JoinView(ctx context.Context, ticket json.RawMessage) (View, error)
}

// Shared is a view that others can join.
type Shared interface {
	View

	// Ticket describes the view for [Joiner]'s JoinView: a few hundred bytes of JSON without secrets.
	Ticket() json.RawMessage
}
