package postgres

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"salvor/drivers"
)

// options are the keys of a node of this driver.
type options struct {
	// Database overrides the source's database.
	Database string `json:"database,omitempty"`
	// Databases makes the node stand for all databases of the server whose names fit; "all" is "*".
	Databases patterns `json:"databases,omitempty"`
	// Globals adds roles and tablespaces of the server.
	Globals bool `json:"globals,omitempty"`
	// Schemas, Tables restrict what is dumped; the Exclude lists take away; NoData dumps definitions without rows.
	Schemas        patterns `json:"schemas,omitempty"`
	ExcludeSchemas patterns `json:"exclude_schemas,omitempty"`
	Tables         patterns `json:"tables,omitempty"`
	ExcludeTables  patterns `json:"exclude_tables,omitempty"`
	NoData         patterns `json:"exclude_table_data,omitempty"`
	// Chunk is the size in bytes from which on a table is cut, and of the objects it is stored as.
	Chunk int64 `json:"chunk,omitempty"`
}

func optionNames() []string {
	return []string{
		"chunk", "database", "databases", "exclude_schemas", "exclude_table_data", "exclude_tables", "globals", "schemas", "tables",
	}
}

// patterns is a list of patterns, which may be written as one text.
type patterns []string

// UnmarshalJSON takes a text or a list of texts.
func (p *patterns) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*p = patterns{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(p))
}

const leastChunk = 64 << 10

func parseOptions(raw json.RawMessage) (options, error) {
	var o options
	if len(raw) == 0 {
		return o, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return o, fmt.Errorf("options: %w: %w", drivers.ErrInvalid, plain(err))
	}
	lists := []struct {
		key  string
		list patterns
	}{
		{"databases", o.Databases},
		{"schemas", o.Schemas},
		{"exclude_schemas", o.ExcludeSchemas},
		{"tables", o.Tables},
		{"exclude_tables", o.ExcludeTables},
		{"exclude_table_data", o.NoData},
	}
	for _, l := range lists {
		for i, p := range l.list {
			if l.key == "databases" && p == "all" {
				l.list[i] = "*"
				continue
			}
			if _, err := path.Match(p, ""); err != nil || p == "" || strings.ContainsRune(p, 0) {
				return o, fmt.Errorf("%s: %w: %q is no pattern", l.key, drivers.ErrInvalid, p)
			}
		}
	}
	switch {
	case o.Database != "" && len(o.Databases) > 0:
		return o, fmt.Errorf("database and databases exclude each other: %w", drivers.ErrInvalid)
	case o.Chunk != 0 && o.Chunk < leastChunk:
		return o, fmt.Errorf("chunk: %w: at least %d bytes", drivers.ErrInvalid, leastChunk)
	}
	return o, nil
}

// plain keeps what an error of the decoder says about the type, without the name of the Go type.
func plain(err error) error {
	if typeErr, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s cannot be a %s", typeErr.Field, typeErr.Value)
	}
	return err
}

// of returns the options of one database of the server. Globals belong to the server and are dumped with the first.
func (o options) of(database string, first bool) options {
	o.Database, o.Databases = database, nil
	o.Globals = o.Globals && first
	return o
}

// matchAny tells whether a name fits one of the patterns: * and ? as a shell has them, but * also fits a slash.
func matchAny(list patterns, name string) bool {
	name = strings.ReplaceAll(name, "/", "\x01")
	for _, p := range list {
		if ok, err := path.Match(strings.ReplaceAll(p, "/", "\x01"), name); err == nil && ok {
			return true
		}
	}
	return false
}

// takesTable tells whether a table is dumped: patterns of tables are "table" in any schema, or "schema.table".
func (o options) takesTable(schema, table string) bool {
	full := schema + "." + table
	fits := func(list patterns) bool { return matchAny(list, full) || matchTable(list, table) }
	if !o.takesSchema(schema) {
		return false
	}
	if len(o.Tables) > 0 && !fits(o.Tables) {
		return false
	}
	return !fits(o.ExcludeTables)
}

// matchTable fits patterns without a dot to the name alone.
func matchTable(list patterns, table string) bool {
	for _, p := range list {
		if !strings.Contains(p, ".") && matchAny(patterns{p}, table) {
			return true
		}
	}
	return false
}

func (o options) takesSchema(schema string) bool {
	if len(o.Schemas) > 0 && !matchAny(o.Schemas, schema) {
		return false
	}
	return !matchAny(o.ExcludeSchemas, schema)
}

func (o options) takesData(schema, table string) bool {
	return !matchAny(o.NoData, schema+"."+table) && !matchTable(o.NoData, table)
}

// selective tells whether less than the whole database is dumped.
func (o options) selective() bool {
	return len(o.Schemas)+len(o.ExcludeSchemas)+len(o.Tables)+len(o.ExcludeTables) > 0
}
