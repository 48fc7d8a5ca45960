package declared_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/drivers/relational/declared"
)

// site is a model of a site of Django's, in a schema of its own beside another site's.
func site() *relational.Model {
	m := &relational.Model{}
	add := func(schema, name string, columns ...string) *relational.Table {
		t := &relational.Table{Name: relational.Name{Schema: schema, Name: name}}
		for _, c := range columns {
			column := relational.Column{Name: c, SQL: "bigint", Type: relational.TypeInt}
			if strings.HasSuffix(c, "_on") {
				column = relational.Column{Name: c, SQL: "timestamp", Type: relational.TypeTime, Clock: relational.ClockWall}
			}
			t.Columns = append(t.Columns, column)
		}
		t.Primary = &relational.Key{Name: "pk", Columns: columns[:1], Order: []relational.Order{relational.OrderInt}}
		m.Tables = append(m.Tables, t)
		return t
	}
	refers := func(t *relational.Table, column, parent string) {
		t.Foreign = append(t.Foreign, relational.Edge{
			Name: column, Columns: []string{column}, Parent: relational.Name{Schema: t.Schema, Name: parent}, ParentColumns: []string{"id"},
		})
	}
	for _, schema := range []string{"one", "two"} {
		add(schema, "django_content_type", "id", "app_label", "model")
		add(schema, "shop_order", "id", "created_on", "ordered_on", "customer_no", "tags", "doc")
		add(schema, "shop_tag", "id")
		tagged := add(schema, "shop_tagged", "id", "content_type_id", "object_id")
		refers(tagged, "content_type_id", "django_content_type")
	}
	links := add("one", "shop_order_tags", "id", "order_id", "tag_id")
	refers(links, "order_id", "shop_order")
	refers(links, "tag_id", "shop_tag")
	more := add("one", "shop_order_log", "id", "order_id", "tag_id", "text")
	refers(more, "order_id", "shop_order")
	refers(more, "tag_id", "shop_tag")
	add("one", "customers", "id", "no")
	own := add("one", "own", "id", "about_content_type_id", "about_object_pk", "parent_content_type_id")
	refers(own, "about_content_type_id", "django_content_type")
	refers(own, "parent_content_type_id", "django_content_type")
	pair := add("one", "pair", "a", "b")
	pair.Primary = &relational.Key{Name: "pk", Columns: []string{"a", "b"}, Order: []relational.Order{relational.OrderInt, relational.OrderInt}}
	add("one", "bare", "id").Primary = nil
	m.Sort()
	return m
}

func types() []declared.ContentType {
	return []declared.ContentType{
		{Schema: "one", ID: "1", App: "shop", Model: "order"},
		{Schema: "one", ID: "2", App: "shop", Model: "tag"},
		{Schema: "one", ID: "3", App: "shop", Model: "customer"},
		{Schema: "one", ID: "4", App: "shop", Model: "gone"},
		{Schema: "two", ID: "1", App: "shop", Model: "tag"},
	}
}

// edges lists all edges: "child(columns) → parent(columns)".
func edges(b *declared.Bound) (list []string) {
	for _, child := range slices.SortedFunc(maps.Keys(b.Edges), relational.Name.Compare) {
		for _, e := range b.Edges[child] {
			text := fmt.Sprintf("%s %s %v → %s%v", child.Schema, e.Name, e.Columns, e.Parent, e.ParentColumns)
			if e.When != nil {
				text += " when " + e.When.Column + "=" + e.When.Value
			}
			list = append(list, text+" "+string(e.Kind))
			if !e.Unenforced {
				list = append(list, e.Name+" is enforced")
			}
		}
	}
	return list
}

func bind(t *testing.T, text string) (*declared.Bound, error) {
	t.Helper()
	o, err := declared.Parse(json.RawMessage(text))
	if err != nil {
		t.Fatal(err)
	}
	return o.Bind(site(), types())
}

// TestBindDjango: with nothing said, Django's own tables tell the names and the generic keys, each schema for itself.
func TestBindDjango(t *testing.T) {
	t.Parallel()
	b, err := bind(t, "{}")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"one own(about_content_type_id=2,about_object_pk) [about_object_pk] → one.shop_tag[id] when about_content_type_id=2 generic",
		"one shop_tagged(content_type_id=2,object_id) [object_id] → one.shop_tag[id] when content_type_id=2 generic",
		"two shop_tagged(content_type_id=1,object_id) [object_id] → two.shop_tag[id] when content_type_id=1 generic",
		"one own(about_content_type_id=1,about_object_pk) [about_object_pk] → one.shop_order[id] when about_content_type_id=1 generic",
		"one shop_tagged(content_type_id=1,object_id) [object_id] → one.shop_order[id] when content_type_id=1 generic",
	}
	got := edges(b)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
	var labels []string
	for _, l := range b.Labels {
		labels = append(labels, l.Table.String()+" "+l.App+"."+l.Model)
	}
	if diff := cmp.Diff([]string{"one.shop_order shop.order", "one.shop_order_tags shop.order_tags", "one.shop_tag shop.tag", "two.shop_tag shop.tag"}, labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if len(b.Meaning) != 2 || b.Zone != nil {
		t.Errorf("meaning %v, zone %v", b.Meaning, b.Zone)
	}
	m := site()
	d, err := b.Detectors(m.Table(relational.Name{Schema: "one", Name: "shop_order"}))
	if err != nil || d.Created != "created_on" {
		t.Errorf("detectors %+v: %v", d, err)
	}
	// The edges are such as a closure takes.
	if closure, err := relational.NewClosure(&relational.ClosureConfig{Model: m, Edges: b.Edges, Scratch: t.TempDir()}); err != nil {
		t.Error(err)
	} else if err := closure.Close(); err != nil {
		t.Error(err)
	}
}

