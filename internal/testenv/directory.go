//go:build unix

package testenv

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// serverDirs is what the names of servers' directories begin with.
const serverDirs = "salvor-server-"

// directory is a server's directory, locked for as long as this process lives.
type directory struct {
	path string
	lock *os.File
}

// makeDir makes a directory for a server of the user. A test's own directory will not do: it lies below one that only its
// owner may enter, and the path of a socket has at most 107 bytes.
//
// What a process left that was killed is removed by the next one that makes a directory: the lock of the dead is free.
func makeDir(u *user) (*directory, error) {
	left, err := filepath.Glob(filepath.Join("/tmp", serverDirs+"*"))
	if err != nil {
		return nil, err
	}
	for _, path := range left {
		if d := lockDir(path); d != nil {
			d.remove()
		}
	}
	for {
		path, err := os.MkdirTemp("/tmp", serverDirs)
		if err != nil {
			return nil, err
		}
		if d := lockDir(path); d != nil { // else another process just took it for one that was left
			return d, u.own(path)
		}
	}
}

// lockDir returns the directory if nobody else has it.
func lockDir(path string) *directory {
	lock, err := os.Open(path)
	if err != nil {
		return nil
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
		mine, err := lock.Stat()
		there, statErr := os.Stat(path)
		if errors.Join(err, statErr) == nil && os.SameFile(mine, there) {
			return &directory{path, lock}
		}
	}
	_ = lock.Close()
	return nil
}

// remove removes the directory. What a server that is about to end still writes is left to the next process.
func (d *directory) remove() {
	_ = os.RemoveAll(d.path)
	_ = d.lock.Close()
}
