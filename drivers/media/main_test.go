package media

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"salvor/drivers"
	"salvor/drivers/drivertest"
	"salvor/drivers/internal/exclude"
	"salvor/internal/secret"
	"salvor/internal/testenv"
)

func TestMain(m *testing.M) {
	for name, value := range testenv.S3Environment() {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	// A library of the Google server's starts a goroutine when it is linked in.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// must ends the test at an error.
func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

var (
	careful   = drivers.Target{Run: "run"}
	overwrite = drivers.Target{Run: "run", Overwrite: true}
	attempt   = drivers.Attempt{Run: "run", Task: "task", Token: "token"}
)

// oddKeys are keys that stores of objects take and directories do not.
var oddKeys = []string{
	"folder/", "folder/in", "folder//in", "folder///", "/leading", "//", "../up", "a/../b/x", "./here", "dot/.", "dot/..", "...",
	"new\nline", "tab\t", "bell\a", "esc\x1b[0m", "\x01", "del\x7f", "cr\r\nlf", "__0x2f__", "plus+and space", "%2F", "%2f%2E%2e",
	"a", "same", "same/below", "emoji😀", "\ufffe", "\ue000", "\U00010000", "e\u0301", "é", "ctl\u0085\u2028", "q?x=y&z#f",
}

// fewKeys are some of them, for tests that look at each key many times.
var fewKeys = []string{"folder/", "folder//in", "../up", "new\nline", "same", "same/below", "__0x2f__"}

// unsafeKeys are what no entry may be called.
var unsafeKeys = []string{"a\x00b", "\x00", "a/\x00/b"}

// open opens a source.
func open(tb testing.TB, source string, options string) drivers.Tree {
	tb.Helper()
	tree, err := Open(tb.Context(), drivers.Spec{Node: "n", Source: secret.New(source), Options: []byte(options)})
	must(tb, err)
	tb.Cleanup(func() { must(tb, tree.Close()) })
	return tree
}

// collect returns the entries of a range, those with errors too.
func collect(tb testing.TB, tree drivers.Tree, r drivers.Range) []drivers.Entry {
	tb.Helper()
	var entries []drivers.Entry
	must(tb, tree.Walk(tb.Context(), r, func(e drivers.Entry) error {
		entries = append(entries, e)
		return nil
	}))
	return entries
}

// asTree returns a source as what it is.
func asTree(tb testing.TB, source drivers.Source) drivers.Tree {
	tb.Helper()
	tree, ok := source.(drivers.Tree)
	if !ok {
		tb.Fatalf("a %T is no tree", source)
	}
	return tree
}

// one returns the entry of a path.
func one(tb testing.TB, tree drivers.Tree, path string) drivers.Entry {
	tb.Helper()
	entries := collect(tb, tree, drivers.Range{From: path, To: path + "\x00"})
	if len(entries) != 1 {
		tb.Fatalf("%q: found %d entries", path, len(entries))
	}
	return entries[0]
}

// putText puts a text.
func putText(tb testing.TB, tree drivers.Tree, rules drivers.Target, e drivers.Entry, text string) error {
	tb.Helper()
	e.Type, e.Size = drivers.TypeFile, int64(len(text))
	pieces := []any{}
	if text != "" {
		pieces = append(pieces, text)
	}
	return tree.Target().Put(tb.Context(), rules, attempt, e, drivertest.Extents(pieces...))
}

// shared is a store that outlives the trees that use it.
type shared struct{ store }

func (shared) close() error { return nil }

// memory are buckets in memory, by name.
type memory struct {
	mu      sync.Mutex
	buckets map[string]*blob.Bucket
}

func (m *memory) make(t *testing.T) string {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.buckets == nil {
		m.buckets = make(map[string]*blob.Bucket)
	}
	name := fmt.Sprintf("b%d", len(m.buckets))
	b := memblob.OpenBucket(nil)
	t.Cleanup(func() { must(t, b.Close()) })
	m.buckets[name] = b
	return name
}

func (m *memory) bucket(name string) *blob.Bucket {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.buckets[name]
}

// kind is the driver for the buckets in memory, with a prefix.
func (m *memory) kind(prefix string) drivers.Kind {
	kind := Kind()
	kind.Open = func(_ context.Context, spec drivers.Spec) (drivers.Source, error) {
		name := spec.Source.Reveal()
		b := m.bucket(name)
		if b == nil {
			return nil, errors.New("no such bucket")
		}
		place := location{provider: "mem", bucket: name, prefix: prefix, display: "mem://" + name}
		return newTree(place, shared{&portable{bucket: b}}, exclude.List{}), nil
	}
	return kind
}

func TestConformanceMemory(t *testing.T) {
	t.Parallel()
	const prefix = "pre/fix-"
	m := &memory{}
	drivertest.Tree(t, drivertest.TreeHarness{
		Kind:  m.kind(prefix),
		Empty: m.make,
		Write: func(t *testing.T, place, path string, data []byte) {
			t.Helper()
			must(t, m.bucket(place).WriteAll(t.Context(), prefix+path, data, nil))
		},
		Remove: func(t *testing.T, place, path string) {
			t.Helper()
			must(t, m.bucket(place).Delete(t.Context(), prefix+path))
		},
		Names: oddKeys, Unsafe: unsafeKeys,
	})
}
