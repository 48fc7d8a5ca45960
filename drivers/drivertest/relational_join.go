package drivertest

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/internal/secret"
)

// relationalJoin: whoever joins a view sees the same moment and the same model, until the view is gone. Views that cannot be joined have
// nothing to show.
func relationalJoin(t *testing.T, h RelationalHarness) {
	source, exec := h.New(t)
	exec(`CREATE TABLE "j" ("id" `+h.Int+` PRIMARY KEY, "n" `+h.Text+`)`, `INSERT INTO "j" VALUES (1, 'a'), (2, 'b')`)
	v := observe(t, h, source)
	table := tableOf(t, v, "j")
	shared, ok := v.(relational.Shared)
	if !ok {
		return
	}
	exec(`INSERT INTO "j" VALUES (3, 'c')`, `CREATE TABLE "later" ("id" `+h.Int+` PRIMARY KEY)`)
	opened, err := h.Kind.Open(t.Context(), drivers.Spec{Node: "db", Source: secret.New(source), Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = opened.Close() }()
	joiner, ok := opened.(relational.Joiner)
	if !ok {
		t.Fatal("views can be shared, and not be joined")
	}
	joined, err := joiner.JoinView(t.Context(), shared.Ticket())
	if err != nil {
		t.Fatal(err)
	}
	if !joined.Moment().Equal(v.Moment()) {
		t.Errorf("the joined view is of %v, not of %v", joined.Moment(), v.Moment())
	}
	want, err := v.Model(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := joined.Model(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the joined model (-first +joined):\n%s", diff)
	}
	read := func(v relational.View, table *relational.Table) (list []string) {
		rows, err := v.Scan(t.Context(), relational.Scan{Table: table, Key: table.Primary})
		for _, row := range all(t, rows, err) {
			list = append(list, string(row.Values[1].Text))
		}
		return list
	}
	if first, second := read(v, table), read(joined, got.Table(table.Name)); !slices.Equal(first, []string{"a", "b"}) || !slices.Equal(first, second) {
		t.Errorf("the first view has %q, the joined one %q", first, second)
	}
	for range 2 {
		if err := joined.End(t.Context()); err != nil {
			t.Errorf("end: %v", err)
		}
	}
	if got := read(v, table); len(got) != 2 {
		t.Errorf("after the joined view's end the first one has %q", got)
	}
	ticket := shared.Ticket()
	if err := v.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := joiner.JoinView(t.Context(), ticket); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("a view that is gone is joined: %v", err)
	}
	if _, err := joiner.JoinView(t.Context(), json.RawMessage(`{"x":1}`)); !errors.Is(err, drivers.ErrInvalid) {
		t.Errorf("nonsense is joined: %v", err)
	}
}
