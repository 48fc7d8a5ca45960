// Package drivertest holds drivers to the contracts of package drivers: [Stream] those that dump parts out of a view,
// [Tree] those that walk entries. A driver's own tests call the one that fits, with a harness that makes places and
// changes them by other means than the driver, and keep to themselves only what no other driver has.
package drivertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/internal/secret"
)

// TreeHarness is what the suite needs to know of a tree driver: how to make places, how to change them by other means
// than the driver, and what they can hold. Places that its functions make are removed as the test ends.
type TreeHarness struct {
	Kind drivers.Kind
	// Options are the node's options; nil for none.
	Options json.RawMessage
	// Empty makes a place that is there and holds nothing, and returns its location as a set would name it.
	Empty func(t *testing.T) string
	// Absent returns a location where nothing is, which a restore can create; nil where a restore creates no places.
	Absent func(t *testing.T) string
	// Write makes or replaces a file, in place where the source can do that.
	Write func(t *testing.T, place, path string, data []byte)
	// Remove removes a file.
	Remove func(t *testing.T, place, path string)
	// Names are odd paths of files that a place can hold together, beside the suite's own.
	Names []string
	// Unsafe are paths that a target must refuse.
	Unsafe []string

	Dirs     bool // directories are entries
	Symlinks bool // symbolic links are entries
	Metadata bool // modes and times are kept
	Links    bool // files may have several names
	Holes    bool // holes are kept
}

// Tree holds a tree driver to the contract of [drivers.Tree] and [drivers.TreeTarget]. The caller's TestMain looks for
// goroutines that were left (goleak).
func Tree(t *testing.T, h TreeHarness) {
	t.Helper()
	if h.Kind.Shape != drivers.ShapeTree || h.Kind.Holds {
		t.Fatalf("kind %s is not a tree: %+v", h.Kind.Name, h.Kind)
	}
	for _, test := range []struct {
		name string
		run  func(treeTest)
	}{
		{"absent place", testTreeAbsent},
		{"identities", testTreeIdentities},
		{"order", testTreeOrder},
		{"ranges", testTreeRanges},
		{"one path", testTreeOnePath},
		{"yield's error", testTreeYieldError},
		{"walk is cancelled", testTreeWalkCancel},
		{"content", testTreeContent},
		{"open gone", testTreeOpenGone},
		{"open changed", testTreeOpenChanged},
		{"open in any state", testTreeOpenAny},
		{"changed while read", testTreeChangedWhileRead},
		{"version", testTreeVersion},
		{"copy", testTreeCopy},
		{"put is repeatable", testTreePutRepeatable},
		{"careful rules", testTreeCareful},
		{"replacing rules", testTreeReplace},
		{"directory and file", testTreeDirAndFile},
		{"symbolic link as parent", testTreeLinkAsParent},
		{"content error", testTreeContentError},
		{"wrong length", testTreeWrongLength},
		{"put is cancelled", testTreePutCancel},
		{"unsafe paths", testTreeUnsafe},
		{"bad arguments", testTreeBadArguments},
		{"remove", testTreeRemove},
		{"concurrent puts", testTreeConcurrent},
		{"check", testTreeCheck},
		{"prepare", testTreePrepare},
		{"hard links", testTreeLinks},
		{"holes", testTreeHoles},
		{"same", testTreeSame},
		{"close", testTreeClose},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(treeTest{t, h})
		})
	}
}

// treeTest is what one test of the suite gets.
type treeTest struct {
	t       *testing.T
	harness TreeHarness
}

// open opens a place, and closes it as the test ends.
func (h TreeHarness) open(t *testing.T, place string) drivers.Tree {
	t.Helper()
	source, err := h.Kind.Open(t.Context(), drivers.Spec{
		Node: "set/node", Source: secret.New(place), Options: h.Options, Scratch: t.TempDir(),
	})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := source.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	tree, ok := source.(drivers.Tree)
	if !ok {
		t.Fatalf("kind %s opened a %T, not a tree", h.Kind.Name, source)
	}
	return tree
}

