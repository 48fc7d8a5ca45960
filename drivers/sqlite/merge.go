package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"salvor/drivers"
	"salvor/drivers/internal/merging"
	"salvor/drivers/relational"
)

// A merge's changes are staged in a database of its own beside the target, so that the target has no page of them. Whose merge it is, and
// what is done of it, is in two tables of the target, which change with the rows.
const (
	mergePrefix = "salvor_merge_"
	mergeRun    = mergePrefix + "run"
	mergeDone   = mergePrefix + "done"
)

// stagePath is where the changes are staged, lockPath what the merge's process holds.
func (s *Source) stagePath() string {
	return filepath.Join(filepath.Dir(s.path), "."+filepath.Base(s.path)+".salvormerge")
}
func (s *Source) lockPath() string { return s.stagePath() + ".lock" }

var (
	_ relational.Target = (*Source)(nil)
	_ relational.Merger = (*merger)(nil)
)

// Abilities tells that references are checked by nobody while a merge writes; triggers cannot be kept from firing.
func (*Source) Abilities(context.Context) (relational.Abilities, error) {
	return relational.Abilities{AnyOrder: true}, nil
}

// merger is a merge's session on the target.
type merger struct {
	*merging.Writer
	source *Source
	conn   *conn // of the target, with the staging database attached
	lock   *os.File

	mu      sync.Mutex
	staging *conn
}

// Merge takes the database, or joins its merge.
func (s *Source) Merge(ctx context.Context, spec relational.MergeSpec) (_ relational.Merger, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("merge into %s: %w", s.path, classify(err))
		}
	}()
	if err := merging.CheckSpec(spec); err != nil {
		return nil, err
	}
	info, err := s.lookAt()
	if err != nil {
		return nil, err
	}
	if info == nil {
		return nil, drivers.ErrNotFound
	}
	m := &merger{source: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close(ctx))
		}
	}()
	if !spec.Join {
		if err := m.hold(); err != nil {
			return nil, err
		}
	}
	if m.conn, err = m.connect(ctx, s.path); err != nil {
		return nil, err
	}
	if err := m.begin(ctx, spec); err != nil {
		return nil, err
	}
	if m.staging, err = m.connect(ctx, s.stagePath()); err != nil {
		return nil, err
	}
	encoding, err := m.conn.text(ctx, "PRAGMA encoding")
	if err != nil {
		return nil, err
	}
	// Databases that are read together have one encoding. What is staged is made again after a crash.
	if err := m.staging.exec(ctx, "PRAGMA encoding='"+encoding+"'", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF"); err != nil {
		return nil, err
	}
	if _, err := m.conn.raw.ExecContext(ctx, "ATTACH DATABASE ? AS salvor_stage", []driver.NamedValue{{Ordinal: 1, Value: uri(s.stagePath(), modeWrite)}}); err != nil {
		return nil, err
	}
	model, err := describeModel(ctx, m.conn)
	if err != nil {
		return nil, err
	}
	abilities, err := s.Abilities(ctx)
	if err != nil {
		return nil, err
	}
	m.Writer = &merging.Writer{Dialect: mergeDialect(model), Session: m, Model: model, Spec: spec, Abilities: abilities}
	return m, nil
}

