package tasks

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// node reads a node and all below it. It returns nil where that is not possible.
func (p *configParser) node(v *value, where string, depth int) *draft {
	if p.nodes++; p.nodes > maxNodes {
		if p.nodes == maxNodes+1 {
			p.found.add(v.at, where, "", "the set has more than %d nodes", maxNodes)
		}
		return nil
	}
	if depth > maxDepth {
		p.found.add(v.at, where, "", "nodes are nested more than %d deep", maxDepth)
		return nil
	}
	if v.kind != kindMap {
		p.found.add(v.at, where, "", "a node is a mapping, not %s", v.kind)
		return nil
	}
	d := &draft{where: where, at: v.at, keys: make(map[string]position)}
	for _, e := range v.entries {
		if !slices.Contains(nodeKeys, e.key) {
			d.options = append(d.options, e)
			continue
		}
		d.keys[e.key] = e.at
		if e.value != nil {
			d.keys[e.key] = e.value.at
		}
		if !p.common(d, e, depth) {
			d.markBad(e.key)
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
func (p *configParser) common(d *draft, e entry, depth int) bool {
	where := d.where + "." + e.key
	switch e.key {
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
	switch e.key {
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

func (p *configParser) childrenOf(d *draft, e entry, depth int) bool {
	where := d.where + ".children"
	if !p.is(e.value, kindList, where) {
		return false
	}
	if len(e.value.items) == 0 {
		p.found.add(e.value.at, where, "", "children is an empty list")
		return false
	}
	for i, item := range e.value.items {
		child := p.node(item, fmt.Sprintf("%s[%d]", where, i), depth+1)
		if child != nil {
			d.children = append(d.children, child)
		}
	}
	return len(d.children) > 0
}

func (p *configParser) afterOf(d *draft, e entry) bool {
	where := d.where + ".after"
	if e.value != nil && e.value.kind == kindText {
		p.found.add(e.value.at, where, "write it as [NODE]", "after is text; a list is needed")
		return false
	}
	if !p.is(e.value, kindList, where) {
		return false
	}
	ok := true
	for i, item := range e.value.items {
		name, isText := p.text(entry{key: "after", at: item.at, value: item}, fmt.Sprintf("%s[%d]", where, i))
		if !isText {
			ok = false
			continue
		}
		d.after = append(d.after, afterEntry{at: item.at, name: name})
	}
	return ok
}

// is reports whether a value is of a kind, and says so if not. A nil value was reported already.
func (p *configParser) is(v *value, want kind, where string) bool {
	switch {
	case v == nil:
		return false
	case v.kind == want:
		return true
	case v.kind == kindNull:
		p.found.add(v.at, where, "leave the key out", "%s has no value; %s is needed", lastKey(where), want)
	case want == kindText && (v.kind == kindNumber || v.kind == kindBool):
		p.found.add(v.at, where, "put it in quotes", "%s is %s; %s is needed", lastKey(where), v.kind, want)
	default:
		p.found.add(v.at, where, "", "%s is %s; %s is needed", lastKey(where), v.kind, want)
	}
	return false
}

func (p *configParser) text(e entry, where string) (string, bool) {
	if !p.is(e.value, kindText, where) {
		return "", false
	}
	if e.value.text == "" {
		p.found.add(e.value.at, where, "leave the key out", "%s is empty", lastKey(where))
		return "", false
	}
	return e.value.text, true
}

func (p *configParser) number(e entry, where string) (int, bool) {
	if !p.is(e.value, kindNumber, where) {
		return 0, false
	}
	var n int64
	switch v := e.value.scalar.(type) {
	case int64:
		n = v
	case uint64:
		n = int64(min(v, math.MaxInt64))
	default:
		p.found.add(e.value.at, where, "", "%s is not a whole number", lastKey(where))
		return 0, false
	}
	if n > math.MaxInt32 {
		p.found.add(e.value.at, where, "", "%s is too large", lastKey(where))
		return 0, false
	}
	return int(max(n, -1)), true
}

// lastKey returns the last key of a place: after[1] of set.children[2].after[1].
func lastKey(where string) string { return where[strings.LastIndexByte(where, '.')+1:] }

// hintOf returns what an error says to do.
func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}
