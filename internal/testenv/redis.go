//go:build unix

package testenv

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// RedisServer is a private Redis. Its methods fail the test where they cannot do their work.
type RedisServer struct {
	// Dir holds the server's files: dump.rdb, appendonlydir.
	Dir string

	t        testing.TB
	program  string
	args     []string
	password string
	config   string // a sentinel's configuration file
	port     int
	process  *process
}

// Redis starts a private Redis, which ends with the test. args are the server's own options, such as "--requirepass",
// "secret", "--appendonly", "yes"; by default it stores nothing on disk and asks for no password.
func Redis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	s := &RedisServer{Dir: t.TempDir(), t: t, program: Program(t, "redis", "redis-server"), args: args}
	for i, a := range args {
		if a == "--requirepass" && i+1 < len(args) {
			s.password = args[i+1]
		}
	}
	t.Cleanup(func() {
		if s.process != nil {
			s.process.kill()
		}
	})
	onFreePort(t, "redis", func(port int) error {
		s.port = port
		return s.start()
	})
	return s
}

func (s *RedisServer) start() error {
	args := append([]string{
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.Dir, "--daemonize", "no", "--save", "", "--appendonly", "no",
	}, s.args...)
	if s.config != "" {
		args = append([]string{s.config, "--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.Dir}, s.args...)
	}
	p, err := start(s.Dir, s.program, args...)
	if err != nil {
		return err
	}
	s.process = p
	return p.untilItAnswers(s.t.Context(), 20*time.Second, func() error {
		answer, err := s.do("PING")
		if err == nil && !strings.HasPrefix(answer, "+PONG") && !strings.HasPrefix(answer, "-NOAUTH") {
			err = fmt.Errorf("it says %q", answer)
		}
		return err
	})
}

// Addr returns the server's address.
func (s *RedisServer) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL returns the server's URL, with its password.
func (s *RedisServer) URL() string {
	user := ""
	if s.password != "" {
		user = ":" + s.password + "@"
	}
	return "redis://" + user + s.Addr() + "/0"
}

// Kill ends the server as kill -9 does.
func (s *RedisServer) Kill() {
	s.t.Helper()
	s.process.kill()
}

// Restart starts the server again where it was, after ending it if it runs. It has then what it stored on disk.
func (s *RedisServer) Restart() {
	s.t.Helper()
	s.process.kill()
	if err := s.start(); err != nil {
		s.t.Fatalf("restart redis: %v", err)
	}
}

// Stop suspends the server: connections stay, nothing is answered.
func (s *RedisServer) Stop() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
}

// Cont lets a suspended server go on.
func (s *RedisServer) Cont() {
	s.t.Helper()
	s.signal(syscall.SIGCONT)
}

func (s *RedisServer) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.process.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("send %v to redis: %v", sig, err)
	}
}

// FlushAll empties the server.
func (s *RedisServer) FlushAll() {
	s.t.Helper()
	s.Do("FLUSHALL")
}

// Do sends one command without spaces in its words and returns the first line of the answer.
func (s *RedisServer) Do(command string) string {
	s.t.Helper()
	answer, err := s.do(command)
	if err != nil || strings.HasPrefix(answer, "-") {
		s.t.Fatalf("redis %s: %q, %v", command, answer, err)
	}
	return answer
}

func (s *RedisServer) do(command string) (string, error) {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(s.t.Context(), "tcp", s.Addr())
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	if s.password != "" {
		if _, err := fmt.Fprintf(conn, "AUTH %s\r\n", s.password); err != nil {
			return "", err
		}
		if _, err := r.ReadString('\n'); err != nil {
			return "", err
		}
	}
	if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
		return "", err
	}
	line, err := r.ReadString('\n')
	return strings.TrimSpace(line), err
}

// RedisSentinel starts a sentinel that watches a server under a name. It ends with the test.
func RedisSentinel(t testing.TB, name string, master *RedisServer) *RedisServer {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 1\n", name, master.port)
	if master.password != "" {
		text += fmt.Sprintf("sentinel auth-pass %s %s\n", name, master.password)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatalf("write sentinel.conf: %v", err)
	}
	s := &RedisServer{Dir: dir, t: t, program: Program(t, "redis", "redis-server"), args: []string{"--sentinel"}, config: config}
	t.Cleanup(func() {
		if s.process != nil {
			s.process.kill()
		}
	})
	s.port = FreePort(t)
	if err := s.start(); err != nil {
		t.Fatalf("start redis sentinel: %v", err)
	}
	return s
}
