package filesystem

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Directories are reached one name at a time, relative to a handle on the one above, and never through a link. os.Root
// promises the same for the root alone: it follows links that stay inside, and a link inside is enough to write into
// another entry's directory.

// openAt opens a name below the handle at. A handle is a file descriptor; who opens it closes it.
func openAt(at int, name string, flags int, mode uint32) (int, error) {
	fd := -1
	err := retry(func() (err error) {
		fd, err = unix.Openat(at, name, flags|unix.O_CLOEXEC, mode)
		return err
	})
	return fd, err
}

// openDirAt opens a directory below a handle. What is not a directory, a symbolic link to one included, gives ENOTDIR or
// ELOOP, by system. A directory that may be passed through but not listed is opened for that where the system can.
func openDirAt(at int, name string) (int, error) {
	fd, err := openAt(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.EACCES) && openPass != 0 {
		if fd, errPass := openAt(at, name, openPass|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); errPass == nil {
			return fd, nil
		}
	}
	return fd, err
}

// isNoDir tells the errors of openDirAt for a thing that is not a directory.
func isNoDir(err error) bool { return errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) }

// openParent opens the directory that holds path, below the handle root, and returns it with path's last name. It closes
// nothing of the caller's.
func openParent(root int, path string) (fd int, name string, err error) {
	if fd, err = unix.FcntlInt(uintptr(root), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return -1, "", err
	}
	for {
		first, rest, more := strings.Cut(path, "/")
		if !more {
			return fd, path, nil
		}
		next, err := openDirAt(fd, first)
		closeHandle(fd)
		if err != nil {
			return -1, "", err
		}
		fd, path = next, rest
	}
}

// openBelow opens the directory at path, below the handle root; "" is the root.
func openBelow(root int, path string) (int, error) {
	if path != "" {
		path += "/"
	}
	fd, _, err := openParent(root, path)
	return fd, err
}

// closeHandle closes a handle that nothing was written through; its error would mean nothing.
func closeHandle(fd int) { _ = unix.Close(fd) }

// statAt looks at a name without following a link.
func statAt(at int, name string, st *unix.Stat_t) error {
	return retry(func() error { return unix.Fstatat(at, name, st, unix.AT_SYMLINK_NOFOLLOW|noAutomount) })
}

// statHandle looks at what a handle is open on.
func statHandle(fd int, st *unix.Stat_t) error {
	return retry(func() error { return unix.Fstat(fd, st) })
}

// fileType returns the type bits of a mode, whose width differs by system.
func fileType(st *unix.Stat_t) uint32 { return uint32(st.Mode) & unix.S_IFMT } //nolint:unconvert // types differ by system

// permissions returns the bits that chmod sets.
func permissions(st *unix.Stat_t) uint32 { return uint32(st.Mode) & 0o7777 } //nolint:unconvert // types differ by system

// device returns the device that holds a file.
func device(st *unix.Stat_t) uint64 { return uint64(st.Dev) } //nolint:unconvert // types differ by system

// sameInode tells whether two looks saw the same file.
func sameInode(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// listBatch is how many names are read before the context is asked.
const listBatch = 4096

// listDir calls visit with the names of a directory, in the order of the disk.
func listDir(ctx context.Context, fd int, visit func(name string) error) error {
	// A second handle: reading moves the first one's position, and os.File closes what it is given.
	again, err := openAt(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.EACCES) { // it may be listed but not passed through: its "." cannot be reached
		if again, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			_, err = unix.Seek(again, 0, unix.SEEK_SET)
		}
	}
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(again), ".")
	defer dir.Close() //nolint:errcheck // read only
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		names, err := dir.Readdirnames(listBatch)
		for _, name := range names {
			if err := visit(name); err != nil {
				return err
			}
		}
		if len(names) == 0 {
			if err != nil && !isEOF(err) {
				return err
			}
			return nil
		}
	}
}

// readLink reads a symbolic link's text.
func readLink(at int, name string, size int64) ([]byte, error) {
	for buf := make([]byte, max(size, 127)+1); ; buf = make([]byte, 2*len(buf)) {
		n := 0
		err := retry(func() (err error) {
			n, err = unix.Readlinkat(at, name, buf)
			return err
		})
		if err != nil {
			return nil, err
		}
		if n < len(buf) {
			return buf[:n], nil
		}
	}
}

// writeAt writes all of p.
func writeAt(fd int, p []byte, offset int64) error {
	for len(p) > 0 {
		n := 0
		err := retry(func() (err error) {
			n, err = unix.Pwrite(fd, p, offset)
			return err
		})
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		p, offset = p[n:], offset+int64(n)
	}
	return nil
}

// syncHandle makes an open file durable, the way that os.File knows for the system.
func syncHandle(fd int) error {
	again, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(again), "")
	return errors.Join(file.Sync(), file.Close())
}