// target opens a place for writing.
func (h TreeHarness) target(t *testing.T, place string, rules drivers.Target) (drivers.Tree, drivers.TreeTarget) {
	t.Helper()
	tree := h.open(t, place)
	target := tree.Target()
	if err := target.Prepare(t.Context(), rules); err != nil {
		t.Fatalf("prepare: %v", err)
	}
	return tree, target
}

// oddNames are paths that sort otherwise by name than by full path, or that careless programs trip over. Directories are
// those that the paths imply.
func (h TreeHarness) oddNames() []string {
	return append([]string{
		"a/b", "a-b", "a.b/c", "a0", "a/b-c", "a-/x", "a!/y", "ab/c/d/e/f",
		".htaccess", ".hidden/.x", "sp ace", " leading", "trailing ", "Ümläut", "日本/語", "quote'\"", "per%cent", "q?*[x]",
		"UPPER", "z/1", "z/10", "z/2", "-dash", "#hash", "a+b", "back\\slash", "semi;colon", "$dollar",
	}, h.Names...)
}

// odd fills a new place with files of odd names, each holding its own path, and returns the paths of all entries.
func (h TreeHarness) odd(t *testing.T) (place string, paths []string) {
	t.Helper()
	place = h.Empty(t)
	all := make(map[string]bool)
	for _, path := range h.oddNames() {
		h.Write(t, place, path, []byte(path))
		all[path] = true
		if !h.Dirs {
			continue
		}
		all[""] = true
		for i := range len(path) {
			if path[i] == '/' {
				all[path[:i]] = true
			}
		}
	}
	return place, slices.Sorted(maps.Keys(all))
}

// walk returns the entries of a range, and holds them to the order and to the range.
func walk(t *testing.T, tree drivers.Tree, r drivers.Range) []drivers.Entry {
	t.Helper()
	var entries []drivers.Entry
	err := tree.Walk(t.Context(), r, func(e drivers.Entry) error {
		if n := len(entries); n > 0 && entries[n-1].Path >= e.Path {
			t.Errorf("walk %q: %q comes after %q", r, e.Path, entries[n-1].Path)
		}
		if !r.Contains(e.Path) {
			t.Errorf("walk %q: %q is not in the range", r, e.Path)
		}
		if e.Err != nil {
			t.Errorf("walk %q: %q: %v", r, e.Path, e.Err)
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		t.Fatalf("walk %q: %v", r, err)
	}
	return entries
}

// pathsOf returns the paths of entries.
func pathsOf(entries []drivers.Entry) []string {
	paths := make([]string, 0, len(entries))
	for _, e := range entries {
		paths = append(paths, e.Path)
	}
	return paths
}

// find returns the entry of a path, by a walk of that path alone.
func find(t *testing.T, tree drivers.Tree, path string) (drivers.Entry, bool) {
	t.Helper()
	entries := walk(t, tree, drivers.Range{From: path, To: path + "\x00"})
	if len(entries) == 0 {
		return drivers.Entry{}, false
	}
	return entries[0], true
}

// mustFind is find for a path that must be there.
func mustFind(t *testing.T, tree drivers.Tree, path string) drivers.Entry {
	t.Helper()
	e, ok := find(t, tree, path)
	if !ok {
		t.Fatalf("%q is not there", path)
	}
	return e
}

// readContent reads an entry's content, and holds the extents to their rules.
func readContent(t *testing.T, tree drivers.Tree, entry drivers.Entry) []byte {
	t.Helper()
	content, err := tree.Open(t.Context(), entry)
	if err != nil {
		t.Fatalf("open %q: %v", entry.Path, err)
	}
	data, err := drain(content)
	if errClose := content.Close(); err == nil {
		err = errClose
	}
	if err != nil {
		t.Fatalf("read %q: %v", entry.Path, err)
	}
	if int64(len(data)) != entry.Size {
		t.Errorf("read %q: got %d bytes, the entry has %d", entry.Path, len(data), entry.Size)
	}
	return data
}

// drain reads all extents; holes as zeros.
func drain(content drivers.ContentReader) ([]byte, error) {
	var all bytes.Buffer
	for {
		extent, err := content.Next()
		if errors.Is(err, io.EOF) {
			return all.Bytes(), nil
		}
		if err != nil {
			return all.Bytes(), err
		}
		if extent.Length <= 0 {
			return all.Bytes(), errors.New("an extent has no length")
		}
		if extent.Hole {
			all.Write(make([]byte, extent.Length))
			continue
		}
		n, err := io.Copy(&all, onlyReader{content})
		if err != nil {
			return all.Bytes(), err
		}
		if n != extent.Length {
			return all.Bytes(), errors.New("an extent has another number of bytes than it says")
		}
	}
}

// onlyReader hides what io.Copy would look for.
type onlyReader struct{ io.Reader }

// contents returns what a place's files hold, by path.
func contents(t *testing.T, tree drivers.Tree) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, e := range walk(t, tree, drivers.Range{}) {
		if e.Type == drivers.TypeFile {
			found[e.Path] = string(readContent(t, tree, e))
		}
	}
	return found
}

// expectContents compares what a place's files hold.
func expectContents(t *testing.T, tree drivers.Tree, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, contents(t, tree)); diff != "" {
		t.Errorf("contents (-want +got):\n%s", diff)
	}
}

