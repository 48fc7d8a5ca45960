package workers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"salvor/archive"
	"salvor/drivers"
	"salvor/tasks"
)

// part dumps one part of a stream, or one range of a tree.
func (a *attempt) part(ctx context.Context) (any, error) {
	var spec tasks.PartSpec
	if err := a.spec(&spec); err != nil {
		return nil, err
	}
	if spec.Part == nil {
		return a.dumpRange(ctx, spec)
	}
	return a.dumpPart(ctx, spec)
}

// dumpPart copies one part of a view into the archive.
func (a *attempt) dumpPart(ctx context.Context, spec tasks.PartSpec) (any, error) {
	var part drivers.Part
	if err := json.Unmarshal(spec.Part, &part); err != nil {
		return nil, fmt.Errorf("task %s: %w: decode part: %w", a.claim.Task.ID, drivers.ErrInvalid, err)
	}
	view, err := a.views.get(viewKey{a.claim.Life(), a.claim.Task.Node, spec.Epoch})
	if err != nil {
		return nil, err
	}
	out, err := a.run.archive.CreatePart(ctx, a.run.ref, archive.PartName{
		Node: a.claim.Task.Node, Name: part.Name, Ext: part.Ext, Index: spec.Index, Token: a.claim.Token, Size: part.Size,
	})
	if err != nil {
		return nil, fmt.Errorf("create part %s of node %s: %w", part.Name, a.claim.Task.Node, err)
	}
	defer out.Abort()
	counts, err := view.Dump(ctx, part, &countingWriter{out, a})
	if err != nil {
		return nil, fmt.Errorf("dump part %s of node %s: %w", part.Name, a.claim.Task.Node, err)
	}
	record, err := out.Commit()
	if err != nil {
		return nil, fmt.Errorf("store part %s of node %s: %w", part.Name, a.claim.Task.Node, err)
	}
	record.Rows, record.Digest, record.Ref = counts.Rows, counts.Digest, part.Ref
	a.entries.Add(1)
	stored, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encode record of part %s: %w", part.Name, err)
	}
	return tasks.PartResult{Index: spec.Index, Ended: time.Now().UTC(), Part: stored}, nil
}

// countingWriter tells the progress of what runs through it.
type countingWriter struct {
	to *archive.PartWriter
	a  *attempt
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.a.bytes.Add(int64(n))
	return n, err
}
