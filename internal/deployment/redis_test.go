package deployment_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// password is what the tests' secret file holds.
const password = "6b0d9f4f3f0a4a3f9d8e"

// place runs commands of a container in a directory of this machine.
type place struct {
	dir, port string
}

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

// TestRedisStartsAsComposeSays runs the queue's command and its health check.
func TestRedisStartsAsComposeSays(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("SALVOR_TEST_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	p := newPlace(t)
	service := project(t).Services["redis"]
	server := p.start(t, service.Command)
	check := service.HealthCheck.Test
	if check[0] != "CMD-SHELL" {
		t.Fatalf("health check %q", check)
	}
	p.awaitHealth(t, server, check[1])

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
	p.stop(t, server)
	server = p.start(t, service.Command)
	p.awaitHealth(t, server, check[1])
	if got := p.cli(t, password, "get", "kept"); got != "yes\n" {
		t.Errorf("after a restart the key is %q", got)
	}
	p.stop(t, server)
}

// arguments returns those of a process as they are now: a shell in its place may have become something else.
func arguments(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	pid := strconv.Itoa(cmd.Process.Pid)
	out, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	if errors.Is(err, os.ErrNotExist) { // not Linux
		out, err = exec.CommandContext(t.Context(), "ps", "-o", "args=", "-p", pid).Output()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// start runs a container's command; the test ends it.
func (p place) start(t *testing.T, command []string) *exec.Cmd {
	t.Helper()
	args := make([]string, len(command))
	for i, arg := range command {
		args[i] = p.here(arg)
	}
	// The test's own context is over before its cleanup runs.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), args[0], args[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if t.Failed() {
			t.Logf("%s:\n%s", args[0], out.String())
		}
	})
	return cmd
}

// stop tells a process to end, as an engine does, and waits for it.
func (p place) stop(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s told to end: %v", cmd.Path, err)
	}
}

func (p place) health(t *testing.T, check string) error {
	t.Helper()
	return exec.CommandContext(t.Context(), "sh", "-c", p.here(check)).Run()
}

func (p place) awaitHealth(t *testing.T, server *exec.Cmd, check string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); p.health(t, check) != nil; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not become healthy", server.Path)
		}
	}
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
