package relational_test

import (
	"testing"

	"salvor/drivers/relational"
)

func TestRewrite(t *testing.T) {
	t.Parallel()
	parent := &relational.Table{Columns: []relational.Column{{Name: "id", SQL: "bigint", Type: relational.TypeInt}}}
	child := &relational.Table{Columns: []relational.Column{{Name: "v", SQL: "text", Type: relational.TypeText}, {Name: "type", SQL: "int", Type: relational.TypeInt}}}
	mapped := func(old []relational.Value) ([]relational.Value, bool) {
		if string(old[0].Text) == "1" {
			return []relational.Value{relational.IntValue(77)}, true
		}
		return nil, false
	}
	for _, c := range []struct {
		name, in, out string
		edge          relational.Edge
	}{
		{"text", `1`, `77`, relational.Edge{Kind: relational.EdgeColumn}},
		{"another", `2`, `2`, relational.Edge{Kind: relational.EdgeColumn}},
		{"no number", `one`, `one`, relational.Edge{Kind: relational.EdgeColumn}},
		{"generic", `1`, `77`, relational.Edge{Kind: relational.EdgeGeneric, When: &relational.Match{Column: "type", Value: "5"}}},
		{"of another type", `1`, `1`, relational.Edge{Kind: relational.EdgeGeneric, When: &relational.Match{Column: "type", Value: "6"}}},
		{"array", `{1,2,NULL,"1"}`, `{77,2,NULL,"77"}`, relational.Edge{Kind: relational.EdgeArray}},
		{"array with bounds", `[1:2]={1,11}`, `[1:2]={77,11}`, relational.Edge{Kind: relational.EdgeArray}},
		{"array of JSON", ` [1, "1" ,2]`, ` [77, "77" ,2]`, relational.Edge{Kind: relational.EdgeArray}},
		{"path", `{"a":{"b":[{"k":1,"l":1},{"k":"1"}]},"k":1}`, `{"a":{"b":[{"k":77,"l":1},{"k":"77"}]},"k":1}`, relational.Edge{Kind: relational.EdgePath, Path: []string{"a", "b", "*", "k"}}},
		{"path to a list", `{"a": [1,{"x":"\"]"},1]}`, `{"a": [77,{"x":"\"]"},77]}`, relational.Edge{Kind: relational.EdgePath, Path: []string{"a", "*"}}},
		{"path to nothing", `{"a": null}`, `{"a": null}`, relational.Edge{Kind: relational.EdgePath, Path: []string{"a"}}},
		{"no JSON", `{"a": 1`, `{"a": 1`, relational.Edge{Kind: relational.EdgePath, Path: []string{"a"}}},
	} {
		c.edge.Columns, c.edge.ParentColumns = []string{"v"}, []string{"id"}
		values := []relational.Value{relational.TextValue(c.in), relational.IntValue(5)}
		changed, err := c.edge.Rewrite(child, parent, values, mapped)
		if err != nil || string(values[0].Text) != c.out || (len(changed) > 0) != (c.in != c.out) {
			t.Errorf("%s: %s becomes %s (%v, %v), want %s", c.name, c.in, values[0].Text, changed, err, c.out)
		}
	}
	number := &relational.Table{Columns: []relational.Column{{Name: "v", SQL: "smallint", Type: relational.TypeInt}}}
	e := relational.Edge{Columns: []string{"v"}, ParentColumns: []string{"id"}}
	_, err := e.Rewrite(number, parent, []relational.Value{relational.IntValue(1)}, func([]relational.Value) ([]relational.Value, bool) {
		return []relational.Value{relational.IntValue(1 << 40)}, true
	})
	if err == nil {
		t.Error("a key that the column cannot hold is written into it")
	}
}

// FuzzRewrite: whatever is in a column, it is left as it is where nothing is mapped.
func FuzzRewrite(f *testing.F) {
	f.Add(`{"a":[1,{"b":"\u0000"}]}`)
	f.Add(`{1,"a\"b",NULL}`)
	parent := &relational.Table{Columns: []relational.Column{{Name: "id", SQL: "bigint", Type: relational.TypeInt}}}
	child := &relational.Table{Columns: []relational.Column{{Name: "v", SQL: "text", Type: relational.TypeText}}}
	f.Fuzz(func(t *testing.T, text string) {
		for _, e := range []relational.Edge{{Kind: relational.EdgePath, Path: []string{"a", "*"}}, {Kind: relational.EdgePath, Path: []string{"*"}}, {Kind: relational.EdgeArray}} {
			e.Columns, e.ParentColumns = []string{"v"}, []string{"id"}
			values := []relational.Value{relational.TextValue(text)}
			_, err := e.Rewrite(child, parent, values, func([]relational.Value) ([]relational.Value, bool) { return nil, false })
			if err != nil || string(values[0].Text) != text {
				t.Errorf("%q becomes %q: %v", text, values[0].Text, err)
			}
		}
	})
}
