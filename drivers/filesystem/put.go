package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// Put implements [drivers.TreeTarget]. What is already there and equal, content included, is left as it is. A file takes
// the place of a directory only if that is empty, unless target.Mirror says to remove what is below; what the options leave
// out is never removed with it. What has several names is written once for each; Settle joins them. Sockets, and what the process may not make, are counted and left out.
func (t *Target) Put(ctx context.Context, target drivers.Target, attempt drivers.Attempt, entry drivers.Entry,
	content drivers.ContentReader,
) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put %q: %w", entry.Path, err)
	}
	if err := checkPut(attempt, entry); err != nil {
		return err
	}
	root, err := t.open(runOf(target, attempt))
	if err != nil {
		return err
	}
	if entry.Path == "" {
		return t.unmark(root, "")
	}
	dir, name, err := t.enterFor(root, target, entry.Path)
	if err != nil {
		return err
	}
	defer t.leaveDir(dir)
	p := put{Target: t, target: target, token: attempt.Token, entry: entry, in: dir, dir: dir.fd, name: name}
	if err := p.put(ctx, content); err != nil {
		// Should another process have moved or removed the directory, whoever tries again finds that out.
		t.forgetDir()
		return err
	}
	return nil
}

// put puts the entry.
func (p *put) put(ctx context.Context, content drivers.ContentReader) error {
	entry, dir := p.entry, p.dir
	switch entry.Type {
	case drivers.TypeDir:
		return p.directory()
	case drivers.TypeSocket:
		p.warn(warnSocket)
		return nil
	default:
	}
	if entry.Type != drivers.TypeFile || entry.Size > smallSize { // to write a small one takes no longer than to look
		if err := p.free(); err != nil {
			return err
		}
	}
	switch entry.Type {
	case drivers.TypeFile:
		return p.file(ctx, content)
	case drivers.TypeSymlink:
		return p.node(ctx, func(temporary string) error {
			return unix.Symlinkat(string(entry.Meta.Target), dir, temporary)
		})
	case drivers.TypeFIFO:
		return p.node(ctx, func(temporary string) error { return makeNode(dir, temporary, unix.S_IFIFO, 0) })
	default: // checkPut left devices alone
		kind, rdev, err := parseDevice(entry.Meta.Device)
		if err != nil {
			return fmt.Errorf("put %q: %w", entry.Path, err)
		}
		return p.node(ctx, func(temporary string) error { return makeNode(dir, temporary, kind, rdev) })
	}
}

// runOf returns the id of the run that writes.
func runOf(target drivers.Target, attempt drivers.Attempt) string {
	if target.Run != "" {
		return target.Run
	}
	return attempt.Run
}

// checkPut refuses entries that make no sense.
func checkPut(attempt drivers.Attempt, entry drivers.Entry) error {
	if err := checkPath(entry.Path); err != nil {
		return err
	}
	bad := func(why string) error { return fmt.Errorf("put %q: %s: %w", entry.Path, why, drivers.ErrInvalid) }
	if !isToken(attempt.Token) || len(attempt.Token) > 64 {
		return bad(fmt.Sprintf("the attempt's token %q is not up to 64 letters and digits", attempt.Token))
	}
	if entry.Path == "" && entry.Type != drivers.TypeDir {
		return bad("the root can only be a directory")
	}
	switch entry.Type {
	case drivers.TypeFile, drivers.TypeDir, drivers.TypeFIFO, drivers.TypeSocket, drivers.TypeDevice:
		return nil
	case drivers.TypeSymlink:
		if len(entry.Meta.Target) == 0 || bytes.IndexByte(entry.Meta.Target, 0) >= 0 {
			return bad("a symbolic link's target is empty or holds NUL")
		}
		return nil
	default:
		return bad(fmt.Sprintf("unknown type %q", entry.Type))
	}
}

// put is one call of Put.
type put struct {
	*Target
	target drivers.Target
	token  string
	entry  drivers.Entry
	in     *opened // the directory that the entry lies in; nil for Settle, which makes nothing new
	dir    int     // its handle
	name   string
}

