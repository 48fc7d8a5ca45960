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

// dumpMoment is when the dumps of the comparisons were made.
func dumpMoment() time.Time { return time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC) }

// comparing is one table before and after people worked.
type comparing struct {
	t        *testing.T
	h        RelationalHarness
	table    string
	chosen   relational.Detectors
	since    time.Time
	zone     *time.Location
	times    bool // without the dump
	base     []string
	work     []string
	baseOnly []string // what the dump has instead of base, for changed tables
	memory   int64
}

// named is a test of a suite.
type named struct {
	name string
	run  func(*testing.T, RelationalHarness)
}

// runAll runs tests side by side.
func runAll(t *testing.T, h RelationalHarness, tests []named) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, h)
		})
	}
}

// Compare holds a driver to what a rescue finds: the cases of detection and of comparison, each against the database itself.
func Compare(t *testing.T, h RelationalHarness) {
	t.Helper()
	runAll(t, h, compareTests())
}

func compareTests() []named {
	return []named{
		{"Detect/Boundary", detectBoundary},
		{"Detect/NullCreated", detectNull},
		{"Detect/Backdated", detectBackdated},
		{"Detect/Silent", detectSilent},
		{"Detect/Touch", detectTouch},
		{"Detect/LinkTable", detectLink},
		{"Detect/Expiry", detectExpiry},
		{"Detect/Deleted", detectDeleted},
		{"Detect/DeletedAndMadeAgain", detectAgain},
		{"Detect/KeyUpdated", detectKey},
		{"Detect/LateCommit", detectLate},
		{"Detect/DateOnly", detectDate},
		{"Detect/RepeatedHour", detectHour},
		{"Diff/SameChange", diffSame},
		{"Diff/Swap", diffSwap},
		{"Diff/Adjacent", diffAdjacent},
		{"Diff/NullAndEmpty", diffNull},
		{"Diff/Ends", diffEnds},
		{"Diff/Gaps", diffGaps},
		{"Diff/Composite", diffComposite},
		{"Diff/Floats", diffFloats},
		{"Diff/Binary", diffBinary},
		{"Diff/Case", diffCase},
		{"Diff/NoKey", diffNoKey},
		{"Diff/NoKeySpilled", diffNoKeySpilled},
		{"Diff/Empty", diffEmpty},
		{"Diff/ColumnAdded", diffAdded},
		{"Diff/ColumnDropped", diffDropped},
		{"Diff/ColumnRetyped", diffRetyped},
		{"Diff/KeyLost", diffKeyLost},
		{"Diff/TableNew", diffTableNew},
		{"Diff/Digits", diffDigits},
		{"Diff/KeyOrderOfJSON", diffJSON},
		{"Diff/WritesMeanwhile", diffMeanwhile},
	}
}

