package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// settling is what Settle remembers from entry to entry.
type settling struct {
	// links are the first names of what has several, by Meta.Link. It grows with the number of such files.
	links map[string]string
	// open are the directories on the way to the last entry, from the root down: what must be done once for each was done.
	open []settlingDir
}

type settlingDir struct {
	path string
	// implicit tells a directory that was made as a parent and whose own entry has not come.
	implicit bool
}

// Settle implements [drivers.TreeTarget]. It also removes what killed attempts left in the directory that the entry lies
// in, which nobody writes to any more. What has several names is remembered by its first; a name is joined to it only
// if both are as their entries say.
func (t *Target) Settle(ctx context.Context, target drivers.Target, attempt drivers.Attempt, entry drivers.Entry) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("settle %q: %w", entry.Path, err)
	}
	if err := checkPut(attempt, entry); err != nil {
		return err
	}
	root, err := t.open(runOf(target, attempt))
	if err != nil {
		return err
	}
	t.settleMu.Lock()
	defer t.settleMu.Unlock()
	if err := t.leave(root, entry.Path); err != nil {
		return err
	}
	if entry.Path == "" {
		return t.settleOpen(ctx, root, entry)
	}
	dir, name, err := t.settleParent(ctx, root, entry.Path)
	if err != nil || dir < 0 {
		return err
	}
	defer closeHandle(dir)
	switch {
	case entry.Type == drivers.TypeDir:
		return t.settleDir(ctx, dir, name, entry)
	case entry.Meta.Link != "":
		p := put{Target: t, target: target, token: attempt.Token, entry: entry, dir: dir, name: name}
		return p.join(root)
	default:
		return nil
	}
}

// settleParent opens the directory that an entry lies in, and does what must be done once for it and those above it. It returns -1 if it is not
// there: something in it could not be put, and has been reported.
func (t *Target) settleParent(ctx context.Context, root int, path string) (int, string, error) {
	fd, err := unix.FcntlInt(uintptr(root), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, "", wrap("settle", path, err)
	}
	start := 0
	for {
		if err := t.arrive(ctx, fd, path[:max(start-1, 0)]); err != nil {
			closeHandle(fd)
			return -1, "", err
		}
		i := strings.IndexByte(path[start:], '/')
		if i < 0 {
			return fd, path[start:], nil
		}
		next := -1
		err := t.inDir(fd, func() (err error) {
			next, err = openDirAt(fd, path[start:start+i])
			return err
		})
		closeHandle(fd)
		if errors.Is(err, unix.ENOENT) || isNoDir(err) {
			return -1, "", nil
		}
		if err != nil {
			return -1, "", wrap("open directory", path[:start+i], err)
		}
		fd, start = next, start+i+1
	}
}

// arrive does what must be done once for a directory: it removes the leftovers in it. Paths come in descending order, so
// what is below a directory comes in one piece, and only the directories on the way to the last entry need remembering.
func (t *Target) arrive(ctx context.Context, fd int, path string) error {
	depth := 0
	if path != "" {
		depth = strings.Count(path, "/") + 1
	}
	if depth < len(t.settling.open) {
		return nil // leave has left no others
	}
	if err := t.sweep(ctx, fd); err != nil {
		return wrap("clean up", path, err)
	}
	var st unix.Stat_t
	if err := statHandle(fd, &st); err != nil {
		return wrap("look at", path, err)
	}
	t.settling.open = append(t.settling.open, settlingDir{path: path, implicit: t.isImplicit(&st)})
	return nil
}

// leave ends with the directories that are not on the way to path. Those for which no entry came get the mode of new ones.
func (t *Target) leave(root int, path string) error {
	for {
		last := len(t.settling.open) - 1
		if last < 0 {
			return nil
		}
		dir := t.settling.open[last]
		if dir.path == "" || dir.path == path || strings.HasPrefix(path, dir.path+"/") {
			return nil
		}
		t.settling.open = t.settling.open[:last]
		if err := t.settleImplicit(root, dir); err != nil {
			return err
		}
	}
}

// leaveAll ends the settling: no more entries come.
func (t *Target) leaveAll(root int) error {
	t.settleMu.Lock()
	defer t.settleMu.Unlock()
	if err := t.leave(root, ""); err != nil {
		return err
	}
	for _, dir := range t.settling.open { // the root
		if err := t.settleImplicit(root, dir); err != nil {
			return err
		}
	}
	t.settling.open = nil
	return nil
}

// settleImplicit gives a directory without an entry its mode.
func (t *Target) settleImplicit(root int, dir settlingDir) error {
	if !dir.implicit {
		return nil
	}
	fd, err := openBelow(root, dir.path)
	if errors.Is(err, unix.ENOENT) || isNoDir(err) {
		return nil
	}
	if err != nil {
		return wrap("settle", dir.path, err)
	}
	defer closeHandle(fd)
	var st unix.Stat_t
	if err := statHandle(fd, &st); err != nil {
		return wrap("look at", dir.path, err)
	}
	if !t.isImplicit(&st) {
		return nil
	}
	return wrap("set mode of", dir.path, t.setDefaultMode(metaTarget{fd: fd}, 0o777|permissions(&st)&unix.S_ISGID))
}

