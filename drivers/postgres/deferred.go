package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"salvor/drivers"
)

// An extension makes its tables whole: the foreign keys between those that hold configuration are there before the rows. So
// the rows of a table that refers to another come after all others, in the order of the references. They are few.

// refersTo returns the keys of the tables that the foreign keys of a table refer to, and that the dump holds rows of.
func (w *work) refersTo(ctx context.Context, r *ref) ([]string, error) {
	rows, err := w.rows(ctx, `SELECT DISTINCT rn.nspname, r.relname FROM pg_catalog.pg_constraint k
		JOIN pg_catalog.pg_class r ON r.oid = k.confrelid JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
		WHERE k.contype = 'f' AND k.conrelid = pg_catalog.to_regclass($1)`, qualified(r.Schema, r.Table))
	if err != nil {
		return nil, fmt.Errorf("look what %s.%s refers to: %w", r.Schema, r.Table, classify(err))
	}
	known, err := w.rows(ctx, "SELECT tbl FROM salvor_progress.tbl")
	if err != nil {
		return nil, fmt.Errorf("look what %s.%s refers to: %w", r.Schema, r.Table, classify(err))
	}
	var keys []string
	for _, row := range rows {
		key := keyOf(row[0], row[1])
		if slices.ContainsFunc(known, func(k []string) bool { return k[0] == key }) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// loadDeferred loads what Load left: tables of extensions that refer to others.
func (w *work) loadDeferred(ctx context.Context, target drivers.Target, c *contents) error {
	waits := make(map[string][]string)
	for key, list := range c.tables {
		if len(list) == 0 || !list[0].ref.Extension {
			continue
		}
		refers, err := w.refersTo(ctx, list[0].ref)
		if err != nil {
			return err
		}
		if len(refers) > 0 {
			waits[key] = refers
		}
	}
	for len(waits) > 0 {
		key := nextDeferred(waits)
		if err := w.loadWhole(ctx, target, key, c.tables[key]); err != nil {
			return err
		}
		delete(waits, key)
	}
	return nil
}

// nextDeferred returns a table that refers to none that is still to come but itself; of a circle, the first by name.
func nextDeferred(waits map[string][]string) string {
	var keys, free []string
	for key, refers := range waits {
		keys = append(keys, key)
		if !slices.ContainsFunc(refers, func(r string) bool { _, waiting := waits[r]; return waiting && r != key }) {
			free = append(free, key)
		}
	}
	if len(free) > 0 {
		keys = free
	}
	return slices.Min(keys)
}

// loadWhole loads all parts of a table by one statement: the references are checked at its end, so that rows may refer to
// rows of later parts.
func (w *work) loadWhole(ctx context.Context, target drivers.Target, key string, parts []loadPart) error {
	first := parts[0]
	load := func() error {
		whole := first.Part
		whole.Rows, whole.Size = 0, 0 // no table of an extension is emptied first, whatever its size
		for _, p := range parts {
			whole.Rows += p.Rows
		}
		in := &partsReader{ctx: ctx, target: target, parts: parts}
		defer in.close()
		source := &heldReader{in: in}
		err := w.copyIn(ctx, whole, first.ref, copying{}, source)
		if readErr := source.stop(); readErr != nil && ctx.Err() == nil {
			return readErr
		}
		return told(ctx, err)
	}
	items := make([]string, len(parts))
	for i, p := range parts {
		items[i] = p.Name
	}
	all := func(f func() error) error {
		return w.doAll(ctx, items, key, waitForOthers, func([]string) error { return f() })
	}
	err := all(load)
	if w.keep && ctx.Err() == nil && isOwnFault(err) {
		cause := err
		err = all(func() error { return w.problem(ctx, first.Name, cause) })
	}
	if err != nil {
		return fmt.Errorf("load %s: %w", first.Name, err)
	}
	return nil
}

// partsReader reads the contents of parts, one after another.
type partsReader struct {
	ctx    context.Context //nolint:containedctx // the reader lives as long as one call, whose context it is
	target drivers.Target
	parts  []loadPart
	in     io.ReadCloser
}

func (r *partsReader) Read(p []byte) (int, error) {
	for {
		if r.in == nil {
			if len(r.parts) == 0 {
				return 0, io.EOF
			}
			in, err := r.target.Open(r.ctx, r.parts[0].Part)
			if err != nil {
				return 0, fmt.Errorf("open part %s: %w", r.parts[0].Name, err)
			}
			r.in, r.parts = in, r.parts[1:]
		}
		n, err := r.in.Read(p)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		in := r.in
		r.in = nil
		if err := in.Close(); err != nil || n > 0 {
			return n, err
		}
	}
}

func (r *partsReader) close() {
	if r.in != nil {
		_ = r.in.Close() // its reading has failed, or is over
	}
}
