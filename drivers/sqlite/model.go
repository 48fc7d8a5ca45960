package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"salvor/drivers/relational"
)

// rows runs a query and returns its rows as texts, NULL as "".
func (c *conn) rows(ctx context.Context, query string, args ...string) (list [][]string, err error) {
	var named []driver.NamedValue
	for i, a := range args {
		named = append(named, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	in, err := c.raw.QueryContext(ctx, query, named)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	cells := make([]driver.Value, len(in.Columns()))
	for {
		if err := in.Next(cells); err != nil {
			if errors.Is(err, io.EOF) {
				return list, nil
			}
			return nil, err
		}
		row := make([]string, len(cells))
		for i, cell := range cells {
			switch v := cell.(type) {
			case nil:
			case int64:
				row[i] = strconv.FormatInt(v, 10)
			case string:
				row[i] = v
			default:
				row[i] = fmt.Sprint(v)
			}
		}
		list = append(list, row)
	}
}

// describing collects a database's model.
type describing struct {
	c        *conn
	encoding string
	model    *relational.Model
	byName   map[string]*relational.Table // by the name in lower case: SQLite's names are the same in either
}

func describeModel(ctx context.Context, c *conn) (*relational.Model, error) {
	d := &describing{c: c, model: &relational.Model{Engine: "sqlite"}, byName: make(map[string]*relational.Table)}
	var err error
	if d.model.Version, err = c.text(ctx, "SELECT sqlite_version()"); err != nil {
		return nil, err
	}
	if d.encoding, err = c.text(ctx, "PRAGMA encoding"); err != nil {
		return nil, err
	}
	tables, err := c.rows(ctx, "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'salvor\\_merge\\_%' ESCAPE '\\' AND type <> 'view' ORDER BY name")
	if err != nil {
		return nil, err
	}
	for _, r := range tables {
		name := relational.Name{Name: r[0]}
		switch r[1] {
		case "shadow":
			continue // belongs to a virtual table, which is told
		case "virtual":
			d.omit(name, "a virtual table, whose rows are its module's")
			continue
		}
		if err := d.table(ctx, name, r[2] == "1"); err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
	}
	for _, t := range d.model.Tables {
		if err := d.references(ctx, t); err != nil {
			return nil, fmt.Errorf("references of table %s: %w", t.Name, err)
		}
	}
	if err := d.triggers(ctx); err != nil {
		return nil, err
	}
	if err := d.sequences(ctx); err != nil {
		return nil, err
	}
	d.model.Sort()
	return d.model, nil
}

func (d *describing) omit(name relational.Name, reason string) {
	d.model.Omitted = append(d.model.Omitted, relational.Omitted{Name: name, Reason: reason})
}

// table describes a table without its references.
func (d *describing) table(ctx context.Context, name relational.Name, withoutRowid bool) error {
	columns, err := d.c.rows(ctx, `SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid`, name.Name)
	if err != nil {
		return err
	}
	t := &relational.Table{Name: name, Rows: -1}
	var primary []string // by their place in the key
	for _, r := range columns {
		c := relational.Column{
			Name: r[0], SQL: r[1], Dynamic: true, Default: r[3], Generated: r[5] == "2" || r[5] == "3",
			Nullable: r[2] == "0" && (r[4] == "0" || !withoutRowid),
		}
		c.Type, c.Clock = typeOf(r[1])
		t.Columns = append(t.Columns, c)
		if place, err := strconv.Atoi(r[4]); err == nil && place > 0 {
			for len(primary) < place {
				primary = append(primary, "")
			}
			primary[place-1] = r[0]
		}
	}
	if err := d.keys(ctx, t, primary, withoutRowid); err != nil {
		return err
	}
	d.model.Tables = append(d.model.Tables, t)
	d.byName[strings.ToLower(name.Name)] = t
	return nil
}

// keys describes the primary key and the unique indexes.
func (d *describing) keys(ctx context.Context, t *relational.Table, primary []string, withoutRowid bool) error {
	indexes, err := d.c.rows(ctx, `SELECT name, origin, partial FROM pragma_index_list(?) WHERE "unique" ORDER BY name`, t.Name.Name)
	if err != nil {
		return err
	}
	for _, r := range indexes {
		k := relational.Key{Name: r[0]}
		parts, err := d.c.rows(ctx, `SELECT cid, name, coll FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno`, r[0])
		if err != nil {
			return err
		}
		for _, p := range parts {
			if p[0] == "-2" {
				k.Expression = true
				continue
			}
			order, ok := relational.SQLiteOrder(strings.ToUpper(p[2]), d.encoding)
			if !ok {
				// A collation of the application's, which is not here. Rows are told apart by their bytes then.
				order, _ = relational.SQLiteOrder("BINARY", d.encoding)
			}
			k.Columns, k.Order = append(k.Columns, p[1]), append(k.Order, order)
		}
		if r[2] == "1" {
			if k.Condition, err = d.condition(ctx, r[0]); err != nil {
				return err
			}
		}
		if r[1] == "pk" {
			if !withoutRowid {
				if err := d.ambiguous(ctx, t, &k); err != nil {
					return err
				}
			}
			k.Name = "PRIMARY KEY"
			t.Primary = &k
			continue
		}
		t.Unique = append(t.Unique, k)
	}
	if t.Primary == nil && len(primary) == 1 && !withoutRowid {
		// No index: the column is the table's rowid.
		i := t.Index(primary[0])
		t.Columns[i].Nullable, t.Columns[i].Identity = false, true
		t.Primary = &relational.Key{Name: "PRIMARY KEY", Columns: primary, Order: []relational.Order{relational.OrderSQLite}}
	}
	return nil
}

// ambiguous tells whether a primary key is NULL in some row, which SQLite allows for the sake of old databases:
// https://www.sqlite.org/lang_createtable.html#the_primary_key.
func (d *describing) ambiguous(ctx context.Context, t *relational.Table, k *relational.Key) error {
	var nullable []string
	for _, c := range k.Columns {
		if t.Columns[t.Index(c)].Nullable {
			nullable = append(nullable, ident(c)+" IS NULL")
		}
	}
	if len(nullable) == 0 {
		return nil
	}
	n, err := d.c.int(ctx, "SELECT EXISTS (SELECT 1 FROM "+ident(t.Name.Name)+" WHERE "+strings.Join(nullable, " OR ")+")")
	k.Ambiguous = n == 1
	return err
}

// condition is that of a partial index, which only its statement tells.
func (d *describing) condition(ctx context.Context, index string) (string, error) {
	list, err := d.c.rows(ctx, "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?", index)
	if err != nil || len(list) == 0 {
		return "?", err
	}
	words := lex(list[0][0])
	depth := 0
	for _, w := range words {
		switch w.text {
		case "(":
			depth++
		case ")":
			depth--
		}
		if depth == 0 && strings.EqualFold(w.text, "WHERE") {
			return strings.TrimSpace(list[0][0][w.end:]), nil
		}
	}
	return "?", nil
}

// typeOf finds what a column holds by its declared type: https://www.sqlite.org/datatype3.html#determination_of_column_affinity.
// Any column but one of blobs may hold times.
func typeOf(declared string) (relational.Type, relational.Clock) {
	upper := strings.ToUpper(declared)
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(upper, w) })
	}
	switch {
	case has("INT"):
		return relational.TypeInt, relational.ClockMixed
	case has("CHAR", "CLOB", "TEXT"):
		return relational.TypeText, relational.ClockMixed
	case has("BLOB"):
		return relational.TypeBytes, relational.ClockNone
	case upper == "", upper == "ANY":
		return relational.TypeOther, relational.ClockMixed
	case has("REAL", "FLOA", "DOUBT"):
		return relational.TypeFloat, relational.ClockMixed
	case has("DATE", "TIME"):
		return relational.TypeTime, relational.ClockMixed
	case has("BOOL"):
		return relational.TypeBool, relational.ClockNone
	case has("JSON"):
		return relational.TypeJSON, relational.ClockNone
	}
	return relational.TypeDecimal, relational.ClockMixed
}

