package tasks

import "encoding/json"

// Operation is what a run does.
type Operation string

// The operations that have plans.
const (
	OpDump    Operation = "dump"
	OpRestore Operation = "restore"
	// OpExpand asks what nodes of a set stand for, before a dump of it is planned. It writes nothing and has no archive: its
	// results are in the ledger alone.
	OpExpand Operation = "expand"
	// OpCapture keeps what became of a database's rows since a dump.
	OpCapture Operation = "capture"
)

// OnError says what a run does after a task failed for good.
type OnError string

// The policies.
const (
	// OnErrorStop starts nothing new, ends what runs, and fails the run.
	OnErrorStop OnError = "stop"
	// OnErrorContinue lets everything finish that does not depend on what failed.
	OnErrorContinue OnError = "continue"
)

// Plan is a run as it was decided before it starts: a pure function of what it was made from. It is stored in the ledger
// and, for a dump, in the archive; it holds no secret.
type Plan struct {
	Contract  int       `json:"contract"`
	Run       string    `json:"run"`
	Operation Operation `json:"operation"`
	Archive   string    `json:"archive"` // unresolved; "" for OpExpand
	Set       string    `json:"set"`
	Dump      string    `json:"dump"` // the dump that is made, restored or compared with; "" where there is none
	Base      string    `json:"base,omitempty"`
	// Resumed counts how often the run was taken up again; what its earlier lives left in the archive is built on.
	Resumed int     `json:"resumed,omitempty"`
	OnError OnError `json:"on_error"`
	// Root is the set that was dumped.
	Root Node `json:"root"`
	// Restore says what a restore does; nil for a dump.
	Restore *Restore `json:"restore,omitempty"`
	// Capture says what is captured; nil for all else. With Restore, the dump is restored first, into the place of its Base.
	Capture *Capture `json:"capture,omitempty"`
	Steps   []Step   `json:"steps"`
}

// Restore is what a restore was asked for.
type Restore struct {
	// Nodes are the nodes that are restored, by path.
	Nodes map[string]RestoreNode `json:"nodes"`
	// Overwrite, Mirror and InPlace are the rules for what is already there; see the drivers' Target.
	Overwrite bool `json:"overwrite,omitempty"`
	Mirror    bool `json:"mirror,omitempty"`
	InPlace   bool `json:"in_place,omitempty"`
	// Create and Clean are the rules for databases.
	Create bool `json:"create,omitempty"`
	Clean  bool `json:"clean,omitempty"`
	// Prove compares what was restored with the dump.
	Prove bool `json:"prove,omitempty"`
}

// RestoreNode says where a node goes and how much of it.
type RestoreNode struct {
	// Driver and Source say where: those of the node itself, or what the user chose. Source is unresolved.
	Driver string `json:"driver"`
	Source string `json:"source"`
	// Host binds the target to workers of that host; "" binds one that is not Elsewhere to the node's own.
	Host string `json:"host,omitempty"`
	// Elsewhere tells that the user chose the target.
	Elsewhere bool `json:"elsewhere,omitempty"`
	// Only restricts the restore to these paths (and all below them) or parts; empty means all. They are bytes because a
	// path may be any.
	Only [][]byte `json:"only,omitempty"`
}

// Kind is what a task does. The kinds of a dump run in this order for each node: freeze, part, seal; then one commit.
// Those of a restore: check (for all nodes before anything is written), prepare, load, finish. Expand has a run of its own.
// Those of a capture: those of a restore where a dump is compared with; then observe, compare, record; then drop.
type Kind string

// The kinds of tasks.
const (
	KindFreeze  Kind = "freeze"  // opens the view (and holds it), lists the parts, grows the part steps
	KindPart    Kind = "part"    // dumps one part, or one range of entries
	KindSeal    Kind = "seal"    // writes the node's manifest
	KindCommit  Kind = "commit"  // writes the dump's manifest
	KindCheck   Kind = "check"   // checks one target
	KindPrepare Kind = "prepare" // prepares one target, grows the load step
	KindLoad    Kind = "load"    // loads one part, or one segment of entries
	KindFinish  Kind = "finish"  // settles one target
	KindExpand  Kind = "expand"  // lists the places that a node stands for
	KindObserve Kind = "observe" // opens the views of a database and of what it is compared with (and holds them), grows the compare step, then finds what hangs on what was found
	KindCompare Kind = "compare" // finds what became of one table's rows
	KindRecord  Kind = "record"  // writes the capture
	KindDrop    Kind = "drop"    // removes the place that a dump was restored into to be compared with
)

