package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"salvor/drivers/relational"
)

// detail is what SQL needs to know of a table beside its model.
type detail struct {
	from  string   // the table as FROM names it
	casts []string // the type that each column's values are compared as
}

// describing collects a database's model.
type describing struct {
	c        *conn
	encoding string
	model    *relational.Model
	details  map[relational.Name]*detail
	byOID    map[string]*relational.Table // also by the partitions' oids
	numbers  map[string]map[string]int    // table → attribute number → place of the column
	types    map[string]pgType
	keyTypes map[string]map[string]keyType // table → column → what sorts it
	oids     string
}

// pgType is a type as far as its values' form matters.
type pgType struct{ name, kind, base, schema string }

// keyType is what the order of a column depends on.
type keyType struct {
	base      string // the name of the base type
	collation string
}

func describeModel(ctx context.Context, c *conn, tables []*table) (*describing, error) {
	d := &describing{
		c: c, encoding: c.ParameterStatus("server_encoding"), details: make(map[relational.Name]*detail), byOID: make(map[string]*relational.Table),
		numbers: make(map[string]map[string]int), types: make(map[string]pgType), keyTypes: make(map[string]map[string]keyType),
		model: &relational.Model{Engine: "postgres", Version: c.ParameterStatus("server_version")},
	}
	var err error
	// The session speaks UTC; what it would have spoken is what the database's users see.
	if d.model.TimeZone, err = c.text(ctx, "SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'TimeZone'"); err != nil {
		return nil, fmt.Errorf("read time zone: %w", err)
	}
	for _, step := range []struct {
		what string
		do   func(context.Context, []*table) error
	}{
		{"tables", d.tables},
		{"types", d.readTypes},
		{"columns", d.columns},
		{"keys", d.keys},
		{"foreign keys", d.references},
		{"triggers", d.triggers},
		{"sequences", d.sequences},
	} {
		if err := step.do(ctx, tables); err != nil {
			return nil, fmt.Errorf("list %s: %w", step.what, err)
		}
	}
	d.model.Sort()
	return d, nil
}

// partitionsQuery finds the table that a partition belongs to in the end. pg_partition_root came with PostgreSQL 12.
const partitionsQuery = `
WITH RECURSIVE up(oid, root) AS (
  SELECT c.oid, i.inhparent FROM pg_catalog.pg_class c JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid WHERE c.relispartition
  UNION ALL
  SELECT up.oid, i.inhparent FROM up JOIN pg_catalog.pg_class c ON c.oid = up.root AND c.relispartition JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.root
)
SELECT up.oid, up.root FROM up JOIN pg_catalog.pg_class c ON c.oid = up.root WHERE NOT c.relispartition`

func (d *describing) tables(ctx context.Context, tables []*table) error {
	partitions, err := d.c.rows(ctx, partitionsQuery)
	if err != nil {
		return err
	}
	root := make(map[string]string)
	for _, r := range partitions {
		root[r[0]] = r[1]
	}
	estimates, err := d.c.rows(ctx, "SELECT oid, reltuples::bigint FROM pg_catalog.pg_class WHERE oid = ANY ($1::pg_catalog.oid[])", oidsOf(tables))
	if err != nil {
		return err
	}
	count := make(map[string]int64)
	for _, r := range estimates {
		n, err := strconv.ParseInt(r[1], 10, 64)
		if err != nil {
			return err
		}
		top := r[0]
		if root[top] != "" {
			top = root[top]
		}
		count[top] += max(n, 0)
	}
	var oids []string
	for _, t := range tables {
		name := relational.Name{Schema: t.schema, Name: t.name}
		switch {
		case root[t.oid] != "":
			continue
		case t.noData:
			d.model.Omitted = append(d.model.Omitted, relational.Omitted{Name: name, Reason: "its rows are left out by exclude_table_data, or are not on this server"})
			continue
		}
		rel := &relational.Table{Name: name, Rows: count[t.oid]}
		from := "ONLY " + t.qualified() // tables that inherit from it are tables of their own
		if t.kind == "p" {
			from = t.qualified()
		}
		d.model.Tables = append(d.model.Tables, rel)
		d.details[name] = &detail{from: from}
		d.byOID[t.oid] = rel
		oids = append(oids, t.oid)
	}
	d.oids = "{" + strings.Join(oids, ",") + "}"
	for partition, top := range root {
		if t := d.byOID[top]; t != nil {
			d.byOID[partition] = t
		}
	}
	return nil
}

