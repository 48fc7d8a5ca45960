package filesystem

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]string{
		``:   "",
		`{}`: "",
		`{"exclude":["a"],"one_file_system":true,"cachedir_tag":false}`: "",
		`{"exclude":[]}`:           "",
		`[]`:                       "options: not a mapping of keys: not valid",
		`{"exclude":"a"}`:          "exclude: must be a list of patterns: not valid",
		`{"exclude":null}`:         "exclude: must be a list of patterns: not valid",
		`{"exclude":[1]}`:          "exclude: must be a list of patterns: not valid",
		`{"exclude":["!a"]}`:       `exclude: pattern "!a": including again ("!") is not supported; write "\!" for a name that begins so: not valid`,
		`{"one_file_system":"x"}`:  "one_file_system: must be true or false: not valid",
		`{"one_file_system":null}`: "one_file_system: must be true or false: not valid",
		`{"cachedir_tag":1}`:       "cachedir_tag: must be true or false: not valid",
		`{"excludes":["a"]}`:       "excludes: unknown option (have cachedir_tag, exclude, one_file_system): not valid",
	} {
		got := ""
		if err := Kind().Check([]byte(options)); err != nil {
			got = err.Error()
			if !errors.Is(err, drivers.ErrInvalid) {
				t.Errorf("%s: error of another class: %v", options, err)
			}
		}
		if got != want {
			t.Errorf("%s: got error %q, want %q", options, got, want)
		}
	}
}

func TestWalkExcludes(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	for _, path := range []string{"keep", "a.log", "sub/b.log", "sub/keep", "tmp/x", "tmp/y/z", "cache/deep/x", "sub/cache/x", "file/cache"} {
		write(t, filepath.Join(place, path), "x")
	}
	// Nothing may look into an excluded directory: this one would be an error.
	must(t, os.Mkdir(filepath.Join(place, "cache", "deep", "secret"), 0))
	tree := open(t, place, map[string]any{"exclude": []string{"*.log", "tmp/**", "cache/"}})
	want := []string{"", "file", "file/cache", "keep", "sub", "sub/keep", "tmp"}
	for _, r := range []drivers.Range{{}, {From: "", To: "zzz"}} {
		var got []string
		must(t, tree.Walk(t.Context(), r, func(e drivers.Entry) error {
			got = append(got, e.Path)
			return e.Err
		}))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("paths (-want +got):\n%s", diff)
		}
	}
	must(t, tree.Walk(t.Context(), drivers.Range{From: "cache/deep", To: "file"}, func(e drivers.Entry) error {
		t.Errorf("%q is below an excluded directory", e.Path)
		return nil
	}))
}

func TestCachedirTag(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	tag := "Signature: 8a477f597d28d172789f06886806bc55\n# by a test\n"
	for path, text := range map[string]string{
		"CACHEDIR.TAG": tag, "top": "x",
		"cache/CACHEDIR.TAG": tag, "cache/x": "x", "cache/deep/y": "y",
		"invalid/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc5", "invalid/x": "x",
		"dir/CACHEDIR.TAG/x": "x",
	} {
		write(t, filepath.Join(place, path), text)
	}
	all := []string{
		"", "CACHEDIR.TAG", "cache", "cache/CACHEDIR.TAG", "cache/deep", "cache/deep/y", "cache/x",
		"dir", "dir/CACHEDIR.TAG", "dir/CACHEDIR.TAG/x", "invalid", "invalid/CACHEDIR.TAG", "invalid/x", "top",
	}
	kept := slices.DeleteFunc(slices.Clone(all), func(path string) bool {
		return strings.HasPrefix(path, "cache/") && path != "cache/CACHEDIR.TAG"
	})
	for _, test := range []struct {
		options map[string]any
		want    []string
	}{{nil, kept}, {map[string]any{"cachedir_tag": true}, kept}, {map[string]any{"cachedir_tag": false}, all}} {
		tree := open(t, place, test.options)
		var got []string
		must(t, tree.Walk(t.Context(), drivers.Range{}, func(e drivers.Entry) error {
			got = append(got, e.Path)
			return e.Err
		}))
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("options %v: paths (-want +got):\n%s", test.options, diff)
		}
	}
	must(t, open(t, place, nil).Walk(t.Context(), drivers.Range{From: "cache/x", To: "cache/x\x00"}, func(e drivers.Entry) error {
		t.Errorf("%q is in a cache", e.Path)
		return nil
	}))
}
