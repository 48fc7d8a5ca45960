package merge

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/google/uuid"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// newKeyTries bounds how often a new key may turn out to be taken.
const newKeyTries = 1000

// newKey chooses a new value of a key's column: a number behind all that were ever given, or a UUID that is made of the old one.
func (p *planner) newKey(ctx context.Context, it *item, place int) (relational.Value, error) {
	t := it.table
	for try := range newKeyTries {
		var v relational.Value
		if c := &t.Columns[place]; strings.EqualFold(c.SQL, "uuid") {
			name := relational.AppendValues(nil, t.keyOf(it.live))
			name = fmt.Appendf(name, "%s\x00%s\x00%d", p.c.ID, t.Name, try)
			v = relational.TextValue(uuid.NewSHA1(uuid.NameSpaceURL, name).String())
		} else {
			v = p.nextNumber(t)
		}
		key := slices.Clone(it.values)
		key[place] = v
		free := true
		err := p.look(ctx, t, t.key.Columns, [][]relational.Value{t.keyOf(key)}, func(int, []relational.Value) error {
			free = false
			return nil
		})
		if err != nil || free {
			return v, err
		}
		if next := p.nextKey[t.Name]; next != nil {
			next.Add(next, big.NewInt(int64(try)*int64(try))) // far behind soon, where keys are many
		}
	}
	return relational.Value{}, fmt.Errorf("table %s: no free key was found: %w", t.Name, drivers.ErrFailed)
}

// nextNumber is behind the counters of both databases and all captured keys.
func (p *planner) nextNumber(t *table) relational.Value {
	next := p.nextKey[t.Name]
	if next == nil {
		next = new(big.Int)
		raise := func(text string) {
			if n, ok := new(big.Int).SetString(text, 10); ok && n.Cmp(next) > 0 {
				next.Set(n)
			}
		}
		raise(string(t.highest))
		for _, m := range []*relational.Model{p.target, p.c.Capture} {
			for _, s := range m.Sequences {
				own := s.Table != nil && *s.Table == t.Name || slices.ContainsFunc(t.Columns, func(c relational.Column) bool { return c.Sequence != nil && *c.Sequence == s.Name })
				if own {
					raise(s.Last)
				}
			}
		}
		p.nextKey[t.Name] = next
	}
	next.Add(next, big.NewInt(1))
	return relational.Value{Kind: relational.Int, Text: []byte(next.String())}
}
