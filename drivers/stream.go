package drivers

import (
	"context"
	"encoding/json"
	"io"
)

// Stream is a source that is dumped as parts out of one consistent view.
type Stream interface {
	Source

	// Freeze opens a consistent view of everything the node dumps. It returns [ErrNotFound] where the source does not
	// exist, [ErrAccess] where it may not be read. The view outlives ctx; the caller ends it with [View.End].
	Freeze(ctx context.Context) (View, error)

	// CheckTarget tells whether a restore with these rules may write here, and changes nothing. contents are the parts
	// that the dump holds. Errors: [ErrNotEmpty], [ErrAccess]. It may be called at any time, also after an interrupted
	// restore of the same contents, which it must accept.
	CheckTarget(ctx context.Context, target Target, contents []Part) error

	// Prepare makes the target ready for Load. It is called once a run at a time, again after a crash: idempotent.
	Prepare(ctx context.Context, target Target, contents []Part) error

	// Load loads one part from r exactly once: if an earlier attempt of the same run already did, it does nothing and
	// returns nil, whether or not r was read. If r returns an error, or ctx ends, nothing of the part may be visible in
	// the target. Parts may be loaded concurrently, by several processes. The caller sees to it that no Read of r outlasts ctx.
	Load(ctx context.Context, target Target, attempt Attempt, part Part, r io.Reader) error

	// Finish does what comes after the last part and removes what the restore left beside the data. Idempotent.
	Finish(ctx context.Context, target Target, contents []Part) error
}

// Punctual is a stream that can get ready for its view beforehand, so that those of several sources are opened side by side in
// a moment, however long each had to wait.
type Punctual interface {
	Stream

	// GetReady does what may take long before a view is opened: it connects, and waits for locks. Its errors are those of
	// Freeze. The caller ends what it returns.
	GetReady(ctx context.Context) (Ready, error)
}

// Ready is a view that is about to be opened. Its methods are called one after another.
type Ready interface {
	// Take takes the moment that the view shows, at once. It is called once.
	Take(ctx context.Context) error

	// View opens the view of that moment, after Take. [ErrViewLost] tells that the moment is of no use, and another may be.
	View(ctx context.Context) (View, error)

	// End gives up. After View, which ended the preparations, it does nothing.
	End(ctx context.Context)
}

// Joiner is a stream whose views can be joined by other processes, on any host that reaches the source.
type Joiner interface {
	Stream

	// Join opens another view of the moment that a ticket of [Shared] stands for. It lasts as long as the first, or longer.
	// It returns [ErrViewLost] where that moment can no longer be seen. The caller ends the view.
	Join(ctx context.Context, ticket json.RawMessage) (View, error)
}

// Shared is a view that others can join.
type Shared interface {
	View

	// Ticket describes the view for [Joiner]'s Join: a few hundred bytes of JSON without secrets.
	Ticket() json.RawMessage
}

// Splitter is a writer that can store what it was given as several objects. A driver asserts it in Dump, where a part may
// turn out to be larger than is good for one object.
type Splitter interface {
	io.Writer

	// Split ends an object, which holds what was written since the last call, and counts as a part of its own, whose name
	// is the part's with a slash and a number: Load gets it by itself, with the part's Ref. What is written next begins another. The driver calls it between two rows, with
	// the counts of what the object holds, at the same places at every call of Dump; the counts that Dump returns are
	// those of the last object.
	Split(counts Counts) error
}

// Bundler is a stream target that loads some parts better together than one by one.
type Bundler interface {
	Stream

	// Bundle groups parts, by their places in the list: each list that it returns is for one task, in the order in which it loads
	// them. Every part is in one list. So many tasks are taken to load side by side. It is a pure function: of two attempts, on
	// hosts that differ, both must come to the same lists.
	Bundle(parts []Part, sideBySide int) [][]int

	// LoadBundle is Load for several parts: each exactly once, in this call or an earlier one. open gives a part's content, which is
	// closed before the next is opened. Where an error keeps the whole from being loaded, nothing of it may be visible.
	LoadBundle(ctx context.Context, target Target, attempt Attempt, parts []Part, open func(Part) (io.ReadCloser, error)) error
}