// hold keeps other merges away as long as the process lives.
func (m *merger) hold() error {
	for {
		f, err := os.OpenFile(m.source.lockPath(), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		got, err := tryLock(f)
		if err == nil && !got {
			err = merging.AtWork()
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
		there, err := isAt(f, f.Name())
		if err == nil && there {
			m.lock = f
			return nil
		}
		if err := errors.Join(err, f.Close()); err != nil { // somebody ended a merge in between
			return err
		}
	}
}

func (m *merger) connect(ctx context.Context, path string) (*conn, error) {
	mode := modeWrite
	if path == m.source.stagePath() {
		mode = "mode=rwc"
	}
	c, err := connect(path, mode)
	if err != nil {
		return nil, err
	}
	err = c.exec(ctx, fmt.Sprintf("PRAGMA busy_timeout=%d", m.source.busy.Milliseconds()), "PRAGMA foreign_keys=OFF", "PRAGMA recursive_triggers=OFF")
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// begin notes whose merge it is.
func (m *merger) begin(ctx context.Context, spec relational.MergeSpec) error {
	there, err := m.conn.int(ctx, "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '"+mergeRun+"')")
	if err != nil {
		return err
	}
	var rows [][]string
	if there == 1 {
		if rows, err = m.conn.rows(ctx, merging.TakenSQL(mergeRun, mergeDone)); err != nil {
			return err
		}
	}
	if ours, err := merging.Taken(spec, rows); ours || err != nil {
		return err
	}
	if err := removeStage(m.source.stagePath()); err != nil {
		return err
	}
	err = m.conn.exec(ctx, "BEGIN IMMEDIATE", "DROP TABLE IF EXISTS "+mergeRun, "DROP TABLE IF EXISTS "+mergeDone,
		"CREATE TABLE "+mergeRun+" (id TEXT NOT NULL, plan TEXT NOT NULL)", "CREATE TABLE "+mergeDone+" (unit INTEGER PRIMARY KEY)",
		"INSERT INTO "+mergeRun+" VALUES ('"+spec.ID+"', '"+spec.Plan+"')", "COMMIT")
	if err != nil {
		m.Rollback(ctx)
	}
	return err
}

// removeStage removes what was staged.
func removeStage(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// mergeDialect is how SQLite writes what a merge needs.
func mergeDialect(model *relational.Model) *merging.Dialect {
	value := func(_ *relational.Table, _ int, staged string) string { return staged }
	return &merging.Dialect{
		Grammar: merging.SQLite, Ident: ident, RowID: []string{"rowid"}, Run: mergeRun, Done: mergeDone, Value: value, Key: value,
		Table: func(t *relational.Table) string { return "main." + ident(t.Name.Name) },
		Stage: func(t *relational.Table) string { return "salvor_stage." + stageOf(model, t) },
		Same: func(_ *relational.Table, _ int, column, staged string) string {
			return "(typeof(" + column + ") = typeof(" + staged + ") AND " + column + " COLLATE BINARY IS " + staged + " COLLATE BINARY)"
		},
		Parts: func(_ *relational.Table, _ int, column string) []string {
			return []string{"typeof(" + column + ")", column + " COLLATE BINARY"}
		},
	}
}

// stageOf names a table's staging table by its place in the model.
func stageOf(model *relational.Model, t *relational.Table) string {
	return "s" + strconv.Itoa(merging.Place(model, t))
}

// Stage writes a batch's changes into the staging database.
func (m *merger) Stage(ctx context.Context, b *relational.Batch, changes relational.Changes) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.Model.Table(b.Table)
	if t == nil {
		return fmt.Errorf("table %s: %w", b.Table, relational.ErrTargetMoved)
	}
	name := stageOf(m.Model, t)
	columns := []string{"b", "n"}
	for _, side := range []string{"n", "o"} {
		for i := range t.Columns {
			columns = append(columns, side+strconv.Itoa(i))
		}
	}
	err = m.staging.exec(ctx, "BEGIN IMMEDIATE", "CREATE TABLE IF NOT EXISTS "+name+" ("+strings.Join(columns, ", ")+", PRIMARY KEY (b, n)) WITHOUT ROWID",
		"DELETE FROM "+name+" WHERE b = "+strconv.Itoa(b.Number))
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("stage: %w", classify(err)), m.staging.exec(context.WithoutCancel(ctx), "ROLLBACK"))
		}
	}()
	if err != nil {
		return err
	}
	put, err := m.staging.raw.Prepare("INSERT INTO " + name + " VALUES (?" + strings.Repeat(", ?", len(columns)-1) + ")")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, put.Close()) }()
	execer, ok := put.(driver.StmtExecContext)
	if !ok {
		return errNoContext
	}
	args := make([]driver.NamedValue, len(columns))
	for i := range args {
		args[i].Ordinal = i + 1
	}
	n := int64(0)
	err = changes(func(c *relational.Change) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		args[0].Value, args[1].Value = int64(b.Number), n
		n++
		for side, values := range [][]relational.Value{c.New, c.Old} {
			for i := range t.Columns {
				v := relational.Value{}
				if values != nil {
					v = values[i]
				}
				arg, err := argument(v)
				if err != nil {
					return err
				}
				args[2+side*len(t.Columns)+i].Value = arg
			}
		}
		_, err := execer.ExecContext(ctx, args)
		return err
	})
	if err != nil {
		return err
	}
	if n != int64(b.Rows) {
		return fmt.Errorf("%d changes were staged of %d: %w", n, b.Rows, drivers.ErrFailed)
	}
	return m.staging.exec(ctx, "COMMIT")
}

var errNoContext = errors.New("the library's statements take no context")

