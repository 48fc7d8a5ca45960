package mysql

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
	// Globals adds accounts, roles and their rights.
	Globals bool `json:"globals,omitempty"`
	// Tables restricts what is dumped; ExcludeTables takes away; NoData dumps definitions without rows.
	Tables        pattern.List `json:"tables,omitempty"`
	ExcludeTables pattern.List `json:"exclude_tables,omitempty"`
	NoData        pattern.List `json:"exclude_table_data,omitempty"`
	// Capture is read by package declared.
	Capture json.RawMessage `json:"capture,omitempty"`
	// Chunk is the size from which on a table is cut, and of the objects it is stored as.
	Chunk size.Bytes `json:"chunk,omitempty"`
	// AllowInconsistent dumps large tables without transactions as they are when they are read.
	AllowInconsistent bool `json:"allow_inconsistent,omitempty"`
	// LockTimeout is how many seconds others may have to wait while the view is opened.
	LockTimeout int `json:"lock_timeout,omitempty"`
	// Definer says whether a restore keeps the definers of views, routines, triggers and events: "keep" or "drop".
	Definer string `json:"definer,omitempty"`
	// SkipBinlog keeps a restore out of the server's binary log, and so from its replicas.
	SkipBinlog bool `json:"skip_binlog,omitempty"`
}

func optionNames() []string {
	return []string{
		"allow_inconsistent", "capture", "chunk", "database", "databases", "definer", "exclude_table_data", "exclude_tables", "globals", "lock_timeout",
		"skip_binlog", "tables",
	}
}

const (
	definerKeep = "keep"
	definerDrop = "drop"

	leastChunk      = 64 << 10
	mostLockTimeout = 3600
)

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
		key  string
		list pattern.List
	}{{"databases", o.Databases}, {"tables", o.Tables}, {"exclude_tables", o.ExcludeTables}, {"exclude_table_data", o.NoData}}
	for _, l := range lists {
		for i, p := range l.list {
			if l.key == "databases" && p == "all" {
				l.list[i] = "*"
				continue
			}
			if err := pattern.Check(l.key, p); err != nil {
				return o, err
			}
		}
	}
	switch {
	case o.Database != "" && len(o.Databases) > 0:
		return o, fmt.Errorf("database and databases exclude each other: %w", drivers.ErrInvalid)
	case o.Chunk != 0 && o.Chunk < leastChunk:
		return o, fmt.Errorf("chunk: %w: at least %d bytes", drivers.ErrInvalid, leastChunk)
	case o.LockTimeout < 0 || o.LockTimeout > mostLockTimeout:
		return o, fmt.Errorf("lock_timeout: %w: from 1 to %d seconds", drivers.ErrInvalid, mostLockTimeout)
	case o.Definer != "" && o.Definer != definerKeep && o.Definer != definerDrop:
		return o, fmt.Errorf("definer: %w: it is keep or drop", drivers.ErrInvalid)
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

// takesTable tells whether a table, a view or a sequence is dumped.
func (o options) takesTable(name string) bool {
	return (len(o.Tables) == 0 || o.Tables.Any(name)) && !o.ExcludeTables.Any(name)
}

// takesData tells whether the rows of a table that is dumped are dumped too.
func (o options) takesData(name string) bool { return !o.NoData.Any(name) }

// selective tells whether only tables that are named are dumped: then routines and events are not.
func (o options) selective() bool { return len(o.Tables) > 0 }
