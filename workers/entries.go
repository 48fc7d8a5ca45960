package workers

import (
	"context"
	"errors"
	"iter"
	"slices"

	"salvor/archive"
	"salvor/drivers"
)

// errStopped ends the reading of a segment early.
var errStopped = errors.New("stopped")

// ascending yields the selected entries of a node in ascending order of their paths. An error ends it.
func (t *target) ascending(ctx context.Context, a *archive.Archive) iter.Seq2[archive.Entry, error] {
	return func(yield func(archive.Entry, error) bool) {
		for _, s := range t.manifest.Segments {
			if !t.only.touches(drivers.Range{From: string(s.From), To: string(s.To)}) {
				continue
			}
			err := a.Segment(ctx, s, func(e archive.Entry) error {
				if t.only.takes(e.Path) && !yield(e, nil) {
					return errStopped
				}
				return nil
			})
			if errors.Is(err, errStopped) {
				return
			}
			if err != nil {
				yield(archive.Entry{}, err)
				return
			}
		}
	}
}

// descending calls f for the selected entries that keep chooses, in descending order of their paths; of one segment at
// a time, what keep chose is held in memory.
func (t *target) descending(ctx context.Context, a *archive.Archive, keep func(archive.Entry) bool, f func(archive.Entry) error) error {
	for _, s := range slices.Backward(t.manifest.Segments) {
		if !t.only.touches(drivers.Range{From: string(s.From), To: string(s.To)}) {
			continue
		}
		var kept []archive.Entry
		err := a.Segment(ctx, s, func(e archive.Entry) error {
			if t.only.takes(e.Path) && keep(e) {
				kept = append(kept, e)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, e := range slices.Backward(kept) {
			if err := f(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// entryCursor goes forward through the selected entries of a node.
type entryCursor struct {
	next    func() (archive.Entry, error, bool)
	stop    func()
	current archive.Entry
	valid   bool // current holds an entry that was not passed yet
}

func newEntryCursor(ctx context.Context, a *archive.Archive, t *target) *entryCursor {
	next, stop := iter.Pull2(t.ascending(ctx, a))
	return &entryCursor{next: next, stop: stop}
}

func (c *entryCursor) close() { c.stop() }

// seek returns the entry of a path, if there is one. Paths must be asked for in ascending order.
func (c *entryCursor) seek(path string) (archive.Entry, bool, error) {
	for !c.valid || c.current.Path < path {
		e, err, ok := c.next()
		if err != nil {
			return archive.Entry{}, false, err
		}
		if !ok {
			c.current, c.valid = archive.Entry{}, false
			return archive.Entry{}, false, nil
		}
		c.current, c.valid = e, true
	}
	return c.current, c.current.Path == path, nil
}
