// Package sqlite dumps and restores SQLite databases: it is the driver "sqlite", a [drivers.Stream] whose source is the
// path of a database file.
//
// # The dump
//
// A view is one read transaction on one connection. Its single part is the database's image, page by page out of that
// transaction, as SQLite itself sees the pages: what is still in the write-ahead log is in the image, what a crashed
// writer left half done is not. Nothing is copied to scratch space and memory does not grow with the database. The image
// is an ordinary database file in the source's own page size, encoding and journal mode.
//
// A reader does not disturb the writers of a database in WAL mode. In a rollback-journal mode (the default of SQLite)
// a writer that commits waits until the view ends: that is how SQLite keeps readers consistent.
//
// # The restore
//
// The image is written beside the target, synced, and checked (header, PRAGMA integrity_check) before it takes the
// target's name, so that a reader or a crash never sees a part of it. Everything that a restore needs meanwhile lies in
// one directory beside the target, named after the run. See work for what is in it and why any step can be
// interrupted and taken up again.
//
// # What it does not know
//
// It never creates a source, never copies a database by reading its file, and never holds more than a few pages.
package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"salvor/drivers"
	"salvor/drivers/relational/declared"
)

// Kind returns what a registry needs to know of this driver.
func Kind() drivers.Kind {
	return drivers.Kind{
		Name:      "sqlite",
		Scheme:    "sqlite",
		Shape:     drivers.ShapeStream,
		Holds:     true,
		Local:     func(string) bool { return true },
		ScratchIn: func(dir, name string) string { return filepath.Join(dir, name) },
		Options:   []string{declared.Key},
		Check: func(raw json.RawMessage) error {
			_, err := declared.FromNode(raw)
			return err
		},
		Open: func(_ context.Context, spec drivers.Spec) (drivers.Source, error) {
			return open(spec)
		},
	}
}

// Source is a database file, which need not exist. It is safe for concurrent use.
type Source struct {
	path string            // absolute, symbolic links resolved
	busy time.Duration     // how long a freeze waits for a writer's lock
	hook func(step string) // called after each step of a restore; nil but in tests
}

// at tells the hook that a step is done.
func (s *Source) at(step string) {
	if s.hook != nil {
		s.hook(step)
	}
}

var (
	_ drivers.Stream = (*Source)(nil)
	_ drivers.View   = (*view)(nil)
)

func open(spec drivers.Spec) (*Source, error) {
	text := spec.Source.Reveal()
	switch {
	case text == "":
		return nil, drivers.WithHint(fmt.Errorf("open sqlite database: no path: %w", drivers.ErrInvalid),
			"the source of a sqlite node is the path of its database file")
	case strings.ContainsRune(text, 0):
		return nil, fmt.Errorf("open sqlite database: path holds a NUL byte: %w", drivers.ErrInvalid)
	case strings.HasSuffix(text, "/"):
		return nil, fmt.Errorf("open sqlite database %s: names a directory: %w", text, drivers.ErrInvalid)
	}
	path, err := resolve(text)
	if err != nil {
		return nil, fmt.Errorf("open sqlite database: %w", classify(err))
	}
	return &Source{path: path, busy: busyTimeout}, nil
}

// Identities returns the resolved path and, of a file that exists, its inode.
func (s *Source) Identities(context.Context) ([]string, error) {
	ids := []string{"path:" + s.path}
	info, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return ids, nil
	}
	if err != nil {
		return nil, fmt.Errorf("identify database: %w", classify(err))
	}
	if id, ok := inodeOf(info); ok {
		ids = append(ids, "inode:"+id)
	}
	return ids, nil
}

// Close does nothing: a source holds nothing open, its views do.
func (*Source) Close() error { return nil }

// resolve returns the absolute path that a path leads to, through links whose end does not exist yet as well: a restore
// writes to the file that a link points to, and never replaces the link.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for range 40 { // as many links as Linux follows
		resolved, err := filepath.EvalSymlinks(path)
		if !errors.Is(err, fs.ErrNotExist) {
			if err != nil {
				// Not to be told here: Freeze and CheckTarget say what is wrong with the place.
				return path, nil //nolint:nilerr // see above
			}
			return resolved, nil
		}
		dir, err := resolve(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, filepath.Base(path))
		target, err := os.Readlink(path)
		if err != nil {
			return path, nil //nolint:nilerr // not a link: an absent file in an existing or absent directory
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return "", fmt.Errorf("follow links at %s: too many: %w", path, drivers.ErrInvalid)
}

// lookAt returns the state of the database file; nil where it does not exist. Anything but a regular file is refused: to
// open a pipe would block.
func (s *Source) lookAt() (fs.FileInfo, error) {
	info, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil //nolint:nilnil // absence is an answer, not an error
	case err != nil:
		return nil, classify(err)
	case info.IsDir():
		return nil, drivers.WithHint(fmt.Errorf("%s is a directory: %w", s.path, drivers.ErrInvalid),
			"name the database file; the driver for a directory is filesystem")
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file: %w", s.path, drivers.ErrInvalid)
	}
	return info, nil
}
