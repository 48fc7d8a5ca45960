package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// CaptureRef names a capture.
type CaptureRef struct {
	Set     string `json:"set"`
	Capture string `json:"capture"`
}

// String returns "set/capture".
func (r CaptureRef) String() string { return r.Set + "/" + r.Capture }

func (r CaptureRef) check() error {
	if !validSet(r.Set) {
		return invalid("set name %q", r.Set)
	}
	if _, ok := captureIDTime(r.Capture); !ok {
		return invalid("capture name %q", r.Capture)
	}
	return nil
}

// Capture is what people did to a database since a dump: rows, in files beside it that are made to be read and edited, and what
// one must know to read them. It exists if and only if its document is stored.
type Capture struct {
	Format  int    `json:"format"`
	Set     string `json:"set"`
	Capture string `json:"capture"`
	Run     string `json:"run"`
	Version string `json:"version,omitempty"` // of the program; CommitCapture fills it in
	// Node is the path of the node that was captured, Source its unresolved source.
	Node     string `json:"node"`
	Driver   string `json:"driver"`
	Source   string `json:"source"`
	Hostname string `json:"hostname,omitempty"`
	// Against is the dump that the database was compared with, or AgainstSource the database; neither where there was none.
	Against       *Ref   `json:"against,omitempty"`
	AgainstSource string `json:"against_source,omitempty"`
	// Since is what times were compared with, before Margin was taken off; Zone is what times without a zone were taken to be in.
	// Since is zero where no times were.
	Since  time.Time     `json:"since,omitzero"`
	Margin time.Duration `json:"margin,omitempty"` // nanoseconds
	Zone   string        `json:"zone,omitempty"`
	// Moment is the database's own time directly before the view that was read.
	Moment  time.Time `json:"moment"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`

	// Model and BaseModel describe the tables of the database and of the dump, Edges the references that no constraint declares. They
	// are those of package drivers/relational, as JSON; this package only keeps them.
	Model     json.RawMessage `json:"model"`
	BaseModel json.RawMessage `json:"base_model,omitempty"`
	Edges     json.RawMessage `json:"edges,omitempty"`
	// Coverage says of each table how it was looked at and what was found, Missing which references lead nowhere.
	Coverage json.RawMessage `json:"coverage"`
	Missing  json.RawMessage `json:"missing,omitempty"`
	// Files are those of the tables, then those of the groups.
	Files []CaptureFile `json:"files"`
}

// Ref names the capture.
func (c Capture) Ref() CaptureRef { return CaptureRef{c.Set, c.Capture} }

// Groups are the files of mass changes.
func (c Capture) Groups() []CaptureFile {
	var list []CaptureFile
	for _, f := range c.Files {
		if f.Group > 0 {
			list = append(list, f)
		}
	}
	return list
}

// CaptureFile is a file of rows, one a line. People may edit it: length and hash are those that it was written with.
type CaptureFile struct {
	Schema string `json:"schema,omitempty"`
	Table  string `json:"table"`
	// Group is the number of a group of mass changes, whose rows the file has, and Detail what they have in common; 0 for the table's own.
	Group  int             `json:"group,omitempty"`
	Detail json.RawMessage `json:"detail,omitempty"`
	Key    string          `json:"key"`
	// Lines counts them by what became of their rows: c, m, d, s, x.
	Lines  map[string]int64 `json:"lines"`
	Size   int64            `json:"size"`
	SHA256 string           `json:"sha256"`
}

// Total is the number of lines.
func (f CaptureFile) Total() int64 {
	var n int64
	for _, count := range f.Lines {
		n += count
	}
	return n
}

// The files beside capture.json that are no rows.
const (
	DecisionsFile = "decisions.yaml"
	SummaryFile   = "summary.txt"
)

// NewCaptureID returns a name for a new capture of a set, as [Archive.NewDumpID] does for a dump.
func (a *Archive) NewCaptureID(ctx context.Context, set string) (string, error) {
	if !validSet(set) {
		return "", invalid("set name %q", set)
	}
	ids, err := a.captureIDs(ctx, set)
	if err != nil {
		return "", err
	}
	id, err := a.newID(ids, captureIDTime)
	if err != nil {
		return "", err
	}
	return capturePrefix + id, nil
}

