package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
	"salvor/internal/testenv"
)

// seed is a small database with rows enough for several writes, in tables of several ranges.
const seed = `
CREATE TABLE customer (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, name varchar(60) NOT NULL UNIQUE, data varbinary(200));
INSERT INTO customer (name, data) WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 63)
  SELECT CONCAT('customer ', a.i, '-', b.i), UNHEX(REPEAT(SHA2(a.i * 64 + b.i, 256), 2)) FROM n a JOIN n b WHERE a.i * 64 + b.i < 4000;
CREATE TABLE ` + "`or.der/x`" + ` (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, customer int, note text, total int GENERATED ALWAYS AS (customer * 2) STORED,
  KEY (customer), KEY (note(20)), FOREIGN KEY (customer) REFERENCES customer (id));
INSERT INTO ` + "`or.der/x`" + ` (customer, note) SELECT 1 + id % 4000, CONCAT('tab\t new\nline \\ end ', id) FROM customer WHERE id <= 3000;
CREATE TABLE no_key (a int, b varchar(100));
INSERT INTO no_key SELECT id % 10, name FROM customer WHERE id <= 1000;
CREATE TABLE nothing (a int);
CREATE VIEW grouped AS SELECT customer, COUNT(*) AS n FROM ` + "`or.der/x`" + ` GROUP BY customer;
CREATE TRIGGER loud BEFORE INSERT ON customer FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'a trigger fired';
CREATE PROCEDURE p() SELECT 1`

// seeded makes a database with the seed in it.
func seeded(t *testing.T, s *testenv.MariaDBServer) string {
	t.Helper()
	name := s.NewDatabase()
	s.Exec(name, seed)
	return name
}

// someone opens a session of somebody else's, which ends with the test.
func someone(t *testing.T, s *testenv.MariaDBServer, db string) *conn {
	t.Helper()
	c, err := openSource(t, s.URL(db), "").connect(t.Context(), "migration")
	requireNoError(t, "connect", err)
	t.Cleanup(c.close)
	return c
}

// mayPass fails where an error says that trying again would be of no use.
func mayPass(t *testing.T, what string, err error, but ...error) {
	t.Helper()
	for _, class := range []error{drivers.ErrViewLost, drivers.ErrFailed, drivers.ErrAccess, drivers.ErrInvalid, drivers.ErrNotFound, drivers.ErrNotEmpty, drivers.ErrCorrupt} {
		if errors.Is(err, class) && !slices.Contains(but, class) {
			t.Fatalf("%s: %v is of class %v", what, err, class)
		}
	}
}

// TestRestart ends the server while a view is open: it is lost, and the next is whole.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	want := dumpDatabase(t, s.URL(db), "")
	for name, fault := range map[string]func(){"restart": func() { s.Restart() }, "crash": func() { s.Crash(); s.Restart() }} {
		v, err := openSource(t, s.URL(db), "").Freeze(t.Context())
		requireNoError(t, "freeze", err)
		// In the middle of a part, too.
		var part drivers.Part
		requireNoError(t, "parts", v.Parts(t.Context(), func(p drivers.Part) error {
			if strings.HasPrefix(p.Name, "customer") {
				part = p
			}
			return nil
		}))
		fault()
		if _, err := v.Dump(t.Context(), part, io.Discard); err == nil {
			t.Errorf("dump after a %s succeeds", name)
		}
		if err := v.Alive(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
			t.Errorf("alive after a %s: %v", name, err)
		}
		if err := v.End(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
			t.Errorf("end after a %s: %v", name, err)
		}
	}
	got := dumpDatabase(t, s.URL(db), "")
	if len(got.parts) != len(want.parts) {
		t.Errorf("%d parts, want %d", len(got.parts), len(want.parts))
	}
	got.mustProve(t, s, s.NewName())
}

// crasher is a writer that kills the server when the first byte comes.
type crasher struct {
	once  sync.Once
	crash func()
}

func (c *crasher) Write(p []byte) (int, error) {
	c.once.Do(c.crash)
	return len(p), nil
}

