package mysql

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
)

// whole describes the part that is all of a table.
func (t *table) whole() ref {
	r := ref{Kind: partTable, Table: t.name, Columns: t.columns, Outside: t.outside, History: t.versioned == versionedByTime, Ranges: 1, Spool: t.spool}
	if t.key != nil {
		r.Key, r.KeyName = t.key, t.keyName
	}
	return r
}

// listParts lists the parts of the view, once: every call of Parts gives the same. Tables are cut by the view's own sessions.
func (f *freezing) listParts(ctx context.Context, db *database) error {
	add := func(name, ext string, size int64, base bool, r *ref) error {
		raw, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("describe part %s: %w", name, err)
		}
		f.parts = append(f.parts, drivers.Part{Name: name, Ext: ext, Size: size, Ref: raw, Base: base, Digested: r.Kind == partTable})
		return nil
	}
	schema := &ref{Kind: partSchema, Database: db, Server: f.server.text, Auto: f.auto}
	if err := add(schemaName, "sql", int64(len(f.schema)), true, schema); err != nil {
		return err
	}
	if f.globals != nil {
		if err := add(globalsName, "sql", int64(len(f.globals)), true, &ref{Kind: partGlobals, Server: f.server.text}); err != nil {
			return err
		}
	}
	var tables []*table
	for _, t := range f.tables {
		if t.kind == baseTable && !t.noData {
			tables = append(tables, t)
		}
	}
	ranges := make([][]ref, len(tables))
	group, groupCtx := errgroup.WithContext(ctx)
	for i, t := range tables {
		group.Go(func() error {
			s, err := f.pool.take(groupCtx)
			if err != nil {
				return err
			}
			defer f.pool.give(s)
			ranges[i], err = t.ranges(groupCtx, s.conn, f.source.chunk)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("list parts: %w", told(ctx, err))
	}
	for i, t := range tables {
		for n := range ranges[i] {
			r := &ranges[i][n]
			if err := add(r.partName(n), "tsv", max(t.size/int64(len(ranges[i])), 1), false, r); err != nil {
				return err
			}
		}
	}
	slices.SortStableFunc(f.parts, func(a, b drivers.Part) int {
		switch {
		case a.Base && !b.Base:
			return -1
		case b.Base && !a.Base:
			return 1
		}
		return cmp.Compare(b.Size, a.Size)
	})
	return nil
}
