// Package drivers says what a driver is: a thing that knows one kind of source (a SQLite database, a directory) and
// nothing about where its bytes go or who asks for them.
//
// # Shapes
//
// A driver opens a [Source] from a [Spec]. A source has one of two shapes:
//
//   - [Stream]: a database. It freezes a consistent [View]; the view lists parts and writes each to an io.Writer. As a
//     target it prepares itself, loads each part exactly once, and finishes.
//   - [Tree]: a directory or a bucket. It walks a key range in order and opens an entry. As a target it puts entries,
//     removes them, and settles what can only be set at the end.
//
// Drivers are listed in package drivers/all and are held to these contracts by package drivers/drivertest.
//
// # What a driver does not know
//
// The archive, the queue, retries, the command line. It returns errors that say what class they are of (see
// [ErrNotFound] and its neighbours) and the layers above decide.
package drivers

import (
	"context"
	"encoding/json"
	"io"

	"salvor/internal/secret"
)

// Shape is how a driver's sources are dumped.
type Shape string

// The shapes.
const (
	ShapeStream Shape = "stream"
	ShapeTree   Shape = "tree"
)

// Kind is what the registry knows of a driver.
type Kind struct {
	// Name is what a set's `driver:` says: "sqlite".
	Name string
	// Scheme is what a source on the command line begins with: "sqlite", "dir". A URL scheme (postgres) is kept as part
	// of the source, others are cut off.
	Scheme string
	// Place is what follows the scheme, as help shows it; "PATH" where it is "".
	Place string
	// Shape tells which interface the opened source implements.
	Shape Shape
	// Holds tells that a dump holds a consistent view open while its parts are read.
	Holds bool
	// Local tells whether a source is on the host of the worker that opens it: a path, which only that host's workers can
	// reach and which may be relative to whoever wrote it. Nil where none is.
	Local func(source string) bool
	// Options are the names of the keys that a node of this driver may carry beside the common ones.
	Options []string
	// Resolve are those of the options in whose texts references (${NAME}, ${file:PATH}, $$ for a dollar sign) are filled
	// in by the process that opens the source. In all other options a dollar sign is a dollar sign.
	Resolve []string
	// SourceKeys are options that stand for the source: a node with one of them has no source.
	SourceKeys []string
	// PlaceKeys are options that say, with the source, where it is: what is restored elsewhere is not restored there.
	PlaceKeys []string
	// Executes tells that the source or the options name a program to run. A restore never takes either from an archive:
	// whoever can write to one could choose what is run.
	Executes bool
	// Check validates the options of a node without opening anything. It gets what the set says, as JSON, its references
	// not filled in; it names the offending key in its error and no value. Nil where there are no options.
	Check func(options json.RawMessage) error
	// Expand lists the places that a source with a certain option stands for (all databases of a server), sorted by name.
	// It returns no error and nil for a source that stands for itself. Nil where no source stands for many.
	Expand func(ctx context.Context, spec Spec) ([]Place, error)
	// Select tells what a name in a selection of parts stands for beside the parts of that name (a partitioned table for its
	// partitions), given the parts of the whole dump, and whether it is known although no part has it (a view). Nil where only parts
	// have names.
	Select func(parts []Part, name string) (also []string, known bool)
	// Scratch returns the source of a place of that name beside another one (a database on the same server), to be made,
	// used for a trial, and removed by [Dropper]. Both sources have their references filled in. Nil where there is no such.
	Scratch func(source secret.Text, name string) (secret.Text, error)
	// ScratchIn does the same for a driver whose places are files: the source of one of that name in a directory for temporary
	// files. Nil where there is no such.
	ScratchIn func(dir, name string) string
	// Open opens a source. It must not change anything there, and it must not fail because the place is absent (a
	// restore may create it): Freeze and Walk return [ErrNotFound] then. The caller closes what it returns.
	Open func(ctx context.Context, spec Spec) (Source, error)
}

// Place is one of those that a source stands for.
type Place struct {
	// Name is how the place calls itself.
	Name string
	// Options are those of the place's own node, which has the same source.
	Options json.RawMessage
}

// Spec is a node's source, as the process that opens it sees it.
type Spec struct {
	// Node is the node's path, for messages.
	Node string
	// Source is the resolved source: a path or a URL, which may hold a password.
	Source secret.Text
	// Options is the JSON object of the node's driver options; nil or empty where it has none. The references in those of
	// Kind.Resolve are filled in: they may hold secrets, so no error and no log shows their values.
	Options json.RawMessage
	// Secrets are the texts that references in Source and Options stood for. What a driver shows or stores holds none of
	// them.
	Secrets []secret.Text
	// Scratch is a directory for temporary files; "" means the system's.
	Scratch string
	// Limit is how many connections or requests the opened source may have at the same time; 0 means the driver's own number.
	// Who opens a source several times sees to it that the sum is right.
	Limit int
	// Memory is what the sources and targets of this process may take together for large buffers; nil sets no bound.
	Memory *Memory
}

// Global begins identities that mean the same on every host.
const Global = "global:"

// Source is an opened source or target: a [Stream] or a [Tree], by the shape of its [Kind].
type Source interface {
	// Identities returns texts that name the place, for telling that a restore would write onto what was dumped: two
	// sources of one host that share any text are the same place, through whatever path, link or alias each was named. A text
	// that begins with [Global] names the same place on all hosts.
	// A place that does not exist yet has the identities that it would have by name alone.
	Identities(ctx context.Context) ([]string, error)
	// Close releases what Open took. It is idempotent.
	Close() error
}

// Target says how a restore may treat what is already there. The zero value is the careful default: the place must be
// absent or empty, or hold only what is already equal.
type Target struct {
	// Run is the restore's id; leftovers that carry another run's name are not this run's.
	Run string
	// Overwrite replaces what differs and keeps what is extra.
	Overwrite bool
	// Mirror replaces what differs and removes what is extra.
	Mirror bool
	// Create allows to make a database that does not exist; Clean allows to remove all that one holds. Drivers of other
	// things than databases on servers need neither.
	Create, Clean bool
	// Only are the names that a restore is restricted to, see the parts that it is given; empty means all.
	Only []string
	// Continue goes on after what failed by itself (a statement of a schema), and tells it to Problem in Finish.
	Continue bool
	// Problem, where it is not nil, is told what could not be restored, by its name.
	Problem func(name, message string) `json:"-"`
	// Finished, where it is not nil, is called by the Finish of a driver that keeps notes in the target, when all is in place
	// and every Problem told, before the notes are removed: from then on nothing in the target says that it was this run that
	// made it. An error keeps the notes, and is returned by Finish.
	Finished func(ctx context.Context) error `json:"-"`
	// Found, where it is not nil, keeps what a restore with Clean found in its place, by a name of the driver's, and returns what the
	// run found there first: a driver removes nothing else, however late the run is resumed.
	Found func(ctx context.Context, what string) (first string, err error) `json:"-"`
	// Open opens the content of a part that the dump holds, which is never larger than its Size and ends in an error where
	// it is not what was dumped. The caller closes it. Nil where there are no parts with [Part].Base.
	Open func(ctx context.Context, part Part) (io.ReadCloser, error) `json:"-"`
}

// Replace tells whether existing things that differ may be replaced.
func (t Target) Replace() bool { return t.Overwrite || t.Mirror }

// Attempt names the work that writes: temporary files and sessions carry it, so that a later attempt can tell its own
// from another's.
type Attempt struct {
	Run   string // the run's id
	Task  string // the task's id
	Token string // random, new for every attempt; letters and digits
}
