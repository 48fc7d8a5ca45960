//go:build linux

package chaos_test

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"salvor/internal/testenv"
)

// postgresSubject is the program, and a server with a database that takes a while.
type postgresSubject struct {
	*subject
	server *testenv.PostgresServer
	sums   string
}

func newPostgresSubject(t *testing.T) *postgresSubject {
	t.Helper()
	p := &postgresSubject{subject: &subject{}, server: testenv.Postgres(t, testenv.PostgresOptions{})}
	p.program = filepath.Join(t.TempDir(), "salvor")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", p.program, "salvor/cmd/salvor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	p.server.Exec("postgres", "CREATE DATABASE site")
	p.server.Exec("postgres", "CREATE DATABASE beside")
	p.server.Exec("beside", "CREATE TABLE t AS SELECT i, repeat('x', 100) AS x FROM generate_series(1, 20000) i; ALTER TABLE t ADD PRIMARY KEY (i)")
	p.server.Tool("site", "pgbench", "-i", "-q", "-s", "2", "site")
	p.server.Exec("site", `CREATE TABLE empty (a int); CREATE INDEX ON pgbench_accounts (abalance);
		ALTER TABLE pgbench_accounts ADD FOREIGN KEY (bid) REFERENCES pgbench_branches;
		CREATE MATERIALIZED VIEW total AS SELECT count(*) FROM pgbench_accounts; SELECT lo_from_bytea(0, decode(repeat('00ff', 500000), 'hex'))`)
	p.sums = p.sum("site")
	trial := p.round(t, 0, create, "")
	p.dumpTime = trial.must(t, trial.args(t, "dump")...)
	p.restoreTime = trial.must(t, trial.args(t, "restore")...)
	trial.compare(t)
	return p
}

// sum is what every copy of the database must hold.
func (p *postgresSubject) sum(db string) string {
	return p.server.Query(db, `SELECT (SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)) FROM pgbench_accounts t),
		(SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)) FROM pgbench_tellers t), (SELECT count(*) FROM empty), (SELECT * FROM total),
		(SELECT string_agg(oid || md5(lo_get(oid)), ' ') FROM pg_largeobject_metadata), (SELECT count(*) FROM pg_index i JOIN pg_class c
		ON c.oid = indrelid WHERE relnamespace = 'public'::regnamespace AND indisvalid), (SELECT count(*) FROM pg_constraint WHERE convalidated),
		(SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'salvor%')`)
}

// way is how a database is restored.
type way string

const (
	create way = "create" // into a new database
	clean  way = "clean"  // over another
	only   way = "only"   // one table, beside others
	two    way = "two"    // two databases
)

// ways are taken in turns.
func ways() []way { return []way{clean, only, two, create} }

// postgresRound is a round with a database.
type postgresRound struct {
	*round
	p      *postgresSubject
	way    way
	target string
	second string // the target of the second database
	config string
}

func (p *postgresSubject) round(t *testing.T, seed uint64, how way, queue string) *postgresRound {
	t.Helper()
	r := &postgresRound{
		round: &round{subject: p.subject, random: rand.New(rand.NewPCG(seed, 2)), dir: t.TempDir()}, p: p, way: how,
		target: p.server.NewName(), second: p.server.NewName(),
	}
	r.archive, r.config = filepath.Join(r.dir, "archive"), filepath.Join(r.dir, "set.yaml")
	text := fmt.Sprintf("archive: %s\nset:\n  name: site\n  children:\n    - {name: db, driver: postgres, source: %q, chunk: 3000000}\n",
		r.archive, p.server.URL("site"))
	switch how {
	case two:
		text += fmt.Sprintf("    - {name: beside, driver: postgres, source: %q}\n", p.server.URL("beside"))
	case clean, only:
		p.server.Exec("postgres", "CREATE DATABASE "+r.target)
		p.server.Exec(r.target, "CREATE TABLE old AS SELECT generate_series(1, 10) AS i")
	case create:
	}
	if queue != "" {
		text = "queue: " + queue + "\n" + text
	}
	write(t, r.config, []byte(text))
	return r
}

func (r *postgresRound) args(t *testing.T, command string) []string {
	t.Helper()
	args := []string{command, "--config", r.config, "--quiet"}
	if command == "restore" {
		args = append(args, "--into", "db="+r.p.server.URL(r.target), "--prove")
		switch r.way {
		case clean:
			args = append(args, "--clean")
		case only:
			args = append(args, "--only", "db:public.pgbench_accounts")
		case two:
			args = append(args, "--into", "beside="+r.p.server.URL(r.second), "--create")
		case create:
			args = append(args, "--create")
		}
	}
	return args
}

// compare tells whether the restored database is whole, every row once, and nothing is left beside it.
func (r *postgresRound) compare(t *testing.T) {
	t.Helper()
	s := r.p.server
	if r.way == only {
		const query = "SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)) FROM pgbench_accounts t"
		if got, want := s.Query(r.target, query), s.Query("site", query); got != want {
			t.Fatalf("the restored table has %s, the source %s", got, want)
		}
		got := s.Query(r.target, `SELECT (SELECT count(*) FROM old), (SELECT count(*) FROM pg_index WHERE indrelid = 'pgbench_accounts'::regclass AND indisvalid),
			(SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'), (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'salvor%')`)
		if got != "10|2|2|0" {
			t.Fatalf("the target holds %s, want 10 old rows, 2 indexes, 2 tables, no leftovers", got)
		}
	} else if got := r.p.sum(r.target); got != r.p.sums {
		t.Fatalf("the restored database has %s, the source %s", got, r.p.sums)
	}
	if r.way == two {
		const query = "SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)) FROM t"
		if got, want := s.Query(r.second, query), s.Query("beside", query); got != want {
			t.Fatalf("the second restored database has %s, the source %s", got, want)
		}
		s.Exec("postgres", "DROP DATABASE "+r.second)
	}
	s.Exec("postgres", "DROP DATABASE "+r.target)
	if left := s.Query("postgres", "SELECT COALESCE(string_agg(datname, ' '), '') FROM pg_database WHERE datname LIKE 'salvor%'"); left != "" {
		t.Fatalf("databases are left: %s", left)
	}
	r.noNotes(t)
}

