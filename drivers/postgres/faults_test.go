package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"salvor/drivers"
	"salvor/internal/testenv"
)

// seeded makes a database with the seed in it.
func seeded(t *testing.T, s *testenv.PostgresServer) string {
	t.Helper()
	name := s.NewDatabase()
	s.Exec(name, seed)
	return name
}

func endSessions(s *testenv.PostgresServer, db, like string) string {
	return s.Query("postgres", "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '"+db+"' AND application_name LIKE '"+like+"'")
}

func TestHolders(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	ctx := t.Context()
	open := func() (drivers.View, drivers.Part) {
		v, err := openSource(t, s.URL(db), "").Freeze(ctx)
		requireNoError(t, "freeze", err)
		var table drivers.Part
		requireNoError(t, "parts", v.Parts(ctx, func(p drivers.Part) error {
			if strings.HasPrefix(p.Name, "shop.customer") {
				table = p
			}
			return nil
		}))
		return v, table
	}
	dump := func(v drivers.View, p drivers.Part) (drivers.Counts, error) { return v.Dump(ctx, p, io.Discard) }

	v, part := open()
	want, err := dump(v, part)
	requireNoError(t, "dump", err)
	s.Exec(db, "DELETE FROM shop.customer WHERE id NOT IN (SELECT customer FROM shop.\"or.der/x\")")
	// One death is survived, by parts that join later too; the lead's goes first.
	if n := endSessions(s, db, "salvor freeze: hold"); n != "1" {
		t.Fatalf("%s leads", n)
	}
	joined, err := openSource(t, s.URL(db), "").Join(ctx, ticketOf(t, v))
	requireNoError(t, "join after the death of the first holder", err)
	got, err := dump(joined, part)
	if err != nil || got != want {
		t.Errorf("dump after the death of the first holder = %v, %v, want %v", got, err, want)
	}
	if err := v.Alive(ctx); err != nil {
		t.Errorf("alive after one death: %v", err)
	}
	requireNoError(t, "end of the joined view", joined.End(ctx))
	if err := v.End(ctx); err != nil {
		t.Errorf("end after one death: %v", err)
	}

	// Two are not.
	v, part = open()
	ticket := ticketOf(t, v)
	if n := endSessions(s, db, "salvor freeze: hold%"); n != "2" {
		t.Fatalf("%s holders", n)
	}
	if err := v.Alive(ctx); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("alive after both deaths: %v", err)
	}
	// A session says that it ends before it does.
	testenv.Eventually(t, time.Minute, func() string {
		if n := s.Query("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'salvor freeze: hold%'"); n != "0" {
			return n + " holders are left"
		}
		return ""
	})
	if _, err := openSource(t, s.URL(db), "").Join(ctx, ticket); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("join after both deaths: %v", err)
	}
	if _, err := dump(v, part); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("dump after both deaths: %v", err)
	}
	if err := v.End(ctx); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("end after both deaths: %v", err)
	}
	var schema drivers.Part
	w, err := openSource(t, s.URL(db), "").Freeze(ctx)
	requireNoError(t, "freeze", err)
	requireNoError(t, "parts", w.Parts(ctx, func(p drivers.Part) error {
		if p.Name == "schema" {
			schema = p
		}
		return nil
	}))
	endSessions(s, db, "salvor freeze: hold%")
	if _, err := dump(w, schema); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("dump of the schema after both deaths: %v", err)
	}
	_ = w.End(ctx)
}

// TestRestart restarts the server while a view is open: it is lost, and the next is whole.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	v, err := openSource(t, s.URL(db), "").Freeze(t.Context())
	requireNoError(t, "freeze", err)
	s.Restart()
	if err := v.Alive(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("alive after a restart: %v", err)
	}
	if err := v.End(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("end after a restart: %v", err)
	}
	dumpDatabase(t, s.URL(db), "", nil).mustProve(t, s, s.NewName())
}

