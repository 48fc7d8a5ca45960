package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// Check implements [drivers.TreeTarget]: the root, or the deepest ancestor that exists, is a directory that this user can
// write to.
func (t *Target) Check(ctx context.Context, _ drivers.Target) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("check %q: %w", t.tree.path, err)
	}
	path := t.tree.path
	info, err := os.Stat(path)
	for errors.Is(err, fs.ErrNotExist) && parentOf(path) != path {
		if _, errLink := os.Lstat(strings.TrimRight(path, "/")); errLink == nil {
			return fmt.Errorf("check %q: %q is a symbolic link to nothing: %w", t.tree.path, path, drivers.ErrInvalid)
		}
		path = parentOf(path)
		info, err = os.Stat(path)
	}
	switch {
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("check %q: a name on the way is not a directory's: %w", t.tree.path, drivers.ErrInvalid)
	case err != nil:
		return wrap("check", path, err)
	case !info.IsDir():
		return fmt.Errorf("check %q: %q is not a directory: %w", t.tree.path, path, drivers.ErrInvalid)
	}
	return t.checkWritable(path)
}

// checkWritable tells whether names can be made in a directory. One of one's own without the right to write is writable:
// Prepare gives itself the right.
func (t *Target) checkWritable(path string) error {
	err := retry(func() error { return unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK|unix.X_OK, unix.AT_EACCESS) })
	if err == nil {
		return nil
	}
	var st unix.Stat_t
	if errors.Is(err, unix.EROFS) || path != t.tree.path || unix.Stat(path, &st) != nil || st.Uid != t.rights().uid {
		return wrap("write", path, err)
	}
	return nil
}
