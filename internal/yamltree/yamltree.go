// Package yamltree reads YAML that people write, strictly: every value with its place, everything that is wrong at once, within
// bounds of size, depth and number. It knows nothing of what the values mean; a set's text and a review's decisions are read with it.
//
// Begin with [Read]; collect what else is wrong in the same [Problems], whose Err is the error to return.
package yamltree

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of a text. They are far above what people write, and keep a hostile or generated file from using up time or memory.
const (
	maxValues  = 200_000 // values, those that aliases repeat included
	maxNesting = 100     // lists and mappings in each other
	maxKeys    = 1_000   // keys of one mapping, which the parser handles in quadratic time
)

// Value is a YAML value with its place. Aliases are followed and merge keys merged.
type Value struct {
	At   Position
	Kind Kind
	// Text is a scalar's text, that of a number as it is written; Scalar is its value where it is none.
	Text    string
	Scalar  any
	Items   []*Value // of a list
	Entries []Entry  // of a mapping, in the order of the file, each key once
}

// Entry is one of a mapping's. Value is nil where there was a problem with it, which was reported.
type Entry struct {
	Key   string
	At    Position
	Value *Value
}

// Kind is what a value is, as messages say it.
type Kind string

// The kinds of values.
const (
	Null   Kind = "nothing"
	Bool   Kind = "a truth value"
	Number Kind = "a number"
	Text   Kind = "text"
	List   Kind = "a list"
	Map    Kind = "a mapping"
)

// Limit says what a file may be.
type Limit struct {
	// Noun is what it is to its reader: "a set"; Size how many bytes it has at most.
	Noun string
	Size int
}

// Read parses one document. It returns nil if there is nothing to go on with; the problems tell why.
func Read(data []byte, limit Limit, found *Problems) *Value {
	if len(data) > limit.Size {
		found.Add(Position{}, "", "", "the file has %d bytes; %s has at most %d", len(data), limit.Noun, limit.Size)
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if at, ok := findNotText(data); ok {
		found.Add(at, "", "", "the file is not text in UTF-8")
		return nil
	}
	file, ok := parseYAML(string(data), found)
	if !ok {
		return nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			found.Add(startOf(doc.Body), "", "", "a second document begins here; a file holds one")
			return nil
		}
		body = doc.Body
	}
	if body == nil {
		return &Value{At: Position{1, 1}, Kind: Null}
	}
	r := &reader{found: found, noun: limit.Noun, anchors: make(map[string]ast.Node)}
	return r.read(body, 0)
}

// findNotText returns the place of the first byte that no text holds.
func findNotText(data []byte) (Position, bool) {
	at := Position{1, 1}
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		control := r < ' ' && r != '\n' && r != '\r' && r != '\t'
		if control || r == 0x7f || r == utf8.RuneError && size == 1 {
			return at, true
		}
		at.Column++
		if r == '\n' {
			at = Position{at.Line + 1, 1}
		}
		data = data[size:]
	}
	return at, false
}

// parseYAML runs the parser within the limits that it does not have itself.
func parseYAML(text string, found *Problems) (file *ast.File, ok bool) {
	// The parser is another project's; should it stumble over a text, that is a problem of the text and no crash.
	defer func() {
		if r := recover(); r != nil {
			found.Add(Position{1, 1}, "", "", "not valid YAML")
			file, ok = nil, false
		}
	}()
	tokens := lexer.Tokenize(text)
	if at, what := overLimit(tokens); what != "" {
		found.Add(at, "", "", "%s", what)
		return nil, false
	}
	// Duplicate keys are looked for later: the parser would stop at the first.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err == nil {
		return file, true
	}
	at, message := Position{1, 1}, "cannot be parsed"
	// Error() would quote the lines around, and with them perhaps a password.
	if syntax, isSyntax := err.(interface {
		GetMessage() string
		GetToken() *token.Token
	}); isSyntax {
		message = syntax.GetMessage()
		if t := syntax.GetToken(); t != nil && t.Position != nil {
			at = tokenPosition(t)
		}
	}
	found.Add(at, "", "", "not valid YAML: %s", message)
	return nil, false
}

// overLimit looks for nesting and mappings that would take the parser, which is recursive, too deep.
func overLimit(tokens token.Tokens) (Position, string) {
	type level struct{ column, keys int }
	var block []level
	flow, run := 0, 0
	for _, t := range tokens {
		column := t.Position.Column
		opens := false
		switch t.Type { //nolint:exhaustive // only what nests counts
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow = max(0, flow-1)
		case token.MappingValueType:
			opens = true
			if t.Prev != nil {
				column = t.Prev.Position.Column
			}
		case token.SequenceEntryType, token.MappingKeyType:
			opens = true
		}
		// Tags and anchors in a row nest without a bracket or a column. An anchor's name is a token of its own.
		switch {
		case t.Type == token.TagType || t.Type == token.AnchorType:
			run++
		case t.Prev == nil || t.Prev.Type != token.AnchorType:
			run = 0
		}
		if opens && flow == 0 {
			for len(block) > 0 && block[len(block)-1].column > column {
				block = block[:len(block)-1]
			}
			if len(block) == 0 || block[len(block)-1].column < column {
				block = append(block, level{column: column})
			}
			if t.Type != token.SequenceEntryType {
				block[len(block)-1].keys++
			}
			if block[len(block)-1].keys > maxKeys {
				return tokenPosition(t), fmt.Sprintf("a mapping has more than %d keys", maxKeys)
			}
		}
		if len(block)+flow+run > maxNesting {
			return tokenPosition(t), fmt.Sprintf("lists and mappings are nested more than %d deep", maxNesting)
		}
	}
	return Position{}, ""
}

