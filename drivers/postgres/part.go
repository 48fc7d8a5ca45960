package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"salvor/drivers"
)

// The kinds of parts.
const (
	kindSchema    = "schema"                 // pg_dump's custom format: everything but rows
	kindGlobals   = "globals"                // pg_dumpall's SQL: roles and tablespaces
	kindSequences = "sequences"              // SQL: the state of sequences
	kindTable     = "table"                  // COPY text of a table, or of a range of its pages
	kindObjects   = "large-objects"          // COPY text: oid, offset, bytes
	kindMetadata  = "large-objects-metadata" // SQL: large objects without their bytes
)

// ref is this driver's description of a part: what Dump and Load need. It is stored in manifests: names and meanings of
// fields never change.
type ref struct {
	Kind string `json:"kind"`
	// Schema and Table name the table; Columns are those of the text, in order, all of the table's where it has none to name.
	Schema  string   `json:"schema,omitempty"`
	Table   string   `json:"table,omitempty"`
	Columns []string `json:"columns,omitempty"`
	// Condition restricts an extension's table to the user's rows.
	Condition string `json:"condition,omitempty"`
	// Via is the partitioned table through which the rows are loaded, because they may belong into another of its partitions.
	Via *relation `json:"via,omitempty"`
	// Extension marks a table of an extension: a restore keeps the rows that the extension itself brings.
	Extension bool `json:"extension,omitempty"`
	// From and To are the range of pages, of large objects that of oids, To = 0 meaning all from From on; Ranges is the number of
	// ranges of the table.
	From   int64 `json:"from,omitempty"`
	To     int64 `json:"to,omitempty"`
	Ranges int   `json:"ranges,omitempty"`
	// Encoding is that of the text: the database's own, so that no byte is lost by a conversion; "" is UTF8.
	Encoding string `json:"encoding,omitempty"`
	// Clock is the time of the view, Unix seconds (schema).
	Clock int64 `json:"clock,omitempty"`
	// Database says how the database was made (schema).
	Database *database `json:"database,omitempty"`
	// Schemas are those that a dump of single tables needs and does not make (schema).
	Schemas []string `json:"schemas,omitempty"`
	// Relations are those that have no rows in the dump and can be selected (schema).
	Relations []bareRelation `json:"relations,omitempty"`
	// Version is the server's (schema).
	Version int `json:"version,omitempty"`

	spread bool // the rows are those of all partitions of the table
}

// key names the table of a part.
func (r *ref) key() string { return keyOf(r.Schema, r.Table) }

// rangeName names a part that holds a range of its table.
func (r *ref) rangeName() string { return fmt.Sprintf("%s/%06d", r.key(), r.From) }

func readRef(part drivers.Part) (*ref, error) {
	var r ref
	if err := json.Unmarshal(part.Ref, &r); err != nil {
		return nil, fmt.Errorf("part %q: %w: its description makes no sense", part.Name, drivers.ErrInvalid)
	}
	switch r.Kind {
	case kindSchema, kindGlobals, kindSequences, kindTable, kindObjects, kindMetadata:
		return &r, nil
	}
	return nil, fmt.Errorf("part %q: %w: no such part", part.Name, drivers.ErrInvalid)
}

const (
	pageSize = 8192
	// defaultChunk is the least size from which on a table is cut, and of its pieces.
	defaultChunk = 64 << 20
	// largestWhole bounds what is done again when a connection breaks: what is larger is always cut.
	largestWhole = 4 << 30
	// largestChunk bounds a piece of it.
	largestChunk = 1 << 30
	// defaultSplit is the size of an object: what is longer is stored as several.
	defaultSplit = 64 << 20
	// metadataSize is about what the statements about one large object take.
	metadataSize = 200
	// objectsPerPart bounds the large objects of one part.
	objectsPerPart = 1000
)

