package merge

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// table is one that both the capture and the target have. Rows of the plan are by the target's columns.
type table struct {
	*relational.Table                   // the target's
	live              *relational.Table // the capture's
	number            uint32
	key               *relational.Key // what tells rows apart; nil where nothing does
	keyAt             []int
	from              []int // the place in the capture of each column; -1 where it lacks it
	unique            []uniqueKey
	up                []upEdge
	refs              []reference // what other tables refer to
	natural           int         // the place in unique of the key by which rows are the same in all databases; -1 for none
	tally             *TableCounts
	highest           []byte // of the captured keys that the engine numbers
	weigh             func(k *relational.Key, values []relational.Value) []byte
}

// uniqueKey is one that can be looked up.
type uniqueKey struct {
	*relational.Key
	at []int
}

// upEdge leads to a parent.
type upEdge struct {
	relational.Edge
	parent *table
	ref    int // the place in the parent's refs
	at     []int
	inner  bool // it stays within the component
}

// enforced tells that rows may not break the edge.
func (e *upEdge) enforced() bool { return e.Kind == relational.EdgeForeign || e.Kind == "" }

// reference is a list of columns that edges refer to.
type reference struct {
	columns []string
	at      []int
	key     *relational.Key    // of those columns; nil where there is none
	order   []relational.Order // of the key; nil where only the database knows what is equal
}

// known tells whether keys of the orders can be told apart here.
func known(order []relational.Order) []relational.Order {
	if slices.ContainsFunc(order, func(o relational.Order) bool { return strings.HasPrefix(string(o), string(relational.OrderWeight)) }) {
		return nil
	}
	return order
}

// canNull are the columns of an edge that can be set to NULL so that the row refers to nothing; none where that is not possible.
func (t *table) canNull(e *upEdge) (places []int) {
	if e.Kind == relational.EdgeArray || e.Kind == relational.EdgePath {
		return nil
	}
	for _, i := range e.at {
		c := &t.Columns[i]
		if c.Nullable && !c.Generated && !slices.Contains(t.keyAt, i) {
			places = append(places, i)
		}
	}
	if e.Full && len(places) < len(e.at) {
		return nil
	}
	return places
}

// newKeyAt is the place of the column of the key that can be given a new value: one that the engine numbers, or a UUID, and that
// refers to nothing. ok is false where the key is somebody's choice.
func (t *table) newKeyAt() (place int, ok bool) {
	if t.key == nil {
		return 0, false
	}
	for _, i := range t.keyAt {
		c := &t.Columns[i]
		numbered := (c.Identity || c.Sequence != nil) && (c.Type == relational.TypeInt || c.Dynamic)
		isUUID := strings.EqualFold(c.SQL, "uuid")
		refers := slices.ContainsFunc(t.up, func(e upEdge) bool { return slices.Contains(e.at, i) })
		if (numbered || isUUID) && !refers {
			return i, true
		}
	}
	return 0, false
}

// keyOf are the values of the key.
func (t *table) keyOf(values []relational.Value) []relational.Value { return pick(values, t.keyAt) }

func pick(values []relational.Value, places []int) []relational.Value {
	list := make([]relational.Value, len(places))
	for i, place := range places {
		list[i] = values[place]
	}
	return list
}

// identify names a row of the target for people.
func (t *table) identify(values []relational.Value) string {
	key := t.key
	if key == nil {
		return "a row without a key"
	}
	var b strings.Builder
	for i, place := range t.keyAt {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(key.Columns[i] + "=")
		b.Write(relational.AppendJSON(nil, &t.Columns[place], values[place]))
	}
	return b.String()
}

// mark is the key, in an index, of a row by some of its values. kind keeps different things apart.
func (t *table) mark(kind byte, n int, values []relational.Value) []byte {
	b := binary.AppendUvarint([]byte{kind}, uint64(t.number))
	b = binary.AppendUvarint(b, uint64(n)) //nolint:gosec // a place in a list
	return relational.AppendValues(b, values)
}