type reader struct {
	found   *Problems
	noun    string
	anchors map[string]ast.Node
	values  int
	full    bool
}

func (r *reader) problem(at Position, hint, format string, args ...any) *Value {
	r.found.Add(at, "", hint, format, args...)
	return nil
}

// read converts a node. It returns nil where it reported a problem.
func (r *reader) read(node ast.Node, depth int) *Value {
	if r.full {
		return nil
	}
	if r.values++; r.values > maxValues {
		r.full = true
		return r.problem(startOf(node), "", "the file has more than %d values (aliases count each time)", maxValues)
	}
	if depth > maxNesting {
		return r.problem(startOf(node), "", "lists and mappings are nested more than %d deep", maxNesting)
	}
	v := &Value{At: startOf(node)}
	switch n := node.(type) {
	case *ast.NullNode:
		v.Kind = Null
	case *ast.BoolNode:
		v.Kind, v.Scalar = Bool, n.Value
	case *ast.IntegerNode:
		v.Kind, v.Scalar, v.Text = Number, n.Value, scalarText(n)
		if n.Value == nil {
			return r.problem(v.At, "", "the number is too large")
		}
	case *ast.FloatNode:
		v.Kind, v.Scalar, v.Text = Number, n.Value, scalarText(n)
		if math.IsInf(n.Value, 0) || math.IsNaN(n.Value) {
			return r.problem(v.At, "", "the number is too large")
		}
	case *ast.InfinityNode, *ast.NanNode:
		return r.problem(v.At, "", "not a finite number")
	case *ast.StringNode:
		v.Kind, v.Text = Text, n.Value
	case *ast.LiteralNode:
		v.Kind, v.Text = Text, n.Value.Value
	case *ast.SequenceNode:
		v.Kind = List
		for _, item := range n.Values {
			if i := r.read(item, depth+1); i != nil {
				v.Items = append(v.Items, i)
			}
		}
	case *ast.MappingNode:
		v.Kind = Map
		r.mapping(v, n.Values, depth)
	case *ast.MappingValueNode:
		v.Kind = Map
		r.mapping(v, []*ast.MappingValueNode{n}, depth)
	case *ast.AnchorNode:
		v = r.read(n.Value, depth)
		// Known from here on, not before: an anchor cannot hold an alias of itself.
		r.anchors[scalarText(n.Name)] = n.Value
		return v
	case *ast.AliasNode:
		target, ok := r.anchors[scalarText(n.Value)]
		if !ok {
			return r.problem(v.At, "", "alias of an anchor that is not defined above")
		}
		v = r.read(target, depth+1)
		return v
	case *ast.TagNode:
		return r.problem(v.At, "leave it out", "tags have no meaning in %s", r.noun)
	case *ast.DirectiveNode:
		return r.problem(v.At, "leave it out", "directives have no meaning in %s", r.noun)
	default:
		return r.problem(v.At, "", "not valid YAML: %s is not allowed here", node.Type())
	}
	return v
}

// mapping reads the entries of a mapping, and those of its merge keys where it has no such key itself.
func (r *reader) mapping(v *Value, nodes []*ast.MappingValueNode, depth int) {
	have := make(map[string]Position, len(nodes))
	var merged []*Value
	for _, n := range nodes {
		at := startOf(n.Key)
		if n.Key.IsMergeKey() {
			if m := r.read(n.Value, depth+1); m != nil {
				merged = append(merged, m)
			}
			continue
		}
		key, ok := n.Key.(*ast.StringNode)
		if !ok {
			r.problem(at, "", "a key is text")
			continue
		}
		if first, twice := have[key.Value]; twice {
			r.problem(at, "", "key %s is given twice, first at %d:%d", quoted(key.Value), first.Line, first.Column)
			continue
		}
		have[key.Value] = at
		// An entry whose value is a problem stays, without a value: it is there, so it is not missing.
		v.Entries = append(v.Entries, Entry{Key: key.Value, At: at, Value: r.read(n.Value, depth+1)})
	}
	for len(merged) > 0 {
		m := merged[0]
		merged = merged[1:]
		switch m.Kind {
		case List:
			merged = append(append([]*Value(nil), m.Items...), merged...)
		case Map:
			for _, e := range m.Entries {
				if _, mine := have[e.Key]; !mine {
					have[e.Key] = e.At
					v.Entries = append(v.Entries, e)
				}
			}
		default:
			r.problem(m.At, "", "<< takes an alias of a mapping, not %s", m.Kind)
		}
	}
}

func scalarText(node ast.Node) string {
	if t := node.GetToken(); t != nil {
		return t.Value
	}
	return ""
}

// startOf returns where a node begins. A block mapping's own token is the colon of its first key.
func startOf(node ast.Node) Position {
	switch n := node.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return startOf(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return startOf(n.Key)
	}
	if t := node.GetToken(); t != nil && t.Position != nil {
		return tokenPosition(t)
	}
	return Position{1, 1}
}

func tokenPosition(t *token.Token) Position {
	return Position{max(1, t.Position.Line), max(1, t.Position.Column)}
}

// Plain converts a value to what encoding/json writes.
func (v *Value) Plain() any {
	switch v.Kind {
	case Text:
		return v.Text
	case List:
		list := make([]any, len(v.Items))
		for i, item := range v.Items {
			list[i] = item.Plain()
		}
		return list
	case Map:
		object := make(map[string]any, len(v.Entries))
		for _, e := range v.Entries {
			if e.Value != nil {
				object[e.Key] = e.Value.Plain()
			}
		}
		return object
	default:
		return v.Scalar
	}
}

// quoted quotes a text, not more of it than a reader needs.
func quoted(text string) string {
	const most = 80
	if len(text) > most {
		return strconv.Quote(text[:most]) + "..."
	}
	return strconv.Quote(text)
}
