package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"salvor/drivers"
)

// moment is what is known of the time at which a snapshot was taken. What a rescue may take for "before" is asked before it.
type moment struct {
	snapshot string
	clock    time.Time
	oldest   time.Time
	hidden   bool // there may be older transactions
	lsn      string
	standby  bool
}

// oldestQuery gives the database's clock, as it was before the sessions were looked at, and the start of the oldest
// transaction. Sessions that dump change nothing; what is not among them began after the clock.
const oldestQuery = `SELECT pg_catalog.statement_timestamp()::text, COALESCE((SELECT pg_catalog.min(x)::text FROM (
  SELECT xact_start AS x FROM pg_catalog.pg_stat_activity
  WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()
    AND application_name !~ '^salvor (freeze|dump)' AND backend_type <> 'autovacuum worker'
  UNION ALL SELECT prepared FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()) t), '')`

// takeSnapshot takes lead's snapshot, by its first query, and asks side directly before what was so by then.
func takeSnapshot(ctx context.Context, lead, side *conn) (moment, error) {
	var m moment
	standby, err := side.text(ctx, "SELECT pg_catalog.pg_is_in_recovery()")
	if err != nil {
		return m, fmt.Errorf("read facts: %w", classify(err))
	}
	m.standby = standby == "t"
	lsn := "pg_catalog.pg_current_wal_insert_lsn()"
	if m.standby {
		lsn = "pg_catalog.pg_last_wal_replay_lsn()"
	}
	var sees string
	err = errors.Join(
		side.optional(ctx, &sees, "SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')"),
		side.optional(ctx, &m.lsn, "SELECT "+lsn),
	)
	if err != nil {
		return m, err
	}
	m.hidden = sees != "t" || m.standby // the primary's transactions cannot be seen at all
	open, err := side.rows(ctx, oldestQuery)
	if err != nil {
		return m, fmt.Errorf("look at open transactions: %w", classify(err))
	}
	// One message of the simple protocol: its time is set before its snapshot is taken.
	results, err := lead.Exec(ctx, "SELECT pg_catalog.statement_timestamp()::text, pg_catalog.txid_current_snapshot()::text").ReadAll()
	if err != nil {
		return m, fmt.Errorf("take snapshot: %w", classify(told(ctx, err)))
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(open) != 1 {
		return m, fmt.Errorf("take snapshot: %w", errNoRow)
	}
	row := results[0].Rows[0]
	m.snapshot = string(row[1])
	if m.clock, err = parseTime(string(row[0])); err != nil {
		return m, fmt.Errorf("take snapshot: %w", err)
	}
	if m.oldest, err = parseTime(open[0][0]); err != nil {
		return m, fmt.Errorf("look at open transactions: %w", err)
	}
	if m.clock.Before(m.oldest) { // somebody has set the clock back
		m.oldest = m.clock
	}
	if open[0][1] == "" {
		return m, nil
	}
	first, err := parseTime(open[0][1])
	if err != nil {
		return m, fmt.Errorf("look at open transactions: %w", err)
	}
	if first.Before(m.oldest) {
		m.oldest = first
	}
	return m, nil
}

// optional is text for what some providers do not tell, or not everybody.
func (c *conn) optional(ctx context.Context, into *string, query string) error {
	text, err := c.text(ctx, query)
	if err != nil && !isCode(err, codePrivilege, codeNoFunction) {
		return fmt.Errorf("read facts: %w", classify(err))
	}
	*into = text
	return nil
}

// parseTime reads a timestamptz in ISO style and UTC.
func parseTime(text string) (time.Time, error) {
	return time.Parse("2006-01-02 15:04:05.999999-07", text)
}

// unreadableObjects lists large objects that the role may not read. There is no function that tells before PostgreSQL 18.
const unreadableObjects = `SELECT pg_catalog.count(*), COALESCE(pg_catalog.min(m.oid::bigint)::text, '') FROM pg_catalog.pg_largeobject_metadata m
WHERE NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER)
  AND pg_catalog.current_setting('lo_compat_privileges') <> 'on'
  AND NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'
    AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))`

// checkReadable tells before anything is read what may not be. (Tables were locked, for which it takes the same privilege.)
func (v *view) checkReadable(ctx context.Context, lead *conn) error {
	for _, t := range v.tables {
		if t.secured && !t.noData && t.kind == "r" {
			return drivers.WithHint(fmt.Errorf("table %s: %w: row security would hide rows from this role", t.label(), drivers.ErrAccess), hintRowSecurity)
		}
	}
	rows, err := lead.rows(ctx, sequencesQuery)
	if err != nil {
		return fmt.Errorf("list sequences: %w", classify(err))
	}
	var refused []string
	for _, cells := range rows {
		q, ok := v.source.options.takesSequence(cells)
		if err := storable(q.schema, q.name); ok && err != nil {
			return fmt.Errorf("list sequences: %w", err)
		}
		if ok && !q.readable && len(refused) < mostRefused {
			refused = append(refused, q.schema+"."+q.name)
		}
	}
	if len(refused) > 0 {
		return drivers.WithHint(fmt.Errorf("read sequences: %w: no SELECT on %s", drivers.ErrAccess, strings.Join(refused, ", ")), hintGrant)
	}
	if v.objects == 0 {
		return nil
	}
	rows, err = lead.rows(ctx, unreadableObjects)
	if err != nil {
		return fmt.Errorf("list large objects: %w", classify(err))
	}
	if n, first := rows[0][0], rows[0][1]; n != "0" {
		return drivers.WithHint(fmt.Errorf("read large objects: %w: no SELECT on %s of them, the first is %s", drivers.ErrAccess, n, first),
			"dump as their owner or a superuser, or GRANT SELECT ON LARGE OBJECT, which pg_read_all_data does not hold")
	}
	return nil
}

// mostRefused bounds how many are named.
const mostRefused = 10

// Hints for what may not be read.
const (
	hintRowSecurity = "dump as the table's owner, or as a role with BYPASSRLS"
	hintGrant       = "grant the role SELECT on it and USAGE on its schema (pg_read_all_data holds for all), or exclude it with exclude_tables"
)
