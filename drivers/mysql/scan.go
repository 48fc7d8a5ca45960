package mysql

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

// Scan reads a table by a session of the view.
func (o *observer) Scan(ctx context.Context, scan relational.Scan) (relational.Rows, error) {
	r, list, err := o.rows(ctx, scan.Table, scan.Key)
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
	sql := "SELECT " + strings.Join(list, ", ") + " FROM " + ident(scan.Table.Name.Name) + " t"
	if scan.Marked && len(wanted) > 0 {
		sql += " WHERE " + strings.Join(wanted, " OR ")
	}
	if scan.Key != nil {
		sql += " ORDER BY " + strings.Join(r.sort, ", ")
	}
	return o.read(ctx, sql, r)
}

// Lookup reads rows by values: a statement for each list, so that every value is compared as a literal, by the column's own type
// and collation.
func (o *observer) Lookup(ctx context.Context, lookup relational.Lookup) (relational.Rows, error) {
	if len(lookup.Values) > relational.LookupMost || len(lookup.Values) == 0 || len(lookup.Columns) == 0 {
		return nil, fmt.Errorf("look up %d lists of values in table %s: %w", len(lookup.Values), lookup.Table.Name, drivers.ErrInvalid)
	}
	r, list, err := o.rows(ctx, lookup.Table, lookup.Key)
	if err != nil {
		return nil, err
	}
	r.asked = true
	var sql strings.Builder
	for n, tuple := range lookup.Values {
		if n > 0 {
			sql.WriteString(" UNION ALL ")
		}
		sql.WriteString("SELECT " + strings.Join(list, ", ") + ", " + itoa(n) + " FROM " + ident(lookup.Table.Name.Name) + " t WHERE ")
		for i, c := range lookup.Columns {
			place := lookup.Table.Index(c)
			if place < 0 {
				return nil, fmt.Errorf("look up rows of table %s: column %q: %w", lookup.Table.Name, c, drivers.ErrNotFound)
			}
			if i > 0 {
				sql.WriteString(" AND ")
			}
			sql.WriteString("t." + ident(c) + " = " + argument(tuple[i]))
		}
	}
	return o.read(ctx, sql.String(), r)
}

// argument is a value as a literal.
func argument(v relational.Value) string {
	switch v.Kind {
	case relational.Null:
		return "NULL"
	case relational.Bytes:
		return binary(v.Text)
	case relational.Bool:
		return string(v.Text)
	case relational.Int, relational.Decimal, relational.Float:
		if isHarmless(v.Text) && len(v.Text) > 0 {
			return string(v.Text)
		}
	case relational.Text:
	}
	return literal(string(v.Text))
}

// rows begins to describe a query: what it reads of each row.
func (o *observer) rows(ctx context.Context, t *relational.Table, key *relational.Key) (*tableRows, []string, error) {
	d, err := o.detail(ctx, t.Name)
	if err != nil {
		return nil, nil, err
	}
	r := &tableRows{observer: o, table: t, key: key}
	list := append([]string{}, d.reads...)
	if key == nil {
		return r, list, nil
	}
	r.places = t.Indexes(key.Columns)
	for i, place := range r.places {
		if place < 0 {
			return nil, nil, fmt.Errorf("read table %s: column %q: %w", t.Name, key.Columns[i], drivers.ErrNotFound)
		}
		r.sort = append(r.sort, d.sorts[place])
		if d.weights[place] != "" {
			r.places[i] = len(list)
			list = append(list, d.weights[place])
		}
	}
	return r, list, nil
}

