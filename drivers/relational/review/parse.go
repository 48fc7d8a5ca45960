package review

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/drivers/relational/merge"
	"salvor/internal/yamltree"
)

// maxSize is the greatest file of decisions: some ten thousand rows. Who has more to say writes a rule.
const maxSize = 4 << 20

// Options are what decisions are read for.
type Options struct {
	// File is the file's name, for messages.
	File string
	// Model is that of the capture, Groups its masses of changes.
	Model  *relational.Model
	Groups []Group
}

// Parse reads decisions. Everything that is wrong is reported at once, by a [*yamltree.Error] with the lines and columns.
// Whether there are rows of the keys that are named only the lines tell: see [Check].
func Parse(data []byte, o Options) (*Decisions, error) {
	p := &parser{model: o.Model, d: None(o.Groups)}
	if root := yamltree.Read(data, yamltree.Limit{Noun: "a file of decisions", Size: maxSize}, &p.found); root != nil {
		p.document(root)
	}
	if err := p.found.Err(o.File); err != nil {
		return nil, err
	}
	return p.d, nil
}

type parser struct {
	found yamltree.Problems
	model *relational.Model
	d     *Decisions
}

func (p *parser) document(v *yamltree.Value) {
	for _, e := range p.entries(v, "") {
		where := e.Key
		switch e.Key {
		case "default":
			for _, e := range p.entries(e.Value, where) {
				p.known(e, where, p.choice(&p.d.def, e, nil, where, everything), "action", "deleted", "conflicts")
			}
		case "tables":
			for _, e := range p.entries(e.Value, where) {
				p.table(e, where+"."+e.Key)
			}
		case "rules":
			for i, item := range p.items(e.Value, where) {
				p.rule(item, i+1, fmt.Sprintf("%s[%d]", where, i))
			}
		case "rows":
			for i, item := range p.items(e.Value, where) {
				p.row(item, fmt.Sprintf("%s[%d]", where, i))
			}
		default:
			p.known(e, "", false, "default", "tables", "rules", "rows")
		}
	}
}

// entries are those of a mapping; nothing at all, as where all is commented out, is an empty one.
func (p *parser) entries(v *yamltree.Value, where string) []yamltree.Entry {
	if v != nil && v.Kind == yamltree.Null {
		return nil
	}
	if where == "" && v != nil && v.Kind != yamltree.Map {
		p.found.Add(v.At, "", "", "the file holds %s; a mapping is needed, of default, tables, rules and rows", v.Kind)
		return nil
	}
	if !p.found.Need(v, yamltree.Map, where) {
		return nil
	}
	return v.Entries
}

func (p *parser) items(v *yamltree.Value, where string) []*yamltree.Value {
	if v != nil && v.Kind == yamltree.Null || !p.found.Need(v, yamltree.List, where) {
		return nil
	}
	return v.Items
}

// known reports a key that is none of those that there are.
func (p *parser) known(e yamltree.Entry, where string, taken bool, keys ...string) {
	if taken {
		return
	}
	hint := yamltree.Nearest(e.Key, keys)
	if where != "" {
		where += "."
	}
	p.found.Add(e.At, where+e.Key, hint, "unknown key %.80q (have %s)", e.Key, strings.Join(keys, ", "))
}

func (p *parser) text(v *yamltree.Value, where string) (string, bool) {
	if !p.found.Need(v, yamltree.Text, where) {
		return "", false
	}
	return v.Text, true
}

// problem reports an error of the model's.
func (p *parser) problem(v *yamltree.Value, where string, err error, hint string) {
	if h := hintOf(err); h != "" {
		hint = h
	}
	p.found.Add(v.At, where, hint, "%v", err)
}

func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

// tableOf finds a table by its name.
func (p *parser) tableOf(v *yamltree.Value, text, where string) *relational.Table {
	t, err := p.model.Find(text)
	if err != nil {
		var names []string
		for _, t := range p.model.Tables {
			names = append(names, t.Name.String(), t.Name.Name)
		}
		p.problem(v, where, err, yamltree.Nearest(text, names))
	}
	return t
}

// scope says what a choice is about, as far as that limits what it can say.
type scope int

const (
	everything scope = iota
	wholeTable
	someRows
)

// choice reads an entry that says what becomes of lines. It returns false for one that does not.
func (p *parser) choice(c *choice, e yamltree.Entry, t *relational.Table, where string, s scope) bool {
	where += "." + e.Key
	switch e.Key {
	case "action":
		c.action = p.action(e.Value, where, Take, Keep, Skip)
	case "deleted":
		if s == someRows {
			return false
		}
		c.deleted = p.action(e.Value, where, Take, Keep)
	case "take_columns", "keep_columns":
		if s == everything {
			return false // there is no table
		}
		c.columns, c.without = p.columns(e.Value, t, where), e.Key == "keep_columns"
	case "conflicts":
		c.conflicts = make(map[merge.Code]merge.Policy)
		for _, e := range p.entries(e.Value, where) {
			p.policy(c, e, where+"."+e.Key)
		}
	default:
		return false
	}
	return true
}

