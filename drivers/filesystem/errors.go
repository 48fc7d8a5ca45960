package filesystem

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// wrap says what was done to which path, and of which class the system's error is.
func wrap(verb, path string, err error) error {
	if err == nil {
		return nil
	}
	if class := classOf(err); class != nil && !errors.Is(err, class) {
		return fmt.Errorf("%s %q: %w (%w)", verb, path, class, err)
	}
	return fmt.Errorf("%s %q: %w", verb, path, err)
}

// classOf returns the drivers' error that stands for a system error; nil where there is none.
func classOf(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return nil
	}
	switch errno {
	case unix.ENOENT:
		return drivers.ErrNotFound
	case unix.EACCES, unix.EPERM, unix.EROFS:
		return drivers.ErrAccess
	case unix.ENOSPC, unix.EDQUOT:
		return drivers.ErrNoSpace
	case unix.ENAMETOOLONG, unix.EILSEQ:
		return drivers.ErrInvalid
	default:
		return nil
	}
}

// retry repeats a system call that a signal interrupted: on network file systems that happens, and the runtime of Go sends
// itself signals all the time.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
