package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"salvor/drivers"
	"salvor/internal/secret"
	"salvor/internal/testenv"
)

// session opens a session of somebody else's, which ends with the test.
func session(t *testing.T, s *testenv.PostgresServer, db, sql string) *pgconn.PgConn {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), s.SocketDSN(db)+" application_name=migration")
	requireNoError(t, "connect", err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	_, err = c.Exec(t.Context(), sql).ReadAll()
	requireNoError(t, sql, err)
	return c
}

func factsOf(t *testing.T, v drivers.View) facts {
	t.Helper()
	var f facts
	requireNoError(t, "read facts", json.Unmarshal(v.Facts(), &f))
	return f
}

func partsOf(t *testing.T, v drivers.View) map[string]drivers.Part {
	t.Helper()
	parts := make(map[string]drivers.Part)
	requireNoError(t, "list parts", v.Parts(t.Context(), func(p drivers.Part) error {
		parts[p.Name] = p
		return nil
	}))
	return parts
}

// TestGetReady: what waits for a lock waits before the moment, and what spoils the moment is told as a lost view.
func TestGetReady(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	ctx := t.Context()
	source := openSource(t, s.URL(db), "")
	locker := session(t, s, db, "BEGIN; LOCK TABLE shop.change IN ACCESS EXCLUSIVE MODE; INSERT INTO shop.change VALUES (1)")
	got := make(chan drivers.Ready, 1)
	var group errgroup.Group
	group.Go(func() error {
		r, err := source.GetReady(ctx)
		got <- r
		return err
	})
	testenv.Eventually(t, time.Minute, func() string {
		if n := s.Query(db, "SELECT count(*) FROM pg_locks WHERE NOT granted"); n != "1" {
			return n + " sessions wait"
		}
		return ""
	})
	_, err := locker.Exec(ctx, "COMMIT").ReadAll()
	requireNoError(t, "commit", err)
	r := <-got
	requireNoError(t, "get ready", group.Wait())
	// What comes before the moment is in it, though it came after the locks; what comes after is not.
	s.Exec(db, "INSERT INTO shop.change VALUES (2); CREATE TABLE shop.fresh AS SELECT 1 AS a")
	requireNoError(t, "take", r.Take(ctx))
	s.Exec(db, "INSERT INTO shop.change VALUES (3)")
	v, err := r.View(ctx)
	requireNoError(t, "view", err)
	r.End(ctx)
	for name, want := range map[string]string{"shop.change": "1\n2\n", "shop.fresh": "1\n"} {
		var out strings.Builder
		if _, err := v.Dump(ctx, partsOf(t, v)[name], &out); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v, want %q", name, out.String(), err, want)
		}
	}
	requireNoError(t, "end", v.End(ctx))

	r, err = source.GetReady(ctx)
	requireNoError(t, "get ready", err)
	s.Exec(db, "CREATE TABLE shop.later AS SELECT 1 AS a")
	requireNoError(t, "take", r.Take(ctx))
	s.Exec(db, "TRUNCATE shop.later")
	if _, err := r.View(ctx); !errors.Is(err, drivers.ErrViewLost) || errors.Is(err, drivers.ErrFailed) || !strings.Contains(err.Error(), "shop.later") {
		t.Errorf("view after a table was truncated: %v", err)
	}
	r.End(ctx)
	testenv.Eventually(t, time.Minute, func() string {
		if n := s.Query(db, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'salvor%'"); n != "0" {
			return n + " sessions are left"
		}
		return ""
	})
}

// TestLockedTables: a table that somebody has locked is named with who it is; one that is not dumped does not matter.
func TestLockedTables(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	session(t, s, db, "BEGIN; LOCK TABLE shop.change IN ACCESS EXCLUSIVE MODE")
	source := openSource(t, s.URL(db), "")
	source.lockWait = 100 * time.Millisecond
	_, err := source.Freeze(t.Context())
	if err == nil || !errors.Is(err, drivers.ErrFailed) || !strings.Contains(err.Error(), "migration has locked shop.change (pid ") || hintText(err) == "" {
		t.Errorf("freeze beside a locked table = %v (hint %q)", err, hintText(err))
	}
	source = openSource(t, s.URL(db), `{"exclude_tables": "shop.change"}`)
	source.lockWait = 100 * time.Millisecond
	v, err := source.Freeze(t.Context())
	requireNoError(t, "freeze without the locked table", err)
	requireNoError(t, "end", v.End(t.Context()))
}

