package workers_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// into restores one node elsewhere.
func into(path, driver, source string, only ...string) map[string]tasks.RestoreNode {
	n := tasks.RestoreNode{Driver: driver, Source: source, Elsewhere: true}
	for _, o := range only {
		n.Only = append(n.Only, []byte(o))
	}
	return map[string]tasks.RestoreNode{path: n}
}

func TestTargetRules(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", files(), rows("db"))
	if s := b.run(t, dump); s.State != ledger.StateDone {
		t.Fatalf("dump ended %+v", s)
	}
	big := b.site.place("tree").files["a/big"].data
	whole := map[string]string{"": "", "a": "", "a/big": big, "a/empty": "", "small": "hello"}
	with := func(path, data string) map[string]string {
		m := maps.Clone(whole)
		m[path] = data
		return m
	}
	tests := []struct {
		name    string
		before  map[string]string
		restore tasks.Restore
		only    []string
		code    string // of the failure; "" where it must succeed
		message string
		after   map[string]string
	}{
		{name: "absent", after: whole},
		{name: "equal", before: whole, after: whole},
		{name: "extra", before: with("other", "x"), code: "not_empty", message: `"other" is not in the dump`, after: with("other", "x")},
		{name: "differs in size", before: with("small", "x"), code: "not_empty", message: `"small" differs`, after: with("small", "x")},
		{name: "differs in content", before: with("small", "HELLO"), code: "not_empty", message: `"small" differs`, after: with("small", "HELLO")},
		{name: "overwrite", before: map[string]string{"small": "HELLO", "other": "x"}, restore: tasks.Restore{Overwrite: true}, after: with("other", "x")},
		{name: "mirror", before: map[string]string{"small": "HELLO", "b": "x", "b/c": "y", "z": "z"}, restore: tasks.Restore{Mirror: true}, after: whole},
		{name: "only", before: map[string]string{"other": "x"}, only: []string{"a"}, after: map[string]string{"a": "", "a/big": big, "a/empty": "", "other": "x"}},
		{name: "only, by whole names", only: []string{"sm"}, code: "invalid", message: `nothing named "sm"`, after: map[string]string{}},
		{name: "mirror only", before: map[string]string{"a/x": "x", "other": "x"}, restore: tasks.Restore{Mirror: true}, only: []string{"a"}, after: map[string]string{"a": "", "a/big": big, "a/empty": "", "other": "x"}},
	}
	for _, tt := range tests {
		target := b.site.place("target " + tt.name)
		for path, data := range tt.before {
			target.put(path, data, "")
			if data == "" && path != "a/empty" {
				target.files[path] = file{dir: true}
			}
		}
		tt.restore.Nodes = into("set/tree", "files", "target "+tt.name, tt.only...)
		s := b.run(t, b.restorePlan(t, dump, tt.restore))
		if tt.code == "" && s.State != ledger.StateDone {
			t.Errorf("%s: ended %+v", tt.name, s)
		}
		if tt.code != "" && (s.State != ledger.StateFailed || s.Failures[0].Code != tt.code || !strings.Contains(s.Failures[0].Message, tt.message) || s.Failures[0].Hint == "") {
			t.Errorf("%s: ended %+v", tt.name, s)
		}
		after := map[string]string{}
		for path, f := range target.files {
			after[path] = f.data
		}
		if diff := cmp.Diff(tt.after, after); diff != "" {
			t.Errorf("%s (-want +got):\n%.2000s", tt.name, diff)
		}
	}
}

func TestSourceIsNoTargetUnlessInPlace(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", files())
	b.run(t, dump)
	s := b.run(t, b.restorePlan(t, dump, tasks.Restore{Overwrite: true, Nodes: into("set/tree", "files", "tree")}))
	if s.State != ledger.StateFailed || !strings.Contains(s.Failures[0].Message, "the target is the source") || !strings.Contains(s.Failures[0].Hint, "--in-place") {
		t.Errorf("ended %+v", s)
	}
	s = b.run(t, b.restorePlan(t, dump, tasks.Restore{Overwrite: true, InPlace: true, Nodes: into("set/tree", "files", "tree")}))
	if s.State != ledger.StateDone {
		t.Errorf("in place it ended %+v", s)
	}
}

