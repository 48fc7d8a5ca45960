package postgres

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"salvor/drivers"
)

// leastBundle is a size below which no table is shared out among several tasks.
const leastBundle = 2 * defaultChunk

// Bundle puts the parts of a table together: one transaction loads them in the order in which they lay in the table, which is what
// its clustering, BRIN indexes and the sort of its keys live by, and a table that one transaction loads is written once
// (FREEZE). A table that would keep a single task busy while others have nothing to do any more is cut into several runs of parts.
func (*Source) Bundle(parts []drivers.Part, sideBySide int) [][]int {
	type table struct {
		order []int
		size  int64
	}
	refs := make([]*ref, len(parts))
	byKey := make(map[string]*table)
	var bundles [][]int
	var total int64
	var tables []*table
	for i, p := range parts {
		r, err := readRef(p)
		refs[i] = r
		total += p.Size
		if err != nil || r.Kind != kindTable || r.Extension { // an extension's tables have rules of their own
			bundles = append(bundles, []int{i})
			continue
		}
		t := byKey[r.key()]
		if t == nil {
			t = &table{}
			byKey[r.key()] = t
			tables = append(tables, t)
		}
		t.order = append(t.order, i)
		t.size += p.Size
	}
	share := total / int64(max(sideBySide, 1))
	whole := min(max(share+share/2, leastBundle), largestWhole)
	piece := min(max(share, leastBundle), largestChunk)
	for _, t := range tables {
		slices.SortFunc(t.order, func(a, b int) int {
			return cmp.Or(cmp.Compare(refs[a].From, refs[b].From), cmp.Compare(splitNumber(parts[a], refs[a]), splitNumber(parts[b], refs[b])))
		})
		pieces := int64(1)
		if t.size > whole {
			pieces = (t.size + piece/2) / piece
		}
		bundles = append(bundles, runs(t.order, max(pieces, 1), t.size, func(i int) int64 { return parts[i].Size })...)
	}
	return bundles
}

// runs cuts a list into so many runs of about the same size, or fewer.
func runs(order []int, pieces, size int64, sizeOf func(int) int64) [][]int {
	var list [][]int
	var run []int
	var done int64
	for _, i := range order {
		run = append(run, i)
		done += sizeOf(i)
		if n := int64(len(list)) + 1; n < pieces && done >= size*n/pieces {
			list = append(list, run)
			run = nil
		}
	}
	if len(run) > 0 {
		list = append(list, run)
	}
	return list
}

// splitNumber is the number of an object among those that a part was stored as.
func splitNumber(p drivers.Part, r *ref) int {
	base := r.key()
	if r.Ranges > 1 {
		base = r.rangeName()
	}
	n, err := strconv.Atoi(strings.TrimPrefix(strings.TrimPrefix(p.Name, base), "/"))
	if err != nil {
		return 0 // the first, which has the part's own name
	}
	return n
}
