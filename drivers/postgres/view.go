package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"salvor/drivers"
)

// view is one moment's state of a database: held by sessions of this process, or joined.
type view struct {
	source   *Source
	joined   bool
	keepers  []*keeper
	ticket   ticket
	encoding string // of the database
	clock    time.Time
	facts    json.RawMessage
	tables   []*table
	objects  int64 // large objects
	parts    []drivers.Part

	withoutRows int // unlogged tables of a standby

	mu    sync.Mutex
	idle  []*wire // sessions that have joined and wait for the next part
	ended bool
	done  chan struct{}
}

// Facts describes the view.
func (v *view) Facts() json.RawMessage { return v.facts }

// Parts yields the parts as they were listed when the view was opened.
func (v *view) Parts(ctx context.Context, yield func(drivers.Part) error) error {
	if v.joined {
		return fmt.Errorf("list parts: %w: the view's holder lists them", drivers.ErrInvalid)
	}
	for _, p := range v.parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := yield(p); err != nil {
			return err
		}
	}
	return nil
}

// Alive returns [drivers.ErrViewLost] once nobody holds the snapshot any more. One of two holders is enough.
func (v *view) Alive(ctx context.Context) error {
	v.mu.Lock()
	ended := v.ended
	v.mu.Unlock()
	if ended {
		return drivers.ErrViewLost
	}
	if v.joined {
		return nil // a part tells
	}
	var lost error
	for _, k := range v.keepers {
		err := k.ping(ctx)
		if err == nil {
			return nil
		}
		lost = errors.Join(lost, err)
	}
	return drivers.WithHint(fmt.Errorf("view of database %s: %w: %w", v.source.config.Database, drivers.ErrViewLost, lost),
		"the server ended the sessions that held the snapshot: it was restarted, or somebody ended them")
}

// End closes the sessions. A nil result proves that one holder lasted from the beginning to the end.
func (v *view) End(ctx context.Context) error {
	v.mu.Lock()
	if v.ended {
		v.mu.Unlock()
		return nil
	}
	v.ended = true
	idle := v.idle
	v.idle = nil
	close(v.done)
	v.mu.Unlock()
	for _, w := range idle {
		w.close()
	}
	if v.joined {
		return nil
	}
	lasted := false
	var lost error
	for _, k := range v.keepers {
		if err := k.end(ctx); err != nil {
			lost = errors.Join(lost, err)
		} else {
			lasted = true
		}
	}
	if lasted {
		return nil
	}
	return fmt.Errorf("end view of database %s: %w: %w", v.source.config.Database, drivers.ErrViewLost, lost)
}

// idleSessions bounds the joined sessions that wait for work, with the node's own limit.
const idleSessions = 4

// take returns a session that sees the view. One that waited may have died meanwhile; that costs a new one, not the part.
func (v *view) take(ctx context.Context) (*wire, error) {
	v.mu.Lock()
	if v.ended {
		v.mu.Unlock()
		return nil, drivers.ErrViewLost
	}
	n := len(v.idle)
	if n == 0 {
		v.mu.Unlock()
		return v.session(ctx)
	}
	w := v.idle[n-1]
	v.idle = v.idle[:n-1]
	v.mu.Unlock()
	if err := w.exec(ctx, "SELECT 1"); err == nil {
		return w, nil
	}
	w.close()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return v.session(ctx)
}

// give takes a session back; a broken one is closed.
func (v *view) give(w *wire) {
	v.mu.Lock()
	if !w.broken && w.status == 'T' && !v.ended && len(v.idle) < v.source.idle {
		v.idle = append(v.idle, w)
		v.mu.Unlock()
		return
	}
	v.mu.Unlock()
	w.close()
}

// session opens a session and joins the view, by the first of its snapshots that is still there.
func (v *view) session(ctx context.Context) (*wire, error) {
	c, err := v.join(ctx, "dump")
	if err != nil {
		return nil, err
	}
	return newWire(ctx, c)
}

// sameServer tells whether a session is on the server that holds the view: another may have a snapshot of the same name.
func (v *view) sameServer(ctx context.Context, c *conn) error {
	started, err := c.text(ctx, startedQuery)
	if err != nil {
		return fmt.Errorf("join snapshot: %w", classify(err))
	}
	if started == v.ticket.Started {
		return nil
	}
	return drivers.WithHint(fmt.Errorf("join snapshot: %w: %s leads to several servers", drivers.ErrInvalid, v.source.config.Host),
		"name the address of one server in the source: a snapshot belongs to one")
}

// Dump writes one part.
func (v *view) Dump(ctx context.Context, part drivers.Part, out io.Writer) (drivers.Counts, error) {
	if err := ctx.Err(); err != nil {
		return drivers.Counts{}, context.Cause(ctx)
	}
	r, err := readRef(part)
	if err != nil {
		return drivers.Counts{}, err
	}
	v.mu.Lock()
	ended := v.ended
	v.mu.Unlock()
	if ended {
		return drivers.Counts{}, drivers.ErrViewLost
	}
	switch r.Kind {
	case kindSchema:
		return drivers.Counts{}, v.dumpSchema(ctx, r, out)
	case kindGlobals:
		return drivers.Counts{}, v.dumpGlobals(ctx, r, out)
	}
	w, err := v.take(ctx)
	if err != nil {
		return drivers.Counts{}, fmt.Errorf("dump %s: %w", part.Name, err)
	}
	defer func() { v.give(w) }()
	switch r.Kind {
	case kindSequences:
		return v.dumpSequences(ctx, w, out)
	case kindMetadata:
		return v.dumpObjectMetadata(ctx, w, out)
	case kindObjects:
		return v.dumpObjects(ctx, w, r, out)
	default:
		return v.dumpTable(ctx, w, r, out)
	}
}
