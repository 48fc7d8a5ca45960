package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Whatever happens to whatever is stored: verify names it and what it belongs to, and a restore writes what was dumped or
// fails. Nothing but the command is used.
func TestEveryDamage(t *testing.T) {
	t.Parallel()
	s := makeWhole(t)
	byKind := make(map[string][]string)
	for key := range s.stored {
		byKind[kindOfKey(key)] = append(byKind[kindOfKey(key)], key)
	}
	kinds := []string{
		"compressed object", "manifest.json", "node", "object", "pack", "part", "plan.json", "README.txt", "report", "salvor.json", "segment",
	}
	if diff := cmp.Diff(kinds, slices.SortedFunc(maps.Keys(byKind), func(a, b string) int {
		return strings.Compare(strings.ToLower(a), strings.ToLower(b))
	})); diff != "" {
		t.Fatalf("kinds of stored objects (-want +got):\n%s", diff)
	}
	for kind, keys := range byKind {
		if len(keys) < 2 && kind != "README.txt" && kind != "salvor.json" {
			t.Errorf("there is one %s only: it cannot be taken for another", kind)
		}
		slices.Sort(keys)
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d := &damagedSite{wholeArchive: s, archive: filepath.Join(t.TempDir(), "archive")}
			if err := os.CopyFS(d.archive, os.DirFS(s.archive)); err != nil {
				t.Fatal(err)
			}
			for i, key := range keys {
				d.key(t, key, keys[(i+1)%len(keys)])
			}
			if stdout, stderr, code := call(t, "verify", "--archive", d.archive, "--quiet"); code != exitOK || stdout != "" {
				t.Errorf("the repaired archive: exit code %d\n%s%s", code, stdout, stderr)
			}
		})
	}
}

// wholeArchive is an archive with two dumps, and what a restore of each makes.
type wholeArchive struct {
	archive string
	stored  map[string][]byte
	dumps   map[string]map[string]string // by dump: the digest of each file that a restore writes
}

const bigFile = 1<<20 + 4321 // too long for a pack

