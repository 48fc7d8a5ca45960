package relational

import (
	"fmt"
	"slices"
	"strings"

	"salvor/drivers"
)

// Detectors are the columns of a table that tell when a row was made and when it was changed last; "" where none does.
type Detectors struct {
	Created  string `json:"created,omitempty"`
	Modified string `json:"modified,omitempty"`
}

// createdNames and modifiedNames are what such columns are called, the surest first. Other columns may have a time that is set to
// now when a row is made: those that say when something expires or was last seen. They would take in rows that nobody made since.
func createdNames() []string {
	return []string{
		"created", "created_at", "created_on", "date_created", "creation_date", "created_date", "created_time", "creation_time",
		"date_joined", "pub_date", "inserted_at", "date_added", "added_at", "added_on", "createdat", "createdon", "create_time", "create_date", "submit_time",
	}
}

func modifiedNames() []string {
	return []string{
		"updated_at", "updated", "modified", "modified_at", "last_modified", "last_updated", "updated_on", "modified_on", "changed_at", "changed_on",
		"last_changed", "date_modified", "date_updated", "modified_date", "updated_date", "changed_date", "modification_date", "last_change",
		"updatedat", "modifiedat", "update_time", "write_date",
	}
}

// Detect finds a table's detectors: those that were chosen for it, or columns of the usual names that have a time. "-" chooses none. It
// returns [drivers.ErrNotFound] for a chosen column that is not there, and [drivers.ErrInvalid] for one that has no time.
func (t *Table) Detect(chosen Detectors) (Detectors, error) {
	created, err := t.detector(chosen.Created, createdNames())
	if err != nil {
		return Detectors{}, err
	}
	modified, err := t.detector(chosen.Modified, modifiedNames())
	return Detectors{Created: created, Modified: modified}, err
}

func (t *Table) detector(chosen string, names []string) (string, error) {
	switch {
	case chosen == "-":
		return "", nil
	case chosen != "":
		i := t.Index(chosen)
		if i < 0 {
			return "", drivers.WithHint(fmt.Errorf("table %s: column %q: %w", t.Name, chosen, drivers.ErrNotFound), "the table has "+t.columnList())
		}
		if t.Columns[i].Clock == ClockNone {
			return "", drivers.WithHint(fmt.Errorf("table %s: column %q of type %s tells no moment: %w", t.Name, chosen, t.Columns[i].SQL, drivers.ErrInvalid),
				"name a column of dates or timestamps, or - for none")
		}
		return chosen, nil
	}
	for _, name := range names {
		for _, c := range t.Columns {
			if strings.EqualFold(c.Name, name) && c.Clock != ClockNone {
				return c.Name, nil
			}
		}
	}
	return "", nil
}

func (t *Table) columnList() string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}

// Op is what became of a row.
type Op string

// What became of a row since the dump.
const (
	OpCreated  Op = "c"
	OpModified Op = "m"
	OpDeleted  Op = "d"
)

// Why is what found a row: a set of detectors.
type Why byte

// The detectors.
const (
	WhyCreated  Why = 1 << iota // its time of creation
	WhyModified                 // its time of modification
	WhyDiff                     // the comparison with the dump
)

// Names lists the detectors as captures have them.
func (w Why) Names() []string {
	var names []string
	for i, name := range []string{"created", "modified", "diff"} {
		if w&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Found is a row that people made, changed or deleted since the dump. It is good until the call that got it returns.
type Found struct {
	Op  Op
	Why Why
	// Key identifies the row: by the table's identity, or by the hash of what is compared.
	Key []byte
	// Live and Base are the row now and in the dump, by the columns of either table; nil where it is not there, or the
	// dump is not.
	Live, Base []Value
	// Changed are the places in Live of the columns that differ, for a row that was modified; nil where that is not known.
	Changed []int
}

// Coverage says how well the rows of a table were looked at, and what was found.
type Coverage struct {
	Table Name `json:"table"`
	// Rows is how many there are now; negative where only a part of them was read.
	Rows int64 `json:"rows"`
	// Detectors are the columns that were used.
	Detectors
	// Diff tells that the table was compared with the dump: by Identity, or by all that rows hold where that is empty.
	Diff     bool     `json:"diff,omitempty"`
	Identity []string `json:"identity,omitempty"`
	// ByCreated and ByModified count the rows that have a time of the moment or later, whatever the comparison says of them.
	ByCreated  int64 `json:"by_created,omitempty"`
	ByModified int64 `json:"by_modified,omitempty"`
	// Created, Modified and Deleted count what was found.
	Created  int64 `json:"found_created"`
	Modified int64 `json:"found_modified"`
	Deleted  int64 `json:"found_deleted"`
	// NoTime counts the rows whose time of creation is NULL or can't be told: without a comparison nobody knows when they were made.
	NoTime int64 `json:"no_time,omitempty"`
	// Backdated counts rows that are new and say that they are older, Silent those that were changed and do not say so, Touched
	// those that say so and are what they were.
	Backdated int64 `json:"backdated,omitempty"`
	Silent    int64 `json:"silent,omitempty"`
	Touched   int64 `json:"touched,omitempty"`
	// Notes are what else somebody must know: columns that were added, dropped or changed their type, keys that are not the same.
	Notes []string `json:"notes,omitempty"`
}

// Blind tells that nothing would have shown a row that was made since.
func (c *Coverage) Blind() bool { return !c.Diff && c.Detectors.Created == "" }

// note adds a note.
func (c *Coverage) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(c.Notes, n) {
		c.Notes = append(c.Notes, n)
	}
}
