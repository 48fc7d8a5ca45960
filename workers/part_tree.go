package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"salvor/archive"
	"salvor/drivers"
	"salvor/tasks"
)

// A range that grew since it was listed is cut into several segments, so that memory stays bounded.
const (
	segmentEntries = 2 * rangeEntries
	segmentMeta    = 16 << 20 // bytes of paths, metadata and chunk lists, roughly
)

// dumpRange stores the entries of one range of a tree: contents into packs and objects, then the segment that lists them.
func (a *attempt) dumpRange(ctx context.Context, spec tasks.PartSpec) (_ any, err error) {
	path := a.claim.Task.Node
	node := a.run.nodes[path]
	tree, err := a.openTree(ctx, path, node.Driver, node.Source)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	if err := sameRoot(ctx, tree, path, spec.Identities); err != nil {
		return nil, err
	}
	span := drivers.Range{From: string(spec.From), To: string(spec.To)}
	root := rootText(spec.Identities)
	earlier, err := a.openEarlier(ctx, path, span, root)
	if err != nil {
		return nil, err
	}
	base, err := a.openBase(ctx, path, span)
	if err != nil {
		return nil, err
	}
	content := a.run.archive.NewContentWriter(ctx)
	defer content.Close()
	d := rangeDump{attempt: a, tree: tree, earlier: earlier, base: base, content: content, index: spec.Index, span: span, root: root}
	if err := d.readRange(ctx, span); err != nil {
		return nil, fmt.Errorf("dump node %s: %w", path, err)
	}
	if err := sameRoot(ctx, tree, path, spec.Identities); err != nil {
		return nil, err
	}
	ended := time.Now().UTC()
	if err := d.cut(ctx, span.To); err != nil {
		return nil, err
	}
	return tasks.PartResult{Index: spec.Index, Ended: ended, Segments: d.segments}, nil
}

// rangeDump collects the entries of one range.
type rangeDump struct {
	*attempt
	tree     drivers.Tree
	earlier  *baseCursor // what earlier lives of the run stored
	base     *baseCursor
	content  *archive.ContentWriter
	index    int
	span     drivers.Range // what is not in a segment yet
	root     string
	entries  []archive.Entry
	meta     int   // size of what the entries hold beside their content
	stored   int64 // bytes that earlier segments stored
	reused   int64
	vanished int64
	segments []json.RawMessage
	ahead    *readAhead // nil where nothing is read ahead
	turns    []turn     // entries that were walked and not stored yet
}

// readRange stores what a walk finds, in the walk's order.
func (d *rangeDump) readRange(ctx context.Context, span drivers.Range) error {
	defer func() {
		if d.ahead != nil {
			d.ahead.close()
		}
	}()
	err := d.tree.Walk(ctx, span, func(e drivers.Entry) error { return d.add(ctx, e) })
	for err == nil && len(d.turns) > 0 {
		err = d.storeNext(ctx)
	}
	return err
}

// cut stores what was collected as the segment up to a path.
func (d *rangeDump) cut(ctx context.Context, to string) error {
	path := d.claim.Task.Node
	if err := d.content.Flush(ctx); err != nil {
		return fmt.Errorf("store contents of node %s: %w", path, err)
	}
	record, err := d.run.archive.PutSegment(ctx, d.run.ref, archive.SegmentName{
		Node: path, Index: d.index, From: d.span.From, To: to, Token: d.claim.Token + "x" + strconv.Itoa(len(d.segments)), Root: d.root,
	}, d.entries)
	if err != nil {
		return fmt.Errorf("store segment %d of node %s: %w", d.index, path, err)
	}
	record.Stored, record.Reused, record.Vanished = d.content.Stored()-d.stored, d.reused, d.vanished
	data, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode record of segment %d: %w", d.index, err)
	}
	d.segments = append(d.segments, data)
	d.stored, d.reused, d.vanished = d.content.Stored(), 0, 0
	d.span.From, d.entries, d.meta = to, nil, 0
	return nil
}

