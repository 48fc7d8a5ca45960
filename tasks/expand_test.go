package tasks_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"salvor/internal/secret"
	"salvor/tasks"
)

func manyTree() tasks.Node {
	return tasks.Node{Name: "site", Children: []tasks.Node{
		{Name: "one", Driver: "postgres", Source: "${ONE}", Options: []byte(`{"databases":"all"}`), Host: "db-1", Limit: 3, Freeze: tasks.FreezeTogether},
		{Name: "main", Driver: "postgres", Source: "${MAIN}"},
		{Name: "rest", Order: tasks.OrderParallel, After: []string{"site/main"}, Children: []tasks.Node{
			{Name: "two", Driver: "postgres", Source: tasks.RedactedSource, Literal: secret.New("postgres://u:p@h/x"), Order: tasks.OrderSequence, Options: []byte(`{"databases":["a*"]}`)},
			{Name: "files", Driver: "filesystem", Source: "/srv"},
		}},
	}}
}

func TestExpanding(t *testing.T) {
	t.Parallel()
	tree := manyTree()
	got, some := tree.Expanding(testDrivers())
	want := manyTree()
	want.Children[1].Driver, want.Children[1].Source = "", ""
	want.Children[2].Children[1].Driver, want.Children[2].Children[1].Source = "", ""
	if diff := cmp.Diff(want, got, compareSecrets()); diff != "" || !some {
		t.Errorf("some %v (-want +got):\n%s", some, diff)
	}
	if diff := cmp.Diff(manyTree(), tree, compareSecrets()); diff != "" {
		t.Errorf("the set was changed (-want +got):\n%s", diff)
	}
	for _, options := range []string{"", `{"exclude":"databases"}`, `{"database":"all"}`} {
		n := tasks.Node{Name: "one", Driver: "postgres", Source: "${ONE}", Options: []byte(options)}
		if _, some := n.Expanding(testDrivers()); some {
			t.Errorf("options %s stand for many places", options)
		}
	}
	n := tasks.Node{Name: "one", Driver: "media", Source: "${ONE}", Options: []byte(`{"databases":"all"}`)}
	if _, some := n.Expanding(testDrivers()); some {
		t.Error("a driver that does not expand has nodes that do")
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	tree := manyTree()
	got := tree.Expand(map[string][]tasks.Place{
		"site/one":      {{Name: "App", Options: []byte(`{"database":"App"}`)}, {Name: "Web"}, {Name: "app"}},
		"site/rest/two": {{Name: "-a b_c"}},
		"site/main":     nil, // it stands for itself
	})
	want := manyTree()
	child := func(name, options string) tasks.Node {
		return tasks.Node{Name: name, Driver: "postgres", Source: "${ONE}", Options: json.RawMessage(options), Host: "db-1", Limit: 3}
	}
	web := child("Web", "")
	web.Options = nil
	app := child("app", "")
	app.Options = nil
	want.Children[0] = tasks.Node{
		Name: "one", Freeze: tasks.FreezeTogether, Order: tasks.OrderParallel,
		Children: []tasks.Node{child("%41pp", `{"database":"App"}`), web, app},
	}
	want.Children[2].Children[0] = tasks.Node{Name: "two", Order: tasks.OrderSequence, Children: []tasks.Node{
		{Name: "%2Da%20b_c", Driver: "postgres", Source: tasks.RedactedSource, Literal: secret.New("postgres://u:p@h/x")},
	}}
	if diff := cmp.Diff(want, got, compareSecrets()); diff != "" {
		t.Errorf("expanded (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(manyTree(), tree, compareSecrets()); diff != "" {
		t.Errorf("the set was changed (-want +got):\n%s", diff)
	}
}

// Whatever a server's databases are called, each has a node of its own that a case-blind store tells from the others, all
// other nodes stay, and the same answer gives the same set.
func TestExpandProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t, 12)
		places := make(map[string][]tasks.Place)
		others := make(map[string]tasks.Node)
		for path, n := range tree.Walk() {
			others[path] = *n
			if n.Driver == "postgres" && len(n.Children) == 0 && rapid.Bool().Draw(t, "many") {
				names := rapid.SliceOfNDistinct(rapid.StringMatching(`[aAbB%_ .\x00é/-]{1,4}`), 1, 8, rapid.ID).Draw(t, "names")
				slices.Sort(names)
				for _, name := range names {
					places[path] = append(places[path], tasks.Place{Name: name, Options: []byte(fmt.Sprintf(`{"database":%q}`, name))})
				}
			}
		}
		before := tree.Clone()
		set := tree.Expand(places)
		if diff := cmp.Diff(before, tree, compareSecrets()); diff != "" {
			t.Fatalf("the set was changed (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(set, tree.Expand(places), compareSecrets()); diff != "" {
			t.Fatalf("twice is not the same:\n%s", diff)
		}
		nodes := make(map[string]bool)
		for path, n := range set.Walk() {
			was, old := others[path]
			switch many := places[path]; {
			case len(many) > 0:
				if n.Driver != "" || n.Source != "" || n.Options != nil || len(n.Children) != len(many) {
					t.Fatalf("%s: %+v", path, n)
				}
				folded := make(map[string]bool)
				for i, c := range n.Children {
					folded[strings.ToLower(c.Name)] = true
					if strings.Trim(c.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%_-") != "" {
						t.Fatalf("name %q", c.Name)
					}
					if c.Driver != was.Driver || c.Source != was.Source || string(c.Options) != string(many[i].Options) {
						t.Fatalf("%s of %s: %+v", c.Name, path, c)
					}
				}
				if len(folded) != len(many) {
					t.Fatalf("%s: two children have one name: %+v", path, n.Children)
				}
			case old && (n.Driver != was.Driver || n.Order != was.Order || len(n.Children) != len(was.Children)):
				t.Fatalf("%s: %+v was %+v", path, n, was)
			}
			nodes[path] = true
		}
		for path := range others {
			if !nodes[path] {
				t.Fatalf("%s is gone", path)
			}
		}
	})
}
