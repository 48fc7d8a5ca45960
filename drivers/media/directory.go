package media

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"salvor/drivers"
	"salvor/drivers/filesystem"
	"salvor/internal/secret"
)

// directory is a plain directory in the place of a bucket: the same walker and writer as the filesystem driver's. Its
// directories are no entries, as a bucket has none: otherwise a bucket's image in a directory would be full of entries that
// the bucket does not have.
type directory struct {
	*filesystem.Tree
	target *directoryTarget
}

var _ drivers.Tree = (*directory)(nil)

// openDirectory opens a directory. All of it is media: tags of caches are not looked for.
func openDirectory(spec drivers.Spec, dir string, o options) (drivers.Tree, error) {
	raw, err := json.Marshal(map[string]any{"exclude": append([]string{}, o.patterns...), "cachedir_tag": false})
	if err != nil {
		return nil, fmt.Errorf("open media of %s: %w", spec.Node, err)
	}
	spec.Source, spec.Options = secret.New(dir), raw
	tree, err := filesystem.Open(spec)
	if err != nil {
		return nil, err
	}
	d := &directory{Tree: tree}
	d.target = &directoryTarget{TreeTarget: tree.Target(), dir: dir, warnings: make(map[string]int64)}
	return d, nil
}

// Walk implements [drivers.Tree]. A directory that cannot be read is yielded: what is in it is missing.
func (d *directory) Walk(ctx context.Context, r drivers.Range, yield func(drivers.Entry) error) error {
	return d.Tree.Walk(ctx, r, func(e drivers.Entry) error {
		if e.Type == drivers.TypeDir && e.Err == nil {
			return nil
		}
		return yield(e)
	})
}

// Target returns the writing side; always the same.
func (d *directory) Target() drivers.TreeTarget { return d.target }

// directoryTarget is the writing side of a directory, for entries that may come from a bucket.
type directoryTarget struct {
	drivers.TreeTarget
	dir      string
	mu       sync.Mutex
	warnings map[string]int64
}

// warnObject counts objects whose headers and metadata a directory cannot hold.
const warnObject = "content type and metadata of an object not kept"

// Prepare implements [drivers.TreeTarget]. The root is made like any directory, with the mode that the umask leaves.
func (t *directoryTarget) Prepare(ctx context.Context, target drivers.Target) error {
	if ctx.Err() == nil {
		_ = os.MkdirAll(t.dir, 0o777) //nolint:gosec // what the umask leaves, like mkdir -p; what is wrong is found at once
	}
	return t.TreeTarget.Prepare(ctx, target)
}

// Put implements [drivers.TreeTarget]. The marker of a folder becomes one. An object whose key cannot be a file's path, or
// that another object's key needs as a directory, is refused.
func (t *directoryTarget) Put(ctx context.Context, target drivers.Target, attempt drivers.Attempt, entry drivers.Entry,
	content drivers.ContentReader,
) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put %s: %w", quote(entry.Path), err)
	}
	object := fromObject(entry)
	if object && entry.Size == 0 && (entry.Path == "" || strings.HasSuffix(entry.Path, "/")) {
		return t.folder(entry)
	}
	if hasEmptyName(entry.Path) && object {
		return cannotHold(entry.Path)
	}
	if hasEmptyName(entry.Path) || !isPlain(entry.Path) {
		return t.TreeTarget.Put(ctx, target, attempt, entry, content) // which refuses it
	}
	blocked, err := t.parents(entry.Path, object)
	if err != nil {
		return err
	}
	if err := t.TreeTarget.Put(ctx, target, attempt, entry, content); err != nil {
		return err
	}
	if blocked != "" {
		if err := t.open(entry.Path); err != nil {
			return err
		}
	}
	if object {
		t.mu.Lock()
		t.warnings[warnObject]++
		t.mu.Unlock()
	}
	return nil
}

