package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/internal/testenv"
)

// engine is a database that a capture is made of, with what its tests need.
type captureEngine struct {
	source string // as --source and --against-db have it
	exec   func(sql string)
	query  func(sql string) string
	// name is how the engine's Chinook calls a table or column: InvoiceLine.
	name func(string) string
	// scratches counts the scratch databases that are left.
	scratches func() int
	schema    string // before a table's name in files and lines
	other     func() captureEngine
}

// captureEngines runs a test on each engine, on an empty database or, with chinook, on that one.
func captureEngines(t *testing.T, chinook bool, test func(t *testing.T, e captureEngine)) {
	data := ""
	if chinook {
		data = testenv.RealData(t, "chinook")
	}
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		var open func(name string) captureEngine
		open = func(name string) captureEngine {
			path := filepath.Join(t.TempDir(), name)
			if chinook {
				copyFile(t, filepath.Join(data, "Chinook_Sqlite.sqlite"), path)
			}
			db, err := openDB(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			return captureEngine{
				source: "sqlite:" + path, name: func(s string) string { return s }, scratches: func() int { return 0 },
				exec: func(sql string) {
					if _, err := db.ExecContext(t.Context(), sql); err != nil {
						t.Fatalf("%s: %v", sql, err)
					}
				},
				query: func(sql string) (text string) {
					if err := db.QueryRowContext(t.Context(), sql).Scan(&text); err != nil {
						t.Fatalf("%s: %v", sql, err)
					}
					return text
				},
				other: func() captureEngine { return open("other.db") },
			}
		}
		test(t, open("shop.db"))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		s := testenv.Postgres(t, testenv.PostgresOptions{})
		name := "chinook"
		if chinook {
			s.Load("postgres", filepath.Join(data, "Chinook_PostgreSql.sql"))
		} else {
			name = s.NewDatabase()
		}
		var open func(name string) captureEngine
		open = func(name string) captureEngine {
			return captureEngine{
				source: s.URL(name), name: snakeCase, schema: "public.",
				exec:  func(sql string) { s.Exec(name, sql) },
				query: func(sql string) string { return s.Query(name, sql) },
				scratches: func() int {
					return len(strings.Fields(s.Query("postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'salvor%'")))
				},
				other: func() captureEngine { return open(s.NewDatabase()) },
			}
		}
		test(t, open(name))
	})
	t.Run("mariadb", func(t *testing.T) {
		t.Parallel()
		s := testenv.MariaDB(t, testenv.MariaDBOptions{})
		name := "Chinook"
		if chinook {
			s.Load("", filepath.Join(data, "Chinook_MySql.sql"))
		} else {
			name = s.NewDatabase()
		}
		var open func(name string) captureEngine
		open = func(name string) captureEngine {
			return captureEngine{
				source: s.URL(name), name: func(s string) string { return s },
				exec:  func(sql string) { s.Exec(name, sql) },
				query: func(sql string) string { return s.Query(name, sql) },
				scratches: func() int {
					return len(strings.Fields(s.Query("", "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'salvor%'")))
				},
				other: func() captureEngine { return open(s.NewDatabase()) },
			}
		}
		test(t, open(name))
	})
}

func snakeCase(s string) string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// capturedFile reads a file of a capture: what each line says, in short.
func capturedFile(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var list []string
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var l struct {
			Op      string
			PK      json.RawMessage
			Changed []string
			Why     []string
		}
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		text := l.Op + string(l.PK)
		if len(l.Changed) > 0 {
			text += " " + strings.Join(l.Changed, ",")
		}
		list = append(list, text)
	}
	slices.Sort(list)
	return list
}

// capturedRows are the lines of all files of tables in a capture, by table.
func capturedRows(t *testing.T, archive string, l captureLine) map[string][]string {
	t.Helper()
	dir := filepath.Join(archive, "captures", l.Set, l.Capture)
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string][]string)
	for _, f := range files {
		rows[strings.TrimSuffix(filepath.Base(f), ".jsonl")] = capturedFile(t, f)
	}
	return rows
}

