package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
)

func TestArguments(t *testing.T) {
	t.Parallel()
	args := []string{"a b", "c\nd", "", "*", "$HOME", "~", "`id`", "'", "é", "-n", "a;b|c>d"}
	got := mustDump(t, "", map[string]any{"dump": append([]string{"printf", "%s\x01"}, args...)})
	if diff := cmp.Diff(strings.Join(args, "\x01")+"\x01", got); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if got := mustDump(t, "wc -c", nil); strings.TrimSpace(got) != "0" {
		t.Errorf("a program that dumps reads %s bytes, want none", got)
	}
}

func TestEnvironmentIsAdded(t *testing.T) {
	t.Parallel()
	options := map[string]any{"env": map[string]string{"ADDED": "a b\n=c", "TMPDIR": "/mine"}, "dir": "/"}
	got := mustDump(t, shell(`printf '%s|' "$PATH" "$ADDED" "$TMPDIR" "$PWD"`), options)
	if want := os.Getenv("PATH") + "|a b\n=c|/mine|/|"; got != want {
		t.Errorf("environment = %q, want %q", got, want)
	}
}

func TestFindProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	file("plain", "#!/bin/sh\n", 0o600)
	file("good", "#!/bin/sh\necho good\n", 0o700)
	file("no shebang", "echo hello\n", 0o700)
	file("no interpreter", "#!/no/such/interpreter\n", 0o700)
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	in := map[string]any{"dir": dir}
	path := map[string]any{"env": map[string]string{"PATH": "relative:" + dir}}
	for _, test := range []struct {
		name, program string
		options       map[string]any
		want          error
	}{
		{"missing", "no-such-program", nil, drivers.ErrNotFound},
		{"missing by path", "/no/such/program", nil, drivers.ErrNotFound},
		{"below a file", dir + "/good/x", nil, drivers.ErrNotFound},
		{"not executable", dir + "/plain", nil, drivers.ErrAccess},
		{"not executable on the path", "plain", path, drivers.ErrAccess},
		{"directory", dir + "/directory", nil, drivers.ErrAccess},
		{"no shebang", dir + "/no shebang", nil, drivers.ErrInvalid},
		{"no interpreter", dir + "/no interpreter", nil, drivers.ErrNotFound},
		{"not in the working directory", "good", in, drivers.ErrNotFound},
		{"no directory", "echo", map[string]any{"dir": "/no/such/dir"}, drivers.ErrNotFound},
		{"directory is a file", "echo", map[string]any{"dir": dir + "/good"}, drivers.ErrInvalid},
		{"too long", "echo '" + strings.Repeat("x", 4<<20) + "'", nil, drivers.ErrInvalid},
		{"relative", "./good", in, nil},
		{"on the path", "good", path, nil},
	} {
		source := test.program
		if !strings.HasPrefix(source, "echo") {
			source = quote(source)
		}
		s := openSource(t, source, test.options)
		v, err := s.Freeze(t.Context())
		if !errors.Is(err, test.want) {
			t.Errorf("%s: Freeze = %.300v, want %v", test.name, err, test.want)
		}
		if err == nil {
			if err := v.End(t.Context()); err != nil {
				t.Errorf("%s: End: %v", test.name, err)
			}
		}
		if test.name == "no shebang" || test.name == "no interpreter" || test.name == "too long" {
			continue // what only an attempt to start it tells
		}
		if err := s.CheckTarget(t.Context(), rules, nil); !errors.Is(err, test.want) {
			t.Errorf("%s: CheckTarget = %v, want %v", test.name, err, test.want)
		}
	}
}

func TestFailure(t *testing.T) {
	t.Parallel()
	hidden := map[string]any{"env": map[string]string{"PASSWORD": "hunter2", "KEY": "line one\nline two", "N": "1"}, "stderr_lines": 2}
	for _, test := range []struct {
		name, script string
		options      map[string]any
		want         string
	}{
		{"status", "echo data; echo first >&2; echo second >&2; exit 7", nil, "program sh ended with status 7: first | second"},
		{"silent", "exit 1", nil, "program sh ended with status 1 and said nothing"},
		{"signal", "echo data; echo last >&2; kill -KILL $$", nil, "program sh was ended by a signal (killed): last"},
		{"last lines", "seq 1 100000 >&2; exit 3", map[string]any{"stderr_lines": 3}, "program sh ended with status 3: 99998 | 99999 | 100000"},
		{"progress", `printf '1%%\r2%%\rfailed\n' >&2; exit 3`, map[string]any{"stderr_lines": 1}, "program sh ended with status 3: failed"},
		{"no text", `printf '\033[31mred\t\377\0x\n' >&2; exit 3`, nil, "program sh ended with status 3: [31mred   x"},
		{"one long line", `head -c 100000 /dev/zero | tr '\0' x >&2; exit 3`, nil, "program sh ended with status 3 and said nothing"},
		{
			"secrets", `echo 0 >&2; echo "bad password $PASSWORD 1" >&2; echo "$KEY" | tail -1 >&2; exit 3`, hidden,
			"program sh ended with status 3: bad password [redacted] 1 | [redacted]",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := dump(t, openSource(t, shell(test.script), test.options), io.Discard)
			if !errors.Is(err, drivers.ErrFailed) || errors.Is(err, drivers.ErrViewLost) || hintOf(err) == "" {
				t.Fatalf("dump = %v, want ErrFailed with a hint, so that nothing is tried again", err)
			}
			if err.Error() != test.want {
				t.Errorf("dump = %q, want %q", err, test.want)
			}
		})
	}
}

func processGone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	// A process whose parent does not ask for its end stays as a zombie.
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(text), ") Z ")
}

