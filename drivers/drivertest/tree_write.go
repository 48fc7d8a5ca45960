package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"salvor/drivers"
)

// The rules of a restore, by name.
//
//nolint:gochecknoglobals // constants, if Go had such
var (
	careful   = drivers.Target{Run: run}
	overwrite = drivers.Target{Run: run, Overwrite: true}
	mirror    = drivers.Target{Run: run, Mirror: true}
)

// copyTree puts all entries of one tree into a target and settles them.
func copyTree(t *testing.T, from drivers.Tree, target drivers.TreeTarget, rules drivers.Target) {
	t.Helper()
	entries := walk(t, from, drivers.Range{})
	for _, e := range entries {
		var content drivers.Content
		if e.Type == drivers.TypeFile {
			var err error
			if content, err = from.Open(t.Context(), e); err != nil {
				t.Fatalf("open %q: %v", e.Path, err)
			}
		}
		if err := target.Put(t.Context(), rules, attempt("t1"), e, content); err != nil {
			t.Fatalf("put %q: %v", e.Path, err)
		}
		if content != nil {
			if err := content.Close(); err != nil {
				t.Fatalf("close %q: %v", e.Path, err)
			}
		}
	}
	settle(t, target, rules, entries)
}

// settle settles entries in the order that the contract says.
func settle(t *testing.T, target drivers.TreeTarget, rules drivers.Target, entries []drivers.Entry) {
	t.Helper()
	for _, e := range slices.Backward(entries) {
		if err := target.Settle(t.Context(), rules, attempt("t2"), e); err != nil {
			t.Fatalf("settle %q: %v", e.Path, err)
		}
	}
	if err := target.Sync(t.Context()); err != nil {
		t.Fatalf("sync: %v", err)
	}
}

func testTreeCopy(s treeTest) {
	t, h := s.t, s.harness
	place, paths := h.odd(t)
	from := h.open(t, place)
	to := h.Empty(t)
	tree, target := h.target(t, to, careful)
	copyTree(t, from, target, careful)
	entries := walk(t, h.open(t, to), drivers.Range{})
	if diff := cmp.Diff(paths, pathsOf(entries)); diff != "" {
		t.Fatalf("paths (-want +got):\n%s", diff)
	}
	expectContents(t, tree, contents(t, from))
	for i, want := range walk(t, from, drivers.Range{}) {
		have := entries[i]
		if !target.Same(want, have) {
			t.Errorf("%q is not the same after it was put: want %+v, have %+v", want.Path, want, have)
		}
		if h.Metadata && (want.Meta.Mode != have.Meta.Mode || !want.Meta.ModTime.Equal(*have.Meta.ModTime)) {
			t.Errorf("%q has mode %o, time %v; want %o, %v", want.Path,
				have.Meta.Mode, have.Meta.ModTime, want.Meta.Mode, want.Meta.ModTime)
		}
	}
	// All of it once more, as after a crash.
	if err := target.Prepare(t.Context(), careful); err != nil {
		t.Fatalf("prepare again: %v", err)
	}
	copyTree(t, from, target, careful)
	if diff := cmp.Diff(paths, pathsOf(walk(t, tree, drivers.Range{}))); diff != "" {
		t.Errorf("paths after a second time (-want +got):\n%s", diff)
	}
}

func testTreePutRepeatable(s treeTest) {
	t, h := s.t, s.harness
	for _, rules := range []drivers.Target{careful, overwrite, mirror} {
		tree, target := h.target(t, h.Empty(t), rules)
		for range 3 {
			h.mustPut(t, target, rules, "dir/file", "text")
			h.mustPut(t, target, rules, "empty", "")
			if h.Symlinks {
				link := drivers.Entry{Path: "link", Type: drivers.TypeSymlink, Meta: drivers.Meta{Target: []byte("to\xff"), ModTime: treeTime()}}
				if err := target.Put(t.Context(), rules, attempt("t1"), link, nil); err != nil {
					t.Fatalf("put link: %v", err)
				}
			}
		}
		expectContents(t, tree, map[string]string{"dir/file": "text", "empty": ""})
		if h.Symlinks {
			if e := mustFind(t, tree, "link"); string(e.Meta.Target) != "to\xff" {
				t.Errorf("the link leads to %q", e.Meta.Target)
			}
		}
	}
}

