package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"salvor/drivers"
)

// freezeFrom is the size from which on a table that one transaction loads is truncated and copied with FREEZE: its rows need no
// second visit. For small ones a new file costs more than it saves.
const freezeFrom = 8 << 20

// Load copies one part in, exactly once: its transaction begins by noting the part as done. Whoever loads the last part of
// a table builds that table's indexes.
func (s *Source) Load(ctx context.Context, target drivers.Target, attempt drivers.Attempt, part drivers.Part, in io.Reader) error {
	return s.LoadBundle(ctx, target, attempt, []drivers.Part{part}, func(drivers.Part) (io.ReadCloser, error) { return io.NopCloser(in), nil })
}

// LoadBundle copies several parts of one table in, in one transaction.
func (s *Source) LoadBundle(ctx context.Context, target drivers.Target, attempt drivers.Attempt, parts []drivers.Part,
	open func(drivers.Part) (io.ReadCloser, error),
) error {
	list := make([]loadPart, len(parts))
	for i, p := range parts {
		r, err := readRef(p)
		if err != nil {
			return err
		}
		list[i] = loadPart{p, r}
		if i > 0 && (r.Kind != kindTable || r.key() != list[0].ref.key()) {
			return fmt.Errorf("load %s: %w: it is not of the table of %s", p.Name, drivers.ErrInvalid, parts[0].Name)
		}
	}
	w, err := s.begin(ctx, target, attempt.Task, attempt.Token)
	if err != nil {
		return err
	}
	defer w.close(ctx)
	run, err := w.text(ctx, "SELECT id FROM salvor_progress.run")
	if err != nil || run != target.Run {
		if isCode(err, codeNoSchema, codeNoTable) || err == nil || errors.Is(err, errNoRow) {
			return fmt.Errorf("load %s: %w: the target is not prepared for this restore", parts[0].Name, drivers.ErrFailed)
		}
		return fmt.Errorf("load %s: %w", parts[0].Name, classify(err))
	}
	if list[0].ref.Extension {
		if waits, err := w.refersTo(ctx, list[0].ref); err != nil || len(waits) > 0 {
			return err // Finish loads it, see loadDeferred
		}
	}
	err = w.loadAll(ctx, list, open)
	if w.keep && len(list) > 1 && ctx.Err() == nil && isOwnFault(err) {
		// What is wrong with one of them keeps no other out.
		for i := range list {
			if err = w.loadAll(ctx, list[i:i+1], open); err != nil {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	if list[0].ref.Kind != kindTable || list[0].ref.Via != nil { // other partitions' parts may bring rows of this one
		return nil
	}
	return w.afterLoad(ctx, target, list[0].ref)
}

// loadAll loads parts in one transaction; with Continue one that is refused by itself is noted instead.
func (w *work) loadAll(ctx context.Context, list []loadPart, open func(drivers.Part) (io.ReadCloser, error)) error {
	items, tbl := make([]string, len(list)), ""
	for i, p := range list {
		items[i] = p.Name
	}
	if list[0].ref.Kind == kindTable {
		tbl = list[0].ref.key()
	}
	failed := list[0].Name
	err := w.doAll(ctx, items, tbl, waitForOthers, func(fresh []string) error {
		c := copying{}
		if len(fresh) == len(list) {
			var err error
			if c, err = w.copyAlone(ctx, list); err != nil {
				return err
			}
		}
		for _, p := range list {
			if !slices.Contains(fresh, p.Name) {
				continue
			}
			failed = p.Name
			if err := w.loadPart(ctx, p, c, open); err != nil {
				return err
			}
		}
		return nil
	})
	if w.keep && len(list) == 1 && ctx.Err() == nil && isOwnFault(err) {
		cause := err
		err = w.once(ctx, failed, tbl, func() error { return w.problem(ctx, failed, cause) })
	}
	if err != nil {
		return fmt.Errorf("load %s: %w", failed, err)
	}
	return nil
}

// loadPart loads one part within the transaction that is open.
func (w *work) loadPart(ctx context.Context, p loadPart, c copying, open func(drivers.Part) (io.ReadCloser, error)) (err error) {
	in, err := open(p.Part)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	source := &heldReader{in: in}
	switch p.ref.Kind {
	case kindTable:
		err = w.copyIn(ctx, p.Part, p.ref, c, source)
	case kindObjects:
		err = w.putObjects(ctx, p.ref, source)
	default:
		err = fmt.Errorf("%w: a part of kind %s is not loaded", drivers.ErrInvalid, p.ref.Kind)
	}
	readErr := source.stop()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case readErr != nil:
		return readErr // what the server says of the cut copy is but an echo
	}
	return err
}

// copying is how rows are copied into a table.
type copying struct {
	freeze bool // the transaction has emptied the table: rows are written as they will stay
}

// copyAlone empties a table all of whose rows the open transaction loads, where that is worth it: nobody else has loaded any, nor
// can, as it would have to note one of these parts as done.
func (w *work) copyAlone(ctx context.Context, list []loadPart) (copying, error) {
	r := list[0].ref
	var size int64
	for _, p := range list {
		size += p.Size
	}
	if r.Kind != kindTable || r.Extension || r.Via != nil || size < freezeFrom {
		return copying{}, nil
	}
	whole, err := w.text(ctx, "SELECT COALESCE((SELECT parts FROM salvor_progress.tbl WHERE tbl = $1), 0) = $2::bigint", r.key(), fmt.Sprint(len(list)))
	if err != nil || whole != "t" {
		return copying{}, classify(err)
	}
	return copying{freeze: true}, classify(w.exec(ctx, "TRUNCATE TABLE ONLY "+qualified(r.Schema, r.Table)))
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
func (w *work) copyIn(ctx context.Context, part drivers.Part, r *ref, c copying, in io.Reader) error {
	name := qualified(r.Schema, r.Table)
	via, err := w.goesVia(ctx, r)
	if err != nil {
		return err
	}
	if via {
		name = qualified(r.Via.Schema, r.Via.Table)
	}
	sql := "COPY " + name
	if columns := columnList(r.Columns); columns != "" {
		sql += " (" + columns + ")"
	}
	sql += " FROM STDIN"
	var options []string
	if e := r.encodingOption(); e != "" {
		options = append(options, e)
	}
	if c.freeze {
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
		line, err := readLine(lines, 4*objectChunk)
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

// afterLoad builds the indexes of a table all of whose parts are in, and lets the planner know what it holds. Several may find that
// out at once: one does it, and the others leave it to that one. What it does not do, Finish does.
func (w *work) afterLoad(ctx context.Context, target drivers.Target, r *ref) error {
	whole, err := w.buildIndexes(ctx, target, r.key())
	if err == nil && whole {
		err = w.analyzeLoaded(ctx, r)
	}
	if errors.Is(err, errBusy) {
		return nil
	}
	return err
}

// buildIndexes builds a table's indexes, if the table is whole.
func (w *work) buildIndexes(ctx context.Context, target drivers.Target, tbl string) (whole bool, err error) {
	text, err := w.text(ctx, `SELECT (SELECT parts FROM salvor_progress.tbl WHERE tbl = $1)
		= (SELECT pg_catalog.count(*) FROM salvor_progress.done WHERE tbl = $1 AND item NOT LIKE 'statement/%')`, tbl)
	if err != nil {
		return false, fmt.Errorf("look whether %s is whole: %w", tbl, classify(err))
	}
	if text != "t" {
		return false, nil
	}
	list, err := w.statements(ctx, phaseTable, tbl)
	if err != nil {
		return false, err
	}
	// Constraints lock the table, plain indexes of one table are built side by side.
	var plain []*stored
	for _, st := range list {
		if strings.HasPrefix(st.sql, "CREATE INDEX ") && !strings.Contains(st.sql, "\nALTER ") {
			plain = append(plain, st)
			continue
		}
		if err := w.make(ctx, st, leaveToOthers); err != nil {
			return false, err
		}
	}
	if len(plain) == 1 {
		return true, w.make(ctx, plain[0], leaveToOthers)
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
	return true, group.Wait()
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
