package postgres

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// Scan reads a table by a session of its own.
func (o *observer) Scan(ctx context.Context, scan relational.Scan) (relational.Rows, error) {
	r, list, err := o.rows(ctx, scan.Table, scan.Key, "t.")
	if err != nil {
		return nil, err
	}
	r.marks = len(scan.Marks)
	var wanted []string
	for _, m := range scan.Marks {
		condition, err := markSQL(scan.Table, m)
		if err != nil {
			return nil, fmt.Errorf("read table %s: %w", scan.Table.Name, err)
		}
		list = append(list, condition)
		wanted = append(wanted, condition, "t."+ident(m.Column)+" IS NULL")
	}
	sql := "SELECT " + strings.Join(list, ", ") + " FROM " + r.from + " t"
	if scan.Marked && len(wanted) > 0 {
		sql += " WHERE " + strings.Join(wanted, " OR ")
	}
	if scan.Key != nil {
		sql += " ORDER BY " + strings.Join(r.sort, ", ")
	}
	return o.read(ctx, sql, nil, r)
}

// Lookup reads rows by values, by a session of its own.
func (o *observer) Lookup(ctx context.Context, lookup relational.Lookup) (relational.Rows, error) {
	if len(lookup.Values) > relational.LookupMost || len(lookup.Values) == 0 || len(lookup.Columns) == 0 {
		return nil, fmt.Errorf("look up %d lists of values in table %s: %w", len(lookup.Values), lookup.Table.Name, drivers.ErrInvalid)
	}
	r, list, err := o.rows(ctx, lookup.Table, lookup.Key, "t.")
	if err != nil {
		return nil, err
	}
	r.asked = true
	var on, names []string
	for i, c := range lookup.Columns {
		if lookup.Table.Index(c) < 0 {
			return nil, fmt.Errorf("look up rows of table %s: column %q: %w", lookup.Table.Name, c, drivers.ErrNotFound)
		}
		on = append(on, fmt.Sprintf("t.%s = v.c%d", ident(c), i))
		names = append(names, fmt.Sprintf("c%d", i))
	}
	var args [][]byte
	var values strings.Builder
	for n, tuple := range lookup.Values {
		if n > 0 {
			values.WriteString(", ")
		}
		values.WriteString("(" + strconv.Itoa(n))
		for i, v := range tuple {
			args = append(args, argument(v))
			fmt.Fprintf(&values, ", $%d::%s", len(args), r.casts[lookup.Table.Index(lookup.Columns[i])])
		}
		values.WriteString(")")
	}
	sql := "SELECT " + strings.Join(append(list, "v.n"), ", ") + " FROM (VALUES " + values.String() + ") v(n, " + strings.Join(names, ", ") +
		") JOIN " + r.from + " t ON " + strings.Join(on, " AND ")
	return o.read(ctx, sql, args, r)
}

// argument is a value as a parameter in text form; nil is NULL.
func argument(v relational.Value) []byte {
	switch v.Kind {
	case relational.Null:
		return nil
	case relational.Bytes:
		return append([]byte(`\x`), hex.EncodeToString(v.Text)...)
	case relational.Bool, relational.Int, relational.Decimal, relational.Float, relational.Text:
	}
	return append([]byte{}, v.Text...)
}

// rows begins to describe a query: what it reads of each row.
func (o *observer) rows(ctx context.Context, t *relational.Table, key *relational.Key, prefix string) (*tableRows, []string, error) {
	d, err := o.detail(ctx, t.Name)
	if err != nil {
		return nil, nil, err
	}
	r := &tableRows{observer: o, detail: d, table: t, key: key}
	list := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		list[i] = prefix + ident(c.Name)
	}
	if key == nil {
		return r, list, nil
	}
	r.places = t.Indexes(key.Columns)
	for i, place := range r.places {
		if place < 0 {
			return nil, nil, fmt.Errorf("read table %s: column %q: %w", t.Name, key.Columns[i], drivers.ErrNotFound)
		}
		column := prefix + ident(key.Columns[i])
		expression := orderBy(key.Order[i], column)
		switch {
		case expression == "" && sortsPlainly(&t.Columns[place], key.Order[i]):
			r.sort = append(r.sort, column)
		case expression == "":
			r.sort = append(r.sort, column+` COLLATE pg_catalog."C"`)
		default:
			r.places[i] = len(list)
			if key.Order[i] == orderUTF8 {
				// The bytes come in UTF-8 by themselves when the text is sent.
				list = append(list, column+"::pg_catalog.text")
				r.sort = append(r.sort, expression)
			} else {
				list = append(list, expression)
				r.sort = append(r.sort, expression+` COLLATE pg_catalog."C"`)
			}
		}
	}
	return r, list, nil
}

// markSQL tells whether a time is a moment or later; NULL where it is NULL.
func markSQL(t *relational.Table, m relational.Mark) (string, error) {
	i := t.Index(m.Column)
	if i < 0 {
		return "", fmt.Errorf("column %q: %w", m.Column, drivers.ErrNotFound)
	}
	const form = "2006-01-02 15:04:05.999999"
	since := m.Since.UTC().Truncate(time.Microsecond)
	column := "t." + ident(m.Column)
	switch t.Columns[i].Clock {
	case relational.ClockMoment:
		return column + " >= '" + since.Format(form) + "+00'::pg_catalog.timestamptz", nil
	case relational.ClockWall:
		return column + " >= '" + relational.Wall(since, m.Zone).Format(form) + "'::pg_catalog.timestamp", nil
	case relational.ClockDate:
		return column + " >= '" + relational.Wall(since, m.Zone).Format("2006-01-02") + "'::pg_catalog.date", nil
	case relational.ClockNone, relational.ClockMixed:
	}
	return "", drivers.WithHint(fmt.Errorf("column %q of type %s tells no moment: %w", m.Column, t.Columns[i].SQL, drivers.ErrInvalid),
		"name a column of dates or timestamps")
}

