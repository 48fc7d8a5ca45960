package filesystem

import (
	"fmt"
	"os/user"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// racy is how old the times of a file must be before they tell that it has not changed since: more than the coarsest
// resolution in use (FAT's 2 s for modifications).
const racy = 2 * time.Second

// version returns the text that tells one state of a file's content from any other.
func version(st *unix.Stat_t) string {
	return fmt.Sprintf("%x:%x:%x:%x.%x:%x.%x", device(st), st.Ino, st.Size,
		st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec)
}

// isRacy tells whether a file's times are too young to trust.
func isRacy(st *unix.Stat_t, now time.Time) bool {
	limit := now.Add(-racy)
	return timeOf(st.Mtim).After(limit) || timeOf(st.Ctim).After(limit)
}

func timeOf(ts unix.Timespec) time.Time {
	return time.Unix(int64(ts.Sec), int64(ts.Nsec)) //nolint:unconvert // types differ by system
}

// entryType translates a mode.
func entryType(st *unix.Stat_t) drivers.EntryType {
	switch fileType(st) {
	case unix.S_IFREG:
		return drivers.TypeFile
	case unix.S_IFDIR:
		return drivers.TypeDir
	case unix.S_IFLNK:
		return drivers.TypeSymlink
	case unix.S_IFIFO:
		return drivers.TypeFIFO
	case unix.S_IFSOCK:
		return drivers.TypeSocket
	default:
		return drivers.TypeDevice
	}
}

// entryAt makes the entry of a name that was looked at. For a directory that is open, handle is its handle, else -1.
func (t *Tree) entryAt(at int, name, path string, st *unix.Stat_t, handle int) (drivers.Entry, error) {
	mtime := timeOf(st.Mtim).UTC()
	uid, gid := st.Uid, st.Gid
	e := drivers.Entry{
		Path: path,
		Type: entryType(st),
		Meta: drivers.Meta{
			Mode:    permissions(st),
			ModTime: &mtime,
			UID:     &uid,
			GID:     &gid,
			User:    t.names.user(uid),
			Group:   t.names.group(gid),
		},
	}
	switch e.Type {
	case drivers.TypeFile:
		e.Size = st.Size
		if !isRacy(st, time.Now()) {
			e.Version = version(st)
		}
	case drivers.TypeSymlink:
		target, err := readLink(at, name, st.Size)
		if err != nil {
			return drivers.Entry{}, err
		}
		e.Meta.Target = target
	case drivers.TypeDevice:
		e.Meta.Device = deviceText(st)
	default:
	}
	if st.Nlink > 1 && e.Type != drivers.TypeDir {
		e.Meta.Link = fmt.Sprintf("%d:%d", device(st), st.Ino)
	}
	xattrs, err := listXattrs(at, name, handle, e.Type)
	if err != nil {
		return drivers.Entry{}, err
	}
	e.Meta.Xattrs = xattrs
	return e, nil
}

// deviceText returns "b 8 1" for a block device 8:1.
func deviceText(st *unix.Stat_t) string {
	kind := "c"
	if fileType(st) == unix.S_IFBLK {
		kind = "b"
	}
	rdev := uint64(st.Rdev) //nolint:unconvert // types differ by system
	return fmt.Sprintf("%s %d %d", kind, unix.Major(rdev), unix.Minor(rdev))
}

// parseDevice reads what deviceText wrote.
func parseDevice(text string) (kind uint32, rdev uint64, err error) {
	var c string
	var major, minor uint32
	if n, err := fmt.Sscanf(text, "%1s %d %d", &c, &major, &minor); n != 3 || err != nil {
		return 0, 0, fmt.Errorf("device %q: %w", text, drivers.ErrInvalid)
	}
	switch c {
	case "b":
		kind = unix.S_IFBLK
	case "c":
		kind = unix.S_IFCHR
	default:
		return 0, 0, fmt.Errorf("device %q: %w", text, drivers.ErrInvalid)
	}
	return kind, unix.Mkdev(major, minor), nil
}

// nameCache remembers the names of users and groups, which cost a file's or a directory service's reading each. It is safe
// for concurrent use.
type nameCache struct {
	mu     sync.Mutex
	users  map[uint32]string
	groups map[uint32]string
}

// nameCacheLimit bounds each map: a tree may hold as many owners as there are numbers.
const nameCacheLimit = 10_000

func newNameCache() *nameCache {
	return &nameCache{users: make(map[uint32]string), groups: make(map[uint32]string)}
}

// user returns the name of a user; "" if it has none.
func (c *nameCache) user(id uint32) string {
	return c.get(c.users, id, func(id string) string {
		if u, err := user.LookupId(id); err == nil {
			return u.Username
		}
		return ""
	})
}

// group returns the name of a group; "" if it has none.
func (c *nameCache) group(id uint32) string {
	return c.get(c.groups, id, func(id string) string {
		if g, err := user.LookupGroupId(id); err == nil {
			return g.Name
		}
		return ""
	})
}

func (c *nameCache) get(known map[uint32]string, id uint32, look func(string) string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, ok := known[id]
	if !ok {
		if len(known) >= nameCacheLimit {
			clear(known)
		}
		name = look(strconv.FormatUint(uint64(id), 10))
		known[id] = name
	}
	return name
}