type captureDocument struct {
	Type string `json:"type"`
	Capture
}

// check says what is wrong with a capture that was read or is to be written.
func (c *Capture) check() string {
	switch {
	case c.Ref().check() != nil:
		return "names no capture"
	case !validRun(c.Run):
		return "names no run"
	case validNode(c.Node) != nil:
		return "names no node"
	case c.Against != nil && c.Against.check() != nil:
		return "names no dump"
	case isAbsent(c.Model) || isAbsent(c.Coverage):
		return "lacks the model or the coverage"
	}
	seen := make(map[string]bool)
	group := 0
	for i := range c.Files {
		f := &c.Files[i]
		switch {
		case f.Table == "" || f.Size < 0 || !isHash(f.SHA256) || f.Group < 0 || negative(f.Lines):
			return fmt.Sprintf("file %q makes no sense", f.Key)
		case f.Key != captureFileKey(c.Ref(), f.Schema, f.Table, f.Group):
			return fmt.Sprintf("file %q is not of this capture", f.Key)
		case seen[f.Key]:
			return fmt.Sprintf("file %q is there twice", f.Key)
		case f.Group > 0 && f.Group != group+1, f.Group == 0 && group > 0:
			return fmt.Sprintf("file %q is out of order", f.Key)
		}
		seen[f.Key], group = true, f.Group
	}
	return ""
}

// isAbsent tells whether nothing stands there.
func isAbsent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func negative(counts map[string]int64) bool {
	for _, n := range counts {
		if n < 0 {
			return true
		}
	}
	return false
}

// CommitCapture makes the capture exist: it stores its document, after every file was found with the length that it says. It may be
// repeated: with the same content (times aside) it does nothing; with other content it returns [ErrExists]. [ErrInvalid] where the
// document contradicts itself, [ErrCorrupt] where a file is not there.
func (a *Archive) CommitCapture(ctx context.Context, c Capture) error {
	c.Format = Format
	if c.Version == "" {
		c.Version = a.version
	}
	if c.Files == nil {
		c.Files = []CaptureFile{}
	}
	if problem := c.check(); problem != "" {
		return invalid("capture %s: %s", c.Ref(), problem)
	}
	for _, f := range c.Files {
		info, err := a.store.stat(ctx, f.Key)
		if err == nil && info.size != f.Size {
			err = corrupt(f.Key, "%d bytes where %d should be", info.size, f.Size)
		}
		if err != nil {
			return fmt.Errorf("commit capture %s: %w", c.Ref(), needed(f.Key, err))
		}
	}
	data, err := encodeDocument(captureDocument{typeCapture, c})
	if err != nil {
		return fmt.Errorf("commit capture %s: %w", c.Ref(), err)
	}
	err = a.commitDocument(ctx, c.Ref().dir()+"capture.json", data, func() (bool, error) {
		have, err := a.Capture(ctx, c.Ref())
		return err == nil && sameCapture(c, have), err
	})
	if err != nil {
		return fmt.Errorf("commit capture %s: %w", c.Ref(), err)
	}
	return nil
}

func sameCapture(a, b Capture) bool {
	for _, c := range []*Capture{&a, &b} {
		c.Started, c.Ended, c.Version = time.Time{}, time.Time{}, ""
	}
	return sameJSON(a, b)
}

// Capture reads the document of a committed capture. [ErrNoCapture] where there is none.
func (a *Archive) Capture(ctx context.Context, ref CaptureRef) (Capture, error) {
	if err := ref.check(); err != nil {
		return Capture{}, err
	}
	key := ref.dir() + "capture.json"
	var doc captureDocument
	if _, err := a.document(ctx, key, typeCapture, &doc); err != nil {
		if errors.Is(err, errMissing) {
			return Capture{}, fmt.Errorf("%w: %s", ErrNoCapture, ref)
		}
		return Capture{}, err
	}
	if doc.Ref() != ref {
		return Capture{}, corrupt(key, "capture is %s", doc.Ref())
	}
	if problem := doc.check(); problem != "" {
		return Capture{}, corrupt(key, "capture %s", problem)
	}
	return doc.Capture, nil
}
