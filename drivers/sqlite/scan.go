package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// Scan reads a table. It waits for other rows of the view to be closed.
func (o *observer) Scan(ctx context.Context, scan relational.Scan) (relational.Rows, error) {
	var sql strings.Builder
	sql.WriteString("SELECT ")
	sql.WriteString(columnList(scan.Table, ""))
	var wanted []string
	for _, m := range scan.Marks {
		if scan.Table.Index(m.Column) < 0 {
			return nil, fmt.Errorf("read table %s: column %q: %w", scan.Table.Name, m.Column, drivers.ErrNotFound)
		}
		sql.WriteString(", " + markSQL(m))
		// A value says by itself what kind of time it is, so no index can answer that.
		wanted = append(wanted, "("+markSQL(m)+") IS NOT 0")
	}
	sql.WriteString(" FROM " + ident(scan.Table.Name.Name))
	if scan.Marked && len(wanted) > 0 {
		sql.WriteString(" WHERE " + strings.Join(wanted, " OR "))
	}
	if scan.Key != nil {
		sql.WriteString(" ORDER BY " + orderList(scan.Key))
	}
	return o.read(ctx, sql.String(), nil, &rows{table: scan.Table, key: scan.Key, marks: len(scan.Marks)})
}

// Lookup reads rows by values. It waits for other rows of the view to be closed.
func (o *observer) Lookup(ctx context.Context, lookup relational.Lookup) (relational.Rows, error) {
	if len(lookup.Values) > relational.LookupMost || len(lookup.Values) == 0 || len(lookup.Columns) == 0 {
		return nil, fmt.Errorf("look up %d lists of values in table %s: %w", len(lookup.Values), lookup.Table.Name, drivers.ErrInvalid)
	}
	var sql strings.Builder
	sql.WriteString("WITH v(n")
	for i := range lookup.Columns {
		sql.WriteString(", c" + strconv.Itoa(i))
	}
	sql.WriteString(") AS (VALUES ")
	var args []driver.Value
	for n, list := range lookup.Values {
		if n > 0 {
			sql.WriteString(", ")
		}
		sql.WriteString("(" + strconv.Itoa(n) + strings.Repeat(", ?", len(list)) + ")")
		for _, v := range list {
			arg, err := argument(v)
			if err != nil {
				return nil, fmt.Errorf("look up rows of table %s: %w", lookup.Table.Name, err)
			}
			args = append(args, arg)
		}
	}
	// CROSS JOIN keeps SQLite from reading the table first. The table's column stands on the left: its collation is the one that holds.
	sql.WriteString(") SELECT " + columnList(lookup.Table, "t.") + ", v.n FROM v CROSS JOIN main." + ident(lookup.Table.Name.Name) + " AS t ON ") // main: the table may be called v
	for i, c := range lookup.Columns {
		if lookup.Table.Index(c) < 0 {
			return nil, fmt.Errorf("look up rows of table %s: column %q: %w", lookup.Table.Name, c, drivers.ErrNotFound)
		}
		if i > 0 {
			sql.WriteString(" AND ")
		}
		sql.WriteString("t." + ident(c) + " = v.c" + strconv.Itoa(i))
	}
	return o.read(ctx, sql.String(), args, &rows{table: lookup.Table, key: lookup.Key, asked: true})
}

// columnList reads all columns of a row. The plus sign does nothing to a value, and keeps the library from seeing the column's
// declared type: it would make times of texts.
func columnList(t *relational.Table, prefix string) string {
	list := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		list[i] = "+" + prefix + ident(c.Name)
	}
	return strings.Join(list, ", ")
}

// orderList sorts by a key, by the collations of its own.
func orderList(k *relational.Key) string {
	list := make([]string, len(k.Columns))
	for i, c := range k.Columns {
		collation := "BINARY"
		switch k.Order[i] {
		case relational.OrderSQLiteNoCase:
			collation = "NOCASE"
		case relational.OrderSQLiteRTrim:
			collation = "RTRIM"
		default:
		}
		list[i] = ident(c) + " COLLATE " + collation
	}
	return strings.Join(list, ", ")
}

