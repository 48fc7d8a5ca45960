package archive

import (
	"errors"
	"fmt"
)

// Errors of this package, wrapped with what they are about. An error that is none of these (and not the context's) is one
// of the storage, and may pass: try again.
var (
	// ErrNotFound: the place that should hold the archive does not exist. From Open and, for buckets, Create. Not retried.
	ErrNotFound = errors.New("archive does not exist")
	// ErrNotArchive: the place exists and holds no archive. From Open. Not retried.
	ErrNotArchive = errors.New("not an archive")
	// ErrForeign: the place holds other things, so no archive is made there. From Create. Not retried.
	ErrForeign = errors.New("the place holds other things than an archive")
	// ErrNewerFormat: the archive, or a document in it, has a format above this program's. Not retried.
	ErrNewerFormat = errors.New("written by a newer version of the program")
	// ErrAccess: permissions or credentials do not suffice. From anything. Not retried.
	ErrAccess = errors.New("access denied")
	// ErrNoSpace: the disk is full or a quota is used up. From anything that writes. Not retried.
	ErrNoSpace = errors.New("no space left")
	// ErrExists: a create-only object is there already, with other content. Not retried.
	ErrExists = errors.New("exists already with other content")
	// ErrCorrupt: something that is stored is missing, damaged, or not what it claims to be. Not retried.
	ErrCorrupt = errors.New("corrupt")
	// ErrNoDump: no committed dump has that name. From Resolve and Manifest. Not retried.
	ErrNoDump = errors.New("no such dump")
	// ErrNoCapture: no committed capture has that name. From ResolveCapture and Capture. Not retried.
	ErrNoCapture = errors.New("no such capture")
	// ErrNoRun: no run has that name. From Run. Not retried.
	ErrNoRun = errors.New("no such run")
	// ErrAmbiguous: several dumps (or sets, or runs) fit the name; the error lists them. Not retried.
	ErrAmbiguous = errors.New("ambiguous")
	// ErrInvalid: an argument makes no sense: a name, a location, entries that are out of order. A mistake of the caller
	// or the user; not retried.
	ErrInvalid = errors.New("not valid")
)

// errMissing is what a store returns for a key that is not there. What that means depends on who asked.
var errMissing = errors.New("object is missing")

// hinted is an error with a hint for the user, found with errors.As and interface{ Hint() string }.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// Hint returns what the user can do.
func (h *hinted) Hint() string { return h.hint }

func withHint(err error, hint string) error { return &hinted{err, hint} }

func corrupt(key, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrCorrupt, key, fmt.Sprintf(format, args...))
}

// needed turns the absence of an object that something committed names into corruption.
func needed(key string, err error) error {
	if errors.Is(err, errMissing) {
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, key, errMissing)
	}
	return err
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
