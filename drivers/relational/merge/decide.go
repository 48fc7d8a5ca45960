package merge

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// decide says what becomes of an item, and puts what is written of it into the output.
func (p *planner) decide(ctx context.Context, it *item) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if p.unweighed != nil {
		return p.unweighed
	}
	if it.leave {
		return p.left(ctx, it)
	}
	if err := p.follow(ctx, it); err != nil {
		return err
	}
	if !relational.EqualValues(it.values, it.asked) {
		// What it refers to has got another key since the target was asked.
		if err := p.prefetch(ctx, []*item{it}); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context, *item) (bool, error){p.hasFallen, p.checkParents, p.checkRefused} {
		if over, err := step(ctx, it); over || err != nil {
			return err
		}
	}
	switch {
	case it.table.key == nil:
		return p.withoutKey(ctx, it)
	case it.op == relational.OpModified:
		return p.modified(ctx, it)
	case it.op == relational.OpSupport && it.there != nil:
		it.table.tally.Equal++
		return p.setFate(ctx, it, it.there)
	default:
		return p.created(ctx, it)
	}
}

// left leaves an item out because somebody has said so. What refers to it has nothing to refer to, unless the target has the same row.
func (p *planner) left(ctx context.Context, it *item) error {
	it.table.tally.Left++
	if it.op == relational.OpModified {
		return nil
	}
	if it.there != nil && (it.op == relational.OpSupport || it.equals(it.there)) {
		return p.setFate(ctx, it, it.there)
	}
	return p.setFate(ctx, it, nil)
}

// skip leaves an item out by a policy.
func (p *planner) skip(ctx context.Context, it *item) error {
	it.table.tally.Skipped++
	if it.op == relational.OpModified {
		// It is there, whatever becomes of the change.
		return p.rows.put(ctx, it.table.mark(kindStays, 0, it.table.keyOf(it.live)), nil)
	}
	return p.setFate(ctx, it, nil)
}

// equals tells whether a row of the target is what the item would write.
func (it *item) equals(row []relational.Value) bool {
	for i := range it.values {
		if it.written(i) && !it.values[i].Equal(row[i]) {
			return false
		}
	}
	return true
}

// hasFallen tells whether an item has turned out to hang on a row that is left out, after it was written.
func (p *planner) hasFallen(ctx context.Context, it *item) (bool, error) {
	if len(it.later) == 0 {
		return false, nil
	}
	_, fallen, err := p.rows.get(ctx, it.table.mark(kindStays, 1, it.table.keyOf(it.live)))
	if err != nil || !fallen {
		return false, err
	}
	c := it.conflict(FKParentSkipped)
	c.Columns = it.table.names(it.later)
	if err := p.settle(c); err != nil {
		return false, err
	}
	return true, p.skip(ctx, it)
}

// checkParents looks whether what the item refers to will be there.
func (p *planner) checkParents(ctx context.Context, it *item) (over bool, err error) {
	t := it.table
	for n := range t.up {
		e := &t.up[n]
		if !it.touches(e.at) || len(it.later) > 0 && slices.ContainsFunc(e.at, func(i int) bool { return slices.Contains(it.later, i) }) {
			continue
		}
		if over, err := p.checkParent(ctx, it, n, e); over || err != nil {
			return over, err
		}
	}
	return false, nil
}

func (p *planner) checkParent(ctx context.Context, it *item, n int, e *upEdge) (over bool, err error) {
	t := it.table
	own := it.live
	code := Code("")
	for _, values := range e.Targets(t.Table, e.parent.Table, own) {
		if e.parent == t && relational.EqualValues(values, pick(own, t.refs[e.ref].at)) {
			continue // itself
		}
		f, err := p.fateOf(ctx, e, values)
		switch {
		case err != nil:
			return false, err
		case f.kind == fateGone:
			code = FKParentSkipped
		case f.kind == fateNone && it.absent[n] && code == "":
			code = FKMissing
		}
	}
	if code == "" {
		return false, nil
	}
	c := it.conflict(code)
	c.Columns, c.Constraint = e.Columns, e.Name
	nullable := t.canNull(e)
	var except []Policy
	if len(nullable) == 0 {
		except = append(except, NullFK)
	}
	if it.op != relational.OpModified {
		except = append(except, MergeColumns)
	}
	if !e.enforced() && code == FKParentSkipped && len(nullable) == 0 {
		// It may refer to nothing, and cannot be told not to: a place within a document.
		return false, nil
	}
	if err := p.settle(c, except...); err != nil {
		return false, err
	}
	switch c.Policy {
	case NullFK:
		for _, i := range nullable {
			it.values[i] = relational.Value{}
		}
		return false, nil
	case MergeColumns:
		it.changed = slices.DeleteFunc(it.changed, func(i int) bool { return slices.Contains(e.at, i) })
		return false, nil
	default:
		return true, p.skip(ctx, it)
	}
}

