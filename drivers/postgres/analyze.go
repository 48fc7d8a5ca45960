package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"salvor/drivers"
)

// analyze lets the planner know what the tables hold.
func (w *work) analyze(ctx context.Context, target drivers.Target, c *contents) error {
	var list []*ref
	for _, parts := range c.tables {
		if len(parts) > 0 && (len(parts) > 1 || parts[0].Size > 0) {
			list = append(list, parts[0].ref)
		}
	}
	if len(target.Only) == 0 {
		views, err := w.rows(ctx, `SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relkind = 'm' AND c.relispopulated AND n.nspname !~ '^pg_'`)
		if err != nil {
			return fmt.Errorf("list materialized views: %w", classify(err))
		}
		for _, v := range views {
			list = append(list, &ref{Schema: v[0], Table: v[1]})
		}
	}
	list, err := w.withParents(ctx, target, list)
	if err != nil {
		return err
	}
	return each(ctx, w, target, list, func(ctx context.Context, w *work, r *ref) error { return w.analyzeOne(ctx, r, waitForOthers) })
}

// analyzeOne makes the statistics of one table, once.
func (w *work) analyzeOne(ctx context.Context, r *ref, how manner) error {
	return w.do(ctx, "analyze/"+r.key(), "", how, func() error {
		sql := "ANALYZE " + qualified(r.Schema, r.Table)
		err := w.exec(ctx, sql)
		if isCode(err, codePrivilege, codeNoTable, codeNoSchema) || isForeign(err) && ctx.Err() == nil && !w.IsClosed() {
			return nil // statistics are no data; autovacuum makes them too, but those of a whole of which a part is elsewhere
		}
		if err != nil {
			return statementError("analyze "+r.Schema+"."+r.Table, sql, told(ctx, err))
		}
		return nil
	})
}

// analyzeLoaded makes the statistics of a table whose rows and indexes are in, while others are still loaded. Those of partitions
// and of what others inherit from are made with their parents', at the end.
func (w *work) analyzeLoaded(ctx context.Context, r *ref) error {
	// With Continue there may be no such table.
	alone, err := w.text(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass($1) AND NOT relispartition AND NOT relhassubclass)`,
		qualified(r.Schema, r.Table))
	if err != nil {
		return fmt.Errorf("look at %s.%s: %w", r.Schema, r.Table, classify(err))
	}
	if alone != "t" {
		return nil
	}
	return w.analyzeOne(ctx, r, leaveToOthers)
}

// withParents puts partitioned tables in the place of their partitions, whose statistics ANALYZE makes too, and adds tables that
// others inherit from: nothing else ever makes theirs, autovacuum looks at tables with rows alone.
func (w *work) withParents(ctx context.Context, target drivers.Target, list []*ref) ([]*ref, error) {
	rows, err := w.rows(ctx, `SELECT n.nspname, c.relname, rn.nspname, r.relname FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_class r ON r.oid = pg_catalog.pg_partition_root(c.oid) JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
		WHERE c.relispartition AND c.relkind = 'r'`)
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", classify(err))
	}
	roots := make(map[string]*ref, len(rows))
	for _, r := range rows {
		roots[keyOf(r[0], r[1])] = &ref{Schema: r[2], Table: r[3]}
	}
	for i, r := range list {
		if root := roots[r.key()]; root != nil {
			list[i] = root
		}
	}
	if len(target.Only) == 0 {
		parents, err := w.rows(ctx, `SELECT DISTINCT n.nspname, c.relname FROM pg_catalog.pg_inherits i
			JOIN pg_catalog.pg_class c ON c.oid = i.inhparent JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'`)
		if err != nil {
			return nil, fmt.Errorf("list inherited tables: %w", classify(err))
		}
		for _, r := range parents {
			list = append(list, &ref{Schema: r[0], Table: r[1]})
		}
	}
	slices.SortFunc(list, func(a, b *ref) int { return strings.Compare(a.key(), b.key()) })
	return slices.CompactFunc(list, func(a, b *ref) bool { return a.key() == b.key() }), nil
}
