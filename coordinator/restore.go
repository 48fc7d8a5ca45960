package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"salvor/archive"
	"salvor/tasks"
)

// RestoreRequest is a restore that is asked for.
type RestoreRequest struct {
	Archive  *archive.Archive
	Location string // how workers find the archive
	Ref      archive.Ref
	// Plan is the dump's own plan, see [StoredPlan].
	Plan tasks.Plan
	// Config is the set that the user has now; nil where there is none. See [Trusted].
	Config *tasks.Node
	// Nodes are the nodes to restore, by path, with where each goes.
	Nodes                      map[string]tasks.RestoreNode
	Overwrite, Mirror, InPlace bool
	Create, Clean, Prove       bool
	OnError                    tasks.OnError
	Started                    func(tasks.Plan)
	Watch                      Watch
}

// StoredPlan reads the plan that a dump was made by.
func StoredPlan(ctx context.Context, a *archive.Archive, ref archive.Ref) (tasks.Plan, error) {
	data, err := a.Plan(ctx, ref)
	if err != nil {
		return tasks.Plan{}, fmt.Errorf("read plan of dump %s: %w", ref.Dump, err)
	}
	var plan tasks.Plan
	if err := json.Unmarshal(data, &plan); err != nil {
		return tasks.Plan{}, fmt.Errorf("%w: decode plan of dump %s: %w", archive.ErrCorrupt, ref.Dump, err)
	}
	return plan, nil
}

// PlanRestore makes the plan of a restore without carrying it out.
func (c *Coordinator) PlanRestore(r RestoreRequest) (tasks.Plan, error) {
	run, err := NewRun()
	if err != nil {
		return tasks.Plan{}, err
	}
	return PlanRestore(RestoreInput{
		Run: run, Archive: r.Location, Set: r.Ref.Set, Dump: r.Ref.Dump, Root: r.Plan.Root, Config: r.Config, Nodes: r.Nodes, OnError: r.OnError,
		Overwrite: r.Overwrite, Mirror: r.Mirror, InPlace: r.InPlace, Create: r.Create, Clean: r.Clean, Prove: r.Prove, Drivers: c.cfg.Drivers,
	})
}

// Restore restores a dump. See [Coordinator.Dump] for its results.
func (c *Coordinator) Restore(ctx context.Context, r RestoreRequest) (Outcome, error) {
	plan, err := c.PlanRestore(r)
	if err != nil {
		return Outcome{}, err
	}
	mark, err := c.aboutRun(&plan)
	if err != nil {
		return Outcome{}, err
	}
	err = r.Archive.OpenRun(ctx, plan.Run, mark)
	if errors.Is(err, archive.ErrAccess) || errors.Is(err, archive.ErrNoSpace) {
		// Whoever has lost data must get it back from a disk that is full, or mounted for reading only.
		c.cfg.Log.WarnContext(ctx, "the archive cannot be written: the restore goes on, but the run is not recorded", "error", err)
	} else if err != nil {
		return Outcome{}, fmt.Errorf("open run %s: %w", plan.Run, err)
	}
	return c.carryOut(ctx, r.Archive, plan, r.Started, r.Watch)
}
