package queue

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Conn is a connection to the Redis that carries a fleet's tasks, or to one inside this process. It is safe for concurrent
// use.
type Conn struct {
	rdb      redis.UniversalClient
	where    string
	embedded *miniredis.Miniredis
	close    sync.Once
	closeErr error
}

// Errors of Open. They have hints.
var (
	// ErrUnreachable: nothing answers at the address. Trying again later may help.
	ErrUnreachable = errors.New("queue cannot be reached")
	// ErrDenied: the server refuses the user, the password or the commands that are needed.
	ErrDenied = errors.New("queue denies access")
	// ErrUnfit: the server is too old, or set up to forget.
	ErrUnfit = errors.New("queue is not fit for use")
	// ErrURL: the URL makes no sense.
	ErrURL = errors.New("queue URL is not valid")
)

// openError never holds the URL or a part of it but the host: a password stands there.
type openError struct {
	kind   error
	detail string
	hint   string
}

func (e *openError) Error() string {
	if e.detail == "" {
		return e.kind.Error()
	}
	return e.kind.Error() + ": " + e.detail
}

func (e *openError) Unwrap() error { return e.kind }

// Hint returns what the user can do.
func (e *openError) Hint() string { return e.hint }

const urlHint = "use redis://[user:password@]host:port/db, rediss:// for TLS, unix:///path?db=0, " +
	"redis-sentinel://host:port,host:port/db?master=NAME, or redis://host:port?addr=host:port&... for a cluster"

// openTimeout bounds how long Open waits for a server.
const openTimeout = 10 * time.Second

// Open connects to a Redis and makes sure that it can be used. Errors: [ErrURL], [ErrUnreachable], [ErrDenied], [ErrUnfit];
// they have a Hint method and never show a password.
func Open(ctx context.Context, rawURL string) (*Conn, error) {
	quiet()
	client, where, err := dial(rawURL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := check(ctx, client, where); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &Conn{rdb: client, where: where}, nil
}

// OpenEmbedded starts a queue inside this process, reachable from this machine only and with a random password.
func OpenEmbedded(ctx context.Context) (*Conn, error) {
	quiet()
	server := miniredis.NewMiniRedis()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails: the documentation says so
	password := hex.EncodeToString(key)
	server.RequireAuth(password)
	if err := server.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start embedded queue: %w", err)
	}
	o := &redis.Options{Addr: server.Addr(), Password: password, Protocol: 2, ReadTimeout: time.Minute, DisableIdentity: true}
	settle(&o.MaintNotificationsConfig, &o.PoolSize)
	client := redis.NewClient(o)
	client.AddHook(idle{server})
	if err := client.Ping(ctx).Err(); err != nil {
		err = errors.Join(err, client.Close())
		server.Close()
		return nil, fmt.Errorf("start embedded queue: %w", err)
	}
	return &Conn{rdb: client, where: "this process", embedded: server}, nil
}

// Redis returns the client. It is closed with the Conn.
func (c *Conn) Redis() redis.UniversalClient { return c.rdb }

// Where says where the queue is, without secrets.
func (c *Conn) Where() string { return c.where }

// Embedded tells whether the queue lives in this process.
func (c *Conn) Embedded() bool { return c.embedded != nil }

// Close closes the connection, and ends an embedded queue with all that is in it. Stop servers and sweepers first.
func (c *Conn) Close() error {
	c.close.Do(func() {
		if err := c.rdb.Close(); err != nil {
			c.closeErr = fmt.Errorf("close queue: %w", err)
		}
		if c.embedded != nil {
			c.embedded.Close()
		}
	})
	return c.closeErr
}

// dial makes a client and says where it leads, without secrets. It does not connect.
func dial(rawURL string) (redis.UniversalClient, string, error) {
	// The errors of the parsers quote the URL, or parts of it: they must not be shown.
	bad := func(detail string) error { return &openError{ErrURL, detail, urlHint} }
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, "", bad("")
	}
	switch u.Scheme {
	case "redis", "rediss", "unix":
		if u.Query().Has("addr") && u.Scheme != "unix" {
			o, err := redis.ParseClusterURL(rawURL)
			if err != nil {
				return nil, "", bad("")
			}
			settle(&o.MaintNotificationsConfig, &o.PoolSize)
			return redis.NewClusterClient(o), strings.Join(o.Addrs, ", "), nil
		}
		o, err := redis.ParseURL(rawURL)
		if err != nil {
			return nil, "", bad("")
		}
		settle(&o.MaintNotificationsConfig, &o.PoolSize)
		return redis.NewClient(o), place(o.Addr, o.DB), nil
	case "redis-socket":
		u.Scheme = "unix"
		return dial(u.String())
	case "redis-sentinel", "rediss-sentinel":
		o, err := sentinel(u)
		if err != nil {
			return nil, "", bad(err.Error())
		}
		return redis.NewFailoverClient(o), place("sentinels "+strings.Join(o.SentinelAddrs, ", ")+" master "+o.MasterName, o.DB), nil
	default:
		return nil, "", bad("it does not begin with redis://, rediss://, unix:// or redis-sentinel://")
	}
}

// place says where a database of a server is.
func place(address string, db int) string {
	if db == 0 {
		return address
	}
	return address + " database " + strconv.Itoa(db)
}

// sentinel reads redis-sentinel://[user:password@]host:port,host:port/db?master=NAME&sentinel_password=TEXT. The user and
// the password are the server's.
func sentinel(u *url.URL) (*redis.FailoverOptions, error) {
	q := u.Query()
	o := &redis.FailoverOptions{
		DialerRetries: 1, // each asks all sentinels, which is tried often enough without
		MasterName:    q.Get("master"), SentinelUsername: q.Get("sentinel_username"), SentinelPassword: q.Get("sentinel_password"),
	}
	if o.MasterName == "" {
		o.MasterName = q.Get("master_name")
	}
	if o.MasterName == "" {
		return nil, errors.New("the name of the master is missing")
	}
	for host := range strings.SplitSeq(u.Host, ",") {
		if host == "" {
			return nil, errors.New("a sentinel's address is empty")
		}
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), "26379")
		}
		o.SentinelAddrs = append(o.SentinelAddrs, host)
	}
	if u.User != nil {
		o.Username = u.User.Username()
		o.Password, _ = u.User.Password()
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		n, err := strconv.Atoi(db)
		if err != nil {
			return nil, errors.New("the database is not a number")
		}
		o.DB = n
	}
	if u.Scheme == "rediss-sentinel" {
		host, _, err := net.SplitHostPort(o.SentinelAddrs[0])
		if err != nil {
			return nil, errors.New("a sentinel's address is not valid")
		}
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	}
	settle(nil, &o.PoolSize)
	return o, nil
}

// settle sets what every client needs: enough connections for the pollers, heartbeats and handlers of a worker, and no
// notifications that only hosted Redis sends.
func settle(m **maintnotifications.Config, pool *int) {
	if *pool == 0 {
		*pool = 32
	}
	if m != nil {
		*m = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	}
}

// quiet turns off go-redis's own logging to stderr: what matters comes back as errors.
func quiet() { quietOnce.Do(func() { redis.SetLogger(discard{}) }) }

var quietOnce sync.Once

type discard struct{}

// Printf does nothing.
func (discard) Printf(context.Context, string, ...any) {}