// pidIn returns the process id that a script writes to a file.
func pidIn(t *testing.T, file string) int {
	t.Helper()
	pid := 0
	eventually(t, "a process id", func() bool {
		text := readFile(t, file)
		pid, _ = strconv.Atoi(strings.TrimSpace(text))
		return strings.HasSuffix(text, "\n") && pid > 0
	})
	return pid
}

// stubborn is a script that starts a grandchild which ignores requests to end, and prints without end.
func stubborn(pidFile string) string {
	return fmt.Sprintf(`(trap '' TERM; sh -c 'echo $$ > %[1]s.new; mv %[1]s.new %[1]s; while :; do sleep 1; done') & yes`, pidFile)
}

func TestCancelEndsGrandchildren(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	s := openSource(t, shell(stubborn(file)), nil)
	s.limits.grace = 300 * time.Millisecond
	v, err := s.Freeze(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pid := pidIn(t, file)
	cause := errors.New("the run is cancelled")
	ctx, cancel := context.WithCancelCause(t.Context())
	began := make(chan struct{})
	result := make(chan error)
	go func() {
		_, err := v.Dump(ctx, onlyPart, &signalWriter{began: began})
		result <- err
	}()
	<-began
	cancel(cause)
	if err := <-result; !errors.Is(err, cause) {
		t.Errorf("Dump = %v, want the cause of the cancel", err)
	}
	eventually(t, "the grandchild's end", func() bool { return processGone(pid) })
	if err := v.End(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("End = %v, want ErrViewLost", err)
	}
}

// signalWriter tells of its first byte.
type signalWriter struct {
	began chan struct{}
	told  bool
}

func (w *signalWriter) Write(p []byte) (int, error) {
	if !w.told {
		w.told = true
		close(w.began)
	}
	return len(p), nil
}

func TestEndEndsTheProgram(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]bool{"unread": false, "while it is read": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pid")
			v, err := openSource(t, shell("echo $$ > "+file+"; echo x; exec 1>&-; exec sleep 600"), nil).Freeze(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			pid := pidIn(t, file)
			var want error
			result := make(chan error, 1)
			if read {
				want = drivers.ErrViewLost
				began := make(chan struct{})
				go func() {
					_, err := v.Dump(t.Context(), onlyPart, &signalWriter{began: began})
					result <- err
				}()
				<-began
			}
			if err := v.End(t.Context()); !errors.Is(err, want) {
				t.Errorf("End = %v, want %v", err, want)
			}
			if read {
				if err := <-result; !errors.Is(err, drivers.ErrViewLost) {
					t.Errorf("Dump = %v, want ErrViewLost", err)
				}
			}
			if !processGone(pid) {
				t.Error("the program lives on")
			}
		})
	}
}

// Who keeps the output open after the program has ended could still write to it: the dump is not known to be whole.
func TestOutputHeldOpen(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	err := dump(t, openSource(t, shell("echo x; sh -c 'echo $$ > "+file+"; exec sleep 600' & exit 0"), nil), io.Discard)
	if !errors.Is(err, drivers.ErrFailed) || !strings.Contains(err.Error(), "others keep its output open") || hintOf(err) == "" {
		t.Errorf("dump = %v, want that the output is held open, with a hint", err)
	}
	if pid := pidIn(t, file); !processGone(pid) {
		t.Error("what the program started lives on after a failure")
	}
}

// What a failed program leaves behind in its group is ended: it could still be writing.
func TestFailureEndsTheRest(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	script := "sh -c 'echo $$ > " + file + "; exec sleep 600' >/dev/null 2>&1 & until [ -s " + file + " ]; do :; done; exit 4"
	err := dump(t, openSource(t, shell(script), nil), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "status 4") {
		t.Errorf("dump = %v, want the program's status", err)
	}
	if pid := pidIn(t, file); !processGone(pid) {
		t.Error("what the program started lives on after a failure")
	}
}

// A shell's process substitution ends after the shell.
func TestOutputAfterTheEnd(t *testing.T) {
	t.Parallel()
	s := openSource(t, shell("(sleep 0.2; echo late) & echo early"), nil)
	s.limits.quiet = 10 * time.Second
	var b bytes.Buffer
	if err := dump(t, s, &b); err != nil || b.String() != "early\nlate\n" {
		t.Errorf("dump = %q, %v, want all that was printed", b.String(), err)
	}
}

// A daemon that a program leaves behind, as ssh does, keeps standard error open and is nobody's business.
func TestDaemonKeepsErrorsOpen(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	var b bytes.Buffer
	err := dump(t, openSource(t, shell("echo x; sh -c 'echo $$ > "+file+"; exec sleep 600' >/dev/null & exit 0"), nil), &b)
	if err != nil || b.String() != "x\n" {
		t.Errorf("dump = %q, %v", b.String(), err)
	}
	pid := pidIn(t, file)
	if processGone(pid) {
		t.Error("the daemon was ended")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// slowWriter takes its time with each piece.
type slowWriter struct {
	bytes.Buffer
	pause time.Duration
}

func (w *slowWriter) Write(p []byte) (int, error) {
	<-time.After(w.pause)
	return w.Buffer.Write(p)
}

// What a program printed before its end is not lost to a slow archive.
func TestSlowArchive(t *testing.T) {
	t.Parallel()
	s := openSource(t, shell("head -c 300000 /dev/zero"), nil)
	s.limits.quiet = 50 * time.Millisecond
	w := &slowWriter{pause: 200 * time.Millisecond}
	if err := dump(t, s, w); err != nil || w.Len() != 300_000 {
		t.Errorf("dump of 300000 bytes to a slow archive gave %d, %v", w.Len(), err)
	}
}
