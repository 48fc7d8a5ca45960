package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/internal/testenv"
)

// manyTables makes tables with some rows each, and work returns what was done to them since, as capturedRows has it.
func (e captureEngine) manyTables(count, rows int) {
	for i := range count {
		e.exec(fmt.Sprintf("CREATE TABLE t%02d (id int PRIMARY KEY, v varchar(40))", i))
		for from := 0; from < rows; from += 500 {
			values := make([]string, 0, 500)
			for id := from; id < min(from+500, rows); id++ {
				values = append(values, fmt.Sprintf("(%d, 'row %d of table %d')", id, id, i))
			}
			e.exec(fmt.Sprintf("INSERT INTO t%02d VALUES %s", i, strings.Join(values, ", ")))
		}
	}
}

func (e captureEngine) workOnMany(count int) map[string][]string {
	want := make(map[string][]string)
	for i := range count {
		table := fmt.Sprintf("t%02d", i)
		e.exec(fmt.Sprintf("INSERT INTO %s VALUES (100000, '')", table))
		e.exec(fmt.Sprintf("UPDATE %s SET v = 'new' WHERE id = 1", table))
		e.exec(fmt.Sprintf("DELETE FROM %s WHERE id = 2", table))
		want[e.schema+table] = []string{"c[100000]", "d[2]", "m[1] v"}
	}
	return want
}

// checkCaptures tells whether every capture that exists is right; it returns how many there are.
func checkCaptures(t *testing.T, archive string, want map[string][]string) int {
	t.Helper()
	n := 0
	for line := range strings.Lines(mustCall(t, "list", "--archive", archive, "--json")) {
		var l captureLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l.Type != "capture" {
			continue
		}
		n++
		if diff := cmp.Diff(want, capturedRows(t, archive, l)); diff != "" {
			t.Fatalf("capture %s (-want +got):\n%s", l.Capture, diff)
		}
	}
	return n
}

// Killed at any moment, a capture is there as a whole or not at all, and the next one is right. What a killed one made for the dump was named
// before it was made.
func TestCaptureKilled(t *testing.T) {
	t.Parallel()
	captureEngines(t, false, func(t *testing.T, e captureEngine) {
		dir := t.TempDir()
		archive, scratch := filepath.Join(dir, "archive"), filepath.Join(dir, "scratch")
		if err := os.Mkdir(scratch, 0o700); err != nil {
			t.Fatal(err)
		}
		e.manyTables(6, 2000)
		mustCall(t, "dump", "-q", "--archive", archive, "main="+e.source)
		want := e.workOnMany(6)
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		named := make(map[string]bool)
		began := time.Now()
		mustCapture(t, "--archive", archive, "--source", "main="+e.source, "--against", "latest")
		whole := time.Since(began)
		for i := range 8 {
			cmd := exec.CommandContext(t.Context(), exe, "capture", "--archive", archive, "--source", "main="+e.source, "--against", "latest", "--scratch", scratch)
			if e.schema != "" || strings.HasPrefix(e.source, "mysql") {
				cmd.Args = cmd.Args[:len(cmd.Args)-2]
			}
			cmd.Args[0] = "salvor"
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			kill := time.AfterFunc(whole*time.Duration(i+1)/8, func() { _ = cmd.Process.Kill() }) // it may have ended
			_ = cmd.Wait()                                                                        // killed
			kill.Stop()
			for _, name := range regexp.MustCompile(`salvor_drill_[0-9a-f]+`).FindAllString(stderr.String(), -1) {
				named[name] = true
			}
			checkCaptures(t, archive, want)
		}
		before := checkCaptures(t, archive, want)
		mustCapture(t, "--archive", archive, "--source", "main="+e.source, "--against", "latest")
		if got := checkCaptures(t, archive, want); got != before+1 {
			t.Errorf("%d captures, want %d", got, before+1)
		}
		if left := e.scratches(); left > len(named) {
			t.Errorf("%d scratch databases are left, and %d were named", left, len(named))
		}
		left, err := os.ReadDir(scratch)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range left {
			name := regexp.MustCompile(`salvor_drill_[0-9a-f]+`).FindString(entry.Name())
			if !named[name] {
				t.Errorf("%s is left and was not named", entry.Name())
			}
		}
		mustCall(t, "verify", "--archive", archive)
		// An end is made of the runs that were killed; none is resumed.
		for line := range strings.Lines(mustCall(t, "runs", "--archive", archive, "--json")) {
			var r runLine
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			if r.State != "open" {
				continue
			}
			_, stderr, code := call(t, "resume", r.Run, "--archive", archive)
			if code != exitUsage || !strings.Contains(stderr, "captures are not resumed") {
				t.Errorf("resume: exit code %d: %s", code, stderr)
			}
			mustCall(t, "cancel", r.Run, "--archive", archive)
		}
		noStrayCaptures(t, archive)
	})
}

