package workers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"salvor/archive"
	"salvor/drivers"
	"salvor/tasks"
)

// loadSegment puts the selected entries of one segment into the target and makes them durable.
func (a *attempt) loadSegment(ctx context.Context, t *target, spec tasks.LoadSpec) (any, error) {
	path, index := a.claim.Task.Node, spec.Index
	if index < 0 || index >= len(t.manifest.Segments) {
		return nil, fmt.Errorf("load segment %d of node %s: %w: the dump has %d", index, path, drivers.ErrInvalid, len(t.manifest.Segments))
	}
	tree, err := t.tree()
	if err != nil {
		return nil, err
	}
	if err := a.occupy(ctx, t); err != nil {
		return nil, fmt.Errorf("restore node %s: %w", path, err)
	}
	reader := a.run.archive.NewContentReader(len(t.only) == 0)
	defer reader.Close()
	l := segmentLoad{attempt: a, target: t, tree: tree, to: tree.Target(), reader: reader, fresh: spec.Fresh}
	if err := l.load(ctx, t.manifest.Segments[index]); err != nil {
		return nil, fmt.Errorf("restore node %s: %w", path, err)
	}
	if err := l.to.Sync(ctx); err != nil {
		return nil, fmt.Errorf("sync target of node %s: %w", path, err)
	}
	l.result.Warnings = l.to.Warnings()
	return l.result, nil
}

// segmentLoad restores the entries of one segment.
type segmentLoad struct {
	*attempt
	target *target
	tree   drivers.Tree
	to     drivers.TreeTarget
	fresh  bool // the target held nothing before

	reading sync.Mutex // of the reader: what it fetched for one entry serves the next ones too
	reader  *archive.ContentReader

	mu     sync.Mutex
	result tasks.LoadResult
}

