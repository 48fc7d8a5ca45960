//go:build unix

package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// PostgresOptions says how a private PostgreSQL server is set up.
type PostgresOptions struct {
	// Password is asked of everybody who connects; "" asks nobody.
	Password string
	// TLS accepts connections by TCP only with TLS. The certificate is in Dir/server.crt and is its own authority.
	TLS bool
	// Durable leaves the server's settings at their defaults, for measurements. Without it nothing is synced to disk.
	Durable bool
	// Settings are lines of postgresql.conf.
	Settings []string
	// Bin is the directory of the server's programs; "" takes that of PostgresVariable, or the newest that is installed.
	Bin string
}

// PostgresServer is a private PostgreSQL. Its methods fail the test where they cannot do their work.
type PostgresServer struct {
	database
	// Bin holds the programs of the server's version.
	Bin string

	options PostgresOptions
}

// PostgresUser is the superuser of private servers.
const PostgresUser = "salvor_test"

// PostgresVariable names the environment variable that has tests run on another version than the newest installed: the
// directory of the server's programs.
const PostgresVariable = "SALVOR_TEST_POSTGRES"

// PostgresBins returns the directories of the installed servers' programs, the newest version first; only that of
// PostgresVariable where it is set.
func PostgresBins() []string {
	if dir := os.Getenv(PostgresVariable); dir != "" {
		return []string{dir}
	}
	var dirs []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*", "/opt/homebrew/opt/postgresql@*/bin"} {
		found, err := filepath.Glob(pattern + "/initdb")
		if err != nil {
			continue
		}
		for _, path := range slices.Backward(found) {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	if len(dirs) == 0 {
		if path, err := exec.LookPath("initdb"); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	return dirs
}

// Postgres starts a private PostgreSQL, which ends with the test. It never runs as root.
func Postgres(t testing.TB, o PostgresOptions) *PostgresServer {
	t.Helper()
	bin := o.Bin
	if bin == "" {
		bins := append(PostgresBins(), "")
		bin = bins[0]
	}
	Program(t, "postgres", filepath.Join(bin, "initdb"))
	s, err := newPostgres(t, bin, o)
	if err == nil {
		err = s.initialise()
	}
	if err != nil {
		t.Fatalf("start postgres: %v", err)
	}
	onFreePort(t, s.name, s.startOn)
	return s
}

// newPostgres makes the place of a server that ends with the test.
func newPostgres(t testing.TB, bin string, o PostgresOptions) (*PostgresServer, error) {
	t.Helper()
	s := &PostgresServer{database: database{t: t, name: "postgres"}, Bin: bin, options: o}
	s.do = s.query
	return s, s.place(func() { s.stop(syscall.SIGQUIT) })
}

func (s *PostgresServer) initialise() error {
	method, kind := "trust", "host"
	if s.options.Password != "" {
		method = "scram-sha-256"
	}
	args := []string{"-D", filepath.Join(s.Dir, "data"), "-U", PostgresUser, "-E", "UTF8", "--locale=C.UTF-8", "-A", method, "--no-sync"}
	if s.options.Password != "" {
		file := filepath.Join(s.Dir, "password")
		if err := s.user.write(file, []byte(s.options.Password+"\n")); err != nil {
			return err
		}
		args = append(args, "--pwfile", file)
	}
	if out, err := s.run("initdb", args...); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	lines := []string{
		"listen_addresses = '127.0.0.1'", "unix_socket_directories = '" + s.Dir + "'", "log_min_messages = warning", "timezone = 'UTC'",
		"password_encryption = 'scram-sha-256'", // before 14 it is another
	}
	if !s.options.Durable {
		lines = append(lines, "fsync = off", "shared_buffers = 32MB", "autovacuum = off", "max_connections = 100", "full_page_writes = off")
	}
	if s.options.TLS {
		if err := certify(s.Dir, s.user); err != nil {
			return err
		}
		kind = "hostssl"
		lines = append(lines, "ssl = on", "ssl_cert_file = '"+s.Dir+"/server.crt'", "ssl_key_file = '"+s.Dir+"/server.key'")
	}
	lines = append(lines, s.options.Settings...)
	data := filepath.Join(s.Dir, "data")
	var hba strings.Builder
	for _, what := range []string{"all", "replication"} {
		fmt.Fprintf(&hba, "local %s all %s\n%s %s all 127.0.0.1/32 %s\n", what, method, kind, what, method)
	}
	return errors.Join(
		s.user.write(filepath.Join(data, "postgresql.auto.conf"), []byte(strings.Join(lines, "\n")+"\n")),
		s.user.write(filepath.Join(data, "pg_hba.conf"), []byte(hba.String())),
	)
}

// run runs one of the server's programs as the server's user.
func (s *PostgresServer) run(program string, args ...string) (string, error) {
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.Bin, program), args...)
	cmd.Dir = s.Dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "PGPASSWORD="+s.options.Password)
	if s.user != nil {
		s.user.assume(cmd)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *PostgresServer) startOn(port int) error {
	s.Port = port
	return s.start()
}

