package archive

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestRestored(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx := t.Context()
		long := "site/" + strings.Repeat("x", 300)
		for _, node := range []string{"site", "site/Other%20db", long} {
			if _, ok, err := a.Restored(ctx, testRun, node); ok || err != nil {
				t.Errorf("nothing is noted of %s: %v, %v", node, ok, err)
			}
			for _, detail := range []string{`{"n":1}`, `{"n":2}`} {
				if err := a.KeepRestored(ctx, testRun, node, json.RawMessage(detail)); err != nil {
					t.Fatal(err)
				}
				if got, ok, err := a.Restored(ctx, testRun, node); !ok || err != nil || string(got) != detail {
					t.Errorf("noted of %s: %s, %v, %v, want %s", node, got, ok, err, detail)
				}
			}
		}
		for node, want := range map[string]string{"site": `"first"`, long: `"first"`} { // the first word counts
			for _, found := range []string{want, `"later"`} {
				if got, err := a.KeepFound(ctx, testRun, node, json.RawMessage(found)); err != nil || string(got) != want {
					t.Errorf("found in the place of %s: %s, %v, want %s", node, got, err, want)
				}
			}
		}
		for node, want := range map[string]bool{"site": true, "other": false} {
			if got, err := a.HasFound(ctx, testRun, node); err != nil || got != want {
				t.Errorf("something was found in the place of %s: %v, %v", node, got, err)
			}
		}
		if _, ok, err := a.Restored(ctx, testRun+"1", "site"); ok || err != nil {
			t.Errorf("another run's note: %v, %v", ok, err)
		}
		if runs, err := a.Runs(ctx); len(runs) > 0 || err != nil {
			t.Errorf("a note is taken for a run: %v, %v", runs, err)
		}
		if s, findings := verify(t, a); s.Foreign+s.Strays > 0 || len(findings) > 0 {
			t.Errorf("verify: %+v, %v", s, findings)
		}
		overwrite(t, a, noteKey(testRun, "site", restoredEnd), []byte("{}\n"))
		if _, ok, err := a.Restored(ctx, testRun, "site"); ok || err != nil {
			t.Errorf("a damaged note: %v, %v", ok, err)
		}
		if _, findings := verify(t, a); len(findings) != 1 {
			t.Errorf("verify of a damaged note: %v", findings)
		}
		for range 2 {
			if err := a.ForgetRestored(ctx, testRun, "site"); err != nil {
				t.Error(err)
			}
		}
		if n := len(keys(t, a)); n != 5 { // the marker, README.txt, two notes of what is restored and one of what was found
			t.Errorf("%d objects: %q", n, keys(t, a))
		}
		wantError(t, a.KeepRestored(ctx, "a/b", "site", nil), ErrInvalid)
		wantError(t, a.KeepRestored(ctx, testRun, "", nil), ErrInvalid)
	})
}