// mustCapture captures, and returns what the command says.
func mustCapture(t *testing.T, args ...string) captureLine {
	t.Helper()
	var l captureLine
	if err := json.Unmarshal([]byte(mustCall(t, append([]string{"capture", "--json", "-q"}, args...)...)), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

// shownGroups are the groups of a capture, as show has them.
func shownGroups(t *testing.T, archive string, l captureLine) []string {
	t.Helper()
	var groups []string
	for line := range strings.Lines(mustCall(t, "show", "--archive", archive, "--json", l.Capture)) {
		if !strings.HasPrefix(line, `{"type":"group"`) {
			continue
		}
		var g groupLine
		if err := json.Unmarshal([]byte(line), &g); err != nil {
			t.Fatal(err)
		}
		groups = append(groups, fmt.Sprintf("%s %s %s %s %d", g.Table.Name, g.Detail.Op, g.Detail.Column, g.Detail.Value, g.Lines))
	}
	return groups
}

// A shop on a bad day: people work, and a script goes wrong. What people did is found, exactly; the damage is set apart.
func TestCaptureChinook(t *testing.T) {
	t.Parallel()
	captureEngines(t, true, func(t *testing.T, e captureEngine) {
		archive := filepath.Join(t.TempDir(), "archive")
		mustCall(t, "dump", "-q", "--archive", archive, "shop="+e.source)
		n := e.name
		sql := func(text string, names ...any) { e.exec(fmt.Sprintf(text, names...)) }

		sql("INSERT INTO %s (%s, %s, %s, %s) VALUES (1000, 'Ada', 'Byron', 'ada@example.org')", n("Customer"), n("CustomerId"), n("FirstName"), n("LastName"), n("Email"))
		sql("INSERT INTO %s (%s, %s, %s, %s) VALUES (2000, 1000, '2026-11-30', 1.98), (2001, 5, '2026-11-30', 0.99)", n("Invoice"), n("InvoiceId"), n("CustomerId"), n("InvoiceDate"), n("Total"))
		sql("INSERT INTO %s (%s, %s, %s, %s, %s) VALUES (5000, 2000, 1, 0.99, 1), (5001, 2000, 2, 0.99, 1), (5002, 2001, 10, 0.99, 1)",
			n("InvoiceLine"), n("InvoiceLineId"), n("InvoiceId"), n("TrackId"), n("UnitPrice"), n("Quantity"))
		sql("INSERT INTO %s (%s, %s) VALUES (100, 'Mine')", n("Playlist"), n("PlaylistId"), n("Name"))
		sql("INSERT INTO %s (%s, %s) VALUES (100, 1), (100, 2), (3, 10)", n("PlaylistTrack"), n("PlaylistId"), n("TrackId"))
		sql("UPDATE %s SET %s = 'Better name' WHERE %s IN (10, 11)", n("Track"), n("Name"), n("TrackId"))
		sql("UPDATE %s SET %s = 'Somebody', %s = 1 WHERE %s = 12", n("Track"), n("Composer"), n("Milliseconds"), n("TrackId"))

		ofArtist := fmt.Sprintf("(SELECT x.%[1]s FROM (SELECT t.%[1]s FROM %[2]s t JOIN %[3]s a ON a.%[4]s = t.%[4]s WHERE a.%[5]s = 90) x)",
			n("TrackId"), n("Track"), n("Album"), n("AlbumId"), n("ArtistId"))
		sql("UPDATE %s SET %s = 0", n("Track"), n("UnitPrice"))
		for _, table := range []string{"InvoiceLine", "PlaylistTrack", "Track"} {
			sql("DELETE FROM %s WHERE %s IN %s", n(table), n("TrackId"), ofArtist)
		}
		sql("DELETE FROM %s WHERE %s = 90", n("Album"), n("ArtistId"))
		sql("DELETE FROM %s WHERE %s = 90", n("Artist"), n("ArtistId"))

		l := mustCapture(t, "--archive", archive, "--source", "shop="+e.source, "--against", "latest")
		rows := capturedRows(t, archive, l)
		want := map[string][]string{
			"Customer":      {"c[1000]"},
			"Invoice":       {"c[2000]", "c[2001]"},
			"InvoiceLine":   {"c[5000]", "c[5001]", "c[5002]"},
			"Playlist":      {"c[100]"},
			"PlaylistTrack": {"c[100,1]", "c[100,2]", "c[3,10]"},
			"Track":         {"m[10] " + n("Name"), "m[11] " + n("Name"), "m[12] " + n("Composer") + "," + n("Milliseconds")},
		}
		// Of what was deleted, the tables with few rows are below what counts as a mass.
		for _, table := range []string{"Album", "Artist"} {
			key := e.schema + n(table)
			if deleted := rows[key]; len(deleted) == 0 || slices.ContainsFunc(deleted, func(s string) bool { return s[0] != 'd' }) {
				t.Errorf("%s: %v", table, deleted)
			}
			delete(rows, key)
		}
		named := make(map[string][]string)
		for table, lines := range want {
			named[e.schema+n(table)] = lines
		}
		if diff := cmp.Diff(named, rows); diff != "" {
			t.Errorf("captured (-want +got):\n%s", diff)
		}
		groups := shownGroups(t, archive, l)
		if len(groups) != 4 {
			t.Errorf("groups: %q", groups)
		}
		for _, part := range []string{n("InvoiceLine") + " d   140", n("PlaylistTrack") + " d   516", n("Track") + " d   213", n("Track") + " m " + n("UnitPrice") + " "} {
			if !slices.ContainsFunc(groups, func(g string) bool { return strings.HasPrefix(g, part) }) {
				t.Errorf("no group %q among %q", part, groups)
			}
		}
		// A row that the damage has changed too is captured without what that did.
		data, err := os.ReadFile(filepath.Join(archive, "captures", l.Set, l.Capture, e.schema+n("Track")+".jsonl"))
		if err != nil || strings.Contains(string(data), `"`+n("UnitPrice")+`"`) {
			t.Errorf("the captured tracks have the damage, or cannot be read (%v): %s", err, data)
		}
		if left := e.scratches(); left != 0 {
			t.Errorf("%d scratch databases are left", left)
		}
		mustCall(t, "verify", "-q", "--archive", archive)
	})
}
