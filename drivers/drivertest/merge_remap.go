package drivertest

import (
	"errors"
	"strings"
	"testing"

	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/drivers/relational/merge"
)

// numbered is a table that numbers itself, with columns.
func (h RelationalHarness) numbered(name, columns string) string {
	return `CREATE TABLE "` + name + `" (` + h.Serial + `, ` + columns + `)`
}

func (h RelationalHarness) into(name, columns, values string) string {
	into := `INSERT INTO "` + name + `" ("id", ` + columns + `) `
	if strings.Contains(h.Serial, "GENERATED ALWAYS") {
		into += `OVERRIDING SYSTEM VALUE `
	}
	return into + `VALUES ` + values
}

func remapSelf(t *testing.T, h RelationalHarness) {
	for _, units := range []int{0, 1} {
		m := &merging{
			t: t, h: h, policy: always(merge.PKDiff, merge.Remap), units: units,
			base:   []string{h.numbered("t", `"name" `+h.Text+`, "up" `+h.Int+`, "root" `+h.Int+`, FOREIGN KEY ("up") REFERENCES "t" ("id"), FOREIGN KEY ("root") REFERENCES "t" ("id")`)},
			work:   []string{h.into("t", `"name", "up", "root"`, `(5, 'root', NULL, 5)`), h.into("t", `"name", "up", "root"`, `(2, 'child', 5, 5)`), h.into("t", `"name", "up", "root"`, `(3, 'grand', 2, 5)`)},
			target: []string{h.into("t", `"name", "up", "root"`, `(5, 'other', NULL, NULL)`)},
		}
		m.run()
		m.want(`t: 2 "child" 6 6`, `t: 3 "grand" 2 6`, `t: 5 "other" null null`, `t: 6 "root" null 6`) //nolint:dupword // two values that are null
	}
}

func remapLink(t *testing.T, h RelationalHarness) {
	m := &merging{
		t: t, h: h, policy: always(merge.PKDiff, merge.Remap),
		base: []string{
			h.numbered("a", `"v" `+h.Text), h.numbered("b", `"v" `+h.Text),
			`CREATE TABLE "a_b" ("a" ` + h.Int + ` NOT NULL, "b" ` + h.Int + ` NOT NULL, PRIMARY KEY ("a", "b"), FOREIGN KEY ("a") REFERENCES "a" ("id"), FOREIGN KEY ("b") REFERENCES "b" ("id"))`,
			h.into("b", `"v"`, `(1, 'b')`),
		},
		work:   []string{h.into("a", `"v"`, `(1, 'work'), (2, 'more')`), `INSERT INTO "a_b" VALUES (1, 1), (2, 1)`},
		target: []string{h.into("a", `"v"`, `(1, 'there')`), `INSERT INTO "a_b" VALUES (1, 1)`},
	}
	m.run()
	m.want(`a: 1 "there"`, `a: 2 "more"`, `a: 3 "work"`, `b: 1 "b"`, `a_b: 1 1`, `a_b: 2 1`, `a_b: 3 1`)
}

func remapInheritance(t *testing.T, h RelationalHarness) {
	level := func(name, parent, key string) string {
		return `CREATE TABLE "` + name + `" ("ptr" ` + h.Int + ` PRIMARY KEY, "v" ` + h.Text + `, FOREIGN KEY ("ptr") REFERENCES "` + parent + `" ("` + key + `"))`
	}
	m := &merging{
		t: t, h: h, policy: always(merge.PKDiff, merge.Remap),
		base:   []string{h.numbered("place", `"v" `+h.Text), level("restaurant", "place", "id"), level("pizzeria", "restaurant", "ptr")},
		work:   []string{h.into("place", `"v"`, `(1, 'w')`), `INSERT INTO "restaurant" VALUES (1, 'w')`, `INSERT INTO "pizzeria" VALUES (1, 'w')`},
		target: []string{h.into("place", `"v"`, `(1, 't')`), `INSERT INTO "restaurant" VALUES (1, 't')`},
	}
	m.run()
	m.want(`place: 1 "t"`, `place: 2 "w"`, `restaurant: 1 "t"`, `restaurant: 2 "w"`, `pizzeria: 2 "w"`)
}

