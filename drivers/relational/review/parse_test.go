package review_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers/relational"
	"salvor/drivers/relational/merge"
	"salvor/drivers/relational/review"
	"salvor/internal/yamltree"
)

var update = flag.Bool("update", false, "write the golden files")

// shop is a model of orders, users, links and a log without a key.
func shop() *relational.Model {
	key := func(columns ...string) *relational.Key {
		k := &relational.Key{Name: "pk", Columns: columns}
		for range columns {
			k.Order = append(k.Order, relational.OrderInt)
		}
		return k
	}
	id := relational.Column{Name: "id", SQL: "bigint", Type: relational.TypeInt}
	text := func(name string) relational.Column {
		return relational.Column{Name: name, SQL: "text", Type: relational.TypeText, Nullable: true}
	}
	m := &relational.Model{Tables: []*relational.Table{
		{
			Name: relational.Name{Schema: "public", Name: "shop_order"}, Primary: key("id"),
			Columns: []relational.Column{id, {Name: "total", SQL: "numeric(10,2)", Type: relational.TypeDecimal, Nullable: true}, text("note"), text("state")},
		},
		{Name: relational.Name{Schema: "public", Name: "user"}, Primary: key("id"), Columns: []relational.Column{id, text("name"), text("plan"), text("updated")}},
		{
			Name: relational.Name{Schema: "public", Name: "link"}, Primary: key("a", "b"),
			Columns: []relational.Column{{Name: "a", SQL: "bigint", Type: relational.TypeInt}, {Name: "b", SQL: "bigint", Type: relational.TypeInt}},
		},
		{Name: relational.Name{Schema: "public", Name: "log"}, Columns: []relational.Column{text("line")}},
	}}
	m.Sort()
	return m
}

func groups() []review.Group {
	user := relational.Name{Schema: "public", Name: "user"}
	return []review.Group{
		{Number: 1, Table: user, Group: relational.Group{Op: relational.OpModified, Column: "plan", Value: `"x"`, Rows: 2000}},
		{Number: 2, Table: user, Group: relational.Group{Op: relational.OpDeleted, Rows: 300}},
	}
}

func options() review.Options {
	return review.Options{File: "decisions.yaml", Model: shop(), Groups: groups()}
}

// parse reads decisions that are right.
func parse(t *testing.T, text string) *review.Decisions {
	t.Helper()
	d, err := review.Parse([]byte(text), options())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestParseErrors compares what is said about each bad file with the text beside it.
func TestParseErrors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/decisions/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = review.Parse(data, options())
			if _, ok := errors.AsType[*yamltree.Error](err); !ok {
				t.Fatalf("parsed with %v", err)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, readErr := os.ReadFile(golden)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTemplate: nothing is decided in what is written, every question becomes its answer, and no text ends its comment.
func TestTemplate(t *testing.T) {
	t.Parallel()
	var questions []review.Question
	for _, g := range groups() {
		questions = append(questions, review.Question{Group: g, Of: 2100, Sample: []string{`public.user id=5`, "evil\nrows: [x]\u2028y\x85z", strings.Repeat("é", 500)}})
	}
	text := string(review.Template("capture site/c1 of site/db\n- evil", questions))
	d := parse(t, text)
	if got := d.Undecided(); len(got) != 2 {
		t.Errorf("undecided: %v", got)
	}
	for _, want := range []string{
		"# Group 1: 2000 of 2100 rows of public.user have plan = \"x\" now; left out until they are taken.\n# Such as public.user id=5; evil\uFFFDrows: [x]\uFFFDy\uFFFDz; éé",
		"# Group 2: 300 of 2100 rows of public.user were deleted; left out",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\nlacks %s", text, want)
		}
	}
	answered := parse(t, strings.ReplaceAll(text, "# - {group:", "- {group:"))
	if got := answered.Undecided(); len(got) != 0 {
		t.Errorf("undecided: %v", got)
	}
	parse(t, strings.NewReplacer("# default:", "default:", "# - {table: TABLE", "- {table: shop_order", "# TABLE:", "  shop_order:").Replace(text))
}

// TestAnswers: a rule for each kind of conflicts, which is taken as it is written.
func TestAnswers(t *testing.T) {
	t.Parallel()
	var all []review.Conflicts
	for _, code := range review.Codes() {
		all = append(all, review.Conflicts{Code: code, Table: relational.Name{Schema: "public", Name: "shop_order"}, Rows: 3, Sample: []string{"shop_order id=1"}})
	}
	text := string(review.Answers(all))
	parse(t, "rules:\n"+text)
	d := parse(t, "rules:\n"+strings.ReplaceAll(text, "# - {", "- {"))
	l := line(t, shop(), `{"table":"shop_order","data":{"id":1}}`)
	for _, code := range review.Codes() {
		if got := d.Policy(code, l); got != code.Policies()[0] {
			t.Errorf("%s: %s", code, got)
		}
	}
	if !strings.Contains(text, "# both_changed: 3 rows of public.shop_order. It can be settled by fail, skip, overwrite, merge_columns.\n# Such as shop_order id=1.\n# - {table: \"public.shop_order\", conflicts: {both_changed: fail}}\n") {
		t.Errorf("answers: %s", text)
	}
}

// FuzzParse: no text makes it panic, what is wrong is always a list of problems, and what is right says something of every line.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/decisions/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(decided)
	o := options()
	lines := []string{
		`{"table":"user","op":"m","data":{"id":5,"name":"a","plan":"x"},"changed":["name"],"base":{"name":"b"}}`,
		`{"table":"user","op":"d","data":null,"base":{"id":5}}`, `{"table":"log","data":{"line":null}}`, `{"table":"user","op":"x","data":{"id":5}}`,
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := review.Parse([]byte(text), o)
		if err != nil {
			var all *yamltree.Error
			if !errors.As(err, &all) || len(all.Problems) == 0 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		for _, raw := range lines {
			l := line(t, o.Model, raw)
			for group := range 3 {
				if v := d.Of(l, group); v.Action == "" || v.By == "" || v.Action != review.Take && v.Columns != nil || v.Action == review.Take && l.Op == relational.OpModified && v.Columns == nil {
					t.Fatalf("%q: %s: %+v", text, raw, v)
				}
				if p := d.Policy(merge.PKDiff, l); p != "" && !slices.Contains(merge.PKDiff.Policies(), p) {
					t.Fatalf("%q: policy %q", text, p)
				}
			}
		}
	})
}