// The tables of one view are read by several workers; one that is killed costs a new view, not the capture, and what was made for the
// dump is dropped whoever dies.
func TestCaptureFleet(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	database := pg.NewDatabase()
	s := newGround(t, fmt.Sprintf("{name: site, children: [{name: main, driver: postgres, source: %q}]}", pg.URL(database)))
	e := captureEngine{exec: func(sql string) { pg.Exec(database, sql) }, schema: "public."}
	e.manyTables(12, 3000)
	first := s.worker("web-1", "--concurrency", "2")
	s.worker("web-2", "--concurrency", "2")
	s.run(exitOK, "dump", "-q")
	want := e.workOnMany(12)

	stdout, _ := s.run(exitOK, "capture", "main", "--against", "latest", "--json", "-q")
	var l captureLine
	if err := json.Unmarshal([]byte(stdout), &l); err != nil {
		t.Fatal(err)
	}
	shown, _ := s.run(exitOK, "show", l.Run)
	for _, worker := range []string{"web-1", "web-2"} {
		if !regexp.MustCompile(worker + `\s+\S+\s+\S+\s+compare`).MatchString(shown) {
			t.Errorf("%s compared no table:\n%s", worker, shown)
		}
	}
	for i := range 2 {
		p := s.start("capture", "main", "--against", "latest")
		p.says("scratch ")
		kill := time.AfterFunc(time.Duration(200+i*400)*time.Millisecond, func() { _ = first.cmd.Process.Kill() })
		p.ends(exitOK)
		kill.Stop()
		first.kill()
		first = s.worker("web-1", "--concurrency", "2")
	}
	// The one who asked is killed: the workers go on.
	p := s.start("capture", "main", "--against", "latest")
	testenv.Eventually(t, time.Minute, func() string {
		if pg.Query("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'salvor%'") == "0" {
			return "the dump is not being restored"
		}
		return ""
	})
	p.kill()
	testenv.Eventually(t, time.Minute, func() string {
		if n := checkCaptures(t, s.archive, want); n != 4 {
			return fmt.Sprintf("%d captures", n)
		}
		return ""
	})
	testenv.Eventually(t, time.Minute, func() string {
		if left := pg.Query("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'salvor%'"); left != "0" {
			return left + " scratch databases are left"
		}
		return ""
	})
}

// One that is interrupted ends soon, keeps nothing, and drops what it made itself, as its run does not come to that.
func TestCaptureInterrupted(t *testing.T) {
	t.Parallel()
	s := testenv.Postgres(t, testenv.PostgresOptions{})
	database, dir := s.NewDatabase(), t.TempDir()
	s.Exec(database, "CREATE TABLE t AS SELECT i, md5(i::text) v FROM generate_series(1, 300000) i")
	archive := filepath.Join(dir, "archive")
	mustCall(t, "dump", "-q", "--archive", archive, "main="+s.URL(database))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "capture", "--archive", archive, "--source", "main="+s.URL(database), "--against", "latest")
	cmd.Args[0] = "salvor"
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scratches := func() string {
		return s.Query("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'salvor%'")
	}
	testenv.Eventually(t, time.Minute, func() string {
		if scratches() == "0" {
			return "the dump is not being restored"
		}
		return ""
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its code is looked at
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(stderr.String(), "capture was interrupted, nothing was kept") ||
		!strings.Contains(stderr.String(), "dropped   scratch database salvor_drill_") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	if left := scratches(); left != "0" {
		t.Errorf("%s scratch databases are left", left)
	}
	if n := checkCaptures(t, archive, nil); n != 0 {
		t.Errorf("%d captures are kept", n)
	}
	noStrayCaptures(t, archive)
}

// noStrayCaptures fails if the archive holds files of a capture that was not committed, but for temporary ones.
func noStrayCaptures(t *testing.T, archive string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(archive, "captures", "*", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), ".salvor-tmp-") {
			continue // a killed writer's
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(file), "capture.json")); errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left of a capture that was not committed", file)
		}
	}
}
