package tasks

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"salvor/internal/yamltree"
)

const maxName = 64

var (
	isName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	// isHost is narrow because hosts become parts of queues' names.
	isHost = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$`)
)

// ValidHost tells whether a text can be the name of a host that nodes bind to.
func ValidHost(name string) bool { return isHost.MatchString(name) }

// finish checks a tree of drafts and returns it as nodes. What it returns is whole only if no problem was found.
func (p *configParser) finish(root *draft) Node {
	named := p.names(root, "")
	p.walk(root, p.check)
	p.resolveAfter(root)
	set := build(root)
	// Without clear names an order is about nothing.
	if named {
		p.checkOrder(root, &set)
	}
	return set
}

func (p *configParser) walk(d *draft, visit func(*draft)) {
	visit(d)
	for _, c := range d.children {
		p.walk(c, visit)
	}
}

// names checks all names and sets the paths. It reports whether every node has one of its own.
func (p *configParser) names(d *draft, parent string) bool {
	ok := d.has("name")
	switch problem := nameProblem(d.Name); {
	case d.bad["name"]:
	case !ok:
		d.problem(&p.found, "name", "", "the node has no name")
	case problem != "":
		d.problem(&p.found, "name", "", "%s", problem)
		ok = false
	}
	d.path = JoinPath(parent, d.Name)
	seen := make(map[string]*draft, len(d.children))
	for _, c := range d.children {
		ok = p.names(c, d.path) && ok
		if !c.has("name") {
			continue
		}
		// Keys of an archive may be stored where case makes no difference.
		fold := strings.ToLower(c.Name)
		if first, twice := seen[fold]; twice {
			at, hint := "", "give it one of its own: NAME=SCHEME:..."
			if first.at.Line > 0 {
				at, hint = fmt.Sprintf(", first at %d:%d", first.keys["name"].Line, first.keys["name"].Column), ""
			}
			c.problem(&p.found, "name", hint, "name %q is taken by another child of %q%s", c.Name, d.Name, at)
			ok = false
			continue
		}
		seen[fold] = c
	}
	return ok
}

// nameProblem returns what is wrong with a name, or "".
func nameProblem(name string) string {
	switch {
	case len(name) > maxName:
		return fmt.Sprintf("the name has %d bytes; at most %d are allowed", len(name), maxName)
	case !isName.MatchString(name):
		return fmt.Sprintf("name %s is not valid; a name has letters, digits, - and _ only, and begins with a letter or digit", quoted(name))
	}
	return ""
}

// check checks one node by itself.
func (p *configParser) check(d *draft) {
	p.checkValues(d)
	driver, known := driverOf(d.Driver, p.drivers)
	if !d.bad["driver"] {
		p.checkShape(d, driver)
	}
	if d.has("driver") && !known {
		names := make([]string, len(p.drivers))
		for i, other := range p.drivers {
			names[i] = other.Name
		}
		d.problem(&p.found, "driver", yamltree.Nearest(d.Driver, names), "unknown driver %s (have %s)", quoted(d.Driver), driverNames(p.drivers))
	}
	p.checkOptions(d, driver, known)
	if known && d.has("source") {
		p.checkSource(d, driver)
	}
}

// checkValues checks the keys that take one of a few values.
func (p *configParser) checkValues(d *draft) {
	oneOf := func(key, text string, values ...string) {
		if d.has(key) && !slices.Contains(values, text) {
			d.problem(&p.found, key, yamltree.Nearest(text, values), "%s is %s; it can be %s", key, quoted(text), strings.Join(values, " or "))
		}
	}
	oneOf("order", string(d.Order), string(OrderSequence), string(OrderParallel))
	oneOf("restore_order", d.RestoreOrder, RestoreReverse, RestoreSame)
	oneOf("freeze", d.Freeze, FreezeTogether)
	if d.has("limit") && d.Limit < 0 {
		d.problem(&p.found, "limit", "", "the limit is negative")
	}
	if d.has("host") && !isHost.MatchString(d.Host) {
		d.problem(&p.found, "host", "", "host %s is not a host's name", quoted(d.Host))
	}
}

// checkShape checks which keys stand together.
func (p *configParser) checkShape(d *draft, driver Driver) {
	_, hasSource := d.keys["source"]
	byKeys := slices.IndexFunc(d.options, func(e yamltree.Entry) bool { return slices.Contains(driver.SourceKeys, e.Key) })
	_, hasChildren := d.keys["children"]
	switch hasDriver := d.has("driver"); {
	case hasDriver && hasSource && byKeys >= 0:
		d.problem(&p.found, "source", "keep one of them", "source and %s exclude each other", d.options[byKeys].Key)
	case hasDriver && !hasSource && byKeys >= 0:
	case hasDriver && !hasSource && len(driver.SourceKeys) > 0:
		d.problem(&p.found, "driver", "", "the node has a driver and neither source nor %s", strings.Join(driver.SourceKeys, " nor "))
	case hasDriver && !hasSource:
		d.problem(&p.found, "driver", "", "the node has a driver and no source")
	case !hasDriver && hasSource:
		d.problem(&p.found, "source", "", "the node has a source and no driver")
	case !hasDriver && !hasChildren:
		message := "the node has neither a driver nor children"
		if d.where == "set" {
			message = "the set is empty: it has neither a driver nor children"
		}
		d.problem(&p.found, "", "", "%s", message)
	case !hasDriver:
		for _, key := range []string{"host", "limit"} {
			if d.has(key) {
				d.problem(&p.found, key, "put it on the nodes that have drivers", "%s means nothing on a node without a driver", key)
			}
		}
	}
}

// checkSource checks a source and makes it what travels.
func (p *configParser) checkSource(d *draft, driver Driver) {
	at, where := d.keys["source"], d.where+".source"
	switch {
	case strings.TrimSpace(d.Source) == RedactedSource:
		d.problem(&p.found, "source", "name the source", "%s stands for a secret that was not stored", RedactedSource)
		return
	case driver.isPath(d.Source):
		p.references(at, where, d.Source)
		d.Source = p.absolute(at, where, d.Source)
		return
	}
	p.references(at, where, d.Source)
	if HasLiteralSecret(d.Source) {
		p.redact(d)
	}
}

// checkOptions checks the keys that are not common to all nodes.
func (p *configParser) checkOptions(d *draft, driver Driver, known bool) {
	options := make(map[string]any)
	var mine []yamltree.Entry
	for _, e := range d.options {
		where := d.where + "." + e.Key
		switch {
		case known && slices.Contains(driver.Options, e.Key):
			if e.Value == nil {
				continue
			}
			if e.Value.Kind == yamltree.Null {
				p.found.Add(e.Value.At, where, "leave the key out", "%s has no value", e.Key)
				continue
			}
			if e.Key == driver.Many && d.has("children") {
				p.found.Add(e.At, where, "put the children below a node of their own", "a node with %s stands for several places, and has no other children", e.Key)
			}
			options[e.Key] = e.Value.Plain()
			mine = append(mine, e)
			if slices.Contains(driver.Resolve, e.Key) {
				p.resolvable(e, where)
			}
		default:
			p.unknownKey(d, driver, known, e)
		}
	}
	if len(options) > 0 {
		d.Options = p.encode(d, options)
	}
	if !known || driver.Check == nil {
		return
	}
	all := d.Options
	if all == nil {
		all = json.RawMessage("{}")
	}
	err := driver.Check(all)
	if err == nil {
		return
	}
	// Each alone tells where it is, and finds more than the first.
	alone := false
	for _, e := range mine {
		if err := driver.Check(p.encode(d, map[string]any{e.Key: e.Value.Plain()})); err != nil {
			p.optionProblems(d, e, err)
			alone = true
		}
	}
	if !alone {
		d.problem(&p.found, "driver", hintOf(err), "%v", err)
	}
}

// optionProblems reports what a driver says about an option. An error may be several, and tell where in the option's value it is:
// "capture", "orders", "references", "0".
func (p *configParser) optionProblems(d *draft, e yamltree.Entry, err error) {
	errs := []error{err}
	var several interface{ Each() []error }
	if errors.As(err, &several) {
		errs = several.Each()
	}
	for _, err := range errs {
		at, where := e.At, d.where+"."+e.Key
		var placed interface{ Place() []string }
		if errors.As(err, &placed) && len(placed.Place()) > 1 {
			at, where = within(e, placed.Place()[1:], where)
		}
		p.found.Add(at, where, hintOf(err), "%v", err)
	}
}

// within follows keys and places in lists as far as they lead.
func within(e yamltree.Entry, path []string, where string) (yamltree.Position, string) {
	at := e.At
	v := e.Value
	for _, step := range path {
		if v == nil {
			break
		}
		if i, err := strconv.Atoi(step); err == nil && v.Kind == yamltree.List && i >= 0 && i < len(v.Items) {
			v = v.Items[i]
			at, where = v.At, fmt.Sprintf("%s[%d]", where, i)
			continue
		}
		i := slices.IndexFunc(v.Entries, func(e yamltree.Entry) bool { return e.Key == step })
		if i < 0 {
			break
		}
		at, where, v = v.Entries[i].At, where+"."+step, v.Entries[i].Value
	}
	return at, where
}

func (p *configParser) encode(d *draft, options map[string]any) json.RawMessage {
	data, err := json.Marshal(options)
	if err != nil {
		d.problem(&p.found, "", "", "encode the options: %v", err)
	}
	return data
}

func (p *configParser) unknownKey(d *draft, driver Driver, known bool, e yamltree.Entry) {
	var others []string
	for _, other := range p.drivers {
		if slices.Contains(other.Options, e.Key) {
			others = append(others, other.Name)
		}
	}
	// With a driver that is not known the key may be right.
	if len(others) > 0 && !known && (d.Driver != "" || d.bad["driver"]) {
		return
	}
	hint := yamltree.Nearest(e.Key, append(slices.Clone(nodeKeys), driver.Options...))
	if len(others) > 0 {
		slices.Sort(others)
		hint = "it is an option of " + strings.Join(others, ", ")
	}
	of := "a node"
	if known {
		of = "a node of the driver " + driver.Name
	}
	p.found.Add(e.At, d.where+"."+e.Key, hint, "unknown key %s of %s", quoted(e.Key), of)
}

// resolveAfter turns the names of after into full paths.
func (p *configParser) resolveAfter(root *draft) {
	set := build(root)
	ends := pathEnds(&set)
	p.walk(root, func(d *draft) {
		for i := range d.after {
			a := &d.after[i]
			where := fmt.Sprintf("%s.after[%d]", d.where, i)
			full, unique := ends[a.name]
			switch {
			case !unique || full == "":
				_, _, err := set.Find(a.name)
				p.found.Add(a.at, where, findHint(&set, a.name, err), "%v", err)
			case full == d.path:
				p.found.Add(a.at, where, "", "%s is after itself", d.path)
			case IsBelow(d.path, full):
				p.found.Add(a.at, where, "", "%s is after %s, which it is part of", d.path, full)
			case IsBelow(full, d.path):
				p.found.Add(a.at, where, "", "%s is after %s, which is part of it", d.path, full)
			default:
				a.full = full
			}
		}
	})
}

// pathEnds returns the path that each end of a path means; "" where it is the end of several.
func pathEnds(root *Node) map[string]string {
	ends := make(map[string]string)
	for path := range root.Walk() {
		for end := path; ; {
			if _, taken := ends[end]; taken && end != path {
				ends[end] = ""
			} else {
				ends[end] = path
			}
			var more bool
			if _, end, more = strings.Cut(end, "/"); !more {
				break
			}
		}
	}
	// A full path means itself, though it be the end of another.
	for path := range root.Walk() {
		ends[path] = path
	}
	return ends
}

// findHint says what to do about a name that Find does not know.
func findHint(root *Node, name string, err error) string {
	if errors.Is(err, ErrAmbiguousNode) {
		return "give more of the path"
	}
	var known []string
	for path, n := range root.Walk() {
		known = append(known, path, n.Name)
	}
	return yamltree.Nearest(name, known)
}

// build makes nodes of drafts.
func build(d *draft) Node {
	n := d.Node
	for _, a := range d.after {
		if a.full != "" && !slices.Contains(n.After, a.full) {
			n.After = append(n.After, a.full)
		}
	}
	for _, c := range d.children {
		n.Children = append(n.Children, build(c))
	}
	return n
}

// checkOrder looks for groups that no worker can freeze, and for cycles, at dump and at restore.
func (p *configParser) checkOrder(root *draft, set *Node) {
	groups, conflicts := together(set, p.drivers)
	at := newOrder(set, groups, OpDump).check()
	if len(at) == 0 {
		// What is a cycle in both is told once.
		at = newOrder(set, nil, OpRestore).check()
	}
	drafts := make(map[string]*draft)
	p.walk(root, func(d *draft) { drafts[d.path] = d })
	for _, c := range append(conflicts, at...) {
		d := drafts[c.node]
		if i := slices.IndexFunc(d.after, func(a afterEntry) bool { return a.full == c.after }); c.after != "" && i >= 0 {
			p.found.Add(d.after[i].at, fmt.Sprintf("%s.after[%d]", d.where, i), c.hint, "%s", c.message)
			continue
		}
		d.problem(&p.found, c.key, c.hint, "%s", c.message)
	}
}
