package postgres

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"salvor/drivers"
)

// dumpTable writes the rows of a table or of a range of it.
func (v *view) dumpTable(ctx context.Context, w *wire, r *ref, out io.Writer) (drivers.Counts, error) {
	if err := v.lockPart(ctx, w, r); err != nil {
		return drivers.Counts{}, fmt.Errorf("dump table %s.%s: %w", r.Schema, r.Table, err)
	}
	return v.copyRows(ctx, w, r.copySQL(), r.Schema+"."+r.Table, out)
}

const (
	// lockTries is how often a part asks for a table that somebody waits to change, and lockPause the time between.
	lockTries = 40
	lockPause = 250 * time.Millisecond
)

// lockPart locks a part's table. The holder has it locked already; but whoever waits to change it stands before this
// session, and to wait for that one, which waits for the holder, which waits for this part, would be for ever. So it
// does not wait: it asks again for a while, then the view gives way, and the node begins again with another.
func (v *view) lockPart(ctx context.Context, w *wire, r *ref) error {
	sql := "SAVEPOINT lock_part; LOCK TABLE ONLY " + qualified(r.Schema, r.Table) + " IN ACCESS SHARE MODE NOWAIT; RELEASE SAVEPOINT lock_part"
	for try := 1; ; try++ {
		err := w.exec(ctx, sql)
		if err == nil {
			return nil
		}
		if w.broken {
			return classify(err)
		}
		if undoErr := w.exec(ctx, "ROLLBACK TO SAVEPOINT lock_part; RELEASE SAVEPOINT lock_part"); undoErr != nil {
			return undoErr
		}
		if !isCode(err, codeLockTimeout) {
			return v.source.hint(classify(err))
		}
		if try == lockTries {
			return drivers.WithHint(fmt.Errorf("%w: another session waits to change it, and everybody behind that one: %w", drivers.ErrViewLost, err),
				"a migration or a VACUUM FULL began during the dump: run it before or after")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lockPause):
		}
	}
}

// copyRows writes what a COPY gives, counts and hashes its rows, and splits the output into objects.
func (v *view) copyRows(ctx context.Context, w *wire, sql, what string, out io.Writer) (drivers.Counts, error) {
	sink := &rowSink{out: out, split: v.source.split}
	sink.splitter, _ = out.(drivers.Splitter)
	err := w.copyOut(ctx, sql, sink.write)
	if err == nil {
		err = sink.flush()
	}
	switch {
	case sink.err != nil && ctx.Err() == nil:
		return drivers.Counts{}, sink.err
	case err != nil && ctx.Err() != nil:
		return drivers.Counts{}, context.Cause(ctx)
	case err != nil:
		return drivers.Counts{}, fmt.Errorf("dump %s: %w", what, v.source.hint(classify(err)))
	case !sink.digest.whole():
		return drivers.Counts{}, fmt.Errorf("dump %s: %w: the last row has no end", what, errProtocol)
	}
	return sink.digest.counts(), nil
}

// rowSink takes rows, hashes them, and writes them in large pieces.
type rowSink struct {
	out      io.Writer
	splitter drivers.Splitter
	split    int64
	digest   digest
	size     int64 // of the object so far
	full     bool  // the object has its size and ends with a row
	buf      []byte
	err      error
}

const sinkBuffer = 128 << 10

func (s *rowSink) write(p []byte) error {
	for len(p) > 0 {
		if s.full {
			if err := s.cut(); err != nil {
				return err
			}
		}
		n := len(p)
		// Beyond the size the object ends with the row; what follows, if anything does, begins another.
		if s.splitter != nil && s.size+int64(n) >= s.split {
			from := int(max(0, min(s.split-s.size, int64(n))-1))
			if end := bytes.IndexByte(p[from:], '\n'); end >= 0 {
				n, s.full = from+end+1, true
			}
		}
		if err := s.put(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (s *rowSink) put(p []byte) error {
	s.digest.write(p)
	s.size += int64(len(p))
	if len(s.buf)+len(p) > sinkBuffer || len(p) >= sinkBuffer/2 {
		if err := s.flush(); err != nil {
			return err
		}
	}
	if len(p) >= sinkBuffer/2 {
		return s.emit(p)
	}
	s.buf = append(s.buf, p...)
	return nil
}

func (s *rowSink) flush() error {
	if len(s.buf) == 0 {
		return s.err
	}
	err := s.emit(s.buf)
	s.buf = s.buf[:0]
	return err
}

func (s *rowSink) emit(p []byte) error {
	if s.err == nil {
		_, s.err = s.out.Write(p)
	}
	return s.err
}

// cut ends the object.
func (s *rowSink) cut() error {
	if err := s.flush(); err != nil {
		return err
	}
	if s.err = s.splitter.Split(s.digest.counts()); s.err != nil {
		return s.err
	}
	s.digest, s.size, s.full = digest{}, 0, false
	return nil
}