// add takes an entry that was walked. Its content is read ahead if that pays.
func (d *rangeDump) add(ctx context.Context, e drivers.Entry) (err error) {
	t := turn{entry: e}
	file := e.Err == nil && e.Type == drivers.TypeFile
	if file {
		for _, before := range []*baseCursor{d.earlier, d.base} {
			if t.known, t.same, err = before.unchanged(ctx, e); err != nil || t.same {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	most := atOnce(d.tree)
	if most <= 1 {
		return d.store(ctx, t)
	}
	if file && !t.same && d.ahead == nil { // where nothing is to be read, no memory is taken
		buf, err := d.content.Ahead(ctx)
		if err != nil {
			return fmt.Errorf("read ahead: %w", err)
		}
		d.ahead = newReadAhead(ctx, d.tree, most, buf, d.attempt.logPanic(ctx))
	}
	for len(d.turns) >= aheadEntries {
		if err := d.storeNext(ctx); err != nil {
			return err
		}
	}
	if file && !t.same && e.Size <= aheadSize {
		for {
			var ok bool
			if t.early, ok = d.ahead.start(e); ok {
				break
			}
			if err := d.storeNext(ctx); err != nil { // which gives room
				return err
			}
		}
	}
	d.turns = append(d.turns, t)
	return nil
}

// storeNext stores the entry whose turn it is.
func (d *rangeDump) storeNext(ctx context.Context) error {
	t := d.turns[0]
	d.turns = d.turns[1:]
	err := d.store(ctx, t)
	if t.early != nil {
		d.ahead.drop(t.early)
	}
	return err
}

// store stores one entry. An entry that cannot be read is stored with the reason; what fails the task is the archive alone.
func (d *rangeDump) store(ctx context.Context, t turn) error {
	e := t.entry
	if len(d.entries) >= segmentEntries || d.meta > segmentMeta {
		if err := d.cut(ctx, e.Path); err != nil {
			return err
		}
	}
	d.attempt.entries.Add(1)
	if e.Err == nil && e.Type == drivers.TypeFile {
		return d.addFile(ctx, t)
	}
	return d.append(e, content{})
}

// content is what was stored of a file.
type content struct {
	chunks []*archive.Chunk
	size   int64
	read   bool // false: nothing of it was read
	mixed  bool // its end said that it changed meanwhile
}

// append lists an entry. Metadata is what tells a restore that there is something to make.
func (d *rangeDump) append(e drivers.Entry, c content) error {
	entry := archive.Entry{Path: e.Path, Type: string(e.Type)}
	if e.Err != nil {
		entry.Err = e.Err.Error()
	}
	if e.Err == nil || c.read {
		meta, err := json.Marshal(e.Meta)
		if err != nil {
			return fmt.Errorf("encode metadata of %q: %w", e.Path, err)
		}
		entry.Size, entry.Chunks, entry.Meta = e.Size, c.chunks, meta
	}
	if e.Err == nil {
		entry.Version = e.Version
	}
	d.meta += len(entry.Path) + len(entry.Meta) + len(entry.Err) + 200*len(entry.Chunks) + 200
	d.entries = append(d.entries, entry)
	return nil
}

// readTries is how often an entry that changes while it is read is read before it is stored as it was and reported.
const readTries = 3

func (d *rangeDump) addFile(ctx context.Context, t turn) error {
	e := t.entry
	if t.same {
		d.reused += e.Size
		d.attempt.bytes.Add(e.Size)
		return d.append(e, content{chunks: t.known, size: e.Size, read: true})
	}
	for try := 1; ; try++ {
		c, err := d.read(ctx, e, t.early)
		t.early = nil // the next try reads again
		switch {
		case err == nil:
			return d.append(e, c)
		case errors.Is(err, errArchive), errors.Is(err, errPanic), ctx.Err() != nil:
			return err
		case errors.Is(err, drivers.ErrNotFound):
			d.vanished++
			return nil
		case errors.Is(err, drivers.ErrAccess):
			e.Err = err
			return d.append(e, content{})
		case try == readTries && errors.Is(err, drivers.ErrChanged):
			return d.takeAsItIs(ctx, e)
		case try == readTries:
			e.Err = err
			return d.append(e, content{})
		}
		fresh, ok, err := lookUp(ctx, d.tree, e.Path)
		if err != nil {
			return err
		}
		if !ok {
			d.vanished++
			return nil
		}
		if e = fresh; e.Err != nil || e.Type != drivers.TypeFile {
			return d.append(e, content{})
		}
	}
}

// takeAsItIs stores a file that never holds still: what can be read of it now, said to be what it is.
func (d *rangeDump) takeAsItIs(ctx context.Context, e drivers.Entry) error {
	open := e
	open.Size = drivers.AnySize
	c, err := d.read(ctx, open, nil)
	switch {
	case errors.Is(err, errArchive), ctx.Err() != nil:
		return err
	case errors.Is(err, drivers.ErrNotFound):
		d.vanished++
		return nil
	case err == nil, errors.Is(err, drivers.ErrChanged) && c.read:
		e.Err = fmt.Errorf("read %q: %w (%d tries); %s", e.Path, drivers.ErrChanged, readTries, d.stateOf(c, err))
		e.Size = c.size
	default:
		e.Err, c = err, content{}
	}
	return d.append(e, c)
}

// stateOf says what is stored of a file that never holds still.
func (d *rangeDump) stateOf(c content, err error) string {
	_, objects := d.tree.(drivers.Bucket)
	switch {
	case err == nil:
		return "what was read last is stored, and is one state of it"
	case objects && !c.mixed:
		return "what was read last is stored: the beginning of one state of it"
	default:
		return "what was read last is stored and may mix two states"
	}
}