// TestCrashInPart kills the server while a part is read: the part fails, whatever of it was in buffers.
func TestCrashInPart(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE t (i int PRIMARY KEY, b longblob)")
	for i := range 20 {
		s.Exec(db, fmt.Sprintf("INSERT INTO t VALUES (%d, REPEAT('x', 2000000))", i))
	}
	v, err := openSource(t, s.URL(db), "").Freeze(t.Context())
	requireNoError(t, "freeze", err)
	requireNoError(t, "parts", v.Parts(t.Context(), func(p drivers.Part) error {
		if p.Base {
			return nil
		}
		if counts, err := v.Dump(t.Context(), p, &crasher{crash: s.Crash}); err == nil {
			t.Errorf("a part of %d rows of 20 came out of a dead server", counts.Rows)
		}
		return nil
	}))
	if err := v.End(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("end after a crash: %v", err)
	}
}

// TestCutConnections cuts connections in the middle of parts: the error is one to be tried again, and what is tried again
// is right.
func TestCutConnections(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	proxy := testenv.NewProxy(t, s.Port, 100_000)
	v, err := openSource(t, proxy.Through(s.URL(db)), "").Freeze(t.Context())
	requireNoError(t, "freeze", err)
	want := dumpDatabase(t, s.URL(db), "")
	proxy.Cut(2)
	failed := 0
	requireNoError(t, "parts", v.Parts(t.Context(), func(p drivers.Part) error {
		for {
			var out bytes.Buffer
			_, err := v.Dump(t.Context(), p, &out)
			if err == nil {
				if !p.Base && !bytes.Equal(out.Bytes(), want.content[p.Name]) {
					t.Errorf("%s differs", p.Name)
				}
				return nil
			}
			failed++
			mayPass(t, "dump "+p.Name+" over a cut connection", err)
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

// TestCutRestore cuts connections, or kills the server, while a database is restored: what fails is to be tried again, and in
// the end every row is there once.
func TestCutRestore(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), `{"chunk": 65536}`)
	for _, infile := range []string{"1", "0"} {
		for _, after := range []int64{2_000, 6_000, 20_000, 60_000} {
			t.Run(fmt.Sprint("local_infile ", infile, ", cut after ", after), func(t *testing.T) {
				t.Parallel()
				target := server(t, "local_infile="+infile)
				proxy := testenv.NewProxy(t, target.Port, after)
				proxy.Cut(6)
				name := target.NewName()
				failed := persist(t, d, openSource(t, proxy.Through(target.URL(name)), ""))
				if failed == 0 || proxy.Cuts() == 0 {
					t.Errorf("%d calls failed, %d connections were cut: the test shows nothing", failed, proxy.Cuts())
				}
				d.mustBeProved(t, target, name)
			})
		}
	}
	for _, seed := range []uint64{1, 2, 3} {
		t.Run(fmt.Sprint("server killed, seed ", seed), func(t *testing.T) {
			t.Parallel()
			target := server(t)
			name := target.NewName()
			random := rand.New(rand.NewPCG(seed, 0))
			ctx, stop := context.WithCancel(t.Context())
			var group errgroup.Group
			group.Go(func() error {
				for range 4 {
					select {
					case <-time.After(time.Duration(50+random.IntN(400)) * time.Millisecond):
					case <-ctx.Done():
						return nil
					}
					target.Crash()
					target.Restart()
				}
				return nil
			})
			failed := persist(t, d, openSource(t, target.URL(name), ""))
			stop()
			_ = group.Wait()
			t.Logf("%d calls failed", failed)
			d.mustBeProved(t, target, name)
		})
	}
}

// persist restores a dump, trying again whatever fails, and returns how often something did.
func persist(t *testing.T, d *stash, target *Source) (failed int) {
	t.Helper()
	rules := d.rules()
	again := func(what string, f func(token string) error) {
		t.Helper()
		deadline := time.Now().Add(2 * time.Minute)
		for {
			err := f(fmt.Sprint("try", failed))
			if err == nil {
				return
			}
			failed++
			mayPass(t, what, err)
			if time.Now().After(deadline) {
				t.Fatalf("%s: %v", what, err)
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-t.Context().Done():
			}
		}
	}
	again("check", func(string) error { return target.CheckTarget(t.Context(), rules, d.parts) })
	again("prepare", func(string) error { return target.Prepare(t.Context(), rules, d.parts) })
	for i, p := range d.parts {
		if p.Base {
			continue
		}
		again("load "+p.Name, func(token string) error {
			attempt := drivers.Attempt{Run: rules.Run, Task: fmt.Sprint(i), Token: token}
			return target.Load(t.Context(), rules, attempt, p, bytes.NewReader(d.content[p.Name]))
		})
	}
	again("finish", func(string) error { return target.Finish(t.Context(), rules, d.parts) })
	return failed
}

// TestStoppedLoader leaves a session in the middle of a load, as a process does that was stopped: the next attempt ends it.
func TestStoppedLoader(t *testing.T) {
	t.Parallel()
	for _, infile := range []string{"1", "0"} {
		s := server(t, "local_infile="+infile)
		d := dumpDatabase(t, s.URL(seeded(t, s)), "")
		name := s.NewName()
		target, rules := openSource(t, s.URL(name), ""), d.rules()
		requireNoError(t, "prepare", target.Prepare(t.Context(), rules, d.parts))
		part := d.part(t, "customer")
		d.loadAfterStopped(t, target, rules, part, 1, 2)
		if got := s.Query(name, "SELECT COUNT(*) FROM customer"); got != "4000" {
			t.Errorf("%s rows", got)
		}
		requireNoError(t, "restore", d.restore(t.Context(), target, rules))
		d.mustBeProved(t, s, name)
	}
}

// TestLockLimit: a lock that is not had in time is given up, and nobody waits for it any more.
func TestLockLimit(t *testing.T) {
	t.Parallel()
	for name, blocks := range map[string]string{
		"locked tables": "LOCK TABLES old WRITE, nothing WRITE",
		// It writes to a table without transactions, which no lock may cut in two.
		"long statement": "UPDATE old SET i = SLEEP(60)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := server(t)
			db := seeded(t, s)
			s.Exec(db, "CREATE TABLE old (i int) ENGINE = MyISAM; INSERT INTO old VALUES (1)")
			other := someone(t, s, db)
			done := make(chan error, 1)
			go func() { done <- other.exec(t.Context(), blocks) }()
			testenv.Eventually(t, 10*time.Second, func() string {
				if len(done) == 0 && s.Query("", "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%SLEEP(60)'") == "0" {
					return "nothing blocks"
				}
				return ""
			})
			began := time.Now()
			_, err := openSource(t, s.URL(db), `{"lock_timeout": 1}`).Freeze(t.Context())
			if err == nil || !errors.Is(err, drivers.ErrFailed) || hintText(err) == "" {
				t.Errorf("freeze beside what does not end = %v (hint %q)", err, hintText(err))
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			// Whoever writes, or locks, does not wait for what was given up.
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if _, err := s.Do(ctx, db, "INSERT INTO no_key VALUES (1, 'x'); ALTER TABLE no_key ADD c int"); err != nil {
				t.Errorf("write after the lock was given up: %v", err)
			}
			testenv.Eventually(t, 10*time.Second, func() string {
				left := s.Query("", "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '"+testenv.MariaDBUser+"' AND id <> CONNECTION_ID()")
				if left != "1" {
					return left + " sessions are left, want the other's"
				}
				return ""
			})
			s.Exec("", fmt.Sprintf("KILL %d", other.id))
			if err := <-done; err != nil && name == "locked tables" {
				t.Errorf("%s: %v", blocks, err)
			}
			dumpDatabase(t, s.URL(db), `{"lock_timeout": 30}`).mustProve(t, s, s.NewName())
		})
	}
}

// TestLockTurns: a transaction whose next statement waits for the lock holds a row that a statement waits for which the lock
// waits for. The view is opened all the same, long before the rows' own time is over.
func TestLockTurns(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	s.Exec(db, "CREATE TABLE row_of (id int PRIMARY KEY, n int); INSERT INTO row_of VALUES (1, 0), (2, 0)")
	first, second := someone(t, s, db), someone(t, s, db)
	requireNoError(t, "begin", first.exec(t.Context(), "START TRANSACTION"))
	requireNoError(t, "take a row", first.exec(t.Context(), "UPDATE row_of SET n = 1 WHERE id = 1"))
	waits := make(chan error, 1)
	go func() { waits <- second.exec(t.Context(), "UPDATE row_of SET n = 2 WHERE id = 1") }()
	waiting := func(like string) {
		t.Helper()
		testenv.Eventually(t, 10*time.Second, func() string {
			if s.Query("", "SELECT COUNT(*) FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND info LIKE '"+like+"'") == "0" {
				return "nobody is at " + like
			}
			return ""
		})
	}
	waiting("UPDATE row_of SET n = 2%")
	frozen := make(chan error, 1)
	go func() {
		v, err := openSource(t, s.URL(db), `{"lock_timeout": 20}`).Freeze(t.Context())
		if err == nil {
			err = v.End(t.Context())
		}
		frozen <- err
	}()
	if first.server.lockPlan().turns {
		waiting("FLUSH%")
	}
	requireNoError(t, "go on", first.exec(t.Context(), "UPDATE row_of SET n = 1 WHERE id = 2"))
	requireNoError(t, "commit", first.exec(t.Context(), "COMMIT"))
	requireNoError(t, "wait", <-waits)
	requireNoError(t, "freeze", <-frozen)
}

// TestDefinitionsChange changes tables while a view is open: the view shows them as they were, or says that it is lost.
func TestDefinitionsChange(t *testing.T) {
	t.Parallel()
	for _, change := range []string{
		"ALTER TABLE customer ADD x int DEFAULT 1, DROP data", "TRUNCATE nothing", "DROP TABLE no_key", "RENAME TABLE no_key TO other",
		"CREATE TABLE fresh (i int)", "CREATE OR REPLACE VIEW grouped AS SELECT 1 AS customer, 2 AS n", "DROP PROCEDURE p",
		"ALTER TABLE no_key ENGINE = MyISAM", "OPTIMIZE TABLE no_key",
	} {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			s := server(t)
			db := seeded(t, s)
			want := dumpDatabase(t, s.URL(db), "")
			v, err := openSource(t, s.URL(db), "").Freeze(t.Context())
			requireNoError(t, "freeze", err)
			migrated := make(chan error, 1)
			go func() {
				_, err := s.Do(t.Context(), db, change)
				migrated <- err
			}()
			// It waits behind the view, or is done at once.
			testenv.Eventually(t, 20*time.Second, func() string {
				if len(migrated) > 0 {
					return ""
				}
				if got := s.Query("", "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE '%metadata lock%' OR state LIKE '%backup%'"); got == "0" {
					return "the migration neither waits nor ends"
				}
				return ""
			})
			d, err := dumpView(t.Context(), v)
			if err != nil {
				if !errors.Is(err, drivers.ErrViewLost) || hintText(err) == "" {
					t.Errorf("dump beside a migration: %v (hint %q), want ErrViewLost", err, hintText(err))
				}
			} else {
				for name, content := range want.content {
					if !bytes.Equal(content, d.content[name]) {
						t.Errorf("part %s differs from what it was when the view was opened", name)
					}
				}
			}
			requireNoError(t, change, <-migrated)
		})
	}
}

