package archive

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// local keeps objects as files below a directory. It is not built on gocloud's fileblob, which does not fsync, whose
// IfNotExist lets several writers win, and which walks the whole tree for each page of a list.
//
// Keys never lead out of the root (os.Root). An object is written under a temporary name beside its own, synchronised,
// published by one rename, and its directory synchronised.
type local struct {
	root *os.Root

	mu     sync.Mutex
	stable map[string]bool // directories whose names are known to be durable
}

var _ store = (*local)(nil)

// openLocal opens a directory; errMissing where it does not exist, ErrNotArchive where it is something else.
func openLocal(dir string) (*local, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("%w: %w", errMissing, err) // below a file there is nothing
	}
	if err == nil && !info.IsDir() {
		return nil, fmt.Errorf("%w: not a directory", ErrNotArchive)
	}
	if err != nil {
		return nil, localError(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, localError(err)
	}
	return &local{root: root, stable: map[string]bool{}}, nil
}

// makeLocal makes a directory and its parents, durably, and opens it.
func makeLocal(dir string) (*local, error) {
	var missing []string
	for at := dir; ; at = filepath.Dir(at) {
		_, err := os.Stat(at)
		if err == nil {
			break
		}
		if errors.Is(err, syscall.ENOTDIR) {
			return nil, invalid("%s is below something that is not a directory", dir)
		}
		if !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			return nil, localError(err)
		}
		missing = append(missing, at)
	}
	slices.Reverse(missing)
	for _, at := range missing {
		if err := os.Mkdir(at, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, localError(err)
		}
		if err := syncPath(filepath.Dir(at)); err != nil {
			return nil, err
		}
	}
	return openLocal(dir)
}

func syncPath(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil // a parent that may be entered and written but not read cannot be synchronised
	}
	if err != nil {
		return localError(err)
	}
	return errors.Join(syncDir(d), localError(d.Close()))
}

// syncDir synchronises a directory. Some network file systems refuse that and need none.
func syncDir(d *os.File) error {
	err := d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return localError(err)
}

func (l *local) put(ctx context.Context, key string, data []byte) error {
	return l.write(ctx, key, data, publishReplace)
}

func (l *local) putNew(ctx context.Context, key string, data []byte) error {
	return l.write(ctx, key, data, publishNew)
}

func (l *local) write(ctx context.Context, key string, data []byte, how publishRule) error {
	w, err := l.begin(ctx, key, how)
	if err != nil {
		return err
	}
	defer w.abort()
	// In pieces, so that a cancelled context is noticed on a slow disk.
	for piece := range slices.Chunk(data, 4<<20) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return w.commit()
}

func (l *local) create(ctx context.Context, key string, _ int64) (objectWriter, error) {
	return l.begin(ctx, key, publishNew)
}

type publishRule int

const (
	publishNew     publishRule = iota // fail if there is one
	publishReplace                    // replace what is there
)

func (l *local) begin(ctx context.Context, key string, how publishRule) (*localWriter, error) {
	if err := ctxError(ctx); err != nil {
		return nil, err
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	dir, err := l.directory(path.Dir(key))
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", key, l.explain(key, err))
	}
	temp := path.Join(path.Dir(key), tempPrefix+rand.Text())
	f, err := l.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", key, localError(err)), dir.Close())
	}
	return &localWriter{
		local: l, key: key, temp: temp, how: how, dir: dir, file: f,
		buf: bufio.NewWriterSize(f, 256<<10), ctxErr: func() error { return ctxError(ctx) },
	}, nil
}

// directory opens a directory below the root and makes it, and its parents, durably where they are missing. One that is
// there already may have been made by a process that died before that was durable, so it is synchronised all the same,
// once.
func (l *local) directory(name string) (*os.File, error) {
	l.mu.Lock()
	stable := l.stable[name]
	l.mu.Unlock()
	if stable || name == "." {
		d, err := l.root.Open(name)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || name == "." {
			return d, localError(err)
		}
	}
	parent, err := l.directory(path.Dir(name))
	if err != nil {
		return nil, err
	}
	err = l.root.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err == nil {
		err = syncDir(parent)
	}
	if err = errors.Join(localError(err), parent.Close()); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.stable[name] = true
	l.mu.Unlock()
	d, err := l.root.Open(name)
	return d, localError(err)
}

// settle synchronises the directory that holds the object's name. Of one that has nothing to write that costs little.
func (l *local) settle(ctx context.Context, key string) error {
	if err := errors.Join(ctxError(ctx), checkKey(key)); err != nil {
		return err
	}
	d, err := l.directory(path.Dir(key))
	if err == nil {
		err = errors.Join(syncDir(d), localError(d.Close()))
	}
	if err != nil {
		return fmt.Errorf("synchronise %s: %w", key, l.explain(key, err))
	}
	return nil
}

// explain turns an error about a key into corruption where something else than a directory (a symbolic link) lies on the
// way: trying again would not help. What the system says about it differs.
func (l *local) explain(key string, err error) error {
	if err == nil || errors.Is(err, errMissing) || errors.Is(err, ErrCorrupt) {
		return err
	}
	for i := range len(key) {
		if key[i] != '/' {
			continue
		}
		if info, statErr := l.root.Lstat(key[:i]); statErr == nil && !info.IsDir() {
			return corrupt(key, "%s is not a directory", key[:i])
		}
	}
	return err
}

type localWriter struct {
	local     *local
	key, temp string
	how       publishRule
	dir, file *os.File
	buf       *bufio.Writer
	err       error
	done      atomic.Bool
	ctxErr    func() error
}

func (w *localWriter) Write(p []byte) (int, error) {
	if err := w.fail(w.ctxErr()); err != nil {
		return 0, err
	}
	n, err := w.buf.Write(p)
	return n, w.fail(err)
}