// run compares, and returns what was found: "m diff 5 (b)" for a row whose first column is 5 and whose b was changed.
func (c comparing) run() ([]string, *relational.Coverage) {
	t := c.t
	t.Helper()
	if c.table == "" {
		c.table = "t"
	}
	if c.since.IsZero() {
		c.since = dumpMoment()
	}
	liveSource, live := c.h.New(t)
	live(c.base...)
	if len(c.work) > 0 {
		live(c.work...)
	}
	view := observe(t, c.h, liveSource)
	table := tableOf(t, view, c.table)
	detectors, err := table.Detect(c.chosen)
	if err != nil {
		t.Fatal(err)
	}
	comparison := relational.Comparison{
		Live: view, Table: table, Detectors: detectors, Since: c.since, Zone: c.zone, Scratch: t.TempDir(), Memory: max(c.memory, 1),
	}
	if c.memory == 0 {
		comparison.Memory = 1 << 20
	}
	if !c.times {
		baseSource, base := c.h.New(t)
		if c.baseOnly != nil {
			c.base = c.baseOnly
		}
		base(c.base...)
		comparison.Base = observe(t, c.h, baseSource)
		m, err := comparison.Base.Model(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		comparison.Other = m.Table(table.Name)
	}
	var found []string
	coverage, err := comparison.Run(t.Context(), func(f *relational.Found) error {
		values := f.Live
		if values == nil {
			values = f.Base
		}
		text := fmt.Sprintf("%s %s %s", f.Op, strings.Join(f.Why.Names(), "+"), values[0].Text)
		if f.Changed != nil {
			var names []string
			for _, i := range f.Changed {
				names = append(names, table.Columns[i].Name)
			}
			text += " (" + strings.Join(names, ",") + ")"
		}
		found = append(found, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, coverage
}

// want compares what was found, whatever its order.
func (c comparing) want(want ...string) *relational.Coverage {
	c.t.Helper()
	got, coverage := c.run()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
		c.t.Errorf("found (-want +got):\n%s", diff)
	}
	return coverage
}

// times is a table with all that detectors look for.
func (h RelationalHarness) times(rows ...string) []string {
	list := []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "v" ` + h.Text + `, "created" ` + h.Moment + `, "updated_at" ` + h.Moment + `)`}
	for _, r := range rows {
		list = append(list, `INSERT INTO "t" VALUES `+r)
	}
	return list
}

const (
	old = `'2026-11-01 00:00:00'`
	now = `'2026-11-30 11:00:00'`
)

func detectBoundary(t *testing.T, h RelationalHarness) {
	rows := []string{
		`(1, 'before', '2026-11-30 09:59:59.999999', ` + old + `)`, `(2, 'at', '2026-11-30 10:00:00', ` + old + `)`,
		`(3, 'after', '2026-11-30 10:00:00.000001', ` + old + `)`, `(4, 'changed', ` + old + `, '2026-11-30 10:00:00')`, `(5, 'not', ` + old + `, '2026-11-30 09:59:59.999999')`,
	}
	c := comparing{t: t, h: h, base: h.times(rows...), times: true}.want("c created 2", "c created 3", "m modified 4")
	if c.Rows != -1 || c.ByCreated != 2 || c.ByModified != 1 || c.Blind() {
		t.Errorf("coverage: %+v", c)
	}
}

func detectNull(t *testing.T, h RelationalHarness) {
	base := h.times(`(1, 'x', NULL, NULL)`, `(2, 'x', `+now+`, NULL)`)
	if c := (comparing{t: t, h: h, base: base, times: true}).want("c created 2"); c.NoTime != 1 {
		t.Errorf("%d rows without a time", c.NoTime)
	}
	if c := (comparing{t: t, h: h, base: base, work: []string{`INSERT INTO "t" VALUES (3, 'y', NULL, NULL)`}}).want("c diff 3"); c.NoTime != 2 {
		t.Errorf("%d rows without a time", c.NoTime)
	}
}

func detectBackdated(t *testing.T, h RelationalHarness) {
	c := comparing{t: t, h: h, base: h.times(`(1, 'x', ` + old + `, ` + old + `)`), work: []string{`INSERT INTO "t" VALUES (2, 'imported', '2010-01-01 00:00:00', ` + old + `)`}}.want("c diff 2")
	if c.Backdated != 1 {
		t.Errorf("coverage: %+v", c)
	}
}

func detectSilent(t *testing.T, h RelationalHarness) {
	c := comparing{t: t, h: h, base: h.times(`(1, 'x', ` + old + `, ` + old + `)`), work: []string{`UPDATE "t" SET "v" = 'y'`}}.want("m diff 1 (v)")
	if c.Silent != 1 {
		t.Errorf("coverage: %+v", c)
	}
}

func detectTouch(t *testing.T, h RelationalHarness) {
	// Saved again: the time is all that changed. And a row of the margin, which the dump has.
	c := comparing{t: t, h: h, base: h.times(`(1, 'x', `+old+`, `+old+`)`, `(2, 'margin', `+now+`, NULL)`), work: []string{`UPDATE "t" SET "updated_at" = ` + now + ` WHERE "id" = 1`}}.
		want("m modified+diff 1 (updated_at)")
	if c.Touched != 1 {
		t.Errorf("coverage: %+v", c)
	}
}

func detectLink(t *testing.T, h RelationalHarness) {
	base := []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "a" ` + h.Int + `, "b" ` + h.Int + `, UNIQUE ("a", "b"))`, `INSERT INTO "t" VALUES (1, 1, 1)`}
	work := []string{`INSERT INTO "t" VALUES (2, 1, 2)`}
	if c := (comparing{t: t, h: h, base: base, work: work, times: true}).want(); !c.Blind() {
		t.Error("a table that nothing tells of is not blind")
	}
	if c := (comparing{t: t, h: h, base: base, work: work}).want("c diff 2"); c.Blind() {
		t.Error("a table that was compared is blind")
	}
}

func detectExpiry(t *testing.T, h RelationalHarness) {
	base := []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "expires_at" ` + h.Moment + `, "last_seen" ` + h.Moment + `, "start_date" ` + h.Moment + `)`, `INSERT INTO "t" VALUES (1, ` + now + `, ` + now + `, ` + now + `)`}
	if c := (comparing{t: t, h: h, base: base, times: true}).want(); !c.Blind() {
		t.Errorf("detectors: %+v", c.Detectors)
	}
	// Unless somebody says so.
	comparing{t: t, h: h, base: base, times: true, chosen: relational.Detectors{Created: "start_date"}}.want("c created 1")
}

func detectDeleted(t *testing.T, h RelationalHarness) {
	c := comparing{t: t, h: h, base: h.times(`(1, 'x', `+old+`, NULL)`, `(2, 'y', `+old+`, NULL)`), work: []string{`DELETE FROM "t" WHERE "id" = 2`}}.want("d diff 2")
	if c.Deleted != 1 || c.Rows != 1 {
		t.Errorf("coverage: %+v", c)
	}
}

func detectAgain(t *testing.T, h RelationalHarness) {
	comparing{t: t, h: h, base: h.times(`(1, 'x', ` + old + `, NULL)`), work: []string{`DELETE FROM "t"`, `INSERT INTO "t" VALUES (1, 'another', ` + now + `, NULL)`}}.
		want("m created+diff 1 (v,created)")
}

func detectKey(t *testing.T, h RelationalHarness) {
	comparing{t: t, h: h, base: h.times(`(7, 'x', ` + old + `, NULL)`), work: []string{`UPDATE "t" SET "id" = 70`}}.want("c diff 70", "d diff 7")
}

func detectDate(t *testing.T, h RelationalHarness) {
	base := []string{
		`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "pub_date" ` + h.Date + `)`,
		`INSERT INTO "t" VALUES (1, '2026-11-29'), (2, '2026-11-30'), (3, '2026-12-01')`,
	}
	comparing{t: t, h: h, base: base, times: true}.want("c created 2", "c created 3")
	// In Tokyo the day has been the next one for four hours.
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	comparing{t: t, h: h, base: base, times: true, since: dumpMoment().Add(6 * time.Hour), zone: tokyo}.want("c created 3")
}

func detectHour(t *testing.T, h RelationalHarness) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	base := []string{
		`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "created_at" ` + h.Wall + `)`,
		`INSERT INTO "t" VALUES (1, '2026-10-25 01:59:59'), (2, '2026-10-25 02:10:00'), (3, '2026-10-25 02:40:00')`,
	}
	comparing{t: t, h: h, base: base, times: true, zone: berlin, since: time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC)}.want("c created 2", "c created 3")
}

// diffSame: the same change of many rows does not cancel itself out.
func diffSame(t *testing.T, h RelationalHarness) {
	var rows []string
	for i := range 1200 {
		rows = append(rows, fmt.Sprintf("(%d, 'x')", i))
	}
	base := []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "v" ` + h.Text + `)`, `INSERT INTO "t" VALUES ` + strings.Join(rows, ", ")}
	for _, n := range []int{2, 4, 1000} {
		var want []string
		for i := range n {
			want = append(want, fmt.Sprintf("m diff %d (v)", i))
		}
		comparing{t: t, h: h, base: base, work: []string{fmt.Sprintf(`UPDATE "t" SET "v" = 'y' WHERE "id" < %d`, n)}}.want(want...)
	}
}

