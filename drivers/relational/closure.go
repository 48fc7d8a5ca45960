package relational

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"salvor/drivers"
)

// What a closure adds to the rows that were found.
const (
	OpSupport Op = "s" // a parent that must be there; never overwritten
	OpChild   Op = "x" // a child of a new row, that nothing else found
)

// Closure finds the rows without which captured ones are not whole. It goes up from every row, to the parents that the dump lacks,
// and theirs; and down from every new row, to its children, and theirs, until nothing is added. It does not go down from a parent
// that it reached by going up: of a parent with a million children, one of which is new, the others are not taken.
//
// Seed it with what was found in all tables, then Run it. It is used by one goroutine. What it keeps is in files beyond a budget
// of memory.
//
// All ways down are gone before the first way up: a row that is the child of a new one and the parent of another is a child,
// whose own children are taken too.
type Closure struct {
	c        *ClosureConfig
	falling  *queue          // rows whose children are to be taken
	rising   *queue          // rows whose parents are
	captured map[Name]*Tally // identities of the rows that are captured, with how many such rows there are
	asked    map[string]*Tally
	up       map[Name][]Edge
	down     map[Name][]downEdge
	pulled   map[string]int64
	scratch  []byte
}

// ClosureConfig says what a closure works on.
type ClosureConfig struct {
	// Live is the database now, Base the dump; without one every parent is taken for lacking there.
	Live, Base View
	// Model and BaseModel describe them.
	Model, BaseModel *Model
	// Edges are references that the database does not declare, by their child.
	Edges map[Name][]Edge
	// Meaning are columns that tell what a row of a table stands for, where its number does not: the app and model of a content type.
	// The dump has such a row only where it has one of that number that means the same.
	Meaning map[Name][]string
	// Scratch is a directory for files, Memory how much is kept before there is one.
	Scratch string
	Memory  int64
	// Budget bounds how many rows are taken over one edge down; 0 does not. One that is hit is an error: nothing is ever cut off.
	Budget int64
	// Missing is told of a row that refers to one that is nowhere. Its error ends the closure.
	Missing func(*Missing) error
}

// Missing is a reference to a row that is neither in the database nor in the dump.
type Missing struct {
	Table *Table
	Edge  Edge
	// Values are the row's, Wanted what it refers to.
	Values, Wanted []Value
}

// Added is a row that a closure adds. It is good until the call that got it returns.
type Added struct {
	Table *Table
	Op    Op
	Row   *Row
	// Key identifies the row, as that of [Found] does.
	Key []byte
	// Via is the edge, From the row that it was reached from, Depth how many edges away a row lies that was found.
	Via       string
	FromTable *Table
	From      []Value
	Depth     int
}

// Reached is how the closure came to the row, as its line has it.
func (a *Added) Reached() *Via {
	v := &Via{Edge: a.Via, From: a.FromTable.Name.String(), Depth: a.Depth}
	if key := a.FromTable.Identity(); key != nil {
		for _, i := range a.FromTable.Indexes(key.Columns) {
			v.PK = append(v.PK, AppendJSON(nil, &a.FromTable.Columns[i], a.From[i]))
		}
	}
	return v
}

type downEdge struct {
	child *Table
	edge  Edge
}

// NewClosure begins a closure.
func NewClosure(c *ClosureConfig) (*Closure, error) {
	falling, err := newQueue(c.Scratch)
	if err != nil {
		return nil, err
	}
	rising, err := newQueue(c.Scratch)
	if err != nil {
		return nil, errors.Join(err, falling.close())
	}
	cl := &Closure{
		c: c, falling: falling, rising: rising, captured: make(map[Name]*Tally), asked: make(map[string]*Tally), up: make(map[Name][]Edge),
		down: make(map[Name][]downEdge), pulled: make(map[string]int64),
	}
	for _, t := range c.Model.Tables {
		for _, e := range slices.Concat(t.Foreign, c.Edges[t.Name]) {
			if err := c.Model.checkEdge(t, e); err != nil {
				return nil, errors.Join(fmt.Errorf("edge %s of table %s: %w", e.Name, t.Name, err), cl.Close())
			}
			cl.up[t.Name] = append(cl.up[t.Name], e)
			if e.lookable() {
				cl.down[e.Parent] = append(cl.down[e.Parent], downEdge{t, e})
			}
		}
	}
	return cl, nil
}

// Close removes the files.
func (cl *Closure) Close() error {
	errs := []error{cl.falling.close(), cl.rising.close()}
	for _, t := range cl.captured {
		errs = append(errs, t.Close())
	}
	for _, t := range cl.asked {
		errs = append(errs, t.Close())
	}
	return errors.Join(errs...)
}

