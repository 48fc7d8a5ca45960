package workers

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"salvor/archive"
)

// archives are those that a worker has open, each opened once for all runs. A place that does not answer keeps those
// waiting who want that place, and nobody else.
type archives struct {
	open func(ctx context.Context, location string) (*archive.Archive, error)

	mu      sync.Mutex
	opened  map[string]*archive.Archive
	opening map[string]*opening
	running sync.WaitGroup // of openings, also those that nobody waits for any more
}

// opening is an archive that is being opened.
type opening struct {
	waiting int // how many tasks want it; the last that gives up ends it
	cancel  context.CancelFunc
	done    chan struct{} // closed when the rest is known
	archive *archive.Archive
	err     error
}

func newArchives(open func(ctx context.Context, location string) (*archive.Archive, error)) *archives {
	return &archives{open: open, opened: make(map[string]*archive.Archive), opening: make(map[string]*opening)}
}

// at returns the archive of a location. It ends with ctx, whatever the place does.
func (s *archives) at(ctx context.Context, location string) (*archive.Archive, error) {
	s.mu.Lock()
	if a, ok := s.opened[location]; ok {
		s.mu.Unlock()
		return a, nil
	}
	o := s.opening[location]
	if o == nil {
		o = s.begin(ctx, location)
	}
	o.waiting++
	s.mu.Unlock()

	select {
	case <-o.done:
		return o.archive, o.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.waiting--; o.waiting == 0 {
		o.cancel()
		if s.opening[location] == o {
			delete(s.opening, location) // who comes now begins anew
		}
	}
	return nil, fmt.Errorf("open archive: %w", ctx.Err())
}

// begin opens an archive for all who want it, so that it does not end with the first of them; s.mu is held.
func (s *archives) begin(ctx context.Context, location string) *opening {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	o := &opening{cancel: cancel, done: make(chan struct{})}
	s.opening[location] = o
	s.running.Go(func() {
		defer cancel()
		a, err := s.open(ctx, location)
		s.mu.Lock()
		defer s.mu.Unlock()
		defer close(o.done)
		if err != nil {
			a, o.err = nil, fmt.Errorf("open archive: %w", err)
		}
		if s.opening[location] != o { // given up, and perhaps begun anew
			if a != nil {
				_ = a.Close() // nobody has used it
			}
			return
		}
		delete(s.opening, location)
		if o.archive = a; a != nil {
			s.opened[location] = a
		}
	})
	return o
}

// close closes all archives. Nobody may want one any more.
func (s *archives) close() error {
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, a := range s.opened {
		err = errors.Join(err, a.Close())
	}
	clear(s.opened)
	return err
}
