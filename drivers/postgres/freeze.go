package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"salvor/drivers"
)

// facts is what the manifest keeps of a view.
type facts struct {
	Version       string `json:"server_version"`
	VersionNumber int    `json:"server_version_num"`
	System        string `json:"system_identifier,omitempty"`
	Database      string `json:"database"`
	Encoding      string `json:"encoding"`
	Standby       bool   `json:"standby,omitempty"`
	Timeline      string `json:"timeline,omitempty"`
	// Snapshot is what the view sees, in PostgreSQL's form xmin:xmax:running.
	Snapshot string `json:"snapshot"`
	// LSN was reached before the snapshot was taken: what comes up to it is in the view.
	LSN string `json:"lsn,omitempty"`
	// Clock is the database's own time directly before the snapshot.
	Clock time.Time `json:"clock"`
	// Oldest is a time before which no transaction began that was open when the snapshot was taken, prepared ones included:
	// what they change is not in the view, though it may carry times from then on. OldestHidden tells that there may be some
	// that it does not count: those of others, where the role cannot see them, and of a standby's primary.
	Oldest       time.Time `json:"oldest_transaction"`
	OldestHidden bool      `json:"oldest_transaction_hidden,omitempty"`
	Holders      int       `json:"holders"`
	Tables       int       `json:"tables"`
	Size         int64     `json:"size"` // of the tables with TOAST, without indexes
	LargeObjects int64     `json:"large_objects,omitempty"`
	// WithoutRows is the number of unlogged tables, of which a standby has the definition alone.
	WithoutRows int    `json:"unlogged_without_rows,omitempty"`
	WALLevel    string `json:"wal_level,omitempty"`
}

const (
	freezeTries = 8
	lockWait    = 30 * time.Second
)

// errRewritten tells that a table was truncated or rewritten between the snapshot and the lock: it would read as empty.
var errRewritten = errors.New("a table was rewritten while the view was opened")

// Freeze opens a snapshot that holds every table that is dumped. It waits up to 30 seconds for whoever has locked one.
func (s *Source) Freeze(ctx context.Context) (drivers.View, error) {
	for try := 1; ; try++ {
		v, err := s.freeze(ctx)
		if err == nil {
			return v, nil
		}
		if !mayPass(err) || ctx.Err() != nil || try == freezeTries {
			return nil, s.freezeError(ctx, err)
		}
	}
}

// GetReady is the first part of Freeze: all tables are locked, the snapshot is not yet taken.
func (s *Source) GetReady(ctx context.Context) (drivers.Ready, error) {
	for try := 1; ; try++ {
		r, err := s.ready(ctx)
		if err == nil {
			return r, nil
		}
		if !mayPass(err) || ctx.Err() != nil || try == freezeTries {
			return nil, s.freezeError(ctx, err)
		}
	}
}

func (s *Source) freezeError(ctx context.Context, err error) error {
	return fmt.Errorf("freeze database %s: %w", s.config.Database, s.hint(told(ctx, err)))
}

// mayPass tells whether a view is to be opened anew: a table that vanished between the list and the lock is not there in the
// next list.
func mayPass(err error) bool {
	return errors.Is(err, errRewritten) || isCode(err, codeNoTable, codeNoSchema, codeDeadlock)
}

func (s *Source) freeze(ctx context.Context) (*view, error) {
	r, err := s.ready(ctx)
	if err != nil {
		return nil, err
	}
	defer r.End(ctx)
	if r.moment, err = takeSnapshot(ctx, r.lead, r.side); err != nil {
		return nil, err
	}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	v := r.view
	r.view = nil
	return v, nil
}

// ready is a view whose snapshot is not yet taken.
//
// LOCK TABLE comes before the first query of the transaction: BEGIN and LOCK take no snapshot, so nothing can happen to
// the tables between the snapshot and the lock. What was made since they were listed is locked afterwards, and looked at:
// a relation whose file is not the one that the snapshot knows was truncated or rewritten. What the session beside it asks
// waits for no table: only the locks do, and they say for whom.
type ready struct {
	view       *view // nil once it was handed on
	lead, side *conn
	listed     []*table
	moment     moment
}

