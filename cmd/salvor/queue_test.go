package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/internal/testenv"
)

// A Redis that cannot be used is told before anything is done, with what to do; its password is not shown.
func TestQueueThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	locked := testenv.Redis(t, "--requirepass", "right")
	old := oldRedis(t)
	for name, test := range map[string]struct {
		url, where string
		code       int
		want       string
	}{
		"wrong password": {
			"redis://:geheim@" + locked.Addr() + "/0", locked.Addr(), exitAccess,
			"salvor: error: open queue: queue denies access: ADDR refuses the user or the password\n" +
				"salvor: hint: look at the user and password in the queue's URL\n",
		},
		"no password": {
			"redis://" + locked.Addr() + "/0", locked.Addr(), exitAccess,
			"salvor: error: open queue: queue denies access: ADDR refuses the user or the password\n" +
				"salvor: hint: look at the user and password in the queue's URL\n",
		},
		"too old": {
			"redis://" + old + "/0", old, exitUsage,
			"salvor: error: open queue: queue is not fit for use: ADDR is Redis 5.0.14\nsalvor: hint: Redis 6.2 or newer is needed\n",
		},
		"away": {
			"redis://:geheim@127.0.0.1:1/0", "127.0.0.1:1", exitFailed,
			"salvor: error: open queue: queue cannot be reached: ADDR: dial tcp ADDR: connect: connection refused\n" +
				"salvor: hint: is Redis running there, and can this machine reach it? Without a queue in the set, the tasks stay in this process\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			config := filepath.Join(dir, "set.yaml")
			writeFile(t, filepath.Join(dir, "files", "a"), []byte("a"))
			writeFile(t, config, fmt.Appendf(nil, "archive: archive\nqueue: %s\nset: {name: s, driver: filesystem, source: files}\n", test.url))
			stdout, stderr, code := call(t, "dump", "--config", config)
			if code != test.code || stdout != "" || strings.Contains(stderr, "geheim") {
				t.Errorf("exit code %d, stdout %q", code, stdout)
			}
			if diff := cmp.Diff(test.want, strings.ReplaceAll(stderr, test.where, "ADDR")); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(filepath.Join(dir, "archive")); !os.IsNotExist(err) {
				t.Errorf("there is an archive: %v", err)
			}
		})
	}
}

// oldRedis answers as a server that is too old does, and returns its address.
func oldRedis(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { defer func() { _ = conn.Close() }(); answerAsOld(conn) })
		}
	})
	return l.Addr().String()
}

// answerAsOld reads commands (arrays of strings) and answers them one by one.
func answerAsOld(conn net.Conn) {
	const info = "# Server\r\nredis_version:5.0.14\r\nmaxmemory:0\r\n"
	r := bufio.NewReader(conn)
	for {
		var words []string
		line, err := r.ReadString('\n')
		var n int
		if err == nil {
			_, err = fmt.Sscanf(line, "*%d", &n)
		}
		for i := 0; i < 2*n && err == nil; i++ {
			if line, err = r.ReadString('\n'); i%2 == 1 {
				words = append(words, strings.ToUpper(strings.TrimSpace(line)))
			}
		}
		if err != nil || len(words) == 0 {
			return
		}
		answer := "-ERR unknown command\r\n"
		switch words[0] {
		case "PING":
			answer = "+PONG\r\n"
		case "CLIENT", "SELECT":
			answer = "+OK\r\n"
		case "INFO":
			answer = fmt.Sprintf("$%d\r\n%s\r\n", len(info), info)
			if len(words) > 2 {
				answer = "-ERR syntax error\r\n"
			}
		}
		if _, err := conn.Write([]byte(answer)); err != nil {
			return
		}
	}
}
