package archive

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

// Manifest says what a dump consists of. A dump exists if and only if its manifest is stored.
type Manifest struct {
	Format  int       `json:"format"`
	Set     string    `json:"set"`
	Dump    string    `json:"dump"`
	Run     string    `json:"run"`
	Version string    `json:"version,omitempty"` // of the program; Commit fills it in
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
	// Partial tells that nodes are Missing, by their paths. Such a dump is never the latest.
	Partial bool         `json:"partial,omitempty"`
	Missing []string     `json:"missing,omitempty"`
	Nodes   []NodeRecord `json:"nodes"`
}

// Ref names the dump.
func (m Manifest) Ref() Ref { return Ref{m.Set, m.Dump} }

// NodeRecord is what a dump's manifest says of a node: where its own manifest is, with its length and hash, and its totals.
type NodeRecord struct {
	Path   string `json:"path"`
	Driver string `json:"driver"`
	Key    string `json:"key"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Parts is the number of parts or segments.
	Parts      int   `json:"parts"`
	Entries    int64 `json:"entries,omitempty"`
	Bytes      int64 `json:"bytes"`            // of content
	Stored     int64 `json:"stored"`           // newly written to the archive
	Reused     int64 `json:"reused,omitempty"` // bytes of content that an earlier dump had stored
	Unreadable int64 `json:"unreadable,omitempty"`
	Vanished   int64 `json:"vanished,omitempty"`
}

// The shapes of nodes.
const (
	ShapeStream = "stream"
	ShapeTree   = "tree"
)

// NodeManifest says what a node's dump consists of.
type NodeManifest struct {
	Format int    `json:"format"`
	Set    string `json:"set"`
	Dump   string `json:"dump"`
	Path   string `json:"path"`
	Driver string `json:"driver"`
	// Shape is [ShapeStream] (Parts) or [ShapeTree] (Segments).
	Shape string `json:"shape"`
	// Keys tells that a tree's paths are keys of objects, which may have names that are empty, "." or "..".
	Keys bool `json:"keys,omitempty"`
	// Source is the unresolved text: ${NAME} stands in it as written, and no secret.
	Source     string          `json:"source"`
	Hostname   string          `json:"hostname,omitempty"`
	Identities []string        `json:"identities,omitempty"`
	Options    json.RawMessage `json:"options,omitempty"`
	Facts      json.RawMessage `json:"facts,omitempty"`
	Started    time.Time       `json:"started"`
	Ended      time.Time       `json:"ended"`
	Skew       time.Duration   `json:"skew,omitempty"` // nanoseconds

	Parts    []PartRecord    `json:"parts,omitempty"`
	Segments []SegmentRecord `json:"segments,omitempty"`

	Entries    int64 `json:"entries,omitempty"`
	Bytes      int64 `json:"bytes"`
	Stored     int64 `json:"stored"`
	Reused     int64 `json:"reused,omitempty"`
	Unreadable int64 `json:"unreadable,omitempty"`
	Vanished   int64 `json:"vanished,omitempty"`
	// Problems are the first entries that could not be read, at most [MaxNodeProblems].
	Problems []Problem `json:"problems,omitempty"`
}

// The greatest numbers of problems that are kept; further ones are only counted.
const (
	MaxNodeProblems    = 100
	MaxSegmentProblems = 20
)

// Ref names the dump.
func (n NodeManifest) Ref() Ref { return Ref{n.Set, n.Dump} }

// Problem is one entry that could not be read, and why.
type Problem struct {
	Path    string // any bytes
	Message string
}

type problemJSON struct {
	Path    *string `json:"path,omitempty"`
	PathB64 []byte  `json:"path_b64,omitempty"`
	Message string  `json:"message"`
}

// MarshalJSON writes the path as path, or as path_b64 where it is not UTF-8.
func (p Problem) MarshalJSON() ([]byte, error) {
	j := problemJSON{Message: p.Message}
	if utf8.ValidString(p.Path) {
		j.Path = &p.Path
	} else {
		j.PathB64 = []byte(p.Path)
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *Problem) UnmarshalJSON(data []byte) error {
	var j problemJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*p = Problem{Path: string(j.PathB64), Message: j.Message}
	if j.Path != nil {
		p.Path = *j.Path
	}
	return nil
}

// PartRecord says where a part is and what it holds.
type PartRecord struct {
	Index        int    `json:"index"`
	Name         string `json:"name"`
	Ext          string `json:"ext,omitempty"`
	Key          string `json:"key"`
	Encoding     string `json:"encoding"`         // "zstd"
	Size         int64  `json:"size"`             // of the content
	SHA256       string `json:"sha256,omitempty"` // of the content; a part with a Digest may do without
	Stored       int64  `json:"stored"`           // of the object
	StoredSHA256 string `json:"stored_sha256"`
	// Rows and Digest are what the driver counted; Ref is its description of the part. The caller fills them in.
	Rows   int64           `json:"rows,omitempty"`
	Digest string          `json:"digest,omitempty"`
	Ref    json.RawMessage `json:"ref,omitempty"`
	// Base marks a part that every restore of the node needs, also one of a selection.
	Base bool `json:"base,omitempty"`
}

// SegmentRecord says where a segment is and what it holds: the entries whose paths are in [From, To); an empty To has no
// end.
type SegmentRecord struct {
	// Index is the segment's number in its node. PutSegment sets it to the one it was told; whoever writes the manifest may
	// number segments anew, ascending.
	Index int    `json:"index"`
	Key   string `json:"key"`
	From  []byte `json:"from,omitempty"`
	To    []byte `json:"to,omitempty"`

	// PutSegment counts these from the entries.
	Entries    int64     `json:"entries"`
	Files      int64     `json:"files"`
	Bytes      int64     `json:"bytes"` // of content, holes included
	Unreadable int64     `json:"unreadable,omitempty"`
	Problems   []Problem `json:"problems,omitempty"` // the first MaxSegmentProblems

	// The caller knows and fills in these.
	Stored    int64 `json:"stored"` // newly written for it
	Reused    int64 `json:"reused,omitempty"`
	Vanished  int64 `json:"vanished,omitempty"`
	Hardlinks int64 `json:"hardlinks,omitempty"`

	Size   int64  `json:"size"` // of the object
	SHA256 string `json:"sha256"`
}
