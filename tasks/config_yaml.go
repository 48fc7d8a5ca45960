package tasks

import (
	"bytes"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of a set's text. They are far above what people write, and keep a hostile or generated file from using up time
// or memory.
const (
	maxFileSize = 1 << 20
	maxValues   = 200_000 // values, those that aliases repeat included
	maxNesting  = 100     // lists and mappings in each other
	maxKeys     = 1_000   // keys of one mapping, which the parser handles in quadratic time
)

// value is a YAML value with its place. Aliases are followed and merge keys merged.
type value struct {
	at   position
	kind kind
	// text is a scalar's text; scalar its value where it is none.
	text    string
	scalar  any
	items   []*value // of a list
	entries []entry  // of a mapping, in the order of the file, each key once
}

type entry struct {
	key   string
	at    position
	value *value
}

type kind string

const (
	kindNull   kind = "nothing"
	kindBool   kind = "a truth value"
	kindNumber kind = "a number"
	kindText   kind = "text"
	kindList   kind = "a list"
	kindMap    kind = "a mapping"
)

// readYAML parses one document. It returns nil if there is nothing to go on with; the problems tell why.
func readYAML(data []byte, found *problems) *value {
	if len(data) > maxFileSize {
		found.add(position{}, "", "", "the file has %d bytes; a set has at most %d", len(data), maxFileSize)
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if at, ok := findNotText(data); ok {
		found.add(at, "", "", "the file is not text in UTF-8")
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
			found.add(startOf(doc.Body), "", "", "a second document begins here; a file holds one set")
			return nil
		}
		body = doc.Body
	}
	if body == nil {
		return &value{at: position{1, 1}, kind: kindNull}
	}
	r := &yamlReader{found: found, anchors: make(map[string]ast.Node)}
	return r.read(body, 0)
}

// findNotText returns the place of the first byte that no text holds.
func findNotText(data []byte) (position, bool) {
	at := position{1, 1}
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		control := r < ' ' && r != '\n' && r != '\r' && r != '\t'
		if control || r == 0x7f || r == utf8.RuneError && size == 1 {
			return at, true
		}
		at.column++
		if r == '\n' {
			at = position{at.line + 1, 1}
		}
		data = data[size:]
	}
	return at, false
}

// parseYAML runs the parser within the limits that it does not have itself.
func parseYAML(text string, found *problems) (file *ast.File, ok bool) {
	// The parser is another project's; should it stumble over a text, that is a problem of the text and no crash.
	defer func() {
		if r := recover(); r != nil {
			found.add(position{1, 1}, "", "", "not valid YAML")
			file, ok = nil, false
		}
	}()
	tokens := lexer.Tokenize(text)
	if at, what := overLimit(tokens); what != "" {
		found.add(at, "", "", "%s", what)
		return nil, false
	}
	// Duplicate keys are looked for later: the parser would stop at the first.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err == nil {
		return file, true
	}
	at, message := position{1, 1}, "cannot be parsed"
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
	found.add(at, "", "", "not valid YAML: %s", message)
	return nil, false
}

// overLimit looks for nesting and mappings that would take the parser, which is recursive, too deep.
func overLimit(tokens token.Tokens) (position, string) {
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
	return position{}, ""
}

type yamlReader struct {
	found   *problems
	anchors map[string]ast.Node
	values  int
	full    bool
}

func (r *yamlReader) problem(at position, hint, format string, args ...any) *value {
	r.found.add(at, "", hint, format, args...)
	return nil
}

