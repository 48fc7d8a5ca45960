package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"salvor/drivers"
)

// freezeFrom is the size from which on a table that comes in one part is truncated and copied with FREEZE: its rows need no
// second visit. For small ones a new file costs more than it saves.
const freezeFrom = 8 << 20

// Load copies one part in, exactly once: its transaction begins by noting the part as done. Whoever loads the last part of
// a table builds that table's indexes.
func (s *Source) Load(ctx context.Context, target drivers.Target, attempt drivers.Attempt, part drivers.Part, in io.Reader) error {
	r, err := readRef(part)
	if err != nil {
		return err
	}
	w, err := s.begin(ctx, target, attempt.Task, attempt.Token)
	if err != nil {
		return err
	}
	defer w.close(ctx)
	run, err := w.text(ctx, "SELECT id FROM salvor_progress.run")
	if err != nil || run != target.Run {
		if isCode(err, codeNoSchema, codeNoTable) || err == nil || errors.Is(err, errNoRow) {
			return fmt.Errorf("load %s: %w: the target is not prepared for this restore", part.Name, drivers.ErrFailed)
		}
		return fmt.Errorf("load %s: %w", part.Name, classify(err))
	}
	tbl := ""
	if r.Kind == kindTable {
		tbl = r.key()
	}
	if r.Extension {
		if waits, err := w.refersTo(ctx, r); err != nil || len(waits) > 0 {
			return err // Finish loads it, see loadDeferred
		}
	}
	err = w.once(ctx, part.Name, tbl, func() error {
		source := &heldReader{in: in}
		var err error
		switch r.Kind {
		case kindTable:
			err = w.copyIn(ctx, part, r, source)
		case kindObjects:
			err = w.putObjects(ctx, r, source)
		default:
			err = fmt.Errorf("%w: a part of kind %s is not loaded", drivers.ErrInvalid, r.Kind)
		}
		readErr := source.stop()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case readErr != nil:
			return readErr // what the server says of the cut copy is but an echo
		}
		return err
	})
	if w.keep && ctx.Err() == nil && isOwnFault(err) {
		cause := err
		err = w.once(ctx, part.Name, tbl, func() error { return w.problem(ctx, part.Name, cause) })
	}
	if err != nil {
		return fmt.Errorf("load %s: %w", part.Name, err)
	}
	if tbl == "" {
		return nil
	}
	return w.afterLoad(ctx, target, tbl)
}

// heldReader keeps the error of what it reads. A copy whose connection broke may read on for a moment by a goroutine of its
// own; stop waits for that, so that the caller can close what is read.
type heldReader struct {
	in io.Reader

	mu      sync.Mutex
	err     error
	stopped bool
}

// stop ends the reading and returns the error that it met.
func (r *heldReader) stop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	return r.err
}

func (r *heldReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return 0, io.ErrClosedPipe
	}
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// copyIn copies rows into a table and compares their number with the dump's.
func (w *work) copyIn(ctx context.Context, part drivers.Part, r *ref, in io.Reader) error {
	name := qualified(r.Schema, r.Table)
	sql := "COPY " + name
	if columns := columnList(r.Columns); columns != "" {
		sql += " (" + columns + ")"
	}
	sql += " FROM STDIN"
	var options []string
	if e := r.encodingOption(); e != "" {
		options = append(options, e)
	}
	alone, err := w.text(ctx, "SELECT COALESCE((SELECT parts FROM salvor_progress.tbl WHERE tbl = $1), 0) = 1", r.key())
	if err != nil {
		return classify(err)
	}
	if alone == "t" && part.Size >= freezeFrom && !r.Extension {
		if err := w.exec(ctx, "TRUNCATE TABLE ONLY "+name); err != nil {
			return classify(err)
		}
		options = append(options, "FREEZE")
	}
	if len(options) > 0 {
		sql += " WITH (" + strings.Join(options, ", ") + ")"
	}
	tag, err := w.CopyFrom(ctx, in, sql)
	if err != nil {
		return w.copyError(r, sql, err)
	}
	if n := tag.RowsAffected(); n != part.Rows {
		return fmt.Errorf("copy into %s.%s: %w: %d rows were written, the dump has %d", r.Schema, r.Table, drivers.ErrFailed, n, part.Rows)
	}
	return nil
}

// copyError says which table's rows were refused.
func (*work) copyError(r *ref, sql string, err error) error {
	where := ""
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Where != "" {
		where = " (" + strings.ToValidUTF8(pgErr.Where[:min(len(pgErr.Where), 300)], "?") + ")"
	}
	err = fmt.Errorf("copy into %s.%s: %w%s; the statement was: %s", r.Schema, r.Table, classify(err), where, sql)
	if isCode(err, codePrivilege) {
		return drivers.WithHint(err, "restore as a superuser, or as a member of the role that owns the table")
	}
	return err
}

