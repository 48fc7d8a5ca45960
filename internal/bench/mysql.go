//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// mysqlRoom is about how many bytes of disk the database, its dumps and its copy take.
const mysqlRoom = 8 * gigabyte

// What the product may take of its rivals' wall time, and store of their bytes.
const (
	mysqlDump   = ratio(0.70) // of mydumper's
	mysqlBytes  = ratio(1)    // of mydumper's
	mysqlLoader = ratio(0.85) // of myloader's
	mysqlClient = ratio(0.50) // of the client's that runs the statements of mariadb-dump
)

// mysqlTables is the database that is dumped: about 0.5 GB of rows.
const mysqlTables = `SET sql_log_bin = 0;
CREATE TABLE accounts (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, owner int NOT NULL, balance decimal(12,2) NOT NULL, filler char(60) NOT NULL, KEY (owner));
CREATE TABLE orders (id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, account int NOT NULL, placed datetime NOT NULL, state enum('new','paid','sent') NOT NULL,
  weight double, note varchar(60), KEY (account), KEY (placed));
CREATE TABLE documents (id int NOT NULL PRIMARY KEY, title varchar(100) NOT NULL, body text NOT NULL, KEY (title));
INSERT INTO accounts SELECT seq, seq * 7919 % 100000, seq / 7, MD5(seq) FROM seq_1_to_1500000;
INSERT INTO orders SELECT seq, seq * 7919 % 1500000, '2020-01-01' + INTERVAL seq MINUTE, 1 + seq % 3, seq / 3, CONCAT('note ', MD5(seq)) FROM seq_1_to_2500000;
INSERT INTO documents SELECT seq, CONCAT('title ', MD5(seq)), CONCAT(REPEAT(CONCAT(MD5(seq), ' '), 6), '\n', REPEAT(MD5(seq % 1000), 10)) FROM seq_1_to_250000;`

// mysqlServer is a private MariaDB with its default settings.
type mysqlServer struct {
	b      *bench
	dir    string
	cmd    *exec.Cmd
	exited chan struct{}
}

// mysql compares the product with mydumper, myloader and the server's own client. The product hashes every stored byte and
// every row meanwhile.
func (b *bench) mysql(ctx context.Context) (err error) {
	s, err := b.newMySQL(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		b.note("mysql: no server is installed, not compared")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.versions(ctx); err != nil {
		return err
	}
	return s.compare(ctx)
}

// newMySQL makes and starts a server.
func (b *bench) newMySQL(ctx context.Context) (_ *mysqlServer, err error) {
	program, err := exec.LookPath("mariadbd")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/mariadbd"); err != nil {
			return nil, fs.ErrNotExist
		}
	}
	s := &mysqlServer{b: b, exited: make(chan struct{})}
	if s.dir, err = os.MkdirTemp(b.options.dir, "salvor-my-"); err != nil {
		return nil, fmt.Errorf("make scratch directory: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
	}()
	args := []string{"--no-defaults", "--datadir=" + filepath.Join(s.dir, "data"), "--character-set-server=utf8mb4"}
	if os.Geteuid() == 0 {
		const name = "nobody" // the server refuses root
		u, err := user.Lookup(name)
		if err != nil {
			return nil, fmt.Errorf("find a user without rights: %w", err)
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("find a user without rights: %w", err)
		}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return nil, fmt.Errorf("give scratch directory away: %w", err)
		}
		args = append(args, "--user="+name)
	}
	install := append(slices.Clip(args), "--auth-root-authentication-method=normal", "--skip-test-db")
	if _, err := b.measure(ctx, command{name: "mariadb-install-db", args: install}); err != nil {
		return nil, err
	}
	args = append(args, "--socket="+s.socket(), "--skip-networking", "--tmpdir="+s.dir, "--pid-file="+filepath.Join(s.dir, "pid"))
	s.cmd = exec.CommandContext(ctx, program, args...)
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	go func() {
		defer close(s.exited)
		_ = s.cmd.Wait() // it is told to end
	}()
	if _, err := s.client(ctx, "mariadb-admin", "--wait=30", "ping"); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *mysqlServer) socket() string { return filepath.Join(s.dir, "socket") }

