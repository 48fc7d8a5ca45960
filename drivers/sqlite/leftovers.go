package sqlite

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"salvor/drivers"
)

// A restore that was killed for good leaves its work directory, with up to two copies of the database, and nobody will
// take that run up again. The next restore of the same target removes it. A directory is dead if nobody holds a lock in it
// and its run began before this one: of two restores that do meet, the later goes on, and the earlier finds its directory
// gone as if it were over.

// errKept says that a dead restore's directory holds the only copy of a database.
var errKept = errors.New("an interrupted restore moved a database aside and never put another in its place")

// reclaim removes what dead restores of this target left. A database that one had moved aside goes back where nothing has
// taken its name, which returned tells; where something has, it is kept, and the error says where.
func (s *Source) reclaim(own work) (returned bool, err error) {
	dead, err := s.others(own)
	if err != nil {
		return false, err
	}
	for _, w := range dead {
		err := s.reclaimOne(w)
		if errors.Is(err, errKept) {
			var back bool
			if back, err = s.returnOld(w, err); back {
				returned = true
				err = s.reclaimOne(w)
			}
		}
		if err != nil {
			return returned, fmt.Errorf("remove what an interrupted restore left in %s: %w", w.dir, err)
		}
	}
	return returned, nil
}

// others returns the directories of the target's restores that began before this one, dead or alive.
func (s *Source) others(own work) ([]work, error) {
	began, err := own.began()
	if err != nil {
		return nil, err
	}
	all, err := s.works()
	if err != nil {
		return nil, err
	}
	var others []work
	for _, w := range all {
		earlier, err := w.earlier(began, own.dir)
		if err != nil {
			return nil, err
		}
		if earlier {
			others = append(others, w)
		}
	}
	return others, nil
}

// works returns the directories of all restores of the target by this user.
func (s *Source) works() (all []work, err error) {
	parent, prefix := filepath.Dir(s.path), workPrefix(s.path)
	dir, err := os.Open(parent)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	for {
		names, err := dir.Readdirnames(1000)
		for _, name := range names {
			run, ok := strings.CutPrefix(name, prefix)
			if !ok || checkID(run) != nil {
				continue
			}
			w := work{dir: filepath.Join(parent, name), target: s.path}
			ours, err := w.ours()
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			if ours {
				all = append(all, w)
			}
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// earlier tells whether a restore began before another. The order is total, so that two restores never remove each
// other's directories.
func (w work) earlier(than time.Time, dir string) (bool, error) {
	began, err := w.began()
	if err != nil {
		return false, ignoreAbsent(err)
	}
	return began.Before(than) || began.Equal(than) && w.dir < dir, nil
}

// began returns when the restore was first prepared: its lock is made then and never written to.
func (w work) began() (time.Time, error) {
	info, err := os.Lstat(w.path("lock"))
	if errors.Is(err, fs.ErrNotExist) {
		info, err = os.Lstat(w.dir) // it died between the two
	}
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// reclaimOne removes a restore's directory, unless a process works in it. It returns errKept where that would lose a
// database.
func (s *Source) reclaimOne(w work) (err error) {
	release, err := w.tryAcquire()
	if err != nil || release == nil {
		return ignoreAbsent(err)
	}
	defer func() { err = errors.Join(err, release()) }()
	if busy, err := w.loading(); err != nil || busy {
		return err
	}
	needed, err := w.oldNeeded()
	if err != nil {
		return err
	}
	if needed {
		return drivers.WithHint(fmt.Errorf("%w: %w", errKept, drivers.ErrNotEmpty),
			fmt.Sprintf("the database that was there is %s, with its -wal and -journal if any: keep it elsewhere or remove it, then restore again", w.aside("")))
	}
	return w.removeAll()
}

// removeAll removes the directory; the old database first, while the rest still tells that it may go.
func (w work) removeAll() error {
	// That the image has the target's name must not be lost if the system stops after the old database went.
	if err := syncDir(filepath.Dir(w.dir)); err != nil {
		return err
	}
	if err := os.RemoveAll(w.path("old")); err != nil {
		return err
	}
	if err := os.RemoveAll(w.dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(w.dir))
}

// loading tells whether an attempt is writing or checking an image.
func (w work) loading() (bool, error) {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return false, err
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), imageSuffix) {
			continue
		}
		f, err := os.OpenFile(w.path(entry.Name()), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		free, err := tryLock(f)
		if err := errors.Join(err, f.Close()); err != nil || !free {
			return !free, err
		}
	}
	return false, nil
}

// oldNeeded tells whether old/ holds a database in whose place no image came, as far as can be known: what has the
// target's name may have been made by an application that found nothing there.
func (w work) oldNeeded() (bool, error) {
	if old, err := exists(w.aside("")); err != nil || !old {
		return false, err
	}
	if there, err := exists(w.target); err != nil || !there {
		return true, err
	}
	if done, err := w.loaded(); err != nil || done {
		return false, err
	}
	placed, err := w.placed()
	return !placed, err
}

// placed tells whether what has the target's name is the image that was about to get it.
func (w work) placed() (bool, error) {
	info, err := os.Lstat(w.target)
	if err != nil {
		return false, ignoreAbsent(err)
	}
	return w.published(info)
}

// returnOld puts back what a dead restore moved aside, or returns kept where something else has the target's name. No
// restore of the target changes anything there meanwhile: a log that goes back beside the database of another would
// destroy it.
func (s *Source) returnOld(dead work, kept error) (back bool, err error) {
	all, err := s.works()
	if err != nil {
		return false, err
	}
	for _, w := range all {
		release, lockErr := w.tryAcquire()
		if errors.Is(lockErr, fs.ErrNotExist) {
			continue
		}
		if lockErr == nil && release == nil {
			lockErr = drivers.WithHint(fmt.Errorf("another restore is changing %s", s.path), "wait until it is done, then restore again")
		}
		if lockErr != nil {
			return false, lockErr
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	if there, err := exists(s.path); err != nil {
		return false, err
	} else if there {
		return false, kept
	}
	if needed, err := dead.oldNeeded(); err != nil || !needed {
		return false, err
	}
	return true, s.putBack(dead)
}

// tryAcquire locks what happens to the target's name, like acquire; release is nil if it is locked already.
func (w work) tryAcquire() (release func() error, err error) {
	f, err := os.OpenFile(w.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	ok, err := tryLock(f)
	if err == nil && ok {
		ok, err = isAt(f, f.Name())
	}
	if err != nil || !ok {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

// discard removes the directory of a restore that failed, if nothing is in it that anyone needs: no image, no old
// database, no record.
func (w work) discard() (err error) {
	release, err := w.tryAcquire()
	if err != nil || release == nil {
		return ignoreAbsent(err)
	}
	defer func() { err = errors.Join(err, release()) }()
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if name := entry.Name(); name != "lock" && name != "old" && name != "published" {
			return nil
		}
	}
	if placed, err := w.placed(); err != nil || placed {
		return err
	}
	// An old/ that is not empty stays, with all else.
	if err := os.Remove(w.path("old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ignoreFull(err)
	}
	if err := ignoreAbsent(os.Remove(w.path("published"))); err != nil {
		return err
	}
	if err := os.Remove(w.path("lock")); err != nil {
		return err
	}
	if err := os.Remove(w.dir); err != nil {
		return ignoreFull(err)
	}
	return syncDir(filepath.Dir(w.dir))
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ignoreFull lets a directory that is not empty stay. Its error is fs.ErrExist to the library.
func ignoreFull(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