// kv is a table of a key and a text.
func (h RelationalHarness) kv(rows string) []string {
	list := []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "v" ` + h.Text + `)`}
	if rows != "" {
		list = append(list, `INSERT INTO "t" VALUES `+rows)
	}
	return list
}

func diffSwap(t *testing.T, h RelationalHarness) {
	comparing{t: t, h: h, base: h.kv(`(1, 'a'), (2, 'b'), (3, 'c')`), work: []string{`UPDATE "t" SET "v" = CASE "v" WHEN 'a' THEN 'b' ELSE 'a' END WHERE "id" < 3`}}.want("m diff 1 (v)", "m diff 2 (v)")
}

func diffAdjacent(t *testing.T, h RelationalHarness) {
	base := []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "a" ` + h.Text + `, "b" ` + h.Text + `)`, `INSERT INTO "t" VALUES (1, 'a', 'bc'), (2, '', 'x')`}
	comparing{t: t, h: h, base: base, work: []string{`UPDATE "t" SET "a" = 'ab', "b" = 'c' WHERE "id" = 1`, `UPDATE "t" SET "a" = 'x', "b" = '' WHERE "id" = 2`}}.want("m diff 1 (a,b)", "m diff 2 (a,b)")
}

func diffNull(t *testing.T, h RelationalHarness) {
	comparing{t: t, h: h, base: h.kv(`(1, NULL), (2, ''), (3, NULL), (4, '0')`), work: []string{`UPDATE "t" SET "v" = '' WHERE "id" = 1`, `UPDATE "t" SET "v" = NULL WHERE "id" = 2`, `UPDATE "t" SET "v" = '' WHERE "id" = 4`}}.
		want("m diff 1 (v)", "m diff 2 (v)", "m diff 4 (v)")
}

