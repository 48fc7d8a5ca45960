package drivertest

import (
	"testing"
)

// diffDigits: 1.0 and 1.00 are two values where the database keeps them apart, and one where it does not.
func diffDigits(t *testing.T, h RelationalHarness) {
	for typ, kept := range h.Digits {
		var want []string
		if kept {
			want = []string{"m diff 1 (n)"}
		}
		base := []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "n" ` + typ + `)`, `INSERT INTO "t" VALUES (1, 1.0), (2, 2.50), (3, 3.1)`}
		comparing{t: t, h: h, base: base, work: []string{`UPDATE "t" SET "n" = 1.00 WHERE "id" = 1`, `UPDATE "t" SET "n" = 3.2 WHERE "id" = 3`}}.want(append(want, "m diff 3 (n)")...)
	}
}

// diffJSON: the same document with its keys in another order is another value where the database keeps the order.
func diffJSON(t *testing.T, h RelationalHarness) {
	for typ, kept := range h.JSON {
		want := []string{"m diff 2 (j)"}
		if kept {
			want = append(want, "m diff 1 (j)")
		}
		base := []string{`CREATE TABLE "t" ("id" ` + h.Int + ` PRIMARY KEY, "j" ` + typ + `)`, `INSERT INTO "t" VALUES (1, '{"a": 1, "bc": 2}'), (2, '{"a": 1}'), (3, '{"a": null}')`}
		work := []string{`UPDATE "t" SET "j" = '{"bc": 2, "a": 1}' WHERE "id" = 1`, `UPDATE "t" SET "j" = '{"a": "1"}' WHERE "id" = 2`}
		comparing{t: t, h: h, base: base, work: work}.want(want...)
	}
}
