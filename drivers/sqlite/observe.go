package sqlite

import (
	"context"
	"fmt"
	"sync"
	"time"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// observer is a view that is read by rows. It has the one session of the view, so rows wait for others to be closed.
type observer struct {
	*view
	moment time.Time

	modelling sync.Mutex
	model     *relational.Model
}

var (
	_ relational.Source = (*Source)(nil)
	_ relational.View   = (*observer)(nil)
)

// Observe begins a read transaction, as Freeze does.
func (s *Source) Observe(ctx context.Context) (relational.View, error) {
	moment := time.Now()
	frozen, err := s.Freeze(ctx)
	if err != nil {
		return nil, err
	}
	v, ok := frozen.(*view)
	if !ok {
		return nil, fmt.Errorf("observe database %s: %w", s.path, drivers.ErrInvalid)
	}
	// A dump reads every page once; rows are read along trees.
	if err := v.conn.exec(ctx, "PRAGMA cache_size=-8192"); err != nil {
		_ = v.End(ctx) // it was told what matters
		return nil, fmt.Errorf("observe database %s: %w", s.path, classify(err))
	}
	return &observer{view: v, moment: moment}, nil
}

// Moment is this host's time: the database has no other.
func (o *observer) Moment() time.Time { return o.moment }

// Model describes the tables. It asks once.
func (o *observer) Model(ctx context.Context) (*relational.Model, error) {
	o.modelling.Lock()
	defer o.modelling.Unlock()
	if o.model != nil {
		return o.model, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.Alive(ctx); err != nil {
		return nil, err
	}
	m, err := describeModel(ctx, o.conn)
	if err != nil {
		return nil, fmt.Errorf("describe database %s: %w", o.path, classify(err))
	}
	o.model = m
	return m, nil
}
