package main

import (
	"fmt"
	"slices"
	"strings"

	"salvor/archive"
	"salvor/internal/secret"
	"salvor/tasks"
)

// choice is what of a dump is restored, and where to.
type choice struct {
	nodes    map[string]tasks.RestoreNode
	literals map[string]secret.Text // sources with a secret in them, by node
	trial    bool                   // of a drill
	paths    []string               // of nodes, in the order of the set
	missing  []string               // nodes of the set that the dump lacks and that were not asked for by name
}

// chooser makes a choice from a dump and the command line.
type chooser struct {
	root    *tasks.Node
	held    map[string]archive.NodeRecord // nodes that the dump holds
	drivers []tasks.Driver
	inPlace bool

	choice
	only map[string][]string // chosen nodes by --only; the paths in each, none for all of it
}

// choose reads --only and --into against a dump. Everything that can be known to be wrong is said before anything runs.
func choose(c *chooser, only, into []string) (choice, error) {
	c.nodes = make(map[string]tasks.RestoreNode)
	c.literals = make(map[string]secret.Text)
	for _, text := range only {
		if err := c.readOnly(text); err != nil {
			return choice{}, err
		}
	}
	c.take(len(only) > 0)
	for _, text := range into {
		if err := c.readInto(text); err != nil {
			return choice{}, err
		}
	}
	return c.choice, c.checkTargets(len(into) > 0)
}

// readOnly reads NODE or NODE:PATH. A node stands for all below it too, but with a PATH for itself.
func (c *chooser) readOnly(text string) error {
	if c.only == nil {
		c.only = make(map[string][]string)
	}
	name, inside, hasInside := strings.Cut(text, ":")
	path, node, err := c.root.Find(name)
	if err != nil {
		return fmt.Errorf("--only %s: %w", quoteName(text), err)
	}
	if hasInside {
		inside = strings.Trim(inside, "/")
		switch {
		case inside == "":
			return usagef("--only "+name+" restores all of it", "--only %s: no path follows the colon", quoteName(text))
		case node.Driver == "":
			return usagef("", "--only %s: node %s holds nothing of its own", quoteName(text), path)
		}
		if _, ok := c.held[path]; !ok {
			return c.lacks(path)
		}
		if paths, ok := c.only[path]; !ok || len(paths) > 0 {
			c.only[path] = append(paths, inside)
		}
		return nil
	}
	found := false
	for below, n := range c.root.Walk() {
		if n.Driver == "" || !tasks.IsWithin(below, path) {
			continue
		}
		if _, ok := c.held[below]; ok {
			c.only[below] = nil
			found = true
		} else if below == path {
			return c.lacks(path)
		} else {
			c.only[below] = nil // asked for, and reported as missing
		}
	}
	if !found {
		return c.lacks(path)
	}
	return nil
}

func (c *chooser) lacks(path string) error {
	return usagef("an earlier dump may hold it: salvor list", "the dump lacks node %s: it is partial", path)
}

// take chooses the nodes, all or those of --only.
func (c *chooser) take(restricted bool) {
	for path, n := range c.root.Walk() {
		if n.Driver == "" {
			continue
		}
		inside, chosen := c.only[path]
		if restricted && !chosen {
			continue
		}
		if _, ok := c.held[path]; !ok {
			c.missing = append(c.missing, path)
			continue
		}
		slices.Sort(inside)
		c.nodes[path] = tasks.RestoreNode{Driver: n.Driver, Source: n.Source, Only: mapped(slices.Compact(inside), func(p string) []byte { return []byte(p) })}
		if !n.Literal.IsEmpty() {
			c.literals[path] = n.Literal
		}
		c.paths = append(c.paths, path)
	}
}

// readInto reads [NODE=]SOURCE, where SOURCE may be a bare path.
func (c *chooser) readInto(text string) error {
	path, source, err := c.splitInto(text)
	if err != nil {
		return err
	}
	target := c.nodes[path]
	if target.Elsewhere {
		return usagef("", "--into is given twice for node %s", path)
	}
	delete(c.literals, path)
	if !c.hasScheme(source) {
		if d, ok := c.driver(target.Driver); ok && d.Executes {
			// What decides that the text is run is the archive: it may have been meant for a path.
			return usagef("write --into "+path+"="+d.Scheme+":PROGRAM ARG…", "--into for node %s names no scheme, and the node is restored by a program", path)
		}
		source = c.schemeOf(target.Driver) + ":" + source
	}
	// The name is put before it so that nothing in the source can be taken for one.
	_, target.Driver, target.Source, err = tasks.ParseSource("target="+source, c.drivers)
	if err != nil {
		return usagef(hintOf(err), "--into for node %s: %v", path, err)
	}
	if tasks.HasLiteralSecret(target.Source) {
		c.literals[path] = secret.New(target.Source)
		target.Source = tasks.RedactedSource
	}
	target.Elsewhere = true
	c.nodes[path] = target
	return nil
}

// splitInto finds the node that a --into is for. Without a name it is the only one that is restored.
func (c *chooser) splitInto(text string) (path, source string, err error) {
	name, source, named := strings.Cut(text, "=")
	if !named || c.hasScheme(text) || strings.ContainsAny(name, ":.") || strings.HasPrefix(name, "/") {
		if len(c.paths) != 1 {
			return "", "", usagef("write --into NODE=PLACE; the nodes are "+strings.Join(c.paths, ", "), "--into does not say which node it is for")
		}
		return c.paths[0], text, nil
	}
	path, node, err := c.root.Find(name)
	if err != nil {
		return "", "", fmt.Errorf("--into: %w", err)
	}
	if node.Driver == "" {
		return "", "", usagef("name the nodes below it", "--into: node %s holds nothing of its own", path)
	}
	if _, ok := c.nodes[path]; !ok {
		if _, held := c.held[path]; !held {
			return "", "", c.lacks(path)
		}
		return "", "", usagef("", "--into: node %s is not among those that --only restores", path)
	}
	return path, source, nil
}

func (c *chooser) hasScheme(source string) bool {
	scheme, _, ok := strings.Cut(source, ":")
	return ok && slices.ContainsFunc(c.drivers, func(d tasks.Driver) bool { return d.Scheme == scheme })
}

func (c *chooser) schemeOf(driver string) string {
	if d, ok := c.driver(driver); ok {
		return d.Scheme
	}
	return driver
}

func (c *chooser) driver(name string) (tasks.Driver, bool) {
	i := slices.IndexFunc(c.drivers, func(d tasks.Driver) bool { return d.Name == name })
	if i < 0 {
		return tasks.Driver{}, false
	}
	return c.drivers[i], true
}

// checkTargets refuses a restore onto the sources that was not asked for.
func (c *chooser) checkTargets(someInto bool) error {
	if c.inPlace {
		return nil
	}
	var without []string
	for _, path := range c.paths {
		if !c.nodes[path].Elsewhere {
			without = append(without, path)
		}
	}
	if len(without) == 0 {
		return nil
	}
	const hint = "name a target for each with --into NODE=PLACE, choose nodes with --only, or restore onto the sources with --in-place"
	if someInto {
		return usagef(hint, "no target is given for %s", strings.Join(without, ", "))
	}
	return usagef(hint, "a restore of %s would go onto what was dumped", strings.Join(without, ", "))
}
