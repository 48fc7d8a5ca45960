package drivertest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/drivers/relational/merge"
)

// MergeConflicts holds a driver to what becomes of captured rows that cannot simply be written.
func MergeConflicts(t *testing.T, h RelationalHarness) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, RelationalHarness)
	}{
		{"KeyTaken", conflictKeyTaken},
		{"KeyTakenSkipped", conflictKeySkipped},
		{"KeyTakenOverwritten", conflictKeyOverwritten},
		{"KeyTakenRemapped", conflictKeyRemapped},
		{"KeyTakenUnified", conflictKeyUnified},
		{"IdenticalRow", conflictIdentical},
		{"UniqueTaken", conflictUnique},
		{"UniqueMulti", conflictUniqueMulti},
		{"UniqueSwap", conflictSwap},
		{"UniqueThreeCycle", conflictThreeCycle},
		{"UniqueChain", conflictChain},
		{"UniqueFreedByDelete", conflictFreed},
		{"UniqueOwnerStays", conflictOwnerStays},
		{"SameCell", conflictBoth},
		{"DisjointCells", conflictDisjoint},
		{"ModifiedMissing", conflictMissing},
		{"RemapSelf", remapSelf},
		{"RemapLink", remapLink},
		{"RemapInheritance", remapInheritance},
		{"RemapGeneric", remapGeneric},
		{"RemapDocument", remapDocument},
		{"RemapNatural", remapNatural},
		{"NaturalKeys", conflictNatural},
		{"TargetMoved", conflictMoved},
		{"OverwriteNeverCascades", conflictCascade},
		{"KeyOnlyTable", conflictKeyOnly},
		{"ParentMissing", conflictParentMissing},
		{"ParentLeftOut", conflictParentLeft},
		{"SkippedWithWhatHangsOnIt", conflictSkipped},
		{"Cycle", conflictCycle},
		{"Check", conflictCheck},
		{"DeletesReported", deletesReported},
		{"DeletesApplied", deletesApplied},
		{"DeleteChanged", deleteChanged},
		{"DeleteHasChildren", deleteChildren},
		{"ColumnDropped", conflictExtraColumn},
		{"ColumnAdded", conflictMissingColumn},
		{"ColumnsTaken", conflictColumns},
		{"TableMissing", conflictTableMissing},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, h)
		})
	}
}

// always is a policy for all conflicts of a code; others are left to their defaults.
func always(code merge.Code, policy merge.Policy) func(*merge.Conflict) merge.Policy {
	return func(c *merge.Conflict) merge.Policy {
		if c.Code == code {
			return policy
		}
		return ""
	}
}

// shop is a table of customers that number themselves, with a unique e-mail, and one of orders that refer to them.
func (h RelationalHarness) shop(rows ...string) []string {
	return append([]string{
		`CREATE TABLE "customer" (` + h.Serial + `, "name" ` + h.Text + `, "mail" ` + h.Key + `, UNIQUE ("mail"))`,
		`CREATE TABLE "invoice" ("no" ` + h.Int + ` PRIMARY KEY, "customer" ` + h.Int + ` NOT NULL, FOREIGN KEY ("customer") REFERENCES "customer" ("id") ON DELETE CASCADE)`,
	}, rows...)
}

// customer inserts a customer with a number of its own.
func (h RelationalHarness) customer(values string) string {
	into := `INSERT INTO "customer" ("id", "name", "mail") `
	if strings.Contains(h.Serial, "GENERATED ALWAYS") {
		into += `OVERRIDING SYSTEM VALUE `
	}
	return into + `VALUES ` + values
}

// keyTaken is a customer that both the live database and the target have made, under one number.
func keyTaken(t *testing.T, h RelationalHarness) *merging {
	t.Helper()
	return &merging{
		t: t, h: h, base: h.shop(h.customer(`(1, 'Ann', 'a')`)),
		work:   []string{h.customer(`(2, 'Ben', 'b')`), `INSERT INTO "invoice" VALUES (10, 2), (11, 1)`},
		target: []string{h.customer(`(2, 'Zoe', 'z')`), `INSERT INTO "invoice" VALUES (20, 2)`},
	}
}

func conflictKeyTaken(t *testing.T, h RelationalHarness) {
	m := keyTaken(t, h)
	plan := m.conflicting("pk_diff customer fail 1", "fk_parent_skipped invoice skip 1")
	if plan.Open != 1 || plan.Conflicts[0].Samples[0].Row != "id=2" || len(plan.Conflicts[0].Samples[0].Columns) != 2 {
		t.Errorf("open %d, %+v", plan.Open, plan.Conflicts[0].Samples[0])
	}
}

