package archive

import (
	"context"
	"errors"
	"fmt"
)

// Presence tells whether stored objects are there, in a length that fits; it does not read them. It asks for an object once
// and remembers the answer, so it is to be used for a short time. It is what a dump asks before it builds on another's
// contents. It is used by one goroutine.
type Presence struct {
	archive *Archive
	sizes   map[string]int64 // -1: not there
}

// NewPresence returns a Presence that knows nothing yet.
func (a *Archive) NewPresence() *Presence {
	return &Presence{archive: a, sizes: make(map[string]int64)}
}

// Has tells whether what holds the chunks is there.
func (p *Presence) Has(ctx context.Context, chunks []*Chunk) (bool, error) {
	for _, c := range chunks {
		if c.check() != "" {
			return false, nil
		}
		key := c.key()
		if key == "" {
			continue // a hole needs nothing
		}
		size, err := p.size(ctx, key)
		if err != nil {
			return false, err
		}
		if c.Pack == "" && size != c.Stored || c.Offset > size-c.Stored {
			return false, nil
		}
	}
	return true, nil
}

func (p *Presence) size(ctx context.Context, key string) (int64, error) {
	if size, ok := p.sizes[key]; ok {
		return size, nil
	}
	info, err := p.archive.store.stat(ctx, key)
	if errors.Is(err, errMissing) || errors.Is(err, ErrCorrupt) || err == nil && info.odd {
		info.size, err = -1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up %s: %w", key, err)
	}
	p.sizes[key] = info.size
	return info.size, nil
}