// TestRewritten rewrites a table after the lists and before the lock: without a look at its file it would be empty.
func TestRewritten(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
	ctx, stop := context.WithCancel(t.Context())
	var rewriter errgroup.Group
	rewriter.Go(func() error {
		for ctx.Err() == nil {
			_, err := s.Do(ctx, db, "CREATE TABLE IF NOT EXISTS fresh (i int)") // a newcomer, at times
			if err == nil {
				_, err = s.Do(ctx, db, "SET lock_timeout = '50ms'; DROP TABLE fresh; BEGIN; CREATE TEMP TABLE kept AS TABLE t; TRUNCATE t; INSERT INTO t TABLE kept; DROP TABLE kept; COMMIT")
			}
			if err != nil && ctx.Err() == nil && !strings.Contains(err.Error(), "40P01") && !strings.Contains(err.Error(), "55P03") {
				return err
			}
		}
		return nil
	})
	for range 5 {
		v, err := openSource(t, s.URL(db), "").Freeze(t.Context())
		requireNoError(t, "freeze", err)
		requireNoError(t, "parts", v.Parts(t.Context(), func(p drivers.Part) error {
			if !strings.HasPrefix(p.Name, "public.t") {
				return nil
			}
			counts, err := v.Dump(t.Context(), p, io.Discard)
			if err == nil && counts.Rows != 1000 {
				err = fmt.Errorf("%s has %d rows", p.Name, counts.Rows)
			}
			return err
		}))
		requireNoError(t, "end", v.End(t.Context()))
	}
	stop()
	requireNoError(t, "rewrite", rewriter.Wait())
}

// TestCutConnections cuts connections in the middle of parts: the error is one to be tried again, and what is tried again
// is right.
func TestCutConnections(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	proxy := testenv.NewProxy(t, s.Port, 50_000)
	v, err := openSource(t, proxy.Through(s.URL(db)), "").Freeze(t.Context())
	requireNoError(t, "freeze", err)
	want := dumpDatabase(t, s.URL(db), "", nil)
	proxy.Cut(3)
	failed := 0
	requireNoError(t, "parts", v.Parts(t.Context(), func(p drivers.Part) error {
		for {
			var out bytes.Buffer
			_, err := v.Dump(t.Context(), p, &out)
			if err == nil {
				if p.Name != "schema" && !bytes.Equal(out.Bytes(), want.content[p.Name]) {
					t.Errorf("%s differs", p.Name)
				}
				return nil
			}
			failed++
			for _, class := range []error{drivers.ErrViewLost, drivers.ErrFailed, drivers.ErrAccess, drivers.ErrInvalid, drivers.ErrNotFound} {
				if errors.Is(err, class) {
					t.Fatalf("dump %s over a cut connection: %v is of class %v", p.Name, err, class)
				}
			}
			if failed > 5 {
				return err
			}
		}
	}))
	if failed == 0 || proxy.Cuts() == 0 {
		t.Errorf("%d parts failed, %d connections were cut: the test shows nothing", failed, proxy.Cuts())
	}
	requireNoError(t, "end", v.End(t.Context()))
}

// TestCutRestore cuts connections while a database is restored: what fails is to be tried again, and in the end every row is
// there once.
func TestCutRestore(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), `{"chunk": 65536}`, nil)
	for _, after := range []int64{3_000, 20_000, 60_000} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			t.Parallel()
			name := s.NewName()
			proxy := testenv.NewProxy(t, s.Port, after)
			proxy.Cut(6)
			target, rules := openSource(t, proxy.Through(s.URL(name)), ""), d.rules()
			failed := 0
			persist := func(what string, f func(token string) error) {
				t.Helper()
				for {
					err := f(fmt.Sprint("try", failed))
					if err == nil {
						return
					}
					failed++
					for _, class := range []error{drivers.ErrViewLost, drivers.ErrFailed, drivers.ErrAccess, drivers.ErrInvalid, drivers.ErrNotFound, drivers.ErrNotEmpty, drivers.ErrCorrupt} {
						if errors.Is(err, class) {
							t.Fatalf("%s over a cut connection: %v is of class %v", what, err, class)
						}
					}
					if failed > 20 {
						t.Fatalf("%s: %v", what, err)
					}
				}
			}
			persist("prepare", func(string) error { return target.Prepare(t.Context(), rules, d.parts) })
			for i, p := range d.parts {
				if p.Base {
					continue
				}
				persist("load "+p.Name, func(token string) error {
					attempt := drivers.Attempt{Run: rules.Run, Task: fmt.Sprint(i), Token: token}
					return target.Load(t.Context(), rules, attempt, p, bytes.NewReader(d.content[p.Name]))
				})
			}
			persist("finish", func(string) error { return target.Finish(t.Context(), rules, d.parts) })
			if failed == 0 || proxy.Cuts() == 0 {
				t.Errorf("%d calls failed, %d connections were cut: the test shows nothing", failed, proxy.Cuts())
			}
			proof, err := openSource(t, s.URL(name), "").Prove(t.Context(), rules, d.parts)
			if err != nil || len(proof.Differences) > 0 {
				t.Errorf("proof %v, %v", proof, err)
			}
			if left := s.Query(name, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'salvor%'"); left != "" {
				t.Errorf("leftovers: %s", left)
			}
		})
	}
}