// checkRefused looks whether the database has refused the row before.
func (p *planner) checkRefused(ctx context.Context, it *item) (over bool, err error) {
	text, ok, err := p.rows.get(ctx, append(it.table.mark(kindRefused, 0, nil), rejectKey(it.table, it.values)...))
	if err != nil || !ok {
		return false, err
	}
	code, message, _ := strings.Cut(string(text), "\x00")
	c := it.conflict(Check)
	switch relational.RefusalCode(code) {
	case relational.RefusedUnique:
		c.Code = UniqueMulti // of a key that only the database can compare by
	case relational.RefusedParent:
		c.Code = FKMissing
	case relational.RefusedCheck:
	}
	c.Message = message
	if err := p.settle(c, NullFK, MergeColumns); err != nil {
		return false, err
	}
	return true, p.skip(ctx, it)
}

// rejectKey names a row that was refused, by its key in the target.
func rejectKey(t *table, values []relational.Value) []byte {
	if t.key != nil {
		return relational.AppendValues(nil, t.keyOf(values))
	}
	h, _ := relational.HashValues(values, nil)
	return h[:]
}

// withoutKey writes a row of a table in which nothing tells rows apart, unless an earlier merge has.
func (p *planner) withoutKey(ctx context.Context, it *item) error {
	t := it.table
	h, _ := relational.HashValues(it.values, nil)
	key := append(t.mark(kindWritten, 0, nil), h[:]...)
	n, err := p.rows.at.Count(ctx, key)
	if err != nil {
		return err
	}
	if n > 0 {
		seen := append(t.mark(kindWritten, 1+p.attempt, nil), h[:]...)
		before, err := p.rows.at.Add(ctx, seen, 1)
		if err != nil {
			return err
		}
		if before <= n {
			t.tally.Equal++
			return nil
		}
	}
	if err := p.addMapping(&Mapping{Table: t.Name, Old: []json.RawMessage{fmt.Appendf(nil, "%q", hex.EncodeToString(h[:]))}, Rows: 1}); err != nil {
		return err
	}
	return p.insert(ctx, it)
}

func (p *planner) addMapping(m *Mapping) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("note a mapping: %w", err)
	}
	p.plan.Mapped++
	_, err = p.plan.mappings.add(raw)
	return err
}

// others are the rows of the target, beside one, that have a unique value of the item, and that do not give it up.
func (p *planner) others(ctx context.Context, it *item, beside []relational.Value) (rows []hit, err error) {
	t := it.table
	for _, h := range it.hits {
		k := &t.unique[h.unique]
		if beside != nil && relational.EqualValues(t.keyOf(beside), t.keyOf(h.row)) || !it.touches(k.at) || relational.HasNull(pick(it.values, k.at)) {
			continue
		}
		state, err := p.leaving(ctx, t, k, h.row)
		if err != nil {
			return nil, err
		}
		if h.bound = state == leavesBound; state != leaves {
			rows = append(rows, h)
		}
	}
	return rows, nil
}

// distinct counts the rows of hits.
func (t *table) distinct(hits []hit) int {
	seen := make(map[string]bool)
	for _, h := range hits {
		seen[string(relational.AppendValues(nil, t.keyOf(h.row)))] = true
	}
	return len(seen)
}

func (c *Conflict) against(t *table, hits []hit) {
	for _, h := range hits {
		c.Other = append(c.Other, t.identify(h.row))
		if c.Constraint == "" {
			c.Constraint, c.Columns = t.unique[h.unique].Name, t.unique[h.unique].Columns
		}
	}
}

// created writes a row that was made.
func (p *planner) created(ctx context.Context, it *item) error {
	t := it.table
	if t.natural >= 0 {
		if done, err := p.sameByNature(ctx, it); done || err != nil {
			return err
		}
	}
	if it.there != nil && it.equals(it.there) {
		t.tally.Equal++
		return p.setFate(ctx, it, it.there)
	}
	others, err := p.others(ctx, it, it.there)
	if err != nil {
		return err
	}
	switch n := t.distinct(others); {
	case it.there == nil && n == 0:
		return p.insert(ctx, it)
	case it.there != nil && n == 0:
		return p.keyTaken(ctx, it)
	case it.there == nil && n == 1:
		return p.uniqueTaken(ctx, it, others)
	}
	c := it.conflict(UniqueMulti)
	c.against(t, others)
	if it.there != nil {
		c.Other = append([]string{t.identify(it.there)}, c.Other...)
	}
	if err := p.settle(c); err != nil {
		return err
	}
	return p.skip(ctx, it)
}

