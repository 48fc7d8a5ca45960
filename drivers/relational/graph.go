package relational

import (
	"slices"
)

// Graph is the tables of a model by the edges between them. It is a pure function of the model: equal models have equal graphs.
type Graph struct {
	// Components are the sets of tables that lead to each other in cycles, most of them of one table, in an order in which no
	// component refers to a later one. Within one the tables are sorted by name.
	Components [][]*Table
	// Levels are the components that can be written at the same time: each refers only to earlier levels and to itself.
	Levels [][][]*Table

	component map[Name]int // table → place in Components
	level     []int        // place in Components → level
}

// NewGraph finds the components and levels of tables by their declared foreign keys and by extra edges, keyed by the child's
// name. Edges to tables that the model lacks are passed over.
func NewGraph(m *Model, extra map[Name][]Edge) *Graph {
	place := make(map[Name]int, len(m.Tables))
	for i, t := range m.Tables {
		place[t.Name] = i
	}
	parents := make([][]int, len(m.Tables))
	for i, t := range m.Tables {
		for _, list := range [][]Edge{t.Foreign, extra[t.Name]} {
			for _, e := range list {
				if p, ok := place[e.Parent]; ok {
					parents[i] = append(parents[i], p)
				}
			}
		}
		slices.Sort(parents[i])
		parents[i] = slices.Compact(parents[i])
	}
	g := &Graph{component: make(map[Name]int, len(m.Tables))}
	// Tarjan's algorithm finds a component after all those that it leads to, which is the order that is wanted.
	for _, members := range components(parents) {
		slices.Sort(members)
		tables := make([]*Table, len(members))
		level := 0
		for i, member := range members {
			tables[i] = m.Tables[member]
			g.component[tables[i].Name] = len(g.Components)
		}
		for _, member := range members {
			for _, p := range parents[member] {
				if c := g.component[m.Tables[p].Name]; c != len(g.Components) {
					level = max(level, g.level[c]+1)
				}
			}
		}
		g.Components = append(g.Components, tables)
		g.level = append(g.level, level)
		for len(g.Levels) <= level {
			g.Levels = append(g.Levels, nil)
		}
		g.Levels[level] = append(g.Levels[level], tables)
	}
	for _, l := range g.Levels {
		slices.SortFunc(l, func(a, b []*Table) int { return a[0].Name.Compare(b[0].Name) })
	}
	return g
}

// Level returns that of a table; -1 for one that the graph lacks.
func (g *Graph) Level(table Name) int {
	c, ok := g.component[table]
	if !ok {
		return -1
	}
	return g.level[c]
}

// SameComponent tells whether two tables lead to each other. A table does to itself.
func (g *Graph) SameComponent(a, b Name) bool {
	ca, okA := g.component[a]
	cb, okB := g.component[b]
	return okA && okB && ca == cb
}

// components are the strongly connected ones of a graph, each after those that it leads to. It does not recurse: a chain of
// tables may be long.
func components(next [][]int) [][]int {
	const unseen = -1
	n := len(next)
	index, low := make([]int, n), make([]int, n)
	onStack := make([]bool, n)
	for i := range index {
		index[i] = unseen
	}
	type frame struct{ node, edge int }
	var found [][]int
	var stack []int
	var calls []frame
	counter := 0
	enter := func(node int) {
		index[node], low[node] = counter, counter
		counter++
		stack = append(stack, node)
		onStack[node] = true
		calls = append(calls, frame{node: node})
	}
	for root := range n {
		if index[root] != unseen {
			continue
		}
		enter(root)
		for len(calls) > 0 {
			top := &calls[len(calls)-1]
			if top.edge < len(next[top.node]) {
				to := next[top.node][top.edge]
				top.edge++
				switch {
				case index[to] == unseen:
					enter(to)
				case onStack[to]:
					low[top.node] = min(low[top.node], index[to])
				}
				continue
			}
			node := top.node
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				caller := calls[len(calls)-1].node
				low[caller] = min(low[caller], low[node])
			}
			if low[node] != index[node] {
				continue
			}
			at := slices.Index(stack, node)
			members := slices.Clone(stack[at:])
			stack = stack[:at]
			for _, m := range members {
				onStack[m] = false
			}
			found = append(found, members)
		}
	}
	return found
}
