package tasks

import (
	"fmt"

	"salvor/internal/yamltree"
)

// Event is a moment in the work on a node; see [DumpOrder] and [RestoreOrder].
type Event struct {
	Kind EventKind
	// Node is the node's path; for EventFreeze and EventFrozen that of the group.
	Node string
	// Needs are the indices of the events that come before this one; all are smaller than its own.
	Needs []int
}

// EventKind is what happens at an event.
type EventKind string

// The kinds of events.
const (
	// EventStart: all that must be done before the node and everything below it is done.
	EventStart EventKind = "start"
	// EventWork: the node's own source was dumped or restored. Nodes with a driver have it.
	EventWork EventKind = "work"
	// EventEnd: the node and everything below it is done.
	EventEnd EventKind = "end"
	// EventPassed: the node and its siblings before it in a sequence are done.
	EventPassed EventKind = "passed"
	// EventFreeze: the views of a group are open. Members' work needs it, and nothing else.
	EventFreeze EventKind = "freeze"
	// EventFrozen: all that reads from the views of a group is done.
	EventFrozen EventKind = "frozen"
)

// DumpOrder returns what a dump of the set does, each event after all that it needs:
//
//   - the children of a node in their order: one after another, or (parallel) each when it can;
//   - a node's own source after its children;
//   - a node, and everything below it, after what its After names and everything below that;
//   - the members of a group (see [Together]) at one moment, after what any of them needs from outside the group;
//     inside it they wait for nothing, and everything else in the group starts when they are done.
//
// The needs are sparse: what follows from others is mostly left out. The error is a [*ConfigError] that shows every cycle.
func DumpOrder(root *Node, drivers []Driver) ([]Event, error) {
	groups, err := Together(root, drivers)
	if err != nil {
		return nil, err
	}
	return newOrder(root, groups, OpDump).events()
}

// RestoreOrder is [DumpOrder] for a restore of the whole set: sequences in reverse (unless their node's RestoreOrder is
// [RestoreSame]), a node's own source after its children, After the other way round, no groups.
func RestoreOrder(root *Node) ([]Event, error) {
	return newOrder(root, nil, OpRestore).events()
}

// order is the graph of a set's events.
type order struct {
	operation Operation
	nodes     []orderNode
	index     map[string]int // of nodes, by path
	vertices  []vertex
	conflicts []conflict
}

type orderNode struct {
	*Node
	path   string
	parent int // -1 for the root
	group  int // the vertex of its group's freeze, or -1
	member bool

	start, work, end, passed int // vertices; work is -1 for a node without a driver
}

type vertex struct {
	kind  EventKind
	node  int
	out   []edge
	needs int // the number of edges in
}

// edge says that its target waits for the vertex that holds it.
type edge struct {
	to    int
	why   why
	owner int // the node that an after stands at
	after int // the node that it names
	gone  bool
}

type why int

const (
	whyOneNode why = iota // both are events of one node, or of a group
	whyBelow              // one node is below the other
	whySequence
	whyAfter
	whyTogether
)

func newOrder(root *Node, groups []Group, operation Operation) *order {
	o := &order{operation: operation, index: make(map[string]int)}
	o.number(root, "", -1)
	for _, g := range groups {
		o.group(g)
	}
	for i := range o.nodes {
		n := &o.nodes[i]
		o.within(n)
		if len(n.Children) > 0 {
			o.children(i)
		}
		for _, name := range n.After {
			o.after(i, name)
		}
	}
	return o
}

// number gives the nodes and their events their indices.
func (o *order) number(n *Node, parentPath string, parent int) {
	i := len(o.nodes)
	node := orderNode{Node: n, path: JoinPath(parentPath, n.Name), parent: parent, group: -1, work: -1}
	node.start = o.vertex(EventStart, i)
	if n.Driver != "" {
		node.work = o.vertex(EventWork, i)
	}
	node.end = o.vertex(EventEnd, i)
	node.passed = o.vertex(EventPassed, i)
	o.nodes = append(o.nodes, node)
	if _, ok := o.index[node.path]; ok {
		o.conflicts = append(o.conflicts, conflict{node: node.path, key: "name", message: fmt.Sprintf("two nodes are named %q", node.path)})
	}
	o.index[node.path] = i
	for c := range n.Children {
		o.number(&n.Children[c], node.path, i)
	}
}

func (o *order) vertex(kind EventKind, node int) int {
	o.vertices = append(o.vertices, vertex{kind: kind, node: node})
	return len(o.vertices) - 1
}

func (o *order) edge(from, to int, w why) { o.add(from, edge{to: to, why: w}) }

func (o *order) add(from int, e edge) {
	o.vertices[from].out = append(o.vertices[from].out, e)
	o.vertices[e.to].needs++
}

