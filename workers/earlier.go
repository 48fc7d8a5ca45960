package workers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"salvor/archive"
	"salvor/drivers"
)

// rootText is what segments say of the tree that they were read from, so that a resumed run takes only what is of the same
// tree.
func rootText(identities []string) string {
	sum := sha256.Sum256([]byte(strings.Join(identities, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// openEarlier returns a cursor over the entries of a range that earlier lives of the run stored. The tree is walked anew all
// the same: what was moved, changed or removed since the run was interrupted must not be lost between two walks.
func (a *attempt) openEarlier(ctx context.Context, path string, span drivers.Range, root string) (*baseCursor, error) {
	if a.run.plan.Resumed == 0 {
		return nil, nil //nolint:nilnil // a nil cursor knows nothing
	}
	stored, err := a.run.storedSegments(ctx, path)
	if err != nil {
		return nil, err
	}
	c := &baseCursor{presence: a.run.archive.NewPresence()}
	end := ""
	for _, s := range stored {
		// Of segments that overlap, those that begin first, and reach farthest, are taken.
		if s.Root != root || s.From < end {
			continue
		}
		if (span.To == "" || s.From < span.To) && (s.To == "" || s.To > span.From) {
			c.segments = append(c.segments, func(ctx context.Context, yield func(archive.Entry) error) error {
				return a.run.archive.StoredEntries(ctx, s, yield)
			})
		}
		if end = s.To; end == "" {
			break
		}
	}
	return c, nil
}

// storedSegments lists a node's segments of earlier lives, once for each process.
func (r *runContext) storedSegments(ctx context.Context, path string) ([]archive.StoredSegment, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if found, ok := r.stored[path]; ok {
		return found, nil
	}
	found, err := r.archive.StoredSegments(ctx, r.ref, path)
	if err != nil {
		return nil, fmt.Errorf("find what is stored of node %s: %w", path, err)
	}
	r.stored[path] = found
	return found, nil
}
