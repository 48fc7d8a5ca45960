package mysql

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"

	"salvor/drivers"
)

// insertSize is about how long a statement of several rows is.
const insertSize = 1 << 20

// insertRows writes rows by statements of several, where the server takes no files from clients. Each value is written so that it
// means the same as in LOAD DATA, and the server's warnings are errors just the same.
func (l *loading) insertRows(ctx context.Context) (int64, error) {
	most, err := l.number(ctx, "SELECT @@SESSION.max_allowed_packet")
	if err != nil {
		return 0, err
	}
	size := min(int(most)/2, insertSize)
	head := "INSERT IGNORE INTO " + ident(l.ref.Table) + " (" + columnList(l.ref.Columns) + ") VALUES "
	in := &lines{in: bufio.NewReaderSize(l.in, 64<<10), most: int(most)}
	sql := []byte(head)
	var total, zeros int64
	flush := func() error {
		if len(sql) == len(head) {
			return nil
		}
		if int64(len(sql)) >= most {
			return fmt.Errorf("a row of %d bytes as SQL, and max_allowed_packet is %d: %w", len(sql), most, mysql.ErrPktTooLarge)
		}
		n, err := l.affected(ctx, string(sql))
		if err != nil {
			return err
		}
		total += n
		sql = append(sql[:0], head...)
		err = l.checkWarnings(ctx, zeros)
		zeros = 0
		return err
	}
	width := max(len(l.ref.Columns), 1)
	var row []byte
	for {
		ok, err := in.next(width)
		if err != nil {
			return 0, err
		}
		if !ok {
			return total, flush()
		}
		row = append(row[:0], '(')
		for i, c := range l.ref.Columns {
			if i > 0 {
				row = append(row, ", "...)
			}
			if c.Kind.isPlain() && in.cells[i] != nil && !isHarmless(in.cells[i]) {
				return 0, fmt.Errorf("%w: column %s holds what is no %s", drivers.ErrCorrupt, c.Name, c.Kind)
			}
			row = c.insertSQL(row, in.cells[i])
		}
		row = append(row, ')')
		if len(sql) > len(head) && len(sql)+len(row) > size {
			if err := flush(); err != nil {
				return 0, err
			}
		}
		if len(sql) > len(head) {
			sql = append(sql, ", "...)
		}
		for i, c := range l.ref.Columns {
			if c.Kind == kindEnum && string(in.cells[i]) == "0" {
				zeros++
			}
		}
		sql = append(sql, row...)
	}
}

func columnList(columns []column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = ident(c.Name)
	}
	return strings.Join(names, ", ")
}
