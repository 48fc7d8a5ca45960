package media

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

// write makes or overwrites a file, and its parents.
func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

func TestConformanceDirectory(t *testing.T) {
	t.Parallel()
	const scheme = "file://"
	path := func(place, path string) string { return filepath.Join(strings.TrimPrefix(place, scheme), path) }
	drivertest.Tree(t, drivertest.TreeHarness{
		Kind: Kind(),
		Empty: func(t *testing.T) string {
			t.Helper()
			return scheme + t.TempDir()
		},
		Absent: func(t *testing.T) string {
			t.Helper()
			return scheme + filepath.Join(t.TempDir(), "deep", "er")
		},
		Write: func(t *testing.T, place, name string, data []byte) {
			t.Helper()
			write(t, path(place, name), string(data))
		},
		Remove: func(t *testing.T, place, name string) {
			t.Helper()
			must(t, os.Remove(path(place, name)))
		},
		Names:    []string{"new\nline", "\xff\xfe", "...", "a:b", strings.Repeat("n", 255)},
		Unsafe:   []string{"../x", "..", ".", "/abs", "a/../b", "a//b", "a/", "a\x00b", "//"},
		Symlinks: true, Metadata: true, Links: true, Holes: true,
	})
}

// mediaEntry is an entry as a bucket yields it.
func mediaEntry(path string) drivers.Entry {
	return drivers.Entry{Path: path, Meta: drivers.Meta{
		Headers: map[string]string{headerType: "image/png"}, Custom: map[string]string{"a": "b"},
	}}
}

// treeOf returns the files and empty directories below a directory; of a directory its mode, too.
func treeOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path) // both are of one walk
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			found[name+"/"] = info.Mode().String()
			return nil
		}
		data, err := os.ReadFile(path)
		found[name] = string(data)
		return err
	}))
	return found
}

// TestBucketIntoDirectory: directories have the mode of new ones, a folder's marker becomes one, what a directory cannot
// hold is refused one by one and replaces nothing.
func TestBucketIntoDirectory(t *testing.T) {
	t.Parallel()
	for _, rules := range []drivers.Target{careful, overwrite, {Run: "run", Mirror: true}} {
		dir := filepath.Join(t.TempDir(), "new")
		tree := open(t, dir, "")
		for range 2 { // again, as after a crash
			must(t, tree.Target().Prepare(t.Context(), rules))
			for _, path := range []string{"a/b/c.png", "a/b/d.png", "top.png", "file"} {
				must(t, putText(t, tree, rules, mediaEntry(path), path))
			}
			for _, path := range []string{"", "folder/", "a/b/", "x/y/"} {
				must(t, putText(t, tree, rules, mediaEntry(path), ""))
			}
			for _, path := range []string{
				"file/below", "file/below/deep", "file/", "a", "a/b", // what is there already
				"a//b", "/a", "folder//", "//", // names that are empty
			} {
				text := "evil"
				if strings.HasSuffix(path, "/") {
					text = ""
				}
				wantError(t, "put "+path, putText(t, tree, rules, mediaEntry(path), text), drivers.ErrInvalid, "bucket")
			}
			wantError(t, "put a folder's marker with content", putText(t, tree, rules, mediaEntry("a/"), "x"), drivers.ErrInvalid, "bucket")
			for _, path := range []string{"../up", "../", "a/../../up", "a/./b", "./"} {
				text := strings.Repeat("x", strings.Count(path, "u"))
				wantError(t, "put "+path, putText(t, tree, rules, mediaEntry(path), text), drivers.ErrUnsafePath, "")
			}
			must(t, tree.Target().Sync(t.Context()))
			if diff := cmp.Diff(map[string]int64{warnObject: 4}, tree.Target().Warnings()); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		}
		const mode = "drwxr-xr-x"
		want := map[string]string{
			"a/": mode, "a/b/": mode, "a/b/c.png": "a/b/c.png", "a/b/d.png": "a/b/d.png", "top.png": "top.png", "file": "file",
			"folder/": mode, "x/": mode, "x/y/": mode,
		}
		if diff := cmp.Diff(want, treeOf(t, dir)); diff != "" {
			t.Errorf("%+v: tree (-want +got):\n%s", rules, diff)
		}
		for _, e := range collect(t, tree, drivers.Range{}) {
			if e.Type != drivers.TypeFile {
				t.Errorf("%q is an entry, a %s", e.Path, e.Type)
			}
			want := mediaEntry(e.Path)
			want.Type, want.Size = drivers.TypeFile, e.Size
			if !tree.Target().Same(want, e) {
				t.Errorf("%q is not the same: %+v", e.Path, e)
			}
		}
	}
}