func conflictKeySkipped(t *testing.T, h RelationalHarness) {
	m := keyTaken(t, h)
	m.policy = always(merge.PKDiff, merge.Skip)
	m.run()
	m.want(`customer: 1 "Ann" "a"`, `customer: 2 "Zoe" "z"`, `invoice: 11 1`, `invoice: 20 2`)
}

func conflictKeyOverwritten(t *testing.T, h RelationalHarness) {
	m := keyTaken(t, h)
	m.policy = always(merge.PKDiff, merge.Overwrite)
	m.run()
	m.want(`customer: 1 "Ann" "a"`, `customer: 2 "Ben" "b"`, `invoice: 10 2`, `invoice: 11 1`, `invoice: 20 2`)
}

func conflictKeyRemapped(t *testing.T, h RelationalHarness) {
	m := keyTaken(t, h)
	m.policy = always(merge.PKDiff, merge.Remap)
	plan := m.run()
	m.want(`customer: 1 "Ann" "a"`, `customer: 2 "Zoe" "z"`, `customer: 3 "Ben" "b"`, `invoice: 10 3`, `invoice: 11 1`, `invoice: 20 2`)
	if plan.Mapped != 1 || len(m.known) != 1 || string(m.known[0].Old[0]) != "2" || string(m.known[0].New[0]) != "3" {
		t.Errorf("mapped: %+v", m.known)
	}
}

func conflictKeyUnified(t *testing.T, h RelationalHarness) {
	m := keyTaken(t, h)
	m.policy = always(merge.PKDiff, merge.Unify)
	m.run()
	m.want(`customer: 1 "Ann" "a"`, `customer: 2 "Zoe" "z"`, `invoice: 10 2`, `invoice: 11 1`, `invoice: 20 2`)
}

func conflictIdentical(t *testing.T, h RelationalHarness) {
	m := keyTaken(t, h)
	m.target = m.work
	if plan := m.conflicting(); !plan.Empty() {
		t.Errorf("rows that are there already are written: %s", describe(plan))
	}
}

// conflictUnique: the target has a customer of the same e-mail under another number.
func conflictUnique(t *testing.T, h RelationalHarness) {
	for policy, want := range map[merge.Policy][]string{
		merge.Skip:      {`customer: 1 "Ann" "a"`, `customer: 7 "Old" "b"`, `invoice: 11 1`},
		merge.Unify:     {`customer: 1 "Ann" "a"`, `customer: 7 "Old" "b"`, `invoice: 10 7`, `invoice: 11 1`},
		merge.Overwrite: {`customer: 1 "Ann" "a"`, `customer: 7 "Ben" "b"`, `invoice: 10 7`, `invoice: 11 1`},
	} {
		m := keyTaken(t, h)
		m.target = []string{h.customer(`(7, 'Old', 'b')`)}
		m.policy = always(merge.UniqueOtherPK, policy)
		m.run()
		m.want(want...)
	}
	m := keyTaken(t, h)
	m.target = []string{h.customer(`(7, 'Old', 'b')`)}
	m.conflicting("unique_other_pk customer fail 1", "fk_parent_skipped invoice skip 1")
	m.policy = always(merge.UniqueOtherPK, merge.Remap)
	if _, err := m.plan(nil); !errors.Is(err, drivers.ErrInvalid) || !strings.Contains(err.Error(), "remap") {
		t.Errorf("a new number does not help against an e-mail: %v", err)
	}
}

func conflictUniqueMulti(t *testing.T, h RelationalHarness) {
	m := &merging{
		t: t, h: h, base: []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "a" ` + h.Key + `, "b" ` + h.Key + `, UNIQUE ("a"), UNIQUE ("b"))`},
		work: []string{`INSERT INTO "t" VALUES (1, 'x', 'y'), (2, 'p', 'q')`}, target: []string{`INSERT INTO "t" VALUES (8, 'x', 'n'), (9, 'n', 'y')`},
	}
	plan := m.conflicting("unique_multi t fail 1")
	if others := plan.Conflicts[0].Samples[0].Other; len(others) != 2 {
		t.Errorf("against %v", others)
	}
	m = &merging{t: t, h: h, base: m.base, work: m.work, target: m.target, policy: always(merge.UniqueMulti, merge.Skip)}
	m.run()
	m.want(`t: 2 "p" "q"`, `t: 8 "x" "n"`, `t: 9 "n" "y"`)
}

// unique is a table whose second column is unique.
func (h RelationalHarness) unique(typ, rows string) []string {
	return []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "u" ` + typ + `, "v" ` + h.Int + `, UNIQUE ("u"))`, `INSERT INTO "t" VALUES ` + rows}
}