func diffEnds(t *testing.T, h RelationalHarness) {
	comparing{t: t, h: h, base: h.kv(`(100, 'a'), (200, 'b')`), work: []string{`INSERT INTO "t" VALUES (50, 'first'), (150, 'between'), (250, 'last')`}}.want("c diff 50", "c diff 150", "c diff 250")
	comparing{t: t, h: h, base: h.kv(`(50, 'a'), (100, 'a'), (200, 'b')`), work: []string{`DELETE FROM "t" WHERE "id" <> 100`}}.want("d diff 50", "d diff 200")
}

func diffGaps(t *testing.T, h RelationalHarness) {
	comparing{
		t: t, h: h, base: h.kv(`(-9000000000000000000, 'a'), (-1, 'b'), (9007199254740993, 'c')`),
		work: []string{`INSERT INTO "t" VALUES (0, 'zero'), (9007199254740992, 'd'), (9000000000000000000, 'e'), (-2, 'f')`, `UPDATE "t" SET "v" = 'x' WHERE "id" = -1`},
	}.want("c diff 0", "c diff 9007199254740992", "c diff 9000000000000000000", "c diff -2", "m diff -1 (v)")
}

func diffComposite(t *testing.T, h RelationalHarness) {
	base := []string{
		`CREATE TABLE "t" ("a" ` + h.Text + ` NOT NULL, "b" ` + h.Text + ` NOT NULL, "v" ` + h.Int + `, PRIMARY KEY ("b", "a"))`,
		`INSERT INTO "t" VALUES ('a', 'bc', 1), ('ab', 'c', 2), ('', 'x', 3)`,
	}
	comparing{t: t, h: h, base: base, work: []string{`DELETE FROM "t" WHERE "a" = 'a'`, `INSERT INTO "t" VALUES ('abc', '', 4), ('x', '', 5)`}}.want("d diff a", "c diff abc", "c diff x")
}

