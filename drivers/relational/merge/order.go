package merge

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"salvor/drivers/relational"
)

// orderMost is how many rows are put in order at once. Only rows that come before a row that they refer to are.
const orderMost = 100_000

// ordering puts the lines of tables that refer to each other into an order in which no row refers to a later one.
type ordering struct {
	p       *planner
	tables  []*table
	all     *relational.Tally // what rows of the capture can be referred to by
	done    *relational.Tally // of those that are in order
	out     *records
	tangled int64 // where in out the rows begin that nothing puts in order; -1 for none
}

// order returns the lines of a component in a file, and where those begin that are in a cycle which nothing breaks; -1 for none.
func (p *planner) order(ctx context.Context, tables []*table) (_ *records, tangled int64, err error) {
	o := &ordering{p: p, tables: tables, all: relational.NewTally(p.c.Scratch, p.c.Memory), done: relational.NewTally(p.c.Scratch, p.c.Memory), tangled: -1}
	defer func() {
		err = errors.Join(err, o.all.Close(), o.done.Close())
		if err != nil && o.out != nil {
			err = errors.Join(err, o.out.close())
		}
	}()
	if o.out, err = newRecords(p.c.Scratch); err != nil {
		return nil, 0, err
	}
	if err := o.run(ctx); err != nil {
		return nil, 0, fmt.Errorf("put rows in order: %w", err)
	}
	return o.out, o.tangled, nil
}