func conflictSwap(t *testing.T, h RelationalHarness) {
	for _, typ := range []string{h.Key, h.Key + " NOT NULL"} {
		for _, units := range []int{0, 1} {
			m := &merging{
				t: t, h: h, base: h.unique(typ, `(1, 'a', 0), (2, 'b', 0), (3, 'c', 0)`), units: units,
				work: []string{`UPDATE "t" SET "u" = 'x' WHERE "id" = 1`, `UPDATE "t" SET "u" = 'a' WHERE "id" = 2`, `UPDATE "t" SET "u" = 'b' WHERE "id" = 1`},
			}
			m.run()
			m.want(`t: 1 "b" 0`, `t: 2 "a" 0`, `t: 3 "c" 0`)
		}
	}
}

func conflictThreeCycle(t *testing.T, h RelationalHarness) {
	for _, typ := range []string{h.Int, h.Int + " NOT NULL"} {
		for _, units := range []int{0, 1} {
			m := &merging{
				t: t, h: h, base: h.unique(typ, `(1, 10, 0), (2, 20, 0), (3, 30, 0)`), units: units,
				work: []string{
					`UPDATE "t" SET "u" = 99 WHERE "id" = 1`, `UPDATE "t" SET "u" = 10 WHERE "id" = 2`, `UPDATE "t" SET "u" = 20 WHERE "id" = 3`,
					`UPDATE "t" SET "u" = 30, "v" = 5 WHERE "id" = 1`,
				},
			}
			m.run()
			m.want(`t: 1 30 5`, `t: 2 10 0`, `t: 3 20 0`)
		}
	}
}

// conflictChain: a new row takes what an old one gave up, whichever comes first.
func conflictChain(t *testing.T, h RelationalHarness) {
	for _, units := range []int{0, 1} {
		m := &merging{
			t: t, h: h, base: h.unique(h.Key, `(5, 'a', 0)`), units: units,
			work: []string{`UPDATE "t" SET "u" = 'moved'`, `INSERT INTO "t" VALUES (1, 'a', 1)`},
		}
		m.run()
		m.want(`t: 1 "a" 1`, `t: 5 "moved" 0`)
	}
}

// conflictFreed: a row's key was changed, so one is deleted and another has its unique value.
func conflictFreed(t *testing.T, h RelationalHarness) {
	for _, units := range []int{0, 1} {
		m := &merging{t: t, h: h, base: h.unique(h.Key+" NOT NULL", `(7, 'a', 0)`), work: []string{`UPDATE "t" SET "id" = 70`}, deletes: true, units: units}
		m.run()
		m.want(`t: 70 "a" 0`)
	}
	m := &merging{t: t, h: h, base: h.unique(h.Key, `(7, 'a', 0)`), work: []string{`UPDATE "t" SET "id" = 70`}}
	m.conflicting("unique_other_pk t fail 1")
}

// conflictOwnerStays: a row that would have given a value up does not, since it was changed in the target.
func conflictOwnerStays(t *testing.T, h RelationalHarness) {
	m := &merging{
		t: t, h: h, base: h.unique(h.Key, `(5, 'a', 0)`), work: []string{`UPDATE "t" SET "u" = 'moved', "v" = 1`, `INSERT INTO "t" VALUES (1, 'a', 1)`},
		target: []string{`UPDATE "t" SET "v" = 2`},
		policy: func(c *merge.Conflict) merge.Policy { return merge.Skip },
	}
	m.run()
	m.want(`t: 5 "a" 2`)
}