// directory makes a directory, or keeps the one that is there.
func (p *put) directory() error {
	path := p.entry.Path
	for range attempts {
		err := p.inDir(p.dir, func() error { return retry(func() error { return unix.Mkdirat(p.dir, p.name, modePrivate) }) })
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return wrap("make directory", path, err)
		}
		fd, err := openDirAt(p.dir, p.name)
		switch {
		case err == nil:
			defer closeHandle(fd)
			return p.unmark(fd, path)
		case errors.Is(err, unix.EACCES): // a directory, if not one to look into
			return nil
		case errors.Is(err, unix.ENOENT):
		case isNoDir(err):
			if err := p.clearDirWay(); err != nil {
				return err
			}
		default:
			return wrap("open directory", path, err)
		}
	}
	return fmt.Errorf("make directory %q: another process keeps changing it", path)
}

// clearDirWay is clearWay for an entry's own place, where a link is nothing but something else.
func (p *put) clearDirWay() error {
	err := p.clearWay(p.dir, p.target, p.entry.Path, p.name)
	if errors.Is(err, drivers.ErrUnsafePath) {
		return drivers.WithHint(fmt.Errorf("make directory %q: a symbolic link is in its place: %w",
			p.entry.Path, drivers.ErrNotEmpty), hintReplace)
	}
	return err
}

// unmark takes the mark off a directory that was made as a parent before its own entry came.
func (t *Target) unmark(fd int, path string) error {
	var st unix.Stat_t
	if err := statHandle(fd, &st); err != nil {
		return wrap("look at", path, err)
	}
	if !t.isImplicit(&st) {
		return nil
	}
	return wrap("make directory", path, retry(func() error {
		return unix.Fchmod(fd, modePrivate|permissions(&st)&unix.S_ISGID)
	}))
}

// free tells early, before any content is read, that the entry's place holds something else that may not be replaced.
func (p *put) free() error {
	if p.target.Mirror {
		return nil
	}
	var st unix.Stat_t
	err := statAt(p.dir, p.name, &st)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return wrap("look at", p.entry.Path, err)
	}
	if fileType(&st) == unix.S_IFDIR {
		if !p.target.Overwrite {
			return p.taken(drivers.TypeDir)
		}
		return nil // an empty one gives way when the time comes
	}
	if p.target.Overwrite {
		return nil
	}
	have, err := p.tree.entryAt(p.dir, p.name, p.entry.Path, &st, -1)
	if err != nil {
		return wrap("look at", p.entry.Path, err)
	}
	if !p.Same(p.entry, have) {
		return p.taken(have.Type)
	}
	return nil
}

// What the user can do about a refusal to replace.
const (
	hintReplace = "replace what differs with --overwrite, or make the target the dump's image with --mirror"
	hintMirror  = "remove the directory, or make the target the dump's image with --mirror"
)

// taken is the refusal to replace.
func (p *put) taken(kind drivers.EntryType) error {
	hint := hintReplace
	if kind == drivers.TypeDir {
		hint = hintMirror
	}
	return drivers.WithHint(fmt.Errorf("put %q: a %s is there already: %w", p.entry.Path, kind, drivers.ErrNotEmpty), hint)
}

// setNew sets the metadata of a file that this process has just made.
func (p *put) setNew(m metaTarget) error {
	n, err := p.learn(p.in, m)
	if err != nil {
		return wrap("look at", p.entry.Path, err)
	}
	return p.setKnown(m, p.entry, n)
}

// temporary calls create with new temporary names until one is free. Another process may have used the same token: nothing
// that exists is ever opened.
func (p *put) temporary(create func(temporary string) error) (string, error) {
	for {
		temporary := temporaryName(p.token, p.n.Add(1))
		err := p.inDir(p.dir, func() error { return retry(func() error { return create(temporary) }) })
		if !errors.Is(err, unix.EEXIST) {
			return temporary, err
		}
	}
}

// discard removes a temporary file that is not going to be published. That it may fail is no news: Settle and Prepare
// remove what is left.
func (p *put) discard(temporary string) {
	_ = p.inDir(p.dir, func() error { return unix.Unlinkat(p.dir, temporary, 0) })
}

