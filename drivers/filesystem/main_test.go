package filesystem

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"salvor/drivers"
	"salvor/drivers/drivertest"
	"salvor/internal/secret"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(runRole(role))
	}
	goleak.VerifyTestMain(m)
}

// unsafePaths are what no entry may be called.
var unsafePaths = []string{
	"../x", "..", ".", "./x", "/abs", "/", "a/../b", "a/..", "a//b", "a/./b", "a/", "a/.", "a\x00b", "\x00", "//",
}

func TestConformance(t *testing.T) {
	t.Parallel()
	drivertest.Tree(t, drivertest.TreeHarness{
		Kind: Kind(),
		Empty: func(t *testing.T) string {
			t.Helper()
			return t.TempDir()
		},
		Absent: func(t *testing.T) string {
			t.Helper()
			return filepath.Join(t.TempDir(), "deep", "er")
		},
		Write: func(t *testing.T, place, path string, data []byte) {
			t.Helper()
			write(t, filepath.Join(place, path), string(data))
		},
		Remove: func(t *testing.T, place, path string) {
			t.Helper()
			must(t, os.Remove(filepath.Join(place, path)))
		},
		Names: []string{
			"new\nline", "tab\t", "bell\a", "\xff\xfe", "bad\xc3utf", "\x01", "~", "...", "..x", "a:b", "a|b",
			strings.Repeat("n", 255), "d/" + strings.Repeat("é", 127),
		},
		Unsafe: unsafePaths,
		Dirs:   true, Symlinks: true, Metadata: true, Links: true, Holes: true,
	})
}

// must ends the test at an error.
func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// write makes or overwrites a file, and its parents.
func write(tb testing.TB, path, text string) {
	tb.Helper()
	must(tb, os.MkdirAll(filepath.Dir(path), 0o755))
	must(tb, os.WriteFile(path, []byte(text), 0o644))
}

// open opens a directory with options, which may be nil.
func open(tb testing.TB, place string, options map[string]any) *Tree {
	tb.Helper()
	var raw json.RawMessage
	if options != nil {
		var err error
		raw, err = json.Marshal(options)
		must(tb, err)
	}
	tree, err := Open(drivers.Spec{Node: "n", Source: secret.New(place), Options: raw})
	must(tb, err)
	tb.Cleanup(func() { must(tb, tree.Close()) })
	return tree
}

// walked returns the entries of a whole tree by path; those with errors too.
func walked(tb testing.TB, tree *Tree) map[string]drivers.Entry {
	tb.Helper()
	found := make(map[string]drivers.Entry)
	must(tb, tree.Walk(tb.Context(), drivers.Range{}, func(e drivers.Entry) error {
		found[e.Path] = e
		return nil
	}))
	return found
}

// one returns the entry of a path.
func one(tb testing.TB, tree *Tree, path string) drivers.Entry {
	tb.Helper()
	var found []drivers.Entry
	must(tb, tree.Walk(tb.Context(), drivers.Range{From: path, To: path + "\x00"}, func(e drivers.Entry) error {
		found = append(found, e)
		return nil
	}))
	if len(found) != 1 {
		tb.Fatalf("%q: found %d entries", path, len(found))
	}
	must(tb, found[0].Err)
	return found[0]
}

// copyTo restores a whole tree, and returns the warnings.
func copyTo(ctx context.Context, from *Tree, target *Target, rules drivers.Target) (map[string]int64, error) {
	var entries []drivers.Entry
	if err := target.Prepare(ctx, rules); err != nil {
		return nil, err
	}
	err := from.Walk(ctx, drivers.Range{}, func(e drivers.Entry) error {
		if e.Err != nil {
			return e.Err
		}
		meta, err := json.Marshal(e.Meta) // as an archive keeps it
		if err != nil {
			return err
		}
		e.Meta = drivers.Meta{}
		if err := json.Unmarshal(meta, &e.Meta); err != nil {
			return err
		}
		entries = append(entries, e)
		var content drivers.ContentReader
		if e.Type == drivers.TypeFile {
			opened, err := from.Open(ctx, e)
			if err != nil {
				return err
			}
			defer opened.Close() //nolint:errcheck // nobody writes to the source
			content = opened
		}
		return target.Put(ctx, rules, attempt, e, content)
	})
	for i := len(entries) - 1; i >= 0 && err == nil; i-- {
		err = target.Settle(ctx, rules, attempt, entries[i])
	}
	return target.Warnings(), errors.Join(err, target.Sync(ctx))
}

var (
	careful   = drivers.Target{Run: "run"}
	overwrite = drivers.Target{Run: "run", Overwrite: true}
	mirror    = drivers.Target{Run: "run", Mirror: true}
	attempt   = drivers.Attempt{Run: "run", Task: "task", Token: "token"}
)