// TestStoppedLoader leaves a session in the middle of a load, as a process does that was stopped: the next attempt ends it.
func TestStoppedLoader(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), "", nil)
	name := s.NewName()
	target := openSource(t, s.URL(name), "")
	rules := d.rules()
	requireNoError(t, "prepare", target.Prepare(t.Context(), rules, d.parts))
	part := d.part(t, "shop.customer")
	attempt := drivers.Attempt{Run: rules.Run, Task: "t", Token: "stopped"}
	hanging, release := io.Pipe()
	stuck := make(chan error, 1)
	go func() { stuck <- target.Load(t.Context(), rules, attempt, part, hanging) }()
	_, err := release.Write(d.content[part.Name][:100])
	requireNoError(t, "write", err)
	attempt.Token = "second"
	requireNoError(t, "load", target.Load(t.Context(), rules, attempt, part, bytes.NewReader(d.content[part.Name])))
	_ = release.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-stuck; err == nil {
		t.Error("the stopped attempt says it loaded the part too")
	}
	if got := s.Query(name, "SELECT count(*) FROM shop.customer"); got != "4000" {
		t.Errorf("%s rows", got)
	}
	requireNoError(t, "restore", d.restore(t.Context(), target, rules))
	proof, err := target.Prove(t.Context(), rules, d.parts)
	if err != nil || len(proof.Differences) > 0 {
		t.Errorf("proof %v, %v", proof, err)
	}
}

// TestWriters dumps while pgbench runs: the sums that it keeps equal are equal in the copy.
func TestWriters(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Tool(db, "pgbench", "-i", "-q", "-s", "3", db)
	ctx, stop := context.WithCancel(t.Context())
	var bench errgroup.Group
	started := make(chan struct{})
	bench.Go(func() error {
		close(started)
		for ctx.Err() == nil {
			if _, err := s.Run(db, "pgbench", "-n", "-c", "3", "-T", "1", db); err != nil {
				return err
			}
		}
		return nil
	})
	<-started
	d := dumpDatabase(t, s.URL(db), `{"chunk": 4000000}`, func() {
		// The view is open: what is committed now is not in it.
		before := s.Query(db, "SELECT count(*) FROM pgbench_history")
		testenv.Eventually(t, time.Minute, func() string {
			if s.Query(db, "SELECT count(*) FROM pgbench_history") == before {
				return "pgbench does nothing"
			}
			return ""
		})
	})
	stop()
	requireNoError(t, "pgbench", bench.Wait())
	name := s.NewName()
	d.mustProve(t, s, name)
	sums := s.Query(name, `SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
		(SELECT sum(bbalance) FROM pgbench_branches), (SELECT COALESCE(sum(delta), 0) FROM pgbench_history)`)
	first, _, _ := strings.Cut(sums, "|")
	if sums != strings.Join([]string{first, first, first, first}, "|") {
		t.Errorf("sums %s", sums)
	}
	if d.joined < 3 {
		t.Errorf("%d parts were read by the second worker", d.joined)
	}
}

