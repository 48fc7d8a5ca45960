//go:build !linux

package sqlite

import "errors"

type lockRanges struct{}

func (lockRanges) covers(lock) bool { return true }

// watchLocks watches nothing: this system does not list a process's locks.
func watchLocks(string) []lock { return nil }

func heldLocks() (lockRanges, error) { return lockRanges{}, errors.ErrUnsupported }
