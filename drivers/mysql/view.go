package mysql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"salvor/drivers"
	"salvor/drivers/internal/rows"
)

// view is one moment of a database, seen by a number of sessions.
type view struct {
	source *Source
	server dialect
	facts  json.RawMessage
	parts  []drivers.Part
	pool   *pool

	schema  []byte
	globals []byte
	spool   *spool // rows of tables without transactions; nil for none

	mu    sync.Mutex
	ended bool
}

// Facts describes the view.
func (v *view) Facts() json.RawMessage { return v.facts }

// Parts lists the view's parts: what the rest leans on first, then the largest.
func (v *view) Parts(ctx context.Context, yield func(drivers.Part) error) error {
	for _, p := range v.parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := yield(p); err != nil {
			return err
		}
	}
	return nil
}

// Alive returns [drivers.ErrViewLost] once no session keeps the view any more.
func (v *view) Alive(ctx context.Context) error {
	if v.isEnded() {
		return drivers.ErrViewLost
	}
	if err := v.pool.alive(ctx); err != nil {
		return drivers.WithHint(fmt.Errorf("view of database %s: %w", v.source.place.database, err),
			"the server ended the sessions that held the view: it was restarted, or somebody ended them")
	}
	return nil
}

func (v *view) isEnded() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ended
}

// End closes the sessions. A nil result proves that the view lasted from the beginning to the end.
func (v *view) End(ctx context.Context) error {
	v.mu.Lock()
	if v.ended {
		v.mu.Unlock()
		return nil
	}
	v.ended = true
	v.mu.Unlock()
	err := v.pool.end(ctx)
	if v.spool != nil {
		err = errors.Join(err, v.spool.close())
	}
	if err != nil {
		return fmt.Errorf("end view of database %s: %w", v.source.place.database, err)
	}
	return nil
}

// Dump writes one part.
func (v *view) Dump(ctx context.Context, part drivers.Part, out io.Writer) (drivers.Counts, error) {
	if err := ctx.Err(); err != nil {
		return drivers.Counts{}, context.Cause(ctx)
	}
	r, err := readRef(part)
	if err != nil {
		return drivers.Counts{}, err
	}
	if v.isEnded() {
		return drivers.Counts{}, drivers.ErrViewLost
	}
	switch {
	case r.Kind == partSchema:
		_, err := out.Write(v.schema)
		return drivers.Counts{}, toldWriter(ctx, err)
	case r.Kind == partGlobals:
		_, err := out.Write(v.globals)
		return drivers.Counts{}, toldWriter(ctx, err)
	case r.Spool > 0:
		return v.dumpSpooled(ctx, r, out)
	}
	s, err := v.pool.take(ctx)
	if err != nil {
		return drivers.Counts{}, fmt.Errorf("dump %s: %w", part.Name, err)
	}
	defer v.pool.give(s)
	return v.dumpTable(ctx, s.conn, r, out)
}

// toldWriter lets a cancel go before a writer's error, which goes as it is.
func toldWriter(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// sink takes the rows of a part. A table without transactions is loaded in one piece, so it is stored in one.
func (v *view) sink(r *ref, out io.Writer) *rows.Sink {
	if r.Outside {
		out = struct{ io.Writer }{out}
	}
	return rows.NewSink(out, v.source.split)
}

// dumpTable writes the rows of a table or of a range of it. The session outlives a cancel and a writer's error: the moment that
// it sees cannot be had again.
func (v *view) dumpTable(ctx context.Context, c *conn, r *ref, out io.Writer) (drivers.Counts, error) {
	sink := v.sink(r, out)
	err := c.read(ctx, r, sink)
	if isCode(err, codeDeadlock) {
		c.broken = true // the server has ended the transaction, and the session would see another moment
	}
	if err == nil {
		err = sink.Flush()
	}
	switch {
	case ctx.Err() != nil:
		return drivers.Counts{}, context.Cause(ctx)
	case sink.Err() != nil:
		return drivers.Counts{}, sink.Err()
	case err != nil:
		return drivers.Counts{}, fmt.Errorf("dump table %s: %w", r.Table, readError(err))
	}
	return sink.Counts(), nil
}

// read reads the rows of a part into a sink. Where ctx ends, or the sink fails, the query is ended by another session.
func (c *conn) read(ctx context.Context, r *ref, sink *rows.Sink) error {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { // it may wait for a lock, and give no row to notice it by
		defer close(interrupted)
		c.interrupt(ctx)
	})
	reading := &reading{c: c, columns: r.Columns, sink: &interruptingSink{Sink: sink, c: c, ctx: ctx}}
	err := reading.run(context.WithoutCancel(ctx), r.selectSQL(c.server))
	if !stop() {
		<-interrupted
	}
	if ctx.Err() != nil || sink.Err() != nil {
		c.settleInterrupt(ctx)
	}
	return err
}

// interruptingSink ends the query of whose rows it can take no more.
type interruptingSink struct {
	*rows.Sink
	c   *conn
	ctx context.Context //nolint:containedctx // the sink lives as long as one call, whose context it is
}