func cells(t *testing.T, h RelationalHarness, work, target string) *merging {
	t.Helper()
	return &merging{
		t: t, h: h, base: []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "a" ` + h.Text + `, "b" ` + h.Text + `)`, `INSERT INTO "t" VALUES (1, 'a', 'b'), (2, 'a', 'b')`},
		work: []string{`UPDATE "t" SET ` + work}, target: []string{`UPDATE "t" SET ` + target},
	}
}

func conflictBoth(t *testing.T, h RelationalHarness) {
	for policy, want := range map[merge.Policy][]string{
		merge.Skip:         {`t: 1 "theirs" "b"`, `t: 2 "ours" "new"`},
		merge.Overwrite:    {`t: 1 "ours" "new"`, `t: 2 "ours" "new"`},
		merge.MergeColumns: {`t: 1 "theirs" "new"`, `t: 2 "ours" "new"`},
	} {
		m := cells(t, h, `"a" = 'ours', "b" = 'new'`, `"a" = 'theirs' WHERE "id" = 1`)
		m.policy = always(merge.BothChanged, policy)
		m.run()
		m.want(want...)
	}
	plan := cells(t, h, `"a" = 'ours', "b" = 'new'`, `"a" = 'theirs' WHERE "id" = 1`).conflicting("both_changed t fail 1")
	if c := plan.Conflicts[0].Samples[0]; !slices.Equal(c.Columns, []string{"a"}) {
		t.Errorf("collides in %v", c.Columns)
	}
}

func conflictDisjoint(t *testing.T, h RelationalHarness) {
	m := cells(t, h, `"a" = 'ours'`, `"b" = 'theirs' WHERE "id" = 1`)
	m.run()
	m.want(`t: 1 "ours" "theirs"`, `t: 2 "ours" "b"`)
}

func conflictMissing(t *testing.T, h RelationalHarness) {
	gone := func(policy merge.Policy) *merging {
		m := cells(t, h, `"a" = 'ours'`, `"b" = 'b'`)
		m.target = []string{`DELETE FROM "t" WHERE "id" = 1`}
		m.policy = always(merge.RowMissing, policy)
		return m
	}
	gone("").conflicting("row_missing t fail 1")
	m := gone(merge.Skip)
	m.run()
	m.want(`t: 2 "ours" "b"`)
	m = gone(merge.Overwrite)
	m.run()
	m.want(`t: 1 "ours" "b"`, `t: 2 "ours" "b"`)
}

// conflictMoved: what somebody has done to the target since the plan is never written over.
func conflictMoved(t *testing.T, h RelationalHarness) {
	for _, edit := range []string{`UPDATE "t" SET "a" = 'edited' WHERE "id" = 1`, `DELETE FROM "t" WHERE "id" = 2`, `INSERT INTO "t" VALUES (3, 'x', 'y')`} {
		m := cells(t, h, `"a" = 'ours'`, `"b" = 'b'`)
		m.work = append(m.work, `INSERT INTO "t" VALUES (3, 'new', 'new')`)
		m.target = nil
		m.prepare()
		plan := m.mustPlan()
		m.exec(edit)
		before := m.contents(m.source)
		merger := m.take(plan)
		err := m.write(plan, merger)
		if !errors.Is(err, relational.ErrTargetMoved) && !relational.IsRefused(err) {
			t.Errorf("%s: %v", edit, err)
		}
		m.end(merger)
		m.want(rowsOf(before)...)
		if again, err := m.plan(nil); err != nil || again.Hash == plan.Hash {
			t.Errorf("%s: the plan is the same: %v", edit, err)
		}
	}
}

func conflictCascade(t *testing.T, h RelationalHarness) {
	m := keyTaken(t, h)
	m.policy = always(merge.PKDiff, merge.Overwrite)
	m.target = append(m.target, `INSERT INTO "invoice" VALUES (21, 2), (22, 2)`)
	m.run()
	m.want(`customer: 1 "Ann" "a"`, `customer: 2 "Ben" "b"`, `invoice: 10 2`, `invoice: 11 1`, `invoice: 20 2`, `invoice: 21 2`, `invoice: 22 2`)
}

func conflictKeyOnly(t *testing.T, h RelationalHarness) {
	m := &merging{t: t, h: h, base: []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY)`, `INSERT INTO "t" VALUES (1)`}, work: []string{`INSERT INTO "t" VALUES (2), (3)`}, target: []string{`INSERT INTO "t" VALUES (3)`}}
	m.run()
	m.want(`t: 1`, `t: 2`, `t: 3`)
}

func orphaned(t *testing.T, h RelationalHarness, policy merge.Policy) *merging {
	t.Helper()
	return &merging{
		t: t, h: h, policy: always(merge.FKMissing, policy),
		base: []string{h.node("p", false), h.node("c", false, "up>p"), h.node("g", false, "up>c"), `INSERT INTO "p" VALUES (1)`},
		work: []string{`INSERT INTO "c" VALUES (5, 1), (6, NULL)`, `INSERT INTO "g" VALUES (7, 5)`}, target: []string{`DELETE FROM "p"`},
	}
}