func (s *PostgresServer) start() (err error) {
	s.process, err = startAs(s.user, s.Dir, filepath.Join(s.Bin, "postgres"), "-D", filepath.Join(s.Dir, "data"), "-p", strconv.Itoa(s.Port))
	if err != nil {
		return err
	}
	return s.process.untilItAnswers(s.t.Context(), 60*time.Second, s.ping)
}

func (s *PostgresServer) ping() error {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	conn, err := pgconn.Connect(ctx, s.SocketDSN("postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// Shutdown ends the server as an administrator does who does not wait: connections are cut, data is safe.
func (s *PostgresServer) Shutdown() {
	s.t.Helper()
	s.stop(syscall.SIGINT)
}

// Crash ends the server as a fault does: at once, and it has to recover.
func (s *PostgresServer) Crash() {
	s.t.Helper()
	s.stop(syscall.SIGQUIT)
}

// Restart starts the server again where it was, after ending it if it runs.
func (s *PostgresServer) Restart() {
	s.t.Helper()
	s.stop(syscall.SIGINT)
	if err := s.start(); err != nil {
		s.t.Fatalf("restart postgres: %v", err)
	}
}

// URL returns the URL of a database by TCP, with the superuser's password.
func (s *PostgresServer) URL(database string) string {
	return s.URLAs(database, PostgresUser, s.options.Password)
}

// URLAs is URL for another user.
func (s *PostgresServer) URLAs(database, user, password string) string {
	u := url.URL{
		Scheme: "postgres", User: url.User(user), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), Path: "/" + database,
	}
	if password != "" {
		u.User = url.UserPassword(user, password)
	}
	query := url.Values{"sslmode": {"disable"}}
	if s.options.TLS {
		query = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {filepath.Join(s.Dir, "server.crt")}}
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// SocketDSN returns the connection string of a database by the server's socket.
func (s *PostgresServer) SocketDSN(database string) string {
	text := fmt.Sprintf("host=%s port=%d user=%s dbname=%s", s.Dir, s.Port, PostgresUser, quoted(database))
	if s.options.Password != "" {
		text += " password=" + quoted(s.options.Password)
	}
	return text
}

// NewDatabase makes an empty database and returns its name. It is dropped with the server.
func (s *PostgresServer) NewDatabase() string {
	s.t.Helper()
	name := s.NewName()
	s.Exec("postgres", "CREATE DATABASE "+name+" TEMPLATE template0")
	return name
}

// query is what Do does.
func (s *PostgresServer) query(ctx context.Context, database, sql string) (string, error) {
	conn, err := pgconn.Connect(ctx, s.SocketDSN(database))
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	var lines []string
	for _, r := range results {
		for _, row := range r.Rows {
			cells := make([]string, len(row))
			for i, cell := range row {
				cells[i] = string(cell)
				if cell == nil {
					cells[i] = "NULL"
				}
			}
			lines = append(lines, strings.Join(cells, "|"))
		}
	}
	return strings.Join(lines, "\n"), nil
}

// Load runs an SQL script with psql, whose commands and COPY data it may hold.
func (s *PostgresServer) Load(database, file string) {
	s.t.Helper()
	in, err := os.Open(file)
	if err != nil {
		s.t.Fatalf("load %s: %v", file, err)
	}
	defer func() { _ = in.Close() }()
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.Bin, "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", s.SocketDSN(database))
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stderr = in, &errs
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("load %s: %v: %s", file, err, &errs)
	}
}

// Tool runs one of the client programs of the server's version on a database and returns its standard output. The
// database is named by a last argument.
func (s *PostgresServer) Tool(database, program string, args ...string) string {
	s.t.Helper()
	out, err := s.Run(database, program, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", program, err)
	}
	return out
}

// Run is Tool that returns its error.
func (s *PostgresServer) Run(database, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.Bin, program), args...)
	cmd.Env = append(os.Environ(), "PGHOST="+s.Dir, "PGPORT="+strconv.Itoa(s.Port), "PGUSER="+PostgresUser,
		"PGDATABASE="+database, "PGPASSWORD="+s.options.Password)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, errs.String())
	}
	return out.String(), nil
}

// Standby makes a server that follows this one, from a copy of its data. It ends with the test.
func (s *PostgresServer) Standby() *PostgresServer {
	s.t.Helper()
	b, err := newPostgres(s.t, s.Bin, s.options)
	if err != nil {
		s.t.Fatalf("start standby: %v", err)
	}
	out, err := b.run("pg_basebackup", "-d", s.SocketDSN("postgres"), "-D", filepath.Join(b.Dir, "data"), "-R", "-c", "fast", "--no-sync")
	if err != nil {
		s.t.Fatalf("copy server: %v: %s", err, out)
	}
	settings := "unix_socket_directories = '" + b.Dir + "'\n"
	file, err := os.OpenFile(filepath.Join(b.Dir, "data", "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString(settings) // the last line of a name counts
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		s.t.Fatalf("set up standby: %v", err)
	}
	onFreePort(s.t, "standby", b.startOn)
	return b
}
