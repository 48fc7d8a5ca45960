package relational_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"salvor/drivers/relational"
)

func name(n int) relational.Name { return relational.Name{Schema: "s", Name: fmt.Sprintf("t%03d", n)} }

// model has a table for each list of parents.
func model(parents [][]int) *relational.Model {
	m := &relational.Model{}
	for i, list := range parents {
		t := &relational.Table{Name: name(i), Columns: []relational.Column{{Name: "id", Type: relational.TypeInt}}}
		t.Primary = &relational.Key{Name: "pk", Columns: []string{"id"}, Order: []relational.Order{relational.OrderInt}}
		for n, p := range list {
			t.Foreign = append(t.Foreign, relational.Edge{
				Name: fmt.Sprintf("fk%03d", n), Columns: []string{"id"}, Parent: name(p), ParentColumns: []string{"id"},
			})
		}
		m.Tables = append(m.Tables, t)
	}
	m.Sort()
	return m
}

func TestGraph(t *testing.T) {
	t.Parallel()
	// 0 and 1 refer to each other; 2 to itself and 1; 3 to 2 and 0; 4 to nothing.
	m := model([][]int{{1}, {0}, {2, 1}, {2, 0}, nil})
	g := relational.NewGraph(m, nil)
	var levels [][]string
	for _, level := range g.Levels {
		var names []string
		for _, component := range level {
			for _, table := range component {
				names = append(names, table.Name.Name)
			}
			names = append(names, "|")
		}
		levels = append(levels, names)
	}
	want := [][]string{{"t000", "t001", "|", "t004", "|"}, {"t002", "|"}, {"t003", "|"}}
	if diff := cmp.Diff(want, levels); diff != "" {
		t.Errorf("levels (-want +got):\n%s", diff)
	}
	if !g.SameComponent(name(0), name(1)) || g.SameComponent(name(1), name(2)) || g.SameComponent(name(9), name(9)) {
		t.Error("SameComponent is wrong")
	}
	if g.Level(name(9)) != -1 {
		t.Errorf("an unknown table has level %d", g.Level(name(9)))
	}
}

func TestGraphTakesEdgesOfTheConfiguration(t *testing.T) {
	t.Parallel()
	m := model([][]int{nil, {0}})
	back := relational.Edge{Kind: relational.EdgeColumn, Name: "back", Columns: []string{"id"}, Parent: name(1), ParentColumns: []string{"id"}}
	gone := relational.Edge{Kind: relational.EdgeColumn, Name: "gone", Columns: []string{"id"}, Parent: name(7), ParentColumns: []string{"id"}}
	g := relational.NewGraph(m, map[relational.Name][]relational.Edge{name(0): {back, gone}})
	if !g.SameComponent(name(0), name(1)) {
		t.Error("the edge is not in the graph")
	}
}

// TestGraphProperties: every table is in one component; two tables share one if and only if each reaches the other; an edge
// between components leads to a lower level.
func TestGraphProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 14).Draw(t, "tables")
		parents := make([][]int, n)
		for i := range parents {
			parents[i] = rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 3).Draw(t, "parents")
		}
		m := model(parents)
		g := relational.NewGraph(m, nil)
		reach := make([][]bool, n)
		for i := range reach {
			reach[i] = make([]bool, n)
			todo := []int{i}
			for len(todo) > 0 {
				at := todo[0]
				todo = todo[1:]
				if reach[i][at] {
					continue
				}
				reach[i][at] = true
				todo = append(todo, parents[at]...)
			}
		}
		count := 0
		for _, component := range g.Components {
			count += len(component)
		}
		if count != n {
			t.Fatalf("%d tables in components, of %d", count, n)
		}
		for a := range n {
			for b := range n {
				if same := reach[a][b] && reach[b][a]; g.SameComponent(name(a), name(b)) != same {
					t.Fatalf("%d and %d: same component %v", a, b, !same)
				}
			}
			for _, p := range parents[a] {
				if !g.SameComponent(name(a), name(p)) && g.Level(name(p)) >= g.Level(name(a)) {
					t.Fatalf("%d at level %d refers to %d at level %d", a, g.Level(name(a)), p, g.Level(name(p)))
				}
			}
			if level := g.Level(name(a)); !slices.ContainsFunc(g.Levels[level], func(c []*relational.Table) bool { return slices.Contains(c, m.Table(name(a))) }) {
				t.Fatalf("%d is not in its level", a)
			}
		}
	})
}

func TestGraphOfALongChain(t *testing.T) {
	t.Parallel()
	const n = 900 // as name has three digits
	parents := make([][]int, n)
	for i := 1; i < n; i++ {
		parents[i] = []int{i - 1}
	}
	if g := relational.NewGraph(model(parents), nil); len(g.Levels) != n {
		t.Errorf("%d levels", len(g.Levels))
	}
}