// Write takes a row.
func (s *interruptingSink) Write(row []byte) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	err := s.Sink.Write(row)
	if err != nil {
		s.c.interrupt(s.ctx)
	}
	return err
}

// interrupt ends the query that the session is in, by a session of its own. The transaction goes on.
func (c *conn) interrupt(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	other, err := c.source.connectTo(ctx, "", "interrupt")
	if err != nil {
		return // then the rows are read to their end
	}
	defer other.close()
	_ = other.exec(ctx, fmt.Sprintf("KILL QUERY %d", c.id)) // the same
}

// settleInterrupt lets an interruption that came too late hit a statement that does nothing.
func (c *conn) settleInterrupt(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
	defer cancel()
	for range 3 {
		if err := c.exec(ctx, "DO 0"); err == nil || !isServers(err) {
			return
		}
	}
}

// readError gives an error of reading its class and a hint.
func readError(err error) error {
	switch {
	case isCode(err, codeChangedTable, codeNoTable, codeNoColumn):
		return drivers.WithHint(fmt.Errorf("%w: its definition was changed: %w", drivers.ErrViewLost, err),
			"a migration ran during the dump: run it before or after")
	case isCode(err, codeLockWait):
		return drivers.WithHint(fmt.Errorf("%w: another session waits to change it, and everybody behind that one: %w", drivers.ErrViewLost, err),
			"a migration began during the dump: run it before or after")
	case isCode(err, codeTableDenied, codeColumnDenied):
		return drivers.WithHint(classify(err), hintSelect)
	case isConnection(err):
		return fmt.Errorf("%w: the session has ended: %w", errSession, err)
	}
	return classify(err)
}

// errSession tells that a part's session died: another one reads it again.
var errSession = errors.New("connection to the server lost")

const hintSelect = "GRANT SELECT on it TO the account, or exclude it with exclude_tables"

// spool holds the rows of tables without transactions, which were read while nothing could be written. It is a file without a
// name: whatever happens, nothing of it is left.
type spool struct {
	file   *os.File
	tables []spooled
}

type spooled struct{ from, size int64 }

func newSpool(dir string) (*spool, error) {
	file, err := os.CreateTemp(dir, "salvor-mysql-*")
	if err != nil {
		return nil, fmt.Errorf("make a file for tables without transactions: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("make a file for tables without transactions: %w", err), file.Close())
	}
	return &spool{file: file}, nil
}

func (s *spool) close() error { return s.file.Close() }

// add reads a table into the file. most bounds the bytes of all.
func (s *spool) add(ctx context.Context, c *conn, r *ref, most int64) error {
	from := int64(0)
	if n := len(s.tables); n > 0 {
		from = s.tables[n-1].from + s.tables[n-1].size
	}
	out := &boundedFile{file: s.file, left: most - from}
	sink := rows.NewSink(out, most)
	err := c.read(ctx, r, sink)
	if err == nil {
		err = sink.Flush()
	}
	if err != nil {
		if sink.Err() != nil {
			err = sink.Err()
		}
		return fmt.Errorf("read table %s: %w", r.Table, readError(told(ctx, err)))
	}
	s.tables = append(s.tables, spooled{from: from, size: out.written})
	r.Spool = len(s.tables)
	return nil
}

type boundedFile struct {
	file          *os.File
	left, written int64
}

func (f *boundedFile) Write(p []byte) (int, error) {
	if f.written += int64(len(p)); f.written > f.left {
		return 0, errTooMuch
	}
	return f.file.Write(p)
}

var errTooMuch = errors.New("tables without transactions hold more than is read while writers wait")

// dumpSpooled writes a table that was read before.
func (v *view) dumpSpooled(ctx context.Context, r *ref, out io.Writer) (drivers.Counts, error) {
	if v.spool == nil || r.Spool > len(v.spool.tables) {
		return drivers.Counts{}, fmt.Errorf("dump table %s: %w", r.Table, drivers.ErrViewLost)
	}
	at := v.spool.tables[r.Spool-1]
	in := io.NewSectionReader(v.spool.file, at.from, at.size)
	sink := v.sink(r, out)
	buf := make([]byte, 64<<10)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if err := sink.Write(buf[:n]); err != nil {
				return drivers.Counts{}, toldWriter(ctx, sink.Err())
			}
		}
		if ctx.Err() != nil {
			return drivers.Counts{}, context.Cause(ctx)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return drivers.Counts{}, fmt.Errorf("dump table %s: %w", r.Table, err)
		}
	}
	if err := sink.Flush(); err != nil {
		return drivers.Counts{}, toldWriter(ctx, sink.Err())
	}
	return sink.Counts(), nil
}

// sessionLockWait is how long a part waits for a table's definition. The view's keepers hold it already; but whoever waits to
// change it stands before this session, and to wait for that one, which waits for the keepers, which wait for this part, would be
// for ever. After that the view gives way, and the node begins again with another.
const sessionLockWait = 10 * time.Second
