package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"salvor/tasks"
)

// ExpandInput is what the plan of an expansion is made from.
type ExpandInput struct {
	Run string
	// Set is a set of which only the nodes that are asked have drivers, see [tasks.Node.Expanding].
	Set tasks.Node
	// Once has a node that cannot be asked fail at once, and not after some tries.
	Once bool
}

// PlanExpand plans the run that asks what nodes of a set stand for: a step expand:PATH for each, of one task that any worker
// of the node's host does. No step needs another, and one that fails keeps none from its answer. It is a pure function.
func PlanExpand(in ExpandInput) (tasks.Plan, error) {
	if err := required([2]string{"run", in.Run}); err != nil {
		return tasks.Plan{}, err
	}
	spec, err := json.Marshal(tasks.ExpandSpec{Once: in.Once})
	if err != nil {
		return tasks.Plan{}, fmt.Errorf("encode expand spec: %w", err)
	}
	plan := tasks.Plan{
		Contract: tasks.Contract, Run: in.Run, Operation: tasks.OpExpand, Set: in.Set.Name, OnError: tasks.OnErrorContinue,
		Root: withoutSecrets(&in.Set),
	}
	for path, n := range plan.Root.Walk() {
		if n.Driver == "" {
			continue
		}
		step := single(tasks.KindExpand, path, nil, tasks.Route{Host: n.Host})
		step.Tasks[0].Spec = spec
		plan.Steps = append(plan.Steps, step)
	}
	return plan, nil
}

// ExpandRequest asks what nodes of a set stand for.
type ExpandRequest struct {
	Set     tasks.Node // see [ExpandInput]
	Once    bool
	Started func(tasks.Plan)
	Watch   Watch
}

// Expand asks what nodes of a set stand for: the places by path, for [tasks.Node.Expand], of those that could be asked. Of the
// others the outcome says why not. The error is for what kept it from having an outcome. When ctx ends the run is cancelled.
//
// The run writes nothing, so there is nothing to resume. Whoever watches it may look after it has ended; the workers of its
// queue make the ledger forget it when they conclude what nobody else does.
func (c *Coordinator) Expand(ctx context.Context, r ExpandRequest) (map[string][]tasks.Place, Outcome, error) {
	run, err := NewRun()
	if err != nil {
		return nil, Outcome{}, err
	}
	plan, err := PlanExpand(ExpandInput{Run: run, Set: r.Set, Once: r.Once})
	if err != nil {
		return nil, Outcome{}, err
	}
	if r.Started != nil {
		r.Started(plan)
	}
	if err := c.start(ctx, plan); err != nil {
		return nil, Outcome{}, err
	}
	state, err := c.wait(ctx, run, watchOrNothing(r.Watch))
	if errors.Is(err, ErrResumable) {
		err = &resumeError{fmt.Errorf("expand set %s: the queue lost run %s before its end", plan.Set, run), "nothing was begun: run it again"}
	}
	if err != nil {
		return nil, Outcome{}, err
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelWait)
	defer stop()
	o, err := c.collect(ctx, plan, state)
	if err != nil {
		return nil, o, err
	}
	places := make(map[string][]tasks.Place)
	for _, step := range plan.Steps {
		err := c.cfg.Ledger.Results(ctx, run, step.ID, func(_ string, data json.RawMessage) error {
			var result tasks.ExpandResult
			err := json.Unmarshal(data, &result)
			places[step.Node] = result.Places
			return err
		})
		if err != nil {
			return nil, o, fmt.Errorf("expand node %s: %w", step.Node, err)
		}
	}
	return places, o, nil
}
