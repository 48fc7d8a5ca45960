//go:build linux

package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"salvor/internal/testenv"
)

// mysqlSubject is the program, and a server with a database that takes a while.
type mysqlSubject struct {
	*subject
	server *testenv.MariaDBServer
	sums   string
}

const mysqlSite = `CREATE TABLE branches (id int PRIMARY KEY, name varchar(20) NOT NULL);
CREATE TABLE accounts (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, branch int NOT NULL, balance decimal(12,2) NOT NULL, filler char(60), KEY (balance),
  FOREIGN KEY (branch) REFERENCES branches (id)) AUTO_INCREMENT = 500000;
CREATE TABLE no_key (a int, b blob);
CREATE TABLE nothing (a int);
INSERT INTO branches WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) SELECT i, CONCAT('branch ', i) FROM n;
INSERT INTO accounts WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 447)
  SELECT 1 + a.i * 448 + b.i, 1 + b.i % 20, a.i + b.i / 7, LEFT(SHA2(a.i * 448 + b.i, 256), 60) FROM n a JOIN n b;
INSERT INTO no_key SELECT id % 100, UNHEX(CONCAT('00090a5c', SHA2(id, 256))) FROM accounts WHERE id <= 20000;
CREATE VIEW totals AS SELECT branch, COUNT(*) AS n FROM accounts GROUP BY branch;
CREATE TRIGGER loud BEFORE INSERT ON accounts FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'a trigger fired'`

func newMySQLSubject(t *testing.T) *mysqlSubject {
	t.Helper()
	m := &mysqlSubject{subject: &subject{}, server: testenv.MariaDB(t, testenv.MariaDBOptions{})}
	m.program = filepath.Join(t.TempDir(), "salvor")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", m.program, "salvor/cmd/salvor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	m.server.Exec("", "CREATE DATABASE site; CREATE DATABASE beside")
	m.server.Exec("site", mysqlSite)
	m.server.Exec("beside", "CREATE TABLE t (i int PRIMARY KEY, x varchar(100)); INSERT INTO t SELECT id, REPEAT('x', 100) FROM site.accounts WHERE id <= 20000")
	m.sums = m.sum("site")
	trial := m.round(t, 0, create, "")
	m.dumpTime = trial.must(t, trial.args(t, "dump")...)
	m.restoreTime = trial.must(t, trial.args(t, "restore")...)
	trial.compare(t)
	return m
}

// sum is what every copy of the database must hold.
func (m *mysqlSubject) sum(db string) string {
	return m.checksum(db, "accounts, branches, no_key, nothing") + "\n" + m.server.Query(db, `SELECT
		(SELECT GROUP_CONCAT(table_name, ' ', table_type ORDER BY table_name) FROM information_schema.tables WHERE table_schema = DATABASE()),
		(SELECT auto_increment FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'accounts'),
		(SELECT GROUP_CONCAT(table_name, '.', index_name ORDER BY table_name, index_name) FROM information_schema.statistics WHERE table_schema = DATABASE()),
		(SELECT GROUP_CONCAT(constraint_name ORDER BY constraint_name) FROM information_schema.table_constraints WHERE table_schema = DATABASE()),
		(SELECT GROUP_CONCAT(trigger_name ORDER BY trigger_name) FROM information_schema.triggers WHERE trigger_schema = DATABASE()), (SELECT SUM(n) FROM totals)`)
}

// checksum returns the server's own sums of tables.
func (m *mysqlSubject) checksum(db, tables string) string {
	return strings.ReplaceAll(m.server.Query(db, "CHECKSUM TABLE "+tables+" EXTENDED"), db+".", "")
}

// mysqlRound is a round with a database.
type mysqlRound struct {
	*round
	m      *mysqlSubject
	way    way
	target string
	second string // the target of the second database
	config string
}

func (m *mysqlSubject) round(t *testing.T, seed uint64, how way, queue string) *mysqlRound {
	t.Helper()
	r := &mysqlRound{
		round: &round{subject: m.subject, random: rand.New(rand.NewPCG(seed, 3)), dir: t.TempDir()}, m: m, way: how,
		target: m.server.NewName(), second: m.server.NewName(),
	}
	r.archive, r.config = filepath.Join(r.dir, "archive"), filepath.Join(r.dir, "set.yaml")
	text := fmt.Sprintf("archive: %s\nset:\n  name: site\n  children:\n    - {name: db, driver: mysql, source: %q, chunk: 1000000}\n",
		r.archive, m.server.URL("site"))
	switch how {
	case two:
		text += fmt.Sprintf("    - {name: beside, driver: mysql, source: %q}\n", m.server.URL("beside"))
	case clean, only:
		m.server.Exec("", "CREATE DATABASE "+r.target)
		m.server.Exec(r.target, "CREATE TABLE old AS SELECT id AS i FROM site.branches WHERE id <= 10")
	case create:
	}
	if queue != "" {
		text = "queue: " + queue + "\n" + text
	}
	write(t, r.config, []byte(text))
	return r
}

func (r *mysqlRound) args(t *testing.T, command string) []string {
	t.Helper()
	args := []string{command, "--config", r.config, "--quiet"}
	if command == "restore" {
		args = append(args, "--into", "db="+r.m.server.URL(r.target), "--prove")
		switch r.way {
		case clean:
			args = append(args, "--clean")
		case only:
			args = append(args, "--only", "db:accounts")
		case two:
			args = append(args, "--into", "beside="+r.m.server.URL(r.second), "--create")
		case create:
			args = append(args, "--create")
		}
	}
	return args
}

