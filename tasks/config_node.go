package tasks

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"salvor/internal/yamltree"
)

// node reads a node and all below it. It returns nil where that is not possible.
func (p *configParser) node(v *yamltree.Value, where string, depth int) *draft {
	if p.nodes++; p.nodes > maxNodes {
		if p.nodes == maxNodes+1 {
			p.found.Add(v.At, where, "", "the set has more than %d nodes", maxNodes)
		}
		return nil
	}
	if depth > maxDepth {
		p.found.Add(v.At, where, "", "nodes are nested more than %d deep", maxDepth)
		return nil
	}
	if v.Kind != yamltree.Map {
		p.found.Add(v.At, where, "", "a node is a mapping, not %s", v.Kind)
		return nil
	}
	d := &draft{where: where, at: v.At, keys: make(map[string]yamltree.Position)}
	for _, e := range v.Entries {
		if !slices.Contains(nodeKeys, e.Key) {
			d.options = append(d.options, e)
			continue
		}
		d.keys[e.Key] = e.At
		if e.Value != nil {
			d.keys[e.Key] = e.Value.At
		}
		if !p.common(d, e, depth) {
			d.markBad(e.Key)
		}
	}
	return d
}

func (d *draft) markBad(key string) {
	if d.bad == nil {
		d.bad = make(map[string]bool)
	}
	d.bad[key] = true
}

// common reads one of the keys that every node may have. It reports whether that was possible.
func (p *configParser) common(d *draft, e yamltree.Entry, depth int) bool {
	where := d.where + "." + e.Key
	switch e.Key {
	case "children":
		return p.childrenOf(d, e, depth)
	case "after":
		return p.afterOf(d, e)
	case "limit":
		n, ok := p.number(e, where)
		d.Limit = n
		return ok
	}
	text, ok := p.text(e, where)
	switch e.Key {
	case "name":
		d.Name = text
	case "driver":
		d.Driver = text
	case "source":
		d.Source = text
	case "order":
		d.Order = Order(text)
	case "restore_order":
		d.RestoreOrder = text
	case "freeze":
		d.Freeze = text
	case "host":
		d.Host = text
	}
	return ok
}

func (p *configParser) childrenOf(d *draft, e yamltree.Entry, depth int) bool {
	where := d.where + ".children"
	if !p.is(e.Value, yamltree.List, where) {
		return false
	}
	if len(e.Value.Items) == 0 {
		p.found.Add(e.Value.At, where, "", "children is an empty list")
		return false
	}
	for i, item := range e.Value.Items {
		child := p.node(item, fmt.Sprintf("%s[%d]", where, i), depth+1)
		if child != nil {
			d.children = append(d.children, child)
		}
	}
	return len(d.children) > 0
}

func (p *configParser) afterOf(d *draft, e yamltree.Entry) bool {
	where := d.where + ".after"
	if e.Value != nil && e.Value.Kind == yamltree.Text {
		p.found.Add(e.Value.At, where, "write it as [NODE]", "after is text; a list is needed")
		return false
	}
	if !p.is(e.Value, yamltree.List, where) {
		return false
	}
	ok := true
	for i, item := range e.Value.Items {
		name, isText := p.text(yamltree.Entry{Key: "after", At: item.At, Value: item}, fmt.Sprintf("%s[%d]", where, i))
		if !isText {
			ok = false
			continue
		}
		d.after = append(d.after, afterEntry{at: item.At, name: name})
	}
	return ok
}

// is reports whether a value is of a kind, and says so if not. A nil value was reported already.
func (p *configParser) is(v *yamltree.Value, want yamltree.Kind, where string) bool {
	return p.found.Need(v, want, where)
}

func (p *configParser) text(e yamltree.Entry, where string) (string, bool) {
	if !p.is(e.Value, yamltree.Text, where) {
		return "", false
	}
	if e.Value.Text == "" {
		p.found.Add(e.Value.At, where, "leave the key out", "%s is empty", yamltree.LastKey(where))
		return "", false
	}
	return e.Value.Text, true
}

func (p *configParser) number(e yamltree.Entry, where string) (int, bool) {
	if !p.is(e.Value, yamltree.Number, where) {
		return 0, false
	}
	var n int64
	switch v := e.Value.Scalar.(type) {
	case int64:
		n = v
	case uint64:
		n = int64(min(v, math.MaxInt64))
	default:
		p.found.Add(e.Value.At, where, "", "%s is not a whole number", yamltree.LastKey(where))
		return 0, false
	}
	if n > math.MaxInt32 {
		p.found.Add(e.Value.At, where, "", "%s is too large", yamltree.LastKey(where))
		return 0, false
	}
	return int(max(n, -1)), true
}

// hintOf returns what an error says to do.
func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}
