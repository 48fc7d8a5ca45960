package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"salvor/drivers"
	"salvor/drivers/relational"
)

func relationalValues(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	exec(
		`CREATE TABLE "v" ("id" `+h.Int+` PRIMARY KEY, "t" `+h.Text+`, "i" `+h.Int+`, "d" `+h.Decimal+`, "f" `+h.Float+`, "y" `+h.Bytes+`, "b" `+h.Bool+`)`,
		`INSERT INTO "v" ("id") VALUES (1)`,
		`INSERT INTO "v" VALUES (2, '', 0, 0, 0, `+fmt.Sprintf(h.BytesLiteral, "")+`, FALSE)`,
		`INSERT INTO "v" VALUES (3, 'it''s "é" 𝄞', -9007199254740993, 10.5, 0.1, `+fmt.Sprintf(h.BytesLiteral, "00ff5c27")+`, TRUE)`,
	)
	v := observe(t, h, source)
	table := tableOf(t, v, "v")
	rows, err := v.Scan(t.Context(), relational.Scan{Table: table, Key: table.Primary})
	got := all(t, rows, err)
	if len(got) != 3 {
		t.Fatalf("%d rows", len(got))
	}
	for _, row := range got {
		if len(row.Values) != len(table.Columns) {
			t.Fatalf("%d values of %d columns", len(row.Values), len(table.Columns))
		}
		for i, value := range row.Values {
			c := &table.Columns[i]
			written := relational.AppendJSON(nil, c, value)
			if read, err := relational.ParseJSON(c, written); err != nil || !read.Equal(value) {
				t.Errorf("column %s: %s is read as %q: %v", c.Name, written, read.Text, err)
			}
		}
	}
	for i, value := range got[0].Values[1:] {
		if value.Kind != relational.Null {
			t.Errorf("column %s: NULL is %d %q", table.Columns[i+1].Name, value.Kind, value.Text)
		}
		if got[1].Values[i+1].Kind == relational.Null {
			t.Errorf("column %s: what is false, 0 or empty is NULL", table.Columns[i+1].Name)
		}
	}
	full := got[2].Values
	if string(full[1].Text) != `it's "é" 𝄞` || string(full[2].Text) != "-9007199254740993" || string(full[4].Text) != "0.1" || !bytes.Equal(full[5].Text, []byte("\x00\xff\x5c\x27")) {
		t.Errorf("values: %s", show(got[2:]))
	}
	if full[5].Kind != relational.Bytes || got[1].Values[5].Kind != relational.Bytes {
		t.Errorf("bytes have the kinds %d and %d", full[5].Kind, got[1].Values[5].Kind)
	}
}

func relationalNames(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	exec(
		`CREATE TABLE "Or.der" ("select" `+h.Int+` PRIMARY KEY, "a ""b""" `+h.Text+`, "Größe" `+h.Int+`)`,
		`INSERT INTO "Or.der" VALUES (1, 'x', 2)`,
	)
	v := observe(t, h, source)
	table := tableOf(t, v, "Or.der")
	rows, err := v.Scan(t.Context(), relational.Scan{Table: table, Key: table.Primary})
	if got := all(t, rows, err); len(got) != 1 || string(got[0].Values[1].Text) != "x" {
		t.Errorf("rows: %s", show(got))
	}
	rows, err = v.Lookup(t.Context(), relational.Lookup{Table: table, Columns: []string{`a "b"`, "Größe"}, Values: [][]relational.Value{{relational.TextValue("x"), relational.IntValue(2)}}})
	if got := all(t, rows, err); len(got) != 1 {
		t.Errorf("%d rows are found by odd names", len(got))
	}
}

func relationalSnapshot(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	exec(
		`CREATE TABLE "s" ("id" `+h.Int+` PRIMARY KEY, "t" `+h.Text+`)`,
		`INSERT INTO "s" VALUES (1, 'old'), (2, 'gone')`,
	)
	v := observe(t, h, source)
	table := tableOf(t, v, "s")
	exec(`UPDATE "s" SET "t" = 'new' WHERE "id" = 1`, `DELETE FROM "s" WHERE "id" = 2`, `INSERT INTO "s" VALUES (3, 'new')`)
	for range 2 {
		rows, err := v.Scan(t.Context(), relational.Scan{Table: table, Key: table.Primary})
		if got := show(all(t, rows, err)); got != "1 old, 2 gone" {
			t.Errorf("rows: %s", got)
		}
	}
	if err := v.End(t.Context()); err != nil {
		t.Errorf("end: %v", err)
	}
	v = observe(t, h, source)
	rows, err := v.Scan(t.Context(), relational.Scan{Table: tableOf(t, v, "s"), Key: tableOf(t, v, "s").Primary})
	if got := show(all(t, rows, err)); got != "1 new, 3 new" {
		t.Errorf("rows of a later view: %s", got)
	}
}

