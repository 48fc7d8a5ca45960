package declared

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/internal/yamltree"
)

// Key is the name of the option.
const Key = "capture"

// Options are what the key says.
type Options struct {
	// Zone is what times without a zone are in, "" where the database's own word counts; Margin is how much before the dump rows
	// may say that they were made.
	Zone   string
	Margin time.Duration
	// Tables are sorted by name.
	Tables []Table
}

// Table is what is said of a table.
type Table struct {
	// Name is as a person calls it, see [relational.Model.Find].
	Name string
	relational.Detectors
	// App and Model are Django's names; "" where they are the usual ones.
	App, Model string
	// References are nil where nothing is said: then Django's generic keys are looked for.
	References []Reference
}

// Reference is an edge that no constraint declares.
type Reference struct {
	Kind    relational.EdgeKind
	Columns []string
	// Path leads to the keys within JSON.
	Path []string
	// To is the parent, Key its columns; nil for those that identify its rows. Of a generic key it is "": the parent is told by the
	// column Type, by Types or, where that is nil, by Django's content types.
	To    string
	Key   []string
	Type  string
	Types map[string]string
}

// OptionError is something that is wrong with the key. It is [drivers.ErrInvalid] or [drivers.ErrNotFound].
type OptionError struct {
	path []string
	hint string
	err  error
}

// Error names the place.
func (p *OptionError) Error() string {
	var at strings.Builder
	for i, step := range p.path {
		if _, err := strconv.Atoi(step); err == nil && i > 0 {
			at.WriteString("[" + step + "]")
			continue
		}
		if i > 0 {
			at.WriteByte('.')
		}
		at.WriteString(step)
	}
	return at.String() + ": " + p.err.Error()
}

// Unwrap returns the class.
func (p *OptionError) Unwrap() error { return p.err }

// Hint tells what to do.
func (p *OptionError) Hint() string { return p.hint }

// Place are the keys, and the places in lists, that lead to what is wrong, from the option's name on.
func (p *OptionError) Place() []string { return p.path }

// OptionErrors are all that is wrong.
type OptionErrors []*OptionError

// Error has a line for each.
func (p OptionErrors) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Hint is the first of theirs.
func (p OptionErrors) Hint() string {
	for _, one := range p {
		if one.hint != "" {
			return one.hint
		}
	}
	return ""
}

// Unwrap returns them.
func (p OptionErrors) Unwrap() []error { return p.Each() }

// Each returns them.
func (p OptionErrors) Each() []error {
	list := make([]error, len(p))
	for i, one := range p {
		list[i] = one
	}
	return list
}

