package tasks_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"salvor/internal/secret"
	"salvor/tasks"
)

func testTree() tasks.Node {
	return tasks.Node{Name: "site", Children: []tasks.Node{
		{Name: "media", Driver: "media", Source: "x", Children: []tasks.Node{{Name: "main", Driver: "sqlite", Source: "x"}}},
		{Name: "databases", Children: []tasks.Node{
			{Name: "main", Driver: "sqlite", Source: "x", After: []string{"site/media"}, Literal: secret.New("x"), Options: []byte("{}")},
			{Name: "site", Driver: "sqlite", Source: "x"},
		}},
		{Name: "media2", Driver: "media", Source: "x"},
	}}
}

func TestWalk(t *testing.T) {
	t.Parallel()
	tree := testTree()
	var got []string
	for path := range tree.Walk() {
		got = append(got, path)
	}
	want := []string{
		"site", "site/media", "site/media/main", "site/databases", "site/databases/main", "site/databases/site", "site/media2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	for _, n := range tree.Walk() {
		n.Limit = 7
	}
	if tree.Limit != 7 || tree.Children[1].Children[0].Limit != 7 {
		t.Error("changes are lost")
	}
	for path := range tree.Walk() {
		if path == "site/media/main" {
			break
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	tree := testTree()
	for name, c := range map[string]struct {
		path string
		err  error
		text string
	}{
		"site":                {path: "site"},
		"site/media":          {path: "site/media"},
		"media":               {path: "site/media"},
		"media2":              {path: "site/media2"},
		"databases/main":      {path: "site/databases/main"},
		"databases/site":      {path: "site/databases/site"},
		"site/databases/main": {path: "site/databases/main"},
		"main": {
			err: tasks.ErrAmbiguousNode, text: `ambiguous node "main" (it may be site/media/main, site/databases/main)`,
		},
		"ain": {err: tasks.ErrUnknownNode, text: `unknown node "ain" (have site, site/media, site/media/main, ` +
			`site/databases, site/databases/main, site/databases/site, site/media2)`},
		"Main": {err: tasks.ErrUnknownNode}, "": {err: tasks.ErrUnknownNode}, "/main": {err: tasks.ErrUnknownNode},
		"site/": {err: tasks.ErrUnknownNode}, "site/med": {err: tasks.ErrUnknownNode},
	} {
		path, node, err := tree.Find(name)
		if path != c.path || !errors.Is(err, c.err) || (node != nil) != (c.err == nil) || c.text != "" && err.Error() != c.text {
			t.Errorf("find %q: %q, %v", name, path, err)
		}
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, other         string
		below, within, ends bool
	}{
		{"site/media2", "site/media", false, false, false},
		{"site/media", "site/media", false, true, true},
		{"site/media/a", "site/media", true, true, false},
		{"site/media", "media", false, false, true},
		{"site/media", "edia", false, false, false},
		{"site", "", false, false, false},
		{"a/b/c", "a", true, true, false},
		{"a", "a/b", false, false, false},
	} {
		if tasks.IsBelow(c.path, c.other) != c.below || tasks.IsWithin(c.path, c.other) != c.within || tasks.EndsIn(c.path, c.other) != c.ends {
			t.Errorf("%q and %q: below %v, within %v, ends %v", c.path, c.other,
				tasks.IsBelow(c.path, c.other), tasks.IsWithin(c.path, c.other), tasks.EndsIn(c.path, c.other))
		}
	}
}

func TestClone(t *testing.T) {
	t.Parallel()
	tree := testTree()
	clone := tree.Clone()
	if diff := cmp.Diff(tree, clone, compareSecrets()); diff != "" {
		t.Fatalf("clone (-want +got):\n%s", diff)
	}
	for _, n := range clone.Walk() {
		n.Name = "x"
		n.After = slices.Insert(n.After, 0, "x")
		copy(n.Options, "[]")
	}
	if diff := cmp.Diff(testTree(), tree, compareSecrets()); diff != "" {
		t.Errorf("a change of the clone changed the tree:\n%s", diff)
	}
}

// drawTree returns a random set; names repeat in different places.
func drawTree(t *rapid.T, most int) tasks.Node {
	left := rapid.IntRange(1, most).Draw(t, "nodes")
	root := drawNode(t, "root", 0, &left)
	return root
}

func drawNode(t *rapid.T, name string, depth int, left *int) tasks.Node {
	*left--
	n := tasks.Node{Name: name}
	kids := 0
	if depth < 4 {
		kids = rapid.IntRange(0, 4).Draw(t, "children")
	}
	for i := 0; i < kids && *left > 0; i++ {
		n.Children = append(n.Children, drawNode(t, string(rune('a'+i)), depth+1, left))
	}
	if len(n.Children) == 0 || rapid.IntRange(0, 3).Draw(t, "own") == 0 {
		n.Driver = rapid.SampledFrom([]string{"sqlite", "postgres", "media"}).Draw(t, "driver")
		n.Source = "/x"
	}
	if rapid.Bool().Draw(t, "parallel") {
		n.Order = tasks.OrderParallel
	}
	if rapid.IntRange(0, 5).Draw(t, "same") == 0 {
		n.RestoreOrder = tasks.RestoreSame
	}
	if rapid.IntRange(0, 5).Draw(t, "together") == 0 {
		n.Freeze = tasks.FreezeTogether
	}
	return n
}

// TestFindAnyEnd: every end of a path finds its node, or several, and the full path always itself.
func TestFindAnyEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t, 30)
		var paths []string
		for path := range tree.Walk() {
			paths = append(paths, path)
		}
		for _, path := range paths {
			for end := path; end != ""; {
				matches := slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return !tasks.EndsIn(p, end) })
				got, _, err := tree.Find(end)
				switch {
				case slices.Contains(paths, end):
					if got != end {
						t.Fatalf("find %s: %s, %v", end, got, err)
					}
				case len(matches) == 1:
					if got != matches[0] {
						t.Fatalf("find %s: %s, %v", end, got, err)
					}
				default:
					if !errors.Is(err, tasks.ErrAmbiguousNode) {
						t.Fatalf("find %s: %s, %v", end, got, err)
					}
				}
				i := slices.Index([]byte(end), '/')
				if i < 0 {
					break
				}
				end = end[i+1:]
			}
		}
	})
}
