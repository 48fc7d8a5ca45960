package drivers

import (
	"context"
	"fmt"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Memory is what the sources and targets of one process may take together for buffers whose length follows from what they
// write. Nil sets no bound. It is safe for concurrent use.
//
// # No deadlock
//
// Who takes of it takes all that it needs at once, and gives it back without waiting for anybody who may want some: what
// else it waits for, such as the memory of the archive that it reads from, it has taken before.
type Memory struct {
	size int64
	free *semaphore.Weighted
}

// NewMemory returns a memory of that many bytes.
func NewMemory(size int64) *Memory {
	return &Memory{size: size, free: semaphore.NewWeighted(size)}
}

// Size returns how much there is for all.
func (m *Memory) Size() int64 {
	if m == nil {
		return math.MaxInt64
	}
	return m.size
}

// Take waits for n bytes, or until ctx ends. What it returns gives them back, and may be called again. More than there is
// for all is [ErrInvalid].
func (m *Memory) Take(ctx context.Context, n int64) (release func(), err error) {
	if m == nil {
		return func() {}, nil
	}
	if n > m.size {
		return nil, fmt.Errorf("%d bytes of memory are needed and there are %d: %w", n, m.size, ErrInvalid)
	}
	if err := m.free.Acquire(ctx, n); err != nil {
		return nil, fmt.Errorf("wait for memory: %w", err)
	}
	return sync.OnceFunc(func() { m.free.Release(n) }), nil
}
