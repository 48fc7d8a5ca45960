//go:build unix

package testenv_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"salvor/internal/testenv"
)

func TestMariaDB(t *testing.T) {
	t.Parallel()
	plain := testenv.MariaDB(t, testenv.MariaDBOptions{Binlog: true, Settings: []string{"max_allowed_packet=1M", "max_allowed_packet=2M"}})
	locked := testenv.MariaDB(t, testenv.MariaDBOptions{Password: `p w'\`, TLS: true})
	if plain.Port == locked.Port {
		t.Fatalf("two servers on port %d", plain.Port)
	}
	db := plain.NewDatabase()
	plain.Exec(db, "CREATE TABLE t (a int, b text) ENGINE=InnoDB; INSERT INTO t VALUES (1, 'x'), (2, NULL)")
	plain.Crash()
	if _, err := plain.Do(t.Context(), db, "TABLE t"); err == nil {
		t.Error("the crashed server answers")
	}
	plain.Restart("local_infile=0")
	plain.Restart()
	if got := plain.Query(db, "SELECT * FROM t; SELECT @@local_infile, @@max_allowed_packet, @@log_bin, @@time_zone"); got != "1|x\n2|NULL\n0|2097152|1|+00:00" {
		t.Errorf("after a crash and restarts the server says %q", got)
	}
	if got := locked.Query("", "SELECT @@log_bin, @@local_infile"); got != "0|1" {
		t.Errorf("the other server says %q", got)
	}

	script := filepath.Join(t.TempDir(), "script.sql")
	if err := os.WriteFile(script, []byte("DELIMITER //\nCREATE PROCEDURE p() BEGIN INSERT INTO t VALUES (3, '\u00fc'); END//\nDELIMITER ;\nCALL p();\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	plain.Load(db, script)
	if got := strings.ReplaceAll(plain.Tool("mariadb-dump", "--skip-comments", db), "\n", ""); !strings.Contains(got, "(1,'x'),(2,NULL),(3,'\u00fc')") {
		t.Errorf("the dump does not hold the rows:\n%s", got)
	}
	for _, fails := range []string{"SELECT 1; SELECT no", "SELECT no; SELECT 1", "INSERT INTO t VALUES (1, 'y'); INSERT INTO no VALUES (1)"} {
		if _, err := plain.Do(t.Context(), db, fails); err == nil {
			t.Errorf("%s: no error", fails)
		}
	}
}

// TestMariaDBPassword connects to servers that ask for a password and TLS.
func TestMariaDBPassword(t *testing.T) {
	t.Parallel()
	s := testenv.MariaDB(t, testenv.MariaDBOptions{Password: `p w'\`, TLS: true})
	addr := "127.0.0.1:" + strconv.Itoa(s.Port)
	for _, c := range []struct{ password, tls, want string }{
		{`p w'\`, "skip-verify", ""}, {"wrong", "skip-verify", "Access denied"}, {`p w'\`, "false", "Error "},
	} {
		config := mysql.NewConfig()
		config.Net, config.Addr, config.User, config.Passwd, config.TLSConfig = "tcp", addr, testenv.MariaDBUser, c.password, c.tls
		db, err := sql.Open("mysql", config.FormatDSN())
		if err != nil {
			t.Fatal(err)
		}
		err = db.PingContext(context.WithoutCancel(t.Context()))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("connect with password %q, tls %s: %v, want %q", c.password, c.tls, err, c.want)
		}
		_ = db.Close()
	}
	want := "mysql://salvor_test:p%20w%27%5C@" + addr + "/a%2Fb?ca=" + strings.ReplaceAll(s.Dir, "/", "%2F") + "%2Fserver.crt&tls=verify-full"
	if got := s.URL("a/b"); got != want {
		t.Errorf("URL is %s, want %s", got, want)
	}
}

// TestMariaDBSettings starts a server whose data directory is unlike the other ones'.
func TestMariaDBSettings(t *testing.T) {
	t.Parallel()
	s := testenv.MariaDB(t, testenv.MariaDBOptions{Durable: true, Settings: []string{"lower_case_table_names=1", "innodb-page-size=8k"}})
	if got := s.Query("", "SELECT @@lower_case_table_names, @@innodb_page_size"); got != "1|8192" {
		t.Errorf("the server says %q", got)
	}
}