// Seed takes a row that was found. A deleted one leads nowhere.
func (cl *Closure) Seed(ctx context.Context, t *Table, f *Found) error {
	if f.Op == OpDeleted {
		return nil
	}
	if _, err := cl.tally(t).Add(ctx, cl.identity(t, f.Live), 1); err != nil {
		return err
	}
	return cl.enqueue(&queued{table: t.Name, values: f.Live}, f.Op)
}

// enqueue keeps a captured row until it is looked at.
func (cl *Closure) enqueue(q *queued, op Op) error {
	if op == OpCreated || op == OpChild {
		if err := cl.falling.push(q); err != nil {
			return err
		}
	}
	return cl.rising.push(q)
}

// batchRows and batchBytes bound what is looked at together.
const (
	batchRows  = 1000
	batchBytes = 4 << 20
)

// Run goes on until nothing is added, and calls yield for every row that is. yield must not read out of the views.
func (cl *Closure) Run(ctx context.Context, yield func(*Added) error) error {
	for _, way := range []struct {
		queue *queue
		step  func(context.Context, []*queued, func(*Added) error) error
	}{{cl.falling, cl.descend}, {cl.rising, cl.ascend}} {
		for {
			batch, err := way.queue.pop(batchRows, batchBytes)
			if err != nil {
				return err
			}
			if len(batch) == 0 {
				break
			}
			if err := way.step(ctx, batch, yield); err != nil {
				return err
			}
		}
	}
	return nil
}

// wish is what a row refers to over an edge.
type wish struct {
	from   *queued
	values []Value
}

// ascend takes the parents of a batch that the dump lacks.
func (cl *Closure) ascend(ctx context.Context, batch []*queued, yield func(*Added) error) error {
	for _, group := range cl.byTable(batch) {
		for _, e := range cl.up[group.table.Name] {
			parent := cl.c.Model.Table(e.Parent)
			var wishes []wish
			for _, q := range group.rows {
				for _, values := range e.targets(group.table, parent, q.values) {
					fresh, err := cl.ask(ctx, &e, values)
					if err != nil {
						return err
					}
					if fresh {
						wishes = append(wishes, wish{q, values})
					}
				}
			}
			for chunk := range slices.Chunk(wishes, LookupMost) {
				if err := cl.parents(ctx, group.table, &e, parent, chunk, yield); err != nil {
					return fmt.Errorf("follow %s of table %s to %s: %w", e.Name, group.table.Name, parent.Name, err)
				}
			}
		}
	}
	return nil
}

type tableGroup struct {
	table *Table
	rows  []*queued
}

func (cl *Closure) byTable(batch []*queued) []*tableGroup {
	var groups []*tableGroup
	place := make(map[Name]*tableGroup)
	for _, q := range batch {
		g := place[q.table]
		if g == nil {
			g = &tableGroup{table: cl.c.Model.Table(q.table)}
			place[q.table] = g
			groups = append(groups, g)
		}
		g.rows = append(g.rows, q)
	}
	return groups
}

// ask notes that a parent is wanted, and tells whether it is for the first time.
func (cl *Closure) ask(ctx context.Context, e *Edge, values []Value) (bool, error) {
	place := strings.Join(append([]string{e.Parent.Schema, e.Parent.Name}, e.ParentColumns...), "\x00")
	tally := cl.asked[place]
	if tally == nil {
		tally = NewTally(cl.c.Scratch, cl.c.Memory)
		cl.asked[place] = tally
	}
	cl.scratch = AppendValues(cl.scratch[:0], values)
	n, err := tally.Add(ctx, cl.scratch, 1)
	return n == 1, err
}

// parents looks a list of parents up: those that the dump has are there after a restore, the others are taken.
func (cl *Closure) parents(ctx context.Context, child *Table, e *Edge, parent *Table, wishes []wish, yield func(*Added) error) (err error) {
	wishes, err = cl.lacking(ctx, e, parent, wishes)
	if err != nil || len(wishes) == 0 {
		return err
	}
	there := make([]bool, len(wishes))
	lookup := Lookup{Table: parent, Key: parent.Identity(), Columns: e.ParentColumns, Values: valuesOf(wishes)}
	twins := cl.newTwins(parent)
	defer func() { err = errors.Join(err, twins.close()) }()
	err = lookUp(ctx, cl.c.Live, lookup, func(row *Row) error {
		there[row.Asked] = true
		w := wishes[row.Asked]
		return cl.add(ctx, twins, &Added{Table: parent, Op: OpSupport, Row: row, Via: e.Name, FromTable: child, From: w.from.values, Depth: w.from.depth + 1}, yield)
	})
	if err != nil {
		return err
	}
	for i, w := range wishes {
		if there[i] || cl.c.Missing == nil {
			continue
		}
		if err := cl.c.Missing(&Missing{Table: child, Edge: *e, Values: w.from.values, Wanted: w.values}); err != nil {
			return err
		}
	}
	return nil
}

