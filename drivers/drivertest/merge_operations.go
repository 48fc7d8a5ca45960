package drivertest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/drivers/relational/merge"
)

// MergeOperations holds a driver to what happens while a merge is at work: failures, repetitions, other merges, counters.
func MergeOperations(t *testing.T, h RelationalHarness) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, RelationalHarness)
	}{
		{"InterruptedAtEveryUnit", mergeInterrupted},
		{"DuplicateDelivery", mergeTwice},
		{"AtomicFailureOnLastRow", mergeFailure},
		{"TrialBurnsNothing", mergeTrial},
		{"ChangedPlan", mergeChangedPlan},
		{"TwoMerges", mergeTwo},
		{"Joined", mergeJoined},
		{"CounterBehind", mergeCounterBehind},
		{"CounterAhead", mergeCounterAhead},
		{"UndoOfAPart", mergeUndoPart},
		{"UndoRefused", mergeUndoRefused},
		{"NoKey", mergeNoKey},
		{"NoKeyInACycle", mergeNoKeyCycle},
		{"RowInTheWay", mergeInTheWay},
		{"TamperedPlan", mergeTampered},
		{"TamperedLine", mergeTamperedLine},
		{"Triggers", mergeTriggers},
		{"StagedAgain", mergeStagedAgain},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, h)
		})
	}
}

// busy is a merge of several tables and units: rows that are new, changed, exchanged and deleted.
func busy(t *testing.T, h RelationalHarness) *merging {
	t.Helper()
	return &merging{
		t: t, h: h, units: 1, deletes: true,
		base: append(h.shop(h.customer(`(1, 'Ann', 'a'), (2, 'Ben', 'b'), (3, 'Cid', 'c'), (4, 'Dan', 'd')`), `INSERT INTO "invoice" VALUES (10, 1), (11, 2), (12, 3)`),
			`CREATE TABLE "tree" ("id" `+h.Int+` PRIMARY KEY, "up" `+h.Int+`, FOREIGN KEY ("up") REFERENCES "tree" ("id"))`, `INSERT INTO "tree" VALUES (50, NULL)`),
		work: []string{
			`UPDATE "customer" SET "mail" = 'x' WHERE "id" = 1`, `UPDATE "customer" SET "mail" = 'a' WHERE "id" = 2`, `UPDATE "customer" SET "mail" = 'b' WHERE "id" = 1`,
			h.customer(`(7, 'Eve', 'e'), (8, 'Fay', 'f')`), `INSERT INTO "invoice" VALUES (13, 7), (14, 8), (15, 1)`, `DELETE FROM "invoice" WHERE "no" = 12`, `DELETE FROM "customer" WHERE "id" = 3`,
			`INSERT INTO "tree" VALUES (9, 50), (8, 9), (7, 8), (6, 7)`, `UPDATE "tree" SET "up" = 6 WHERE "id" = 50`,
		},
	}
}

// mergeInterrupted: whoever dies between two units leaves what can be gone on with.
func mergeInterrupted(t *testing.T, h RelationalHarness) {
	m := busy(t, h)
	m.prepare()
	plan := m.mustPlan()
	units := plan.Units()
	if len(units) < 4 {
		t.Fatalf("%d units: %s", len(units), describe(plan))
	}
	merger := m.take(plan)
	if err := plan.Stage(t.Context(), merger, 2); err != nil {
		t.Fatal(err)
	}
	model := plan.Model()
	for i, unit := range units {
		if err := merger.Apply(t.Context(), unit, plan.Unit(unit)); err != nil {
			t.Fatalf("unit %d: %v", unit, err)
		}
		// At every commit every reference holds.
		for _, table := range model.Tables {
			for e := range table.Foreign {
				if n, err := merger.Orphans(t.Context(), table, &table.Foreign[e]); err != nil || n > 0 {
					t.Errorf("after unit %d: %d rows of %s refer to nothing: %v", unit, n, table.Name, err)
				}
			}
		}
		if err := merger.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		merger = m.take(plan)
		if done, err := merger.Applied(t.Context()); err != nil || len(done) != i+1 {
			t.Fatalf("applied %v: %v", done, err)
		}
	}
	if err := plan.ApplyUnits(t.Context(), merger); err != nil {
		t.Fatal(err)
	}
	m.prove(plan)
	m.end(merger)
	m.sameAsLive()
}

