package postgres

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"salvor/drivers"
	"salvor/drivers/internal/pattern"
	"salvor/drivers/relational/declared"
	"salvor/internal/size"
)

// options are the keys of a node of this driver.
type options struct {
	// Database overrides the source's database.
	Database string `json:"database,omitempty"`
	// Databases makes the node stand for all databases of the server whose names fit; "all" is "*".
	Databases pattern.List `json:"databases,omitempty"`
	// Globals adds roles and tablespaces of the server.
	Globals bool `json:"globals,omitempty"`
	// Schemas, Tables restrict what is dumped; the Exclude lists take away; NoData dumps definitions without rows.
	Schemas        pattern.List `json:"schemas,omitempty"`
	ExcludeSchemas pattern.List `json:"exclude_schemas,omitempty"`
	Tables         pattern.List `json:"tables,omitempty"`
	ExcludeTables  pattern.List `json:"exclude_tables,omitempty"`
	NoData         pattern.List `json:"exclude_table_data,omitempty"`
	// Capture is read by package declared.
	Capture json.RawMessage `json:"capture,omitempty"`
	// Chunk is the size from which on a table is cut, and of the objects it is stored as.
	Chunk size.Bytes `json:"chunk,omitempty"`
}

func optionNames() []string {
	return []string{
		"capture", "chunk", "database", "databases", "exclude_schemas", "exclude_table_data", "exclude_tables", "globals", "schemas", "tables",
	}
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
	if _, err := declared.Parse(o.Capture); err != nil {
		return o, err
	}
	lists := []struct {
		key    string
		list   pattern.List
		tables bool
	}{
		{"databases", o.Databases, false},
		{"schemas", o.Schemas, false},
		{"exclude_schemas", o.ExcludeSchemas, false},
		{"tables", o.Tables, true},
		{"exclude_tables", o.ExcludeTables, true},
		{"exclude_table_data", o.NoData, true},
	}
	for _, l := range lists {
		for i, p := range l.list {
			if l.key == "databases" && p == "all" {
				l.list[i] = "*"
				continue
			}
			if err := pattern.Check(l.key, p); err != nil {
				return o, err
			}
			if schema, table := pattern.Cut(p); l.tables && (schema == "" || table == "") {
				return o, drivers.WithHint(fmt.Errorf("%s: %w: %q is no pattern of tables", l.key, drivers.ErrInvalid, p),
					"write the table alone, or schema.table")
			}
		}
	}
	switch {
	case o.Database != "" && len(o.Databases) > 0:
		return o, fmt.Errorf("database and databases exclude each other: %w", drivers.ErrInvalid)
	case len(o.Schemas) > 0 && len(o.Tables) > 0:
		return o, drivers.WithHint(fmt.Errorf("schemas and tables exclude each other: %w", drivers.ErrInvalid), "write tables as schema.table")
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
