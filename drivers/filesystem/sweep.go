package filesystem

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// abandoned is how old a temporary file must be before it counts as nobody's where locks cannot tell.
const abandoned = 24 * time.Hour

// sweepTree removes the temporary files of dead restores below an open directory. Nobody else is writing there, which is
// known, or else only old ones are removed. Directories that may not be read are passed over: nothing was written to them
// by us.
func (t *Target) sweepTree(ctx context.Context, fd int, path string, known bool) error {
	err := listDir(ctx, fd, func(name string) error {
		below := join(path, name)
		if isTemporary(name) {
			if !known && !isAbandoned(fd, name) {
				return nil
			}
			return wrap("clean up", below, t.discardAt(ctx, fd, name, below))
		}
		var st unix.Stat_t
		if err := statAt(fd, name, &st); err != nil || fileType(&st) != unix.S_IFDIR {
			return nil //nolint:nilerr // gone, or out of our reach
		}
		return t.sweepBelow(ctx, fd, name, below, known)
	})
	if err != nil && path == "" {
		return wrap("clean up", t.tree.path, err)
	}
	return err
}

func (t *Target) sweepBelow(ctx context.Context, at int, name, path string, known bool) error {
	fd, err := openAt(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || isNoDir(err) {
		return nil
	}
	if err != nil {
		return wrap("clean up", path, err)
	}
	defer closeHandle(fd)
	return t.sweepTree(ctx, fd, path, known)
}

// isAbandoned tells whether a temporary file has not changed for long.
func isAbandoned(at int, name string) bool {
	var st unix.Stat_t
	return statAt(at, name, &st) == nil && time.Since(timeOf(st.Ctim)) > abandoned
}
