package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// ContentWriter stores the content of files: small chunks in packs, large ones as objects. One is made for one part task.
// Its methods are called by one goroutine at a time; storing goes on in others meanwhile.
//
// A chunk that AddSmall or AddLarge returns is filled in later: it may be kept, but read (or given to
// [Archive.PutSegment]) only after the next [ContentWriter.Flush] returned nil. After an error the writer is of no use any
// more: Close it.
type ContentWriter struct {
	archive *Archive
	cancel  context.CancelFunc
	spawn   func(func(context.Context))
	stored  atomic.Int64

	pack    packBuilder
	pending []*Chunk                     // of the pack's members
	known   map[[sha256.Size]byte]*Chunk // small ones
	small   *zstd.Encoder
	scratch []byte
	held    []byte // the buffer that the caller has
	ahead   []byte // see Ahead

	seat int64 // blocks

	mu       sync.Mutex
	large    map[[sha256.Size]byte]*largeChunk
	seated   bool
	free     int // blocks of the seat that nobody uses
	extra    int // blocks beyond the seat
	inFlight int
	err      error
	wake     chan struct{} // a block was given back, or all is stored
	tasks    sync.WaitGroup
}

const (
	// writerSeat is what a writer needs to make progress: the pack that it fills, and the caller's buffer.
	writerSeat = 2
	// aheadSeat is that of a writer whose caller reads ahead.
	aheadSeat = writerSeat + 1
	// writerExtra is how many more blocks it may have, if they are there: so many writes are in flight.
	writerExtra = 4
	// maxKnown bounds the memory of what was stored already.
	maxKnown = 1 << 17
)

// NewContentWriter returns a writer that works until ctx ends. The caller closes it.
func (a *Archive) NewContentWriter(ctx context.Context) *ContentWriter {
	ctx, cancel := context.WithCancel(ctx)
	w := &ContentWriter{
		archive: a, cancel: cancel, known: map[[sha256.Size]byte]*Chunk{}, large: map[[sha256.Size]byte]*largeChunk{},
		wake: make(chan struct{}, 1), seat: writerSeat,
	}
	w.spawn = func(task func(context.Context)) { w.tasks.Go(func() { task(ctx) }) }
	return w
}

// Ahead returns ChunkSize bytes for contents that are read before it is their turn to be stored. They are the caller's until
// Close, beside what Buffer returns. Ahead is called before anything else, and waits while the memory budget is used up.
func (w *ContentWriter) Ahead(ctx context.Context) ([]byte, error) {
	if w.ahead != nil {
		return w.ahead, nil
	}
	if w.seated {
		return nil, invalid("memory to read ahead is asked for after the writer was used")
	}
	w.seat = aheadSeat
	buf, err := w.block(ctx)
	if err != nil {
		return nil, err
	}
	w.ahead = buf
	return buf, nil
}

// Buffer returns a buffer of ChunkSize bytes to read content into. It waits while the memory budget is used up. The caller
// holds one buffer at a time, and gives it back by AddLarge or Release.
func (w *ContentWriter) Buffer(ctx context.Context) ([]byte, error) {
	if w.held != nil {
		return nil, invalid("a second buffer is asked for while one is held")
	}
	buf, err := w.block(ctx)
	if err != nil {
		return nil, err
	}
	w.held = buf
	return buf, nil
}

// Release gives back a buffer that Buffer returned; nil, or one that was given back, is ignored.
func (w *ContentWriter) Release(buf []byte) {
	if w.holds(buf) {
		w.held = nil
		w.giveBack(buf)
	}
}

func (w *ContentWriter) holds(buf []byte) bool {
	return w.held != nil && cap(buf) == cap(w.held) && &buf[:1][0] == &w.held[0]
}

