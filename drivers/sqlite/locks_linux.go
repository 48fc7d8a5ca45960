package sqlite

import (
	"bufio"
	"bytes"
	"os"
	"slices"
	"strconv"
	"syscall"
)

// Where SQLite sets its locks; part of its file format, as other processes must agree on it. See
// https://www.sqlite.org/src/file/src/os.h and https://www.sqlite.org/walformat.html.
const (
	sharedByte    = 1<<30 + 2 // of the main file: the first byte of the range that every reader locks
	deadManSwitch = 128       // of the shared memory: locked by everyone who has it open
)

// lockRange is a range of a file that this process has locked.
type lockRange struct {
	inode    uint64
	from, to int64
}

type lockRanges []lockRange

func (held lockRanges) covers(l lock) bool {
	return slices.ContainsFunc(held, func(r lockRange) bool {
		return r.inode == l.inode && r.from <= l.at && l.at <= r.to
	})
}

// watchLocks returns the locks that SQLite has just taken on a database. Both stay locked for as long as the transaction
// is open, and neither is taken again once it is lost, because SQLite believes to have it. Where the system does not
// show them (a sandbox, a stacked file system with other inode numbers), none are watched.
func watchLocks(path string) []lock {
	held, err := heldLocks()
	if err != nil {
		return nil
	}
	var locks []lock
	for _, l := range []struct {
		path string
		at   int64
	}{{path, sharedByte}, {path + "-shm", deadManSwitch}} {
		info, err := os.Stat(l.path)
		if err != nil {
			continue
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			continue
		}
		if inode := stat.Ino; held.covers(lock{inode, l.at}) {
			locks = append(locks, lock{inode, l.at})
		}
	}
	return locks
}

// heldLocks returns the POSIX locks of this process. To ask with fcntl would need a descriptor of the file, and to close
// that would drop the very locks.
func heldLocks() (lockRanges, error) {
	text, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil, err
	}
	return parseLocks(text, os.Getpid()), nil
}

// parseLocks reads lines such as
//
//	1: POSIX  ADVISORY  READ 19909 fe:00:9977890 123 123
//
// See proc(5). Lines of waiting locks have "->" as their second field.
func parseLocks(text []byte, pid int) lockRanges {
	var held lockRanges
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		f := bytes.Fields(lines.Bytes())
		if len(f) != 8 || string(f[1]) != "POSIX" || string(f[4]) != strconv.Itoa(pid) {
			continue
		}
		file := f[5][bytes.LastIndexByte(f[5], ':')+1:]
		inode, err := strconv.ParseUint(string(file), 10, 64)
		if err != nil {
			continue
		}
		from, err := strconv.ParseInt(string(f[6]), 10, 64)
		if err != nil {
			continue
		}
		to := int64(1<<63 - 1)
		if string(f[7]) != "EOF" {
			if to, err = strconv.ParseInt(string(f[7]), 10, 64); err != nil {
				continue
			}
		}
		held = append(held, lockRange{inode, from, to})
	}
	return held
}
