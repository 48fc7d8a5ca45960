package mysql

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync/atomic"

	"salvor/drivers"
)

// The restore's own tables are in the target, so that what is done and what says so change together. Prepare makes them, Load
// fails without them, Finish drops them.
const (
	progressRun     = progressPrefix + "run"     // whose restore it is: one row
	progressDone    = progressPrefix + "done"    // what is done
	progressTable   = progressPrefix + "table"   // tables, with the statements for their indexes
	progressSession = progressPrefix + "session" // sessions of the run, for attempts that come later
	progressProblem = progressPrefix + "problem" // what could not be restored
	progressAccount = progressPrefix + "account" // accounts that were there before
)

// progressSQL makes them. A name is compared byte by byte, whatever the database's collation is. Each has a primary key, without
// which some servers take no table.
func progressSQL() []string {
	const end = ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin ROW_FORMAT=DYNAMIC"
	return []string{
		"CREATE TABLE " + progressDone + " (item VARCHAR(700) NOT NULL PRIMARY KEY, tbl VARCHAR(64) NOT NULL, KEY (tbl)" + end,
		"CREATE TABLE " + progressTable + " (tbl VARCHAR(64) NOT NULL PRIMARY KEY, parts BIGINT NOT NULL, indexes LONGBLOB NOT NULL" + end,
		"CREATE TABLE " + progressSession + " (id BIGINT NOT NULL, task VARCHAR(700) NOT NULL, token VARCHAR(100) NOT NULL, name VARCHAR(64) NOT NULL PRIMARY KEY" + end,
		"CREATE TABLE " + progressProblem + " (seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, name LONGTEXT NOT NULL, message LONGTEXT NOT NULL" + end,
		"CREATE TABLE " + progressAccount + " (name VARCHAR(400) NOT NULL PRIMARY KEY" + end,
		"CREATE TABLE " + progressRun + " (one INT NOT NULL PRIMARY KEY, id VARCHAR(200) NOT NULL, selection INT NOT NULL, fresh INT NOT NULL" + end,
	}
}

// dropProgressSQL drops them: the one that says whose restore it is, first.
const dropProgressSQL = "DROP TABLE IF EXISTS " + progressRun + ", " + progressDone + ", " + progressTable + ", " + progressSession + ", " + progressProblem + ", " + progressAccount

// The tasks that are not parts, as sessions are named after them.
const (
	taskPrepare = "prepare"
	taskFinish  = "finish"
)

// work is a restore's session on the target.
type work struct {
	*conn
	run   string
	task  string // what of the run it works on: one part, Prepare, Finish
	token string // of the attempt at it
	keep  bool   // of the target's Continue
	again bool   // another attempt may have done a part of it
	trial bool   // what it makes is only tried
}

