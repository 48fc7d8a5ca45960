package postgres

import (
	"context"
	"fmt"
	"slices"

	"salvor/drivers"
)

// The hash of an enum's value is that of its oid, which another database gives anew: a row that was in one partition belongs into
// another there. So the rows of tables that are partitioned by the hash of an enum are loaded through the table itself, and
// compared as those of one table. (pg_dump's --load-via-partition-root is for the same.)

// relation names a table.
type relation struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
}

// viaQuery gives, for each partition, the uppermost table above it that is partitioned by the hash of an enum.
const viaQuery = `SELECT DISTINCT ON (c.oid) c.oid, a.oid, n.nspname, a.relname
FROM pg_catalog.pg_class c
CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(c.oid) WITH ORDINALITY AS p(relid, depth)
JOIN pg_catalog.pg_partitioned_table t ON t.partrelid = p.relid
JOIN pg_catalog.pg_class a ON a.oid = p.relid
JOIN pg_catalog.pg_namespace n ON n.oid = a.relnamespace
WHERE c.relispartition AND c.relkind = 'r' AND c.oid = ANY ($1::pg_catalog.oid[]) AND t.partstrat = 'h'
  AND EXISTS (SELECT FROM pg_catalog.unnest(t.partclass::pg_catalog.oid[]) AS k JOIN pg_catalog.pg_opclass o ON o.oid = k
    WHERE o.opcname = 'enum_ops' AND o.opcnamespace = 'pg_catalog'::pg_catalog.regnamespace)
ORDER BY c.oid, p.depth DESC`

const viaColumnsQuery = `SELECT a.attname FROM pg_catalog.pg_attribute a
WHERE a.attrelid = $1::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum`

// findVias fills in the tables that others are loaded through, and gives all that share one its order of columns, so that the
// digests of their rows add up.
func findVias(ctx context.Context, c *conn, tables []*table) error {
	byOID := make(map[string]*table, len(tables))
	for _, t := range tables {
		byOID[t.oid] = t
	}
	rows, err := c.rows(ctx, viaQuery, oidsOf(tables))
	if err != nil {
		return fmt.Errorf("look at partitions: %w", classify(err))
	}
	columns := make(map[string][]string)
	for _, r := range rows {
		if columns[r[1]] == nil {
			list, err := c.rows(ctx, viaColumnsQuery, r[1])
			if err != nil {
				return fmt.Errorf("list columns of %s.%s: %w", r[2], r[3], classify(err))
			}
			for _, cells := range list {
				columns[r[1]] = append(columns[r[1]], cells[0])
			}
		}
		t := byOID[r[0]]
		t.via, t.columns = &relation{r[2], r[3]}, columns[r[1]]
	}
	return nil
}

// goesVia tells whether a part is loaded through another table than its own: not into a selection of tables, where partitions are
// attached after their rows.
func (w *work) goesVia(ctx context.Context, r *ref) (bool, error) {
	if r.Via == nil {
		return false, nil
	}
	selection, err := w.text(ctx, "SELECT selection FROM salvor_progress.place")
	return selection == "f", classify(err)
}

// compared puts together what is compared as one: the parts of a table, or of all that are loaded through one.
func compared(target drivers.Target, c *contents) map[string][]loadPart {
	groups := make(map[string][]loadPart, len(c.tables))
	for key, list := range c.tables {
		if len(list) > 0 && list[0].ref.Via != nil && len(target.Only) == 0 {
			key = keyOf(list[0].ref.Via.Schema, list[0].ref.Via.Table)
			list = slices.Clone(list)
			for i := range list {
				r := *list[i].ref
				r.Schema, r.Table, r.spread = r.Via.Schema, r.Via.Table, true
				list[i].ref = &r
			}
		}
		groups[key] = append(groups[key], list...)
	}
	return groups
}
