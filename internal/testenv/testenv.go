// Package testenv starts private servers for tests from the installed programs, each in a temporary directory and on a port
// of its own, and sees to it that none outlives its test.
//
// A server whose program is not installed skips the test, unless the environment variable SALVOR_TEST_REQUIRE is "all" or
// names the server: then the test fails, so that a continuous build cannot lose tests without a word.
package testenv

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Require is the environment variable that names what must be installed.
const Require = "SALVOR_TEST_REQUIRE"

// Program returns the path of the first installed program of several that can run a server. Without one the test ends.
func Program(t testing.TB, server string, programs ...string) string {
	t.Helper()
	for _, p := range programs {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	required := strings.FieldsFunc(os.Getenv(Require), func(r rune) bool { return r == ',' || r == ' ' })
	for _, name := range required {
		if name == "all" || name == server {
			t.Fatalf("%s is not installed (looked for %s), and %s says it must be", server, strings.Join(programs, ", "), Require)
		}
	}
	t.Skipf("%s is not installed (looked for %s)", server, strings.Join(programs, ", "))
	return ""
}

// FreePort returns a loopback port that nobody listens on. Another process may take it at once: whoever starts a server on
// it tries again with another.
func FreePort(t testing.TB) int {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer func() { _ = l.Close() }()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("listener has address %v", l.Addr())
	}
	return addr.Port
}

// Eventually polls until f returns "" and fails the test with its last answer when that takes too long.
func Eventually(t testing.TB, limit time.Duration, f func() string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		last := f()
		if last == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, last)
		}
		pause(t.Context(), 5*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// process is a running server program.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	log    *tail
}

// start runs a program that dies with this one.
func start(dir, program string, args ...string) (*process, error) {
	return startAs(nil, dir, program, args...)
}

// startAs runs a program that dies with this one, as another user where one is given.
func startAs(u *user, dir, program string, args ...string) (*process, error) {
	p := &process{exited: make(chan struct{}), log: &tail{}}
	started := make(chan error)
	go func() {
		// Linux kills the child when the thread that started it ends, so this goroutine keeps the thread to itself.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		p.cmd = exec.Command(program, args...) //nolint:noctx // the server outlives the call; stop ends it
		p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.log, p.log
		p.cmd.WaitDelay = time.Second
		bind(p.cmd)
		if u != nil {
			u.assume(p.cmd)
		}
		if err := p.cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		_ = p.cmd.Wait() // how it ends is the tests' own doing
		close(p.exited)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return p, nil
}

// alive tells whether the program still runs.
func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// kill ends the program at once and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone
	<-p.exited
}

// tail keeps the end of what a server says.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailLength = 8 << 10

// Write keeps the last few kilobytes.
func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if extra := len(l.text) - tailLength; extra > 0 {
		l.text = append(l.text[:0], l.text[extra:]...)
	}
	return len(p), nil
}

// String returns what was kept.
func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
