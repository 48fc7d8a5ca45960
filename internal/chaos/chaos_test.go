//go:build linux

package chaos_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite"

	"salvor/internal/chaos"
)

const (
	files     = 20_000
	directory = 500 // files in each
)

// TestChaos kills the program again and again. SALVOR_CHAOS_ROUNDS says how often (5), SALVOR_CHAOS_SEED repeats what was
// printed.
func TestChaos(t *testing.T) {
	t.Parallel()
	rounds, seed := setting(t, "SALVOR_CHAOS_ROUNDS", 5), setting(t, "SALVOR_CHAOS_SEED", 1)
	s := newSubject(t)
	t.Logf("seed %d, %d rounds; a dump takes %v, a restore %v", seed, rounds, s.dumpTime, s.restoreTime)
	t.Run("kills", func(t *testing.T) { testKills(t, s, rounds, seed) })
	t.Run("fleet", func(t *testing.T) {
		for i := range max(1, rounds/10) {
			t.Run(fmt.Sprint("seed ", seed+i), func(t *testing.T) { testFleet(t, s, seed+i) })
		}
	})
}

// testKills kills dumps, restores and the resumes of both at random moments.
func testKills(t *testing.T, s *subject, rounds, seed int) {
	t.Helper()
	killed := 0
	for i := range rounds {
		// Each round has a seed of its own, so that one alone can be repeated.
		own := seed + i
		t.Run(fmt.Sprint("seed ", own), func(t *testing.T) {
			r := &round{subject: s, random: rand.New(rand.NewPCG(uint64(own), 0)), dir: place(t)}
			r.archive = filepath.Join(r.dir, "archive")
			r.dump(t)
			r.restore(t)
			killed += r.killed
			t.Logf("%d processes were killed, %d ended first", r.killed, r.ended)
		})
	}
	if killed == 0 && !t.Failed() {
		t.Error("nothing was killed")
	}
}

// place returns a directory, in memory where there is room: a killed process loses nothing of the system's cache, so a disk
// would add nothing but time.
func place(t *testing.T) string {
	t.Helper()
	const room = 1 << 30
	var st unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &st); err != nil || st.Bavail*uint64(max(st.Bsize, 0)) < room || st.Ffree < 10*files {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "salvor-test-") //nolint:usetesting // t.TempDir is on a disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// subject is the program, and what it dumps.
type subject struct {
	program               string
	tree, database        string
	want                  chaos.Tree
	image                 []byte
	dumpTime, restoreTime time.Duration
}

func newSubject(t *testing.T) *subject {
	t.Helper()
	dir := place(t)
	s := &subject{program: filepath.Join(dir, "salvor"), tree: filepath.Join(dir, "files"), database: filepath.Join(dir, "site.db")}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", s.program, "salvor/cmd/salvor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	seeSources(t)
	for i := range files {
		name := filepath.Join(s.tree, fmt.Sprintf("d%02d", i/directory), fmt.Sprintf("f%05d", i))
		write(t, name, fmt.Appendf(nil, "file %d", i))
	}
	for i := range 3 {
		write(t, filepath.Join(s.tree, fmt.Sprint("large", i)), bytes.Repeat(fmt.Appendf(nil, "large %d\n", i), 300_000))
	}
	db, err := sql.Open("sqlite", "file:"+s.database)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), `CREATE TABLE t AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 5000)
		SELECT i, hex(randomblob(100)) AS b FROM n`)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if s.image, err = os.ReadFile(s.database); err != nil {
		t.Fatal(err)
	}
	if s.want, err = chaos.ReadTree(s.tree); err != nil {
		t.Fatal(err)
	}
	trial := &round{subject: s, random: rand.New(rand.NewPCG(0, 0)), dir: place(t)}
	trial.archive = filepath.Join(trial.dir, "archive")
	s.dumpTime = trial.must(t, trial.dumpArgs()...)
	s.restoreTime = trial.must(t, trial.restoreArgs()...)
	return s
}