// TestContinue restores what can be where a role is missing: without Continue nothing is passed over.
func TestContinue(t *testing.T) {
	t.Parallel()
	s := server(t)
	other := server(t)
	db := s.NewDatabase()
	s.Exec(db, `CREATE ROLE gone SUPERUSER; CREATE TABLE t (i int); INSERT INTO t VALUES (1); ALTER TABLE t OWNER TO gone; CREATE TABLE u (i int UNIQUE);
		CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER et ON ddl_command_start EXECUTE FUNCTION f();
		ALTER EVENT TRIGGER et OWNER TO gone`)
	d := dumpDatabase(t, s.URL(db), "", nil)
	name := other.NewDatabase()
	rules := d.rules()
	err := d.restore(t.Context(), openSource(t, other.URL(name), ""), rules)
	if err == nil || !strings.Contains(err.Error(), "restore owner of table public.t") || !strings.Contains(err.Error(), "ALTER TABLE public.t OWNER TO gone") ||
		!strings.Contains(hintText(err), "create the role") {
		t.Errorf("restore where a role is missing: %v (hint %q)", err, hintText(err))
	}
	name = other.NewDatabase()
	var problems []string
	rules.Continue, rules.Problem = true, func(name, _ string) { problems = append(problems, name) }
	// Whoever is killed before he could tell anybody what failed finds it there again.
	rules.Finished = func(context.Context) error { return errNone }
	if err := d.restore(t.Context(), openSource(t, other.URL(name), ""), rules); !errors.Is(err, errNone) || len(problems) != 2 {
		t.Errorf("restore whose end cannot be told: %v, problems %q", err, problems)
	}
	problems, rules.Finished = nil, nil
	requireNoError(t, "restore what can be", d.restore(t.Context(), openSource(t, other.URL(name), ""), rules))
	slices.Sort(problems)
	if diff := cmp.Diff([]string{"event trigger et", "owner of table public.t"}, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if got := other.Query(name, "SELECT * FROM t, (SELECT count(*) FROM u) u"); got != "1|0" {
		t.Errorf("the tables hold %s", got)
	}
	// A table that cannot be made at all costs its rows, and is named.
	s.Exec(db, "CREATE TYPE odd AS ENUM ('a'); ALTER TABLE u ADD o odd; ALTER TYPE odd OWNER TO gone; INSERT INTO u VALUES (1, 'a')")
	d = dumpDatabase(t, s.URL(db), "", nil)
	rules = d.rules()
	name, problems = other.NewDatabase(), nil
	rules.Continue, rules.Problem = true, func(name, message string) { problems = append(problems, name+": "+message) }
	d.content["public.u"] = []byte("1\tb\n")
	requireNoError(t, "restore what can be", d.restore(t.Context(), openSource(t, other.URL(name), ""), rules))
	if len(problems) != 4 || !strings.Contains(strings.Join(problems, "\n"), "public.u: ") {
		t.Errorf("problems %q", problems)
	}
}

func TestOnly(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), "", nil)
	// Into a database where other things are.
	name := s.NewDatabase()
	s.Exec(name, "CREATE SCHEMA shop; CREATE TABLE shop.other (a int); INSERT INTO shop.other VALUES (7)")
	rules := d.rules()
	rules.Only = []string{keyOf("shop", "customer")}
	target := openSource(t, s.URL(name), "")
	requireNoError(t, "restore one table", d.restore(t.Context(), target, rules))
	for query, want := range map[string]string{
		"TABLE shop.other": "7",
		"INSERT INTO shop.customer (name) VALUES ('new') RETURNING id || ' of ' || (SELECT count(*) FROM shop.customer)": "4001 of 4000",
		"SELECT to_regclass('shop.\"or.der/x\"') IS NULL":                                                                "t",
		"SELECT count(*) FROM pg_constraint WHERE conrelid = 'shop.customer'::regclass AND contype <> 'n'":               "2",
		"SELECT count(*) FROM pg_namespace WHERE nspname = 'salvor_progress'":                                            "0",
	} {
		if got := s.Query(name, query); got != want {
			t.Errorf("%s = %s, want %s", query, got, want)
		}
	}
	// It is there now, and another than in the dump.
	rules.Run += "2"
	if err := d.restore(t.Context(), target, rules); !errors.Is(err, drivers.ErrNotEmpty) {
		t.Errorf("restore onto a table that differs = %v, want ErrNotEmpty", err)
	}
	rules.Clean = true
	requireNoError(t, "restore over the table", d.restore(t.Context(), target, rules))
	if got := s.Query(name, "SELECT count(*) FROM shop.customer"); got != "4000" {
		t.Errorf("%s rows", got)
	}
}