func remapGeneric(t *testing.T, h RelationalHarness) {
	edge := func(name, typ string) relational.Edge {
		return relational.Edge{
			Name: "tag_" + name, Kind: relational.EdgeGeneric, Columns: []string{"object"}, Parent: relational.Name{Name: name}, ParentColumns: []string{"id"},
			When: &relational.Match{Column: "type", Value: typ},
		}
	}
	m := &merging{
		t: t, h: h, policy: always(merge.PKDiff, merge.Remap), edges: map[string][]relational.Edge{"tag": {edge("post", "10"), edge("photo", "11")}},
		base: []string{h.numbered("post", `"v" `+h.Text), h.numbered("photo", `"v" `+h.Text), `CREATE TABLE "tag" ("no" ` + h.Int + ` PRIMARY KEY, "type" ` + h.Int + `, "object" ` + h.Text + `)`},
		work: []string{
			h.into("post", `"v"`, `(1, 'w')`), h.into("photo", `"v"`, `(1, 'w')`), `INSERT INTO "tag" VALUES (1, 10, '1'), (2, 11, '1'), (3, 12, '1'), (4, 10, 'none')`,
		},
		target: []string{h.into("post", `"v"`, `(1, 't')`)},
	}
	m.run()
	m.want(`post: 1 "t"`, `post: 2 "w"`, `photo: 1 "w"`, `tag: 1 10 "2"`, `tag: 2 11 "1"`, `tag: 3 12 "1"`, `tag: 4 10 "none"`)
}

func remapDocument(t *testing.T, h RelationalHarness) {
	m := &merging{
		t: t, h: h, policy: always(merge.PKDiff, merge.Remap), edges: map[string][]relational.Edge{"c": {
			{Name: "c_doc", Kind: relational.EdgePath, Columns: []string{"doc"}, Path: []string{"items", "*", "p"}, Parent: relational.Name{Name: "p"}, ParentColumns: []string{"id"}},
			{Name: "c_list", Kind: relational.EdgeArray, Columns: []string{"list"}, Parent: relational.Name{Name: "p"}, ParentColumns: []string{"id"}},
		}},
		base:   []string{h.numbered("p", `"v" `+h.Text), `CREATE TABLE "c" ("no" ` + h.Int + ` PRIMARY KEY, "doc" ` + h.Text + `, "list" ` + h.Text + `)`},
		work:   []string{h.into("p", `"v"`, `(1, 'w'), (2, 'w2')`), `INSERT INTO "c" VALUES (1, '{"items": [ {"p":1}, {"p": "1", "q": 1}, {"p": 2}, null ], "p": 1}', '{1,2,NULL,"1"}')`},
		target: []string{h.into("p", `"v"`, `(1, 't')`)},
	}
	m.run()
	m.want(`p: 1 "t"`, `p: 2 "w2"`, `p: 3 "w"`, `c: 1 "{\"items\": [ {\"p\":3}, {\"p\": \"3\", \"q\": 1}, {\"p\": 2}, null ], \"p\": 1}" "{3,2,NULL,\"3\"}"`)
}

func remapNatural(t *testing.T, h RelationalHarness) {
	m := cells(t, h, `"a" = "a"`, `"b" = "b"`)
	m.work, m.target = []string{`INSERT INTO "t" VALUES (3, 'w', 'w')`}, []string{`INSERT INTO "t" VALUES (3, 't', 't')`}
	m.policy = always(merge.PKDiff, merge.Remap)
	m.prepare()
	if strings.Contains(h.Int, "INTEGER") {
		return // every such key numbers itself
	}
	_, err := m.plan(nil)
	var hint interface{ Hint() string }
	if !errors.Is(err, drivers.ErrInvalid) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "skip") {
		t.Errorf("a key that nothing numbers gets a new number: %v", err)
	}
}

// conflictNatural: content types are the same by their names, and numbered in another way in the target.
func conflictNatural(t *testing.T, h RelationalHarness) {
	m := &merging{
		t: t, h: h, natural: map[string][]string{"ct": {"app", "model"}},
		base: []string{
			h.numbered("ct", `"app" `+h.Key+` NOT NULL, "model" `+h.Key+` NOT NULL, UNIQUE ("app", "model")`),
			`CREATE TABLE "tag" ("no" ` + h.Int + ` PRIMARY KEY, "ct" ` + h.Int + `, FOREIGN KEY ("ct") REFERENCES "ct" ("id"))`,
		},
		work:   []string{h.into("ct", `"app", "model"`, `(7, 'shop', 'order'), (8, 'shop', 'item'), (9, 'shop', 'new')`), `INSERT INTO "tag" VALUES (1, 7), (2, 8), (3, 9)`},
		target: []string{h.into("ct", `"app", "model"`, `(8, 'shop', 'order'), (5, 'shop', 'item')`)},
	}
	m.run()
	m.want(`ct: 5 "shop" "item"`, `ct: 8 "shop" "order"`, `ct: 9 "shop" "new"`, `tag: 1 8`, `tag: 2 5`, `tag: 3 9`)
}
