package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"salvor/drivers"
)

// moment asks for the clock and the oldest open transaction, directly before the view is opened: what a rescue may take for
// "before" is asked before it.
func (f *freezing) moment(ctx context.Context) error {
	clock, err := f.side.text(ctx, "SELECT UTC_TIMESTAMP(6)")
	if err != nil {
		return fmt.Errorf("read clock: %w", classify(err))
	}
	if f.facts.Clock, err = time.Parse("2006-01-02 15:04:05.999999", clock); err != nil {
		return fmt.Errorf("read clock: %w", err)
	}
	f.facts.Oldest = f.facts.Clock
	// The table's times are of the system's zone, whatever the session's is. Sessions that dump change nothing.
	age, err := f.side.text(ctx, `SELECT COALESCE(MAX(TIMESTAMPDIFF(SECOND, trx_started, CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM'))), 0)
		FROM information_schema.INNODB_TRX WHERE trx_is_read_only = 0`)
	switch {
	case isCode(err, codePrivilege, codeTableDenied):
		f.facts.OldestHidden = true
		return nil
	case err != nil:
		return fmt.Errorf("look at open transactions: %w", classify(err))
	}
	seconds, err := strconv.ParseInt(age, 10, 64)
	if err != nil {
		return fmt.Errorf("look at open transactions: %w", err)
	}
	if seconds > 0 {
		f.facts.Oldest = f.facts.Clock.Add(-time.Duration(seconds+1) * time.Second)
	}
	return nil
}

// readPosition notes where the binary log is.
func (f *freezing) readPosition(ctx context.Context, c *conn) error {
	gtid, err := c.optional(ctx, f.server.gtidSQL())
	if err != nil {
		return fmt.Errorf("read GTID: %w", classify(err))
	}
	f.facts.GTID = gtid
	list, err := c.rows(ctx, f.server.positionSQL())
	switch {
	case isCode(err, codePrivilege):
		return nil // it takes BINLOG MONITOR, or REPLICATION CLIENT
	case err != nil:
		return fmt.Errorf("read position of the binary log: %w", classify(err))
	}
	if len(list) > 0 && len(list[0]) > 1 {
		f.facts.File, f.facts.Position = list[0][0], list[0][1]
	}
	return nil
}

// positionTries bounds how often sessions are opened without a lock until they see one moment.
const positionTries = 10

// openUnlocked opens the view without a lock: sessions that stand at one position of the binary log see one moment. Where the
// server cannot tell the position, one session has to do: it sees one moment by itself.
func (f *freezing) openUnlocked(ctx context.Context) error {
	if err := f.list(ctx); err != nil {
		return err
	}
	if err := f.refuseOutside(); err != nil {
		return err
	}
	for range positionTries {
		if err := f.moment(ctx); err != nil {
			return err
		}
		same, known, err := f.beginTogether(ctx)
		if err != nil {
			return err
		}
		if !known {
			break
		}
		if same {
			f.facts.Method = methodPosition
			return f.afterUnlocked(ctx)
		}
		for _, session := range f.sessions {
			if err := session.exec(ctx, "ROLLBACK"); err != nil {
				return fmt.Errorf("begin again: %w", classify(err))
			}
		}
	}
	for _, session := range f.sessions[1:] {
		session.close()
	}
	f.sessions = f.sessions[:1]
	f.sessions[0].keeps = true
	if err := f.sessions[0].exec(ctx, "ROLLBACK"); err != nil {
		return fmt.Errorf("begin again: %w", classify(err))
	}
	if err := f.moment(ctx); err != nil {
		return err
	}
	if err := f.begin(ctx); err != nil {
		return err
	}
	f.facts.Method = methodOne
	f.facts.GTID, f.facts.File, f.facts.Position = "", "", ""
	return f.afterUnlocked(ctx)
}

// afterUnlocked keeps definitions from now on. What was changed since the session began, the server refuses to read.
func (f *freezing) afterUnlocked(ctx context.Context) error {
	if err := f.keepDefinitions(ctx); err != nil {
		return err
	}
	return f.readCounters(ctx)
}

// refuseOutside refuses tables without transactions: without a lock somebody may write to them.
func (f *freezing) refuseOutside() error {
	for _, t := range f.tables {
		if !t.outside || t.noData {
			continue
		}
		if !f.source.options.AllowInconsistent {
			return drivers.WithHint(fmt.Errorf("table %s (%s) has no transactions, and the account may not lock the server: %w", t.name, t.engine, drivers.ErrAccess),
				f.server.lockHint()+"; or exclude the table (exclude_tables), or dump it as it is when it is read (allow_inconsistent: true)")
		}
		f.facts.Inconsistent = append(f.facts.Inconsistent, t.name)
	}
	return nil
}

