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

// TestMySQLFull restores into a database whose disk fills up: the restore fails and says why, what it has loaded is whole, and
// it goes on from there when there is room.
func TestMySQLFull(t *testing.T) {
	t.Parallel()
	s := testenv.MariaDB(t, testenv.MariaDBOptions{})
	source, dir := s.NewDatabase(), t.TempDir()
	s.Exec(source, `CREATE TABLE a (i int PRIMARY KEY, t varchar(400)); CREATE TABLE b (i int PRIMARY KEY, t varchar(400), KEY (t));
		INSERT INTO a WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 299) SELECT x.i * 300 + y.i, REPEAT(SHA2(x.i * 300 + y.i, 256), 3) FROM n x JOIN n y;
		INSERT INTO b SELECT i, t FROM a WHERE i % 10 = 0`)
	config := filepath.Join(dir, "set.yaml")
	text := fmt.Sprintf("archive: %s/archive\nset: {name: db, driver: mysql, source: %q, chunk: 2000000}\n", dir, s.URL(source))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	mustCall(t, "dump", "-c", config, "-q")
	info, err := os.Stat(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatalf("a %T says nothing of the owner", info.Sys())
	}
	options := fmt.Sprintf("mode=0700,uid=%d,gid=%d,", owner.Uid, owner.Gid)
	for _, rule := range []string{"", "--continue"} {
		// A database is a directory: this one has a small disk to itself.
		target := s.NewDatabase()
		d := disk{filepath.Join(s.Dir, "data", target)}
		if err := unix.Mount("salvor-test", d.path, "tmpfs", 0, options+"size=14m"); err != nil {
			if os.Getuid() == 0 && os.Getenv(testenv.Require) == "all" {
				t.Fatal(err)
			}
			t.Skipf("no file system can be mounted where the server sees it: %v", err) // it does not run as root of a namespace
		}
		t.Cleanup(func() {
			s.Crash()
			_ = unix.Unmount(d.path, unix.MNT_DETACH)
		})
		args := []string{"restore", "-c", config, "-q", "--into", s.URL(target), "--prove"}
		if rule != "" {
			args = append(args, rule) // a full disk is no fault of a statement that could be passed over
		}
		_, stderr, code := call(t, args...)
		if code != exitFailed || !strings.Contains(stderr, "no space left") || !strings.Contains(stderr, "hint: make room") {
			t.Fatalf("restore %s onto a full disk: exit code %d: %s", rule, code, stderr)
		}
		// Each part is there as a whole or not at all.
		loaded := s.Query(target, "SELECT COUNT(*) FROM salvor_progress_done WHERE tbl = 'a' AND item LIKE 'part/a%'")
		rows := s.Query(target, "SELECT COUNT(*) > 0 FROM a")
		if (loaded != "0") != (rows == "1") {
			t.Errorf("%s parts are loaded, and there are rows: %s", loaded, rows)
		}
		d.set(t, options+"size=200m")
		run := regexp.MustCompile(`salvor resume ([0-9a-f-]{36})`).FindStringSubmatch(stderr)
		if run == nil {
			t.Fatalf("no hint how to go on: %s", stderr)
		}
		mustCall(t, "resume", run[1], "-c", config, "-q")
		if got := s.Query(target, "SELECT (SELECT COUNT(*) FROM a), (SELECT COUNT(*) FROM b), (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE())"); got != "90000|9000|2" {
			t.Errorf("the resumed restore has %s", got)
		}
	}
}