// plan lists the parts of the view, once: every call of Parts gives the same.
func (v *view) plan(ctx context.Context, lead *conn) error {
	db, err := describeDatabase(ctx, lead)
	if err != nil {
		return err
	}
	add := func(name, ext string, size int64, base bool, r ref) error {
		raw, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("describe part %s: %w", name, err)
		}
		v.parts = append(v.parts, drivers.Part{
			Name: name, Ext: ext, Size: size, Ref: raw, Base: base, Digested: r.Kind == kindTable || r.Kind == kindObjects,
		})
		return nil
	}
	schemas, err := v.source.selectedSchemas(ctx, lead)
	if err != nil {
		return err
	}
	bare, err := v.bareRelations(ctx, lead)
	if err != nil {
		return err
	}
	err = add("schema", "dump", 256<<10, true, ref{
		Kind: kindSchema, Clock: v.clock.Unix(), Database: db, Schemas: schemas, Relations: bare, Version: lead.version,
	})
	if err != nil {
		return err
	}
	if v.source.options.Globals {
		if err := add("globals", "sql", 64<<10, true, ref{Kind: kindGlobals, Version: lead.version}); err != nil {
			return err
		}
	}
	if err := add("sequences", "sql", 64<<10, true, ref{Kind: kindSequences}); err != nil {
		return err
	}
	cut := v.cutting()
	for _, t := range v.tables {
		if t.kind != "r" || t.noData {
			continue
		}
		for _, r := range t.ranges(cut, lead.version) {
			r.Encoding = v.encoding
			name := t.key()
			if r.Ranges > 1 {
				name = r.rangeName()
			}
			if err := add(name, "copy", max(t.total/int64(max(r.Ranges, 1)), 1), false, r); err != nil {
				return err
			}
		}
	}
	if err := v.planObjects(ctx, lead, add); err != nil {
		return err
	}
	slices.SortStableFunc(v.parts, func(a, b drivers.Part) int {
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

// planObjects adds the parts of large objects: ranges of oids that together hold all there can be.
func (v *view) planObjects(ctx context.Context, lead *conn, add func(name, ext string, size int64, base bool, r ref) error) error {
	if v.objects == 0 {
		return nil
	}
	bounds, err := largeObjectBounds(ctx, lead, objectsPerPart)
	if err != nil {
		return err
	}
	bytes, err := lead.number(ctx, "SELECT pg_catalog.pg_table_size('pg_catalog.pg_largeobject')")
	if err != nil {
		return fmt.Errorf("measure large objects: %w", classify(err))
	}
	if err := add(kindMetadata, "sql", max(v.objects*metadataSize, 1), true, ref{Kind: kindMetadata}); err != nil {
		return err
	}
	bounds = append(append([]int64{0}, bounds...), 0)
	for i := range len(bounds) - 1 {
		r := ref{Kind: kindObjects, From: bounds[i], To: bounds[i+1]}
		if err := add(fmt.Sprintf("large-objects/%06d", i), "copy", max(bytes/int64(len(bounds)-1), 1), false, r); err != nil {
			return err
		}
	}
	return nil
}

// cutting says which tables are cut.
type cutting struct {
	whole int64 // up to this size they are not
	chunk int64 // the size of a piece
}

// cutting decides by what one of those who read side by side has to read. A range of pages costs the server a seventh more
// than the whole table does, so only what would keep the others waiting is cut.
func (v *view) cutting() cutting {
	if c := v.source.chunk; c > 0 {
		return cutting{c, c}
	}
	var total int64
	for _, t := range v.tables {
		total += t.total
	}
	share := total / int64(v.source.readers())
	return cutting{
		whole: min(max(share+share/8, 2*defaultChunk), largestWhole),
		chunk: min(max(share/8, defaultChunk), largestChunk),
	}
}

// ranges cuts a table into pieces. Its length is that of the file, not what statistics say; the last range is open, and a
// piece of no rows is no harm. Before PostgreSQL 14 a range of pages is read by a scan of the whole table.
func (t *table) ranges(cut cutting, version int) []ref {
	r := ref{Kind: kindTable, Schema: t.schema, Table: t.name, Columns: t.columns, Condition: t.condition, Extension: t.extension, Via: t.via, Ranges: 1}
	pages := t.heap / pageSize
	n := min(t.total/cut.chunk, pages)
	if t.total <= cut.whole || n < 2 || t.condition != "" || version < 140000 {
		return []ref{r}
	}
	list := make([]ref, n)
	for i := range list {
		r.From, r.To, r.Ranges = pages*int64(i)/n, pages*int64(i+1)/n, int(n)
		if i == len(list)-1 {
			r.To = 0
		}
		list[i] = r
	}
	return list
}

// columnList is the list of columns of a COPY. A table that has none to name is copied without a list: a blank line a row.
func columnList(columns []string) string {
	if len(columns) == 0 {
		return ""
	}
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = ident(c)
	}
	return strings.Join(quoted, ", ")
}

// copySQL is the statement that gives the rows of a part.
func (r *ref) copySQL() string {
	name, columns := qualified(r.Schema, r.Table), columnList(r.Columns)
	where := r.Condition
	if r.Ranges > 1 {
		where = fmt.Sprintf("WHERE ctid >= '(%d,0)'", r.From)
		if r.To > 0 {
			where += fmt.Sprintf(" AND ctid < '(%d,0)'", r.To)
		}
	}
	with := ""
	if e := r.encodingOption(); e != "" {
		with = " WITH (" + e + ")"
	}
	switch {
	case r.spread:
		return "COPY (SELECT " + columns + " FROM " + name + ") TO STDOUT" + with
	case where != "":
		return "COPY (SELECT " + columns + " FROM ONLY " + name + " " + where + ") TO STDOUT" + with
	case columns == "":
		return "COPY " + name + " TO STDOUT" + with
	default:
		return "COPY " + name + " (" + columns + ") TO STDOUT" + with
	}
}

// encodingOption makes a COPY speak the text's encoding, whatever the session's is; "" where they are the same.
func (r *ref) encodingOption() string {
	if r.Encoding == "" || r.Encoding == utf8Encoding {
		return ""
	}
	return "ENCODING " + literal(r.Encoding)
}
