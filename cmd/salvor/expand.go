package main

import (
	"context"
	"fmt"

	"salvor/coordinator"
	"salvor/tasks"
)

// expandSet asks what the nodes of a set stand for that stand for many places (all databases of a server), and puts a child
// for each place below them. It is asked once, before the plan is made: the plan then says what was dumped. Nodes that could
// not be asked stay as they are, and the outcome says why.
func (a *app) expandSet(ctx context.Context, e *engine, set *tasks.Node, r coordinator.ExpandRequest) (coordinator.Outcome, error) {
	if err := a.bindSet(ctx, e, &r.Set); err != nil {
		return coordinator.Outcome{}, err
	}
	progress := a.newProgress(ctx, e)
	defer progress.end()
	r.Watch = progress.update
	r.Started = func(plan tasks.Plan) {
		e.literals.putAll(plan.Run, &r.Set)
		progress.begin(plan)
	}
	places, o, err := e.Expand(ctx, r)
	if err != nil {
		return o, err
	}
	*set = set.Expand(places)
	return o, nil
}

// expandForDump expands a set that is to be dumped: all of it, or the dump does not begin.
func (a *app) expandForDump(ctx context.Context, e *engine, set *tasks.Node) error {
	expanding, some := set.Expanding(taskDrivers(a.registry))
	if !some {
		return nil
	}
	o, err := a.expandSet(ctx, e, set, coordinator.ExpandRequest{Set: expanding})
	if err != nil {
		return err
	}
	code := exitOfOutcome(o)
	if code == exitOK {
		return nil
	}
	a.reportFailures(o.Failures)
	a.console.problem("error", fmt.Sprintf("expand %s, nothing was dumped, run %s", stateText(o), o.Run))
	return &exitError{code}
}

// expandForPlan expands a set as far as the servers can be asked, and says where they cannot.
func (a *app) expandForPlan(ctx context.Context, s *settings) error {
	expanding, some := s.set.Set.Expanding(taskDrivers(a.registry))
	if !some {
		return nil
	}
	o, err := a.expandAlone(ctx, s, expanding)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		a.console.problem("warning", fmt.Sprintf("nodes that stand for several places are shown as they are, a dump has steps for each: %v", err))
		a.console.problem("hint", hintOf(err))
	}
	for _, f := range o.Failures {
		a.console.problem("warning", fmt.Sprintf("node %s stands for several places, which cannot be listed: a dump has steps for each: %s", f.Node, f.Message))
		a.console.problem("hint", f.Hint)
	}
	return nil
}

// expandAlone expands a set by an engine that does nothing else.
func (a *app) expandAlone(ctx context.Context, s *settings, expanding tasks.Node) (coordinator.Outcome, error) {
	if err := a.checkSet(ctx, settings{set: tasks.BackupSet{Set: expanding}, queue: s.queue}); err != nil {
		return coordinator.Outcome{}, err
	}
	e, err := a.startEngine(ctx, s.queue)
	if err != nil {
		return coordinator.Outcome{}, err
	}
	defer func() { a.stopEngine(ctx, e) }()
	return a.expandSet(ctx, e, &s.set.Set, coordinator.ExpandRequest{Set: expanding, Once: true})
}
