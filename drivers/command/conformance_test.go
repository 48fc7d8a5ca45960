package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salvor/drivers/drivertest"
)

// seed is larger than a pipe takes.
var seed = strings.Repeat("a line of the seed\n", 20_000)

func TestConformance(t *testing.T) {
	t.Parallel()
	options, err := json.Marshal(map[string]any{"env": map[string]string{
		roleVariable: "store",
		"GORACE":     "atexit_sleep_ms=0", // a program made with the race detector waits a second before it ends
	}})
	if err != nil {
		t.Fatal(err)
	}
	place := func(path string) string { return quote(os.Args[0]) + " " + quote(path) }
	pathOf := func(place string) string {
		words, err := splitWords(place)
		if err != nil {
			return ""
		}
		return words[len(words)-1]
	}
	newFile := func(t *testing.T, data string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "data")
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return place(path)
	}
	drivertest.Stream(t, drivertest.StreamHarness{
		Kind:    Kind(),
		Options: options,
		New: func(t *testing.T) string {
			t.Helper()
			return newFile(t, seed)
		},
		Absent: func(t *testing.T) string {
			t.Helper()
			return place(filepath.Join(t.TempDir(), "data"))
		},
		Empty: func(t *testing.T) string {
			t.Helper()
			return newFile(t, "")
		},
		Missing: func(t *testing.T) string {
			t.Helper()
			return quote(filepath.Join(t.TempDir(), "no such program"))
		},
		Mutate: func(_ context.Context, place string) error {
			path := pathOf(place)
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n := strings.Count(string(data[len(seed):]), "\n")
			return replace(path, fmt.Appendf(data, "change %d\n", n+1))
		},
		Contents: func(t *testing.T, place string) string {
			t.Helper()
			return readFile(t, pathOf(place))
		},
		Consistent: func(contents string) error {
			changes, ok := strings.CutPrefix(contents, seed)
			for n := 1; ok && changes != ""; n++ {
				changes, ok = strings.CutPrefix(changes, fmt.Sprintf("change %d\n", n))
			}
			if !ok {
				return errors.New("it is not the seed with the first changes")
			}
			return nil
		},
		Leftovers: func(t *testing.T, place string) []string {
			t.Helper()
			var names []string
			entries, _ := os.ReadDir(filepath.Dir(pathOf(place)))
			for _, e := range entries {
				if e.Name() != filepath.Base(pathOf(place)) {
					names = append(names, e.Name())
				}
			}
			return names
		},
		BlocksWriters: true, // when a program looks at what it dumps is its own affair
		Once:          true,
		Blind:         true,
		Scratch:       t.TempDir(),
		Record:        func(name string) bool { return strings.HasPrefix(name, recordPrefix) },
	})
}
