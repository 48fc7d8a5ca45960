package queue_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"salvor/internal/testenv"
	"salvor/tasks/queue"
)

const password = "hunter2-secret"

func wantError(t *testing.T, url string, kind error, text string) {
	t.Helper()
	conn, err := queue.Open(t.Context(), url)
	if err == nil {
		_ = conn.Close()
		t.Errorf("open %s: no error", url)
		return
	}
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("open %s: %q, want %q with %q", url, err, kind, text)
	}
	var hinted interface{ Hint() string }
	if !errors.As(err, &hinted) || hinted.Hint() == "" {
		t.Errorf("open %s: %q has no hint", url, err)
		return
	}
	if strings.Contains(err.Error()+hinted.Hint()+fmt.Sprintf("%+v %#v", err, err), password) {
		t.Errorf("the password is shown: %+v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	closed := net.JoinHostPort("127.0.0.1", strconv.Itoa(testenv.FreePort(t)))
	guarded := testenv.Redis(t, "--requirepass", password)
	open := testenv.Redis(t)
	evicting := testenv.Redis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	for _, c := range []struct {
		url  string
		kind error
		text string
	}{
		{"redis://:" + password + "@" + closed, queue.ErrUnreachable, closed},
		{"redis-sentinel://:" + password + "@" + closed + "/0?master=m", queue.ErrUnreachable, "sentinels " + closed},
		{"redis://:" + password + "@" + closed + "?addr=" + closed, queue.ErrUnreachable, closed},
		{"unix:///no/such/" + "socket?db=0", queue.ErrUnreachable, "/no/such/socket"},
		{"redis://" + guarded.Addr(), queue.ErrDenied, guarded.Addr() + " refuses the user or the password"},
		{"redis://:wrong" + password + "@" + guarded.Addr(), queue.ErrDenied, "refuses"},
		{"redis://me:" + password + "@" + open.Addr(), queue.ErrDenied, "refuses"},
		{evicting.URL(), queue.ErrUnfit, "maxmemory-policy allkeys-lru"},
		{oldRedis(t), queue.ErrUnfit, "is Redis 5.0.14"},
		{"http://:" + password + "@x", queue.ErrURL, "it does not begin with redis://"},
		{password + " x", queue.ErrURL, "it does not begin with"},
		{"redis://:" + password + "@host:port/0", queue.ErrURL, ""},
		{"redis://:" + password + "\x7f@host/0", queue.ErrURL, ""},
		{"redis://:" + password + "@host/zero", queue.ErrURL, ""},
		{"redis://:" + password + "@host/0?colour=" + password, queue.ErrURL, ""},
		{"redis://:" + password + "@host/0?addr=a:1&colour=" + password, queue.ErrURL, ""},
		{"redis-sentinel://:" + password + "@host", queue.ErrURL, "the name of the master is missing"},
		{"redis-sentinel://a,,b?master=m", queue.ErrURL, "address is empty"},
		{"redis-sentinel://a/x?master=m", queue.ErrURL, "not a number"},
	} {
		wantError(t, c.url, c.kind, c.text)
	}
}

// oldRedis answers as an old server does.
func oldRedis(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serveOld(conn)
		}
	}()
	return "redis://" + l.Addr().String()
}

func serveOld(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		n, _ := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "*")))
		var words []string
		for range n {
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
			word, err := r.ReadString('\n')
			if err != nil {
				return
			}
			words = append(words, strings.TrimSpace(word))
		}
		info := "# Server\r\nredis_version:5.0.14\r\n"
		answer := "+OK\r\n"
		switch strings.ToLower(strings.Join(words, " ")) {
		case "ping":
			answer = "+PONG\r\n"
		case "info server memory":
			answer = "-ERR syntax error\r\n"
		case "info":
			answer = fmt.Sprintf("$%d\r\n%s\r\n", len(info), info)
		default:
			if words[0] == "hello" || words[0] == "HELLO" {
				answer = "-ERR unknown command `HELLO`\r\n"
			}
		}
		if _, err := conn.Write([]byte(answer)); err != nil {
			return
		}
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "redis.sock")
	guarded := testenv.Redis(t, "--requirepass", password, "--unixsocket", socket)
	for _, url := range []string{
		guarded.URL(),
		"redis://default:" + password + "@" + guarded.Addr(),
		"unix://:" + password + "@" + socket + "?db=3",
		"redis-socket://:" + password + "@" + socket + "?db=3",
	} {
		conn, err := queue.Open(t.Context(), url)
		if err != nil {
			t.Errorf("open %s: %v", url, err)
			continue
		}
		if conn.Embedded() {
			t.Error("a server outside is taken for an embedded one")
		}
		if err := conn.Redis().Set(t.Context(), "k", "v", 0).Err(); err != nil {
			t.Errorf("set: %v", err)
		}
		for range 2 {
			if err := conn.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	}
	if got := guarded.Do("DBSIZE"); got != ":1" {
		t.Errorf("database 0 has %s keys", got)
	}
}

func TestOpenSentinel(t *testing.T) {
	t.Parallel()
	master := testenv.Redis(t, "--requirepass", password)
	sentinel := testenv.RedisSentinel(t, "mymaster", master)
	conn, err := queue.Open(t.Context(), "redis-sentinel://:"+password+"@"+sentinel.Addr()+"/2?master=mymaster")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := conn.Redis().Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got := master.Do("DBSIZE"); got != ":0" {
		t.Errorf("the key went to database 0: %s", got)
	}
}

func TestOpenEmbedded(t *testing.T) {
	t.Parallel()
	conn, err := queue.OpenEmbedded(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !conn.Embedded() {
		t.Error("it does not say that it is embedded")
	}
	o := conn.Redis().(*redis.Client).Options() //nolint:errcheck,forcetypeassert // a test
	if !strings.HasPrefix(o.Addr, "127.0.0.1:") || len(o.Password) != 64 {
		t.Errorf("it listens at %s with a password of %d digits", o.Addr, len(o.Password))
	}
	stranger := redis.NewClient(&redis.Options{Addr: o.Addr, MaxRetries: -1})
	if err := stranger.Get(t.Context(), "k").Err(); err == nil || errors.Is(err, redis.Nil) {
		t.Errorf("a stranger was let in: %v", err)
	}
	if err := stranger.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := conn.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if c, err := net.Dial("tcp", o.Addr); err == nil {
		_ = c.Close()
		t.Error("it listens after it was closed")
	}
}

func TestServerWithoutInfo(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	if _, err := queue.Open(t.Context(), "redis://"+s.Addr()); !errors.Is(err, queue.ErrUnfit) {
		t.Errorf("open of a server without INFO: %v", err)
	}
}
