package mysql

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"salvor/drivers"
)

// progressPrefix begins the names of a restore's own tables.
const progressPrefix = "salvor_progress_"

// isProgress tells whether a table is one of a restore's own, on servers to which capitals mean nothing too. A dump never has one:
// its rows would be notes of what is done.
func isProgress(name string) bool { return strings.HasPrefix(strings.ToLower(name), progressPrefix) }

// tableKind is what a relation is.
type tableKind int

const (
	baseTable tableKind = iota
	viewTable
	sequenceTable
)

// versioning is what a table keeps of the past.
type versioning int

const (
	unversioned     versioning = iota
	versionedByTime            // with the times from which and to which each row held
	versionedByTransaction
)

// table is a relation: a table, a view or a sequence.
type table struct {
	name    string
	kind    tableKind
	engine  string
	columns []column // in the order of the table, without generated ones
	key     []keyColumn
	keyName string

	versioned versioning
	noData    bool  // its rows are not dumped, or it has none of its own
	outside   bool  // its engine has no transactions: no snapshot holds its rows
	spool     int   // the number of the table in the view's spool, from 1 on
	rows      int64 // an estimate
	size      int64 // of the rows, in bytes
}

// keyColumn is a column of the key that a table is cut by.
type keyColumn struct {
	Name string `json:"name"`
	// Kind says how a bound is written: "number", "time", "text", or bytes of a character set.
	Kind    string `json:"kind"`
	Charset string `json:"charset,omitempty"`
}

// tablesSQL lists relations. Types are BASE TABLE, VIEW, SYSTEM VIEW, SEQUENCE, SYSTEM VERSIONED; TEMPORARY ones are of their
// sessions alone.
const tablesSQL = `SELECT TABLE_NAME, TABLE_TYPE, COALESCE(ENGINE, ''), COALESCE(TABLE_ROWS, 0), COALESCE(DATA_LENGTH, 0), COALESCE(TABLE_COMMENT, '')
FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY TABLE_NAME`

// engineRows tells what becomes of an engine's rows: some engines have none of their own.
func hasOwnRows(engine string) bool {
	switch strings.ToUpper(engine) {
	case "MRG_MYISAM", "MRG_ISAM", "MERGE", "FEDERATED", "BLACKHOLE", "CONNECT", "OQGRAPH", "SPIDER", "SPHINX", "SEQUENCE", "S3", "VIDEX":
		return false
	}
	return true
}

// listTables lists the relations that are dumped, with all that is known of them but their definitions.
func (s *Source) listTables(ctx context.Context, c *conn) ([]*table, error) {
	found, err := c.catalog(ctx, tablesSQL)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", classify(err))
	}
	transactional, err := c.transactionalEngines(ctx)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]*table)
	var list []*table
	for _, r := range found {
		t := &table{name: r[0], engine: r[2]}
		if isProgress(t.name) || !s.options.takesTable(t.name) {
			continue
		}
		switch r[1] {
		case "BASE TABLE":
		case "SYSTEM VERSIONED":
			t.versioned = versionedByTime
		case "VIEW":
			t.kind = viewTable
		case "SEQUENCE":
			t.kind = sequenceTable
		default:
			continue
		}
		if t.kind == baseTable {
			if t.engine == "" {
				// The server cannot open it, and says why in the comment.
				return nil, drivers.WithHint(fmt.Errorf("table %s: %w: it cannot be opened: %s", t.name, drivers.ErrFailed, r[5]),
					"repair or drop the table, or exclude it with exclude_tables")
			}
			t.noData = !s.options.takesData(t.name) || !hasOwnRows(t.engine)
			t.outside = !transactional[strings.ToUpper(t.engine)]
		}
		if t.rows, err = number(r[3]); err == nil {
			t.size, err = number(r[4])
		}
		if err != nil {
			return nil, fmt.Errorf("list tables: %w", err)
		}
		byName[t.name] = t
		list = append(list, t)
	}
	if err := s.describeColumns(ctx, c, byName); err != nil {
		return nil, err
	}
	return list, describeKeys(ctx, c, byName)
}

func number(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("read number: %w", err)
	}
	return int64(n), nil
}

func itoa(n int) string { return strconv.Itoa(n) }

func (c *conn) transactionalEngines(ctx context.Context) (map[string]bool, error) {
	list, err := c.catalog(ctx, "SELECT ENGINE FROM information_schema.ENGINES WHERE TRANSACTIONS = 'YES'")
	if err != nil {
		return nil, fmt.Errorf("list engines: %w", classify(err))
	}
	engines := make(map[string]bool)
	for _, r := range list {
		engines[strings.ToUpper(r[0])] = true
	}
	return engines, nil
}

