package review_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers/relational"
	"salvor/drivers/relational/merge"
	"salvor/drivers/relational/review"
)

func line(t *testing.T, m *relational.Model, raw string) *relational.Line {
	t.Helper()
	l, err := m.ParseLine([]byte(raw))
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return l
}

// decided has something on every level.
const decided = `
default:
  deleted: keep
  conflicts: {both_changed: skip, pk_diff: remap}
tables:
  user: {keep_columns: [updated], deleted: take, conflicts: {both_changed: overwrite}}
  log: {action: keep}
rules:
  - {group: 1, where: {id: 7}, action: keep}
  - {group: 1, action: take}
  - {table: shop_order, where: {state: spam}, action: skip}
  - {table: shop_order, op: m, changed: [note, state], action: keep}
  - {table: shop_order, where: {total: 10.50}, take_columns: [total]}
  - {op: [d, s], table: public.shop_order, action: take}
  - {table: shop_order, op: [m, x], conflicts: {both_changed: fail}}
  - {table: shop_order, op: c, conflicts: {pk_diff: skip}}
rows:
  - {table: user, key: [8], action: take}
  - {table: user, key: 9, take_columns: [plan]}
  - {table: link, key: [1, "2"], action: skip, conflicts: {fk_missing: skip}}
`

func TestDecisions(t *testing.T) {
	t.Parallel()
	m := shop()
	d := parse(t, decided)
	modified := func(table, data, changed, base string) string {
		return fmt.Sprintf(`{"table":%q,"op":"m","data":{%s},"changed":[%s],"base":{%s}}`, table, data, changed, base)
	}
	for _, test := range []struct {
		name  string
		line  string
		group int
		want  string
	}{
		{"new, of which nothing is said", `{"table":"link","data":{"a":1,"b":1}}`, 0, "take by default"},
		{"a new row has no columns to keep", `{"table":"user","data":{"id":1,"updated":"x"}}`, 0, "take by default"},
		{"the table's columns", modified("user", `"id":1,"name":"a","updated":"x"`, `"name","updated"`, `"name":"b","updated":"y"`), 0, "take [name] by table"},
		{"nothing but those that are kept", modified("user", `"id":1,"updated":"x"`, `"updated"`, `"updated":"y"`), 0, "keep by table"},
		{"a group that is taken", modified("user", `"id":1,"plan":"x"`, `"plan"`, `"plan":"y"`), 1, "take [plan] by rule 2"},
		{"an earlier rule on a row of it", modified("user", `"id":7,"plan":"x"`, `"plan"`, `"plan":"y"`), 1, "keep by rule 1"},
		{"rules of groups are of their lines alone", modified("user", `"id":7,"name":"x"`, `"name"`, `"name":"y"`), 0, "take [name] by table"},
		{"a group on which nobody has decided", `{"table":"user","op":"d","data":null,"base":{"id":5}}`, 2, "keep by group"},
		{"but for a row", `{"table":"user","op":"d","data":null,"base":{"id":8}}`, 2, "take by row"},
		{"a row's columns", modified("user", `"id":9,"name":"a","plan":"x"`, `"name","plan"`, `"name":"b","plan":"y"`), 0, "take [plan] by row"},
		{"a row's columns that were not changed", modified("user", `"id":9,"name":"a"`, `"name"`, `"name":"b"`), 0, "keep by row"},
		{"a row of two columns, one in quotes", `{"table":"link","data":{"a":1,"b":2}}`, 0, "skip by row"},
		{"deleted of a table", `{"table":"user","op":"d","data":null,"base":{"id":5}}`, 0, "take by table"},
		{"deleted by default", `{"table":"link","op":"d","data":null,"base":{"a":5,"b":5}}`, 0, "keep by default"},
		{"deleted, and a rule without an op", `{"table":"shop_order","op":"d","data":null,"base":{"id":5,"state":"spam"}}`, 0, "take by rule 6"},
		{"a rule by a value", `{"table":"shop_order","data":{"id":5,"state":"spam"}}`, 0, "skip by rule 3"},
		{"a child by the same", `{"table":"shop_order","op":"x","data":{"id":5,"state":"spam"}}`, 0, "skip by rule 3"},
		{"a column that the line does not have", `{"table":"shop_order","data":{"id":5}}`, 0, "take by default"},
		{"modified in nothing else", modified("shop_order", `"id":5,"note":"a"`, `"note"`, `"note":"b"`), 0, "keep by rule 4"},
		{"modified in something else too", modified("shop_order", `"id":5,"note":"a","total":"1.00"`, `"note","total"`, `"note":"b","total":"2.00"`), 0, "take [note total] by default"},
		{"a decimal as it is written", modified("shop_order", `"id":5,"note":"a","total":"10.50"`, `"note","total"`, `"note":"b","total":"2.00"`), 0, "take [total] by rule 5"},
		{"a support", `{"table":"shop_order","op":"s","data":{"id":5}}`, 0, "take by rule 6"},
		{"changed in what nobody knows", `{"table":"user","op":"m","data":{"id":1,"name":"a","updated":"x"},"changed":[]}`, 0, "take [name] by table"},
		{"a table without a key", `{"table":"log","data":{"line":"x"}}`, 0, "keep by table"},
	} {
		v := d.Of(line(t, m, test.line), test.group)
		got := string(v.Action)
		if v.Columns != nil {
			got += fmt.Sprint(" ", v.Columns)
		}
		if got += " by " + v.By; got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	merging := review.Merging{Decisions: d, Model: m}
	for _, test := range []struct {
		code  merge.Code
		table string
		op    relational.Op
		pk    string
		want  merge.Policy
	}{
		{merge.BothChanged, "link", "m", "[1,1]", merge.Skip},
		{merge.BothChanged, "user", "m", "[1]", merge.Overwrite},
		{merge.BothChanged, "shop_order", "m", "[5]", merge.Fail},
		{merge.BothChanged, "shop_order", "s", "[5]", merge.Skip},
		{merge.PKDiff, "shop_order", "c", "[1]", merge.Skip},
		{merge.PKDiff, "shop_order", "x", "[1]", merge.Remap},
		{merge.FKMissing, "link", "c", "[1,2]", merge.Skip},
		{merge.FKMissing, "link", "c", "[2,2]", ""},
		{merge.PKDiff, "log", "c", "null", merge.Remap},
		{merge.PKDiff, "none", "c", "[1]", ""},
	} {
		c := &merge.Conflict{Code: test.code, Table: relational.Name{Schema: "public", Name: test.table}, Op: test.op}
		if err := json.Unmarshal([]byte(test.pk), &c.PK); err != nil {
			t.Fatal(err)
		}
		if got, err := merging.Policy(c); err != nil || got != test.want {
			t.Errorf("%s of %s %s %s: %q, want %q: %v", test.code, test.op, test.table, test.pk, got, test.want, err)
		}
	}
	for raw, want := range map[string]merge.Choice{
		`{"table":"link","data":{"a":1,"b":1}}`: {Verdict: merge.Take}, `{"table":"link","data":{"a":1,"b":2}}`: {Verdict: merge.LeaveAll},
		modified("user", `"id":1,"name":"a","updated":"x"`, `"name","updated"`, `"name":"b","updated":"y"`): {Verdict: merge.Take, Columns: []string{"name"}},
		`{"table":"link","op":"d","data":null,"base":{"a":5,"b":5}}`:                                        {Verdict: merge.Leave},
	} {
		if got, err := merging.Decide(line(t, m, raw)); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %+v, want %+v: %v", raw, got, want, err)
		}
	}
}

