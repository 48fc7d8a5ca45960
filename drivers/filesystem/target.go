package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// Target is the writing side of a directory. It is safe for concurrent use, but for Settle.
//
// # One restore at a time
//
// From its first write until the tree is closed, a target holds a lock that names its run. While another run holds one,
// writing is refused (on Linux, and where the file system has locks).
//
// # Modes on the way
//
// Directories are made with mode 0700, so that nobody sees what a stricter mode will hide, and get their own from Settle.
// One that no entry describes (a parent that was needed) is marked by the sticky bit until Settle, after the last entry below
// it, gives it the mode of a new directory.
type Target struct {
	tree    *Tree
	rights  func() rights
	buffers sync.Pool
	n       atomic.Uint64 // of temporary names

	mu       sync.Mutex
	root     int // handle; -1 until it is needed
	limits   limits
	runs     map[string]struct{} // whose locks are held
	warnings map[string]int64
	devices  map[uint64]int // a handle on each file system that was written to
	last     *opened        // what Put wrote to last; nil if nothing

	settleMu sync.Mutex
	settling settling
}

var _ drivers.TreeTarget = (*Target)(nil)

// The kinds of [Target.Warnings].
const (
	warnOwner  = "owner not set"
	warnSetID  = "setuid or setgid bit not kept"
	warnMode   = "mode not set"
	warnXattr  = "extended attribute not set"
	warnDevice = "device not created"
	warnFIFO   = "fifo not created"
	warnSocket = "socket not created"
	warnLink   = "hard link not joined"
	warnKept   = "excluded entry kept"
)

// Modes of directories until they are settled.
const (
	modePrivate  = 0o700
	modeImplicit = 0o1700 // made as a parent; no entry was put for it
)

const (
	bufferSize = 128 << 10
	smallSize  = bufferSize // of a file that is written before a look at its place
)

func newTarget(t *Tree) *Target {
	return &Target{
		tree:     t,
		rights:   sync.OnceValue(ownRights),
		buffers:  sync.Pool{New: func() any { return new([bufferSize]byte) }},
		root:     -1,
		runs:     make(map[string]struct{}),
		warnings: make(map[string]int64),
		devices:  make(map[uint64]int),
	}
}

// Prepare implements [drivers.TreeTarget].
func (t *Target) Prepare(ctx context.Context, target drivers.Target) error {
	path := t.tree.path
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("prepare %q: %w", path, err)
	}
	if err := t.makeRoot(); err != nil {
		return err
	}
	root, err := t.open(target.Run)
	if err != nil {
		return err
	}
	if err := t.checkWritable(path); err != nil {
		return err
	}
	_, same, known := holders(root, target.Run)
	if same {
		return nil // others of this run are writing; Settle removes what is left in the end
	}
	return t.sweepTree(ctx, root, "", known)
}

// makeRoot creates the root, and its parents.
func (t *Target) makeRoot() error {
	path := t.tree.path
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("prepare %q: not a directory: %w", path, drivers.ErrInvalid)
	case !errors.Is(err, fs.ErrNotExist):
		return wrap("prepare", path, err)
	}
	if err := os.MkdirAll(parentOf(path), 0o777); err != nil { //nolint:gosec // what the umask leaves, like mkdir -p
		return wrap("prepare", path, err)
	}
	err = retry(func() error { return unix.Mkdir(path, modeImplicit) })
	if errors.Is(err, unix.EEXIST) {
		// Another process of the run made it, or it is a symbolic link to nothing.
		if info, errStat := os.Stat(path); errStat == nil && info.IsDir() {
			return nil
		}
	}
	return wrap("prepare", path, err)
}

// open returns the handle of the root, for a run that is about to write. The handle stays until close.
func (t *Target) open(run string) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.openLocked(); err != nil {
		return -1, err
	}
	if _, ok := t.runs[run]; ok {
		return t.root, nil
	}
	// The lock first, then the question: of two that come at the same time, at least one sees the other.
	if err := lockRun(t.root, run); err == nil {
		if other, _, _ := holders(t.root, run); other {
			unlockRun(t.root, run)
			return -1, drivers.WithHint(fmt.Errorf("write %q: another restore is writing there", t.tree.path),
				"wait for it, or cancel it")
		}
	}
	t.runs[run] = struct{}{}
	return t.root, nil
}

// openAny returns the handle of the root, whatever run is writing.
func (t *Target) openAny() (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.openLocked()
	return t.root, err
}

func (t *Target) openLocked() error {
	if t.root >= 0 {
		return nil
	}
	fd, err := t.tree.openRoot()
	if err != nil {
		return err
	}
	t.root, t.limits = fd, fileSystemLimits(fd)
	return nil
}

// close releases everything. The target can be used again and starts anew.
func (t *Target) close() error {
	t.settleMu.Lock()
	t.settling = settling{}
	t.settleMu.Unlock()
	t.forgetDir()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.root >= 0 {
		closeHandle(t.root)
		t.root = -1
	}
	for _, fd := range t.devices {
		closeHandle(fd)
	}
	clear(t.devices)
	clear(t.runs)
	return nil
}

