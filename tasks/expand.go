package tasks

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Expanding returns a copy of a set in which only nodes that stand for many places (all databases of a server) have drivers,
// and whether there is one. What such a node stands for is asked before a dump is planned, and takes its place: see
// [Node.Expand].
func (n *Node) Expanding(drivers []Driver) (set Node, some bool) {
	set = n.Clone()
	for _, node := range set.Walk() {
		d, ok := driverOf(node.Driver, drivers)
		var options map[string]json.RawMessage
		if ok && d.Many != "" && json.Unmarshal(node.Options, &options) == nil && options[d.Many] != nil {
			some = true
			continue
		}
		node.place(Node{})
	}
	return set, some
}

// Expand returns a copy of a set in which the nodes of these paths have a child for each of their places in the place of a
// driver. It is a pure function.
func (n *Node) Expand(places map[string][]Place) Node {
	set := n.Clone()
	var nodes []*Node
	var paths []string
	for path, node := range set.Walk() {
		if len(places[path]) > 0 {
			nodes, paths = append(nodes, node), append(paths, path)
		}
	}
	for i, node := range slices.Backward(nodes) { // what is below first: a node's children move when they become more
		node.expand(places[paths[i]])
	}
	return set
}

func (n *Node) expand(places []Place) {
	folded := make(map[string]int)
	for _, p := range places {
		folded[strings.ToLower(p.Name)]++
	}
	for _, p := range places {
		child := Node{Name: placeName(p.Name, folded[strings.ToLower(p.Name)] > 1)}
		child.place(*n)
		child.Options = p.Options
		n.Children = append(n.Children, child)
	}
	n.place(Node{})
	n.Order = cmp.Or(n.Order, OrderParallel)
}

// place makes a node's driver, and all that says where its data is and how it is read, another one's.
func (n *Node) place(of Node) {
	n.Driver, n.Source, n.Literal, n.Options, n.Host, n.Limit = of.Driver, of.Source, of.Literal, of.Options, of.Host, of.Limit
}

// placeName makes a node's name of what a place calls itself: what a name cannot hold is percent-encoded, and so are the
// capital letters where only they tell it from another's: archives may be stored where case makes no difference.
func placeName(name string, onlyCase bool) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		capital := c >= 'A' && c <= 'Z'
		if c >= 'a' && c <= 'z' || capital && !onlyCase || c >= '0' && c <= '9' || i > 0 && (c == '_' || c == '-') {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
