package workers

import (
	"context"
	"fmt"
	"os"

	"salvor/drivers"
	"salvor/internal/secret"
	"salvor/tasks"
)

// openCompared opens the database that a capture compares with: somebody's own, or the one that is made for a restored dump.
func (a *attempt) openCompared(ctx context.Context) (drivers.Kind, drivers.Source, error) {
	c := a.run.plan.Capture
	base := c.Base
	kind, err := a.cfg.Registry.Lookup(base.Driver)
	if err != nil {
		return kind, nil, fmt.Errorf("%w: %w", drivers.ErrInvalid, err)
	}
	spec, err := a.resolve(ctx, a.run, kind, tasks.BasePath(c.Node), base.Source)
	if err != nil {
		return kind, nil, err
	}
	switch {
	case base.Temporary && kind.ScratchIn != nil:
		dir := a.cfg.Scratch
		if dir == "" {
			dir = os.TempDir()
		}
		spec.Source = secret.New(kind.ScratchIn(dir, base.Scratch))
	case base.Scratch != "" && kind.Scratch != nil:
		if spec.Source, err = kind.Scratch(spec.Source, base.Scratch); err != nil {
			return kind, nil, fmt.Errorf("name scratch database %s: %w", base.Scratch, err)
		}
	case base.Scratch != "":
		return kind, nil, fmt.Errorf("%w: driver %s has no scratch places", drivers.ErrInvalid, kind.Name)
	}
	source, err := kind.Open(ctx, spec)
	if err != nil {
		return kind, nil, fmt.Errorf("open what node %s is compared with: %w", c.Node, err)
	}
	return kind, source, nil
}

// drop removes the place that a dump was restored into. One that was never made is no error.
func (a *attempt) drop(ctx context.Context) (_ any, err error) {
	c := a.run.plan.Capture
	if c == nil || c.Base == nil || c.Base.Scratch == "" {
		return nil, fmt.Errorf("task %s: %w: the run made no place", a.claim.Task.ID, drivers.ErrInvalid)
	}
	_, source, err := a.openCompared(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := source.Close(); err == nil {
			err = closeErr
		}
	}()
	dropper, ok := source.(drivers.Dropper)
	if !ok {
		return nil, fmt.Errorf("drop scratch database %s: %w: driver %s cannot", c.Base.Scratch, drivers.ErrInvalid, c.Base.Driver)
	}
	// Sessions of this process that have joined its view would be in the way.
	a.views.endIdle(ctx, tasks.BasePath(c.Node))
	if err := dropper.Drop(ctx, c.Base.Scratch); err != nil {
		return nil, fmt.Errorf("drop scratch database %s: %w", c.Base.Scratch, err)
	}
	if err := a.run.archive.ForgetRestored(ctx, a.claim.Run, c.Node); err != nil {
		return nil, fmt.Errorf("forget what was restored: %w", err)
	}
	return tasks.NodeResult{Node: c.Node}, nil
}