// begin opens a session of an attempt at a task of a run. An attempt without a token gets one.
func (s *Source) begin(ctx context.Context, target drivers.Target, task, token string) (*work, error) {
	if token == "" {
		token = rand.Text()
	}
	c, err := s.connect(ctx, "restore "+target.Run+" "+task)
	if err != nil {
		return nil, s.explain(err)
	}
	w := &work{conn: c, run: target.Run, task: task, token: token, keep: target.Continue}
	if err := w.settleWriter(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// settleWriter sets what a session that writes needs.
func (w *work) settleWriter(ctx context.Context) error {
	list := w.server.writeSQL()
	if w.source.options.SkipBinlog {
		list = append(list, "SET SESSION sql_log_bin=0")
	}
	for _, sql := range list {
		if err := w.exec(ctx, sql); err != nil {
			if isCode(err, codePrivilege) && strings.Contains(sql, "sql_log_bin") {
				return drivers.WithHint(fmt.Errorf("keep the restore out of the binary log: %w", classify(err)),
					"grant the account BINLOG ADMIN (MariaDB) or SYSTEM_VARIABLES_ADMIN (MySQL), or leave skip_binlog out")
			}
			return fmt.Errorf("prepare session: %w", classify(err))
		}
	}
	for _, sql := range w.server.wishSQL() {
		if err := w.exec(ctx, sql); err != nil && !isServers(err) {
			return fmt.Errorf("prepare session: %w", classify(err))
		}
	}
	return nil
}

// sessions counts the names that the sessions of this process have had.
var sessions atomic.Int64 //nolint:gochecknoglobals // names must not repeat within a process

// register makes the session known to later attempts at the task. Its name is a lock of the server's that it holds as long as it
// lives, and the server says who holds it: of a number alone nobody could say whose it is.
func (w *work) register(ctx context.Context) error {
	name := fmt.Sprintf("salvor_%s_%d", rand.Text()[:20], sessions.Add(1))
	if got, err := w.text(ctx, "SELECT GET_LOCK("+literal(name)+", 0)"); err != nil || got != "1" {
		return fmt.Errorf("name the session: %w", classify(errors.Join(err, ctx.Err())))
	}
	err := w.exec(ctx, fmt.Sprintf("INSERT INTO %s VALUES (%d, %s, %s, %s)", progressSession, w.id, literal(w.task), literal(w.token), literal(name)))
	if isCode(err, codeNoTable) {
		return w.notPrepared()
	}
	if err != nil {
		return fmt.Errorf("note the session: %w", classify(err))
	}
	return nil
}

func (w *work) notPrepared() error {
	return fmt.Errorf("%w: the target is not prepared for this restore", drivers.ErrFailed)
}

// endEarlier ends the sessions of earlier attempts at the task, and returns how many there were. Of two attempts at one task the
// run has given up the earlier one, so the later may end its sessions. Those of other tasks are nobody's to end but Finish's,
// which comes after all of them.
func (w *work) endEarlier(ctx context.Context) (int, error) {
	return w.endSessions(ctx, "task = "+literal(w.task)+" AND token <> "+literal(w.token))
}

func (w *work) endSessions(ctx context.Context, where string) (int, error) {
	list, err := w.rows(ctx, "SELECT id, name FROM "+progressSession+" WHERE "+where)
	if isCode(err, codeNoTable) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for earlier attempts: %w", classify(err))
	}
	n := 0
	for _, r := range list {
		holder, err := w.text(ctx, "SELECT IS_USED_LOCK("+literal(r[1])+")")
		if err != nil {
			return n, fmt.Errorf("look for earlier attempts: %w", classify(err))
		}
		if holder != r[0] || holder == fmt.Sprint(w.id) {
			continue // it has ended
		}
		if err := w.exec(ctx, "KILL "+holder); err != nil && !isCode(err, codeNoThread) {
			return n, fmt.Errorf("end the session of an earlier attempt: %w", classify(err))
		}
		n++
	}
	return n, nil
}

// beside opens another session of the same attempt.
func (w *work) beside(ctx context.Context, target drivers.Target) (*work, error) {
	other, err := w.source.begin(ctx, target, w.task, w.token)
	if err != nil {
		return nil, err
	}
	other.again = w.again
	if err := other.register(ctx); err != nil {
		other.close()
		return nil, err
	}
	return other, nil
}

// claimWait is how many seconds another session's work on the same item is waited for, before somebody looks whose it is.
const claimWait = 1

// errBusy tells that another session works on the item.
var errBusy = errors.New("another session works on it")

// claim begins a transaction by the row that says that the item is done. done tells that it was before, and that no
// transaction is open. Sessions that an earlier attempt at the task left, which would block this one for ever, are ended.
func (w *work) claim(ctx context.Context, item, tbl string) (done bool, err error) {
	for {
		if err := w.exec(ctx, fmt.Sprintf("SET SESSION innodb_lock_wait_timeout=%d", claimWait)); err != nil {
			return false, fmt.Errorf("begin: %w", classify(err))
		}
		if err := w.exec(ctx, "START TRANSACTION"); err != nil {
			return false, fmt.Errorf("begin: %w", classify(err))
		}
		// Of a run that is over nothing can be done any more, however late its process wakes.
		n, err := w.affected(ctx, "INSERT INTO "+progressDone+" SELECT "+literal(item)+", "+literal(tbl)+" FROM "+progressRun+" WHERE id = "+literal(w.run))
		switch {
		case err == nil && n == 1:
			return false, w.exec(ctx, fmt.Sprintf("SET SESSION innodb_lock_wait_timeout=%d", forever/20))
		case err == nil, isCode(err, codeNoTable):
			w.rollback(ctx)
			return false, fmt.Errorf("note %s as done: %w", item, w.notPrepared())
		case isCode(err, codeDuplicate):
			w.rollback(ctx)
			return true, nil
		case !isCode(err, codeLockWait, codeDeadlock):
			w.rollback(ctx)
			return false, fmt.Errorf("note %s as done: %w", item, classify(err))
		}
		w.rollback(ctx)
		if _, err := w.endEarlier(ctx); err != nil {
			return false, err
		}
	}
}

// partItem names a part among what is done: a table may be called what else is noted there.
func partItem(name string) string { return "part/" + name }

// once runs f in a transaction, unless an earlier attempt did. f makes no definitions, which would end the transaction.
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

// manner says what to do about what another session makes at the moment.
type manner int

const (
	waitForOthers manner = iota
	leaveToOthers        // with errBusy
)

// alone runs f, which makes definitions, unless it is done; no other session runs it at the same time. An attempt that was
// ended between the definition and the note repeats it, so f has to take what is there already for done.
func (w *work) alone(ctx context.Context, item, tbl string, how manner, f func() error) error {
	lock := w.lockOf(item)
	for {
		got, err := w.text(ctx, fmt.Sprintf("SELECT GET_LOCK(%s, %d)", lock, claimWait))
		if err != nil {
			return fmt.Errorf("%s: %w", item, classify(err))
		}
		if got == "1" {
			break
		}
		ended, err := w.endEarlier(ctx)
		if err != nil {
			return err
		}
		if ended == 0 && how == leaveToOthers {
			return fmt.Errorf("%s: %w", item, errBusy)
		}
	}
	err := w.unlessDone(ctx, item, tbl, f)
	if w.broken {
		return err
	}
	unlock, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if _, unlockErr := w.text(unlock, "SELECT RELEASE_LOCK("+lock+")"); err == nil && unlockErr != nil {
		return fmt.Errorf("%s: %w", item, classify(unlockErr))
	}
	return err
}

// lockOf is the name, quoted, of the lock of those who work on an item.
func (w *work) lockOf(item string) string {
	return literal(fmt.Sprintf("salvor_%08x_%08x_%08x", crc32.ChecksumIEEE([]byte(w.run)), crc32.ChecksumIEEE([]byte(w.source.place.database)), crc32.ChecksumIEEE([]byte(item))))
}

// stateOf tells of an item, by "10" or "11", that it is to be done or that it is done; by any other text that the run is over.
func (w *work) stateOf(ctx context.Context, item string) (string, error) {
	return w.text(ctx, "SELECT CONCAT((SELECT COUNT(*) FROM "+progressRun+" WHERE id = "+literal(w.run)+"), (SELECT COUNT(*) FROM "+progressDone+" WHERE item = "+literal(item)+"))")
}

func (w *work) unlessDone(ctx context.Context, item, tbl string, f func() error) error {
	state, err := w.stateOf(ctx, item)
	switch {
	case isCode(err, codeNoTable) || err == nil && !strings.HasPrefix(state, "1"):
		return fmt.Errorf("%s: %w", item, w.notPrepared())
	case err != nil:
		return fmt.Errorf("%s: %w", item, classify(err))
	case state == "11":
		return nil
	}
	if err := f(); err != nil {
		return err
	}
	return w.once(ctx, item, tbl, func() error { return nil })
}

// problem notes what could not be restored.
func (w *work) problem(ctx context.Context, name string, cause error) error {
	message := strings.ToValidUTF8(cause.Error(), "?")
	if err := w.exec(ctx, "INSERT INTO "+progressProblem+" (name, message) VALUES ("+literal(strings.ToValidUTF8(name, "?"))+", "+literal(message)+")"); err != nil {
		return fmt.Errorf("note what could not be restored: %w", classify(err))
	}
	return nil
}

// begun returns the run of the restore that began in the session's database, and whether it was one of a selection.
func (c *conn) begun(ctx context.Context) (run string, selection bool, err error) {
	list, err := c.rows(ctx, "SELECT id, selection FROM "+progressRun)
	if isCode(err, codeNoTable) || err == nil && len(list) == 0 {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("look at target: %w", classify(err))
	}
	return list[0][0], list[0][1] == "1", nil
}

// named takes a lock of the server's that lasts as long as the session. busy is called about once a second while another
// session has it, with that one's number.
func (w *work) named(ctx context.Context, name string, busy func(holder string) error) error {
	lock := literal(name)
	for {
		got, err := w.text(ctx, fmt.Sprintf("SELECT GET_LOCK(%s, %d)", lock, claimWait))
		if err != nil {
			return fmt.Errorf("take the lock %s: %w", name, classify(err))
		}
		if got == "1" {
			return nil
		}
		holder, err := w.text(ctx, "SELECT COALESCE(IS_USED_LOCK("+lock+"), '')")
		if err == nil {
			err = busy(holder)
		}
		if err != nil {
			return fmt.Errorf("take the lock %s: %w", name, classify(err))
		}
	}
}

// lockTask ends an earlier attempt at the same task of the run, and keeps the session known as the one that works on it.
func (w *work) lockTask(ctx context.Context) error {
	name := fmt.Sprintf("salvor_task_%08x", crc32.ChecksumIEEE([]byte(w.run+"\x00"+w.source.place.database+"\x00"+w.task)))
	return w.named(ctx, name, func(holder string) error {
		if holder == "" {
			return nil
		}
		if err := w.exec(ctx, "KILL "+holder); err != nil && !isCode(err, codeNoThread) {
			return err
		}
		return nil
	})
}

// targetTries bounds for how many seconds another restore's work on the target is waited for.
const targetTries = 120

// lockTarget keeps other restores from changing what the target is.
func (w *work) lockTarget(ctx context.Context) error {
	tries := 0
	name := fmt.Sprintf("salvor_target_%08x", crc32.ChecksumIEEE([]byte(w.source.place.database)))
	return w.named(ctx, name, func(string) error {
		if tries++; tries == targetTries {
			return fmt.Errorf("another restore makes %s", w.source.name()) //nolint:err113 // for people
		}
		return nil
	})
}
