package relational_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// shopModel is a table of the seed's kind.
func shopModel() *relational.Model {
	t := &relational.Table{
		Name: relational.Name{Schema: "public", Name: "shop_order"},
		Columns: []relational.Column{
			{Name: "id", SQL: "bigint", Type: relational.TypeInt},
			{Name: "customer_id", SQL: "bigint", Type: relational.TypeInt, Nullable: true},
			{Name: "total", SQL: "numeric(10,2)", Type: relational.TypeDecimal, Nullable: true},
			{Name: "paid", SQL: "boolean", Type: relational.TypeBool, Nullable: true},
			{Name: "note", SQL: "text", Type: relational.TypeText, Nullable: true},
			{Name: "twice", SQL: "bigint", Type: relational.TypeInt, Generated: true, Nullable: true},
		},
	}
	t.Primary = &relational.Key{Name: "pk", Columns: []string{"id"}, Order: []relational.Order{relational.OrderInt}}
	return &relational.Model{Tables: []*relational.Table{t}}
}

func order(note string) []relational.Value {
	return []relational.Value{
		relational.IntValue(5), relational.IntValue(3), text(relational.Decimal, "10.50"), relational.BoolValue(false), relational.TextValue(note), relational.IntValue(6),
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	m := shopModel()
	table := m.Tables[0]
	l := &relational.Line{
		App: "shop", Model: "order", Table: table, Op: relational.OpCreated, Why: relational.WhyCreated | relational.WhyDiff, Data: order(""), Has: table.Written(),
	}
	got := string(relational.AppendLine(nil, l))
	want := `{"app":"shop","model":"order","data":{"id":5,"customer_id":3,"total":"10.50","paid":false,"note":""},"table":"public.shop_order","op":"c","pk":[5],"why":["created","diff"],"via":null,"hash":"`
	if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "\"}\n") || strings.Count(got, "\n") != 1 {
		t.Errorf("line: %s", got)
	}
	m2 := &relational.Line{
		Table: table, Op: relational.OpModified, Data: order("x"), Has: table.Written(), Changed: []string{"note"}, Base: order(""),
		HadBase: []bool{false, false, false, false, true, false}, Via: &relational.Via{Edge: "e", From: "t", Depth: 2},
	}
	if got := string(relational.AppendLine(nil, m2)); !strings.Contains(got, `"changed":["note"],"base":{"note":""},`) || !strings.Contains(got, `"via":{"edge":"e","from":"t","pk":null,"depth":2}`) {
		t.Errorf("line: %s", got)
	}
	deleted := &relational.Line{Table: table, Op: relational.OpDeleted, Base: order(""), HadBase: table.Written()}
	if got := string(relational.AppendLine(nil, deleted)); !strings.Contains(got, `"data":null`) || !strings.Contains(got, `"pk":[5]`) {
		t.Errorf("line: %s", got)
	}
	for _, l := range []*relational.Line{l, m2, deleted} {
		read, err := m.ParseLine(relational.AppendLine(nil, l))
		if err != nil || read.Edited {
			t.Errorf("%s line: edited %v, %v", l.Op, read != nil && read.Edited, err)
		}
	}
	edited := strings.Replace(got, `"10.50"`, `"11.00"`, 1)
	if read, err := m.ParseLine([]byte(edited)); err != nil || !read.Edited || string(read.Data[2].Text) != "11.00" {
		t.Errorf("an edited line: %+v, %v", read, err)
	}
}

// TestLabels: Django's names lead to tables that have others.
func TestLabels(t *testing.T) {
	t.Parallel()
	m := shopModel()
	name := m.Tables[0].Name
	line := func(model string) string { return fmt.Sprintf(`{"app":"Sales","model":%q,"data":{"id":1}}`, model) }
	if _, err := m.ParseLine([]byte(line("deal"))); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("a model that no table has: %v", err)
	}
	m.Labels = []relational.Label{{Table: relational.Name{Name: "gone"}, App: "Sales", Model: "deal"}, {Table: name, App: "Sales", Model: "deal"}}
	if l, err := m.ParseLine([]byte(line("Deal"))); err != nil || l.Table.Name != name {
		t.Errorf("a model whose table has another name: %v", err)
	}
	if l := m.Label(name); l.Model != "deal" || m.Label(relational.Name{Name: "none"}).App != "" {
		t.Errorf("label %+v", l)
	}
	m.Tables = append([]*relational.Table{{Name: relational.Name{Name: "gone"}}}, m.Tables...)
	if _, err := m.ParseLine([]byte(line("deal"))); !errors.Is(err, drivers.ErrInvalid) || !strings.Contains(err.Error(), "may be gone or public.shop_order") {
		t.Errorf("a model that two tables have: %v", err)
	}
}

