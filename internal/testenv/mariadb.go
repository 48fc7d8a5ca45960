//go:build unix

package testenv

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// MariaDBOptions says how a private MariaDB server is set up.
type MariaDBOptions struct {
	// Password is asked of everybody who connects; "" asks nobody.
	Password string
	// TLS accepts connections by TCP only with TLS. The certificate is in Dir/server.crt and is its own authority.
	TLS bool
	// Durable leaves the server's settings at their defaults, for measurements. Without it nothing is synced to disk; what is
	// committed survives the end of the server, by kill -9 too, because the system's cache has it.
	Durable bool
	// Binlog writes a binary log, with GTIDs.
	Binlog bool
	// Settings are options of the server without their dashes: "local_infile=0". The last of a name counts.
	Settings []string
	// Bin is the directory of the server's programs; "" is that of MariaDBBin or, where that is not set, the installed ones.
	// They may be MySQL's.
	Bin string
}

// MariaDBBin is the environment variable that names the directory of other programs than the installed ones, of MariaDB or
// MySQL.
const MariaDBBin = "SALVOR_MYSQL_BIN"

// MariaDBUser may do everything on a private server, from anywhere.
const MariaDBUser = "salvor_test"

// MariaDBServer is a private MariaDB or MySQL. Its methods fail the test where they cannot do their work.
type MariaDBServer struct {
	database
	// MySQL tells that the server is MySQL, not MariaDB.
	MySQL bool

	options MariaDBOptions
	program string // mariadbd or mysqld, with its path
}

// MariaDB starts a private MariaDB, or a MySQL where the programs are that, which ends with the test. It never runs as root.
func MariaDB(t testing.TB, o MariaDBOptions) *MariaDBServer {
	t.Helper()
	if o.Bin == "" {
		o.Bin = os.Getenv(MariaDBBin)
	}
	s := &MariaDBServer{database: database{t: t, name: "mariadb"}, options: o}
	s.do = s.query
	if o.Bin != "" {
		s.program = Program(t, "mariadb", filepath.Join(o.Bin, "mariadbd"), filepath.Join(o.Bin, "mysqld"))
		s.MySQL = filepath.Base(s.program) == "mysqld"
	} else {
		s.program = Program(t, "mariadb", "mariadbd", "/usr/sbin/mariadbd", "/usr/libexec/mariadbd")
		s.options.Bin = filepath.Dir(Program(t, "mariadb", "mariadb-install-db"))
	}
	err := s.place(func() { s.stop(syscall.SIGKILL) })
	if err == nil {
		err = s.initialise()
	}
	if err != nil {
		t.Fatalf("start mariadb: %v", err)
	}
	onFreePort(t, s.name, func(port int) error {
		s.Port = port
		return s.start()
	})
	return s
}

// initFile holds what a server does before anybody connects.
const initFile = "init.sql"

func (s *MariaDBServer) initialise() error {
	if err := s.copyTemplate(filepath.Join(s.Dir, "data")); err != nil {
		return err
	}
	if s.options.TLS {
		if err := certify(s.Dir, s.user); err != nil {
			return err
		}
	}
	// A line is a statement here.
	statements := fmt.Sprintf("CREATE USER IF NOT EXISTS '%[1]s'@'%%' IDENTIFIED BY %[2]s;\nGRANT ALL PRIVILEGES ON *.* TO '%[1]s'@'%%' WITH GRANT OPTION;\n",
		MariaDBUser, quoted(s.options.Password))
	return s.user.write(filepath.Join(s.Dir, initFile), []byte(statements))
}

