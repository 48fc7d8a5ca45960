package review

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/internal/yamltree"
)

func (p *parser) rule(v *yamltree.Value, number int, where string) {
	if !p.found.Need(v, yamltree.Map, where) {
		return
	}
	r := &rule{number: number}
	var group *Group
	for _, e := range v.Entries {
		switch e.Key {
		case "table":
			if text, ok := p.text(e.Value, where+".table"); ok {
				r.table = p.tableOf(e.Value, text, where+".table")
			}
		case "group":
			group = p.group(r, e.Value, where+".group")
		}
	}
	if group != nil {
		if r.table != nil && r.table.Name != group.Table {
			p.found.Add(v.At, where, "", "group %d is of table %s", group.Number, group.Table)
		}
		r.table = p.model.Table(group.Table)
	}
	needTable := func(e yamltree.Entry) {
		if r.table == nil && !slices.ContainsFunc(v.Entries, func(e yamltree.Entry) bool { return e.Key == "table" || e.Key == "group" }) {
			p.found.Add(e.At, where+"."+e.Key, "", "%s needs a table", e.Key)
		}
	}
	for _, e := range v.Entries {
		switch e.Key {
		case "table", "group":
		case "op":
			r.ops = p.ops(e.Value, where+".op")
		case "changed":
			needTable(e)
			r.changed = p.columns(e.Value, r.table, where+".changed")
		case "where":
			needTable(e)
			p.where(r, e.Value, group, where+".where")
		case "take_columns", "keep_columns":
			needTable(e)
			fallthrough
		default:
			p.known(e, where, p.choice(&r.choice, e, r.table, where, someRows),
				"table", "group", "op", "changed", "where", "action", "take_columns", "keep_columns", "conflicts")
		}
	}
	if group != nil && r.action == Skip {
		p.found.Add(v.At, where, "write keep: the rows stay as the target has them", "a group is taken or kept")
	}
	if r.conflicts != nil && (r.group != 0 || r.changed != nil || r.where != nil) {
		p.found.Add(v.At, where, "write a rule of its own for them", "policies go by table, op and row, not by group, changed or where")
	}
	p.one(&r.choice, v.At, where, v)
	p.d.rules = append(p.d.rules, r)
}

func (p *parser) group(r *rule, v *yamltree.Value, where string) *Group {
	if !p.found.Need(v, yamltree.Number, where) {
		return nil
	}
	n, _ := v.Scalar.(uint64)
	g, ok := p.d.groups[int(min(n, 1<<31))]
	if !ok {
		hint := fmt.Sprintf("the capture has groups 1 to %d", len(p.d.groups))
		if len(p.d.groups) == 0 {
			hint = "the capture has no groups"
		}
		p.found.Add(v.At, where, hint, "group %.20s: %v", v.Text, drivers.ErrNotFound)
		r.group = -1 // it fits nothing
		return nil
	}
	r.group = g.Number
	return &g
}

// ops reads an op or a list of them.
func (p *parser) ops(v *yamltree.Value, where string) []relational.Op {
	list := []*yamltree.Value{v}
	if v != nil && v.Kind == yamltree.List {
		list = v.Items
	}
	ops := []relational.Op{}
	for _, item := range list {
		text, ok := p.text(item, where)
		if !ok {
			continue
		}
		op := relational.Op(text)
		if !slices.Contains(opList(), op) {
			p.found.Add(item.At, where, "", "unknown op %.80q (have %s)", text, strings.Join(texts(opList()), ", "))
			continue
		}
		ops = append(ops, op)
	}
	return ops
}

func opList() []relational.Op {
	return []relational.Op{relational.OpCreated, relational.OpModified, relational.OpDeleted, relational.OpSupport, relational.OpChild}
}

