package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"

	"salvor/internal/testenv"
)

// TestScript runs the command line as a user does: testdata/script has one file for each subject.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 scripts,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			// A command that runs as another user must be able to get there.
			for _, dir := range []string{e.WorkDir, filepath.Dir(e.WorkDir)} {
				if err := os.Chmod(dir, 0o755); err != nil {
					return err
				}
			}
			// A program with the race detector sleeps for a second before it exits.
			e.Vars = append(e.Vars, "GORACE=atexit_sleep_ms=0")
			e.Values[capturedKey{}] = make(map[string]string)
			return os.Chmod(e.Getenv("TMPDIR"), 0o777)
		},
		Condition: func(cond string) (bool, error) {
			if tool, ok := strings.CutPrefix(cond, "tool:"); ok {
				return haveTool(tool)
			}
			if cond == "root" {
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"run":      scriptRun,
			"until":    scriptUntil,
			"golden":   scriptGolden,
			"capture":  scriptCapture,
			"sqlite":   scriptSQLite,
			"samedb":   scriptSameDB,
			"sametree": scriptSameTree,
			"touch":    scriptTouch,
			"damage":   scriptDamage,
			"s3":       func(ts *testscript.TestScript, neg bool, args []string) { scriptS3(t, ts, neg, args) },
		},
	})
}

// haveTool tells whether a program is there. Where all tests are required it must be.
func haveTool(name string) (bool, error) {
	_, err := exec.LookPath(name)
	if err != nil && os.Getenv("SALVOR_TEST_REQUIRE") == "all" {
		return false, err
	}
	return err == nil, nil
}

// run CODE ARG... runs the command, which must exit with that code.
func scriptRun(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: run CODE ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec("salvor", args[1:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// s3 BUCKET... starts an S3 server with these buckets, sets the credentials, and in S3 the parameters of their URLs.
func scriptS3(t *testing.T, ts *testscript.TestScript, neg bool, buckets []string) {
	if neg || len(buckets) == 0 {
		ts.Fatalf("usage: s3 BUCKET...")
	}
	server := testenv.NewS3(t, 1000)
	for _, name := range buckets {
		ts.Check(server.Backend.CreateBucket(t.Context(), name))
	}
	for name, value := range testenv.S3Environment() {
		ts.Setenv(name, value)
	}
	_, parameters, _ := strings.Cut(server.URL("", ""), "?")
	ts.Setenv("S3", parameters)
	captured, _ := ts.Value(capturedKey{}).(map[string]string)
	captured[parameters] = "$S3"
	captured[url.QueryEscape(server.Endpoint)] = "$ENDPOINT"
	captured[strings.TrimPrefix(server.Endpoint, "http://")] = "$HOST"
}

// until REGEXP CODE ARG... runs the command again until its stdout matches.
func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	want := regexp.MustCompile(args[0])
	for deadline := time.Now().Add(time.Minute); ; {
		scriptRun(ts, neg, args[1:])
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("stdout does not come to match %s", args[0])
		}
	}
}

// capture NAME [REGEXP] sets a variable to what stdout holds: all of it, or the first group.
func scriptCapture(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.TrimSpace(ts.ReadFile("stdout"))
	if len(args) == 2 {
		m := regexp.MustCompile(args[1]).FindStringSubmatch(text)
		if len(m) < 2 {
			ts.Fatalf("stdout does not match %s", args[1])
		}
		text = m[1]
	}
	if text == "" || strings.ContainsAny(text, "\n ") {
		ts.Fatalf("stdout is not one word: %q", text)
	}
	ts.Setenv(args[0], text)
	captured, _ := ts.Value(capturedKey{}).(map[string]string)
	captured[text] = "$" + args[0]
}

// capturedKey is the key of the texts that differ from run to run, with what stands for them in golden texts.
type capturedKey struct{}

// golden [stdout] FILE compares stderr (or stdout) with a file of the script. With SALVOR_TEST_UPDATE set, the script gets
// what was printed.
func scriptGolden(ts *testscript.TestScript, _ bool, args []string) {
	stream := "stderr"
	if args[0] == "stdout" {
		stream, args = "stdout", args[1:]
	}
	captured, _ := ts.Value(capturedKey{}).(map[string]string)
	replace := []string{ts.Getenv("WORK"), "$WORK"}
	for text, name := range captured {
		replace = append(replace, text, name)
	}
	got := strings.NewReplacer(replace...).Replace(ts.ReadFile(stream))
	got = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).ReplaceAllString(got, "$$RUN")
	got = regexp.MustCompile(`\d{8}-\d{6}-[0-9a-f]{4}`).ReplaceAllString(got, "$$DUMP")
	if diff := cmp.Diff(ts.ReadFile(args[0]), got); diff == "" {
		return
	} else if os.Getenv("SALVOR_TEST_UPDATE") == "" {
		ts.Fatalf("%s differs from %s (-want +got):\n%s", stream, args[0], diff)
	}
	name := filepath.Join(scripts, ts.Name()+".txtar")
	script, err := txtar.ParseFile(name)
	ts.Check(err)
	for i := range script.Files {
		if script.Files[i].Name == args[0] {
			script.Files[i].Data = []byte(got)
		}
	}
	ts.Check(os.WriteFile(name, txtar.Format(script), 0o600))
}

