package postgres

import "testing"

// TestStatistics: a restored table has the statistics that ANALYZE makes, those that were defined for it too.
func TestStatistics(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, `CREATE SCHEMA "a b";
		CREATE TABLE pair (a int, b int, at timestamp); INSERT INTO pair SELECT i, i / 2, now() FROM generate_series(1, 1000) i;
		CREATE STATISTICS "a b"."of pair" (ndistinct, dependencies) ON a, b FROM pair;
		COMMENT ON STATISTICS "a b"."of pair" IS 'told';
		CREATE TABLE "a b"."x;y" (a int, b int) PARTITION BY RANGE (a); CREATE TABLE one PARTITION OF "a b"."x;y" DEFAULT;
		INSERT INTO "a b"."x;y" SELECT i, i FROM generate_series(1, 1000) i;
		CREATE STATISTICS of_one ON a, b FROM one; CREATE STATISTICS of_all ON a, b FROM "a b"."x;y"`)
	d := dumpDatabase(t, s.URL(db), "", nil)
	name := s.NewName()
	d.mustProve(t, s, name)
	const look = `SELECT string_agg(e.stxname, ',' ORDER BY e.stxname) FROM pg_statistic_ext e WHERE EXISTS (SELECT FROM pg_statistic_ext_data d WHERE d.stxoid = e.oid)`
	s.Exec(db, "ANALYZE")
	if got, want := s.Query(name, look), s.Query(db, look); got != want {
		t.Errorf("there are statistics of %q, want %q", got, want)
	}
	if got := s.Query(name, "SELECT count(*) FROM pg_description WHERE description = 'told'"); got != "1" {
		t.Errorf("%s comments", got)
	}
}
