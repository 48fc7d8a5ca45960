package coordinator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"salvor/tasks"
)

// joinFrom is the number of steps from which on they are joined (see [tasks.KindJoin]) where several others need all of
// them.
const joinFrom = 16

// expansion turns the order of a set's events into steps.
type expansion struct {
	steps []tasks.Step
	// leads are, by event, the steps that must be done for the event to have happened.
	leads [][]string
}

// expand walks the events. For one that work is done for, place adds its steps with what they need, and returns the steps
// that end it; for one that is only a moment in between it returns false.
func expand(events []tasks.Event, place func(x *expansion, e tasks.Event, needs []string) ([]string, bool, error)) ([]tasks.Step, error) {
	x := &expansion{leads: make([][]string, len(events))}
	followers := make([]int, len(events))
	for _, e := range events {
		for _, need := range e.Needs {
			followers[need]++
		}
	}
	for i, e := range events {
		needs := x.union(e.Needs)
		ends, work, err := place(x, e, needs)
		if err != nil {
			return nil, err
		}
		if !work {
			ends = needs
			if len(needs) >= joinFrom && followers[i] > 1 {
				ends = []string{x.join(fmt.Sprintf("%s:%s", e.Kind, e.Node), needs)}
			}
		}
		x.leads[i] = ends
	}
	return x.steps, nil
}

// union returns the steps that end any of the events, each once. The result may be shared and is not to be changed.
func (x *expansion) union(events []int) []string {
	if len(events) == 1 {
		return x.leads[events[0]]
	}
	var steps []string
	seen := make(map[string]bool)
	for _, e := range events {
		for _, step := range x.leads[e] {
			if !seen[step] {
				seen[step] = true
				steps = append(steps, step)
			}
		}
	}
	return steps
}

func (x *expansion) add(s tasks.Step) { x.steps = append(x.steps, s) }

// join adds a step that stands for many.
func (x *expansion) join(name string, needs []string) string {
	id := stepID(tasks.KindJoin, name)
	x.add(tasks.Step{ID: id, Kind: tasks.KindJoin, Needs: needs})
	return id
}

// stepID returns the id of a node's step, and of its one task where it has one: a pure function of the set.
func stepID(kind tasks.Kind, node string) string { return string(kind) + ":" + node }

// single returns a step of one task that has the step's id.
func single(kind tasks.Kind, node string, needs []string, route tasks.Route) tasks.Step {
	id := stepID(kind, node)
	return tasks.Step{
		ID: id, Kind: kind, Node: node, Needs: needs,
		Tasks: []tasks.Task{{ID: id, Kind: kind, Node: node, Route: route}},
	}
}

// driversByName returns the drivers that a set's nodes name, or an error that names what is not there.
func driversByName(drivers []tasks.Driver) func(node, name string) (tasks.Driver, error) {
	byName := make(map[string]tasks.Driver, len(drivers))
	names := make([]string, 0, len(drivers))
	for _, d := range drivers {
		byName[d.Name] = d
		names = append(names, d.Name)
	}
	slices.Sort(names)
	return func(node, name string) (tasks.Driver, error) {
		d, ok := byName[name]
		if !ok {
			return d, fmt.Errorf("plan node %s: unknown driver %q (have %s)", node, name, strings.Join(names, ", "))
		}
		return d, nil
	}
}

// policy returns what a run does after a failure, stop where nothing is said.
func policy(p tasks.OnError) (tasks.OnError, error) {
	switch p {
	case "":
		return tasks.OnErrorStop, nil
	case tasks.OnErrorStop, tasks.OnErrorContinue:
		return p, nil
	default:
		return "", fmt.Errorf("plan: unknown policy %q (have %s, %s)", p, tasks.OnErrorContinue, tasks.OnErrorStop)
	}
}

// required returns an error for the first of the named texts that is empty.
func required(texts ...[2]string) error {
	for _, t := range texts {
		if t[1] == "" {
			return fmt.Errorf("plan: no %s is given", t[0])
		}
	}
	return nil
}

// withoutSecrets returns a copy of a set that can be stored.
func withoutSecrets(root *tasks.Node) tasks.Node {
	clone := root.Clone()
	for _, n := range clone.Walk() {
		n.Literal = tasks.Node{}.Literal
	}
	return clone
}

// freezeSpec encodes what a freeze task is told.
func freezeSpec(nodes ...string) (json.RawMessage, error) {
	spec := tasks.FreezeSpec{Nodes: make([]tasks.FreezeNode, len(nodes))}
	for i, n := range nodes {
		spec.Nodes[i] = tasks.FreezeNode{Node: n, Step: stepID(tasks.KindPart, n)}
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encode freeze spec: %w", err)
	}
	return data, nil
}
