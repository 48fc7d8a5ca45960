package tasks

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// Errors about names of nodes, wrapped with what exists. A retry does not help.
var (
	// ErrUnknownNode: Find found no node of that name.
	ErrUnknownNode = errors.New("unknown node")
	// ErrAmbiguousNode: several nodes' paths end in the name.
	ErrAmbiguousNode = errors.New("ambiguous node")
)

// maxListed bounds how many names an error lists.
const maxListed = 20

// JoinPath returns the path of a node from its parent's ("" for a root) and its name.
func JoinPath(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "/" + name
}

// IsBelow reports whether a path lies below an ancestor, by whole segments: site/media2 is not below site/media, and no
// path is below itself.
func IsBelow(path, ancestor string) bool {
	return len(path) > len(ancestor) && path[len(ancestor)] == '/' && path[:len(ancestor)] == ancestor
}

// IsWithin reports whether a path is an ancestor's own or lies below it.
func IsWithin(path, ancestor string) bool { return path == ancestor || IsBelow(path, ancestor) }

// EndsIn reports whether a path ends in a name, by whole segments: site/databases/main ends in main and in
// databases/main, not in ain.
func EndsIn(path, name string) bool {
	return path == name || (name != "" && strings.HasSuffix(path, "/"+name))
}

// Walk yields every node with its path, a node before its children, in the order of the set. The nodes may be changed
// in place, their children's number may not.
func (n *Node) Walk() iter.Seq2[string, *Node] {
	return func(yield func(string, *Node) bool) { n.walk("", yield) }
}

func (n *Node) walk(parent string, yield func(string, *Node) bool) bool {
	path := JoinPath(parent, n.Name)
	if !yield(path, n) {
		return false
	}
	for i := range n.Children {
		if !n.Children[i].walk(path, yield) {
			return false
		}
	}
	return true
}

// Find returns the node of that name: its full path, or a unique end of one. It returns [ErrUnknownNode] or
// [ErrAmbiguousNode], with the paths that exist or match.
func (n *Node) Find(name string) (string, *Node, error) {
	var (
		all, matches []string
		found        *Node
	)
	for path, node := range n.Walk() {
		if path == name {
			return path, node, nil
		}
		all = append(all, path)
		if EndsIn(path, name) {
			matches = append(matches, path)
			found = node
		}
	}
	switch len(matches) {
	case 1:
		return matches[0], found, nil
	case 0:
		return "", nil, fmt.Errorf("%w %s (have %s)", ErrUnknownNode, quoted(name), listed(all))
	default:
		return "", nil, fmt.Errorf("%w %s (it may be %s)", ErrAmbiguousNode, quoted(name), listed(matches))
	}
}

// Clone returns a copy of the tree that shares no memory with it but the texts.
func (n *Node) Clone() Node {
	c := *n
	c.After = append([]string(nil), n.After...)
	c.Options = append([]byte(nil), n.Options...)
	c.Children = nil
	if len(n.Children) > 0 {
		c.Children = make([]Node, len(n.Children))
	}
	for i := range n.Children {
		c.Children[i] = n.Children[i].Clone()
	}
	return c
}

// Literals returns the paths of the nodes whose sources hold a literal secret. Such a set can only be run in the process
// that read it.
func (s *BackupSet) Literals() []string {
	var paths []string
	for path, node := range s.Set.Walk() {
		if !node.Literal.IsEmpty() {
			paths = append(paths, path)
		}
	}
	return paths
}

// quoted quotes a text for an error, not more of it than a reader needs.
func quoted(text string) string {
	const most = 80
	if len(text) > most {
		return strconv.Quote(text[:most]) + "..."
	}
	return strconv.Quote(text)
}

// listed joins names for an error, a bounded number of them.
func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	if len(names) > maxListed {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxListed], ", "), len(names)-maxListed)
	}
	return strings.Join(names, ", ")
}