// arguments are the server's options. Those that begin with "loose" are unknown to one of the two flavours, or to a version.
func (s *MariaDBServer) arguments() []string {
	args := []string{
		"--no-defaults", "--datadir=" + filepath.Join(s.Dir, "data"), "--tmpdir=" + s.Dir, "--socket=" + s.socket(),
		"--pid-file=" + filepath.Join(s.Dir, "pid"), "--bind-address=127.0.0.1", "--port=" + strconv.Itoa(s.Port),
		"--skip-name-resolve", "--character-set-server=utf8mb4", "--default-time-zone=+00:00", "--local-infile=1", "--event-scheduler=OFF",
		"--server-id=1", "--loose-mysqlx=OFF", "--secure-file-priv=" + s.Dir,
	}
	if !s.options.Durable {
		args = append(args, fastMariaDB()...)
	}
	if s.options.Binlog {
		args = append(args, "--log-bin=binlog", "--binlog-format=ROW", "--sync-binlog=0", "--loose-gtid-mode=ON", "--loose-enforce-gtid-consistency=ON")
	} else {
		args = append(args, "--skip-log-bin")
	}
	if s.options.TLS {
		crt, key := filepath.Join(s.Dir, "server.crt"), filepath.Join(s.Dir, "server.key")
		args = append(args, "--ssl-ca="+crt, "--ssl-cert="+crt, "--ssl-key="+key, "--require-secure-transport=ON")
	}
	for _, setting := range s.options.Settings {
		args = append(args, "--"+setting)
	}
	if file := filepath.Join(s.Dir, initFile); exists(file) {
		args = append(args, "--init-file="+file)
	}
	return args
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// fastMariaDB are options of a server that is small and never waits for a disk.
func fastMariaDB() []string {
	return []string{
		"--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync", "--innodb-doublewrite=0",
		"--innodb-buffer-pool-dump-at-shutdown=OFF", "--innodb-buffer-pool-load-at-startup=OFF", "--key-buffer-size=8M",
		"--loose-innodb-log-file-size=16M", "--loose-innodb-redo-log-capacity=32M", "--loose-aria-pagecache-buffer-size=8M",
		"--loose-debug-no-sync", "--innodb-use-native-aio=0", "--max-connections=200",
	}
}

func (s *MariaDBServer) socket() string { return filepath.Join(s.Dir, "socket") }

func (s *MariaDBServer) start() (err error) {
	if s.process, err = startAs(s.user, s.Dir, s.program, s.arguments()...); err != nil {
		return err
	}
	err = s.process.untilItAnswers(s.t.Context(), 60*time.Second, func() error {
		_, err := s.Do(s.t.Context(), "", "DO 1")
		return err
	})
	if err == nil {
		_ = os.Remove(filepath.Join(s.Dir, initFile)) // it is done
	}
	return err
}

// Shutdown ends the server as an administrator does: connections are cut, data is safe.
func (s *MariaDBServer) Shutdown() {
	s.t.Helper()
	s.stop(syscall.SIGTERM)
}

// Crash ends the server as kill -9 does, and it has to recover.
func (s *MariaDBServer) Crash() {
	s.t.Helper()
	s.stop(syscall.SIGKILL)
}

// Restart starts the server again where it was, after ending it if it runs. settings are added to those that it has.
func (s *MariaDBServer) Restart(settings ...string) {
	s.t.Helper()
	s.stop(syscall.SIGTERM)
	s.options.Settings = append(s.options.Settings, settings...)
	if err := s.start(); err != nil {
		s.t.Fatalf("restart mariadb: %v", err)
	}
}

// URL returns the URL of a database by TCP, with the password of MariaDBUser.
func (s *MariaDBServer) URL(database string) string {
	return s.URLAs(database, MariaDBUser, s.options.Password)
}

// URLAs is URL for another user.
func (s *MariaDBServer) URLAs(database, user, password string) string {
	query := url.Values{}
	if s.options.TLS {
		query = url.Values{"tls": {"verify-full"}, "ca": {filepath.Join(s.Dir, "server.crt")}}
	}
	return s.url(net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), database, user, password, query)
}

// SocketURL returns the URL of a database by the server's socket.
func (s *MariaDBServer) SocketURL(database string) string {
	return s.url("localhost", database, MariaDBUser, s.options.Password, url.Values{"socket": {s.socket()}})
}

func (s *MariaDBServer) url(host, database, user, password string, query url.Values) string {
	u := url.URL{Scheme: "mysql", User: url.User(user), Host: host, Path: "/" + database, RawPath: "/" + url.PathEscape(database), RawQuery: query.Encode()}
	if password != "" {
		u.User = url.UserPassword(user, password)
	}
	return u.String()
}

// NewDatabase makes an empty database and returns its name. It is dropped with the server.
func (s *MariaDBServer) NewDatabase() string {
	s.t.Helper()
	name := s.NewName()
	s.Exec("", "CREATE DATABASE "+name)
	return name
}

// query is what Do does; a database of "" is none.
func (s *MariaDBServer) query(ctx context.Context, database, statements string) (_ string, err error) {
	config := mysql.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd, config.DBName = "unix", s.socket(), MariaDBUser, s.options.Password, database
	config.MultiStatements, config.AllowNativePasswords, config.Logger = true, true, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return "", err
	}
	db := sql.OpenDB(connector)
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, statements)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var lines []string
	for {
		columns, err := rows.Columns()
		if err != nil {
			return "", err
		}
		cells, places := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range cells {
			places[i] = &cells[i]
		}
		for rows.Next() {
			if err := rows.Scan(places...); err != nil {
				return "", err
			}
			texts := make([]string, len(cells))
			for i, cell := range cells {
				texts[i] = cell.String
				if !cell.Valid {
					texts[i] = "NULL"
				}
			}
			lines = append(lines, strings.Join(texts, "|"))
		}
		if !rows.NextResultSet() {
			return strings.Join(lines, "\n"), rows.Err()
		}
	}
}

// Load runs an SQL script with the client program, whose DELIMITER it may change.
func (s *MariaDBServer) Load(database, file string) {
	s.t.Helper()
	in, err := os.Open(file)
	if err != nil {
		s.t.Fatalf("load %s: %v", file, err)
	}
	defer func() { _ = in.Close() }()
	cmd := s.Command("mariadb", "--binary-mode", "--default-character-set=utf8mb4", database)
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stderr = in, &errs
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("load %s: %v: %s", file, err, &errs)
	}
}

// Tool runs one of the client programs of the server's version on the server and returns its standard output.
func (s *MariaDBServer) Tool(program string, args ...string) string {
	s.t.Helper()
	cmd := s.Command(program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("%s: %v: %s", program, err, &errs)
	}
	return out.String()
}

// Command is one of the client programs of the server's version, by MariaDB's name for it, connected to the server.
func (s *MariaDBServer) Command(program string, args ...string) *exec.Cmd {
	if s.MySQL {
		program = map[string]string{"mariadb": "mysql", "mariadb-dump": "mysqldump", "mariadb-admin": "mysqladmin"}[program]
	}
	args = append([]string{"--no-defaults", "--socket=" + s.socket(), "--user=" + MariaDBUser}, args...)
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.options.Bin, program), args...)
	cmd.Env = append(os.Environ(), "MYSQL_PWD="+s.options.Password)
	return cmd
}