func (d *describing) readTypes(ctx context.Context, _ []*table) error {
	list, err := d.c.rows(ctx, `SELECT t.oid, t.typname, t.typtype, t.typbasetype, n.nspname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
		WHERE t.oid IN (SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY ($1::pg_catalog.oid[])) OR t.typtype = 'd'
		OR t.oid IN (SELECT x.typbasetype FROM pg_catalog.pg_type x WHERE x.typtype = 'd')`, d.oids)
	if err != nil {
		return err
	}
	for _, r := range list {
		d.types[r[0]] = pgType{name: r[1], kind: r[2], base: r[3], schema: r[4]}
	}
	return nil
}

// base finds what a domain is made of.
func (d *describing) base(oid string) pgType {
	t := d.types[oid]
	for range 20 {
		if t.kind != "d" {
			break
		}
		t = d.types[t.base]
	}
	return t
}

const modelColumnsQuery = `
SELECT a.attrelid, a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.format_type(a.atttypid, -1), a.atttypid,
  a.attnotnull, a.attgenerated, a.attidentity, COALESCE(pg_catalog.pg_get_expr(ad.adbin, ad.adrelid), ''),
  COALESCE(sn.nspname, ''), COALESCE(s.relname, ''),
  COALESCE((SELECT l.collname FROM pg_catalog.pg_collation l WHERE l.oid = a.attcollation), '')
FROM pg_catalog.pg_attribute a
LEFT JOIN pg_catalog.pg_attrdef ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum
LEFT JOIN pg_catalog.pg_depend dep ON dep.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND dep.objid = ad.oid
  AND dep.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND dep.refobjid IN (SELECT q.oid FROM pg_catalog.pg_class q WHERE q.relkind = 'S')
LEFT JOIN pg_catalog.pg_class s ON s.oid = dep.refobjid
LEFT JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
WHERE a.attrelid = ANY ($1::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum`

func (d *describing) columns(ctx context.Context, _ []*table) error {
	query := modelColumnsQuery
	if d.c.version < 120000 {
		query = strings.ReplaceAll(query, "a.attgenerated", "''")
	}
	list, err := d.c.rows(ctx, query, d.oids)
	if err != nil {
		return err
	}
	for _, r := range list {
		t := d.byOID[r[0]]
		if err := storable(r[2]); err != nil {
			return fmt.Errorf("columns of %s: %w", t.Name, err)
		}
		if d.numbers[r[0]] == nil {
			d.numbers[r[0]], d.keyTypes[r[0]] = make(map[string]int), make(map[string]keyType)
		}
		if _, twice := d.numbers[r[0]][r[1]]; twice {
			continue // a default that draws from two sequences
		}
		base := d.base(r[5])
		c := relational.Column{
			Name: r[2], SQL: r[3], Nullable: r[6] != "t", Generated: r[7] != "", Default: r[9],
			Identity: r[8] != "", Always: r[8] == "a",
		}
		c.Type, c.Clock = typeOf(base)
		if c.Generated {
			c.Default = ""
		}
		if r[11] != "" {
			c.Sequence = &relational.Name{Schema: r[10], Name: r[11]}
			c.Identity = true
		}
		d.numbers[r[0]][r[1]] = len(t.Columns)
		d.keyTypes[r[0]][c.Name] = keyType{base: base.name, collation: r[12]}
		t.Columns = append(t.Columns, c)
		d.details[t.Name].casts = append(d.details[t.Name].casts, r[4])
	}
	return nil
}

// typeOf finds what a type holds by the name of its base.
func typeOf(t pgType) (relational.Type, relational.Clock) {
	switch t.name {
	case "bool":
		return relational.TypeBool, relational.ClockNone
	case "int2", "int4", "int8", "oid":
		return relational.TypeInt, relational.ClockNone
	case "numeric":
		return relational.TypeDecimal, relational.ClockNone
	case "float4", "float8":
		return relational.TypeFloat, relational.ClockNone
	case "text", "varchar", "bpchar", "name", "char", "citext":
		return relational.TypeText, relational.ClockNone
	case "bytea":
		return relational.TypeBytes, relational.ClockNone
	case "timestamptz":
		return relational.TypeTime, relational.ClockMoment
	case "timestamp":
		return relational.TypeTime, relational.ClockWall
	case "date":
		return relational.TypeTime, relational.ClockDate
	case "time", "timetz":
		return relational.TypeTime, relational.ClockNone
	case "json", "jsonb":
		return relational.TypeJSON, relational.ClockNone
	}
	return relational.TypeOther, relational.ClockNone
}

// Orders that only PostgreSQL has: bytes that it computes, see orderBy.
const (
	orderText     = relational.OrderWeight + " text"      // the value's text
	orderCitext   = relational.OrderWeight + " citext"    // in lower case
	orderUTF8     = relational.OrderWeight + " text utf8" // the value's text, in a database of another encoding
	orderPlainUID = relational.OrderBytes                 // a UUID's text sorts as its bytes do
)

