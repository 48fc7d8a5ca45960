package postgres

import (
	"errors"
	"strings"
	"testing"

	"salvor/drivers"
)

const enumHash = `
CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l');
CREATE TABLE felt (at date NOT NULL, m mood NOT NULL, note text, twice int GENERATED ALWAYS AS (length(note) * 2) STORED, PRIMARY KEY (at, m, note)) PARTITION BY RANGE (at);
CREATE TABLE felt_2026 PARTITION OF felt FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY HASH (m);
CREATE TABLE felt_2026_0 PARTITION OF felt_2026 FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE felt_2026_1 PARTITION OF felt_2026 FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE felt_2026_2 (note text NOT NULL, dropped int, twice int GENERATED ALWAYS AS (length(note) * 2) STORED, m mood NOT NULL, at date NOT NULL);
ALTER TABLE felt_2026_2 DROP COLUMN dropped;
ALTER TABLE felt_2026 ATTACH PARTITION felt_2026_2 FOR VALUES WITH (MODULUS 3, REMAINDER 2);
CREATE TABLE felt_old PARTITION OF felt DEFAULT;
CREATE INDEX ON felt (note);
INSERT INTO felt SELECT '2026-01-01'::date + i % 300, (enum_range(NULL::mood))[1 + i % 12], 'note ' || i FROM generate_series(1, 3000) i;
INSERT INTO felt SELECT '2025-01-01'::date + i, 'a', '' FROM generate_series(1, 20) i;
`

// TestEnumHash: the hash of an enum's value is another one in another database, so rows go to other partitions there.
func TestEnumHash(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, enumHash)
	d := dumpDatabase(t, s.URL(db), "", nil)
	name := s.NewName()
	proof := d.mustProve(t, s, name)
	if proof.Rows != 3020 || proof.Tables != 4 {
		t.Errorf("proof of %+v", proof)
	}
	const sums = "SELECT count(*), sum(hashtextextended(felt::text, 0)) FROM felt"
	if got, want := s.Query(name, sums), s.Query(db, sums); got != want {
		t.Errorf("rows %s, want %s", got, want)
	}
	const spread = "SELECT string_agg(DISTINCT m::text, '' ORDER BY m::text) FROM felt_2026_"
	moved := false
	for _, p := range []string{"0", "1", "2"} {
		moved = moved || s.Query(name, spread+p) != s.Query(db, spread+p)
	}
	if !moved {
		t.Error("no value is in another partition: the test shows nothing")
	}
	target := openSource(t, s.URL(name), "")
	s.Exec(name, "UPDATE felt SET note = 'x' WHERE note = 'note 7'")
	changed, err := target.Prove(t.Context(), d.rules(), d.parts)
	requireNoError(t, "prove", err)
	if len(changed.Differences) != 1 || !strings.Contains(changed.Differences[0], "public.felt_2026: 3000 rows as in the dump, but other ones") {
		t.Errorf("differences: %q", changed.Differences)
	}
	// Partitions alone are attached after their rows, and the server refuses what is not theirs.
	rules := d.rules()
	rules.Only = []string{"public.felt_2026_0"}
	err = d.restore(t.Context(), openSource(t, s.URL(s.NewDatabase()), ""), rules)
	if !errors.Is(err, drivers.ErrFailed) || !strings.Contains(err.Error(), "partition constraint") {
		t.Errorf("restore of one partition: %v", err)
	}
}
