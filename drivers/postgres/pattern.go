package postgres

import (
	"strings"
	"unicode/utf8"
)

// fits tells whether a name fits a pattern: * is any text, ? any one character, and everything else itself. It decides as
// pg_dump does with what dumpPattern makes of the pattern: whatever one of them takes, the other has to take too.
func fits(pattern, name string) bool {
	back, from := -1, 0 // where to go on when the text of the last * has to be longer
	p, n := 0, 0
	for n < len(name) {
		_, size := utf8.DecodeRuneInString(name[n:])
		switch {
		case p < len(pattern) && pattern[p] == '*':
			back, from = p, n
			p++
		case p < len(pattern) && pattern[p] == '?':
			p++
			n += size
		case p < len(pattern) && strings.HasPrefix(pattern[p:], name[n:n+size]):
			p += size
			n += size
		case back >= 0:
			_, size := utf8.DecodeRuneInString(name[from:])
			from += size
			p, n = back+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchAny tells whether a name fits one of the patterns.
func matchAny(list patterns, name string) bool {
	for _, p := range list {
		if fits(p, name) {
			return true
		}
	}
	return false
}

// matchTable tells whether a table fits one of the patterns: "table" in any schema, or "schema.table".
func matchTable(list patterns, schema, table string) bool {
	for _, p := range list {
		inSchema, inTable := cutPattern(p)
		if fits(inSchema, schema) && fits(inTable, table) {
			return true
		}
	}
	return false
}

// cutPattern splits a pattern of tables at its first dot, as everything here does that takes one.
func cutPattern(p string) (schema, table string) {
	schema, table, ok := strings.Cut(p, ".")
	if !ok {
		return "*", p
	}
	return schema, table
}

// takesTable tells whether a relation is dumped.
func (o options) takesTable(schema, table string) bool {
	if !o.takesSchema(schema) || len(o.Tables) > 0 && !matchTable(o.Tables, schema, table) {
		return false
	}
	return !matchTable(o.ExcludeTables, schema, table)
}

func (o options) takesSchema(schema string) bool {
	if len(o.Schemas) > 0 && !matchAny(o.Schemas, schema) {
		return false
	}
	return !matchAny(o.ExcludeSchemas, schema)
}

// takesData tells whether the rows of a relation that is dumped are dumped too.
func (o options) takesData(schema, table string) bool { return !matchTable(o.NoData, schema, table) }

// selective tells whether only what is named is dumped. Then, as with pg_dump's --schema and --table, what belongs to no
// schema (extensions, large objects) is not. What is excluded takes nothing else with it.
func (o options) selective() bool { return len(o.Schemas)+len(o.Tables) > 0 }

// dumpPattern turns a pattern into one of psql's, which pg_dump takes: letters keep their case in double quotes, within
// which nothing is special; * and ? stand outside of them.
func dumpPattern(p string) string {
	var b strings.Builder
	open := false
	quote := func(want bool) {
		if open != want {
			b.WriteByte('"')
			open = want
		}
	}
	for i := 0; i < len(p); i++ {
		switch c := p[i]; c {
		case '*', '?':
			quote(false)
			b.WriteByte(c)
		case '"':
			quote(true)
			b.WriteString(`""`)
		default:
			quote(true)
			b.WriteByte(c)
		}
	}
	quote(false)
	return b.String()
}

// tablePattern is dumpPattern for tables.
func tablePattern(p string) string {
	schema, table := cutPattern(p)
	return dumpPattern(schema) + "." + dumpPattern(table)
}

// dumpPatterns are pg_dump's arguments for what is dumped of a database. pg_dump says so of a restore's leftovers too, and
// of the server's own schemas, which its patterns would take and ours do not. It passes over schemas once it is told tables.
func (o options) dumpPatterns() []string {
	var args []string
	add := func(flag string, list ...string) {
		for _, p := range list {
			args = append(args, flag+"="+p)
		}
	}
	each := func(flag string, list patterns, form func(string) string) {
		for _, p := range list {
			add(flag, form(p))
		}
	}
	add("--exclude-schema", dumpPattern("salvor_progress"))
	each("--schema", o.Schemas, dumpPattern)
	if len(o.Schemas) > 0 {
		add("--exclude-schema", dumpPattern("pg_*"), dumpPattern("information_schema"))
	}
	each("--exclude-schema", o.ExcludeSchemas, dumpPattern)
	each("--table", o.Tables, tablePattern)
	if len(o.Tables) > 0 {
		add("--exclude-table", tablePattern("pg_*.*"), tablePattern("information_schema.*"), tablePattern("salvor_progress.*"))
		each("--exclude-table", o.ExcludeSchemas, func(p string) string { return dumpPattern(p) + ".*" })
	}
	each("--exclude-table", o.ExcludeTables, tablePattern)
	// Rows are not pg_dump's here, but the refreshes of materialized views are.
	each("--exclude-table-data", o.NoData, tablePattern)
	return args
}