func diffFloats(t *testing.T, h RelationalHarness) {
	base := []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "f" ` + h.Float + `)`, `INSERT INTO "t" VALUES (1, 0), (2, 0.1), (3, 1e-300), (4, NULL)`}
	want := []string{"m diff 2 (f)", "m diff 3 (f)", "m diff 4 (f)"}
	if !h.NoNegativeZero {
		want = append(want, "m diff 1 (f)")
	}
	comparing{t: t, h: h, base: base, work: []string{`UPDATE "t" SET "f" = -"f"`, `UPDATE "t" SET "f" = 0 WHERE "id" = 4`}}.want(want...)
	comparing{t: t, h: h, base: base, work: []string{`UPDATE "t" SET "f" = "f" + 0`}}.want()
}

func diffBinary(t *testing.T, h RelationalHarness) {
	hex := func(s string) string { return fmt.Sprintf(h.BytesLiteral, s) }
	base := []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "y" ` + h.Bytes + `)`, `INSERT INTO "t" VALUES (1, ` + hex("00") + `), (2, ` + hex("") + `), (3, NULL)`}
	comparing{t: t, h: h, base: base, work: []string{`UPDATE "t" SET "y" = ` + hex("0000") + ` WHERE "id" = 1`, `UPDATE "t" SET "y" = NULL WHERE "id" = 2`, `UPDATE "t" SET "y" = ` + hex("") + ` WHERE "id" = 3`}}.
		want("m diff 1 (y)", "m diff 2 (y)", "m diff 3 (y)")
}

// diffCase: every type of keys that the driver knows: the first and the last are taken away, and come back.
func diffCase(t *testing.T, h RelationalHarness) {
	for _, k := range h.Keys {
		create := fmt.Sprintf(`CREATE TABLE "t" ("n" %s, "k" %s NOT NULL, PRIMARY KEY ("k"))`, h.Int, k.Type)
		insert := func(n int) string { return fmt.Sprintf(`INSERT INTO "t" VALUES (%d, %s)`, n, k.Literals[n]) }
		last := len(k.Literals) - 1
		base, live := []string{create}, []string{create}
		for n := range k.Literals {
			if n != 0 {
				base = append(base, insert(n))
			}
			if n != last {
				live = append(live, insert(n))
			}
		}
		c := comparing{t: t, h: h, base: live, baseOnly: base}.want("c diff 0", fmt.Sprintf("d diff %d", last))
		if len(c.Identity) != 1 {
			t.Errorf("%s: identity %v", k.Name, c.Identity)
		}
		if len(k.Same) > 1 {
			one := func(literal string) []string {
				return []string{create, fmt.Sprintf(`INSERT INTO "t" VALUES (5, %s)`, literal)}
			}
			// One row whose key is written in another way is no other row.
			found, _ := comparing{t: t, h: h, base: one(k.Same[0]), baseOnly: one(k.Same[1])}.run()
			for _, f := range found {
				if !strings.HasPrefix(f, "m diff 5 (k)") {
					t.Errorf("%s: %s and %s: %s", k.Name, k.Same[0], k.Same[1], f)
				}
			}
		}
	}
}

func noKey(h RelationalHarness) (base, work, want []string) {
	base = []string{
		`CREATE TABLE "t" ("v" ` + h.Text + `, "n" ` + h.Int + `)`,
		`INSERT INTO "t" VALUES ('a', 1), ('a', 1), ('a', 1), ('b', NULL), ('c', 3), ('', 0)`,
	}
	work = []string{
		`INSERT INTO "t" VALUES ('a', 1), ('new', NULL), ('new', NULL), ('b', NULL)`,
		`DELETE FROM "t" WHERE "v" = 'c'`, `UPDATE "t" SET "v" = NULL WHERE "v" = ''`,
	}
	return base, work, []string{"c diff a", "c diff new", "c diff new", "c diff b", "d diff c", "c diff ", "d diff "}
}

