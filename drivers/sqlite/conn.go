package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"

	"modernc.org/sqlite"
)

// conn is one SQLite connection, used without database/sql: a view lives and dies with its connection, so a pool that
// closes and reopens connections could only harm. Not safe for concurrent use.
type conn struct{ raw rawConn }

type rawConn interface {
	driver.Conn
	driver.ExecerContext
	driver.QueryerContext
}

// How a file is opened. SQLite itself falls back to reading where it may not write.
const (
	modeWrite     = "mode=rw"             // never creates the file
	modeImmutable = "mode=ro&immutable=1" // no locks, no log, no journal: for files that nobody writes
)

// connect opens an existing file.
func connect(path, mode string) (*conn, error) {
	raw, err := new(sqlite.Driver).Open(uri(path, mode))
	if err != nil {
		return nil, err
	}
	withContext, ok := raw.(rawConn)
	if !ok {
		return nil, errors.Join(errors.New("sqlite driver lacks contexts"), raw.Close())
	}
	return &conn{withContext}, nil
}

// uri escapes all that has a meaning in a SQLite URI: a path may hold any byte.
// See https://www.sqlite.org/uri.html.
func uri(path, mode string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.WriteString("file://")
	for i := range len(path) {
		c := path[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("/._-~", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	b.WriteByte('?')
	b.WriteString(mode)
	return b.String()
}

// exec runs statements one after another. Waiting for a lock ends with ctx.
func (c *conn) exec(ctx context.Context, statements ...string) error {
	for _, statement := range statements {
		if _, err := c.raw.ExecContext(ctx, statement, nil); err != nil {
			return err
		}
	}
	return nil
}

// value returns the first column of the first row.
func (c *conn) value(ctx context.Context, query string) (v driver.Value, err error) {
	rows, err := c.raw.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	dest := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(dest); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: no answer", query)
		}
		return nil, err
	}
	return dest[0], nil
}

func (c *conn) int(ctx context.Context, query string) (int64, error) {
	v, err := c.value(ctx, query)
	if err != nil {
		return 0, err
	}
	n, ok := v.(int64)
	if !ok {
		return 0, fmt.Errorf("%s: answer %v is not a number", query, v)
	}
	return n, nil
}

func (c *conn) text(ctx context.Context, query string) (string, error) {
	v, err := c.value(ctx, query)
	if err != nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s: answer %v is not a text", query, v)
	}
	return s, nil
}

func (c *conn) close() error { return c.raw.Close() }
