package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"salvor/drivers"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/tasks/queue"
)

// attempt is one claimed try at a task.
type attempt struct {
	*Worker
	run   *runContext
	claim ledger.Claim

	entries, bytes atomic.Int64  // progress so far, told with each beat
	released       chan struct{} // closed when a holder may end its views
	release        sync.Once
	once           bool // what fails now is not tried again
}

// Causes that end an attempt's context.
var (
	errRevoked         = errors.New("attempt was revoked") // another attempt has the task, or the ledger lost the run
	errCancelled error = runOverError{}
)

// runOverError is the cause with which an attempt ends because its run does: drivers ask it whether what they left can go.
type runOverError struct{}

func (runOverError) Error() string { return "run is ending" }

// RunOver tells drivers that no other attempt of the run will come.
func (runOverError) RunOver() bool { return true }

// handle is the queue's handler: it returns when the ledger has the outcome, or nothing more can be said to it.
func (w *Worker) handle(ctx context.Context, d queue.Delivery) {
	claim, err := w.cfg.Ledger.Claim(ctx, d.Run, d.Task, d.Attempt, w.cfg.ID)
	if err != nil {
		if !errors.Is(err, ledger.ErrStale) && !errors.Is(err, ledger.ErrOver) && !errors.Is(err, ledger.ErrNoRun) {
			w.cfg.Log.WarnContext(ctx, "claim failed; the ledger will send the task again", "run", d.Run, "task", d.Task, "error", err)
		}
		return
	}
	a := &attempt{Worker: w, claim: claim, released: make(chan struct{})}
	started := time.Now()
	result, err := a.do(ctx)
	a.tell(ctx, started, err)
	a.report(ctx, result, err)
}

// tell notes an attempt's end in the log.
func (a *attempt) tell(ctx context.Context, started time.Time, err error) {
	args := []any{"run", a.claim.Run, "task", a.claim.Task.ID, "took", time.Since(started).Round(time.Millisecond).String()}
	if err != nil {
		args = append(args, "error", err.Error())
	}
	a.cfg.Log.InfoContext(ctx, "task ended", args...)
}

// do runs the handler of the task's kind while a second goroutine beats.
func (a *attempt) do(parent context.Context) (any, error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var beating sync.WaitGroup
	beating.Go(func() { a.beat(ctx, cancel) })
	defer beating.Wait()
	defer cancel(nil)

	r, err := a.Worker.run(ctx, a.claim)
	if err != nil {
		return nil, err
	}
	a.run = r
	result, err := a.guarded(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return nil, cause // the handler's error is but an echo
	}
	return result, err
}

// errPanic marks a fault of the program: trying again would meet it again.
var errPanic = errors.New("a fault of the program")

// guarded turns a panic of a handler into its task's failure.
func (a *attempt) guarded(ctx context.Context) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.logPanic(ctx)(p, debug.Stack())
			err = fmt.Errorf("task %s: %w: %v", a.claim.Task.ID, errPanic, p)
		}
	}()
	return a.dispatch(ctx)
}

// logPanic notes where the program's fault is.
func (a *attempt) logPanic(ctx context.Context) func(panicked any, stack []byte) {
	return func(panicked any, stack []byte) {
		a.cfg.Log.DebugContext(ctx, "a task panicked", "task", a.claim.Task.ID, "panic", panicked, "stack", string(stack))
	}
}

func (a *attempt) dispatch(ctx context.Context) (any, error) {
	switch a.claim.Task.Kind {
	case tasks.KindFreeze:
		return a.freeze(ctx)
	case tasks.KindPart:
		return a.part(ctx)
	case tasks.KindSeal:
		return a.seal(ctx)
	case tasks.KindCommit:
		return a.commit(ctx)
	case tasks.KindCheck:
		return a.check(ctx)
	case tasks.KindPrepare:
		return a.prepare(ctx)
	case tasks.KindLoad:
		return a.load(ctx)
	case tasks.KindFinish:
		return a.finish(ctx)
	case tasks.KindExpand:
		return a.expand(ctx)
	case tasks.KindObserve:
		return a.observe(ctx)
	case tasks.KindCompare:
		return a.compareRows(ctx)
	case tasks.KindRecord:
		return a.record(ctx)
	case tasks.KindDrop:
		return a.drop(ctx)
	default:
		return nil, fmt.Errorf("task %s: %w: unknown kind %q", a.claim.Task.ID, drivers.ErrInvalid, a.claim.Task.Kind)
	}
}

