package postgres

import (
	"strings"

	"salvor/drivers/internal/pattern"
)

// takesTable tells whether a relation is dumped.
func (o options) takesTable(schema, table string) bool {
	if !o.takesSchema(schema) || len(o.Tables) > 0 && !o.Tables.Table(schema, table) {
		return false
	}
	return !o.ExcludeTables.Table(schema, table)
}

func (o options) takesSchema(schema string) bool {
	if len(o.Schemas) > 0 && !o.Schemas.Any(schema) {
		return false
	}
	return !o.ExcludeSchemas.Any(schema)
}

// takesData tells whether the rows of a relation that is dumped are dumped too.
func (o options) takesData(schema, table string) bool { return !o.NoData.Table(schema, table) }

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
	schema, table := pattern.Cut(p)
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
	each := func(flag string, list pattern.List, form func(string) string) {
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
