package filesystem

import (
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Every process that restores holds a shared lock on one byte of the root directory, at an offset that its run's id
// decides. So the processes of one run do not disturb each other, and a lock on any other byte is another run's. Locks of
// open file descriptions end with the process, leave nothing in the directory, and are held per handle: two restores
// in one process see each other. Where the file system has no locks (some network file systems), nothing is noticed.
//
// See "Open file description locks" in fcntl(2). A shared lock needs a handle that is open for reading only, which is all
// that a directory allows; asking what would be in the way of an exclusive one needs nothing.

// lockRun takes the lock of a run on an open directory.
func lockRun(fd int, run string) error {
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: runByte(run), Len: 1}
	return retry(func() error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock) })
}

// unlockRun gives the lock of a run back.
func unlockRun(fd int, run string) {
	lock := unix.Flock_t{Type: unix.F_UNLCK, Start: runByte(run), Len: 1}
	_ = retry(func() error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock) }) // closing does it, too
}

// holders tells whether others hold locks of another run, and of the same run. known is false where that cannot be told.
func holders(fd int, run string) (other, same, known bool) {
	ours := runByte(run)
	held := func(start, length int64) bool {
		lock := unix.Flock_t{Type: unix.F_WRLCK, Start: start, Len: length}
		if retry(func() error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lock) }) != nil {
			known = false
			return false
		}
		return lock.Type != unix.F_UNLCK
	}
	known = true
	other = held(0, ours) || held(ours+1, 0)
	same = held(ours, 1)
	return other, same, known
}

// runByte returns a run's offset: 1 to 2^62.
func runByte(run string) int64 {
	sum := sha256.Sum256([]byte(run))
	return int64(binary.BigEndian.Uint64(sum[:])>>2) | 1
}
