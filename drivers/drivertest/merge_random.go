package drivertest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"salvor/drivers/relational"
)

// RandomMerge makes random schemas as Random does, merges what people did into the base, and compares the target with what they had in
// the end: it must be the same. A second merge must have nothing to write, and an undo must give the base back. rounds is how many.
func RandomMerge(t *testing.T, h RelationalHarness, rounds int) {
	t.Helper()
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			r := rapid.Custom(func(t *rapid.T) *random { return newRandom(t, h, round%2 == 0) }).Example(round)
			edges := make(map[string][]relational.Edge)
			for name, list := range r.edges() {
				edges[name.Name] = list
			}
			for _, units := range []int{0, 1 + round%7} {
				m := &merging{t: t, h: h, base: r.setup, work: r.work, edges: edges, deletes: true, units: units}
				m.run()
				source, live := h.New(t)
				live(slices.Concat(r.setup, r.work)...)
				if diff := cmp.Diff(rowsOf(m.contents(source)), rowsOf(m.contents(m.source))); diff != "" {
					t.Errorf("units of %d rows: the target is not base and work (-want +got):\n%s\n%s", units, diff, strings.Join(slices.Concat(r.setup, r.work), ";\n"))
				}
			}
		})
	}
}
