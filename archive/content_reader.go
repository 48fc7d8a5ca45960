package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// ContentReader reads chunks back. It is used by one goroutine; the caller closes it.
type ContentReader struct {
	archive *Archive
	seat    int64
	packs   [2]cachedPack // used when reading whole packs; the first was used last
	stored  []byte        // used otherwise
	decoded []byte
	zstd    *zstd.Decoder
}

type cachedPack struct {
	name string
	buf  []byte
	data []byte
}

const (
	rangeSeat = 2 // blocks: a stored chunk and its content
	wholeSeat = 3 // two packs, and a chunk's content
)

// NewContentReader returns a reader of chunks. whole tells that the entries are read in order, and most of them: packs
// are then fetched whole, once, and the last two are kept. Without it, only the ranges that are asked for are fetched.
//
// The reader takes its share of the memory budget at the first Chunk and gives it back at [ContentReader.Close].
func (a *Archive) NewContentReader(whole bool) *ContentReader {
	r := &ContentReader{archive: a, seat: rangeSeat}
	if whole {
		r.seat = wholeSeat
	}
	return r
}

// Chunk returns the content of a chunk, checked against its hash. The slice is valid until the next call. It returns
// [ErrCorrupt], with the object's name, where the content is damaged or missing, and [ErrInvalid] for a hole: the
// caller knows what a hole reads as.
func (r *ContentReader) Chunk(ctx context.Context, c *Chunk) ([]byte, error) {
	return r.chunk(ctx, c, nil)
}

// ChunkAt is Chunk for a caller that uses several contents at once: this one lies in the reader's own ChunkSize bytes from an
// offset on, and stays there until a chunk is asked for that would lie over it, Chunk is called, or the reader is closed.
func (r *ContentReader) ChunkAt(ctx context.Context, c *Chunk, offset int) ([]byte, error) {
	if offset < 0 || offset > ChunkSize {
		return nil, invalid("a chunk at %d", offset)
	}
	return r.chunk(ctx, c, &offset)
}

func (r *ContentReader) chunk(ctx context.Context, c *Chunk, at *int) ([]byte, error) {
	if problem := c.check(); problem != "" {
		return nil, invalid("%s", problem)
	}
	if c.Hole > 0 {
		return nil, invalid("a hole has no content")
	}
	if err := r.sit(ctx); err != nil {
		return nil, err
	}
	room := r.decoded
	if at != nil {
		if room = r.decoded[*at:]; c.Size > int64(len(room)) {
			return nil, invalid("a chunk of %d bytes at %d", c.Size, *at)
		}
	}
	stored, err := r.fetch(ctx, c)
	if err != nil {
		return nil, err
	}
	data := stored
	if c.Zstd {
		if data, err = r.zstd.DecodeAll(stored, room[:0:c.Size]); err != nil {
			return nil, corrupt(c.key(), "chunk %s: %v", c.SHA256, err)
		}
	}
	sum := sha256.Sum256(data)
	if int64(len(data)) != c.Size || hex.EncodeToString(sum[:]) != c.SHA256 {
		return nil, corrupt(c.key(), "content does not fit its hash %s", c.SHA256)
	}
	if at != nil && !c.Zstd {
		data = room[:copy(room[:c.Size:c.Size], data)]
	}
	return data, nil
}

func (r *ContentReader) sit(ctx context.Context) error {
	if r.zstd != nil {
		return nil
	}
	m := r.archive.memory
	if err := m.acquire(ctx, r.seat); err != nil {
		return err
	}
	if err := r.open(); err != nil {
		m.release(r.seat)
		return err
	}
	return nil
}

// open takes the buffers, for which the caller has the memory.
func (r *ContentReader) open() error {
	m := r.archive.memory
	var err error
	if r.zstd, err = m.decoder(); err != nil {
		return fmt.Errorf("make decoder: %w", err)
	}
	r.decoded = m.block()
	if r.seat < wholeSeat {
		r.stored = m.block()
		return nil
	}
	for i := range r.packs {
		r.packs[i] = cachedPack{buf: m.block()}
	}
	return nil
}

// fetch returns a chunk's stored bytes.
func (r *ContentReader) fetch(ctx context.Context, c *Chunk) ([]byte, error) {
	if c.Pack != "" && r.packs[0].buf != nil {
		return r.fromWholePack(ctx, c)
	}
	stored := r.stored
	if stored == nil {
		// A chunk that is an object of its own takes the place of the pack that was not used last.
		r.packs[1].name = ""
		stored = r.packs[1].buf
	}
	stored = stored[:c.Stored]
	if err := readInto(ctx, r.archive.store, c.key(), c.Offset, stored); err != nil {
		return nil, needed(c.key(), err)
	}
	return stored, nil
}

func (r *ContentReader) fromWholePack(ctx context.Context, c *Chunk) ([]byte, error) {
	if r.packs[0].name != c.Pack {
		r.packs[0], r.packs[1] = r.packs[1], r.packs[0]
	}
	p := &r.packs[0]
	if p.name != c.Pack {
		p.name = ""
		n, err := readUpTo(ctx, r.archive.store, packKey(c.Pack), p.buf)
		if err != nil {
			return nil, needed(c.key(), err)
		}
		p.name, p.data = c.Pack, p.buf[:n]
	}
	// The pack's own hash is not looked at: where a pack is damaged in one place, the chunks elsewhere are still good, and
	// each has its own hash.
	if c.Stored > int64(len(p.data)) || c.Offset > int64(len(p.data))-c.Stored {
		return nil, corrupt(c.key(), "%d bytes long where a chunk of %d bytes begins at %d", len(p.data), c.Stored, c.Offset)
	}
	return p.data[c.Offset : c.Offset+c.Stored], nil
}

// Close gives back the memory. It may be called again.
func (r *ContentReader) Close() {
	if r.zstd == nil {
		return
	}
	r.free()
	r.archive.memory.release(r.seat)
}

// free gives back the buffers.
func (r *ContentReader) free() {
	m := r.archive.memory
	m.putDecoder(r.zstd)
	m.recycle(r.decoded)
	if r.stored != nil {
		m.recycle(r.stored)
	}
	for i := range r.packs {
		if r.packs[i].buf != nil {
			m.recycle(r.packs[i].buf)
		}
	}
	r.zstd, r.stored, r.decoded, r.packs = nil, nil, nil, [2]cachedPack{}
}
