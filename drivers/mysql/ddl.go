package mysql

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"salvor/drivers"
)

// tableDDL is a CREATE TABLE as the server writes it, in pieces: what comes before the rows, and what after them.
type tableDDL struct {
	head string   // CREATE TABLE `t` (
	defs []string // columns, keys that must be there at once, checks
	tail string   // ) ENGINE=… and partitions

	columns []string
	indexes []string // secondary indexes, in their order, without those in defs
	foreign []string // foreign keys, in their order
	engine  string
	collate string // the table's collation, where the server writes it
}

var errNoTableDDL = errors.New("it is no CREATE TABLE that is known")

// splitTable takes a CREATE TABLE of the server apart.
//
// Only InnoDB builds an index faster than it keeps it up. What must be there before the rows stays: the primary key, the index
// of an AUTO_INCREMENT column, and, where there is no primary key, the unique keys, of which InnoDB takes one for it. All that
// stands before such an index stays too, so that the indexes are in the same order in the end.
func splitTable(sql string) (*tableDDL, error) {
	d := &tableDDL{}
	open, end, err := body(sql)
	if err != nil {
		return nil, err
	}
	d.head, d.tail = sql[:open], sql[end:]
	defs, err := splitDefinitions(sql[open:end])
	if err != nil {
		return nil, err
	}
	if err := d.options(); err != nil {
		return nil, err
	}
	first, keep := "", 0 // the first column of the primary key
	auto := ""           // the AUTO_INCREMENT column
	var keys []string
	for _, def := range defs {
		w, err := wordsOf(def)
		if err != nil {
			return nil, err
		}
		switch kind := definitionOf(w); kind {
		case defColumn:
			d.columns = append(d.columns, unquoteName(w[0]))
			d.defs = append(d.defs, def)
			if hasWord(w[1:], "AUTO_INCREMENT") {
				auto = w[0]
			}
		case defPrimary:
			d.defs = append(d.defs, def)
			first = firstColumn(w)
		case defIndex:
			keys = append(keys, def)
			if firstColumn(w) == auto && auto != "" {
				keep = len(keys)
			}
		case defForeign:
			d.foreign = append(d.foreign, def)
		case defOther:
			d.defs = append(d.defs, def)
		default:
			return nil, errNoTableDDL
		}
	}
	if auto != "" && auto == first {
		keep = 0 // the primary key serves it
	}
	if first == "" {
		for i, def := range keys {
			if strings.HasPrefix(strings.TrimSpace(def), "UNIQUE ") {
				keep = max(keep, i+1)
			}
		}
	}
	if !strings.EqualFold(d.engine, "InnoDB") {
		keep = len(keys)
	}
	d.defs = append(d.defs, keys[:keep]...)
	d.indexes = keys[keep:]
	return d, nil
}

// body finds the parentheses of a CREATE TABLE: what is between them is sql[open:end].
func body(sql string) (open, end int, err error) {
	l := &lexer{text: sql}
	depth := 0
	for {
		t, err := l.next()
		if err != nil {
			return 0, 0, err
		}
		if t.kind == tokenEnd {
			return 0, 0, errNoTableDDL
		}
		if t.kind != tokenSymbol {
			continue
		}
		switch sql[t.from] {
		case '(':
			if depth++; depth == 1 {
				open = t.to
			}
		case ')':
			if depth--; depth == 0 {
				return open, t.from, nil
			}
		case ';':
			return 0, 0, errNoTableDDL
		}
	}
}

// splitDefinitions splits at the commas that are in no parentheses.
func splitDefinitions(text string) ([]string, error) {
	l := &lexer{text: text}
	var list []string
	depth, from := 0, 0
	for {
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		if t.kind == tokenEnd {
			if depth != 0 {
				return nil, errNoTableDDL
			}
			return append(list, strings.TrimSpace(text[from:])), nil
		}
		if t.kind != tokenSymbol {
			continue
		}
		switch text[t.from] {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				list = append(list, strings.TrimSpace(text[from:t.from]))
				from = t.to
			}
		}
	}
}

// wordsOf are the tokens of a definition as texts.
func wordsOf(def string) ([]string, error) {
	list, err := tokens(def)
	if err != nil {
		return nil, err
	}
	words := make([]string, len(list))
	for i, t := range list {
		words[i] = def[t.from:t.to]
	}
	return words, nil
}