// lines yields all items of the component.
func (o *ordering) lines(ctx context.Context, yield func(*item) error) error {
	for _, t := range o.tables {
		err := o.p.c.Lines(ctx, t.live, func(l *relational.Line) error {
			if l.Op == relational.OpDeleted {
				return nil
			}
			it, err := o.p.item(t, l)
			if err != nil {
				return err
			}
			return yield(it)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// gives are what others of the component refer to the item by.
func (o *ordering) gives(it *item) (marks []string) {
	t := it.table
	for ref := range t.refs {
		if it.hasAll(t.refs[ref].at) {
			if values := pick(it.live, t.refs[ref].at); !relational.HasNull(values) {
				marks = append(marks, string(t.refMark(kindFate, ref, values)))
			}
		}
	}
	return marks
}

// needs are what the item refers to within the component, by edge, itself excepted.
func (o *ordering) needs(it *item) (marks []string, edges []int) {
	if it.leave {
		return nil, nil
	}
	own := o.gives(it)
	for n := range it.table.up {
		e := &it.table.up[n]
		if !e.inner || !it.touches(e.at) {
			continue
		}
		for _, values := range e.Targets(it.table.Table, e.parent.Table, it.live) {
			mark := string(e.parent.refMark(kindFate, e.ref, values))
			if !slices.Contains(own, mark) {
				marks, edges = append(marks, mark), append(edges, n)
			}
		}
	}
	return marks, edges
}

func (o *ordering) run(ctx context.Context) (err error) {
	err = o.lines(ctx, func(it *item) error {
		for _, m := range o.gives(it) {
			if _, err := o.all.Add(ctx, []byte(m), 1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	pending, err := newRecords(o.p.c.Scratch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pending.close()) }()
	err = o.lines(ctx, func(it *item) error {
		marks, _ := o.needs(it)
		open, err := o.unmet(ctx, marks)
		if err != nil {
			return err
		}
		if slices.Contains(open, true) {
			_, err := pending.add(it.encode())
			return err
		}
		return o.emit(ctx, it)
	})
	if err != nil {
		return err
	}
	for breaking := false; pending.end > 0; {
		rest, progress, err := o.round(ctx, pending, breaking)
		if err != nil {
			return err
		}
		err = pending.close()
		pending = rest
		switch {
		case err != nil:
			return err
		case progress:
			breaking = false
		case breaking:
			return o.tangle(ctx, pending)
		default:
			breaking = true
		}
	}
	return nil
}

// unmet tells of what is needed whether it is captured and not in order yet.
func (o *ordering) unmet(ctx context.Context, marks []string) ([]bool, error) {
	open := make([]bool, len(marks))
	for i, m := range marks {
		captured, err := o.all.Count(ctx, []byte(m))
		if err != nil {
			return nil, err
		}
		if captured == 0 {
			continue
		}
		done, err := o.done.Count(ctx, []byte(m))
		if err != nil {
			return nil, err
		}
		open[i] = done == 0
	}
	return open, nil
}

// emit puts an item behind those that are in order.
func (o *ordering) emit(ctx context.Context, it *item) error {
	for _, m := range o.gives(it) {
		if _, err := o.done.Add(ctx, []byte(m), 1); err != nil {
			return err
		}
	}
	_, err := o.out.add(it.encode())
	return err
}

// waiting is an item that waits for others.
type waitingItem struct {
	item  *item
	open  int
	marks []string
	edges []int
	done  bool
}

// round goes through what is pending once, in portions, and returns what is left. With breaking, columns that may be NULL are set
// later where nothing else helps.
func (o *ordering) round(ctx context.Context, pending *records, breaking bool) (rest *records, progress bool, err error) {
	if rest, err = newRecords(o.p.c.Scratch); err != nil {
		return nil, false, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, rest.close())
		}
	}()
	var portion []*waitingItem
	flush := func() error {
		moved, err := o.portion(ctx, portion, breaking && !progress, rest)
		progress = progress || moved
		portion = portion[:0]
		return err
	}
	err = pending.each(0, pending.end, func(raw []byte) error {
		it, err := o.p.decode(slices.Clone(raw))
		if err != nil {
			return err
		}
		portion = append(portion, &waitingItem{item: it})
		if len(portion) < orderMost {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	return rest, progress, err
}

// portion puts in order what can be, and the rest into a file.
func (o *ordering) portion(ctx context.Context, list []*waitingItem, breaking bool, rest *records) (progress bool, err error) {
	waits := make(map[string][]*waitingItem)
	var ready []*waitingItem
	for _, w := range list {
		w.marks, w.edges = o.needs(w.item)
		open, err := o.unmet(ctx, w.marks)
		if err != nil {
			return false, err
		}
		for i, m := range w.marks {
			if open[i] && !o.postponed(w, w.edges[i]) {
				waits[m] = append(waits[m], w)
				w.open++
			}
		}
		if w.open == 0 {
			ready = append(ready, w)
		}
	}
	next := 0
	for {
		for len(ready) > 0 {
			w := ready[0]
			ready = ready[1:]
			w.done, progress = true, true
			if err := o.emit(ctx, w.item); err != nil {
				return false, err
			}
			for _, m := range o.gives(w.item) {
				for _, other := range waits[m] {
					if other.open--; other.open == 0 && !other.done {
						ready = append(ready, other)
					}
				}
				delete(waits, m)
			}
		}
		if !breaking {
			break
		}
		for ; next < len(list); next++ {
			if list[next].done {
				continue
			}
			possible, err := o.postpone(ctx, list[next])
			if err != nil {
				return false, err
			}
			if possible {
				break
			}
		}
		if next == len(list) {
			break
		}
		list[next].open = 0
		ready = append(ready, list[next])
		next++
	}
	for _, w := range list {
		if w.done {
			continue
		}
		if _, err := rest.add(w.item.encode()); err != nil {
			return false, err
		}
	}
	return progress, nil
}

// postponed tells whether the item's columns of an edge are set later.
func (o *ordering) postponed(w *waitingItem, edge int) bool {
	return slices.ContainsFunc(w.item.table.up[edge].at, func(i int) bool { return slices.Contains(w.item.later, i) })
}

// postpone lets all that an item waits for be set later, and tells whether that is possible: a row that no key tells apart is written
// once.
func (o *ordering) postpone(ctx context.Context, w *waitingItem) (bool, error) {
	t := w.item.table
	open, err := o.unmet(ctx, w.marks)
	if err != nil || t.key == nil {
		return false, err
	}
	var later []int
	for i := range w.marks {
		if !open[i] {
			continue
		}
		nullable := t.canNull(&t.up[w.edges[i]])
		if len(nullable) == 0 {
			return false, nil
		}
		for _, place := range nullable {
			if !slices.Contains(later, place) {
				later = append(later, place)
			}
		}
	}
	slices.Sort(later)
	w.item.later = later
	return true, nil
}

// tangle puts what is left into one unit.
func (o *ordering) tangle(ctx context.Context, pending *records) error {
	o.tangled = o.out.end
	loose := o.p.c.Abilities.AnyOrder
	err := pending.each(0, pending.end, func(raw []byte) error {
		it, err := o.p.decode(slices.Clone(raw))
		if err != nil {
			return err
		}
		it.tangled = true
		marks, edges := o.needs(it)
		open, err := o.unmet(ctx, marks)
		if err != nil {
			return err
		}
		for i, n := range edges {
			e := &it.table.up[n]
			if open[i] && e.enforced() && !e.Deferrable && !loose && (e.parent != it.table || len(o.tables) > 1) {
				c := it.conflict(Unbreakable)
				c.Columns, c.Constraint = e.Columns, e.Name
				if err := o.p.settle(c); err != nil {
					return err
				}
			}
		}
		_, err = o.out.add(it.encode())
		return err
	})
	return err
}
