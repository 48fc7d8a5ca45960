package filesystem

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// Remove implements [drivers.TreeTarget]. What a walk does not show, because the node's options leave it out, is not known
// to be extra: it stays, with the directories that hold it, and is counted. A directory on which another file system is
// mounted, unless the options leave that out, is refused.
func (t *Target) Remove(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("remove %q: %w", path, err)
	}
	if path == "" {
		return fmt.Errorf("remove %q: the root stays: %w", t.tree.path, drivers.ErrUnsafePath)
	}
	if err := checkPath(path); err != nil {
		return err
	}
	r, err := t.removal()
	if errors.Is(err, drivers.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	dir, name, hidden, err := r.parent(ctx, path)
	if errors.Is(err, unix.ENOENT) || isNoDir(err) {
		return nil
	}
	if err != nil {
		return wrap("remove", path, err)
	}
	defer closeHandle(dir)
	if hidden {
		var st unix.Stat_t
		if err := statAt(dir, name, &st); !errors.Is(err, unix.ENOENT) {
			t.warn(warnKept)
		}
		return nil
	}
	if err := t.noteDevice(dir); err != nil {
		return wrap("remove", path, err)
	}
	_, err = r.remove(ctx, dir, name, path)
	return wrap("remove", path, err)
}

// mountError refuses to remove what is mounted: that is not the tree's.
type mountError struct{ path string }

func (e *mountError) Error() string { return fmt.Sprintf("%q is a mount point", e.path) }

func (*mountError) Unwrap() error { return drivers.ErrAccess }

// Hint returns what the user can do.
func (*mountError) Hint() string {
	return "unmount it, or have mount points left alone with the node's option one_file_system: true"
}

// removal is the removing of what a walk shows, or, without options, of everything.
type removal struct {
	*Target
	options options
	device  uint64 // the root's
}

// removal returns a removal by the node's options.
func (t *Target) removal() (removal, error) {
	root, err := t.openAny()
	if err != nil {
		return removal{}, err
	}
	var st unix.Stat_t
	if err := statHandle(root, &st); err != nil {
		return removal{}, err
	}
	return removal{Target: t, options: t.tree.options, device: device(&st)}, nil
}

// discardAt removes a temporary name and all below it, whatever the options say.
func (t *Target) discardAt(ctx context.Context, at int, name, path string) error {
	_, err := removal{Target: t}.remove(ctx, at, name, path)
	return err
}

// parent opens the directory that holds path. hidden tells that a walk does not come there.
func (r removal) parent(ctx context.Context, path string) (fd int, name string, hidden bool, err error) {
	root, err := r.openAny()
	if err != nil {
		return -1, "", false, err
	}
	if fd, err = unix.FcntlInt(uintptr(root), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return -1, "", false, err
	}
	for start := 0; ; {
		i := strings.IndexByte(path[start:], '/')
		if i < 0 {
			name = path[start:]
			return fd, name, hidden, nil
		}
		next, err := openDirAt(fd, path[start:start+i])
		closeHandle(fd)
		if err != nil {
			return -1, "", false, err
		}
		var st unix.Stat_t
		if err := statHandle(next, &st); err != nil {
			closeHandle(next)
			return -1, "", false, err
		}
		fd, start = next, start+i+1
		// A tag is shown, but without it all that it hides would be.
		hides, err := r.hides(ctx, fd)
		if err != nil {
			closeHandle(fd)
			return -1, "", false, err
		}
		hidden = hidden || hides || r.leftOut(path[:start-1], &st)
	}
}

// leftOut tells whether the options leave out a directory, or what is mounted on it.
func (r removal) leftOut(path string, st *unix.Stat_t) bool {
	return r.options.exclude.Match(path, true) || r.options.oneFileSystem && device(st) != r.device
}

// errFound ends the listing of a directory.
var errFound = errors.New("found")