// TestNarrowRuleDecidesNoGroup: a rule on some rows of a group leaves the others open.
func TestNarrowRuleDecidesNoGroup(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"rules:\n- {group: 1, action: take}\n": 1, "rules:\n- {group: 1, where: {id: 5}, action: take}\n": 2,
		"rules:\n- {group: 1, where: {id: 5}, action: take}\n- {group: 1, action: keep}\n": 1,
	} {
		if got := parse(t, text).Undecided(); len(got) != want {
			t.Errorf("%s: %d groups are undecided, want %d", text, len(got), want)
		}
	}
}

// TestNothingDecided: a file that is empty, or all comments, leaves out masses and deletes, and nothing else.
func TestNothingDecided(t *testing.T) {
	t.Parallel()
	m := shop()
	for _, text := range []string{"", "# nothing\n", "rules:\n# - {group: 1, action: take}\nrows:\n", "{}"} {
		d := parse(t, text)
		var got []string
		for _, g := range d.Undecided() {
			got = append(got, g.String())
		}
		for _, raw := range []string{`{"table":"link","data":{"a":1,"b":1}}`, `{"table":"link","op":"d","data":null,"base":{"a":1,"b":1}}`} {
			got = append(got, string(d.Of(line(t, m, raw), 0).Action), string(d.Of(line(t, m, raw), 2).Action))
		}
		want := []string{`have plan = "x" now`, "were deleted", "take", "keep", "keep", "keep"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}