// markSQL tells whether a time is a moment or later; NULL where it is NULL. A zero date is before all.
func markSQL(t *relational.Table, m relational.Mark) (string, error) {
	i := t.Index(m.Column)
	if i < 0 {
		return "", fmt.Errorf("column %q: %w", m.Column, drivers.ErrNotFound)
	}
	const form = "2006-01-02 15:04:05.999999"
	since := m.Since.UTC().Truncate(time.Microsecond)
	column := "t." + ident(m.Column)
	switch t.Columns[i].Clock {
	case relational.ClockMoment: // the session's zone is UTC
		return column + " >= '" + since.Format(form) + "'", nil
	case relational.ClockWall:
		return column + " >= '" + relational.Wall(since, m.Zone).Format(form) + "'", nil
	case relational.ClockDate:
		return column + " >= '" + relational.Wall(since, m.Zone).Format("2006-01-02") + "'", nil
	case relational.ClockNone, relational.ClockMixed:
	}
	return "", drivers.WithHint(fmt.Errorf("column %q of type %s tells no moment: %w", m.Column, t.Columns[i].SQL, drivers.ErrInvalid),
		"name a column of dates, datetimes or timestamps")
}

// rowsSQL is what a session sets before it reads rows: texts come in UTF-8, and are sorted by all that they are of; a lookup puts rows
// together in a table of the server's, which would make zeros of dates that are none.
const rowsSQL = "SET SESSION character_set_results=utf8mb4, max_sort_length=8388608, sql_mode='ALLOW_INVALID_DATES'"

// read runs a query and takes its rows over. The session outlives a cancel: the moment that it sees cannot be had again.
func (o *observer) read(ctx context.Context, sql string, r *tableRows) (relational.Rows, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s, err := o.pool.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", r.table.Name, err)
	}
	kept := context.WithoutCancel(ctx)
	if err := s.exec(kept, rowsSQL); err != nil {
		o.pool.give(s)
		return nil, fmt.Errorf("read table %s: %w", r.table.Name, readError(err))
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { // it may wait for a lock, and give no row to notice it by
		defer close(interrupted)
		s.interrupt(ctx)
	})
	r.settle = func(early bool) {
		switch {
		case !stop():
			<-interrupted
			s.settleInterrupt(ctx)
		case early:
			s.interrupt(ctx)
		}
	}
	r.after = func(early bool) {
		if early {
			s.settleInterrupt(ctx)
		}
		o.pool.give(s)
	}
	r.ended = func() error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return nil
	}
	r.note = s.note
	if r.in, err = s.query(kept, sql); err != nil {
		r.settle(false)
		o.pool.give(s)
		if ended := r.ended(); ended != nil {
			return nil, ended
		}
		return nil, fmt.Errorf("read table %s: %w", r.table.Name, readError(err))
	}
	r.cells = make([]driver.Value, len(r.in.Columns()))
	r.row.Values = make([]relational.Value, len(r.table.Columns))
	r.row.Answers = make([]relational.Answer, r.marks)
	return r, nil
}

// tableRows are the rows of a query.
type tableRows struct {
	*observer
	table  *relational.Table
	key    *relational.Key
	places []int    // of the key's values in what the query gives
	sort   []string // what the query sorts by
	marks  int
	asked  bool

	in     driver.Rows
	whole  bool
	settle func(early bool) // ends the watch for a cancel, and the query where it is not at its end
	after  func(early bool) // gives the session back
	ended  func() error
	note   func(error) error
	cells  []driver.Value
	text   []byte
	ends   []int
	row    relational.Row
}

// Next returns the next row.
func (r *tableRows) Next() (*relational.Row, error) {
	if r.in == nil || r.whole {
		return nil, io.EOF
	}
	if err := r.ended(); err != nil {
		return nil, err
	}
	if err := r.in.Next(r.cells); err != nil {
		r.whole = true // there is no more, whatever the reason
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		if ended := r.ended(); ended != nil {
			return nil, ended
		}
		return nil, fmt.Errorf("read table %s: %w", r.table.Name, readError(r.note(err)))
	}
	if err := r.take(); err != nil {
		return nil, fmt.Errorf("read table %s: %w", r.table.Name, err)
	}
	return &r.row, nil
}