// TestBindDeclared: what is said goes before what Django's tables tell.
func TestBindDeclared(t *testing.T) {
	t.Parallel()
	b, err := bind(t, `{"zone": "Europe/Berlin", "margin": "10m",
		"one.shop_order": {"created": "ordered_on", "references": [
			{"column": "customer_no", "to": "customers", "key": "no"}, {"column": "customer_no", "to": "customers"},
			{"array": "tags", "to": "one.shop_tag"}, {"json": "doc", "path": ["items", "*", "tag"], "to": "one.shop_tag"},
			{"column": ["tags", "doc"], "to": "pair"}, {"type": "doc", "object": "tags", "types": {"Tag": "one.shop_tag"}}]},
		"own": {"references": [{"type": "parent_content_type_id", "object": "about_object_pk"}]},
		"one.shop_tagged": {"references": []}, "two.shop_tagged": {"references": []},
		"customers": {"model": "shop.customer"}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"one own(parent_content_type_id=3,about_object_pk) [about_object_pk] → one.customers[id] when parent_content_type_id=3 generic",
		"one own(parent_content_type_id=1,about_object_pk) [about_object_pk] → one.shop_order[id] when parent_content_type_id=1 generic",
		"one own(parent_content_type_id=2,about_object_pk) [about_object_pk] → one.shop_tag[id] when parent_content_type_id=2 generic",
		"one shop_order(customer_no) [customer_no] → one.customers[no] column",
		"one shop_order(customer_no) [customer_no] → one.customers[id] column",
		"one shop_order(tags) [tags] → one.shop_tag[id] array",
		"one shop_order(doc,items,*,tag) [doc] → one.shop_tag[id] path",
		"one shop_order(tags,doc) [tags doc] → one.pair[a b] column",
		"one shop_order(doc=Tag,tags) [tags] → one.shop_tag[id] when doc=Tag generic",
	}
	got := edges(b)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
	if b.Zone == nil || b.Zone.String() != "Europe/Berlin" || b.Margin.Minutes() != 10 {
		t.Errorf("zone %v, margin %v", b.Zone, b.Margin)
	}
	m := site()
	m.Labels = b.Labels
	if l := m.Label(relational.Name{Schema: "one", Name: "customers"}); l.Model != "customer" {
		t.Errorf("label %+v", l)
	}
	d, err := b.Detectors(m.Table(relational.Name{Schema: "one", Name: "shop_order"}))
	if err != nil || d.Created != "ordered_on" {
		t.Errorf("detectors %+v: %v", d, err)
	}
}

func TestBindRefuses(t *testing.T) {
	t.Parallel()
	_, err := bind(t, `{
		"shop_order": {}, "shop_ordr": {}, "one.shop_tag": {"created": "id", "modified": "none"}, "customers": {}, "one.customers": {},
		"own": {"references": [
			{"column": "about_object_p", "to": "customers"}, {"column": "id", "to": "nowhere"}, {"column": "id", "to": "customers", "key": "colour"},
			{"column": "id", "to": "pair"}, {"column": "id", "to": "bare"}, {"type": "x", "object": "id"}, {"type": "id", "object": "id", "types": {"A": "customer"}}]},
		"bare": {"references": [{"column": "id", "to": "bare", "key": "id"}]}}`)
	problems, ok := errors.AsType[declared.OptionErrors](err)
	if !ok {
		t.Fatal(err)
	}
	var got []string
	for _, e := range problems.Each() {
		p, _ := errors.AsType[*declared.OptionError](e)
		got = append(got, p.Error()+"; "+p.Hint())
		if !errors.Is(p, drivers.ErrInvalid) && !errors.Is(p, drivers.ErrNotFound) {
			t.Errorf("%v is of no class", p)
		}
	}
	want := []string{
		`capture.one.customers: not valid: table one.customers is there twice, by another name; `,
		`capture.one.shop_tag.created: table one.shop_tag: column "id" of type bigint tells no moment: not valid; name a column of dates or timestamps, or - for none`,
		`capture.one.shop_tag.modified: table one.shop_tag: column "none": does not exist; the table has id`,
		`capture.own.references[0].column: table one.own: column "about_object_p": does not exist; did you mean "about_object_pk"?`,
		`capture.own.references[1].to: table "nowhere": does not exist; `,
		`capture.own.references[2].key: table one.customers: column "colour": does not exist; the table has id, no`,
		`capture.own.references[3]: not valid: 1 columns for the key of table one.pair, which is of a, b; `,
		`capture.own.references[4]: not valid: no key tells the rows of table one.bare apart; name the columns: key: COLUMN`,
		`capture.own.references[5].type: table one.own: column "x": does not exist; the table has id, about_content_type_id, about_object_pk, parent_content_type_id`,
		`capture.own.references[6].types.A: table "customer": does not exist; did you mean "customers"?`,
		`capture.shop_order: table "shop_order" may be any of one.shop_order, two.shop_order: not valid; write SCHEMA.TABLE`,
		`capture.shop_ordr: table "shop_ordr": does not exist; did you mean "shop_order"?`,
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	o, err := declared.Parse(json.RawMessage(`{"pair": {"references": [{"type": "a", "object": "b"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Bind(site(), nil); err == nil || !strings.Contains(err.Error(), "the database has no content types of Django's") {
		t.Errorf("generic keys without content types: %v", err)
	}
}
