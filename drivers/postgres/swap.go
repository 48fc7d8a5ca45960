package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"salvor/drivers"
)

// errChanged tells that the target is no longer what it was found to be: it is to be looked at again.
var errChanged = errors.New("the target changed while it was prepared")

// newPrefix begins the names of databases that a restore has made and not yet put in their place.
const newPrefix = "salvor_new_"

// newName names the database that a run makes for one target. The server cuts names at 63 bytes.
func newName(run, database string) string {
	return fmt.Sprintf("%s%s_%08x", newPrefix, run[:min(len(run), 40)], crc32.ChecksumIEEE([]byte(run+"\x00"+database)))
}

// at is the source with another database.
func (s *Source) at(database string) *Source {
	other := *s
	other.config = s.config.Copy()
	other.config.Database = database
	return &other
}

// isScratch tells whether the database was made for a trial, to be dropped after it.
func (s *Source) isScratch() bool { return strings.HasPrefix(s.config.Database, drivers.ScratchPrefix) }

// connectBeside opens a session on a database that is none of a restore's: one cannot be dropped or renamed from within.
func (s *Source) connectBeside(ctx context.Context, what string) (*conn, error) {
	var first error
	for _, database := range []string{"postgres", "template1"} {
		if database == s.config.Database {
			continue
		}
		c, err := s.connectTo(ctx, database, what)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
		if !isCode(err, codeNoDatabase, codePrivilege, "28000") {
			break
		}
	}
	return nil, s.explain(first)
}

// install makes a database like the dumped one, with all that comes before the rows, and puts it in the target's place: what
// was there is dropped once all that can fail before has not. An attempt that was stopped at any moment does no harm when it
// goes on: the session that drops holds a lock on the name, and what it drops is the very database that was found.
func (s *Source) install(ctx context.Context, r *recipe, f *found) (err error) {
	target := r.target
	m, err := s.connectBeside(ctx, sessionName(target.Run, "install"))
	if err != nil {
		return err
	}
	defer m.close(ctx)
	if err := s.lockName(ctx, m, target.Run); err != nil {
		return err
	}
	if err := s.unchanged(ctx, m, target, f); err != nil {
		return err
	}
	fresh := s.at(newName(target.Run, s.config.Database))
	dropped := false
	defer func() {
		if err != nil && !dropped && !m.IsClosed() {
			// The name is this run's own, and holds no rows yet. A session that broke leaves it to the next attempt.
			err = errors.Join(err, m.dropDatabase(context.WithoutCancel(ctx), fresh.config.Database))
		}
	}()
	if err := fresh.create(ctx, m, r.c.schemaRef.Database); err != nil {
		return err
	}
	if err := fresh.fillFresh(ctx, r, s.config.Database); err != nil {
		return err
	}
	if f.oid != "" {
		if err := m.dropDatabase(ctx, s.config.Database); err != nil {
			return err
		}
	}
	dropped = true
	sql := "ALTER DATABASE " + ident(fresh.config.Database) + " RENAME TO " + ident(s.config.Database)
	if err := m.exec(ctx, sql); err != nil {
		if isCode(err, codeDuplicateDB) {
			return fmt.Errorf("%w: somebody else made the database %s", errChanged, s.name())
		}
		return statementError("put the new database in its place", sql, told(ctx, err))
	}
	return nil
}

// nameTries is how many seconds another restore's lock on the name is waited for.
const nameTries = 120

