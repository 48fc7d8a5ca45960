package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/hibiken/asynq"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

// Config is what a server needs.
type Config struct {
	// Worker names this process, uniquely. Its own queue carries it.
	Worker string
	// Version of the program, for [Conn.Workers].
	Version string
	// Host lets the server take tasks that are bound to that host; "" takes only those bound to none.
	Host string
	// WorkSlots and HoldSlots are how many handlers run at once for tasks, and for those that hold views. A server with none
	// of a pool does not take its tasks.
	WorkSlots, HoldSlots int
	// Handler does what a delivery asks for: it claims the attempt in the ledger, works, and returns once the ledger has the
	// outcome. Its context ends only when [Server.Stop] has no more patience.
	Handler func(ctx context.Context, d Delivery)
	// Log gets what cannot be returned. Default: discarded.
	Log *slog.Logger
}

func (c Config) validate() error {
	for _, name := range []string{c.Worker, c.Host, c.Version} {
		if strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == '{' || r == '}' }) || len(name) > 255 {
			return fmt.Errorf("name %.80q is too long or holds braces or control characters", name)
		}
	}
	switch {
	case c.Worker == "":
		return errors.New("worker has no name")
	case c.Handler == nil:
		return errors.New("handler is missing")
	case c.WorkSlots < 0 || c.HoldSlots < 0 || c.WorkSlots+c.HoldSlots == 0:
		return fmt.Errorf("%d slots for work and %d for holding", c.WorkSlots, c.HoldSlots)
	}
	return nil
}

// ErrStopped is the cause with which handlers' contexts end when a server stops.
var ErrStopped = errors.New("worker stops")

const (
	// checkInterval is how long an idle server waits between two looks at its queues. At asynq's default of a second each
	// hop of a run takes half of one.
	checkInterval = 20 * time.Millisecond
	// patience is how long asynq waits for handlers at its shutdown. The server has waited for them before.
	patience = time.Minute
)

// Server takes deliveries for one worker. Make it with [NewServer]; it can be started once.
type Server struct {
	cfg    Config
	conn   *Conn
	ledger *ledger.Ledger
	sender *Sender
	pools  []*pool

	mu       sync.Mutex
	started  bool
	stopping bool
	running  sync.WaitGroup
	cancels  map[int]context.CancelCauseFunc
	next     int
	stop     chan struct{} // closed when no more work is taken
}

// pool is the server's share in tasks that hold views, or in those that do not.
type pool struct {
	asynq *asynq.Server
	// slots are counted here too: asynq frees its own when it gives a task up, while the handler goes on.
	slots chan struct{}
}

// NewServer makes a server that takes nothing yet.
func NewServer(conn *Conn, l *ledger.Ledger, cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("make queue server: %w", err)
	}
	s := &Server{
		cfg: cfg, conn: conn, ledger: l, sender: NewSender(conn, l),
		cancels: make(map[int]context.CancelCauseFunc), stop: make(chan struct{}),
	}
	// A worker's own tasks first: views wait for them. Then those that nobody else may do.
	work := map[string]int{Name(tasks.Route{}): 1, ownQueue(cfg.Worker): 6}
	hold := map[string]int{Name(tasks.Route{Hold: true}): 3, aboutQueue(cfg.Worker, cfg.Version): 1}
	if cfg.Host != "" {
		work[hostQueue(workPool, cfg.Host)] = 3
		hold[hostQueue(holdPool, cfg.Host)] = 9
	}
	s.add(cfg.WorkSlots, work)
	s.add(cfg.HoldSlots, hold)
	return s, nil
}

func (s *Server) add(slots int, queues map[string]int) {
	if slots == 0 {
		return
	}
	s.pools = append(s.pools, &pool{
		slots: make(chan struct{}, slots),
		asynq: asynq.NewServerFromRedisClient(s.conn.Redis(), asynq.Config{
			Concurrency: slots, Queues: queues, TaskCheckInterval: checkInterval, ShutdownTimeout: patience,
			Logger: logger{s.cfg.Log}, LogLevel: asynq.InfoLevel,
		}),
	})
}