// lacking are the wishes that the dump does not grant.
func (cl *Closure) lacking(ctx context.Context, e *Edge, parent *Table, wishes []wish) ([]wish, error) {
	if cl.c.Base == nil {
		return wishes, nil
	}
	base := cl.c.BaseModel.Table(e.Parent)
	if base == nil || !base.has(e.ParentColumns) {
		return wishes, nil
	}
	meaning := cl.c.Meaning[parent.Name]
	if !base.has(meaning) || !parent.has(meaning) {
		return wishes, nil
	}
	has, err := cl.meanings(ctx, cl.c.Base, base, e, meaning, wishes)
	if err != nil {
		return nil, fmt.Errorf("the dump: %w", err)
	}
	var now [][]Value
	if len(meaning) > 0 {
		if now, err = cl.meanings(ctx, cl.c.Live, parent, e, meaning, wishes); err != nil {
			return nil, err
		}
	}
	var list []wish
	for i, w := range wishes {
		if has[i] == nil || now != nil && now[i] != nil && !EqualValues(now[i], has[i]) {
			list = append(list, w)
		}
	}
	return list, nil
}

// meanings reads what the rows that are wished for mean in a database; nil for those that it lacks.
func (cl *Closure) meanings(ctx context.Context, v View, t *Table, e *Edge, columns []string, wishes []wish) ([][]Value, error) {
	places := t.Indexes(columns)
	list := make([][]Value, len(wishes))
	err := lookUp(ctx, v, Lookup{Table: t, Columns: e.ParentColumns, Values: valuesOf(wishes)}, func(row *Row) error {
		means := make([]Value, len(places))
		for i, place := range places {
			means[i] = row.Values[place].Clone()
		}
		list[row.Asked] = means
		return nil
	})
	return list, err
}

func valuesOf(wishes []wish) [][]Value {
	list := make([][]Value, len(wishes))
	for i, w := range wishes {
		list[i] = w.values
	}
	return list
}

// lookUp reads the rows of a lookup.
func lookUp(ctx context.Context, v View, l Lookup, do func(*Row) error) error {
	rows, err := v.Lookup(ctx, l)
	if err != nil {
		return err
	}
	return drain(rows, do)
}

// add takes a row, unless it is captured.
func (cl *Closure) add(ctx context.Context, twins *twins, a *Added, yield func(*Added) error) error {
	fresh, err := cl.capture(ctx, twins, a.Row)
	if err != nil || !fresh {
		return err
	}
	if a.Key = a.Row.Key; a.Key == nil {
		a.Key = slices.Clone(cl.identity(a.Table, a.Row.Values))
	}
	if err := yield(a); err != nil {
		return err
	}
	return cl.enqueue(&queued{table: a.Table.Name, depth: a.Depth, values: a.Row.Values}, a.Op)
}

// descend takes the children of the new rows of a batch.
func (cl *Closure) descend(ctx context.Context, batch []*queued, yield func(*Added) error) error {
	for _, group := range cl.byTable(batch) {
		for _, d := range cl.down[group.table.Name] {
			var wishes []wish
			for _, q := range group.rows {
				if values, ok := d.edge.sources(d.child, group.table, q.values); ok {
					wishes = append(wishes, wish{q, values})
				}
			}
			for chunk := range slices.Chunk(wishes, LookupMost) {
				if err := cl.children(ctx, group.table, d, chunk, yield); err != nil {
					return fmt.Errorf("follow %s from %s down to table %s: %w", d.edge.Name, group.table.Name, d.child.Name, err)
				}
			}
		}
	}
	return nil
}

// children looks a list of parents' children up.
func (cl *Closure) children(ctx context.Context, parent *Table, d downEdge, wishes []wish, yield func(*Added) error) (err error) {
	place := d.child.Name.String() + "\x00" + d.edge.Name
	lookup := Lookup{Table: d.child, Key: d.child.Identity(), Columns: d.edge.Columns, Values: valuesOf(wishes)}
	twins := cl.newTwins(d.child)
	defer func() { err = errors.Join(err, twins.close()) }()
	return lookUp(ctx, cl.c.Live, lookup, func(row *Row) error {
		if !d.edge.applies(d.child, row.Values) {
			return nil
		}
		w := wishes[row.Asked]
		return cl.add(ctx, twins, &Added{
			Table: d.child, Op: OpChild, Row: row, Via: d.edge.Name, FromTable: parent, From: w.from.values, Depth: w.from.depth + 1,
		}, func(a *Added) error {
			if cl.pulled[place]++; cl.c.Budget > 0 && cl.pulled[place] > cl.c.Budget {
				return drivers.WithHint(fmt.Errorf("more than %d rows: %w", cl.c.Budget, errBudget), "raise the budget, or leave the edge out")
			}
			return yield(a)
		})
	})
}

// errBudget tells that more rows hang on those that were found than was allowed.
var errBudget = fmt.Errorf("the budget is used up: %w", drivers.ErrFailed)