// lockName keeps other restores from changing what the target's name stands for, as long as the session lasts. A session
// that an earlier attempt of the same run left is ended.
func (s *Source) lockName(ctx context.Context, m *conn, run string) error {
	const class = 0x53616c76
	keys := []string{fmt.Sprint(class), fmt.Sprint(int32(crc32.ChecksumIEEE([]byte(s.config.Database))))} //nolint:gosec // the bits are what counts
	prefix := "salvor " + sessionName(run, "install")
	for try := 1; ; try++ {
		if err := m.exec(ctx, "SET lock_timeout = '"+claimWait+"'"); err != nil {
			return fmt.Errorf("lock database name: %w", classify(err))
		}
		_, err := m.rows(ctx, "SELECT pg_catalog.pg_advisory_lock($1::int, $2::int)", keys...)
		if err == nil {
			return m.exec(ctx, "SET lock_timeout = 0")
		}
		if !isCode(err, codeLockTimeout) || try == nameTries {
			return fmt.Errorf("lock database name: another restore makes %s: %w", s.name(), classify(err))
		}
		_, err = m.rows(ctx, `SELECT pg_catalog.pg_terminate_backend(l.pid) FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
			WHERE l.locktype = 'advisory' AND l.granted AND l.classid::bigint = $1::bigint AND l.objid::bigint = ($2::bigint & 4294967295) AND l.objsubid = 2
			AND a.usename = CURRENT_USER AND pg_catalog.left(a.application_name, $4::int) = $3`, keys[0], keys[1], prefix, fmt.Sprint(len(prefix)))
		if err != nil {
			return fmt.Errorf("end the sessions of an earlier attempt: %w", classify(err))
		}
	}
}

// unchanged tells whether the target is still what was found, and not begun by this run meanwhile.
func (s *Source) unchanged(ctx context.Context, m *conn, target drivers.Target, f *found) error {
	oid, err := m.text(ctx, "SELECT COALESCE((SELECT oid::text FROM pg_catalog.pg_database WHERE datname = $1), '')", s.config.Database)
	if err != nil {
		return fmt.Errorf("look at target: %w", classify(err))
	}
	if oid != f.oid {
		return errChanged
	}
	if oid == "" {
		return nil
	}
	c, err := s.connect(ctx, "check target")
	if err != nil {
		return s.explain(err)
	}
	defer c.close(ctx)
	run, _, err := c.begun(ctx)
	if err != nil {
		return err
	}
	if run == target.Run || run != f.run {
		return errChanged
	}
	return nil
}

// begun returns the run of the restore that began in the session's database, and whether it was one of a selection.
func (c *conn) begun(ctx context.Context) (run string, selection bool, err error) {
	there, err := c.text(ctx, "SELECT (pg_catalog.to_regclass('salvor_progress.run') IS NOT NULL)::text")
	if err != nil {
		return "", false, fmt.Errorf("look at target: %w", classify(err))
	}
	if there != "true" {
		return "", false, nil
	}
	rows, err := c.rows(ctx, "SELECT id, (SELECT selection FROM salvor_progress.place)::text FROM salvor_progress.run")
	if err != nil || len(rows) == 0 {
		return "", false, fmt.Errorf("look at target: %w", classify(errors.Join(err, drivers.ErrNotEmpty)))
	}
	return rows[0][0], rows[0][1] == "true", nil
}

// create makes the database. One that is there already was made by an earlier attempt.
func (s *Source) create(ctx context.Context, m *conn, d *database) error {
	name := s.config.Database
	sql := d.createSQL(name, m.version)
	if d.Tablespace != "" {
		there, err := m.text(ctx, "SELECT pg_catalog.count(*) FROM pg_catalog.pg_tablespace WHERE spcname = $1", d.Tablespace)
		if err != nil {
			return fmt.Errorf("look for tablespace: %w", classify(err))
		}
		if there != "0" {
			sql += " TABLESPACE " + ident(d.Tablespace)
		}
	}
	if err := m.exec(ctx, sql); err != nil && !isCode(err, codeDuplicateDB, codeDuplicateName) {
		err = statementError("create database "+name, sql, told(ctx, err))
		if isCode(err, codePrivilege) {
			return drivers.WithHint(err, "give the role CREATEDB, or create the database and restore into it without --create and --clean")
		}
		return err
	}
	// Until it is whole, nobody shall take it for the old one and write into it; but superusers cannot be kept out.
	sql = "REVOKE CONNECT, TEMPORARY ON DATABASE " + ident(name) + " FROM PUBLIC"
	if err := m.exec(ctx, sql); err != nil {
		return statementError("keep others out of database "+name, sql, told(ctx, err))
	}
	return nil
}