// read converts a node. It returns nil where it reported a problem.
func (r *yamlReader) read(node ast.Node, depth int) *value {
	if r.full {
		return nil
	}
	if r.values++; r.values > maxValues {
		r.full = true
		return r.problem(startOf(node), "", "the set has more than %d values (aliases count each time)", maxValues)
	}
	if depth > maxNesting {
		return r.problem(startOf(node), "", "lists and mappings are nested more than %d deep", maxNesting)
	}
	v := &value{at: startOf(node)}
	switch n := node.(type) {
	case *ast.NullNode:
		v.kind = kindNull
	case *ast.BoolNode:
		v.kind, v.scalar = kindBool, n.Value
	case *ast.IntegerNode:
		v.kind, v.scalar = kindNumber, n.Value
		if n.Value == nil {
			return r.problem(v.at, "", "the number is too large")
		}
	case *ast.FloatNode:
		v.kind, v.scalar = kindNumber, n.Value
		if math.IsInf(n.Value, 0) || math.IsNaN(n.Value) {
			return r.problem(v.at, "", "the number is too large")
		}
	case *ast.InfinityNode, *ast.NanNode:
		return r.problem(v.at, "", "not a finite number")
	case *ast.StringNode:
		v.kind, v.text = kindText, n.Value
	case *ast.LiteralNode:
		v.kind, v.text = kindText, n.Value.Value
	case *ast.SequenceNode:
		v.kind = kindList
		for _, item := range n.Values {
			if i := r.read(item, depth+1); i != nil {
				v.items = append(v.items, i)
			}
		}
	case *ast.MappingNode:
		v.kind = kindMap
		r.mapping(v, n.Values, depth)
	case *ast.MappingValueNode:
		v.kind = kindMap
		r.mapping(v, []*ast.MappingValueNode{n}, depth)
	case *ast.AnchorNode:
		v = r.read(n.Value, depth)
		// Known from here on, not before: an anchor cannot hold an alias of itself.
		r.anchors[scalarText(n.Name)] = n.Value
		return v
	case *ast.AliasNode:
		target, ok := r.anchors[scalarText(n.Value)]
		if !ok {
			return r.problem(v.at, "", "alias of an anchor that is not defined above")
		}
		v = r.read(target, depth+1)
		return v
	case *ast.TagNode:
		return r.problem(v.at, "leave it out", "tags have no meaning in a set")
	case *ast.DirectiveNode:
		return r.problem(v.at, "leave it out", "directives have no meaning in a set")
	default:
		return r.problem(v.at, "", "not valid YAML: %s is not allowed here", node.Type())
	}
	return v
}

// mapping reads the entries of a mapping, and those of its merge keys where it has no such key itself.
func (r *yamlReader) mapping(v *value, nodes []*ast.MappingValueNode, depth int) {
	have := make(map[string]position, len(nodes))
	var merged []*value
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
			r.problem(at, "", "key %s is given twice, first at %d:%d", quoted(key.Value), first.line, first.column)
			continue
		}
		have[key.Value] = at
		// An entry whose value is a problem stays, without a value: it is there, so it is not missing.
		v.entries = append(v.entries, entry{key: key.Value, at: at, value: r.read(n.Value, depth+1)})
	}
	for len(merged) > 0 {
		m := merged[0]
		merged = merged[1:]
		switch m.kind {
		case kindList:
			merged = append(append([]*value(nil), m.items...), merged...)
		case kindMap:
			for _, e := range m.entries {
				if _, mine := have[e.key]; !mine {
					have[e.key] = e.at
					v.entries = append(v.entries, e)
				}
			}
		default:
			r.problem(m.at, "", "<< takes an alias of a mapping, not %s", m.kind)
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
func startOf(node ast.Node) position {
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
	return position{1, 1}
}

func tokenPosition(t *token.Token) position {
	return position{max(1, t.Position.Line), max(1, t.Position.Column)}
}

// plain converts a value to what encoding/json writes.
func (v *value) plain() any {
	switch v.kind {
	case kindText:
		return v.text
	case kindList:
		list := make([]any, len(v.items))
		for i, item := range v.items {
			list[i] = item.plain()
		}
		return list
	case kindMap:
		object := make(map[string]any, len(v.entries))
		for _, e := range v.entries {
			if e.value != nil {
				object[e.key] = e.value.plain()
			}
		}
		return object
	default:
		return v.scalar
	}
}
