package mysql

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"salvor/internal/testenv"
)

// TestPosition makes a replica from a dump: what comes after the position that the dump names is all that it lacks.
func TestPosition(t *testing.T) {
	t.Parallel()
	s := testenv.MariaDB(t, testenv.MariaDBOptions{Binlog: true})
	replica := testenv.MariaDB(t, testenv.MariaDBOptions{Binlog: s.MySQL, Settings: []string{"server_id=2"}})
	db := s.NewDatabase()
	s.Exec(db, bank)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clerks errgroup.Group
	for i := range 3 {
		c := someone(t, s, db)
		clerks.Go(func() error { return transfer(ctx, c, rand.New(rand.NewPCG(uint64(i), 9))) })
	}
	d := dumpSource(t, openSource(t, s.URL(db), `{"chunk": 65536}`), func() {
		before := s.Query(db, "SELECT n FROM counter")
		testenv.Eventually(t, time.Minute, func() string {
			if s.Query(db, "SELECT n FROM counter") == before {
				return "no money is moved"
			}
			return ""
		})
	})
	d.mustProve(t, replica, db)
	stop()
	requireNoError(t, "transfer", clerks.Wait())

	follow := fmt.Sprintf("SET GLOBAL gtid_slave_pos = '%s'; CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = %d, MASTER_USER = '%s', MASTER_USE_GTID = slave_pos; START SLAVE",
		d.facts.GTID, s.Port, testenv.MariaDBUser)
	status := "SHOW SLAVE STATUS"
	if s.MySQL {
		follow = fmt.Sprintf("RESET BINARY LOGS AND GTIDS; SET GLOBAL gtid_purged = '%s'; CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = %d, SOURCE_USER = '%s', "+
			"SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1; START REPLICA", d.facts.GTID, s.Port, testenv.MariaDBUser)
		status = "SHOW REPLICA STATUS"
	}
	if d.facts.GTID == "" {
		t.Fatalf("the dump names no position: %+v", d.facts)
	}
	replica.Exec("", follow)
	t.Cleanup(func() { replica.Crash() }) // before its source ends
	want := checksums(t, s, db)
	testenv.Eventually(t, time.Minute, func() string {
		if replica.Query(db, "SELECT n FROM counter") != s.Query(db, "SELECT n FROM counter") {
			return "the replica does not follow: " + strings.ReplaceAll(replica.Query("", status), "\n", " ")
		}
		return ""
	})
	if got := checksums(t, replica, db); got != want {
		t.Errorf("the replica holds %s, its source %s", got, want)
	}
	// The file and the offset are of the same moment.
	if d.facts.File == "" || d.facts.Position == "" {
		t.Errorf("the dump names no file and position: %+v", d.facts)
	}
}

// TestBinlogRules restores functions by an account that a server with a binary log does not trust with them.
func TestBinlogRules(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE t (i int PRIMARY KEY); CREATE FUNCTION f() RETURNS int READS SQL DATA RETURN 1; CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.i = NEW.i + 1")
	d := dumpDatabase(t, s.URL(db), "")
	target := testenv.MariaDB(t, testenv.MariaDBOptions{Binlog: true, Settings: []string{"log_bin_trust_function_creators=0"}})
	target.Exec("", "CREATE DATABASE mine; CREATE USER plain; GRANT ALL ON mine.* TO plain")
	err := d.restore(t.Context(), openSource(t, target.URLAs("mine", "plain", ""), `{"definer": "drop"}`), d.rules())
	if err == nil || hintText(err) == "" || !strings.Contains(hintText(err), "log_bin_trust_function_creators") {
		t.Errorf("restore of a function where the account is not trusted: %v (hint %q)", err, hintText(err))
	}
	target.Exec("", "SET GLOBAL log_bin_trust_function_creators = 1")
	requireNoError(t, "restore", d.restore(t.Context(), openSource(t, target.URLAs("mine", "plain", ""), `{"definer": "drop"}`), d.rules()))
	if got := target.Query("mine", "INSERT INTO t VALUES (1); SELECT i, f() FROM t"); got != "2|1" {
		t.Errorf("the copy gives %s", got)
	}
}