// Prover is a stream target that can be compared with what was dumped.
type Prover interface {
	Stream

	// Prove reads what the target holds and compares it with the contents' Rows and Digest. It changes nothing. Both sides
	// count in the database's own text form.
	Prove(ctx context.Context, target Target, contents []Part) (Proof, error)
}

// Proof is what a comparison of a target with a dump found.
type Proof struct {
	Tables int   `json:"tables"` // that were compared
	Rows   int64 `json:"rows"`   // that the dump holds in them
	// Differences name what differs: "public.orders: 12 rows, the dump has 13". At most 100.
	Differences []string `json:"differences,omitempty"`
}

// Dropper is a stream target that can be removed as a whole, for places that were made to try something.
type Dropper interface {
	Stream

	// Drop removes the place and all that it holds. An absent one is no error. name is that of the place, which
	// begins with [ScratchPrefix]; a source that stands for any other place refuses.
	Drop(ctx context.Context, name string) error
}

// ScratchPrefix begins the names of places that are made for a trial.
const ScratchPrefix = "salvor_drill_"

// View is a consistent view of a stream source. Its methods are safe for concurrent use, except End.
type View interface {
	// Facts describes the view, as JSON to be kept in the dump's manifest: versions, positions, clocks. No secrets.
	Facts() json.RawMessage

	// Parts calls yield for every part of the view, in any order, and stops at its first error. The set of parts is the
	// same at every call.
	Parts(ctx context.Context, yield func(Part) error) error

	// Dump writes one part, byte for byte the same at every call in one view. An error of w is returned as it is.
	// If the view is gone it returns [ErrViewLost].
	Dump(ctx context.Context, part Part, w io.Writer) (Counts, error)

	// Alive returns [ErrViewLost] once the view is known to be gone. It is called every few seconds and must be cheap.
	// What Dump has told to be an [ErrFailed] need not be told again.
	Alive(ctx context.Context) error

	// End closes the view. A nil result proves that the view lasted until now: everything that was dumped out of it is
	// one moment's state. A second call returns nil.
	End(ctx context.Context) error
}

// Part is one stream of a dump. Drivers make it and get it back, in another process or years later.
type Part struct {
	// Name is unique in its node: "database", "public.orders/3". Any text without NUL; at most 512 bytes. A selection that
	// names it takes what is below it too, up to a slash; no part's name is another's followed by a slash and a number.
	Name string `json:"name"`
	// Ext is what a person needs to read the stored part without Salvor, as a file's ending: "sqlite", "copy", "sql".
	Ext string `json:"ext"`
	// Size is the expected size in bytes, as a weight; it need not be exact.
	Size int64 `json:"size,omitempty"`
	// Ref is the driver's own description of the part (a table's name and range): what Dump and Load need.
	Ref json.RawMessage `json:"ref,omitempty"`
	// Base marks what the rest leans on, such as a schema: it is never loaded by Load but read by Prepare and Finish through
	// [Target].Open, and it is part of every selection. It is dumped before the parts that are not: what is wrong with it is
	// to be known early.
	Base bool `json:"base,omitempty"`
	// Digested tells that Dump counts a digest of the part's rows, which stands for its content: who stores the part need not
	// hash the content as well.
	Digested bool `json:"digested,omitempty"`
	// SHA256 is the hash of the part's bytes, in hexadecimal; Rows and Digest are what Dump counted. A restore knows them from
	// the dump; a view leaves them empty.
	SHA256 string `json:"-"`
	Rows   int64  `json:"-"`
	Digest string `json:"-"`
}

// Counts is what a driver counted while it wrote a part.
type Counts struct {
	// Rows is the number of rows; 0 where the part has no rows.
	Rows int64 `json:"rows,omitempty"`
	// Digest is an order-independent digest of the rows; "" where there is none.
	Digest string `json:"digest,omitempty"`
}
