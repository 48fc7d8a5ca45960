//go:build unix

package testenv_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"salvor/internal/testenv"
)

// TestNoServerOutlivesItsTest runs test binaries that are killed while their server runs: it ends, and the next server
// removes its directory.
func TestNoServerOutlivesItsTest(t *testing.T) {
	t.Parallel()
	switch os.Getenv("TESTENV_CHILD") {
	case "redis":
		s := testenv.Redis(t)
		fmt.Printf("%s %s\n", s.Addr(), s.Dir)
		<-t.Context().Done()
		return
	case "mariadb":
		s := testenv.MariaDB(t, testenv.MariaDBOptions{})
		fmt.Printf("127.0.0.1:%d %s\n", s.Port, s.Dir)
		<-t.Context().Done()
		return
	}
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		testenv.Program(t, "redis", "redis-server")
		outlive(t, "redis", t.TempDir()) // a test's own directory it cannot clean up itself
	})
	t.Run("mariadb", func(t *testing.T) {
		t.Parallel()
		s := testenv.MariaDB(t, testenv.MariaDBOptions{})
		dir := outlive(t, "mariadb", t.TempDir())
		testenv.Eventually(t, 10*time.Second, func() string {
			testenv.MariaDB(t, testenv.MariaDBOptions{})
			if _, err := os.Stat(dir); err == nil {
				return "the directory of a killed test's server is left"
			}
			return ""
		})
		if got := s.Query("", "SELECT 1"); got != "1" {
			t.Errorf("the server of a test that runs answers %q", got)
		}
	})
}

// outlive runs a child with a server, kills it, waits until the server is gone, and returns the server's directory.
func outlive(t *testing.T, server, tmp string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoServerOutlivesItsTest$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), "TESTENV_CHILD="+server, "TMPDIR="+tmp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child said %q: %v", line, err)
	}
	addr, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	testenv.Eventually(t, 10*time.Second, func() string {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return ""
		}
		_ = conn.Close()
		return "the server of a killed test still listens"
	})
	return dir
}
