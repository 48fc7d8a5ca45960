package review_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers/relational"
	"salvor/drivers/relational/review"
)

// written is a line as a capture writes it.
func written(t *testing.T, m *relational.Model, raw string) string {
	t.Helper()
	return string(relational.AppendLine(nil, line(t, m, raw)))
}

func TestCheck(t *testing.T) {
	t.Parallel()
	m := shop()
	d := parse(t, `
rows:
  - {table: shop_order, key: [1], take_columns: [note]}
  - {table: shop_order, key: [2], take_columns: [note, total]}
  - {table: shop_order, key: [3], take_columns: [note]}
  - {table: shop_order, key: [404], action: keep}
  - {table: user, key: [5], take_columns: [name, plan]}
rules:
  - {table: shop_order, where: {state: spam}, action: skip}
`)
	order := func(data string) string { return written(t, m, `{"table":"shop_order","data":{`+data+`}}`) }
	changed := func(id string) string {
		return written(t, m, `{"table":"shop_order","op":"m","data":{"id":`+id+`,"note":"a","total":"1.00"},"changed":["note"],"base":{"note":"b"}}`)
	}
	table, err := m.Find("shop_order")
	if err != nil {
		t.Fatal(err)
	}
	user, err := m.Find("user")
	if err != nil {
		t.Fatal(err)
	}
	c := review.NewChecker(m, d, "decisions.yaml", t.TempDir(), 10)
	for _, f := range []review.File{
		{Name: "public.shop_order.jsonl", Table: table, Lines: 20, Data: strings.NewReader("\ufeff" +
			changed("1") + changed("2") + order(`"id":3,"note":"a"`) + "\r\n\n" +
			strings.Replace(order(`"id":6,"total":"1.50"`), `"1.50"`, `"2.50"`, 1) + // edited
			strings.Replace(order(`"id":7,"total":"1.50"`), `"1.50"`, `"cheap"`, 1) +
			strings.Replace(changed("8"), `"1.00"`, `"2.00"`, 1) + // nobody changed it
			strings.Replace(order(`"id":9`), `"hash":"`, `"hash":"0`, 1) +
			strings.Replace(order(`"id":10,"note":"a"`), `"note"`, `"notes"`, 1) +
			order(`"id":3,"note":"b"`) +
			written(t, m, `{"table":"user","data":{"id":1}}`) +
			order(`"id":11,"state":"spam"`) +
			`{"app":"public","data":{"id":12}}`)},
		{Name: "public.user.jsonl", Table: user, Lines: 1, Data: strings.NewReader(written(t, m, `{"table":"user","op":"m","data":{"id":5,"name":"a"},"changed":["name"],"base":{"name":"b"}}`))},
		{Name: "mass/001.jsonl", Group: 1, Table: user, Lines: 1, Data: strings.NewReader(written(t, m, `{"table":"user","op":"m","data":{"id":5,"plan":"x"},"changed":["plan"],"base":{"plan":"b"}}`))},
		{Name: "seed.json", Lines: -1, Data: strings.NewReader(`[{"table":"user","data":{"id":50}}, {"table":"user","data":{"id":"x"}}]`)},
	} {
		if err := c.Read(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	r := c.Report()
	var got []string
	for _, p := range r.Problems {
		got = append(got, p.String())
	}
	const file = "public.shop_order.jsonl"
	want := []string{
		file + `:3: op c: not valid: no columns of such a row can be chosen, as decisions.yaml:5:5 does; write action: take or keep`,
		file + `:7: data: column "total" (numeric(10,2)): not valid: not a decimal number`,
		file + `:8: hash: not valid: more was edited than values that are to be written; the key, op, changed, base and the columns that nobody changed stay as they were found; what becomes of the row is said in the decisions`,
		file + `:9: hash: not valid: none that was written by a capture; leave it as it was; a line of your own has none`,
		file + `:10: data: column "notes": does not exist; the table has id, total, note, state`,
		file + `:11: a line of the same row is above: not valid`,
		file + `:11: op c: not valid: no columns of such a row can be chosen, as decisions.yaml:5:5 does; write action: take or keep`,
		file + `:12: a row of table public.user: not valid: the file is of table public.shop_order`,
		file + `:14: no table: not valid`,
		file + `: 12 lines are left of 20: not valid; bring them back, and leave rows out by decisions: what is gone cannot be listed`,
		`seed.json: object 2: data: column "id" (bigint): not valid: not a whole number`,
		`decisions.yaml:4:5: row public.shop_order [2]: column "total" was not changed; the row has changed note`,
		`decisions.yaml:6:5: row public.shop_order [404]: no line has that key; copy "pk" from the line that is meant`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	files := []review.FileReport{
		{File: file, Lines: 12, Taken: 5, Skipped: 1},
		{File: "public.user.jsonl", Lines: 1, Taken: 1},
		{File: "mass/001.jsonl", Group: 1, Lines: 1, Taken: 1},
		{File: "seed.json", Lines: 1, Taken: 1},
	}
	if diff := cmp.Diff(files, r.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	edited := []review.Problem{{File: file, Line: 6, Message: "edited"}, {File: "seed.json", Line: 1, Message: "edited"}}
	if diff := cmp.Diff(edited, r.Edited); diff != "" || r.EditedLines != 2 {
		t.Errorf("edited (-want +got):\n%s", diff)
	}
}

// TestCheckBounds: of a file that is wrong in every line not every line is listed, and all are counted.
func TestCheckBounds(t *testing.T) {
	t.Parallel()
	c := review.NewChecker(shop(), review.None(nil), "decisions.yaml", t.TempDir(), 1<<20)
	if err := c.Read(t.Context(), review.File{Name: "f", Lines: -1, Data: strings.NewReader(strings.Repeat("{}\n", 1000))}); err != nil {
		t.Fatal(err)
	}
	if r := c.Report(); len(r.Problems) != 200 || r.More != 800 || r.Files[0].Lines != 1000 {
		t.Errorf("%d problems and %d more of %d lines", len(r.Problems), r.More, r.Files[0].Lines)
	}
}

// TestCheckEnds: a reader that fails and a cancel are errors, and no problems of the lines.
func TestCheckEnds(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	c := review.NewChecker(shop(), review.None(nil), "decisions.yaml", t.TempDir(), 1<<20)
	in := io.MultiReader(strings.NewReader(`{"table":"log"`), iotest.ErrReader(broken))
	if err := c.Read(t.Context(), review.File{Name: "f", Data: in}); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "read f: line 1: ") {
		t.Errorf("a reader that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Read(ctx, review.File{Name: "f", Data: strings.NewReader("{}\n")}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancel: %v", err)
	}
	if r := c.Report(); len(r.Problems) > 0 {
		t.Errorf("problems: %v", r.Problems)
	}
}