func diffNoKey(t *testing.T, h RelationalHarness) {
	base, work, want := noKey(h)
	if c := (comparing{t: t, h: h, base: base, work: work}).want(want...); len(c.Identity) != 0 || c.Rows != 9 {
		t.Errorf("coverage: %+v", c)
	}
	comparing{t: t, h: h, base: base, work: []string{`DELETE FROM "t" WHERE "v" = 'a'`, `INSERT INTO "t" VALUES ('a', 1)`}}.want("d diff a", "d diff a")
}

func diffNoKeySpilled(t *testing.T, h RelationalHarness) {
	base, work, want := noKey(h)
	comparing{t: t, h: h, base: base, work: work, memory: 1}.want(want...)
}

func diffEmpty(t *testing.T, h RelationalHarness) {
	comparing{t: t, h: h, base: h.kv(""), work: []string{`INSERT INTO "t" VALUES (1, 'a'), (2, 'b')`}}.want("c diff 1", "c diff 2")
	comparing{t: t, h: h, base: h.kv(`(1, 'a'), (2, 'b')`), work: []string{`DELETE FROM "t"`}}.want("d diff 1", "d diff 2")
	comparing{t: t, h: h, base: h.kv("")}.want()
}

func noted(t *testing.T, c *relational.Coverage, part string) {
	t.Helper()
	if !slices.ContainsFunc(c.Notes, func(n string) bool { return strings.Contains(n, part) }) {
		t.Errorf("notes %q lack %q", c.Notes, part)
	}
}

func diffAdded(t *testing.T, h RelationalHarness) {
	c := comparing{t: t, h: h, base: h.kv(`(1, 'a'), (2, 'b')`), work: []string{`ALTER TABLE "t" ADD "extra" ` + h.Int, `UPDATE "t" SET "extra" = 5`, `UPDATE "t" SET "v" = 'x' WHERE "id" = 2`}}.want("m diff 2 (v)")
	noted(t, c, "column extra was added")
}

func diffDropped(t *testing.T, h RelationalHarness) {
	c := comparing{t: t, h: h, base: append(h.kv(`(1, 'a')`), `ALTER TABLE "t" ADD "gone" `+h.Int), work: []string{`ALTER TABLE "t" DROP COLUMN "gone"`, `INSERT INTO "t" VALUES (2, 'b')`}}.want("c diff 2")
	noted(t, c, "column gone was dropped")
}

func diffRetyped(t *testing.T, h RelationalHarness) {
	table := func(typ, two string) []string {
		return []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "n" ` + typ + `)`, `INSERT INTO "t" VALUES (1, '10'), (2, ` + two + `), (3, NULL)`}
	}
	c := comparing{t: t, h: h, base: table(h.Text, "'21'"), baseOnly: table(h.Int, "20")}.want("m diff 2 (n)")
	noted(t, c, "column n was ")
}

func diffKeyLost(t *testing.T, h RelationalHarness) {
	table := func(key string, rows string) []string {
		return []string{`CREATE TABLE "t" ("id" ` + h.Int + key + `, "v" ` + h.Text + `)`, `INSERT INTO "t" VALUES ` + rows}
	}
	c := comparing{t: t, h: h, base: table("", `(1, 'a'), (1, 'twice')`), baseOnly: table(" PRIMARY KEY", `(1, 'a'), (2, 'b')`)}.want("c diff 1", "d diff 2")
	noted(t, c, "share no key")
}

func diffTableNew(t *testing.T, h RelationalHarness) {
	c := comparing{t: t, h: h, base: h.kv(`(1, 'a')`), baseOnly: []string{`CREATE TABLE "other" ("id" ` + h.Int + ` PRIMARY KEY)`}}.want("c diff 1")
	noted(t, c, "the dump does not have the table")
}
