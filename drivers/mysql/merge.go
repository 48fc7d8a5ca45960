package mysql

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"sync"

	"salvor/drivers"
	"salvor/drivers/internal/merging"
	"salvor/drivers/relational"
)

// A merge's own tables have the names of a restore's, which no dump and no model has: whose merge it is, the units that are done, and for
// each table one in which its changes are staged.
const (
	mergePrefix = progressPrefix + "merge_"
	mergeRun    = mergePrefix + "run"
	mergeDone   = mergePrefix + "done"
)

var (
	_ relational.Target = (*Source)(nil)
	_ relational.Merger = (*merger)(nil)
)

// Abilities tells that references are not checked while a merge writes; triggers cannot be kept from firing.
func (*Source) Abilities(context.Context) (relational.Abilities, error) {
	return relational.Abilities{AnyOrder: true}, nil
}

// merger is a merge's sessions on the target.
type merger struct {
	*merging.Writer
	source  *Source
	conn    *conn
	columns map[relational.Name][]stageColumn
	auto    map[string]uint64 // AUTO_INCREMENT when the transaction began, which does not end with it

	mu    sync.Mutex
	spare []*conn
	made  map[string]bool
}

// Merge takes the database, or joins its merge.
func (s *Source) Merge(ctx context.Context, spec relational.MergeSpec) (_ relational.Merger, err error) {
	m := &merger{source: s, made: make(map[string]bool), columns: make(map[relational.Name][]stageColumn)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("merge into database %s: %w", s.place.database, classify(err)), m.Close(ctx))
		}
	}()
	if strings.ContainsFunc(spec.ID, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	}) {
		return nil, fmt.Errorf("merge %q: %w", spec.ID, drivers.ErrInvalid)
	}
	if m.conn, err = s.connectMerge(ctx, "merge "+spec.ID); err != nil {
		return nil, err
	}
	if !spec.Join {
		// The session of a process that has just died may live for a moment.
		got, err := m.conn.text(ctx, fmt.Sprintf("SELECT GET_LOCK('salvor_merge_%08x', 1)", crc32.ChecksumIEEE([]byte(s.place.database))))
		if err != nil {
			return nil, err
		}
		if got != "1" {
			return nil, inUse("it is at work")
		}
	}
	if err := m.begin(ctx, spec); err != nil {
		return nil, err
	}
	d, err := s.describeModel(ctx, m.conn)
	if err != nil {
		return nil, err
	}
	m.Writer = &merging.Writer{Session: m, Model: d.model, Spec: spec, Abilities: relational.Abilities{AnyOrder: true}}
	if err := m.describeStages(ctx); err != nil {
		return nil, err
	}
	m.Dialect = m.dialect()
	return m, nil
}

func inUse(why string) error {
	return drivers.WithHint(fmt.Errorf("%w: %s", relational.ErrInUse, why), "wait for it, resume it, or undo it")
}

// connectMerge opens a session that writes rows as they are, and keeps to the tables' conditions.
func (s *Source) connectMerge(ctx context.Context, what string) (*conn, error) {
	c, err := s.connect(ctx, what)
	if err != nil {
		return nil, s.explain(err)
	}
	list := c.server.writeSQL()
	if c.server.isMariaDB(100201) {
		list = append(list, "SET SESSION check_constraint_checks=1")
	}
	for _, sql := range list {
		if err := c.exec(ctx, sql); err != nil {
			c.close()
			return nil, fmt.Errorf("prepare session: %w", classify(err))
		}
	}
	return c, nil
}

