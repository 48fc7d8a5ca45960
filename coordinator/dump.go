package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"salvor/archive"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// DumpRequest is a dump that is asked for.
type DumpRequest struct {
	Set tasks.BackupSet
	// Archive is where the dump goes; Set.Archive is how workers find it.
	Archive *archive.Archive
	OnError tasks.OnError
	// Views is how many nodes may hold a consistent view at once; 0 means 2.
	Views int
	// Full reads everything again instead of building on the dump before.
	Full bool
	// Started is called with the plan, before any work.
	Started func(tasks.Plan)
	Watch   Watch
}

// Dump dumps a set. The outcome says how it ended, also where that is badly; the error is for what kept it from having an
// outcome. When ctx ends the run is cancelled.
func (c *Coordinator) Dump(ctx context.Context, r DumpRequest) (Outcome, error) {
	plan, err := c.planDump(ctx, r)
	if err != nil {
		return Outcome{}, err
	}
	stored, err := json.Marshal(plan)
	if err != nil {
		return Outcome{}, fmt.Errorf("encode plan: %w", err)
	}
	mark, err := c.aboutRun(&plan)
	if err != nil {
		return Outcome{}, err
	}
	if err := r.Archive.Begin(ctx, archive.Ref{Set: plan.Set, Dump: plan.Dump}, plan.Run, stored, mark); err != nil {
		return Outcome{}, fmt.Errorf("begin dump %s: %w", plan.Dump, err)
	}
	return c.carryOut(ctx, r.Archive, plan, r.Started, r.Watch)
}

func (c *Coordinator) planDump(ctx context.Context, r DumpRequest) (tasks.Plan, error) {
	run, err := NewRun()
	if err != nil {
		return tasks.Plan{}, err
	}
	set := r.Set.Set.Name
	base := ""
	if !r.Full {
		ref, err := r.Archive.Resolve(ctx, set, "latest")
		switch {
		case err == nil:
			base = ref.Dump
		case errors.Is(err, archive.ErrNoDump):
		case errors.Is(err, archive.ErrCorrupt), errors.Is(err, archive.ErrNewerFormat):
			c.cfg.Log.WarnContext(ctx, "the latest dump cannot be built on; everything is read", "set", set, "error", err)
		default:
			return tasks.Plan{}, fmt.Errorf("find the dump to build on: %w", err)
		}
	}
	dump, err := r.Archive.NewDumpID(ctx, set)
	if err != nil {
		return tasks.Plan{}, fmt.Errorf("name dump: %w", err)
	}
	return PlanDump(DumpInput{
		Run: run, Archive: r.Set.Archive, Dump: dump, Base: base, Set: r.Set, Drivers: c.cfg.Drivers, OnError: r.OnError, Views: r.Views,
	})
}

// carryOut runs a plan to its end.
func (c *Coordinator) carryOut(ctx context.Context, a *archive.Archive, plan tasks.Plan, started func(tasks.Plan), watch Watch) (Outcome, error) {
	if started != nil {
		started(plan)
	}
	if err := ledger.Validate(plan); err != nil {
		return Outcome{}, errors.Join(fmt.Errorf("plan of run %s: %w", plan.Run, err), c.abandon(ctx, a, plan))
	}
	switch err := c.start(ctx, plan); {
	case errors.Is(err, ledger.ErrExists):
		return Outcome{}, fmt.Errorf("%w: %w", ErrRunAlive, err)
	case err != nil:
		// The ledger may have taken it all the same, and the run goes on: it stays open until somebody looks.
		return Outcome{}, fmt.Errorf("%w: %w", ErrResumable, err)
	}
	return c.see(ctx, a, plan, watch)
}

// see watches a run of this process to its end, and concludes it.
func (c *Coordinator) see(ctx context.Context, a *archive.Archive, plan tasks.Plan, watch Watch) (Outcome, error) {
	state, err := c.wait(ctx, plan.Run, watchOrNothing(watch))
	if errors.Is(err, ErrResumable) {
		// Where this process was slow, another one concluded the run.
		if o, reportErr := Reported(context.WithoutCancel(ctx), a, plan.Run); reportErr == nil {
			return o, nil
		}
	}
	if err != nil {
		return Outcome{}, err
	}
	return c.conclude(ctx, a, plan, state), nil
}

func watchOrNothing(watch Watch) Watch {
	if watch == nil {
		return func(Progress) {}
	}
	return watch
}
