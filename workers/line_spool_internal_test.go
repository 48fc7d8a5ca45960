package workers

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers/relational"
)

// Lines of many tables come back by their tables, in their order, however much of them there is.
func TestLineSpool(t *testing.T) {
	t.Parallel()
	model := &relational.Model{}
	for i := range 40 {
		model.Tables = append(model.Tables, &relational.Table{
			Name: relational.Name{Name: fmt.Sprint("t", i)}, Columns: []relational.Column{{Name: "v", Type: relational.TypeText}},
		})
	}
	s, err := newLineSpool(t.TempDir(), model)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	want := make([]strings.Builder, len(model.Tables))
	for i := range 4000 {
		table := (i * i) % 37 // some have none
		size := 100
		if table == 1 {
			size = 20_000 // some have much
		}
		l := &relational.Line{
			Table: model.Tables[table], Op: relational.OpChild, Has: []bool{true},
			Data: []relational.Value{relational.TextValue(strings.Repeat("x", size) + fmt.Sprint(i))},
		}
		want[table].Write(relational.AppendLine(nil, l))
		if err := s.add(l); err != nil {
			t.Fatal(err)
		}
		if s.held > gatheredMost {
			t.Fatalf("%d bytes are held", s.held)
		}
	}
	for i := range model.Tables {
		var got strings.Builder
		if err := s.each(i, func(data []byte) error { got.Write(data); return nil }); err != nil {
			t.Fatal(err)
		}
		if got.String() != want[i].String() {
			t.Errorf("table %d: %d bytes, want %d", i, got.Len(), want[i].Len())
		}
		if n := int64(strings.Count(want[i].String(), "\n")); s.counts[i]["x"] != n {
			t.Errorf("table %d: %v, want %d", i, s.counts[i], n)
		}
	}
	if diff := cmp.Diff(0, len(s.pieces[36])); want[36].Len() == 0 && diff != "" {
		t.Error(diff)
	}
}
