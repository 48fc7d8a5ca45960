package tasks

import (
	"fmt"
	"slices"
	"strings"

	"salvor/internal/yamltree"
)

// Group is the nodes whose views one freeze task opens at one moment.
type Group struct {
	// Node is the path of the node that says freeze: together. If groups are nested it is the outermost.
	Node string
	// Members are the paths of the nodes at and below it whose drivers hold views, in the order of the set; at least one.
	Members []string
	// Host is the host that all members need; "" for any.
	Host string
}

// Together returns the groups of a set, in its order. The error is a [*ConfigError] that names every group whose members
// need different hosts: one worker opens all views of a group, so it has to reach them all.
func Together(root *Node, drivers []Driver) ([]Group, error) {
	groups, conflicts := together(root, drivers)
	var found yamltree.Problems
	for _, c := range conflicts {
		found.Add(yamltree.Position{}, c.node, c.hint, "%s", c.message)
	}
	return groups, found.Err("")
}

// conflict is a problem of a node in the set's order, before it is known where the node stands in a file.
type conflict struct {
	node    string // its path
	key     string // the key at fault
	after   string // the entry of after at fault, a full path; "" for another key
	message string
	hint    string
}

func together(root *Node, drivers []Driver) ([]Group, []conflict) {
	var (
		groups    []Group
		conflicts []conflict
		hosts     [][]string // of the members of the last group
	)
	for path, node := range root.Walk() {
		in := len(groups) > 0 && IsWithin(path, groups[len(groups)-1].Node)
		if !in && node.Freeze == FreezeTogether {
			groups, hosts = append(groups, Group{Node: path}), append(hosts, nil)
			in = true
		}
		if d, ok := driverOf(node.Driver, drivers); !in || !ok || !d.Holds {
			continue
		}
		last := len(groups) - 1
		groups[last].Members = append(groups[last].Members, path)
		if node.Host == "" {
			continue
		}
		if groups[last].Host == "" {
			groups[last].Host = node.Host
		}
		hosts[last] = append(hosts[last], fmt.Sprintf("%s on %s", path, node.Host))
		if node.Host != groups[last].Host {
			hosts[last] = append(hosts[last], "")
		}
	}
	for i, names := range hosts {
		if !slices.Contains(names, "") {
			continue
		}
		names = slices.DeleteFunc(names, func(s string) bool { return s == "" })
		conflicts = append(conflicts, conflict{
			node: groups[i].Node, key: "freeze",
			message: fmt.Sprintf("views that are opened together need one host, but %s", listed(names)),
			hint:    "let one host reach all of them, or freeze them apart",
		})
	}
	return slices.DeleteFunc(groups, func(g Group) bool { return len(g.Members) == 0 }), conflicts
}

// driverOf returns the driver of that name.
func driverOf(name string, drivers []Driver) (Driver, bool) {
	i := slices.IndexFunc(drivers, func(d Driver) bool { return d.Name == name })
	if i < 0 {
		return Driver{}, false
	}
	return drivers[i], true
}

// driverNames returns the names of all drivers, sorted and joined.
func driverNames(drivers []Driver) string {
	names := make([]string, len(drivers))
	for i, d := range drivers {
		names[i] = d.Name
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
