package coordinator

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"salvor/tasks"
)

// RestoreInput is what a restore's plan is made from.
type RestoreInput struct {
	Run     string
	Archive string // unresolved
	Set     string
	Dump    string
	// Root is the set that was dumped, from the dump's plan.
	Root tasks.Node
	// Config is the set that the user has now, nil where there is none: the nodes whose drivers run programs are taken
	// from it, see [Trusted].
	Config *tasks.Node
	// Nodes are the nodes to restore, by path. Where Driver or Source is empty it is the node's own.
	Nodes   map[string]tasks.RestoreNode
	OnError tasks.OnError // stop where empty
	// Overwrite, Mirror and InPlace are the rules for what is already there.
	Overwrite, Mirror, InPlace bool
	// Create and Clean are the rules for databases; Prove compares what was restored with the dump.
	Create, Clean, Prove bool
	Drivers              []tasks.Driver
}

// PlanRestore plans a restore. It is a pure function: equal inputs give equal plans.
//
// # Steps
//
// Each node that is restored has check:PATH, prepare:PATH → load:PATH, and finish:PATH. Nothing is prepared before every
// check is done, so that a target that is refused leaves all others untouched. A load step needs what its prepare step
// needs, which grows it; finish needs both. The order is that of [tasks.RestoreOrder]; nodes that are not restored
// take no part, but what is ordered through them stays ordered.
//
// A node that is restored elsewhere is not bound to its host, but to that of its target where one is given.
func PlanRestore(in RestoreInput) (tasks.Plan, error) {
	onError, err := policy(in.OnError)
	if err != nil {
		return tasks.Plan{}, err
	}
	err = required([2]string{"run", in.Run}, [2]string{"archive", in.Archive}, [2]string{"set", in.Set}, [2]string{"dump", in.Dump})
	if err != nil {
		return tasks.Plan{}, err
	}
	trusted := Trusted(&in.Root, in.Config, in.Drivers)
	root := withoutSecrets(&trusted)
	p := &restorePlanner{nodes: make(map[string]tasks.RestoreNode, len(in.Nodes))}
	if err := p.choose(in, &root); err != nil {
		return tasks.Plan{}, err
	}
	events, err := tasks.RestoreOrder(&root)
	if err != nil {
		return tasks.Plan{}, err
	}
	ordered, err := expand(events, p.place)
	if err != nil {
		return tasks.Plan{}, err
	}
	return tasks.Plan{
		Contract: tasks.Contract, Run: in.Run, Operation: tasks.OpRestore, Archive: in.Archive, Set: in.Set, Dump: in.Dump,
		OnError: onError, Root: root, Steps: append(p.checks, ordered...),
		Restore: &tasks.Restore{Nodes: p.nodes, Overwrite: in.Overwrite, Mirror: in.Mirror, InPlace: in.InPlace, Create: in.Create, Clean: in.Clean, Prove: in.Prove},
	}, nil
}

// restorePlanner places the steps of nodes.
type restorePlanner struct {
	nodes  map[string]tasks.RestoreNode
	checks []tasks.Step // and what joins them
	gate   []string     // the steps that stand for all checks
}

// choose takes the nodes to restore and makes their checks.
func (p *restorePlanner) choose(in RestoreInput, root *tasks.Node) error {
	var missing []string
	for path := range in.Nodes {
		missing = append(missing, path)
	}
	if len(missing) == 0 {
		return errors.New("plan restore: no node is chosen")
	}
	slices.Sort(missing)
	driver := driversByName(in.Drivers)
	for path, node := range root.Walk() {
		chosen, ok := in.Nodes[path]
		if !ok {
			continue
		}
		missing = slices.DeleteFunc(missing, func(s string) bool { return s == path })
		if node.Driver == "" {
			return fmt.Errorf("plan restore of %s: the node has no source of its own", path)
		}
		if chosen.Driver == "" {
			chosen.Driver = node.Driver
		}
		known, err := driver(path, chosen.Driver)
		if err != nil {
			return err
		}
		switch {
		case known.Executes && chosen.Elsewhere:
			node.Options = nil // they belong to the node's own programs
		case chosen.Elsewhere && len(known.PlaceKeys) > 0:
			if node.Options, err = withoutKeys(node.Options, known.PlaceKeys); err != nil {
				return fmt.Errorf("plan restore of %s: %w", path, err)
			}
		case known.Executes && (chosen.Driver != node.Driver || Unnamed(node)):
			return untrusted(path)
		case known.Executes:
			chosen.Source = node.Source
		case chosen.Source == "":
			chosen.Source = node.Source
		}
		if chosen.Host == "" && !chosen.Elsewhere {
			chosen.Host = node.Host
		}
		p.nodes[path] = chosen
		check := single(tasks.KindCheck, path, nil, p.route(path))
		p.checks, p.gate = append(p.checks, check), append(p.gate, check.ID)
	}
	if len(missing) > 0 {
		return fmt.Errorf("plan restore: %w %s", tasks.ErrUnknownNode, strings.Join(missing, ", "))
	}
	if len(p.gate) >= joinFrom {
		all := tasks.Step{ID: stepID(tasks.KindJoin, string(tasks.KindCheck)), Kind: tasks.KindJoin, Needs: p.gate}
		p.checks, p.gate = append(p.checks, all), []string{all.ID}
	}
	return nil
}

// withoutKeys returns options without some of them.
func withoutKeys(options json.RawMessage, keys []string) (json.RawMessage, error) {
	if len(options) == 0 {
		return options, nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(options, &all); err != nil {
		return nil, fmt.Errorf("decode options: %w", err)
	}
	for _, key := range keys {
		delete(all, key)
	}
	if len(all) == 0 {
		return nil, nil
	}
	return json.Marshal(all)
}

func (p *restorePlanner) route(path string) tasks.Route { return tasks.Route{Host: p.nodes[path].Host} }

// place adds the steps of an event; see expand.
func (p *restorePlanner) place(x *expansion, e tasks.Event, needs []string) ([]string, bool, error) {
	if _, chosen := p.nodes[e.Node]; e.Kind != tasks.EventWork || !chosen {
		return nil, false, nil
	}
	if len(needs) == 0 {
		// What comes before needs the checks already.
		needs = p.gate
	}
	prepare := single(tasks.KindPrepare, e.Node, needs, p.route(e.Node))
	load := tasks.Step{ID: stepID(tasks.KindLoad, e.Node), Kind: tasks.KindLoad, Node: e.Node, Needs: needs, Grower: prepare.ID}
	finish := single(tasks.KindFinish, e.Node, []string{prepare.ID, load.ID}, p.route(e.Node))
	x.add(prepare)
	x.add(load)
	x.add(finish)
	return []string{finish.ID}, true, nil
}