// sameByNature takes a row of a table that is the same in all databases by a key of its own for the one that is there.
func (p *planner) sameByNature(ctx context.Context, it *item) (done bool, err error) {
	for _, h := range it.hits {
		if h.unique == it.table.natural {
			return true, p.unify(ctx, it, h.row)
		}
	}
	if it.there == nil {
		return false, nil
	}
	return true, p.remap(ctx, it) // another one has its number
}

// keyTaken settles that a row of the same key is there.
func (p *planner) keyTaken(ctx context.Context, it *item) error {
	t := it.table
	c := it.conflict(PKDiff)
	c.Other = []string{t.identify(it.there)}
	for i := range it.values {
		if it.written(i) && !it.values[i].Equal(it.there[i]) {
			c.Columns = append(c.Columns, t.Columns[i].Name)
		}
	}
	var except []Policy
	_, canRenew := t.newKeyAt()
	if !canRenew || slices.ContainsFunc(it.hits, func(h hit) bool { return it.touches(t.unique[h.unique].at) }) {
		except = append(except, Remap) // a natural key, or a second row with its unique values
	}
	if err := p.settle(c, except...); err != nil {
		return err
	}
	switch c.Policy {
	case Overwrite:
		return p.overwrite(ctx, it, it.there)
	case Remap:
		return p.remap(ctx, it)
	case Unify:
		return p.unify(ctx, it, it.there)
	default:
		return p.skip(ctx, it)
	}
}

// uniqueTaken settles that a row of another key has a unique value.
func (p *planner) uniqueTaken(ctx context.Context, it *item, hits []hit) error {
	t := it.table
	c := it.conflict(uniqueCode(UniqueOtherPK, hits))
	c.against(t, hits)
	if err := p.settle(c, MergeColumns); err != nil {
		return err
	}
	switch c.Policy {
	case Overwrite:
		return p.overwrite(ctx, it, hits[0].row)
	case Unify:
		return p.unify(ctx, it, hits[0].row)
	default:
		return p.skip(ctx, it)
	}
}

// unify takes a row that is there for the item.
func (p *planner) unify(ctx context.Context, it *item, row []relational.Value) error {
	it.table.tally.Unified++
	if err := p.mapped(it, row); err != nil {
		return err
	}
	return p.setFate(ctx, it, row)
}

// mapped notes that the item has another key.
func (p *planner) mapped(it *item, row []relational.Value) error {
	t := it.table
	if relational.EqualValues(t.keyOf(it.live), t.keyOf(row)) {
		return nil
	}
	m := &Mapping{Table: t.Name}
	for _, i := range t.keyAt {
		m.Old = append(m.Old, relational.AppendJSON(nil, &t.Columns[i], it.live[i]))
		m.New = append(m.New, relational.AppendJSON(nil, &t.Columns[i], row[i]))
	}
	return p.addMapping(m)
}

// overwrite writes the item's columns into a row that is there, which keeps its key.
func (p *planner) overwrite(ctx context.Context, it *item, row []relational.Value) error {
	t := it.table
	for _, i := range t.keyAt {
		it.values[i] = row[i]
	}
	it.followItself()
	now := slices.Clone(row)
	var columns []int
	for i := range it.values {
		if it.written(i) && !slices.Contains(t.keyAt, i) && !it.values[i].Equal(row[i]) {
			columns = append(columns, i)
			now[i] = it.values[i]
		}
	}
	if !relational.EqualValues(t.keyOf(it.live), t.keyOf(row)) {
		t.tally.Unified++
	}
	if err := p.mapped(it, row); err != nil {
		return err
	}
	if err := p.update(ctx, it, row, now, columns); err != nil {
		return err
	}
	return p.setFate(ctx, it, now)
}

// modified writes what was changed of a row.
func (p *planner) modified(ctx context.Context, it *item) error {
	t := it.table
	if it.there == nil {
		return p.rowMissing(ctx, it)
	}
	var write, collide []int
	for _, i := range it.changed {
		switch {
		case it.values[i].Equal(it.there[i]):
		case it.base == nil || it.hadBase[i] && it.base[i].Equal(it.there[i]):
			write = append(write, i)
		default:
			collide = append(collide, i)
		}
	}
	if len(write)+len(collide) == 0 {
		t.tally.Equal++
		return p.setFate(ctx, it, it.there)
	}
	code := Code("")
	var columns []int
	if len(collide) > 0 {
		code, columns = BothChanged, collide
	} else {
		for i := range it.live {
			if it.has[i] && !slices.Contains(it.changed, i) && !t.Columns[i].Generated && !it.values[i].Equal(it.there[i]) {
				code, columns = DisjointChanged, append(columns, i)
			}
		}
	}
	if code != "" {
		c := it.conflict(code)
		c.Columns = t.names(columns)
		if err := p.settle(c); err != nil {
			return err
		}
		switch c.Policy {
		case Overwrite:
			write = append(write, collide...)
		case MergeColumns:
		default:
			return p.skip(ctx, it)
		}
	}
	slices.Sort(write)
	return p.change(ctx, it, write)
}