// argument is a value as SQLite takes it.
func argument(v relational.Value) (driver.Value, error) {
	switch v.Kind {
	case relational.Int:
		if n, err := strconv.ParseInt(string(v.Text), 10, 64); err == nil {
			return n, nil
		}
		return string(v.Text), nil // a number beyond SQLite's, which equals nothing there
	case relational.Bool:
		if string(v.Text) == "true" {
			return int64(1), nil
		}
		return int64(0), nil
	case relational.Float:
		f, err := strconv.ParseFloat(string(v.Text), 64)
		if err != nil {
			return nil, fmt.Errorf("%w: not a number", drivers.ErrInvalid)
		}
		return f, nil
	case relational.Bytes:
		return append([]byte{}, v.Text...), nil
	case relational.Null:
		return nil, nil //nolint:nilnil // NULL
	case relational.Decimal, relational.Text:
	}
	return string(v.Text), nil
}

// read runs a query and takes its rows over.
func (o *observer) read(ctx context.Context, sql string, args []driver.Value, r *rows) (relational.Rows, error) {
	o.mu.Lock()
	if err := o.Alive(ctx); err != nil {
		o.mu.Unlock()
		return nil, err
	}
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	in, err := o.conn.raw.QueryContext(ctx, sql, named)
	if err != nil {
		o.mu.Unlock()
		return nil, fmt.Errorf("read table %s: %w", r.table.Name, readError(ctx, err))
	}
	r.in, r.release, r.ended = in, o.mu.Unlock, ctx.Err
	r.cells = make([]driver.Value, len(in.Columns()))
	r.row.Values = make([]relational.Value, len(r.table.Columns))
	r.row.Answers = make([]relational.Answer, r.marks)
	if r.key != nil {
		r.places = r.table.Indexes(r.key.Columns)
	}
	return r, nil
}

// readError gives an error of reading rows its class and a hint.
func readError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case strings.Contains(err.Error(), "no such collation sequence"):
		return drivers.WithHint(fmt.Errorf("%w: %w", drivers.ErrFailed, err),
			"a column has a collation that its application makes, which nothing else can compare by")
	}
	return classify(err)
}

// rows are those of a query.
type rows struct {
	table   *relational.Table
	key     *relational.Key
	places  []int
	marks   int
	asked   bool
	in      driver.Rows
	release func()
	ended   func() error
	cells   []driver.Value
	text    []byte
	row     relational.Row
}

// Next returns the next row.
func (r *rows) Next() (*relational.Row, error) {
	if r.in == nil {
		return nil, io.EOF
	}
	if err := r.ended(); err != nil {
		return nil, err
	}
	if err := r.in.Next(r.cells); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("read table %s: %w", r.table.Name, classify(err))
	}
	if err := r.take(); err != nil {
		return nil, fmt.Errorf("read table %s: %w", r.table.Name, err)
	}
	return &r.row, nil
}

// take makes a row of the cells.
func (r *rows) take() error {
	r.text = r.text[:0]
	var ends [64]int
	bounds := ends[:0]
	for i := range r.row.Values {
		r.row.Values[i].Kind, r.text = appendCell(r.text, r.cells[i])
		bounds = append(bounds, len(r.text))
	}
	from := 0
	for i, end := range bounds { // now that the text stays where it is
		r.row.Values[i].Text = r.text[from:end:end]
		from = end
	}
	for i := range r.row.Answers {
		r.row.Answers[i] = relational.Unknown
		if n, ok := r.cells[len(r.table.Columns)+i].(int64); ok {
			r.row.Answers[i] = relational.Answer(n & 1)
		}
	}
	if r.asked {
		n, _ := r.cells[len(r.table.Columns)].(int64)
		r.row.Asked = int(n)
	}
	if r.key == nil {
		return nil
	}
	r.row.Key = r.row.Key[:0]
	for i, place := range r.places {
		var err error
		if r.row.Key, err = relational.AppendKey(r.row.Key, r.key.Order[i], r.row.Values[place]); err != nil {
			return err
		}
	}
	return nil
}

