package postgres

import (
	"os"
	"testing"
)

// TestScratch looks what is in the scratch directory while a schema is read, which holds passwords of user mappings: nothing
// that a process leaves when it is killed.
func TestScratch(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE t (i int PRIMARY KEY)")
	d := dumpDatabase(t, s.URL(db), "", nil)
	source := openSource(t, s.URL(db), "")
	file, err := source.openSchema(t.Context(), d.rules(), d.part(t, "schema"))
	requireNoError(t, "open schema", err)
	defer file.close()
	for _, section := range []string{"pre-data", "post-data"} {
		entries, err := file.entries(t.Context(), section)
		if err != nil || len(entries) != 1 {
			t.Errorf("%s has %d entries, %v", section, len(entries), err)
		}
	}
	left, err := os.ReadDir(source.scratch)
	if err != nil || len(left) > 0 {
		t.Errorf("the scratch directory holds %v, %v", left, err)
	}
}
