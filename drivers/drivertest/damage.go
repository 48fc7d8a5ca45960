package drivertest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers/relational"
)

// Damage holds a driver to what a rescue sets apart: masses of changes with one cause, among which people went on working.
func Damage(t *testing.T, h RelationalHarness) {
	t.Helper()
	runAll(t, h, damageTests())
}

func damageTests() []named {
	return []named{
		{"UpdateOfAll", damageUpdate},
		{"CascadeDelete", damageCascade},
		{"Script", damageScript},
	}
}

// judged compares a table of two databases and judges what is found: "m 5 name | plan" for a row whose name people changed, and whose plan
// is in a mass.
func judged(t *testing.T, live, base relational.View, name string) (list []string, groups map[string]int64) {
	t.Helper()
	table, other := tableOf(t, live, name), tableOf(t, base, name)
	detectors, err := table.Detect(relational.Detectors{})
	if err != nil {
		t.Fatal(err)
	}
	mass := relational.NewMass(table, detectors, t.TempDir(), 1<<10)
	defer func() {
		if err := mass.Close(); err != nil {
			t.Error(err)
		}
	}()
	compare := func(do func(*relational.Found) error) *relational.Coverage {
		c := relational.Comparison{Live: live, Base: base, Table: table, Other: other, Detectors: detectors, Since: dumpMoment(), Scratch: t.TempDir(), Memory: 1 << 20}
		coverage, err := c.Run(t.Context(), do)
		if err != nil {
			t.Fatal(err)
		}
		return coverage
	}
	coverage := compare(func(f *relational.Found) error { return mass.Count(t.Context(), f) })
	rows := coverage.Rows + coverage.Deleted - coverage.Created
	groups = make(map[string]int64)
	compare(func(f *relational.Found) error {
		in, left, err := mass.Judge(t.Context(), f, rows)
		var columns []string
		for _, g := range in {
			groups[fmt.Sprintf("%s %s=%s", g.Op, g.Column, g.Value)] = g.Rows
			columns = append(columns, g.Column)
		}
		if len(in) > 0 && len(left) == 0 {
			return err // damage, and nothing else
		}
		var names []string
		for _, i := range left {
			names = append(names, table.Columns[i].Name)
		}
		values := f.Live
		if values == nil {
			values = f.Base
		}
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s %s|%s", f.Op, values[0].Text, strings.Join(names, ","), strings.Join(columns, ","))))
		return err
	})
	slices.Sort(list)
	return list, groups
}

// many inserts rows by a few statements.
func many(exec func(...string), table string, rows int, row func(int) string) {
	for from := 0; from < rows; from += 2500 {
		var list []string
		for i := from; i < min(rows, from+2500); i++ {
			list = append(list, row(i))
		}
		exec(`INSERT INTO "` + table + `" VALUES ` + strings.Join(list, ", "))
	}
}

// damageUpdate: an UPDATE without its condition has set a column of all 3,000 rows. 200 were really edited, some before it and some after.
func damageUpdate(t *testing.T, h RelationalHarness) {
	liveSource, live := h.New(t)
	baseSource, base := h.New(t)
	const rows = 3000
	for _, exec := range []func(...string){live, base} {
		exec(`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "name" ` + h.Text + `, "plan" ` + h.Text + `, "updated_at" ` + h.Moment + `)`)
		many(exec, "t", rows, func(i int) string { return fmt.Sprintf(`(%d, 'name %d', 'plan %d', %s)`, i, i, i%7, old) })
	}
	var want []string
	edit := func(i int, set, columns string) {
		live(fmt.Sprintf(`UPDATE "t" SET %s, "updated_at" = '2026-11-30 11:00:00.%06d' WHERE "id" = %d`, set, i, i))
		want = append(want, fmt.Sprintf("m %d %s", i, columns))
	}
	for i := range 100 {
		edit(i*7, fmt.Sprintf(`"name" = 'edited %d'`, i), "name,updated_at|plan")
	}
	live(`UPDATE "t" SET "plan" = 'free'`)
	for i := range 50 {
		edit(i*7+1, `"name" = NULL`, "name,updated_at|plan")
		edit(i*7+2, fmt.Sprintf(`"plan" = 'bought %d'`, i), "plan,updated_at|")
	}
	live(`INSERT INTO "t" VALUES (5000, 'new', 'free', ` + now + `)`)
	want = append(want, "c 5000 |")
	got, groups := judged(t, observe(t, h, liveSource), observe(t, h, baseSource), "t")
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("work (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int64{`m plan="free"`: rows - 50}, groups); diff != "" {
		t.Errorf("damage (-want +got):\n%s", diff)
	}
}

