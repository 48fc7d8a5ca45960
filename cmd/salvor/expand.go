package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"salvor/drivers"
	"salvor/tasks"
)

// expandSet replaces nodes that stand for many places (all databases of a server) by a node with a child for each. What
// there is, is asked once, before the plan is made: the plan then says which were dumped. failed is told of a node whose
// places cannot be asked for, which then stays as it is; its error ends the whole.
func (a *app) expandSet(ctx context.Context, n *tasks.Node, parent string, failed func(path string, err error) error) error {
	path := tasks.JoinPath(parent, n.Name)
	for i := range n.Children {
		if err := a.expandSet(ctx, &n.Children[i], path, failed); err != nil {
			return err
		}
	}
	if n.Driver == "" {
		return nil
	}
	if err := a.expandNode(ctx, n, path); err != nil {
		return failed(path, err)
	}
	return nil
}

func (a *app) expandNode(ctx context.Context, n *tasks.Node, path string) error {
	kind, err := a.registry.Lookup(n.Driver)
	if err != nil || kind.Expand == nil {
		return err
	}
	source := n.Source
	if source == tasks.RedactedSource {
		source = n.Literal.Reveal()
	}
	text, err := a.resolve(source)
	if err != nil {
		return fmt.Errorf("node %s: %w", path, err)
	}
	places, err := kind.Expand(ctx, drivers.Spec{Node: path, Source: text, Options: n.Options, Scratch: a.scratch})
	if err != nil {
		return fmt.Errorf("expand node %s: %w", path, err)
	}
	if places == nil {
		return nil
	}
	if len(n.Children) > 0 {
		return usagef("put the children below a node of their own", "node %s stands for several places and has children", path)
	}
	for _, p := range places {
		n.Children = append(n.Children, tasks.Node{
			Name: nodeName(p.Name), Driver: n.Driver, Source: n.Source, Literal: n.Literal, Options: p.Options, Host: n.Host, Limit: n.Limit,
		})
	}
	n.Driver, n.Source, n.Options, n.Host, n.Limit = "", "", nil, "", 0
	n.Literal = tasks.Node{}.Literal
	n.Order = cmp.Or(n.Order, tasks.OrderParallel)
	return nil
}

// nodeName makes a node's name of what a place calls itself: what a name cannot hold is percent-encoded.
func nodeName(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || i > 0 && (c == '_' || c == '-')
		if plain {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
