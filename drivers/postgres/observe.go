package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// observer is a view that is read by rows, by sessions that join it. It is opened as a dump's view is, tables locked: one that
// was truncated behind the snapshot would read as empty, and all its rows would be taken for deleted.
type observer struct {
	*view

	modelling sync.Mutex
	model     *relational.Model
	details   map[relational.Name]*detail

	pool  sync.Mutex
	spare []*conn
}

var (
	_ relational.Joiner = (*Source)(nil)
	_ relational.Shared = (*observer)(nil)
)

// Observe opens a snapshot, as Freeze does.
func (s *Source) Observe(ctx context.Context) (relational.View, error) {
	frozen, err := s.Freeze(ctx)
	if err != nil {
		return nil, err
	}
	v, ok := frozen.(*view)
	if !ok {
		return nil, fmt.Errorf("observe database %s: %w", s.config.Database, drivers.ErrInvalid)
	}
	return &observer{view: v}, nil
}

// JoinView opens a view of the same moment. The tables are listed anew, as the snapshot sees them.
func (s *Source) JoinView(ctx context.Context, raw json.RawMessage) (relational.View, error) {
	v := &view{source: s, joined: true, done: make(chan struct{})}
	if err := json.Unmarshal(raw, &v.ticket); err != nil || len(v.ticket.Snapshots) == 0 {
		return nil, fmt.Errorf("join view: %w: the ticket makes no sense", drivers.ErrInvalid)
	}
	v.clock = v.ticket.Clock
	o := &observer{view: v}
	c, err := o.join(ctx, "read rows")
	if err != nil {
		return nil, fmt.Errorf("join view of %s: %w", s.config.Database, err)
	}
	if err := v.listAgain(ctx, c); err != nil {
		c.close(ctx)
		return nil, fmt.Errorf("join view of %s: %w", s.config.Database, s.hint(err))
	}
	o.giveBack(ctx, c)
	return o, nil
}

// listAgain lists the tables of a view that was joined, as its first process did.
func (v *view) listAgain(ctx context.Context, c *conn) (err error) {
	if v.tables, err = v.source.listTables(ctx, c); err != nil {
		return err
	}
	standby, err := c.text(ctx, "SELECT pg_catalog.pg_is_in_recovery()")
	if err != nil {
		return classify(err)
	}
	for _, t := range v.tables {
		if t.unlogged && standby == "t" {
			t.noData = true // a standby has none of its rows
		}
	}
	return nil
}

// Moment is the server's time directly before the snapshot.
func (o *observer) Moment() time.Time { return o.clock }

// End closes the sessions.
func (o *observer) End(ctx context.Context) error {
	err := o.view.End(ctx)
	o.pool.Lock()
	spare := o.spare
	o.spare = nil
	o.pool.Unlock()
	for _, c := range spare {
		c.close(ctx)
	}
	return err
}

func (o *observer) isEnded() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ended
}

// borrow returns a session that sees the view.
func (o *observer) borrow(ctx context.Context) (*conn, error) {
	if o.isEnded() {
		return nil, drivers.ErrViewLost
	}
	o.pool.Lock()
	if n := len(o.spare); n > 0 {
		c := o.spare[n-1]
		o.spare = o.spare[:n-1]
		o.pool.Unlock()
		if err := c.exec(ctx, "SELECT 1"); err == nil {
			return c, nil
		}
		c.close(ctx)
	} else {
		o.pool.Unlock()
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return o.join(ctx, "read rows")
}

// giveBack takes a session back that is between two queries.
func (o *observer) giveBack(ctx context.Context, c *conn) {
	o.pool.Lock()
	// A session whose transaction has failed, or whose query was cut short, sees nothing any more.
	if !c.IsClosed() && !c.IsBusy() && c.TxStatus() == 'T' && !o.isEnded() && len(o.spare) < o.source.idle {
		o.spare = append(o.spare, c)
		o.pool.Unlock()
		return
	}
	o.pool.Unlock()
	c.close(ctx)
}

// join opens a session and joins the view, by the first of its snapshots that is still there.
func (v *view) join(ctx context.Context, what string) (*conn, error) {
	c, err := v.source.connect(ctx, what)
	if err != nil {
		return nil, v.source.explain(err)
	}
	for _, snapshot := range v.ticket.Snapshots {
		err = c.exec(ctx, joinSQL(snapshot))
		if err == nil {
			if err := v.sameServer(ctx, c); err != nil {
				c.close(ctx)
				return nil, err
			}
			return c, nil
		}
		if err = joinError(err); !errors.Is(err, drivers.ErrViewLost) {
			break
		}
		c.rollback(ctx)
	}
	c.close(ctx)
	return nil, fmt.Errorf("join snapshot: %w", err)
}

// Model describes the tables. It asks once.
func (o *observer) Model(ctx context.Context) (*relational.Model, error) {
	o.modelling.Lock()
	defer o.modelling.Unlock()
	if o.model != nil {
		return o.model, nil
	}
	c, err := o.borrow(ctx)
	if err != nil {
		return nil, err
	}
	defer o.giveBack(ctx, c)
	d, err := describeModel(ctx, c, o.tables)
	if err != nil {
		return nil, fmt.Errorf("describe database %s: %w", o.source.config.Database, o.source.hint(classify(err)))
	}
	o.model, o.details = d.model, d.details
	return o.model, nil
}

// detail returns what SQL needs to know of a table beside its model.
func (o *observer) detail(ctx context.Context, name relational.Name) (*detail, error) {
	if _, err := o.Model(ctx); err != nil {
		return nil, err
	}
	d, ok := o.details[name]
	if !ok {
		return nil, fmt.Errorf("table %s: %w", name, drivers.ErrNotFound)
	}
	return d, nil
}
