package drivers

import (
	"fmt"
	"slices"
	"strings"
)

// Registry holds the kinds of drivers that a program knows. Fill it before use; reading is safe for concurrent use.
type Registry struct {
	kinds map[string]Kind
}

// Register adds a kind. It panics on an incomplete kind, and on a name or scheme that is there already: both are
// mistakes of the program.
func (r *Registry) Register(k Kind) {
	if k.Name == "" || k.Scheme == "" || k.Shape == "" || k.Open == nil {
		panic(fmt.Sprintf("drivers: register %q: incomplete kind", k.Name))
	}
	for _, other := range r.kinds {
		if other.Name == k.Name || other.Scheme == k.Scheme {
			panic(fmt.Sprintf("drivers: register %q (scheme %q): already registered", k.Name, k.Scheme))
		}
	}
	if r.kinds == nil {
		r.kinds = make(map[string]Kind)
	}
	r.kinds[k.Name] = k
}

// Lookup returns the kind of that name, or an error that lists what exists.
func (r *Registry) Lookup(name string) (Kind, error) {
	k, ok := r.kinds[name]
	if !ok {
		return Kind{}, fmt.Errorf("unknown driver %q (have %s)", name, strings.Join(r.Names(), ", "))
	}
	return k, nil
}

// Kinds returns all kinds, sorted by name.
func (r *Registry) Kinds() []Kind {
	kinds := make([]Kind, 0, len(r.kinds))
	for _, name := range r.Names() {
		kinds = append(kinds, r.kinds[name])
	}
	return kinds
}

// Names returns the names of all kinds, sorted.
func (r *Registry) Names() []string {
	names := make([]string, 0, len(r.kinds))
	for name := range r.kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
