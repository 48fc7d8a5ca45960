package relational

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"salvor/drivers"
)

// Targets are the lists of values, one of each of the parent's columns, that a child's row refers to over the edge, in the form
// of those columns. A key that is NULL in part refers to nothing, and so does what cannot be a value of the parent's.
func (e *Edge) Targets(child, parent *Table, values []Value) [][]Value {
	return e.targets(child, parent, values)
}

// Applies tells whether a child's row uses the edge.
func (e *Edge) Applies(child *Table, values []Value) bool { return e.applies(child, values) }

// Rewrite replaces what a child's row refers to: mapped tells for what it refers to now, in the form of the parent's columns, what
// it shall. It returns the places of the columns that are others now, whose values are replaced in the list. A value that the column
// cannot hold is an error wrapping [drivers.ErrInvalid].
func (e *Edge) Rewrite(child, parent *Table, values []Value, mapped func(old []Value) ([]Value, bool)) (changed []int, err error) {
	if !e.applies(child, values) {
		return nil, nil
	}
	if e.Kind != EdgeArray && e.Kind != EdgePath {
		return e.rewriteColumns(child, parent, values, mapped)
	}
	place := child.Index(e.Columns[0])
	v := values[place]
	if v.Kind != Text {
		return nil, nil
	}
	one := func(element Value) (Value, bool) {
		old, ok := Convert(element, &parent.Columns[parent.Index(e.ParentColumns[0])])
		if !ok {
			return element, false
		}
		list, ok := mapped([]Value{old})
		if !ok {
			return element, false
		}
		return list[0], true
	}
	var text []byte
	trimmed := bytes.TrimSpace(v.Text)
	path := e.Path
	if e.Kind == EdgeArray {
		path = []string{"*"}
	}
	if e.Kind == EdgePath || len(trimmed) > 0 && trimmed[0] == '[' && trimmed[len(trimmed)-1] == ']' {
		text = rewriteJSON(v.Text, path, one)
	} else {
		text = rewriteArray(v.Text, one)
	}
	if bytes.Equal(text, v.Text) {
		return nil, nil
	}
	values[place] = Value{Text, text}
	return []int{place}, nil
}

func (e *Edge) rewriteColumns(child, parent *Table, values []Value, mapped func([]Value) ([]Value, bool)) (changed []int, err error) {
	for _, old := range e.targets(child, parent, values) {
		list, ok := mapped(old)
		if !ok {
			continue
		}
		for i, place := range child.Indexes(e.Columns) {
			if list[i].Equal(old[i]) {
				continue
			}
			v, ok := Convert(list[i], &child.Columns[place])
			if !ok {
				return nil, fmt.Errorf("column %q cannot hold the key %q: %w", e.Columns[i], list[i].Text, drivers.ErrInvalid)
			}
			values[place] = v
			changed = append(changed, place)
		}
	}
	return changed, nil
}

// rewriteArray replaces elements of an array in PostgreSQL's form.
func rewriteArray(text []byte, one func(Value) (Value, bool)) []byte {
	var out []byte
	i := 0
	if at := bytes.IndexByte(text, '='); at > 0 && text[0] == '[' {
		out, i = append(out, text[:at+1]...), at+1
	}
	for i < len(text) {
		from := i
		switch c := text[i]; c {
		case '{', '}', ',', ' ':
			i++
			out = append(out, c)
			continue
		case '"':
			var element []byte
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' && i+1 < len(text) {
					i++
				}
				element = append(element, text[i])
			}
			i = min(i+1, len(text))
			if v, ok := one(Value{Text, element}); ok {
				out = append(out, '"')
				out = append(out, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(v.Text))...)
				out = append(out, '"')
				continue
			}
		default:
			for i < len(text) && strings.IndexByte("{},", text[i]) < 0 {
				i++
			}
			element := text[from:i]
			if v, ok := one(Value{Text, element}); ok && !bytes.EqualFold(element, []byte("NULL")) {
				out = append(out, v.Text...)
				continue
			}
		}
		out = append(out, text[from:i]...)
	}
	return out
}

// rewriteJSON replaces the values that a path leads to, and leaves every other byte as it is. What is not JSON stays.
func rewriteJSON(text []byte, path []string, one func(Value) (Value, bool)) []byte {
	if !json.Valid(text) {
		return text
	}
	w := jsonWalk{in: text, one: one}
	w.value(path)
	return append(w.out, text[w.done:]...)
}

// jsonWalk goes through valid JSON.
type jsonWalk struct {
	in   []byte
	at   int
	out  []byte
	done int // how much of in is in out
	one  func(Value) (Value, bool)
}

func (w *jsonWalk) blanks() {
	for w.at < len(w.in) && strings.IndexByte(" \t\r\n", w.in[w.at]) >= 0 {
		w.at++
	}
}

// scalar passes over a value that is neither an object nor a list.
func (w *jsonWalk) scalar() []byte {
	from := w.at
	if w.in[w.at] == '"' {
		for w.at++; w.in[w.at] != '"'; w.at++ {
			if w.in[w.at] == '\\' {
				w.at++
			}
		}
		w.at++
		return w.in[from:w.at]
	}
	for w.at < len(w.in) && strings.IndexByte(" \t\r\n,]}", w.in[w.at]) < 0 {
		w.at++
	}
	return w.in[from:w.at]
}

// value passes over a value, in which path leads to what is replaced; nil leads to nothing, an empty one to the value itself.
func (w *jsonWalk) value(path []string) {
	w.blanks()
	switch w.in[w.at] {
	case '{':
		w.members('}', path)
	case '[':
		w.members(']', path)
	default:
		from := w.at
		raw := w.scalar()
		if path == nil || len(path) > 0 {
			return
		}
		w.replace(from, raw)
	}
}

func (w *jsonWalk) replace(from int, raw []byte) {
	v := Value{Text, raw}
	quoted := raw[0] == '"'
	switch {
	case quoted:
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return
		}
		v = TextValue(text)
	case raw[0] == 'n' || raw[0] == 't' || raw[0] == 'f':
		return
	}
	to, ok := w.one(v)
	if !ok {
		return
	}
	w.out = append(w.out, w.in[w.done:from]...)
	if quoted || !json.Valid(to.Text) {
		w.out = appendString(w.out, to.Text)
	} else {
		w.out = append(w.out, to.Text...)
	}
	w.done = w.at
}

// members passes over an object or a list.
func (w *jsonWalk) members(end byte, path []string) {
	w.at++
	for {
		w.blanks()
		if w.in[w.at] == end {
			w.at++
			return
		}
		if w.in[w.at] == ',' {
			w.at++
			continue
		}
		var below []string
		if end == '}' {
			var name string
			if json.Unmarshal(w.scalar(), &name) == nil && len(path) > 0 && path[0] == name {
				below = append([]string{}, path[1:]...)
			}
			w.blanks()
			w.at++ // the colon
		} else if len(path) > 0 && path[0] == "*" {
			below = append([]string{}, path[1:]...)
		}
		w.value(below)
	}
}
