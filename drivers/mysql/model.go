package mysql

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"salvor/drivers/relational"
)

// detail is what SQL needs to know of a table beside its model.
type detail struct {
	reads   []string // the expression that reads each column
	weights []string // the expression that gives the bytes by which a column is sorted, "" where the column itself does
	sorts   []string // what each is sorted by
}

// describing collects a database's model.
type describing struct {
	source  *Source
	c       *conn
	model   *relational.Model
	details map[relational.Name]*detail
	byName  map[string]*relational.Table // in lower case: some servers do not tell cases apart
	orders  map[string][]relational.Order
}

func (s *Source) describeModel(ctx context.Context, c *conn) (*describing, error) {
	d := &describing{
		source: s, c: c, model: &relational.Model{Engine: "mysql", Version: c.server.text}, details: make(map[relational.Name]*detail),
		byName: make(map[string]*relational.Table), orders: make(map[string][]relational.Order),
	}
	var err error
	// The session speaks UTC; what it would have spoken is what the database's users see.
	d.model.TimeZone, err = c.text(ctx, "SELECT IF(@@global.time_zone = 'SYSTEM', @@global.system_time_zone, @@global.time_zone)")
	if err != nil {
		return nil, fmt.Errorf("read time zone: %w", err)
	}
	tables, err := s.listTables(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := d.tables(ctx, tables); err != nil {
		return nil, err
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{{"columns", d.columns}, {"keys", d.keys}, {"foreign keys", d.references}, {"triggers", d.triggers}, {"AUTO_INCREMENT", d.increments}} {
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("list %s: %w", step.what, err)
		}
	}
	d.model.Sort()
	return d, nil
}

func (d *describing) omit(name, reason string) {
	d.model.Omitted = append(d.model.Omitted, relational.Omitted{Name: relational.Name{Name: name}, Reason: reason})
}

func (d *describing) tables(ctx context.Context, tables []*table) error {
	for _, t := range tables {
		name := relational.Name{Name: t.name}
		switch {
		case t.kind == viewTable:
		case t.kind == sequenceTable:
			rows, err := d.c.rows(ctx, "SELECT next_not_cached_value, increment FROM "+ident(t.name))
			if err != nil {
				return fmt.Errorf("read sequence %s: %w", t.name, err)
			}
			for _, r := range rows {
				d.model.Sequences = append(d.model.Sequences, relational.Sequence{Name: name, Last: r[0], Increment: r[1]})
			}
		case t.noData:
			d.omit(t.name, "its rows are left out by exclude_table_data, or are not its own")
		case t.outside:
			d.omit(t.name, "its engine "+t.engine+" has no transactions, so its rows are not of one moment")
		default:
			rel := &relational.Table{Name: name, Rows: t.rows}
			d.model.Tables = append(d.model.Tables, rel)
			d.byName[strings.ToLower(t.name)] = rel
			d.details[name] = &detail{}
		}
	}
	return nil
}

const modelColumnsSQL = `SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, COALESCE(COLUMN_DEFAULT, ''), EXTRA, COALESCE(COLLATION_NAME, ''),
COALESCE(CHARACTER_MAXIMUM_LENGTH, 0) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() ORDER BY TABLE_NAME, ORDINAL_POSITION`

func (d *describing) columns(ctx context.Context) error {
	list, err := d.c.catalog(ctx, modelColumnsSQL)
	if err != nil {
		return err
	}
	for _, r := range list {
		t := d.byName[strings.ToLower(r[0])]
		if t == nil {
			continue
		}
		extra := strings.ToLower(r[6])
		c := relational.Column{
			Name: r[1], SQL: r[3], Nullable: r[4] == "YES", Default: r[5], Identity: strings.Contains(extra, "auto_increment"),
			Generated: strings.Contains(extra, "generated") && !strings.Contains(extra, "default_generated") || strings.Contains(extra, "persistent"),
			Renewed:   strings.Contains(extra, "on update"),
		}
		kind := strings.ToLower(r[2])
		c.Type, c.Clock = typeOf(kind)
		if c.Generated {
			c.Default = ""
		}
		det := d.details[t.Name]
		order, weight, by := d.sorted(kind, ident(c.Name), r[7], r[8])
		det.reads = append(det.reads, d.reading(kind, c.Name))
		det.weights, det.sorts = append(det.weights, weight), append(det.sorts, by)
		d.orders[t.Name.Name] = append(d.orders[t.Name.Name], order)
		t.Columns = append(t.Columns, c)
	}
	return nil
}

// typeOf finds what a type holds. A BOOLEAN of MySQL is a TINYINT.
func typeOf(kind string) (relational.Type, relational.Clock) {
	switch kind {
	case "tinyint", "smallint", "mediumint", "int", "integer", "bigint":
		return relational.TypeInt, relational.ClockNone
	case "decimal", "numeric":
		return relational.TypeDecimal, relational.ClockNone
	case "float", "double", "real":
		return relational.TypeFloat, relational.ClockNone
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		return relational.TypeText, relational.ClockNone
	case "date":
		return relational.TypeTime, relational.ClockDate
	case "datetime":
		return relational.TypeTime, relational.ClockWall
	case "timestamp":
		return relational.TypeTime, relational.ClockMoment
	case "time":
		return relational.TypeTime, relational.ClockNone
	case "json":
		return relational.TypeJSON, relational.ClockNone
	case "enum", "set", "uuid", "inet4", "inet6", "xmltype", "year": // the year 0000 is not the number 0, which is 2000
		return relational.TypeOther, relational.ClockNone
	}
	return relational.TypeBytes, relational.ClockNone
}

// reading is the expression that reads a column as it is.
func (d *describing) reading(kind, name string) string {
	switch kind {
	case "float", "year":
		return column{Name: name, Kind: kindOf(d.c.server, kind)}.selectSQL(d.c.server)
	}
	return ident(name)
}

// orderCast is that of a value's text, by its bytes.
const orderCast = relational.OrderWeight + " cast"

// sorted tells how a column is sorted. Texts are sorted by their collation, whose weights the server tells: of a collation that does
// not see spaces at the end, those of the text filled up to its length; without that they are no order.
func (d *describing) sorted(kind, name, collation, length string) (order relational.Order, weight, by string) {
	switch kind {
	case "tinyint", "smallint", "mediumint", "int", "integer", "bigint", "year":
		return relational.OrderInt, "", name
	case "decimal", "numeric":
		return relational.OrderDecimal, "", name
	case "float", "double", "real":
		return relational.OrderFloat, "", name
	case "date", "datetime", "timestamp":
		return relational.OrderTime, "", name
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		weight = "WEIGHT_STRING(" + name + ")"
		if padded := !strings.Contains(collation, "nopad") && !strings.Contains(collation, "_0900_"); padded {
			weight = "WEIGHT_STRING(" + name + " AS CHAR(" + length + "))"
		}
		return relational.OrderWeight + relational.Order(" "+collation), weight, name
	case "time", "enum", "set", "json", "uuid", "inet4", "inet6", "xmltype":
		cast := "CAST(" + name + " AS CHAR)"
		return orderCast, cast, cast + " COLLATE utf8mb4_bin"
	}
	return relational.OrderBytes, "", name
}

const modelKeysSQL = `SELECT TABLE_NAME, INDEX_NAME, COALESCE(COLUMN_NAME, ''), COALESCE(SUB_PART, '') FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = DATABASE() AND NON_UNIQUE = 0 ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX`

func (d *describing) keys(ctx context.Context) error {
	list, err := d.c.catalog(ctx, modelKeysSQL)
	if err != nil {
		return err
	}
	for i := 0; i < len(list); {
		table, name := list[i][0], list[i][1]
		k := relational.Key{Name: name}
		t := d.byName[strings.ToLower(table)]
		for ; i < len(list) && list[i][0] == table && list[i][1] == name; i++ {
			if t == nil {
				continue
			}
			place := t.Index(list[i][2])
			if place < 0 || list[i][3] != "" {
				k.Expression = true // or of the beginning of a text
			}
			if place >= 0 {
				k.Columns, k.Order = append(k.Columns, list[i][2]), append(k.Order, d.orders[t.Name.Name][place])
			}
		}
		switch {
		case t == nil:
		case name == "PRIMARY":
			t.Primary = &k
		default:
			t.Unique = append(t.Unique, k)
		}
	}
	return nil
}

const modelReferencesSQL = `SELECT k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME, k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME, r.DELETE_RULE
FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r
  ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME
WHERE k.TABLE_SCHEMA = DATABASE() AND k.REFERENCED_TABLE_NAME IS NOT NULL ORDER BY k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION`

func (d *describing) references(ctx context.Context) error {
	list, err := d.c.catalog(ctx, modelReferencesSQL)
	if err != nil {
		return err
	}
	for i := 0; i < len(list); {
		first := list[i]
		e := relational.Edge{Name: first[1], OnDelete: strings.ToLower(first[6])}
		for ; i < len(list) && list[i][0] == first[0] && list[i][1] == first[1]; i++ {
			e.Columns, e.ParentColumns = append(e.Columns, list[i][2]), append(e.ParentColumns, list[i][5])
		}
		t, parent := d.byName[strings.ToLower(first[0])], d.byName[strings.ToLower(first[4])]
		switch {
		case t == nil:
		case parent == nil || !strings.EqualFold(first[3], d.source.place.database):
			d.omit(t.Name.Name, fmt.Sprintf("the foreign key %s refers to %s.%s, which is left out", e.Name, first[3], first[4]))
		default:
			e.Parent = parent.Name
			t.Foreign = append(t.Foreign, e)
		}
	}
	return nil
}

func (d *describing) triggers(ctx context.Context) error {
	list, err := d.c.catalog(ctx, "SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME, EVENT_MANIPULATION FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()")
	if err != nil {
		return err
	}
	for _, r := range list {
		if t := d.byName[strings.ToLower(r[0])]; t != nil {
			t.Triggers = append(t.Triggers, relational.Trigger{Name: r[1], Events: []string{strings.ToLower(r[2])}})
		}
	}
	return nil
}

// increments describes what tables number their rows by.
func (d *describing) increments(ctx context.Context) error {
	list, err := d.c.catalog(ctx, "SELECT TABLE_NAME, AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND AUTO_INCREMENT IS NOT NULL")
	if err != nil {
		return err
	}
	for _, r := range list {
		t := d.byName[strings.ToLower(r[0])]
		if t == nil {
			continue
		}
		next, err := strconv.ParseUint(r[1], 10, 64)
		if err != nil {
			return fmt.Errorf("AUTO_INCREMENT of %s: %w", t.Name, err)
		}
		s := relational.Sequence{Name: t.Name, Last: strconv.FormatUint(max(next, 1)-1, 10), Called: next > 1, Increment: "1", Table: &t.Name}
		for _, c := range t.Columns {
			if c.Identity {
				s.Column = c.Name
			}
		}
		d.model.Sequences = append(d.model.Sequences, s)
	}
	return nil
}
