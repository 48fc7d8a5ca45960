//go:build !linux

package filesystem

import (
	"errors"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

const (
	openPass    = 0
	openNoAtime = 0
	noAutomount = 0
	// utimeOmit as nanoseconds leaves a time as it is: UTIME_OMIT of sys/stat.h.
	utimeOmit = -2
	// syncEach has every file synced before it is published: there is no call for a whole file system.
	syncEach = true
)

// Extended attributes are kept on Linux only.

func xattrKept(string) bool { return false }

func listXattrs(int, string, int, drivers.EntryType) (map[string][]byte, error) { return nil, nil }

type xattrs struct {
	fd   int
	path string
}

func (xattrs) list() ([]string, error)    { return nil, nil }
func (xattrs) get(string) ([]byte, error) { return nil, unix.ENOTSUP }
func (xattrs) set(string, []byte) error   { return unix.ENOTSUP }
func (xattrs) remove(string) error        { return unix.ENOTSUP }

func xattrHeld(string, drivers.EntryType, rights, limits) bool { return false }

func chmodAt(at int, name string, mode uint32) error {
	return retry(func() error { return unix.Fchmodat(at, name, mode, unix.AT_SYMLINK_NOFOLLOW) })
}

// makeNode cannot make FIFOs and devices relative to a handle here.
func makeNode(int, string, uint32, uint64) error { return unix.EPERM }

func renameNew(int, string, string) error { return unix.ENOSYS }

// isMountPoint cannot tell more than device numbers do.
func isMountPoint(int, string) bool { return false }

func syncFileSystem(int) error { return unix.Sync() }

type rights struct {
	chown, mknod, setfcap, trusted bool
	uid                            uint32
	groups                         []uint32
	uids, gids                     []idRange
	umask                          uint32
}

type idRange struct{ first, count uint64 }

func ownRights() rights {
	r := rights{
		chown: os.Geteuid() == 0,
		uid:   uint32(os.Geteuid()), //nolint:gosec // 32 bits by definition
		umask: 0o022,
		uids:  []idRange{{0, math.MaxUint32}},
		gids:  []idRange{{0, math.MaxUint32}},
	}
	groups, err := os.Getgroups()
	if err != nil {
		groups = nil
	}
	for _, g := range append(groups, os.Getegid()) {
		r.groups = append(r.groups, uint32(g)) //nolint:gosec // 32 bits by definition
	}
	return r
}

type limits struct {
	unit              time.Duration
	modes, acls, user bool
}

func fileSystemLimits(int) limits { return limits{unit: 1, modes: true} }

var errNoHoles = errors.New("holes are not known here")

func nextData(int, int64) (int64, error) { return 0, errNoHoles }

func nextHole(int, int64) (int64, error) { return 0, errNoHoles }

// Restores of two runs into one directory are noticed on Linux only.

func lockRun(int, string) error { return nil }

func unlockRun(int, string) {}

func holders(int, string) (other, same, known bool) { return false, false, false }