// TestPostgresKills kills dumps, restores and resumes of a database at random moments.
func TestPostgresKills(t *testing.T) {
	t.Parallel()
	rounds, seed := setting(t, "SALVOR_CHAOS_ROUNDS", 5), setting(t, "SALVOR_CHAOS_SEED", 1)
	p := newPostgresSubject(t)
	t.Logf("seed %d, %d rounds; a dump takes %v, a restore %v", seed, rounds, p.dumpTime, p.restoreTime)
	killed := 0
	for i := range rounds {
		how := ways()[(seed+i)%len(ways())]
		t.Run(fmt.Sprint("seed ", seed+i, " ", how), func(t *testing.T) {
			r := p.round(t, uint64(seed+i), how, "")
			r.underKills(t, p.dumpTime, r.args(t, "dump"))
			r.underKills(t, p.restoreTime, r.args(t, "restore"))
			killed += r.killed
			r.compare(t)
		})
	}
	if killed == 0 && !t.Failed() {
		t.Error("nothing was killed")
	}
	t.Run("fleet", func(t *testing.T) { testPostgresFleet(t, p, seed) })
}

// testPostgresFleet dumps and restores one database by two workers, which both do parts of one snapshot, while a worker is
// killed, or the database's server restarted.
func testPostgresFleet(t *testing.T, p *postgresSubject, seed int) {
	t.Helper()
	for name, fault := range map[string]func(t *testing.T, f *fleet){
		"nothing": func(*testing.T, *fleet) {},
		"worker killed": func(t *testing.T, f *fleet) {
			t.Helper()
			f.kill(f.random.IntN(len(f.workers)))
			f.start(t)
		},
		"server restarted": func(*testing.T, *fleet) { p.server.Restart() },
		"prepare stopped":  p.stopAt("prepare"),
		"finish stopped":   p.stopAt("finish"),
	} {
		t.Run(name, func(t *testing.T) {
			stopped := strings.HasSuffix(name, " stopped")
			if stopped {
				t.Parallel() // it waits most of the time
			}
			redis := testenv.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
			r := p.round(t, uint64(seed), create, "")
			f := &fleet{round: r.round, redis: redis}
			t.Cleanup(func() {
				for i := range f.workers {
					f.kill(i)
				}
			})
			f.start(t)
			f.start(t)
			if stopped {
				// What is stopped is found by its session, not by time.
				f.must(t, append(r.args(t, "dump"), f.options()...)...)
				f.carryOut(t, 2*time.Millisecond, fault, r.args(t, "restore"))
				r.compare(t)
				return
			}
			f.carryOut(t, p.dumpTime, fault, r.args(t, "dump"))
			if name == "nothing" {
				r.sharedWork(t)
			}
			f.carryOut(t, p.restoreTime, fault, r.args(t, "restore"))
			r.compare(t)
		})
	}
}

// stopAt returns a fault: all workers are stopped as soon as a task of a restore has a session on the target. Another takes the
// task up when their lease is over, and then, or a while later, they go on with what they were at.
func (p *postgresSubject) stopAt(task string) func(t *testing.T, f *fleet) {
	return func(t *testing.T, f *fleet) {
		t.Helper()
		testenv.Eventually(t, time.Minute, func() string {
			open, err := filepath.Glob(filepath.Join(f.archive, "runs", "*.open"))
			if err != nil || len(open) != 1 {
				return fmt.Sprint("open runs: ", open, err)
			}
			run := strings.TrimSuffix(filepath.Base(open[0]), ".open")
			like := fmt.Sprintf("salvor %s %08x %%", run, crc32.ChecksumIEEE([]byte(task)))
			if p.server.Query("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '"+like+"'") == "0" {
				return "no session of " + task
			}
			return ""
		})
		f.stopAll(t)
	}
}

// sharedWork tells whether both workers did parts of the database, by the run's report.
func (r *postgresRound) sharedWork(t *testing.T) {
	t.Helper()
	testenv.Eventually(t, time.Minute, func() string {
		reports, err := filepath.Glob(filepath.Join(r.archive, "runs", "*.json"))
		if err != nil || len(reports) != 1 {
			return fmt.Sprint(reports, err)
		}
		stdout, stderr, code := r.call(t, 0, "show", "--config", r.config, "--json", strings.TrimSuffix(filepath.Base(reports[0]), ".json"))
		if code != 0 {
			return stderr
		}
		var report struct {
			Outcome struct {
				Workers []struct{ Worker, Kind string }
			}
		}
		if err := json.Unmarshal([]byte(stdout), &report); err != nil {
			return err.Error()
		}
		did := make(map[string]bool)
		for _, w := range report.Outcome.Workers {
			if w.Kind == "part" {
				did[w.Worker] = true
			}
		}
		if len(did) < 2 {
			return "one worker did it all: " + stdout
		}
		return ""
	})
}