func (s *Source) ready(ctx context.Context) (_ *ready, err error) {
	side, err := s.connect(ctx, "freeze: list")
	if err != nil {
		return nil, s.explain(err)
	}
	r := &ready{side: side}
	defer func() {
		if err != nil {
			r.End(ctx)
		}
	}()
	if err := side.exec(ctx, fmt.Sprintf("SET lock_timeout = %d", s.lockWait.Milliseconds())); err != nil {
		return nil, classify(err)
	}
	if err := s.checkPrograms(ctx, side.version); err != nil {
		return nil, err
	}
	if r.listed, err = s.listTables(ctx, side); err != nil {
		return nil, err
	}
	if r.lead, err = s.connect(ctx, "freeze: hold"); err != nil {
		return nil, s.explain(err)
	}
	r.view = &view{source: s, done: make(chan struct{}), keepers: []*keeper{{conn: r.lead}}}
	if err := r.lead.exec(ctx, beginView+fmt.Sprintf("; SET LOCAL lock_timeout = %d", s.lockWait.Milliseconds())); err != nil {
		return nil, fmt.Errorf("begin: %w", classify(err))
	}
	return r, s.lock(ctx, r.lead, side, r.listed, "")
}

// Take takes the snapshot.
func (r *ready) Take(ctx context.Context) (err error) {
	if r.moment, err = takeSnapshot(ctx, r.lead, r.side); err != nil {
		return r.view.source.freezeError(ctx, err)
	}
	return nil
}

// View opens the view. What was made and changed while it got ready may spoil it.
func (r *ready) View(ctx context.Context) (drivers.View, error) {
	v := r.view
	defer r.End(ctx)
	if err := r.open(ctx); err != nil {
		if mayPass(err) {
			err = fmt.Errorf("%w: %w", drivers.ErrViewLost, err)
		}
		return nil, v.source.freezeError(ctx, err)
	}
	r.view = nil
	return v, nil
}

// End ends the sessions that no view has.
func (r *ready) End(ctx context.Context) {
	r.side.close(ctx)
	if r.view != nil {
		_ = r.view.End(ctx) // nothing was read from it
	}
}

// open completes the view whose snapshot was taken.
func (r *ready) open(ctx context.Context) (err error) {
	v, s, lead, side, m := r.view, r.view.source, r.lead, r.side, r.moment
	if v.tables, err = s.listTables(ctx, lead); err != nil {
		return err
	}
	if err := s.lock(ctx, lead, side, newcomers(r.listed, v.tables), ""); err != nil {
		return err
	}
	rewritten, err := lead.text(ctx, `SELECT COALESCE(pg_catalog.string_agg(c.oid::pg_catalog.regclass::text, ', '), '')
		FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1::pg_catalog.oid[]) AND c.relkind = 'r' AND c.relfilenode <> 0
		AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid)`, oidsOf(v.tables))
	if err != nil {
		return fmt.Errorf("look at the tables' files: %w", classify(err))
	}
	if rewritten != "" {
		return fmt.Errorf("%w: %s", errRewritten, rewritten)
	}
	for _, t := range v.tables {
		if t.unlogged && m.standby && !t.noData {
			t.noData = true // a standby has none of its rows
			v.withoutRows++
		}
	}
	if err := measure(ctx, lead, v.tables); err != nil {
		return err
	}
	if err := s.describeColumns(ctx, lead, v.tables); err != nil {
		return err
	}
	if err := findVias(ctx, lead, v.tables); err != nil {
		return err
	}
	if v.objects, err = s.countLargeObjects(ctx, lead); err != nil {
		return err
	}
	if err := v.checkReadable(ctx, lead); err != nil {
		return err
	}
	if v.ticket.Started, err = lead.text(ctx, startedQuery); err != nil {
		return fmt.Errorf("read facts: %w", classify(err))
	}
	v.ticket.Clock = m.clock
	if v.ticket.Snapshots, err = v.export(ctx); err != nil {
		return err
	}
	return v.describe(ctx, lead, side, m)
}

// checkPrograms tells before anything is read that the schema could not be.
func (s *Source) checkPrograms(ctx context.Context, server int) error {
	if _, err := findProgram(ctx, "pg_dump", server); err != nil {
		return err
	}
	if !s.options.Globals {
		return nil
	}
	_, err := findProgram(ctx, "pg_dumpall", server)
	return err
}

const beginView = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"

func oidsOf(tables []*table) string {
	oids := make([]string, len(tables))
	for i, t := range tables {
		oids[i] = t.oid
	}
	return "{" + strings.Join(oids, ",") + "}"
}

