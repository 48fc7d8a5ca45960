package postgres

import (
	"context"
	"fmt"
	"slices"

	"salvor/drivers"
)

// A selection can name what has no rows of its own: a partitioned table, which stands for its partitions, and views, foreign tables
// and tables that were dumped without their rows.

// bareRelation is one of those, as the manifest keeps it.
type bareRelation struct {
	relation
	// Kind is pg_class.relkind: r, p, v, m or f.
	Kind string `json:"kind"`
	// Of are the keys of the partitions, those without rows too.
	Of []string `json:"of,omitempty"`
}

func (b *bareRelation) key() string { return keyOf(b.Schema, b.Table) }

// dropWord is what the relation is to DROP.
func (b *bareRelation) dropWord() string {
	switch b.Kind {
	case "v":
		return "VIEW"
	case "m":
		return "MATERIALIZED VIEW"
	case "f":
		return "FOREIGN TABLE"
	}
	return "TABLE"
}

const bareQuery = `SELECT n.nspname, c.relname, c.relkind FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm', 'f') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'salvor_progress')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
    AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e')
ORDER BY 1, 2`

const ancestorsQuery = `SELECT n.nspname, c.relname, a.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(c.oid) AS p(relid) JOIN pg_catalog.pg_class a ON a.oid = p.relid
WHERE c.relispartition AND c.relkind IN ('r', 'f') AND a.relkind = 'p' ORDER BY c.oid`

// bareRelations lists what the dump holds without rows.
func (v *view) bareRelations(ctx context.Context, lead *conn) ([]bareRelation, error) {
	rows, err := lead.rows(ctx, bareQuery)
	if err != nil {
		return nil, fmt.Errorf("list views: %w", classify(err))
	}
	var list []bareRelation
	for _, r := range rows {
		if v.source.options.takesTable(r[0], r[1]) && storable(r[0], r[1]) == nil {
			list = append(list, bareRelation{relation: relation{r[0], r[1]}, Kind: r[2]})
		}
	}
	dumped := make(map[string]bool, len(list)+len(v.tables))
	for i := range list {
		dumped[list[i].key()] = true
	}
	for _, t := range v.tables {
		dumped[t.key()] = true
	}
	rows, err = lead.rows(ctx, ancestorsQuery)
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", classify(err))
	}
	partitions := make(map[string][]string)
	for _, r := range rows {
		if key := keyOf(r[0], r[1]); dumped[key] {
			partitions[r[2]] = append(partitions[r[2]], key)
		}
	}
	for _, t := range v.tables {
		if t.kind == "p" || t.noData && !t.extension {
			list = append(list, bareRelation{relation: relation{t.schema, t.name}, Kind: t.kind, Of: partitions[t.oid]})
		}
	}
	return list, nil
}

// selectName tells what a name in a selection stands for beside the parts of that name.
func selectName(parts []drivers.Part, name string) (also []string, known bool) {
	for _, p := range parts {
		if !p.Base {
			continue
		}
		r, err := readRef(p)
		if err != nil || r.Kind != kindSchema {
			continue
		}
		i := slices.IndexFunc(r.Relations, func(b bareRelation) bool { return b.key() == name })
		if i >= 0 {
			return r.Relations[i].Of, true
		}
	}
	return nil, false
}

// chooseBare fills in what a selection names that has no rows.
func (c *contents) chooseBare(only []string) {
	for i := range c.schemaRef.Relations {
		if b := &c.schemaRef.Relations[i]; slices.Contains(only, b.key()) {
			c.bare[b.key()] = b
		}
	}
}

// has tells whether the restore is of a relation: always where nothing is selected.
func (c *contents) has(key string) bool {
	_, rows := c.tables[key]
	return rows || c.bare[key] != nil
}

// bareThere lists the selected relations without rows that the target has, under whatever kind.
func (c *contents) bareThere(ctx context.Context, w *conn) (map[string]bool, error) {
	there := make(map[string]bool)
	for key, b := range c.bare {
		text, err := w.text(ctx, "SELECT pg_catalog.to_regclass($1) IS NOT NULL", qualified(b.Schema, b.Table))
		if err != nil {
			return nil, fmt.Errorf("look for %s.%s: %w", b.Schema, b.Table, classify(err))
		}
		there[key] = text == "t"
	}
	return there, nil
}
