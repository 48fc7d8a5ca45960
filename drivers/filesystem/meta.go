package filesystem

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// metaTarget is what metadata is set on: an open file or directory (whose name is "." in itself), or a name below a handle.
type metaTarget struct {
	fd   int // -1 where there is none
	at   int
	name string
}

func (m metaTarget) stat(st *unix.Stat_t) error {
	if m.fd >= 0 {
		return statHandle(m.fd, st)
	}
	return statAt(m.at, m.name, st)
}

func (m metaTarget) chmod(mode uint32) error {
	if m.fd >= 0 {
		return retry(func() error { return unix.Fchmod(m.fd, mode) })
	}
	return chmodAt(m.at, m.name, mode)
}

func (m metaTarget) chown(uid, gid int) error {
	return retry(func() error {
		if m.fd >= 0 {
			return unix.Fchown(m.fd, uid, gid)
		}
		return unix.Fchownat(m.at, m.name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// setTime sets the time of modification, by name: if another process has put something else there, that has a wrong time
// and nothing worse.
func (m metaTarget) setTime(t time.Time) error {
	mtime, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	times := []unix.Timespec{{Nsec: utimeOmit}, mtime}
	return retry(func() error { return unix.UtimesNanoAt(m.at, m.name, times, unix.AT_SYMLINK_NOFOLLOW) })
}

func (m metaTarget) xattrs() xattrs {
	if m.fd >= 0 {
		return xattrs{fd: m.fd}
	}
	return xattrs{fd: -1, path: "/proc/self/fd/" + strconv.Itoa(m.at) + "/" + m.name}
}

// setAll sets an entry's metadata. What may not be set is counted; errors are those of a disk.
//
// The order matters: user attributes need write permission, which the mode may take; a change of owner clears setuid and
// capabilities; an ACL is part of the mode; everything but the time changes the time of a directory or may do so.
func (t *Target) setAll(m metaTarget, entry drivers.Entry) error {
	// What is there may have any attributes; but for a link, which has none that it could have inherited.
	n := newborn{inherits: entry.Type != drivers.TypeSymlink}
	if err := m.stat(&n.stat); err != nil {
		return wrap("look at", entry.Path, err)
	}
	return t.setKnown(m, entry, &n)
}

// setKnown is setAll for what is known to be as n says.
func (t *Target) setKnown(m metaTarget, entry drivers.Entry, n *newborn) error {
	path, meta, st := entry.Path, entry.Meta, n.stat
	if known(meta) {
		l := t.heldLimits()
		changes, err := t.xattrChanges(m, entry, l, n.inherits)
		if err != nil {
			return wrap("read attributes of", path, err)
		}
		if err := t.setXattrs(m, &st, changes, path, isUserXattr); err != nil {
			return err
		}
		owned, err := t.setOwner(m, &st, meta, l)
		if err != nil {
			return wrap("set owner of", path, err)
		}
		if err := t.setMode(m, entry, owned); err != nil {
			return wrap("set mode of", path, err)
		}
		err = t.setXattrs(m, &st, changes, path, func(name string) bool { return !isUserXattr(name) })
		if err != nil {
			return err
		}
	} else if entry.Type == drivers.TypeFile {
		if err := t.setDefaultMode(m, 0o666); err != nil {
			return wrap("set mode of", path, err)
		}
	}
	if meta.ModTime != nil {
		if err := m.setTime(*meta.ModTime); err != nil {
			return wrap("set time of", path, err)
		}
	}
	return nil
}

// setDefaultMode sets what a new file or directory has.
func (t *Target) setDefaultMode(m metaTarget, mode uint32) error {
	return t.refusable(warnMode, m.chmod(mode&^t.rights().umask))
}

// refusable counts a refusal and passes on any other error.
func (t *Target) refusable(kind string, err error) error {
	if isRefusal(err) {
		t.warn(kind)
		return nil
	}
	return err
}

// isRefusal tells the errors of what the process may not do, or the file system has not got.
func isRefusal(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOTSUP) ||
		errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
}

// setOwner sets user and group, and tells whether they are the wanted ones.
func (t *Target) setOwner(m metaTarget, st *unix.Stat_t, meta drivers.Meta, l limits) (bool, error) {
	if equalID(meta.UID, &st.Uid) && equalID(meta.GID, &st.Gid) {
		return true, nil
	}
	r := t.rights()
	uid, gid := -1, -1
	if meta.UID != nil && r.mayOwn(*meta.UID) && l.modes {
		uid = int(*meta.UID)
	}
	if meta.GID != nil && r.mayGroup(*meta.GID) && l.modes {
		gid = int(*meta.GID)
	}
	if uid >= 0 || gid >= 0 {
		err := m.chown(uid, gid)
		if err != nil && !isRefusal(err) {
			return false, err
		}
		if err := m.stat(st); err != nil {
			return false, err
		}
	}
	if equalID(meta.UID, &st.Uid) && equalID(meta.GID, &st.Gid) {
		return true, nil
	}
	t.warn(warnOwner)
	return false, nil
}

// setMode sets the mode; setuid and setgid only if the owner is the wanted one.
func (t *Target) setMode(m metaTarget, entry drivers.Entry, owned bool) error {
	if entry.Type == drivers.TypeSymlink {
		return nil // they have none
	}
	mode := entry.Meta.Mode & 0o7777
	if !owned && mode&setID != 0 {
		mode &^= setID
		t.warn(warnSetID)
	}
	return t.refusable(warnMode, m.chmod(mode))
}

// xattrChanges returns what is to be set, and as nil what is to be removed: a new file inherits ACLs from its directory. has tells
// that there may be any.
func (t *Target) xattrChanges(m metaTarget, entry drivers.Entry, l limits, has bool) (map[string][]byte, error) {
	x := m.xattrs()
	wanted := rawXattrs(entry.Meta.Xattrs)
	var names []string
	if has || len(wanted) > 0 {
		var err error
		if names, err = x.list(); err != nil && !isRefusal(err) {
			return nil, err
		}
	}
	if len(names) == 0 && len(wanted) == 0 {
		return nil, nil
	}
	changes := make(map[string][]byte)
	for name, value := range wanted {
		if !xattrHeld(name, entry.Type, t.rights(), l) {
			t.warn(warnXattr)
			continue
		}
		if slices.Contains(names, name) {
			if have, err := x.get(name); err == nil && bytes.Equal(have, value) {
				continue
			}
		}
		changes[name] = append([]byte{}, value...)
	}
	for _, name := range names {
		if _, ok := wanted[name]; !ok && xattrHeld(name, entry.Type, t.rights(), l) {
			changes[name] = nil
		}
	}
	return changes, nil
}

func isUserXattr(name string) bool { return strings.HasPrefix(name, "user.") }

// setXattrs makes those of the changes that choose picks.
func (t *Target) setXattrs(m metaTarget, st *unix.Stat_t, changes map[string][]byte, path string, choose func(string) bool) error {
	x := m.xattrs()
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		if !choose(name) {
			continue
		}
		if isUserXattr(name) && permissions(st)&0o200 == 0 {
			// They need write permission even of an owner. The mode is set after this.
			if err := t.refusable(warnMode, m.chmod(permissions(st)|0o200)); err != nil {
				return wrap("set mode of", path, err)
			}
		}
		var err error
		if value := changes[name]; value != nil {
			err = x.set(name, value)
		} else if err = x.remove(name); errors.Is(err, unix.ENODATA) {
			err = nil
		}
		if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ERANGE) {
			t.warn(warnXattr) // more than this file system can hold
			continue
		}
		if err := t.refusable(warnXattr, err); err != nil {
			return wrap("set attribute "+strconv.Quote(name)+" of", path, err)
		}
	}
	return nil
}