// fail keeps the first error: what failed once must not be published.
func (w *localWriter) fail(err error) error {
	if w.err == nil && err != nil {
		w.err = fmt.Errorf("write %s: %w", w.key, localError(err))
	}
	return w.err
}

func (w *localWriter) commit() error {
	if w.done.Load() {
		return fmt.Errorf("write %s: %w", w.key, fs.ErrClosed)
	}
	defer w.abort() // removes the temporary file where it is left
	if w.err == nil {
		_ = w.fail(w.ctxErr())
	}
	if w.err == nil {
		_ = w.fail(w.buf.Flush())
	}
	if w.err == nil {
		_ = w.fail(w.file.Sync())
	}
	if w.err != nil {
		return w.err
	}
	if err := w.fail(w.publish()); err != nil {
		return err
	}
	return w.fail(syncDir(w.dir))
}

func (w *localWriter) publish() error {
	if w.how == publishReplace {
		return w.local.root.Rename(w.temp, w.key)
	}
	err := renameNew(w.dir, path.Base(w.temp), path.Base(w.key))
	if errors.Is(err, errors.ErrUnsupported) {
		// A second name is exclusive as well; the first is removed by abort.
		err = w.local.root.Link(w.temp, w.key)
	}
	return err
}

// abort is also what ends a commit: whatever is left of the temporary file goes.
func (w *localWriter) abort() {
	if w.done.Swap(true) {
		return
	}
	// Nothing depends on these: a temporary file that stays behind is a stray, and its data was synchronised or is void.
	_ = w.file.Close()
	_ = w.local.root.Remove(w.temp)
	_ = w.dir.Close()
}

func (l *local) open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := errors.Join(ctxError(ctx), checkKey(key)); err != nil {
		return nil, err
	}
	// Not followed where it is a symbolic link: no store writes one.
	info, err := l.root.Lstat(key)
	if err == nil && !info.Mode().IsRegular() {
		return nil, corrupt(key, "not a regular file")
	}
	var f *os.File
	if err == nil {
		// Not blocking: a pipe that has taken the file's place since must not hang a reader.
		f, err = l.root.OpenFile(key, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, l.explain(key, localError(err)))
	}
	info, err = f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = corrupt(key, "not a regular file")
	}
	if err != nil {
		return nil, errors.Join(localError(err), f.Close())
	}
	if length < 0 {
		length = max(0, info.Size()-offset)
	}
	return &localReader{io.NewSectionReader(f, offset, length), f, func() error { return ctxError(ctx) }, key}, nil
}

type localReader struct {
	section *io.SectionReader
	file    *os.File
	ctxErr  func() error
	key     string
}

func (r *localReader) Read(p []byte) (int, error) {
	if err := r.ctxErr(); err != nil {
		return 0, err
	}
	n, err := r.section.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader returns io.EOF itself
		err = fmt.Errorf("read %s: %w", r.key, localError(err))
	}
	return n, err
}

func (r *localReader) Close() error { return localError(r.file.Close()) }

func (l *local) stat(ctx context.Context, key string) (objectInfo, error) {
	if err := errors.Join(ctxError(ctx), checkKey(key)); err != nil {
		return objectInfo{}, err
	}
	info, err := l.root.Lstat(key)
	if err != nil {
		return objectInfo{}, fmt.Errorf("look at %s: %w", key, l.explain(key, localError(err)))
	}
	return fileInfo(key, info), nil
}

func fileInfo(key string, info fs.FileInfo) objectInfo {
	return objectInfo{key: key, size: info.Size(), modified: info.ModTime(), odd: !info.Mode().IsRegular()}
}

func (l *local) list(ctx context.Context, prefix string, depth listDepth, yield func(objectInfo) error) error {
	name := strings.TrimSuffix(prefix, "/")
	if name == "" {
		name = "."
	}
	d, err := l.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", prefix, l.explain(name+"/", localError(err)))
	}
	entries, err := d.ReadDir(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("list %s: %w", prefix, localError(err))
	}
	for _, e := range entries {
		if err := ctxError(ctx); err != nil {
			return err
		}
		if err := l.listEntry(ctx, prefix, e, depth, yield); err != nil {
			return err
		}
	}
	return nil
}

func (l *local) listEntry(ctx context.Context, prefix string, e fs.DirEntry, depth listDepth, yield func(objectInfo) error) error {
	key := prefix + e.Name()
	if e.IsDir() {
		if depth == listAll {
			return l.list(ctx, key+"/", depth, yield)
		}
		return yield(objectInfo{key: key + "/"})
	}
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone since: a temporary file, most likely
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", prefix, localError(err))
	}
	return yield(fileInfo(key, info))
}

func (l *local) remove(ctx context.Context, key string) error {
	if err := errors.Join(ctxError(ctx), checkKey(key)); err != nil {
		return err
	}
	if err := l.root.Remove(key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", key, localError(err))
	}
	return nil
}

func (l *local) close() error { return l.root.Close() }

// localError translates what the system says.
func localError(err error) error {
	switch {
	case err == nil || errors.Is(err, ErrCorrupt):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", errMissing, err)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %w", ErrExists, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %w", ErrAccess, err)
	}
	return err
}

// own looks at the places that a run's mark and plan are in: theirs are the directories that count.
func (l *local) own() bool {
	for _, name := range []string{".", runsDir[:len(runsDir)-1], dumpsDir[:len(dumpsDir)-1]} {
		info, err := l.root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false
		}
		const othersWrite = 0o022
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || int64(stat.Uid) != int64(os.Geteuid()) || info.Mode().Perm()&othersWrite != 0 {
			return false
		}
	}
	return true
}
