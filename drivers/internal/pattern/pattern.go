// Package pattern matches the names of databases, schemas and tables against what a set's options say. It knows texts alone.
package pattern

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"salvor/drivers"
)

// List is a list of patterns, which may be written as one text.
type List []string

// UnmarshalJSON takes a text or a list of texts.
func (list *List) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*list = List{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(list))
}

// Check tells, by the option's key, whether a text is a pattern.
func Check(key, p string) error {
	if p != "" && utf8.ValidString(p) && !strings.ContainsAny(p, "[]\\\x00") {
		return nil
	}
	return drivers.WithHint(fmt.Errorf("%s: %w: %q is no pattern", key, drivers.ErrInvalid, p),
		"* fits any text, ? one character, everything else itself; there are no brackets and no backslashes")
}

// Fits tells whether a name fits a pattern: * is any text, ? any one character, and everything else itself. It decides as
// psql and pg_dump do, which are given such patterns too: whatever one of them takes, the other has to take.
func Fits(pattern, name string) bool {
	back, from := -1, 0 // where to go on when the text of the last * has to be longer
	p, n := 0, 0
	for n < len(name) {
		_, size := utf8.DecodeRuneInString(name[n:])
		switch {
		case p < len(pattern) && pattern[p] == '*':
			back, from = p, n
			p++
		case p < len(pattern) && pattern[p] == '?':
			p++
			n += size
		case p < len(pattern) && strings.HasPrefix(pattern[p:], name[n:n+size]):
			p += size
			n += size
		case back >= 0:
			_, size := utf8.DecodeRuneInString(name[from:])
			from += size
			p, n = back+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// Any tells whether a name fits one of the patterns.
func (list List) Any(name string) bool {
	for _, p := range list {
		if Fits(p, name) {
			return true
		}
	}
	return false
}

// Table tells whether a table fits one of the patterns: "table" in any schema, or "schema.table".
func (list List) Table(schema, table string) bool {
	for _, p := range list {
		inSchema, inTable := Cut(p)
		if Fits(inSchema, schema) && Fits(inTable, table) {
			return true
		}
	}
	return false
}

// Cut splits a pattern of tables at its first dot, as everything here does that takes one.
func Cut(p string) (schema, table string) {
	schema, table, ok := strings.Cut(p, ".")
	if !ok {
		return "*", p
	}
	return schema, table
}
