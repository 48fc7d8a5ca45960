package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// table is a relation with rows of its own.
type table struct {
	oid       string
	schema    string
	name      string
	kind      string   // r, or p for a partitioned table, which has no rows of its own
	columns   []string // in the order of the table, without generated ones
	condition string   // of an extension's table: which rows are the user's
	extension bool
	heap      int64 // bytes of the table's own pages
	total     int64 // with TOAST, without indexes
	noData    bool
}

// qualified is the table's name in SQL.
func (t *table) qualified() string { return qualified(t.schema, t.name) }

// key is the table's name in parts' names: dots within names are encoded, so that no two tables share one.
func (t *table) key() string { return keyOf(t.schema, t.name) }

// label is the table's name as people write it.
func (t *table) label() string { return t.schema + "." + t.name }

// keyOf names a table so that a person recognises it and no other has the name.
func keyOf(schema, name string) string { return escapeName(schema) + "." + escapeName(name) }

// escapeName percent-encodes what separates names, and the percent sign.
func escapeName(name string) string {
	return strings.NewReplacer("%", "%25", "/", "%2F", ".", "%2E").Replace(name)
}

// listTables lists the tables that are dumped, those of extensions that hold configuration included.
//
// The names come with the oid: the relation behind the name must be the one that was locked.
const tablesQuery = `
SELECT c.oid, n.nspname, c.relname, c.relkind,
  COALESCE(CASE WHEN c.relkind = 'r' THEN pg_catalog.pg_relation_size(c.oid) END, 0),
  COALESCE(CASE WHEN c.relkind = 'r' THEN pg_catalog.pg_table_size(c.oid) END, 0),
  d.refobjid IS NOT NULL,
  cfg.condition IS NOT NULL,
  COALESCE(cfg.condition, '')
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0
  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
LEFT JOIN LATERAL (
  SELECT COALESCE(x.condition, '') AS condition
  FROM pg_catalog.pg_extension e, ROWS FROM (pg_catalog.unnest(e.extconfig), pg_catalog.unnest(e.extcondition)) AS x(oid, condition)
  WHERE e.oid = d.refobjid AND x.oid = c.oid
) cfg ON true
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname <> 'salvor_progress'
ORDER BY c.oid`

func (s *Source) listTables(ctx context.Context, c *conn) ([]*table, error) {
	rows, err := c.rows(ctx, tablesQuery)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", classify(err))
	}
	var tables []*table
	for _, r := range rows {
		t := &table{oid: r[0], schema: r[1], name: r[2], kind: r[3], extension: r[6] == "t", condition: r[8]}
		if t.extension && r[7] != "t" || !s.options.takesTable(t.schema, t.name) {
			continue
		}
		if t.heap, err = strconv.ParseInt(r[4], 10, 64); err != nil {
			return nil, fmt.Errorf("list tables: %w", err)
		}
		if t.total, err = strconv.ParseInt(r[5], 10, 64); err != nil {
			return nil, fmt.Errorf("list tables: %w", err)
		}
		t.noData = !s.options.takesData(t.schema, t.name)
		tables = append(tables, t)
	}
	return tables, nil
}

// columnsQuery lists the columns that are copied. Generated ones are computed again by the target.
const columnsQuery = `
SELECT a.attrelid, a.attname
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  AND c.oid = ANY ($1::pg_catalog.oid[])
ORDER BY a.attrelid, a.attnum`

// describeColumns fills in the tables' columns.
func (s *Source) describeColumns(ctx context.Context, c *conn, tables []*table) error {
	byOID := make(map[string]*table, len(tables))
	var oids []string
	for _, t := range tables {
		byOID[t.oid] = t
		oids = append(oids, t.oid)
	}
	query := columnsQuery
	if c.version < 120000 {
		query = strings.ReplaceAll(query, "AND a.attgenerated = ''", "")
	}
	rows, err := c.rows(ctx, query, "{"+strings.Join(oids, ",")+"}")
	if err != nil {
		return fmt.Errorf("list columns: %w", classify(err))
	}
	for _, r := range rows {
		t := byOID[r[0]]
		t.columns = append(t.columns, r[1])
	}
	return nil
}

// listLargeObjects returns the oids of all large objects, ascending.
func (s *Source) listLargeObjects(ctx context.Context, c *conn) ([]string, error) {
	if s.options.selective() {
		return nil, nil
	}
	rows, err := c.rows(ctx, "SELECT oid FROM pg_catalog.pg_largeobject_metadata ORDER BY oid")
	if err != nil {
		return nil, fmt.Errorf("list large objects: %w", classify(err))
	}
	oids := make([]string, len(rows))
	for i, r := range rows {
		oids[i] = r[0]
	}
	return oids, nil
}
