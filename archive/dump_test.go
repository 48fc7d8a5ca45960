package archive

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var testRef = Ref{"site", "20261122-043000-7f3a"}

func TestDumpRoundTrip(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		s := newSample(testRef)
		if err := s.put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if err := s.check(t.Context(), a); err != nil {
			t.Error(err)
		}
		plan := must(a.Plan(t.Context(), testRef))(t)
		if string(plan) != `{"contract":1}` {
			t.Errorf("plan is %s", plan)
		}
		m := must(a.Manifest(t.Context(), testRef))(t)
		if m.Version != "test" || m.Run != testRun || len(m.Nodes) != 2 {
			t.Errorf("manifest is %+v", m)
		}
		if rec := m.Nodes[1]; rec.Unreadable != 1 || rec.Parts != 2 || rec.Entries != int64(len(s.files)) {
			t.Errorf("record of the tree is %+v", rec)
		}
		sum, findings := verify(t, a)
		if len(findings) > 0 || !sum.OK() || sum.Dumps != 1 {
			t.Errorf("verify says %+v %+v", sum, findings)
		}
	})
}

func TestEverythingMayBeRepeated(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		s := newSample(testRef)
		if err := s.put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		stored := s.done["tree"].Stored
		clear(s.done) // the second time everything anew with the same token: as when all answers were lost
		rerun := *s
		if _, err := rerun.putStream(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		_, err := rerun.putTree(t.Context(), a)
		wantError(t, err, ErrExists) // its manifest says that nothing was newly stored
		if again := rerun.done["tree"]; again.Stored != 0 || stored == 0 {
			t.Errorf("%d bytes were stored, then %d", stored, again.Stored)
		}
		rerun.done["tree"].Stored, rerun.done["tree"].Segments[0].Stored = stored, stored
		if err := rerun.put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		before := keys(t, a)
		m := must(a.Manifest(t.Context(), testRef))(t)
		m.Ended = m.Ended.Add(time.Hour)
		if err := a.Commit(t.Context(), m); err != nil {
			t.Errorf("commit with other times: %v", err)
		}
		m.Nodes = m.Nodes[:1]
		wantError(t, a.Commit(t.Context(), m), ErrExists)
		wantError(t, a.Begin(t.Context(), testRef, "another-run", json.RawMessage(`{}`), nil), ErrExists)
		n := must(a.Node(t.Context(), testRef, m.Nodes[0]))(t)
		n.Ended = n.Ended.Add(time.Hour)
		rec := must(a.PutNode(t.Context(), n))(t)
		if diff := cmp.Diff(m.Nodes[0], rec); diff != "" {
			t.Errorf("record of a repeated node (-want +got):\n%s", diff)
		}
		n.Bytes++
		_, err = a.PutNode(t.Context(), n)
		wantError(t, err, ErrExists)
		wantError(t, a.EndRun(t.Context(), Run{Run: testRun, State: "failed", Exit: 1}), ErrExists)
		before = append(before, "runs/another-run.open")
		slices.Sort(before)
		if diff := cmp.Diff(before, keys(t, a)); diff != "" {
			t.Errorf("objects changed (-want +got):\n%s", diff)
		}
	})
}

func TestCommitOrder(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx := t.Context()
		s := newSample(testRef)
		m := Manifest{Set: testRef.Set, Dump: testRef.Dump, Run: testRun}
		wantError(t, a.Commit(ctx, m), ErrNoDump) // it was never begun
		if err := a.Begin(ctx, testRef, testRun, json.RawMessage(`{}`), nil); err != nil {
			t.Fatal(err)
		}
		rec := must(s.putStream(ctx, a))(t)
		wrong := rec
		wrong.SHA256 = strings.Repeat("0", 64)
		m.Nodes = []NodeRecord{wrong}
		wantError(t, a.Commit(ctx, m), ErrCorrupt)
		absent := rec
		absent.Path, absent.Key = "site/x", nodeKey(testRef, "site/x")
		m.Nodes = []NodeRecord{rec, absent}
		wantError(t, a.Commit(ctx, m), ErrCorrupt)
		m.Nodes = []NodeRecord{rec, rec}
		wantError(t, a.Commit(ctx, m), ErrInvalid)
		m.Nodes, m.Missing = []NodeRecord{rec}, []string{"site/x"}
		wantError(t, a.Commit(ctx, m), ErrInvalid) // partial is not said
		if dumps := must(a.Dumps(ctx, "site"))(t); len(dumps) != 0 {
			t.Errorf("uncommitted dump is listed: %+v", dumps)
		}
		_, err := a.Manifest(ctx, testRef)
		wantError(t, err, ErrNoDump)
		m.Partial = true
		if err := a.Commit(ctx, m); err != nil {
			t.Error(err)
		}
	})
}

