package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"salvor/tasks/ledger"
)

// Sweeper keeps runs going where a process died or a delivery was lost. Every worker and coordinator runs one; the ledger
// sees to it that they do not do the same work twice.
type Sweeper struct {
	conn   *Conn
	ledger *ledger.Ledger
	sender *Sender
	log    *slog.Logger
	// suspects are workers' own queues that nobody served when they were looked at last.
	suspects map[string]bool
}

// tidyEvery is how often a sweeper removes what asynq keeps of lost deliveries and dead workers.
const tidyEvery = time.Minute

// NewSweeper makes a sweeper. A nil log discards.
func NewSweeper(conn *Conn, l *ledger.Ledger, log *slog.Logger) *Sweeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Sweeper{conn: conn, ledger: l, sender: NewSender(conn, l), log: log, suspects: make(map[string]bool)}
}

// Run sweeps until ctx ends. While Redis is away it goes on trying. It is called once.
func (s *Sweeper) Run(ctx context.Context) {
	every := s.ledger.Options().ReEmit
	tidied := time.Now()
	for {
		// Of several sweepers' looks within half of `every` the ledger takes the first.
		timer := time.NewTimer(every/2 + rand.N(every/2+1)) //nolint:gosec // jitter needs no secrecy
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		err := s.Sweep(ctx)
		if err == nil && time.Since(tidied) >= tidyEvery {
			tidied = time.Now()
			err = s.tidy(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "sweep failed; trying again", "error", err)
		}
	}
}

// Sweep sweeps once: it asks the ledger what is due and sends it.
func (s *Sweeper) Sweep(ctx context.Context) error {
	emissions, err := s.ledger.Sweep(ctx)
	return errors.Join(err, s.sender.resend(ctx, emissions))
}

// tidy removes attempts that asynq has archived (a delivery that was lost keeps its place there for 90 days), and the own
// queues of workers that died.
func (s *Sweeper) tidy(ctx context.Context) error {
	inspector := s.sender.inspector
	queues, err := inspector.Queues()
	if err != nil {
		return fmt.Errorf("list queues: %w", err)
	}
	served, err := s.served()
	if err != nil {
		return err
	}
	suspects := make(map[string]bool)
	for _, q := range queues {
		if !strings.HasPrefix(q, prefix()+".") {
			continue
		}
		if _, err := inspector.DeleteAllArchivedTasks(q); err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
			return fmt.Errorf("tidy queue %s: %w", q, err)
		}
		if !strings.HasPrefix(q, ownPrefix()) || served[q] {
			continue
		}
		// A worker that was stopped for a while looks dead once; should it come back after a second look, the ledger sends
		// its tasks again.
		if !s.suspects[q] {
			suspects[q] = true
		} else if err := s.purge(ctx, q); err != nil {
			return fmt.Errorf("delete queue %s: %w", q, err)
		}
	}
	s.suspects = suspects
	return nil
}

// served returns the queues that a live server takes from.
func (s *Sweeper) served() (map[string]bool, error) {
	servers, err := s.sender.inspector.Servers()
	if err != nil {
		return nil, fmt.Errorf("list queue servers: %w", err)
	}
	served := make(map[string]bool)
	for _, server := range servers {
		for q := range server.Queues {
			served[q] = true
		}
	}
	return served, nil
}

// purge deletes a queue with all that is in it. asynq deletes no queue that has active tasks, and those of a dead worker's
// own queue stay active for ever: only a server that serves the queue recovers them.
func (s *Sweeper) purge(ctx context.Context, q string) error {
	rdb, base := s.conn.Redis(), "asynq:{"+q+"}:"
	active, err := rdb.LRange(ctx, base+"active", 0, -1).Result()
	if err != nil {
		return err
	}
	_, err = rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range active {
			p.Unlink(ctx, base+"t:"+id)
		}
		p.Unlink(ctx, base+"active", base+"lease")
		return nil
	})
	if err != nil {
		return err
	}
	return s.sender.deleteQueue(ctx, q)
}