// putObjects writes large objects from rows of oid, offset and bytes.
func (w *work) putObjects(ctx context.Context, r *ref, in io.Reader) error {
	// pg_dump's schema has made them, with owner and rights; up to PostgreSQL 16, that is. The part bounds how many they are.
	there, err := w.names(ctx, "SELECT l.oid FROM "+r.objectsSQL())
	if err != nil {
		return fmt.Errorf("list large objects: %w", classify(err))
	}
	lines := bufio.NewReaderSize(in, 4*objectChunk)
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read large objects: %w", err)
		}
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(cells) != 3 || strings.Trim(cells[0]+cells[1], "0123456789") != "" || !strings.HasPrefix(cells[2], `\\x`) {
			return fmt.Errorf("read large objects: %w: a row of %d columns", drivers.ErrCorrupt, len(cells))
		}
		if !there[cells[0]] {
			if err := w.createObject(ctx, cells[0]); err != nil {
				return err
			}
			there[cells[0]] = true
		}
		if len(cells[2]) == len(`\\x`) {
			continue // an empty object
		}
		if _, err := w.rows(ctx, "SELECT pg_catalog.lo_put($1::pg_catalog.oid, $2::bigint, $3::bytea)", cells[0], cells[1], cells[2][1:]); err != nil {
			return fmt.Errorf("write large object %s: %w", cells[0], classify(err))
		}
	}
}

// createObject makes a large object, unless another part that holds a piece of it just did.
func (w *work) createObject(ctx context.Context, oid string) error {
	if err := w.exec(ctx, "SAVEPOINT large_object"); err != nil {
		return classify(err)
	}
	_, err := w.rows(ctx, "SELECT pg_catalog.lo_create($1::pg_catalog.oid)", oid)
	undo := "RELEASE SAVEPOINT large_object"
	if isCode(err, codeDuplicateName) {
		undo = "ROLLBACK TO SAVEPOINT large_object; " + undo
		err = nil
	}
	if err != nil {
		return fmt.Errorf("create large object %s: %w", oid, classify(err))
	}
	return classify(w.exec(ctx, undo))
}

// afterLoad builds the indexes of a table all of whose parts are in. Several may find that out at once: one builds them, and
// the others leave them to it. What it does not build, Finish does.
func (w *work) afterLoad(ctx context.Context, target drivers.Target, tbl string) error {
	err := w.buildIndexes(ctx, target, tbl)
	if errors.Is(err, errBusy) {
		return nil
	}
	return err
}

func (w *work) buildIndexes(ctx context.Context, target drivers.Target, tbl string) error {
	whole, err := w.text(ctx, `SELECT (SELECT parts FROM salvor_progress.tbl WHERE tbl = $1)
		= (SELECT pg_catalog.count(*) FROM salvor_progress.done WHERE tbl = $1 AND item NOT LIKE 'statement/%')`, tbl)
	if err != nil {
		return fmt.Errorf("look whether %s is whole: %w", tbl, classify(err))
	}
	if whole != "t" {
		return nil
	}
	list, err := w.statements(ctx, phaseTable, tbl)
	if err != nil || len(list) == 0 {
		return err
	}
	// Constraints lock the table, plain indexes of one table are built side by side.
	var plain []*stored
	for _, st := range list {
		if strings.HasPrefix(st.sql, "CREATE INDEX ") && !strings.Contains(st.sql, "\nALTER ") {
			plain = append(plain, st)
			continue
		}
		if err := w.make(ctx, st, leaveToOthers); err != nil {
			return err
		}
	}
	if len(plain) == 1 {
		return w.make(ctx, plain[0], leaveToOthers)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sessions())
	for _, st := range plain {
		group.Go(func() error {
			other, err := w.beside(ctx, target)
			if err != nil {
				return err
			}
			defer other.close(ctx)
			return other.make(ctx, st, leaveToOthers)
		})
	}
	return group.Wait()
}

// stored is a statement of the schema's second half.
type stored struct {
	entry
	seq  string
	tbl  string
	uses []string
}

func (st *stored) item() string { return "statement/" + st.seq }

// statements returns the statements of a phase that were not made yet, in their order; those of one table where it is given.
func (w *work) statements(ctx context.Context, phase, tbl string) ([]*stored, error) {
	query := `SELECT s.seq, s.tbl, s.uses, s.label, s.sets, s.sql FROM salvor_progress.statement s
		WHERE s.phase = $1 AND NOT EXISTS (SELECT FROM salvor_progress.done d WHERE d.item = 'statement/' || s.seq)`
	args := []string{phase}
	if tbl != "" {
		query += " AND s.tbl = $2"
		args = append(args, tbl)
	}
	rows, err := w.rows(ctx, query+" ORDER BY s.seq", args...)
	if err != nil {
		return nil, fmt.Errorf("read statements: %w", classify(err))
	}
	list := make([]*stored, len(rows))
	for i, r := range rows {
		list[i] = &stored{entry: entry{name: r[3], sets: r[4], sql: r[5]}, seq: r[0], tbl: r[1]}
		if r[2] != "" {
			list[i].uses = strings.Split(r[2], "\n")
		}
		kind, name, _ := strings.Cut(r[3], " ")
		list[i].kind, list[i].name = kind, name
	}
	return list, nil
}

// makeTries bounds how often a statement is tried that met another in the server.
const makeTries = 5

// manner says what to do about a statement that another session makes at the moment.
type manner int

const (
	waitForOthers manner = iota
	leaveToOthers        // with errBusy
)

// make runs one statement, once.
func (w *work) make(ctx context.Context, st *stored, how manner) error {
	for try := 1; ; try++ {
		err := w.do(ctx, st.item(), st.tbl, how, func() error { return w.statement(ctx, &st.entry) })
		if err == nil || !isCode(err, codeDeadlock) || try == makeTries {
			return err
		}
	}
}
