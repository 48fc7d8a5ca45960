package workers

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"salvor/archive"
	"salvor/drivers"
)

// errStopped ends the reading of a segment early.
var errStopped = errors.New("stopped")

// ascending yields the selected entries of a node in ascending order of their paths. An error ends it. note, if not nil, is
// called for each before.
func (t *target) ascending(ctx context.Context, a *archive.Archive, note func(archive.Entry, archive.SegmentRecord)) iter.Seq2[archive.Entry, error] {
	return func(yield func(archive.Entry, error) bool) {
		for _, s := range t.manifest.Segments {
			if !t.only.touches(drivers.Range{From: string(s.From), To: string(s.To)}) {
				continue
			}
			err := a.Segment(ctx, s, func(e archive.Entry) error {
				if !t.only.takes(e.Path) {
					return nil
				}
				if note != nil {
					note(e, s)
				}
				if !yield(e, nil) {
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
	// unread are the directories that the dump could not list, so far: of what is below them it knows nothing. They are few.
	unread map[string]struct{}
}

func newEntryCursor(ctx context.Context, a *archive.Archive, t *target) *entryCursor {
	c := &entryCursor{unread: make(map[string]struct{})}
	c.next, c.stop = iter.Pull2(t.ascending(ctx, a, c.note))
	return c
}

// note remembers a directory that could not be listed. One that lies before its range stands at the range's first path.
func (c *entryCursor) note(e archive.Entry, s archive.SegmentRecord) {
	if e.Err == "" || e.Meta != nil || e.Type == string(drivers.TypeFile) {
		return
	}
	dir := strings.TrimSuffix(e.Path, "/")
	if len(s.From) > 0 && e.Path == string(s.From) {
		c.unread[parentOf(dir)] = struct{}{}
	}
	c.unread[dir] = struct{}{}
}

// unknown tells whether a path is, or lies below, a directory that the dump could not list.
func (c *entryCursor) unknown(p string) bool {
	if len(c.unread) == 0 {
		return false
	}
	for ; p != ""; p = parentOf(p) {
		if _, ok := c.unread[p]; ok {
			return true
		}
	}
	_, ok := c.unread[""] // the root
	return ok
}

// parentOf returns a path up to its last slash; keys of objects are no clean paths.
func parentOf(p string) string { return p[:max(strings.LastIndexByte(p, '/'), 0)] }

func (c *entryCursor) close() { c.stop() }

// seek returns the entry of a path, if there is one. Paths must be asked for in ascending order.
func (c *entryCursor) seek(p string) (archive.Entry, bool, error) {
	for !c.valid || c.current.Path < p {
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
	return c.current, c.current.Path == p, nil
}