// Same implements [drivers.TreeTarget]. Owners count where this process may set them, extended attributes where the file
// system and the process's rights allow them.
func (t *Target) Same(want, have drivers.Entry) bool {
	if want.Type != have.Type || have.Err != nil {
		return false
	}
	if want.Type == drivers.TypeDir || want.Type == drivers.TypeSocket {
		return true
	}
	if want.Type == drivers.TypeFile && want.Size != have.Size ||
		!bytes.Equal(want.Meta.Target, have.Meta.Target) || want.Meta.Device != have.Meta.Device {
		return false
	}
	l := t.heldLimits()
	if want.Meta.ModTime != nil &&
		(have.Meta.ModTime == nil || !want.Meta.ModTime.Truncate(l.unit).Equal(have.Meta.ModTime.Truncate(l.unit))) {
		return false
	}
	if !known(want.Meta) {
		return true
	}
	return t.sameOwner(want.Meta, have.Meta, l) &&
		(want.Type == drivers.TypeSymlink || !l.modes || heldMode(want.Meta, have.Meta) == have.Meta.Mode) &&
		t.sameXattrs(want, have, l)
}

// known tells whether an entry comes from a source that has modes and owners.
func known(m drivers.Meta) bool { return m.UID != nil || m.GID != nil || m.Mode != 0 }

// heldMode returns the mode that a file can have: setuid and setgid only for the right owner.
func heldMode(want, have drivers.Meta) uint32 {
	if !equalID(want.UID, have.UID) || !equalID(want.GID, have.GID) {
		return want.Mode &^ setID
	}
	return want.Mode
}

const setID = unix.S_ISUID | unix.S_ISGID

// equalID tells whether an owner is the wanted one; any is, if none is wanted.
func equalID(want, have *uint32) bool { return want == nil || have != nil && *want == *have }

func (t *Target) sameOwner(want, have drivers.Meta, l limits) bool {
	r := t.rights()
	if !l.modes {
		return true
	}
	return (equalID(want.UID, have.UID) || !r.mayOwn(*want.UID)) &&
		(equalID(want.GID, have.GID) || !r.mayGroup(*want.GID))
}

// mayOwn tells whether this process may give a file to a user.
func (r rights) mayOwn(uid uint32) bool {
	return r.chown && inRanges(r.uids, uid) || uid == r.uid
}

// mayGroup tells whether this process may give a file of its own to a group.
func (r rights) mayGroup(gid uint32) bool {
	return r.chown && inRanges(r.gids, gid) || slices.Contains(r.groups, gid)
}

func inRanges(ranges []idRange, id uint32) bool {
	return slices.ContainsFunc(ranges, func(r idRange) bool { return uint64(id) >= r.first && uint64(id)-r.first < r.count })
}

func (t *Target) sameXattrs(want, have drivers.Entry, l limits) bool {
	r := t.rights()
	wanted, held := rawXattrs(want.Meta.Xattrs), rawXattrs(have.Meta.Xattrs)
	for name, value := range wanted {
		if other, ok := held[name]; xattrHeld(name, want.Type, r, l) && (!ok || !bytes.Equal(value, other)) {
			return false
		}
	}
	for name := range held {
		if _, ok := wanted[name]; !ok && xattrHeld(name, want.Type, r, l) {
			return false
		}
	}
	return true
}

// heldLimits returns what the target's file system can hold; what any can, while it does not exist.
func (t *Target) heldLimits() limits {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.root >= 0 || t.limits.unit != 0 {
		return t.limits
	}
	fd, err := t.tree.openRoot()
	if err != nil {
		return limits{unit: time.Nanosecond, modes: true, acls: true, user: true}
	}
	defer closeHandle(fd)
	t.limits = fileSystemLimits(fd)
	return t.limits
}

// Sync implements [drivers.TreeTarget]: on Linux it asks for each file system that was written to, whoever wrote.
func (t *Target) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sync %q: %w", t.tree.path, err)
	}
	root, err := t.openAny()
	if err != nil {
		return err
	}
	if err := t.leaveAll(root); err != nil {
		return err
	}
	if err := t.noteDevice(root); err != nil {
		return wrap("sync", t.tree.path, err)
	}
	t.mu.Lock()
	handles := slices.Collect(maps.Values(t.devices))
	t.mu.Unlock()
	for _, fd := range handles {
		if err := syncFileSystem(fd); err != nil {
			return wrap("sync", t.tree.path, err)
		}
	}
	return nil
}

// noteDevice remembers a handle on a directory's file system, if it is the first there.
func (t *Target) noteDevice(dir int) error {
	var st unix.Stat_t
	if err := statHandle(dir, &st); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.devices[device(&st)]; ok {
		return nil
	}
	fd, err := unix.FcntlInt(uintptr(dir), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	t.devices[device(&st)] = fd
	return nil
}

// Warnings implements [drivers.TreeTarget].
func (t *Target) Warnings() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	counted := t.warnings
	t.warnings = make(map[string]int64)
	return counted
}

func (t *Target) warn(kind string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.warnings[kind]++
}