// orderOf finds how a key's column is sorted. Texts are sorted by their bytes, whatever their collation: no other order can be
// told from here. Where a collation calls more equal than the same bytes, rows are told apart by their bytes.
func (d *describing) orderOf(k keyType) relational.Order {
	switch k.base {
	case "int2", "int4", "int8", "oid":
		return relational.OrderInt
	case "numeric":
		return relational.OrderDecimal
	case "float8", "float4":
		return relational.OrderFloat
	case "bool":
		return relational.OrderBool
	case "bytea":
		return relational.OrderBytes
	case "uuid":
		return orderPlainUID
	case "date", "timestamp", "timestamptz":
		return relational.OrderTime
	case "citext":
		return orderCitext
	case "text", "varchar", "name":
		if d.encoding != utf8Encoding && d.encoding != sqlASCII {
			return orderUTF8
		}
		return relational.OrderBytes
	}
	if d.encoding != utf8Encoding && d.encoding != sqlASCII {
		return orderUTF8
	}
	return orderText
}

const keysQuery = `
SELECT x.indrelid, i.relname, x.indisprimary, x.indisunique, x.indisexclusion,
  (SELECT pg_catalog.string_agg(k.n::text, ' ' ORDER BY k.at) FROM pg_catalog.unnest(x.indkey::pg_catalog.int2[]) WITH ORDINALITY k(n, at) WHERE k.at <= %[1]s),
  COALESCE(pg_catalog.pg_get_expr(x.indpred, x.indrelid), ''), x.indexprs IS NOT NULL, %[2]s, COALESCE(con.condeferrable, false)
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
LEFT JOIN pg_catalog.pg_constraint con ON con.conindid = x.indexrelid AND con.contype IN ('p', 'u', 'x') AND con.conrelid = x.indrelid
WHERE x.indrelid = ANY ($1::pg_catalog.oid[]) AND (x.indisunique OR x.indisexclusion) AND x.indisvalid
ORDER BY 1, 2`

func (d *describing) keys(ctx context.Context, _ []*table) error {
	attributes, nulls := "x.indnkeyatts", "false"
	if d.c.version < 110000 {
		attributes = "x.indnatts"
	}
	if d.c.version >= 150000 {
		nulls = "x.indnullsnotdistinct"
	}
	list, err := d.c.rows(ctx, fmt.Sprintf(keysQuery, attributes, nulls), d.oids)
	if err != nil {
		return err
	}
	for _, r := range list {
		t := d.byOID[r[0]]
		k := relational.Key{Name: r[1], Condition: r[6], Expression: r[7] == "t", NullsEqual: r[8] == "t", Deferrable: r[9] == "t", Exclusion: r[4] == "t"}
		for number := range strings.FieldsSeq(r[5]) {
			place, ok := d.numbers[r[0]][number]
			if !ok {
				k.Expression = true
				continue
			}
			name := t.Columns[place].Name
			k.Columns = append(k.Columns, name)
			k.Order = append(k.Order, d.orderOf(d.keyTypes[r[0]][name]))
		}
		if r[2] == "t" {
			t.Primary = &k
			continue
		}
		t.Unique = append(t.Unique, k)
	}
	return nil
}

const referencesQuery = `
SELECT con.conrelid, con.conname, con.confrelid,
  pg_catalog.array_to_string(con.conkey, ' '), pg_catalog.array_to_string(con.confkey, ' '),
  con.confdeltype, con.condeferrable, con.confmatchtype, con.convalidated
FROM pg_catalog.pg_constraint con
WHERE con.contype = 'f' AND con.conrelid <> 0 %s
ORDER BY con.conrelid, con.conname`

func (d *describing) references(ctx context.Context, _ []*table) error {
	own := ""
	if d.c.version >= 110000 {
		own = "AND con.conparentid = 0" // the partitions' copies of their table's
	}
	list, err := d.c.rows(ctx, fmt.Sprintf(referencesQuery, own))
	if err != nil {
		return err
	}
	for _, r := range list {
		t, parent := d.byOID[r[0]], d.byOID[r[2]]
		if t == nil {
			continue // of a table that is not dumped
		}
		if parent == nil {
			d.model.Omitted = append(d.model.Omitted, relational.Omitted{Name: t.Name, Reason: "the foreign key " + r[1] + " refers to a table that is left out"})
			continue
		}
		columns, ok := d.named(ctx, r[0], t, r[3])
		parents, okParents := d.named(ctx, r[2], parent, r[4])
		if !ok || !okParents {
			d.model.Omitted = append(d.model.Omitted, relational.Omitted{Name: t.Name, Reason: "the foreign key " + r[1] + " is of one partition, whose columns are not its table's"})
			continue
		}
		actions := map[string]string{"a": "no action", "r": "restrict", "c": "cascade", "n": "set null", "d": "set default"}
		t.Foreign = append(t.Foreign, relational.Edge{
			Name: r[1], Columns: columns, Parent: parent.Name, ParentColumns: parents, OnDelete: actions[r[5]],
			Deferrable: r[6] == "t", Full: r[7] == "f", Unenforced: r[8] != "t",
		})
	}
	return nil
}