func TestRestoreRefusesDamage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", files(), rows("db"))
	b.run(t, dump)
	for _, key := range []string{b.manifest(t, dump, "set/tree").Segments[0].Key, b.manifest(t, dump, "set/db").Parts[0].Key} {
		data, err := b.bucket.ReadAll(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)-1] ^= 1
		if err := b.bucket.WriteAll(t.Context(), key, data, nil); err != nil {
			t.Fatal(err)
		}
	}
	for node, driver := range map[string]string{"set/tree": "files", "set/db": "rows"} {
		s := b.run(t, b.restorePlan(t, dump, tasks.Restore{Nodes: into(node, driver, "new "+driver)}))
		if s.State != ledger.StateFailed || s.Failures[0].Code != "archive_corrupt" {
			t.Errorf("restore of %s ended %+v", node, s)
		}
	}
	if rows, tree := b.site.place("new rows").parts, b.site.place("new files").files; len(rows) > 1 || len(tree) != 0 {
		t.Errorf("damage was restored: %v, %v", rows, tree)
	}
}

// TestNothingIsReplacedByWhatIsNotThere: a part that is gone, or cut, is found before anything of the target is removed.
func TestNothingIsReplacedByWhatIsNotThere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", rows("db"))
	b.run(t, dump)
	parts := b.manifest(t, dump, "set/db").Parts
	key := parts[len(parts)-1].Key
	data, err := b.bucket.ReadAll(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func() error{
		"cut":  func() error { return b.bucket.WriteAll(t.Context(), key, data[:len(data)-1], nil) },
		"gone": func() error { return b.bucket.Delete(t.Context(), key) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		for _, how := range []tasks.Restore{{Clean: true}, {Overwrite: true}} {
			how.Nodes = into("set/db", "rows", "target")
			s := b.run(t, b.restorePlan(t, dump, how))
			if s.State != ledger.StateFailed || s.Failures[0].Code != "archive_corrupt" || !strings.Contains(s.Failures[0].Task, "check") {
				t.Errorf("%s: restore ended %+v", name, s)
			}
			if target := b.site.place("target"); target.exists {
				t.Errorf("%s: the target was prepared", name)
			}
		}
	}
}

func TestEntryThatTheTargetRefusesIsListed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	tree := b.site.place("tree")
	tree.put("long/name", "x", "")
	tree.put("short", "y", "")
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", files())
	b.run(t, dump)
	restore := b.restorePlan(t, dump, tasks.Restore{Nodes: into("set/tree", "files", "new")})
	if s := b.run(t, restore); s.State != ledger.StateDone {
		t.Fatalf("ended %+v", s)
	}
	r := results[tasks.NodeResult](t, b, restore.Run, "finish:set/tree")[0]
	if r.Unreadable != 1 || len(r.Problems) != 1 || r.Problems[0].Path != "long/name" || b.site.place("new").files["short"].data != "y" {
		t.Errorf("restore said %+v", r)
	}
}

func TestMirrorKeepsWhatTheDumpCouldNotRead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	tree := b.site.place("tree")
	tree.files["private"] = file{dir: true}
	tree.broken = map[string]error{"private": drivers.ErrAccess}
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", files())
	b.run(t, dump)
	target := b.site.place("new")
	target.files["private"] = file{dir: true}
	target.put("private/key", "precious", "")
	target.put("private-not", "extra", "")
	restore := b.restorePlan(t, dump, tasks.Restore{Mirror: true, Nodes: into("set/tree", "files", "new")})
	if s := b.run(t, restore); s.State != ledger.StateDone {
		t.Fatalf("ended %+v", s)
	}
	_, extra := target.files["private-not"]
	if target.files["private/key"].data != "precious" || extra {
		t.Errorf("the target holds %v", target.files)
	}
	if r := results[tasks.NodeResult](t, b, restore.Run, "finish:set/tree")[0]; r.Unreadable != 2 {
		t.Errorf("restore said %+v, want the directory and the file that was kept", r)
	}
}

func TestTargetsThatLieInEachOther(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", files(), rows("db"))
	b.run(t, dump)
	b.site.place("outer").path = "/srv"
	b.site.place("twin").path = "/srv"
	b.site.place("free").path = "/srv/x/db"
	b.site.place("taken").path = "/srv/a/big"
	for _, tt := range []struct{ db, message string }{
		{"twin", "restored to the same place"},
		{"taken", `holds "a/big", where node`},
		{"free", ""},
	} {
		nodes := into("set/tree", "files", "outer")
		nodes["set/db"] = into("set/db", "rows", tt.db)["set/db"]
		outer := b.site.place("outer")
		outer.put("x/db", "the other node's", "")
		s := b.run(t, b.restorePlan(t, dump, tasks.Restore{Mirror: true, Nodes: nodes}))
		if tt.message == "" {
			if s.State != ledger.StateDone || outer.files["x/db"].data != "the other node's" {
				t.Errorf("%s: ended %+v with %v", tt.db, s, outer.files["x/db"])
			}
			continue
		}
		if s.State != ledger.StateFailed || !strings.Contains(s.Failures[0].Message, tt.message) || len(b.site.place(tt.db).loads) != 0 {
			t.Errorf("%s: ended %+v", tt.db, s)
		}
	}
}
