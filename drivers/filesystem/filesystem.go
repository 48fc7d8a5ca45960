// Package filesystem is the driver for directories: a [drivers.Tree] over what a file system holds, with everything that
// a restore needs to make it again (modes, owners, times, links, holes, extended attributes, special files).
//
// # Reading
//
// [Tree.Walk] lists directories through handles: a directory that is swapped for a symbolic link while it is read does not
// lead elsewhere, and no symbolic link below the root is ever followed. The root itself may be named through links. Files
// that vanish between listing and looking are not part of the tree. Memory is one directory's names at each level, and
// one open handle.
//
// A version ([drivers.Entry].Version) is a file's device, inode, size and its times of modification and change. It is ""
// while either time is less than two seconds old: within the resolution of some file systems' clocks another write could
// leave both as they are.
//
// # Writing
//
// [Target] reaches every directory name by name from a handle on the root, without following links, so that neither an
// archive's paths nor another process can lead it out of the root. An entry is made under a temporary name
// (".salvor-tmp-<token>-<n>") and then renamed. Such names are never dumped.
//
// Owners are set by number, where the process may. Where it may not, that is a counted warning, and setuid and setgid bits
// are dropped: they would lend the wrong user's rights.
//
// # What is not kept
//
// Access times, the kind of attribute that chattr sets, SELinux labels, sockets (they are listed, and counted at restore).
package filesystem

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// Kind returns the driver of directories.
func Kind() drivers.Kind {
	return drivers.Kind{
		Name:    "filesystem",
		Scheme:  "dir",
		Shape:   drivers.ShapeTree,
		Local:   func(string) bool { return true },
		Options: []string{optionExclude, optionOneFileSystem, optionCachedirTag},
		Check: func(raw json.RawMessage) error {
			_, err := parseOptions(raw)
			return err
		},
		Open: func(_ context.Context, spec drivers.Spec) (drivers.Source, error) { return Open(spec) },
	}
}

// Tree is a directory as a source. It is safe for concurrent use.
type Tree struct {
	path    string // absolute, not cleaned: ".." after a symbolic link means what the system says it means
	options options
	names   *nameCache
	target  *Target
}

var _ drivers.Tree = (*Tree)(nil)

// Open returns the directory that spec.Source names, which need not exist. "~" is not expanded. A source or an option that
// makes no sense is [drivers.ErrInvalid].
func Open(spec drivers.Spec) (*Tree, error) {
	path := spec.Source.Reveal()
	if path == "" {
		return nil, fmt.Errorf("open directory of %s: the source is empty: %w", spec.Node, drivers.ErrInvalid)
	}
	if strings.ContainsRune(path, 0) {
		return nil, fmt.Errorf("open directory %q: NUL in path: %w", path, drivers.ErrInvalid)
	}
	o, err := parseOptions(spec.Options)
	if err != nil {
		return nil, fmt.Errorf("open directory %q: %w", path, err)
	}
	if !filepath.IsAbs(path) {
		wd, err := os.Getwd()
		if err != nil {
			return nil, fmt.Errorf("open directory %q: %w", path, err)
		}
		path = wd + "/" + path
	}
	t := &Tree{path: path, options: o, names: newNameCache()}
	t.target = newTarget(t)
	return t, nil
}

// Identities returns the directory's real path, and its device and inode where it exists.
func (t *Tree) Identities(_ context.Context) ([]string, error) {
	resolved, err := realPath(t.path)
	if err != nil {
		return nil, wrap("resolve", t.path, err)
	}
	ids := []string{"path:" + resolved}
	var st unix.Stat_t
	switch err := retry(func() error { return unix.Stat(t.path, &st) }); {
	case err == nil:
		ids = append(ids, fmt.Sprintf("inode:%d:%d", st.Dev, st.Ino))
	case errors.Is(err, unix.ENOENT):
	default:
		return nil, wrap("look at", t.path, err)
	}
	return ids, nil
}

// realPath resolves the deepest ancestor that exists and appends the rest.
func realPath(path string) (string, error) {
	rest := ""
	for {
		resolved, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Join(resolved, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || path == "/" {
			return "", err
		}
		path = strings.TrimRight(path, "/")
		i := strings.LastIndexByte(path, '/')
		rest = filepath.Join(path[i+1:], rest)
		path = path[:i+1]
	}
}

// Target returns the writing side; always the same.
func (t *Tree) Target() drivers.TreeTarget { return t.target }

// Close ends what the writing side holds.
func (t *Tree) Close() error { return t.target.close() }

// openRoot opens the directory anew, so that one that was replaced or removed since is not read from its grave.
func (t *Tree) openRoot() (int, error) {
	fd, err := openAt(unix.AT_FDCWD, t.path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOTDIR) {
		return -1, fmt.Errorf("open %q: not a directory: %w", t.path, drivers.ErrInvalid)
	}
	if err != nil {
		return -1, wrap("open", t.path, err)
	}
	return fd, nil
}
