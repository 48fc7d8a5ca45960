package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Reopen begins another life of a run: life is its number, 2 for the first time that the run is resumed. It records that the
// run is open again, what it is about, and ref, the dump that it makes (zero for none), and removes the mark of the life before,
// which may have been killed. Of several callers one begins the life; the others get [ErrExists]. What earlier lives
// reported stays. The caller makes sure that nobody else carries the run out.
func (a *Archive) Reopen(ctx context.Context, run string, life int, ref Ref, about json.RawMessage) error {
	if life < 2 {
		return invalid("life %d of run %s", life, run)
	}
	if ref != (Ref{}) {
		if err := ref.check(); err != nil {
			return err
		}
	}
	if len(about) > 0 && !json.Valid(about) {
		return invalid("what run %s is about is not JSON", run)
	}
	if err := a.openRun(ctx, openDocument{Run: run, Life: life, Set: ref.Set, Dump: ref.Dump, About: about}); err != nil {
		return err
	}
	return a.store.remove(ctx, openRunKey(run, life-1))
}

// Own tells whether only the user who runs this process can write to the archive, as far as that can be seen: it is a
// directory of that user which nobody else may write to.
func (a *Archive) Own() bool { return a.store.own() }

// Sealed returns the record of a node's manifest in a dump that is not committed yet; false where there is none, or none
// that can be used. Its writer is dead or done.
func (a *Archive) Sealed(ctx context.Context, ref Ref, node string) (NodeRecord, bool, error) {
	if err := errors.Join(ref.check(), validNode(node)); err != nil {
		return NodeRecord{}, false, err
	}
	data, n, err := a.readNode(ctx, ref, node)
	switch {
	case errors.Is(err, errMissing), errors.Is(err, ErrCorrupt), errors.Is(err, ErrNewerFormat):
		return NodeRecord{}, false, nil
	case err != nil:
		return NodeRecord{}, false, err
	}
	key := nodeKey(ref, node)
	if err := a.store.settle(ctx, key); err != nil {
		return NodeRecord{}, false, err
	}
	return n.record(key, data), true, nil
}

// Unseal removes the manifest of a node that is to be dumped again. A committed dump is refused with [ErrExists]; a
// manifest that is absent is no error.
func (a *Archive) Unseal(ctx context.Context, ref Ref, node string) error {
	if err := errors.Join(ref.check(), validNode(node)); err != nil {
		return err
	}
	switch _, err := a.store.stat(ctx, ref.dir()+"manifest.json"); {
	case err == nil:
		return fmt.Errorf("unseal node %s of %s: %w: the dump is committed", node, ref, ErrExists)
	case !errors.Is(err, errMissing):
		return err
	}
	return a.store.remove(ctx, nodeKey(ref, node))
}

// headerRead is how much of a segment is read to learn its range: the header comes first, in a block of at most 128 KiB.
const headerRead = 192 << 10

// StoredSegment is a segment that an attempt stored, found by listing and not by a manifest.
type StoredSegment struct {
	Key      string
	Size     int64
	From, To string
	// Root is what [SegmentName] was told of the tree's root.
	Root string
}

// StoredSegments lists the segments of a node in a dump that is not committed yet, ascending by the range; where several
// begin alike, the longest comes first. Only their headers are read: what cannot be a segment of the node is left out,
// and [Archive.StoredEntries] finds out about the rest.
func (a *Archive) StoredSegments(ctx context.Context, ref Ref, node string) ([]StoredSegment, error) {
	if err := errors.Join(ref.check(), validNode(node)); err != nil {
		return nil, err
	}
	dir := dataDir(ref, node)
	var found []StoredSegment
	err := a.store.list(ctx, dir, listLevel, func(o objectInfo) error {
		if strings.HasPrefix(path.Base(o.key), "segment-") && strings.HasSuffix(o.key, ".jsonl.zst") && o.size > 0 && o.size <= maxSegment {
			found = append(found, StoredSegment{Key: o.key, Size: o.size})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list segments of node %s: %w", node, err)
	}
	usable := make([]bool, len(found))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelRequests)
	for i := range found {
		g.Go(func() (err error) {
			usable[i], err = a.readRange(gctx, ref, node, &found[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("read segments of node %s: %w", node, err)
	}
	out := found[:0]
	for i, s := range found {
		if usable[i] {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(x, y StoredSegment) int {
		switch {
		case x.From != y.From:
			return strings.Compare(x.From, y.From)
		case x.To == y.To:
			return strings.Compare(x.Key, y.Key)
		case x.To == "":
			return -1
		case y.To == "":
			return 1
		}
		return strings.Compare(y.To, x.To)
	})
	return out, nil
}

// readRange fills in what a segment's header says; false where it is no segment of the node.
func (a *Archive) readRange(ctx context.Context, ref Ref, node string, s *StoredSegment) (bool, error) {
	r, err := a.store.open(ctx, s.Key, 0, min(s.Size, headerRead))
	if errors.Is(err, errMissing) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var start bytes.Buffer
	_, err = start.ReadFrom(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return false, err
	}
	z, err := a.memory.streamDecoder(&start)
	if err != nil {
		return false, fmt.Errorf("make decoder: %w", err)
	}
	defer a.memory.putStreamDecoder(z)
	h, err := decodeHeader(z)
	if err != nil || h.Format > Format || h.Ref != ref || h.Node != node || segmentKey(h.Ref, h.name()) != s.Key {
		return false, nil // whoever needs the range reads the tree again
	}
	s.From, s.To, s.Root = string(h.From), string(h.To), h.Root
	return true, nil
}

// StoredEntries reads a stored segment and calls yield for its entries, in order; it stops at yield's first error, which it
// returns as it is. Entries are yielded before the end is seen; [ErrCorrupt] where the segment is missing, damaged, or another one.
func (a *Archive) StoredEntries(ctx context.Context, s StoredSegment, yield func(Entry) error) error {
	if !validKey(s.Key) {
		return invalid("segment key %q", s.Key)
	}
	data, err := readLimited(ctx, a.store, s.Key, maxSegment)
	if err != nil {
		return needed(s.Key, err)
	}
	z, err := a.memory.streamDecoder(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("make decoder: %w", err)
	}
	defer a.memory.putStreamDecoder(z)
	rec := SegmentRecord{Key: s.Key, From: bytesOrNil(s.From), To: bytesOrNil(s.To)}
	return decodeUncounted(ctx, &rec, z, yield)
}
