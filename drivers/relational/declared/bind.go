package declared

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/internal/yamltree"
)

// Bound is what is known of a database's tables beside their model.
type Bound struct {
	// Zone is what times without a zone are in; nil where nothing was said. Margin is as in [Options].
	Zone   *time.Location
	Margin time.Duration
	// Edges are references that no constraint declares, by their child; Meaning is that of [relational.ClosureConfig].
	Edges   map[relational.Name][]relational.Edge
	Meaning map[relational.Name][]string
	// Labels are sorted by table, as a model has them.
	Labels []relational.Label

	chosen map[relational.Name]relational.Detectors
}

// Detectors are the columns of a table that tell when its rows were made and changed: those that were named, or the usual ones.
func (b *Bound) Detectors(t *relational.Table) (relational.Detectors, error) {
	return t.Detect(b.chosen[t.Name])
}

// Bind puts options on the tables of a database. The error is of type [OptionErrors].
func (o *Options) Bind(m *relational.Model, types []ContentType) (*Bound, error) {
	b := &binder{
		m: m, types: types, said: make(map[relational.Name]relational.Label),
		Bound: &Bound{
			Margin: o.Margin, Edges: make(map[relational.Name][]relational.Edge), Meaning: make(map[relational.Name][]string),
			chosen: make(map[relational.Name]relational.Detectors),
		},
	}
	if o.Zone != "" {
		zone, err := relational.ParseZone(o.Zone)
		if err != nil {
			b.add([]string{Key, "zone"}, err, "")
		}
		b.Zone = zone
	}
	explicit := make(map[relational.Name]*Table)
	for i := range o.Tables {
		said := &o.Tables[i]
		t := b.table(said.Name, []string{Key, said.Name})
		if t == nil {
			continue
		}
		if explicit[t.Name] != nil {
			b.add([]string{Key, said.Name}, fmt.Errorf("%w: table %s is there twice, by another name", drivers.ErrInvalid, t.Name), "")
			continue
		}
		explicit[t.Name] = said
		b.detectors(t, said)
		if said.App != "" {
			b.said[t.Name] = relational.Label{Table: t.Name, App: said.App, Model: said.Model}
		}
	}
	b.Labels = labels(m, types, b.said)
	for _, t := range m.Tables {
		if t.Name.Name == contentTypes {
			b.Meaning[t.Name] = []string{"app_label", "model"}
		}
		if said := explicit[t.Name]; said != nil && said.References != nil {
			for i := range said.References {
				b.reference(t, &said.References[i], []string{Key, said.Name, "references", fmt.Sprint(i)})
			}
			continue
		}
		b.django(t)
	}
	if err := b.found.err(); err != nil {
		return nil, err
	}
	return b.Bound, nil
}

type binder struct {
	*Bound
	m     *relational.Model
	types []ContentType
	said  map[relational.Name]relational.Label
	found OptionErrors
}

func (b *binder) add(path []string, err error, hint string) {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		hint = hinted.Hint()
	}
	b.found = append(b.found, &OptionError{slices.Clone(path), hint, err})
}

func (b *binder) table(name string, path []string) *relational.Table {
	t, err := b.m.Find(name)
	if err != nil {
		var names []string
		for _, t := range b.m.Tables {
			names = append(names, t.Name.String(), t.Name.Name)
		}
		b.add(path, err, yamltree.Nearest(name, names))
	}
	return t
}

// column tells whether a table has a column.
func (b *binder) column(t *relational.Table, name string, path []string) bool {
	if t.Index(name) >= 0 {
		return true
	}
	var names []string
	for _, c := range t.Columns {
		names = append(names, c.Name)
	}
	hint := yamltree.Nearest(name, names)
	if hint == "" {
		hint = "the table has " + strings.Join(names, ", ")
	}
	b.add(path, fmt.Errorf("table %s: column %q: %w", t.Name, name, drivers.ErrNotFound), hint)
	return false
}

func (b *binder) detectors(t *relational.Table, said *Table) {
	b.chosen[t.Name] = said.Detectors
	for _, one := range []struct {
		key    string
		chosen relational.Detectors
	}{{"created", relational.Detectors{Created: said.Created}}, {"modified", relational.Detectors{Modified: said.Modified}}} {
		if _, err := t.Detect(one.chosen); err != nil {
			b.add([]string{Key, said.Name, one.key}, err, "")
		}
	}
}

