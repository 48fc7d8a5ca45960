package mysql

import (
	"bufio"
	"context"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// conn is one session. It is used by one goroutine at a time. It is the driver's own connection: nothing pools it, opens it
// again, or copies what it reads.
type conn struct {
	raw    driver.Conn
	source *Source
	server dialect
	id     int64 // as the server knows it
	broken bool
}

const (
	connectTimeout = 15 * time.Second
	closeTimeout   = 5 * time.Second
	// readBuffer is how much is read from the network at once: with the driver's own four kilobytes a dump takes twice the time.
	readBuffer = 256 << 10
)

// connect opens a session on the source's database. what says what for, to whoever looks at the server.
func (s *Source) connect(ctx context.Context, what string) (*conn, error) {
	return s.connectTo(ctx, s.place.database, what)
}

// connectTo opens a session on a database, or on none.
func (s *Source) connectTo(ctx context.Context, database, what string) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	config, err := s.place.config()
	if err != nil {
		return nil, err
	}
	config.DBName = database
	config.ConnectionAttributes = "program_name:salvor " + strings.NewReplacer(",", " ", ":", " ").Replace(what)
	config.DialFunc = dial
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, badSource("the source cannot be used")
	}
	raw, err := connector.Connect(ctx)
	if err != nil {
		return nil, told(ctx, err)
	}
	c := &conn{raw: raw, source: s}
	if err := c.begin(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// dial connects so that a server that vanished without a word is noticed (a view is idle for hours), and reads in large pieces.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 6}}
	c, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &bufferedConn{Conn: c, in: bufio.NewReaderSize(c, readBuffer)}, nil
}

type bufferedConn struct {
	net.Conn
	in *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.in.Read(p) }

// begin finds out what server this is and sets what makes values come and go in one form.
func (c *conn) begin(ctx context.Context) error {
	rows, err := c.rows(ctx, "SELECT VERSION(), @@version_comment, CONNECTION_ID()")
	if err != nil {
		return err
	}
	if len(rows) != 1 {
		return errNoRow
	}
	c.server = parseServer(rows[0][0], rows[0][1])
	if c.id, err = strconv.ParseInt(rows[0][2], 10, 64); err != nil {
		return fmt.Errorf("read the session's number: %w", err)
	}
	return c.settle(ctx)
}

// settle sets the session's variables, the first time and after a statement that needed others.
func (c *conn) settle(ctx context.Context) error {
	for _, sql := range c.server.sessionSQL() {
		if err := c.exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare session: %w", err)
		}
	}
	return nil
}

// close ends the session. How it ends is of no use to anybody.
func (c *conn) close() {
	c.broken = true
	_ = c.raw.Close()
}

// note keeps in mind that the connection is of no more use.
func (c *conn) note(err error) error {
	if err != nil && !isServers(err) && !errors.Is(err, io.EOF) {
		c.broken = true
	}
	return err
}

// exec runs a statement.
func (c *conn) exec(ctx context.Context, sql string) error {
	_, err := c.affected(ctx, sql)
	return err
}

// ddlTries and ddlPause bound how often a definition is made again that met another: MySQL keeps all definitions in tables of its
// own, in which those of different databases may lock each other out.
const (
	ddlTries = 40
	ddlPause = 50 * time.Millisecond
)

// ddl runs a statement that defines something, which is undone as a whole where it is the victim of a deadlock.
func (c *conn) ddl(ctx context.Context, sql string) error {
	for try := 1; ; try++ {
		err := c.exec(ctx, sql)
		if !isCode(err, codeDeadlock) || try == ddlTries {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(rand.N(ddlPause)): //nolint:gosec // nobody may guess it or not
		}
	}
}

var errNoProtocol = errors.New("the driver of the protocol lacks a part of it")

// affected runs a statement and returns how many rows it changed.
func (c *conn) affected(ctx context.Context, sql string) (int64, error) {
	execer, ok := c.raw.(driver.ExecerContext)
	if !ok {
		return 0, errNoProtocol
	}
	if c.broken {
		return 0, driver.ErrBadConn
	}
	result, err := execer.ExecContext(ctx, sql, nil)
	if err != nil {
		return 0, told(ctx, c.note(err))
	}
	return result.RowsAffected()
}

