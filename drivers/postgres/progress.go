package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"salvor/drivers"
)

// The restore's own tables are in a schema of the target, so that what is done and what says so change together. Prepare
// makes it, Load fails without it, Finish drops it.
const progressSQL = `CREATE TABLE salvor_progress.run (id text PRIMARY KEY, started timestamptz NOT NULL DEFAULT pg_catalog.now());
CREATE TABLE salvor_progress.done (item text PRIMARY KEY, tbl text NOT NULL, at timestamptz NOT NULL DEFAULT pg_catalog.now());
CREATE TABLE salvor_progress.tbl (tbl text PRIMARY KEY, parts bigint NOT NULL);
CREATE TABLE salvor_progress.statement (seq bigint PRIMARY KEY, phase text NOT NULL, tbl text NOT NULL, uses text NOT NULL, label text NOT NULL,
  sets text NOT NULL, sql text NOT NULL);
CREATE INDEX ON salvor_progress.statement (tbl);
CREATE TABLE salvor_progress.problem (name text NOT NULL, message text NOT NULL);`

// The phases of a schema's second half.
const (
	phaseTable   = "table"   // indexes, constraints and extended statistics of one table, once its rows are in
	phaseAttach  = "attach"  // indexes of partitions, to those of their parents
	phaseForeign = "foreign" // foreign keys
	phaseRest    = "rest"    // one after another, in pg_dump's order
	phaseLast    = "last"    // event triggers: they would see what comes after them
)

// The tasks that are not parts, as sessions are named after them.
const (
	taskPrepare = "prepare"
	taskFinish  = "finish"
)

// work is a restore's session on the target.
type work struct {
	*conn
	source *Source
	run    string
	task   string // what of the run it works on: one part, Prepare, Finish
	token  string // of the attempt at it
	keep   bool   // of the target's Continue
}

// begin opens a session of an attempt at a task of a run. An attempt without a token gets one.
//
// Its name says whose the session is, to the attempts that come later: of two attempts at one task the run has given up the
// earlier one, so the later may end its sessions. Those of other tasks are nobody's to end but Finish's, which comes
// after all of them.
func (s *Source) begin(ctx context.Context, target drivers.Target, task, token string) (*work, error) {
	if token == "" {
		token = rand.Text()
	}
	c, err := s.connect(ctx, sessionName(target.Run, task)+token)
	if err != nil {
		return nil, s.explain(err)
	}
	return &work{conn: c, source: s, run: target.Run, task: task, token: token, keep: target.Continue}, nil
}

// beginTask is begin for a task that changes the whole target: what an earlier attempt at it left is ended first.
func (s *Source) beginTask(ctx context.Context, target drivers.Target, task string) (*work, error) {
	w, err := s.begin(ctx, target, task, "")
	if err != nil {
		return nil, err
	}
	if _, err := w.endEarlier(ctx); err != nil {
		w.close(ctx)
		return nil, err
	}
	return w, nil
}

// beside opens another session of the same attempt.
func (w *work) beside(ctx context.Context, target drivers.Target) (*work, error) {
	return w.source.begin(ctx, target, w.task, w.token)
}

// sessionName begins the names of the sessions that work on a task. It leaves ten letters of the 63 for the token.
func sessionName(run, task string) string {
	return fmt.Sprintf("%s %08x ", run, crc32.ChecksumIEEE([]byte(task)))
}

// claimWait is how long another session's work on the same item is waited for, before somebody looks whose it is.
const claimWait = "1s"

// errBusy tells that another session works on the item.
var errBusy = errors.New("another session works on it")

// claim begins a transaction by the rows that say that items are done, and returns those that were not before. Where all were,
// no transaction is open. Sessions that an earlier attempt at the task left, which would block this one for ever, are ended;
// others' work is waited for, or left to them: then the error is errBusy.
func (w *work) claim(ctx context.Context, items []string, tbl string, how manner) (fresh []string, err error) {
	what := items[0]
	for {
		if err := w.exec(ctx, "BEGIN; SET LOCAL lock_timeout = '"+claimWait+"'"); err != nil {
			return nil, fmt.Errorf("begin: %w", classify(err))
		}
		rows, err := w.rows(ctx, `INSERT INTO salvor_progress.done (item, tbl)
			SELECT i, $2 FROM pg_catalog.unnest($1::pg_catalog.text[]) AS i WHERE EXISTS (SELECT FROM salvor_progress.run WHERE id = $3)
			ORDER BY i ON CONFLICT DO NOTHING RETURNING item`, textArray(items), tbl, w.run)
		switch {
		case err == nil && len(rows) > 0:
			for _, r := range rows {
				fresh = append(fresh, r[0])
			}
			return fresh, w.exec(ctx, "SET LOCAL lock_timeout = 0")
		case err == nil:
			n, err := w.text(ctx, "SELECT pg_catalog.count(*) FROM salvor_progress.run WHERE id = $1", w.run)
			w.rollback(ctx)
			if err == nil && n == "0" { // this process was stopped, and its run has long ended
				err = fmt.Errorf("note %s as done: %w: the target belongs to another restore", what, drivers.ErrFailed)
			}
			return nil, classify(err)
		case isCode(err, codeNoSchema, codeNoTable):
			w.rollback(ctx)
			return nil, fmt.Errorf("note %s as done: %w: the target is not prepared for this restore: %w", what, drivers.ErrFailed, err)
		case !isCode(err, codeLockTimeout):
			w.rollback(ctx)
			return nil, fmt.Errorf("note %s as done: %w", what, classify(err))
		}
		w.rollback(ctx)
		ended, err := w.endEarlier(ctx)
		if err != nil {
			return nil, err
		}
		if ended == 0 && how == leaveToOthers {
			return nil, fmt.Errorf("note %s as done: %w", what, errBusy)
		}
	}
}

// textArray writes texts as an array's literal.
func textArray(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	return "{" + strings.Join(quoted, ",") + "}"
}

// endEarlier ends the sessions of earlier attempts at the task, and returns how many there were.
func (w *work) endEarlier(ctx context.Context) (int, error) {
	return w.endSessions(ctx, "salvor "+sessionName(w.run, w.task))
}

// endSessions ends the sessions on the database whose names begin so, but those of this attempt.
func (w *work) endSessions(ctx context.Context, prefix string) (int, error) {
	rows, err := w.rows(ctx, `SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
		WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() AND pg_catalog.left(application_name, $2::int) = $1
		AND application_name <> pg_catalog.current_setting('application_name') AND usename = CURRENT_USER`, prefix, fmt.Sprint(len(prefix)))
	if err != nil {
		return 0, fmt.Errorf("end the sessions of an earlier attempt: %w", classify(err))
	}
	return len(rows), nil
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
	if ctx.Err() != nil || w.IsClosed() || !isOwnFault(err) {
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
	return w.do(ctx, item, tbl, waitForOthers, f)
}

func (w *work) do(ctx context.Context, item, tbl string, how manner, f func() error) error {
	return w.doAll(ctx, []string{item}, tbl, how, func([]string) error { return f() })
}

// doAll runs f in a transaction for those of the items that no earlier attempt did.
func (w *work) doAll(ctx context.Context, items []string, tbl string, how manner, f func(fresh []string) error) error {
	fresh, err := w.claim(ctx, items, tbl, how)
	if len(fresh) == 0 || err != nil {
		return err
	}
	if err := f(fresh); err != nil {
		w.rollback(ctx)
		return err
	}
	return w.commit(ctx)
}
