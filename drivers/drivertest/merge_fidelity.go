package drivertest

import (
	"fmt"
	"testing"
)

// MergeFidelity holds a driver to writing rows as they were: what is merged is what people had, to the last byte.
func MergeFidelity(t *testing.T, h RelationalHarness) {
	t.Helper()
	same := func(name string, base, work []string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, units := range []int{0, 2} {
				m := &merging{t: t, h: h, base: base, work: work, deletes: true, units: units}
				m.run()
				m.sameAsLive()
			}
		})
	}
	for _, f := range h.Faithful {
		same(f.Name, f.Base, f.Work)
	}
	bytes := func(s string) string { return fmt.Sprintf(h.BytesLiteral, s) }
	typed := `CREATE TABLE "v" ("id" ` + h.Int + ` PRIMARY KEY, "t" ` + h.Text + `, "i" ` + h.Int + `, "d" ` + h.Decimal + `, "f" ` + h.Float + `, "y" ` + h.Bytes + `, "b" ` + h.Bool + `)`
	same("FalsyValues", []string{typed, `INSERT INTO "v" VALUES (9, 'x', 1, 1, 1, ` + bytes("01") + `, TRUE)`}, []string{
		`INSERT INTO "v" ("id") VALUES (1)`, `INSERT INTO "v" VALUES (2, '', 0, 0, 0, ` + bytes("") + `, FALSE)`,
		`UPDATE "v" SET "t" = '', "i" = 0, "d" = 0, "f" = 0, "y" = ` + bytes("") + `, "b" = FALSE WHERE "id" = 9`,
	})
	same("LargeAndOddValues", []string{typed, `INSERT INTO "v" VALUES (9, 'x', 1, 1, 1, ` + bytes("01") + `, TRUE)`}, []string{
		`INSERT INTO "v" VALUES (1, 'it''s "é" \ 𝄞	tab', -9007199254740993, 10.50, 0.1, ` + bytes("00ff5c270a0d09") + `, TRUE)`,
		`INSERT INTO "v" VALUES (9223372036854775807, '\N', 9223372036854775807, -99999999.99, 1e-300, ` + bytes("5c4e") + `, NULL)`,
		`UPDATE "v" SET "t" = NULL, "i" = NULL, "d" = NULL, "f" = NULL, "y" = NULL, "b" = NULL WHERE "id" = 9`,
	})
	same("GeneratedAndIdentity", []string{`CREATE TABLE "g" (` + h.Serial + `, "n" ` + h.Int + `, ` + h.Generated + `)`, `INSERT INTO "g" ("n") VALUES (5), (6)`},
		[]string{`INSERT INTO "g" ("n") VALUES (7)`, `UPDATE "g" SET "n" = 8 WHERE "n" = 5`, `DELETE FROM "g" WHERE "n" = 6`})
	same("AutomaticTimes", []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "v" ` + h.Text + `, "created" ` + h.Moment + `, "at" ` + h.Wall + `, "day" ` + h.Date + `)`, `INSERT INTO "t" VALUES (1, 'x', ` + old + `, ` + old + `, '2026-11-01')`},
		[]string{`INSERT INTO "t" VALUES (2, 'y', ` + now + `, ` + now + `, '2026-11-30'), (3, 'z', '2012-02-03 10:11:12.123456', '2012-02-03 10:11:12.123456', '2012-02-03')`, `UPDATE "t" SET "v" = 'changed' WHERE "id" = 1`})
	same("OddNames", []string{`CREATE TABLE "Or.der" ("select" ` + h.Int + ` PRIMARY KEY, "a ""b""" ` + h.Text + `, "Größe" ` + h.Int + `)`, `INSERT INTO "Or.der" VALUES (1, 'x', 2)`},
		[]string{`INSERT INTO "Or.der" VALUES (2, 'y', 3)`, `UPDATE "Or.der" SET "a ""b""" = 'z' WHERE "select" = 1`})
	for _, k := range h.Keys {
		var work []string
		for n, literal := range k.Literals {
			work = append(work, fmt.Sprintf(`INSERT INTO "k" VALUES (%d, %s)`, n, literal))
		}
		same("Key "+k.Name, []string{fmt.Sprintf(`CREATE TABLE "k" ("n" %s, "k" %s NOT NULL, PRIMARY KEY ("k"))`, h.Int, k.Type), work[0]},
			append(work[1:], fmt.Sprintf(`UPDATE "k" SET "n" = 100 WHERE "k" = %s`, k.Literals[0])))
	}
}

// Faithful is a database with types of its engine's own, and work on it.
type Faithful struct {
	Name       string
	Base, Work []string
}
