package mysql

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// stageColumn is how a column is staged.
type stageColumn struct {
	kind   string // its type's name
	sql    string // what it is staged as
	asText bool   // as a text in UTF-8, whatever it is
}

const stageColumnsSQL = `SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, COALESCE(CHARACTER_SET_NAME, ''), COALESCE(COLLATION_NAME, '')
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() ORDER BY TABLE_NAME, ORDINAL_POSITION`

// describeStages finds how columns are staged: those that rows are found by exactly as they are, so that an index helps to find them,
// others so that what the table does not take is not refused before it is asked.
func (m *merger) describeStages(ctx context.Context) error {
	list, err := m.conn.catalog(ctx, stageColumnsSQL)
	if err != nil {
		return fmt.Errorf("list columns: %w", err)
	}
	found := make(map[relational.Name][]string) // columns that rows are found by
	for _, t := range m.Model.Tables {
		if key := t.Identity(); key != nil {
			found[t.Name] = append(found[t.Name], key.Columns...)
		}
		for _, e := range t.Foreign {
			found[e.Parent] = append(found[e.Parent], e.ParentColumns...)
			found[t.Name] = append(found[t.Name], e.Columns...)
		}
	}
	byName := make(map[string]*relational.Table)
	for _, t := range m.Model.Tables {
		byName[t.Name.Name] = t
	}
	for _, r := range list {
		t := byName[r[0]]
		if t == nil {
			continue
		}
		c := stageColumn{kind: strings.ToLower(r[2]), sql: r[3]}
		if r[4] != "" {
			c.sql += " CHARACTER SET " + r[4] + " COLLATE " + r[5]
		}
		if !slices.Contains(found[t.Name], r[1]) {
			switch c.kind {
			case "char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "uuid", "inet4", "inet6", "xmltype":
				c.sql, c.asText = "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", true
			case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
				c.sql = "LONGBLOB"
			case "tinyint", "smallint", "mediumint", "int", "bigint":
				c.sql = "BIGINT"
				if strings.Contains(r[3], "unsigned") {
					c.sql = "BIGINT UNSIGNED"
				}
			case "float":
				c.sql = "DOUBLE"
			}
		}
		m.columns[t.Name] = append(m.columns[t.Name], c)
	}
	return nil
}

// stager opens a session to stage by.
func (m *merger) stager(ctx context.Context) (*conn, error) {
	c, err := m.source.connectMerge(ctx, "merge "+m.Spec.ID+" stage")
	if err != nil {
		return nil, err
	}
	// Sessions write to one table side by side, and none of them minds what others do between its rows.
	if err := c.exec(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"); err != nil {
		c.close()
		return nil, fmt.Errorf("prepare session: %w", classify(err))
	}
	return c, nil
}

// Stage writes a batch's changes into the staging table, by a session of its own.
func (m *merger) Stage(ctx context.Context, b *relational.Batch, changes relational.Changes) error {
	t := m.Model.Table(b.Table)
	if t == nil || len(m.columns[t.Name]) != len(t.Columns) {
		return fmt.Errorf("table %s: %w", b.Table, relational.ErrTargetMoved)
	}
	err := m.stagers.With(ctx, func(c *conn) error {
		if err := m.makeStage(ctx, c, t, m.stageOf(t)); err != nil {
			return err
		}
		for try := 1; ; try++ {
			err := m.stage(ctx, c, t, b, changes)
			if !isCode(err, codeDeadlock) || try == ddlTries {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("stage: %w", classify(err))
	}
	return nil
}

// stage writes a batch's changes in one transaction.
func (m *merger) stage(ctx context.Context, c *conn, t *relational.Table, b *relational.Batch, changes relational.Changes) error {
	for _, sql := range []string{"START TRANSACTION", "DELETE FROM " + m.stageOf(t) + " WHERE b = " + strconv.Itoa(b.Number)} {
		if err := c.exec(ctx, sql); err != nil {
			return err
		}
	}
	n, err := m.insertStaged(ctx, c, t, b, changes)
	if err != nil {
		return err
	}
	if n != b.Rows {
		return fmt.Errorf("%d changes were staged of %d: %w", n, b.Rows, drivers.ErrFailed)
	}
	return c.exec(ctx, "COMMIT")
}

// makeStage makes a staging table, unless it is there.
func (m *merger) makeStage(ctx context.Context, c *conn, t *relational.Table, stage string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.made[stage] {
		return nil
	}
	columns := []string{"b BIGINT NOT NULL", "n BIGINT NOT NULL"}
	for _, side := range []string{"n", "o"} {
		for i, sc := range m.columns[t.Name] {
			columns = append(columns, side+strconv.Itoa(i)+" "+sc.sql+" NULL DEFAULT NULL")
		}
	}
	sql := "CREATE TABLE IF NOT EXISTS " + stage + " (" + strings.Join(columns, ", ") + ", PRIMARY KEY (b, n)) ENGINE=InnoDB ROW_FORMAT=DYNAMIC"
	if err := c.ddl(ctx, sql); err != nil {
		return err
	}
	m.made[stage] = true
	return nil
}

// insertStaged writes changes by statements of many.
func (m *merger) insertStaged(ctx context.Context, c *conn, t *relational.Table, b *relational.Batch, changes relational.Changes) (rows int, err error) {
	most, err := c.number(ctx, "SELECT @@SESSION.max_allowed_packet")
	if err != nil {
		return 0, err
	}
	// Only what a batch has is written.
	names := []string{"b", "n"}
	var at [2][]int
	if b.Kind != relational.ChangeDelete {
		at[0] = t.Indexes(b.Columns)
	}
	if b.Kind != relational.ChangeInsert {
		at[1] = slices.Compact(slices.Sorted(slices.Values(append(t.Indexes(b.Columns), t.Indexes(b.Key)...))))
	}
	for side, list := range at {
		for _, i := range list {
			names = append(names, string("no"[side])+strconv.Itoa(i))
		}
	}
	head := "INSERT INTO " + m.stageOf(t) + " (" + strings.Join(names, ", ") + ") VALUES "
	size := min(int(most)/2, insertSize)
	sql := []byte(head)
	flush := func() error {
		if len(sql) == len(head) {
			return nil
		}
		err := c.exec(ctx, string(sql))
		sql = append(sql[:0], head...)
		return err
	}
	var row []byte
	err = changes(func(change *relational.Change) error {
		row = strconv.AppendInt(append(row[:0], '('), int64(b.Number), 10)
		row = strconv.AppendInt(append(row, ", "...), int64(rows), 10)
		rows++
		for side, values := range [][]relational.Value{change.New, change.Old} {
			for _, i := range at[side] {
				row = appendStaged(append(row, ", "...), values[i])
			}
		}
		row = append(row, ')')
		if len(sql) > len(head) && len(sql)+len(row) > size {
			if err := flush(); err != nil {
				return err
			}
		}
		if len(sql) > len(head) {
			sql = append(sql, ", "...)
		}
		sql = append(sql, row...)
		return nil
	})
	if err != nil {
		return rows, err
	}
	return rows, flush()
}

// appendStaged appends a value as a literal.
func appendStaged(to []byte, v relational.Value) []byte {
	switch v.Kind {
	case relational.Null:
		return append(to, "NULL"...)
	case relational.Bytes:
		return appendHex(to, v.Text)
	case relational.Bool:
		return append(to, v.Text...)
	case relational.Int, relational.Decimal, relational.Float, relational.Text:
	}
	return append(to, literal(string(v.Text))...)
}