// damageCascade: a row is deleted, and 50,000 that hang on it. People made and deleted some of their own.
func damageCascade(t *testing.T, h RelationalHarness) {
	liveSource, live := h.New(t)
	baseSource, base := h.New(t)
	const rows = 50_000
	for _, exec := range []func(...string){live, base} {
		exec(
			`CREATE TABLE "p" ("id" `+h.Int+` PRIMARY KEY, "v" `+h.Text+`)`,
			`CREATE TABLE "c" ("id" `+h.Int+` PRIMARY KEY, "p" `+h.Int+`, FOREIGN KEY ("p") REFERENCES "p" ("id") ON DELETE CASCADE)`,
			`INSERT INTO "p" VALUES (1, 'a'), (2, 'b'), (3, 'c')`,
		)
		many(exec, "c", rows, func(i int) string { return fmt.Sprintf(`(%d, %d)`, i, 1+min(1, i/(rows-100))) })
	}
	session := h.Session(t, liveSource)
	if h.Cascade != "" {
		session(h.Cascade)
	}
	session(`INSERT INTO "c" VALUES (100000, 2), (100001, 3), (100002, 1)`, `DELETE FROM "p" WHERE "id" = 1`, `INSERT INTO "p" VALUES (4, 'd')`, `DELETE FROM "c" WHERE "id" = 49999`)
	liveView, baseView := observe(t, h, liveSource), observe(t, h, baseSource)
	got, groups := judged(t, liveView, baseView, "c")
	if diff := cmp.Diff([]string{"c 100000 |", "c 100001 |"}, got); diff != "" {
		t.Errorf("work (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int64{"d =": rows - 100 + 1}, groups); diff != "" {
		t.Errorf("damage (-want +got):\n%s", diff)
	}
	got, groups = judged(t, liveView, baseView, "p")
	if diff := cmp.Diff([]string{"c 4 |", "d 1 |"}, got); diff != "" || len(groups) > 0 {
		t.Errorf("parents (-want +got):\n%s%v", diff, groups)
	}
}

// damageScript: a script has given each of 2,000 rows a value of its own, all at one moment.
func damageScript(t *testing.T, h RelationalHarness) {
	liveSource, live := h.New(t)
	baseSource, base := h.New(t)
	for _, exec := range []func(...string){live, base} {
		exec(h.times()...)
		many(exec, "t", 2000, func(i int) string { return fmt.Sprintf(`(%d, 'v %d', %s, %s)`, i, i, old, old) })
	}
	live(`UPDATE "t" SET "v" = "id", "updated_at" = '2026-11-30 10:30:00'`, `UPDATE "t" SET "v" = 'mended', "updated_at" = '2026-11-30 11:30:00' WHERE "id" = 77`)
	got, groups := judged(t, observe(t, h, liveSource), observe(t, h, baseSource), "t")
	if diff := cmp.Diff([]string{"m 77 v,updated_at|"}, got); diff != "" {
		t.Errorf("work (-want +got):\n%s", diff)
	}
	if len(groups) != 1 || slices.Max(slices.Collect(maps.Values(groups))) != 1999 {
		t.Errorf("damage: %v", groups)
	}
}
