package mysql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
)

// facts is what the manifest keeps of a view.
type facts struct {
	Version       string `json:"server_version"`
	VersionNumber int    `json:"server_version_num"`
	Flavour       string `json:"flavour"`
	ServerID      string `json:"server_id,omitempty"`
	ServerUUID    string `json:"server_uuid,omitempty"`
	Database      string `json:"database"`
	Charset       string `json:"charset"`
	Collation     string `json:"collation"`
	TimeZone      string `json:"time_zone,omitempty"`
	// Method is how the sessions came to see one moment: "lock", "position" or "one session".
	Method   string `json:"method"`
	Sessions int    `json:"sessions"`
	// GTID and the position in the binary log are those of the view: what comes up to them is in it.
	GTID     string `json:"gtid,omitempty"`
	File     string `json:"binlog_file,omitempty"`
	Position string `json:"binlog_position,omitempty"`
	// Locked is for how many milliseconds commits had to wait.
	Locked int64 `json:"locked_ms,omitempty"`
	// Clock is the database's own time directly before the view was opened.
	Clock time.Time `json:"clock"`
	// Oldest is a time before which no transaction began that was open then: what they change is not in the view, though it may
	// carry times from then on. OldestHidden tells that the account may not see them.
	Oldest       time.Time `json:"oldest_transaction"`
	OldestHidden bool      `json:"oldest_transaction_hidden,omitempty"`
	Tables       int       `json:"tables"`
	Size         int64     `json:"size"`
	// Inconsistent are tables without transactions that are read as they are when their turn comes; Current those of whose
	// history only the rows of today are dumped; WithoutRows those whose engine keeps rows elsewhere.
	Inconsistent []string `json:"inconsistent_tables,omitempty"`
	Current      []string `json:"without_history,omitempty"`
	WithoutRows  []string `json:"without_rows,omitempty"`
	// Unknown are accounts that the server's table lists and the server does not know, so that they are not dumped.
	Unknown []string `json:"unknown_accounts,omitempty"`
}

// The ways of opening a view.
const (
	methodLock     = "lock"
	methodPosition = "position"
	methodOne      = "one session"
)

const (
	freezeTries = 5
	// keepers is the number of sessions beside those for parts, which keep the tables' definitions and stand in for the dead.
	keepers = 2
	// mostSpooled bounds the tables without transactions that are read while writers wait.
	mostSpooled = 64 << 20
)

// errNoLock tells that the account may not hold the server still.
var errNoLock = errors.New("the account may not lock the server")

// errGaveUp tells that the lock was not had in time.
var errGaveUp = errors.New("others would have had to wait too long")

// Freeze opens the sessions of a view. Others wait for it for at most the option's lock_timeout; it is tried again, a few times, where a
// table was changed meanwhile.
func (s *Source) Freeze(ctx context.Context) (drivers.View, error) {
	for try := 1; ; try++ {
		v, err := s.freeze(ctx)
		if err == nil {
			return v, nil
		}
		err = told(ctx, err)
		// A table that vanished, or was changed, between the list and the lock is not so in the next list.
		again := ctx.Err() == nil && isCode(err, codeNoTable, codeChangedTable, codeDeadlock, codeNoColumn) || errors.Is(err, errBeingChanged)
		if !again || try == freezeTries {
			return nil, fmt.Errorf("freeze database %s: %w", s.place.database, err)
		}
	}
}

// freezing is a view that is being opened.
type freezing struct {
	*view
	side     *conn // asks what no session of the view may
	lock     *conn // holds the server still
	plan     lockPlan
	sessions []*session
	tables   []*table
	entries  []*entry
	auto     map[string]uint64
	facts    facts
	locked   time.Time
}