// TestMoment: what began before the snapshot and is not in it began after the time that the facts name.
func TestMoment(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE t (at timestamptz DEFAULT now())")
	c := session(t, s, db, "BEGIN; SELECT now()")
	result, err := c.Exec(t.Context(), "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')").ReadAll()
	requireNoError(t, "ask", err)
	began, err := time.Parse("2006-01-02 15:04:05", string(result[0].Rows[0][0]))
	requireNoError(t, "parse", err)
	v, err := openSource(t, s.URL(db), "").Freeze(t.Context())
	requireNoError(t, "freeze", err)
	after := s.Query(db, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')")
	f := factsOf(t, v)
	if !f.Oldest.Equal(began) || f.OldestHidden {
		t.Errorf("oldest transaction %v (hidden %v), want %v", f.Oldest, f.OldestHidden, began)
	}
	if !f.Clock.After(began) || f.Clock.UTC().Format("2006-01-02 15:04:05.000000") >= after || f.LSN == "" || f.Snapshot == "" {
		t.Errorf("clock %v, LSN %q, snapshot %q; the transaction began %v, frozen before %s", f.Clock, f.LSN, f.Snapshot, began, after)
	}
	requireNoError(t, "end", v.End(t.Context()))
	// Without one the clock is the bound, also for a role that sees nobody's transactions.
	_, err = c.Exec(t.Context(), "COMMIT").ReadAll()
	requireNoError(t, "commit", err)
	s.Exec(db, "CREATE ROLE blind LOGIN; GRANT SELECT ON t TO blind")
	v, err = openSource(t, s.URLAs(db, "blind", ""), "").Freeze(t.Context())
	requireNoError(t, "freeze", err)
	if f := factsOf(t, v); f.Oldest.After(f.Clock) || f.Clock.Sub(f.Oldest) > time.Minute || !f.OldestHidden {
		t.Errorf("oldest %v (hidden %v), clock %v", f.Oldest, f.OldestHidden, f.Clock)
	}
	requireNoError(t, "end", v.End(t.Context()))
}

// TestFirstParts: the schema comes first, and what may not be read is known before any row is.
func TestFirstParts(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, `CREATE TABLE large AS SELECT repeat(md5(i::text), 40) AS a FROM generate_series(1, 4000) i; CREATE SEQUENCE hidden;
		SELECT lo_from_bytea(100 + i, 'x') FROM generate_series(0, 2500) i; CREATE ROLE poor LOGIN; GRANT SELECT ON large TO poor; CREATE ROLE rich`)
	v, err := openSource(t, s.URL(db), `{"globals": true}`).Freeze(t.Context())
	requireNoError(t, "freeze", err)
	var order []string
	requireNoError(t, "parts", v.Parts(t.Context(), func(p drivers.Part) error {
		order = append(order, p.Name)
		if p.Base != (len(order) <= 4) { // schema, globals, sequences, and what large objects are without their bytes
			t.Errorf("part %d is %s", len(order), p.Name)
		}
		return nil
	}))
	if f := factsOf(t, v); f.LargeObjects != 2501 || !slices.Contains(order, "large-objects/000002") || slices.Contains(order, "large-objects/000003") {
		t.Errorf("%d large objects in %q", f.LargeObjects, order)
	}
	requireNoError(t, "end", v.End(t.Context()))
	refused := func(what, want string) {
		t.Helper()
		_, err := openSource(t, s.URLAs(db, "poor", ""), "").Freeze(t.Context())
		if !errors.Is(err, drivers.ErrAccess) || !strings.Contains(err.Error(), want) || hintText(err) == "" {
			t.Errorf("freeze without %s = %v (hint %q)", what, err, hintText(err))
		}
	}
	refused("a sequence", "public.hidden")
	s.Exec(db, "GRANT SELECT ON SEQUENCE hidden TO poor; SELECT lo_unlink(100 + i) FROM generate_series(3, 2500) i; GRANT SELECT ON LARGE OBJECT 100 TO poor; "+
		"ALTER LARGE OBJECT 101 OWNER TO rich; GRANT rich TO poor")
	refused("a large object", "1 of them, the first is 102")
	s.Exec(db, "GRANT SELECT ON LARGE OBJECT 102 TO PUBLIC; ALTER TABLE large ENABLE ROW LEVEL SECURITY")
	refused("rows", "public.large")
	s.Exec(db, "ALTER ROLE poor BYPASSRLS")
	dumpDatabase(t, s.URLAs(db, "poor", ""), "", nil).mustProve(t, s, s.NewName())
}