// reference makes the edges of a reference: one, or one of each type for a generic key.
func (b *binder) reference(t *relational.Table, r *Reference, path []string) {
	at := func(key string) []string { return append(slices.Clone(path), key) }
	mains := map[relational.EdgeKind]string{relational.EdgeColumn: "column", relational.EdgeArray: "array", relational.EdgePath: "json", relational.EdgeGeneric: "object"}
	for _, c := range r.Columns {
		if !b.column(t, c, at(mains[r.Kind])) {
			return
		}
	}
	edge := relational.Edge{Name: edgeName(t, slices.Concat(r.Columns, r.Path)), Kind: r.Kind, Columns: r.Columns, Path: r.Path, Unenforced: true}
	if r.Kind != relational.EdgeGeneric {
		if parent := b.table(r.To, at("to")); parent != nil {
			b.edge(t, parent, edge, r.Key, at("key"), path)
		}
		return
	}
	if !b.column(t, r.Type, at("type")) {
		return
	}
	if r.Types == nil {
		if !b.generic(t, edge, r.Type) {
			b.add(path, fmt.Errorf("%w: the database has no content types of Django's", drivers.ErrInvalid), "write types: {VALUE: TABLE} beside it")
		}
		return
	}
	for _, value := range slices.Sorted(maps.Keys(r.Types)) {
		if parent := b.table(r.Types[value], append(at("types"), value)); parent != nil {
			b.edge(t, parent, when(t, edge, r.Type, value), nil, path, append(at("types"), value))
		}
	}
}

// when restricts an edge to the rows of one type.
func when(t *relational.Table, e relational.Edge, typ, value string) relational.Edge {
	e.Name = edgeName(t, []string{typ + "=" + value, e.Columns[0]})
	e.When = &relational.Match{Column: typ, Value: value}
	return e
}

// edgeName is what messages and captures call an edge.
func edgeName(t *relational.Table, columns []string) string {
	return t.Name.Name + "(" + strings.Join(columns, ",") + ")"
}

// edge adds an edge to a parent, by columns of it or by its identity.
func (b *binder) edge(t, parent *relational.Table, e relational.Edge, key, at, path []string) {
	for _, c := range key {
		if !b.column(parent, c, at) {
			return
		}
	}
	if key == nil {
		identity := parent.Identity()
		if identity == nil {
			b.add(path, fmt.Errorf("%w: no key tells the rows of table %s apart", drivers.ErrInvalid, parent.Name), "name the columns: key: COLUMN")
			return
		}
		key = identity.Columns
	}
	if len(key) != len(e.Columns) {
		b.add(path, fmt.Errorf("%w: %d columns for the key of table %s, which is of %s", drivers.ErrInvalid, len(e.Columns), parent.Name, strings.Join(key, ", ")), "")
		return
	}
	e.Parent, e.ParentColumns = parent.Name, key
	b.Edges[t.Name] = append(b.Edges[t.Name], e)
}

// generic adds an edge for each content type whose table is here and is known by one column. ok is false where there are no types.
func (b *binder) generic(t *relational.Table, e relational.Edge, typ string) (ok bool) {
	schema := t.Schema
	for _, f := range t.Foreign {
		if f.Parent.Name == contentTypes && len(f.Columns) == 1 && f.Columns[0] == typ {
			schema = f.Parent.Schema
		}
	}
	byModel := make(map[string]relational.Name)
	for _, l := range b.Labels {
		if l.Table.Schema == schema {
			byModel[l.App+"."+l.Model] = l.Table
		}
	}
	for i := range b.types {
		c := &b.types[i]
		if c.Schema != schema {
			continue
		}
		ok = true
		parent := b.m.Table(byModel[c.App+"."+c.Model])
		if parent == nil || parent.Identity() == nil || len(parent.Identity().Columns) != 1 {
			continue // a proxy, a model that was removed, or one that no generic key can name
		}
		one := when(t, e, typ, c.ID)
		one.Parent, one.ParentColumns = parent.Name, parent.Identity().Columns
		b.Edges[t.Name] = append(b.Edges[t.Name], one)
	}
	return ok
}

// django finds the generic keys of a table by the names that they have where nothing else is said: content_type_id and object_id, or both
// with the same beginning.
func (b *binder) django(t *relational.Table) {
	for _, f := range t.Foreign {
		if f.Parent.Name != contentTypes || len(f.Columns) != 1 {
			continue
		}
		prefix, usual := strings.CutSuffix(f.Columns[0], "content_type_id")
		for _, object := range []string{"object_id", "object_pk", "object_uuid"} {
			if column := prefix + object; usual && t.Index(column) >= 0 {
				b.generic(t, relational.Edge{Kind: relational.EdgeGeneric, Columns: []string{column}, Unenforced: true}, f.Columns[0])
				break
			}
		}
	}
}