func (s *mysqlServer) close() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	<-s.exited
	return os.RemoveAll(s.dir)
}

// versions says whom the product is compared with.
func (s *mysqlServer) versions(ctx context.Context) error {
	for _, program := range []string{"mariadbd", "mydumper", "myloader", "mariadb-dump"} {
		version := "not installed"
		if program == "mariadbd" || installed(program) {
			name := program
			if program == "mariadbd" {
				name = s.cmd.Path
			}
			var err error
			if version, err = s.b.version(ctx, name, "--version"); err != nil {
				return err
			}
		}
		s.b.note("%s: %s", program, version)
	}
	return nil
}

// client runs one of the client programs.
func (s *mysqlServer) client(ctx context.Context, program string, args ...string) (usage, error) {
	return s.b.measure(ctx, command{name: program, args: append([]string{"--no-defaults", "--socket=" + s.socket(), "--user=root"}, args...)})
}

// query returns the rows of the last of the statements, a line each, tabs between the columns.
func (s *mysqlServer) query(ctx context.Context, database, sql string) (string, error) {
	var out strings.Builder
	args := []string{"--no-defaults", "--socket=" + s.socket(), "--user=root", "--batch", "--skip-column-names", "--execute=" + sql}
	if database != "" {
		args = append(args, database)
	}
	_, err := s.b.measure(ctx, command{name: "mariadb", args: args, stdout: &out})
	return out.String(), err
}

// mysqlTurn is what one of the programs does, again and again.
type mysqlTurn struct {
	name    string
	program string // without it the turn is not taken; "" for the product
	run     func() (usage, error)
	all     []usage
}

// compare lets the product and its rivals take turns.
func (s *mysqlServer) compare(ctx context.Context) (err error) {
	const name, what = "site", "three tables of 0.5 GB"
	if _, err := s.query(ctx, "", "CREATE DATABASE "+name); err != nil {
		return err
	}
	if _, err := s.query(ctx, name, mysqlTables); err != nil {
		return err
	}
	want, err := s.sums(ctx, name)
	if err != nil {
		return err
	}
	dir, clean, err := s.b.scratch("mysql")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean()) }()
	place := func(name string) string { return filepath.Join(dir, name) }
	if _, err := s.client(ctx, "mariadb-dump", "--single-transaction", "--result-file="+place("dump.sql"), name); err != nil {
		return err
	}
	at := []string{"--socket", s.socket(), "--user", "root", "--threads", "2"}
	dumps := []*mysqlTurn{
		{name: "salvor", run: func() (usage, error) {
			return s.salvor(ctx, "dump", "--archive", place("salvor"), "db="+s.source(name))
		}},
		{name: "mydumper", program: "mydumper", run: func() (usage, error) {
			return s.b.measure(ctx, command{name: "mydumper", args: append(slices.Clip(at), "-c", "-r", "200000", "-B", name, "-o", place("mydumper"))})
		}},
	}
	restores := []*mysqlTurn{
		{name: "salvor", run: func() (usage, error) {
			return s.salvor(ctx, "restore", "--archive", place("salvor"), "--into", s.source(mysqlCopy))
		}},
		{name: "myloader", program: "myloader", run: func() (usage, error) {
			return s.b.measure(ctx, command{name: "myloader", args: append(slices.Clip(at), "-d", place("mydumper"), "-B", mysqlCopy)})
		}},
		{name: "mariadb", run: func() (usage, error) {
			const script = `exec mariadb --no-defaults --socket="$1" --user=root "$2" <"$3"`
			return s.b.measure(ctx, command{name: "sh", args: []string{"-c", script, "mariadb", s.socket(), mysqlCopy, place("dump.sql")}})
		}},
	}
	sizes := map[string]int64{}
	for range s.b.rounds {
		for _, t := range dumps {
			if t.program != "" && !installed(t.program) {
				continue
			}
			if err := os.RemoveAll(place(t.name)); err != nil {
				return fmt.Errorf("remove the turn before: %w", err)
			}
			settle()
			if err := t.take(); err != nil {
				return err
			}
			if sizes[t.name], err = treeSize(place(t.name)); err != nil {
				return err
			}
		}
		for _, t := range restores {
			if t.program != "" && !installed(t.program) {
				continue
			}
			if err := s.empty(ctx); err != nil {
				return err
			}
			if err := t.take(); err != nil {
				return err
			}
			got, err := s.sums(ctx, mysqlCopy)
			if err != nil {
				return err
			}
			if got != want {
				return fmt.Errorf("%s restored something else: %q, not %q", t.name, got, want)
			}
		}
	}
	s.report(what, dumps, restores, sizes)
	return nil
}

