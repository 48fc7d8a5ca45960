//go:build unix

package testenv_test

import (
	"net"
	"testing"
	"time"

	"salvor/internal/testenv"
)

func TestRedisKeepsWhatItIsToldToKeep(t *testing.T) {
	t.Parallel()
	s := testenv.Redis(t, "--requirepass", "pw", "--appendonly", "yes", "--appendfsync", "always")
	if want := "redis://:pw@" + s.Addr() + "/0"; s.URL() != want {
		t.Errorf("URL is %s, want %s", s.URL(), want)
	}
	s.Do("SET k v")
	s.Kill()
	if conn, err := net.DialTimeout("tcp", s.Addr(), time.Second); err == nil {
		_ = conn.Close()
		t.Error("the killed server answers")
	}
	s.Restart()
	if got := s.Do("EXISTS k"); got != ":1" {
		t.Errorf("after kill and restart EXISTS is %s", got)
	}
	s.FlushAll()
	if got := s.Do("EXISTS k"); got != ":0" {
		t.Errorf("after FLUSHALL EXISTS is %s", got)
	}
}

func TestRedisForgetsByDefault(t *testing.T) {
	t.Parallel()
	s := testenv.Redis(t)
	s.Do("SET k v")
	s.Restart()
	if got := s.Do("EXISTS k"); got != ":0" {
		t.Errorf("after restart EXISTS is %s", got)
	}
}

func TestRedisIsSuspended(t *testing.T) {
	t.Parallel()
	s := testenv.Redis(t)
	s.Stop()
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	if err := conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(buf); err == nil {
		t.Errorf("the suspended server answers %q", buf[:n])
	}
	s.Cont()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "+PONG\r\n" {
		t.Errorf("the server answers %q, %v", buf[:n], err)
	}
}

func TestMissingProgram(t *testing.T) {
	for _, c := range []struct {
		require      string
		fail, skip   bool
		server, name string
	}{
		{"", false, true, "redis", "no requirement"},
		{"all", true, false, "redis", "all"},
		{"postgres,redis", true, false, "redis", "named"},
		{"postgres", false, true, "redis", "another named"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(testenv.Require, c.require)
			var fake recorder
			fake.TB = t
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { _ = recover() }()
				testenv.Program(&fake, c.server, "no-such-program-anywhere")
			}()
			<-done
			if fake.failed != c.fail || fake.skipped != c.skip {
				t.Errorf("failed %v, skipped %v", fake.failed, fake.skipped)
			}
		})
	}
}

type recorder struct {
	testing.TB
	failed, skipped bool
}

func (r *recorder) Fatalf(string, ...any) { r.failed = true; panic("end") }
func (r *recorder) Skipf(string, ...any)  { r.skipped = true; panic("end") }
