package mysql

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
)

func someEntries() []*entry {
	return []*entry{
		{Kind: entryTable, Name: "t", sql: "CREATE TABLE `t` (`a` int)"},
		{Kind: entryRoutine, Name: "p\n\"é", Mode: "ANSI_QUOTES", Charset: "latin1", Collation: "latin1_swedish_ci", Database: "utf8mb4_bin", sql: "CREATE PROCEDURE p() SELECT ';; $$ // \xe9\n;;'"},
		{Kind: entryEvent, Name: "e", Charset: "utf8mb4", Collation: "utf8mb4_bin", Zone: "Europe/Berlin", sql: ""},
	}
}

func TestEntriesThereAndBack(t *testing.T) {
	t.Parallel()
	data, err := writeEntries(someEntries())
	requireNoError(t, "write", err)
	back, err := readEntries(bytes.NewReader(data))
	requireNoError(t, "read", err)
	want := someEntries()
	for _, e := range want {
		e.Bytes = len(e.sql)
	}
	if diff := cmp.Diff(want, back, cmp.AllowUnexported(entry{})); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	// What the first line says to people may be something else.
	_, rest, _ := bytes.Cut(data, []byte("\n"))
	other, err := readEntries(bytes.NewReader(append([]byte("-- By hand: mariadb DATABASE < FILE\n"), rest...)))
	requireNoError(t, "read with another first line", err)
	if diff := cmp.Diff(want, other, cmp.AllowUnexported(entry{})); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	// Nothing but what was written is taken.
	for i := range data {
		if list, err := readEntries(bytes.NewReader(data[:i])); err == nil && len(list) == len(want) {
			t.Fatalf("a file that is cut at %d of %d is whole", i, len(data))
		}
	}
	for _, c := range [][2]string{{"DELIMITER ;;\n", "DELIMITER ;;\nDROP TABLE x;;\n"}, {"SET foreign", "DROP"}, {"latin1_swedish_ci", "latin1_swedish_ci', x='"}} {
		changed := strings.Replace(string(data), c[0], c[1], 1)
		if _, err := readEntries(strings.NewReader(changed)); !errors.Is(err, drivers.ErrCorrupt) {
			t.Errorf("with %q: %v", c[1], err)
		}
	}
}

func TestSortViews(t *testing.T) {
	t.Parallel()
	view := func(name, from string) *entry {
		return &entry{Kind: entryView, Name: name, sql: "CREATE VIEW `" + name + "` AS select `x`.`a` AS `a` from " + from}
	}
	sorted, err := sortViews([]*entry{view("a", "`b` join `c`"), view("b", "`t`"), view("c", "`d`"), view("d", "`b`")})
	requireNoError(t, "sort", err)
	var names []string
	for _, e := range sorted {
		names = append(names, e.Name)
	}
	if diff := cmp.Diff([]string{"b", "d", "c", "a"}, names); diff != "" {
		t.Errorf("views (-want +got):\n%s", diff)
	}
}

func TestSelectEntries(t *testing.T) {
	t.Parallel()
	list := []*entry{
		{Kind: entrySequence, Name: "s", sql: "CREATE SEQUENCE `s`"},
		{Kind: entrySequence, Name: "other", sql: "CREATE SEQUENCE `other`"},
		{Kind: entrySetval, Name: "s"},
		{Kind: entryTable, Name: "t", sql: "CREATE TABLE `t` (`a` int DEFAULT nextval(`db`.`s`))"},
		{Kind: entryTable, Name: "u", sql: "CREATE TABLE `u` (`a` int DEFAULT nextval(`db`.`other`))"},
		{Kind: entryView, Name: "v", sql: "CREATE VIEW"},
		{Kind: entryTrigger, Name: "tr", Table: "t"},
		{Kind: entryTrigger, Name: "ur", Table: "u"},
	}
	got, err := selectEntries(list, &contents{tables: map[string][]loadPart{"t": {{}}}})
	requireNoError(t, "select", err)
	var labels []string
	for _, e := range got {
		labels = append(labels, e.label())
	}
	if diff := cmp.Diff([]string{"sequence s", "setval s", "table t", "trigger tr"}, labels); diff != "" {
		t.Errorf("selected (-want +got):\n%s", diff)
	}
}

func FuzzReadEntries(f *testing.F) {
	data, err := writeEntries(someEntries())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := readEntries(bytes.NewReader(data))
		if err != nil {
			return
		}
		again, err := writeEntries(list)
		if err != nil {
			t.Fatal(err)
		}
		back, err := readEntries(bytes.NewReader(again))
		if err != nil {
			t.Fatalf("what was read cannot be: %v", err)
		}
		if diff := cmp.Diff(list, back, cmp.AllowUnexported(entry{})); diff != "" {
			t.Fatalf("entries change (-first +second):\n%s", diff)
		}
	})
}
