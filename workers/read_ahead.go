package workers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"

	"salvor/archive"
	"salvor/drivers"
)

const (
	// aheadSize is the greatest length of a file that is read, or put, together with others: several of them fit in a
	// block of the archive's. The bytes of a larger one take longer than the wait for the first.
	aheadSize = 4 << 20
	// aheadEntries bounds the entries that wait for their turn; beside their contents they hold metadata.
	aheadEntries = 256
)

// atOnce is how many entries of a tree are best read or put at the same time. A directory's are
// handled one by one: the tasks of a node run beside each other anyway, and four at a time restored no faster.
func atOnce(tree drivers.Tree) int {
	if bucket, ok := tree.(drivers.Bucket); ok {
		return max(bucket.AtOnce(), 1)
	}
	return 1
}

// windowOf is how many tasks of a node may be out: together they keep the node's limit. 0 means no limit.
func windowOf(limit int, tree drivers.Tree) int {
	if limit <= 0 {
		return 0
	}
	return max(limit/atOnce(tree), 1)
}

// turn is an entry whose turn to be stored comes when those before it are.
type turn struct {
	entry drivers.Entry
	known []*archive.Chunk // what an earlier dump holds of it
	same  bool             // known is all of it
	early *early           // nil if it is read when its turn comes
}

// readAhead reads the contents of small files before it is their turn. Its methods are called by one goroutine; the reading
// goes on in others, which end with close.
type readAhead struct {
	tree   drivers.Tree
	log    func(panicked any, stack []byte)
	ctx    context.Context //nolint:containedctx // that of its goroutines, which close ends
	cancel context.CancelFunc
	room   ring
	buf    []byte
	most   int // goroutines
	going  int
	open   int // contents that are not dropped yet
	jobs   chan *early
	done   sync.WaitGroup
}

// newReadAhead returns a reader ahead; the caller closes it. buf is where the contents go.
func newReadAhead(ctx context.Context, tree drivers.Tree, most int, buf []byte, log func(any, []byte)) *readAhead {
	ctx, cancel := context.WithCancel(ctx)
	return &readAhead{
		tree: tree, log: log, ctx: ctx, cancel: cancel, room: ring{size: len(buf)}, buf: buf, most: most,
		jobs: make(chan *early, aheadEntries),
	}
}

// start has an entry's content read, if there is room for it.
func (r *readAhead) start(e drivers.Entry) (*early, bool) {
	s, ok := r.room.take(int(e.Size))
	if !ok {
		return nil, false
	}
	c := &early{entry: e, span: s, room: r.buf[s.from:s.to:s.to], ready: make(chan struct{})}
	r.open++
	if r.open > r.going && r.going < r.most {
		r.going++
		r.done.Go(r.read)
	}
	r.jobs <- c // there is always a place: the turns are not more
	return c, true
}

// read is one of the goroutines.
func (r *readAhead) read() {
	for c := range r.jobs {
		c.read(r.ctx, r.tree, r.log)
	}
}

// drop gives back the room of a content that is not needed any more. It waits until nobody writes there.
func (r *readAhead) drop(c *early) {
	<-c.ready
	r.room.give(c.span)
	r.open--
}

// close ends the goroutines and waits for them.
func (r *readAhead) close() {
	r.cancel()
	close(r.jobs)
	r.done.Wait()
}

// early is a content that was read ahead: what its source said, in the same order, errors included.
type early struct {
	entry drivers.Entry
	span  *span
	room  []byte
	ready chan struct{} // closed when all that follows is known

	openErr  error // of Open
	pieces   []earlyPiece
	end      error // of Next, after the pieces
	closeErr error // of Close
	// unfit tells that the content does not fit in its room: it is to be read from its source.
	unfit bool
	fault error // a panic

	current earlyPiece
	data    bytes.Reader
}

type earlyPiece struct {
	extent drivers.Extent
	data   []byte
	err    error // of Read, after the data
}

var _ drivers.Content = (*early)(nil)

// read reads the content out of its source.
func (c *early) read(ctx context.Context, tree drivers.Tree, log func(any, []byte)) {
	defer close(c.ready)
	defer func() {
		if p := recover(); p != nil {
			log(p, debug.Stack())
			c.fault = fmt.Errorf("read %q: %w: %v", c.entry.Path, errPanic, p)
		}
	}()
	if ctx.Err() != nil {
		c.openErr = ctx.Err()
		return
	}
	in, err := tree.Open(ctx, c.entry)
	if err != nil {
		c.openErr = err
		return
	}
	c.readAll(ctx, in)
	c.closeErr = in.Close()
}

func (c *early) readAll(ctx context.Context, in drivers.Content) {
	used := 0
	for {
		if c.end = ctx.Err(); c.end != nil {
			return
		}
		var p earlyPiece
		if p.extent, c.end = in.Next(); c.end != nil {
			return
		}
		if !p.extent.Hole {
			if p.extent.Length > int64(len(c.room)-used) {
				c.unfit = true
				return
			}
			n, err := io.ReadFull(in, c.room[used:used+int(p.extent.Length)])
			p.data = c.room[used : used+n]
			used += n
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				p.err = err
			}
		}
		c.pieces = append(c.pieces, p)
		if p.err != nil {
			c.end = p.err
			return
		}
	}
}

// content waits for what Open returned. ok is false if the content is to be read from its source.
func (c *early) content() (_ drivers.Content, ok bool, err error) {
	<-c.ready
	switch {
	case c.fault != nil:
		return nil, true, c.fault
	case c.openErr != nil:
		return nil, true, c.openErr
	}
	return c, !c.unfit, nil
}

// Next implements [drivers.Content].
func (c *early) Next() (drivers.Extent, error) {
	if len(c.pieces) == 0 {
		return drivers.Extent{}, c.end
	}
	c.current, c.pieces = c.pieces[0], c.pieces[1:]
	c.data.Reset(c.current.data)
	return c.current.extent, nil
}

// Read implements [drivers.Content].
func (c *early) Read(p []byte) (int, error) {
	n, err := c.data.Read(p)
	if errors.Is(err, io.EOF) && c.current.err != nil {
		err = c.current.err
	}
	return n, err
}

// Close implements [drivers.Content].
func (c *early) Close() error { return c.closeErr }