// change writes columns of a row, of which unique values may be taken.
func (p *planner) change(ctx context.Context, it *item, write []int) error {
	t := it.table
	it.changed = write
	others, err := p.others(ctx, it, it.there)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		c := it.conflict(uniqueCode(UniqueOtherPK, others))
		if t.distinct(others) > 1 {
			c.Code = UniqueMulti
		}
		c.against(t, others)
		if err := p.settle(c, Overwrite, Unify); err != nil {
			return err
		}
		if c.Policy != MergeColumns {
			return p.skip(ctx, it)
		}
		for _, h := range others {
			it.changed = slices.DeleteFunc(it.changed, func(i int) bool { return slices.Contains(t.unique[h.unique].at, i) })
		}
	}
	now := slices.Clone(it.there)
	for _, i := range it.changed {
		now[i] = it.values[i]
	}
	if err := p.update(ctx, it, it.there, now, it.changed); err != nil {
		return err
	}
	return p.setFate(ctx, it, now)
}

// rowMissing settles that the row that was changed is not there.
func (p *planner) rowMissing(ctx context.Context, it *item) error {
	c := it.conflict(RowMissing)
	if err := p.settle(c); err != nil {
		return err
	}
	if c.Policy != Overwrite {
		it.table.tally.Skipped++
		return p.setFate(ctx, it, nil)
	}
	it.op = relational.OpCreated
	if over, err := p.checkParents(ctx, it); over || err != nil {
		return err
	}
	return p.created(ctx, it)
}

// remap writes the item under a new key.
func (p *planner) remap(ctx context.Context, it *item) error {
	t := it.table
	place, ok := t.newKeyAt()
	if !ok {
		return drivers.WithHint(fmt.Errorf("table %s, row %s: its key cannot be given a new value: %w", t.Name, t.identify(it.live), drivers.ErrInvalid),
			"decide by another policy: the key is nothing that the database numbers")
	}
	v, err := p.newKey(ctx, it, place)
	if err != nil {
		return err
	}
	it.values[place] = v
	it.followItself()
	t.tally.Remapped++
	if err := p.mapped(it, it.values); err != nil {
		return err
	}
	return p.insert(ctx, it)
}

// insert puts a new row into the output.
func (p *planner) insert(ctx context.Context, it *item) error {
	t := it.table
	now := slices.Clone(it.values)
	var columns []int
	for i := range now {
		if it.written(i) {
			columns = append(columns, i)
		}
	}
	for _, i := range it.later {
		now[i] = relational.Value{}
	}
	if err := p.makeRoom(ctx, it); err != nil {
		return err
	}
	t.tally.Inserted++
	if err := p.ordered(it); err != nil {
		return err
	}
	if err := p.out.add(phaseInsert, t, relational.ChangeInsert, columns, it.later, &relational.Change{New: now}); err != nil {
		return err
	}
	if err := p.postpone(it, now); err != nil {
		return err
	}
	return p.setFate(ctx, it, it.values)
}

// update puts changes of a row into the output. was is the row as the target has it.
func (p *planner) update(ctx context.Context, it *item, was, now []relational.Value, columns []int) error {
	t := it.table
	if len(columns) == 0 {
		t.tally.Equal++
		return nil
	}
	if err := p.makeRoom(ctx, it); err != nil {
		return err
	}
	old, aside, err := p.comeBack(ctx, t, was, columns)
	if err != nil {
		return err
	}
	t.tally.Updated++
	first := slices.Clone(now)
	var later []int
	columns = slices.DeleteFunc(slices.Clone(columns), func(i int) bool {
		if slices.Contains(it.later, i) {
			later = append(later, i)
		}
		return slices.Contains(it.later, i)
	})
	if len(t.refs) > 0 && slices.ContainsFunc(t.refs, func(r reference) bool {
		return slices.ContainsFunc(r.at, func(i int) bool { return slices.Contains(columns, i) })
	}) {
		p.out.held++ // children that follow it are of the same unit, whatever comes between
	}
	if err := p.ordered(it); err != nil {
		return err
	}
	if len(columns) > 0 {
		phase := phaseUpdate
		if len(aside) > 0 {
			phase = phaseReturn
		}
		if err := p.out.add(phase, t, relational.ChangeUpdate, columns, nil, &relational.Change{New: first, Old: old}); err != nil {
			return err
		}
	}
	it.later = later
	return p.postpone(it, was)
}

// ordered ends the segment where the target needs rows in their order, and the next one is of another table.
func (p *planner) ordered(it *item) error {
	if p.c.Abilities.AnyOrder || len(p.out.list) == 0 || p.out.list[len(p.out.list)-1].table == it.table {
		return nil
	}
	return p.out.end()
}