func conflictParentMissing(t *testing.T, h RelationalHarness) {
	orphaned(t, h, "").conflicting("fk_missing c fail 1", "fk_parent_skipped g skip 1")
	m := orphaned(t, h, merge.Skip)
	m.run()
	m.want(`c: 6 null`)
	m = orphaned(t, h, merge.NullFK)
	m.run()
	m.want(`c: 5 null`, `c: 6 null`, `g: 7 5`)
}

// conflictParentLeft: who leaves a parent out leaves out what hangs on it, or lets it hang on nothing.
func conflictParentLeft(t *testing.T, h RelationalHarness) {
	left := func(policy merge.Policy) *merging {
		m := orphaned(t, h, "")
		m.target = nil
		m.policy = always(merge.FKParentSkipped, policy)
		m.choose = func(l *relational.Line) merge.Choice {
			if l.Table.Name.Name == "c" && string(l.Data[0].Text) == "5" {
				return merge.Choice{Verdict: merge.Leave}
			}
			return merge.Choice{}
		}
		return m
	}
	m := left("")
	plan := m.run()
	m.want(`c: 6 null`, `p: 1`)
	if got := conflicts(plan); !slices.Equal(got, []string{"fk_parent_skipped g skip 1"}) {
		t.Errorf("conflicts: %v", got)
	}
	m = left(merge.NullFK)
	m.run()
	m.want(`c: 6 null`, `g: 7 null`, `p: 1`)
}

// conflictSkipped: a change that is skipped takes along the new rows that hang on its row; one that is left out does not.
func conflictSkipped(t *testing.T, h RelationalHarness) {
	for verdict, want := range map[merge.Verdict][]string{
		merge.Leave:    {`c: 5 1`, `p: 1 "old"`, `p: 2 "two"`},
		merge.LeaveAll: {`p: 1 "old"`, `p: 2 "two"`},
	} {
		m := &merging{t: t, h: h, base: []string{
			`CREATE TABLE "p" ("id" ` + h.Int + ` PRIMARY KEY, "v" ` + h.Text + `)`,
			`CREATE TABLE "c" ("id" ` + h.Int + ` PRIMARY KEY, "p" ` + h.Int + `, FOREIGN KEY ("p") REFERENCES "p" ("id"))`,
			`INSERT INTO "p" VALUES (1, 'old'), (2, 'two')`,
		}, work: []string{`UPDATE "p" SET "v" = 'new' WHERE "id" = 1`, `INSERT INTO "c" VALUES (5, 1)`}}
		m.choose = func(l *relational.Line) merge.Choice {
			if l.Table.Name.Name == "p" {
				return merge.Choice{Verdict: verdict}
			}
			return merge.Choice{}
		}
		m.policy = always(merge.FKParentSkipped, merge.Skip)
		m.run()
		m.want(want...)
	}
}

// conflictCycle: two rows refer to each other, and one refers to itself; a third hangs on them.
func conflictCycle(t *testing.T, h RelationalHarness) {
	foreign := func(column, table string) string {
		return `FOREIGN KEY ("` + column + `") REFERENCES "` + table + `" ("id")`
	}
	base := []string{
		`CREATE TABLE "a" ("id" ` + h.Int + ` PRIMARY KEY, "b" ` + h.Int + `)`,
		`CREATE TABLE "b" ("id" ` + h.Int + ` PRIMARY KEY, "a" ` + h.Int + ` NOT NULL, "self" ` + h.Int + `, ` + foreign("a", "a") + `, ` + foreign("self", "b") + `)`,
	}
	if h.Enforces {
		base = append(base, `ALTER TABLE "a" ADD `+foreign("b", "b"))
	} else {
		base[0] = `CREATE TABLE "a" ("id" ` + h.Int + ` PRIMARY KEY, "b" ` + h.Int + `, ` + foreign("b", "b") + `)`
	}
	work := []string{`INSERT INTO "a" VALUES (1, NULL), (2, NULL)`, `INSERT INTO "b" VALUES (1, 1, NULL), (2, 2, 1), (3, 1, NULL)`, `UPDATE "a" SET "b" = 1`, `UPDATE "b" SET "self" = 3 WHERE "id" = 3`}
	for _, units := range []int{0, 1} {
		m := &merging{t: t, h: h, base: base, work: work, units: units}
		m.run()
		m.want(`a: 1 1`, `a: 2 1`, `b: 1 1 null`, `b: 2 2 1`, `b: 3 1 3`)
	}
}

