package command

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/internal/testenv"
)

// docScript writes the script of the documentation's example to a file and returns its name.
func docScript(t *testing.T) string {
	t.Helper()
	_, text, found := strings.Cut(readFile(t, "../../docs/drivers.md"), "```sh\n")
	script, _, closed := strings.Cut(text, "```\n")
	if !found || !closed || !strings.HasPrefix(script, "#!/bin/sh") {
		t.Fatalf("the documentation has no script: %.100q", text)
	}
	file := filepath.Join(t.TempDir(), "put-rdb")
	if err := os.WriteFile(file, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

// The example of docs/drivers.md: a Redis with a password is dumped by redis-cli, and restored as the file that another
// server starts from.
func TestRedis(t *testing.T) {
	t.Parallel()
	testenv.Program(t, "redis", "redis-cli")
	const password = "s3cret-word"
	from := testenv.Redis(t, "--requirepass", password, "--repl-diskless-sync-delay", "0")
	to := testenv.Redis(t)
	from.Do("SET plain text")
	from.Do("SET large " + strings.Repeat("x", 60_000))
	from.Do("HSET hash a 1 b 2")
	from.Do("RPUSH list one two three")
	from.Do("XADD stream 1-1 field value")

	_, port, err := net.SplitHostPort(from.Addr())
	if err != nil {
		t.Fatal(err)
	}
	file, putRDB := filepath.Join(to.Dir, "dump.rdb"), docScript(t)
	node := func(word string) map[string]any {
		return map[string]any{
			"dump":    []string{"redis-cli", "-p", port, "--rdb", "-"},
			"restore": []string{putRDB, file},
			"env":     map[string]string{"REDISCLI_AUTH": word},
			"ext":     "rdb",
		}
	}
	err = dump(t, openSource(t, "", node("wrong-word")), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "redis-cli ended with status 1") || strings.Contains(err.Error(), "wrong-word") {
		t.Errorf("dump with a wrong password = %v, want what redis-cli said", err)
	}

	s := openSource(t, "", node(password))
	var b bytes.Buffer
	if err := dump(t, s, &b); err != nil {
		t.Fatalf("dump: %v", err)
	}
	if err := load(t.Context(), s, bytes.NewReader(b.Bytes()[:b.Len()/2])); err == nil || !strings.Contains(err.Error(), "RDB") {
		t.Errorf("load of half an RDB = %v, want what redis-check-rdb said", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("half an RDB was put in place")
	}
	if err := load(t.Context(), s, &b); err != nil {
		t.Fatalf("load: %v", err)
	}
	to.Restart()
	for _, question := range []string{"DBSIZE", "GET plain", "GET large", "HGETALL hash", "LRANGE list 0 -1", "XRANGE stream - +"} {
		if diff := cmp.Diff(from.Do(question), to.Do(question)); diff != "" {
			t.Errorf("%s (-dumped +restored):\n%.500s", question, diff)
		}
	}
	if to.Do("DBSIZE") != from.Do("DBSIZE") || !strings.Contains(to.Do("DBSIZE"), "5") {
		t.Errorf("DBSIZE = %q, want 5", to.Do("DBSIZE"))
	}
}
