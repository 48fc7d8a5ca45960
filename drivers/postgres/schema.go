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
		err = v.source.run(ctx, p, fixed, append(v.source.dumpArgs(), "--snapshot="+snapshot, "--dbname="+v.source.tool.public)...)
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
	if errors.Is(err, drivers.ErrAccess) {
		err = drivers.WithHint(err, "grant the role SELECT on it (pg_read_all_data holds for all), or exclude it with exclude_tables")
	}
	return err
}

// dumpArgs are pg_dump's arguments for the schema.
func (s *Source) dumpArgs() []string {
	args := []string{
		"--format=custom", "--compress=0", "--section=pre-data", "--section=post-data", "--no-password", "--lock-wait-timeout=60s",
	}
	o := s.options
	add := func(flag string, list patterns) {
		for _, p := range list {
			args = append(args, flag+"="+dumpPattern(p))
		}
	}
	add("--schema", o.Schemas)
	add("--exclude-schema", o.ExcludeSchemas)
	for _, p := range o.Tables {
		args = append(args, "--table="+tablePattern(p))
	}
	for _, p := range o.ExcludeTables {
		args = append(args, "--exclude-table="+tablePattern(p))
	}
	return args
}

// dumpGlobals writes roles and tablespaces as pg_dumpall's SQL. They are of no snapshot: PostgreSQL has none over them.
func (v *view) dumpGlobals(ctx context.Context, r *ref, out io.Writer) error {
	p, err := findProgram(ctx, "pg_dumpall", r.Version)
	if err != nil {
		return err
	}
	clean := &commentFilter{out: out}
	args := []string{"--globals-only", "--no-password", "--dbname=" + v.source.tool.public}
	err = v.source.run(ctx, p, clean, args...)
	if errors.Is(err, drivers.ErrAccess) && !clean.wrote {
		// Who may not read passwords gets the roles without them.
		err = v.source.run(ctx, p, clean, append(args, "--no-role-passwords")...)
	}
	if err != nil {
		return fmt.Errorf("dump globals: %w", err)
	}
	return clean.flush()
}
