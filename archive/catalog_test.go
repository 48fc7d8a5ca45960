package archive

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// commitEmpty commits a dump without nodes; one with missing nodes is partial.
func commitEmpty(t *testing.T, a *Archive, ref Ref, missing ...string) {
	t.Helper()
	if err := a.Begin(t.Context(), ref, "run-"+ref.Set+ref.Dump, json.RawMessage(`{}`), nil); err != nil {
		t.Fatal(err)
	}
	err := a.Commit(t.Context(), Manifest{
		Set: ref.Set, Dump: ref.Dump, Run: "run-" + ref.Set + ref.Dump, Partial: len(missing) > 0, Missing: missing,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		_, err := a.Resolve(t.Context(), "", Latest)
		wantError(t, err, ErrNoDump)
		for _, ref := range []Ref{
			{"site", "20261120-010000-aaaa"}, {"site", "20261121-010000-bbbb"}, {"site", "20261121-020000-cccc"},
		} {
			commitEmpty(t, a, ref)
		}
		commitEmpty(t, a, Ref{"site", "20261122-010000-dddd"}, "site/media")
		if err := a.Begin(t.Context(), Ref{"site", "20261123-010000-eeee"}, "open", json.RawMessage(`{}`), nil); err != nil {
			t.Fatal(err)
		}
		resolve := func(set, name, want string) {
			t.Helper()
			ref, err := a.Resolve(t.Context(), set, name)
			if err != nil || ref.String() != want {
				t.Errorf("%s %s is %s (%v), want %s", set, name, ref, err, want)
			}
		}
		refuse := func(set, name string, want error, text string) {
			t.Helper()
			_, err := a.Resolve(t.Context(), set, name)
			wantError(t, err, want)
			if err != nil && !strings.Contains(err.Error(), text) {
				t.Errorf("%s %s: error %q does not say %q", set, name, err, text)
			}
		}
		resolve("", Latest, "site/20261121-020000-cccc") // not the partial one, not the open one
		resolve("site", Latest, "site/20261121-020000-cccc")
		resolve("", "20261122-010000-dddd", "site/20261122-010000-dddd")
		resolve("", "20261120", "site/20261120-010000-aaaa")
		resolve("site", "20261122-01", "site/20261122-010000-dddd")
		resolve("", "site/20261120", "site/20261120-010000-aaaa")
		refuse("", "20261121", ErrAmbiguous, "20261121-020000-cccc, 20261121-010000-bbbb")
		refuse("", "20261123", ErrNoDump, "20261122-010000-dddd, 20261121-020000-cccc, 20261121-010000-bbbb, 20261120-010000-aaaa")
		refuse("other", Latest, ErrNoDump, "no dump of set other")
		refuse("", "", ErrInvalid, "empty")
		refuse("../x", Latest, ErrInvalid, "set name")

		commitEmpty(t, a, Ref{"shop", "20261119-010000-ffff"})
		refuse("", Latest, ErrAmbiguous, "shop, site")
		resolve("shop", Latest, "shop/20261119-010000-ffff")
		resolve("", "20261119", "shop/20261119-010000-ffff")
		if diff := cmp.Diff([]string{"shop", "site"}, must(a.Sets(t.Context()))(t)); diff != "" {
			t.Errorf("sets (-want +got):\n%s", diff)
		}
	})
}

func TestResolveListsTenDumps(t *testing.T) {
	t.Parallel()
	location, o := places["bucket"](t)
	a := create(t, location, o)
	for i := range 12 {
		commitEmpty(t, a, Ref{"site", fmt.Sprintf("202611%02d-010000-aaaa", i+1)}, "x")
	}
	_, err := a.Resolve(t.Context(), "", "2025")
	wantError(t, err, ErrNoDump)
	if text := err.Error(); !strings.Contains(text, "20261112-010000-aaaa") || strings.Contains(text, "20261102") || !strings.Contains(text, "and 2 more") {
		t.Errorf("error is %q", text)
	}
	_, err = a.Resolve(t.Context(), "", Latest)
	wantError(t, err, ErrNoDump) // all are partial
}