func testTreeCareful(s treeTest) {
	t, h := s.t, s.harness
	place := h.Empty(t)
	h.Write(t, place, "file", []byte("old"))
	tree, target := h.target(t, place, careful)
	for _, text := range []string{"new", "longer"} {
		expectError(t, "put over another file", h.put(t.Context(), target, careful, "file", text), drivers.ErrNotEmpty)
	}
	// The same length and metadata, other bytes.
	h.mustPut(t, target, careful, "put", "one")
	expectError(t, "put over another file", h.put(t.Context(), target, careful, "put", "two"), drivers.ErrNotEmpty)
	expectContents(t, tree, map[string]string{"file": "old", "put": "one"})
}

func testTreeReplace(s treeTest) {
	t, h := s.t, s.harness
	for _, rules := range []drivers.Target{overwrite, mirror} {
		place := h.Empty(t)
		h.Write(t, place, "file", []byte("old"))
		h.Write(t, place, "extra", []byte("extra"))
		tree, target := h.target(t, place, rules)
		for _, text := range []string{"new", "longer text", "", "again"} {
			h.mustPut(t, target, rules, "file", text)
			expectContents(t, tree, map[string]string{"file": text, "extra": "extra"})
		}
	}
}

func testTreeDirAndFile(s treeTest) {
	t, h := s.t, s.harness
	if !h.Dirs {
		t.Skip("directories are not entries")
	}
	dir := drivers.Entry{Path: "x", Type: drivers.TypeDir, Meta: drivers.Meta{Mode: 0o755, ModTime: treeTime()}}
	prepare := func(t *testing.T, rules drivers.Target, path string) (drivers.Tree, drivers.TreeTarget) {
		t.Helper()
		place := h.Empty(t)
		h.Write(t, place, path, []byte("old"))
		return h.target(t, place, rules)
	}
	for _, rules := range []drivers.Target{careful, overwrite, mirror} {
		t.Run(fmt.Sprintf("%+v", rules), func(t *testing.T) {
			t.Parallel()
			// A file where a directory, or a parent, should be.
			for _, parent := range []bool{false, true} {
				tree, target := prepare(t, rules, "x")
				var err error
				want := map[string]string{}
				if parent {
					err = h.put(t.Context(), target, rules, "x/y", "new")
					want["x/y"] = "new"
				} else {
					err = target.Put(t.Context(), rules, attempt("t1"), dir, nil)
				}
				if rules.Replace() {
					if err != nil {
						t.Errorf("put a directory over a file: %v", err)
					}
				} else {
					expectError(t, "put a directory over a file", err, drivers.ErrNotEmpty)
					want = map[string]string{"x": "old"}
				}
				expectContents(t, tree, want)
			}
			// A directory that is not empty where a file should be.
			tree, target := prepare(t, rules, "x/y/z")
			err := h.put(t.Context(), target, rules, "x", "new")
			if rules.Mirror {
				if err != nil {
					t.Errorf("put a file over a directory: %v", err)
				}
				expectContents(t, tree, map[string]string{"x": "new"})
			} else {
				expectError(t, "put a file over a directory", err, drivers.ErrNotEmpty)
				expectContents(t, tree, map[string]string{"x/y/z": "old"})
			}
			// An empty one.
			tree, target = h.target(t, h.Empty(t), rules)
			if err := target.Put(t.Context(), rules, attempt("t1"), dir, nil); err != nil {
				t.Fatalf("put a directory: %v", err)
			}
			if err := target.Put(t.Context(), rules, attempt("t1"), dir, nil); err != nil {
				t.Errorf("put a directory that is there: %v", err)
			}
			err = h.put(t.Context(), target, rules, "x", "new")
			if rules.Replace() && err != nil {
				t.Errorf("put a file over an empty directory: %v", err)
			}
			if !rules.Replace() {
				expectError(t, "put a file over an empty directory", err, drivers.ErrNotEmpty)
			}
			if e := mustFind(t, tree, "x"); (e.Type == drivers.TypeFile) != rules.Replace() {
				t.Errorf("there is a %s now", e.Type)
			}
		})
	}
}