func hintText(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

// TestErrors shows every error that a user can cause: its class, what it names, and that it says what to do.
func TestErrors(t *testing.T) {
	t.Parallel()
	s := testenv.Postgres(t, testenv.PostgresOptions{Password: "secret word"})
	db := seeded(t, s)
	s.Exec(db, "CREATE ROLE plain LOGIN PASSWORD 'plain'; GRANT USAGE ON SCHEMA shop TO plain; GRANT SELECT ON ALL TABLES IN SCHEMA shop TO plain; "+
		"REVOKE SELECT ON shop.counter FROM plain; GRANT SELECT ON ALL SEQUENCES IN SCHEMA shop TO plain; GRANT SELECT ON LARGE OBJECT 4711, 4712 TO plain")
	freeze := func(url, options string) error {
		source := openSource(t, url, options)
		v, err := source.Freeze(t.Context())
		if err != nil {
			return err
		}
		var group errgroup.Group
		err = v.Parts(t.Context(), func(p drivers.Part) error {
			group.Go(func() error {
				_, err := v.Dump(t.Context(), p, io.Discard)
				return err
			})
			return nil
		})
		return errors.Join(err, group.Wait(), v.End(t.Context()))
	}
	gone := testenv.FreePort(t)
	for name, c := range map[string]struct {
		err   error
		class error
		names string
	}{
		"server down":       {freeze(fmt.Sprintf("postgres://u:hidden@127.0.0.1:%d/db", gone), ""), nil, "connection refused"},
		"wrong password":    {freeze(s.URLAs(db, testenv.PostgresUser, "hidden"), ""), drivers.ErrAccess, "password authentication failed"},
		"no database":       {freeze(s.URL("nothing"), ""), drivers.ErrNotFound, `database "nothing" does not exist`},
		"missing privilege": {freeze(s.URLAs(db, "plain", "plain"), ""), drivers.ErrAccess, "counter"},
	} {
		switch {
		case c.err == nil:
			t.Errorf("%s: no error", name)
		case c.class != nil && !errors.Is(c.err, c.class), !strings.Contains(c.err.Error(), c.names), hintText(c.err) == "":
			t.Errorf("%s: %v (hint %q), want class %v and %q", name, c.err, hintText(c.err), c.class, c.names)
		case strings.Contains(c.err.Error(), "hidden"):
			t.Errorf("%s: the error shows the password: %v", name, c.err)
		}
	}
	// What may not be read is excluded, and the rest is whole.
	if err := freeze(s.URLAs(db, "plain", "plain"), `{"exclude_tables": ["shop.counter"]}`); err != nil {
		t.Errorf("dump without the table: %v", err)
	}
	// Rows that row security hides are an error, not a smaller dump.
	s.Exec(db, "GRANT SELECT ON shop.counter TO plain; ALTER TABLE shop.change ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON shop.change USING (n > 1)")
	if err := freeze(s.URLAs(db, "plain", "plain"), ""); !errors.Is(err, drivers.ErrAccess) || !strings.Contains(hintText(err), "BYPASSRLS") {
		t.Errorf("dump of a table with row security: %v (hint %q)", err, hintText(err))
	}
}

// TestOldPrograms lets the only pg_dump be older than the server.
func TestOldPrograms(t *testing.T) {
	s := server(t)
	db := seeded(t, s)
	dir := t.TempDir()
	for _, name := range []string{"pg_dump", "pg_restore"} {
		requireNoError(t, "write", os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho '"+name+" (PostgreSQL) 11.4'\n"), 0o700))
	}
	t.Setenv(BinVariable, dir)
	// It is told before anything is read.
	_, err := openSource(t, s.URL(db), "").Freeze(t.Context())
	want := fmt.Sprintf("pg_dump 11.4 is older than the server, which is PostgreSQL %d", major(t, s))
	if !errors.Is(err, drivers.ErrInvalid) || !strings.Contains(err.Error(), want) || hintText(err) == "" {
		t.Errorf("freeze with an old pg_dump: %v", err)
	}
}
