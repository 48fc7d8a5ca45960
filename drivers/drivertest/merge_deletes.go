package drivertest

import (
	"slices"
	"testing"

	"salvor/drivers/relational/merge"
)

// deleting is a parent with two children, of which people delete some.
func deleting(t *testing.T, h RelationalHarness, work ...string) *merging {
	t.Helper()
	return &merging{
		t: t, h: h, deletes: true, work: work,
		base: []string{h.node("p", false), `CREATE TABLE "c" ("id" ` + h.Int + ` PRIMARY KEY, "up" ` + h.Int + `, "v" ` + h.Text + `, FOREIGN KEY ("up") REFERENCES "p" ("id") ON DELETE CASCADE)`, `INSERT INTO "p" VALUES (1), (2)`, `INSERT INTO "c" VALUES (1, 1, 'x'), (2, 1, 'y'), (3, 2, 'z')`},
	}
}

func deletesReported(t *testing.T, h RelationalHarness) {
	m := deleting(t, h, `DELETE FROM "c"`, `DELETE FROM "p"`)
	m.deletes = false
	plan := m.run()
	m.want(m.before...)
	if plan.Tables[0].Unwritten+plan.Tables[1].Unwritten != 5 {
		t.Errorf("counts: %+v, %+v", plan.Tables[0], plan.Tables[1])
	}
}

func deletesApplied(t *testing.T, h RelationalHarness) {
	for _, units := range []int{0, 1} {
		m := deleting(t, h, `UPDATE "c" SET "up" = 2 WHERE "id" = 2`, `DELETE FROM "c" WHERE "id" = 1`, `DELETE FROM "p" WHERE "id" = 1`)
		m.units = units
		m.run()
		m.want(`c: 2 2 "y"`, `c: 3 2 "z"`, `p: 2`)
	}
}

func deleteChanged(t *testing.T, h RelationalHarness) {
	changed := func(policy merge.Policy) *merging {
		m := deleting(t, h, `DELETE FROM "c" WHERE "id" = 1`)
		m.target = []string{`UPDATE "c" SET "v" = 'edited' WHERE "id" = 1`}
		m.policy = always(merge.DeleteChanged, policy)
		return m
	}
	changed("").conflicting("delete_changed c fail 1")
	m := changed(merge.Skip)
	m.run()
	m.want(`c: 1 1 "edited"`, `c: 2 1 "y"`, `c: 3 2 "z"`, `p: 1`, `p: 2`)
	m = changed(merge.Overwrite)
	m.run()
	m.want(`c: 2 1 "y"`, `c: 3 2 "z"`, `p: 1`, `p: 2`)
}

func deleteChildren(t *testing.T, h RelationalHarness) {
	m := deleting(t, h, `DELETE FROM "c" WHERE "up" = 1`, `DELETE FROM "p" WHERE "id" = 1`)
	m.target = []string{`INSERT INTO "c" VALUES (9, 1, 'new')`}
	m.policy = always(merge.DeleteChildren, merge.Skip)
	plan := m.run()
	m.want(`c: 3 2 "z"`, `c: 9 1 "new"`, `p: 1`, `p: 2`)
	if got := conflicts(plan); !slices.Equal(got, []string{"delete_has_children p skip 1"}) {
		t.Errorf("conflicts: %v", got)
	}
	// A child that stays keeps its parent.
	m = deleting(t, h, `DELETE FROM "c" WHERE "up" = 1`, `DELETE FROM "p" WHERE "id" = 1`)
	m.target = []string{`UPDATE "c" SET "v" = 'edited' WHERE "id" = 1`}
	m.policy = func(*merge.Conflict) merge.Policy { return merge.Skip }
	m.run()
	m.want(`c: 1 1 "edited"`, `c: 3 2 "z"`, `p: 1`, `p: 2`)
}