// freeze opens the view once. All sessions are connected before anything is locked.
func (s *Source) freeze(ctx context.Context) (_ *view, err error) {
	f := &freezing{view: &view{source: s}}
	defer func() {
		if f.lock != nil {
			f.lock.close() // which lets go of whatever it holds
		}
		if f.side != nil {
			f.side.close()
		}
		if err == nil {
			return
		}
		for _, session := range f.sessions {
			session.close()
		}
		if f.spool != nil {
			err = errors.Join(err, f.spool.close())
		}
	}()
	if f.side, err = s.connect(ctx, "freeze: list"); err != nil {
		return nil, s.explain(err)
	}
	for _, sql := range []string{fmt.Sprintf("SET SESSION lock_wait_timeout=%d", int(sideLockWait.Seconds())), "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"} {
		if err := f.side.exec(ctx, sql); err != nil {
			return nil, fmt.Errorf("prepare session: %w", classify(err))
		}
	}
	f.server = f.side.server
	f.plan = f.server.lockPlan()
	if err := f.connect(ctx, s.sessions+keepers); err != nil {
		return nil, err
	}
	if f.lock, err = s.connect(ctx, "freeze: lock"); err != nil {
		return nil, s.explain(err)
	}
	err = f.openLocked(ctx)
	if errors.Is(err, errNoLock) {
		err = f.openUnlocked(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := f.finish(ctx); err != nil {
		return nil, err
	}
	return f.view, nil
}

// connect opens sessions that have no transaction yet.
func (f *freezing) connect(ctx context.Context, n int) error {
	f.sessions = make([]*session, n)
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range f.sessions {
		group.Go(func() error {
			c, err := f.source.connect(groupCtx, "dump")
			if err != nil {
				return err
			}
			f.sessions[i] = &session{conn: c, keeps: i < keepers || n == 1}
			return c.exec(groupCtx, fmt.Sprintf("SET SESSION lock_wait_timeout=%d", int(sessionLockWait.Seconds())))
		})
	}
	err := group.Wait()
	if err != nil {
		for _, session := range f.sessions {
			if session != nil {
				session.close()
			}
		}
		f.sessions = nil
		return f.source.explain(told(ctx, err))
	}
	return nil
}

// openLocked opens the sessions while the server's lock keeps every commit away.
func (f *freezing) openLocked(ctx context.Context) error {
	limit := f.source.lockLimit
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errGaveUp)
	defer cancel()
	// Whoever waits for the lock makes others wait behind it. The server is told by another session to stop that.
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		f.lock.interrupt(ctx)
	})
	defer func() {
		if !stop() {
			<-stopped
		}
	}()
	hold := func(list []string, optional bool) error {
		for _, sql := range list {
			err := f.hold(ctx, sql)
			if optional && isCode(err, codePrivilege) {
				return nil
			}
			if err != nil || ctx.Err() != nil {
				return f.lockError(ctx, sql, err)
			}
		}
		return nil
	}
	if err := f.lock.limitLock(ctx, limit); err != nil {
		return classify(err)
	}
	if err := hold(f.plan.ddl, false); err != nil {
		return err
	}
	if len(f.plan.ddl) > 0 {
		if err := f.list(ctx); err != nil {
			return gaveUp(ctx, err)
		}
	} else {
		if err := f.listTables(ctx); err != nil {
			return gaveUp(ctx, err)
		}
		if err := f.guard(ctx); err != nil {
			return gaveUp(ctx, err)
		}
	}
	if err := f.checkOutside(); err != nil {
		return err
	}
	if err := f.moment(ctx); err != nil {
		return gaveUp(ctx, err)
	}
	f.locked = time.Now()
	if err := hold(f.plan.all, false); err != nil {
		return err
	}
	if err := hold(f.plan.keep, true); err != nil {
		return err
	}
	if len(f.plan.ddl) == 0 {
		if err := f.checkListed(ctx); err != nil {
			return gaveUp(ctx, err)
		}
	}
	if err := f.underLock(ctx); err != nil {
		f.lock.close() // before anything else is waited for
		return gaveUp(ctx, err)
	}
	f.facts.Locked = time.Since(f.locked).Milliseconds()
	f.facts.Method = methodLock
	// From here on nobody waits any more, whatever becomes of the view.
	allow := f.plan.allow
	if len(allow) == 0 {
		allow = f.plan.release
	}
	for _, sql := range allow {
		if err := f.lock.exec(context.WithoutCancel(ctx), sql); err != nil {
			return fmt.Errorf("unlock: %w", classify(err))
		}
	}
	if len(f.plan.allow) == 0 {
		return nil
	}
	// What is still held is in nobody's way but that of who changes definitions, which are read for as long as it takes.
	if err := f.lock.exec(ctx, fmt.Sprintf("SET SESSION wait_timeout=%d", forever)); err != nil {
		return gaveUp(ctx, classify(err))
	}
	return nil
}

// list reads what there is and how it is defined.
func (f *freezing) list(ctx context.Context) error {
	if err := f.listTables(ctx); err != nil {
		return err
	}
	if err := f.guard(ctx); err != nil {
		return err
	}
	var err error
	f.entries, err = f.source.collect(ctx, f.side, f.tables)
	return err
}

func (f *freezing) listTables(ctx context.Context) error {
	var err error
	f.tables, err = f.source.listTables(ctx, f.side)
	return err
}

