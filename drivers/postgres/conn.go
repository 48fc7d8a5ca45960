package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// conn is one session. It is used by one goroutine at a time.
type conn struct {
	*pgconn.PgConn
	version int // 150018
}

const (
	connectTimeout = 15 * time.Second
	closeTimeout   = 5 * time.Second
	// maxName is the length at which the server cuts an application's name.
	maxName = 63
)

// connect opens a session on the source's database. what says what for, to whoever looks at the server.
func (s *Source) connect(ctx context.Context, what string) (*conn, error) {
	return s.connectTo(ctx, s.config.Database, what)
}

// connectMaintenance opens a session on some database of the server: its own, or one that every server has.
func (s *Source) connectMaintenance(ctx context.Context, what string) (*conn, error) {
	var first error
	for _, database := range []string{"postgres", s.config.Database, "template1"} {
		c, err := s.connectTo(ctx, database, what)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
		if !isCode(err, codeNoDatabase, codePrivilege, "28000") {
			break
		}
	}
	return nil, first
}

func (s *Source) connectTo(ctx context.Context, database, what string) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	config := s.config.Copy()
	config.Database = database
	name := "salvor " + what
	config.RuntimeParams["application_name"] = name[:min(len(name), maxName)]
	config.RuntimeParams["client_encoding"] = sqlASCII // which every server takes; what is really spoken is set below
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	// A server that vanished without a word must be noticed: a holder is idle for hours.
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 6}}
	config.DialFunc = dialer.DialContext
	raw, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, told(ctx, err)
	}
	c := &conn{PgConn: raw, version: versionOf(raw.ParameterStatus("server_version"))}
	if err := c.exec(ctx, c.settings()); err != nil {
		c.close(ctx)
		return nil, err
	}
	return c, nil
}

// settings make values come and go in one form, whatever the database or the role has set, and let no timeout end a session.
func (c *conn) settings() string {
	list := []string{
		"DateStyle = 'ISO, MDY'", "IntervalStyle = 'postgres'", "extra_float_digits = 3", "search_path = ''", "row_security = off",
		"synchronize_seqscans = off", "statement_timeout = 0", "lock_timeout = 0", "idle_in_transaction_session_timeout = 0",
		"bytea_output = 'hex'", "TimeZone = 'UTC'", "standard_conforming_strings = on", "xmloption = content", "client_min_messages = warning",
		"check_function_bodies = off", "default_transaction_read_only = off", "quote_all_identifiers = off", "transform_null_equals = off",
		"lc_monetary = 'C'", "array_nulls = on",
	}
	if c.version >= 140000 {
		list = append(list, "idle_session_timeout = 0")
	}
	if c.version >= 170000 {
		list = append(list, "transaction_timeout = 0")
	}
	list = append(list, "client_encoding = "+literal(spokenEncoding(c.ParameterStatus("server_encoding"))))
	return "SET " + strings.Join(list, "; SET ")
}

// Encodings that are decided by.
const (
	utf8Encoding = "UTF8"
	sqlASCII     = "SQL_ASCII"     // bytes, which are nobody's to convert
	muleEncoding = "MULE_INTERNAL" // has no conversion
)

// spokenEncoding is that of statements and names in sessions on a database. Rows come in the database's own.
func spokenEncoding(database string) string {
	if database == sqlASCII || database == muleEncoding {
		return database
	}
	return utf8Encoding
}

// versionOf reads 15.18 (Debian …) as 150018; 0 where it cannot.
func versionOf(text string) int {
	number, _, _ := strings.Cut(text, " ")
	major, minor, _ := strings.Cut(number, ".")
	if i := strings.IndexAny(major, "abcdefghijklmnopqrstuvwxyz"); i >= 0 { // 18beta1
		major = major[:i]
	}
	m, err := strconv.Atoi(major)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(minor)
	if err != nil {
		n = 0
	}
	return m*10000 + n
}

// close ends the session, also where ctx has ended. How it ends is of no use to anybody.
func (c *conn) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = c.Close(ctx)
}

// exec runs statements.
func (c *conn) exec(ctx context.Context, sql string) error {
	_, err := c.Exec(ctx, sql).ReadAll()
	return told(ctx, err)
}

// rows runs a query and returns its rows as texts, NULL as "".
func (c *conn) rows(ctx context.Context, sql string, args ...string) ([][]string, error) {
	var values [][]byte
	for _, a := range args {
		values = append(values, []byte(a))
	}
	result := c.ExecParams(ctx, sql, values, nil, nil, nil).Read()
	if result.Err != nil {
		return nil, told(ctx, result.Err)
	}
	rows := make([][]string, len(result.Rows))
	for i, r := range result.Rows {
		rows[i] = make([]string, len(r))
		for j, cell := range r {
			rows[i][j] = string(cell)
		}
	}
	return rows, nil
}

var errNoRow = errors.New("query gave no row")

// text runs a query and returns its first value.
func (c *conn) text(ctx context.Context, sql string, args ...string) (string, error) {
	rows, err := c.rows(ctx, sql, args...)
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

// rollback ends a transaction, if there is one, so that the session can be used again.
func (c *conn) rollback(ctx context.Context) {
	if c.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_, _ = c.Exec(ctx, "ROLLBACK").ReadAll() // a session that cannot even do that is closed by the next use
}

// ident quotes an identifier.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// qualified quotes a table's name with its schema.
func qualified(schema, name string) string { return ident(schema) + "." + ident(name) }

// literal quotes a text.
func literal(text string) string {
	if strings.Contains(text, `\`) {
		return " E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}
