package postgres

import (
	"context"
	"fmt"
	"io"
	"strings"

	"salvor/drivers"
	"salvor/drivers/internal/rows"
)

// objectChunk is how much of a large object one row carries.
const objectChunk = 256 << 10

// dumpObjects writes large objects as rows of three columns: oid, offset, bytes. Each object has at least one row, so that
// an empty one is there too. The bytes are read in the view's snapshot, as everything else.
func (v *view) dumpObjects(ctx context.Context, w *wire, r *ref, out io.Writer) (drivers.Counts, error) {
	sink := rows.NewSink(out, v.source.split)
	// The first piece of each object comes in one query; few have more, and those are found by their second piece's first byte.
	sql := fmt.Sprintf(`COPY (SELECT l.oid, 0, pg_catalog.lo_get(l.oid, 0, %d) FROM %s) TO STDOUT`, objectChunk, r.objectsSQL())
	if err := w.copyOut(ctx, sql, sink.Write); err != nil {
		return drivers.Counts{}, v.objectError(ctx, sink, err)
	}
	var long strings.Builder
	sql = fmt.Sprintf(`COPY (SELECT l.oid FROM %s
		WHERE pg_catalog.length(pg_catalog.lo_get(l.oid, %d, 1)) > 0) TO STDOUT`, r.objectsSQL(), objectChunk)
	err := w.copyOut(ctx, sql, func(p []byte) error {
		long.Write(p)
		return nil
	})
	if err != nil {
		return drivers.Counts{}, v.objectError(ctx, sink, err)
	}
	for line := range strings.Lines(long.String()) {
		if err := v.dumpObject(ctx, w, strings.TrimSuffix(line, "\n"), sink); err != nil {
			return drivers.Counts{}, v.objectError(ctx, sink, err)
		}
	}
	if err := sink.Flush(); err != nil {
		return drivers.Counts{}, sink.Err()
	}
	return sink.Counts(), nil
}

// objectsSQL are the large objects of a part, l, in their order.
func (r *ref) objectsSQL() string {
	where := fmt.Sprintf("oid >= %d::bigint::pg_catalog.oid", r.From)
	if r.To > 0 {
		where += fmt.Sprintf(" AND oid < %d::bigint::pg_catalog.oid", r.To)
	}
	return "(SELECT oid FROM pg_catalog.pg_largeobject_metadata WHERE " + where + " ORDER BY oid OFFSET 0) AS l"
}

// dumpObject writes all but the first piece of a long object.
func (v *view) dumpObject(ctx context.Context, w *wire, oid string, sink *rows.Sink) error {
	const inRead = 0x40000
	var size strings.Builder
	err := w.copyOut(ctx, fmt.Sprintf(`COPY (SELECT pg_catalog.lo_lseek64(fd, 0, 2) FROM (SELECT pg_catalog.lo_open(%s, %d) AS fd OFFSET 0) o) TO STDOUT`,
		oid, inRead), func(p []byte) error {
		size.Write(p)
		return nil
	})
	if err != nil {
		return err
	}
	// generate_series and lo_get stream: the server holds one piece at a time.
	sql := fmt.Sprintf(`COPY (SELECT %s, g, pg_catalog.lo_get(%s, g, %d) FROM pg_catalog.generate_series(%d::bigint, %s::bigint - 1, %d::bigint) AS g) TO STDOUT`,
		oid, oid, objectChunk, objectChunk, strings.TrimSpace(size.String()), objectChunk)
	return w.copyOut(ctx, sql, sink.Write)
}

func (v *view) objectError(ctx context.Context, sink *rows.Sink, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case sink.Err() != nil:
		return sink.Err()
	}
	return fmt.Errorf("dump large objects: %w", v.source.hint(classify(err)))
}
