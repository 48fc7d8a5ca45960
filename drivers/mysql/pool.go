package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"salvor/drivers"
)

// session is one of a view's, whose transaction sees the view's moment.
type session struct {
	*conn
	keeps bool // it keeps the definitions of tables as they are, too
	taken bool
}

// pool is the sessions of a view. None can be added: the moment is gone. As many as the node's limit serve parts; the others
// keep the tables' definitions, and take the place of those that die.
type pool struct {
	limit int

	mu      sync.Mutex
	all     []*session
	changed chan struct{} // closed, and made anew, when a session comes back or dies
	ended   bool
}

func newPool(limit int, all []*session) *pool {
	return &pool{limit: limit, all: all, changed: make(chan struct{})}
}

// pingTimeout bounds how long a session's answer may take. A busy server is not a lost view.
const pingTimeout = 60 * time.Second

// take waits for a session that is free.
func (p *pool) take(ctx context.Context) (*session, error) {
	for {
		p.mu.Lock()
		if p.ended || len(p.all) == 0 {
			p.mu.Unlock()
			return nil, drivers.ErrViewLost
		}
		if s := p.free(); s != nil {
			s.taken = true
			p.mu.Unlock()
			return s, nil
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// free returns a session for a part: one that keeps nothing, or, where too few of those live, a keeper.
func (p *pool) free() *session {
	taken, workers := 0, 0
	var keeper *session
	for _, s := range p.all {
		switch {
		case s.keeps && s.taken:
			taken++
		case s.keeps:
			keeper = s
		case s.taken:
			taken++
			workers++
		default:
			workers++
		}
	}
	if taken >= p.limit {
		return nil
	}
	for _, s := range p.all {
		if !s.keeps && !s.taken {
			return s
		}
	}
	if workers < p.limit {
		return keeper
	}
	return nil
}

// give takes a session back; a broken one is gone for good.
func (p *pool) give(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.taken = false
	if s.broken {
		p.remove(s)
	} else if p.ended {
		s.close()
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pool) remove(s *session) {
	s.close()
	p.all = slices.DeleteFunc(slices.Clone(p.all), func(other *session) bool { return other == s })
}

var errKeeperDead = errors.New("the sessions that kept the view have ended")

// alive tells whether a session still keeps the tables' definitions: it asks one that is free.
func (p *pool) alive(ctx context.Context) error {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return drivers.ErrViewLost
	}
	busy := func(s *session) bool { return s.keeps && s.taken }
	if slices.ContainsFunc(p.all, busy) {
		p.mu.Unlock()
		return nil // the part that it reads tells
	}
	var keepers []*session
	for _, s := range p.all {
		if s.keeps {
			s.taken = true
			keepers = append(keepers, s)
		}
	}
	p.mu.Unlock()
	lost := errKeeperDead
	ok := false
	for _, s := range keepers {
		if err := ping(ctx, s.conn); err != nil {
			lost = errors.Join(lost, err)
		} else {
			ok = true
		}
		p.give(s)
	}
	if ok {
		return nil
	}
	return fmt.Errorf("%w: %w", drivers.ErrViewLost, lost)
}

// ping asks a session for a sign of life. The caller's cancel must not cost the session.
func ping(ctx context.Context, c *conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
	defer cancel()
	err := c.exec(ctx, "DO 0")
	if err != nil {
		c.broken = true
	}
	return err
}

// end closes all sessions; nil proves that one of the keepers lasted until now.
func (p *pool) end(ctx context.Context) error {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return nil
	}
	p.ended = true
	all := p.all
	close(p.changed)
	p.changed = make(chan struct{})
	var keepers []*session
	for _, s := range all {
		switch {
		case s.taken: // a part that was given up ends it
		case s.keeps:
			s.taken = true
			keepers = append(keepers, s)
		default:
			s.close()
		}
	}
	p.mu.Unlock()
	lost := errKeeperDead
	lasted := false
	for _, s := range keepers {
		if err := ping(ctx, s.conn); err != nil {
			lost = errors.Join(lost, err)
		} else {
			lasted = true
			s.rollback(ctx)
		}
		p.give(s)
	}
	if lasted {
		return nil
	}
	return fmt.Errorf("%w: %w", drivers.ErrViewLost, lost)
}