// sameAsLive compares the target's rows with what people had in the end.
func (m *merging) sameAsLive() {
	m.t.Helper()
	source, live := m.h.New(m.t)
	live(m.base...)
	live(m.work...)
	if diff := cmp.Diff(rowsOf(m.contents(source)), rowsOf(m.contents(m.source))); diff != "" {
		m.t.Errorf("the target is not base and work (-want +got):\n%s", diff)
	}
}

func mergeTwice(t *testing.T, h RelationalHarness) {
	m := busy(t, h)
	m.prepare()
	plan := m.mustPlan()
	merger := m.take(plan)
	if err := plan.Stage(t.Context(), merger, 2); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, unit := range plan.Units() {
			for range 2 {
				if err := merger.Apply(t.Context(), unit, plan.Unit(unit)); err != nil {
					t.Fatalf("unit %d: %v", unit, err)
				}
			}
		}
	}
	m.end(merger)
	m.sameAsLive()
}

func mergeFailure(t *testing.T, h RelationalHarness) {
	m := busy(t, h)
	m.units = 0
	m.prepare()
	plan := m.mustPlan()
	m.exec(`INSERT INTO "tree" VALUES (6, NULL)`)
	before := m.contents(m.source)
	merger := m.take(plan)
	err := m.write(plan, merger)
	if err == nil || !errors.Is(err, relational.ErrTargetMoved) && !relational.IsRefused(err) {
		t.Errorf("a row that is in the way: %v", err)
	}
	if done, err := merger.Applied(t.Context()); err != nil || len(done) > 0 {
		t.Errorf("applied %v: %v", done, err)
	}
	m.end(merger)
	if diff := cmp.Diff(before, m.contents(m.source)); diff != "" {
		t.Errorf("what failed has left something (-want +got):\n%s", diff)
	}
}

func mergeTrial(t *testing.T, h RelationalHarness) {
	m := busy(t, h)
	m.prepare()
	plan := m.mustPlan()
	merger := m.take(plan)
	if err := plan.Stage(t.Context(), merger, 2); err != nil {
		t.Fatal(err)
	}
	if refused, err := plan.Try(t.Context(), merger); err != nil || len(refused) > 0 {
		t.Errorf("try: %v, %+v", err, refused)
	}
	m.end(merger)
	if diff := cmp.Diff(m.before, m.contents(m.source)); diff != "" {
		t.Errorf("a trial has left something (-want +got):\n%s", diff)
	}
}

func mergeChangedPlan(t *testing.T, h RelationalHarness) {
	m := busy(t, h)
	m.prepare()
	plan := m.mustPlan()
	merger := m.take(plan)
	if err := plan.Stage(t.Context(), merger, 1); err != nil {
		t.Fatal(err)
	}
	if err := merger.Apply(t.Context(), 0, plan.Unit(0)); err != nil {
		t.Fatal(err)
	}
	if err := merger.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	spec := m.spec(plan)
	spec.Plan = "sha256:another"
	if _, err := m.open().Merge(t.Context(), spec); !errors.Is(err, relational.ErrTargetMoved) {
		t.Errorf("another plan goes on with what one began: %v", err)
	}
	spec.ID = "run-2"
	var hint interface{ Hint() string }
	if _, err := m.open().Merge(t.Context(), spec); !errors.Is(err, relational.ErrInUse) || !errors.As(err, &hint) {
		t.Errorf("another merge takes what one has begun: %v", err)
	}
	merger = m.take(plan)
	if err := plan.ApplyUnits(t.Context(), merger); err != nil {
		t.Fatal(err)
	}
	m.end(merger)
	m.sameAsLive()
}