// begin notes whose merge it is.
func (m *merger) begin(ctx context.Context, spec relational.MergeSpec) error {
	rows, err := m.conn.rows(ctx, "SELECT id, plan, (SELECT COUNT(*) FROM "+mergeDone+") FROM "+mergeRun)
	switch {
	case isCode(err, codeNoTable):
	case err != nil:
		return err
	case len(rows) == 1 && rows[0][0] == spec.ID && rows[0][1] == spec.Plan:
		return nil
	case len(rows) == 1 && rows[0][2] != "0" && rows[0][0] == spec.ID:
		return fmt.Errorf("a part of another plan was written: %w", relational.ErrTargetMoved)
	case len(rows) == 1 && rows[0][2] != "0":
		return inUse("the merge " + rows[0][0] + " has written a part of it")
	}
	if spec.Join {
		return inUse("it is not this merge's")
	}
	if err := m.sweep(ctx); err != nil {
		return err
	}
	const end = ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"
	for _, sql := range []string{
		"CREATE TABLE " + mergeDone + " (unit BIGINT NOT NULL PRIMARY KEY" + end,
		"CREATE TABLE " + mergeRun + " (id VARCHAR(200) NOT NULL PRIMARY KEY, plan VARCHAR(200) NOT NULL" + end,
		"INSERT INTO " + mergeRun + " VALUES (" + literal(spec.ID) + ", " + literal(spec.Plan) + ")",
	} {
		if err := m.conn.ddl(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what merges have in the database: what says whose it is, first.
func (m *merger) sweep(ctx context.Context) error {
	list, err := m.conn.rows(ctx, "SHOW TABLES LIKE '"+strings.ReplaceAll(mergePrefix, "_", `\_`)+"%'")
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b []string) int { return strings.Compare(b[0], a[0]) }) // run, done, 0, 1, …
	for _, r := range list {
		if err := m.conn.ddl(ctx, "DROP TABLE "+ident(r[0])); err != nil {
			return err
		}
	}
	return nil
}

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

// dialect is how MySQL writes what a merge needs.
func (m *merger) dialect() *merging.Dialect {
	value := func(_ *relational.Table, _ int, staged string) string { return staged }
	return &merging.Dialect{
		Grammar: merging.MySQL, Ident: ident, Run: mergeRun, Done: mergeDone, Value: value, Key: value, Stage: m.stageOf,
		Table: func(t *relational.Table) string { return ident(t.Name.Name) },
		Same: func(t *relational.Table, i int, column, staged string) string {
			switch c := m.columns[t.Name][i]; c.kind {
			case "char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "uuid", "inet4", "inet6", "xmltype", "json":
				// The collation would take more for the same.
				return "(CAST(CONVERT(" + column + " USING utf8mb4) AS BINARY) <=> CAST(CONVERT(" + staged + " USING utf8mb4) AS BINARY))"
			case "float":
				return "(" + m.conn.server.doubleSQL(column) + " <=> " + m.conn.server.doubleSQL(staged) + ")"
			}
			return "(" + column + " <=> " + staged + ")"
		},
	}
}

// stageOf names a table's staging table by its place in the model.
func (m *merger) stageOf(t *relational.Table) string {
	for i, other := range m.Model.Tables {
		if other.Name == t.Name {
			return mergePrefix + strconv.Itoa(i)
		}
	}
	return mergePrefix
}

// borrow returns a session to stage by.
func (m *merger) borrow(ctx context.Context) (*conn, error) {
	m.mu.Lock()
	if n := len(m.spare); n > 0 {
		c := m.spare[n-1]
		m.spare = m.spare[:n-1]
		m.mu.Unlock()
		return c, nil
	}
	m.mu.Unlock()
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
func (m *merger) Stage(ctx context.Context, b *relational.Batch, changes relational.Changes) (err error) {
	t := m.Model.Table(b.Table)
	if t == nil || len(m.columns[t.Name]) != len(t.Columns) {
		return fmt.Errorf("table %s: %w", b.Table, relational.ErrTargetMoved)
	}
	c, err := m.borrow(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			c.close()
			err = fmt.Errorf("stage: %w", classify(err))
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.spare = append(m.spare, c)
	}()
	stage := m.stageOf(t)
	if err := m.makeStage(ctx, c, t, stage); err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := m.stage(ctx, c, t, b, changes)
		if !isCode(err, codeDeadlock) || try == ddlTries {
			return err
		}
	}
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

// Exec runs a statement on the target.
func (m *merger) Exec(ctx context.Context, sql string) (int64, error) {
	return m.conn.affected(ctx, sql)
}

// Number runs a query on the target.
func (m *merger) Number(ctx context.Context, sql string) (int64, error) {
	return m.conn.number(ctx, sql)
}

// Begin begins a transaction. References are not checked: that was set when the session began.
func (m *merger) Begin(ctx context.Context, tables []*relational.Table) error {
	all, err := readAuto(ctx, m.conn)
	if err != nil {
		return err
	}
	m.auto = make(map[string]uint64)
	for _, t := range tables {
		if n, ok := all[t.Name.Name]; ok {
			m.auto[t.Name.Name] = n
		}
	}
	return m.conn.exec(ctx, "START TRANSACTION")
}

// Commit ends the transaction.
func (m *merger) Commit(ctx context.Context) error {
	err := m.conn.exec(ctx, "COMMIT")
	if err == nil {
		m.auto = nil
	}
	return err
}

// Rollback ends the transaction without a trace: AUTO_INCREMENT has gone forward with the rows, and does not go back with them.
func (m *merger) Rollback(ctx context.Context) {
	m.conn.rollback(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	now, err := readAuto(ctx, m.conn)
	if err != nil {
		return // a session that cannot even do that can mend nothing
	}
	for table, before := range m.auto {
		if now[table] != before {
			_ = m.conn.ddl(ctx, "ALTER TABLE "+ident(table)+" AUTO_INCREMENT = "+strconv.FormatUint(before, 10)) // no number is lost but some that nobody had
		}
	}
	m.auto = nil
}

// Refusal tells why a change is refused.
func (*merger) Refusal(err error) (relational.RefusalCode, bool) {
	switch {
	case isCode(err, codeDuplicate, 1586):
		return relational.RefusedUnique, true
	case isCode(err, 1216, 1452):
		return relational.RefusedParent, true
	case isCode(err, 1048, 1138, 1264, codeTruncated, 1292, 1364, codeInvalidText, 1367, 1406, 1411, 1416, 1644, 1690, 3140, 3819, 4025, 4038, 4078):
		return relational.RefusedCheck, true
	}
	return "", false
}

// Classify gives an error its class.
func (*merger) Classify(err error) error { return classify(err) }

// Applied lists the units that are done.
func (m *merger) Applied(ctx context.Context) (units []int, err error) {
	rows, err := m.conn.rows(ctx, "SELECT unit FROM "+mergeDone+" ORDER BY unit")
	if err != nil {
		return nil, fmt.Errorf("list what is done: %w", classify(err))
	}
	for _, r := range rows {
		n, err := strconv.Atoi(r[0])
		if err != nil {
			return nil, fmt.Errorf("list what is done: %w", err)
		}
		units = append(units, n)
	}
	return units, nil
}

// SetSequences sets AUTO_INCREMENT and sequences.
func (m *merger) SetSequences(ctx context.Context, list []relational.SequenceState) error {
	auto, err := readAuto(ctx, m.conn)
	if err != nil {
		return err
	}
	for _, s := range list {
		if err := m.setSequence(ctx, s, auto); err != nil {
			return fmt.Errorf("set the numbers of %s: %w", s.Name, classify(err))
		}
	}
	return nil
}

func (m *merger) setSequence(ctx context.Context, s relational.SequenceState, auto map[string]uint64) error {
	if s.Table == nil {
		if s.Exact {
			return m.conn.ddl(ctx, "ALTER SEQUENCE "+ident(s.Name.Name)+" RESTART "+s.Last)
		}
		return m.conn.exec(ctx, "DO SETVAL("+ident(s.Name.Name)+", "+s.Last+", 0)") // which never goes back
	}
	last, err := strconv.ParseUint(s.Last, 10, 64)
	if err != nil {
		return err
	}
	now, next := auto[s.Table.Name], last+1
	if !s.Exact && next <= now || next == now {
		return nil // and behind every key the engine keeps it by itself
	}
	return m.conn.ddl(ctx, "ALTER TABLE "+ident(s.Table.Name)+" AUTO_INCREMENT = "+strconv.FormatUint(next, 10))
}

// Discard ends the merge.
func (m *merger) Discard(ctx context.Context) error {
	if err := m.sweep(ctx); err != nil {
		return fmt.Errorf("end the merge: %w", classify(err))
	}
	return nil
}

// Close ends the sessions, and with them the lock.
func (m *merger) Close(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range append(m.spare, m.conn) {
		if c != nil {
			c.close()
		}
	}
	m.spare, m.conn = nil, nil
	return nil
}
