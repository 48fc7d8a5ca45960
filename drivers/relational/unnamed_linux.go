package relational

import (
	"os"

	"golang.org/x/sys/unix"
)

// neverNamed makes a file that never has a name, so that not even a kill in between leaves one. ok is false where the file system
// has no such: network file systems, mostly.
func neverNamed(dir string) (_ *os.File, ok bool) {
	file, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	return file, err == nil
}
