package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// encodingZstd is the one encoding of parts.
const encodingZstd = "zstd"

// PartName says which part is written.
type PartName struct {
	// Node is the node's path.
	Node string
	// Name is the part's name in its node: any text without NUL; "/" separates names.
	Name string
	// Ext is what a person needs to read the part, as a file's ending ("sql"): [a-z0-9._-], or "".
	Ext string
	// Index is the part's number in its node.
	Index int
	// Token is the attempt's: letters and digits, random. Two attempts never write one object.
	Token string
	// Size is the expected length of the content; 0 if nothing is known. It should not be below half the truth for
	// objects of hundreds of GiB in a bucket: S3 takes a limited number of pieces.
	Size int64
	// Digested tells that the record will carry a digest of the content's rows: the content, which may be ten times the object,
	// is not hashed as well. The object is.
	Digested bool
}

func (p PartName) check() error {
	if err := validNode(p.Node); err != nil {
		return err
	}
	switch {
	case p.Name == "" || strings.ContainsRune(p.Name, 0) || len(p.Name) > 512:
		return invalid("part name %.600q", p.Name)
	case p.Ext != "" && !extPattern.MatchString(p.Ext):
		return invalid("ending %q of part %s", p.Ext, p.Name)
	case !alphanumeric(p.Token) || len(p.Token) > 64:
		return invalid("token %q of part %s", p.Token, p.Name)
	case p.Index < 0:
		return invalid("index %d of part %s", p.Index, p.Name)
	}
	return nil
}

// PartWriter writes one part, compressed. Nothing is published before Commit. It is used by one goroutine.
//
//	w, err := a.CreatePart(ctx, ref, name)
//	...
//	defer w.Abort()
//	if err := dump(w); err != nil { return err }
//	record, err := w.Commit()
type PartWriter struct {
	archive *Archive
	taken   int64
	record  PartRecord
	object  objectWriter
	zstd    *zstd.Encoder
	content hash.Hash // nil where the content has a digest
	stored  hash.Hash
	// same tells whether the object that is there already is this one.
	same func() error
	err  error
	done bool
}

// partMemory is what a part's encoder and buffers take.
const partMemory = ChunkSize

// writerMemory is what the writer of an object of about that length takes.
func (a *Archive) writerMemory(size int64) int64 {
	need := int64(partMemory)
	if _, remote := a.store.(*bucket); remote {
		need += partSize(size) * (partConcurrency + 1)
	}
	return need
}

// CreatePart begins a part. It waits while the memory budget is used up. Writing ends when ctx does. The caller calls
// Commit or Abort, or both.
func (a *Archive) CreatePart(ctx context.Context, ref Ref, name PartName) (*PartWriter, error) {
	if err := errors.Join(ref.check(), name.check()); err != nil {
		return nil, err
	}
	return a.createPart(ctx, partKey(ref, name), name)
}

// createPart begins a part under a key.
func (a *Archive) createPart(ctx context.Context, key string, name PartName) (*PartWriter, error) {
	taken, err := a.memory.acquireBytes(ctx, a.writerMemory(name.Size))
	if err != nil {
		return nil, err
	}
	w := &PartWriter{
		archive: a, taken: taken, stored: sha256.New(),
		record: PartRecord{Index: name.Index, Name: name.Name, Ext: name.Ext, Key: key, Encoding: encodingZstd},
	}
	if !name.Digested {
		w.content = sha256.New()
	}
	w.same = func() error { return a.sameObject(ctx, w.record.Key, w.record.Stored, w.stored.Sum(nil)) }
	if w.object, err = a.store.create(ctx, w.record.Key, name.Size); err != nil {
		a.memory.budget.Release(taken)
		return nil, err
	}
	if w.zstd, err = a.memory.encoder(); err != nil {
		w.Abort()
		return nil, fmt.Errorf("make encoder: %w", err)
	}
	w.zstd.Reset(io.MultiWriter(w.object, w.stored, countWriter{&w.record.Stored}))
	return w, nil
}

// countWriter counts bytes.
type countWriter struct{ n *int64 }

func (c countWriter) Write(p []byte) (int, error) {
	*c.n += int64(len(p))
	return len(p), nil
}

// Write adds to the part's content.
func (w *PartWriter) Write(p []byte) (int, error) {
	if w.done && w.err == nil {
		w.err = fmt.Errorf("write %s: part is closed", w.record.Key)
	}
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.zstd.Write(p)
	if w.content != nil {
		w.content.Write(p[:n])
	}
	w.record.Size += int64(n)
	w.err = err
	return n, err
}

// Commit publishes the part and returns its record, to which the caller adds what the driver counted. If it returns an
// error the part may or may not be there, and counts as not written.
func (w *PartWriter) Commit() (PartRecord, error) {
	if w.done {
		return PartRecord{}, errors.Join(w.err, fmt.Errorf("write %s: part is closed", w.record.Key))
	}
	defer w.Abort()
	if w.err == nil {
		w.err = w.zstd.Close()
	}
	if w.err == nil {
		if w.err = w.object.commit(); errors.Is(w.err, ErrExists) && w.same() == nil {
			w.err = nil // this attempt's own, whose answer was lost
		}
	}
	if w.err != nil {
		return PartRecord{}, w.err
	}
	if w.content != nil {
		w.record.SHA256 = hex.EncodeToString(w.content.Sum(nil))
	}
	w.record.StoredSHA256 = hex.EncodeToString(w.stored.Sum(nil))
	return w.record, nil
}

