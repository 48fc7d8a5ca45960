package declared_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/drivers/relational/declared"
)

const whole = `{
	"zone": "Europe/Berlin", "margin": "1h30m",
	"shop_order": {"created": "ordered_on", "modified": "-", "model": "Sales.Deal", "references": [
		{"column": "customer_no", "to": "public.customer", "key": "no"},
		{"column": ["a", "b"], "to": "pair"},
		{"array": "tags", "to": "tag"},
		{"json": "doc", "path": ["items", "*", "id"], "to": "item"},
		{"type": "content_type_id", "object": "object_id"},
		{"type": "kind", "object": "ref", "types": {"Post": "post"}}]},
	"zone_": {"references": []}
}`

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := declared.FromNode(json.RawMessage(`{"database": "x", "capture": ` + whole + `}`))
	want := &declared.Options{
		Zone: "Europe/Berlin", Margin: 90 * time.Minute,
		Tables: []declared.Table{
			{
				Name: "shop_order", Detectors: relational.Detectors{Created: "ordered_on", Modified: "-"}, App: "Sales", Model: "deal",
				References: []declared.Reference{
					{Kind: relational.EdgeColumn, Columns: []string{"customer_no"}, To: "public.customer", Key: []string{"no"}},
					{Kind: relational.EdgeColumn, Columns: []string{"a", "b"}, To: "pair"},
					{Kind: relational.EdgeArray, Columns: []string{"tags"}, To: "tag"},
					{Kind: relational.EdgePath, Columns: []string{"doc"}, Path: []string{"items", "*", "id"}, To: "item"},
					{Kind: relational.EdgeGeneric, Columns: []string{"object_id"}, Type: "content_type_id"},
					{Kind: relational.EdgeGeneric, Columns: []string{"ref"}, Type: "kind", Types: map[string]string{"Post": "post"}},
				},
			},
			{Name: "zone_", References: []declared.Reference{}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("options (-want +got):\n%s%v", diff, err)
	}
	// A table may be called as a setting is.
	got, err = declared.Parse(json.RawMessage(`{"zone": {"created": "at"}}`))
	if err != nil || len(got.Tables) != 1 || got.Zone != "" {
		t.Errorf("a table of the name zone: %+v, %v", got, err)
	}
	for _, nothing := range []string{"", "{}", `{"capture": {}}`} {
		if got, err := declared.FromNode(json.RawMessage(nothing)); err != nil || got.Tables != nil {
			t.Errorf("%q: %+v, %v", nothing, got, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	_, err := declared.Parse(json.RawMessage(`{
		"zone": "CEST", "margin": 5, "colour": "red",
		"a": {"create": "x", "created": 5, "modified": "", "model": "order", "references": {}},
		"b": {"references": [
			{}, {"column": "x"}, {"column": "x", "array": "y", "to": "t"}, {"json": "x", "to": "t"}, {"object": "x"}, {"column": "x", "to": "t", "path": ["p"]},
			{"column": ["x", "y"], "to": "t", "key": "k"}, {"column": [], "to": "t"}, {"array": ["x"], "to": "t"}, 5, {"type": "x", "object": "y", "types": {"a": 1}},
			{"columm": "x"}, {"json": "x", "path": [1], "to": ""}]}
	}`))
	problems, ok := errors.AsType[declared.OptionErrors](err)
	if !ok {
		t.Fatal(err)
	}
	var got []string
	for _, e := range problems.Each() {
		p, _ := errors.AsType[*declared.OptionError](e)
		got = append(got, p.Error()+"; "+p.Hint())
		if !errors.Is(p, drivers.ErrInvalid) || p.Place()[0] != "capture" {
			t.Errorf("%v: %v", p, p.Place())
		}
	}
	const forms = "write {column: COLUMN, to: TABLE}, {array: COLUMN, to: TABLE}, {json: COLUMN, path: [KEY], to: TABLE} or {type: COLUMN, object: COLUMN}"
	want := []string{
		`capture.a.create: not valid: unknown key (have created, modified, model, references); did you mean "created"?`,
		`capture.a.created: not valid: it is a number; text is needed; put it in quotes`,
		`capture.a.model: not valid: "order" is no app and model of Django's; write it as shop.order`,
		`capture.a.modified: not valid: it is empty; leave the key out`,
		`capture.a.references: not valid: it is a mapping; a list is needed; `,
		`capture.b.references[0]: not valid: it names no column; ` + forms,
		`capture.b.references[1]: not valid: column needs to; ` + forms,
		`capture.b.references[2]: not valid: array and column exclude each other; ` + forms,
		`capture.b.references[3]: not valid: json needs path; ` + forms,
		`capture.b.references[4]: not valid: object needs type; ` + forms,
		`capture.b.references[5].path: not valid: path means nothing beside column; `,
		`capture.b.references[6].key: not valid: 1 columns of the key for 2; `,
		`capture.b.references[7].column: not valid: it is an empty list; leave the key out`,
		`capture.b.references[8].array: not valid: it is a list; text is needed; `,
		`capture.b.references[9]: not valid: it is a number; a mapping is needed; `,
		`capture.b.references[10].types.a: not valid: it is a number; text is needed; put it in quotes`,
		`capture.b.references[11].columm: not valid: unknown key (have column, array, json, path, object, type, types, to, key); did you mean "column"?`,
		`capture.b.references[12].path[0]: not valid: it is a number; text is needed; put it in quotes`,
		`capture.b.references[12].to: not valid: it is empty; leave the key out`,
		`capture.colour: not valid: it is text; a mapping is needed; `,
		`capture.margin: not valid: it is a number; text is needed; put it in quotes`,
		`capture.zone: not valid: "CEST" is no time zone that is known here; write it as Europe/Berlin, or UTC`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if lines := strings.Count(err.Error(), "\n"); lines != len(want)-1 {
		t.Errorf("%d lines of %d problems", lines+1, len(want))
	}
}

// FuzzParse: no text makes it panic, what is wrong is always a list of problems, and what is right can be put on any model.
func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add(`{"t": {"references": [{"type": "x", "object": "y", "types": {"a": "t"}}]}, "margin": "-1s"}`)
	f.Fuzz(func(t *testing.T, text string) {
		o, err := declared.Parse(json.RawMessage(text))
		if err == nil {
			_, err = o.Bind(&relational.Model{Tables: []*relational.Table{{Name: relational.Name{Name: "t"}, Columns: []relational.Column{{Name: "x"}, {Name: "y"}}}}}, nil)
		}
		if problems, ok := errors.AsType[declared.OptionErrors](err); err != nil && (!ok || len(problems) == 0) {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