// seeSources looks at the program's sources, so that the go command does not take the results of an earlier program for this
// one's: of what a test builds it knows nothing, of files that a test looks at it does.
func seeSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && (filepath.Ext(path) == ".go" || filepath.Ext(path) == ".lua") {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	err := os.WriteFile(name, data, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(name), 0o750); err == nil {
			err = os.WriteFile(name, data, 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// round is one archive, dumped to and restored from under kills.
type round struct {
	*subject
	random        *rand.Rand
	dir, archive  string
	killed, ended int
	begun         int // runs
}

func (r *round) dumpArgs() []string {
	return []string{"dump", "--archive", r.archive, "--quiet", "site=sqlite:" + r.database, "files=dir:" + r.tree}
}

func (r *round) restoreArgs() []string {
	return []string{"restore", "--archive", r.archive, "--quiet", "--into", "site=" + filepath.Join(r.dir, "new.db"), "--into", "files=" + filepath.Join(r.dir, "new")}
}

// noNotes fails if the archive keeps notes of what a run has restored. Those of a run that is reported may be there: the program
// may be killed between the report and their removal.
func (r *round) noNotes(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(r.archive, "runs", "*.restored"))
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range left {
		run, _, _ := strings.Cut(filepath.Base(note), ".")
		if reports, err := filepath.Glob(filepath.Join(r.archive, "runs", run+"*.json")); err != nil || len(reports) == 0 {
			t.Fatalf("the archive keeps %s of a run without a report, %v", note, err)
		}
	}
}

// call runs the program, and kills it after a while unless that is 0. The code is -1 for one that was killed.
func (r *round) call(t *testing.T, after time.Duration, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var out, problems bytes.Buffer
	c := exec.CommandContext(ctx, r.program, args...)
	c.Stdout, c.Stderr = &out, &problems
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if after > 0 {
		defer time.AfterFunc(after, func() { _ = c.Process.Kill() }).Stop() // it may have ended
	}
	err := c.Wait()
	if ctx.Err() != nil {
		t.Fatalf("salvor %s hangs\n%s", strings.Join(args, " "), &problems)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), problems.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), problems.String(), 0
}

// must runs the program to a good end.
func (r *round) must(t *testing.T, args ...string) time.Duration {
	t.Helper()
	started := time.Now()
	if _, stderr, code := r.call(t, 0, args...); code != 0 {
		t.Fatalf("salvor %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return time.Since(started)
}

// underKills carries a run out: it is begun, killed, resumed, killed again, and in the end left alone. It returns what the
// last process wrote.
func (r *round) underKills(t *testing.T, usual time.Duration, args []string) string {
	t.Helper()
	kills := 1 + r.random.IntN(3)
	for n := 0; ; n++ {
		now := args
		if r.openRun(t) {
			now = []string{"resume", "--archive", r.archive, "--quiet"}
		} else {
			r.begun++
		}
		after := time.Duration(0)
		if n < kills {
			after = max(time.Millisecond, time.Duration(r.random.Int64N(int64(usual)*3/4)))
		}
		stdout, stderr, code := r.call(t, after, now...)
		r.judge(t)
		if unborn := regexp.MustCompile(`resume run ([0-9a-f-]+): .*killed before it began`).FindStringSubmatch(stderr); unborn != nil {
			// It was killed while it asked what there is, and says what to do.
			r.must(t, "cancel", "--archive", r.archive, "--quiet", unborn[1])
			continue
		}
		switch {
		case code == 0:
			r.ended++
			return stdout
		case code != -1 || after == 0:
			t.Fatalf("salvor %s: exit code %d\n%s", strings.Join(now, " "), code, stderr)
		}
		r.killed++
	}
}

// openRun tells whether there is a run to go on with.
func (r *round) openRun(t *testing.T) bool {
	t.Helper()
	if _, err := os.Stat(filepath.Join(r.archive, "salvor.json")); err != nil {
		return false // it was killed before there was an archive
	}
	stdout, stderr, code := r.call(t, 0, "runs", "--archive", r.archive, "--json")
	if code != 0 {
		t.Fatalf("runs: exit code %d\n%s", code, stderr)
	}
	return strings.Contains(stdout, `"state":"open"`)
}

// judge checks what must hold at every moment: everything that is committed is whole, and nothing else is listed.
func (r *round) judge(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(r.archive, "salvor.json")); err != nil {
		return
	}
	r.must(t, "verify", "--archive", r.archive, "--quiet")
	committed, err := chaos.Dumps(r.archive)
	if err != nil {
		t.Fatal(err)
	}
	for i := range committed {
		committed[i] = filepath.Base(committed[i])
	}
	stdout, stderr, code := r.call(t, 0, "list", "--archive", r.archive, "--json")
	if code != 0 {
		t.Fatalf("list: exit code %d\n%s", code, stderr)
	}
	var listed []string
	for line := range strings.Lines(stdout) {
		var l struct{ Dump string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		listed = append(listed, l.Dump)
	}
	slices.Sort(listed)
	if !slices.Equal(committed, listed) {
		t.Fatalf("listed are %v, committed %v", listed, committed)
	}
}

// dump makes a dump under kills, and reads it back without the program.
func (r *round) dump(t *testing.T) {
	t.Helper()
	id := strings.TrimSpace(r.underKills(t, r.dumpTime, r.dumpArgs()))
	dumps, err := chaos.Dumps(r.archive)
	// One that was killed between its commit and its end made a dump too, and there is nothing to resume.
	if err != nil || len(dumps) == 0 || len(dumps) > r.begun || !slices.Contains(dumps, filepath.Join(r.archive, "dumps", "default", id)) {
		t.Fatalf("the program says it made %q; %d were begun, committed are %v (%v)", id, r.begun, dumps, err)
	}
	for _, dump := range dumps {
		r.readBack(t, dump)
	}
}

// readBack compares what a dump holds with the source.
func (r *round) readBack(t *testing.T, dump string) {
	t.Helper()
	reader, err := chaos.NewReader(r.archive)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	got, err := reader.Dump(dump)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.want, got["default/files"]); diff != "" {
		t.Fatalf("the dumped tree (-source +dump):\n%s", diff)
	}
}

// restore restores under kills.
func (r *round) restore(t *testing.T) {
	t.Helper()
	r.underKills(t, r.restoreTime, r.restoreArgs())
	r.compare(t)
}

// compare compares what was restored with the source.
func (r *round) compare(t *testing.T) {
	t.Helper()
	got, err := chaos.ReadTree(filepath.Join(r.dir, "new"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.want, got); diff != "" {
		t.Fatalf("the restored tree (-source +target):\n%s", diff)
	}
	image, err := os.ReadFile(filepath.Join(r.dir, "new.db"))
	if err != nil || !bytes.Equal(image, r.image) {
		t.Fatalf("the restored database differs (%v)", err)
	}
	left, err := chaos.Leftovers(filepath.Join(r.dir, "new"))
	if err != nil || len(left) > 0 {
		t.Fatalf("the restore left %v (%v)", left, err)
	}
	for _, e := range beside(t, r.dir) {
		if strings.Contains(e, ".salvor-") {
			t.Fatalf("the restore left %s", e)
		}
	}
}

func beside(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
