package mysql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
)

// limitLock makes the server itself let go of the locks of a session that waits for them, or says nothing, for longer than limit: its
// process may be stopped, or its host gone, while everybody waits.
func (c *conn) limitLock(ctx context.Context, limit time.Duration) error {
	seconds := max(int(limit.Seconds()), 1)
	return c.exec(ctx, fmt.Sprintf("SET SESSION lock_wait_timeout=%d, wait_timeout=%d", seconds, seconds+1))
}

// hold executes a statement that holds others up, until ctx ends. Where it has to be had in turns, each waits twice as long as the
// one before, and whoever stood in the way goes on between them.
func (f *freezing) hold(ctx context.Context, sql string) error {
	alone := context.WithoutCancel(ctx) // another session interrupts it
	if !f.plan.turns {
		return f.lock.exec(alone, sql)
	}
	for wait := time.Second; ; wait *= 2 {
		if err := f.lock.exec(alone, fmt.Sprintf("SET SESSION lock_wait_timeout=%d", int(wait.Seconds()))); err != nil {
			return err
		}
		err := f.lock.exec(alone, sql)
		if !isCode(err, codeLockWait) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(turnPause):
		}
	}
}

// turnPause is how long others go on between two turns: enough for those who waited for each other.
const turnPause = 200 * time.Millisecond

// underLock does all that must be of the view's moment.
func (f *freezing) underLock(ctx context.Context) error {
	if err := f.readPosition(ctx, f.lock); err != nil {
		return err
	}
	if err := f.begin(ctx); err != nil {
		return err
	}
	if err := f.keepDefinitions(ctx); err != nil {
		return err
	}
	if err := f.readCounters(ctx); err != nil {
		return err
	}
	return f.spoolOutside(ctx)
}

// gaveUp says that the time was over where it was.
func gaveUp(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errGaveUp) {
		return drivers.WithHint(fmt.Errorf("lock the server: %w: %w: %w", drivers.ErrFailed, errGaveUp, err),
			"try again when whoever has locked a table or changes one has ended, or raise lock_timeout")
	}
	return err
}

// lockError says why the lock could not be had, and who may be in the way.
func (f *freezing) lockError(ctx context.Context, sql string, err error) error {
	what := fmt.Sprintf("lock the server (%s)", sql)
	timeOver := errors.Is(context.Cause(ctx), errGaveUp) || isCode(err, codeLockWait)
	switch {
	case isCode(err, codePrivilege, codeLogin): // 1045 is what Amazon's RDS says of its only administrator
		return fmt.Errorf("%s: %w: %w", what, errNoLock, classify(err))
	case !timeOver && err == nil:
		return context.Cause(ctx)
	case !timeOver:
		return fmt.Errorf("%s: %w", what, classify(told(ctx, err)))
	}
	// Whoever waits behind the lock goes on before anything else is asked.
	f.lock.close()
	who := f.slowest(context.WithoutCancel(ctx))
	return drivers.WithHint(fmt.Errorf("%s: %w: it was not had within %s, and %w%s", what, drivers.ErrFailed, f.source.lockLimit, errGaveUp, who),
		"try again when long statements and transactions have ended, or raise lock_timeout")
}

// slowest names what has been running the longest, as far as the account may see it.
func (f *freezing) slowest(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	list, err := f.side.rows(ctx, `SELECT ID, USER, TIME, COALESCE(STATE, '') FROM information_schema.PROCESSLIST
		WHERE COMMAND IN ('Query', 'Execute') AND ID <> CONNECTION_ID() AND USER NOT IN ('system user', 'event_scheduler') ORDER BY TIME DESC LIMIT 1`)
	if err != nil || len(list) == 0 {
		return ""
	}
	r := list[0]
	return fmt.Sprintf("; the longest statement is of session %s, user %s, since %s seconds (%s)", r[0], r[1], r[2], strings.ToLower(r[3]))
}

// sideLockWait is how long a table's definition is waited for while the view is opened. Somebody who changes a table may wait for
// the server's lock, and keep the table for himself meanwhile; the lock is let go of then, and taken again.
const sideLockWait = 5 * time.Second

// errBeingChanged tells of such a table.
var errBeingChanged = errors.New("a table is being changed")

// guard keeps the definitions of the tables from before anybody has to wait until the view's own sessions do: nothing that asks for
// them under the lock has to wait for whoever changes one.
func (f *freezing) guard(ctx context.Context) error {
	if err := f.side.exec(ctx, "START TRANSACTION"); err != nil {
		return fmt.Errorf("begin: %w", classify(err))
	}
	if err := f.touch(ctx, f.side); err != nil {
		return err
	}
	return f.checkVisible(ctx)
}

// keepDefinitions makes the keepers touch every table, so that whoever wants to change one waits until the view ends.
func (f *freezing) keepDefinitions(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, session := range f.sessions {
		if session.keeps {
			group.Go(func() error { return f.touch(ctx, session.conn) })
		}
	}
	return group.Wait()
}

// touch reads nothing from every table, in the transaction that is open.
func (f *freezing) touch(ctx context.Context, c *conn) error {
	var list []string
	flush := func() error {
		if len(list) == 0 {
			return nil
		}
		_, err := c.rows(ctx, strings.Join(list, " UNION ALL "))
		list = list[:0]
		switch {
		case isCode(err, codeTableDenied, codeColumnDenied):
			return drivers.WithHint(classify(err), hintSelect)
		case isCode(err, codeLockWait):
			return fmt.Errorf("%w: %w", errBeingChanged, err)
		case err != nil:
			return fmt.Errorf("touch tables: %w", classify(err))
		}
		return nil
	}
	for _, t := range f.tables {
		if t.kind != baseTable || !hasOwnRows(t.engine) {
			continue
		}
		if list = append(list, "(SELECT 1 FROM "+ident(t.name)+" LIMIT 0)"); len(list) == definitionBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}
