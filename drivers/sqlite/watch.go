package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"salvor/drivers"
)

// watch tells whether what keeps a view's pages from changing is still there. The zero value watches nothing.
//
// A POSIX lock belongs to the process: when any other part of it (a driver that reads the directory in which the
// database lies) closes the same file, the locks of SQLite are gone, and SQLite does not notice. See
// https://www.sqlite.org/howtocorrupt.html, section 2.2. What such a view read may be a mixture, so it must end as lost.
type watch struct {
	locks []lock    // must all be held
	still stillness // must not change
}

// lock is a byte of a file that this process must hold locked.
type lock struct {
	inode uint64
	at    int64
}

func (w watch) check(path string) error {
	if err := w.still.check(path); err != nil {
		return err
	}
	if len(w.locks) == 0 {
		return nil
	}
	// The list is read in pieces: while other locks come and go, one that is held may be passed over. A lock that is gone is
	// gone at every look.
	for look := 1; ; look++ {
		err := w.look(path)
		if err == nil || look == looks {
			return err
		}
	}
}

// looks is how often a lock is missed before it is taken for lost: where many processes lock files, five looks in a row have missed one.
const looks = 25

func (w watch) look(path string) error {
	held, err := heldLocks()
	if err != nil {
		// It could be read when the view was opened. Nothing is known now, so nothing is proved.
		return fmt.Errorf("look at the locks on %s: %w: %w", path, drivers.ErrViewLost, err)
	}
	for _, l := range w.locks {
		if !held.covers(l) {
			return drivers.WithHint(
				fmt.Errorf("the lock on %s was lost because this process closed the file elsewhere: %w", path, drivers.ErrViewLost),
				"do not back up the directory of a database at the same time as the database: order them, or exclude its files")
		}
	}
	return nil
}

// stillness is the state of a database that is read without locks.
type stillness struct {
	size  int64
	mtime time.Time
	file  fs.FileInfo
}

func observe(path string) (stillness, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stillness{}, err
	}
	return stillness{size: info.Size(), mtime: info.ModTime(), file: info}, nil
}

func (s stillness) check(path string) error {
	if s.file == nil {
		return nil
	}
	now, err := observe(path)
	switch {
	case err != nil:
		return fmt.Errorf("look at %s: %w: %w", path, drivers.ErrViewLost, err)
	case now.size != s.size, !now.mtime.Equal(s.mtime), !os.SameFile(now.file, s.file), !quiescent(path):
		return fmt.Errorf("%s, which could not be locked, is being written: %w", path, drivers.ErrViewLost)
	}
	return nil
}

// quiescent tells that nothing beside the file belongs to the database, so that nobody has it open for writing.
func quiescent(path string) bool {
	for _, suffix := range sidecars() {
		info, err := os.Stat(path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || info.Size() > 0 {
			return false
		}
	}
	return true
}

// sidecars are the suffixes of the files that belong to a database beside its main file.
func sidecars() []string { return []string{"-wal", "-shm", "-journal"} }
