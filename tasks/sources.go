package tasks

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"salvor/internal/yamltree"
)

// DefaultSet is the name of a set that was given as sources on the command line and not named.
const DefaultSet = "default"

// ParseSource reads a source as it is written on the command line: [NAME=]SCHEME:REST. NAME is a node's name or path and
// defaults to the scheme. A URL (postgres://...) keeps its scheme, others lose theirs (sqlite:a.db is a.db). The relative
// path of a path driver is made absolute, from the working directory. References in the source stay unresolved.
//
// An argument that begins with a known scheme has no NAME: in dir:/a=b:c the equals sign is part of the path, as it is
// in name=dir:/a=b:c. Errors never quote the source itself, which may hold a secret.
func ParseSource(arg string, drivers []Driver) (name, driver, source string, err error) {
	s, err := splitSource(arg, drivers)
	if err != nil {
		return "", "", "", err
	}
	if s.driver.isPath(s.source) && !filepath.IsAbs(s.source) {
		p := &configParser{}
		if p.base, err = filepath.Abs("."); err != nil {
			return "", "", "", fmt.Errorf("find the working directory: %w", err)
		}
		s.source = p.absolute(yamltree.Position{}, "", s.source)
		if len(p.found.List) > 0 {
			return "", "", "", &sourceError{p.found.List[0].Message, p.found.List[0].Hint}
		}
	}
	if err := CheckReferences(s.source); err != nil {
		return "", "", "", err
	}
	return s.name, s.driver.Name, s.source, nil
}

// FromSources makes a set of sources as they are written on the command line, in their order: a root of that name
// (DefaultSet if it is "") without a driver, and its children in a sequence. Everything that is wrong is reported at
// once, by a [*ConfigError]. As in Parse, a source with a literal secret is in Literal; the caller refuses those (see
// [BackupSet.Literals]) if it has a queue.
func FromSources(set string, args []string, drivers []Driver) (BackupSet, error) {
	if set == "" {
		set = DefaultSet
	}
	p := &configParser{drivers: drivers}
	root := &draft{Node: Node{Name: set}, where: "--set", keys: map[string]yamltree.Position{"name": {}, "children": {}}}
	if problem := nameProblem(set); problem != "" {
		root.problem(&p.found, "name", "", "%s", problem)
	}
	if len(args) == 0 {
		p.found.Add(yamltree.Position{}, "", "", "no source is given")
	}
	if len(args) > maxNodes-1 {
		p.found.Add(yamltree.Position{}, "", "", "more than %d sources are given", maxNodes-1)
		args = nil
	}
	for i, arg := range args {
		where := fmt.Sprintf("source %d", i+1)
		name, driver, source, err := ParseSource(arg, drivers)
		if err != nil {
			p.found.Add(yamltree.Position{}, where, hintOf(err), "%v", err)
			continue
		}
		root.children = append(root.children, &draft{
			Node:  Node{Name: name, Driver: driver, Source: source},
			where: where, keys: map[string]yamltree.Position{"name": {}, "driver": {}, "source": {}},
		})
	}
	node := p.finish(root)
	// The places of these problems are arguments, not keys.
	argument := make(map[string]int, len(args))
	for i := range args {
		argument[fmt.Sprintf("source %d", i+1)] = i + 1
	}
	for i := range p.found.List {
		p.found.List[i].Path, _, _ = strings.Cut(p.found.List[i].Path, ".")
	}
	slices.SortStableFunc(p.found.List, func(a, b ConfigProblem) int { return argument[a.Path] - argument[b.Path] })
	if err := p.found.Err(""); err != nil {
		return BackupSet{}, err
	}
	return BackupSet{Set: node}, nil
}

type commandSource struct {
	name   string
	driver Driver
	source string
}

// splitSource finds the parts of a source.
func splitSource(arg string, drivers []Driver) (commandSource, error) {
	s := commandSource{}
	if !utf8.ValidString(arg) {
		// Plans are JSON, which could not carry it unchanged.
		return s, &sourceError{"the source is not UTF-8 text", "name the place through a symbolic link with a plain name"}
	}
	scheme, rest, ok := cutScheme(arg)
	if d, known := schemeOf(scheme, drivers); ok && known {
		s.name, s.driver = scheme, d
	} else {
		name, source, named := strings.Cut(arg, "=")
		if !named || strings.Contains(name, ":") {
			return s, noScheme(scheme, ok, drivers)
		}
		for segment := range strings.SplitSeq(name, "/") {
			if problem := nameProblem(segment); problem != "" {
				return s, errors.New(problem)
			}
		}
		if scheme, rest, ok = cutScheme(source); !ok {
			return s, noScheme("", false, drivers)
		}
		if s.driver, known = schemeOf(scheme, drivers); !known {
			return s, noScheme(scheme, true, drivers)
		}
		s.name = name
	}
	return s, s.take(scheme, rest)
}

// take sets the source from what follows the scheme.
func (s *commandSource) take(scheme, rest string) error {
	s.source = rest
	switch {
	case rest == "" || rest == "//":
		return &sourceError{fmt.Sprintf("nothing follows %s:", scheme), ""}
	case strings.ContainsRune(rest, 0):
		return &sourceError{"the source holds a NUL character", ""}
	case s.driver.isPath(rest) && strings.HasPrefix(rest, "//") && !strings.HasPrefix(rest, "///"):
		return &sourceError{
			fmt.Sprintf("%s:// begins a URL with a host, and %s takes a path", scheme, scheme),
			fmt.Sprintf("write %s:PATH", scheme),
		}
	case s.driver.isPath(rest) && strings.HasPrefix(rest, "//"):
		s.source = rest[2:]
	case strings.HasPrefix(rest, "//"):
		s.source = scheme + ":" + rest
	}
	return nil
}

// cutScheme splits a text at its first colon, if what stands before can be a scheme.
func cutScheme(text string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(text, ":")
	if !ok || !isName.MatchString(scheme) {
		return "", "", false
	}
	return scheme, rest, true
}

func schemeOf(scheme string, drivers []Driver) (Driver, bool) {
	i := slices.IndexFunc(drivers, func(d Driver) bool { return d.Scheme == scheme })
	if i < 0 {
		return Driver{}, false
	}
	return drivers[i], true
}

// noScheme is the error for a source whose scheme is missing or not known.
func noScheme(scheme string, has bool, drivers []Driver) error {
	schemes := make([]string, len(drivers))
	for i, d := range drivers {
		schemes[i] = d.Scheme
	}
	slices.Sort(schemes)
	if !has {
		return &sourceError{"the source has no scheme", fmt.Sprintf("write SCHEME:SOURCE, SCHEME being %s", listed(schemes))}
	}
	if d, ok := driverOf(scheme, drivers); ok {
		return &sourceError{fmt.Sprintf("unknown scheme %s (have %s)", quoted(scheme), listed(schemes)), fmt.Sprintf("write %s:", d.Scheme)}
	}
	return &sourceError{fmt.Sprintf("unknown scheme %s (have %s)", quoted(scheme), listed(schemes)), yamltree.Nearest(scheme, schemes)}
}

// sourceError is what is wrong with a source on the command line, with what to do.
type sourceError struct{ message, hint string }

func (e *sourceError) Error() string { return e.message }

// Hint returns what to do, or "".
func (e *sourceError) Hint() string { return e.hint }
