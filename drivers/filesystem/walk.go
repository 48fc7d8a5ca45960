package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// Walk implements [drivers.Tree]. Names of temporary files of restores, and files that vanish before they were looked at,
// are passed over.
//
// A directory that lies before the range and cannot be listed, though what is below it belongs to the range, is reported
// under a path of the range (its own path with a slash, or the range's first): the walk of the range before may have found
// nothing wrong with it, and what is below must not be missing in silence.
func (t *Tree) Walk(ctx context.Context, r drivers.Range, yield func(drivers.Entry) error) error {
	w := walker{tree: t, r: r, yield: yield}
	if err := w.ended(ctx); err != nil {
		return err
	}
	fd, err := t.openRoot()
	if err != nil {
		return err
	}
	defer closeHandle(fd)
	var st unix.Stat_t
	if err := statHandle(fd, &st); err != nil {
		return wrap("look at", t.path, err)
	}
	w.device = device(&st)
	root := &level{fd: fd}
	if root.names, err = w.list(ctx, root); err != nil {
		return wrap("list", t.path, err)
	}
	if r.Contains("") {
		entry, err := t.entryAt(unix.AT_FDCWD, t.path, "", &st, fd)
		if err != nil {
			return wrap("look at", t.path, err)
		}
		if err := yield(entry); err != nil {
			return err
		}
	}
	return w.descend(ctx, root)
}

// walker is one walk.
type walker struct {
	tree   *Tree
	r      drivers.Range
	yield  func(drivers.Entry) error
	device uint64 // the root's
}

// level is a directory that is to be walked, open and listed.
type level struct {
	prefix string // what the paths below begin with: "" for the root, "a/b/" for a/b
	fd     int
	names  []string // sorted
	err    error    // why it is not listed; there are no names then
}

// descend walks the names of a directory.
//
// The order of full paths is not that of names: "a-b" comes before "a/c" though "a" comes before both. What is below a
// directory "a" comes when the next name is greater than "a/". All names between "a" and "a/" begin with "a", so the
// directories that wait form a stack: a later one's turn comes first.
func (w *walker) descend(ctx context.Context, l *level) error {
	if l.err != nil {
		path := max(l.prefix, w.r.From)
		if !w.r.Contains(path) {
			return nil
		}
		return w.yield(drivers.Entry{Path: path, Type: drivers.TypeDir, Err: l.err})
	}
	var waiting []*level
	defer func() {
		for _, below := range waiting {
			closeHandle(below.fd)
		}
	}()
	pop := func() error {
		below := waiting[len(waiting)-1]
		waiting = waiting[:len(waiting)-1]
		defer closeHandle(below.fd)
		return w.descend(ctx, below)
	}
	for i, name := range l.names {
		l.names[i] = "" // lets the text go before the directory is done
		path := l.prefix + name
		for len(waiting) > 0 && waiting[len(waiting)-1].prefix < path {
			if err := pop(); err != nil {
				return err
			}
		}
		if w.r.To != "" && path >= w.r.To {
			break
		}
		if err := w.ended(ctx); err != nil {
			return err
		}
		below, err := w.visit(ctx, l, name)
		if err != nil {
			return err
		}
		if below != nil {
			waiting = append(waiting, below)
		}
	}
	for len(waiting) > 0 {
		if err := pop(); err != nil {
			return err
		}
	}
	return nil
}

// visit looks at one name and yields it if it is in the range. If there is more to walk below, it returns the level.
func (w *walker) visit(ctx context.Context, l *level, name string) (*level, error) {
	path := l.prefix + name
	// What is below a directory lies between its path with "/" and with "0", the byte after the slash.
	want := wanted{
		entry: w.r.Contains(path),
		below: path+"0" > w.r.From && (w.r.To == "" || path+"/" < w.r.To),
	}
	if !want.entry && !want.below {
		return nil, nil
	}
	entry, below, err := w.look(ctx, l, name, want)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, w.ended(ctx)
	case errors.Is(err, unix.ENOENT), errors.Is(err, errSkip):
		return nil, nil
	case want.entry:
		entry = drivers.Entry{Path: path, Type: entry.Type, Err: wrap("read", path, err)}
	case entry.Type == drivers.TypeDir && !errors.Is(err, drivers.ErrChanged):
		return &level{prefix: path + "/", fd: -1, err: wrap("read", path, err)}, nil
	default:
		return nil, nil
	}
	if want.entry {
		if err := w.yield(entry); err != nil {
			if below != nil {
				closeHandle(below.fd)
			}
			return nil, err
		}
	}
	return below, nil
}

