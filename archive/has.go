package archive

import (
	"context"
	"errors"
	"fmt"
)

// Has tells whether what holds the chunks is there, in a length that fits; it does not read it. Chunks of one pack that
// follow each other are looked up once. It is what a dump asks before it builds on another's contents.
func (a *Archive) Has(ctx context.Context, chunks []*Chunk) (bool, error) {
	known := ""
	for _, c := range chunks {
		if problem := c.check(); problem != "" {
			return false, nil
		}
		key := c.key()
		if key == "" || (key == known && c.Pack != "") {
			continue
		}
		info, err := a.store.stat(ctx, key)
		if errors.Is(err, errMissing) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("look up %s: %w", key, err)
		}
		if (c.Pack == "" && info.size != c.Stored) || info.size < c.Offset+c.Stored {
			return false, nil
		}
		known = key
	}
	return true, nil
}
