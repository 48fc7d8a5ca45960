package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	_ "modernc.org/sqlite" // the driver "sqlite" of database/sql, for the tests' own connections

	"salvor/drivers"
	"salvor/internal/secret"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		restoreAndDie()
		return
	}
	goleak.VerifyTestMain(m)
}

// The modes that every test of consistency runs in.
const (
	wal    = "wal"
	delete = "delete" //nolint:predeclared // SQLite's word
)

// sqlDB opens a database with database/sql, as an application would. The pragmas run in their order: the driver would
// sort them, and a page size must come before anything that writes.
func sqlDB(path string, pragmas ...string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", uri(path, "mode=rwc&_pragma=busy_timeout(60000)&_pragma=synchronous(off)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	for _, pragma := range pragmas {
		if _, err := db.Exec("PRAGMA " + pragma); err != nil {
			return nil, errors.Join(fmt.Errorf("PRAGMA %s: %w", pragma, err), db.Close())
		}
	}
	return db, nil
}

// application keeps a database open until the test ends.
func application(tb testing.TB, path string, pragmas ...string) *sql.DB {
	tb.Helper()
	db, err := sqlDB(path, pragmas...)
	if err != nil {
		tb.Fatalf("open %s: %v", path, err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Errorf("close %s: %v", path, err)
		}
	})
	return db
}

func execAll(tb testing.TB, db *sql.DB, statements ...string) {
	tb.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(tb.Context(), statement); err != nil {
			tb.Fatalf("%s: %v", statement, err)
		}
	}
}

// seed fills an open database: indexes, a table without rowid, free pages, values of each type, a trigger, a view.
func seed(tb testing.TB, db *sql.DB, rows int) {
	tb.Helper()
	execAll(tb, db,
		"CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL, body BLOB, price REAL)",
		fmt.Sprintf(`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<%d)
			INSERT INTO item SELECT i, printf('item %%d %%s', i, char(0x1F40D)), CAST(printf('%%.300c', 'a' + i) AS BLOB), i/7.0 FROM c`, rows),
		"CREATE UNIQUE INDEX item_name ON item(name)",
		"CREATE TABLE tag(word TEXT, item INTEGER, PRIMARY KEY(word, item)) WITHOUT ROWID",
		"INSERT INTO tag SELECT 'tag' || (id % 17), id FROM item",
		"CREATE TABLE gone AS SELECT * FROM item",
		"DROP TABLE gone",
		"CREATE TABLE change(n INTEGER PRIMARY KEY)",
		"CREATE VIEW cheap AS SELECT * FROM item WHERE price < 10",
		"CREATE TRIGGER t AFTER DELETE ON item BEGIN DELETE FROM tag WHERE item = old.id; END",
		"PRAGMA user_version=42",
	)
}

// newDatabase makes a closed database file in a directory of its own.
func newDatabase(tb testing.TB, journal string, rows int, pragmas ...string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "app.db")
	db, err := sqlDB(path, append(pragmas, "journal_mode("+journal+")")...)
	if err != nil {
		tb.Fatal(err)
	}
	seed(tb, db, rows)
	if err := db.Close(); err != nil {
		tb.Fatal(err)
	}
	return path
}

// insertChange commits the next change.
func insertChange(ctx context.Context, path string) error {
	db, err := sqlDB(path)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "INSERT INTO change SELECT ifnull(max(n), 0) + 1 FROM change")
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	return err
}

// contents describes all that is in a database, large tables by their hash; "" for none and an empty one.
func contents(tb testing.TB, path string) string {
	tb.Helper()
	info, err := os.Stat(path)
	if err != nil || info.Size() == 0 {
		return ""
	}
	db, err := sqlDB(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	}()
	var b strings.Builder
	tables := rowsOf(tb, db, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2")
	if len(tables) == 0 {
		return ""
	}
	for _, table := range tables {
		fmt.Fprintf(&b, "%s\n", table)
	}
	for _, name := range rowsOf(tb, db, "SELECT name FROM sqlite_schema WHERE type='table' AND rootpage>0 ORDER BY 1") {
		rows := rowsOf(tb, db, `SELECT * FROM "`+name+`"`)
		if name != "change" {
			rows = []string{fmt.Sprintf("%d rows, %x", len(rows), sha256.Sum256([]byte(strings.Join(rows, "\n"))))}
		}
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(rows, ", "))
	}
	fmt.Fprintf(&b, "integrity: %s\n", rowsOf(tb, db, "PRAGMA integrity_check"))
	fmt.Fprintf(&b, "journal: %s\n", rowsOf(tb, db, "PRAGMA journal_mode"))
	fmt.Fprintf(&b, "user version: %s\n", rowsOf(tb, db, "PRAGMA user_version"))
	return b.String()
}

