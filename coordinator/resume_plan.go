package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"salvor/archive"
	"salvor/tasks"
)

// skipSealed takes out of a dump's plan what is done: of a sealed node only its seal stays, which answers for it. Nodes
// that are to be dumped again lose the manifests they have.
func (c *Coordinator) skipSealed(ctx context.Context, a *archive.Archive, plan *tasks.Plan) error {
	ref := archive.Ref{Set: plan.Set, Dump: plan.Dump}
	sealed := make(map[string]bool)
	for _, s := range plan.Steps {
		if s.Kind != tasks.KindSeal {
			continue
		}
		_, ok, err := a.Sealed(ctx, ref, s.Node)
		if err != nil {
			return fmt.Errorf("look for what is sealed: %w", err)
		}
		sealed[s.Node] = ok
	}
	if err := unsealGroups(plan, sealed); err != nil {
		return err
	}
	for node, ok := range sealed {
		if ok {
			continue
		}
		if err := a.Unseal(ctx, ref, node); err != nil {
			return fmt.Errorf("open node %s again: %w", node, err)
		}
	}
	return withoutSealed(plan, sealed)
}

// unsealGroups makes all members of a group that is frozen together be dumped again unless all are sealed: their views are
// of one moment.
func unsealGroups(plan *tasks.Plan, sealed map[string]bool) error {
	for _, s := range plan.Steps {
		if s.Kind != tasks.KindFreeze {
			continue
		}
		nodes, err := frozenBy(s)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(nodes, func(n string) bool { return !sealed[n] }) {
			continue
		}
		for _, n := range nodes {
			sealed[n] = false
		}
	}
	return nil
}

// frozenBy returns the nodes whose views a freeze step opens.
func frozenBy(s tasks.Step) ([]string, error) {
	var nodes []string
	for _, t := range s.Tasks {
		var spec tasks.FreezeSpec
		if err := json.Unmarshal(t.Spec, &spec); err != nil {
			return nil, fmt.Errorf("%w: decode freeze of node %s: %w", archive.ErrCorrupt, s.Node, err)
		}
		for _, n := range spec.Nodes {
			nodes = append(nodes, n.Node)
		}
	}
	return nodes, nil
}

// withoutSealed removes the freeze and part steps of sealed nodes. Whatever came before those is done too, so what needed
// them needs nothing in their place.
func withoutSealed(plan *tasks.Plan, sealed map[string]bool) error {
	spec, err := json.Marshal(tasks.SealSpec{Sealed: true})
	if err != nil {
		return fmt.Errorf("encode seal: %w", err)
	}
	gone := make(map[string]bool)
	var steps []tasks.Step
	for _, s := range plan.Steps {
		done := s.Kind == tasks.KindPart && sealed[s.Node]
		if s.Kind == tasks.KindFreeze {
			nodes, err := frozenBy(s)
			if err != nil {
				return err
			}
			done = len(nodes) > 0 && sealed[nodes[0]] // all members of a group are, or none
		}
		if done {
			gone[s.ID] = true
			continue
		}
		if s.Kind == tasks.KindSeal && sealed[s.Node] {
			s.Needs, s.Tasks = nil, slices.Clone(s.Tasks)
			for i := range s.Tasks {
				s.Tasks[i].Spec = spec
			}
		}
		steps = append(steps, s)
	}
	for i := range steps {
		steps[i].Needs = slices.DeleteFunc(slices.Clone(steps[i].Needs), func(id string) bool { return gone[id] })
	}
	plan.Steps = steps
	return nil
}