// wanted says what of a name lies in the range.
type wanted struct{ entry, below bool }

// errSkip is the answer of look for what is not to be yielded.
var errSkip = errors.New("excluded")

// look makes the entry of a name, and opens and lists it if it is a directory to be entered. With an error, the entry has
// its type at most.
func (w *walker) look(ctx context.Context, l *level, name string, want wanted) (e drivers.Entry, below *level, err error) {
	path := l.prefix + name
	var st unix.Stat_t
	if err := statAt(l.fd, name, &st); err != nil {
		return e, nil, err
	}
	e.Type = entryType(&st)
	dir := e.Type == drivers.TypeDir
	if !dir && !want.entry || w.tree.options.exclude.Match(path, dir) {
		return e, nil, errSkip
	}
	// A directory on another file system stays, empty. Only directories are asked: on overlay file systems a file's device
	// may be that of a layer.
	if !dir || w.tree.options.oneFileSystem && device(&st) != w.device {
		entry, err := w.tree.entryAt(l.fd, name, path, &st, -1)
		if err != nil {
			return e, nil, err
		}
		return entry, nil, nil
	}
	// It is opened and listed before it is yielded: that it cannot be belongs to its own entry.
	fd, err := openAt(l.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if isNoDir(err) {
		err = drivers.ErrChanged
	}
	if err != nil {
		return e, nil, err
	}
	defer func() {
		if below == nil {
			closeHandle(fd)
		}
	}()
	if err := statHandle(fd, &st); err != nil {
		return e, nil, err
	}
	next := &level{prefix: path + "/", fd: fd}
	if want.below {
		if next.names, err = w.list(ctx, next); err != nil {
			return e, nil, err
		}
	}
	entry := e
	if want.entry {
		if entry, err = w.tree.entryAt(l.fd, name, path, &st, fd); err != nil {
			return e, nil, err
		}
	}
	if len(next.names) == 0 {
		return entry, nil, nil
	}
	return entry, next, nil
}

// list returns a directory's names, sorted, without those that are not to be walked.
func (w *walker) list(ctx context.Context, l *level) ([]string, error) {
	// The root is never asked for a tag: who names a cache wants it.
	if l.prefix != "" && w.tree.options.cachedirTag && isCachedir(l.fd) {
		return []string{cachedirName}, nil
	}
	if name := w.onlyName(l.prefix); name != "" {
		return []string{name}, nil
	}
	var names []string
	err := listDir(ctx, l.fd, func(name string) error {
		if !isTemporary(name) {
			names = append(names, name)
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}

// onlyName returns the one name that is asked for by a range of a single path ("a/b" to "a/b\x00"), or "": to read one
// entry again, a directory of a million need not be listed.
func (w *walker) onlyName(prefix string) string {
	if w.r.To != w.r.From+"\x00" || checkPath(w.r.From) != nil {
		return ""
	}
	rest, ok := strings.CutPrefix(w.r.From, prefix)
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// ended returns the context's error, if it has one.
func (w *walker) ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("walk %q: %w", w.tree.path, err)
	}
	return nil
}

// The tag of directories that hold what can be made again: https://bford.info/cachedir/.
const (
	cachedirName      = "CACHEDIR.TAG"
	cachedirSignature = "Signature: 8a477f597d28d172789f06886806bc55"
)

// isCachedir tells whether a directory holds a valid tag.
func isCachedir(dir int) bool {
	var st unix.Stat_t
	if statAt(dir, cachedirName, &st) != nil || fileType(&st) != unix.S_IFREG {
		return false
	}
	fd, err := openAt(dir, cachedirName, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer closeHandle(fd)
	if statHandle(fd, &st) != nil || fileType(&st) != unix.S_IFREG {
		return false
	}
	head := make([]byte, len(cachedirSignature))
	n, err := readAt(fd, head, 0)
	return err == nil && string(head[:n]) == cachedirSignature
}

// readAt reads from an offset, as pread(2) does: what is there, 0 at the end.
func readAt(fd int, p []byte, offset int64) (int, error) {
	n := 0
	err := retry(func() (err error) {
		n, err = unix.Pread(fd, p, offset)
		return err
	})
	return max(n, 0), err
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }
