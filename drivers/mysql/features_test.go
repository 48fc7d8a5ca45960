package mysql

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/internal/testenv"
)

// features makes a database with everything that the server's flavour has and returns its name.
func features(t *testing.T, s *testenv.MariaDBServer) string {
	t.Helper()
	db := s.NewDatabase()
	s.Load(db, "testdata/features.sql")
	if s.MySQL {
		s.Load(db, "testdata/features-mysql.sql")
	} else {
		s.Load(db, "testdata/features-mariadb.sql")
	}
	return db
}

// dumpText is a database as the server's own dump program sees it, without anything that differs between two equal ones.
func dumpText(t *testing.T, s *testenv.MariaDBServer, db string) string {
	t.Helper()
	args := []string{"--single-transaction", "--routines", "--events", "--triggers", "--hex-blob", "--order-by-primary", "--skip-comments"}
	if s.MySQL {
		args = append(args, "--set-gtid-purged=OFF", "--column-statistics=0", "--no-tablespaces")
	} else {
		args = append(args, "--dump-history")
	}
	return s.Tool("mariadb-dump", append(args, db)...)
}

// checksums are the server's own sums of every table's rows as they are stored, in any order: a dump's text rounds a float.
// MySQL sums up an address where an index has several values of a row.
func checksums(t *testing.T, s *testenv.MariaDBServer, db string) string {
	t.Helper()
	tables := s.Query(db, `SET group_concat_max_len = 1000000; SELECT GROUP_CONCAT('`+"`', REPLACE(table_name, '`', '``'), '`"+`' ORDER BY table_name SEPARATOR ', ') FROM information_schema.tables
		WHERE table_schema = DATABASE() AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND table_name <> 'my_multi_valued'`)
	text := s.Query(db, "CHECKSUM TABLE "+tables+" EXTENDED")
	return strings.ReplaceAll(text, db+".", "")
}

// requireSame fails where two databases differ in anything that a dump program or a checksum can see.
func requireSame(t *testing.T, s *testenv.MariaDBServer, db string, other *testenv.MariaDBServer, copied string) {
	t.Helper()
	for what, f := range map[string]func(*testing.T, *testenv.MariaDBServer, string) string{"text": dumpText, "checksums": checksums} {
		want, got := strings.Split(f(t, s, db), "\n"), strings.Split(f(t, other, copied), "\n")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s of %s and of its copy %s (-want +got):\n%.20000s", what, db, copied, diff)
		}
	}
}

// TestFeatures: the comparison sees no difference between equal databases, whatever servers they are on, and small ones
// elsewhere.
func TestFeatures(t *testing.T) {
	t.Parallel()
	s, other := testenv.MariaDB(t, testenv.MariaDBOptions{}), testenv.MariaDB(t, testenv.MariaDBOptions{Settings: []string{"default_time_zone=+05:45", "character_set_server=latin1"}})
	db, copied := features(t, s), features(t, other)
	requireSame(t, s, db, other, copied)
	text, sums := dumpText(t, s, db), checksums(t, s, db)
	s.Exec(db, "UPDATE numbers SET f = 0.33333331 WHERE id = 4")
	if text != dumpText(t, s, db) || sums == checksums(t, s, db) {
		t.Error("the checksums do not see what the text rounds")
	}
	s.Exec(db, "ALTER TABLE self COMMENT 'x'")
	if text == dumpText(t, s, db) {
		t.Error("the text does not see a comment")
	}
}

// TestRoundTrip dumps and restores everything, onto servers of other settings, with parts of all sizes.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := features(t, s)
	s.Exec(db, "ANALYZE TABLE key_binary, key_composite, key_text, key_uuid, many_rows")
	for _, c := range []struct {
		chunk    int64
		settings []string
		ranges   int // of all tables together
	}{
		{defaultChunk, nil, 0},
		{100_000, []string{"default_time_zone=+05:45", "character_set_server=latin1", "sql_mode=NO_BACKSLASH_ESCAPES,TRADITIONAL"}, 2},
		// Less than an option may ask for: tables of all kinds of keys are cut.
		{1_000, []string{"local_infile=0", "default_time_zone=-08:00", "sql_mode=ANSI_QUOTES", "event_scheduler=ON"}, 40},
	} {
		t.Run(fmt.Sprint(c.chunk), func(t *testing.T) {
			t.Parallel()
			target, source := server(t, c.settings...), openSource(t, s.URL(db), "")
			source.chunk, source.split = c.chunk, c.chunk
			d := dumpSource(t, source, nil)
			ranges := 0
			for _, p := range d.parts {
				if _, _, more := strings.Cut(p.Name, "/"); more {
					ranges++
				}
			}
			if ranges < c.ranges {
				t.Errorf("%d parts are ranges of tables, want at least %d", ranges, c.ranges)
			}
			name := target.NewName()
			d.mustProve(t, target, name)
			requireSame(t, s, db, target, name)
		})
	}
}

func TestChinook(t *testing.T) {
	t.Parallel()
	file := testenv.RealData(t, "chinook", "Chinook_MySql.sql")
	s := server(t)
	s.Load("", file) // the script makes its database
	d := dumpDatabase(t, s.URL("Chinook"), `{"chunk": 65536}`)
	name := s.NewName()
	proof := d.mustProve(t, s, name)
	if proof.Tables != 11 || proof.Rows != 15607 {
		t.Errorf("proof of %d rows in %d tables, want 15607 in 11", proof.Rows, proof.Tables)
	}
	requireSame(t, s, "Chinook", s, name)
	s.Exec(name, "UPDATE Track SET Composer = 'somebody' WHERE TrackId = 7")
	changed, err := openSource(t, s.URL(name), "").Prove(t.Context(), d.rules(), d.parts)
	requireNoError(t, "prove", err)
	if len(changed.Differences) != 1 || !strings.Contains(changed.Differences[0], "Track") {
		t.Errorf("proof of a changed row: %q", changed.Differences)
	}
}
