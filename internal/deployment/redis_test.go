package deployment_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// password is what the tests' secret file holds.
const password = "6b0d9f4f3f0a4a3f9d8e"

// place runs the commands of containers in a directory of this machine.
type place struct{ dir, port string }

func newPlace(t *testing.T) place {
	t.Helper()
	dir := t.TempDir()
	p := place{dir: dir, port: freePort(t)}
	if err := os.WriteFile(filepath.Join(dir, "redis-password"), []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	return p
}

// here returns a container's text with the places of this machine.
func (p place) here(text string) string {
	return strings.NewReplacer(
		"/run/secrets/", p.dir+"/", "--dir /data", "--dir "+filepath.Join(p.dir, "data"),
		"--port 6379", "--bind 127.0.0.1 --port "+p.port, "-p 6379", "-p "+p.port,
		"@redis:6379", "@127.0.0.1:"+p.port,
	).Replace(text)
}

func freePort(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	return port
}

// needRedis skips the test where Redis is not installed, or fails it where all tests are required.
func needRedis(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("SALVOR_TEST_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// TestRedisStartsAsComposeSays runs the queue's command and its health check.
func TestRedisStartsAsComposeSays(t *testing.T) {
	t.Parallel()
	needRedis(t)
	p := newPlace(t)
	service := project(t).Services["redis"]
	server := p.start(t, service.Command, nil)
	check := service.HealthCheck.Test
	if check[0] != "CMD-SHELL" {
		t.Fatalf("health check %q", check)
	}
	p.awaitHealth(t, check[1])

	for name, want := range map[string]string{
		"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "maxmemory": strconv.Itoa(256 << 20), "save": "",
	} {
		if diff := cmp.Diff(name+"\n"+want+"\n", p.cli(t, password, "config", "get", name)); diff != "" {
			t.Errorf("setting (-want +got):\n%s", diff)
		}
	}
	if out := p.cli(t, "wrong", "get", "x"); !strings.Contains(out, "NOAUTH") && !strings.Contains(out, "WRONGPASS") {
		t.Errorf("with a wrong password it answers %q", out)
	}
	if err := p.health(t, strings.ReplaceAll(check[1], "redis-password", "no-such-file")); err == nil {
		t.Error("it counts as healthy where the password is wrong")
	}
	if shown := arguments(t, server); strings.Contains(shown, password) || !strings.Contains(shown, "redis-server") {
		t.Errorf("everybody can see that the server is %q", shown)
	}

	// What was written outlives the server, and it ends when it is told to.
	p.cli(t, password, "set", "kept", "yes")
	server.stop(t)
	server = p.start(t, service.Command, nil)
	p.awaitHealth(t, check[1])
	if got := p.cli(t, password, "get", "kept"); got != "yes\n" {
		t.Errorf("after a restart the key is %q", got)
	}
	server.stop(t)
}

// TestRedisNeedsItsSecret: where the password is empty or cannot be read there is no queue that everybody may use, and a
// queue that somebody else has started without one does not count as healthy.
func TestRedisNeedsItsSecret(t *testing.T) {
	t.Parallel()
	needRedis(t)
	service := project(t).Services["redis"]
	check := service.HealthCheck.Test[1]
	for name, damage := range map[string]func(file string) error{
		"absent":     os.Remove,
		"unreadable": func(file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) }, // for root, too
		"empty":      func(file string) error { return os.WriteFile(file, nil, 0o600) },
		"blank":      func(file string) error { return os.WriteFile(file, []byte("\n\n"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			if err := damage(filepath.Join(p.dir, "redis-password")); err != nil {
				t.Fatal(err)
			}
			server := p.start(t, service.Command, nil)
			ended := make(chan error, 1)
			go func() { ended <- server.Wait() }()
			select {
			case err := <-ended:
				var exit *exec.ExitError
				if !errors.As(err, &exit) || !strings.Contains(server.printed.String(), "redis-password") {
					t.Errorf("it ended with %v and said %q", err, server.printed)
				}
			case <-time.After(10 * time.Second):
				t.Error("Redis runs")
				if err := server.Process.Kill(); err != nil {
					t.Error(err)
				}
				t.Log(<-ended)
			}

			open := p.start(t, []string{"redis-server", "--bind", "127.0.0.1", "--port", p.port, "--save", ""}, nil)
			eventually(t, "a server without a password answers", func() bool {
				return exec.CommandContext(t.Context(), "redis-cli", "-p", p.port, "ping").Run() == nil
			})
			if err := p.health(t, check); err == nil {
				t.Error("a server without a password counts as healthy")
			}
			open.stop(t)
		})
	}
}

// arguments returns those of a process as they are now: a shell in its place may have become something else.
func arguments(t *testing.T, s process) string {
	t.Helper()
	pid := strconv.Itoa(s.Process.Pid)
	out, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	if errors.Is(err, os.ErrNotExist) { // not Linux
		out, err = exec.CommandContext(t.Context(), "ps", "-o", "args=", "-p", pid).Output()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// process is what runs in a container.
type process struct {
	*exec.Cmd
	printed *transcript
}

// transcript is what a process prints; it may be read while the process runs.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write adds to the transcript.
func (o *transcript) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

// String returns what was printed until now.
func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs a container's command with an environment beside the test's own; the test ends it.
func (p place) start(t *testing.T, command, environment []string) process {
	t.Helper()
	args := make([]string, len(command))
	for i, arg := range command {
		args[i] = p.here(arg)
	}
	// The test's own context is over before its cleanup runs.
	s := process{exec.CommandContext(context.WithoutCancel(t.Context()), args[0], args[1:]...), &transcript{}}
	s.Env = append(os.Environ(), environment...)
	s.Stdout, s.Stderr = s.printed, s.printed
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.ProcessState == nil {
			_ = s.Process.Kill()
			_ = s.Wait()
		}
		if t.Failed() {
			t.Logf("%s:\n%s", args[0], s.printed)
		}
	})
	return s
}

// stop tells a process to end, as an engine does, and waits for it.
func (s process) stop(t *testing.T) {
	t.Helper()
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err != nil {
		t.Fatalf("%s, told to end: %v", s.Path, err)
	}
}

// eventually asks again until the answer is yes.
func eventually(t *testing.T, what string, answer func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !answer(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func (p place) health(t *testing.T, check string) error {
	t.Helper()
	return exec.CommandContext(t.Context(), "sh", "-c", p.here(check)).Run()
}

// awaitHealth waits until a service's health check passes.
func (p place) awaitHealth(t *testing.T, check string) {
	t.Helper()
	eventually(t, "healthy", func() bool { return p.health(t, check) == nil })
}

// cli returns what the server answers.
func (p place) cli(t *testing.T, password string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "redis-cli", append([]string{"-p", p.port}, args...)...)
	cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+password)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %v: %v\n%s", args, err, out)
	}
	return string(out)
}
