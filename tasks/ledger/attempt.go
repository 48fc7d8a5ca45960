package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"salvor/tasks"
)

// Claim is an attempt that its holder may work on, until a call with it gives [ErrStale].
type Claim struct {
	Run     string
	Token   string // random; letters and digits
	Attempt string
	Task    tasks.Task
	Step    string
	// Epoch counts from 1. A holder's is how often its view was opened; a task of a held step has its holder's.
	Epoch int
	// Try counts from 1 the attempts that ran and did not hand back.
	Try int
	// Checkpoint is what an earlier attempt stored last with [Ledger.Grow]; nil if none did.
	Checkpoint json.RawMessage
}

// Life names the run's life that the attempt belongs to: a run that is resumed keeps its id, and begins another life with a
// plan of its own.
func (c Claim) Life() string {
	generation, _, _ := strings.Cut(c.Attempt, "-")
	return c.Run + " " + generation
}

// Signal is what a beat learns.
type Signal struct {
	// Cancel: the run, or the attempt's step, ends badly. Give up, then Fail (of any class: nothing is tried again).
	Cancel bool
	// Release, for a holder: all steps it holds have ended. End the views, then Finish.
	Release bool
}

// Claim takes an attempt that was delivered. Each call counts as another claimer, also with the same arguments: of several
// deliveries of one attempt only one gets it, the others [ErrStale]. [ErrOver] if the run takes no new work.
func (l *Ledger) Claim(ctx context.Context, run, task, attempt, worker string) (Claim, error) {
	c := Claim{Run: run, Token: random(16), Attempt: attempt}
	r, err := l.persist(ctx, claimScript, run, task, attempt, c.Token, worker, l.host)
	if err != nil {
		return Claim{}, fmt.Errorf("claim task %s: %w", task, err)
	}
	if c.Task, err = unpack(r.text(1)); err != nil {
		return Claim{}, fmt.Errorf("claim task %s: %w", task, err)
	}
	c.Step, c.Epoch, c.Try = r.text(2), r.number(3), r.number(4)
	if ckpt := r.text(5); ckpt != "" {
		c.Checkpoint = json.RawMessage(ckpt)
	}
	return c, nil
}

// Beat says that the attempt lives and how far it is. [ErrStale] means that it was revoked: end the work. Any other error
// means that Redis is away: go on with the work, but for an attempt that has not beaten for a lease assume that somebody
// else has the task.
func (l *Ledger) Beat(ctx context.Context, c Claim, p tasks.Progress) (Signal, error) {
	r, err := l.eval(ctx, beatScript, c.Run, c.Task.ID, c.Token, clamp(p.Entries), clamp(p.Bytes))
	if err != nil {
		return Signal{}, fmt.Errorf("beat task %s: %w", c.Task.ID, err)
	}
	return Signal{Cancel: r.number(1) == 1, Release: r.number(2) == 1}, nil
}

// Finish stores a task's result and what it did in all, and returns what became ready. It is accepted while the run ends,
// and after a lost lease if nobody has claimed the task since. Repeating it is harmless. A holder gets [ErrHeld] until all
// steps it holds have ended. Steps that the task grows are closed.
func (l *Ledger) Finish(ctx context.Context, c Claim, result json.RawMessage, p tasks.Progress) ([]Emission, error) {
	r, err := l.persist(ctx, finishScript, c.Run, c.Task.ID, c.Token, c.Step, []byte(result),
		strconv.FormatInt(clamp(p.Entries), 10), strconv.FormatInt(clamp(p.Bytes), 10))
	if err != nil {
		return nil, fmt.Errorf("finish task %s: %w", c.Task.ID, err)
	}
	return l.rest(ctx, c.Run, r), nil
}

// Fail ends an attempt badly and returns what became ready.
//
//   - Transient: the task is tried again after a while, [Options].Tries times in all, then it fails for good.
//   - Permanent: the task and its step fail, and by the plan's policy the run stops or goes on without them.
//   - LostView, of a holder or a task of a held step: the holder and its steps get a new epoch. Elsewhere as Transient.
//   - HandBack: the task is ready again at once and the attempt does not count.
//
// A holder that ends Transient or HandBack loses its view too. Where the run or the step ends, nothing is tried again.
// Repeating it is harmless.
func (l *Ledger) Fail(ctx context.Context, c Claim, f tasks.Failure) ([]Emission, error) {
	f.Task, f.Node = c.Task.ID, c.Task.Node
	data, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode failure of task %s: %w", c.Task.ID, err)
	}
	class, delay := f.Class, int64(0)
	switch class {
	case tasks.Permanent, tasks.HandBack:
	case tasks.LostView:
		delay = l.o.Backoff(c.Epoch).Milliseconds()
	case tasks.Transient:
		delay = l.o.Backoff(c.Try).Milliseconds()
	default:
		return nil, fmt.Errorf("fail task %s: unknown class %q", c.Task.ID, class)
	}
	r, err := l.persist(ctx, failScript, c.Run, c.Task.ID, c.Token, c.Step, string(class), max(delay, 0), data, l.o.Tries, l.o.Epochs)
	if err != nil {
		return nil, fmt.Errorf("fail task %s: %w", c.Task.ID, err)
	}
	return l.rest(ctx, c.Run, r), nil
}

// Nudge gives an unclaimed attempt that its carrier lost a new id. It returns nil if somebody claimed the attempt after all,
// or another took its place.
func (l *Ledger) Nudge(ctx context.Context, run, task, attempt string) (*Emission, error) {
	r, err := l.eval(ctx, nudgeScript, run, task, attempt)
	if err != nil {
		return nil, fmt.Errorf("nudge task %s: %w", task, err)
	}
	for _, e := range l.rest(ctx, run, r) {
		if e.Run == run && e.Task == task {
			return &e, nil
		}
	}
	return nil, nil //nolint:nilnil // that there is nothing to send is an ordinary answer
}

// Cancel ends a run: nothing of it starts any more, what runs learns it at its beat, and once nothing lives the run is
// cancelled. A run that ends already, or has ended, is left as it is.
func (l *Ledger) Cancel(ctx context.Context, run string, why tasks.Failure) error {
	data, err := json.Marshal(why)
	if err != nil {
		return fmt.Errorf("encode failure: %w", err)
	}
	r, err := l.eval(ctx, cancelScript, run, data)
	if err != nil {
		return fmt.Errorf("cancel run %s: %w", run, err)
	}
	l.rest(ctx, run, r)
	return nil
}