// TestManyObjects restores large objects of several ranges, and finds one that is too many or too few.
func TestManyObjects(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "SELECT lo_from_bytea(100 + 3 * i, convert_to(repeat('x', i), 'UTF8')) FROM generate_series(0, 2100) i")
	d := dumpDatabase(t, s.URL(db), "", nil)
	name := s.NewName()
	d.mustProve(t, s, name)
	const all = "SELECT count(*), sum(oid::bigint), md5(string_agg(md5(lo_get(oid)), '' ORDER BY oid)) FROM pg_largeobject_metadata"
	if want, got := s.Query(db, all), s.Query(name, all); got != want {
		t.Errorf("large objects %s, want %s", got, want)
	}
	for _, change := range []string{"SELECT lo_from_bytea(4294967294, '')", "SELECT lo_unlink(4294967294), lo_unlink(3103)"} {
		s.Exec(name, change)
		target := openSource(t, s.URL(name), "")
		proof, err := target.Prove(t.Context(), d.rules(), d.parts)
		if err != nil || len(proof.Differences) != 1 || !strings.Contains(proof.Differences[0], "large objects") {
			t.Errorf("proof after %s = %q, %v", change, proof.Differences, err)
		}
		if err := target.CheckTarget(t.Context(), d.rules(), d.parts); !errors.Is(err, drivers.ErrNotEmpty) {
			t.Errorf("check after %s = %v, want ErrNotEmpty", change, err)
		}
	}
}

// TestDeadIdleSession ends a session that waits for its next part: the part does not notice.
func TestDeadIdleSession(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	v, err := openSource(t, s.URL(db), "").Freeze(t.Context())
	requireNoError(t, "freeze", err)
	parts := partsOf(t, v)
	for _, name := range []string{"shop.customer", "sequences", "shop.counter", "large-objects/000000"} {
		_, err := v.Dump(t.Context(), parts[name], io.Discard)
		requireNoError(t, "dump "+name, err)
		if n := endSessions(s, db, "salvor dump"); n != "1" {
			t.Fatalf("%s sessions wait", n)
		}
	}
	requireNoError(t, "end", v.End(t.Context()))
}

// TestOtherServer joins a view through a name that leads to another server, which has a snapshot of that name too.
func TestOtherServer(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	v, err := openSource(t, s.URL(db), "").Freeze(t.Context())
	requireNoError(t, "freeze", err)
	raw := bytes.Replace(ticketOf(t, v), []byte(`"started":"`), []byte(`"started":"1`), 1)
	if _, err := openSource(t, s.URL(db), "").Join(t.Context(), raw); !errors.Is(err, drivers.ErrInvalid) || hintText(err) == "" {
		t.Errorf("join on another server = %v", err)
	}
	requireNoError(t, "end", v.End(t.Context()))
}