// TestMigrationsGoOn opens views while others define things, here and elsewhere on the server: what they do may wait, and never
// fails for it.
func TestMigrationsGoOn(t *testing.T) {
	t.Parallel()
	s := server(t)
	db, other := seeded(t, s), s.NewDatabase()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var migrations errgroup.Group
	for i, place := range []string{other, other, db} {
		c := someone(t, s, place)
		migrations.Go(func() error {
			name := fmt.Sprint("fresh", i)
			for ctx.Err() == nil {
				for _, sql := range []string{
					"CREATE TABLE " + name + " (i int)", "INSERT INTO " + name + " VALUES (1)", "ALTER TABLE " + name + " ADD j int",
					"CREATE DATABASE " + name, "DROP DATABASE " + name, "DROP TABLE " + name,
				} {
					if err := c.exec(context.WithoutCancel(ctx), sql); err != nil {
						return fmt.Errorf("%s: %w", sql, err)
					}
				}
			}
			return nil
		})
	}
	for range 15 {
		v, err := openSource(t, s.URL(db), `{"exclude_tables": "fresh*"}`).Freeze(t.Context())
		requireNoError(t, "freeze", err)
		requireNoError(t, "end", v.End(t.Context()))
	}
	stop()
	requireNoError(t, "migrate", migrations.Wait())
}

