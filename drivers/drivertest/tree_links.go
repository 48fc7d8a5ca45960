package drivertest

import (
	"bytes"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
)

func testTreeLinkAsParent(s treeTest) {
	t, h := s.t, s.harness
	if !h.Symlinks {
		t.Skip("symbolic links are not entries")
	}
	for _, rules := range []drivers.Target{careful, overwrite, mirror} {
		tree, target := h.target(t, h.Empty(t), rules)
		h.mustPut(t, target, rules, "real/file", "kept")
		link := drivers.Entry{Path: "x", Type: drivers.TypeSymlink, Meta: drivers.Meta{Target: []byte("real")}}
		if err := target.Put(t.Context(), rules, attempt("t1"), link, nil); err != nil {
			t.Fatalf("put link: %v", err)
		}
		if err := target.Remove(t.Context(), "x/file"); err != nil {
			t.Errorf("remove below a link: %v", err)
		}
		err := h.put(t.Context(), target, rules, "x/file", "new")
		want := map[string]string{"real/file": "kept"}
		if rules.Replace() {
			if err != nil {
				t.Errorf("put below a link that may be replaced: %v", err)
			}
			want["x/file"] = "new"
		} else {
			expectError(t, "put below a link", err, drivers.ErrUnsafePath)
		}
		expectContents(t, tree, want)
	}
}

func testTreeLinks(s treeTest) {
	t, h := s.t, s.harness
	if !h.Links {
		t.Skip("files have one name")
	}
	tree, target := h.target(t, h.Empty(t), careful)
	var entries []drivers.Entry
	for _, path := range []string{"a/one", "b", "c/three", "other1", "other2", "single"} {
		e := h.file(path, 4)
		switch {
		case strings.HasPrefix(path, "other"):
			e.Meta.Link = "other"
		case path != "single":
			e.Meta.Link = "first"
		}
		entries = append(entries, e)
		if err := target.Put(t.Context(), careful, attempt("t1"), e, Extents("text")); err != nil {
			t.Fatalf("put %q: %v", path, err)
		}
	}
	expectContents(t, tree, map[string]string{
		"a/one": "text", "b": "text", "c/three": "text", "other1": "text", "other2": "text", "single": "text",
	})
	for range 2 {
		settle(t, target, careful, entries)
		groups := make(map[string][]string)
		for _, e := range walk(t, tree, drivers.Range{}) {
			if e.Meta.Link != "" {
				groups[e.Meta.Link] = append(groups[e.Meta.Link], e.Path)
			}
		}
		var got [][]string
		for _, paths := range groups {
			got = append(got, paths)
		}
		slices.SortFunc(got, slices.Compare)
		if diff := cmp.Diff([][]string{{"a/one", "b", "c/three"}, {"other1", "other2"}}, got); diff != "" {
			t.Errorf("files of several names (-want +got):\n%s", diff)
		}
	}
	if warnings := target.Warnings(); len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
}

func testTreeHoles(s treeTest) {
	t, h := s.t, s.harness
	const hole = 1 << 20
	tree, target := h.target(t, h.Empty(t), careful)
	for name, pieces := range map[string][]any{
		"middle": {"begin", hole, "end"}, "begin": {hole, "end"}, "end": {"begin", hole}, "all": {hole},
		"several": {hole, hole, "x", hole, "y", "z"},
	} {
		var want bytes.Buffer
		for _, piece := range pieces {
			switch p := piece.(type) {
			case string:
				want.WriteString(p)
			case int:
				want.Write(make([]byte, p))
			}
		}
		if err := target.Put(t.Context(), careful, attempt("t1"), h.file(name, want.Len()), Extents(pieces...)); err != nil {
			t.Fatalf("put %q: %v", name, err)
		}
		entry := mustFind(t, tree, name)
		if !bytes.Equal(readContent(t, tree, entry), want.Bytes()) {
			t.Errorf("%s: content differs", name)
		}
		if !h.Holes {
			continue
		}
		content, err := tree.Open(t.Context(), entry)
		if err != nil {
			t.Fatalf("open %q: %v", name, err)
		}
		var holes int64
		for {
			extent, err := content.Next()
			if err != nil {
				break
			}
			if extent.Hole {
				holes += extent.Length
			}
		}
		_ = content.Close() // not read
		if holes < hole-1<<17 {
			t.Errorf("%s: only %d bytes are in holes", name, holes)
		}
	}
}

func testTreeSame(s treeTest) {
	t, h := s.t, s.harness
	tree, target := h.target(t, h.Empty(t), careful)
	h.mustPut(t, target, careful, "file", "text")
	have := mustFind(t, tree, "file")
	want := h.file("file", 4)
	if !target.Same(want, have) {
		t.Errorf("an entry is not the same as what was put: %+v", have)
	}
	change := func(what string, f func(e *drivers.Entry)) {
		t.Helper()
		other := h.file("file", 4)
		f(&other)
		if target.Same(other, have) {
			t.Errorf("an entry of another %s is the same", what)
		}
	}
	change("type", func(e *drivers.Entry) { e.Type = drivers.TypeDir })
	change("length", func(e *drivers.Entry) { e.Size++ })
	if h.Metadata {
		change("mode", func(e *drivers.Entry) { e.Meta.Mode ^= 0o100 })
		change("time", func(e *drivers.Entry) {
			later := e.Meta.ModTime.Add(1)
			e.Meta.ModTime = &later
		})
	}
	unreadable := have
	unreadable.Err = drivers.ErrAccess
	if target.Same(want, unreadable) {
		t.Error("an entry that could not be looked at is the same")
	}
}
