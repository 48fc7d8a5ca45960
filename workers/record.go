package workers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"salvor/archive"
	"salvor/drivers/relational"
	"salvor/tasks"
	"salvor/workers/captured"
)

// record writes the capture: its files, what is to be decided, a summary, and last its document. It reads no clock: two attempts
// write the same bytes. A capture that is there is one that an earlier attempt wrote, and people may have edited it since.
func (a *attempt) record(ctx context.Context) (any, error) {
	ref := a.captureRef()
	stored, err := a.run.archive.Capture(ctx, ref)
	switch {
	case err == nil && stored.Run == a.claim.Run:
		return a.recorded(ctx, stored)
	case err == nil:
		return nil, fmt.Errorf("record capture %s: %w", ref, archive.ErrExists)
	case !errors.Is(err, archive.ErrNoCapture):
		return nil, fmt.Errorf("record capture %s: %w", ref, err)
	}
	r, err := a.newRecording(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.write(ctx); err != nil {
		return nil, fmt.Errorf("record capture %s: %w", ref, err)
	}
	return a.recorded(ctx, r.capture)
}

// recorded answers for a capture that is there, and removes what it was put together from.
func (a *attempt) recorded(ctx context.Context, c archive.Capture) (any, error) {
	if err := a.run.archive.SweepCapture(ctx, c.Ref()); err != nil {
		return nil, fmt.Errorf("remove what capture %s does not need: %w", c.Ref(), err)
	}
	result := tasks.NodeResult{Node: c.Node, Driver: c.Driver}
	for _, f := range c.Files {
		result.Parts++
		result.Entries += f.Total()
		result.Bytes += f.Size
	}
	return result, nil
}

// recording is a capture that is put together.
type recording struct {
	*attempt
	capture  archive.Capture
	observed tasks.ObserveResult
	compared map[relational.Name]tasks.CompareResult
	added    map[relational.Name]tasks.CapturedPart
	model    relational.Model
	coverage []json.RawMessage
}

// newRecording collects what the other tasks answered, and proves that nothing is missing.
func (a *attempt) newRecording(ctx context.Context) (*recording, error) {
	c := a.run.plan.Capture
	node := a.run.nodes[c.Node]
	r := &recording{attempt: a, compared: make(map[relational.Name]tasks.CompareResult), added: make(map[relational.Name]tasks.CapturedPart)}
	found := false
	err := a.cfg.Ledger.Results(ctx, a.claim.Run, a.stepOf(tasks.KindObserve, c.Node), func(_ string, data json.RawMessage) error {
		found = true
		return json.Unmarshal(data, &r.observed)
	})
	if err != nil {
		return nil, fmt.Errorf("read what was observed of node %s: %w", c.Node, err)
	}
	err = a.cfg.Ledger.Results(ctx, a.claim.Run, a.stepOf(tasks.KindCompare, c.Node), func(_ string, data json.RawMessage) error {
		var t tasks.CompareResult
		err := json.Unmarshal(data, &t)
		r.compared[relational.Name{Schema: t.Schema, Name: t.Table}] = t
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read what was found in node %s: %w", c.Node, err)
	}
	if !found || len(r.compared) != r.observed.Tables {
		return nil, fmt.Errorf("record capture of node %s: %w: %d of %d tables", c.Node, errIncomplete, len(r.compared), r.observed.Tables)
	}
	for _, p := range r.observed.Added {
		r.added[relational.Name{Schema: p.Schema, Name: p.Table}] = p
	}
	r.capture = archive.Capture{
		Set: a.run.plan.Set, Capture: c.Capture, Run: a.claim.Run, Node: c.Node, Driver: node.Driver, Source: node.Source,
		Hostname: r.observed.Hostname, Since: c.Since, Margin: c.Margin, Zone: r.observed.Zone, Moment: r.observed.Moment,
		Started: r.observed.Started, Ended: r.observed.Ended, Missing: r.observed.Missing,
	}
	switch {
	case a.run.plan.Dump != "":
		r.capture.Against = &archive.Ref{Set: a.run.plan.Set, Dump: a.run.plan.Dump}
	case c.Base != nil:
		r.capture.AgainstSource = c.Base.Source
	}
	r.capture.Edges = r.observed.Edges
	if r.capture.Model, err = a.readJSON(ctx, r.observed.Model); err != nil {
		return nil, err
	}
	if r.observed.BaseModel != nil {
		if r.capture.BaseModel, err = a.readJSON(ctx, r.observed.BaseModel); err != nil {
			return nil, err
		}
	}
	if err := json.Unmarshal(r.capture.Model, &r.model); err != nil {
		return nil, fmt.Errorf("decode model of node %s: %w", c.Node, err)
	}
	return r, nil
}

// write writes all files, and the document last.
func (r *recording) write(ctx context.Context) error {
	var groups []tasks.CapturedPart
	for _, t := range r.model.Tables {
		result, ok := r.compared[t.Name]
		if !ok {
			return fmt.Errorf("%w: table %s is missing", errIncomplete, t.Name)
		}
		r.coverage = append(r.coverage, result.Coverage)
		groups = append(groups, result.Groups...)
		var parts []tasks.CapturedPart
		if result.Rows != nil {
			parts = append(parts, *result.Rows)
		}
		if added, ok := r.added[t.Name]; ok {
			parts = append(parts, added)
		}
		if len(parts) == 0 {
			continue
		}
		if err := r.file(ctx, archive.CaptureFile{Schema: t.Schema, Table: t.Name.Name}, parts); err != nil {
			return err
		}
	}
	for i, g := range groups {
		file := archive.CaptureFile{Schema: g.Schema, Table: g.Table, Group: i + 1, Detail: g.Detail}
		if err := r.file(ctx, file, []tasks.CapturedPart{g}); err != nil {
			return err
		}
	}
	if err := r.dropped(); err != nil {
		return err
	}
	var err error
	if r.capture.Coverage, err = json.Marshal(r.coverage); err != nil {
		return fmt.Errorf("encode coverage: %w", err)
	}
	if err := r.texts(ctx); err != nil {
		return err
	}
	return r.run.archive.CommitCapture(ctx, r.capture)
}

// dropped notes the tables that only the dump has.
func (r *recording) dropped() error {
	for _, raw := range r.observed.Dropped {
		v := relational.Coverage{Diff: true, Notes: []string{"the table was dropped since the dump: what it held is not captured"}}
		if err := json.Unmarshal(raw, &v.Table); err != nil {
			return fmt.Errorf("decode the name of a table: %w", err)
		}
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encode coverage of table %s: %w", v.Table, err)
		}
		r.coverage = append(r.coverage, data)
	}
	return nil
}

// texts writes what people read first.
func (r *recording) texts(ctx context.Context) error {
	c, err := captured.Of(r.capture)
	if err != nil {
		return err
	}
	var summary bytes.Buffer
	if err := c.Summary(&summary); err != nil {
		return err
	}
	decisions, err := c.Questions(ctx, r.run.archive)
	if err != nil {
		return err
	}
	if err := r.run.archive.PutCaptureText(ctx, c.Ref(), archive.SummaryFile, summary.Bytes()); err != nil {
		return err
	}
	return r.run.archive.PutCaptureText(ctx, c.Ref(), archive.DecisionsFile, decisions)
}

// file puts a file together from parts. They are gathered in a file of the worker's first: nobody holds the memory of a reader and of a
// writer of the archive at once.
func (r *recording) file(ctx context.Context, file archive.CaptureFile, parts []tasks.CapturedPart) (err error) {
	gathered, err := os.CreateTemp(r.cfg.Scratch, "salvor-capture-*")
	if err != nil {
		return fmt.Errorf("make a file for lines: %w", diskError(err))
	}
	defer func() { err = errors.Join(err, gathered.Close()) }()
	if err := os.Remove(gathered.Name()); err != nil {
		return fmt.Errorf("make a file for lines: %w", err)
	}
	file.Lines = make(map[string]int64)
	var size int64
	for _, p := range parts {
		for op, n := range p.Lines {
			file.Lines[op] += n
		}
		err := r.readPart(ctx, p.Part, func(in io.Reader) error {
			n, err := io.Copy(gathered, in)
			size += n
			return diskError(err)
		})
		if err != nil {
			return fmt.Errorf("read lines of table %s: %w", file.Table, err)
		}
	}
	w, err := r.run.archive.CreateCaptureFile(ctx, r.captureRef(), file, size)
	if err != nil {
		return err
	}
	defer w.Abort()
	out := bufio.NewWriterSize(w, 256<<10)
	if _, err := io.Copy(out, io.NewSectionReader(gathered, 0, size)); err != nil {
		return fmt.Errorf("write lines of table %s: %w", file.Table, err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write lines of table %s: %w", file.Table, err)
	}
	stored, err := w.Commit()
	if err != nil {
		return fmt.Errorf("write lines of table %s: %w", file.Table, err)
	}
	r.entries.Add(stored.Total())
	r.bytes.Add(stored.Size)
	r.capture.Files = append(r.capture.Files, stored)
	return nil
}

// readPart reads a part by its record.
func (a *attempt) readPart(ctx context.Context, raw json.RawMessage, read func(io.Reader) error) (err error) {
	var record archive.PartRecord
	if err := json.Unmarshal(raw, &record); err != nil {
		return fmt.Errorf("decode record of a part: %w", err)
	}
	in, err := a.run.archive.OpenPart(ctx, record)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return read(in)
}

// readJSON reads a part that holds a document.
func (a *attempt) readJSON(ctx context.Context, raw json.RawMessage) (data json.RawMessage, err error) {
	err = a.readPart(ctx, raw, func(in io.Reader) error {
		data, err = io.ReadAll(in)
		return err
	})
	return data, err
}
