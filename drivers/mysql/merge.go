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

	stagers merging.Pool[*conn]
	mu      sync.Mutex
	made    map[string]bool // staging tables
}

// Merge takes the database, or joins its merge.
func (s *Source) Merge(ctx context.Context, spec relational.MergeSpec) (_ relational.Merger, err error) {
	if err := merging.CheckSpec(spec); err != nil {
		return nil, err
	}
	m := &merger{source: s, made: make(map[string]bool), columns: make(map[relational.Name][]stageColumn)}
	m.stagers.Open, m.stagers.Shut = m.stager, func(_ context.Context, c *conn) { c.close() }
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("merge into database %s: %w", s.place.database, classify(err)), m.Close(ctx))
		}
	}()
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
			return nil, merging.AtWork()
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
	rows, err := m.conn.rows(ctx, merging.TakenSQL(mergeRun, mergeDone))
	if err != nil && !isCode(err, codeNoTable) {
		return err
	}
	if ours, err := merging.Taken(spec, rows); ours || err != nil {
		return err
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
	return mergePrefix + strconv.Itoa(merging.Place(m.Model, t))
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
func (m *merger) Applied(ctx context.Context) ([]int, error) {
	rows, err := m.conn.rows(ctx, "SELECT unit FROM "+mergeDone+" ORDER BY unit")
	return merging.Units(rows, classify(err))
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
func (m *merger) Close(ctx context.Context) error {
	m.stagers.Close(ctx)
	if m.conn != nil {
		m.conn.close()
		m.conn = nil
	}
	return nil
}