func rowsOf(tb testing.TB, db *sql.DB, query string) (all []string) {
	tb.Helper()
	rows, err := db.QueryContext(tb.Context(), query)
	if err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	defer func() {
		if err := rows.Close(); err != nil {
			tb.Error(err)
		}
	}()
	columns, err := rows.Columns()
	if err != nil {
		tb.Fatal(err)
	}
	values, pointers := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		pointers[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(pointers...); err != nil {
			tb.Fatalf("%s: %v", query, err)
		}
		var b strings.Builder
		for i, v := range values {
			if i > 0 {
				b.WriteByte('|')
			}
			switch v := v.(type) {
			case []byte:
				b.WriteString("blob " + string(v))
			case string:
				b.WriteString(v)
			default:
				fmt.Fprintf(&b, "%T %v", v, v)
			}
		}
		all = append(all, b.String())
	}
	if err := rows.Err(); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	return all
}

// consistent checks that contents hold the changes 1 to n, all of the seed, and no damage.
func consistent(contents string) error {
	if !strings.Contains(contents, "integrity: [ok]") {
		return fmt.Errorf("database is damaged: %s", contents)
	}
	for line := range strings.Lines(contents) {
		list, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "change: ")
		if !ok {
			continue
		}
		if list == "" {
			return nil
		}
		for i, n := range strings.Split(list, ", ") {
			if n != fmt.Sprintf("int64 %d", i+1) {
				return fmt.Errorf("change %s is at place %d", n, i+1)
			}
		}
		return nil
	}
	return fmt.Errorf("no table of changes: %s", contents)
}

// beside lists what lies in a database's directory beside it.
func beside(tb testing.TB, path string) (names []string) {
	tb.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		tb.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != filepath.Base(path) {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names
}

func openSource(tb testing.TB, path string) *Source {
	tb.Helper()
	source, err := open(specOf(path))
	if err != nil {
		tb.Fatalf("open %q: %v", path, err)
	}
	return source
}

// freezeAt opens a view that ends with the test.
func freezeAt(tb testing.TB, path string) *view {
	tb.Helper()
	v, err := openSource(tb, path).Freeze(tb.Context())
	if err != nil {
		tb.Fatalf("Freeze: %v", err)
	}
	tb.Cleanup(func() {
		if err := v.End(context.WithoutCancel(tb.Context())); err != nil {
			tb.Errorf("End: %v", err)
		}
	})
	return v.(*view) //nolint:errcheck,forcetypeassert // the only type there is
}

func partOf(tb testing.TB, v drivers.View) (part drivers.Part) {
	tb.Helper()
	if err := v.Parts(tb.Context(), func(p drivers.Part) error { part = p; return nil }); err != nil {
		tb.Fatalf("Parts: %v", err)
	}
	return part
}

func dumpOf(tb testing.TB, v drivers.View) []byte {
	tb.Helper()
	var b bytes.Buffer
	if _, err := v.Dump(tb.Context(), partOf(tb, v), &b); err != nil {
		tb.Fatalf("Dump: %v", err)
	}
	return b.Bytes()
}

// image dumps a database in a view of its own.
func image(tb testing.TB, path string) (drivers.Part, []byte) {
	tb.Helper()
	v, err := openSource(tb, path).Freeze(tb.Context())
	if err != nil {
		tb.Fatalf("Freeze: %v", err)
	}
	part, data := partOf(tb, v), dumpOf(tb, v)
	if part.SHA256 != "" || bytes.Contains(part.Ref, []byte("sha256")) {
		tb.Errorf("a view knows no hash, its part has %q and %s", part.SHA256, part.Ref)
	}
	if err := v.End(tb.Context()); err != nil {
		tb.Fatalf("End: %v", err)
	}
	part.SHA256 = fmt.Sprintf("%x", sha256.Sum256(data)) // as a restore knows it from the manifest
	return part, data
}

// restoreImage does a whole restore.
func restoreImage(ctx context.Context, s *Source, rules drivers.Target, token string, part drivers.Part, data []byte) error {
	parts := []drivers.Part{part}
	if err := s.CheckTarget(ctx, rules, parts); err != nil {
		return err
	}
	if err := s.Prepare(ctx, rules, parts); err != nil {
		return err
	}
	attempt := drivers.Attempt{Run: rules.Run, Task: "load", Token: token}
	if err := s.Load(ctx, rules, attempt, part, bytes.NewReader(data)); err != nil {
		return err
	}
	return s.Finish(ctx, rules, parts)
}

func writeFile(tb testing.TB, path string, data []byte, mode fs.FileMode) {
	tb.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		tb.Fatal(err)
	}
}

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func specOf(path string) drivers.Spec { return drivers.Spec{Node: "site/db", Source: secret.New(path)} }
