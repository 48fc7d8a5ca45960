package archive

import (
	"context"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/semaphore"
)

// memory is the budget that the writers and readers of an archive share, in blocks of ChunkSize, with the buffers
// themselves.
//
// # No deadlock
//
// A writer or reader takes all it needs to make progress (its seat) in one step, before it holds anything, and keeps it
// to its Close. What it takes beyond that it takes without waiting. The buffers for compressed chunks are a fixed number,
// taken last and given back without waiting for anything but the store.
type memory struct {
	budget *semaphore.Weighted
	// cost is what a block takes out of the budget: a bucket's client copies what it sends.
	cost  int64
	total int64

	encoders chan *encoder // fixed number, for chunks

	mu     sync.Mutex
	free   [][]byte // buffers to be used again
	zstd   []*zstd.Encoder
	unzstd []*zstd.Decoder // for whole chunks
	stream []*zstd.Decoder // for streams
}

// encoder compresses a chunk into a buffer of its own.
type encoder struct {
	buf []byte // nil until it is needed
}

const (
	defaultMemory = 128 << 20
	// maxSeat is the greatest number of blocks that one user needs at once.
	maxSeat = 4
)

func newMemory(size int64, remote bool, procs int) *memory {
	if size <= 0 {
		size = defaultMemory
	}
	cost := int64(ChunkSize)
	if remote {
		cost *= 2
	}
	// One encoder for each processor, but at most a quarter of the budget; its buffer is taken out of it for good.
	n := min(int64(max(procs, 1)), max(1, size/4/ChunkSize))
	total := max(size-n*ChunkSize, maxSeat*cost)
	m := &memory{budget: semaphore.NewWeighted(total), cost: cost, total: total, encoders: make(chan *encoder, n)}
	for range n {
		m.encoders <- &encoder{}
	}
	return m
}

// acquire waits for n blocks.
func (m *memory) acquire(ctx context.Context, n int64) error {
	return m.take(ctx, n*m.cost)
}

func (m *memory) take(ctx context.Context, n int64) error {
	if m.budget.Acquire(ctx, n) != nil {
		return ctxError(ctx)
	}
	return nil
}

// tryAcquire takes n blocks if they are there and nobody waits for any.
func (m *memory) tryAcquire(n int64) bool { return m.budget.TryAcquire(n * m.cost) }

func (m *memory) release(n int64) { m.budget.Release(n * m.cost) }

// acquireBytes waits for that much, at most all there is, and returns how much it took.
func (m *memory) acquireBytes(ctx context.Context, n int64) (int64, error) {
	n = min(n, m.total)
	return n, m.take(ctx, n)
}

// block returns a buffer of ChunkSize that the caller has acquired before.
func (m *memory) block() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.free); n > 0 {
		buf := m.free[n-1]
		m.free = m.free[:n-1]
		return buf
	}
	return make([]byte, ChunkSize)
}

func (m *memory) recycle(buf []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free = append(m.free, buf[:ChunkSize])
}

// encoder returns a single-threaded zstd encoder, for chunks or (after Reset) for a stream; give it back with putEncoder.
// Making one for each of thousands of small parts would cost more than using it.
func (m *memory) encoder() (*zstd.Encoder, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.zstd); n > 0 {
		e := m.zstd[n-1]
		m.zstd = m.zstd[:n-1]
		return e, nil
	}
	return newEncoder()
}

func (m *memory) putEncoder(e *zstd.Encoder) {
	e.Reset(nil) // lets go of its writer
	m.mu.Lock()
	defer m.mu.Unlock()
	m.zstd = append(m.zstd, e)
}

// decoder returns a decoder for whole chunks; give it back with putDecoder.
func (m *memory) decoder() (*zstd.Decoder, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.unzstd); n > 0 {
		d := m.unzstd[n-1]
		m.unzstd = m.unzstd[:n-1]
		return d, nil
	}
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(2*ChunkSize))
}

func (m *memory) putDecoder(d *zstd.Decoder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unzstd = append(m.unzstd, d)
}

// streamDecoder returns a decoder of r; give it back with putStreamDecoder.
func (m *memory) streamDecoder(r io.Reader) (*zstd.Decoder, error) {
	m.mu.Lock()
	var d *zstd.Decoder
	if n := len(m.stream); n > 0 {
		d, m.stream = m.stream[n-1], m.stream[:n-1]
	}
	m.mu.Unlock()
	if d == nil {
		return newStreamDecoder(r)
	}
	return d, d.Reset(r)
}

func (m *memory) putStreamDecoder(d *zstd.Decoder) {
	if d.Reset(nil) != nil {
		return // not to be used again
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stream = append(m.stream, d)
}
