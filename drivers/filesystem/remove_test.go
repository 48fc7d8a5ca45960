package filesystem

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/drivers/drivertest"
)

// found lists all that is below a directory, by the system and not by the driver.
func found(t *testing.T, dir string) []string {
	t.Helper()
	paths := []string{}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if rest, ok := strings.CutPrefix(path, dir+"/"); ok {
			paths = append(paths, rest)
		}
		return err
	}))
	return paths
}

// TestRemoveKeeps: what the options leave out was never looked at, so nobody knows that it is extra.
func TestRemoveKeeps(t *testing.T) {
	t.Parallel()
	tag := cachedirSignature + "\n"
	for name, test := range map[string]struct {
		options map[string]any
		files   map[string]string
		remove  []string
		want    []string
		kept    int64
	}{
		"pattern": {
			options: map[string]any{"exclude": []string{"*.log", "/x/private/", ".*"}},
			files:   map[string]string{"x/a": "", "x/b.log": "", "x/c/d": "", "x/e/f/g.log": "", "x/private/h": "", "x/.salvor-tmp-dead-1": ""},
			remove:  []string{"x"},
			want:    []string{"x", "x/b.log", "x/e", "x/e/f", "x/e/f/g.log", "x/private", "x/private/h"},
			kept:    3,
		},
		"nothing left out": {
			options: map[string]any{"exclude": []string{"*.log", "private/"}},
			files:   map[string]string{"x/a": "", "x/c/private": "", "x/.salvor-tmp-dead-1": ""},
			remove:  []string{"x"},
			want:    []string{},
		},
		"itself": {
			options: map[string]any{"exclude": []string{"*.log", "private/"}},
			files:   map[string]string{"b.log": "", "private/a": "", "x/private/b/c": ""},
			remove:  []string{"b.log", "private", "private/a", "x/private/b/c", "none.log", "private/none"},
			want:    []string{"b.log", "private", "private/a", "x", "x/private", "x/private/b", "x/private/b/c"},
			kept:    4,
		},
		"tag": {
			files: map[string]string{
				"x/cache/CACHEDIR.TAG": tag, "x/cache/a/b": "", "x/a": "", "x/empty/CACHEDIR.TAG": tag,
				"x/false/CACHEDIR.TAG": "no signature", "x/false/a": "",
			},
			// Without the tag, the next mirror would see what is below.
			remove: []string{"x", "x/cache", "x/cache/CACHEDIR.TAG", "x/cache/a/b"},
			want:   []string{"x", "x/cache", "x/cache/CACHEDIR.TAG", "x/cache/a", "x/cache/a/b"},
			kept:   4,
		},
		"tag without a meaning": {
			options: map[string]any{"cachedir_tag": false},
			files:   map[string]string{"x/cache/CACHEDIR.TAG": tag, "x/cache/a/b": ""},
			remove:  []string{"x"},
			want:    []string{},
		},
		"tag alone": {
			files:  map[string]string{"x/CACHEDIR.TAG": tag},
			remove: []string{"x/CACHEDIR.TAG"},
			want:   []string{"x"},
		},
		"tag of the root": {
			files:  map[string]string{"CACHEDIR.TAG": tag, "a": "", "b": ""},
			remove: []string{"CACHEDIR.TAG", "a"},
			want:   []string{"b"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := t.TempDir()
			for path, text := range test.files {
				write(t, filepath.Join(place, path), text)
			}
			tree := open(t, place, test.options)
			for _, path := range test.remove {
				must(t, tree.target.Remove(t.Context(), path))
			}
			if diff := cmp.Diff(test.want, found(t, place)); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
			if kept := tree.target.Warnings()[warnKept]; kept != test.kept {
				t.Errorf("%d kept entries were counted, want %d", kept, test.kept)
			}
		})
	}
}

// TestPutOverHidden: neither does a mirror's file take the place of a directory that holds such.
func TestPutOverHidden(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	for _, path := range []string{"x/a", "x/c/b.log", "private/a", "cache/a", "plain/a/b"} {
		write(t, filepath.Join(place, path), "old")
	}
	write(t, filepath.Join(place, "cache/CACHEDIR.TAG"), cachedirSignature)
	tree := open(t, place, map[string]any{"exclude": []string{"*.log", "private/"}})
	link := drivers.Entry{Path: "x", Type: drivers.TypeSymlink, Meta: drivers.Meta{Target: []byte("to")}}
	before := found(t, place)
	for path, named := range map[string]string{"x": "x/c/b.log", "private": "private", "cache": "cache", "link": "x/c/b.log"} {
		var err error
		if path == "link" {
			err = tree.target.Put(t.Context(), mirror, attempt, link, nil)
		} else {
			err = putFile(t, tree.target, mirror, path, "new")
		}
		var hint interface{ Hint() string }
		if !errors.Is(err, drivers.ErrNotEmpty) || !strings.Contains(err.Error(), `"`+named+`"`) || !errors.As(err, &hint) {
			t.Errorf("put over %s: %v", path, err)
		}
	}
	if diff := cmp.Diff(before, found(t, place)); diff != "" {
		t.Errorf("after refusals (-want +got):\n%s", diff)
	}
	must(t, putFile(t, tree.target, mirror, "plain", "new"))
	must(t, os.Remove(filepath.Join(place, "x/c/b.log")))
	must(t, tree.target.Put(t.Context(), mirror, attempt, link, nil))
}

// TestPutHints: a refusal says what to do.
func TestPutHints(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	write(t, filepath.Join(place, "dir/file"), "old")
	write(t, filepath.Join(place, "file"), "old")
	must(t, os.Symlink("x", filepath.Join(place, "link")))
	tree := open(t, place, nil)
	for _, test := range []struct {
		rules drivers.Target
		entry drivers.Entry
		hint  string
	}{
		{overwrite, fileEntry("dir", "new"), "remove the directory, or"},
		{careful, fileEntry("dir", "new"), "remove the directory, or"},
		{careful, fileEntry("file", "new"), "--overwrite"},
		{careful, dirEntry("file", 0o755), "--overwrite"},
		{careful, dirEntry("link", 0o755), "--overwrite"},
		{careful, fileEntry("file/below", "new"), "--overwrite"},
	} {
		err := tree.target.Put(t.Context(), test.rules, attempt, test.entry, drivertest.Extents("new"))
		var hint interface{ Hint() string }
		if !errors.Is(err, drivers.ErrNotEmpty) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), test.hint) {
			t.Errorf("%+v, %s %q: %v, %v", test.rules, test.entry.Type, test.entry.Path, err, hint)
		}
	}
}
