package sqlite

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/drivers/drivertest"
	"salvor/drivers/relational"
	"salvor/internal/secret"
)

func TestRelational(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"UTF-8", "UTF-16le"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			// In UTF-16 texts sort by bytes of their own.
			keys := []drivertest.RelationalKey{
				{Name: "text", Type: "TEXT", Literals: []string{"''", "'A'", "'B'", "'a'", "'a '", "'ab'", "'é'", "'𝄞'"}},
				{Name: "utf-16 text", Type: "TEXT", Literals: []string{"''", "char(0)", "'A'", "'Ł'", "'B'"}},
			}
			drop, deep := 1, 10_000
			if encoding != "UTF-8" {
				drop, deep = 0, 100
			}
			keys = slices.Delete(keys, drop, drop+1)
			h := drivertest.RelationalHarness{
				Kind: Kind(),
				New: func(t *testing.T) (string, func(...string)) {
					t.Helper()
					path := filepath.Join(t.TempDir(), "app.db")
					db := application(t, path, "encoding='"+encoding+"'", "journal_mode(wal)")
					return path, func(statements ...string) {
						t.Helper()
						execAll(t, db, statements...)
					}
				},
				Keys: append(keys,
					drivertest.RelationalKey{Name: "rowid", Type: "INTEGER", Literals: []string{"-9223372036854775808", "-1", "0", "1", "9007199254740993", "9223372036854775807"}},
					drivertest.RelationalKey{Name: "numbers", Type: "NUMERIC", Literals: []string{"-1e300", "-2", "-1.5", "0", "9007199254740992.0", "9007199254740993", "9e999", "x'00'"}, Same: []string{"5", "5.0"}},
					drivertest.RelationalKey{Name: "any", Type: "", Literals: []string{"-1", "1.5", "'1'", "'a'", "x'61'"}, Same: []string{"5", "5.0"}},
					drivertest.RelationalKey{Name: "nocase", Type: "TEXT COLLATE NOCASE", Literals: []string{"'A'", "'ab'", "'Abc'", "'É'", "'é'"}, Same: []string{"'Ab'", "'aB'"}},
					drivertest.RelationalKey{Name: "rtrim", Type: "TEXT COLLATE RTRIM", Literals: []string{"'a'", "'a b'", "'b'"}, Same: []string{"'a'", "'a  '"}},
					drivertest.RelationalKey{Name: "blob", Type: "BLOB", Literals: []string{"x''", "x'00'", "x'0001'", "x'61'", "x'ff'"}},
				),
				Moment: "DATETIME", Wall: "DATETIME", Date: "DATE",
				OnConflict: "ON CONFLICT REPLACE", Text: "TEXT", Int: "INTEGER", Decimal: "DECIMAL(10,2)", Float: "REAL", Bytes: "BLOB", Bool: "BOOLEAN", BytesLiteral: "x'%s'",
				Serial: `"id" INTEGER PRIMARY KEY AUTOINCREMENT`, Generated: `"twice" INTEGER GENERATED ALWAYS AS ("n" * 2) VIRTUAL`,
				Session: func(t *testing.T, source string) func(...string) {
					t.Helper()
					db := application(t, source)
					return func(statements ...string) {
						t.Helper()
						execAll(t, db, statements...)
					}
				},
				UUID: "char(32)", JSON: map[string]bool{"TEXT": true, "JSON": true}, Digits: map[string]bool{"DECIMAL(10,2)": false, "REAL": false, "": false},
				Cascade:        "PRAGMA foreign_keys = on",
				NoNegativeZero: true, Key: "TEXT", Deep: deep,
				Trigger: []string{`CREATE TRIGGER "copy" AFTER INSERT ON "t" BEGIN INSERT INTO "log" VALUES (NEW."id"); END`},
				Faithful: []drivertest.Faithful{
					{
						Name: "TypesOfValues",
						Base: []string{`CREATE TABLE "d" ("id" INTEGER PRIMARY KEY, "a", "b" NUMERIC, "c" TEXT COLLATE NOCASE)`, `INSERT INTO "d" VALUES (1, 1, 1, 'a'), (2, '1', '1.50', 'b'), (3, x'31', x'32', 'c')`},
						Work: []string{`UPDATE "d" SET "a" = '1', "c" = 'A' WHERE "id" = 1`, `UPDATE "d" SET "a" = x'31', "b" = 'text' WHERE "id" = 2`, `UPDATE "d" SET "a" = 1.0, "b" = 9e999 WHERE "id" = 3`, `INSERT INTO "d" VALUES (4, zeroblob(100000), -0.0, char(0)||'x'), (5, '', x'', '')`},
					},
					{
						Name: "WithoutRowid",
						Base: []string{`CREATE TABLE "w" ("a" TEXT, "b" INT, "v", PRIMARY KEY ("a", "b")) WITHOUT ROWID`, `INSERT INTO "w" VALUES ('x', 1, 1), ('x', 2, 2)`},
						Work: []string{`INSERT INTO "w" VALUES ('y', 1, NULL)`, `DELETE FROM "w" WHERE "b" = 2`, `UPDATE "w" SET "v" = x'00' WHERE "b" = 1 AND "a" = 'x'`},
					},
				},
			}
			t.Run("Rows", func(t *testing.T) { t.Parallel(); drivertest.Relational(t, h) })
			t.Run("Compare", func(t *testing.T) { t.Parallel(); drivertest.Compare(t, h) })
			t.Run("Close", func(t *testing.T) { t.Parallel(); drivertest.Close(t, h) })
			t.Run("Damage", func(t *testing.T) { t.Parallel(); drivertest.Damage(t, h) })
			t.Run("Random", func(t *testing.T) { t.Parallel(); drivertest.Random(t, h, 20) })
			t.Run("RandomMerge", func(t *testing.T) { t.Parallel(); drivertest.RandomMerge(t, h, 12) })
			t.Run("MergeConflicts", func(t *testing.T) { t.Parallel(); drivertest.MergeConflicts(t, h) })
			t.Run("MergeOperations", func(t *testing.T) { t.Parallel(); drivertest.MergeOperations(t, h) })
			t.Run("MergeFidelity", func(t *testing.T) { t.Parallel(); drivertest.MergeFidelity(t, h) })
		})
	}
}

