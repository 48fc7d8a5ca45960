package tasks

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"salvor/internal/secret"
	"salvor/internal/yamltree"
)

// Limits of a set.
const (
	maxFileSize = 1 << 20
	maxNodes    = 10_000
	maxDepth    = 32
)

// ParseOptions is what Parse needs to know beside the text.
type ParseOptions struct {
	// File is the file's name: errors name it, and relative paths in the set are relative to its directory. "" stands for
	// the working directory.
	File string
	// Drivers are the drivers that a set may name.
	Drivers []Driver
}

// Parse reads a set's text form, which is YAML. Everything that is wrong is reported at once, by a [*ConfigError].
//
// The set that it returns is complete: After holds full paths; relative sources of path drivers and a relative archive
// are absolute; a source with a literal secret is in Literal, and Source is RedactedSource. Such a source is an error
// where the set has a queue. References (${NAME}) stay unresolved, in Literal too; their form is checked.
func Parse(data []byte, o ParseOptions) (BackupSet, error) {
	p := &configParser{drivers: o.Drivers}
	if base, err := filepath.Abs(filepath.Dir(o.File)); err != nil {
		p.found.Add(yamltree.Position{}, "", "", "find the directory of relative paths: %v", err)
	} else {
		p.base = base
	}
	var set BackupSet
	if root := yamltree.Read(data, yamltree.Limit{Noun: "a set", Size: maxFileSize}, &p.found); root != nil {
		set = p.document(root)
	}
	if err := p.found.Err(o.File); err != nil {
		return BackupSet{}, err
	}
	return set, nil
}

// configParser turns YAML values or command line sources into drafts, and drafts into a set.
type configParser struct {
	found   yamltree.Problems
	drivers []Driver
	base    string // the directory of relative paths; absolute
	queue   bool   // the set has a queue
	nodes   int
}

// draft is a node that is read but not checked, with where its parts stand.
type draft struct {
	Node     // without Children and After
	where    string
	at       yamltree.Position
	keys     map[string]yamltree.Position // of the values of common keys that are there
	bad      map[string]bool              // keys that a problem was reported for
	options  []yamltree.Entry
	after    []afterEntry
	children []*draft
	path     string
}

type afterEntry struct {
	at   yamltree.Position
	name string
	full string // "" until it is found
}

func (d *draft) problem(found *yamltree.Problems, key, hint, format string, args ...any) {
	at, where := d.at, d.where
	if p, ok := d.keys[key]; ok {
		at, where = p, d.where+"."+key
	}
	found.Add(at, where, hint, format, args...)
	if d.bad == nil {
		d.bad = make(map[string]bool)
	}
	d.bad[key] = true
}

// has reports whether a key has a value that was read.
func (d *draft) has(key string) bool {
	_, ok := d.keys[key]
	return ok && !d.bad[key]
}

var (
	documentKeys = []string{"archive", "queue", "set"}
	nodeKeys     = []string{
		"name", "driver", "source", "children", "order", "restore_order", "freeze", "after", "host", "limit",
	}
	isURL = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)
)

// document reads the top level.
func (p *configParser) document(v *yamltree.Value) BackupSet {
	var set BackupSet
	if v.Kind != yamltree.Map {
		p.found.Add(v.At, "", "begin with set:", "the file holds %s; a mapping with the key set is needed", v.Kind)
		return set
	}
	var root *yamltree.Value
	hasSet := false
	for _, e := range v.Entries {
		switch e.Key {
		case "archive":
			if text, ok := p.text(e, e.Key); ok {
				set.Archive = p.archive(e, text)
			}
		case "queue":
			if text, ok := p.text(e, e.Key); ok {
				set.Queue = text
				p.references(e.Value.At, e.Key, text)
			}
			p.queue = true
		case "set":
			hasSet = true
			root = e.Value
		default:
			hint := yamltree.Nearest(e.Key, documentKeys)
			if hint == "" && slices.Contains(nodeKeys, e.Key) {
				hint = "it belongs below set"
			}
			p.found.Add(e.At, e.Key, hint, "unknown key %s (have %s)", quoted(e.Key), listed(documentKeys))
		}
	}
	if !hasSet {
		p.found.Add(v.At, "set", "", "the key set is missing")
	}
	if root == nil {
		return set
	}
	if d := p.node(root, "set", 1); d != nil {
		set.Set = p.finish(d)
	}
	return set
}

// archive checks an archive's place and makes it absolute.
func (p *configParser) archive(e yamltree.Entry, text string) string {
	p.references(e.Value.At, e.Key, text)
	if HasLiteralSecret(text) {
		p.found.Add(e.Value.At, e.Key, "use ${NAME}", "the archive holds a secret, and its text is stored with every run")
	}
	if isURL.MatchString(text) {
		return text
	}
	return p.absolute(e.Value.At, e.Key, text)
}

// references checks the form of a text's references.
func (p *configParser) references(at yamltree.Position, where, text string) {
	err := CheckReferences(text)
	if err == nil {
		return
	}
	p.found.Add(at, where, hintOf(err), "%v", err)
}

// absolute makes a path absolute. It adds the base and takes nothing away: to clean the text could turn a/../b into
// another place (a may be a link) and would tear references apart.
func (p *configParser) absolute(at yamltree.Position, where, path string) string {
	switch {
	case path == "~" || strings.HasPrefix(path, "~/"):
		p.found.Add(at, where, "use ${HOME}", "~ is not expanded")
		return path
	case path == "" || filepath.IsAbs(path) || strings.HasPrefix(path, "${"):
		// What a reference stands for may be absolute.
		return path
	}
	base := escapeReferences(p.base)
	for strings.HasPrefix(path, "./") {
		path = strings.TrimLeft(path[2:], "/")
	}
	if path == "" || path == "." {
		return base
	}
	return strings.TrimSuffix(base, "/") + "/" + path
}

// redact moves a source that holds a literal secret to where it is never stored.
func (p *configParser) redact(d *draft) {
	if p.queue {
		d.problem(&p.found, "source", "use ${NAME} or ${file:/PATH}",
			"the source holds a secret, which must not travel through the queue")
		return
	}
	d.Literal, d.Source = secret.New(d.Source), RedactedSource
}
