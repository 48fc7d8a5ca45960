package filesystem

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// attempts bounds how often a step is tried that another process can get in the way of.
const attempts = 20

// parentOf returns the directory part of a path of the operating system.
func parentOf(path string) string {
	path = strings.TrimRight(path, "/")
	i := strings.LastIndexByte(path, '/')
	return path[:i+1]
}

// parent opens the directory that an entry lies in, making what is missing. What is in the way is removed if target
// allows it. It returns the entry's own name.
func (t *Target) parent(root int, target drivers.Target, path string) (fd int, name string, err error) {
	if fd, err = unix.FcntlInt(uintptr(root), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return -1, "", wrap("open", t.tree.path, err)
	}
	start := 0
	for {
		i := strings.IndexByte(path[start:], '/')
		if i < 0 {
			return fd, path[start:], nil
		}
		next, err := t.enter(fd, target, path[:start+i], path[start:start+i])
		closeHandle(fd)
		if err != nil {
			return -1, "", err
		}
		fd, start = next, start+i+1
	}
}

// enter opens the directory name below at, or makes it.
func (t *Target) enter(at int, target drivers.Target, path, name string) (int, error) {
	for range attempts {
		fd := -1
		err := t.inDir(at, func() (err error) {
			fd, err = openDirAt(at, name)
			return err
		})
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.ENOENT):
			err = t.inDir(at, func() error { return retry(func() error { return unix.Mkdirat(at, name, modeImplicit) }) })
			if err != nil && !errors.Is(err, unix.EEXIST) {
				return -1, wrap("make directory", path, err)
			}
		case isNoDir(err):
			if err := t.clearWay(at, target, path, name); err != nil {
				return -1, err
			}
		default:
			return -1, wrap("open directory", path, err)
		}
	}
	return -1, fmt.Errorf("open directory %q: another process keeps changing it", path)
}

// clearWay removes what stands where a directory should be.
func (t *Target) clearWay(at int, target drivers.Target, path, name string) error {
	var st unix.Stat_t
	if err := statAt(at, name, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return wrap("look at", path, err)
	}
	kind := entryType(&st)
	switch {
	case kind == drivers.TypeDir:
		return nil // by now
	case !target.Replace() && kind == drivers.TypeSymlink:
		return fmt.Errorf("make directory %q: a symbolic link is in its place: %w", path, drivers.ErrUnsafePath)
	case !target.Replace():
		return drivers.WithHint(fmt.Errorf("make directory %q: a %s is in its place: %w", path, kind, drivers.ErrNotEmpty),
			hintReplace)
	}
	// Without AT_REMOVEDIR no directory is ever removed, should one have come in the meantime.
	err := t.inDir(at, func() error { return retry(func() error { return unix.Unlinkat(at, name, 0) }) })
	if err != nil && !errors.Is(err, unix.ENOENT) && !isDirError(err) {
		return wrap("replace", path, err)
	}
	return nil
}

// isDirError tells unlink's answer for a directory: EISDIR on Linux, EPERM by POSIX.
func isDirError(err error) bool { return errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) }

// inDir does something in an open directory of ours that may be read-only: an earlier restore gave it that mode. If it is
// refused, the directory is made writable for the moment. Others of this run may do the same, and take it back any time.
func (t *Target) inDir(dir int, do func() error) error {
	wide := false
	for range attempts {
		err := do()
		if !errors.Is(err, unix.EACCES) {
			return err
		}
		var st unix.Stat_t
		if statHandle(dir, &st) != nil || st.Uid != t.rights().uid {
			return err
		}
		mode := permissions(&st)
		if mode&0o300 == 0o300 {
			if wide {
				return err // it is not the directory's mode
			}
			wide = true
			continue
		}
		wide = false
		if retry(func() error { return unix.Fchmod(dir, mode|0o300) }) != nil {
			return err
		}
		err = do()
		if errBack := retry(func() error { return unix.Fchmod(dir, mode) }); err == nil {
			err = errBack
		}
		if !errors.Is(err, unix.EACCES) {
			return err
		}
	}
	return do()
}
