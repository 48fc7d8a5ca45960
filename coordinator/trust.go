package coordinator

import (
	"errors"
	"fmt"
	"maps"

	"salvor/tasks"
)

// ErrUntrusted tells that a restore would run a program that nothing but the archive names.
var ErrUntrusted = errors.New("a program that only the archive names is not run")

// Trusted returns a copy of a set that was read from an archive, for a restore. Of the nodes whose drivers run programs
// (see [tasks.Driver]) it keeps neither source nor options nor host: who can write to an archive could choose what a restore
// runs, and as whom. They are those of the node of the same path and driver in config, the set that the user has now, or
// none. config may be nil.
func Trusted(stored, config *tasks.Node, drivers []tasks.Driver) tasks.Node {
	executes := make(map[string]bool)
	for _, d := range drivers {
		executes[d.Name] = d.Executes
	}
	mine := make(map[string]*tasks.Node)
	if config != nil {
		maps.Insert(mine, config.Walk())
	}
	root := stored.Clone()
	for path, n := range root.Walk() {
		if !executes[n.Driver] {
			continue
		}
		known := tasks.Node{}
		if own, ok := mine[path]; ok && own.Driver == n.Driver {
			known = own.Clone()
		}
		n.Source, n.Options, n.Host, n.Literal = known.Source, known.Options, known.Host, known.Literal
	}
	return root
}

// Unnamed reports whether a node names no place: nothing is known of it but from an archive.
func Unnamed(n *tasks.Node) bool { return n.Source == "" && len(n.Options) == 0 }

// untrustedSource is the error for a node of a dump that is resumed, of which nothing but the archive says what to run.
func untrustedSource(path string) error {
	return &resumeError{
		fmt.Errorf("dump node %s: %w", path, ErrUntrusted), "give the set that has the node with --config, or dump anew",
	}
}

// untrusted is the error for a node of which nothing but the archive says what to run.
func untrusted(path string) error {
	return &untrustedError{fmt.Errorf("restore node %s: %w", path, ErrUntrusted), path}
}

type untrustedError struct {
	error
	path string
}

func (e *untrustedError) Unwrap() error { return e.error }

// Hint returns what the user can do.
func (e *untrustedError) Hint() string {
	return fmt.Sprintf("name it with --into %s=command:PROGRAM ARG…, or give the set that has the node with --config", e.path)
}