// checkListed tells whether the tables are those that were listed before the lock: a new one is in the view's moment too.
func (f *freezing) checkListed(ctx context.Context) error {
	names, err := f.side.tableNames(ctx)
	if err != nil {
		return err
	}
	for _, t := range f.tables {
		delete(names, t.name)
	}
	for name := range names {
		if !strings.HasPrefix(name, progressPrefix) && f.source.options.takesTable(name) {
			return fmt.Errorf("%w: %s is new", errBeingChanged, name)
		}
	}
	return nil
}

// checkOutside tells whether tables without transactions can be dumped as of the view's moment.
func (f *freezing) checkOutside() error {
	var size int64
	var names []string
	for _, t := range f.tables {
		if t.outside && !t.noData {
			size += t.size
			names = append(names, fmt.Sprintf("%s (%s)", t.name, t.engine))
		}
	}
	if size <= mostSpooled || f.source.options.AllowInconsistent {
		return nil
	}
	return fmt.Errorf("%w: tables without transactions, of %d MiB in all, are not in a snapshot: %s", errOutside, size>>20, strings.Join(names[:min(len(names), 10)], ", "))
}

// errOutside tells of tables that no snapshot holds.
var errOutside = drivers.WithHint(drivers.ErrFailed,
	"ALTER TABLE … ENGINE=InnoDB, exclude them (exclude_tables, exclude_table_data), or dump them as they are when they are read (allow_inconsistent: true)")

// begin begins the transactions of all sessions.
func (f *freezing) begin(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, session := range f.sessions {
		group.Go(func() error { return session.exec(ctx, beginSQL) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("begin: %w", classify(told(ctx, err)))
	}
	return nil
}

// definitionBatch bounds the length of a statement that touches tables.
const definitionBatch = 50

// spoolOutside reads tables without transactions, while nobody can write to them.
func (f *freezing) spoolOutside(ctx context.Context) error {
	for _, t := range f.tables {
		if !t.outside || t.noData {
			continue
		}
		if f.source.options.AllowInconsistent && t.size > mostSpooled {
			f.facts.Inconsistent = append(f.facts.Inconsistent, t.name)
			continue
		}
		if f.spool == nil {
			var err error
			if f.spool, err = newSpool(f.source.scratch); err != nil {
				return err
			}
		}
		r := t.whole()
		if err := f.spool.add(ctx, f.side, &r, 4*mostSpooled); err != nil {
			return err
		}
		t.spool = r.Spool
	}
	return nil
}

// finish reads what need not be of the moment, and lists the parts.
func (f *freezing) finish(ctx context.Context) error {
	if f.entries == nil || len(ofKinds(f.entries, entrySetval)) == len(f.entries) {
		// The server has no lock for definitions. The tables' are kept by the sessions; the others are read now.
		states := f.entries
		entries, err := f.source.collect(ctx, f.side, f.tables)
		if err != nil {
			return err
		}
		f.entries = append(entries, states...)
	}
	if f.facts.Method == methodLock && len(f.plan.allow) > 0 {
		for _, sql := range f.plan.release {
			if err := f.lock.exec(ctx, sql); err != nil && !isCode(err, codePrivilege) {
				return fmt.Errorf("unlock: %w", classify(err))
			}
		}
	}
	db, err := f.describe(ctx)
	if err != nil {
		return err
	}
	if err := f.writeSchema(); err != nil {
		return err
	}
	if f.source.options.Globals {
		if f.globals, f.facts.Unknown, err = collectGlobals(ctx, f.side); err != nil {
			return err
		}
	}
	f.pool = newPool(max(len(f.sessions)-keepers, 1), f.sessions)
	for _, t := range f.tables {
		if t.noData && t.kind == baseTable && !hasOwnRows(t.engine) {
			f.facts.WithoutRows = append(f.facts.WithoutRows, t.name)
		}
		if t.versioned == versionedByTransaction {
			f.facts.Current = append(f.facts.Current, t.name)
		}
	}
	if f.view.facts, err = json.Marshal(f.facts); err != nil {
		return fmt.Errorf("describe view: %w", err)
	}
	return f.listParts(ctx, db)
}

// writeSchema puts the counters into the definitions, orders them, and writes them.
func (f *freezing) writeSchema() error {
	for _, e := range f.entries {
		if e.Kind != entryTable {
			continue
		}
		sql, err := withAutoIncrement(e.sql, f.auto[e.Name])
		if err != nil {
			return fmt.Errorf("read %s: %w", e.label(), err)
		}
		e.sql = sql
	}
	ordered := ofKinds(f.entries, entrySequence, entrySetval)
	ordered = append(ordered, ofKinds(f.entries, entryTable, entryPackage, entryBody, entryFunction, entryRoutine, entryView, entryTrigger, entryEvent)...)
	var err error
	f.schema, err = writeEntries(ordered)
	return err
}
