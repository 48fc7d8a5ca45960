package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"salvor/drivers"
	"salvor/drivers/internal/rows"
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
	via       *relation // through which the rows are loaded, nil for the table itself
	noData    bool
	unlogged  bool
	secured   bool  // row security would hide rows from this role
	heap      int64 // bytes of the table's own pages
	total     int64 // with TOAST, without indexes
}

// qualified is the table's name in SQL.
func (t *table) qualified() string { return qualified(t.schema, t.name) }

// key is the table's name in parts' names: dots within names are encoded, so that no two tables share one.
func (t *table) key() string { return keyOf(t.schema, t.name) }

// label is the table's name as people write it.
func (t *table) label() string { return t.schema + "." + t.name }

// keyOf names a table so that a person recognises it and no other has the name.
func keyOf(schema, name string) string { return rows.Key(schema, name) }

// tablesQuery asks for nothing that waits for a lock (a size would): a table that somebody has locked is named, not waited
// for without a limit, and one that is not dumped does not matter. The names come with the oid: the relation behind the name
// must be the one that was locked.
const tablesQuery = `
SELECT c.oid, n.nspname, c.relname, c.relkind,
  d.refobjid IS NOT NULL,
  cfg.condition IS NOT NULL,
  COALESCE(cfg.condition, ''),
  c.relpersistence = 'u',
  c.relrowsecurity AND pg_catalog.row_security_active(c.oid)
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

// listTables lists the tables that are dumped, those of extensions that hold configuration included: a selection takes no
// extensions, and so not their tables.
func (s *Source) listTables(ctx context.Context, c *conn) ([]*table, error) {
	rows, err := c.rows(ctx, tablesQuery)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", classify(err))
	}
	var tables []*table
	for _, r := range rows {
		t := &table{oid: r[0], schema: r[1], name: r[2], kind: r[3], extension: r[4] == "t", condition: r[6], unlogged: r[7] == "t", secured: r[8] == "t"}
		if t.extension && (r[5] != "t" || s.options.selective()) || !s.options.takesTable(t.schema, t.name) {
			continue
		}
		if err := storable(t.schema, t.name); err != nil {
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
		if err := storable(r[1]); err != nil {
			return fmt.Errorf("list columns of %s: %w", t.label(), err)
		}
		t.columns = append(t.columns, r[1])
	}
	return nil
}

// sizesQuery opens each table, so it comes when they are locked.
const sizesQuery = `SELECT t.oid, COALESCE(pg_catalog.pg_relation_size(t.oid), 0), COALESCE(pg_catalog.pg_table_size(t.oid), 0)
FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS t(oid)`

// measure fills in the tables' sizes.
func measure(ctx context.Context, c *conn, tables []*table) error {
	byOID := make(map[string]*table, len(tables))
	var list []*table
	for _, t := range tables {
		if t.kind == "r" && !t.noData {
			byOID[t.oid] = t
			list = append(list, t)
		}
	}
	rows, err := c.rows(ctx, sizesQuery, oidsOf(list))
	if err != nil {
		return fmt.Errorf("measure tables: %w", classify(err))
	}
	for _, r := range rows {
		t := byOID[r[0]]
		if t.heap, err = strconv.ParseInt(r[1], 10, 64); err == nil {
			t.total, err = strconv.ParseInt(r[2], 10, 64)
		}
		if err != nil {
			return fmt.Errorf("measure tables: %w", err)
		}
	}
	return nil
}

// storable tells whether names can be stored. A database whose encoding is nobody's to convert can hold any bytes.
func storable(names ...string) error {
	for _, n := range names {
		if !utf8.ValidString(n) {
			return drivers.WithHint(fmt.Errorf("the name %q is no UTF-8: %w", n, drivers.ErrInvalid),
				"the database's encoding has no conversion, so names must be ASCII or UTF-8: rename it, or exclude it with exclude_tables")
		}
	}
	return nil
}

// selectedSchemas returns the schemas of single tables (views, sequences) that are dumped: pg_dump does not make them.
func (s *Source) selectedSchemas(ctx context.Context, c *conn) ([]string, error) {
	if len(s.options.Tables) == 0 {
		return nil, nil
	}
	rows, err := c.rows(ctx, `SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'salvor_progress') ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("list schemas: %w", classify(err))
	}
	var schemas []string
	for _, r := range rows {
		if s.options.takesTable(r[0], r[1]) && !slices.Contains(schemas, r[0]) {
			schemas = append(schemas, r[0])
		}
	}
	return schemas, nil
}

// countLargeObjects returns how many large objects are dumped.
func (s *Source) countLargeObjects(ctx context.Context, c *conn) (int64, error) {
	if s.options.selective() {
		return 0, nil
	}
	n, err := c.number(ctx, "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata")
	if err != nil {
		return 0, fmt.Errorf("count large objects: %w", classify(err))
	}
	return n, nil
}

// largeObjectBounds cuts the large objects into ranges of so many, and returns the oids that all but the first begin with.
func largeObjectBounds(ctx context.Context, c *conn, each int) ([]int64, error) {
	rows, err := c.rows(ctx, fmt.Sprintf(`SELECT o.oid FROM (SELECT oid, pg_catalog.row_number() OVER (ORDER BY oid) AS n FROM pg_catalog.pg_largeobject_metadata) o
		WHERE o.n > 1 AND o.n %% %d = 1 ORDER BY o.n`, each))
	if err != nil {
		return nil, fmt.Errorf("list large objects: %w", classify(err))
	}
	bounds := make([]int64, len(rows))
	for i, r := range rows {
		if bounds[i], err = strconv.ParseInt(r[0], 10, 64); err != nil {
			return nil, fmt.Errorf("list large objects: %w", err)
		}
	}
	return bounds, nil
}