// Exec runs a statement on the target.
func (m *merger) Exec(ctx context.Context, sql string) (int64, error) {
	result, err := m.conn.raw.ExecContext(ctx, sql, nil)
	if err != nil {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return 0, err
	}
	return result.RowsAffected()
}

// Number runs a query on the target.
func (m *merger) Number(ctx context.Context, sql string) (int64, error) { return m.conn.int(ctx, sql) }

// Begin begins a transaction. References are not checked: that was set when the session began.
func (m *merger) Begin(ctx context.Context, _ []*relational.Table) error {
	return m.conn.exec(ctx, "BEGIN IMMEDIATE")
}

// Commit ends it.
func (m *merger) Commit(ctx context.Context) error { return m.conn.exec(ctx, "COMMIT") }

// Rollback ends it without a trace.
func (m *merger) Rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	_ = m.conn.exec(ctx, "ROLLBACK") // an error of SQLite's may have ended it already
}

// Refusal tells why a change is refused.
func (*merger) Refusal(err error) (relational.RefusalCode, bool) {
	if !hasCode(err, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG) {
		return "", false
	}
	for _, code := range []string{"UNIQUE", "PRIMARY KEY"} {
		if strings.Contains(err.Error(), code) {
			return relational.RefusedUnique, true
		}
	}
	return relational.RefusedCheck, true
}

// Classify gives an error its class.
func (*merger) Classify(err error) error {
	if hasCode(err, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG) {
		return fmt.Errorf("%w: %w", drivers.ErrFailed, err)
	}
	return classify(err)
}

// Applied lists the units that are done.
func (m *merger) Applied(ctx context.Context) ([]int, error) {
	rows, err := m.conn.rows(ctx, "SELECT unit FROM "+mergeDone+" ORDER BY unit")
	return merging.Units(rows, classify(err))
}

// SetSequences sets the numbers of AUTOINCREMENT.
func (m *merger) SetSequences(ctx context.Context, list []relational.SequenceState) error {
	there, err := m.conn.int(ctx, "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence')")
	if err != nil || there == 0 {
		return classify(err)
	}
	for _, s := range list {
		if s.Table == nil {
			continue
		}
		name := "'" + strings.ReplaceAll(s.Table.Name, "'", "''") + "'"
		last, err := strconv.ParseInt(s.Last, 10, 64)
		statements := []string{"DELETE FROM sqlite_sequence WHERE name = " + name}
		switch {
		case s.Last != "" && err != nil:
			return fmt.Errorf("set the number of table %s: %w", s.Table, err)
		case s.Exact && s.Last != "":
			statements = []string{fmt.Sprintf("UPDATE sqlite_sequence SET seq = %d WHERE name = %s", last, name)}
		case !s.Exact:
			floor := fmt.Sprintf("max(%d, coalesce((SELECT max(%s) FROM %s), %d))", last, ident(s.Column), ident(s.Table.Name), last)
			statements = []string{
				fmt.Sprintf("INSERT INTO sqlite_sequence (name, seq) SELECT %s, 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = %s)", name, name),
				fmt.Sprintf("UPDATE sqlite_sequence SET seq = max(seq, %s) WHERE name = %s", floor, name),
			}
		}
		if err := m.conn.exec(ctx, statements...); err != nil {
			return fmt.Errorf("set the number of table %s: %w", s.Table, classify(err))
		}
	}
	return nil
}

// Discard ends the merge.
func (m *merger) Discard(ctx context.Context) error {
	if err := m.conn.exec(ctx, "DETACH DATABASE salvor_stage"); err != nil {
		return fmt.Errorf("end the merge: %w", classify(err))
	}
	err := m.staging.close()
	m.staging = nil
	if err == nil {
		err = removeStage(m.source.stagePath())
	}
	if err == nil {
		err = m.conn.exec(ctx, "BEGIN IMMEDIATE", "DROP TABLE "+mergeDone, "DROP TABLE "+mergeRun, "COMMIT")
	}
	if err == nil && m.lock != nil {
		err = os.Remove(m.source.lockPath())
	}
	if err != nil {
		return fmt.Errorf("end the merge: %w", classify(err))
	}
	return nil
}

// Close ends the sessions.
func (m *merger) Close(context.Context) error {
	var errs []error
	for _, c := range []*conn{m.conn, m.staging} {
		if c != nil {
			errs = append(errs, c.close())
		}
	}
	if m.lock != nil {
		errs = append(errs, m.lock.Close())
	}
	m.conn, m.staging, m.lock = nil, nil, nil
	return errors.Join(errs...)
}