// appendCell appends the canonical text of a cell.
func appendCell(to []byte, cell driver.Value) (relational.Kind, []byte) {
	switch v := cell.(type) {
	case int64:
		return relational.Int, strconv.AppendInt(to, v, 10)
	case float64:
		return relational.Float, relational.AppendFloat(to, v)
	case string:
		return relational.Text, append(to, v...)
	case []byte:
		return relational.Bytes, append(to, v...)
	}
	return relational.Null, to
}

// Close ends the query.
func (r *rows) Close() error {
	if r.in == nil {
		return nil
	}
	err := r.in.Close()
	r.in = nil
	r.release()
	if err != nil {
		return fmt.Errorf("read table %s: %w", r.table.Name, classify(err))
	}
	return nil
}

// SQLite has no times. A text in the form of ISO 8601 is one, with a zone or without; a number is a Unix time in the unit that
// makes it a date between 1973 and 5138, or, with a fraction, a Julian day. See https://www.sqlite.org/lang_datefunc.html.

const (
	dateForm  = "2006-01-02"
	isoGlob   = "'[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"
	zoneGlob  = "'*[-+][0-9][0-9]:[0-9][0-9]'"
	julianDay = 2440587.5 // of the beginning of 1970
)

// markSQL tells whether a value is a moment or later: 1, 0, or NULL for what is no time.
func markSQL(m relational.Mark) string {
	c := ident(m.Column)
	since := m.Since.UTC().Truncate(time.Microsecond)
	wall := relational.Wall(since, m.Zone)
	bare := "replace(rtrim(" + c + ", 'Zz'), 'T', ' ')"
	text := fmt.Sprintf(`CASE WHEN %[1]s NOT GLOB %[2]s THEN NULL
		WHEN length(%[1]s) = 10 THEN %[1]s >= '%[3]s'
		WHEN %[1]s LIKE '%%z' OR %[1]s LIKE '%%+00:00' OR %[1]s LIKE '%%+00' THEN %[4]s >= '%[5]s'
		WHEN %[1]s GLOB %[6]s AND length(%[1]s) > 16 THEN julianday(%[1]s) >= %[7]s
		ELSE %[4]s >= '%[8]s' END`, c, isoGlob, wall.Format(dateForm), bare, textBound(since), zoneGlob, julian(since), textBound(wall))
	integer := fmt.Sprintf(`CASE WHEN %[1]s >= 100000000000000000 THEN %[1]s >= %[2]d WHEN %[1]s >= 100000000000000 THEN %[1]s >= %[3]d
		WHEN %[1]s >= 100000000000 THEN %[1]s >= %[4]d WHEN %[1]s >= 100000000 THEN %[1]s >= %[5]d END`,
		c, since.UnixNano(), since.UnixMicro(), since.UnixMilli(), since.Unix())
	fraction := fmt.Sprintf("CASE WHEN %[1]s BETWEEN 2000000 AND 4000000 THEN %[1]s >= %[2]s WHEN %[1]s >= 100000000 THEN %[1]s >= %[3]s END",
		c, julian(since), strconv.FormatFloat(float64(since.UnixMicro()-1)/1e6, 'f', 6, 64))
	return fmt.Sprintf("CASE typeof(%s) WHEN 'text' THEN %s WHEN 'integer' THEN %s WHEN 'real' THEN %s END", c, text, integer, fraction)
}

// textBound is a moment as the shortest beginning of the texts that are it or later: without zeros that a text may have or lack.
func textBound(t time.Time) string {
	if t.Second() == 0 && t.Nanosecond() == 0 {
		return t.Format(dateForm + " 15:04")
	}
	return t.Format(dateForm + " 15:04:05.999999")
}

// julian is a moment as a Julian day, less the second by which those of a double may be off.
func julian(t time.Time) string {
	return strconv.FormatFloat(julianDay+float64(t.UnixMicro())/86400e6-1.0/86400, 'f', 9, 64)
}
