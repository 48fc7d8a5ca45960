package workers

import (
	"context"
	"errors"
	"fmt"

	"salvor/archive"
	"salvor/drivers"
)

// baseCursor goes through a range of an earlier dump's entries in step with a walk, to find contents that need not be
// read again. The zero of it, a nil cursor, knows nothing.
type baseCursor struct {
	segments []readSegment   // those that overlap the range and are not read yet
	entries  []archive.Entry // of the segment that was read last
	at       int
	presence *archive.Presence
}

// readSegment calls yield for the entries of a segment.
type readSegment func(ctx context.Context, yield func(archive.Entry) error) error

// openBase returns a cursor over the base dump's entries of the range.
func (a *attempt) openBase(ctx context.Context, path string, span drivers.Range) (*baseCursor, error) {
	manifest, err := a.run.baseManifest(ctx, path)
	if errors.Is(err, archive.ErrCorrupt) || errors.Is(err, archive.ErrNoDump) || errors.Is(err, archive.ErrNewerFormat) {
		a.cfg.Log.WarnContext(ctx, "the earlier dump cannot be built on; everything is read", "node", path, "error", err)
		return nil, nil //nolint:nilnil // a nil cursor knows nothing
	}
	if err != nil {
		return nil, err
	}
	node := a.run.nodes[path]
	if manifest == nil || manifest.Driver != node.Driver || manifest.Source != node.Source {
		return nil, nil //nolint:nilnil // a nil cursor knows nothing
	}
	c := &baseCursor{presence: a.run.archive.NewPresence()}
	for _, s := range manifest.Segments {
		if (span.To == "" || string(s.From) < span.To) && (len(s.To) == 0 || string(s.To) > span.From) {
			c.segments = append(c.segments, func(ctx context.Context, yield func(archive.Entry) error) error {
				return a.run.archive.Segment(ctx, s, yield)
			})
		}
	}
	return c, nil
}

// unchanged returns the chunks of the earlier dump if the entry's content is surely the same. Entries must be asked for in
// ascending order.
func (c *baseCursor) unchanged(ctx context.Context, e drivers.Entry) (_ []*archive.Chunk, ok bool, err error) {
	if c == nil || e.Version == "" {
		return nil, false, nil
	}
	for {
		for c.at < len(c.entries) && c.entries[c.at].Path < e.Path {
			c.at++
		}
		if c.at < len(c.entries) {
			break
		}
		if len(c.segments) == 0 {
			return nil, false, nil
		}
		if err := c.nextSegment(ctx); err != nil {
			return nil, false, err
		}
	}
	old := c.entries[c.at]
	same := old.Path == e.Path && old.Version == e.Version && old.Size == e.Size && old.Type == string(e.Type) && old.Err == ""
	if !same {
		return nil, false, nil
	}
	present, err := c.presence.Has(ctx, old.Chunks)
	if err != nil {
		return nil, false, fmt.Errorf("find contents of the earlier dump: %w", err)
	}
	return old.Chunks, present, nil
}

// nextSegment reads the next segment that overlaps the range; a segment is small by its making.
func (c *baseCursor) nextSegment(ctx context.Context) error {
	read := c.segments[0]
	c.segments = c.segments[1:]
	c.entries, c.at = c.entries[:0], 0
	err := read(ctx, func(e archive.Entry) error {
		c.entries = append(c.entries, e)
		return nil
	})
	if errors.Is(err, archive.ErrCorrupt) || errors.Is(err, archive.ErrNotFound) || errors.Is(err, archive.ErrNewerFormat) {
		c.entries = c.entries[:0] // not to be built on: what it held is read again
		return nil
	}
	if err != nil {
		return fmt.Errorf("read segment to build on: %w", err)
	}
	return nil
}
