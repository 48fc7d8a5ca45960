package mysql

import (
	"bufio"
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/go-sql-driver/mysql"

	"salvor/drivers"
)

// Rows are stored as LOAD DATA takes them: columns end with a tab, lines with a line feed, \N is NULL, and a backslash stands
// before what is special: \t, \n, \0, \\. All other bytes are as they are.

// special are the bytes that are escaped.
var special = [256]byte{'\t': 't', '\n': 'n', 0: '0', '\\': '\\'} //nolint:gochecknoglobals // a table that nobody changes

// appendEscaped appends a value of any bytes.
func appendEscaped(to, value []byte) []byte {
	from := 0
	for i, c := range value {
		if e := special[c]; e != 0 {
			to = append(to, value[from:i]...)
			to = append(to, '\\', e)
			from = i + 1
		}
	}
	return append(to, value[from:]...)
}

// appendRow appends a row. Of kinds that hold no special byte the bytes are taken as they are.
func appendRow(to []byte, cells []driver.Value, columns []column) []byte {
	for i, cell := range cells {
		if i > 0 {
			to = append(to, '\t')
		}
		switch v := cell.(type) {
		case nil:
			to = append(to, '\\', 'N')
		case []byte:
			if i < len(columns) && columns[i].Kind.isPlain() {
				to = append(to, v...)
			} else {
				to = appendEscaped(to, v)
			}
		default:
			to = appendValue(to, cell)
		}
	}
	return append(to, '\n')
}

// reading is a query whose rows go into a sink.
type reading struct {
	c       *conn
	columns []column
	sink    rowWriter
	buf     []byte
	cells   []driver.Value
}

// rowWriter takes rows.
type rowWriter interface{ Write(row []byte) error }

// largeRow is the size from which on a buffer of a row is not kept for the next.
const largeRow = 1 << 20

// run reads all rows. ctx must not be one whose end would cost the session; the caller ends the query by other means.
func (r *reading) run(ctx context.Context, sql string) (err error) {
	in, err := r.c.query(ctx, sql)
	if err != nil {
		return err
	}
	done := false
	defer func() {
		// What was not read is: the session is of use only behind the last row.
		if closeErr := in.Close(); closeErr != nil && !done {
			_ = r.c.note(closeErr)
		}
	}()
	r.cells = make([]driver.Value, len(in.Columns()))
	for {
		err := in.Next(r.cells)
		if errors.Is(err, io.EOF) {
			done = true
			return nil
		}
		if err != nil {
			done = isServers(err)
			return r.c.note(err)
		}
		r.buf = appendRow(r.buf[:0], r.cells, r.columns)
		if err := r.sink.Write(r.buf); err != nil {
			return err
		}
		if cap(r.buf) > largeRow {
			r.buf = nil
		}
	}
}

// lines reads rows back.
type lines struct {
	in    *bufio.Reader
	most  int // bytes of a line; 0 for any number
	line  []byte
	cells [][]byte // nil for NULL; valid until the next row
}

var errBadRow = errors.New("a row is not in the form of LOAD DATA")

// next reads a row of so many columns; false at the end.
func (l *lines) next(columns int) (bool, error) {
	l.line = l.line[:0]
	for {
		piece, err := l.in.ReadSlice('\n')
		if l.line = append(l.line, piece...); l.most > 0 && len(l.line) > l.most {
			return false, fmt.Errorf("read rows: a row of more than %d bytes: %w", l.most, mysql.ErrPktTooLarge)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) && len(l.line) == 0 {
			return false, nil
		}
		if errors.Is(err, io.EOF) {
			return false, fmt.Errorf("read rows: %w: %w: the last has no end", drivers.ErrCorrupt, errBadRow)
		}
		if err != nil {
			return false, err
		}
		break
	}
	l.cells = l.cells[:0]
	rest := l.line[:len(l.line)-1]
	for more := true; more; {
		var cell []byte
		cell, rest, more = bytes.Cut(rest, []byte{'\t'})
		value, err := unescape(cell)
		if err != nil {
			return false, err
		}
		l.cells = append(l.cells, value)
	}
	if len(l.cells) != columns {
		return false, fmt.Errorf("read rows: %w: %w: %d columns in place of %d", drivers.ErrCorrupt, errBadRow, len(l.cells), columns)
	}
	return true, nil
}

// unescape reads a value, in place.
func unescape(cell []byte) ([]byte, error) {
	at := bytes.IndexByte(cell, '\\')
	if at < 0 {
		return cell, nil
	}
	if len(cell) == 2 && cell[1] == 'N' {
		return nil, nil
	}
	out := cell[:at]
	for i := at; i < len(cell); i++ {
		c := cell[i]
		if c == '\\' {
			i++
			if i == len(cell) {
				return nil, fmt.Errorf("read rows: %w: %w", drivers.ErrCorrupt, errBadRow)
			}
			switch cell[i] {
			case 't':
				c = '\t'
			case 'n':
				c = '\n'
			case '0':
				c = 0
			case '\\':
				c = '\\'
			default:
				return nil, fmt.Errorf("read rows: %w: %w", drivers.ErrCorrupt, errBadRow)
			}
		}
		out = append(out, c)
	}
	return out, nil
}