// isImplicit tells the mark of a directory that was made as a parent.
func (t *Target) isImplicit(st *unix.Stat_t) bool {
	// A directory with setgid hands that down.
	return permissions(st)&^unix.S_ISGID == modeImplicit && st.Uid == t.rights().uid
}

// settleDir sets a directory's metadata.
func (t *Target) settleDir(ctx context.Context, at int, name string, entry drivers.Entry) error {
	fd := -1
	err := t.inDir(at, func() (err error) {
		fd, err = openAt(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		return err
	})
	if errors.Is(err, unix.EACCES) {
		// One of ours that may not be opened: settled before.
		var st unix.Stat_t
		if errStat := statAt(at, name, &st); errStat != nil {
			return wrap("settle", entry.Path, errStat)
		}
		return t.setAll(metaTarget{fd: -1, at: at, name: name}, entry)
	}
	if errors.Is(err, unix.ENOENT) || isNoDir(err) {
		return fmt.Errorf("settle %q: the directory is not there: %w", entry.Path, drivers.ErrNotFound)
	}
	if err != nil {
		return wrap("settle", entry.Path, err)
	}
	defer closeHandle(fd)
	if err := t.noteDevice(fd); err != nil {
		return wrap("settle", entry.Path, err)
	}
	return t.settleOpen(ctx, fd, entry)
}

// settleOpen sets the metadata of an open directory, the last thing that is done to it.
func (t *Target) settleOpen(ctx context.Context, fd int, entry drivers.Entry) error {
	if err := t.arrive(ctx, fd, entry.Path); err != nil { // nothing below it came before
		return err
	}
	t.settling.open[len(t.settling.open)-1].implicit = !known(entry.Meta)
	return t.setAll(metaTarget{fd: fd, at: fd, name: "."}, entry)
}

// join makes the entry's name one more of the file that came first with the same Link.
func (p *put) join(root int) error {
	var here unix.Stat_t
	err := statAt(p.dir, p.name, &here)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return wrap("look at", p.entry.Path, err)
	}
	if !p.asPut(p.dir, p.name, &here) {
		p.warn(warnLink)
		return nil
	}
	if p.settling.links == nil {
		p.settling.links = make(map[string]string)
	}
	firstPath, ok := p.settling.links[p.entry.Meta.Link]
	if !ok {
		p.settling.links[p.entry.Meta.Link] = p.entry.Path
		return nil
	}
	firstDir, firstName, err := openParent(root, firstPath)
	if err != nil {
		p.warn(warnLink)
		return nil // a directory that was settled may not be passed through: each name keeps its own copy
	}
	defer closeHandle(firstDir)
	var first unix.Stat_t
	if err := statAt(firstDir, firstName, &first); err != nil || !p.asPut(firstDir, firstName, &first) {
		p.warn(warnLink)
		return nil // as above, or it was changed since
	}
	if sameInode(&first, &here) {
		return nil
	}
	temporary, err := p.temporary(func(temporary string) error {
		return unix.Linkat(firstDir, firstName, p.dir, temporary, 0)
	})
	if isRefusal(err) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EMLINK) {
		p.warn(warnLink)
		return nil
	}
	if err != nil {
		return wrap("link", p.entry.Path, err)
	}
	err = p.inDir(p.dir, func() error {
		return retry(func() error { return unix.Renameat(p.dir, temporary, p.dir, p.name) })
	})
	if err != nil {
		p.discard(temporary)
		return wrap("link", p.entry.Path, err)
	}
	return nil
}

// asPut tells whether a name looks like what was put for the entry: joining the names of different files would lose one.
func (p *put) asPut(at int, name string, st *unix.Stat_t) bool {
	unit, want := p.heldLimits().unit, p.entry.Meta
	if entryType(st) != p.entry.Type ||
		want.ModTime != nil && !want.ModTime.Truncate(unit).Equal(timeOf(st.Mtim).Truncate(unit)) {
		return false
	}
	switch p.entry.Type {
	case drivers.TypeFile:
		return st.Size == p.entry.Size
	case drivers.TypeSymlink:
		target, err := readLink(at, name, st.Size)
		return err == nil && bytes.Equal(target, want.Target)
	case drivers.TypeDevice:
		return deviceText(st) == want.Device
	default:
		return true
	}
}

// sweep removes the temporary files of an open directory.
func (t *Target) sweep(ctx context.Context, fd int) error {
	var found []string // few: one for each thing that was being put when a process was killed
	err := listDir(ctx, fd, func(name string) error {
		if isTemporary(name) {
			found = append(found, name)
		}
		return nil
	})
	for _, name := range found {
		if err := t.discardAt(ctx, fd, name, name); err != nil {
			return err
		}
	}
	return err
}
