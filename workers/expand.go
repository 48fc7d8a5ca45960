package workers

import (
	"context"
	"errors"
	"fmt"

	"salvor/drivers"
	"salvor/tasks"
)

// expand lists the places that a node stands for.
func (a *attempt) expand(ctx context.Context) (any, error) {
	var spec tasks.ExpandSpec
	if err := a.spec(&spec); err != nil {
		return nil, err
	}
	a.once = spec.Once
	path := a.claim.Task.Node
	node := a.run.nodes[path]
	kind, err := a.cfg.Registry.Lookup(node.Driver)
	if err != nil {
		return nil, errors.Join(drivers.ErrInvalid, err)
	}
	if kind.Expand == nil {
		return nil, fmt.Errorf("expand node %s: %w: a source of the driver %s stands for itself", path, drivers.ErrInvalid, node.Driver)
	}
	source, err := a.resolve(ctx, a.run, kind, path, node.Source)
	if err != nil {
		return nil, err
	}
	source.Options = node.Options // as they are written: the places' options come from them, and are stored
	places, err := kind.Expand(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("expand node %s: %w", path, err)
	}
	var result tasks.ExpandResult
	for _, p := range places {
		result.Places = append(result.Places, tasks.Place{Name: p.Name, Options: p.Options})
	}
	return result, nil
}