// query begins a query. The caller closes the rows.
func (c *conn) query(ctx context.Context, sql string) (driver.Rows, error) {
	queryer, ok := c.raw.(driver.QueryerContext)
	if !ok {
		return nil, errNoProtocol
	}
	if c.broken {
		return nil, driver.ErrBadConn
	}
	rows, err := queryer.QueryContext(ctx, sql, nil)
	return rows, told(ctx, c.note(err))
}

// rows runs a query and returns its rows as texts, NULL as "".
func (c *conn) rows(ctx context.Context, sql string) ([][]string, error) {
	in, err := c.query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return c.all(ctx, in)
}

// all reads the rows of a query.
func (c *conn) all(ctx context.Context, in driver.Rows) (list [][]string, err error) {
	defer func() {
		if closeErr := in.Close(); err == nil && closeErr != nil {
			err = told(ctx, c.note(closeErr))
		}
	}()
	cells := make([]driver.Value, len(in.Columns()))
	for {
		err := in.Next(cells)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, told(ctx, c.note(err))
		}
		row := make([]string, len(cells))
		for i, cell := range cells {
			row[i] = string(appendValue(nil, cell))
		}
		list = append(list, row)
	}
}

// catalog asks information_schema about the source's database, whose name stands in for DATABASE(): with a constant the server
// opens the tables of that database alone. rest follows as it is: it may hold names, which may say DATABASE() too. What the server
// could not open for want of a lock it leaves out, with no more than a warning.
func (c *conn) catalog(ctx context.Context, sql string, rest ...string) ([][]string, error) {
	list, err := c.rows(ctx, strings.ReplaceAll(sql, "DATABASE()", literal(c.source.place.database))+strings.Join(rest, ""))
	if err != nil {
		return nil, err
	}
	warnings, err := c.rows(ctx, "SHOW WARNINGS")
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		if len(w) > 2 && w[1] == strconv.Itoa(codeLockWait) {
			return nil, fmt.Errorf("%w: %s", errBeingChanged, w[2])
		}
	}
	return list, nil
}

var errNoRow = errors.New("query gave no row")

// text runs a query and returns its first value.
func (c *conn) text(ctx context.Context, sql string) (string, error) {
	rows, err := c.rows(ctx, sql)
	if err != nil {
		return "", err
	}
	if len(rows) == 0 || len(rows[0]) == 0 {
		return "", errNoRow
	}
	return rows[0][0], nil
}

// number is text for a whole number.
func (c *conn) number(ctx context.Context, sql string) (int64, error) {
	text, err := c.text(ctx, sql)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read number: %w", err)
	}
	return n, nil
}

// optional is text for what not everybody may ask, or not every server can tell: "" then.
func (c *conn) optional(ctx context.Context, sql string) (string, error) {
	text, err := c.text(ctx, sql)
	if err == nil || errors.Is(err, errNoRow) || isCode(err, codePrivilege, codeTableDenied, codeColumnDenied, codeDatabaseDenied, codeNoVariable, codeNoTable, codeSyntax, codeUnknownTable) {
		return text, nil
	}
	return "", err
}

// rollback ends a transaction, if there is one, so that the session can be used again.
func (c *conn) rollback(ctx context.Context) {
	if c.broken {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = c.exec(ctx, "ROLLBACK") // a session that cannot even do that is closed by the next use
}

// appendValue appends a value of the text protocol as the server wrote it, or so that it is read as the same.
func appendValue(to []byte, value driver.Value) []byte {
	switch v := value.(type) {
	case nil:
		return to
	case []byte:
		return append(to, v...)
	case int64:
		return strconv.AppendInt(to, v, 10)
	case uint64:
		return strconv.AppendUint(to, v, 10)
	case float64:
		return strconv.AppendFloat(to, v, 'g', -1, 64)
	case float32:
		return strconv.AppendFloat(to, float64(v), 'g', -1, 32)
	case string:
		return append(to, v...)
	default:
		return fmt.Append(to, v)
	}
}

// ident quotes an identifier.
func ident(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// literal quotes a text, for sessions without NO_BACKSLASH_ESCAPES, as all are that ask or note something.
func literal(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`, "\x00", `\0`, "\n", `\n`, "\r", `\r`, "\x1a", `\Z`).Replace(text) + "'"
}

// binary writes bytes as a literal that no character set and no mode changes.
func binary(b []byte) string { return "X'" + hex.EncodeToString(b) + "'" }