// references describes a table's foreign keys.
func (d *describing) references(ctx context.Context, t *relational.Table) error {
	list, err := d.c.rows(ctx, `SELECT id, "table", "from", "to", on_delete FROM pragma_foreign_key_list(?) ORDER BY id, seq`, t.Name.Name)
	if err != nil {
		return err
	}
	var edges []relational.Edge
	last := ""
	for _, r := range list {
		if r[0] != last || len(edges) == 0 {
			// Foreign keys bind nobody who does not say PRAGMA foreign_keys=1, and who does can have them all deferred.
			edges = append(edges, relational.Edge{
				Parent: relational.Name{Name: r[1]}, OnDelete: strings.ToLower(r[4]), Deferrable: true, Unenforced: true,
			})
			last = r[0]
		}
		e := &edges[len(edges)-1]
		e.Columns = append(e.Columns, d.columnName(t, r[2]))
		if r[3] != "" {
			e.ParentColumns = append(e.ParentColumns, r[3])
		}
	}
	names := make(map[string]int)
	for _, e := range edges {
		parent := d.byName[strings.ToLower(e.Parent.Name)]
		if parent == nil {
			d.omit(t.Name, fmt.Sprintf("a foreign key on %s refers to %s, which is no table", strings.Join(e.Columns, ", "), e.Parent))
			continue
		}
		e.Parent = parent.Name
		if len(e.ParentColumns) == 0 && parent.Primary != nil {
			e.ParentColumns = parent.Primary.Columns
		}
		bad := len(e.ParentColumns) != len(e.Columns)
		for i, c := range e.ParentColumns {
			e.ParentColumns[i] = d.columnName(parent, c)
			bad = bad || parent.Index(e.ParentColumns[i]) < 0
		}
		if bad {
			d.omit(t.Name, fmt.Sprintf("a foreign key on %s does not fit the columns of %s", strings.Join(e.Columns, ", "), e.Parent))
			continue
		}
		e.Name = fmt.Sprintf("%s(%s)", t.Name, strings.Join(e.Columns, ","))
		if names[e.Name]++; names[e.Name] > 1 {
			e.Name += "#" + strconv.Itoa(names[e.Name])
		}
		t.Foreign = append(t.Foreign, e)
	}
	return nil
}