// load restores the selected entries of a segment, several at the same time if the target gains by it.
func (l *segmentLoad) load(ctx context.Context, record archive.SegmentRecord) error {
	most := atOnce(l.tree)
	hands := newCrew(ctx, most, archive.ChunkSize, l.attempt.logPanic(ctx))
	defer hands.close()
	err := l.run.archive.Segment(ctx, record, func(e archive.Entry) error {
		if !l.target.only.takes(e.Path) {
			return nil
		}
		if n := roomOf(e); most > 1 && n <= aheadSize {
			return hands.start(int(n), func(ctx context.Context, at *span) error { return l.add(ctx, e, at) })
		}
		// A large one has the reader, and the memory that its putting takes, for itself.
		if err := hands.wait(); err != nil {
			return err
		}
		return l.add(ctx, e, nil)
	})
	if err == nil {
		err = hands.wait()
	}
	if err != nil {
		return err
	}
	slices.SortStableFunc(l.result.Problems, func(a, b tasks.Problem) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// roomOf is how many bytes the putting of an entry takes at most: one chunk here, and what the target makes of its content.
func roomOf(e archive.Entry) int64 {
	n := e.Size
	for _, c := range e.Chunks {
		n = max(n, c.Len())
	}
	return n
}

// add restores one entry. What is this entry's alone (a name too long for the target) is listed; what would happen to the
// next one too (a full disk, a damaged archive) ends the task. at is where its chunks are to lie, nil if nothing else is
// restored meanwhile.
func (l *segmentLoad) add(ctx context.Context, stored archive.Entry, at *span) error {
	if stored.Err != "" {
		// A restore is not whole where the dump was not.
		l.fail(stored.Path, errors.New("when it was dumped: "+stored.Err))
		if stored.Meta == nil {
			return nil // there is nothing of it
		}
	}
	e, err := entryOf(stored)
	if err != nil {
		return err
	}
	err = l.put(ctx, e, stored, at)
	switch {
	case err == nil:
		l.attempt.entries.Add(1)
		return nil
	case ctx.Err() != nil:
		return err
	case ownToEntry(err), l.target.cannotHold(err):
		l.fail(e.Path, err)
		return nil
	default:
		return err
	}
}

// fail lists an entry that is not restored as it was.
func (l *segmentLoad) fail(path string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Failed++
	if len(l.result.Problems) < problemsKept {
		l.result.Problems = append(l.result.Problems, problem(path, err.Error()))
	}
}

// put makes one entry, or finds that it is there already.
func (l *segmentLoad) put(ctx context.Context, e drivers.Entry, stored archive.Entry, at *span) error {
	if !l.fresh {
		// Looking first saves writing what is equal.
		equal, err := l.equal(ctx, e, stored)
		if err != nil {
			return err
		}
		if equal {
			l.countEqual()
			return nil
		}
	}
	err := l.to.Put(ctx, l.target.rules, l.name(), e, l.content(ctx, e, stored, at))
	if errors.Is(err, drivers.ErrNotEmpty) {
		// An earlier attempt, or an earlier restore of the same dump, may have made it.
		equal, lookErr := l.equal(ctx, e, stored)
		if lookErr != nil {
			return errors.Join(err, lookErr)
		}
		if equal {
			l.countEqual()
			return nil
		}
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Entries++
	if e.Type == drivers.TypeFile {
		l.result.Bytes += stored.Size
	}
	return nil
}

func (l *segmentLoad) countEqual() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Equal++
}

// equal tells whether the target holds the entry already, content included.
func (l *segmentLoad) equal(ctx context.Context, e drivers.Entry, stored archive.Entry) (bool, error) {
	have, ok, err := lookUp(ctx, l.tree, e.Path)
	if err != nil || !ok || have.Err != nil {
		return false, err
	}
	if !l.to.Same(e, have) {
		return false, nil
	}
	if e.Type != drivers.TypeFile {
		return true, nil
	}
	return sameContent(ctx, l.tree, have, stored)
}

// content reads a file's content out of the archive; nil for what has none.
func (l *segmentLoad) content(ctx context.Context, e drivers.Entry, stored archive.Entry, at *span) drivers.ContentReader {
	if e.Type != drivers.TypeFile {
		return nil
	}
	return &chunkReader{ctx: ctx, load: l, at: at, chunks: stored.Chunks}
}

// chunkReader gives the chunks of a file as extents. Its context is the one of the Put that reads it.
type chunkReader struct {
	ctx    context.Context //nolint:containedctx // a reader has no other way to get its caller's context
	load   *segmentLoad
	at     *span
	chunks []*archive.Chunk
	data   bytes.Reader
}

var _ drivers.ContentReader = (*chunkReader)(nil)

// Next goes to the next chunk.
func (r *chunkReader) Next() (drivers.Extent, error) {
	if len(r.chunks) == 0 {
		return drivers.Extent{}, io.EOF
	}
	c := r.chunks[0]
	r.chunks = r.chunks[1:]
	if c.Hole > 0 {
		r.data.Reset(nil)
		return drivers.Extent{Length: c.Hole, Hole: true}, nil
	}
	data, err := r.chunk(c)
	if err != nil {
		return drivers.Extent{}, err
	}
	r.data.Reset(data)
	r.load.attempt.bytes.Add(int64(len(data)))
	return drivers.Extent{Length: int64(len(data))}, nil
}

// chunk reads a chunk out of the archive. Each chunk of a file takes the place of the one before.
func (r *chunkReader) chunk(c *archive.Chunk) ([]byte, error) {
	l := r.load
	l.reading.Lock()
	defer l.reading.Unlock()
	if r.at == nil {
		return l.reader.Chunk(r.ctx, c)
	}
	if c.Size > int64(r.at.to-r.at.from) {
		return nil, fmt.Errorf("%w: a chunk of %d bytes in a content of fewer", archive.ErrCorrupt, c.Size)
	}
	return l.reader.ChunkAt(r.ctx, c, r.at.from)
}

// Read reads from the current chunk.
func (r *chunkReader) Read(p []byte) (int, error) { return r.data.Read(p) }
