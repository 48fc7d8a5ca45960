package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden archive of the current format anew")

const golden = "testdata/golden-1"

// goldenSample must never change: it is what the golden archive of format 1 holds.
func goldenSample() *sample {
	s := newSample(testRef)
	s.parts = map[string][]byte{"database": text(7, 3000), "public.orders/0": noise(8, 700), "empty": nil}
	for i := range s.files {
		if f := &s.files[i]; len(f.data) > SmallSize {
			f.data = text(2, SmallSize+4096) // an object, and small in the repository
		}
	}
	return s
}

// An archive of format 1 stays readable for good. If this test fails, the format was broken: do not update, repair.
// (The archive was written by `go test ./archive -run Golden -update`.)
func TestGoldenArchive(t *testing.T) {
	t.Parallel()
	if *update {
		writeGolden(t)
	}
	a := must(Open(t.Context(), golden, Options{}))(t)
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := goldenSample().check(t.Context(), a); err != nil {
		t.Error(err)
	}
	sum, findings := verify(t, a)
	if !sum.OK() || sum.Dumps != 1 || len(findings) != 0 {
		t.Errorf("verify says %+v %+v", sum, findings)
	}
	if ref := must(a.Resolve(t.Context(), "", Latest))(t); ref != testRef {
		t.Errorf("latest is %s", ref)
	}
	runs := must(a.Runs(t.Context()))(t)
	if len(runs) != 1 || runs[0].Run != testRun || runs[0].State != "done" || !runs[0].Started.Equal(testTime) {
		t.Errorf("runs are %+v", runs)
	}
	checkGoldenFields(t)
}

// checkGoldenFields holds the names of fields: what today's writer says must be what the golden archive says, so that a
// renamed field, which a reader of both would not notice, is noticed.
func checkGoldenFields(t *testing.T) {
	t.Helper()
	fresh := create(t, filepath.Join(t.TempDir(), "fresh"), Options{})
	if err := goldenSample().put(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	old := must(Open(t.Context(), golden, Options{}))(t)
	defer func() { _ = old.Close() }()
	for _, key := range keys(t, old) {
		if !strings.HasSuffix(key, ".json") {
			continue
		}
		if diff := cmp.Diff(fields(t, object(t, old, key)), fields(t, object(t, fresh, key))); diff != "" {
			t.Errorf("fields of %s (-golden +today):\n%s", key, diff)
		}
	}
}

// fields lists the paths of all fields of a document.
func fields(t *testing.T, document []byte) []string {
	t.Helper()
	line, _, _ := bytes.Cut(document, []byte("\n"))
	var v any
	if err := json.Unmarshal(line, &v); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, value := range v {
				seen[prefix+name] = true
				walk(prefix+name+".", value)
			}
		case []any:
			for _, value := range v {
				walk(prefix, value)
			}
		}
	}
	walk("", v)
	delete(seen, "version") // left out where the program has none
	var names []string
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func writeGolden(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(golden); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%s exists: a golden archive is not written anew; remove it first if it was never released", golden)
	}
	a := must(Create(t.Context(), golden, Options{}))(t)
	if err := errors.Join(goldenSample().put(t.Context(), a), a.Close()); err != nil {
		t.Fatal(err)
	}
}
