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
	LSN           string `json:"lsn,omitempty"`
	Timeline      string `json:"timeline,omitempty"`
	// Snapshot is what the view sees, in PostgreSQL's form xmin:xmax:running.
	Snapshot string `json:"snapshot"`
	// Clock is the database's own time of the snapshot.
	Clock time.Time `json:"clock"`
	// Oldest is the start of the oldest transaction that was open then, prepared ones included: what it changes is not in
	// the view, though it may carry times before Clock. OldestHidden tells that the role cannot see those of others.
	Oldest       *time.Time `json:"oldest_transaction,omitempty"`
	OldestHidden bool       `json:"oldest_transaction_hidden,omitempty"`
	Holders      int        `json:"holders"`
	Tables       int        `json:"tables"`
	Size         int64      `json:"size"` // of the tables with TOAST, without indexes
	LargeObjects int        `json:"large_objects,omitempty"`
	WALLevel     string     `json:"wal_level,omitempty"`
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
		err = told(ctx, err)
		// A table that vanished between the list and the lock is not there in the next list.
		again := errors.Is(err, errRewritten) || isCode(err, codeNoTable, codeNoSchema, codeDeadlock)
		if !again || try == freezeTries {
			return nil, fmt.Errorf("freeze database %s: %w", s.config.Database, s.hint(err))
		}
	}
}