const scripts = "testdata/script"

func openDB(name string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Path: name}
	return sql.Open("sqlite", u.String())
}

// sqlite FILE SQL executes statements.
func scriptSQLite(ts *testscript.TestScript, _ bool, args []string) {
	db, err := openDB(ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = db.ExecContext(context.Background(), args[1])
	ts.Check(errors.Join(err, db.Close()))
}

// samedb A B compares two databases: their schemas and all rows.
func scriptSameDB(ts *testscript.TestScript, neg bool, args []string) {
	a, err := describeDB(ts.MkAbs(args[0]))
	ts.Check(err)
	b, err := describeDB(ts.MkAbs(args[1]))
	ts.Check(err)
	compare(ts, neg, a, b)
}

func compare(ts *testscript.TestScript, neg bool, a, b map[string]string) {
	diff := cmp.Diff(a, b)
	if neg && diff == "" {
		ts.Fatalf("they are the same")
	}
	if !neg && diff != "" {
		ts.Fatalf("they differ (-first +second):\n%s", diff)
	}
}

func describeDB(name string) (_ map[string]string, err error) {
	if _, err := os.Stat(name); err != nil {
		return nil, err
	}
	ctx := context.Background()
	db, err := openDB(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	out := make(map[string]string)
	if out["schema"], err = hashRows(ctx, db, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"); err != nil {
		return nil, err
	}
	tables, err := tableNames(ctx, db)
	if err != nil {
		return nil, err
	}
	for _, table := range tables {
		if out[table], err = hashRows(ctx, db, `SELECT * FROM "`+strings.ReplaceAll(table, `"`, `""`)+`"`); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func tableNames(ctx context.Context, db *sql.DB) ([]string, error) {
	rows, err := db.QueryContext(ctx, "SELECT name FROM sqlite_schema WHERE type = 'table'")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var tables []string
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			return nil, err
		}
		tables = append(tables, table)
	}
	return tables, rows.Err()
}

// sametree A B compares two trees in everything that a restore brings back.
func scriptSameTree(ts *testscript.TestScript, neg bool, args []string) {
	a, err := describeTree(ts.MkAbs(args[0]))
	ts.Check(err)
	b, err := describeTree(ts.MkAbs(args[1]))
	ts.Check(err)
	compare(ts, neg, a, b)
}

func describeTree(root string) (map[string]string, error) {
	out := make(map[string]string)
	links := make(map[uint64]string)
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		path, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%v %v", info.Mode(), info.ModTime().UnixNano())
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			text += fmt.Sprintf(" %d:%d", st.Uid, st.Gid)
			if info.Mode().IsRegular() && st.Nlink > 1 {
				if first, ok := links[st.Ino]; ok {
					text += " is " + first
				} else {
					links[st.Ino] = path
				}
			}
		}
		var content string
		switch {
		case info.Mode().IsRegular():
			content, err = hashFile(name)
		case info.Mode()&fs.ModeSymlink != 0:
			content, err = os.Readlink(name)
		}
		out[path] = text + " " + content
		return err
	})
	return out, err
}

// touch FILE... gives files and directories an old time, so that their content counts as settled.
func scriptTouch(ts *testscript.TestScript, _ bool, args []string) {
	when := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)
	for _, name := range args {
		ts.Check(os.Chtimes(ts.MkAbs(name), when, when))
	}
}

// packData is where the content of a pack's first member begins: after the local header and a name of 64 digits.
const packData = 30 + 64

// damage KIND GLOB changes the only file that matches: flip changes a byte, cut removes the last, delete the file.
func scriptDamage(ts *testscript.TestScript, _ bool, args []string) {
	names, err := filepath.Glob(ts.MkAbs(args[1]))
	ts.Check(err)
	if len(names) != 1 {
		ts.Fatalf("%d files match %s", len(names), args[1])
	}
	if args[0] == "delete" {
		ts.Check(os.Remove(names[0]))
		return
	}
	data, err := os.ReadFile(names[0])
	ts.Check(err)
	if args[0] == "cut" {
		data = data[:len(data)-1]
	} else {
		data[min(packData, len(data)-1)] ^= 1
	}
	ts.Check(os.WriteFile(names[0], data, 0o600))
}
