package workers_test

import (
	"fmt"
	"strings"
	"testing"

	"salvor/archive"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// interrupt takes a run that ended back to where a kill would have left it: nothing is committed, no node is sealed, the
// ledger knows nothing.
func (b *bench) interrupt(t *testing.T, plan tasks.Plan) {
	t.Helper()
	if err := b.bucket.Delete(t.Context(), "dumps/set/"+plan.Dump+"/manifest.json"); err != nil {
		t.Fatal(err)
	}
	for path := range plan.Root.Walk() {
		if err := b.archive.Unseal(t.Context(), archive.Ref{Set: "set", Dump: plan.Dump}, path); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.ledger.Forget(t.Context(), plan.Run); err != nil {
		t.Fatal(err)
	}
}

// TestResumedTreeReadsOnlyWhatIsMissing: contents that are stored are taken, whatever is missing between is read.
func TestResumedTreeReadsOnlyWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	tree := b.site.place("tree")
	tree.exists = true
	tree.files[""] = file{dir: true}
	const files10k, perSegment = 10_000, 4096
	for i := range files10k {
		tree.put(fmt.Sprintf("f%05d", i), fmt.Sprint("text ", i), "v1")
	}
	for name, lost := range map[string][]int{
		"first": {0}, "middle": {1}, "last": {2}, "none": nil, "first two": {0, 1}, "all": {0, 1, 2},
	} {
		plan := b.dumpPlan(t, tasks.OnErrorStop, "", files())
		if s := b.run(t, plan); s.State != ledger.StateDone {
			t.Fatalf("%s: dump ended %+v", name, s)
		}
		segments := b.manifest(t, plan, "set/tree").Segments
		if len(segments) != 3 {
			t.Fatalf("%d segments", len(segments))
		}
		b.interrupt(t, plan)
		want := 0
		for _, i := range lost {
			want += int(segments[i].Files)
			if err := b.bucket.Delete(t.Context(), segments[i].Key); err != nil {
				t.Fatal(err)
			}
		}
		tree.opens = 0
		plan.Resumed = 1
		if s := b.run(t, plan); s.State != ledger.StateDone {
			t.Fatalf("%s: resumed dump ended %+v", name, s)
		}
		if tree.opens != want {
			t.Errorf("%s segment lost: %d files were read, want %d", name, tree.opens, want)
		}
		if n := len(b.entries(t, plan)); n != files10k+1 {
			t.Errorf("%s segment lost: the dump has %d entries", name, n)
		}
		if v, err := b.archive.Verify(t.Context(), nil, archive.VerifyOptions{}); err != nil || !v.OK() {
			t.Errorf("%s segment lost: archive: %+v, %v", name, v, err)
		}
	}
}

// TestResumedTreeIsWalkedAnew: what was moved, changed or removed since the run was interrupted is as it is now.
func TestResumedTreeIsWalkedAnew(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	tree := b.site.place("tree")
	tree.put("z", "moved", "v1")
	tree.put("gone", "gone", "v1")
	plan := b.dumpPlan(t, tasks.OnErrorStop, "", files())
	b.run(t, plan)
	b.interrupt(t, plan)
	delete(tree.files, "z")
	delete(tree.files, "gone")
	tree.put("a/b", "moved", "v1")
	tree.put("small", "changed", "v2")
	tree.opens = 0
	plan.Resumed = 1
	if s := b.run(t, plan); s.State != ledger.StateDone {
		t.Fatalf("resumed dump ended %+v", s)
	}
	got := b.entries(t, plan)
	if _, ok := got["a/b"]; !ok || len(got) != len(tree.files) {
		t.Errorf("the dump has %d entries, the tree %d", len(got), len(tree.files))
	}
	if tree.opens != 2 {
		t.Errorf("%d files were read, want 2", tree.opens)
	}
}

// TestResumeTakesNothingThatIsNotWhole: a segment that is damaged, of another tree, or whose contents are gone is no result.
func TestResumeTakesNothingThatIsNotWhole(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, b *bench, s archive.SegmentRecord, e map[string]archive.Entry){
		"damaged": func(t *testing.T, b *bench, s archive.SegmentRecord, _ map[string]archive.Entry) {
			t.Helper()
			data, err := b.bucket.ReadAll(t.Context(), s.Key)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.bucket.WriteAll(t.Context(), s.Key, data[:len(data)-9], nil); err != nil {
				t.Fatal(err)
			}
		},
		"contents gone": func(t *testing.T, b *bench, _ archive.SegmentRecord, e map[string]archive.Entry) {
			t.Helper()
			pack := e["small"].Chunks[0].Pack
			if err := b.bucket.Delete(t.Context(), "packs/"+pack[:2]+"/"+pack+".zip"); err != nil {
				t.Fatal(err)
			}
		},
		"another tree": func(_ *testing.T, b *bench, _ archive.SegmentRecord, _ map[string]archive.Entry) {
			tree := b.site.place("tree")
			tree.inode = 7
			tree.put("small", "other", "v1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.worker(t, "w1")
			seed(b)
			plan := b.dumpPlan(t, tasks.OnErrorStop, "", files())
			b.run(t, plan)
			segment, entries := b.manifest(t, plan, "set/tree").Segments[0], b.entries(t, plan)
			b.interrupt(t, plan)
			spoil(t, b, segment, entries)
			b.site.place("tree").opens = 0
			plan.Resumed = 1
			if s := b.run(t, plan); s.State != ledger.StateDone {
				t.Fatalf("resumed dump ended %+v", s)
			}
			want := 3
			if name == "contents gone" {
				want = 1 // only what is gone
			}
			if opens := b.site.place("tree").opens; opens != want {
				t.Errorf("%d files were read, want %d", opens, want)
			}
			if v, err := b.archive.Verify(t.Context(), nil, archive.VerifyOptions{}); err != nil || !v.OK() {
				t.Errorf("archive: %+v, %v", v, err)
			}
		})
	}
}

// TestResumedSealAnswersForItsNode: of a node that was sealed only the seal is left, and the dump holds it.
func TestResumedSealAnswersForItsNode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	plan := b.dumpPlan(t, tasks.OnErrorStop, "", rows("db"), files())
	b.run(t, plan)
	want := b.manifest(t, plan, "set/db")
	if err := b.bucket.Delete(t.Context(), "dumps/set/"+plan.Dump+"/manifest.json"); err != nil {
		t.Fatal(err)
	}
	if err := b.ledger.Forget(t.Context(), plan.Run); err != nil {
		t.Fatal(err)
	}
	b.site.place("db").parts["one"] = "newer"
	var steps []tasks.Step
	for _, s := range plan.Steps {
		if strings.HasSuffix(s.ID, ":set/db") || strings.HasSuffix(s.ID, ":set/tree") {
			if s.Kind != tasks.KindSeal {
				continue
			}
			s.Needs = nil
			s.Tasks[0].Spec = spec(t, tasks.SealSpec{Sealed: true})
		}
		steps = append(steps, s)
	}
	plan.Steps, plan.Resumed = steps, 1
	if s := b.run(t, plan); s.State != ledger.StateDone {
		t.Fatalf("resumed dump ended %+v", s)
	}
	if got := b.manifest(t, plan, "set/db"); got.Parts[0].SHA256 != want.Parts[0].SHA256 {
		t.Error("the sealed node was dumped again")
	}
}