// hides tells whether an open directory holds a tag and something that it hides.
func (r removal) hides(ctx context.Context, fd int) (bool, error) {
	if !r.options.cachedirTag || !isCachedir(fd) {
		return false, nil
	}
	err := listDir(ctx, fd, func(name string) error {
		if name != cachedirName && !isTemporary(name) {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EBADF) { // or it may not be listed
		return true, nil
	}
	return false, err
}

// remove removes a name and all below it, but for what the options leave out. It tells whether something stayed. An absent
// name is no error.
func (r removal) remove(ctx context.Context, at int, name, path string) (kept bool, err error) {
	var above, st unix.Stat_t
	for range attempts {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if r.excluded(name, path) {
			if err := statAt(at, name, &st); errors.Is(err, unix.ENOENT) {
				return false, nil
			}
			r.warn(warnKept)
			return true, nil
		}
		err := r.inDir(at, func() error { return retry(func() error { return unix.Unlinkat(at, name, 0) }) })
		if err == nil || errors.Is(err, unix.ENOENT) {
			return false, nil
		}
		if errors.Is(err, unix.EBUSY) {
			return false, &mountError{path}
		}
		if !isDirError(err) {
			return false, err
		}
		if err := statAt(at, name, &st); err != nil || fileType(&st) != unix.S_IFDIR {
			if err == nil || errors.Is(err, unix.ENOENT) {
				return false, errors.Join(err, unix.EPERM) // EPERM was meant for the file
			}
			return false, err
		}
		if r.leftOut(path, &st) {
			r.warn(warnKept)
			return true, nil
		}
		if err := statHandle(at, &above); err != nil {
			return false, err
		}
		if device(&above) != device(&st) || isMountPoint(at, name) {
			return false, &mountError{path}
		}
		if kept, err := r.empty(ctx, at, name, path); err != nil || kept {
			return kept, err
		}
		err = r.inDir(at, func() error {
			return retry(func() error { return unix.Unlinkat(at, name, unix.AT_REMOVEDIR) })
		})
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return false, nil
		case errors.Is(err, unix.EBUSY):
			return false, &mountError{path}
		case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOTDIR):
			continue // another process put something there
		default:
			return false, err
		}
	}
	return false, fmt.Errorf("%q: another process keeps changing it", path)
}

// excluded tells whether a pattern leaves out a name, of whatever type. Temporary names are never anyone's.
func (r removal) excluded(name, path string) bool {
	return !isTemporary(name) && r.options.exclude.Match(path, false)
}

// empty removes what is in a directory. It tells whether something stayed.
func (r removal) empty(ctx context.Context, at int, name, path string) (kept bool, err error) {
	fd, restore, err := r.openListed(at, name)
	if errors.Is(err, unix.ENOENT) || isNoDir(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer closeHandle(fd)
	defer func() {
		if kept || err != nil {
			err = errors.Join(err, restore())
		}
	}()
	if hides, err := r.hides(ctx, fd); err != nil || hides {
		if hides {
			r.warn(warnKept)
		}
		return hides, err
	}
	err = listDir(ctx, fd, func(name string) error {
		stayed, err := r.remove(ctx, fd, name, join(path, name))
		kept = kept || stayed
		return err
	})
	return kept, err
}

// openListed opens a directory for listing; one of ours that may not be listed is made so. restore takes that back.
func (r removal) openListed(at int, name string) (fd int, restore func() error, err error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW
	restore = func() error { return nil }
	fd, err = openAt(at, name, flags, 0)
	if !errors.Is(err, unix.EACCES) {
		return fd, restore, err
	}
	var st unix.Stat_t
	if statAt(at, name, &st) != nil || st.Uid != r.rights().uid || fileType(&st) != unix.S_IFDIR ||
		chmodAt(at, name, permissions(&st)|0o700) != nil {
		return -1, restore, err
	}
	fd, err = openAt(at, name, flags, 0)
	if err != nil {
		return -1, restore, err
	}
	return fd, func() error { return retry(func() error { return unix.Fchmod(fd, permissions(&st)) }) }, nil
}

// findHidden returns the path of something that the options leave out: a name itself, or what is below it; "" if there is
// nothing. A mount point is refused as remove does.
func (r removal) findHidden(ctx context.Context, at int, name, path string) (hidden string, err error) {
	var above, st unix.Stat_t
	if r.excluded(name, path) {
		return path, nil
	}
	if err := statAt(at, name, &st); err != nil || fileType(&st) != unix.S_IFDIR {
		if errors.Is(err, unix.ENOENT) {
			err = nil
		}
		return "", err
	}
	if r.leftOut(path, &st) {
		return path, nil
	}
	if err := statHandle(at, &above); err != nil {
		return "", err
	}
	if device(&above) != device(&st) || isMountPoint(at, name) {
		return "", &mountError{path}
	}
	fd, restore, err := r.openListed(at, name)
	if errors.Is(err, unix.ENOENT) || isNoDir(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer closeHandle(fd)
	defer func() { err = errors.Join(err, restore()) }()
	if hides, err := r.hides(ctx, fd); err != nil || hides {
		return path, err
	}
	err = listDir(ctx, fd, func(name string) error {
		var err error
		if hidden, err = r.findHidden(ctx, fd, name, join(path, name)); err == nil && hidden != "" {
			err = errFound
		}
		return err
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return hidden, err
}