func (p *parser) action(v *yamltree.Value, where string, actions ...Action) Action {
	text, ok := p.text(v, where)
	if !ok {
		return ""
	}
	if !slices.Contains(actions, Action(text)) {
		names := texts(actions)
		hint := yamltree.Nearest(text, names)
		switch {
		case text == "take_columns" || text == "keep_columns":
			hint = "write " + text + ": [COLUMN, …] in its place"
		case text == string(Skip):
			hint = "nothing hangs on it: write keep"
		}
		p.found.Add(v.At, where, hint, "unknown action %.80q (have %s)", text, strings.Join(names, ", "))
		return ""
	}
	return Action(text)
}

func texts[T ~string](list []T) []string {
	names := make([]string, len(list))
	for i, one := range list {
		names[i] = string(one)
	}
	return names
}

func (p *parser) policy(c *choice, e yamltree.Entry, where string) {
	code := merge.Code(e.Key)
	if !slices.Contains(Codes(), code) {
		p.found.Add(e.At, where, yamltree.Nearest(e.Key, texts(Codes())), "unknown conflict %.80q (have %s)", e.Key, strings.Join(texts(Codes()), ", "))
		return
	}
	text, ok := p.text(e.Value, where)
	switch {
	case !ok:
	case slices.Contains(code.Policies(), merge.Policy(text)):
		c.conflicts[code] = merge.Policy(text)
	case slices.Contains(policies(), merge.Policy(text)):
		p.found.Add(e.Value.At, where, "", "%s settles no %s (%s does)", text, code, strings.Join(texts(code.Policies()), ", "))
	default:
		p.found.Add(e.Value.At, where, yamltree.Nearest(text, texts(policies())), "unknown policy %.80q (have %s)", text, strings.Join(texts(code.Policies()), ", "))
	}
}

// columns reads names of a table's columns. They are never nil.
func (p *parser) columns(v *yamltree.Value, t *relational.Table, where string) []string {
	list := []string{}
	if !p.found.Need(v, yamltree.List, where) {
		return list
	}
	if len(v.Items) == 0 {
		p.found.Add(v.At, where, "write action: keep, or action: take", "%s is an empty list", yamltree.LastKey(where))
	}
	for i, item := range v.Items {
		place := fmt.Sprintf("%s[%d]", where, i)
		if name, ok := p.text(item, place); ok && p.column(item, name, t, place) >= 0 {
			list = append(list, name)
		}
	}
	return list
}

// column finds a column; -1 where there is none, or no table is known.
func (p *parser) column(v *yamltree.Value, name string, t *relational.Table, where string) int {
	if t == nil {
		return -1
	}
	i := t.Index(name)
	if i < 0 {
		var names []string
		for _, c := range t.Columns {
			names = append(names, c.Name)
		}
		hint := yamltree.Nearest(name, names)
		if hint == "" {
			hint = "the table has " + strings.Join(names, ", ")
		}
		p.found.Add(v.At, where, hint, "table %s: column %.80q: %v", t.Name, name, drivers.ErrNotFound)
	}
	return i
}

func (p *parser) table(e yamltree.Entry, where string) {
	t := p.tableOf(&yamltree.Value{At: e.At}, e.Key, where)
	c := &choice{}
	for _, e := range p.entries(e.Value, where) {
		p.known(e, where, p.choice(c, e, t, where, wholeTable), "action", "deleted", "take_columns", "keep_columns", "conflicts")
	}
	if t == nil {
		return
	}
	if _, twice := p.d.tables[t.Name]; twice {
		p.found.Add(e.At, where, "", "table %s is there twice, by another name", t.Name)
	}
	p.one(c, e.At, where, e.Value)
	p.d.tables[t.Name] = c
}

// one reports a choice that says two things, or nothing.
func (p *parser) one(c *choice, at yamltree.Position, where string, v *yamltree.Value) {
	said := 0
	if v != nil {
		for _, e := range v.Entries {
			if slices.Contains([]string{"action", "take_columns", "keep_columns"}, e.Key) {
				said++
			}
		}
	}
	if said > 1 {
		p.found.Add(at, where, "keep one of them", "action, take_columns and keep_columns exclude each other")
	}
	if said == 0 && c.conflicts == nil && c.deleted == "" && v != nil && v.Kind == yamltree.Map {
		p.found.Add(at, where, "add action: take, keep or skip", "nothing is decided here")
	}
}