func hasWord(words []string, word string) bool {
	for _, w := range words {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

type definition int

const (
	defUnknown definition = iota
	defColumn
	defPrimary
	defIndex
	defForeign
	defOther
)

// definitionOf tells what a definition in a CREATE TABLE is.
func definitionOf(w []string) definition {
	if len(w) < 2 {
		return defUnknown
	}
	switch strings.ToUpper(w[0]) {
	case "PRIMARY":
		return defPrimary
	case "UNIQUE", "KEY", "INDEX", "FULLTEXT", "SPATIAL", "VECTOR":
		return defIndex
	case "PERIOD", "CHECK":
		return defOther
	case "FOREIGN":
		return defForeign
	case "CONSTRAINT":
		if len(w) > 2 && strings.EqualFold(w[2], "FOREIGN") {
			return defForeign
		}
		return defOther
	}
	if w[0][0] == '`' {
		return defColumn
	}
	return defUnknown
}

// firstColumn is the first column of a key, quoted; "" of one that begins with an expression.
func firstColumn(w []string) string {
	for i, word := range w {
		if word == "(" && i+1 < len(w) {
			return w[i+1]
		}
	}
	return ""
}

// indexName is the name of an index or a foreign key: the first name in its definition.
func indexName(def string) string {
	w, err := wordsOf(def)
	if err != nil {
		return ""
	}
	for _, word := range w {
		if word[0] == '`' {
			return unquoteName(word)
		}
		if word == "(" {
			break
		}
	}
	return ""
}

// options finds the engine and takes the value of AUTO_INCREMENT out of what follows the definitions.
func (d *tableDDL) options() error {
	list, err := tokens(d.tail)
	if err != nil {
		return err
	}
	at := func(i int) string {
		if i < len(list) {
			return d.tail[list[i].from:list[i].to]
		}
		return ""
	}
	depth := 0
	for i := range list {
		switch word := at(i); {
		case word == "(":
			depth++
		case word == ")":
			depth--
		case depth > 0 || list[i].kind != tokenWord:
		case strings.EqualFold(word, "PARTITION"):
			return nil
		case strings.EqualFold(word, "COLLATE") && at(i+1) == "=":
			d.collate = at(i + 2)
		case strings.EqualFold(word, "ENGINE") && at(i+1) == "=":
			d.engine = unquoteName(at(i + 2))
		case word == ";":
			return errNoTableDDL
		}
		// The closing parenthesis of the definitions is the first token of the tail.
		if depth < 0 {
			depth = 0
		}
	}
	return nil
}

// cutAutoIncrement takes the option AUTO_INCREMENT=n out of a CREATE TABLE; n is 0 where there is none.
func cutAutoIncrement(sql string) (string, uint64, error) {
	_, end, err := body(sql)
	if err != nil {
		return sql, 0, err
	}
	list, err := tokens(sql[end:])
	if err != nil {
		return sql, 0, err
	}
	for i := range list {
		t := list[i]
		if t.kind != tokenWord || !strings.EqualFold(sql[end+t.from:end+t.to], "AUTO_INCREMENT") || i+2 >= len(list) {
			continue
		}
		value := list[i+2]
		n, err := strconv.ParseUint(sql[end+value.from:end+value.to], 10, 64)
		if err != nil || sql[end+list[i+1].from] != '=' {
			return sql, 0, errNoTableDDL
		}
		from, to := end+t.from, end+value.to
		if to < len(sql) && sql[to] == ' ' {
			to++
		}
		return sql[:from] + sql[to:], n, nil
	}
	return sql, 0, nil
}

// withAutoIncrement puts AUTO_INCREMENT=n where the server writes it: after the engine.
func withAutoIncrement(sql string, n uint64) (string, error) {
	sql, _, err := cutAutoIncrement(sql)
	if err != nil || n <= 1 {
		return sql, err
	}
	_, end, err := body(sql)
	if err != nil {
		return sql, err
	}
	list, err := tokens(sql[end:])
	if err != nil {
		return sql, err
	}
	for i, t := range list {
		if i+2 < len(list) && t.kind == tokenWord && strings.EqualFold(sql[end+t.from:end+t.to], "ENGINE") {
			at := end + list[i+2].to
			return fmt.Sprintf("%s AUTO_INCREMENT=%d%s", sql[:at], n, sql[at:]), nil
		}
	}
	return sql, errNoTableDDL
}

// create is the CREATE TABLE with what must be there before the rows.
func (d *tableDDL) create() string {
	return d.head + "\n  " + strings.Join(d.defs, ",\n  ") + "\n" + d.tail
}

// inheritCollation takes the table's own collation out of columns. MySQL writes it at columns that merely inherit it too, but
// without a character set; taken back as it is written it would be the column's own from then on.
func (d *tableDDL) inheritCollation() error {
	if d.collate == "" {
		return nil
	}
	for i, def := range d.defs {
		list, err := tokens(def)
		if err != nil {
			return err
		}
		for n, t := range list {
			word := def[t.from:t.to]
			if t.kind == tokenWord && (strings.EqualFold(word, "CHARACTER") || strings.EqualFold(word, "CHARSET")) || t.kind == tokenSymbol && word == "(" && n > 2 {
				break // a set of its own; or an expression
			}
			if t.kind == tokenWord && strings.EqualFold(word, "COLLATE") && n+1 < len(list) && def[list[n+1].from:list[n+1].to] == d.collate && list[0].kind == tokenName {
				d.defs[i] = def[:t.from] + strings.TrimLeft(def[list[n+1].to:], " ")
				break
			}
		}
	}
	return nil
}

// alters are the statements that add the indexes of a table: all in one, but for those of full texts, of which the server
// takes one at a time.
func alters(table string, defs []string) []string {
	var list, together []string
	for _, def := range defs {
		if strings.HasPrefix(def, "FULLTEXT ") {
			if len(together) > 0 {
				list = append(list, alter(table, together))
				together = nil
			}
			list = append(list, alter(table, []string{def}))
			continue
		}
		together = append(together, def)
	}
	if len(together) > 0 {
		list = append(list, alter(table, together))
	}
	return list
}

func alter(table string, defs []string) string {
	return "ALTER TABLE " + ident(table) + " ADD " + strings.Join(defs, ", ADD ")
}

// withoutDefiner takes the clause DEFINER=… out of a statement that makes a view, a routine, a trigger or an event.
func withoutDefiner(sql string) (string, error) {
	from, to, err := definerClause(sql)
	if err != nil || from == to {
		return sql, err
	}
	return sql[:from] + strings.TrimLeft(sql[to:], " "), nil
}

// definerClause finds DEFINER=account; from = to where there is none.
func definerClause(sql string) (from, to int, err error) {
	l := &lexer{text: sql}
	for range 12 { // it stands at the very beginning: CREATE OR REPLACE ALGORITHM=… DEFINER=…
		t, err := l.next()
		if err != nil {
			return 0, 0, fmt.Errorf("%w: %w", drivers.ErrCorrupt, err)
		}
		if t.kind == tokenEnd {
			return 0, 0, nil
		}
		if t.kind != tokenWord || !strings.EqualFold(sql[t.from:t.to], "DEFINER") {
			continue
		}
		from := t.from
		if t, err = l.next(); err != nil {
			return 0, 0, fmt.Errorf("%w: %w", drivers.ErrCorrupt, err)
		}
		if t.kind != tokenSymbol || sql[t.from] != '=' {
			return 0, 0, nil
		}
		if t, err = l.next(); err != nil {
			return 0, 0, err
		}
		to := t.to
		before := *l
		if t, err = l.next(); err == nil && t.kind == tokenSymbol && sql[t.from] == '@' {
			if t, err = l.next(); err == nil {
				return from, t.to, nil
			}
		}
		*l = before
		return from, to, nil
	}
	return 0, 0, nil
}

// unqualify takes the database's own name out of what the server writes with it in views and defaults: functions, sequences, and
// columns of views that it could not look into. What is restored into a database of another name must not lead back to this one.
func unqualify(sql, database string) (string, error) {
	list, err := tokens(sql)
	if err != nil {
		return sql, err
	}
	text := func(i int) string {
		if i < 0 || i >= len(list) {
			return ""
		}
		return sql[list[i].from:list[i].to]
	}
	own := ident(database)
	var b strings.Builder
	last := 0
	for i := range list {
		if text(i) != own || text(i+1) != "." || text(i-1) == "." {
			continue
		}
		column := text(i+3) == "."
		call := text(i+3) == "("
		sequence := text(i-1) == "(" && isSequenceFunction(text(i-2))
		if column || call || sequence {
			b.WriteString(sql[last:list[i].from])
			last = list[i+2].from
		}
	}
	return b.String() + sql[last:], nil
}

func isSequenceFunction(word string) bool {
	switch strings.ToLower(word) {
	case "nextval", "lastval", "setval":
		return true
	}
	return false
}