// fillFresh begins the run in a database that it has made, unless an earlier attempt did, and makes what comes before the
// rows. name is the one that the database will have.
func (s *Source) fillFresh(ctx context.Context, r *recipe, name string) error {
	w, err := s.beginTask(ctx, r.target, taskPrepare)
	if err != nil {
		return err
	}
	defer w.close(ctx)
	run, _, err := w.begun(ctx)
	if err != nil {
		return err
	}
	if run != r.target.Run {
		if err := w.beginRun(ctx, place{fresh: true, selection: len(r.target.Only) > 0}, stateAbsent, r.c); err != nil {
			return err
		}
	}
	return w.fill(ctx, r, name)
}

// dropDatabase removes a database and ends the sessions that are on it. An absent one is no error.
func (c *conn) dropDatabase(ctx context.Context, name string) error {
	if name == "postgres" || strings.HasPrefix(name, "template") {
		return fmt.Errorf("drop database %s: %w: it is the server's own", name, drivers.ErrInvalid)
	}
	template, err := c.text(ctx, "SELECT COALESCE((SELECT datistemplate::text FROM pg_catalog.pg_database WHERE datname = $1), '')", name)
	if err != nil {
		return fmt.Errorf("drop database %s: %w", name, classify(err))
	}
	if template == "" {
		return nil
	}
	if template == "true" {
		if err := c.exec(ctx, "ALTER DATABASE "+ident(name)+" IS_TEMPLATE false"); err != nil {
			return fmt.Errorf("drop database %s: %w", name, classify(err))
		}
	}
	sql := "DROP DATABASE IF EXISTS " + ident(name)
	if c.version >= 130000 {
		sql += " WITH (FORCE)"
	} else if _, err := c.rows(ctx, "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = $1", name); err != nil {
		return fmt.Errorf("drop database %s: %w", name, classify(err))
	}
	err = c.exec(ctx, sql)
	if err == nil {
		return nil
	}
	inUse := inUseOf(err)
	err = statementError("drop database "+name, sql, told(ctx, err))
	switch {
	case inUse != "":
		return drivers.WithHint(fmt.Errorf("%w: %w", drivers.ErrFailed, err), inUse)
	case isCode(err, codePrivilege):
		return drivers.WithHint(err, "the role must own the database and have CREATEDB; or empty the database and restore into it without --clean")
	}
	return err
}

// inUseOf says what a user can do about what keeps a database from being dropped, where ending its sessions is not enough.
func inUseOf(err error) string {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.Code != codeInUse {
		return ""
	}
	switch text := pgErr.Message + " " + pgErr.Detail; {
	case strings.Contains(text, "subscription"):
		return subscriptionHint
	case strings.Contains(text, "prepared transaction"):
		return "end the prepared transactions of the database first: COMMIT PREPARED or ROLLBACK PREPARED what pg_prepared_xacts lists"
	case strings.Contains(text, "replication slot"):
		return "stop what reads the database's logical replication slots (pg_replication_slots), and drop them"
	}
	return ""
}

const subscriptionHint = "a database with subscriptions cannot be dropped: drop them first (where the publisher is gone: " +
	"ALTER SUBSCRIPTION … DISABLE, ALTER SUBSCRIPTION … SET (slot_name = NONE), DROP SUBSCRIPTION)"

// Drop removes a database that was made for a trial, and ends the sessions that are on it. Any other is refused, whatever
// the source says.
func (s *Source) Drop(ctx context.Context, name string) error {
	if s.config.Database != name || !strings.HasPrefix(name, drivers.ScratchPrefix) {
		return fmt.Errorf("drop database %s: %w: it is not the trial's own, %s", s.name(), drivers.ErrInvalid, name)
	}
	m, err := s.connectBeside(ctx, "drop database")
	if err != nil {
		return err
	}
	defer m.close(ctx)
	return m.dropDatabase(ctx, name)
}