// compare tells whether the restored database is whole, every row once, and nothing is left beside it.
func (r *mysqlRound) compare(t *testing.T) {
	t.Helper()
	s := r.m.server
	if r.way == only {
		if got, want := r.m.checksum(r.target, "accounts"), r.m.checksum("site", "accounts"); got != want {
			t.Fatalf("the restored table has %s, the source %s", got, want)
		}
		got := s.Query(r.target, `SELECT GROUP_CONCAT(table_name ORDER BY table_name), (SELECT COUNT(*) FROM old),
			(SELECT GROUP_CONCAT(index_name ORDER BY index_name) FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'accounts')
			FROM information_schema.tables WHERE table_schema = DATABASE()`)
		if got != "accounts,old|10|balance,branch,PRIMARY" {
			t.Fatalf("the target holds %s, want the restored table with its indexes, beside the one that was there", got)
		}
	} else if got := r.m.sum(r.target); got != r.m.sums {
		t.Fatalf("the restored database has\n%s, the source\n%s", got, r.m.sums)
	}
	if r.way == two {
		if got, want := r.m.checksum(r.second, "t"), r.m.checksum("beside", "t"); got != want {
			t.Fatalf("the second restored database has %s, the source %s", got, want)
		}
		s.Exec("", "DROP DATABASE "+r.second)
	}
	s.Exec("", "DROP DATABASE "+r.target)
	if left := s.Query("", "SELECT COALESCE(GROUP_CONCAT(schema_name), '') FROM information_schema.schemata WHERE schema_name LIKE 'salvor%'"); left != "" {
		t.Fatalf("databases are left: %s", left)
	}
	r.noNotes(t)
}

// TestMySQLKills kills dumps, restores and resumes of a database at random moments.
func TestMySQLKills(t *testing.T) {
	t.Parallel()
	rounds, seed := setting(t, "SALVOR_CHAOS_ROUNDS", 5), setting(t, "SALVOR_CHAOS_SEED", 1)
	m := newMySQLSubject(t)
	t.Logf("seed %d, %d rounds; a dump takes %v, a restore %v", seed, rounds, m.dumpTime, m.restoreTime)
	killed := 0
	for i := range rounds {
		how := ways()[(seed+i)%len(ways())]
		t.Run(fmt.Sprint("seed ", seed+i, " ", how), func(t *testing.T) {
			r := m.round(t, uint64(seed+i), how, "")
			r.underKills(t, m.dumpTime, r.args(t, "dump"))
			r.underKills(t, m.restoreTime, r.args(t, "restore"))
			killed += r.killed
			r.compare(t)
		})
	}
	if killed == 0 && !t.Failed() {
		t.Error("nothing was killed")
	}
	t.Run("fleet", func(t *testing.T) { testMySQLFleet(t, m, seed) })
}

// testMySQLFleet dumps and restores one database by two workers, while a worker is killed or stopped, or the database's server
// killed or restarted.
func testMySQLFleet(t *testing.T, m *mysqlSubject, seed int) {
	t.Helper()
	for name, fault := range map[string]func(t *testing.T, f *fleet, r *mysqlRound){
		"nothing": func(*testing.T, *fleet, *mysqlRound) {},
		"worker killed": func(t *testing.T, f *fleet, _ *mysqlRound) {
			t.Helper()
			f.kill(f.random.IntN(len(f.workers)))
			f.start(t)
		},
		"server restarted": func(*testing.T, *fleet, *mysqlRound) { m.server.Restart() },
		"server killed": func(*testing.T, *fleet, *mysqlRound) {
			m.server.Crash()
			m.server.Restart()
		},
		"prepare stopped": m.stopAt("prepare"),
		"finish stopped":  m.stopAt("finish"),
	} {
		t.Run(name, func(t *testing.T) {
			stopped := strings.HasSuffix(name, " stopped")
			if stopped {
				t.Parallel() // it waits most of the time
			}
			redis := testenv.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
			r := m.round(t, uint64(seed), create, "")
			f := &fleet{round: r.round, redis: redis}
			t.Cleanup(func() {
				for i := range f.workers {
					f.kill(i)
				}
			})
			f.start(t)
			f.start(t)
			fault := func(t *testing.T, f *fleet) {
				t.Helper()
				fault(t, f, r)
			}
			if stopped {
				// What is stopped is found by what it notes in the target, not by time.
				f.must(t, append(r.args(t, "dump"), f.options()...)...)
				f.carryOut(t, 2*time.Millisecond, fault, r.args(t, "restore"))
			} else {
				f.carryOut(t, m.dumpTime, fault, r.args(t, "dump"))
				f.carryOut(t, m.restoreTime, fault, r.args(t, "restore"))
			}
			r.compare(t)
		})
	}
}

// stopAt returns a fault: all workers are stopped as soon as a task of a restore has noted its session in the target. Another
// takes the task up when their lease is over, and then, or a while later, they go on with what they were at.
func (m *mysqlSubject) stopAt(task string) func(t *testing.T, f *fleet, r *mysqlRound) {
	return func(t *testing.T, f *fleet, r *mysqlRound) {
		t.Helper()
		testenv.Eventually(t, time.Minute, func() string {
			n, err := m.server.Do(t.Context(), r.target, "SELECT COUNT(*) FROM salvor_progress_session WHERE task = '"+task+"'")
			if err != nil || n == "0" {
				return fmt.Sprint("no session of ", task, ": ", n, err)
			}
			return ""
		})
		f.stopAll(t)
	}
}