// TestLineTampered: only values that are to be written can be edited. Another row's hash is no better than none.
func TestLineTampered(t *testing.T) {
	t.Parallel()
	m := shopModel()
	table := m.Tables[0]
	created := string(relational.AppendLine(nil, &relational.Line{Table: table, Op: relational.OpCreated, Data: order("a"), Has: table.Written()}))
	modified := string(relational.AppendLine(nil, &relational.Line{
		Table: table, Op: relational.OpModified, Data: order("a"), Has: table.Written(), Changed: []string{"note"}, Base: order("b"),
		HadBase: []bool{false, false, false, false, true, false},
	}))
	for _, test := range []struct{ line, from, to, want string }{
		{created, `"note":"a"`, `"note":null`, "edited"},
		{created, `,"note":"a"`, ``, "edited"},
		{modified, `"note":"a"`, `"note":"c"`, "edited"},
		{modified, `"note":"a"`, `"note":"a"`, "as it was"},
		{modified, `"total":"10.50"`, `"total":"10.51"`, "more was edited"}, // nobody changed it, so it would not be written
		{modified, `"base":{"note":"b"}`, `"base":{"note":"x"}`, "more was edited"},
		{modified, `"changed":["note"]`, `"changed":["note","total"]`, "more was edited"},
		{modified, `"op":"m"`, `"op":"c"`, "more was edited"},
		{created, `"id":5,`, `"id":6,`, "pk: not valid"},
		{strings.Replace(created, `"id":5,`, `"id":6,`, 1), `"pk":[5]`, `"pk":[6]`, "more was edited"},
		{created, `"hash":"`, `"hash":"zz`, "none that was written"},
		{created, `"hash":"`, `"hash":"00`, "none that was written"},
	} {
		if !strings.Contains(test.line, test.from) {
			t.Fatalf("%s lacks %s", test.line, test.from)
		}
		l, err := m.ParseLine([]byte(strings.Replace(test.line, test.from, test.to, 1)))
		got := "as it was"
		switch {
		case err != nil:
			got = err.Error()
		case l.Edited:
			got = "edited"
		}
		if !strings.Contains(got, test.want) || err != nil && !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("%s for %s: %s, want %s", test.to, test.from, got, test.want)
		}
	}
}

// TestParseLineOfNullForbiddenSince: what a row was in the dump may have NULL where the table takes none any more; what is written may not.
func TestParseLineOfNullForbiddenSince(t *testing.T) {
	t.Parallel()
	m := shopModel()
	table := m.Tables[slices.IndexFunc(m.Tables, func(t *relational.Table) bool { return t.Name.Name == "shop_order" })]
	table.Columns[table.Index("note")].Nullable = false
	for line, want := range map[string]string{
		`{"table":"shop_order","op":"m","data":{"id":1,"note":""},"changed":["note"],"base":{"note":null}}`: "",
		`{"table":"shop_order","op":"d","data":null,"base":{"id":1,"note":null}}`:                           "",
		`{"table":"shop_order","op":"d","data":null,"base":{"id":null,"note":"x"}}`:                         `column "id": not valid: it is null`,
		`{"table":"shop_order","data":{"id":1,"note":null}}`:                                                `column "note": not valid: it is null`,
	} {
		if _, err := m.ParseLine([]byte(line)); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v; want %s", line, err, want)
		}
	}
}

func TestParseLineRefuses(t *testing.T) {
	t.Parallel()
	m := shopModel()
	for line, want := range map[string]string{
		``:                                      "not an object of JSON",
		`[]`:                                    "not an object of JSON",
		`{"table":"shop_order","data":{"id":1}`: "not an object of JSON",
		`{"table":"shop_order","data":{"id":1}} {}`:                                  "more than one object",
		`{"table":"none","data":{"id":1}}`:                                           `table "none": does not exist`,
		`{"data":{"id":1}}`:                                                          "no table",
		`{"table":"shop_order","data":{"id":1,"id":2}}`:                              `"id": not valid: it is there twice`,
		`{"table":"shop_order","table":"x","data":{"id":1}}`:                         `"table": not valid: it is there twice`,
		`{"table":"shop_order","data":{"customer":1,"customer_id":2,"id":1}}`:        `column "customer_id": not valid: it is there twice`,
		`{"table":"shop_order","data":{"id":1,"colour":"red"}}`:                      `column "colour": does not exist`,
		`{"table":"shop_order","data":{"id":"one"}}`:                                 `column "id" (bigint): not valid: not a whole number`,
		`{"table":"shop_order","data":{"id":1,"total":"cheap"}}`:                     `column "total" (numeric(10,2)): not valid: not a decimal number`,
		`{"table":"shop_order","data":{"id":null}}`:                                  `column "id": not valid: it is null`,
		`{"table":"shop_order","data":{"note":"x"}}`:                                 `column "id" of the key: not valid: it is missing`,
		`{"table":"shop_order","op":"z","data":{"id":1}}`:                            `op "z": not valid`,
		`{"table":"shop_order","op":"d","data":{"id":1}}`:                            `op "d": not valid`,
		`{"table":"shop_order","op":"c","data":null}`:                                `op "c": not valid`,
		`{"table":"shop_order","op":"d","data":null}`:                                `base is missing`,
		`{"table":"shop_order","data":{"id":1},"pk":[2]}`:                            `pk: not valid: column "id" has another value`,
		`{"table":"shop_order","data":{"id":1},"pk":[1,2]}`:                          `pk: not valid: 2 values`,
		`{"table":"shop_order","op":"m","data":{"id":1},"changed":["no"],"base":{}}`: `changed: column "no": does not exist`,
	} {
		l, err := m.ParseLine([]byte(line))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %s", line, l, err, want)
		}
	}
}

