package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/internal/secret"
	"salvor/internal/testenv"
	"salvor/tasks"
)

// call runs the command in this process.
func call(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, problems bytes.Buffer
	code = run(t.Context(), args, environment{
		stdin: strings.NewReader(""), stdout: &out, stderr: &problems, now: time.Now, width: func() int { return 0 },
		lookup:   func(string) (string, bool) { return "", false },
		hostname: func() (string, error) { return "here", nil },
	})
	return out.String(), problems.String(), code
}

// mustCall is call for a command that must succeed.
func mustCall(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := call(t, args...)
	if code != exitOK {
		t.Fatalf("salvor %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

func writeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// The command can run in any process; it leaves no goroutine behind (see TestMain).
func TestRunInProcess(t *testing.T) {
	t.Parallel()
	source, archive, target := writeTree(t, map[string]string{"a": "a", "b/c": "c"}), t.TempDir(), filepath.Join(t.TempDir(), "new")
	id := strings.TrimSpace(mustCall(t, "dump", "--archive", archive, "--quiet", "files=dir:"+source))
	mustCall(t, "restore", "--archive", archive, id, "--into", target)
	want, err := describeTree(source)
	if err != nil {
		t.Fatal(err)
	}
	got, err := describeTree(target)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A result that cannot be written is a failure.
func TestRunStdoutFull(t *testing.T) {
	t.Parallel()
	var problems bytes.Buffer
	code := run(t.Context(), []string{"version"}, environment{
		stdin: strings.NewReader(""), stdout: failingWriter{}, stderr: &problems, now: time.Now, width: func() int { return 0 },
		lookup:   func(string) (string, bool) { return "", false },
		hostname: func() (string, error) { return "here", nil },
	})
	if want := "salvor: error: write result: no room\n"; code != exitFailed || problems.String() != want {
		t.Errorf("exit code %d, stderr %q, want %q", code, &problems, want)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("no room") }

// An interrupt ends a run soon, commits nothing, and is told by the exit code and in the run's report.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	database := filepath.Join(dir, "site.db")
	db, err := openDB(database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	hold(t, db)

	archive, files := filepath.Join(dir, "archive"), writeTree(t, map[string]string{"a": "a"})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), exe, "dump", "--archive", archive, "files=dir:"+files, "site=sqlite:"+database)
	cmd.Args[0] = "salvor" // which makes the test binary the command
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, func() string {
		if sealed, err := filepath.Glob(filepath.Join(archive, "dumps", "*", "*", "nodes", "*", "files.json")); err != nil || len(sealed) == 0 {
			return "the first node is not dumped"
		}
		return ""
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	signalled := time.Now()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted {
		t.Errorf("dump ended with %v, want exit code %d\n%s", err, exitInterrupted, &stderr)
	}
	if took := time.Since(signalled); took > 20*time.Second {
		t.Errorf("the interrupt took %v", took)
	}
	if stdout.Len() > 0 || !strings.Contains(stderr.String(), "dump was interrupted, nothing was committed") {
		t.Errorf("stdout %q, stderr %q", &stdout, &stderr)
	}
	if list := mustCall(t, "list", "--archive", archive, "--json"); list != "" {
		t.Errorf("there is a dump: %s", list)
	}
	var r runLine
	if err := json.Unmarshal([]byte(mustCall(t, "runs", "--archive", archive, "--json")), &r); err != nil {
		t.Fatal(err)
	}
	if r.State != "cancelled" {
		t.Errorf("the run's report says %q", r.State)
	}
}

// hold keeps everybody else from reading a database until the test ends.
func hold(t *testing.T, db *sql.DB) {
	t.Helper()
	conn, err := db.Conn(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	for _, text := range []string{"CREATE TABLE t (a)", "BEGIN EXCLUSIVE"} {
		if _, err := conn.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
}

// Chinook is a database that was made by others.
func TestChinook(t *testing.T) {
	t.Parallel()
	chinook := testenv.RealData(t, "chinook", "Chinook_Sqlite.sqlite")
	dir := t.TempDir()
	original, restored := filepath.Join(dir, "chinook.db"), filepath.Join(dir, "new.db")
	copyFile(t, chinook, original)
	archive := filepath.Join(dir, "archive")
	mustCall(t, "dump", "--archive", archive, "site=sqlite:"+original)
	mustCall(t, "verify", "--archive", archive)
	mustCall(t, "restore", "--archive", archive, "--into", restored)
	want, err := describeDB(original)
	if err != nil {
		t.Fatal(err)
	}
	got, err := describeDB(restored)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(got) < 10 {
		t.Errorf("compared %d tables only", len(got))
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// A source that holds a secret is known to the run that was given it, and to no other.
func TestLiteralSource(t *testing.T) {
	t.Parallel()
	a, e := &app{env: environment{lookup: func(string) (string, bool) { return "", false }}}, &engine{}
	e.literals.put("run", "s/db", secret.New("postgres://u:geheim@h/d"))
	got, err := a.source(e, "run", "s/db", tasks.RedactedSource)
	if err != nil || got.Reveal() != "postgres://u:geheim@h/d" {
		t.Errorf("got %v, %v", got, err)
	}
	for _, other := range [][2]string{{"other", "s/db"}, {"run", "s/other"}} {
		_, err := a.source(e, other[0], other[1], tasks.RedactedSource)
		if exitOf(err) != exitUsage || hintOf(err) == "" || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%v: %v", other, err)
		}
	}
	if got, err := a.source(e, "run", "s/db", "plain"); err != nil || got.Reveal() != "plain" {
		t.Errorf("got %v, %v", got, err)
	}
}