// Extents is a [drivers.ContentReader] of given pieces: a text is data, a number the length of a hole, an error what the
// next read returns.
func Extents(pieces ...any) drivers.ContentReader { return &extents{pieces: pieces} }

type extents struct {
	pieces []any
	data   io.Reader
}

func (x *extents) Next() (drivers.Extent, error) {
	if len(x.pieces) == 0 {
		return drivers.Extent{}, io.EOF
	}
	piece := x.pieces[0]
	x.pieces = x.pieces[1:]
	switch p := piece.(type) {
	case string:
		x.data = bytes.NewReader([]byte(p))
		return drivers.Extent{Length: int64(len(p))}, nil
	case int:
		x.data = bytes.NewReader(nil)
		return drivers.Extent{Length: int64(p), Hole: true}, nil
	case drivers.Extent: // says more or less than there is
		x.data = bytes.NewReader(nil)
		if len(x.pieces) > 0 {
			if text, ok := x.pieces[0].(string); ok {
				x.data, x.pieces = bytes.NewReader([]byte(text)), x.pieces[1:]
			}
		}
		return p, nil
	case error:
		return drivers.Extent{}, p
	default:
		return drivers.Extent{}, errors.New("neither text, number nor error")
	}
}

func (x *extents) Read(p []byte) (int, error) { return x.data.Read(p) }

// treeTime is a time with every digit of a nanosecond set.
func treeTime() *time.Time {
	at := time.Date(2021, 3, 4, 5, 6, 7, 123456789, time.UTC)
	return &at
}

// file makes an entry of a file.
func (h TreeHarness) file(path string, size int) drivers.Entry {
	e := drivers.Entry{Path: path, Type: drivers.TypeFile, Size: int64(size)}
	if h.Metadata {
		e.Meta.Mode = 0o640
		e.Meta.ModTime = treeTime()
	}
	return e
}

// put puts a file with a text.
func (h TreeHarness) put(ctx context.Context, target drivers.TreeTarget, rules drivers.Target, path, text string) error {
	var pieces []any
	if text != "" {
		pieces = append(pieces, text)
	}
	return target.Put(ctx, rules, attempt("t1"), h.file(path, len(text)), Extents(pieces...))
}

// mustPut is put for what must be possible.
func (h TreeHarness) mustPut(t *testing.T, target drivers.TreeTarget, rules drivers.Target, path, text string) {
	t.Helper()
	if err := h.put(t.Context(), target, rules, path, text); err != nil {
		t.Fatalf("put %q: %v", path, err)
	}
}

// expectError wants an error of a class.
func expectError(t *testing.T, what string, err, class error) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Errorf("%s: got error %v, want %q", what, err, class)
	}
}