// read runs a query and takes its rows over.
func (o *observer) read(ctx context.Context, sql string, args [][]byte, r *tableRows) (relational.Rows, error) {
	c, err := o.borrow(ctx)
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", r.table.Name, err)
	}
	r.end, r.abort = func() { o.giveBack(ctx, c) }, func() { c.close(ctx) }
	r.result = c.ExecParams(ctx, sql, args, nil, nil, nil)
	r.fail = func(err error) error {
		return fmt.Errorf("read table %s: %w", r.table.Name, o.source.hint(o.readError(ctx, err)))
	}
	r.row.Values = make([]relational.Value, len(r.table.Columns))
	r.row.Answers = make([]relational.Answer, r.marks)
	return r, nil
}

// readError gives an error of reading rows its class.
func (o *observer) readError(ctx context.Context, err error) error {
	err = told(ctx, err)
	if ctx.Err() == nil && !isServers(err) {
		// The session is gone. Whether the view is, its holder knows.
		if alive := o.Alive(ctx); alive != nil {
			return alive
		}
	}
	return classify(err)
}

// tableRows are the rows of a query.
type tableRows struct {
	*observer
	*detail
	table  *relational.Table
	key    *relational.Key
	places []int    // of the key's values in what the query gives
	sort   []string // what the query sorts by
	marks  int
	asked  bool

	result *pgconn.ResultReader
	end    func() // gives the session back
	abort  func() // ends it
	fail   func(error) error
	text   []byte
	row    relational.Row
}

// Next returns the next row.
func (r *tableRows) Next() (*relational.Row, error) {
	if r.result == nil {
		return nil, io.EOF
	}
	if !r.result.NextRow() {
		_, err := r.result.Close()
		r.result = nil
		if err != nil {
			return nil, r.fail(err)
		}
		return nil, io.EOF
	}
	if err := r.take(r.result.Values()); err != nil {
		return nil, fmt.Errorf("read table %s: %w", r.table.Name, err)
	}
	return &r.row, nil
}

// take makes a row of the cells. Their memory is the connection's, good until the next row.
func (r *tableRows) take(cells [][]byte) error {
	r.text = r.text[:0]
	n := len(r.table.Columns)
	for i := range n {
		var err error
		if r.row.Values[i], err = r.value(&r.table.Columns[i], cells[i]); err != nil {
			return err
		}
	}
	r.row.Key = r.row.Key[:0]
	for i, place := range r.places {
		v := relational.Value{Kind: relational.Text, Text: cells[place]}
		switch {
		case place < n:
			v = r.row.Values[place]
		case cells[place] == nil:
			v = relational.Value{}
		}
		var err error
		if r.row.Key, err = relational.AppendKey(r.row.Key, r.key.Order[i], v); err != nil {
			return err
		}
	}
	if r.asked {
		var err error
		if r.row.Asked, err = strconv.Atoi(string(cells[len(cells)-1])); err != nil {
			return fmt.Errorf("read a row's number: %w", err)
		}
		return nil
	}
	for i := range r.row.Answers {
		r.row.Answers[i] = relational.Unknown
		if cell := cells[len(cells)-r.marks+i]; cell != nil {
			r.row.Answers[i] = relational.No
			if string(cell) == "t" {
				r.row.Answers[i] = relational.Yes
			}
		}
	}
	return nil
}

// value makes a value of a cell.
func (r *tableRows) value(c *relational.Column, cell []byte) (relational.Value, error) {
	if cell == nil {
		return relational.Value{}, nil
	}
	switch c.Type {
	case relational.TypeBool:
		return relational.BoolValue(string(cell) == "t"), nil
	case relational.TypeInt:
		return relational.Value{Kind: relational.Int, Text: cell}, nil
	case relational.TypeDecimal:
		return relational.Value{Kind: relational.Decimal, Text: cell}, nil
	case relational.TypeFloat:
		return relational.Value{Kind: relational.Float, Text: cell}, nil
	case relational.TypeBytes:
		if len(cell) < 2 || cell[0] != '\\' || cell[1] != 'x' {
			return relational.Value{}, fmt.Errorf("column %q: %w: bytes not in hexadecimal", c.Name, errProtocol)
		}
		from := len(r.text)
		var err error
		if r.text, err = hex.AppendDecode(r.text, cell[2:]); err != nil {
			return relational.Value{}, fmt.Errorf("column %q: %w: %w", c.Name, errProtocol, err)
		}
		return relational.Value{Kind: relational.Bytes, Text: r.text[from:len(r.text):len(r.text)]}, nil
	case relational.TypeText, relational.TypeTime, relational.TypeJSON, relational.TypeOther:
	}
	return relational.Value{Kind: relational.Text, Text: cell}, nil
}

// Close ends the query. One that is not at its end takes its session with it: to read the rest could take hours.
func (r *tableRows) Close() error {
	if r.end == nil {
		return nil
	}
	end := r.end
	r.end = nil
	if r.result != nil {
		// Nothing is wrong that the rows would not have told.
		r.result = nil
		r.abort()
		return nil
	}
	end()
	return nil
}
