package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// Open implements [drivers.Tree]. Any difference between the file and the entry is [drivers.ErrChanged], changes of mode
// or of the number of links among them where the entry has a version: the time of change does not tell what changed.
func (t *Tree) Open(ctx context.Context, entry drivers.Entry) (drivers.Content, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open %q: %w", entry.Path, err)
	}
	if entry.Type != drivers.TypeFile {
		return nil, fmt.Errorf("open %q: a %s has no content: %w", entry.Path, entry.Type, drivers.ErrInvalid)
	}
	if entry.Path == "" {
		return nil, fmt.Errorf("open %q: the root is a directory: %w", t.path, drivers.ErrInvalid)
	}
	if err := checkPath(entry.Path); err != nil {
		return nil, err
	}
	root, err := t.openRoot()
	if err != nil {
		return nil, err
	}
	defer closeHandle(root)
	dir, name, err := openParent(root, entry.Path)
	if isNoDir(err) {
		err = drivers.ErrChanged
	}
	if err != nil {
		return nil, wrap("open", entry.Path, err)
	}
	defer closeHandle(dir)
	fd, err := openFileAt(dir, name)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) { // now a symbolic link, a socket, a dead device
		err = drivers.ErrChanged
	}
	if err != nil {
		return nil, wrap("open", entry.Path, err)
	}
	c := &content{path: entry.Path, fd: fd}
	if err := settled(ctx, fd, &c.before); err != nil {
		closeHandle(fd)
		return nil, wrap("look at", entry.Path, err)
	}
	c.size = c.before.Size
	if fileType(&c.before) != unix.S_IFREG || (entry.Size != drivers.AnySize && !matches(&c.before, entry)) {
		closeHandle(fd)
		return nil, fmt.Errorf("open %q: %w", entry.Path, drivers.ErrChanged)
	}
	return c, nil
}

// tick is longer than the clock that file times are taken from stands still (a tick of the kernel, 10 ms at most).
const tick = 20 * time.Millisecond

// settled looks at an open file when its times are older than a tick: only then does the next write change them for sure,
// which is what Close goes by. A file that is written all the time is not waited for twice.
func settled(ctx context.Context, fd int, st *unix.Stat_t) error {
	if err := statHandle(fd, st); err != nil {
		return err
	}
	age := min(time.Since(timeOf(st.Mtim)), time.Since(timeOf(st.Ctim)))
	if age < 0 || age >= tick {
		return nil
	}
	timer := time.NewTimer(tick - age)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return statHandle(fd, st)
	}
}

// openFileAt opens a file for reading. Without O_NONBLOCK a FIFO in the file's place would wait for a writer.
func openFileAt(dir int, name string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	fd, err := openAt(dir, name, flags|openNoAtime, 0)
	if errors.Is(err, unix.EPERM) && openNoAtime != 0 {
		return openAt(dir, name, flags, 0)
	}
	return fd, err
}

// matches tells whether an open file is still what the entry says.
func matches(st *unix.Stat_t, entry drivers.Entry) bool {
	return st.Size == entry.Size &&
		(entry.Version == "" || entry.Version == version(st)) &&
		(entry.Meta.ModTime == nil || entry.Meta.ModTime.Equal(timeOf(st.Mtim)))
}

// content is an opened file. Extents are [from, to), offset is where the next byte of the current one is.
type content struct {
	path             string
	fd               int
	size             int64
	before           unix.Stat_t
	from, offset, to int64
	hole             bool
	read             int64 // bytes of all extents that were given or need not be
	whole            bool  // asked the system for holes, and it does not know
	ended            bool  // the reader went through all extents
	closed           bool
}

// Next implements [drivers.Content].
func (c *content) Next() (drivers.Extent, error) {
	if c.closed {
		return drivers.Extent{}, fmt.Errorf("read %q: the content is closed: %w", c.path, drivers.ErrInvalid)
	}
	start := c.to
	if start >= c.size {
		c.ended = true
		return drivers.Extent{}, io.EOF
	}
	c.from, c.offset, c.to, c.hole = start, start, c.size, false
	// A file that takes as much space as it is long is not asked: two calls less for nearly every file.
	if !c.whole && c.before.Blocks*512 < c.size {
		if err := c.findExtent(start); err != nil {
			return drivers.Extent{}, wrap("read", c.path, err)
		}
	}
	if c.hole {
		c.read += c.to - c.from
	}
	return drivers.Extent{Length: c.to - c.from, Hole: c.hole}, nil
}

// findExtent sets the extent that begins at start: up to where data begins or ends.
func (c *content) findExtent(start int64) error {
	data, err := nextData(c.fd, start)
	switch {
	case errors.Is(err, unix.ENXIO): // a hole up to the end, or the file is shorter now, which Close sees
		c.hole = true
		return nil
	case errors.Is(err, unix.EIO):
		return err
	case err != nil: // there is no such question here
		c.whole = true
		return nil //nolint:nilerr // all of it is data then
	case data > start:
		c.to, c.hole = min(data, c.size), true
		return nil
	}
	end, err := nextHole(c.fd, start)
	if err != nil && !errors.Is(err, unix.ENXIO) {
		return err
	}
	if err == nil && end > start {
		c.to = min(end, c.size)
	}
	return nil
}

// Read implements [drivers.Content]. A file that has become shorter gives [drivers.ErrChanged].
func (c *content) Read(p []byte) (int, error) {
	if c.closed {
		return 0, fmt.Errorf("read %q: the content is closed: %w", c.path, drivers.ErrInvalid)
	}
	if c.hole || c.offset >= c.to {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := readAt(c.fd, p[:min(int64(len(p)), c.to-c.offset)], c.offset)
	if err != nil {
		return 0, wrap("read", c.path, err)
	}
	if n == 0 {
		return 0, fmt.Errorf("read %q: ended after %d of %d bytes: %w", c.path, c.offset, c.size, drivers.ErrChanged)
	}
	c.offset += int64(n)
	c.read += int64(n)
	return n, nil
}

// Close implements [drivers.Content].
func (c *content) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	defer closeHandle(c.fd)
	var after unix.Stat_t
	if err := statHandle(c.fd, &after); err != nil {
		return wrap("look at", c.path, err)
	}
	if version(&after) != version(&c.before) {
		return fmt.Errorf("read %q: %w", c.path, drivers.ErrChanged)
	}
	if c.ended && c.read != c.size {
		return fmt.Errorf("read %q: got %d of %d bytes: %w", c.path, c.read, c.size, drivers.ErrChanged)
	}
	return nil
}
