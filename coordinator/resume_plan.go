package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"salvor/archive"
	"salvor/tasks"
)

// rest takes out of a dump's plan what is done: of a sealed node only its seal stays, which answers for it. The nodes that are
// to be dumped again are returned too: they lose the manifests they have. It changes nothing.
func (c *Coordinator) rest(ctx context.Context, a *archive.Archive, plan tasks.Plan) (tasks.Plan, []string, error) {
	sealed := make(map[string]bool)
	for _, s := range plan.Steps {
		if s.Kind != tasks.KindSeal {
			continue
		}
		_, ok, err := a.Sealed(ctx, archive.Ref{Set: plan.Set, Dump: plan.Dump}, s.Node)
		if err != nil {
			return plan, nil, fmt.Errorf("look for what is sealed: %w", err)
		}
		sealed[s.Node] = ok
	}
	if err := unseal(&plan, sealed); err != nil {
		return plan, nil, err
	}
	var again []string
	for node, ok := range sealed {
		if !ok {
			again = append(again, node)
		}
	}
	return plan, again, withoutSealed(&plan, sealed)
}

// unseal takes back seals that do not fit the rest: what comes after a node that is dumped again is dumped again too, or the
// order of the set would not hold; and so are all members of a group that is frozen together unless all are sealed, for
// their views are of one moment.
func unseal(plan *tasks.Plan, sealed map[string]bool) error {
	groups, err := groupsOf(plan)
	if err != nil {
		return err
	}
	for changed := true; changed; {
		changed = false
		take := func(node string) {
			if sealed[node] {
				sealed[node], changed = false, true
			}
		}
		for _, group := range groups {
			if slices.ContainsFunc(group, func(n string) bool { return !sealed[n] }) {
				for _, n := range group {
					take(n)
				}
			}
		}
		for _, node := range behindUnsealed(plan, sealed) {
			take(node)
		}
	}
	return nil
}

// groupsOf returns the nodes that each freeze step opens.
func groupsOf(plan *tasks.Plan) ([][]string, error) {
	var groups [][]string
	for _, s := range plan.Steps {
		if s.Kind != tasks.KindFreeze {
			continue
		}
		nodes, err := frozenBy(s)
		if err != nil {
			return nil, err
		}
		groups = append(groups, nodes)
	}
	return groups, nil
}

// behindUnsealed returns the nodes that are frozen only after one that is not sealed.
func behindUnsealed(plan *tasks.Plan, sealed map[string]bool) []string {
	steps := make(map[string]*tasks.Step, len(plan.Steps))
	for i := range plan.Steps {
		steps[plan.Steps[i].ID] = &plan.Steps[i]
	}
	known := make(map[string]bool, len(steps))
	var behind func(s *tasks.Step) bool
	behind = func(s *tasks.Step) bool {
		if b, ok := known[s.ID]; ok {
			return b
		}
		known[s.ID] = false // a plan has no cycles; one that was forged ends all the same
		b := slices.ContainsFunc(s.Needs, func(id string) bool {
			need, ok := steps[id]
			return ok && (need.Kind == tasks.KindSeal && !sealed[need.Node] || behind(need))
		})
		known[s.ID] = b
		return b
	}
	var nodes []string
	for i := range plan.Steps {
		if s := &plan.Steps[i]; s.Kind == tasks.KindPart && behind(s) {
			nodes = append(nodes, s.Node)
		}
	}
	return nodes
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

// restoredBefore returns the nodes that earlier lives of a restore have restored, as the archive was told.
func restoredBefore(ctx context.Context, a *archive.Archive, plan tasks.Plan) (map[string]bool, error) {
	restored := make(map[string]bool)
	for node := range plan.Restore.Nodes {
		_, ok, err := a.Restored(ctx, plan.Run, node)
		if err != nil {
			return nil, fmt.Errorf("look for what is restored: %w", err)
		}
		restored[node] = ok
	}
	return restored, nil
}

// withoutRestored takes out of a restore's plan what is done: of a node that is restored its check stays, which says where it
// is, and its finish, which answers for it. Its users may have written to it since: nothing else looks at it.
func withoutRestored(plan *tasks.Plan, restored map[string]bool) error {
	spec, err := json.Marshal(tasks.RestoredSpec{Restored: true})
	if err != nil {
		return fmt.Errorf("encode restored node: %w", err)
	}
	gone := make(map[string]bool)
	var steps []tasks.Step
	for _, s := range plan.Steps {
		if restored[s.Node] {
			switch s.Kind {
			case tasks.KindPrepare, tasks.KindLoad:
				gone[s.ID] = true
				continue
			case tasks.KindCheck, tasks.KindFinish:
				s.Tasks = slices.Clone(s.Tasks)
				for i := range s.Tasks {
					s.Tasks[i].Spec = spec
				}
			default:
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