// file writes a file and publishes it.
func (p *put) file(ctx context.Context, content drivers.ContentReader) (err error) {
	if content == nil {
		return fmt.Errorf("put %q: no content: %w", p.entry.Path, drivers.ErrInvalid)
	}
	fd := -1
	temporary, err := p.temporary(func(temporary string) (err error) {
		fd, err = openAt(p.dir, temporary, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
		return err
	})
	if err != nil {
		return wrap("create", p.entry.Path, err)
	}
	published := false
	defer func() {
		if !published {
			p.discard(temporary)
		}
	}()
	if err := p.fill(ctx, fd, content); err != nil {
		_ = unix.Close(fd) // the first error counts
		return err
	}
	err = p.setNew(metaTarget{fd: fd, at: p.dir, name: temporary})
	if err == nil && syncEach {
		err = wrap("sync", p.entry.Path, syncHandle(fd))
	}
	// Closed before it is published: some file systems tell only then that a write failed. Never again after EINTR: the
	// handle is free by then.
	if errClose := unix.Close(fd); err == nil && !errors.Is(errClose, unix.EINTR) {
		err = wrap("write", p.entry.Path, errClose)
	}
	if err != nil {
		return err
	}
	published, err = p.publish(ctx, temporary)
	return err
}

// fill writes the content.
func (p *put) fill(ctx context.Context, fd int, content drivers.ContentReader) error {
	buffer, ok := p.buffers.Get().(*[bufferSize]byte)
	if !ok {
		buffer = new([bufferSize]byte)
	}
	defer p.buffers.Put(buffer)
	var size, end int64 // of the content so far, and of what was written
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("put %q: %w", p.entry.Path, err)
		}
		extent, err := content.Next()
		if isEOF(err) {
			break
		}
		if err != nil {
			return fmt.Errorf("put %q: read content: %w", p.entry.Path, err)
		}
		if extent.Length < 0 || extent.Length > p.entry.Size-size {
			return p.wrongSize(size + extent.Length)
		}
		if !extent.Hole {
			if err := p.fillExtent(ctx, fd, content, size, extent.Length, buffer[:]); err != nil {
				return err
			}
			end = size + extent.Length
		}
		size += extent.Length
	}
	if size != p.entry.Size {
		return p.wrongSize(size)
	}
	if end < size { // a hole at the end
		return wrap("write", p.entry.Path, retry(func() error { return unix.Ftruncate(fd, size) }))
	}
	return nil
}

// fillExtent writes the bytes of one extent at its offset.
func (p *put) fillExtent(ctx context.Context, fd int, content io.Reader, offset, length int64, buffer []byte) error {
	var done int64
	for {
		n, err := content.Read(buffer)
		if int64(n) > length-done {
			return p.wrongSize(offset + done + int64(n))
		}
		if n > 0 {
			if err := writeAt(fd, buffer[:n], offset+done); err != nil {
				return wrap("write", p.entry.Path, err)
			}
			done += int64(n)
		}
		if isEOF(err) {
			break
		}
		if err != nil {
			return fmt.Errorf("put %q: read content: %w", p.entry.Path, err)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("put %q: %w", p.entry.Path, err)
		}
	}
	if done != length {
		return p.wrongSize(offset + done)
	}
	return nil
}

// wrongSize refuses content that is not as long as it claims to be.
func (p *put) wrongSize(have int64) error {
	return fmt.Errorf("put %q: content ends or goes on at byte %d, the entry says %d bytes: %w",
		p.entry.Path, have, p.entry.Size, drivers.ErrCorrupt)
}

// node makes something without content and publishes it.
func (p *put) node(ctx context.Context, create func(temporary string) error) error {
	temporary, err := p.temporary(create)
	if errors.Is(err, unix.EPERM) && p.entry.Type != drivers.TypeSymlink {
		// The privilege is missing, or the file system has no such things. A directory that may not be written gives EACCES.
		if p.entry.Type == drivers.TypeFIFO {
			p.warn(warnFIFO)
		} else {
			p.warn(warnDevice)
		}
		return nil
	}
	if err != nil {
		return wrap("create", p.entry.Path, err)
	}
	published := false
	defer func() {
		if !published {
			p.discard(temporary)
		}
	}()
	if err := p.setAll(metaTarget{fd: -1, at: p.dir, name: temporary}, p.entry); err != nil {
		return err
	}
	published, err = p.publish(ctx, temporary)
	return err
}