func (p *parser) where(r *rule, v *yamltree.Value, group *Group, where string) {
	for _, e := range p.entries(v, where) {
		place := where + "." + e.Key
		i := p.column(&yamltree.Value{At: e.At}, e.Key, r.table, place)
		if i < 0 {
			continue
		}
		if group != nil && !group.shows(r.table, e.Key) {
			p.found.Add(e.At, place, "", "the lines of group %d have no %.80q, only their keys and what the group changed", group.Number, e.Key)
			continue
		}
		if value, ok := p.value(e.Value, &r.table.Columns[i], place); ok {
			r.where = append(r.where, cell{e.Key, value})
		}
	}
}

// value reads a column's value, as a line would have it.
func (p *parser) value(v *yamltree.Value, c *relational.Column, where string) (relational.Value, bool) {
	if v == nil {
		return relational.Value{}, false
	}
	raw := []byte(v.Text)
	if v.Kind != yamltree.Number || !json.Valid(raw) {
		var err error
		if raw, err = json.Marshal(v.Plain()); err != nil {
			p.found.Add(v.At, where, "", "no value of a column")
			return relational.Value{}, false
		}
	}
	value, err := relational.ParseJSON(c, raw)
	if err != nil {
		p.problem(v, where, err, "write it as the lines of the capture have it")
	}
	return value, err == nil
}

func (p *parser) row(v *yamltree.Value, where string) {
	if !p.found.Need(v, yamltree.Map, where) {
		return
	}
	r := &rowChoice{place: fmt.Sprintf("%d:%d", v.At.Line, v.At.Column)}
	var t *relational.Table
	hasTable, hasKey := false, false
	for _, e := range v.Entries {
		if e.Key == "table" {
			hasTable = true
			if text, ok := p.text(e.Value, where+".table"); ok {
				t = p.tableOf(e.Value, text, where+".table")
			}
		}
	}
	id, ok := "", false
	for _, e := range v.Entries {
		switch e.Key {
		case "table":
		case "key":
			hasKey = true
			id, ok = p.key(r, e.Value, t, where+".key")
		default:
			p.known(e, where, p.choice(&r.choice, e, t, where, someRows), "table", "key", "action", "take_columns", "keep_columns", "conflicts")
		}
	}
	if !hasTable || !hasKey {
		p.found.Add(v.At, where, `write {table: TABLE, key: [VALUE], action: take}`, "a row is told by its table and its key")
		return
	}
	p.one(&r.choice, v.At, where, v)
	if t == nil || !ok {
		return
	}
	if p.d.rows[t.Name] == nil {
		p.d.rows[t.Name] = make(map[string]*rowChoice)
	}
	if first := p.d.rows[t.Name][id]; first != nil {
		p.found.Add(v.At, where, "", "the row is there twice, first at %s", first.place)
	}
	p.d.rows[t.Name][id] = r
}

// key reads the values of a table's identity.
func (p *parser) key(r *rowChoice, v *yamltree.Value, t *relational.Table, where string) (string, bool) {
	if v == nil || t == nil {
		return "", false
	}
	list := []*yamltree.Value{v}
	if v.Kind == yamltree.List {
		list = v.Items
	}
	key := t.Identity()
	switch {
	case key == nil:
		p.found.Add(v.At, where, "write a rule with where:", "table %s has no key: no row of it can be told from the others", t.Name)
		return "", false
	case len(list) != len(key.Columns):
		p.found.Add(v.At, where, "", "%d values for the key of table %s, which is of %s", len(list), t.Name, strings.Join(key.Columns, ", "))
		return "", false
	}
	values := make([]relational.Value, len(list))
	var shown []string
	for i, place := range t.Indexes(key.Columns) {
		var ok bool
		if values[i], ok = p.value(list[i], &t.Columns[place], fmt.Sprintf("%s[%d]", where, i)); !ok {
			return "", false
		}
		shown = append(shown, string(relational.AppendJSON(nil, &t.Columns[place], values[i])))
	}
	r.key = t.Name.String() + " [" + strings.Join(shown, ",") + "]"
	return string(relational.AppendValues(nil, values)), true
}
