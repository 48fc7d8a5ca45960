package drivertest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers/relational"
)

// detectLate: a transaction that began before the dump is committed after it, and so is not in it; but its rows have times from before. A
// comparison finds them whatever they say, and the margin takes them in.
func detectLate(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	exec(h.times(`(1, 'early', ` + old + `, NULL)`)...)
	began := time.Now().UTC()
	long := h.Session(t, source)
	long(`BEGIN`, `INSERT INTO "t" VALUES (2, 'long', '`+began.Format("2006-01-02 15:04:05.000000")+`', NULL)`)
	base := observe(t, h, source)
	since := base.Moment()
	long(`COMMIT`)
	live := observe(t, h, source)
	if !since.After(began) {
		t.Fatalf("the dump is of %v, before %v", since, began)
	}
	for _, test := range []struct {
		name  string
		base  relational.View
		since time.Time
		want  []string
	}{
		{"by the moment of the dump", nil, since, nil},
		{"with the margin", nil, began.Add(-time.Minute), []string{"c created 2"}},
		{"compared", base, since, []string{"c diff 2"}},
	} {
		c := relational.Comparison{Live: live, Base: test.base, Table: tableOf(t, live, "t"), Detectors: relational.Detectors{Created: "created"}, Since: test.since, Scratch: t.TempDir()}
		if test.base != nil {
			c.Other = tableOf(t, base, "t")
		}
		got, coverage := found(t, &c)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if test.base != nil && coverage.Backdated != 1 {
			t.Errorf("%d rows are told to be backdated", coverage.Backdated)
		}
	}
}

// found are the rows that a comparison finds, as a comparing's run has them.
func found(t *testing.T, c *relational.Comparison) (list []string, _ *relational.Coverage) {
	t.Helper()
	coverage, err := c.Run(t.Context(), func(f *relational.Found) error {
		values := f.Live
		if values == nil {
			values = f.Base
		}
		list = append(list, fmt.Sprintf("%s %s %s", f.Op, strings.Join(f.Why.Names(), "+"), values[0].Text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list, coverage
}

// diffMeanwhile: rows are made, changed and deleted while both are read, before and behind the place that is read. What is found is what was there
// when the views were opened.
func diffMeanwhile(t *testing.T, h RelationalHarness) {
	liveSource, live := h.New(t)
	baseSource, base := h.New(t)
	const rows = 3000
	for _, exec := range []func(...string){live, base} {
		exec(h.kv("")...)
		many(exec, "t", rows, func(i int) string { return fmt.Sprintf("(%d, 'x')", i*2) })
	}
	live(`UPDATE "t" SET "v" = 'work' WHERE "id" IN (10, 2000, 5998)`, `INSERT INTO "t" VALUES (3001, 'work')`, `DELETE FROM "t" WHERE "id" = 3000`)
	liveView, baseView := observe(t, h, liveSource), observe(t, h, baseSource)
	c := relational.Comparison{Live: liveView, Base: baseView, Table: tableOf(t, liveView, "t"), Other: tableOf(t, baseView, "t"), Scratch: t.TempDir(), Memory: 1 << 20}
	var got []string
	_, err := c.Run(t.Context(), func(f *relational.Found) error {
		values := f.Live
		if values == nil {
			values = f.Base
		}
		got = append(got, fmt.Sprintf("%s %s", f.Op, values[0].Text))
		id := string(values[0].Text)
		live(
			`INSERT INTO "t" VALUES (`+id+` + 100001, 'late'), (-`+id+` - 1, 'late')`, `UPDATE "t" SET "v" = 'late' WHERE "id" < 6 OR "id" > 5990`,
			`DELETE FROM "t" WHERE "id" = `+id+` + 100 OR "id" = 5000`,
		)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"m 10", "m 2000", "d 3000", "c 3001", "m 5998"}, got); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}
