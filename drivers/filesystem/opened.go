package filesystem

import (
	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// opened is a directory that entries are put into. Entries come in the order of their paths, so the target keeps the last
// one open: what is asked once for a directory would cost as much as the writing of a small file.
type opened struct {
	path string // of the directory, with the slash at its end; "" is the root
	fd   int

	users int // guarded by Target.mu
	// newborn is what a new file has here, from the first one on; guarded by Target.mu.
	newborn *newborn
}

// newborn is what the system gives a new file of this process in a directory: the owner, whose group may be the directory's, and
// whether it inherits extended attributes (an ACL).
type newborn struct {
	stat     unix.Stat_t
	inherits bool
}

// enterFor returns the directory that an entry lies in, making what is missing, and the entry's own name. The caller
// gives it back with leaveDir.
func (t *Target) enterFor(root int, target drivers.Target, path string) (*opened, string, error) {
	parent := parentOf(path)
	name := path[len(parent):]
	t.mu.Lock()
	if d := t.last; d != nil && d.path == parent {
		d.users++
		t.mu.Unlock()
		return d, name, nil
	}
	t.mu.Unlock()
	fd, _, err := t.parent(root, target, path)
	if err != nil {
		return nil, "", err
	}
	if err := t.noteDevice(fd); err != nil {
		closeHandle(fd)
		return nil, "", wrap("look at", path, err)
	}
	d := &opened{path: parent, fd: fd, users: 2} // the caller, and the target
	t.mu.Lock()
	before := t.last
	t.last = d
	t.mu.Unlock()
	t.leaveDir(before)
	return d, name, nil
}

// leaveDir gives a directory back; nil is none.
func (t *Target) leaveDir(d *opened) {
	if d == nil {
		return
	}
	t.mu.Lock()
	d.users--
	unused := d.users == 0
	t.mu.Unlock()
	if unused {
		closeHandle(d.fd)
	}
}

// forgetDir has the next entry look for its directory anew.
func (t *Target) forgetDir() {
	t.mu.Lock()
	d := t.last
	t.last = nil
	t.mu.Unlock()
	t.leaveDir(d)
}

// born returns what a new file has in a directory; nil if none was made there yet.
func (t *Target) born(d *opened) *newborn {
	t.mu.Lock()
	defer t.mu.Unlock()
	return d.newborn
}

// learn looks at the first new file of a directory. Those after it have the same: what is inherited is set on directories
// when they are settled, after all that is put into them.
func (t *Target) learn(d *opened, m metaTarget) (*newborn, error) {
	if n := t.born(d); n != nil {
		return n, nil
	}
	n := &newborn{}
	if err := m.stat(&n.stat); err != nil {
		return nil, err
	}
	names, err := m.xattrs().list()
	if err != nil && !isRefusal(err) {
		return nil, err
	}
	n.inherits = len(names) > 0
	t.mu.Lock()
	defer t.mu.Unlock()
	d.newborn = n
	return n, nil
}
