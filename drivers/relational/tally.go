package relational

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
)

// Tally counts keys. It is held in memory up to a budget, and in a file beyond it, so that a set of any size can be kept. It is
// used by one goroutine.
type Tally struct {
	dir    string
	budget int64
	counts map[string]int64
	size   int64
	file   *tallyFile
}

// tallyEntry is about what an entry of a map takes beside its key.
const tallyEntry = 64

// NewTally returns an empty one. dir is where a file may be made, "" for the system's; budget is how many bytes of memory are used
// before there is one.
func NewTally(dir string, budget int64) *Tally {
	return &Tally{dir: dir, budget: budget, counts: make(map[string]int64)}
}

// Add adds to the count of a key and returns what it is then. A count of 0 takes no memory.
func (t *Tally) Add(ctx context.Context, key []byte, delta int64) (int64, error) {
	if t.file != nil {
		return t.file.add(ctx, key, delta)
	}
	n, known := t.counts[string(key)]
	n += delta
	switch {
	case n == 0 && known:
		delete(t.counts, string(key))
		t.size -= int64(len(key)) + tallyEntry
	case n != 0:
		t.counts[string(key)] = n
		if !known {
			t.size += int64(len(key)) + tallyEntry
		}
	}
	if t.size > t.budget {
		return n, t.spill(ctx)
	}
	return n, nil
}

// Count returns that of a key.
func (t *Tally) Count(ctx context.Context, key []byte) (int64, error) { return t.Add(ctx, key, 0) }

// spill moves everything into a file.
func (t *Tally) spill(ctx context.Context) error {
	f, err := newTallyFile(t.dir, max(tallyBits, bits.Len(uint(len(t.counts)))+1))
	if err != nil {
		return err
	}
	t.file = f
	for key, n := range t.counts {
		if _, err := f.add(ctx, []byte(key), n); err != nil {
			return err
		}
	}
	t.counts, t.size = nil, 0
	return nil
}

// Spilled tells whether there is a file.
func (t *Tally) Spilled() bool { return t.file != nil }

// Close removes the file.
func (t *Tally) Close() error {
	if t.file == nil {
		return nil
	}
	f := t.file
	t.file, t.counts = nil, make(map[string]int64)
	return f.close()
}

// tallyFile is a table of the hashes of keys in a file without a name: whatever happens, nothing of it is left. A key's place is told by
// the first bits of its hash; where that is taken, it is the next one that is free. What is in use, the system keeps in memory.
type tallyFile struct {
	dir     string
	file    *os.File
	bits    int // there are 2^bits places, and behind them those of keys that were pushed over the end
	used    int64
	scratch []byte
}

const (
	tallyBits = 12 // at first
	tallySlot = HashSize + 8
	tallyPage = 32 * tallySlot // is read at a time: few keys are further from their places
)

func newTallyFile(dir string, bits int) (*tallyFile, error) {
	file, err := unnamed(dir)
	if err != nil {
		return nil, err
	}
	return &tallyFile{dir: dir, file: file, bits: bits}, nil
}

func (f *tallyFile) close() error { return f.file.Close() }

func (f *tallyFile) add(ctx context.Context, key []byte, delta int64) (n int64, err error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	var h Hash
	h, f.scratch = HashValues([]Value{{Bytes, key}}, f.scratch)
	at, n, known, err := f.find(h)
	if err != nil || delta == 0 {
		return n, err
	}
	if err := f.put(at, h, n+delta, known); err != nil {
		return 0, err
	}
	if f.used*4 > 3<<f.bits {
		err = f.grow(ctx)
	}
	return n + delta, err
}

// find returns a key's place and count, or the place that it would have. A count of 0 keeps its place: keys that were pushed over it
// would not be found otherwise.
func (f *tallyFile) find(h Hash) (at, n int64, known bool, err error) {
	var page [tallyPage]byte
	for at = f.home(h); ; {
		size, err := f.file.ReadAt(page[:], at*tallySlot)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, false, fmt.Errorf("look up a key: %w", err)
		}
		clear(page[size:]) // what was never written is free
		for i := 0; i < len(page); i += tallySlot {
			switch Hash(page[i : i+HashSize]) {
			case h:
				return at, countIn(page[i:]), true, nil
			case Hash{}:
				return at, 0, false, nil
			}
			at++
		}
	}
}

// home is where a hash would be if nothing else were there.
func (f *tallyFile) home(h Hash) int64 {
	return int64(binary.BigEndian.Uint64(h[:]) >> (64 - f.bits)) //nolint:gosec // less than 64 bits
}

// countIn is the count in a place.
func countIn(slot []byte) int64 {
	return int64(binary.BigEndian.Uint64(slot[HashSize:])) //nolint:gosec // as put wrote it
}

func (f *tallyFile) put(at int64, h Hash, n int64, known bool) error {
	var slot [tallySlot]byte
	copy(slot[:], h[:])
	binary.BigEndian.PutUint64(slot[HashSize:], uint64(n)) //nolint:gosec // all bits are kept
	if _, err := f.file.WriteAt(slot[:], at*tallySlot); err != nil {
		return fmt.Errorf("keep a key: %w", noSpace(err))
	}
	if !known {
		f.used++
	}
	return nil
}

// grow moves everything into a file of twice the places, but for keys that count 0. The old places follow each other as the new ones do.
func (f *tallyFile) grow(ctx context.Context) (err error) {
	larger, err := newTallyFile(f.dir, f.bits+1)
	if err != nil {
		return err
	}
	old := *f
	defer func() { err = errors.Join(err, old.close()) }()
	end, err := old.file.Seek(0, io.SeekEnd)
	if err != nil {
		old = *larger
		return fmt.Errorf("move keys: %w", err)
	}
	in := bufio.NewReaderSize(io.NewSectionReader(old.file, 0, end), 1<<20)
	for range end / tallySlot {
		var slot [tallySlot]byte
		_, err := io.ReadFull(in, slot[:])
		if h, n := Hash(slot[:HashSize]), countIn(slot[:]); err == nil && h != (Hash{}) && n != 0 {
			var at int64
			if at, _, _, err = larger.find(h); err == nil {
				err = larger.put(at, h, n, false)
			}
		}
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			old = *larger
			return fmt.Errorf("move keys: %w", err)
		}
	}
	*f = *larger
	return nil
}