// makeWhole dumps a database and a directory twice; both change in between.
func makeWhole(t *testing.T) *wholeArchive {
	t.Helper()
	dir := t.TempDir()
	s := &wholeArchive{archive: filepath.Join(dir, "archive"), stored: make(map[string][]byte), dumps: make(map[string]map[string]string)}
	database, files := filepath.Join(dir, "site.db"), filepath.Join(dir, "files")
	db, err := openDB(database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	names := []string{"a", ".hidden", "with space", "new\nline", "\xff\xfe", "ünïcode", "-rf", "d/e/f", "d/e/f~", "same"}
	for round := range 2 {
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf("CREATE TABLE t%d AS SELECT %d AS a, hex(randomblob(3000)) AS b", round, round)); err != nil {
			t.Fatal(err)
		}
		for _, name := range names { // the later ones come first, so that the packs differ from their beginning
			writeFile(t, filepath.Join(files, fmt.Sprint("round", 9-round), name), []byte(name+" in round "+fmt.Sprint(round)))
		}
		writeFile(t, filepath.Join(files, fmt.Sprint("noise", round)), noise(round, bigFile))
		writeFile(t, filepath.Join(files, fmt.Sprint("text", round)), bytes.Repeat(fmt.Appendf(nil, "line of round %d\n", round), bigFile/16))
		args := []string{"dump", "--archive", s.archive, "--quiet", "--full", "site=sqlite:" + database, "files=dir:" + files}
		id := strings.TrimSpace(mustCall(t, args...))
		target := filepath.Join(dir, fmt.Sprint("target", round))
		mustCall(t, "restore", "--archive", s.archive, id, "--into", "site="+target+".db", "--into", "files="+target)
		sameAsSource(t, database, target+".db", describeDB)
		sameAsSource(t, files, target, describeTree)
		s.dumps[id] = restored(t, target)
	}
	err = fs.WalkDir(os.DirFS(s.archive), ".", func(key string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			s.stored[key], err = os.ReadFile(filepath.Join(s.archive, key))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func writeFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// noise returns bytes that cannot be compressed, other ones for each seed.
func noise(seed, n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(data) // it never fails: the documentation says so
	return data
}

func sameAsSource(t *testing.T, source, target string, describe func(string) (map[string]string, error)) {
	t.Helper()
	want, err := describe(source)
	if err != nil {
		t.Fatal(err)
	}
	got, err := describe(target)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("the restored (-source +target):\n%s", diff)
	}
}

// restored returns the digests of all files below a target, and of the database beside it.
func restored(t *testing.T, target string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for _, root := range []string{target, target + ".db"} {
		err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
			if os.IsNotExist(err) && name == root {
				return nil
			}
			if err == nil && e.Type().IsRegular() {
				out[strings.TrimPrefix(name, target)], err = hashFile(name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// kindOfKey says what is stored under a key.
func kindOfKey(key string) string {
	switch parts := strings.Split(key, "/"); {
	case len(parts) == 1:
		return key
	case parts[0] == "packs":
		return "pack"
	case parts[0] == "objects" && strings.HasSuffix(key, ".zst"):
		return "compressed object"
	case parts[0] == "objects":
		return "object"
	case parts[0] == "runs":
		return "report"
	case len(parts) == 4:
		return parts[3]
	case parts[3] == "nodes":
		return "node"
	case strings.HasPrefix(parts[len(parts)-1], "segment-"):
		return "segment"
	default:
		return "part"
	}
}

// damagedSite is a copy of the archive that is damaged again and again.
type damagedSite struct {
	*wholeArchive
	archive string
}

// key damages one object in every way; other is another of its kind.
func (d *damagedSite) key(t *testing.T, key, other string) {
	t.Helper()
	good := d.stored[key]
	flipped := func(at int) []byte {
		data := bytes.Clone(good)
		data[at] ^= 1
		return data
	}
	ways := []struct {
		how     string
		stored  []byte
		restore bool // this, too, is tried
	}{
		{"first byte flipped", flipped(0), false},
		{"byte in the middle flipped", flipped(len(good) / 2), true},
		{"last byte flipped", flipped(len(good) - 1), false},
		{"cut", good[:len(good)-1], false},
		{"halved", good[:len(good)/2], true},
		{"emptied", []byte{}, false},
		{"longer", append(bytes.Clone(good), good[:min(100, len(good))]...), false},
		{"deleted", nil, true},
		{"swapped", d.stored[other], true},
	}
	for _, way := range ways {
		if way.how == "swapped" && other == key {
			continue
		}
		d.put(t, key, way.stored)
		if way.how == "swapped" {
			d.put(t, other, good)
			d.verify(t, other, way.how)
		}
		finding := d.verify(t, key, way.how)
		if way.restore {
			d.restore(t, key, way.how, finding.Dump)
		}
		d.put(t, key, good)
		d.put(t, other, d.stored[other])
	}
}

func (d *damagedSite) put(t *testing.T, key string, stored []byte) {
	t.Helper()
	name := filepath.Join(d.archive, key)
	var err error
	if stored == nil {
		err = os.Remove(name)
	} else {
		err = os.WriteFile(name, stored, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// verify checks what the command says of a damaged object.
func (d *damagedSite) verify(t *testing.T, key, how string) (found findingLine) {
	t.Helper()
	what, kind := key+" "+how, kindOfKey(key)
	stdout, stderr, code := call(t, "verify", "--archive", d.archive, "--json")
	if key == "salvor.json" {
		// Then nothing of the archive is read, and the command's error names it.
		if code != exitCorrupt || !strings.Contains(stderr, "corrupt: salvor.json: ") || !strings.Contains(stderr, "salvor: hint: ") {
			t.Errorf("%s: exit code %d\n%s", what, code, stderr)
		}
		return found
	}
	for line := range strings.Lines(stdout) {
		var f findingLine
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		if f.Key == key {
			found = f
		}
	}
	wantKind, wantCode := "damaged", exitCorrupt
	if how == "deleted" {
		wantKind = "missing"
	}
	made := kind == "report" && bytes.Contains(d.stored[key], []byte(`"operation":"dump"`))
	switch {
	case kind == "README.txt", made && how == "deleted":
		wantKind, wantCode = "notice", exitOK
	case kind == "report" && how == "deleted":
		wantKind, wantCode = "", exitOK // nothing else names it
	}
	if found.Kind != wantKind || code != wantCode {
		t.Errorf("%s: exit code %d, want %d; finding %+v, want %q\n%s%s", what, code, wantCode, found, wantKind, stdout, stderr)
		return found
	}
	if found.Kind != "" {
		d.belongs(t, what, how, found)
	}
	return found
}

// belongs checks that a finding says what the object belongs to.
func (d *damagedSite) belongs(t *testing.T, what, how string, found findingLine) {
	t.Helper()
	parts := strings.Split(found.Key, "/")
	kind := kindOfKey(found.Key)
	var want findingLine
	switch kind {
	case "README.txt":
		return
	case "report":
		if found.Kind != "notice" {
			return // it cannot be read
		}
		want.Dump = found.Dump
	case "pack", "object", "compressed object":
		want.Dump, want.Node = found.Dump, "default/files"
		if _, ok := d.dumps[found.Dump]; !ok {
			t.Errorf("%s: it belongs to no dump: %+v", what, found)
		}
		lost := kind != "pack" || how == "emptied" || how == "deleted" || how == "swapped"
		if lost && (found.Entries == 0 || len(found.Paths) == 0) {
			t.Errorf("%s: no entries are named: %+v", what, found)
		}
	default:
		want.Dump = parts[2]
		switch kind {
		case "node":
			want.Node = strings.TrimSuffix(strings.Join(parts[4:], "/"), ".json")
		case "segment":
			want.Node = "default/files"
		case "part":
			want.Node, want.Part = "default/site", "database"
		}
	}
	if found.Set != "default" || found.Dump != want.Dump || found.Node != want.Node || found.Part != want.Part || found.Message == "" {
		t.Errorf("%s: the finding is %+v, want one of %+v", what, found, want)
	}
}

// restore checks that what is restored is what was dumped, or nothing.
func (d *damagedSite) restore(t *testing.T, key, how, id string) {
	t.Helper()
	if id == "" {
		id = slices.Max(slices.Collect(maps.Keys(d.dumps)))
	}
	what, target := key+" "+how, filepath.Join(t.TempDir(), "target")
	_, stderr, code := call(t, "restore", "--archive", d.archive, id, "--into", "site="+target+".db", "--into", "files="+target)
	want, got := d.dumps[id], restored(t, target)
	switch {
	case code == exitOK:
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: the restore succeeded (-want +got):\n%s", what, diff)
		}
		kind := kindOfKey(key)
		if kind != "README.txt" && kind != "report" && (kind != "pack" || how == "deleted" || how == "swapped") {
			t.Errorf("%s: the restore succeeded, which needs the object", what)
		}
	case code == exitCorrupt, code == exitUsage && kindOfKey(key) == "manifest.json" && how == "deleted": // then there is no such dump
		if !strings.Contains(stderr, "salvor: hint: ") {
			t.Errorf("%s: there is no hint:\n%s", what, stderr)
		}
		for name, digest := range got {
			if want[name] != digest {
				t.Errorf("%s: the restore failed, and left a wrong %q", what, name)
			}
		}
	default:
		t.Errorf("%s: the restore ended with %d:\n%s", what, code, stderr)
	}
	d.forgetRuns(t)
}

// forgetRuns removes the reports of the restores.
func (d *damagedSite) forgetRuns(t *testing.T) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(d.archive, "runs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if d.stored["runs/"+filepath.Base(name)] != nil {
			continue
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}