// modelOf describes a database that statements make.
func modelOf(t *testing.T, statements ...string) *relational.Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	execAll(t, application(t, path), statements...)
	s, err := open(drivers.Spec{Node: "db", Source: secret.New(path)})
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := v.End(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	m, err := v.Model(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestModelKeysOfSQLite(t *testing.T) {
	t.Parallel()
	m := modelOf(t,
		"CREATE TABLE loose (k TEXT PRIMARY KEY, n INT)",
		"CREATE TABLE nullkey (k TEXT PRIMARY KEY, u TEXT NOT NULL UNIQUE COLLATE NOCASE)",
		"INSERT INTO nullkey VALUES (NULL, 'a'), (NULL, 'b'), ('x', 'c')",
		"CREATE TABLE tight (a TEXT, b INT, PRIMARY KEY (b, a)) WITHOUT ROWID",
		"CREATE TABLE partial (a INT, b INT)",
		"CREATE UNIQUE INDEX some ON partial (a) WHERE b > (1)",
		"CREATE UNIQUE INDEX expr ON partial (a, lower(b))",
		"CREATE TABLE strict (id INTEGER PRIMARY KEY, v ANY) STRICT",
	)
	identity := func(name string) string {
		k := m.Table(relational.Name{Name: name}).Identity()
		if k == nil {
			return ""
		}
		return strings.Join(k.Columns, ",")
	}
	got := map[string]string{}
	for _, table := range m.Tables {
		got[table.Name.Name] = identity(table.Name.Name)
	}
	want := map[string]string{"loose": "k", "nullkey": "u", "tight": "b,a", "partial": "", "strict": "id"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("identities (-want +got):\n%s", diff)
	}
	unique := m.Table(relational.Name{Name: "partial"}).Unique
	if len(unique) != 2 || !unique[0].Expression || unique[1].Condition != "b > (1)" {
		t.Errorf("unique indexes: %+v", unique)
	}
	if order := m.Table(relational.Name{Name: "nullkey"}).Unique[0].Order[0]; order != relational.OrderSQLiteNoCase {
		t.Errorf("order of a column without cases: %q", order)
	}
}

func TestModelOmitsWhatItCannotRead(t *testing.T) {
	t.Parallel()
	m := modelOf(t,
		"CREATE VIRTUAL TABLE words USING fts5(body)",
		"CREATE TABLE a (id INTEGER PRIMARY KEY, lost INT REFERENCES nowhere (id), Up INT REFERENCES A (ID))",
		"CREATE TABLE b (a INT REFERENCES a)",
		"CREATE VIEW v AS SELECT * FROM a",
	)
	var names []string
	for _, table := range m.Tables {
		names = append(names, table.Name.Name)
	}
	if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	if len(m.Omitted) != 2 || m.Omitted[0].Name.Name != "a" || m.Omitted[1].Name.Name != "words" {
		t.Errorf("omitted: %+v", m.Omitted)
	}
	a, b := m.Table(relational.Name{Name: "a"}), m.Table(relational.Name{Name: "b"})
	if len(a.Foreign) != 1 || a.Foreign[0].Parent.Name != "a" || a.Foreign[0].ParentColumns[0] != "id" {
		t.Errorf("names in other cases: %+v", a.Foreign)
	}
	if len(b.Foreign) != 1 || b.Foreign[0].ParentColumns[0] != "id" {
		t.Errorf("a reference to no column in particular: %+v", b.Foreign)
	}
}

func TestModelTriggersAndSequencesOfSQLite(t *testing.T) {
	t.Parallel()
	m := modelOf(t,
		"CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, n INT)",
		"INSERT INTO a VALUES (41, 1)", "DELETE FROM a",
		`CREATE TRIGGER "delete" /* insert */ AFTER UPDATE OF n ON a BEGIN DELETE FROM a; END`,
		"CREATE TRIGGER IF NOT EXISTS main.t2 BEFORE -- delete\n INSERT ON a BEGIN SELECT 1; END",
	)
	a := m.Table(relational.Name{Name: "a"})
	want := []relational.Trigger{{Name: "delete", Events: []string{"update"}}, {Name: "t2", Events: []string{"insert"}}}
	if diff := cmp.Diff(want, a.Triggers); diff != "" {
		t.Errorf("triggers (-want +got):\n%s", diff)
	}
	if len(m.Sequences) != 1 || m.Sequences[0].Last != "41" || m.Sequences[0].Column != "id" {
		t.Errorf("sequences: %+v", m.Sequences)
	}
}

// TestMarksOfSQLite: a time may be a text in several forms, or a number.
func TestMarksOfSQLite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	values := map[string]relational.Answer{
		"'2026-11-30 10:00:00'": relational.Yes, "'2026-11-30 09:59:59.999999'": relational.No, "'2026-11-30T10:00:00Z'": relational.Yes,
		"'2026-11-30T10:00'": relational.Yes, "'2026-11-30 10:00:00.000000+00:00'": relational.Yes, "'2026-11-30T09:59:59Z'": relational.No,
		"'2026-11-30 12:30:00+02:00'": relational.Yes, "'2026-11-30 11:30:00+02:00'": relational.No, "'2026-11-30'": relational.Yes, "'2026-11-29'": relational.No,
		"1796032800": relational.Yes, "1796032799": relational.No, "1796032800000": relational.Yes, "1796032799999": relational.No, "1796032800000000": relational.Yes,
		"1796032799999999": relational.No, "1796032800.5": relational.Yes, "1796032799.5": relational.No, "julianday('2026-11-30 10:00:01')": relational.Yes,
		"julianday('2026-11-30 09:59:00')": relational.No, "NULL": relational.Unknown, "'soon'": relational.Unknown, "5": relational.Unknown, "x'00'": relational.Unknown,
		"-9223372036854775808": relational.Unknown, "'30/11/2026'": relational.Unknown,
	}
	db := application(t, path)
	execAll(t, db, "CREATE TABLE m (v TEXT NOT NULL, at)")
	for value := range values {
		execAll(t, db, "INSERT INTO m VALUES ('"+strings.ReplaceAll(value, "'", "''")+"', "+value+")")
	}
	s, err := open(drivers.Spec{Node: "db", Source: secret.New(path)})
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = v.End(t.Context()) }()
	m, err := v.Model(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	table := m.Tables[0]
	for _, marked := range []bool{false, true} {
		rows, err := v.Scan(t.Context(), relational.Scan{Table: table, Marks: []relational.Mark{{Column: "at", Since: time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)}}, Marked: marked})
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for {
			row, err := rows.Next()
			if err != nil {
				break
			}
			seen++
			if want := values[string(row.Values[0].Text)]; row.Answers[0] != want {
				t.Errorf("%s: answer %d, want %d", row.Values[0].Text, row.Answers[0], want)
			}
			if marked && row.Answers[0] == relational.No {
				t.Errorf("%s is not left out", row.Values[0].Text)
			}
		}
		if !marked && seen != len(values) {
			t.Errorf("%d rows of %d", seen, len(values))
		}
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestUnreadableTimes: rows whose time of creation is none are counted, and neither taken for new in silence nor left out in silence.
func TestUnreadableTimes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	execAll(t, application(t, path),
		"CREATE TABLE t (id INTEGER PRIMARY KEY, created_at DATETIME, updated_at DATETIME)",
		"INSERT INTO t VALUES (1, 'soon', NULL), (2, '30/11/2026', 'x'), (3, x'00', 5), (4, '2026-11-30 11:00:00', NULL), (5, '2026-11-01 00:00:00', 'never'), (6, '', NULL)",
	)
	s, err := open(drivers.Spec{Node: "db", Source: secret.New(path)})
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := v.End(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	m, err := v.Model(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	detectors, err := m.Tables[0].Detect(relational.Detectors{})
	if err != nil {
		t.Fatal(err)
	}
	c := relational.Comparison{Live: v, Table: m.Tables[0], Detectors: detectors, Since: time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC), Scratch: t.TempDir()}
	var got []string
	coverage, err := c.Run(t.Context(), func(f *relational.Found) error {
		got = append(got, string(f.Op)+string(f.Live[0].Text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"c4"}, got); diff != "" || coverage.NoTime != 4 || coverage.Created != 1 {
		t.Errorf("found (-want +got):\n%s%+v", diff, coverage)
	}
}
