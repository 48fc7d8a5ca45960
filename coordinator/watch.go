package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"salvor/archive"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// Progress is how a run stands.
type Progress struct {
	ledger.RunState

	// News are what a user should hear of and was not told before: "retry", "death" and "epoch" events.
	News []ledger.Event
}

// Watch is called now and then with how a run stands, and once at its end. It must return soon.
type Watch func(Progress)

// OpenArchive opens the archive of a plan, whose location is unresolved. The caller closes what it returns.
type OpenArchive func(ctx context.Context, location string) (*archive.Archive, error)

// news reads a run's events where its counts say that there are new ones.
type news struct {
	after string
	seen  int
}

// newsAtOnce is how many events one read takes.
const newsAtOnce = 500

// since returns the new events. They are for people: what cannot be read now is read later, or never.
func (n *news) since(ctx context.Context, l *ledger.Ledger, run string, s ledger.RunState) []ledger.Event {
	now := s.Retries + s.Deaths + s.Epochs
	if now == n.seen {
		return nil
	}
	var out []ledger.Event
	for {
		events, err := l.Events(ctx, run, n.after, newsAtOnce)
		if err != nil {
			return out
		}
		for _, e := range events {
			n.after = e.ID
			if slices.Contains([]string{"retry", "death", "epoch"}, e.Kind) {
				out = append(out, e)
			}
		}
		if len(events) < newsAtOnce {
			n.seen = now
			return out
		}
	}
}

// Reported returns how a run ended, from its report in an archive. The error is [archive.ErrNoRun] where there is none yet.
func Reported(ctx context.Context, a *archive.Archive, run string) (Outcome, error) {
	report, err := a.Run(ctx, run)
	if err == nil && report.State == archive.StateOpen {
		err = archive.ErrNoRun
	}
	var o Outcome
	if err == nil {
		if err = json.Unmarshal(report.Detail, &o); err != nil {
			err = fmt.Errorf("%w: %w", archive.ErrCorrupt, err)
		}
	}
	if err != nil {
		return o, fmt.Errorf("read report of run %s: %w", run, err)
	}
	return o, nil
}

// Active returns the ids of the runs that the ledger has, oldest first, with how they stand. Those that have ended and wait
// for their report are among them.
func (c *Coordinator) Active(ctx context.Context) ([]string, map[string]ledger.RunState, error) {
	runs, err := c.cfg.Ledger.Runs(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("list runs: %w", err)
	}
	states := make(map[string]ledger.RunState, len(runs))
	for _, run := range runs {
		state, err := c.cfg.Ledger.State(ctx, run)
		switch {
		case errors.Is(err, ledger.ErrNoRun): // it ended between the two reads
		case err != nil:
			return nil, nil, fmt.Errorf("read run %s: %w", run, err)
		default:
			states[run] = state
		}
	}
	return slices.DeleteFunc(runs, func(run string) bool { _, ok := states[run]; return !ok }), states, nil
}

// FollowRequest names a run to follow.
type FollowRequest struct {
	Run string
	// Cancel cancels the run first.
	Cancel bool
	// Archive opens the run's archive, for its report.
	Archive OpenArchive
	// Started is called with the run's plan.
	Started func(tasks.Plan)
	Watch   Watch
}

// orphaned is how long the report of a run that has ended is waited for: its coordinator is gone then, and whoever follows
// the run concludes it.
const orphaned = 5 * time.Second

// Follow watches a run that any process may have started to its end. When ctx ends the watching ends, not the run. The error
// is [ledger.ErrNoRun] where the ledger does not have the run from the start, [ErrResumable] where it loses it.
func (c *Coordinator) Follow(ctx context.Context, r FollowRequest) (Outcome, error) {
	plan, err := c.cfg.Ledger.Plan(ctx, r.Run)
	if err != nil {
		return Outcome{}, fmt.Errorf("follow run %s: %w", r.Run, err)
	}
	if r.Started != nil {
		r.Started(plan)
	}
	if r.Cancel {
		if err := c.cancel(ctx, r.Run); err != nil {
			return Outcome{}, err
		}
	}
	if plan.Operation == tasks.OpExpand { // nobody reports it: what the ledger has is all, and workers make it forget that later
		state, err := c.untilOver(ctx, r.Run, 0, watchOrNothing(r.Watch))
		if err != nil {
			return Outcome{}, err
		}
		return c.collect(ctx, plan, state)
	}
	state, err := c.untilOver(ctx, r.Run, orphaned, watchOrNothing(r.Watch))
	if err != nil && !errors.Is(err, ledger.ErrNoRun) {
		return Outcome{}, err
	}
	a, openErr := r.Archive(ctx, plan.Archive)
	if openErr != nil {
		return Outcome{}, fmt.Errorf("run %s has ended; its report is not within reach: %w", r.Run, openErr)
	}
	o, err := c.ended(ctx, a, plan, state, err == nil)
	return o, errors.Join(err, a.Close())
}

// ended returns how a run ended; left tells that the ledger still has it.
func (c *Coordinator) ended(ctx context.Context, a *archive.Archive, plan tasks.Plan, state ledger.RunState, left bool) (Outcome, error) {
	if left {
		return c.conclude(ctx, a, plan, state), nil
	}
	o, err := Reported(ctx, a, plan.Run)
	if errors.Is(err, archive.ErrNoRun) {
		err = fmt.Errorf("follow run %s: %w", plan.Run, ErrResumable)
	}
	return o, err
}

// untilOver watches a run until it is terminal and nobody concludes it for a while, or the ledger does not have it any more.
func (c *Coordinator) untilOver(ctx context.Context, run string, patience time.Duration, watch Watch) (ledger.RunState, error) {
	const every = 200 * time.Millisecond
	var (
		news  news
		ended time.Time
	)
	for {
		state, err := c.cfg.Ledger.State(ctx, run)
		switch {
		case errors.Is(err, ledger.ErrNoRun), ctx.Err() != nil:
			return state, fmt.Errorf("follow run %s: %w", run, errors.Join(err, ctx.Err()))
		case err != nil:
			c.cfg.Log.WarnContext(ctx, "the ledger does not answer; trying again", "run", run, "error", err)
		case state.State.Terminal() && ended.IsZero():
			ended = time.Now()
			watch(Progress{state, news.since(ctx, c.cfg.Ledger, run, state)})
		case state.State.Terminal():
			if time.Since(ended) > patience {
				return state, nil
			}
		default:
			watch(Progress{state, news.since(ctx, c.cfg.Ledger, run, state)})
		}
		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
	}
}