// columnName is a column as its table writes it: elsewhere it may be written with other cases.
func (*describing) columnName(t *relational.Table, name string) string {
	for _, c := range t.Columns {
		if strings.EqualFold(c.Name, name) {
			return c.Name
		}
	}
	return name
}

// triggers describes what fires.
func (d *describing) triggers(ctx context.Context) error {
	list, err := d.c.rows(ctx, "SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'trigger'")
	if err != nil {
		return err
	}
	for _, r := range list {
		t := d.byName[strings.ToLower(r[1])]
		if t == nil {
			continue // of a view
		}
		t.Triggers = append(t.Triggers, relational.Trigger{Name: r[0], Events: []string{triggerEvent(r[2])}})
	}
	return nil
}

// triggerEvent finds what a trigger fires at: the first such word that stands behind its name.
func triggerEvent(statement string) string {
	words := lex(statement)
	// CREATE [TEMP] TRIGGER [IF NOT EXISTS] [schema .] name: a name that looks like an event is not one.
	for i, w := range words {
		if !strings.EqualFold(w.text, "TRIGGER") || w.quoted {
			continue
		}
		i++
		if i < len(words) && strings.EqualFold(words[i].text, "IF") {
			i += 3
		}
		if i+1 < len(words) && words[i+1].text == "." {
			i += 2
		}
		for _, w := range words[min(i+1, len(words)):] {
			switch event := strings.ToLower(w.text); event {
			case "insert", "update", "delete":
				if !w.quoted {
					return event
				}
			}
		}
		break
	}
	return "any"
}

// sequences describes the numbers of AUTOINCREMENT.
func (d *describing) sequences(ctx context.Context) error {
	n, err := d.c.int(ctx, "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence')")
	if err != nil || n == 0 {
		return err
	}
	list, err := d.c.rows(ctx, "SELECT name, max(seq) FROM sqlite_sequence GROUP BY name")
	if err != nil {
		return err
	}
	for _, r := range list {
		t := d.byName[strings.ToLower(r[0])]
		if t == nil || t.Primary == nil || len(t.Primary.Columns) != 1 {
			continue
		}
		d.model.Sequences = append(d.model.Sequences, relational.Sequence{
			Name: t.Name, Last: r[1], Called: true, Increment: "1", Table: &t.Name, Column: t.Primary.Columns[0],
		})
	}
	return nil
}

// ident quotes an identifier.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// word is a piece of a statement.
type word struct {
	text   string // without quotes
	quoted bool
	end    int // where it ends in the statement
}

// lex cuts a statement of SQLite's schema into words and signs, without blanks and comments.
func lex(statement string) []word {
	var words []word
	for i := 0; i < len(statement); {
		rest := statement[i:]
		c := rest[0]
		size := 1
		switch {
		case strings.HasPrefix(rest, "--"):
			if size = strings.IndexByte(rest, '\n'); size < 0 {
				size = len(rest)
			}
			i += size
			continue
		case strings.HasPrefix(rest, "/*"):
			if size = strings.Index(rest[2:], "*/"); size < 0 {
				return words
			}
			i += size + 4
			continue
		case strings.IndexByte(" \t\r\n\f", c) >= 0:
			i++
			continue
		case strings.IndexByte("\"'`[", c) >= 0:
			closing := c
			if c == '[' {
				closing = ']'
			}
			for size < len(rest) {
				if rest[size] != closing {
					size++
					continue
				}
				size++
				if closing != ']' && size < len(rest) && rest[size] == closing {
					size++ // doubled
					continue
				}
				break
			}
			text := strings.TrimSuffix(rest[1:size], string(closing))
			words = append(words, word{text: strings.ReplaceAll(text, string(closing)+string(closing), string(closing)), quoted: true, end: i + size})
			i += size
			continue
		case isWord(c):
			for size < len(rest) && isWord(rest[size]) {
				size++
			}
		}
		words = append(words, word{text: rest[:size], end: i + size})
		i += size
	}
	return words
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}