// newcomers are those of the second list that the first lacks.
func newcomers(first, second []*table) []*table {
	known := make(map[string]bool, len(first))
	for _, t := range first {
		known[t.oid+" "+t.qualified()] = true
	}
	var fresh []*table
	for _, t := range second {
		if !known[t.oid+" "+t.qualified()] {
			fresh = append(fresh, t)
		}
	}
	return fresh
}

// lockBatch bounds the length of a LOCK statement.
const lockBatch = 500

// lock locks tables against being dropped, truncated and rewritten. mode is "" or NOWAIT.
func (s *Source) lock(ctx context.Context, c, side *conn, tables []*table, mode string) error {
	for len(tables) > 0 {
		n := min(lockBatch, len(tables))
		names := make([]string, n)
		for i, t := range tables[:n] {
			names[i] = "ONLY " + t.qualified()
		}
		if err := c.exec(ctx, "LOCK TABLE "+strings.Join(names, ", ")+" IN ACCESS SHARE MODE "+mode); err != nil {
			return s.lockError(ctx, side, tables[:n], err)
		}
		tables = tables[n:]
	}
	return nil
}

// lockersQuery names those who keep tables from being read, or wait for that and stand before whoever comes later.
const lockersQuery = `SELECT COALESCE(pg_catalog.string_agg(DISTINCT pg_catalog.format('%s %s %s.%s (pid %s, user %s, %s)',
  COALESCE(NULLIF(a.application_name, ''), 'a session'), CASE WHEN l.granted THEN 'has locked' ELSE 'waits to change' END,
  n.nspname, c.relname, l.pid, COALESCE(a.usename, '?'), COALESCE(a.state, '?')), '; '), '')
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation = ANY ($1::pg_catalog.oid[])
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())`

// lockError says what kept a table from being locked, and who.
func (s *Source) lockError(ctx context.Context, side *conn, tables []*table, err error) error {
	switch {
	case isCode(err, codeLockTimeout) && side != nil:
		who, lookErr := side.text(ctx, lockersQuery, oidsOf(tables))
		if lookErr == nil && who != "" {
			err = fmt.Errorf("%w: %s", err, who)
		}
		return drivers.WithHint(fmt.Errorf("lock tables: %w: %w", drivers.ErrFailed, err),
			"try again when that session has ended its transaction, end it, or exclude the table with exclude_tables")
	case isCode(err, codeMemory):
		return drivers.WithHint(fmt.Errorf("lock %d tables: %w", len(tables), classify(err)), "raise the server's max_locks_per_transaction")
	}
	return fmt.Errorf("lock tables: %w", classify(err))
}

// hint gives an error of reading what a user can do.
func (s *Source) hint(err error) error {
	var has interface{ Hint() string }
	if errors.As(err, &has) {
		return err
	}
	switch {
	case isCode(err, codePrivilege) && strings.Contains(err.Error(), "row-level security"):
		return drivers.WithHint(err, "row security would hide rows from this role: "+hintRowSecurity)
	case isCode(err, codePrivilege):
		return drivers.WithHint(err, hintGrant)
	}
	return err
}

// describe reads the facts. Most of them come from a session beside the view's, where a missing privilege ends nothing.
func (v *view) describe(ctx context.Context, lead, side *conn, m moment) error {
	f := facts{
		Version: lead.ParameterStatus("server_version"), VersionNumber: lead.version, Database: v.source.config.Database,
		Encoding: lead.ParameterStatus("server_encoding"), Holders: len(v.keepers), Tables: len(v.tables), LargeObjects: v.objects,
		Snapshot: m.snapshot, Clock: m.clock, Oldest: m.oldest, OldestHidden: m.hidden, LSN: m.lsn, Standby: m.standby,
		WithoutRows: v.withoutRows,
	}
	for _, t := range v.tables {
		f.Size += t.total
	}
	err := errors.Join(
		side.optional(ctx, &f.WALLevel, "SELECT pg_catalog.current_setting('wal_level')"),
		side.optional(ctx, &f.System, "SELECT system_identifier FROM pg_catalog.pg_control_system()"),
		side.optional(ctx, &f.Timeline, "SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()"),
	)
	if err != nil {
		return err
	}
	v.clock, v.encoding = f.Clock, f.Encoding
	v.ticket.System = f.System
	v.facts, err = json.Marshal(f)
	if err != nil {
		return fmt.Errorf("describe view: %w", err)
	}
	return v.plan(ctx, lead)
}
