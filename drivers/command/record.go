package command

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// record is what a restore remembers of the program that it runs: a directory in the scratch space, named after the run,
// the node and the program. Prepare makes it, loads fail without it. It outlives the restore: neither an attempt that wakes up after its
// restore is over nor a resume of the run, which failed with another node, runs the program again.
//
// # What is in it
//
//	lock     held (flock) while the program runs, so that one attempt does that at a time
//	started  the program was started, and it is not known that it failed
//	loaded   the program has read all of the part and ended well
//
// Both marks are durable before what follows them. So started without loaded, under the lock, tells that the process which
// ran the program died, or could not tell how the program ended.
//
// # How far it reaches
//
// As far as the scratch space: the processes of one host that have the same, or several hosts that share one.
type record struct{ dir string }

const (
	recordPrefix = "salvor-command-"
	// recordAge is when a record that nobody uses is taken for that of a restore which failed or died. Nothing is lost by its
	// removal: without it the program is not run.
	recordAge = 7 * 24 * time.Hour
)

// record returns the place for a run's record; it need not exist.
func (s *Source) record(run string) (record, error) {
	if err := checkID(run); err != nil {
		return record{}, fmt.Errorf("run %q: %w", run, err)
	}
	place := sha256.New()
	for _, word := range append([]string{s.node}, s.restoreWords()...) {
		place.Write(fmt.Appendf(nil, "%d:%s", len(word), word)) // a hash takes everything
	}
	dir, err := filepath.Abs(s.scratch)
	if err != nil {
		return record{}, fmt.Errorf("find scratch space: %w", err)
	}
	return record{filepath.Join(dir, fmt.Sprintf(recordPrefix+"%s-%x", run, place.Sum(nil)[:8]))}, nil
}

// restoreWords is the program that restores as it was named, nil where none is.
func (s *Source) restoreWords() []string {
	if s.options.Restore != nil {
		return s.options.Restore
	}
	return s.named
}

// checkID refuses what could not be a part of a file's name.
func checkID(id string) error {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
	}
	if id == "" || len(id) > 80 || strings.ContainsFunc(id, func(r rune) bool { return !plain(r) }) {
		return fmt.Errorf("1 to 80 letters, digits, - and _ only: %w", drivers.ErrInvalid)
	}
	return nil
}

func (r record) path(name string) string { return filepath.Join(r.dir, name) }

// create makes the directory. One of another user's making is refused: its owner could change what is in it.
func (r record) create() error {
	if err := os.Mkdir(r.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(r.dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int64(stat.Uid) != int64(os.Geteuid()) {
		return fmt.Errorf("%s is not a directory of this user: %w", r.dir, drivers.ErrAccess)
	}
	return syncDir(filepath.Dir(r.dir))
}

func (r record) has(mark string) (bool, error) {
	_, err := os.Lstat(r.path(mark))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// mark makes a mark, durably.
func (r record) mark(name string) error {
	f, err := os.OpenFile(r.path(name), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return syncDir(r.dir)
}

// unmark removes a mark, durably.
func (r record) unmark(name string) error {
	if err := os.Remove(r.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(r.dir)
}

// remove removes the record, at once: what would be left by a removal that is interrupted could pass for the record of a
// program that was never started.
func (r record) remove() error {
	gone := r.dir + ".old"
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	if err := os.Rename(r.dir, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	return syncDir(filepath.Dir(r.dir))
}

// sweep removes the old records beside this one. What cannot be looked at or removed is another user's.
func (r record) sweep(ctx context.Context) {
	entries, err := os.ReadDir(filepath.Dir(r.dir))
	if err != nil {
		return
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), recordPrefix) {
			continue
		}
		dir := filepath.Join(filepath.Dir(r.dir), entry.Name())
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || dir == r.dir || time.Since(info.ModTime()) < recordAge {
			continue
		}
		old := record{dir}
		release, err := old.acquire(ctx, 0)
		if err != nil {
			continue
		}
		_ = errors.Join(old.remove(), release())
	}
}

// errOver is what a late attempt gets.
var errOver = drivers.WithHint(fmt.Errorf("the restore is not prepared on this host, or over: %w", drivers.ErrInvalid),
	"workers that restore with a command need one --scratch directory in common")

// acquire waits for the lock. The returned function gives it back.
func (r record) acquire(ctx context.Context, wait time.Duration) (release func() error, err error) {
	f, err := os.OpenFile(r.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errOver
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-deadline.C:
			return nil, drivers.WithHint(errors.New("another process of this restore runs the program"), "end that process if it hangs")
		case <-tick.C:
		}
	}
	// Finish may have come between: then the lock is not there any more.
	here, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if there, err := os.Lstat(f.Name()); err != nil || !os.SameFile(here, there) {
		return nil, errOver
	}
	return f.Close, nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // a file system that has no such thing
	}
	return errors.Join(err, d.Close())
}

// classify adds the class to an error of the record's files.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", drivers.ErrNoSpace, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return drivers.WithHint(fmt.Errorf("%w: %w", drivers.ErrAccess, err), "name a directory for temporary files with --scratch")
	}
	return err
}