func primaryOf(t *relational.Table) []relational.Key {
	if t.Primary == nil {
		return nil
	}
	return []relational.Key{*t.Primary}
}

// refMark is the key, in an index, of a row by what others refer to it by: what the database calls equal has the same.
func (t *table) refMark(kind byte, ref int, values []relational.Value) []byte {
	r := &t.refs[ref]
	if len(r.order) == len(values) {
		b := t.mark(kind, ref, nil)
		ok := true
		for i, v := range values {
			var err error
			if b, err = relational.AppendKey(b, r.order[i], v); err != nil {
				ok = false
				break
			}
		}
		if ok {
			return b
		}
	}
	if r.key != nil && r.order == nil && t.weigh != nil {
		if weight := t.weigh(r.key, values); weight != nil {
			return append(t.mark(kind, ref, nil), weight...)
		}
	}
	return t.mark(kind, ref, values)
}

// makeTables makes the planner's tables: those of the capture that the target has, and the target's others where edges lead to.
func (p *planner) makeTables() error {
	p.tables = make(map[relational.Name]*table)
	for i, t := range p.target.Tables {
		tab := &table{Table: t, number: uint32(i), key: t.Identity(), natural: -1, live: p.c.Capture.Table(t.Name)}
		if tab.key != nil {
			tab.keyAt = t.Indexes(tab.key.Columns)
		}
		if weigher, ok := p.c.Target.(relational.Weigher); ok {
			tab.weigh = func(k *relational.Key, values []relational.Value) []byte { return p.weight(weigher, t, k, values) }
		}
		tab.from = make([]int, len(t.Columns))
		for j, c := range t.Columns {
			tab.from[j] = -1
			if tab.live != nil {
				tab.from[j] = tab.live.Index(c.Name)
			}
		}
		keys := slices.Clone(t.Unique)
		if t.Primary != nil && tab.key != t.Primary {
			keys = append(keys, *t.Primary)
		}
		for j := range keys {
			k := &keys[j]
			if k.Condition != "" || k.Expression || k.Exclusion || len(k.Columns) == 0 || tab.key != nil && slices.Equal(k.Columns, tab.key.Columns) {
				continue // the database itself will tell
			}
			if slices.Equal(k.Columns, p.c.Natural[t.Name]) {
				tab.natural = len(tab.unique)
			}
			tab.unique = append(tab.unique, uniqueKey{k, t.Indexes(k.Columns)})
		}
		if natural := p.c.Natural[t.Name]; len(natural) > 0 && tab.natural < 0 {
			return fmt.Errorf("table %s: no unique key of %s: %w", t.Name, strings.Join(natural, ", "), drivers.ErrNotFound)
		}
		p.tables[t.Name] = tab
	}
	for _, t := range p.target.Tables {
		if err := p.edges(p.tables[t.Name]); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) edges(t *table) error {
	for _, e := range slices.Concat(t.Foreign, p.c.Edges[t.Name]) {
		parent := p.tables[e.Parent]
		if parent == nil || slices.Contains(t.Indexes(e.Columns), -1) || slices.Contains(parent.Indexes(e.ParentColumns), -1) {
			return fmt.Errorf("edge %s of table %s: the target lacks what it leads from or to: %w", e.Name, t.Name, drivers.ErrNotFound)
		}
		ref := slices.IndexFunc(parent.refs, func(r reference) bool { return slices.Equal(r.columns, e.ParentColumns) })
		if ref < 0 {
			ref = len(parent.refs)
			r := reference{columns: e.ParentColumns, at: parent.Indexes(e.ParentColumns)}
			for _, k := range append(slices.Clone(parent.Unique), primaryOf(parent.Table)...) {
				if slices.Equal(k.Columns, r.columns) && len(k.Order) == len(k.Columns) {
					r.key, r.order = &k, known(k.Order)
				}
			}
			parent.refs = append(parent.refs, r)
		}
		t.up = append(t.up, upEdge{Edge: e, parent: parent, ref: ref, at: t.Indexes(e.Columns), inner: p.graph.SameComponent(t.Name, parent.Name)})
	}
	return nil
}
