package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// inodeOf names a file's inode on this host.
func inodeOf(info fs.FileInfo) (string, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	return fmt.Sprintf("%d:%d", stat.Dev, stat.Ino), true
}

func ownerOf(info fs.FileInfo) (uid, gid *uint32) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, nil
	}
	return new(stat.Uid), new(stat.Gid)
}

// exists tells whether there is anything under that name.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// isAt tells whether an open file still has that name.
func isAt(f *os.File, path string) (bool, error) {
	here, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(here, there), err
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // a file system that has no such thing
	}
	return errors.Join(err, d.Close())
}

// makeDirs makes a directory and what is missing above it, durably.
func makeDirs(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // a directory for a database is as open as the umask says
		return err
	}
	if info, err := os.Stat(dir); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s is not a directory: %w", dir, drivers.ErrInvalid)
	}
	return syncDir(parent)
}

// writable tells whether names can be made in a directory, or in what exists of the directories above it.
func writable(dir string) error {
	for {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if parent := filepath.Dir(dir); parent != dir {
				dir = parent
				continue
			}
			return err
		case err != nil:
			return err
		case !info.IsDir():
			return fmt.Errorf("%s is not a directory: %w", dir, drivers.ErrInvalid)
		}
		if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
			return &fs.PathError{Op: "write to directory", Path: dir, Err: err}
		}
		return nil
	}
}

// checkSpace tells whether a directory's file system has that much space for this user.
func checkSpace(dir string, need int64) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return &fs.PathError{Op: "look at the free space of", Path: dir, Err: err}
	}
	if free := stat.Bavail * uint64(stat.Bsize); uint64(need) > free { //nolint:gosec // sizes are not negative
		return fmt.Errorf("%s has %d bytes free and needs %d: %w", dir, free, need, drivers.ErrNoSpace)
	}
	return nil
}

// sameContent compares what two readers give.
func sameContent(a, b io.Reader) (bool, error) {
	bufA, bufB := make([]byte, 256<<10), make([]byte, 256<<10)
	for {
		n, errA := io.ReadFull(a, bufA)
		m, errB := io.ReadFull(b, bufB)
		switch endA, endB := atEnd(errA), atEnd(errB); {
		case errA != nil && !endA:
			return false, errA
		case errB != nil && !endB:
			return false, errB
		case !bytes.Equal(bufA[:n], bufB[:m]):
			return false, nil
		case endA || endB:
			return endA && endB, nil
		}
	}
}

func atEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// moveNew renames a file and never replaces another.
func moveNew(from, to string) error {
	err := renameNoReplace(from, to)
	if !unsupported(err) {
		return err
	}
	if err = os.Link(from, to); err == nil {
		return os.Remove(from)
	}
	if !unsupported(err) && !errors.Is(err, syscall.EPERM) {
		return err
	}
	// A file system with neither: the lock of the restore keeps other attempts away, and nobody else is expected.
	if there, err := exists(to); err != nil {
		return err
	} else if there {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: syscall.EEXIST}
	}
	return os.Rename(from, to)
}

func unsupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL)
}

// readerFunc is a Read method.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// withContext returns a reader that ends with ctx.
func withContext(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return r.Read(p)
	})
}
