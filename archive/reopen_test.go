package archive

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReopen(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx := t.Context()
		if err := a.Begin(ctx, testRef, testRun, json.RawMessage(`{}`), json.RawMessage(`{"n":1}`)); err != nil {
			t.Fatal(err)
		}
		if err := a.EndRun(ctx, Run{Run: testRun, Set: testRef.Set, Dump: testRef.Dump, State: "failed", Exit: 1}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := a.Reopen(ctx, testRun, 2, testRef, json.RawMessage(`{"n":2}`)); err != nil {
				t.Fatal(err)
			}
		}
		wantError(t, a.Reopen(ctx, testRun, 2, testRef, json.RawMessage(`{"n":3}`)), ErrExists) // a twin
		run, err := a.Run(ctx, testRun)
		if err != nil {
			t.Fatal(err)
		}
		if run.State != StateOpen || run.Life != 2 || run.Dump != testRef.Dump || string(run.Detail) != `{"n":2}` {
			t.Errorf("run that was opened again: %+v", run)
		}
		// A report of an earlier life that comes late ends nothing.
		if err := a.EndRun(ctx, Run{Run: testRun, Set: testRef.Set, Dump: testRef.Dump, State: "failed", Exit: 1}); err != nil {
			t.Errorf("late report: %v", err)
		}
		if run, err := a.Run(ctx, testRun); err != nil || run.State != StateOpen {
			t.Errorf("after the late report: %+v, %v", run, err)
		}
		for life := 2; life < 12; life++ {
			if life > 2 {
				if err := a.Reopen(ctx, testRun, life, testRef, nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.EndRun(ctx, Run{Run: testRun, Life: life, State: "ended", Exit: life}); err != nil {
				t.Errorf("the run cannot end again: %v", err)
			}
		}
		if runs, err := a.Runs(ctx); err != nil || len(runs) != 1 || runs[0].Exit != 11 {
			t.Errorf("runs: %+v, %v", runs, err)
		}
		if sum, findings := verify(t, a); !sum.OK() || len(findings) > 1 { // the plan is a stray
			t.Errorf("verify: %+v, %+v", sum, findings)
		}
		wantError(t, a.Reopen(ctx, "../x", 2, Ref{}, nil), ErrInvalid)
		wantError(t, a.Reopen(ctx, testRun, 1, Ref{}, nil), ErrInvalid)
		wantError(t, a.Reopen(ctx, testRun, 2, Ref{Set: "..", Dump: "x"}, nil), ErrInvalid)
		wantError(t, a.Reopen(ctx, testRun, 2, Ref{}, json.RawMessage(`{`)), ErrInvalid)
	})
}

func TestRunOfKey(t *testing.T) {
	t.Parallel()
	for _, life := range []int{1, 2, 10} {
		for _, key := range []string{openRunKey("a-1", life), runKey("a-1", life)} {
			run, got, report, ok := runOfKey(key)
			if run != "a-1" || got != life || !ok || report != (key == runKey("a-1", life)) {
				t.Errorf("runOfKey(%q) = %q, %d, %v, %v", key, run, got, report, ok)
			}
		}
	}
	for _, key := range []string{"runs/a.1.open", "runs/a.02.open", "runs/a.x.json", "runs/a.2.3.json", "runs/.open", "runs/a", "packs/a.json", "runs/a..json", "runs/-a.json"} {
		if _, _, _, ok := runOfKey(key); ok {
			t.Errorf("runOfKey takes %q", key)
		}
	}
}

