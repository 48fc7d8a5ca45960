package postgres

import (
	"context"
	"fmt"
	"hash/crc32"
	"strings"

	"salvor/drivers"
)

// The restore's own tables are in a schema of the target, so that what is done and what says so change together. Prepare
// makes it, Load fails without it, Finish drops it.
const progressSQL = `CREATE SCHEMA salvor_progress;
CREATE TABLE salvor_progress.run (id text PRIMARY KEY, started timestamptz NOT NULL DEFAULT pg_catalog.now());
CREATE TABLE salvor_progress.done (item text PRIMARY KEY, tbl text NOT NULL, at timestamptz NOT NULL DEFAULT pg_catalog.now());
CREATE TABLE salvor_progress.tbl (tbl text PRIMARY KEY, parts bigint NOT NULL);
CREATE TABLE salvor_progress.statement (seq bigint PRIMARY KEY, phase text NOT NULL, tbl text NOT NULL, uses text NOT NULL, label text NOT NULL,
  sets text NOT NULL, sql text NOT NULL);
CREATE INDEX ON salvor_progress.statement (tbl);
CREATE TABLE salvor_progress.problem (name text NOT NULL, message text NOT NULL);`

// The phases of a schema's second half.
const (
	phaseTable   = "table"   // indexes and constraints of one table, once its rows are in
	phaseAttach  = "attach"  // indexes of partitions, to those of their parents
	phaseForeign = "foreign" // foreign keys
	phaseRest    = "rest"    // one after another, in pg_dump's order
	phaseLast    = "last"    // event triggers: they would see what comes after them
)

// work is a restore's session on the target.
type work struct {
	*conn
	source *Source
	run    string
	keep   bool // of the target's Continue
}

// begin opens a session for an item of a run: a part, a statement. Its name tells whoever comes later whose it is.
func (s *Source) begin(ctx context.Context, target drivers.Target, item, token string) (*work, error) {
	c, err := s.connect(ctx, sessionName(target.Run, item)+token)
	if err != nil {
		return nil, s.explain(err)
	}
	return &work{conn: c, source: s, run: target.Run, keep: target.Continue}, nil
}

// sessionName begins the names of the sessions that work on an item.
func sessionName(run, item string) string {
	return fmt.Sprintf("%s %08x ", run, crc32.ChecksumIEEE([]byte(item)))
}

const (
	// claimWait is how long another session's work on the same item is waited for, before it is taken for one whose
	// process has stopped.
	claimWait  = "5s"
	claimTries = 24
)

// claim begins a transaction by the row that says that the item is done. done tells that it was before, and that no
// transaction is open. A session that an earlier attempt left, which would block this one for ever, is ended.
func (w *work) claim(ctx context.Context, item, tbl string) (done bool, err error) {
	for try := 1; ; try++ {
		if err := w.exec(ctx, "BEGIN; SET LOCAL lock_timeout = '"+claimWait+"'"); err != nil {
			return false, fmt.Errorf("begin: %w", classify(err))
		}
		n, err := w.affected(ctx, "INSERT INTO salvor_progress.done (item, tbl) VALUES ($1, $2) ON CONFLICT DO NOTHING", item, tbl)
		switch {
		case err == nil && n == 1:
			return false, w.exec(ctx, "SET LOCAL lock_timeout = 0")
		case err == nil:
			return true, w.exec(ctx, "ROLLBACK")
		case isCode(err, codeNoSchema, codeNoTable):
			w.rollback(ctx)
			return false, fmt.Errorf("note %s as done: %w: the target is not prepared for this restore: %w", item, drivers.ErrFailed, err)
		case !isCode(err, codeLockTimeout) || try == claimTries:
			w.rollback(ctx)
			return false, fmt.Errorf("note %s as done: %w", item, classify(err))
		}
		w.rollback(ctx)
		if err := w.endSessions(ctx, "salvor "+sessionName(w.run, item)); err != nil {
			return false, err
		}
	}
}

// endSessions ends other sessions on the database whose names begin so.
func (w *work) endSessions(ctx context.Context, prefix string) error {
	_, err := w.rows(ctx, `SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
		WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() AND pg_catalog.left(application_name, $2::int) = $1
		AND usename = CURRENT_USER`, prefix, fmt.Sprint(len(prefix)))
	if err != nil {
		return fmt.Errorf("end the sessions of an earlier attempt: %w", classify(err))
	}
	return nil
}

// problem notes what could not be restored, in the transaction that is open.
func (w *work) problem(ctx context.Context, name string, cause error) error {
	_, err := w.rows(ctx, "INSERT INTO salvor_progress.problem VALUES ($1, $2)", name, strings.ToValidUTF8(cause.Error(), "?"))
	return err
}

// statement runs one statement of the schema within the transaction that is open. With Continue one that fails is noted
// and undone by itself.
func (w *work) statement(ctx context.Context, e *entry) error {
	if err := w.one(ctx, e, e.label(), e.sql); err != nil {
		return err
	}
	return w.one(ctx, e, "owner of "+e.label(), e.owner)
}

func (w *work) one(ctx context.Context, e *entry, what, sql string) error {
	if sql == "" {
		return nil
	}
	sets := e.sets
	e = &entry{kind: e.kind, sql: sql}
	sql = sets + "\n" + sql
	if !w.keep {
		if err := w.exec(ctx, sql); err != nil {
			return w.explain(e, what, told(ctx, err))
		}
		return nil
	}
	if err := w.exec(ctx, "SAVEPOINT salvor"); err != nil {
		return classify(err)
	}
	err := w.exec(ctx, sql)
	if err == nil {
		return w.exec(ctx, "RELEASE SAVEPOINT salvor")
	}
	if ctx.Err() != nil || w.IsClosed() || classOf(err) == nil {
		return w.explain(e, what, told(ctx, err))
	}
	if undoErr := w.exec(ctx, "ROLLBACK TO SAVEPOINT salvor"); undoErr != nil {
		return undoErr
	}
	return w.problem(ctx, what, w.explain(e, what, err))
}

// explain says which object's statement failed.
func (*work) explain(e *entry, what string, err error) error {
	err = statementError("restore "+what, e.sql, err)
	switch {
	case isCode(err, codeNoObject) && strings.Contains(err.Error(), "role "):
		return drivers.WithHint(err, "create the role on the target's server; a dump with globals: true holds the roles")
	case isCode(err, codePrivilege):
		return drivers.WithHint(err, "restore as a superuser, or as a member of the roles that own the objects; --continue goes on without what fails")
	case isCode(err, codeMemory):
		return drivers.WithHint(err, "raise the server's max_locks_per_transaction")
	case isCode(err, "58P01", "0A000") && e.kind == "EXTENSION":
		return drivers.WithHint(err, "install the extension's files on the target's server")
	}
	return err
}

// commit ends a transaction; told of a cancel first.
func (w *work) commit(ctx context.Context) error {
	if ctx.Err() != nil {
		w.rollback(ctx)
		return context.Cause(ctx)
	}
	if err := w.exec(ctx, "COMMIT"); err != nil {
		return fmt.Errorf("commit: %w", classify(err))
	}
	return nil
}

// once runs f in a transaction, unless an earlier attempt did.
func (w *work) once(ctx context.Context, item, tbl string, f func() error) error {
	done, err := w.claim(ctx, item, tbl)
	if done || err != nil {
		return err
	}
	if err := f(); err != nil {
		w.rollback(ctx)
		return err
	}
	return w.commit(ctx)
}
