package tasks

import (
	"encoding/json"
	"time"
)

// ExpandSpec tells an expand task how.
type ExpandSpec struct {
	// Once tells that somebody waits who can do without the answer: what fails is not tried again.
	Once bool `json:"once,omitempty"`
}

// ExpandResult is what an expand task answers.
type ExpandResult struct {
	// Places are those that the node stands for, sorted by name; none where it stands for itself.
	Places []Place `json:"places,omitempty"`
}

// Place is one of those that a node stands for: a database of a server.
type Place struct {
	// Name is how the place calls itself.
	Name string `json:"name"`
	// Options are those of the place's own node, which has the same source.
	Options json.RawMessage `json:"options,omitempty"`
}

// FreezeSpec tells a freeze task which nodes' views it opens: one, or all of a group that is frozen together.
type FreezeSpec struct {
	Nodes []FreezeNode `json:"nodes"`
}

// FreezeNode is one node of a freeze task.
type FreezeNode struct {
	Node string `json:"node"`
	// Step is the part step that the freeze task grows for this node.
	Step string `json:"step"`
}

// FreezeResult is what a freeze task answers, by node path.
type FreezeResult struct {
	Nodes map[string]Frozen `json:"nodes"`
}

// Frozen describes one node's view, or a tree's walk.
type Frozen struct {
	Started    time.Time       `json:"started"`
	Ended      time.Time       `json:"ended"`
	Identities []string        `json:"identities,omitempty"`
	Hostname   string          `json:"hostname,omitempty"`
	Facts      json.RawMessage `json:"facts,omitempty"`
	// Keys tells that a tree's paths are keys of objects.
	Keys bool `json:"keys,omitempty"`
	// Parts is the number of tasks that the node's part step was grown by; what is sealed must be as many.
	Parts int `json:"parts"`
	// Skew is, for a group that was frozen together, the time between the first view's opening and the last's.
	Skew time.Duration `json:"skew,omitempty"`
}

// PartSpec tells a part task what it dumps: a stream's part, or a tree's range of paths.
type PartSpec struct {
	// Index is the part's number in its node, from 0.
	Index int `json:"index"`
	// Part is a stream's part, as its driver described it.
	Part json.RawMessage `json:"part,omitempty"`
	// Epoch is the view's epoch.
	Epoch int `json:"epoch,omitempty"`
	// Ticket is what a process needs that joins the view; nil where it cannot be joined.
	Ticket json.RawMessage `json:"ticket,omitempty"`
	// From and To are a tree's range, as bytes because paths may be any.
	From []byte `json:"from,omitempty"`
	To   []byte `json:"to,omitempty"`
	// Identities are those of the tree's root when it was listed: a range of another tree (a root that was unmounted, or
	// another machine's) must not pass for it.
	Identities []string `json:"identities,omitempty"`
}

// SealSpec tells a seal task what it seals.
type SealSpec struct {
	// Sealed tells that an earlier life of the run sealed the node: its manifest stands in the archive, and stays.
	Sealed bool `json:"sealed,omitempty"`
}

// PartResult is what a part task answers: the archive's record of what it stored, which seal puts into the manifest.
type PartResult struct {
	Index int `json:"index"`
	// Ended is when the last of it was read.
	Ended time.Time `json:"ended"`
	// Part, or Segments, are the archive's records. A range that grew since it was listed takes several segments, and a
	// part that turned out to be large several objects: Splits are those before Part.
	Part     json.RawMessage   `json:"part,omitempty"`
	Splits   []json.RawMessage `json:"splits,omitempty"`
	Segments []json.RawMessage `json:"segments,omitempty"`
}

// RestoredSpec tells a check and a finish task of a node that an earlier life of the run restored: nothing is written to its
// target again but what was left to do at its very end.
type RestoredSpec struct {
	Restored bool `json:"restored,omitempty"`
}

// Restored is what the archive keeps of a node that a run has restored, while the run is open.
type Restored struct {
	Result NodeResult `json:"result"`
	// Settled tells that nothing is left to do there: without it the driver's Finish may have been interrupted, and the proof is
	// still to come.
	Settled bool `json:"settled,omitempty"`
}

// LoadSpec tells a load task which part or segment (by its index in the node's manifest) it loads, and which parts after it.
type LoadSpec struct {
	Index int `json:"index"`
	// Also are the parts that the task loads after that one, in their order.
	Also []int `json:"also,omitempty"`
	// Fresh tells that the target held nothing before: then nothing in it is looked up to find what is equal.
	Fresh bool `json:"fresh,omitempty"`
}

// LoadResult is what a load task answers.
type LoadResult struct {
	Entries  int64            `json:"entries,omitempty"`  // entries that were put
	Equal    int64            `json:"equal,omitempty"`    // entries that were already there
	Bytes    int64            `json:"bytes,omitempty"`    // bytes of content that were written
	Warnings map[string]int64 `json:"warnings,omitempty"` // counted by kind
	Problems []Problem        `json:"problems,omitempty"` // entries that could not be restored; at most 100
	Failed   int64            `json:"failed,omitempty"`   // how many could not
}

// Problem is one entry or object that could not be read or restored.
type Problem struct {
	Path    string `json:"path"`
	PathB64 []byte `json:"path_b64,omitempty"` // where the path is no UTF-8; Path is then a likeness
	Message string `json:"message"`
}

// NodeResult is what seal, finish and check tasks answer about their node, for reports.
type NodeResult struct {
	Node       string           `json:"node"`
	Driver     string           `json:"driver,omitempty"`
	Parts      int              `json:"parts,omitempty"`
	Entries    int64            `json:"entries,omitempty"`
	Bytes      int64            `json:"bytes,omitempty"`  // of content
	Stored     int64            `json:"stored,omitempty"` // newly written to the archive
	Reused     int64            `json:"reused,omitempty"` // bytes of content that an earlier dump already held
	Equal      int64            `json:"equal,omitempty"`
	Unreadable int64            `json:"unreadable,omitempty"`
	Vanished   int64            `json:"vanished,omitempty"`
	Warnings   map[string]int64 `json:"warnings,omitempty"`
	Problems   []Problem        `json:"problems,omitempty"`
	// Proof is what the comparison of a target with the dump found (finish), as the driver gave it.
	Proof json.RawMessage `json:"proof,omitempty"`
	// Identities are those of a target (check), for telling targets that lie in each other.
	Identities []string `json:"identities,omitempty"`
	// Manifest is the archive's record of the node's manifest (seal).
	Manifest json.RawMessage `json:"manifest,omitempty"`
}

// CommitResult is what a commit task answers.
type CommitResult struct {
	Partial bool     `json:"partial,omitempty"`
	Missing []string `json:"missing,omitempty"` // nodes that are not in the dump
}

// Progress is what a running task reports with each beat.
type Progress struct {
	Entries int64 `json:"entries,omitempty"`
	Bytes   int64 `json:"bytes,omitempty"`
}
