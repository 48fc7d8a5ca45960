package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"salvor/internal/testenv"
)

// TestPostgresFull restores into a database whose disk fills up: the restore fails and says why, what it has loaded is whole,
// and it goes on from there when there is room.
func TestPostgresFull(t *testing.T) {
	t.Parallel()
	s := testenv.Postgres(t, testenv.PostgresOptions{})
	d := disk{filepath.Join(s.Dir, "small")}
	if err := os.Mkdir(d.path, 0o700); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatalf("a %T says nothing of the owner", info.Sys())
	}
	options := fmt.Sprintf("mode=0700,uid=%d,gid=%d,", owner.Uid, owner.Gid)
	if err := unix.Mount("salvor-test", d.path, "tmpfs", 0, options+"size=24m"); err != nil {
		if os.Getuid() == 0 && os.Getenv(testenv.Require) == "all" {
			t.Fatal(err)
		}
		t.Skipf("no file system can be mounted where the server sees it: %v", err) // it does not run as root of a namespace
	}
	t.Cleanup(func() {
		s.Crash()
		_ = unix.Unmount(d.path, unix.MNT_DETACH)
	})

	source, target, dir := s.NewDatabase(), s.NewName(), t.TempDir()
	s.Exec(source, `CREATE TABLE a (i int PRIMARY KEY, t text); CREATE TABLE b (i int PRIMARY KEY, t text);
		INSERT INTO a SELECT i, repeat(md5(i::text), 4) FROM generate_series(1, 100000) i; INSERT INTO b SELECT i, t FROM a WHERE i % 10 = 0`)
	config := filepath.Join(dir, "set.yaml")
	text := fmt.Sprintf("archive: %s/archive\nset: {name: db, driver: postgres, source: %q, chunk: 2000000}\n", dir, s.URL(source))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	mustCall(t, "dump", "-c", config, "-q")
	s.Exec("postgres", "CREATE TABLESPACE small LOCATION '"+d.path+"'")
	s.Exec("postgres", "CREATE DATABASE "+target+" TABLESPACE small")

	for _, rule := range []string{"", "--continue"} {
		args := []string{"restore", "-c", config, "-q", "--into", s.URL(target), "--prove"}
		if rule != "" {
			// A full disk is no fault of a statement that could be passed over.
			s.Exec("postgres", "DROP DATABASE "+target)
			d.set(t, options+"size=24m")
			s.Exec("postgres", "CREATE DATABASE "+target+" TABLESPACE small")
			args = append(args, rule)
		}
		_, stderr, code := call(t, args...)
		if code != exitFailed || !strings.Contains(stderr, "no space left") || !strings.Contains(stderr, "53100") || !strings.Contains(stderr, "hint: make room") {
			t.Fatalf("restore %s onto a full disk: exit code %d: %s", rule, code, stderr)
		}
		// Each part is there as a whole or not at all.
		loaded := s.Query(target, "SELECT count(*) FROM salvor_progress.done WHERE tbl = 'public.a' AND item NOT LIKE 'statement/%'")
		rows := s.Query(target, "SELECT count(*) > 0 FROM a")
		if (loaded != "0") != (rows == "t") {
			t.Errorf("%s parts are loaded, and there are rows: %s", loaded, rows)
		}
		d.set(t, options+"size=200m")
		run := regexp.MustCompile(`salvor resume ([0-9a-f-]{36})`).FindStringSubmatch(stderr)
		if run == nil {
			t.Fatalf("no hint how to go on: %s", stderr)
		}
		mustCall(t, "resume", run[1], "-c", config, "-q")
		if got := s.Query(target, "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b), to_regnamespace('salvor_progress') IS NULL"); got != "100000|10000|t" {
			t.Errorf("the resumed restore has %s", got)
		}
	}
}
