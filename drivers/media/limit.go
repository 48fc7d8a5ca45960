package media

import (
	"context"
	"io"
	"sync"
)

// requestsAtOnce is how many objects are looked at, read or put together. Each waits for the server, not for this process.
const requestsAtOnce = 16

// keep holds the tree to a node's limit; 0 is none.
func (t *Tree) keep(limit int) {
	if limit <= 0 {
		return
	}
	t.atOnce = min(requestsAtOnce, limit)
	t.store = &limited{store: t.store, places: make(chan struct{}, t.atOnce)}
}

// limited is a store of which no more is asked at the same time than it has places: a content that is read holds one until it
// is closed. Nobody who holds one asks for another.
type limited struct {
	store

	places chan struct{}
}

var (
	_ store  = (*limited)(nil)
	_ prober = (*limited)(nil)
)

// enter waits for a place; leave gives it back.
func (l *limited) enter(ctx context.Context) (leave func(), err error) {
	select {
	case l.places <- struct{}{}:
		return sync.OnceFunc(func() { <-l.places }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *limited) list(prefix, from string) pages {
	next := l.store.list(prefix, from)
	return func(ctx context.Context) ([]object, error) {
		leave, err := l.enter(ctx)
		if err != nil {
			return nil, err
		}
		defer leave()
		return next(ctx)
	}
}

func (l *limited) head(ctx context.Context, key string) (object, error) {
	leave, err := l.enter(ctx)
	if err != nil {
		return object{}, err
	}
	defer leave()
	return l.store.head(ctx, key)
}

func (l *limited) open(ctx context.Context, key, tag string, offset int64) (io.ReadCloser, object, error) {
	leave, err := l.enter(ctx)
	if err != nil {
		return nil, object{}, err
	}
	body, o, err := l.store.open(ctx, key, tag, offset)
	if err != nil {
		leave()
		return nil, o, err
	}
	return &limitedBody{body, leave}, o, nil
}

// limitedBody gives its place back when it is closed.
type limitedBody struct {
	io.ReadCloser

	leave func()
}

func (b *limitedBody) Close() error {
	defer b.leave()
	return b.ReadCloser.Close()
}

func (l *limited) put(ctx context.Context, o object, body io.Reader, ifAbsent bool) error {
	leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return l.store.put(ctx, o, body, ifAbsent)
}

func (l *limited) remove(ctx context.Context, key string) error {
	leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return l.store.remove(ctx, key)
}

// probe implements prober where the store does.
func (l *limited) probe(ctx context.Context, prefix string) error {
	p, ok := l.store.(prober)
	if !ok {
		return nil
	}
	leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return p.probe(ctx, prefix)
}