func TestCommitRace(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx := t.Context()
		if err := a.Begin(ctx, testRef, testRun, json.RawMessage(`{}`), nil); err != nil {
			t.Fatal(err)
		}
		var wins, losses int
		race(func(i int) error {
			return a.Commit(ctx, Manifest{
				Set: testRef.Set, Dump: testRef.Dump, Run: testRun, Partial: true, Missing: []string{string(rune('a' + i))},
			})
		}, func(err error) {
			switch {
			case err == nil:
				wins++
			case errors.Is(err, ErrExists):
				losses++
			default:
				t.Error(err)
			}
		})
		if wins != 1 || losses != 7 {
			t.Errorf("%d commits won, %d lost", wins, losses)
		}
	})
}

// race runs eight at once.
func race(run func(i int) error, result func(error)) {
	const n = 8
	start := make(chan struct{})
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = run(i)
		})
	}
	close(start)
	wg.Wait()
	for _, err := range errs {
		result(err)
	}
}

func TestNewDumpID(t *testing.T) {
	t.Parallel()
	location, o := places["local"](t)
	o.now = func() time.Time { return testTime.Add(300 * time.Millisecond) }
	a := create(t, location, o)
	ctx := t.Context()
	first := must(a.NewDumpID(ctx, "site"))(t)
	if !strings.HasPrefix(first, "20261122-043000-") || (Ref{"site", first}).check() != nil {
		t.Errorf("first dump is %q", first)
	}
	// An open dump counts, and so does one of a clock that is ahead.
	for _, ahead := range []string{first, "20261122-050000-0000"} {
		if err := a.Begin(ctx, Ref{"site", ahead}, "run-"+ahead, json.RawMessage(`{}`), nil); err != nil {
			t.Fatal(err)
		}
	}
	if next := must(a.NewDumpID(ctx, "site"))(t); !strings.HasPrefix(next, "20261122-050001-") {
		t.Errorf("next dump is %q", next)
	}
	if other := must(a.NewDumpID(ctx, "other"))(t); !strings.HasPrefix(other, "20261122-043000-") {
		t.Errorf("another set's dump is %q", other)
	}
	_, err := a.NewDumpID(ctx, "../x")
	wantError(t, err, ErrInvalid)
}

func TestNamesAreChecked(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx := t.Context()
		for _, ref := range []Ref{{"", testRef.Dump}, {"a/b", testRef.Dump}, {"..", testRef.Dump}, {"site", "latest"}, {"site", "20261122-043000-7F3A"}} {
			wantError(t, a.Begin(ctx, ref, testRun, json.RawMessage(`{}`), nil), ErrInvalid)
			_, err := a.Manifest(ctx, ref)
			wantError(t, err, ErrInvalid)
		}
		for _, run := range []string{"", "a/b", "..", "-x", strings.Repeat("a", 65)} {
			wantError(t, a.Begin(ctx, testRef, run, json.RawMessage(`{}`), nil), ErrInvalid)
			wantError(t, a.OpenRun(ctx, run, nil), ErrInvalid)
			wantError(t, a.EndRun(ctx, Run{Run: run}), ErrInvalid)
		}
		for _, p := range []PartName{
			{Node: "", Name: "a", Token: "t"},
			{Node: "a//b", Name: "a", Token: "t"},
			{Node: "a", Name: "", Token: "t"},
			{Node: "a", Name: "a\x00", Token: "t"},
			{Node: "a", Name: "a", Token: ""},
			{Node: "a", Name: "a", Token: "../t"},
			{Node: "a", Name: "a", Token: "t", Ext: "/"},
			{Node: "a", Name: strings.Repeat("a", 513), Token: "t"},
		} {
			_, err := a.CreatePart(ctx, testRef, p)
			wantError(t, err, ErrInvalid)
		}
		wantError(t, a.Begin(ctx, testRef, testRun, json.RawMessage(`{`), nil), ErrInvalid)
	})
}

func TestOddPartNames(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		seen := map[string]string{}
		for _, name := range []string{
			"a", "A", "a/b", "a//b", "/", ".", "..", "../../x", ".hidden", "ä", "\xff", "a b\n", "%2F", strings.Repeat("ö", 250), strings.Repeat("ö", 249) + "x",
		} {
			s := &sample{ref: testRef, parts: map[string][]byte{name: []byte(name)}}
			rec, err := s.putPart(t.Context(), a, PartName{Node: "site/main db/ü", Name: name, Ext: "sql", Token: "t1"})
			if err != nil {
				t.Errorf("part %q: %v", name, err)
				continue
			}
			lower := strings.ToLower(rec.Key)
			if other, ok := seen[lower]; ok && !strings.EqualFold(other, name) {
				t.Errorf("parts %q and %q have one key %s", name, other, rec.Key)
			}
			seen[lower] = name
			if !validKey(rec.Key) {
				t.Errorf("part %q has key %q", name, rec.Key)
			}
			if got := must(readPart(t.Context(), a, rec))(t); string(got) != name {
				t.Errorf("part %q reads %q", name, got)
			}
		}
	})
}
