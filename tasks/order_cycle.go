package tasks

import (
	"fmt"
	"slices"
	"strings"
)

// maxCycles bounds how many cycles are shown; one may hide or cause others.
const maxCycles = 10

// check returns what is wrong with the order: names that do not exist, and cycles.
func (o *order) check() []conflict {
	conflicts := slices.Clone(o.conflicts)
	for range maxCycles {
		c, ok := o.cutCycle()
		if !ok {
			break
		}
		conflicts = append(conflicts, c)
	}
	return conflicts
}

// sort returns the vertices in an order that respects the edges, without those that are on or behind a cycle.
func (o *order) sort() []int {
	needs := make([]int, len(o.vertices))
	sorted := make([]int, 0, len(o.vertices))
	for v := range o.vertices {
		if needs[v] = o.vertices[v].needs; needs[v] == 0 {
			sorted = append(sorted, v)
		}
	}
	for next := 0; next < len(sorted); next++ {
		for _, e := range o.vertices[sorted[next]].out {
			if e.gone {
				continue
			}
			if needs[e.to]--; needs[e.to] == 0 {
				sorted = append(sorted, e.to)
			}
		}
	}
	return sorted
}

// cutCycle finds a cycle, cuts it and describes it. Every cycle runs through an after: all other edges follow the tree.
func (o *order) cutCycle() (conflict, bool) {
	sorted := o.sort()
	if len(sorted) == len(o.vertices) {
		return conflict{}, false
	}
	left := make([]bool, len(o.vertices))
	for v := range left {
		left[v] = true
	}
	for _, v := range sorted {
		left[v] = false
	}
	for v := range o.vertices {
		if !left[v] {
			continue
		}
		for i := range o.vertices[v].out {
			e := &o.vertices[v].out[i]
			if e.why != whyAfter || e.gone || !left[e.to] {
				continue
			}
			if path := o.path(e.to, v, left); path != nil {
				cut := o.describe(v, *e, path)
				o.cut(v, *e)
				return cut, true
			}
		}
	}
	return conflict{}, false
}

// cut removes the edges of one entry of an after: to a node's start, and perhaps to the freeze of its group.
func (o *order) cut(v int, entry edge) {
	for i := range o.vertices[v].out {
		e := &o.vertices[v].out[i]
		if e.why == whyAfter && !e.gone && e.owner == entry.owner && e.after == entry.after {
			e.gone = true
			o.vertices[e.to].needs--
		}
	}
}

// hop is an edge with where it begins.
type hop struct {
	from int
	edge
}

// path returns the shortest way between two vertices, or nil.
func (o *order) path(from, to int, through []bool) []hop {
	before := map[int]hop{from: {from: -1}}
	queue := []int{from}
	for len(queue) > 0 && queue[0] != to {
		v := queue[0]
		queue = queue[1:]
		for _, e := range o.vertices[v].out {
			if _, seen := before[e.to]; seen || e.gone || !through[e.to] {
				continue
			}
			before[e.to] = hop{v, e}
			queue = append(queue, e.to)
		}
	}
	if len(queue) == 0 {
		return nil
	}
	hops := []hop{}
	for v := to; v != from; v = before[v].from {
		hops = append(hops, before[v])
	}
	slices.Reverse(hops)
	return hops
}

// describe says why a node waits for itself, from what it says itself back to it. hops lead from the edge's target to
// its source.
func (o *order) describe(from int, e edge, hops []hop) conflict {
	texts := []string{o.reason(hop{from, e})}
	for _, h := range slices.Backward(o.shorten(hops)) {
		if text := o.reason(h); text != "" && text != texts[len(texts)-1] {
			texts = append(texts, text)
		}
	}
	when := ""
	if o.operation == OpRestore {
		when = "at a restore, "
	}
	owner := o.nodes[e.owner].path
	return conflict{
		node: owner, key: "after", after: o.nodes[e.after].path,
		message: fmt.Sprintf("%s%s waits for itself: %s", when, o.nodes[o.waits(e)].path, strings.Join(texts, ", ")),
	}
}

// shorten leaves out what happens between a node's start and its end: that the one leads to the other needs no reason.
func (o *order) shorten(hops []hop) []hop {
	var short []hop
	for i := 0; i < len(hops); i++ {
		if from := o.vertices[hops[i].from]; from.kind == EventStart {
			for j := len(hops) - 1; j > i; j-- {
				if to := o.vertices[hops[j].to]; to.kind == EventEnd && to.node == from.node {
					i = j
					break
				}
			}
			if to := o.vertices[hops[i].to]; to.kind == EventEnd && to.node == from.node {
				continue
			}
		}
		short = append(short, hops[i])
	}
	return short
}

// waits returns the node that waits because of an after.
func (o *order) waits(e edge) int {
	if o.operation == OpRestore {
		return e.after
	}
	return e.owner
}

// reason says why the target of an edge waits, or "" where that goes without saying.
func (o *order) reason(h hop) string {
	from, to := &o.nodes[o.vertices[h.from].node], &o.nodes[o.vertices[h.to].node]
	switch h.why {
	case whyAfter:
		owner, other := o.nodes[h.owner].path, o.nodes[h.after].path
		switch {
		case o.operation == OpRestore:
			return fmt.Sprintf("%s comes after %s (which is dumped after it)", other, owner)
		case o.vertices[h.to].kind == EventFreeze:
			return fmt.Sprintf("%s, frozen together with all of %s, is after %s", owner, to.path, other)
		}
		return fmt.Sprintf("%s is after %s", owner, other)
	case whySequence:
		return fmt.Sprintf("%s follows %s in the sequence of %s", to.path, from.path, o.nodes[to.parent].path)
	case whyBelow:
		if to.parent >= 0 && &o.nodes[to.parent] == from {
			return fmt.Sprintf("%s is part of %s", to.path, from.path)
		}
		return fmt.Sprintf("%s is done when %s is", to.path, from.path)
	case whyTogether:
		switch o.vertices[h.from].kind {
		case EventFreeze:
			return fmt.Sprintf("%s is frozen together with all of %s", to.path, from.path)
		case EventFrozen:
			return fmt.Sprintf("%s starts when the views of %s are done", to.path, from.path)
		default:
			return fmt.Sprintf("the views of %s are done when %s is", to.path, from.path)
		}
	default:
		return ""
	}
}
