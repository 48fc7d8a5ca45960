package media

import (
	"context"
	"fmt"

	"salvor/drivers"
)

const (
	// partSize is the least part of an upload. What is smaller goes in one request and is held in memory for it.
	partSize = 8 << 20
	// maxParts is how many parts S3 takes; Azure takes 50,000.
	maxParts = 10_000
	// partsAtOnce is how many parts of one upload are in flight, where there is memory for them.
	partsAtOnce = 2

	mebibyte = 1 << 20
)

// partSizeOf returns the size of the parts of an upload.
func partSizeOf(size, least int64) int64 { return max(least, (size+maxParts-1)/maxParts) }

// parts are how the content of an object is sent.
type parts struct {
	length  int64 // of one; the content goes in one request if it is no longer
	atOnce  int   // how many are in memory
	release func()
}

// partsOf waits for the memory for an upload of that size, whose parts have at least that length; the caller releases it.
// The parts of a huge object are huge: where there is no memory for two of them one is sent after the other, and where there
// is none for one the object cannot be written.
func partsOf(ctx context.Context, m *drivers.Memory, size, least int64) (parts, error) {
	p := parts{length: partSizeOf(size, least), atOnce: partsAtOnce}
	if p.length*partsAtOnce > m.Size() {
		p.atOnce = 1
	}
	need := size
	if size > p.length {
		need = p.length * int64(p.atOnce)
	}
	if need > m.Size() {
		return parts{}, drivers.WithHint(fmt.Errorf("to upload an object of %d bytes takes %d MiB of memory, and of --memory uploads may have %d MiB: %w",
			size, (need+mebibyte-1)/mebibyte, m.Size()/mebibyte, drivers.ErrInvalid), "raise --memory; how much an object needs: docs/media.md")
	}
	var err error
	p.release, err = m.Take(ctx, need)
	return p, err
}
