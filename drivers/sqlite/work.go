package sqlite

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// work is the directory beside the target in which one restore does its work. Prepare makes it, loads work in it and
// fail without it, Finish removes it: an attempt that wakes up after its restore is over finds nothing to publish.
//
// # What is in it
//
//	lock         held (flock) while the target's name is changed, so that one attempt does that at a time; it is made
//	             when the restore is prepared, and its time says when that was
//	<token>.new  the image that an attempt writes; locked by it, so that what a dead one left can be told and removed
//	published    the inode of the image that is about to take the target's name
//	old/         what had the target's name before, with the files that belong to it: a coherent database
//	loaded       the image has the target's name, durably
//
// # Why it can be interrupted anywhere
//
// Each step is durable before the next one begins. Before published is written nothing outside has changed. After it,
// the inode under the target's name tells whether the image got there, whatever an application has written into it
// since, so that it is never published twice. What was moved to old/ stays there until loaded is written and Finish
// removes all, and is put back if publishing fails.
type work struct {
	dir    string
	target string
}

const lockWait = 30 * time.Second

// work returns the place for a run's work; it need not exist.
func (s *Source) work(run string) (work, error) {
	if err := checkID(run); err != nil {
		return work{}, fmt.Errorf("run %q: %w", run, err)
	}
	return work{dir: filepath.Join(filepath.Dir(s.path), workPrefix(s.path)+run), target: s.path}, nil
}

// workPrefix begins the names of the work directories of a target; the run follows.
func workPrefix(target string) string {
	name := filepath.Base(target)
	if len(name) > 120 { // names of files end at 255 bytes
		name = fmt.Sprintf("%s-%x", name[:100], sha256.Sum256([]byte(name)))[:117]
	}
	return "." + name + ".salvor-"
}

// checkID refuses what could not be a part of a file's name.
func checkID(id string) error {
	if id == "" || len(id) > 80 {
		return fmt.Errorf("length %d: %w", len(id), drivers.ErrInvalid)
	}
	if strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) {
		return fmt.Errorf("letters, digits, - and _ only: %w", drivers.ErrInvalid)
	}
	return nil
}

func (w work) path(name string) string { return filepath.Join(w.dir, name) }

// aside is where a file that belongs to the old database is kept. It keeps its name, by which SQLite finds it.
func (w work) aside(suffix string) string {
	return filepath.Join(w.path("old"), filepath.Base(w.target)+suffix)
}

// create makes the directory. A directory of another user's making is refused: its owner could change what is in it.
func (w work) create() error {
	err := os.Mkdir(w.dir, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if ours, err := w.ours(); err != nil {
		return err
	} else if !ours {
		return fmt.Errorf("%s is not a directory of this user: %w", w.dir, drivers.ErrAccess)
	}
	lock, err := os.OpenFile(w.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return errors.Join(err, w.discard())
	}
	return errors.Join(lock.Close(), syncDir(filepath.Dir(w.dir)))
}

// ours tells whether the directory is one, and this user's.
func (w work) ours() (bool, error) {
	info, err := os.Lstat(w.dir)
	if err != nil {
		return false, err
	}
	uid, _ := ownerOf(info)
	return info.IsDir() && uid != nil && int64(*uid) == int64(os.Geteuid()), nil
}

// loaded tells whether the image was published.
func (w work) loaded() (bool, error) { return exists(w.path("loaded")) }

// mark writes a small file durably.
func (w work) mark(name, text string) error {
	f, err := os.OpenFile(w.path(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if text != "" {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Sync())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return syncDir(w.dir)
}

// published tells whether a file is the image that was about to be published.
func (w work) published(info fs.FileInfo) (bool, error) {
	text, err := os.ReadFile(w.path("published"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	id, ok := inodeOf(info)
	return ok && string(text) == id+"\n", err
}

// acquire locks what happens to the target's name until the returned function is called. A process that was stopped
// while it held the lock keeps it until it ends: whatever was done without it could be undone when it goes on.
func (w work) acquire(ctx context.Context) (release func() error, err error) {
	f, err := os.OpenFile(w.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	deadline := time.NewTimer(lockWait)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := tryLock(f)
		if err != nil {
			return nil, err
		}
		if ok {
			break
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-deadline.C:
			return nil, drivers.WithHint(fmt.Errorf("another process of this restore holds %s", f.Name()),
				"end that process if it hangs")
		case <-tick.C:
		}
	}
	if ok, err := isAt(f, f.Name()); err != nil {
		return nil, err
	} else if !ok {
		return nil, errOver
	}
	return f.Close, nil
}

// errOver is what a late attempt gets.
var errOver = fmt.Errorf("the restore is not prepared, or over, or a later one of this target took its place: %w", drivers.ErrInvalid)

// tryLock locks an open file for this descriptor, if nobody else has it locked.
func tryLock(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return true, nil
}

// sweep removes the images that dead attempts left: a retry needs their space.
func (w work) sweep() error {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), imageSuffix) {
			continue
		}
		if err := w.removeDead(w.path(entry.Name())); err != nil {
			return fmt.Errorf("remove what an earlier attempt left: %w", err)
		}
	}
	return nil
}

func (w work) removeDead(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	dead, err := tryLock(f)
	if err == nil && dead {
		err = w.remove(f)
	}
	return errors.Join(err, f.Close())
}

// remove removes an image, and first the record that it was about to be published: its inode may be given to another
// file that gets the target's name.
func (w work) remove(f *os.File) error {
	there, err := isAt(f, f.Name())
	if err != nil || !there {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	recorded, err := w.published(info)
	if err != nil {
		return err
	}
	placed, err := isAt(f, w.target)
	if err != nil {
		return err
	}
	if recorded && !placed {
		if err := os.Remove(w.path("published")); err != nil {
			return err
		}
		if err := syncDir(w.dir); err != nil {
			return err
		}
	}
	return os.Remove(f.Name())
}