// freeze opens the view once.
//
// LOCK TABLE comes before the first query of the transaction: BEGIN and LOCK take no snapshot, so nothing can happen to
// the tables between the snapshot and the lock. What was made since they were listed is locked afterwards, and looked at:
// a relation whose file is not the one that the snapshot knows was truncated or rewritten.
func (s *Source) freeze(ctx context.Context) (_ *view, err error) {
	side, err := s.connect(ctx, "freeze: list")
	if err != nil {
		return nil, s.explain(err)
	}
	defer side.close(ctx)
	listed, err := s.listTables(ctx, side)
	if err != nil {
		return nil, err
	}
	lead, err := s.connect(ctx, "freeze: hold")
	if err != nil {
		return nil, s.explain(err)
	}
	v := &view{source: s, done: make(chan struct{})}
	v.keepers = append(v.keepers, &keeper{conn: lead})
	defer func() {
		if err != nil {
			_ = v.End(ctx)
		}
	}()
	if err := lead.exec(ctx, beginView+fmt.Sprintf("; SET LOCAL lock_timeout = %d", lockWait.Milliseconds())); err != nil {
		return nil, fmt.Errorf("begin: %w", classify(err))
	}
	if err := s.lock(ctx, lead, side, listed, ""); err != nil {
		return nil, err
	}
	if v.tables, err = s.listTables(ctx, lead); err != nil {
		return nil, err
	}
	if err := s.lock(ctx, lead, side, newcomers(listed, v.tables), ""); err != nil {
		return nil, err
	}
	rewritten, err := lead.text(ctx, `SELECT COALESCE(pg_catalog.string_agg(c.oid::pg_catalog.regclass::text, ', '), '')
		FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1::pg_catalog.oid[]) AND c.relkind = 'r' AND c.relfilenode <> 0
		AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid)`, oidsOf(v.tables))
	if err != nil {
		return nil, fmt.Errorf("look at the tables' files: %w", classify(err))
	}
	if rewritten != "" {
		return nil, fmt.Errorf("%w: %s", errRewritten, rewritten)
	}
	if err := s.describeColumns(ctx, lead, v.tables); err != nil {
		return nil, err
	}
	if v.objects, err = s.listLargeObjects(ctx, lead); err != nil {
		return nil, err
	}
	if v.ticket.Snapshots, err = v.export(ctx); err != nil {
		return nil, err
	}
	if err := v.describe(ctx, lead, side); err != nil {
		return nil, err
	}
	return v, nil
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

// lockError says what kept a table from being locked, and who.
func (s *Source) lockError(ctx context.Context, side *conn, tables []*table, err error) error {
	switch {
	case isCode(err, codeLockTimeout) && side != nil:
		who, lookErr := side.text(ctx, `SELECT COALESCE(pg_catalog.string_agg(DISTINCT pg_catalog.format('%s (pid %s, user %s, %s) holds %s',
			COALESCE(NULLIF(a.application_name, ''), 'a session'), l.pid, COALESCE(a.usename, '?'), a.state, l.relation::pg_catalog.regclass), '; '), '')
			FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
			WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted AND l.relation = ANY ($1::pg_catalog.oid[])`, oidsOf(tables))
		if lookErr == nil && who != "" {
			err = fmt.Errorf("%w: %s", err, who)
		}
		return drivers.WithHint(fmt.Errorf("lock tables: %w: %w", drivers.ErrFailed, err), "try again when that session has ended its transaction, or end it")
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
		return drivers.WithHint(err, "row security would hide rows from this role: dump as the table's owner, or as a role with BYPASSRLS")
	case isCode(err, codePrivilege):
		return drivers.WithHint(err, "grant the role SELECT on it (pg_read_all_data holds for all), or exclude it with exclude_tables")
	}
	return err
}

// describe reads the facts. Most of them come from a session beside the view's, where a missing privilege ends nothing.
func (v *view) describe(ctx context.Context, lead, side *conn) error {
	f := facts{
		Version: lead.ParameterStatus("server_version"), VersionNumber: lead.version, Database: v.source.config.Database,
		Encoding: lead.ParameterStatus("server_encoding"), Holders: len(v.keepers), Tables: len(v.tables), LargeObjects: len(v.objects),
	}
	for _, t := range v.tables {
		f.Size += t.total
	}
	rows, err := lead.rows(ctx, `SELECT pg_catalog.txid_current_snapshot()::text, pg_catalog.now()::text, pg_catalog.pg_is_in_recovery()::text,
		pg_catalog.current_setting('wal_level')`)
	if err != nil {
		return fmt.Errorf("read facts: %w", classify(err))
	}
	f.Snapshot, f.Standby, f.WALLevel = rows[0][0], rows[0][2] == "true", rows[0][3]
	if f.Clock, err = parseTime(rows[0][1]); err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	lsn := "pg_catalog.pg_current_wal_insert_lsn()"
	if f.Standby {
		lsn = "pg_catalog.pg_last_wal_replay_lsn()"
	}
	optional := func(into *string, query string) error {
		text, err := side.text(ctx, query)
		if err != nil && !isCode(err, codePrivilege, codeNoFunction) {
			return fmt.Errorf("read facts: %w", classify(err))
		}
		*into = text
		return nil
	}
	var oldest, sees string
	err = errors.Join(
		optional(&f.LSN, "SELECT "+lsn),
		optional(&f.System, "SELECT system_identifier FROM pg_catalog.pg_control_system()"),
		optional(&f.Timeline, "SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()"),
		optional(&oldest, `SELECT COALESCE(pg_catalog.min(x)::text, '') FROM (
			SELECT xact_start AS x FROM pg_catalog.pg_stat_activity
			WHERE datname = pg_catalog.current_database() AND application_name NOT LIKE 'salvor freeze%' AND pid <> pg_catalog.pg_backend_pid()
			UNION ALL SELECT prepared FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()) t`),
		optional(&sees, "SELECT (pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE'))::text"),
	)
	if err != nil {
		return err
	}
	f.OldestHidden = sees != "true"
	if oldest != "" {
		at, err := parseTime(oldest)
		if err != nil {
			return fmt.Errorf("read facts: %w", err)
		}
		f.Oldest = &at
	}
	v.clock = f.Clock
	v.encoding = lead.ParameterStatus("client_encoding")
	v.system = f.System
	v.facts, err = json.Marshal(f)
	if err != nil {
		return fmt.Errorf("describe view: %w", err)
	}
	return v.plan(ctx, lead)
}

// parseTime reads a timestamptz in ISO style and UTC.
func parseTime(text string) (time.Time, error) {
	return time.Parse("2006-01-02 15:04:05.999999-07", text)
}