func TestSealedAndUnseal(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx := t.Context()
		s := newSample(testRef)
		if err := s.put(ctx, a); err != nil {
			t.Fatal(err)
		}
		m, err := a.Manifest(ctx, testRef)
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, a.Unseal(ctx, testRef, m.Nodes[0].Path), ErrExists)
		if err := a.store.remove(ctx, testRef.dir()+"manifest.json"); err != nil {
			t.Fatal(err)
		}
		got, ok, err := a.Sealed(ctx, testRef, m.Nodes[0].Path)
		if err != nil || !ok {
			t.Fatalf("Sealed: %v, %v", ok, err)
		}
		if diff := cmp.Diff(m.Nodes[0], got); diff != "" {
			t.Errorf("record (-committed +found):\n%s", diff)
		}
		for range 2 {
			if err := a.Unseal(ctx, testRef, m.Nodes[0].Path); err != nil {
				t.Fatal(err)
			}
		}
		if _, ok, err := a.Sealed(ctx, testRef, m.Nodes[0].Path); ok || err != nil {
			t.Errorf("Sealed of a node without a manifest: %v, %v", ok, err)
		}
		overwrite(t, a, nodeKey(testRef, m.Nodes[1].Path), []byte("{}\n"))
		if _, ok, err := a.Sealed(ctx, testRef, m.Nodes[1].Path); ok || err != nil {
			t.Errorf("Sealed of a node with a damaged manifest: %v, %v", ok, err)
		}
	})
}

func TestStoredSegments(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx := t.Context()
		put := func(name SegmentName, paths ...string) SegmentRecord {
			t.Helper()
			name.Node = "set/n"
			var entries []Entry
			for _, p := range paths {
				entries = append(entries, Entry{Path: p, Type: "directory", Meta: json.RawMessage(`{}`)})
			}
			rec, err := a.PutSegment(ctx, testRef, name, entries)
			if err != nil {
				t.Fatal(err)
			}
			return rec
		}
		last := put(SegmentName{Index: 3, From: "x", Token: "a", Root: "r"}, "x\xff", "y")
		short := put(SegmentName{Index: 0, To: "m", Token: "b", Root: "r"}, "", "a")
		long := put(SegmentName{Index: 0, To: "x", Token: "c", Root: "r"}, "", "a", "m")
		damaged := put(SegmentName{Index: 7, From: "z", Token: "d"}, "z")
		overwrite(t, a, damaged.Key, []byte("no segment"))
		overwrite(t, a, dataDir(testRef, "set/n")+"segment-000001-e.jsonl.zst", object(t, a, last.Key)) // another's name

		got, err := a.StoredSegments(ctx, testRef, "set/n")
		if err != nil {
			t.Fatal(err)
		}
		want := []StoredSegment{
			{long.Key, long.Size, "", "x", "r"}, {short.Key, short.Size, "", "m", "r"}, {last.Key, last.Size, "x", "", "r"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("segments (-want +got):\n%s", diff)
		}
		read := func(s StoredSegment) (paths []string, err error) {
			err = a.StoredEntries(ctx, s, func(e Entry) error { paths = append(paths, e.Path); return nil })
			return paths, err
		}
		if paths, err := read(want[0]); err != nil || !slices.Equal(paths, []string{"", "a", "m"}) {
			t.Errorf("entries %q, %v", paths, err)
		}
		for name, ask := range map[string]StoredSegment{
			"another range": {Key: long.Key, To: "m"}, "a missing one": {Key: long.Key + "x"}, "a damaged one": {Key: damaged.Key, From: "z"},
		} {
			if _, err := read(ask); !errors.Is(err, ErrCorrupt) {
				t.Errorf("entries of %s: %v", name, err)
			}
		}
		data := slices.Clone(object(t, a, long.Key))
		for i := range data {
			data[i] ^= 1
			overwrite(t, a, long.Key, data)
			if paths, err := read(want[0]); err == nil && !slices.Equal(paths, []string{"", "a", "m"}) { // some bits mean nothing
				t.Errorf("byte %d is changed, and nobody noticed: %q", i, paths)
			}
			data[i] ^= 1
		}
	})
}

func FuzzSegmentHeader(f *testing.F) {
	location, o := places["bucket"](f)
	a := create(f, location, o)
	rec, err := a.PutSegment(f.Context(), testRef, SegmentName{Node: "n", Token: "t"}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(object(f, a, rec.Key))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		overwrite(t, a, rec.Key, data)
		if _, err := a.StoredSegments(t.Context(), testRef, "n"); err != nil {
			t.Error(err)
		}
		err := a.StoredEntries(t.Context(), StoredSegment{Key: rec.Key}, func(Entry) error { return nil })
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewerFormat) {
			t.Error(err)
		}
	})
}