// AddSmall stores at most SmallSize bytes in a pack. It copies data. The same data is stored once.
func (w *ContentWriter) AddSmall(ctx context.Context, data []byte) (*Chunk, error) {
	if len(data) > SmallSize {
		return nil, invalid("%d bytes are too many for a pack", len(data))
	}
	if err := w.failed(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	if c, ok := w.known[sum]; ok {
		return c, nil
	}
	stored, compressed, err := w.compressSmall(data)
	if err != nil {
		return nil, err
	}
	if w.pack.data != nil && !w.pack.fits(len(stored)) {
		w.sendPack()
	}
	if w.pack.data == nil {
		buf, err := w.block(ctx)
		if err != nil {
			return nil, err
		}
		w.pack.reset(buf)
	}
	c := &Chunk{
		Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Stored: pendingChunk, Zstd: compressed,
	}
	w.pack.add(packMember{sha: sum, zstd: compressed}, stored)
	w.pending = append(w.pending, c)
	w.known[sum] = c
	return c, nil
}

func (w *ContentWriter) compressSmall(data []byte) (stored []byte, compressed bool, err error) {
	if w.small == nil {
		if w.small, err = w.archive.memory.encoder(); err != nil {
			return nil, false, fmt.Errorf("make encoder: %w", err)
		}
		w.scratch = make([]byte, 0, w.small.MaxEncodedSize(SmallSize))
	}
	if out, ok := compress(w.small, w.scratch[:0], data); ok {
		return out, true, nil
	}
	return data, false, nil
}

// AddLarge stores a chunk as an object of its own: a buffer that Buffer returned, cut to the bytes that were read into it.
// The writer owns the buffer from now on, whatever it returns.
func (w *ContentWriter) AddLarge(_ context.Context, buf []byte) (*Chunk, error) {
	if !w.holds(buf) {
		return nil, invalid("chunk is not in the buffer of its writer")
	}
	w.held = nil
	err := w.failed()
	if err == nil && len(buf) == 0 {
		err = invalid("chunk is empty")
	}
	if err != nil {
		w.giveBack(buf)
		return nil, err
	}
	c := &Chunk{Size: int64(len(buf)), Stored: pendingChunk}
	w.start(func(ctx context.Context) error {
		defer w.giveBack(buf)
		return w.storeLarge(ctx, c, buf)
	})
	return c, nil
}

// largeChunk is a large content that one goroutine stores, and others with the same content wait for.
type largeChunk struct {
	done  chan struct{}
	chunk Chunk // when done
	err   error
}

func (w *ContentWriter) storeLarge(ctx context.Context, c *Chunk, data []byte) error {
	sum := sha256.Sum256(data)
	w.mu.Lock()
	l, ok := w.large[sum]
	if !ok {
		if len(w.large) >= maxKnown {
			clear(w.large)
		}
		l = &largeChunk{done: make(chan struct{}), chunk: *c}
		w.large[sum] = l
	}
	w.mu.Unlock()
	if !ok {
		l.err = w.storeObject(ctx, &l.chunk, hex.EncodeToString(sum[:]), data)
		close(l.done)
	}
	<-l.done // whoever stores it heeds ctx, and waits for nobody who waits here
	if l.err == nil {
		*c = l.chunk
	}
	return l.err
}

func (w *ContentWriter) storeObject(ctx context.Context, c *Chunk, hash string, data []byte) error {
	var e *encoder
	select {
	case e = <-w.archive.memory.encoders:
		defer func() { w.archive.memory.encoders <- e }()
	case <-ctx.Done():
		return ctxError(ctx)
	}
	z, err := w.archive.memory.encoder()
	if err != nil {
		return fmt.Errorf("make encoder: %w", err)
	}
	defer w.archive.memory.putEncoder(z)
	if e.buf == nil {
		e.buf = make([]byte, 0, z.MaxEncodedSize(ChunkSize))
	}
	stored, compressed := compress(z, e.buf[:0], data)
	if !compressed {
		stored = data
	}
	if err := w.storeOnce(ctx, objectKey(hash, compressed), stored); err != nil {
		return err
	}
	c.SHA256, c.Zstd, c.Stored = hash, compressed, int64(len(stored))
	return nil
}

// storeOnce writes an object that is named by its content, unless it is there with its length.
func (w *ContentWriter) storeOnce(ctx context.Context, key string, data []byte) error {
	info, err := w.archive.store.stat(ctx, key)
	if err == nil && info.size == int64(len(data)) && !info.odd {
		return w.archive.store.settle(ctx, key)
	}
	if err != nil && !errors.Is(err, errMissing) {
		return err
	}
	if err := w.archive.store.put(ctx, key, data); err != nil {
		return err
	}
	w.stored.Add(int64(len(data)))
	return nil
}

// sendPack stores the pack in the background.
func (w *ContentWriter) sendPack() {
	buf := w.pack.data[:0]
	data := w.pack.finish()
	offsets := make([]packMember, len(w.pack.members))
	copy(offsets, w.pack.members)
	chunks := w.pending
	w.pending = make([]*Chunk, 0, len(chunks))
	w.pack.data = nil
	if len(w.known) >= maxKnown { // only between packs: a member's name is unique in its pack
		clear(w.known)
	}
	w.start(func(ctx context.Context) error {
		defer w.giveBack(buf)
		hash := hashOf(data)
		if err := w.storeOnce(ctx, packKey(hash), data); err != nil {
			return err
		}
		for i, c := range chunks {
			c.Pack, c.Offset, c.Stored = hash, int64(offsets[i].offset), int64(offsets[i].stored)
		}
		return nil
	})
}

// Flush waits until everything that was added is stored, and durable.
func (w *ContentWriter) Flush(ctx context.Context) error {
	if len(w.pending) > 0 && w.failed() == nil {
		w.sendPack()
	}
	for {
		w.mu.Lock()
		n, err := w.inFlight, w.err
		w.mu.Unlock()
		if err != nil || n == 0 {
			return err
		}
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
}

// Stored is the number of bytes that were newly written so far: what was there already is not counted.
func (w *ContentWriter) Stored() int64 { return w.stored.Load() }

// Close gives up what is not flushed, waits for what is being written, and gives back the memory. It may be called again.
func (w *ContentWriter) Close() {
	w.cancel()
	w.tasks.Wait()
	if w.held != nil {
		w.Release(w.held)
	}
	if w.pack.data != nil {
		w.giveBack(w.pack.data[:0])
		w.pack.data = nil
	}
	if w.ahead != nil {
		w.giveBack(w.ahead)
		w.ahead = nil
	}
	if w.small != nil {
		w.archive.memory.putEncoder(w.small)
		w.small = nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seated {
		w.archive.memory.release(w.seat)
	}
	w.seated, w.free = false, 0
	if w.err == nil {
		w.err = errClosedWriter
	}
}

var errClosedWriter = errors.New("content writer is closed")

func (w *ContentWriter) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// start runs a task in the background. Its error is the writer's.
func (w *ContentWriter) start(task func(context.Context) error) {
	w.mu.Lock()
	w.inFlight++
	w.mu.Unlock()
	w.spawn(func(ctx context.Context) {
		err := task(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.inFlight--
		if err != nil && w.err == nil {
			w.err = err
			w.cancel() // what else is being written is void as well
		}
		w.signal()
	})
}

func (w *ContentWriter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *ContentWriter) wait(ctx context.Context) error {
	select {
	case <-w.wake:
		return nil
	case <-ctx.Done():
		return ctxError(ctx)
	}
}

// block returns a buffer: one of the seat, or one beyond it if there is one to be had, or the next that is given back. The
// last always happens, because at most the pack, the caller's buffer and what is read ahead are not in flight when it is called.
func (w *ContentWriter) block(ctx context.Context) ([]byte, error) {
	for {
		if err := w.failed(); err != nil {
			return nil, err
		}
		if ok, err := w.takeBlock(ctx); err != nil {
			return nil, err
		} else if ok {
			return w.archive.memory.block(), nil
		}
		if err := w.wait(ctx); err != nil {
			return nil, err
		}
	}
}

func (w *ContentWriter) takeBlock(ctx context.Context) (bool, error) {
	if !w.seated {
		if err := w.archive.memory.acquire(ctx, w.seat); err != nil {
			return false, err
		}
		w.seated, w.free = true, int(w.seat)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.free > 0:
		w.free--
		return true, nil
	case w.extra < writerExtra && w.archive.memory.tryAcquire(1):
		w.extra++
		return true, nil
	}
	return false, nil
}

func (w *ContentWriter) giveBack(buf []byte) {
	w.archive.memory.recycle(buf[:0:ChunkSize])
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.extra > 0 {
		w.extra--
		w.archive.memory.release(1)
	} else {
		w.free++
	}
	w.signal()
}
