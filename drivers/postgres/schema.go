package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"salvor/drivers"
)

// dumpSchema writes everything but rows, sequences' states and large objects' contents, as pg_dump's custom format, in the
// view's snapshot. pg_dump --schema-only would lack the refreshes of materialized views and the large objects' metadata.
func (v *view) dumpSchema(ctx context.Context, r *ref, out io.Writer) error {
	p, err := findProgram(ctx, "pg_dump", r.Version)
	if err != nil {
		return err
	}
	fixed := &fixedTime{out: out, at: time.Unix(r.Clock, 0)}
	var lost error
	for _, snapshot := range v.ticket.Snapshots {
		err = v.source.run(ctx, p, fixed, append(v.source.dumpArgs(r), "--snapshot="+snapshot, "--dbname="+v.source.tool.public)...)
		if err == nil {
			return fixed.flush()
		}
		// Nothing is written before the snapshot was joined.
		if !errors.Is(err, drivers.ErrViewLost) || fixed.done {
			break
		}
		lost = errors.Join(lost, err)
		fixed.head = nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch {
	case errors.Is(err, drivers.ErrNotFound):
		err = drivers.WithHint(err, "schemas and tables fit nothing in the database: letters keep their case")
	case errors.Is(err, drivers.ErrAccess):
		err = drivers.WithHint(err, hintGrant)
	}
	return err
}

// dumpArgs are pg_dump's arguments for the schema.
func (s *Source) dumpArgs(r *ref) []string {
	args := []string{
		"--format=custom", "--compress=0", "--section=pre-data", "--section=post-data", "--no-password", "--lock-wait-timeout=60s",
	}
	// What reads it back speaks UTF-8 too.
	if r.Database != nil && spokenEncoding(r.Database.Encoding) == utf8Encoding {
		args = append(args, "--encoding="+utf8Encoding)
	}
	return append(args, s.options.dumpPatterns()...)
}

// dumpGlobals writes roles and tablespaces as pg_dumpall's SQL. They are of no snapshot: PostgreSQL has none over them. Who
// may not read passwords gets the roles without them.
func (v *view) dumpGlobals(ctx context.Context, r *ref, out io.Writer) error {
	p, err := findProgram(ctx, "pg_dumpall", r.Version)
	if err != nil {
		return err
	}
	c, err := v.source.connect(ctx, "dump globals")
	if err != nil {
		return v.source.explain(err)
	}
	passwords, err := c.text(ctx, "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')")
	c.close(ctx)
	if err != nil {
		return fmt.Errorf("dump globals: %w", classify(err))
	}
	args := []string{"--globals-only", "--no-password", "--dbname=" + v.source.tool.public}
	if passwords != "t" {
		args = append(args, "--no-role-passwords")
	}
	clean := &commentFilter{out: out}
	if err := v.source.run(ctx, p, clean, args...); err != nil {
		return fmt.Errorf("dump globals: %w", err)
	}
	return clean.flush()
}
