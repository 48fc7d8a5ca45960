package queue

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"salvor/tasks/ledger"
)

// Sender enqueues attempts. It is safe for concurrent use.
type Sender struct {
	conn      *Conn
	ledger    *ledger.Ledger
	inspector *asynq.Inspector
	client    atomic.Pointer[asynq.Client]
}

const (
	// longest is asynq's limit on an attempt. Leases are the ledger's; asynq's own default is half an hour.
	longest = 7 * 24 * time.Hour
	// sendsAtOnce is how many attempts are enqueued at once.
	sendsAtOnce = 8
)

// NewSender makes a sender. It takes no resources beside the connection's.
func NewSender(conn *Conn, l *ledger.Ledger) *Sender {
	s := &Sender{conn: conn, ledger: l, inspector: asynq.NewInspectorFromRedisClient(conn.Redis())}
	s.renew()
	return s
}

// renew makes a new asynq client. A client registers a queue once: after Redis was emptied it would never do it again, and
// the queue could not be looked into.
func (s *Sender) renew() { s.client.Store(asynq.NewClientFromRedisClient(s.conn.Redis())) }

// Send enqueues attempts that the ledger emitted. One that is enqueued already is left alone. On error some may have been
// sent; the ledger keeps all of them until they are claimed, so that the [Sweeper] sends the others.
func (s *Sender) Send(ctx context.Context, emissions []ledger.Emission) error {
	return s.each(ctx, emissions, func(ctx context.Context, e ledger.Emission) error {
		err := s.enqueue(ctx, e)
		if errors.Is(err, asynq.ErrTaskIDConflict) {
			return nil
		}
		return err
	})
}

// resend enqueues attempts that nobody has claimed for a while. One that asynq lost on its way gets a new id.
func (s *Sender) resend(ctx context.Context, emissions []ledger.Emission) error {
	return s.each(ctx, emissions, s.resendOne)
}

func (s *Sender) each(ctx context.Context, emissions []ledger.Emission, f func(context.Context, ledger.Emission) error) error {
	if len(emissions) == 1 {
		return f(ctx, emissions[0])
	}
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(sendsAtOnce)
	for _, e := range emissions {
		if sending.Err() != nil {
			break
		}
		group.Go(func() error { return f(sending, e) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil && len(emissions) > 0 {
		return fmt.Errorf("send %d tasks: %w", len(emissions), context.Cause(ctx))
	}
	return nil
}

func (s *Sender) enqueue(ctx context.Context, e ledger.Emission) error {
	payload, err := encode(e)
	if err != nil {
		return err
	}
	_, err = s.client.Load().EnqueueContext(ctx, asynq.NewTask(taskType, payload), asynq.Queue(Name(e.Route)),
		asynq.TaskID(taskID(e)), asynq.MaxRetry(0), asynq.Timeout(longest), asynq.Retention(0))
	if err != nil {
		return fmt.Errorf("send task %s: %w", e.Task, err)
	}
	return nil
}

func (s *Sender) resendOne(ctx context.Context, e ledger.Emission) error {
	err := s.enqueue(ctx, e)
	if !errors.Is(err, asynq.ErrTaskIDConflict) {
		return err
	}
	info, err := s.inspector.GetTaskInfo(Name(e.Route), taskID(e))
	if errors.Is(err, asynq.ErrQueueNotFound) {
		// The task is there but its queue is not registered: Redis was emptied since the client did so. A new client
		// registers it before it meets the conflict again.
		s.renew()
		if err := s.enqueue(ctx, e); !errors.Is(err, asynq.ErrTaskIDConflict) {
			return err
		}
		info, err = s.inspector.GetTaskInfo(Name(e.Route), taskID(e))
	}
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound):
		return nil // it was delivered between the two looks
	case err != nil:
		return fmt.Errorf("look up task %s: %w", e.Task, err)
	}
	switch info.State {
	case asynq.TaskStatePending, asynq.TaskStateScheduled, asynq.TaskStateRetry, asynq.TaskStateAggregating:
		return nil
	default:
		return s.replace(ctx, e)
	}
}

// replace gives an attempt whose id is blocked another one and sends that.
func (s *Sender) replace(ctx context.Context, e ledger.Emission) error {
	next, err := s.ledger.Nudge(ctx, e.Run, e.Task, e.Attempt)
	if errors.Is(err, ledger.ErrNoRun) || err == nil && next == nil {
		return nil
	}
	if err != nil {
		return err
	}
	return s.Send(ctx, []ledger.Emission{*next})
}

// deleteQueue deletes a queue without active tasks, and asynq's statistics of it, which asynq leaves behind.
func (s *Sender) deleteQueue(ctx context.Context, q string) error {
	if err := s.inspector.DeleteQueue(q, true); err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
		return err
	}
	keys := []string{"processed", "failed"}
	for day := range 2 { // older days' have expired, or will: they are kept for 90 days
		date := time.Now().UTC().AddDate(0, 0, -day).Format(time.DateOnly)
		keys = append(keys, "processed:"+date, "failed:"+date)
	}
	for i, k := range keys {
		keys[i] = "asynq:{" + q + "}:" + k
	}
	return s.conn.Redis().Unlink(ctx, keys...).Err()
}