// TestLinkInTheWay: no link leads an object out of the root, and what takes its place can be passed through.
func TestLinkInTheWay(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	must(t, os.Symlink(outside, filepath.Join(dir, "link")))
	tree := open(t, dir, "")
	must(t, tree.Target().Prepare(t.Context(), careful))
	wantError(t, "put below a link", putText(t, tree, careful, mediaEntry("link/x/y"), "evil"), drivers.ErrUnsafePath, "")
	wantError(t, "put a folder below a link", putText(t, tree, careful, mediaEntry("link/x/"), ""), drivers.ErrNotEmpty, "")
	must(t, putText(t, tree, overwrite, mediaEntry("link/x/y"), "text"))
	const mode = "drwxr-xr-x"
	if diff := cmp.Diff(map[string]string{"link/": mode, "link/x/": mode, "link/x/y": "text"}, treeOf(t, dir)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{}, treeOf(t, outside)); diff != "" {
		t.Errorf("outside (-want +got):\n%s", diff)
	}
}

// TestDirectoryAndBucket: a directory's files get a content type of their names in a bucket, what is no file is counted, and
// all of it comes back.
func TestDirectoryAndBucket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := map[string]string{"a/b.png": "picture", "c.html": "<p>", "no-type": "x", "CACHEDIR.TAG": cachedirTag, "tmp/x": "left out"}
	for path, text := range files {
		write(t, filepath.Join(dir, path), text)
	}
	delete(files, "tmp/x")
	must(t, os.Symlink("a/b.png", filepath.Join(dir, "link")))
	must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	from := open(t, dir, `{"exclude": ["tmp/**"]}`)
	s := newS3Server(t, 1000)
	bucket := s.Bucket(t)
	to := open(t, s.URL(bucket, "/in"), "")
	types := make(map[string]string)
	for range 2 {
		for _, e := range collect(t, from, drivers.Range{}) {
			var content drivers.Content
			if e.Type == drivers.TypeFile {
				var err error
				content, err = from.Open(t.Context(), e)
				must(t, err)
			}
			must(t, to.Target().Put(t.Context(), careful, attempt, e, content))
			if content == nil {
				continue
			}
			must(t, content.Close())
			have := one(t, to, e.Path)
			if !to.Target().Same(e, have) {
				t.Errorf("%q is not the same: %+v", e.Path, have)
			}
			types[e.Path] = have.Meta.Headers[headerType]
		}
		want := map[string]int64{warnSpecial + "symlink": 1}
		got := to.Target().Warnings()
		if got[warnFile] > 0 { // once, for those that were written
			want[warnFile] = 4
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("warnings (-want +got):\n%s", diff)
		}
	}
	for path, want := range map[string]string{"a/b.png": "image/png", "c.html": "text/html", "no-type": "application/octet-stream"} {
		if !strings.HasPrefix(types[path], want) {
			t.Errorf("%s is %q, want %q", path, types[path], want)
		}
	}
	back := t.TempDir()
	restored := open(t, "file://"+back, "")
	copyWithWarnings(t, to, restored)
	got := treeOf(t, back)
	delete(got, "a/")
	if diff := cmp.Diff(files, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

const cachedirTag = "Signature: 8a477f597d28d172789f06886806bc55"

func copyWithWarnings(t *testing.T, from, to drivers.Tree) {
	t.Helper()
	must(t, to.Target().Prepare(t.Context(), careful))
	for _, e := range collect(t, from, drivers.Range{}) {
		content, err := from.Open(t.Context(), e)
		must(t, err)
		must(t, to.Target().Put(t.Context(), careful, attempt, e, content))
		must(t, content.Close())
	}
}

func TestUnreadableDirectory(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		// Root reads everything: a directory that is none stands in.
		err := open(t, "/proc/self/status", "").Walk(t.Context(), drivers.Range{}, func(drivers.Entry) error { return nil })
		if !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("walk a file: got error %v", err)
		}
		return
	}
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "secret"), 0))
	entries := collect(t, open(t, dir, ""), drivers.Range{})
	if len(entries) != 1 || entries[0].Path != "secret" || !errors.Is(entries[0].Err, drivers.ErrAccess) {
		t.Errorf("entries: %+v", entries)
	}
}