// conflictCheck: what only the database can tell is told by a trial, row by row.
func conflictCheck(t *testing.T, h RelationalHarness) {
	m := &merging{
		t: t, h: h, base: []string{h.node("p", false), `CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "n" ` + h.Int + `)`, `CREATE TABLE "c" ("id" ` + h.Int + ` PRIMARY KEY, "up" ` + h.Int + `, FOREIGN KEY ("up") REFERENCES "t" ("id"))`},
		work: []string{`INSERT INTO "t" VALUES (1, 1), (2, -2), (3, 3), (4, -4)`, `INSERT INTO "c" VALUES (1, 2), (2, 3)`},
	}
	m.prepare()
	m.exec(`DROP TABLE "c"`, `DROP TABLE "t"`, `CREATE TABLE "t" ("id" `+h.Int+` PRIMARY KEY, "n" `+h.Int+`, CHECK ("n" > 0))`, `CREATE TABLE "c" ("id" `+h.Int+` PRIMARY KEY, "up" `+h.Int+`, FOREIGN KEY ("up") REFERENCES "t" ("id"))`)
	plan := m.mustPlan()
	merger := m.take(plan)
	if err := plan.Stage(t.Context(), merger, 2); err != nil {
		t.Fatal(err)
	}
	refused, err := plan.Try(t.Context(), merger)
	if err != nil || len(refused) != 2 || refused[0].Message == "" {
		t.Fatalf("refused: %+v, %v", refused, err)
	}
	if err := plan.ApplyAll(t.Context(), merger); !relational.IsRefused(err) {
		t.Errorf("apply: %v", err)
	}
	m.end(merger)
	m.want()
	open, err := m.plan(refused)
	if err != nil {
		t.Fatal(err)
	}
	if got := conflicts(open); !slices.Equal(got, []string{"fk_parent_skipped c skip 1", "check t fail 2"}) {
		t.Errorf("conflicts: %v", got)
	}
	m.policy = always(merge.Check, merge.Skip)
	if plan, err = m.plan(refused); err != nil {
		t.Fatal(err)
	}
	m.apply(plan)
	m.want(`t: 1 1`, `t: 3 3`, `c: 2 3`)
}

func conflictExtraColumn(t *testing.T, h RelationalHarness) {
	m := &merging{t: t, h: h, base: h.kv(`(1, 'a')`), work: []string{`ALTER TABLE "t" ADD "extra" ` + h.Int, `INSERT INTO "t" VALUES (2, 'b', 5)`}}
	m.conflicting("schema_extra_col t fail 1")
	m = &merging{t: t, h: h, base: m.base, work: m.work, policy: always(merge.ExtraCol, merge.Skip)}
	m.run()
	m.want(`t: 1 "a"`, `t: 2 "b"`)
}

func conflictMissingColumn(t *testing.T, h RelationalHarness) {
	m := &merging{
		t: t, h: h, base: []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "v" ` + h.Text + `, "need" ` + h.Int + ` NOT NULL)`},
		work: []string{`ALTER TABLE "t" DROP COLUMN "need"`, `INSERT INTO "t" VALUES (2, 'b')`},
	}
	m.conflicting("schema_missing_col t fail 1")
}

func conflictColumns(t *testing.T, h RelationalHarness) {
	m := cells(t, h, `"a" = 'ours', "b" = 'damage'`, `"a" = "a"`)
	m.choose = func(*relational.Line) merge.Choice { return merge.Choice{Verdict: merge.Take, Columns: []string{"a"}} }
	m.run()
	m.want(`t: 1 "ours" "b"`, `t: 2 "ours" "b"`)
}

func conflictTableMissing(t *testing.T, h RelationalHarness) {
	m := &merging{t: t, h: h, base: h.kv(`(1, 'a')`), work: []string{`CREATE TABLE "fresh" ("id" ` + h.Int + ` PRIMARY KEY)`, `INSERT INTO "fresh" VALUES (1)`}}
	m.prepare()
	if _, err := m.plan(nil); !errors.Is(err, drivers.ErrNotFound) || !strings.Contains(err.Error(), "fresh") {
		t.Errorf("a table that the target lacks: %v", err)
	}
}
