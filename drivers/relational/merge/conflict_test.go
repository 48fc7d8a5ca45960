package merge_test

import (
	"testing"

	"go.uber.org/goleak"

	"salvor/drivers/relational/merge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestDefaults: what is equal is skipped, what is disjoint merged, what hangs on a row that is left out goes with it; all else fails.
func TestDefaults(t *testing.T) {
	t.Parallel()
	quiet := map[merge.Code]merge.Policy{merge.NoopEqual: merge.Skip, merge.DisjointChanged: merge.MergeColumns, merge.FKParentSkipped: merge.Skip}
	for _, c := range []merge.Code{
		merge.NoopEqual, merge.PKDiff, merge.BothChanged, merge.DisjointChanged, merge.RowMissing, merge.UniqueOtherPK, merge.UniqueMulti, merge.UniqueCycle, merge.FKMissing,
		merge.FKParentSkipped, merge.Check, merge.DeleteChanged, merge.DeleteChildren, merge.MissingCol, merge.ExtraCol, merge.TargetMoved, merge.Unbreakable,
	} {
		want, ok := quiet[c]
		if !ok {
			want = merge.Fail
		}
		if got := c.Policies()[0]; got != want {
			t.Errorf("%s is settled by %s, want %s", c, got, want)
		}
	}
}