func mergeTwo(t *testing.T, h RelationalHarness) {
	m := busy(t, h)
	m.prepare()
	plan := m.mustPlan()
	merger := m.take(plan)
	spec := m.spec(plan)
	for _, id := range []string{"run-1", "run-2"} {
		spec.ID = id
		if _, err := m.open().Merge(t.Context(), spec); !errors.Is(err, relational.ErrInUse) {
			t.Errorf("a second process takes the database as %s: %v", id, err)
		}
	}
	// One that died before it wrote anything is in nobody's way.
	if err := plan.Stage(t.Context(), merger, 1); err != nil {
		t.Fatal(err)
	}
	if err := merger.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := m.open().Merge(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.write(plan, other); err != nil {
		t.Fatal(err)
	}
	m.end(other)
	m.sameAsLive()
}

// mergeJoined: several processes stage and write for one merge.
func mergeJoined(t *testing.T, h RelationalHarness) {
	m := busy(t, h)
	m.prepare()
	plan := m.mustPlan()
	spec := m.spec(plan)
	spec.Join = true
	if _, err := m.open().Merge(t.Context(), spec); !errors.Is(err, relational.ErrInUse) {
		t.Errorf("a merge that nobody holds is joined: %v", err)
	}
	holder := m.take(plan)
	joined, err := m.open().Merge(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range plan.Batches {
		if err := []relational.Merger{holder, joined}[i%2].Stage(t.Context(), b, plan.Changes(b)); err != nil {
			t.Fatal(err)
		}
	}
	for i, unit := range plan.Units() {
		if err := []relational.Merger{joined, holder}[i%2].Apply(t.Context(), unit, plan.Unit(unit)); err != nil {
			t.Fatal(err)
		}
	}
	if err := joined.Close(t.Context()); err != nil {
		t.Error(err)
	}
	m.end(holder)
	m.sameAsLive()
}

// next inserts a row without a number and returns the number that it got.
func (m *merging) next() string {
	m.t.Helper()
	m.exec(`INSERT INTO "customer" ("name", "mail") VALUES ('next', NULL)`)
	for _, row := range m.contents(m.source) {
		if strings.HasSuffix(row, ` "next" null`) {
			return strings.Fields(row)[1]
		}
	}
	return ""
}

func mergeCounterBehind(t *testing.T, h RelationalHarness) {
	// The live database has given numbers to rows that are gone again.
	m := &merging{t: t, h: h, base: h.shop(`INSERT INTO "customer" ("name") VALUES ('Ann')`), work: []string{`INSERT INTO "customer" ("name") VALUES ('b'), ('c'), ('d')`, `DELETE FROM "customer" WHERE "name" IN ('c', 'd')`}}
	m.run()
	if got := m.next(); got != "5" {
		t.Errorf("the next number is %s", got)
	}
	// And rows were made with numbers that no counter has given.
	m = &merging{t: t, h: h, base: h.shop(), work: []string{h.customer(`(41, 'far', NULL)`)}}
	m.run()
	if got := m.next(); got != "42" {
		t.Errorf("the next number is %s", got)
	}
}

func mergeCounterAhead(t *testing.T, h RelationalHarness) {
	m := &merging{
		t: t, h: h, base: h.shop(`INSERT INTO "customer" ("name") VALUES ('Ann')`), work: []string{h.customer(`(9, 'b', NULL)`)},
		target: []string{`INSERT INTO "customer" ("name") VALUES ('t'), ('t'), ('t')`, h.customer(`(20, 't', NULL)`), `DELETE FROM "customer" WHERE "id" = 20`},
	}
	m.prepare()
	counter := func(list []string) (counters string) {
		for _, s := range list {
			if strings.HasPrefix(s, "sequence ") {
				counters += s
			}
		}
		return counters
	}
	before := counter(m.before)
	m.run()
	if !strings.Contains(before, "20") && h.Schema == "" && counter(m.contents(m.source)) < before {
		t.Errorf("the counter went back: %s, %s", before, counter(m.contents(m.source)))
	}
	if got := m.next(); len(got) < 2 || got == "20" && h.Schema == "" {
		t.Errorf("the next number is %s, of %s", got, before)
	}
}

func mergeUndoPart(t *testing.T, h RelationalHarness) {
	m := busy(t, h)
	m.prepare()
	plan := m.mustPlan()
	for n := 1; n < len(plan.Units()); n++ {
		merger := m.take(plan)
		if err := plan.Stage(t.Context(), merger, 2); err != nil {
			t.Fatal(err)
		}
		for _, unit := range plan.Units()[:n] {
			if err := merger.Apply(t.Context(), unit, plan.Unit(unit)); err != nil {
				t.Fatal(err)
			}
		}
		done, err := merger.Applied(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m.end(merger)
		undo, err := plan.Undo(done, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		m.undo(undo)
		if err := undo.Close(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(m.before, m.contents(m.source)); diff != "" {
			t.Errorf("%d units that are taken back (-want +got):\n%s", n, diff)
		}
	}
}

func mergeUndoRefused(t *testing.T, h RelationalHarness) {
	for _, edit := range []string{`UPDATE "customer" SET "name" = 'edited' WHERE "id" = 7`, `INSERT INTO "invoice" VALUES (99, 8)`} {
		m := busy(t, h)
		m.run()
		m.exec(edit)
		after := m.contents(m.source)
		undo := m.last()
		spec := m.spec(undo)
		spec.ID, spec.Undo = "undo-2", true
		merger, err := m.open().Merge(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(undo.Stage(t.Context(), merger, 1), undo.ApplyAll(t.Context(), merger))
		if !errors.Is(err, relational.ErrTargetMoved) && !errors.Is(err, relational.ErrOrphans) {
			t.Errorf("%s is taken back with it: %v", edit, err)
		}
		m.end(merger)
		if diff := cmp.Diff(after, m.contents(m.source)); diff != "" {
			t.Errorf("an undo that is refused has left something (-want +got):\n%s", diff)
		}
	}
}

// last is the undo of the plan that was written last.
func (m *merging) last() *merge.Plan {
	m.t.Helper()
	undo, err := m.written.Undo(nil, m.t.TempDir())
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = undo.Close() })
	return undo
}

func mergeNoKey(t *testing.T, h RelationalHarness) {
	m := &merging{
		t: t, h: h, base: []string{`CREATE TABLE "t" ("v" ` + h.Text + `, "n" ` + h.Int + `)`, `INSERT INTO "t" VALUES ('a', 1), ('a', 1), ('b', NULL), (NULL, NULL)`},
		work: []string{`INSERT INTO "t" VALUES ('a', 1), ('new', 0), ('new', 0), (NULL, NULL)`},
	}
	m.run()
	m.want(`t: "a" 1`, `t: "a" 1`, `t: "a" 1`, `t: "b" null`, `t: null null`, `t: null null`, `t: "new" 0`, `t: "new" 0`) //nolint:dupword // two values that are null
}

// mergeNoKeyCycle: rows that no key tells apart, as theirs may be NULL, refer to each other. Those that were there stay.
func mergeNoKeyCycle(t *testing.T, h RelationalHarness) {
	m := &merging{t: t, h: h, base: []string{
		`CREATE TABLE "t" ("code" ` + h.Key + `, "up" ` + h.Key + `, UNIQUE ("code"), FOREIGN KEY ("up") REFERENCES "t" ("code"))`,
		`INSERT INTO "t" VALUES ('root', NULL), ('other', NULL)`,
	}, work: []string{`INSERT INTO "t" VALUES ('a', NULL)`, `INSERT INTO "t" VALUES ('b', 'a')`, `UPDATE "t" SET "up" = 'b' WHERE "code" = 'a'`}}
	m.run()
	m.sameAsLive()
}

// mergeInTheWay: a row that somebody wrote after the plan was made is in the way of a new one, and stays, whatever the table itself
// does about conflicts.
func mergeInTheWay(t *testing.T, h RelationalHarness) {
	m := &merging{t: t, h: h, base: []string{
		`CREATE TABLE "u" ("id" ` + h.Int + ` PRIMARY KEY, "mail" ` + h.Key + ` UNIQUE ` + h.OnConflict + `)`, `INSERT INTO "u" VALUES (1, 'a'), (2, 'b')`,
	}, work: []string{`INSERT INTO "u" VALUES (3, 'c')`, `UPDATE "u" SET "mail" = 'd' WHERE "id" = 2`}}
	m.prepare()
	plan := m.mustPlan()
	m.exec(`INSERT INTO "u" VALUES (7, 'c'), (8, 'd')`)
	before := m.contents(m.source)
	merger := m.take(plan)
	if err := m.write(plan, merger); !relational.IsRefused(err) {
		t.Errorf("rows in the way of a merge: %v", err)
	}
	m.end(merger)
	if diff := cmp.Diff(before, m.contents(m.source)); diff != "" {
		t.Errorf("rows in the way (-want +got):\n%s", diff)
	}
}

func mergeTampered(t *testing.T, h RelationalHarness) {
	m := busy(t, h)
	m.prepare()
	plan := m.mustPlan()
	var b bytes.Buffer
	if err := plan.Save(&b); err != nil {
		t.Fatal(err)
	}
	raw := b.Bytes()
	for _, at := range []int{10, len(raw) / 2, len(raw) - 1} {
		bad := bytes.Clone(raw)
		bad[at] ^= 1
		if _, err := merge.Read(bytes.NewReader(bad), t.TempDir()); !errors.Is(err, drivers.ErrCorrupt) {
			t.Errorf("byte %d of %d is another one: %v", at, len(raw), err)
		}
		if _, err := merge.Read(bytes.NewReader(raw[:at]), t.TempDir()); !errors.Is(err, drivers.ErrCorrupt) {
			t.Errorf("cut at %d of %d: %v", at, len(raw), err)
		}
	}
}

// mergeTamperedLine: a line that says two things is refused.
func mergeTamperedLine(t *testing.T, h RelationalHarness) {
	m := cells(t, h, `"a" = 'ours'`, `"b" = "b"`)
	m.edit = func(line []byte) []byte { return bytes.Replace(line, []byte(`"pk":[1]`), []byte(`"pk":[2]`), 1) }
	m.prepare()
	if _, err := m.plan(nil); !errors.Is(err, drivers.ErrInvalid) {
		t.Errorf("a line of another key: %v", err)
	}
	// And one that was edited is taken as it is now.
	m = cells(t, h, `"a" = 'ours'`, `"b" = "b"`)
	m.edit = func(line []byte) []byte {
		return bytes.Replace(line, []byte(`"a":"ours"`), []byte(`"a":"edited"`), 1)
	}
	m.run()
	m.want(`t: 1 "edited" "b"`, `t: 2 "edited" "b"`)
}

// mergeTriggers: a trigger that would fire at what is merged is kept silent, or nothing is written.
func mergeTriggers(t *testing.T, h RelationalHarness) {
	m := &merging{
		t: t, h: h, base: append([]string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY)`, `CREATE TABLE "log" ("id" ` + h.Int + ` PRIMARY KEY)`}, h.Trigger...),
		work: []string{`INSERT INTO "t" VALUES (5)`, `DELETE FROM "log"`},
	}
	m.prepare()
	plan := m.mustPlan()
	abilities, err := m.open().Abilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if abilities.Silent {
		m.apply(plan)
		m.want(`t: 5`)
		return
	}
	if len(plan.Triggers) != 1 {
		t.Errorf("triggers that would fire: %v", plan.Triggers)
	}
	merger := m.take(plan)
	var hint interface{ Hint() string }
	if err := m.write(plan, merger); !errors.Is(err, drivers.ErrInvalid) || !errors.As(err, &hint) {
		t.Errorf("a trigger fires that nobody has allowed: %v", err)
	}
	m.end(merger)
	m.want()
	m.firing = true
	merger = m.take(plan)
	if err := m.write(plan, merger); err != nil {
		t.Fatal(err)
	}
	m.end(merger)
	m.want(`t: 5`, `log: 5`)
}

// mergeStagedAgain: an attempt at a batch that failed is repeated, with what it had staged in place.
func mergeStagedAgain(t *testing.T, h RelationalHarness) {
	var rows []string
	for i := range 3000 {
		rows = append(rows, fmt.Sprintf("(%d, 'row %d')", i, i))
	}
	m := &merging{t: t, h: h, base: h.kv(""), work: []string{`INSERT INTO "t" VALUES ` + strings.Join(rows, ", ")}}
	m.prepare()
	plan := m.mustPlan()
	merger := m.take(plan)
	b := plan.Batches[0]
	broken := errors.New("broken")
	n := 0
	err := merger.Stage(t.Context(), b, func(yield func(*relational.Change) error) error {
		return plan.Changes(b)(func(c *relational.Change) error {
			if n++; n == 2000 {
				return broken
			}
			return yield(c)
		})
	})
	if !errors.Is(err, broken) {
		t.Errorf("the error of the changes: %v", err)
	}
	if err := m.write(plan, merger); err != nil {
		t.Fatal(err)
	}
	m.end(merger)
	m.sameAsLive()
}
