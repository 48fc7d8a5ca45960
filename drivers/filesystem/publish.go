package filesystem

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// publish gives a finished temporary file its name. It tells whether the temporary name is gone.
func (p *put) publish(ctx context.Context, temporary string) (bool, error) {
	path := p.entry.Path
	if !p.target.Replace() {
		err := p.inDir(p.dir, func() error { return p.renameFree(temporary) })
		if errors.Is(err, unix.EEXIST) {
			return false, p.compare(ctx, temporary)
		}
		return err == nil, wrap("publish", path, err)
	}
	for range attempts {
		err := p.inDir(p.dir, func() error {
			return retry(func() error { return unix.Renameat(p.dir, temporary, p.dir, p.name) })
		})
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
			if err := p.clearDirectory(ctx); err != nil {
				return false, err
			}
		default:
			return false, wrap("publish", path, err)
		}
	}
	return false, fmt.Errorf("publish %q: another process keeps changing it", path)
}

// clearDirectory removes the directory that is in the place of something else: with all that is in it only in a mirror, and
// then only if the options leave out nothing of that.
func (p *put) clearDirectory(ctx context.Context) error {
	path := p.entry.Path
	err := p.inDir(p.dir, func() error {
		return retry(func() error { return unix.Unlinkat(p.dir, p.name, unix.AT_REMOVEDIR) })
	})
	switch {
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return nil
	case errors.Is(err, unix.EBUSY):
		return wrap("replace", path, &mountError{path})
	case !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST):
		return wrap("replace", path, err)
	case !p.target.Mirror:
		return drivers.WithHint(fmt.Errorf("put %q: a directory that is not empty is there already: %w", path, drivers.ErrNotEmpty),
			hintMirror)
	}
	r, err := p.removal()
	if err != nil {
		return wrap("replace", path, err)
	}
	// Looked for before anything is removed: what is refused stays whole.
	hidden, err := r.findHidden(ctx, p.dir, p.name, path)
	if err != nil {
		return wrap("replace", path, err)
	}
	if hidden == "" {
		kept, err := r.remove(ctx, p.dir, p.name, path)
		if err != nil {
			return wrap("replace", path, err)
		}
		if !kept {
			return nil
		}
		hidden = path
	}
	return drivers.WithHint(fmt.Errorf("put %q: a directory is there that holds %q, which the node's options leave out: %w",
		path, hidden, drivers.ErrNotEmpty), "remove it, or change the node's options (exclude, one_file_system, cachedir_tag)")
}

// renameFree renames the temporary file if the name is free, else EEXIST. Where the file system has no such rename, a
// second link does the same; where it has no links either, there is a moment between the look and the rename.
func (p *put) renameFree(temporary string) error {
	err := renameNew(p.dir, temporary, p.name)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	err = retry(func() error { return unix.Linkat(p.dir, temporary, p.dir, p.name, 0) })
	if err == nil {
		return retry(func() error { return unix.Unlinkat(p.dir, temporary, 0) })
	}
	if errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := statAt(p.dir, p.name, &st); !errors.Is(err, unix.ENOENT) {
		if err == nil {
			return unix.EEXIST
		}
		return err
	}
	return retry(func() error { return unix.Renameat(p.dir, temporary, p.dir, p.name) })
}

// compare is called when the name is taken: by an earlier attempt, perhaps, that had just put the same. It returns nil if
// what is there is equal to the temporary file.
func (p *put) compare(ctx context.Context, temporary string) error {
	var st unix.Stat_t
	if err := statAt(p.dir, p.name, &st); err != nil {
		return wrap("look at", p.entry.Path, err)
	}
	have, err := p.tree.entryAt(p.dir, p.name, p.entry.Path, &st, -1)
	if err != nil {
		return wrap("look at", p.entry.Path, err)
	}
	if have.Type == drivers.TypeDir || !p.Same(p.entry, have) {
		return p.taken(have.Type)
	}
	if p.entry.Type != drivers.TypeFile {
		return nil
	}
	ours, err := openFileAt(p.dir, temporary)
	if err != nil {
		return wrap("compare", p.entry.Path, err)
	}
	defer closeHandle(ours)
	theirs, err := openFileAt(p.dir, p.name)
	if err != nil {
		return wrap("compare", p.entry.Path, err)
	}
	defer closeHandle(theirs)
	equal, err := p.equalFiles(ctx, ours, theirs)
	if err != nil {
		return wrap("compare", p.entry.Path, err)
	}
	if !equal {
		return p.taken(have.Type)
	}
	return nil
}

// equalFiles compares two open files.
func (p *put) equalFiles(ctx context.Context, a, b int) (bool, error) {
	const half = bufferSize / 2
	buffer, ok := p.buffers.Get().(*[bufferSize]byte)
	if !ok {
		buffer = new([bufferSize]byte)
	}
	defer p.buffers.Put(buffer)
	for offset := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := readAt(a, buffer[:half], offset)
		if err != nil {
			return false, err
		}
		// One more than there should be, to see that the other goes on.
		m, err := readFullAt(b, buffer[half:half+max(n, 1)], offset)
		if err != nil {
			return false, err
		}
		if n != m || string(buffer[:n]) != string(buffer[half:half+m]) {
			return false, nil
		}
		if n == 0 {
			return true, nil
		}
		offset += int64(n)
	}
}

// readFullAt reads until p is full or the file ends.
func readFullAt(fd int, p []byte, offset int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := readAt(fd, p[done:], offset+int64(done))
		if err != nil || n == 0 {
			return done, err
		}
		done += n
	}
	return done, nil
}
