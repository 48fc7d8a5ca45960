package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

// Concluder ends what coordinators that died left: it stores the report of runs that have ended, and lets the ledger forget
// them. Every worker runs one. Several, and a coordinator that lives after all, do each other no harm.
type Concluder struct {
	c     *Coordinator
	open  OpenArchive
	after time.Duration
	log   *slog.Logger

	seen   map[string]sighting
	warned map[string]bool
}

// sighting is since when a run has been seen in a state. It is this process's clock that counts: Redis may have another.
type sighting struct {
	state ledger.State
	since time.Time
}

// NewConcluder makes a concluder that takes a run's coordinator for dead when the run ended `after` ago and is still there.
func (c *Coordinator) NewConcluder(open OpenArchive, after time.Duration) *Concluder {
	return &Concluder{c: c, open: open, after: after, log: c.cfg.Log, seen: make(map[string]sighting), warned: make(map[string]bool)}
}

// Run concludes until ctx ends. While Redis is away it goes on trying.
func (d *Concluder) Run(ctx context.Context) {
	timer := time.NewTicker(max(d.after/4, time.Millisecond))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := d.Look(ctx); err != nil {
			d.log.DebugContext(ctx, "the ledger does not answer; trying again", "error", err)
		}
	}
}

// Look looks once at all runs. What it cannot conclude it tells the log, once, and tries again at the next look.
func (d *Concluder) Look(ctx context.Context) error {
	runs, states, err := d.c.Active(ctx)
	if err != nil {
		return err
	}
	for run := range d.seen {
		if _, ok := states[run]; !ok {
			delete(d.seen, run)
			delete(d.warned, run)
		}
	}
	for _, run := range runs {
		state := states[run]
		if d.seen[run].state != state.State {
			d.seen[run] = sighting{state.State, time.Now()}
		}
		if time.Since(d.seen[run].since) < d.after {
			continue
		}
		if err := d.conclude(ctx, run, state); err != nil && ctx.Err() == nil && !d.warned[run] {
			d.warned[run] = true
			d.log.WarnContext(ctx, "a run ended, and its report cannot be stored; trying again", "run", run, "error", err)
		}
	}
	return nil
}

// creations is how many times longer the storing of a plan may take than a report.
const creations = 10

func (d *Concluder) forget(ctx context.Context, run string) error {
	if err := d.c.cfg.Ledger.Forget(ctx, run); err != nil {
		return fmt.Errorf("conclude run %s: %w", run, err)
	}
	return nil
}

func (d *Concluder) conclude(ctx context.Context, run string, state ledger.RunState) error {
	switch {
	case state.State == ledger.StateCreating && time.Since(d.seen[run].since) > creations*d.after:
		return d.c.cancel(ctx, run)
	case !state.State.Terminal():
		return nil
	case state.StartedAt.IsZero(): // its plan was not stored to the end
		return d.forget(ctx, run)
	}
	plan, err := d.c.cfg.Ledger.Plan(ctx, run)
	if errors.Is(err, ledger.ErrNoRun) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("conclude run %s: %w", run, err)
	}
	if plan.Operation == tasks.OpExpand { // whoever asked has read the answer, or is gone
		return d.forget(ctx, run)
	}
	a, err := d.open(ctx, plan.Archive)
	if err != nil {
		return fmt.Errorf("conclude run %s: open archive: %w", run, err)
	}
	o, err := d.c.collect(ctx, plan, state)
	if err == nil {
		err = d.c.settle(ctx, a, o)
	} else if _, reportErr := Reported(ctx, a, run); reportErr == nil {
		err = d.forget(ctx, run) // another process has concluded it, perhaps not to the end
	}
	if err = errors.Join(err, a.Close()); err != nil {
		return fmt.Errorf("conclude run %s: %w", run, err)
	}
	return nil
}