func (t *mysqlTurn) take() error {
	u, err := t.run()
	t.all = append(t.all, u)
	return err
}

// report prints what the turns took.
func (s *mysqlServer) report(what string, dumps, restores []*mysqlTurn, sizes map[string]int64) {
	b, ours, back := s.b, dumps[0].all, restores[0].all
	for _, t := range dumps {
		if len(t.all) > 0 {
			b.note("%s by %s: %s", what, t.name, size(sizes[t.name]))
		}
	}
	if rival := dumps[1]; len(rival.all) > 0 {
		figure(b, "dump of "+what+", salvor to mydumper -t 2 -c -r 200000", paired(ours, rival.all), mysqlDump)
		figure(b, "dump of "+what+", bytes of salvor to mydumper's", ratio(float64(sizes["salvor"])/float64(sizes["mydumper"])), mysqlBytes)
	}
	if rival := restores[1]; len(rival.all) > 0 {
		figure(b, "restore of "+what+", salvor to myloader -t 2", paired(back, rival.all), mysqlLoader)
	}
	figure(b, "restore of "+what+", salvor to mariadb < dump.sql", paired(back, restores[2].all), mysqlClient)
	figure(b, "dump of "+what+", salvor, most resident memory", largest(ours), residentLimit)
	figure(b, "restore of "+what+", salvor, most resident memory", largest(back), residentLimit)
	for i, turns := range [][]*mysqlTurn{dumps, restores} {
		for _, t := range turns {
			if len(t.all) == 0 {
				continue
			}
			u := medians(t.all)
			b.note("%s, %s by %s, median of %d: %s, %s of processor time beside the server's", what, [...]string{"dump", "restore"}[i], t.name, b.rounds,
				seconds(u.wall), seconds(u.processor))
		}
	}
}

// mysqlCopy is the database that is restored.
const mysqlCopy = "copied"

// empty makes an empty database to restore into, and lets the server write what it has not written yet.
func (s *mysqlServer) empty(ctx context.Context) error {
	if _, err := s.query(ctx, "", "DROP DATABASE IF EXISTS "+mysqlCopy+"; CREATE DATABASE "+mysqlCopy+"; SET GLOBAL innodb_max_dirty_pages_pct = 0"); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; {
		dirty, err := s.query(ctx, "", "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'INNODB_BUFFER_POOL_PAGES_DIRTY'")
		if err != nil {
			return err
		}
		if strings.TrimSpace(dirty) == "0" || time.Now().After(deadline) {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	if _, err := s.query(ctx, "", "SET GLOBAL innodb_max_dirty_pages_pct = DEFAULT"); err != nil {
		return err
	}
	settle()
	return nil
}

// sums are the server's checksums of the tables.
func (s *mysqlServer) sums(ctx context.Context, database string) (string, error) {
	text, err := s.query(ctx, database, "CHECKSUM TABLE accounts, documents, orders EXTENDED")
	return strings.ReplaceAll(text, database+".", ""), err
}

func (s *mysqlServer) source(database string) string {
	u := url.URL{Scheme: "mysql", User: url.User("root"), Host: "localhost", Path: "/" + database, RawQuery: url.Values{"socket": {s.socket()}}.Encode()}
	return u.String()
}

func (s *mysqlServer) salvor(ctx context.Context, args ...string) (usage, error) {
	return s.b.measure(ctx, command{name: s.b.salvor, args: append(args, "--quiet")})
}