// folder makes the directory of a folder's marker.
func (t *directoryTarget) folder(entry drivers.Entry) error {
	if entry.Path == "" {
		return nil // the root is there
	}
	path := strings.TrimSuffix(entry.Path, "/")
	if hasEmptyName(path) {
		return cannotHold(entry.Path)
	}
	if !isPlain(path) {
		return fmt.Errorf("put %s: %w", quote(entry.Path), drivers.ErrUnsafePath)
	}
	blocked, err := t.parents(entry.Path, true)
	if err == nil && blocked != "" {
		err = fmt.Errorf("put %s: %s is no directory and cannot become one: %w", quote(entry.Path), quote(blocked), drivers.ErrNotEmpty)
	}
	return err
}

// hasEmptyName tells paths that begin or end with a slash, or hold two.
func hasEmptyName(path string) bool {
	return strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || strings.Contains(path, "//")
}

// isPlain tells paths without NUL and the names "." and "..".
func isPlain(path string) bool {
	for name := range strings.SplitSeq(path, "/") {
		if name == "." || name == ".." {
			return false
		}
	}
	return strings.IndexByte(path, 0) < 0
}

// cannotHold is the refusal of an object whose key has names that no file can have: it is left out and listed.
func cannotHold(path string) error {
	return drivers.WithHint(fmt.Errorf("put %s: a directory cannot hold this key: %w", quote(path), drivers.ErrInvalid),
		"restore it into a bucket")
}

// parents makes the directories above an entry, with the mode that the umask leaves: no entry will say theirs. It returns
// the first thing in the way, which the rules may allow to replace; for an object a file in the way is refused, as it may be
// an object of the same bucket.
func (t *directoryTarget) parents(path string, object bool) (blocked string, err error) {
	root, err := os.OpenRoot(t.dir) // leaves itself through no link
	if err != nil {
		return "", nil // it is made, or refused, by what follows
	}
	defer root.Close() //nolint:errcheck // nothing was written to it
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		parent := path[:i]
		info, err := root.Lstat(parent)
		if errors.Is(err, fs.ErrNotExist) {
			if err = root.Mkdir(parent, 0o777); err == nil || errors.Is(err, fs.ErrExist) {
				continue
			}
		}
		switch {
		case err != nil:
			return parent, nil
		case info.IsDir():
		case object && info.Mode().IsRegular():
			return "", drivers.WithHint(fmt.Errorf("put %s: %s is a file; a directory cannot hold both: %w",
				quote(path), quote(parent), drivers.ErrInvalid), "restore it into a bucket, or elsewhere with --only")
		default:
			return parent, nil
		}
	}
	if strings.HasSuffix(path, "/") {
		return "", nil // a folder, and it is there
	}
	if info, err := root.Lstat(path); object && err == nil && info.IsDir() {
		return "", drivers.WithHint(fmt.Errorf("put %s: a directory is there, and cannot be a file too: %w",
			quote(path), drivers.ErrInvalid), "restore it into a bucket, or elsewhere with --only")
	}
	return "", nil
}

// open gives the parents of an entry that took the place of something else the mode of new directories.
func (t *directoryTarget) open(path string) error {
	root, err := os.OpenRoot(t.dir)
	if err != nil {
		return fmt.Errorf("put %s: %w", quote(path), err)
	}
	defer root.Close() //nolint:errcheck // the modes are set
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		info, err := root.Lstat(path[:i])
		if err == nil && info.IsDir() && info.Mode()&fs.ModeSticky != 0 && info.Mode().Perm() == 0o700 {
			err = root.Chmod(path[:i], 0o755)
		}
		if err != nil {
			return fmt.Errorf("put %s: set mode of %s: %w", quote(path), quote(path[:i]), err)
		}
	}
	return nil
}

// Warnings implements [drivers.TreeTarget].
func (t *directoryTarget) Warnings() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.TreeTarget.Warnings()
	for kind, n := range t.warnings {
		if all == nil {
			all = make(map[string]int64)
		}
		all[kind] += n
	}
	clear(t.warnings)
	return all
}