func relationalLookup(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	exec(
		`CREATE TABLE "l" ("id" `+h.Int+` PRIMARY KEY, "a" `+h.Int+`, "t" `+h.Text+`, "y" `+h.Bytes+`)`,
		`INSERT INTO "l" VALUES (1, 7, 'x', `+fmt.Sprintf(h.BytesLiteral, "00ff")+`), (2, 7, '', NULL), (3, NULL, 'it''s', NULL), (4, 8, 'x', NULL)`,
	)
	v := observe(t, h, source)
	table := tableOf(t, v, "l")
	find := func(columns []string, values ...[]relational.Value) string {
		t.Helper()
		rows, err := v.Lookup(t.Context(), relational.Lookup{Table: table, Key: table.Primary, Columns: columns, Values: values})
		var list []string
		for _, row := range all(t, rows, err) {
			list = append(list, fmt.Sprintf("%d:%s", row.Asked, row.Values[0].Text))
			if len(row.Key) == 0 {
				t.Error("a row has no key")
			}
		}
		slices.Sort(list)
		return strings.Join(list, " ")
	}
	one := func(v relational.Value) []relational.Value { return []relational.Value{v} }
	for _, test := range []struct{ got, want string }{
		{find([]string{"id"}, one(relational.IntValue(4)), one(relational.IntValue(9)), one(relational.IntValue(1)), one(relational.IntValue(4))), "0:4 2:1 3:4"},
		{find([]string{"a"}, one(relational.IntValue(7)), one(relational.Value{}), one(relational.IntValue(8))), "0:1 0:2 2:4"},
		{find([]string{"t"}, one(relational.TextValue("it's")), one(relational.TextValue("")), one(relational.TextValue(`x' OR 1=1 --`)), one(relational.TextValue(`\`))), "0:3 1:2"},
		{find([]string{"a", "t"}, []relational.Value{relational.IntValue(7), relational.TextValue("x")}, []relational.Value{relational.IntValue(8), relational.TextValue("y")}), "0:1"},
		{find([]string{"y"}, one(relational.BytesValue([]byte{0, 0xff}))), "0:1"},
	} {
		if test.got != test.want {
			t.Errorf("found %q, want %q", test.got, test.want)
		}
	}
	many := make([][]relational.Value, relational.LookupMost)
	for i := range many {
		many[i] = one(relational.IntValue(int64(i)))
	}
	if got := find([]string{"id"}, many...); got != "1:1 2:2 3:3 4:4" {
		t.Errorf("found %q among many", got)
	}
	for _, wrong := range []relational.Lookup{
		{Table: table, Columns: []string{"id"}, Values: append(many, many[0])},
		{Table: table, Columns: []string{"id"}},
		{Table: table, Values: many},
	} {
		if _, err := v.Lookup(t.Context(), wrong); !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("a lookup of %d lists by %d columns: %v", len(wrong.Values), len(wrong.Columns), err)
		}
	}
}

func relationalMarks(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	exec(
		`CREATE TABLE "m" ("id" `+h.Int+` PRIMARY KEY, "c" `+h.Moment+`, "w" `+h.Wall+`, "d" `+h.Date+`)`,
		`INSERT INTO "m" VALUES (1, '2026-11-30 10:00:00.499999', '2026-11-30 10:00:00.499999', '2026-11-29')`,
		`INSERT INTO "m" VALUES (2, '2026-11-30 10:00:00.500000', '2026-11-30 10:00:00.500000', '2026-11-30')`,
		`INSERT INTO "m" VALUES (3, '2026-11-30 10:00:00.500001', '2026-11-30 10:00:00.500001', '2026-12-01')`,
		`INSERT INTO "m" ("id") VALUES (4)`,
		`INSERT INTO "m" VALUES (5, '2026-11-29 23:00:00', '2026-11-29 23:00:00', '2026-11-28')`,
	)
	v := observe(t, h, source)
	table := tableOf(t, v, "m")
	since := time.Date(2026, 11, 30, 10, 0, 0, 500_000_999, time.UTC)
	marks := []relational.Mark{{Column: "c", Since: since}, {Column: "w", Since: since}, {Column: "d", Since: since}}
	for _, test := range []struct {
		marked bool
		want   string
	}{
		{false, "1:000 2:111 3:111 4:222 5:000"},
		{true, "2:111 3:111 4:222"},
	} {
		rows, err := v.Scan(t.Context(), relational.Scan{Table: table, Key: table.Primary, Marks: marks, Marked: test.marked})
		var list []string
		for _, row := range all(t, rows, err) {
			var answers strings.Builder
			for _, a := range row.Answers {
				fmt.Fprint(&answers, int(a))
			}
			list = append(list, string(row.Values[0].Text)+":"+answers.String())
		}
		if got := strings.Join(list, " "); got != test.want {
			t.Errorf("answers: %s, want %s", got, test.want)
		}
	}
	if _, err := v.Scan(t.Context(), relational.Scan{Table: table, Marks: []relational.Mark{{Column: "none"}}}); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("a mark on a column that is not there: %v", err)
	}
}

// relationalWall: in the hour that a clock showed twice, what was there the first time is taken in.
func relationalWall(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	exec(
		`CREATE TABLE "w" ("id" `+h.Int+` PRIMARY KEY, "w" `+h.Wall+`)`,
		`INSERT INTO "w" VALUES (1, '2026-10-25 01:59:59'), (2, '2026-10-25 02:00:00'), (3, '2026-10-25 02:29:59'), (4, '2026-10-25 02:30:00')`,
	)
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	v := observe(t, h, source)
	table := tableOf(t, v, "w")
	for moment, want := range map[string]string{
		"2026-10-25T00:30:00Z": "2 2026-10-25 02:00:00, 3 2026-10-25 02:29:59, 4 2026-10-25 02:30:00", // 2:30, the first time
		"2026-10-25T01:30:00Z": "4 2026-10-25 02:30:00",                                               // and the second
	} {
		since, err := time.Parse(time.RFC3339, moment)
		if err != nil {
			t.Fatal(err)
		}
		mark := relational.Mark{Column: "w", Since: since, Zone: berlin}
		rows, err := v.Scan(t.Context(), relational.Scan{Table: table, Key: table.Primary, Marks: []relational.Mark{mark}, Marked: true})
		if got := strings.ReplaceAll(show(all(t, rows, err)), ".000000", ""); got != want {
			t.Errorf("since %s: %s, want %s", moment, got, want)
		}
	}
}

func relationalCancel(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	exec(`CREATE TABLE "c" ("id" `+h.Int+` PRIMARY KEY, "t" `+h.Text+`)`, `INSERT INTO "c" VALUES (1, 'a'), (2, 'b'), (3, 'c')`)
	v := observe(t, h, source)
	table := tableOf(t, v, "c")
	ctx, cancel := context.WithCancel(t.Context())
	rows, err := v.Scan(ctx, relational.Scan{Table: table, Key: table.Primary})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rows.Next(); err != nil {
		t.Fatal(err)
	}
	cancel()
	for range 3 { // what is already here may still come
		if _, err = rows.Next(); err != nil {
			break
		}
	}
	if err := rows.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := drainError(err); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("rows of a cancelled scan: %v", err)
	}
	if _, err := v.Scan(ctx, relational.Scan{Table: table}); !errors.Is(err, context.Canceled) {
		t.Errorf("a scan that is cancelled before it begins: %v", err)
	}
	// The view has outlived that.
	again, err := v.Scan(t.Context(), relational.Scan{Table: table, Key: table.Primary})
	if got := show(all(t, again, err)); got != "1 a, 2 b, 3 c" {
		t.Errorf("rows after a cancel: %s", got)
	}
	if err := v.End(t.Context()); err != nil {
		t.Errorf("end: %v", err)
	}
}

// drainError is nil for the end of the rows.
func drainError(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func relationalEnd(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	exec(`CREATE TABLE "e" ("id" ` + h.Int + ` PRIMARY KEY)`)
	before := time.Now().Add(-time.Minute)
	v := observe(t, h, source)
	table := tableOf(t, v, "e")
	if m := v.Moment(); m.Before(before) || m.After(time.Now().Add(time.Minute)) {
		t.Errorf("the view's moment is %v", m)
	}
	for range 2 {
		if err := v.End(t.Context()); err != nil {
			t.Errorf("end: %v", err)
		}
	}
	if _, err := v.Scan(t.Context(), relational.Scan{Table: table}); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("scan out of an ended view: %v", err)
	}
	if _, err := v.Lookup(t.Context(), relational.Lookup{Table: table, Columns: []string{"id"}, Values: [][]relational.Value{{relational.IntValue(1)}}}); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("look up in an ended view: %v", err)
	}
}

// relationalLongRows: rows are taken one after the other, and may be closed before their end.
func relationalLongRows(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	exec(`CREATE TABLE "r" ("id" ` + h.Int + ` PRIMARY KEY, "t" ` + h.Text + `)`)
	for from := 0; from < 2000; from += 500 {
		var rows []string
		for i := range 500 {
			rows = append(rows, fmt.Sprintf("(%d, '%s')", from+i, strings.Repeat("x", 200)))
		}
		exec(`INSERT INTO "r" VALUES ` + strings.Join(rows, ", "))
	}
	v := observe(t, h, source)
	table := tableOf(t, v, "r")
	for range 3 {
		rows, err := v.Scan(t.Context(), relational.Scan{Table: table, Key: table.Primary})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			row, err := rows.Next()
			if err != nil || string(row.Values[0].Text) != fmt.Sprint(i) {
				t.Fatalf("row %d: %v", i, err)
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatalf("close before the end: %v", err)
		}
		if _, err := rows.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("a row of closed rows: %v", err)
		}
	}
	rows, err := v.Scan(t.Context(), relational.Scan{Table: table})
	if got := all(t, rows, err); len(got) != 2000 {
		t.Errorf("%d rows", len(got))
	}
}
