package mysql

import (
	"context"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
)

// Tables are cut by their key. Of whole numbers the server's own estimate says where to cut, without reading the table: the
// range between the least and the greatest is halved until each piece is small enough. Of other keys, and where a number is
// the same in too many rows, the key is walked, so many rows at a time.

const (
	// leastRows bounds how small a piece may be where the sizes of rows are not what statistics say.
	leastRows = 100
	// mostRanges bounds how many pieces a table has.
	mostRanges = 100_000
)

// ranges cuts a table into pieces of about that size.
func (t *table) ranges(ctx context.Context, c *conn, chunk int64) ([]ref, error) {
	r := t.whole()
	if t.key == nil || t.outside || t.size < 2*chunk || t.rows < 2*leastRows {
		return []ref{r}, nil
	}
	target := max(t.rows*chunk/t.size, t.rows/mostRanges, leastRows)
	var bounds [][]string
	ok := false
	var err error
	if t.key[0].Kind == boundNumber {
		bounds, ok, err = t.halve(ctx, c, target)
	}
	if err == nil && !ok {
		bounds, err = t.walk(ctx, c, target)
	}
	if err != nil {
		return nil, fmt.Errorf("cut table %s: %w", t.name, classify(err))
	}
	list := make([]ref, 0, len(bounds)+1)
	r.Ranges = len(bounds) + 1
	if len(bounds) > 0 && len(bounds[0]) < len(r.Key) {
		r.Key = r.Key[:len(bounds[0])] // the first column alone
	}
	for _, b := range bounds {
		piece := r
		piece.To = b
		list = append(list, piece)
		r.From = b
	}
	return append(list, r), nil
}

// halve finds bounds of the key's first column; ok tells that the pieces are as small as they should be.
func (t *table) halve(ctx context.Context, c *conn, target int64) (bounds [][]string, ok bool, err error) {
	name := ident(t.key[0].Name)
	ends, err := c.rows(ctx, fmt.Sprintf("SELECT MIN(%s), MAX(%s) FROM %s", name, name, ident(t.name)))
	if err != nil || len(ends) != 1 {
		return nil, false, errors.Join(err, ctx.Err())
	}
	low, okLow := new(big.Int).SetString(ends[0][0], 10)
	high, okHigh := new(big.Int).SetString(ends[0][1], 10)
	if !okLow || !okHigh {
		return nil, false, nil // empty, or with a fraction
	}
	h := &halving{t: t, c: c, target: target}
	if err := h.split(ctx, low.Sub(low, big.NewInt(1)), high, math.MaxInt64); err != nil {
		return nil, false, err
	}
	for _, b := range h.bounds {
		bounds = append(bounds, []string{b})
	}
	return bounds, !h.coarse, nil
}

type halving struct {
	t      *table
	c      *conn
	target int64
	bounds []string
	coarse bool // a single number has too many rows
}

// split cuts the rows above low and up to high, of which there are about as many as rows says.
func (h *halving) split(ctx context.Context, low, high *big.Int, rows int64) error {
	if rows <= h.target+h.target/2 || h.coarse {
		return nil
	}
	width := new(big.Int).Sub(high, low)
	if width.Cmp(big.NewInt(1)) <= 0 {
		h.coarse = h.coarse || rows > 4*h.target
		return nil
	}
	middle := new(big.Int).Add(low, width.Rsh(width, 1))
	below, err := h.estimate(ctx, low, middle)
	if err != nil {
		return err
	}
	above, err := h.estimate(ctx, middle, high)
	if err != nil {
		return err
	}
	if err := h.split(ctx, low, middle, below); err != nil {
		return err
	}
	// A bound that leaves next to nothing on one side is none.
	if least := h.target / 4; below > least && above > least {
		h.bounds = append(h.bounds, middle.String())
	}
	return h.split(ctx, middle, high, above)
}

// estimate asks the server how many rows a range has. Its answer is off by up to a factor of two, and costs no reading.
func (h *halving) estimate(ctx context.Context, low, high *big.Int) (int64, error) {
	name := ident(h.t.key[0].Name)
	sql := fmt.Sprintf("EXPLAIN SELECT %s FROM %s FORCE INDEX (%s) WHERE %s > %s AND %s <= %s", name, ident(h.t.name), ident(h.t.keyName), name, low, name, high)
	in, err := h.c.query(ctx, sql)
	if err != nil {
		return 0, err
	}
	defer in.Close() //nolint:errcheck // it is read to its end
	at := -1
	for i, column := range in.Columns() {
		if column == "rows" {
			at = i
		}
	}
	cells := make([]driver.Value, len(in.Columns()))
	rows := int64(0)
	for {
		err := in.Next(cells)
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return 0, h.c.note(err)
		}
		if at < 0 {
			continue
		}
		text := string(appendValue(nil, cells[at]))
		if n, err := strconv.ParseInt(text, 10, 64); err == nil { // NULL where the range cannot have any
			rows = max(rows, n)
		}
	}
}

// walk finds bounds by stepping along the key.
func (t *table) walk(ctx context.Context, c *conn, step int64) ([][]string, error) {
	r := ref{Table: t.name, Key: t.key, KeyName: t.keyName}
	var bounds [][]string
	for len(bounds) < mostRanges {
		sql := "SELECT " + keyList(t.key) + " FROM " + ident(t.name) + " FORCE INDEX (" + ident(t.keyName) + ")"
		if where := r.where(); where != "" {
			sql += " WHERE " + where
		}
		sql += fmt.Sprintf(" ORDER BY %s LIMIT %d, 1", keyList(t.key), step)
		rows, err := c.rows(ctx, sql)
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			return bounds, nil
		}
		for i, k := range t.key {
			if k.Kind == boundBytes {
				rows[0][i] = hex.EncodeToString([]byte(rows[0][i])) // a manifest is of UTF-8
			}
		}
		bounds = append(bounds, rows[0])
		r.From = rows[0]
	}
	return bounds, nil
}

// partName names a range of a table.
func (r *ref) partName(index int) string {
	if r.Ranges <= 1 {
		return r.key()
	}
	return fmt.Sprintf("%s/%06d", r.key(), index)
}
