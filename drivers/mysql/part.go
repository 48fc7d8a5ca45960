package mysql

import (
	"encoding/json"
	"fmt"
	"strings"

	"salvor/drivers"
	"salvor/drivers/internal/rows"
)

// The kinds of parts.
const (
	partSchema  = "schema"  // SQL: everything but rows
	partGlobals = "globals" // SQL: accounts and their rights
	partTable   = "table"   // rows of a table, or of a range of its key
)

// The names of the parts that are no tables. Within a table's name a dot is encoded, so no table has one of them.
const (
	schemaName  = "database.schema"
	globalsName = "server.globals"
)

// ref is this driver's description of a part: what Dump and Load need. It is stored in manifests: names and meanings of fields
// never change.
type ref struct {
	Kind string `json:"kind"`
	// Table names the table; Columns are those of the rows, in order, none where it has none to name.
	Table   string   `json:"table,omitempty"`
	Columns []column `json:"columns,omitempty"`
	// History tells that rows of the past are there too, with the times between which they held.
	History bool `json:"history,omitempty"`
	// Key and From and To are the range of the key: above From, and not above To; nil where there is no bound. KeyName is the
	// index that has it. Ranges is the number of ranges of the table.
	Key     []keyColumn `json:"key,omitempty"`
	KeyName string      `json:"key_name,omitempty"`
	From    []string    `json:"from,omitempty"`
	To      []string    `json:"to,omitempty"`
	Ranges  int         `json:"ranges,omitempty"`
	// Outside tells that the table has no transactions.
	Outside bool `json:"outside,omitempty"`
	// Spool is the number of the table among those whose rows were read while the view was opened, from 1 on.
	Spool int `json:"spool,omitempty"`
	// Database says how the database was made (schema).
	Database *database `json:"database,omitempty"`
	// Server is the version of the server (schema, globals).
	Server string `json:"server,omitempty"`
	// Auto are the next values of AUTO_INCREMENT (schema).
	Auto map[string]uint64 `json:"auto_increment,omitempty"`
}

// database says how a database was made.
type database struct {
	Charset   string `json:"charset"`
	Collation string `json:"collation"`
	Comment   string `json:"comment,omitempty"`
}

// key names the table of a part.
func (r *ref) key() string { return rows.Key(r.Table) }

func readRef(part drivers.Part) (*ref, error) {
	var r ref
	if err := json.Unmarshal(part.Ref, &r); err != nil {
		return nil, fmt.Errorf("part %q: %w: its description makes no sense", part.Name, drivers.ErrInvalid)
	}
	for _, c := range r.Columns {
		if !c.Kind.isKnown() {
			return nil, drivers.WithHint(fmt.Errorf("part %q: %w: columns of kind %q are not known", part.Name, drivers.ErrInvalid, c.Kind), "restore with the version of Salvor that dumped it, or a newer one")
		}
	}
	switch {
	case r.Kind == partSchema, r.Kind == partGlobals:
		return &r, nil
	case r.Kind == partTable && !isProgress(r.Table) && r.Table != "" && (r.From == nil || len(r.From) == len(r.Key)) && (r.To == nil || len(r.To) == len(r.Key)):
		return &r, nil
	}
	return nil, fmt.Errorf("part %q: %w: no such part", part.Name, drivers.ErrInvalid)
}

// selectSQL is the query that gives the rows of a part, in the order of the key where there is one.
func (r *ref) selectSQL(s dialect) string {
	sql := "SELECT " + selectList(s, r.Columns) + " FROM " + ident(r.Table)
	if r.History {
		sql += " FOR SYSTEM_TIME ALL"
	}
	if len(r.Key) == 0 {
		return sql
	}
	sql += " FORCE INDEX (" + ident(r.KeyName) + ")"
	if where := r.where(); where != "" {
		sql += " WHERE " + where
	}
	return sql + " ORDER BY " + r.keyList()
}

func (r *ref) keyList() string { return keyList(r.Key) }

func keyList(key []keyColumn) string {
	names := make([]string, len(key))
	for i, k := range key {
		names[i] = ident(k.Name)
	}
	return strings.Join(names, ", ")
}

// where is the condition of the range.
func (r *ref) where() string {
	var list []string
	if r.From != nil {
		list = append(list, beyond(r.Key, r.From, " > ", false))
	}
	if r.To != nil {
		list = append(list, beyond(r.Key, r.To, " < ", true))
	}
	return strings.Join(list, " AND ")
}

// beyond compares a key with a bound: (a > 1 OR (a = 1 AND b > 2)), of which the server makes a range, as it does not of
// (a, b) > (1, 2). orEqual takes the bound itself too.
func beyond(key []keyColumn, bound []string, operator string, orEqual bool) string {
	last := len(key) - 1
	op := operator
	if orEqual {
		op = strings.TrimRight(operator, " ") + "= "
	}
	sql := ident(key[last].Name) + op + key[last].literal(bound[last])
	for i := last - 1; i >= 0; i-- {
		name, value := ident(key[i].Name), key[i].literal(bound[i])
		sql = "(" + name + operator + value + " OR (" + name + " = " + value + " AND " + sql + "))"
	}
	return sql
}

// literal writes a bound as SQL. Bytes are kept in hexadecimal.
func (k keyColumn) literal(bound string) string {
	switch k.Kind {
	case boundNumber:
		if strings.Trim(bound, "-0123456789.") == "" && bound != "" && !strings.Contains(bound, "--") {
			return bound
		}
	case boundBytes:
		if strings.Trim(bound, "0123456789abcdef") == "" && len(bound)%2 == 0 {
			if isName(k.Charset) {
				return "_" + k.Charset + " X'" + bound + "'"
			}
			return "X'" + bound + "'"
		}
	}
	return literal(bound)
}

func isName(text string) bool {
	for i := range len(text) {
		if !isWordByte(text[i]) || text[i] >= 0x80 {
			return false
		}
	}
	return text != ""
}