// beginTogether begins the transactions of all sessions, and tells whether they see the same. MariaDB says of each snapshot which
// position of the binary log it is; MySQL says which transactions there are, before and after all.
func (f *freezing) beginTogether(ctx context.Context) (same, known bool, err error) {
	hidden, err := f.side.text(ctx, f.server.hiddenSQL())
	if err != nil {
		return false, false, fmt.Errorf("look whether the binary log has everything: %w", classify(err))
	}
	sql := f.server.snapshotPositionSQL()
	switch {
	case hidden == "1":
		return false, false, f.begin(ctx)
	case sql == "":
		return f.beginStill(ctx)
	}
	if err := f.begin(ctx); err != nil {
		return false, false, err
	}
	var first [][]string
	for i, session := range f.sessions {
		list, err := session.rows(ctx, sql)
		if err != nil {
			return false, false, fmt.Errorf("read the snapshot's position: %w", classify(err))
		}
		if i == 0 {
			first = list
		}
		if !slices.EqualFunc(first, list, slices.Equal[[]string]) {
			return false, true, nil
		}
	}
	for _, r := range first {
		switch strings.ToLower(r[0]) {
		case "binlog_snapshot_file":
			f.facts.File = r[1]
		case "binlog_snapshot_position":
			f.facts.Position = r[1]
		}
	}
	return f.facts.File != "", f.facts.File != "", nil // a server without a binary log has no position
}

// stillTime is for how long the binary log must not have moved, before the transactions begin and after.
const stillTime = 200 * time.Millisecond

// beginStill begins the transactions of all sessions while the binary log stands still. MySQL moves the log's position first, commits
// then, and notes the GTID last: a transaction that is between these, which some of the sessions see, moves neither at the time. So
// what was written before must have had time to be seen, and what was seen to be noted.
func (f *freezing) beginStill(ctx context.Context) (same, known bool, err error) {
	type position struct{ gtid, file, position string }
	var stand position
	for i := range 4 {
		switch i {
		case 1, 3:
			select {
			case <-ctx.Done():
				return false, false, context.Cause(ctx)
			case <-time.After(stillTime):
			}
		case 2:
			if err := f.begin(ctx); err != nil {
				return false, false, err
			}
		}
		if err := f.readPosition(ctx, f.side); err != nil {
			return false, false, err
		}
		now := position{f.facts.GTID, f.facts.File, f.facts.Position}
		if i > 0 && now != stand {
			return false, true, nil
		}
		stand = now
	}
	known = stand.gtid != "" || stand.file != ""
	return known, known, nil
}

// describe reads the facts that do not change.
func (f *freezing) describe(ctx context.Context) (*database, error) {
	list, err := f.side.catalog(ctx, f.server.databaseSQL())
	if err != nil || len(list) != 1 {
		return nil, fmt.Errorf("describe database: %w", classify(errors.Join(err, ctx.Err())))
	}
	db := &database{Charset: list[0][0], Collation: list[0][1], Comment: list[0][2]}
	fact := &f.facts
	fact.Version, fact.VersionNumber, fact.Database = f.server.text, f.server.version, f.source.place.database
	fact.Charset, fact.Collation = db.Charset, db.Collation
	fact.Flavour = "mysql"
	if f.server.flavour == mariadb {
		fact.Flavour = "mariadb"
	}
	fact.Sessions = len(f.sessions)
	for _, t := range f.tables {
		if t.kind == baseTable {
			fact.Tables++
			fact.Size += t.size
		}
	}
	for _, o := range []struct {
		into *string
		sql  string
	}{
		{&fact.ServerID, "SELECT @@GLOBAL.server_id"},
		{&fact.TimeZone, "SELECT IF(@@GLOBAL.time_zone = 'SYSTEM', @@GLOBAL.system_time_zone, @@GLOBAL.time_zone)"},
		{&fact.ServerUUID, "SELECT @@GLOBAL.server_uuid"},
	} {
		if *o.into, err = f.side.optional(ctx, o.sql); err != nil {
			return nil, fmt.Errorf("read facts: %w", classify(err))
		}
	}
	return db, nil
}
