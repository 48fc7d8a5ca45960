package tasks

import (
	"encoding/json"

	"salvor/internal/secret"
)

// Order says how the children of a node follow each other.
type Order string

// The orders of children.
const (
	// OrderSequence: a child starts, and opens its view of the data, only when the child before it is done.
	OrderSequence Order = "sequence"
	// OrderParallel: all children may run at once.
	OrderParallel Order = "parallel"
)

// Restore orders of a node's children.
const (
	// RestoreReverse restores a sequence from its last child to its first: what is pointed to comes back before the rows
	// that point to it.
	RestoreReverse = "reverse"
	// RestoreSame restores in the order of the dump.
	RestoreSame = "same"
)

// FreezeTogether opens all consistent views below a node at one moment, before any data is read.
const FreezeTogether = "together"

// BackupSet is a tree of nodes with where its dumps go.
type BackupSet struct {
	// Archive is a gocloud blob URL or a directory, unresolved (it may hold ${NAME}).
	Archive string
	// Queue is the URL of the Redis that carries the tasks; "" means an embedded queue.
	Queue string
	// Set is the root node; its name is the set's name.
	Set Node
}

// Node is one node of a set: a driver with its source, or children, or both.
type Node struct {
	Name         string `json:"name"`
	Driver       string `json:"driver,omitempty"`
	Source       string `json:"source,omitempty"` // unresolved: ${NAME} and ${file:PATH} stand in it as written
	Children     []Node `json:"children,omitempty"`
	Order        Order  `json:"order,omitempty"`         // of the children; sequence where empty
	RestoreOrder string `json:"restore_order,omitempty"` // reverse where empty
	Freeze       string `json:"freeze,omitempty"`        // "" or together
	// After are full paths of nodes that must be done before this node (and all below it) starts; at restore the other
	// way round.
	After []string `json:"after,omitempty"`
	// Host binds the node to workers that were started with that host name.
	Host string `json:"host,omitempty"`
	// Limit is the greatest number of connections (or parallel readers) on the node's source; 0 means the driver's own.
	Limit int `json:"limit,omitempty"`
	// Options are the driver's own keys, a JSON object; nil where there are none.
	Options json.RawMessage `json:"options,omitempty"`

	// Literal holds a source that was written with a secret in it: Source is then RedactedSource, and this never leaves
	// the process.
	Literal secret.Text `json:"-"`
}

// RedactedSource stands in stored plans for a source that held a literal secret.
const RedactedSource = "${redacted}"

// Driver is what planning and validation need to know of a driver.
type Driver struct {
	Name    string
	Scheme  string                              // what its sources begin with on the command line
	Holds   bool                                // a dump holds a view open while parts are read
	Path    func(source string) bool            // which sources are paths, relative ones taken from the file that names them; nil for none
	Options []string                            // keys that a node may carry beside the common ones
	Check   func(options json.RawMessage) error // validates the options; may be nil
	// Resolve are the options in whose texts references are filled in, by the worker that opens the source.
	Resolve []string
	// SourceKeys are options that stand for the source.
	SourceKeys []string
	// PlaceKeys are options that say, with the source, where it is.
	PlaceKeys []string
	// Many is the option with which a node stands for many places, see [Node.Expanding]; "" for none.
	Many string
	// Executes tells that source and options name programs: neither is taken from an archive.
	Executes bool
}

// isPath tells whether a source is a path. A URL, even one of a file, is never relative to anything.
func (d Driver) isPath(source string) bool {
	return d.Path != nil && !isURL.MatchString(source) && d.Path(source)
}
