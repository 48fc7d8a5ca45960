package tasks

import (
	"encoding/json"
	"time"
)

// Capture is what a capture was asked for.
type Capture struct {
	// Node is the path of the node whose source is captured.
	Node string `json:"node"`
	// Capture is the capture's name in the archive.
	Capture string `json:"capture"`
	// Base is what the source is compared with; nil where nothing is.
	Base *CaptureBase `json:"base,omitempty"`
	// Since is what the rows' own times are compared with, after Margin is taken off; zero where they are not looked at.
	Since  time.Time     `json:"since,omitzero"`
	Margin time.Duration `json:"margin,omitempty"`
	// Zone is what times without a zone are in, an IANA name; "" leaves it to the database.
	Zone string `json:"zone,omitempty"`
	// RequireCoverage refuses tables of which nobody would see what was made.
	RequireCoverage bool `json:"require_coverage,omitempty"`
	// Budget bounds how many rows a closure takes over one reference; 0 does not.
	Budget int64 `json:"budget,omitempty"`
}

// CaptureBase is a database that another is compared with.
type CaptureBase struct {
	Driver string `json:"driver"`
	// Source is unresolved: that of the database; or, where a dump is restored into a place that is made for it, that of the server.
	Source string `json:"source,omitempty"`
	// Options are those of the node as it was dumped, without what says where it was.
	Options json.RawMessage `json:"options,omitempty"`
	Host    string          `json:"host,omitempty"`
	// Scratch is the name of the place that is made, and removed at the end; "" where the database is somebody's own.
	Scratch string `json:"scratch,omitempty"`
	// Temporary tells that the place is a file in the temporary directory of a worker. Source is "" then.
	Temporary bool `json:"temporary,omitempty"`
}

// BasePath is what the base of a capture of a node is known by where nodes are: no node's path holds an @.
func BasePath(node string) string { return node + "@base" }

// CompareSpec tells a compare task which table it compares.
type CompareSpec struct {
	Schema string `json:"schema,omitempty"`
	Table  string `json:"table"`
	// App and Model are Django's names of the table; Created and Modified its columns that tell when rows were made and changed.
	App      string `json:"app,omitempty"`
	Model    string `json:"model,omitempty"`
	Created  string `json:"created,omitempty"`
	Modified string `json:"modified,omitempty"`
	// Epoch is the views' epoch.
	Epoch int `json:"epoch,omitempty"`
	// Live and Base are what a process needs that joins the views; nil where they cannot be joined, or are not there.
	Live json.RawMessage `json:"live,omitempty"`
	Base json.RawMessage `json:"base,omitempty"`
}

// CompareResult is what a compare task answers. Parts are the archive's records, with the lines that they have by what became of
// the rows.
type CompareResult struct {
	Schema   string          `json:"schema,omitempty"`
	Table    string          `json:"table"`
	Coverage json.RawMessage `json:"coverage"`
	Rows     *CapturedPart   `json:"rows,omitempty"`
	// Seeds is the part from which a closure begins.
	Seeds  json.RawMessage `json:"seeds,omitempty"`
	Groups []CapturedPart  `json:"groups,omitempty"`
}

// CapturedPart is a part with lines of one table.
type CapturedPart struct {
	Schema string           `json:"schema,omitempty"`
	Table  string           `json:"table"`
	Part   json.RawMessage  `json:"part"`
	Lines  map[string]int64 `json:"lines"`
	// Detail is what the rows of a group have in common.
	Detail json.RawMessage `json:"detail,omitempty"`
}

// ObserveResult is what an observe task answers.
type ObserveResult struct {
	Hostname string    `json:"hostname,omitempty"`
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended"`
	// Moment is the database's own time directly before its view; Zone is what times without a zone were in.
	Moment time.Time `json:"moment"`
	Zone   string    `json:"zone,omitempty"`
	// Tables is the number of tasks that the compare step was grown by.
	Tables int `json:"tables"`
	// Model and BaseModel are the archive's records of parts that hold them.
	Model     json.RawMessage `json:"model"`
	BaseModel json.RawMessage `json:"base_model,omitempty"`
	// Edges are references that no constraint declares, by their table.
	Edges json.RawMessage `json:"edges,omitempty"`
	// Dropped are tables of the dump that the database does not have any more.
	Dropped []json.RawMessage `json:"dropped,omitempty"`
	// Added are the lines that the closure added, Missing what leads nowhere.
	Added   []CapturedPart  `json:"added,omitempty"`
	Missing json.RawMessage `json:"missing,omitempty"`
}
