package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// CreateCapturePart begins what a capture is put together from: rows of a table as one attempt found them. It is a part like
// others, and is read by OpenPart; CommitCapture's caller removes it with SweepCapture. name.Node is not used.
func (a *Archive) CreateCapturePart(ctx context.Context, ref CaptureRef, name PartName) (*PartWriter, error) {
	if err := ref.check(); err != nil {
		return nil, err
	}
	name.Node = "capture"
	if err := name.check(); err != nil {
		return nil, err
	}
	return a.createPart(ctx, capturePartKey(ref, name), name)
}

// CaptureWriter writes a file of a capture's rows, as plain text. Nothing is published before Commit. It is used by one goroutine.
type CaptureWriter struct {
	archive *Archive
	taken   int64
	file    CaptureFile
	object  objectWriter
	hash    hash.Hash
	same    func() error
	err     error
	done    bool
}

// CreateCaptureFile begins the file of a table, or of a group. size is its expected length. It waits while the memory budget is used
// up. A file that is there already stays: Commit returns [ErrExists] unless it is the same. The caller calls Commit or Abort, or both.
func (a *Archive) CreateCaptureFile(ctx context.Context, ref CaptureRef, file CaptureFile, size int64) (*CaptureWriter, error) {
	if err := ref.check(); err != nil {
		return nil, err
	}
	if file.Table == "" || file.Group < 0 {
		return nil, invalid("file of table %q, group %d", file.Table, file.Group)
	}
	file.Key = captureFileKey(ref, file.Schema, file.Table, file.Group)
	taken, err := a.memory.acquireBytes(ctx, a.writerMemory(size))
	if err != nil {
		return nil, err
	}
	w := &CaptureWriter{archive: a, taken: taken, file: file, hash: sha256.New()}
	w.file.Size = 0
	w.same = func() error { return a.sameObject(ctx, w.file.Key, w.file.Size, w.hash.Sum(nil)) }
	if w.object, err = a.store.create(ctx, file.Key, size); err != nil {
		a.memory.budget.Release(taken)
		return nil, err
	}
	return w, nil
}

// Write adds to the file.
func (w *CaptureWriter) Write(p []byte) (int, error) {
	if w.done && w.err == nil {
		w.err = fmt.Errorf("write %s: file is closed", w.file.Key)
	}
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.object.Write(p)
	w.hash.Write(p[:n])
	w.file.Size += int64(n)
	w.err = err
	return n, err
}

// Commit publishes the file and returns its record.
func (w *CaptureWriter) Commit() (CaptureFile, error) {
	if w.done {
		return CaptureFile{}, errors.Join(w.err, fmt.Errorf("write %s: file is closed", w.file.Key))
	}
	defer w.Abort()
	if w.err == nil {
		if w.err = w.object.commit(); errors.Is(w.err, ErrExists) && w.same() == nil {
			w.err = nil // an earlier attempt's, or this one's, whose answer was lost
		}
	}
	if w.err != nil {
		return CaptureFile{}, w.err
	}
	w.file.SHA256 = hex.EncodeToString(w.hash.Sum(nil))
	return w.file, nil
}

// Abort gives the file up: it is never published. After Commit it does nothing, so it may be deferred.
func (w *CaptureWriter) Abort() {
	if w.done {
		return
	}
	w.done = true
	w.object.abort()
	w.archive.memory.budget.Release(w.taken)
}

// PutCaptureText stores [DecisionsFile] or [SummaryFile] of a capture that is not committed yet. It may be repeated with the same
// content.
func (a *Archive) PutCaptureText(ctx context.Context, ref CaptureRef, name string, data []byte) error {
	key := captureTextKey(ref, name)
	if err := ref.check(); err != nil || key == "" {
		return errors.Join(err, invalid("%q is no text of a capture", name))
	}
	return putSame(ctx, a.store, key, data)
}

// maxCaptureText bounds what people write by hand.
const maxCaptureText = 16 << 20

// CaptureText reads [DecisionsFile] or [SummaryFile] as it is now; nil where somebody has removed it.
func (a *Archive) CaptureText(ctx context.Context, ref CaptureRef, name string) ([]byte, error) {
	key := captureTextKey(ref, name)
	if err := ref.check(); err != nil || key == "" {
		return nil, errors.Join(err, invalid("%q is no text of a capture", name))
	}
	data, err := readLimited(ctx, a.store, key, maxCaptureText)
	if errors.Is(err, errMissing) {
		return nil, nil
	}
	return data, err
}

// OpenCaptureFile reads the rows of a table or group as they are now: people may have edited them, so no hash is checked but that of
// each line, by whoever parses it. [ErrCorrupt] where the file is gone. The caller closes it.
func (a *Archive) OpenCaptureFile(ctx context.Context, ref CaptureRef, f CaptureFile) (io.ReadCloser, error) {
	if err := ref.check(); err != nil {
		return nil, err
	}
	if f.Key != captureFileKey(ref, f.Schema, f.Table, f.Group) {
		return nil, corrupt(f.Key, "file is not of capture %s", ref)
	}
	r, err := a.store.open(ctx, f.Key, 0, -1)
	if err != nil {
		return nil, needed(f.Key, err)
	}
	return r, nil
}

// CaptureEdited tells whether a file of rows is not as it was written. [ErrCorrupt] where it is gone.
func (a *Archive) CaptureEdited(ctx context.Context, ref CaptureRef, f CaptureFile) (bool, error) {
	r, err := a.OpenCaptureFile(ctx, ref, f)
	if err != nil {
		return false, err
	}
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	if err = errors.Join(err, r.Close()); err != nil {
		return false, fmt.Errorf("read %s: %w", f.Key, err)
	}
	return n != f.Size || hex.EncodeToString(sum.Sum(nil)) != f.SHA256, nil
}

// DropCapture removes what there is of a capture that was never committed, and never will be. Where this process may write but not
// remove, it stays: nothing reads it. So do temporary files of writers that were killed, as everywhere. A committed one is left alone.
func (a *Archive) DropCapture(ctx context.Context, ref CaptureRef) error {
	if err := ref.check(); err != nil {
		return err
	}
	_, err := a.store.stat(ctx, ref.dir()+"capture.json")
	if err == nil {
		return nil
	}
	if !errors.Is(err, errMissing) {
		return fmt.Errorf("look for capture %s: %w", ref, err)
	}
	return a.sweepCapture(ctx, ref, func(string) bool { return true })
}

// SweepCapture removes what a committed capture was put together from. Where this process may write but not remove, it stays: nothing
// reads it.
func (a *Archive) SweepCapture(ctx context.Context, ref CaptureRef) error {
	if err := ref.check(); err != nil {
		return err
	}
	return a.sweepCapture(ctx, ref, isCapturePart)
}

func (a *Archive) sweepCapture(ctx context.Context, ref CaptureRef, takes func(name string) bool) error {
	var left []string
	err := a.store.list(ctx, ref.dir(), listAll, func(o objectInfo) error {
		if !o.odd && validKey(o.key) && takes(o.key[len(ref.dir()):]) {
			left = append(left, o.key)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list objects of capture %s: %w", ref, err)
	}
	for _, key := range left {
		if err := a.store.remove(ctx, key); err != nil && !errors.Is(err, ErrAccess) {
			return err
		}
	}
	return nil
}
