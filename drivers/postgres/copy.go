package postgres

import (
	"context"
	"fmt"
	"io"
	"time"

	"salvor/drivers"
	"salvor/drivers/internal/rows"
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
	sink := rows.NewSink(out, v.source.split)
	err := w.copyOut(ctx, sql, sink.Write)
	if err == nil {
		err = sink.Flush()
	}
	switch {
	case sink.Err() != nil && ctx.Err() == nil:
		return drivers.Counts{}, sink.Err()
	case err != nil && ctx.Err() != nil:
		return drivers.Counts{}, context.Cause(ctx)
	case err != nil:
		return drivers.Counts{}, fmt.Errorf("dump %s: %w", what, v.source.hint(classify(err)))
	case !sink.Whole():
		return drivers.Counts{}, fmt.Errorf("dump %s: %w: the last row has no end", what, errProtocol)
	}
	return sink.Counts(), nil
}