// named finds the columns of attribute numbers. A partition numbers them in its own way.
func (d *describing) named(ctx context.Context, oid string, t *relational.Table, numbers string) (columns []string, ok bool) {
	places := d.numbers[oid]
	for number := range strings.FieldsSeq(numbers) {
		if places != nil {
			place, ok := places[number]
			if !ok {
				return nil, false
			}
			columns = append(columns, t.Columns[place].Name)
			continue
		}
		name, err := d.c.text(ctx, "SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = $1::pg_catalog.oid AND attnum = $2::pg_catalog.int2", oid, number)
		if err != nil || t.Index(name) < 0 {
			return nil, false
		}
		columns = append(columns, name)
	}
	return columns, true
}

func (d *describing) triggers(ctx context.Context, _ []*table) error {
	list, err := d.c.rows(ctx, `SELECT tgrelid, tgname, tgtype, tgenabled FROM pg_catalog.pg_trigger WHERE NOT tgisinternal AND tgrelid = ANY ($1::pg_catalog.oid[])
		UNION ALL SELECT ev_class, rulename, CASE ev_type WHEN '2' THEN 16 WHEN '3' THEN 4 WHEN '4' THEN 8 ELSE 0 END, ev_enabled
		FROM pg_catalog.pg_rewrite WHERE ev_type <> '1' AND ev_class = ANY ($1::pg_catalog.oid[])`, d.oids)
	if err != nil {
		return err
	}
	for _, r := range list {
		bits, err := strconv.Atoi(r[2])
		if err != nil {
			return err
		}
		tr := relational.Trigger{Name: r[1], Disabled: r[3] == "D" || r[3] == "R"}
		for i, event := range []string{"insert", "delete", "update"} {
			if bits&(4<<i) != 0 {
				tr.Events = append(tr.Events, event)
			}
		}
		if len(tr.Events) > 0 {
			t := d.byOID[r[0]]
			t.Triggers = append(t.Triggers, tr)
		}
	}
	return nil
}

const modelSequencesQuery = `
SELECT n.nspname, c.relname, COALESCE(pg_catalog.pg_sequence_last_value(c.oid)::text, ''), q.seqstart, q.seqincrement,
  COALESCE(dep.refobjid::text, ''), COALESCE(a.attname, ''), dep.deptype = 'i'
FROM pg_catalog.pg_sequence q
JOIN pg_catalog.pg_class c ON c.oid = q.seqrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend dep ON dep.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND dep.objid = c.oid AND dep.objsubid = 0
  AND dep.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND dep.deptype IN ('a', 'i') AND dep.refobjsubid > 0
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = dep.refobjid AND a.attnum = dep.refobjsubid
WHERE c.relpersistence <> 't' AND n.nspname NOT IN ('salvor_progress')`

func (d *describing) sequences(ctx context.Context, _ []*table) error {
	list, err := d.c.rows(ctx, modelSequencesQuery)
	if err != nil {
		return err
	}
	for _, r := range list {
		if err := storable(r[0], r[1]); err != nil {
			return err
		}
		s := relational.Sequence{Name: relational.Name{Schema: r[0], Name: r[1]}, Last: r[2], Called: r[2] != "", Increment: r[4]}
		if !s.Called {
			s.Last = r[3]
		}
		if t := d.byOID[r[5]]; t != nil {
			s.Table, s.Column = &t.Name, r[6]
			if i := t.Index(r[6]); i >= 0 && r[7] == "t" {
				name := s.Name
				t.Columns[i].Sequence = &name
			}
		}
		d.model.Sequences = append(d.model.Sequences, s)
	}
	return nil
}

// orderBy sorts by a key's column as its order says, and is "" where the column itself does.
func orderBy(order relational.Order, column string) string {
	switch order {
	case orderText:
		return column + "::pg_catalog.text"
	case orderCitext:
		return "pg_catalog.lower(" + column + "::pg_catalog.text)"
	case orderUTF8:
		return "pg_catalog.convert_to(" + column + "::pg_catalog.text, 'UTF8')"
	default:
		return ""
	}
}

// sortsPlainly tells whether the server's own order of the column is that of the key.
func sortsPlainly(c *relational.Column, order relational.Order) bool {
	return order != relational.OrderBytes || c.Type != relational.TypeText
}
