package archive

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
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

// CheckStored tells whether parts are there in the lengths that their records say, and reads none: [ErrCorrupt] names one that is not.
// It is what is asked before a restore removes what it is to replace.
func (a *Archive) CheckStored(ctx context.Context, records []PartRecord) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelRequests)
	for _, rec := range records {
		group.Go(func() error {
			if !validKey(rec.Key) {
				return corrupt(rec.Key, "record of part %q makes no sense", rec.Name)
			}
			info, err := a.store.stat(ctx, rec.Key)
			if err != nil {
				return needed(rec.Key, err)
			}
			if info.size != rec.Stored {
				return corrupt(rec.Key, "%d bytes where %d should be", info.size, rec.Stored)
			}
			return nil
		})
	}
	return group.Wait()
}