// group adds the events of a group: freeze → the members' work → frozen.
func (o *order) group(g Group) {
	root := o.index[g.Node]
	freeze, frozen := o.vertex(EventFreeze, root), o.vertex(EventFrozen, root)
	o.edge(o.nodes[root].start, freeze, whyOneNode)
	for i := root; i < len(o.nodes) && IsWithin(o.nodes[i].path, g.Node); i++ {
		o.nodes[i].group = freeze
	}
	for _, path := range g.Members {
		m := &o.nodes[o.index[path]]
		m.member = true
		o.edge(freeze, m.work, whyTogether)
		o.edge(m.work, frozen, whyTogether)
	}
}

// within adds the edges between a node's own events and its children's.
func (o *order) within(n *orderNode) {
	o.edge(n.end, n.passed, whyOneNode)
	if n.work >= 0 {
		o.edge(n.work, n.end, whyOneNode)
	}
	if n.work < 0 && len(n.Children) == 0 {
		o.edge(n.start, n.end, whyOneNode)
	}
	if n.work < 0 || n.member {
		return
	}
	if n.group >= 0 {
		o.edge(n.group+1, n.work, whyTogether)
	}
	if len(n.Children) == 0 || n.group >= 0 {
		o.edge(n.start, n.work, whyOneNode)
	}
}

// children adds the edges between a node's children, and between them and the node.
func (o *order) children(parent int) {
	p := &o.nodes[parent]
	kids := o.childrenOf(parent)
	if o.operation == OpRestore && p.RestoreOrder != RestoreSame {
		for i, j := 0, len(kids)-1; i < j; i, j = i+1, j-1 {
			kids[i], kids[j] = kids[j], kids[i]
		}
	}
	sequence := p.Order != OrderParallel
	// In a group the end of a sibling does not imply the ends of those before it, as members do not wait for their turn.
	grouped := p.group >= 0
	for i, k := range kids {
		kid := &o.nodes[k]
		first := !sequence || i == 0
		if first || grouped {
			o.edge(p.start, kid.start, whyBelow)
		}
		if !first {
			before := o.nodes[kids[i-1]].passed
			o.edge(before, kid.start, whySequence)
			if grouped {
				o.edge(before, kid.passed, whySequence)
			}
		}
		if sequence && !grouped && i < len(kids)-1 {
			continue
		}
		if p.work >= 0 && !p.member {
			o.edge(kid.end, p.work, whyBelow)
		}
		if p.work < 0 || grouped {
			o.edge(kid.end, p.end, whyBelow)
		}
	}
}

// childrenOf returns the indices of a node's children.
func (o *order) childrenOf(parent int) []int {
	kids := make([]int, 0, len(o.nodes[parent].Children))
	for i := parent + 1; i < len(o.nodes) && len(kids) < cap(kids); i++ {
		if o.nodes[i].parent == parent {
			kids = append(kids, i)
		}
	}
	return kids
}

// after adds the edges of one entry of a node's After.
func (o *order) after(i int, name string) {
	n := &o.nodes[i]
	other, ok := o.index[name]
	if !ok {
		o.conflicts = append(o.conflicts, conflict{
			node: n.path, key: "after", after: name, message: fmt.Sprintf("after names %q, which does not exist", name),
		})
		return
	}
	e := edge{why: whyAfter, owner: i, after: other}
	if o.operation == OpRestore {
		e.to = o.nodes[other].start
		o.add(n.end, e)
		return
	}
	x := &o.nodes[other]
	e.to = n.start
	o.add(x.end, e)
	// A group's views wait for what any member needs from outside: members at or below this node do.
	if n.group < 0 || x.group == n.group {
		return
	}
	for j := i; j < len(o.nodes) && IsWithin(o.nodes[j].path, n.path); j++ {
		if o.nodes[j].member {
			e.to = n.group
			o.add(x.end, e)
			return
		}
	}
}

// events returns the graph in an order that respects it.
func (o *order) events() ([]Event, error) {
	conflicts := o.check()
	if len(conflicts) > 0 {
		var found yamltree.Problems
		for _, c := range conflicts {
			found.Add(yamltree.Position{}, c.node, c.hint, "%s", c.message)
		}
		return nil, found.Err("")
	}
	sorted := o.sort()
	at := make([]int, len(o.vertices))
	events := make([]Event, len(sorted))
	for i, v := range sorted {
		at[v] = i
		events[i] = Event{Kind: o.vertices[v].kind, Node: o.nodes[o.vertices[v].node].path}
	}
	for _, v := range sorted {
		for _, e := range o.vertices[v].out {
			events[at[e.to]].Needs = append(events[at[e.to]].Needs, at[v])
		}
	}
	return events, nil
}
