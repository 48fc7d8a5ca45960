package coordinator

import (
	"fmt"
	"strings"

	"salvor/tasks"
)

// CaptureInput is what a capture's plan is made from.
type CaptureInput struct {
	Run     string
	Archive string // unresolved
	Set     string
	// Dump is the dump that is compared with; "" where another database is, or nothing.
	Dump string
	// Node is the node that is captured, with its source; its name is not used.
	Node    tasks.Node
	Capture tasks.Capture
	Drivers []tasks.Driver
}

// PlanCapture plans a capture. It is a pure function: equal inputs give equal plans.
//
// # Steps
//
// Where a dump is compared with, it is restored first: check:PATH, prepare:PATH → load:PATH, finish:PATH, as a restore does. Then
// observe:PATH opens the views and grows compare:PATH by a task for each table; it holds them until those are done and, with the
// views still open, finds what hangs on what they found. record:PATH needs both, and with observe the proof that the views
// lasted. What was made for the restored dump is removed by drop:PATH, whatever became of the rest.
func PlanCapture(in CaptureInput) (tasks.Plan, error) {
	c := in.Capture
	err := required([2]string{"run", in.Run}, [2]string{"archive", in.Archive}, [2]string{"set", in.Set}, [2]string{"node", c.Node}, [2]string{"name", c.Capture})
	if err != nil {
		return tasks.Plan{}, err
	}
	known, err := driversByName(in.Drivers)(c.Node, in.Node.Driver)
	if err != nil {
		return tasks.Plan{}, err
	}
	restores := c.Base != nil && c.Base.Scratch != ""
	if restores != (in.Dump != "") {
		return tasks.Plan{}, fmt.Errorf("plan capture of %s: a dump is restored into a place that is made for it, and nothing else is", c.Node)
	}
	if c.Base != nil {
		base := *c.Base
		if base.Options, err = withoutKeys(base.Options, known.PlaceKeys); err != nil {
			return tasks.Plan{}, fmt.Errorf("plan capture of %s: %w", c.Node, err)
		}
		c.Base = &base
	}
	p := tasks.Plan{
		Contract: tasks.Contract, Run: in.Run, Operation: tasks.OpCapture, Archive: in.Archive, Set: in.Set, Dump: in.Dump,
		// What was made for the dump is removed also where the capture fails.
		OnError: tasks.OnErrorContinue, Root: rootOf(c.Node, in.Node), Capture: &c,
	}
	var needs []string
	if restores {
		route := tasks.Route{Host: c.Base.Host}
		p.Restore = &tasks.Restore{
			Nodes:  map[string]tasks.RestoreNode{c.Node: {Driver: c.Base.Driver, Source: c.Base.Source, Host: c.Base.Host, Elsewhere: true}},
			Create: true,
		}
		check := single(tasks.KindCheck, c.Node, nil, route)
		prepare := single(tasks.KindPrepare, c.Node, []string{check.ID}, route)
		load := tasks.Step{ID: stepID(tasks.KindLoad, c.Node), Kind: tasks.KindLoad, Node: c.Node, Needs: prepare.Needs, Grower: prepare.ID}
		finish := single(tasks.KindFinish, c.Node, []string{prepare.ID, load.ID}, route)
		p.Steps = append(p.Steps, check, prepare, load, finish)
		needs = []string{finish.ID}
	}
	observe := single(tasks.KindObserve, c.Node, needs, tasks.Route{Hold: true, Host: in.Node.Host})
	compare := tasks.Step{
		ID: stepID(tasks.KindCompare, c.Node), Kind: tasks.KindCompare, Node: c.Node, Needs: needs, Grower: observe.ID, Holder: observe.ID,
	}
	// It writes to the archive alone, so any worker can do it.
	record := single(tasks.KindRecord, c.Node, []string{observe.ID, compare.ID}, tasks.Route{})
	p.Steps = append(p.Steps, observe, compare, record)
	if restores {
		drop := single(tasks.KindDrop, c.Node, []string{observe.ID}, tasks.Route{Host: c.Base.Host})
		drop.Tolerant = true
		p.Steps = append(p.Steps, drop)
	}
	return p, nil
}

// rootOf makes a set of one node at a path.
func rootOf(path string, node tasks.Node) tasks.Node {
	node.Children, node.After, node.Freeze = nil, nil, ""
	set := withoutSecrets(&node)
	names := strings.Split(path, "/")
	set.Name = names[len(names)-1]
	for i := len(names) - 2; i >= 0; i-- {
		set = tasks.Node{Name: names[i], Children: []tasks.Node{set}}
	}
	return set
}