// sameObject compares an object with a length and hash.
func (a *Archive) sameObject(ctx context.Context, key string, size int64, sum []byte) error {
	r, err := a.store.open(ctx, key, 0, size+1)
	if err != nil {
		return err
	}
	have := sha256.New()
	n, err := io.Copy(have, r)
	if err == nil && (n != size || !bytes.Equal(have.Sum(nil), sum)) {
		err = ErrExists
	}
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	return a.store.settle(ctx, key)
}

// Abort gives the part up: it is never published. After Commit it does nothing, so it may be deferred.
func (w *PartWriter) Abort() {
	if w.done {
		return
	}
	w.done = true
	w.object.abort()
	if w.zstd != nil {
		w.archive.memory.putEncoder(w.zstd)
		w.zstd = nil
	}
	w.archive.memory.budget.Release(w.taken)
}

// OpenPart opens a part for reading, decoded. The last Read returns [ErrCorrupt] in place of io.EOF if anything about it
// is wrong: what was read until then must not be made permanent before. It never gives more than the record's Size. It
// waits while the memory budget is used up. The caller closes it.
func (a *Archive) OpenPart(ctx context.Context, rec PartRecord) (io.ReadCloser, error) {
	taken, err := a.memory.acquireBytes(ctx, partMemory)
	if err != nil {
		return nil, err
	}
	release := func() { a.memory.budget.Release(taken) }
	r, err := a.readPart(ctx, rec, release)
	if err != nil {
		release()
		return nil, err
	}
	return r, nil
}

// readPart is OpenPart for a caller that has the memory; release is called when the part is closed.
func (a *Archive) readPart(ctx context.Context, rec PartRecord, release func()) (*partReader, error) {
	if !validKey(rec.Key) || rec.Encoding != encodingZstd || rec.Size < 0 || rec.Stored < 0 {
		return nil, corrupt(rec.Key, "record of part %q makes no sense", rec.Name)
	}
	object, err := a.store.open(ctx, rec.Key, 0, -1)
	if err != nil {
		return nil, needed(rec.Key, err)
	}
	stored := &hashReader{r: object, hash: sha256.New()}
	z, err := a.memory.streamDecoder(stored)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make decoder: %w", err), object.Close())
	}
	p := &partReader{memory: a.memory, release: release, record: rec, object: object, stored: stored, zstd: z}
	if rec.SHA256 != "" {
		p.content = sha256.New()
	}
	return p, nil
}

type partReader struct {
	memory  *memory
	release func()
	record  PartRecord
	object  io.ReadCloser
	stored  *hashReader
	zstd    *zstd.Decoder
	content hash.Hash // nil where the record has none
	size    int64
	err     error
	closed  bool
}

// hashReader hashes what is read through it, and keeps the first error of the storage: a decoder's own error about the
// same bytes would hide it.
type hashReader struct {
	r    io.Reader
	hash hash.Hash
	size int64
	err  error
}

func (h *hashReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.hash.Write(p[:n])
	h.size += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		h.err = err
	}
	return n, err
}

func (r *partReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	// One byte beyond the size, so that a longer content is found out and never handed on.
	left := r.record.Size - r.size
	if left < int64(len(p)) {
		p = p[:left+1]
	}
	n, err := r.zstd.Read(p)
	if int64(n) > left {
		r.err = corrupt(r.record.Key, "content is longer than %d bytes", r.record.Size)
		return int(left), r.err
	}
	if r.content != nil {
		r.content.Write(p[:n])
	}
	r.size += int64(n)
	switch {
	case err == nil:
		return n, nil
	case r.stored.err != nil:
		r.err = r.stored.err
	case errors.Is(err, io.EOF):
		r.err = r.finish()
	default:
		r.err = corrupt(r.record.Key, "%v", err)
	}
	return n, r.err
}

// finish checks lengths and hashes at the end of the content, which is where the decoder met the object's end.
func (r *partReader) finish() error {
	switch {
	case r.size != r.record.Size:
		return corrupt(r.record.Key, "content has %d bytes, not %d", r.size, r.record.Size)
	case r.content != nil && hex.EncodeToString(r.content.Sum(nil)) != r.record.SHA256:
		return corrupt(r.record.Key, "content does not fit its hash")
	case r.stored.size != r.record.Stored || hex.EncodeToString(r.stored.hash.Sum(nil)) != r.record.StoredSHA256:
		return corrupt(r.record.Key, "object does not fit its hash")
	}
	return io.EOF
}

func (r *partReader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	if r.err == nil {
		r.err = errors.New("part is closed")
	}
	r.memory.putStreamDecoder(r.zstd)
	r.release()
	return r.object.Close()
}
