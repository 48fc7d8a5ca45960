package drivertest

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers/relational"
	"salvor/drivers/relational/declared"
)

// closeContentTypes: Django's generic keys to rows that are known by numbers, by UUIDs and by texts, as its own tables declare them; they are
// numbered otherwise in the dump.
func closeContentTypes(t *testing.T, h RelationalHarness) {
	const dashed, plain = "0a1b2c3d-0000-4000-8000-00000000000f", "0a1b2c3d00004000800000000000000f"
	id := "'" + dashed + "'"
	if strings.EqualFold(h.UUID, "char(32)") {
		id = "'" + plain + "'"
	}
	tables := []string{
		`CREATE TABLE "django_content_type" ("id" ` + h.Int + ` PRIMARY KEY, "app_label" ` + h.Key + `, "model" ` + h.Key + `)`,
		h.node("blog_post", true),
		`CREATE TABLE "blog_photo" ("id" ` + h.UUID + ` PRIMARY KEY, "created" ` + h.Moment + `)`,
		`CREATE TABLE "countries" ("code" ` + h.Key + ` PRIMARY KEY, "created" ` + h.Moment + `)`,
		`CREATE TABLE "blog_tag" ("id" ` + h.Int + ` PRIMARY KEY, "created" ` + h.Moment + `, "content_type_id" ` + h.Int + `, "object_id" ` + h.Text + `, FOREIGN KEY ("content_type_id") REFERENCES "django_content_type" ("id"))`,
	}
	base := append(slices.Clone(tables), `INSERT INTO "django_content_type" VALUES (1, 'blog', 'photo'), (2, 'blog', 'post'), (3, 'blog', 'country')`)
	live := append(
		slices.Clone(tables), `INSERT INTO "django_content_type" VALUES (7, 'blog', 'post'), (1, 'blog', 'photo'), (2, 'blog', 'country'), (9, 'blog', 'gone')`,
		`INSERT INTO "blog_post" VALUES (1, `+now+`), (2, `+old+`), (3, `+old+`)`, `INSERT INTO "blog_photo" VALUES (`+id+`, `+now+`)`, `INSERT INTO "countries" VALUES ('x', `+now+`), ('1', `+old+`)`,
		`INSERT INTO "blog_tag" VALUES (1, `+old+`, 7, '1'), (2, `+old+`, 1, '`+dashed+`'), (3, `+old+`, 2, 'x'), (4, `+old+`, 1, '1'), (5, `+old+`, 7, 'x'), (6, `+old+`, 9, '1')`,
		`INSERT INTO "blog_tag" VALUES (20, `+now+`, 7, '2'), (21, `+now+`, 2, '1'), (22, `+now+`, 7, '404'), (23, `+now+`, 7, 'none')`,
	)
	c := closing{t: t, h: h, base: live, baseOnly: base, declare: func(v relational.View, config *relational.ClosureConfig) {
		types, err := declared.ReadContentTypes(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		o := &declared.Options{Tables: []declared.Table{{Name: "countries", App: "blog", Model: "country"}}}
		bound, err := o.Bind(config.Model, types)
		if err != nil {
			t.Fatal(err)
		}
		config.Edges, config.Meaning = bound.Edges, bound.Meaning
		var labels []string
		for _, l := range bound.Labels {
			labels = append(labels, l.Table.Name+" "+l.App+"."+l.Model)
		}
		if diff := cmp.Diff([]string{"blog_photo blog.photo", "blog_post blog.post", "countries blog.country"}, labels); diff != "" {
			t.Errorf("labels (-want +got):\n%s", diff)
		}
	}}
	c.want(
		"c:blog_post 1", "c:blog_photo "+strings.Trim(id, "'"), "c:countries x", "c:blog_tag 20", "c:blog_tag 21", "c:blog_tag 22", "c:blog_tag 23",
		"x:blog_tag 1", "x:blog_tag 2", "x:blog_tag 3", "s:blog_post 2", "s:countries 1", "s:django_content_type 7", "s:django_content_type 2",
	)
}

// closeUnbreakable: rows that need each other, by columns that are never NULL, are captured together.
func closeUnbreakable(t *testing.T, h RelationalHarness) {
	base := []string{
		`CREATE TABLE "a" ("id" ` + h.Int + ` PRIMARY KEY, "created" ` + h.Moment + `, "b" ` + h.Int + ` NOT NULL)`,
		`CREATE TABLE "b" ("id" ` + h.Int + ` PRIMARY KEY, "a" ` + h.Int + ` NOT NULL)`,
	}
	edges := map[string][]relational.Edge{
		"a": {{Name: "a_b", Kind: relational.EdgeColumn, Columns: []string{"b"}, Parent: relational.Name{Name: "b"}, ParentColumns: []string{"id"}}},
		"b": {{Name: "b_a", Kind: relational.EdgeColumn, Columns: []string{"a"}, Parent: relational.Name{Name: "a"}, ParentColumns: []string{"id"}}},
	}
	work := []string{`INSERT INTO "a" VALUES (1, ` + now + `, 1), (2, ` + old + `, 2)`, `INSERT INTO "b" VALUES (1, 1), (2, 2)`}
	closing{t: t, h: h, base: base, work: work, edges: edges}.want("c:a 1", "x:b 1")
	work[0] = `INSERT INTO "a" VALUES (1, ` + now + `, 2), (2, ` + old + `, 2)`
	closing{t: t, h: h, base: base, work: work, edges: edges}.want("c:a 1", "x:b 1", "s:b 2", "s:a 2")
}

// closeSchemas: references from one schema to another are followed both ways; tables of one name are not mixed up.
func closeSchemas(t *testing.T, h RelationalHarness) {
	if h.OtherSchema == "" {
		return // the database has one schema; what refers beyond it is in the driver's own tests
	}
	other := func(sql string) string { return strings.Replace(sql, `"t"`, `"`+h.OtherSchema+`"."t"`, 1) }
	base := []string{
		`CREATE SCHEMA "` + h.OtherSchema + `"`, other(h.node("t", true)),
		`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "created" ` + h.Moment + `, "up" ` + h.Int + ` REFERENCES "` + h.OtherSchema + `"."t" ("id"))`,
		`CREATE TABLE "` + h.OtherSchema + `"."more" ("id" ` + h.Int + ` PRIMARY KEY, "up" ` + h.Int + ` REFERENCES "` + h.Schema + `"."t" ("id"))`,
	}
	work := []string{
		other(`INSERT INTO "t" VALUES (1, ` + now + `), (2, ` + old + `)`), `INSERT INTO "t" VALUES (1, ` + old + `, 1), (2, ` + now + `, 2), (3, ` + old + `, 2)`,
		`INSERT INTO "` + h.OtherSchema + `"."more" VALUES (10, 1), (11, 2), (12, 3)`,
	}
	// The new one of the other schema, its child, the new one here, its parent, and the children of both.
	closing{t: t, h: h, base: base, work: work}.want("c:t 1", "x:t 1", "c:t 2", "s:t 2", "x:more 10", "x:more 11")
}