// columnsSQL lists the columns of tables, those of views too. A column's default may be generated, which is no generated column.
const columnsSQL = `SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, EXTRA, COALESCE(GENERATION_EXPRESSION, ''), COALESCE(CHARACTER_SET_NAME, '')
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() ORDER BY TABLE_NAME, ORDINAL_POSITION`

func (s *Source) describeColumns(ctx context.Context, c *conn, tables map[string]*table) error {
	list, err := c.catalog(ctx, columnsSQL)
	if err != nil {
		return fmt.Errorf("list columns: %w", classify(err))
	}
	explicit := make(map[string]bool)
	for _, r := range list {
		t := tables[r[0]]
		if t == nil || t.kind != baseTable {
			continue
		}
		extra := strings.ToUpper(strings.ReplaceAll(r[3], "DEFAULT_GENERATED", ""))
		if strings.Contains(extra, "GENERATED") || extra == "VIRTUAL" || extra == "PERSISTENT" {
			switch {
			case t.versioned == unversioned || r[4] != "ROW START" && r[4] != "ROW END":
				continue
			case !strings.EqualFold(r[2], "timestamp"):
				t.versioned = versionedByTransaction
				continue
			}
			explicit[t.name] = true
		}
		t.columns = append(t.columns, column{Name: r[1], Kind: kindOf(c.server, r[2])})
	}
	for _, t := range tables {
		if t.versioned == versionedByTime && !explicit[t.name] {
			t.columns = append(t.columns, column{Name: "row_start", Kind: kindTime}, column{Name: "row_end", Kind: kindTime})
		}
	}
	return nil
}

// describeKeys finds the key by which a table may be cut: the primary key, or one that is unique and without NULL.
func describeKeys(ctx context.Context, c *conn, tables map[string]*table) error {
	list, err := c.catalog(ctx, c.server.keysSQL())
	if err != nil {
		return fmt.Errorf("list keys: %w", classify(err))
	}
	types, err := c.catalog(ctx, columnsSQL)
	if err != nil {
		return fmt.Errorf("list columns: %w", classify(err))
	}
	columns := make(map[[2]string]keyColumn)
	for _, r := range types {
		if k, ok := boundOf(c.server, r[2], r[5]); ok {
			k.Name = r[1]
			columns[[2]string{r[0], r[1]}] = k
		}
	}
	type key struct {
		name  string
		parts []keyColumn
		bad   bool
	}
	keys := make(map[string][]*key)
	for _, r := range list {
		if r[2] != "0" {
			continue
		}
		all := keys[r[0]]
		if len(all) == 0 || all[len(all)-1].name != r[1] {
			all = append(all, &key{name: r[1]})
			keys[r[0]] = all
		}
		k := all[len(all)-1]
		part, ok := columns[[2]string{r[0], r[3]}]
		// A prefix of a column, a descending or a nullable one, or another kind of index gives no order to cut by.
		if !ok || r[4] != "" || r[5] != "A" || r[6] == "YES" || r[7] != "BTREE" {
			k.bad = true
			continue
		}
		k.parts = append(k.parts, part)
	}
	for name, t := range tables {
		all := keys[name]
		if i := slices.IndexFunc(all, func(k *key) bool { return k.name == "PRIMARY" }); i >= 0 {
			all = all[i : i+1]
		}
		for _, k := range all {
			// Of a versioned table the key holds its times, which are not columns to name.
			if !k.bad && (t.key == nil || len(k.parts) < len(t.key)) {
				t.key, t.keyName = k.parts, k.name
			}
		}
	}
	return nil
}

// The kinds of bounds.
const (
	boundNumber = "number"
	boundPlain  = "plain" // a text of ASCII: times, UUID
	boundBytes  = "bytes" // of a character set, or of none
)

// boundOf tells how a bound of a column's type is written; not at all of types whose order and equality are not those of their
// text, or whose values are inexact.
func boundOf(s dialect, dataType, charset string) (keyColumn, bool) {
	switch strings.ToLower(dataType) {
	case "tinyint", "smallint", "mediumint", "int", "integer", "bigint", "decimal", "numeric":
		return keyColumn{Kind: boundNumber}, true
	case "date", "datetime", "timestamp", "time":
		return keyColumn{Kind: boundPlain}, true
	case "uuid", "inet4", "inet6":
		return keyColumn{Kind: boundPlain}, s.flavour == mariadb
	case "char", "varchar":
		return keyColumn{Kind: boundBytes, Charset: charset}, charset != ""
	case "binary", "varbinary":
		return keyColumn{Kind: boundBytes}, true
	}
	return keyColumn{}, false
}