// beat tells the ledger every few seconds that the attempt lives. Short tasks beat more often, so that a holder of views
// learns soon that it may let go: the wait is a tenth of the time it has run, up to a tenth of the others'.
func (a *attempt) beat(ctx context.Context, cancel context.CancelCauseFunc) {
	const soonest = 20 * time.Millisecond
	latest := a.cfg.Ledger.Options().Beat
	holder := a.claim.Task.Kind == tasks.KindFreeze || a.claim.Task.Kind == tasks.KindObserve
	started := time.Now()
	accepted := started
	for {
		wait := latest
		if holder {
			wait = max(min(time.Since(started)/10, latest/10), soonest)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		sent := time.Now()
		signal, err := a.cfg.Ledger.Beat(ctx, a.claim, a.progress())
		switch {
		case errors.Is(err, ledger.ErrStale), errors.Is(err, ledger.ErrNoRun):
			cancel(errRevoked)
			return
		case err != nil && a.writesTarget() && time.Since(accepted) > a.cfg.Ledger.Options().Lease:
			// Another worker may have the task by now, and the run may even have ended: what this one would still write or
			// remove could be a user's own work.
			cancel(errRevoked)
			return
		case err != nil:
			// Redis is away: the work goes on and is reported when it is back.
			continue
		case signal.Cancel:
			cancel(errCancelled)
			return
		case signal.Release:
			a.release.Do(func() { close(a.released) })
		}
		accepted = sent
	}
}

// writesTarget tells whether the task changes what is restored to.
func (a *attempt) writesTarget() bool {
	switch a.claim.Task.Kind {
	case tasks.KindPrepare, tasks.KindLoad, tasks.KindFinish, tasks.KindDrop:
		return true
	default:
		return false
	}
}

func (a *attempt) progress() tasks.Progress {
	return tasks.Progress{Entries: a.entries.Load(), Bytes: a.bytes.Load()}
}

// report tells the ledger the outcome and sends what became ready. The ledger goes on trying while Redis is away.
func (a *attempt) report(ctx context.Context, result any, err error) {
	if errors.Is(err, errRevoked) {
		return
	}
	// The outcome is stored although the worker stops; the deadline bounds how long a stop can take.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportFor)
	defer cancel()
	var data json.RawMessage
	if err == nil {
		if data, err = json.Marshal(result); err != nil {
			err = fmt.Errorf("task %s: %w: encode result: %w", a.claim.Task.ID, drivers.ErrInvalid, err)
		}
	}
	var ready []ledger.Emission
	if err == nil {
		ready, err = a.cfg.Ledger.Finish(ctx, a.claim, data, a.progress())
	} else {
		ready, err = a.cfg.Ledger.Fail(ctx, a.claim, a.failure(err))
	}
	switch {
	case err == nil:
		a.send(ctx, ready)
	case errors.Is(err, ledger.ErrStale), errors.Is(err, ledger.ErrNoRun), errors.Is(err, ledger.ErrOver):
		// Another attempt has the task, or nobody waits for it any more.
	default:
		a.cfg.Log.WarnContext(ctx, "the ledger did not take an outcome; the task will run again", "task", a.claim.Task.ID, "error", err)
	}
}

// reportFor is how long a finished attempt keeps its outcome for a Redis that is away.
const reportFor = 10 * time.Minute

// send enqueues what became ready. A failure is no loss: the outbox keeps it and the sweep sends it again.
func (a *attempt) send(ctx context.Context, ready []ledger.Emission) {
	if len(ready) == 0 {
		return
	}
	if err := a.sender.Send(ctx, ready); err != nil {
		a.cfg.Log.WarnContext(ctx, "send failed; the sweep will send again", "tasks", len(ready), "error", err)
	}
}

// spec decodes the task's spec.
func (a *attempt) spec(into any) error {
	if err := json.Unmarshal(a.claim.Task.Spec, into); err != nil {
		return fmt.Errorf("task %s: %w: decode spec: %w", a.claim.Task.ID, drivers.ErrInvalid, err)
	}
	return nil
}