// Step is a set of tasks that may run in parallel once all steps that it needs are done.
//
// # States
//
// waiting → open → done, or failed (a task of it failed for good), or unreachable (a step that it needs failed). A step
// that may grow is done when it is closed and nothing is outstanding; one that may not, when nothing is outstanding.
type Step struct {
	// ID is unique in the plan: "part:site/db".
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// Node is the node's path; "" for a step of the whole run.
	Node string `json:"node,omitempty"`
	// Needs are the ids of the steps that must be done first.
	Needs []string `json:"needs,omitempty"`
	// Tolerant lets the step start when what it needs has ended in any way, not only well.
	Tolerant bool `json:"tolerant,omitempty"`
	// Grower is the id of the task that adds this step's tasks and closes it; "" for a step whose Tasks are all.
	Grower string `json:"grower,omitempty"`
	// Holder is the id of the task that holds the view this step's tasks read from. If the holder dies or the view is
	// lost, the step is emptied and opened again with the next epoch, and the holder runs again.
	Holder string `json:"holder,omitempty"`
	// Gate keeps the number of steps of the run that are past it at most at its limit.
	Gate *Gate `json:"gate,omitempty"`
	// Tasks are those that are known from the start.
	Tasks []Task `json:"tasks,omitempty"`
}

// Gate is a place in a run where at most Limit steps may be: a step enters when it opens, and leaves when step Until has
// ended in any way.
type Gate struct {
	Name  string `json:"name"`
	Limit int    `json:"limit"`
	Until string `json:"until"`
}

// Task is the smallest unit of work.
type Task struct {
	// ID is unique in the run and a pure function of the plan (or of its grower's input): "freeze:site/db",
	// "part:site/db:000012".
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	Node string `json:"node,omitempty"`
	// Weight is the expected number of bytes. Heavier tasks start earlier; progress is counted by it.
	Weight int64 `json:"weight,omitempty"`
	// First lets it start before the others of its step, whatever their weights.
	First bool `json:"first,omitempty"`
	// Route says which workers may take it.
	Route Route `json:"route"`
	// Spec is what the kind's handler is told beside the plan: FreezeSpec, PartSpec, ...
	Spec json.RawMessage `json:"spec,omitempty"`
}

// Route chooses a queue.
type Route struct {
	// Hold routes to the pool of slots for tasks that hold views, so that they cannot use up those that parts need.
	Hold bool `json:"hold,omitempty"`
	// Host routes to workers of that host; "" to any.
	Host string `json:"host,omitempty"`
	// Worker routes to one process, by its id; Host and Hold are then ignored.
	Worker string `json:"worker,omitempty"`
}

// Class is what is to be done about an attempt's error.
type Class string

// The classes of errors.
const (
	// Transient errors are tried again, later each time, a limited number of times.
	Transient Class = "transient"
	// Permanent errors fail the task now.
	Permanent Class = "permanent"
	// LostView means that the consistent view is gone: its node starts again with a new epoch.
	LostView Class = "lost_view"
	// HandBack means that the attempt was given up without fault (the worker stops): the task is ready again at once and
	// the attempt does not count.
	HandBack Class = "hand_back"
)

// Failure is why an attempt, a task or a run failed, as stored and shown. It holds no secret.
type Failure struct {
	Class Class  `json:"class"`
	Task  string `json:"task,omitempty"`
	Node  string `json:"node,omitempty"`
	// Code is the error's kind, for exit codes: "not_found", "access", "not_empty", "corrupt", "no_space", "invalid", or ""
	// for any other.
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Worker  string `json:"worker,omitempty"`
}
