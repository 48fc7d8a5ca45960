package relational_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// said is a line without its hash, which is read back first: it must be one of a capture, unedited.
func said(t *testing.T, m *relational.Model, l *relational.Line) string {
	t.Helper()
	raw := relational.AppendLine(nil, l)
	read, err := m.ParseLine(raw)
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	if read.Edited {
		t.Errorf("%s counts as edited", raw)
	}
	text, _, _ := strings.Cut(string(raw), `,"why":`)
	return text
}

// The line of a row, and those of its groups, say each column once.
func TestLinesOfGroups(t *testing.T) {
	t.Parallel()
	m := shopModel()
	table := m.Tables[0]
	other := shopModel().Tables[0]
	f := &relational.Found{Op: relational.OpModified, Live: order("new"), Base: order("old"), Changed: []int{2, 4}}
	f.Base[2] = text(relational.Decimal, "1.00")
	for want, l := range map[string]*relational.Line{
		`{"data":{"id":5,"customer_id":3,"total":"10.50","paid":false,"note":"new"},"table":"public.shop_order","op":"m","pk":[5],"changed":["total","note"],"base":{"total":"1.00","note":"old"}`: table.Line(other, f, []int{2, 4}, nil),
		`{"data":{"id":5,"customer_id":3,"paid":false,"note":"new"},"table":"public.shop_order","op":"m","pk":[5],"changed":["note"],"base":{"note":"old"}`:                                        table.Line(other, f, []int{4}, []int{2}),
		`{"data":{"id":5,"total":"10.50"},"table":"public.shop_order","op":"m","pk":[5],"changed":["total"],"base":{"total":"1.00"}`:                                                               table.GroupLine(other, f, []int{2}),
		// Without a dump nobody knows what was changed.
		`{"data":{"id":5,"customer_id":3,"total":"10.50","paid":false,"note":"new"},"table":"public.shop_order","op":"m","pk":[5],"changed":[],"base":null`: table.GroupLine(nil, &relational.Found{Op: relational.OpModified, Live: order("new")}, nil),
		`{"data":null,"table":"public.shop_order","op":"d","pk":[5],"base":{"id":5,"customer_id":3,"total":"1.00","paid":false,"note":"old"}`:               table.Line(other, &relational.Found{Op: relational.OpDeleted, Base: f.Base}, nil, nil),
	} {
		if diff := cmp.Diff(want, said(t, m, l)); diff != "" {
			t.Errorf("line (-want +got):\n%s", diff)
		}
	}
	// The dump's table had neither the key nor the note, and the columns in another order.
	narrow := &relational.Table{Name: table.Name, Columns: []relational.Column{other.Columns[3], other.Columns[1]}}
	deleted := &relational.Found{Op: relational.OpDeleted, Base: []relational.Value{relational.BoolValue(true), relational.IntValue(7)}}
	if diff := cmp.Diff(`{"data":null,"table":"public.shop_order","op":"d","pk":null,"base":{"customer_id":7,"paid":true}`, said(t, m, table.Line(narrow, deleted, nil, nil))); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	added := &relational.Added{Table: table, Op: relational.OpChild, Row: &relational.Row{Values: order("")}, Via: "fk", FromTable: other, From: order("x"), Depth: 2}
	if raw := string(relational.AppendLine(nil, added.Line())); !strings.Contains(raw, `"op":"x","pk":[5],"why":[],"via":{"edge":"fk","from":"public.shop_order","pk":[5],"depth":2}`) {
		t.Errorf("line: %s", raw)
	}
}

// Where nobody knows what a row changed, many that were changed at one moment are a mass; and in a table without a key, a change of all rows
// looks as if they had been deleted, and as many made.
func TestMassWithoutComparison(t *testing.T) {
	t.Parallel()
	table := &relational.Table{Name: relational.Name{Name: "t"}, Columns: []relational.Column{{Name: "v", Type: relational.TypeText}, {Name: "updated", Type: relational.TypeTime}}}
	judge := func(d relational.Detectors, found func(i int) *relational.Found) map[string]int {
		mass := relational.NewMass(table, d, t.TempDir(), 1<<20)
		defer mass.Close() //nolint:errcheck // there is no file
		const n = 4000
		for i := range n {
			if err := mass.Count(t.Context(), found(i)); err != nil {
				t.Fatal(err)
			}
		}
		got := make(map[string]int)
		for i := range n {
			groups, left, err := mass.Judge(t.Context(), found(i), 5000)
			if err != nil || len(left) > 0 {
				t.Fatalf("left %v, %v", left, err)
			}
			text := "none"
			for _, g := range groups {
				text = fmt.Sprintf("%s %s %v %d", g.Op, g.Column, g.Moment, g.Rows)
			}
			got[text]++
		}
		return got
	}
	atOnce := judge(relational.Detectors{Modified: "updated"}, func(i int) *relational.Found {
		at := "noon"
		if i%2 == 0 {
			at = fmt.Sprint("t", i)
		}
		return &relational.Found{Op: relational.OpModified, Live: []relational.Value{relational.TextValue("x"), relational.TextValue(at)}}
	})
	if diff := cmp.Diff(map[string]int{"m updated true 2000": 2000, "none": 2000}, atOnce); diff != "" {
		t.Errorf("changed at one moment (-want +got):\n%s", diff)
	}
	row := func(i int) []relational.Value {
		return []relational.Value{relational.TextValue(fmt.Sprint(i)), {}}
	}
	rewritten := judge(relational.Detectors{}, func(i int) *relational.Found {
		if i%2 == 0 {
			return &relational.Found{Op: relational.OpDeleted, Base: row(i)}
		}
		return &relational.Found{Op: relational.OpCreated, Live: row(i)}
	})
	if diff := cmp.Diff(map[string]int{"d  false 2000": 2000, "c  false 2000": 2000}, rewritten); diff != "" {
		t.Errorf("all rows changed (-want +got):\n%s", diff)
	}
	made := judge(relational.Detectors{}, func(i int) *relational.Found { return &relational.Found{Op: relational.OpCreated, Live: row(i)} })
	if diff := cmp.Diff(map[string]int{"none": 4000}, made); diff != "" {
		t.Errorf("many rows made (-want +got):\n%s", diff)
	}
}

func TestParseZone(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for name, want := range map[string]string{"": "12:00", "UTC": "12:00", "Europe/Berlin": "14:00", "+00:00": "12:00", "-03:30": "08:30", "+14:00": "02:00"} {
		zone, err := relational.ParseZone(name)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if got := at.In(zone).Format("15:04"); got != want {
			t.Errorf("%q: noon is %s, want %s", name, got, want)
		}
		if again, err := relational.ParseZone(zone.String()); err != nil || at.In(again).Format("15:04") != want {
			t.Errorf("%q: its own name %q is not it: %v", name, zone, err)
		}
	}
	for _, name := range []string{"CEST", "Local", "../etc/passwd", "25:00", "+2"} {
		if _, err := relational.ParseZone(name); !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
