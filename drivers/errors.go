package drivers

import "errors"

// Errors that drivers return, wrapped with what they know. The layers above choose exit codes and retries by them; an
// error that is none of these is taken for a passing one and retried a few times.
var (
	// ErrNotFound: the source, or an entry, does not exist. Not retried.
	ErrNotFound = errors.New("does not exist")
	// ErrAccess: the credentials or permissions do not suffice. Not retried.
	ErrAccess = errors.New("access denied")
	// ErrNotEmpty: the target holds something else already and the rules do not allow to replace it. Not retried.
	ErrNotEmpty = errors.New("target is not empty")
	// ErrUnsafePath: an entry's path would leave the target's root, or runs through something that is not a directory of
	// its own. Not retried.
	ErrUnsafePath = errors.New("path leaves the target")
	// ErrInvalid: the source's text, an option or an argument makes no sense. Not retried.
	ErrInvalid = errors.New("not valid")
	// ErrCorrupt: what was read is not what it claims to be (a database that fails its integrity check). Not retried.
	ErrCorrupt = errors.New("corrupt")
	// ErrNoSpace: the disk is full or a quota is used up. Not retried.
	ErrNoSpace = errors.New("no space left")
	// ErrFailed: what does the work for the driver (a program that the set names) has failed by its own account. Not
	// retried, also where the view is lost with it: whether it may run again is the user's to say.
	ErrFailed = errors.New("failed")
	// ErrChanged: an entry changed while it was read. Read it again.
	ErrChanged = errors.New("changed while it was read")
	// ErrViewLost: the consistent view is gone. A new one is needed; what was read from this one is void.
	ErrViewLost = errors.New("view lost")
)

// WithHint returns err with a hint for the user: what to do, in one line. Layers above find it with errors.As and
// interface{ Hint() string }.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, hint}
}

type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// Hint returns what the user can do.
func (h *hinted) Hint() string { return h.hint }