func TestDamagedManifestDoesNotEndTheList(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		for _, id := range []string{"20261120-010000-aaaa", "20261121-010000-bbbb", "20261122-010000-cccc"} {
			commitEmpty(t, a, Ref{"site", id})
		}
		damaged := Ref{"site", "20261121-010000-bbbb"}.dir() + "manifest.json"
		good := object(t, a, damaged)
		overwrite(t, a, damaged, good[:10])
		dumps, err := a.Dumps(t.Context(), "site")
		wantError(t, err, ErrCorrupt)
		if len(dumps) != 2 || dumps[0].Dump != "20261120-010000-aaaa" || dumps[1].Dump != "20261122-010000-cccc" {
			t.Errorf("dumps are %+v", dumps)
		}
		if err != nil && !strings.Contains(err.Error(), damaged) {
			t.Errorf("error is %v", err)
		}
		if _, err := a.Resolve(t.Context(), "", Latest); err != nil {
			t.Error(err)
		}
		newestKey := Ref{"site", "20261122-010000-cccc"}.dir() + "manifest.json"
		overwrite(t, a, newestKey, good) // another dump's manifest
		_, err = a.Resolve(t.Context(), "", Latest)
		wantError(t, err, ErrCorrupt) // an older one is not quietly taken
	})
}

func TestRuns(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx := t.Context()
		if runs := must(a.Runs(ctx))(t); len(runs) != 0 {
			t.Errorf("a new archive has runs %+v", runs)
		}
		about := json.RawMessage(`{"dump":"site/x"}`)
		for _, run := range []string{"0193-b", "0193-a", "0194-c"} {
			if err := a.OpenRun(ctx, run, about); err != nil {
				t.Fatal(err)
			}
		}
		wantError(t, a.OpenRun(ctx, "0193-a", json.RawMessage(`{}`)), ErrExists)
		first := Run{
			Run: "0193-a", Operation: "restore", State: "done", Started: testTime, Ended: testTime.Add(time.Hour), Hostname: "h",
			Version: "test", Detail: json.RawMessage(`{"x":[1]}`),
		}
		second := Run{Run: "0193-b", Operation: "restore", State: "failed", Exit: 1, Started: testTime.Add(-time.Hour), Version: "test"}
		for _, r := range []Run{first, second, first} {
			if err := a.EndRun(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		again := first
		again.Ended = testTime.Add(2 * time.Hour)
		if err := a.EndRun(ctx, again); err != nil {
			t.Errorf("a repeated end: %v", err)
		}
		again.State = "failed"
		wantError(t, a.EndRun(ctx, again), ErrExists)
		runs := must(a.Runs(ctx))(t)
		if len(runs) != 3 || runs[2].Run != "0194-c" || runs[2].State != StateOpen || string(runs[2].Detail) != string(about) || runs[2].Started.IsZero() {
			t.Fatalf("runs are %+v", runs)
		}
		if diff := cmp.Diff([]Run{second, first}, runs[:2]); diff != "" {
			t.Errorf("runs (-want +got):\n%s", diff)
		}
		if r := must(a.Run(ctx, "0194"))(t); r.State != StateOpen {
			t.Errorf("run is %+v", r)
		}
		if r := must(a.Run(ctx, "0193-b"))(t); r.State != "failed" {
			t.Errorf("run is %+v", r)
		}
		_, err := a.Run(ctx, "0193")
		wantError(t, err, ErrAmbiguous)
		_, err = a.Run(ctx, "0195")
		wantError(t, err, ErrNoRun)
		_, err = a.Run(ctx, "")
		wantError(t, err, ErrNoRun)
		// A run that was killed between its report and the end of its mark is not open.
		if err := a.OpenRun(ctx, "0193-a", about); err != nil {
			t.Fatal(err)
		}
		if r := must(a.Run(ctx, "0193-a"))(t); r.State != "done" {
			t.Errorf("run is %+v", r)
		}
		overwrite(t, a, "runs/0193-b.json", []byte("{}\n"))
		runs, err = a.Runs(ctx)
		wantError(t, err, ErrCorrupt)
		if len(runs) != 2 {
			t.Errorf("runs are %+v", runs)
		}
	})
}