// bank is two tables of several ranges; what is in both together never changes.
const bank = `CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL, filler char(200));
CREATE TABLE others (id varchar(20) PRIMARY KEY, balance bigint NOT NULL, filler char(200));
CREATE TABLE counter (n int NOT NULL);
INSERT INTO accounts WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i, 1000, REPEAT('x', 200) FROM n;
INSERT INTO others SELECT CONCAT('id', id), balance, filler FROM accounts;
INSERT INTO counter VALUES (0)`

// transfer moves money until the context ends, and commits each time.
func transfer(ctx context.Context, c *conn, random *rand.Rand) error {
	for ctx.Err() == nil {
		n := random.IntN(100)
		for _, sql := range []string{
			"START TRANSACTION",
			fmt.Sprintf("UPDATE accounts SET balance = balance - %d WHERE id = %d", n, 1+random.IntN(900)),
			fmt.Sprintf("UPDATE others SET balance = balance + %d WHERE id = 'id%d'", n, 1+random.IntN(900)),
			"UPDATE counter SET n = n + 1",
			"COMMIT",
		} {
			if err := c.exec(context.WithoutCancel(ctx), sql); err != nil {
				if isCode(err, codeDeadlock, codeLockWait) {
					c.rollback(ctx)
					break
				}
				return err
			}
		}
	}
	return nil
}

