package relational

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// lookable tells whether the children of a row can be found by the columns of the edge. Keys within arrays and JSON cannot be: a
// row that holds a new one is itself new or changed, so a comparison finds it.
func (e *Edge) lookable() bool { return e.Kind != EdgeArray && e.Kind != EdgePath }

// applies tells whether a child's row uses the edge.
func (e *Edge) applies(child *Table, values []Value) bool {
	if e.When == nil {
		return true
	}
	v := values[child.Index(e.When.Column)]
	return v.Kind != Null && string(v.Text) == e.When.Value
}

// targets are the lists of values, one of each of ParentColumns, that a child's row refers to, in the form of the parent's columns. A key
// that is NULL in part refers to nothing, and what cannot be a value of the parent's columns neither.
func (e *Edge) targets(child, parent *Table, values []Value) [][]Value {
	if !e.applies(child, values) {
		return nil
	}
	switch e.Kind {
	case EdgeArray:
		return e.single(parent, elements(values[child.Index(e.Columns[0])]))
	case EdgePath:
		return e.single(parent, follow(values[child.Index(e.Columns[0])], e.Path))
	case EdgeForeign, EdgeColumn, EdgeGeneric:
	}
	list := make([]Value, len(e.Columns))
	for i, place := range child.Indexes(e.Columns) {
		v, ok := Convert(values[place], &parent.Columns[parent.Index(e.ParentColumns[i])])
		if !ok {
			return nil
		}
		list[i] = v
	}
	return [][]Value{list}
}

// single makes lists of one value each.
func (e *Edge) single(parent *Table, values []Value) (lists [][]Value) {
	c := &parent.Columns[parent.Index(e.ParentColumns[0])]
	for _, v := range values {
		if v, ok := Convert(v, c); ok {
			lists = append(lists, []Value{v})
		}
	}
	return lists
}

// sources is the list of values, one of each of Columns, that the children of a parent's row have.
func (e *Edge) sources(child, parent *Table, values []Value) ([]Value, bool) {
	list := make([]Value, len(e.Columns))
	for i, place := range parent.Indexes(e.ParentColumns) {
		v := values[place]
		if e.Kind == EdgeGeneric && isPlainUUID(&parent.Columns[place]) && len(v.Text) == plainUUID {
			if id, err := uuid.ParseBytes(v.Text); err == nil {
				v = TextValue(id.String()) // as Django writes it beside a content type; a column of such is written plain again
			}
		}
		v, ok := Convert(v, &child.Columns[child.Index(e.Columns[i])])
		if !ok {
			return nil, false
		}
		list[i] = v
	}
	return list, true
}

// Convert makes a value of one column one that another can be compared with, as a reference without a constraint needs: a text
// of digits names a row by a number. ok is false for NULL, and for what the column cannot hold.
func Convert(v Value, c *Column) (_ Value, ok bool) {
	if v.Kind == Null {
		return v, false
	}
	if isPlainUUID(c) && len(v.Text) != plainUUID {
		if id, err := uuid.ParseBytes(v.Text); err == nil {
			return TextValue(hex.EncodeToString(id[:])), true
		}
	}
	if c.Dynamic {
		return dynamic(v, c), true
	}
	switch c.Type {
	case TypeInt:
		text := v.Text
		if v.Kind == Decimal {
			whole, fraction, _ := bytes.Cut(text, []byte("."))
			if len(bytes.Trim(fraction, "0")) == 0 {
				text = whole
			}
		}
		return Value{Int, text}, v.Kind != Bytes && isInt(text) && fitsInt(text, c.SQL)
	case TypeDecimal:
		_, err := AppendKey(nil, OrderDecimal, v)
		return Value{Decimal, v.Text}, v.Kind != Bytes && err == nil
	case TypeFloat:
		_, err := strconv.ParseFloat(string(v.Text), 64)
		return Value{Float, v.Text}, v.Kind != Bytes && err == nil
	case TypeBool:
		return v, v.Kind == Bool
	case TypeBytes:
		return Value{Bytes, v.Text}, v.Kind == Bytes
	case TypeTime:
		return Value{Text, v.Text}, v.Kind == Text && looksLikeTime(v.Text)
	case TypeOther:
		if strings.EqualFold(c.SQL, "uuid") {
			id, err := uuid.ParseBytes(v.Text)
			return Value{Text, []byte(id.String())}, err == nil
		}
	case TypeText, TypeJSON:
	}
	return Value{Text, v.Text}, v.Kind != Bytes
}