// Start begins to take deliveries. It returns an error at once if the queue cannot be reached.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.stopping {
		return errors.New("start queue server: it was started or stopped before")
	}
	for i, p := range s.pools {
		err := p.asynq.Ping()
		if err == nil {
			err = p.asynq.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error { return s.process(ctx, p, t) }))
		}
		if err != nil {
			for _, q := range s.pools[:i] {
				q.asynq.Shutdown()
			}
			s.stopping = true
			return fmt.Errorf("start queue server: %w", err)
		}
	}
	s.started = true
	return nil
}

// process is asynq's handler. It returns nil in any case: the ledger decides about another attempt, never asynq.
func (s *Server) process(ctx context.Context, p *pool, t *asynq.Task) error {
	d, err := decode(t.Payload())
	if err != nil {
		s.cfg.Log.ErrorContext(ctx, "a delivery cannot be read", "error", err)
		return nil
	}
	select {
	case p.slots <- struct{}{}:
	case <-s.stop:
		s.handBack(ctx, d)
		return nil
	case <-ctx.Done():
		return nil // asynq gave it up; the sweep will send it again
	}
	id, own, ok := s.begin(ctx)
	if !ok {
		<-p.slots
		s.handBack(ctx, d)
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.end(id)
		defer func() { <-p.slots }()
		s.handle(own, d)
	}()
	select {
	case <-done:
	case <-ctx.Done(): // asynq gave it up and has freed its slot; the work goes on in ours
	}
	return nil
}

// begin registers a handler and makes its context, unless the server stops.
func (s *Server) begin(ctx context.Context) (int, context.Context, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return 0, nil, false
	}
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	s.next++
	s.cancels[s.next] = cancel
	s.running.Add(1)
	return s.next, own, true
}

func (s *Server) end(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancels[id](nil)
	delete(s.cancels, id)
	s.running.Done()
}

// handle runs the handler. One that panics loses its attempt as if its worker had died, but not the others'.
func (s *Server) handle(ctx context.Context, d Delivery) {
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Log.ErrorContext(ctx, "a task panicked", "run", d.Run, "task", d.Task, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	s.cfg.Handler(ctx, d)
}

// handBack sends an attempt that nobody claimed to somebody else. Where that fails the sweep does it later.
func (s *Server) handBack(ctx context.Context, d Delivery) {
	e, err := s.ledger.Nudge(ctx, d.Run, d.Task, d.Attempt)
	if err == nil && e != nil {
		err = s.sender.Send(ctx, []ledger.Emission{*e})
	}
	if err != nil && !errors.Is(err, ledger.ErrNoRun) {
		s.cfg.Log.WarnContext(ctx, "a delivery was not handed back; the sweep will send it again", "task", d.Task, "error", err)
	}
}

// Stop takes no more deliveries, waits for handlers until ctx ends, then ends their contexts with [ErrStopped] and waits for
// them all the same. When it returns nothing of the server runs and its own queue is deleted.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	was := s.started && !s.stopping
	s.stopping = true
	s.mu.Unlock()
	if !was {
		return nil
	}
	close(s.stop)

	var loops sync.WaitGroup
	for _, p := range s.pools {
		loops.Go(p.asynq.Stop) // it waits for a look at the queues that is under way
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.running.Wait()
	}()
	select {
	case <-drained:
	case <-ctx.Done():
		s.cancelAll()
		<-drained
	}
	loops.Wait()
	for _, p := range s.pools {
		loops.Go(p.asynq.Shutdown)
	}
	loops.Wait()
	return s.deleteOwn(ctx)
}

func (s *Server) cancelAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cancel := range s.cancels {
		cancel(ErrStopped)
	}
}

func (s *Server) deleteOwn(ctx context.Context) error {
	// The caller's patience was for handlers; it may have ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openTimeout)
	defer cancel()
	if err := s.sender.deleteQueue(ctx, ownQueue(s.cfg.Worker)); err != nil {
		return fmt.Errorf("delete queue of worker %s: %w", s.cfg.Worker, err)
	}
	return nil
}