func TestLostSnapshots(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{"22023": true, "42704": true, "55000": true, "57P01": false, "55P03": false} {
		if got := errors.Is(joinError(&pgconn.PgError{Code: code, Message: "ungültig"}), drivers.ErrViewLost); got != want {
			t.Errorf("%s: lost = %v", code, got)
		}
	}
	const query = "; pg_dump: detail: Query was: SET TRANSACTION SNAPSHOT '00000003-0000001B-1'"
	for words, want := range map[string]bool{
		"pg_dump: error: query failed: ERROR:  invalid snapshot identifier: \"x\"" + query:                       true,
		"pg_dump: error: query failed: FEHLER:  Snapshot \"00000003-0000001B-1\" existiert nicht" + query:        true,
		"pg_dump: error: query failed: server closed the connection unexpectedly" + query:                        false,
		"pg_dump: error: query failed: ERROR:  x; pg_dump: detail: Query was: SELECT 'SET TRANSACTION SNAPSHOT'": false,
	} {
		if got := errors.Is(classifyWords("pg_dump", words, errNone), drivers.ErrViewLost); got != want {
			t.Errorf("%s: lost = %v", words, got)
		}
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	big := &table{schema: "s", name: "t", heap: 1 << 30, total: 1 << 30}
	cut := cutting{whole: 1 << 29, chunk: 1 << 28}
	if n := len(big.ranges(cut, 130000)); n != 1 {
		t.Errorf("%d ranges before PostgreSQL 14, each of which would read the whole table", n)
	}
	if n := len(big.ranges(cut, 140000)); n != 4 {
		t.Errorf("%d ranges", n)
	}
	cut.whole = 1 << 30
	if n := len(big.ranges(cut, 140000)); n != 1 {
		t.Errorf("%d ranges of a table that need not be cut", n)
	}
}

// TestCutting: only a table that would keep the others waiting is cut, whatever its size below some GiB.
func TestCutting(t *testing.T) {
	t.Parallel()
	const gb = 1 << 30
	for name, c := range map[string]struct {
		limit  int
		chunk  int64
		tables []int64
		pieces []int
	}{
		"two of about a size":     {2, 0, []int64{gb, 7 * gb / 8}, []int{1, 1}},
		"one":                     {2, 0, []int64{gb}, []int{16}},
		"one of many":             {8, 0, []int64{8 * gb, gb, gb}, []int{51, 1, 1}},
		"small":                   {8, 0, []int64{128 << 20}, []int{1}},
		"larger than is repeated": {2, 0, []int64{8 * gb, 8 * gb}, []int{8, 8}},
		"as told":                 {2, 1 << 29, []int64{gb, gb / 4}, []int{2, 1}},
	} {
		v := &view{source: &Source{limit: c.limit, chunk: c.chunk}}
		for _, size := range c.tables {
			v.tables = append(v.tables, &table{heap: size, total: size})
		}
		for i, tbl := range v.tables {
			if n := len(tbl.ranges(v.cutting(), 150000)); n != c.pieces[i] {
				t.Errorf("%s: table %d has %d pieces, want %d", name, i, n, c.pieces[i])
			}
		}
	}
}

// TestRefusedSources: what cannot be read from one server, or would show a secret.
func TestRefusedSources(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"postgres://u@h/db?sslpassword=hidden", "host=h dbname=db sslpassword='hid den'", "postgres://u@a,b:5433/db", "host=a,b dbname=db", "host=a port=1,2",
	} {
		_, err := open(drivers.Spec{Source: secret.New(text)})
		if !errors.Is(err, drivers.ErrInvalid) || hintText(err) == "" || strings.Contains(fmt.Sprint(err, hintText(err)), "hid") {
			t.Errorf("open %s = %v (hint %q)", text, err, hintText(err))
		}
	}
	for text, want := range map[string]string{
		"postgres://u:secret@h/db?database=main&options=-c%20x%3D1": "postgres://u@h/main?options=-c%20x%3D1%20-c%20lc_monetary%3DC",
		"host=h database=main password=secret options='-c x=1'":     "host='h' dbname='main' options='-c x=1 -c lc_monetary=C'",
	} {
		s, err := open(drivers.Spec{Source: secret.New(text)})
		requireNoError(t, "open "+text, err)
		if diff := cmp.Diff(want, s.tool.public); diff != "" || s.config.Database != "main" {
			t.Errorf("%s as programs see it, of database %s:\n%s", text, s.config.Database, diff)
		}
	}
}