// TestParseArray reads the format of the tools that this replaces.
func TestParseArray(t *testing.T) {
	t.Parallel()
	m := shopModel()
	seed := `[{"app": "shop", "model": "order", "data": {"id": 5, "customer": 3, "total": "10.50", "paid": false, "note": ""}},
		{"app": "shop", "model": "Order", "data": {"id": 6, "customer": null}}]`
	var got []string
	err := m.ParseArray(strings.NewReader(seed), func(place int, l *relational.Line) error {
		got = append(got, fmt.Sprintf("%d %s %s %s %v %v", place, l.Op, l.Data[0].Text, l.Data[1].Text, slices.Index(l.Has, false), l.Edited))
		return nil
	})
	want := []string{"1 c 5 3 5 true", "2 c 6  2 true"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("objects (-want +got):\n%s%v", diff, err)
	}
	for _, bad := range []string{`[] {"app":"shop","model":"order","data":{"id":1}}`, `[{"app":"shop","model":"order","data":{"id":1}}] ]`, ``, `{}`, `[{"app":"shop","model":"order","data":{"id":1}}`, `[{"app":"shop"}]`, `[1]`, `[{"app":"shop","model":"order","data":{"id":1}},`} {
		if err := m.ParseArray(strings.NewReader(bad), func(int, *relational.Line) error { return nil }); !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestLineRoundTrip: whatever is in a row, its line is read back as it was, and not as edited.
func TestLineRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		table := &relational.Table{Name: relational.Name{Schema: rapid.StringMatching(`[a-z."é]{0,3}`).Draw(t, "schema"), Name: rapid.StringMatching(`[a-z."é]{1,5}`).Draw(t, "table")}}
		var row []relational.Value
		for i := range rapid.IntRange(1, 5).Draw(t, "columns") {
			c := anyColumn(t)
			c.Name, c.Nullable = fmt.Sprintf("c%d", i)+rapid.SampledFrom([]string{"", `"`, "é", " "}).Draw(t, "name"), true
			c.Clock = relational.ClockNone
			table.Columns = append(table.Columns, *c)
			row = append(row, valueOf(t, c))
		}
		m := &relational.Model{Tables: []*relational.Table{table}}
		l := &relational.Line{Table: table, Op: rapid.SampledFrom([]relational.Op{relational.OpCreated, relational.OpSupport, relational.OpChild}).Draw(t, "op"), Data: row, Has: table.Written(), Why: relational.Why(rapid.IntRange(0, 7).Draw(t, "why"))}
		line := relational.AppendLine(nil, l)
		read, err := m.ParseLine(line)
		if err != nil || read.Edited || !relational.EqualValues(read.Data, row) || read.Op != l.Op || read.Why != l.Why {
			t.Fatalf("%s is read as %+v: %v", line, read, err)
		}
	})
}

// FuzzParseLine: whatever is taken can be written, and is read back as itself and unedited.
func FuzzParseLine(f *testing.F) {
	f.Add(`{"app":"shop","model":"order","data":{"id":5,"customer":3,"total":"10.50","paid":false,"note":""}}`)
	f.Add(`{"table":"shop_order","op":"d","data":null,"base":{"id":1}}`)
	f.Add(`{"table":"public.shop_order","op":"m","data":{"id":1,"note":null},"changed":["note"],"base":{"note":"x"},"pk":[1],"why":["diff"],"via":null,"hash":"00"}`)
	m := shopModel()
	f.Fuzz(func(t *testing.T, raw string) {
		l, err := m.ParseLine([]byte(raw))
		if err != nil {
			if !errors.Is(err, drivers.ErrInvalid) && !errors.Is(err, drivers.ErrNotFound) {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		line := relational.AppendLine(nil, l)
		again, err := m.ParseLine(line)
		if err != nil || !relational.EqualValues(again.Data, l.Data) {
			t.Fatalf("%q is written as %s: %v", raw, line, err)
		}
	})
}