// take makes a row of the cells.
func (r *tableRows) take() error {
	r.text, r.ends = r.text[:0], r.ends[:0]
	for i := range r.row.Values {
		r.row.Values[i].Kind, r.text = appendCell(r.text, r.table.Columns[i].Type, r.cells[i])
		r.ends = append(r.ends, len(r.text))
	}
	from := 0
	for i, end := range r.ends { // now that the text stays where it is
		r.row.Values[i].Text = r.text[from:end:end]
		from = end
	}
	r.row.Key = r.row.Key[:0]
	for i, place := range r.places {
		var v relational.Value
		if place < len(r.row.Values) {
			v = r.row.Values[place]
		} else if r.cells[place] != nil {
			v = relational.Value{Kind: relational.Bytes, Text: appendValue(nil, r.cells[place])}
		}
		var err error
		if r.row.Key, err = relational.AppendKey(r.row.Key, r.key.Order[i], v); err != nil {
			return err
		}
	}
	if r.asked {
		var err error
		if r.row.Asked, err = strconv.Atoi(string(appendValue(nil, r.cells[len(r.cells)-1]))); err != nil {
			return fmt.Errorf("read a row's number: %w", err)
		}
		return nil
	}
	for i := range r.row.Answers {
		r.row.Answers[i] = relational.Unknown
		if cell := r.cells[len(r.cells)-r.marks+i]; cell != nil {
			r.row.Answers[i] = relational.No
			if string(appendValue(nil, cell)) == "1" {
				r.row.Answers[i] = relational.Yes
			}
		}
	}
	return nil
}

// appendCell appends the canonical text of a cell.
func appendCell(to []byte, t relational.Type, cell driver.Value) (relational.Kind, []byte) {
	if cell == nil {
		return relational.Null, to
	}
	switch t {
	case relational.TypeInt:
		return relational.Int, appendValue(to, cell)
	case relational.TypeDecimal:
		return relational.Decimal, appendValue(to, cell)
	case relational.TypeFloat:
		if f, ok := cell.(float64); ok {
			return relational.Float, relational.AppendFloat(to, f)
		}
		return relational.Float, appendValue(to, cell)
	case relational.TypeBytes:
		return relational.Bytes, appendValue(to, cell)
	case relational.TypeBool, relational.TypeText, relational.TypeTime, relational.TypeJSON, relational.TypeOther:
	}
	return relational.Text, appendValue(to, cell)
}

// Close ends the query. One that is not at its end is ended by the server.
func (r *tableRows) Close() error {
	if r.in == nil {
		return nil
	}
	early := !r.whole
	r.settle(early)
	err := r.in.Close()
	r.in = nil
	r.after(early)
	if err != nil && !early && r.ended() == nil {
		return fmt.Errorf("read table %s: %w", r.table.Name, readError(err))
	}
	return nil
}

// Weigh asks the server for the weights of texts, as those of rows are.
func (o *observer) Weigh(ctx context.Context, t *relational.Table, key *relational.Key, values [][]relational.Value) ([][]byte, error) {
	d, err := o.detail(ctx, t.Name)
	if err != nil {
		return nil, err
	}
	s, err := o.pool.take(ctx)
	if err != nil {
		return nil, err
	}
	defer o.pool.give(s)
	list := make([][]byte, len(values))
	for n, tuple := range values {
		for i, c := range key.Columns {
			v := tuple[i]
			place := t.Index(c)
			if place < 0 {
				return nil, fmt.Errorf("column %q: %w", c, drivers.ErrNotFound)
			}
			if collation, ok := strings.CutPrefix(string(key.Order[i]), string(relational.OrderWeight)+" "); ok && d.weights[place] != "" && key.Order[i] != orderCast {
				charset, _, _ := strings.Cut(collation, "_")
				// The session is not to be had again, so no cancel may cut it short.
				weight, err := s.text(context.WithoutCancel(ctx), "SELECT "+d.weights[place]+" FROM (SELECT CONVERT("+literal(string(v.Text))+" USING "+charset+") COLLATE "+collation+" AS "+ident(c)+") t")
				if err != nil {
					return nil, fmt.Errorf("weigh a key of table %s: %w", t.Name, readError(err))
				}
				v = relational.BytesValue([]byte(weight))
			}
			if list[n], err = relational.AppendKey(list[n], key.Order[i], v); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}
