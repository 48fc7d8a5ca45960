package archive

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// renameNew renames within a directory and fails with fs.ErrExist rather than replace. It returns
// errors.ErrUnsupported where the file system cannot (NFS).
func renameNew(dir *os.File, from, to string) error {
	fd := int(dir.Fd())
	err := unix.Renameat2(fd, from, fd, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return errors.ErrUnsupported
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}