func testTreeContentError(s treeTest) {
	t, h := s.t, s.harness
	broken := errors.New("broken")
	big := strings.Repeat("x", 1<<20)
	for _, rules := range []drivers.Target{careful, overwrite, mirror} {
		place := h.Empty(t)
		h.Write(t, place, "old", []byte("old"))
		tree, target := h.target(t, place, rules)
		for _, pieces := range [][]any{{broken}, {"x", broken}, {big, broken}} {
			for _, path := range []string{"new", "dir/new", "old"} {
				if path == "old" && !rules.Replace() {
					continue
				}
				err := target.Put(t.Context(), rules, attempt("t1"), h.file(path, 2<<20), Extents(pieces...))
				expectError(t, "put with broken content", err, broken)
			}
		}
		expectContents(t, tree, map[string]string{"old": "old"})
		h.mustPut(t, target, rules, "new", "whole")
		expectContents(t, tree, map[string]string{"old": "old", "new": "whole"})
	}
}

func testTreeWrongLength(s treeTest) {
	t, h := s.t, s.harness
	tree, target := h.target(t, h.Empty(t), overwrite)
	for name, pieces := range map[string][]any{
		"none":           {},
		"short":          {"123"},
		"long":           {"1234567"},
		"extent short":   {drivers.Extent{Length: 6}, "123"},
		"extent long":    {drivers.Extent{Length: 6}, "1234567"},
		"negative":       {drivers.Extent{Length: -1}, "123456"},
		"hole too long":  {"123", 10},
		"hole too short": {"123", 2},
	} {
		err := target.Put(t.Context(), overwrite, attempt("t1"), h.file(name, 6), Extents(pieces...))
		if err == nil {
			t.Errorf("%s: content of another length than the entry's was taken", name)
		}
	}
	if err := target.Put(t.Context(), overwrite, attempt("t1"), h.file("nil", 0), nil); err == nil {
		t.Error("a file without content was taken")
	}
	expectContents(t, tree, map[string]string{})
}

func testTreePutCancel(s treeTest) {
	t, h := s.t, s.harness
	tree, target := h.target(t, h.Empty(t), careful)
	ctx, cancel := context.WithCancel(t.Context())
	content := &cancelling{ContentReader: Extents(strings.Repeat("x", 4<<20)), cancel: cancel}
	err := target.Put(ctx, careful, attempt("t1"), h.file("new", 4<<20), content)
	expectError(t, "put cancelled on the way", err, context.Canceled)
	for what, call := range map[string]func() error{
		"put":     func() error { return h.put(ctx, target, careful, "new", "x") },
		"check":   func() error { return target.Check(ctx, careful) },
		"prepare": func() error { return target.Prepare(ctx, careful) },
		"remove":  func() error { return target.Remove(ctx, "x") },
		"settle":  func() error { return target.Settle(ctx, careful, attempt("t1"), h.file("x", 1)) },
		"sync":    func() error { return target.Sync(ctx) },
	} {
		expectError(t, what+" cancelled before", call(), context.Canceled)
	}
	expectContents(t, tree, map[string]string{})
}

// cancelling cancels at the second read.
type cancelling struct {
	drivers.ContentReader
	cancel func()
	reads  int
}

func (c *cancelling) Read(p []byte) (int, error) {
	if c.reads++; c.reads == 2 {
		c.cancel()
	}
	return c.ContentReader.Read(p)
}

func testTreeUnsafe(s treeTest) {
	t, h := s.t, s.harness
	for _, rules := range []drivers.Target{careful, mirror} {
		tree, target := h.target(t, h.Empty(t), rules)
		h.mustPut(t, target, rules, "a/b", "kept")
		for _, path := range h.Unsafe {
			err := h.put(t.Context(), target, rules, path, "evil")
			expectError(t, fmt.Sprintf("put %q", path), err, drivers.ErrUnsafePath)
			expectError(t, fmt.Sprintf("remove %q", path), target.Remove(t.Context(), path), drivers.ErrUnsafePath)
			err = target.Settle(t.Context(), rules, attempt("t1"), h.file(path, 4))
			expectError(t, fmt.Sprintf("settle %q", path), err, drivers.ErrUnsafePath)
		}
		expectContents(t, tree, map[string]string{"a/b": "kept"})
	}
}

