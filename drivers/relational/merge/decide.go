package merge

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

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
	if it.fells {
		return p.setFate(ctx, it, nil)
	}
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