func (p OptionErrors) err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// FromNode returns what the options of a node say under [Key].
func FromNode(options json.RawMessage) (*Options, error) {
	if len(options) == 0 {
		return &Options{}, nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(options, &all); err != nil {
		return nil, fmt.Errorf("options: %w: %w", drivers.ErrInvalid, err)
	}
	return Parse(all[Key])
}

// Parse reads the value of the key, which is JSON by now. The error is of type [OptionErrors].
func Parse(raw json.RawMessage) (*Options, error) {
	o := &Options{}
	if len(raw) == 0 {
		return o, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var value any
	p := &parser{}
	if err := d.Decode(&value); err != nil {
		p.add([]string{Key}, "", "not JSON")
		return nil, p.found
	}
	for _, m := range p.mapping(value, []string{Key}) {
		if _, table := m.value.(map[string]any); table || m.key != "zone" && m.key != "margin" {
			o.Tables = append(o.Tables, p.table(m))
			continue
		}
		text, ok := p.text(m.value, m.path)
		switch {
		case !ok:
		case m.key == "zone":
			if _, err := relational.ParseZone(text); err != nil {
				p.add(m.path, "write it as Europe/Berlin, or UTC", "%q is no time zone that is known here", text)
			}
			o.Zone = text
		default:
			var err error
			if o.Margin, err = time.ParseDuration(text); err != nil || o.Margin < 0 {
				p.add(m.path, "write it as 10m or 1h30m", "%q is no length of time", text)
			}
		}
	}
	if err := p.found.err(); err != nil {
		return nil, err
	}
	return o, nil
}

type parser struct{ found OptionErrors }

// add adds a problem. The path is kept.
func (p *parser) add(path []string, hint, format string, args ...any) {
	p.found = append(p.found, &OptionError{slices.Clone(path), hint, fmt.Errorf("%w: %s", drivers.ErrInvalid, fmt.Sprintf(format, args...))})
}

type member struct {
	key   string
	value any
	path  []string
}

// kind names what a value is, in the words of [yamltree].
func kind(v any) yamltree.Kind {
	switch v.(type) {
	case nil:
		return yamltree.Null
	case bool:
		return yamltree.Bool
	case string:
		return yamltree.Text
	case []any:
		return yamltree.List
	case map[string]any:
		return yamltree.Map
	}
	return yamltree.Number
}

func (p *parser) need(v any, want yamltree.Kind, path []string) bool {
	if have := kind(v); have != want {
		hint := ""
		if want == yamltree.Text && (have == yamltree.Number || have == yamltree.Bool) {
			hint = "put it in quotes"
		}
		p.add(path, hint, "it is %s; %s is needed", have, want)
		return false
	}
	return true
}

// mapping are the members of an object, sorted.
func (p *parser) mapping(v any, path []string) []member {
	if !p.need(v, yamltree.Map, path) {
		return nil
	}
	object, _ := v.(map[string]any)
	var list []member
	for _, key := range slices.Sorted(maps.Keys(object)) {
		list = append(list, member{key, object[key], append(slices.Clone(path), key)})
	}
	return list
}

func (p *parser) list(v any, path []string) []member {
	if !p.need(v, yamltree.List, path) {
		return nil
	}
	items, _ := v.([]any)
	var list []member
	for i, item := range items {
		key := strconv.Itoa(i)
		list = append(list, member{key, item, append(slices.Clone(path), key)})
	}
	return list
}

func (p *parser) text(v any, path []string) (string, bool) {
	if !p.need(v, yamltree.Text, path) {
		return "", false
	}
	text, _ := v.(string)
	if text == "" {
		p.add(path, "leave the key out", "it is empty")
	}
	return text, text != ""
}

// texts reads a list of texts; one alone may stand for it.
func (p *parser) texts(v any, path []string) (list []string) {
	if _, one := v.(string); one {
		text, _ := p.text(v, path)
		return []string{text}
	}
	members := p.list(v, path)
	if members == nil && kind(v) == yamltree.List {
		p.add(path, "leave the key out", "it is an empty list")
	}
	for _, m := range members {
		text, _ := p.text(m.value, m.path)
		list = append(list, text)
	}
	return list
}

func (p *parser) unknown(m member, keys ...string) {
	p.add(m.path, yamltree.Nearest(m.key, keys), "unknown key (have %s)", strings.Join(keys, ", "))
}

func (p *parser) table(m member) Table {
	t := Table{Name: m.key}
	for _, m := range p.mapping(m.value, m.path) {
		switch m.key {
		case "created":
			t.Created, _ = p.text(m.value, m.path)
		case "modified":
			t.Modified, _ = p.text(m.value, m.path)
		case "model":
			text, ok := p.text(m.value, m.path)
			if !ok {
				continue
			}
			var dot bool
			if t.App, t.Model, dot = strings.Cut(text, "."); !dot || t.App == "" || t.Model == "" {
				p.add(m.path, "write it as shop.order", "%q is no app and model of Django's", text)
			}
			t.Model = strings.ToLower(t.Model)
		case "references":
			t.References = []Reference{}
			for _, m := range p.list(m.value, m.path) {
				t.References = append(t.References, p.reference(m))
			}
		default:
			p.unknown(m, "created", "modified", "model", "references")
		}
	}
	return t
}

// reference reads one of four forms: {column, to}, {array, to}, {json, path, to} and {type, object}.
func (p *parser) reference(m member) Reference {
	var r Reference
	have := make(map[string]bool)
	for _, m := range p.mapping(m.value, m.path) {
		have[m.key] = true
		switch m.key {
		case "column":
			r.Kind, r.Columns = relational.EdgeColumn, p.texts(m.value, m.path)
		case "array":
			text, _ := p.text(m.value, m.path)
			r.Kind, r.Columns = relational.EdgeArray, []string{text}
		case "json":
			text, _ := p.text(m.value, m.path)
			r.Kind, r.Columns = relational.EdgePath, []string{text}
		case "object":
			text, _ := p.text(m.value, m.path)
			r.Kind, r.Columns = relational.EdgeGeneric, []string{text}
		case "path":
			r.Path = p.texts(m.value, m.path)
		case "to":
			r.To, _ = p.text(m.value, m.path)
		case "key":
			r.Key = p.texts(m.value, m.path)
		case "type":
			r.Type, _ = p.text(m.value, m.path)
		case "types":
			r.Types = make(map[string]string)
			for _, m := range p.mapping(m.value, m.path) {
				r.Types[m.key], _ = p.text(m.value, m.path)
			}
		default:
			p.unknown(m, "column", "array", "json", "path", "object", "type", "types", "to", "key")
			return r
		}
	}
	if kind(m.value) == yamltree.Map {
		p.form(m.path, have, &r)
	}
	return r
}

// form tells whether the keys of a reference go together.
func (p *parser) form(path []string, have map[string]bool, r *Reference) {
	const forms = "write {column: COLUMN, to: TABLE}, {array: COLUMN, to: TABLE}, {json: COLUMN, path: [KEY], to: TABLE} or {type: COLUMN, object: COLUMN}"
	needs := map[string][2][]string{
		"column": {{"to"}, {"key"}},
		"array":  {{"to"}, {"key"}},
		"json":   {{"path", "to"}, {"key"}},
		"object": {{"type"}, {"types"}},
	}
	main := ""
	for _, key := range slices.Sorted(maps.Keys(needs)) {
		switch {
		case !have[key]:
		case main != "":
			p.add(path, forms, "%s and %s exclude each other", main, key)
			return
		default:
			main = key
		}
	}
	if main == "" {
		p.add(path, forms, "it names no column")
		return
	}
	for _, key := range needs[main][0] {
		if !have[key] {
			p.add(path, forms, "%s needs %s", main, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(have)) {
		if key != main && !slices.Contains(needs[main][0], key) && !slices.Contains(needs[main][1], key) {
			p.add(append(slices.Clone(path), key), "", "%s means nothing beside %s", key, main)
		}
	}
	if r.Kind != relational.EdgeColumn && len(r.Key) > 1 || r.Key != nil && r.Kind == relational.EdgeColumn && len(r.Key) != len(r.Columns) {
		p.add(append(slices.Clone(path), "key"), "", "%d columns of the key for %d", len(r.Key), len(r.Columns))
	}
}
