package workers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

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
	err = a.run.archive.Segment(ctx, t.manifest.Segments[index], func(e archive.Entry) error {
		if !t.only.takes(e.Path) {
			return nil
		}
		return l.add(ctx, e)
	})
	if err != nil {
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
	reader *archive.ContentReader
	fresh  bool // the target held nothing before
	result tasks.LoadResult
}

// add restores one entry. What is this entry's alone (a name too long for the target) is listed; what would happen to the
// next one too (a full disk, a damaged archive) ends the task.
func (l *segmentLoad) add(ctx context.Context, stored archive.Entry) error {
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
	err = l.put(ctx, e, stored)
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
	l.result.Failed++
	if len(l.result.Problems) < problemsKept {
		l.result.Problems = append(l.result.Problems, problem(path, err.Error()))
	}
}

// put makes one entry, or finds that it is there already.
func (l *segmentLoad) put(ctx context.Context, e drivers.Entry, stored archive.Entry) error {
	if !l.fresh {
		// Looking first saves writing what is equal.
		equal, err := l.equal(ctx, e, stored)
		if err != nil {
			return err
		}
		if equal {
			l.result.Equal++
			return nil
		}
	}
	err := l.to.Put(ctx, l.target.rules, l.name(), e, l.content(ctx, e, stored))
	if errors.Is(err, drivers.ErrNotEmpty) {
		// An earlier attempt, or an earlier restore of the same dump, may have made it.
		equal, lookErr := l.equal(ctx, e, stored)
		if lookErr != nil {
			return errors.Join(err, lookErr)
		}
		if equal {
			l.result.Equal++
			return nil
		}
	}
	if err != nil {
		return err
	}
	l.result.Entries++
	if e.Type == drivers.TypeFile {
		l.result.Bytes += stored.Size
	}
	return nil
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
func (l *segmentLoad) content(ctx context.Context, e drivers.Entry, stored archive.Entry) drivers.ContentReader {
	if e.Type != drivers.TypeFile {
		return nil
	}
	return &chunkReader{ctx: ctx, load: l, chunks: stored.Chunks}
}

// chunkReader gives the chunks of a file as extents. Its context is the one of the Put that reads it.
type chunkReader struct {
	ctx    context.Context //nolint:containedctx // a reader has no other way to get its caller's context
	load   *segmentLoad
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
	data, err := r.load.reader.Chunk(r.ctx, c)
	if err != nil {
		return drivers.Extent{}, err
	}
	r.data.Reset(data)
	r.load.attempt.bytes.Add(int64(len(data)))
	return drivers.Extent{Length: int64(len(data))}, nil
}

// Read reads from the current chunk.
func (r *chunkReader) Read(p []byte) (int, error) { return r.data.Read(p) }
