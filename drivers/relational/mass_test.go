package relational_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers/relational"
)

// TestMass: a statement has set the plan of all 2,000 users; 200 were really edited, half of them on rows whose plan was set too; and
// 1,500 rows were changed at one moment by a script that gave each its own value.
func TestMass(t *testing.T) {
	t.Parallel()
	table := &relational.Table{
		Name: relational.Name{Name: "user"},
		Columns: []relational.Column{
			{Name: "id", Type: relational.TypeInt},
			{Name: "plan", Type: relational.TypeText},
			{Name: "name", Type: relational.TypeText},
			{Name: "updated", Type: relational.TypeTime},
		},
	}
	for _, budget := range []int64{0, 1 << 20} {
		mass := relational.NewMass(table, relational.Detectors{Modified: "updated"}, t.TempDir(), budget)
		row := func(id int, plan, name, updated string, changed ...int) *relational.Found {
			return &relational.Found{
				Op: relational.OpModified, Changed: changed,
				Live: []relational.Value{relational.IntValue(int64(id)), relational.TextValue(plan), relational.TextValue(name), relational.TextValue(updated)},
			}
		}
		var rows []*relational.Found
		for i := range 2000 {
			if i%20 == 0 {
				rows = append(rows, row(i, "x", fmt.Sprint("real", i), fmt.Sprint("t", i), 1, 2, 3))
				continue
			}
			rows = append(rows, row(i, "x", "", fmt.Sprint("t", i), 1, 3))
		}
		for i := range 100 {
			rows = append(rows, row(3000+i, "", fmt.Sprint("other", i), fmt.Sprint("u", i), 2, 3))
		}
		for i := range 1500 {
			rows = append(rows, row(5000+i, fmt.Sprint("p", i), "", "noon", 1, 3))
		}
		for _, f := range rows {
			if err := mass.Count(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		got := map[string]int{}
		for _, f := range rows {
			groups, left, err := mass.Judge(t.Context(), f, 4000)
			if err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprint(left)
			for _, g := range groups {
				text += fmt.Sprintf(" %s=%s %d %v", g.Column, g.Value, g.Rows, g.Moment)
			}
			got[text]++
		}
		want := map[string]int{`[] plan="x" 2000 false`: 1900, `[2 3] plan="x" 2000 false`: 100, `[2 3]`: 100, `[] updated="noon" 1500 true`: 1500}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("judged (-want +got):\n%s", diff)
		}
		if err := mass.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestMassBounds: a thousand changes and a hundred deletes are no mass, nor is 5 and 1 % of a large table.
func TestMassBounds(t *testing.T) {
	t.Parallel()
	table := &relational.Table{Name: relational.Name{Name: "t"}, Columns: []relational.Column{{Name: "v", Type: relational.TypeText}}}
	for _, test := range []struct {
		op      relational.Op
		n, rows int64
		want    bool
	}{
		{relational.OpModified, 1000, 1000, false},
		{relational.OpModified, 1001, 1001, true},
		{relational.OpModified, 2000, 40_000, false},
		{relational.OpModified, 2001, 40_000, true},
		{relational.OpDeleted, 100, 100, false},
		{relational.OpDeleted, 101, 101, true},
		{relational.OpDeleted, 500, 50_000, false},
		{relational.OpDeleted, 501, 50_000, true},
		{relational.OpCreated, 5000, 5000, false},
	} {
		mass := relational.NewMass(table, relational.Detectors{}, t.TempDir(), 1<<20)
		f := &relational.Found{Op: test.op, Live: []relational.Value{relational.TextValue("x")}, Changed: []int{0}}
		for range test.n {
			if err := mass.Count(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		groups, left, err := mass.Judge(t.Context(), f, test.rows)
		if err != nil || (len(groups) > 0) != test.want || test.want && len(left) > 0 {
			t.Errorf("%d rows of %d, %s: %+v, %v, %v", test.n, test.rows, test.op, groups, left, err)
		}
	}
}
