package postgres

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"salvor/drivers"
)

// TestBundle: whatever the sizes, every part is in one bundle, no bundle holds two tables, and a table's rows keep their order.
func TestBundle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sideBySide := rapid.IntRange(0, 9).Draw(t, "side by side")
		var parts []drivers.Part
		add := func(name string, size int64, r ref) {
			raw, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, drivers.Part{Name: name, Size: size, Ref: raw})
		}
		for i := range rapid.IntRange(1, 6).Draw(t, "tables") {
			ranges := rapid.IntRange(1, 5).Draw(t, "ranges")
			for n := range ranges {
				r := ref{Kind: kindTable, Schema: "s", Table: fmt.Sprint("t", i), From: int64(n) * 1000, Ranges: ranges}
				name := r.key()
				if ranges > 1 {
					name = r.rangeName()
				}
				for k := range rapid.IntRange(1, 12).Draw(t, "splits") {
					if k > 0 {
						add(fmt.Sprintf("%s/%d", name, k), rapid.Int64Range(0, 1<<31).Draw(t, "size"), r)
					} else {
						add(name, rapid.Int64Range(0, 1<<31).Draw(t, "size"), r)
					}
				}
			}
		}
		add("large-objects/000000", 5, ref{Kind: kindObjects})
		shuffled := rapid.Permutation(parts).Draw(t, "order")
		last := make(map[string]string) // of the table's bundles, in the order in which they come
		var seen []int
		for _, list := range new(Source).Bundle(shuffled, sideBySide) {
			tables := make(map[string]bool)
			for _, i := range list {
				r, err := readRef(shuffled[i])
				if err != nil {
					t.Fatal(err)
				}
				tables[r.key()] = true
				seen = append(seen, i)
				at := fmt.Sprintf("%09d/%09d", r.From, splitNumber(shuffled[i], r))
				if r.Kind == kindTable && last[r.key()] >= at {
					t.Errorf("%s comes after %s", at, last[r.key()])
				}
				last[r.key()] = at
			}
			if len(tables) != 1 {
				t.Errorf("a bundle of %d tables", len(tables))
			}
		}
		slices.Sort(seen)
		want := make([]int, len(parts))
		for i := range want {
			want[i] = i
		}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("parts in bundles:\n%s", diff)
		}
	})
}

// emptied makes all parts but one of each table empty.
func emptied(parts []drivers.Part) []drivers.Part {
	for i, p := range parts {
		if !strings.HasSuffix(p.Name, "/1") {
			parts[i].Size = 0
		}
	}
	return parts
}

