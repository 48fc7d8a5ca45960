package mysql

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// observer is a view that is read by rows, by the sessions that it has.
type observer struct {
	*view
	moment time.Time

	modelling sync.Mutex
	model     *relational.Model
	details   map[relational.Name]*detail
}

var (
	_ relational.Source  = (*Source)(nil)
	_ relational.View    = (*observer)(nil)
	_ relational.Weigher = (*observer)(nil)
)

// Observe opens a view, as Freeze does.
func (s *Source) Observe(ctx context.Context) (relational.View, error) {
	frozen, err := s.Freeze(ctx)
	if err != nil {
		return nil, err
	}
	v, ok := frozen.(*view)
	if !ok {
		return nil, fmt.Errorf("observe database %s: %w", s.place.database, drivers.ErrInvalid)
	}
	var f facts
	if err := json.Unmarshal(v.facts, &f); err != nil {
		_ = v.End(ctx) // it was told what matters
		return nil, fmt.Errorf("observe database %s: %w", s.place.database, err)
	}
	return &observer{view: v, moment: f.Clock}, nil
}

// Moment is the server's time directly before the view.
func (o *observer) Moment() time.Time { return o.moment }

// Model describes the tables. It asks once.
func (o *observer) Model(ctx context.Context) (*relational.Model, error) {
	o.modelling.Lock()
	defer o.modelling.Unlock()
	if o.model != nil {
		return o.model, nil
	}
	s, err := o.pool.take(ctx)
	if err != nil {
		return nil, err
	}
	defer o.pool.give(s)
	d, err := o.source.describeModel(context.WithoutCancel(ctx), s.conn) // the session is not to be had again
	if err != nil {
		return nil, fmt.Errorf("describe database %s: %w", o.source.place.database, classify(err))
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
