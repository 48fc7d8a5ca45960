package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// forger rewrites what an archive says with all its hashes right, as somebody does who can write to it.
type forger struct {
	archive string
	dir     string // of the only dump
}

func newForger(t *testing.T, archive string) *forger {
	t.Helper()
	return &forger{archive, filepath.Dir(only(t, filepath.Join(archive, "dumps/*/*/manifest.json")))}
}

func only(t *testing.T, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) != 1 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	return names[0]
}

// document changes a document and gives it the hash that fits.
func (f *forger) document(t *testing.T, name string, change func(map[string]any)) (data []byte, digest string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	change(doc)
	if data, err = json.Marshal(doc); err != nil {
		t.Fatal(err)
	}
	data = append(data, '\n')
	data = append(data, digestOf(data)+"\n"...)
	writeFile(t, name, data)
	return data, digestOf(data)
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// segment replaces the entries of the node files.
func (f *forger) segment(t *testing.T, change func(lines []string) []string) {
	t.Helper()
	name := only(t, filepath.Join(f.dir, "data/default/files/segment-*"))
	packed, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	text, err := z.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	lines = append(append([]string{lines[0]}, change(lines[1:len(lines)-1])...), "")
	entries, size := 0, int64(0)
	files := 0
	for _, line := range lines[1 : len(lines)-1] {
		var e struct {
			Type string
			Size int64
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		entries++
		if e.Type == "file" {
			files++
			size += e.Size
		}
	}
	lines[len(lines)-1] = fmt.Sprintf(`{"end":{"entries":%d,"files":%d,"bytes":%d}}`+"\n", entries, files, size)
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed = e.EncodeAll([]byte(strings.Join(lines, "")), nil)
	writeFile(t, name, packed)
	node, digest := f.document(t, filepath.Join(f.dir, "nodes/default/files.json"), func(doc map[string]any) {
		s := asObject(asList(doc["segments"])[0])
		s["size"], s["sha256"] = len(packed), digestOf(packed)
		s["entries"], s["files"], s["bytes"] = entries, files, size
	})
	f.document(t, filepath.Join(f.dir, "manifest.json"), func(doc map[string]any) {
		for _, n := range asList(doc["nodes"]) {
			if n := asObject(n); n["path"] == "default/files" {
				n["size"], n["sha256"] = len(node), digest
			}
		}
	})
}

func asObject(v any) map[string]any { o, _ := v.(map[string]any); return o }
func asList(v any) []any            { l, _ := v.([]any); return l }

// chunk is what a forged file's content is; its hash is right.
func (f *forger) file(t *testing.T, path string) string {
	t.Helper()
	pack := only(t, filepath.Join(f.archive, "packs/*/*.zip"))
	line := fmt.Sprintf(`{"path":%q,"type":"file","size":4,"sha256":%q,"chunks":[{"size":4,"sha256":%q,"stored":4,"pack":%q,"at":94}],`+
		`"meta":{"mode":420}}`+"\n", path, digestOf([]byte("good")), digestOf([]byte("good")),
		strings.TrimSuffix(filepath.Base(pack), ".zip"))
	return line
}

// A manifest that names a path outside of the target is refused, and nothing is written there.
func TestPathsThatLeaveTheTarget(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		paths  []string // of forged files; one that ends in @ is a symbolic link out of the target
		verify int
		want   string
	}{
		"parent":     {[]string{"../evil"}, exitCorrupt, `"../evil"`},
		"absolute":   {[]string{"/evil"}, exitCorrupt, `"/evil"`},
		"winding":    {[]string{"a/../../evil"}, exitCorrupt, `"a/../../evil"`},
		"link":       {[]string{"link@", "link/evil"}, exitOK, `"link"`},
		"link above": {[]string{"d", "d/link@", "d/link/x/evil"}, exitOK, `"d/link"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			archive, outside := filepath.Join(dir, "archive"), filepath.Join(dir, "outside")
			writeFile(t, filepath.Join(dir, "files", "good"), []byte("good"))
			writeFile(t, filepath.Join(outside, "x", "kept"), []byte("kept"))
			mustCall(t, "dump", "--archive", archive, "--quiet", "files=dir:"+filepath.Join(dir, "files"))
			f := newForger(t, archive)
			f.segment(t, func(lines []string) []string {
				lines = lines[:1] // the root
				for _, path := range test.paths {
					switch link, isLink := strings.CutSuffix(path, "@"); {
					case isLink:
						target, err := json.Marshal([]byte(outside))
						if err != nil {
							t.Fatal(err)
						}
						lines = append(lines, fmt.Sprintf(`{"path":%q,"type":"symlink","meta":{"target":%s}}`+"\n", link, target))
					case path == "d":
						lines = append(lines, `{"path":"d","type":"dir","meta":{"mode":493}}`+"\n")
					default:
						lines = append(lines, f.file(t, path))
					}
				}
				return lines
			})
			if stdout, stderr, code := call(t, "verify", "--archive", archive); code != test.verify ||
				code != exitOK && !strings.Contains(stdout, test.want) {
				t.Errorf("verify: exit code %d\n%s%s", code, stdout, stderr)
			}
			for i, rule := range []string{"", "--overwrite", "--mirror"} {
				args := []string{"restore", "--archive", archive, "--quiet", "--into", filepath.Join(dir, "in", fmt.Sprint(i))}
				if rule != "" {
					args = append(args, rule)
				}
				_, stderr, code := call(t, args...)
				if code == exitOK && test.verify == exitOK && rule != "" {
					continue // the link made way for a directory, as if it had been there before
				}
				if code != exitCorrupt || !strings.Contains(stderr, test.want) || !strings.Contains(stderr, "salvor: hint: ") {
					t.Errorf("restore %s: exit code %d\n%s", rule, code, stderr)
				}
			}
			for _, place := range []string{outside, filepath.Join(outside, "x"), dir, filepath.Join(dir, "in"), "/"} {
				if _, err := os.Lstat(filepath.Join(place, "evil")); err == nil {
					t.Errorf("something was written to %s", place)
				}
			}
		})
	}
}

// A symbolic link that lies in the target is not followed, whatever the restore may replace.
func TestLinksInTheTarget(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	archive, outside := filepath.Join(dir, "archive"), filepath.Join(dir, "outside")
	writeFile(t, filepath.Join(dir, "files", "d", "good"), []byte("good"))
	writeFile(t, filepath.Join(outside, "kept"), []byte("kept"))
	mustCall(t, "dump", "--archive", archive, "--quiet", "files=dir:"+filepath.Join(dir, "files"))
	for _, rule := range []string{"", "--overwrite", "--mirror"} {
		target := filepath.Join(dir, "target"+rule)
		if err := os.MkdirAll(target, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, filepath.Join(target, "d")); err != nil {
			t.Fatal(err)
		}
		args := []string{"restore", "--archive", archive, "--quiet", "--into", target}
		if rule != "" {
			args = append(args, rule)
		}
		_, stderr, code := call(t, args...)
		if rule == "" && code != exitUsage || code != exitOK && !strings.Contains(stderr, "salvor: hint: ") {
			t.Errorf("restore %s: exit code %d\n%s", rule, code, stderr)
		}
		if got := restored(t, outside); len(got) != 1 {
			t.Errorf("restore %s: outside there is %v", rule, got)
		}
	}
}

// Compressed bytes that decode to far more than they should are refused before they fill the memory.
func TestBombs(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z, err := zstd.NewWriter(&bomb)
	if err != nil {
		t.Fatal(err)
	}
	for range 288 { // MiB: more than a line of a segment may have
		if _, err := z.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for kind, plant := range map[string]func(t *testing.T, f *forger){
		"pack": func(t *testing.T, f *forger) {
			t.Helper()
			pack := append(bytes.Repeat([]byte{0}, 94), bomb.Bytes()...)
			digest := digestOf(pack)
			writeFile(t, filepath.Join(f.archive, "packs", digest[:2], digest+".zip"), pack)
			f.segment(t, func(lines []string) []string {
				return append(lines[:1], fmt.Sprintf(`{"path":"a","type":"file","size":4,"chunks":[{"size":4,"sha256":%q,"zstd":true,"stored":%d,"pack":%q,"at":94}],`+
					`"meta":{"mode":420}}`+"\n", digestOf([]byte("good")), bomb.Len(), digest))
			})
		},
		"part": func(t *testing.T, f *forger) {
			t.Helper()
			writeFile(t, only(t, filepath.Join(f.dir, "data/default/site/database-*")), bomb.Bytes())
		},
		"object": func(t *testing.T, f *forger) {
			t.Helper()
			name := only(t, filepath.Join(f.archive, "objects/*/*.zst"))
			writeFile(t, name, bomb.Bytes())
			key := strings.TrimSuffix(filepath.Base(name), ".zst")
			f.segment(t, func(lines []string) []string {
				return append(lines[:1], fmt.Sprintf(`{"path":"a","type":"file","size":4,"chunks":[{"size":4,"sha256":%q,"zstd":true,"stored":%d}],`+
					`"meta":{"mode":420}}`+"\n", key, bomb.Len()))
			})
		},
		"segment": func(t *testing.T, f *forger) {
			t.Helper()
			name := only(t, filepath.Join(f.dir, "data/default/files/segment-*"))
			f.segment(t, func(lines []string) []string { return lines })
			head, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			data := append(head, bomb.Bytes()...)
			writeFile(t, name, data)
			node, digest := f.document(t, filepath.Join(f.dir, "nodes/default/files.json"), func(doc map[string]any) {
				s := asObject(asList(doc["segments"])[0])
				s["size"], s["sha256"] = len(data), digestOf(data)
			})
			f.document(t, filepath.Join(f.dir, "manifest.json"), func(doc map[string]any) {
				for _, n := range asList(doc["nodes"]) {
					if n := asObject(n); n["path"] == "default/files" {
						n["size"], n["sha256"] = len(node), digest
					}
				}
			})
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			archive := filepath.Join(dir, "archive")
			database := filepath.Join(dir, "site.db")
			db, err := openDB(database)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			if _, err := db.ExecContext(t.Context(), "CREATE TABLE t (a)"); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, "files", "good"), []byte("good"))
			writeFile(t, filepath.Join(dir, "files", "text"), bytes.Repeat([]byte("text"), bigFile))
			mustCall(t, "dump", "--archive", archive, "--quiet", "site=sqlite:"+database, "files=dir:"+filepath.Join(dir, "files"))
			plant(t, newForger(t, archive))
			if stdout, stderr, code := call(t, "verify", "--archive", archive); code != exitCorrupt || !strings.Contains(stdout, "damaged ") {
				t.Errorf("verify: exit code %d\n%s%s", code, stdout, stderr)
			}
			target := filepath.Join(dir, "target")
			_, stderr, code := call(t, "restore", "--archive", archive, "--quiet", "--into", "site="+target+".db", "--into", "files="+target)
			if code != exitCorrupt || !strings.Contains(stderr, "corrupt: ") || !strings.Contains(stderr, "salvor: hint: ") {
				t.Errorf("restore: exit code %d\n%s", code, stderr)
			}
		})
	}
}