// TestBundleSizes: two tables of about a size are loaded by one task each, one alone by as many as work.
func TestBundleSizes(t *testing.T) {
	t.Parallel()
	list := func(tables ...int) (parts []drivers.Part) {
		for i, n := range tables {
			r := ref{Kind: kindTable, Schema: "s", Table: fmt.Sprint("t", i), Ranges: 1}
			raw, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			for k := range n {
				name := r.key()
				if k > 0 {
					name = fmt.Sprintf("%s/%d", name, k)
				}
				parts = append(parts, drivers.Part{Name: name, Size: 64 << 20, Ref: raw})
			}
		}
		return parts
	}
	for name, c := range map[string]struct {
		parts []drivers.Part
		sizes []int
	}{
		"two":   {list(10, 7), []int{10, 7}},
		"one":   {list(10), []int{5, 5}},
		"small": {list(1, 1, 1), []int{1, 1, 1}},
		"empty": {emptied(list(3, 3)), []int{3, 3}}, // a piece of no rows belongs to the others
	} {
		var sizes []int
		for _, b := range new(Source).Bundle(c.parts, 2) {
			sizes = append(sizes, len(b))
		}
		if diff := cmp.Diff(c.sizes, sizes); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// TestLoadBundle: the parts of a table in one transaction, each once, whatever was loaded before and however it ends.
func TestLoadBundle(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, `CREATE TABLE big (id int PRIMARY KEY, pad text); INSERT INTO big SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 40000) i`)
	d := dumpDatabase(t, s.URL(db), `{"chunk": 1048576}`, nil)
	parts := slices.DeleteFunc(slices.Clone(d.parts), func(p drivers.Part) bool { return p.Base })
	lists := openSource(t, s.URL(db), "").Bundle(parts, 2)
	if len(parts) < 5 || len(lists) != 1 {
		t.Fatalf("%d parts in %d bundles", len(parts), len(lists))
	}
	bundle := make([]drivers.Part, len(parts))
	for i, at := range lists[0] {
		bundle[i] = parts[at]
	}
	attempt := func(token string) drivers.Attempt {
		return drivers.Attempt{Run: d.rules().Run, Task: "load", Token: token}
	}
	begin := func(t *testing.T) (string, *Source) {
		name := s.NewName()
		target := openSource(t, s.URL(name), "")
		requireNoError(t, "prepare", target.Prepare(t.Context(), d.rules(), d.parts))
		return name, target
	}
	prove := func(t *testing.T, target *Source) {
		requireNoError(t, "finish", target.Finish(t.Context(), d.rules(), d.parts))
		proof, err := target.Prove(t.Context(), d.rules(), d.parts)
		requireNoError(t, "prove", err)
		if len(proof.Differences) > 0 || proof.Rows != 40000 {
			t.Errorf("proof: %+v", proof)
		}
	}
	// Rows that were written with FREEZE are visible to all, but on a few pages, and in their old order. Before 14 the server did not
	// note so of the pages.
	const look = `SELECT relallvisible > relpages * 9 / 10 OR current_setting('server_version_num')::int < 140000, (SELECT bool_and(id = n) FROM (SELECT id, row_number() OVER (ORDER BY ctid) AS n FROM big) x)
		FROM pg_class WHERE relname = 'big'`
	t.Run("whole", func(t *testing.T) {
		t.Parallel()
		name, target := begin(t)
		requireNoError(t, "load", target.LoadBundle(t.Context(), d.rules(), attempt("a"), bundle, d.open))
		requireNoError(t, "again", target.LoadBundle(t.Context(), d.rules(), attempt("b"), bundle, d.open))
		if got := s.Query(name, "SELECT count(*) FROM pg_index WHERE indrelid = 'big'::regclass"); got != "1" {
			t.Errorf("%s indexes when the table is whole", got)
		}
		prove(t, target)
		if got := s.Query(name, look); got != "t|t" {
			t.Errorf("frozen and in order: %q", got)
		}
	})
	t.Run("some before", func(t *testing.T) {
		t.Parallel()
		_, target := begin(t)
		p := bundle[2]
		requireNoError(t, "load one", target.Load(t.Context(), d.rules(), attempt("a"), p, bytes.NewReader(d.content[p.Name])))
		requireNoError(t, "load", target.LoadBundle(t.Context(), d.rules(), attempt("b"), bundle, func(q drivers.Part) (io.ReadCloser, error) {
			if q.Name == p.Name {
				t.Errorf("%s is opened again", q.Name)
			}
			return d.open(q)
		}))
		prove(t, target)
	})
	t.Run("held by an earlier life", func(t *testing.T) {
		t.Parallel()
		_, target := begin(t)
		holder, err := target.begin(t.Context(), d.rules(), "of another number of readers", "old")
		requireNoError(t, "begin", err)
		defer holder.close(t.Context())
		_, err = holder.claim(t.Context(), []string{bundle[1].Name, bundle[2].Name}, "public.big", waitForOthers)
		requireNoError(t, "claim", err)
		requireNoError(t, "prepare", target.Prepare(t.Context(), d.rules(), d.parts))
		requireNoError(t, "load", target.LoadBundle(t.Context(), d.rules(), attempt("a"), bundle, d.open))
		prove(t, target)
	})
	t.Run("broken", func(t *testing.T) {
		t.Parallel()
		name, target := begin(t)
		err := target.LoadBundle(t.Context(), d.rules(), attempt("a"), bundle, func(p drivers.Part) (io.ReadCloser, error) {
			if p.Name == bundle[3].Name {
				return nil, errNone
			}
			return d.open(p)
		})
		if !errors.Is(err, errNone) || !strings.Contains(err.Error(), bundle[3].Name) {
			t.Errorf("load = %v", err)
		}
		if got := s.Query(name, "SELECT count(*) FROM big"); got != "0" {
			t.Errorf("%s rows of a bundle that failed", got)
		}
		requireNoError(t, "load", target.LoadBundle(t.Context(), d.rules(), attempt("b"), bundle, d.open))
		prove(t, target)
	})
	t.Run("one refused", func(t *testing.T) {
		t.Parallel()
		name, target := begin(t)
		rules := d.rules()
		rules.Continue = true
		var problems []string
		rules.Problem = func(name, _ string) { problems = append(problems, name) }
		requireNoError(t, "load", target.LoadBundle(t.Context(), rules, attempt("a"), bundle, func(p drivers.Part) (io.ReadCloser, error) {
			if p.Name == bundle[3].Name {
				return io.NopCloser(strings.NewReader("none\tx\n")), nil
			}
			return d.open(p)
		}))
		requireNoError(t, "finish", target.Finish(t.Context(), rules, d.parts))
		want := fmt.Sprint(40000 - bundle[3].Rows)
		if got := s.Query(name, "SELECT count(*) FROM big"); got != want || !slices.Equal(problems, []string{bundle[3].Name}) {
			t.Errorf("%s rows, want %s; problems %q", got, want, problems)
		}
	})
}
