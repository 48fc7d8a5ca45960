package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"salvor/archive"
	"salvor/drivers"
	"salvor/tasks"
)

// readTries is how often an entry that changes while it is read is read before it is stored as it was and reported.
const readTries = 3

// dumpRange stores the entries of one range of a tree: contents into packs and objects, then the segment that lists them.
func (a *attempt) dumpRange(ctx context.Context, spec tasks.PartSpec) (_ any, err error) {
	path := a.claim.Task.Node
	node := a.run.nodes[path]
	tree, err := a.openTree(ctx, path, node.Driver, node.Source)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	span := drivers.Range{From: string(spec.From), To: string(spec.To)}
	base, err := a.openBase(ctx, path, span)
	if err != nil {
		return nil, err
	}
	content := a.run.archive.NewContentWriter(ctx)
	defer content.Close()
	d := rangeDump{attempt: a, tree: tree, base: base, content: content}
	err = tree.Walk(ctx, span, func(e drivers.Entry) error { return d.add(ctx, e) })
	if err != nil {
		return nil, fmt.Errorf("dump node %s: %w", path, err)
	}
	ended := time.Now().UTC()
	if err := content.Flush(ctx); err != nil {
		return nil, fmt.Errorf("store contents of node %s: %w", path, err)
	}
	record, err := a.run.archive.PutSegment(ctx, a.run.ref, archive.SegmentName{
		Node: path, Index: spec.Index, From: span.From, To: span.To, Token: a.claim.Token,
	}, d.entries)
	if err != nil {
		return nil, fmt.Errorf("store segment %d of node %s: %w", spec.Index, path, err)
	}
	record.Stored, record.Reused, record.Vanished = content.Stored(), d.reused, d.vanished
	stored, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encode record of segment %d: %w", spec.Index, err)
	}
	return tasks.PartResult{Index: spec.Index, Ended: ended, Segment: stored}, nil
}

// rangeDump collects the entries of one range.
type rangeDump struct {
	*attempt
	tree     drivers.Tree
	base     *baseCursor
	content  *archive.ContentWriter
	entries  []archive.Entry
	reused   int64
	vanished int64
}

// add stores one entry. An entry that cannot be read is stored with the reason; what fails the task is the archive alone.
func (d *rangeDump) add(ctx context.Context, e drivers.Entry) error {
	d.attempt.entries.Add(1)
	if e.Err == nil && e.Type == drivers.TypeFile {
		return d.addFile(ctx, e)
	}
	return d.append(e, nil)
}

func (d *rangeDump) append(e drivers.Entry, chunks []*archive.Chunk) error {
	entry := archive.Entry{Path: e.Path, Type: string(e.Type)}
	if e.Err != nil {
		entry.Err = e.Err.Error()
	}
	if e.Err == nil || chunks != nil {
		// Metadata is what tells a restore that there is something to make.
		meta, err := json.Marshal(e.Meta)
		if err != nil {
			return fmt.Errorf("encode metadata of %q: %w", e.Path, err)
		}
		entry.Size, entry.Chunks, entry.Meta = e.Size, chunks, meta
	}
	if e.Err == nil {
		entry.Version = e.Version
	}
	d.entries = append(d.entries, entry)
	return nil
}

func (d *rangeDump) addFile(ctx context.Context, e drivers.Entry) error {
	known, ok, err := d.base.unchanged(ctx, e)
	if err != nil {
		return err
	}
	if ok {
		d.reused += e.Size
		d.attempt.bytes.Add(e.Size)
		return d.append(e, known)
	}
	for try := 1; ; try++ {
		chunks, size, err := d.read(ctx, e)
		switch {
		case err == nil:
			return d.append(e, chunks)
		case errors.Is(err, errArchive), ctx.Err() != nil:
			return err
		case errors.Is(err, drivers.ErrNotFound):
			d.vanished++
			return nil
		case errors.Is(err, drivers.ErrAccess):
			e.Err = err
			return d.append(e, nil)
		case try == readTries && errors.Is(err, drivers.ErrChanged):
			// What was read last is kept, and said to be what it is.
			e.Err = fmt.Errorf("%w (%d tries); it may mix two states", err, readTries)
			e.Size = size
			return d.append(e, chunks)
		case try == readTries:
			e.Err = err
			return d.append(e, nil)
		}
		fresh, ok, err := d.lookAgain(ctx, e.Path)
		if err != nil {
			return err
		}
		if !ok {
			d.vanished++
			return nil
		}
		if e = fresh; e.Err != nil || e.Type != drivers.TypeFile {
			return d.append(e, nil)
		}
	}
}

// lookAgain walks to one path.
func (d *rangeDump) lookAgain(ctx context.Context, path string) (found drivers.Entry, ok bool, err error) {
	return lookUp(ctx, d.tree, path)
}

// errArchive marks errors of the storing side: they fail the task, where an error of the source is the entry's own.
var errArchive = errors.New("store content")

// read stores a file's content and returns its chunks and the number of bytes that they stand for.
func (d *rangeDump) read(ctx context.Context, e drivers.Entry) (_ []*archive.Chunk, size int64, err error) {
	in, err := d.tree.Open(ctx, e)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	var chunks []*archive.Chunk
	for {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		extent, err := in.Next()
		if errors.Is(err, io.EOF) {
			return chunks, size, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read %q: %w", e.Path, err)
		}
		if extent.Hole {
			chunks = append(chunks, &archive.Chunk{Hole: extent.Length})
			size += extent.Length
			continue
		}
		more, n, err := d.readExtent(ctx, in, extent.Length)
		if err != nil {
			return nil, 0, fmt.Errorf("read %q: %w", e.Path, err)
		}
		chunks = append(chunks, more...)
		size += n
	}
}

// readExtent stores the data of one extent.
func (d *rangeDump) readExtent(ctx context.Context, in io.Reader, expected int64) (chunks []*archive.Chunk, size int64, err error) {
	buf, err := d.content.Buffer(ctx)
	if err != nil {
		return nil, 0, errors.Join(errArchive, err)
	}
	defer func() { d.content.Release(buf) }()
	for {
		n, err := io.ReadFull(in, buf)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return nil, 0, err
		}
		size += int64(n)
		d.attempt.bytes.Add(int64(n))
		switch {
		case n == 0:
		case n <= archive.SmallSize:
			c, err := d.content.AddSmall(ctx, buf[:n])
			if err != nil {
				return nil, 0, errors.Join(errArchive, err)
			}
			chunks = append(chunks, c)
		default:
			c, err := d.content.AddLarge(ctx, buf[:n])
			buf = nil // AddLarge owns it now
			if err != nil {
				return nil, 0, errors.Join(errArchive, err)
			}
			chunks = append(chunks, c)
		}
		// The extent's announced end saves another turn; a file that grew is the driver's to notice at Close.
		if end || size >= expected {
			return chunks, size, nil
		}
		if buf == nil {
			if buf, err = d.content.Buffer(ctx); err != nil {
				return nil, 0, errors.Join(errArchive, err)
			}
		}
	}
}