func testTreeBadArguments(s treeTest) {
	t, h := s.t, s.harness
	tree, target := h.target(t, h.Empty(t), careful)
	for _, token := range []string{"", "a/b", "..", "a b", "\x00"} {
		a := attempt("t1")
		a.Token = token
		err := target.Put(t.Context(), careful, a, h.file("x", 1), Extents("x"))
		expectError(t, fmt.Sprintf("put with token %q", token), err, drivers.ErrInvalid)
	}
	err := target.Put(t.Context(), careful, attempt("t1"), drivers.Entry{Path: "x", Type: "wormhole"}, nil)
	expectError(t, "put of an unknown type", err, drivers.ErrInvalid)
	err = h.put(t.Context(), target, careful, strings.Repeat("n", 5000), "x")
	expectError(t, "put of a name of 5000 bytes", err, drivers.ErrInvalid)
	expectContents(t, tree, map[string]string{})
}

func testTreeRemove(s treeTest) {
	t, h := s.t, s.harness
	place := h.Empty(t)
	for _, path := range []string{"a", "ab", "d/x", "d/e/y", "d/e/f/z", "d-x", "d0"} {
		h.Write(t, place, path, []byte("x"))
	}
	tree, target := h.target(t, place, mirror)
	remove := func(path string) {
		t.Helper()
		if err := target.Remove(t.Context(), path); err != nil {
			t.Errorf("remove %q: %v", path, err)
		}
	}
	remove("a")
	remove("a")
	remove("no/such/file")
	remove("ab/below/a/file")
	remove("d/e/f/z")
	expectContents(t, tree, map[string]string{"ab": "x", "d/x": "x", "d/e/y": "x", "d-x": "x", "d0": "x"})
	if h.Dirs {
		remove("d")
		remove("d")
		expectContents(t, tree, map[string]string{"ab": "x", "d-x": "x", "d0": "x"})
	}
}

func testTreeConcurrent(s treeTest) {
	t, h := s.t, s.harness
	place := h.Empty(t)
	trees := [2]drivers.TreeTarget{}
	for i := range trees {
		_, trees[i] = h.target(t, place, careful)
	}
	want := make(map[string]string)
	group, ctx := errgroup.WithContext(t.Context())
	for worker := range 8 {
		for n := range 25 {
			want[fmt.Sprintf("d%d/e/%d-%d", n%5, worker, n)] = fmt.Sprint(worker, n)
		}
		group.Go(func() error {
			for n := range 25 {
				path := fmt.Sprintf("d%d/e/%d-%d", n%5, worker, n)
				if err := h.put(ctx, trees[worker%2], careful, path, fmt.Sprint(worker, n)); err != nil {
					return err
				}
				// An attempt that was given up, and the next one: the same, at the same time.
				if err := h.put(ctx, trees[worker%2], careful, "shared", "same for all"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	want["shared"] = "same for all"
	if err := group.Wait(); err != nil {
		t.Fatalf("put: %v", err)
	}
	expectContents(t, h.open(t, place), want)
}

// testTreeCheck checks places that can be written: an empty one, and one that holds something, which is not Check's to judge.
func testTreeCheck(s treeTest) {
	t, h := s.t, s.harness
	place := h.Empty(t)
	for _, want := range []map[string]string{{}, {"a/b": "kept"}} {
		for path, text := range want {
			h.Write(t, place, path, []byte(text))
		}
		tree := h.open(t, place)
		for _, rules := range []drivers.Target{careful, overwrite, mirror} {
			if err := tree.Target().Check(t.Context(), rules); err != nil {
				t.Errorf("%+v: check: %v", rules, err)
			}
		}
		expectContents(t, tree, want)
	}
}

func testTreePrepare(s treeTest) {
	t, h := s.t, s.harness
	place := h.Empty(t)
	h.Write(t, place, "a/b", []byte("kept"))
	for _, rules := range []drivers.Target{careful, overwrite, mirror} {
		for range 2 {
			tree, _ := h.target(t, place, rules)
			expectContents(t, tree, map[string]string{"a/b": "kept"})
		}
	}
}

func testTreeClose(s treeTest) {
	t, h := s.t, s.harness
	tree, target := h.target(t, h.Empty(t), careful)
	h.mustPut(t, target, careful, "file", "text")
	_ = target.Warnings()
	if warnings := target.Warnings(); len(warnings) != 0 {
		t.Errorf("warnings after they were taken: %v", warnings)
	}
	for range 2 {
		if err := tree.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}
