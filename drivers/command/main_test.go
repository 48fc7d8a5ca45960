package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"salvor/drivers"
	"salvor/internal/secret"
)

// roleVariable makes the test binary one of the programs that the tests run.
const roleVariable = "SALVOR_COMMAND_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		goleak.VerifyTestMain(m)
	case "store":
		os.Exit(store(os.Args[1]))
	case "die":
		dieAt(os.Args[1:])
	}
}

// store prints a file, or replaces it by what it reads; nothing of that before the end of its input.
func store(path string) int {
	info, err := os.Stdin.Stat()
	if err == nil && info.Mode()&fs.ModeNamedPipe == 0 {
		var f *os.File
		if f, err = os.Open(path); err == nil {
			_, err = io.Copy(os.Stdout, f)
		}
	} else if err == nil {
		var data []byte
		if data, err = io.ReadAll(os.Stdin); err == nil {
			err = replace(path, data)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// replace writes a file so that a reader sees the old one or the new one.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close(), os.Rename(f.Name(), path))
}

// quote makes one word of a text.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// shell is a source that runs a script.
func shell(script string) string { return "sh -c " + quote(script) }

// openSource opens a source with the times of a test.
func openSource(t *testing.T, source string, options map[string]any) *Source {
	t.Helper()
	return openIn(t, t.TempDir(), source, options)
}

func openIn(t *testing.T, scratch, source string, options map[string]any) *Source {
	t.Helper()
	text, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	if err := Kind().Check(text); err != nil {
		t.Fatalf("Check: %v", err)
	}
	s, err := open(drivers.Spec{Node: "site/it", Source: secret.New(source), Options: text, Scratch: scratch})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	s.limits = limits{grace: 2 * time.Second, quiet: 300 * time.Millisecond, lock: 10 * time.Second}
	return s
}

var onlyPart = drivers.Part{Name: partName}

// dump dumps a source as a node's attempt does.
func dump(t *testing.T, s *Source, w io.Writer) error {
	t.Helper()
	v, err := s.Freeze(t.Context())
	if err != nil {
		return err
	}
	_, err = v.Dump(t.Context(), onlyPart, w)
	endErr := v.End(t.Context())
	if (err == nil) != (endErr == nil) {
		t.Errorf("End = %v after Dump = %v", endErr, err)
	}
	return err
}

func mustDump(t *testing.T, source string, options map[string]any) string {
	t.Helper()
	var b bytes.Buffer
	if err := dump(t, openSource(t, source, options), &b); err != nil {
		t.Fatalf("dump: %v", err)
	}
	return b.String()
}

var rules = drivers.Target{Run: "run-1"}

// load restores as a node's attempts do, without Finish.
func load(ctx context.Context, s *Source, r io.Reader) error {
	if err := s.Prepare(ctx, rules, nil); err != nil {
		return err
	}
	return s.Load(ctx, rules, drivers.Attempt{Run: rules.Run, Task: "load", Token: "one"}, onlyPart, r)
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("in vain waited for %s", what)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}