// TestBank dumps a bank again and again while money is moved: every restored copy has all of it.
func TestBank(t *testing.T) {
	t.Parallel()
	for _, sessions := range []int{1, 8} {
		t.Run(fmt.Sprint(sessions, " sessions"), func(t *testing.T) {
			t.Parallel()
			s := server(t)
			db := s.NewDatabase()
			s.Exec(db, bank)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var clerks errgroup.Group
			for i := range 3 {
				c := someone(t, s, db)
				clerks.Go(func() error { return transfer(ctx, c, rand.New(rand.NewPCG(uint64(i), 7))) })
			}
			last := "0"
			for i := range 20 {
				d := dumpSource(t, openLimited(t, s.URL(db), `{"chunk": 65536}`, sessions), func() {
					// The view is open: what is committed now is not in it.
					testenv.Eventually(t, time.Minute, func() string {
						now := s.Query(db, "SELECT n FROM counter")
						if now == last {
							return "no money is moved"
						}
						last = now
						return ""
					})
				})
				if d.facts.Method != methodLock {
					t.Errorf("the view was opened by %s", d.facts.Method)
				}
				name := s.NewName()
				requireNoError(t, "restore", d.restore(t.Context(), openSource(t, s.URL(name), ""), d.rules()))
				if got := s.Query(name, "SELECT (SELECT SUM(balance) FROM accounts) + (SELECT SUM(balance) FROM others), (SELECT COUNT(*) FROM accounts)"); got != "1800000|900" {
					t.Errorf("copy %d holds %s", i, got)
				}
				s.Exec("", "DROP DATABASE "+name)
			}
			stop()
			requireNoError(t, "transfer", clerks.Wait())
		})
	}
}