// plainUUID is the length of a UUID without dashes.
const plainUUID = 32

// isPlainUUID tells whether a column is of the type in which Django keeps UUIDs without dashes, where the database has none of its own.
func isPlainUUID(c *Column) bool { return strings.EqualFold(c.SQL, "char(32)") }

// dynamic makes a value what a column of SQLite would make of it, where that can be told: it compares a text with a column of numbers
// as a number, and the other way around.
func dynamic(v Value, c *Column) Value {
	switch c.Type {
	case TypeInt, TypeDecimal, TypeFloat, TypeBool, TypeTime:
		if _, err := strconv.ParseInt(string(v.Text), 10, 64); err == nil && v.Kind == Text && isInt(v.Text) {
			return Value{Int, v.Text}
		}
	case TypeText:
		if v.Kind == Int {
			return Value{Text, v.Text}
		}
	case TypeBytes, TypeJSON, TypeOther:
	}
	return v
}

// fitsInt tells whether a whole number fits a column; a server would refuse the whole question.
func fitsInt(text []byte, sql string) bool {
	bits := 64
	switch strings.ToLower(sql) {
	case "integer":
		bits = 32
	case "smallint":
		bits = 16
	}
	_, err := strconv.ParseInt(string(text), 10, bits)
	return err == nil || strings.Contains(strings.ToLower(sql), "unsigned")
}

// elements are those of an array: of JSON, or in PostgreSQL's form {1,2,NULL,"a b"}.
func elements(v Value) []Value {
	if v.Kind != Text {
		return nil
	}
	text := bytes.TrimSpace(v.Text)
	if len(text) > 0 && text[0] == '[' && text[len(text)-1] == ']' {
		return follow(v, []string{"*"})
	}
	if i := bytes.IndexByte(text, '='); i > 0 && text[0] == '[' {
		text = text[i+1:] // bounds that are not the usual ones: [2:3]={1,2}
	}
	var list []Value
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '{', '}', ',', ' ':
			i++
		case '"':
			var element []byte
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' && i+1 < len(text) {
					i++
				}
				element = append(element, text[i])
			}
			i++
			list = append(list, Value{Text, element})
		default:
			from := i
			for i < len(text) && strings.IndexByte("{},", text[i]) < 0 {
				i++
			}
			if element := text[from:i]; !bytes.EqualFold(element, []byte("NULL")) {
				list = append(list, Value{Text, element})
			}
		}
	}
	return list
}

// follow finds the values that a path leads to in a text of JSON.
func follow(v Value, path []string) []Value {
	if v.Kind != Text {
		return nil
	}
	raws := []json.RawMessage{v.Text}
	for _, step := range path {
		var next []json.RawMessage
		for _, raw := range raws {
			var list []json.RawMessage
			if step == "*" && json.Unmarshal(raw, &list) == nil {
				next = append(next, list...)
				continue
			}
			var object map[string]json.RawMessage
			if json.Unmarshal(raw, &object) != nil {
				continue
			}
			if found, ok := object[step]; ok {
				next = append(next, found)
			}
		}
		raws = next
	}
	var values []Value
	for _, raw := range raws {
		raw = bytes.TrimSpace(raw)
		var text string
		switch {
		case len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || raw[0] == 'n' || raw[0] == 't' || raw[0] == 'f':
		case json.Unmarshal(raw, &text) == nil:
			values = append(values, TextValue(text))
		default:
			values = append(values, Value{Text, raw})
		}
	}
	return values
}
