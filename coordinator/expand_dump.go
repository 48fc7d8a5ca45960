package coordinator

import (
	"fmt"
	"maps"

	"salvor/tasks"
)

const (
	defaultViews = 2
	viewsGate    = "views"
	// togetherSuffix makes the id of a group's freeze differ from that of its node's own: no path holds a #.
	togetherSuffix = "#together"
)

// DumpInput is what a dump's plan is made from.
type DumpInput struct {
	Run     string
	Archive string // unresolved
	Dump    string
	Base    string // the dump that this one builds on; "" for none
	Set     tasks.BackupSet
	Drivers []tasks.Driver
	OnError tasks.OnError // stop where empty
	// Views is how many nodes may be between freeze and seal at once; 0 means 2.
	Views int
}

// PlanDump plans a dump. It is a pure function: equal inputs give equal plans.
//
// # Steps
//
// Each node with a driver has freeze:PATH → part:PATH → seal:PATH; at the end of all comes commit. What holds a view holds
// it while its part step is worked on, so a part step does not need its freeze step, but what that needs; seal needs
// both, and with the freeze step the proof that the view lasted. The order is that of [tasks.DumpOrder].
//
// The members of a group share one step freeze:PATH#together, PATH being the group's. It counts as one at the gate and
// leaves it when it ends, as all its views end then.
//
// The error is a [*tasks.ConfigError] for sets that [tasks.Parse] would not return.
func PlanDump(in DumpInput) (tasks.Plan, error) {
	onError, err := policy(in.OnError)
	if err != nil {
		return tasks.Plan{}, err
	}
	if err := required([2]string{"run", in.Run}, [2]string{"archive", in.Archive}, [2]string{"dump", in.Dump}); err != nil {
		return tasks.Plan{}, err
	}
	if in.Views < 0 {
		return tasks.Plan{}, fmt.Errorf("plan dump: %d views", in.Views)
	}
	if in.Views == 0 {
		in.Views = defaultViews
	}
	root := withoutSecrets(&in.Set.Set)
	groups, err := tasks.Together(&root, in.Drivers)
	if err != nil {
		return tasks.Plan{}, err
	}
	events, err := tasks.DumpOrder(&root, in.Drivers)
	if err != nil {
		return tasks.Plan{}, err
	}
	p := newDumpPlanner(in, &root, groups)
	steps, err := expand(events, p.place)
	if err != nil {
		return tasks.Plan{}, err
	}
	if len(p.seals) == 0 {
		return tasks.Plan{}, fmt.Errorf("plan dump of %s: no node has a driver", root.Name)
	}
	commit := tasks.Step{
		ID: string(tasks.KindCommit), Kind: tasks.KindCommit, Needs: p.seals, Tolerant: onError == tasks.OnErrorContinue,
		Tasks: []tasks.Task{{ID: string(tasks.KindCommit), Kind: tasks.KindCommit}},
	}
	return tasks.Plan{
		Contract: tasks.Contract, Run: in.Run, Operation: tasks.OpDump, Archive: in.Archive, Set: root.Name,
		Dump: in.Dump, Base: in.Base, OnError: onError, Root: root, Steps: append(steps, commit),
	}, nil
}

// dumpPlanner places the steps of nodes.
type dumpPlanner struct {
	views  int
	driver func(node, name string) (tasks.Driver, error)
	nodes  map[string]*tasks.Node
	groups map[string]tasks.Group // by the group's node
	member map[string]string      // the group's node, by the member's
	frozen map[string][]string    // what a group's freeze needs, by the group's node
	seals  []string
}

func newDumpPlanner(in DumpInput, root *tasks.Node, groups []tasks.Group) *dumpPlanner {
	p := &dumpPlanner{
		views: in.Views, driver: driversByName(in.Drivers), nodes: make(map[string]*tasks.Node),
		groups: make(map[string]tasks.Group), member: make(map[string]string), frozen: make(map[string][]string),
	}
	maps.Insert(p.nodes, root.Walk())
	for _, g := range groups {
		p.groups[g.Node] = g
		for _, m := range g.Members {
			p.member[m] = g.Node
		}
	}
	return p
}

// place adds the steps of an event; see expand.
func (p *dumpPlanner) place(x *expansion, e tasks.Event, needs []string) ([]string, bool, error) {
	switch e.Kind {
	case tasks.EventFreeze:
		p.frozen[e.Node] = needs
		freeze, err := p.freezeGroup(p.groups[e.Node], needs)
		if err != nil {
			return nil, false, err
		}
		x.add(freeze)
		return []string{freeze.ID}, true, nil
	case tasks.EventWork:
		if group, ok := p.member[e.Node]; ok {
			return p.placeMember(x, e.Node, group), true, nil
		}
		ends, err := p.placeNode(x, e.Node, needs)
		return ends, true, err
	default:
		return nil, false, nil
	}
}

// freezeGroup returns the step that opens all views of a group.
func (p *dumpPlanner) freezeGroup(g tasks.Group, needs []string) (tasks.Step, error) {
	freeze := single(tasks.KindFreeze, g.Node+togetherSuffix, needs, tasks.Route{Hold: true, Host: g.Host})
	spec, err := freezeSpec(g.Members...)
	if err != nil {
		return freeze, err
	}
	freeze.Node, freeze.Tasks[0].Node, freeze.Tasks[0].Spec = g.Node, g.Node, spec
	freeze.Gate = &tasks.Gate{Name: viewsGate, Limit: p.views, Until: freeze.ID}
	return freeze, nil
}

// placeMember adds the steps of a node whose view its group's freeze opens.
func (p *dumpPlanner) placeMember(x *expansion, path, group string) []string {
	freeze := stepID(tasks.KindFreeze, group+togetherSuffix)
	x.add(tasks.Step{
		ID: stepID(tasks.KindPart, path), Kind: tasks.KindPart, Node: path, Needs: p.frozen[group], Grower: freeze, Holder: freeze,
	})
	return p.seal(x, path, freeze)
}

// placeNode adds the steps of a node that is frozen by itself.
func (p *dumpPlanner) placeNode(x *expansion, path string, needs []string) ([]string, error) {
	node := p.nodes[path]
	driver, err := p.driver(path, node.Driver)
	if err != nil {
		return nil, err
	}
	freeze := single(tasks.KindFreeze, path, needs, tasks.Route{Hold: driver.Holds, Host: node.Host})
	if freeze.Tasks[0].Spec, err = freezeSpec(path); err != nil {
		return nil, err
	}
	freeze.Gate = &tasks.Gate{Name: viewsGate, Limit: p.views, Until: stepID(tasks.KindSeal, path)}
	part := tasks.Step{ID: stepID(tasks.KindPart, path), Kind: tasks.KindPart, Node: path, Needs: needs, Grower: freeze.ID}
	if driver.Holds {
		part.Holder = freeze.ID
	}
	x.add(freeze)
	x.add(part)
	return p.seal(x, path, freeze.ID), nil
}

// seal adds the step that ends a node.
func (p *dumpPlanner) seal(x *expansion, path, freeze string) []string {
	// A seal writes to the archive alone, so any worker can do it.
	seal := single(tasks.KindSeal, path, []string{freeze, stepID(tasks.KindPart, path)}, tasks.Route{})
	x.add(seal)
	p.seals = append(p.seals, seal.ID)
	return []string{seal.ID}
}
