package filesystem

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

const (
	// openPass opens a directory that may be passed through but not listed.
	openPass = unix.O_PATH
	// openNoAtime leaves the time of access alone; only a file's owner may ask for it.
	openNoAtime = unix.O_NOATIME
	// noAutomount keeps a look at a name from mounting what an automounter has for it.
	noAutomount = unix.AT_NO_AUTOMOUNT
	// utimeOmit as nanoseconds leaves a time as it is.
	utimeOmit = unix.UTIME_OMIT
	// syncEach is off: Sync asks for whole file systems at once.
	syncEach = false
)

// xattrKept tells the extended attributes that belong to a file rather than to the system that it lies in (SELinux labels
// do the latter).
func xattrKept(name string) bool {
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.") ||
		strings.HasPrefix(name, "system.posix_acl_") || name == "security.capability"
}

// listXattrs returns the extended attributes that are kept, by their keys in [drivers.Meta], of an open file or, where handle is -1, of a name.
func listXattrs(at int, name string, handle int, kind drivers.EntryType) (map[string][]byte, error) {
	x := xattrs{fd: handle}
	if handle < 0 {
		// There is no call for a name below a handle before Linux 6.13. The kernel's view of our handles is as good: the
		// last name is not followed.
		if at == unix.AT_FDCWD {
			x.path = name
		} else {
			x.path = "/proc/self/fd/" + strconv.Itoa(at) + "/" + name
		}
	}
	names, err := x.list()
	if errors.Is(err, unix.ENOENT) && handle < 0 && kind == drivers.TypeFile && !procMounted() {
		fd, errOpen := openAt(at, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if errOpen != nil {
			return nil, errOpen
		}
		defer closeHandle(fd)
		x = xattrs{fd: fd}
		names, err = x.list()
	}
	if err != nil {
		return nil, err
	}
	var found map[string][]byte
	for _, name := range names {
		value, err := x.get(name)
		if errors.Is(err, unix.ENODATA) {
			continue // removed in between
		}
		if err != nil {
			return nil, err
		}
		if found == nil {
			found = make(map[string][]byte)
		}
		found[xattrKey(name)] = value
	}
	return found, nil
}

// procMounted tells whether names can be reached through the kernel's view of our handles.
func procMounted() bool {
	var st unix.Stat_t
	return unix.Stat("/proc/self/fd", &st) == nil
}

// xattrs reaches extended attributes through a handle, or through a path where there is none.
type xattrs struct {
	fd   int
	path string
}

// list returns the names that are kept, sorted; none where the file system has none.
func (x xattrs) list() ([]string, error) {
	buf, err := grow(func(buf []byte) (int, error) {
		if x.path != "" {
			return unix.Llistxattr(x.path, buf)
		}
		return unix.Flistxattr(x.fd, buf)
	})
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range bytes.SplitSeq(buf, []byte{0}) {
		if xattrKept(string(name)) {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (x xattrs) get(name string) ([]byte, error) {
	return grow(func(buf []byte) (int, error) {
		if x.path != "" {
			return unix.Lgetxattr(x.path, name, buf)
		}
		return unix.Fgetxattr(x.fd, name, buf)
	})
}

func (x xattrs) set(name string, value []byte) error {
	return retry(func() error {
		if x.path != "" {
			return unix.Lsetxattr(x.path, name, value, 0)
		}
		return unix.Fsetxattr(x.fd, name, value, 0)
	})
}

func (x xattrs) remove(name string) error {
	return retry(func() error {
		if x.path != "" {
			return unix.Lremovexattr(x.path, name)
		}
		return unix.Fremovexattr(x.fd, name)
	})
}

// grow calls read with larger buffers until the answer fits.
func grow(read func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n := 0
		err := retry(func() (err error) {
			n, err = read(buf)
			return err
		})
		if errors.Is(err, unix.ERANGE) && size < 1<<24 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}

// chmodAt sets the mode of a name that is neither a file nor a directory, and not of what a link in its place leads to.
func chmodAt(at int, name string, mode uint32) error {
	err := retry(func() error { return unix.Fchmodat(at, name, mode, unix.AT_SYMLINK_NOFOLLOW) })
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	fd, err := openAt(at, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer closeHandle(fd)
	var st unix.Stat_t
	if err := statHandle(fd, &st); err != nil {
		return err
	}
	if fileType(&st) == unix.S_IFLNK {
		return unix.ELOOP
	}
	return retry(func() error { return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode) })
}

// makeNode makes a FIFO or a device.
func makeNode(at int, name string, kind uint32, rdev uint64) error {
	return retry(func() error {
		return unix.Mknodat(at, name, kind|0o600, int(rdev)) //nolint:gosec // the system call takes the bits
	})
}

// renameNew renames only if the new name is free.
func renameNew(at int, from, to string) error {
	return retry(func() error { return unix.Renameat2(at, from, at, to, unix.RENAME_NOREPLACE) })
}

// isMountPoint tells whether something is mounted on a directory, of the same file system too (a bind mount).
func isMountPoint(at int, name string) bool {
	var st unix.Statx_t
	err := retry(func() error {
		return unix.Statx(at, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, 0, &st)
	})
	return err == nil && st.Attributes&st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 // known since Linux 5.8
}

// syncFileSystem makes all of the file system durable that holds an open directory.
func syncFileSystem(fd int) error {
	// A handle that only passes through cannot be synced.
	again, err := openAt(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer closeHandle(again)
	return retry(func() error { return unix.Syncfs(again) })
}

// rights are what this process may do.
type rights struct {
	chown, mknod, setfcap, trusted bool
	uid                            uint32
	groups                         []uint32
	uids, gids                     []idRange // the numbers that exist in our user namespace
	umask                          uint32
}

// idRange is a line of /proc/self/uid_map.
type idRange struct{ first, count uint64 }

// ownRights asks the system.
func ownRights() rights {
	r := rights{
		uid:   uint32(os.Geteuid()), //nolint:gosec // 32 bits by definition
		umask: 0o022,
		uids:  readIDMap("/proc/self/uid_map"),
		gids:  readIDMap("/proc/self/gid_map"),
	}
	groups, err := os.Getgroups()
	if err != nil {
		groups = nil
	}
	for _, g := range append(groups, os.Getegid()) {
		r.groups = append(r.groups, uint32(g)) //nolint:gosec // 32 bits by definition
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) == nil {
		has := func(c uint) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
		r.chown, r.mknod = has(unix.CAP_CHOWN), has(unix.CAP_MKNOD)
		r.setfcap, r.trusted = has(unix.CAP_SETFCAP), has(unix.CAP_SYS_ADMIN)
	}
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range strings.Lines(string(status)) {
			if text, ok := strings.CutPrefix(line, "Umask:"); ok {
				if mask, err := strconv.ParseUint(strings.TrimSpace(text), 8, 32); err == nil {
					r.umask = uint32(mask)
				}
			}
		}
	}
	return r
}

// readIDMap reads which numbers exist; all of them where it cannot be told.
func readIDMap(file string) []idRange {
	all := []idRange{{0, math.MaxUint32}}
	text, err := os.ReadFile(file)
	if err != nil {
		return all
	}
	var ranges []idRange
	for line := range strings.Lines(string(text)) {
		var first, outside, count uint64
		if n, err := fmt.Sscan(line, &first, &outside, &count); n != 3 || err != nil {
			return all
		}
		ranges = append(ranges, idRange{first, count})
	}
	return ranges
}

// limits are what a file system can hold.
type limits struct {
	unit  time.Duration // of times
	modes bool          // modes and owners
	acls  bool
	user  bool // user.* attributes
}

// fileSystemLimits asks the file system of a directory.
func fileSystemLimits(fd int) limits {
	l := limits{unit: 1, modes: true, acls: true, user: true}
	var st unix.Statfs_t
	if retry(func() error { return unix.Fstatfs(fd, &st) }) == nil {
		switch uint32(st.Type) { //nolint:gosec // a magic number, whose width differs by system
		case unix.MSDOS_SUPER_MAGIC, unix.EXFAT_SUPER_MAGIC:
			l.unit, l.modes = 2*time.Second, false
		default:
		}
	}
	none := func(name string) bool {
		_, err := unix.Fgetxattr(fd, name, nil)
		return errors.Is(err, unix.ENOTSUP)
	}
	l.user, l.acls = !none("user.salvor"), !none("system.posix_acl_access")
	return l
}

// xattrHeld tells whether an entry of the target can have an attribute.
func xattrHeld(name string, kind drivers.EntryType, r rights, l limits) bool {
	switch {
	case strings.HasPrefix(name, "user."):
		return l.user && (kind == drivers.TypeFile || kind == drivers.TypeDir)
	case strings.HasPrefix(name, "trusted."):
		return r.trusted
	case strings.HasPrefix(name, "system.posix_acl_"):
		return l.acls && kind != drivers.TypeSymlink
	case name == "security.capability":
		return r.setfcap && kind == drivers.TypeFile
	default:
		return false
	}
}

// nextData returns where data begins at or after an offset, and nextHole where it ends; EOF-like ENXIO if there is none.
func nextData(fd int, offset int64) (int64, error) { return unix.Seek(fd, offset, unix.SEEK_DATA) }

func nextHole(fd int, offset int64) (int64, error) { return unix.Seek(fd, offset, unix.SEEK_HOLE) }
