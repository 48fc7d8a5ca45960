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
	view, done, err := a.viewOf(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer done()
	out := &partWriter{ctx: ctx, a: a, part: part, index: spec.Index}
	defer out.abort()
	if err := out.next(); err != nil {
		return nil, err
	}
	counts, err := view.Dump(ctx, part, out)
	if err != nil {
		return nil, fmt.Errorf("dump part %s of node %s: %w", part.Name, a.claim.Task.Node, err)
	}
	last, err := out.commit(counts)
	if err != nil {
		return nil, err
	}
	a.entries.Add(1)
	return tasks.PartResult{Index: spec.Index, Ended: time.Now().UTC(), Splits: out.stored, Part: last}, nil
}

// partWriter stores a part, as several objects where the driver splits it, and tells the progress.
type partWriter struct {
	ctx    context.Context //nolint:containedctx // the writer lives as long as one call of Dump, whose context it is
	a      *attempt
	part   drivers.Part
	index  int
	out    *archive.PartWriter // the object that is written
	stored []json.RawMessage   // the records of those before it
}

var _ drivers.Splitter = (*partWriter)(nil)

// next begins an object.
func (w *partWriter) next() error {
	name, size := w.part.Name, w.part.Size
	if n := len(w.stored); n > 0 {
		// Below the part's own name: no other part can have that name, and whoever selects the part selects all of it.
		name, size = fmt.Sprintf("%s/%d", w.part.Name, n), 0
	}
	var err error
	w.out, err = w.a.run.archive.CreatePart(w.ctx, w.a.run.ref, archive.PartName{
		Node: w.a.claim.Task.Node, Name: name, Ext: w.part.Ext, Index: w.index, Token: w.a.claim.Token, Size: size,
		Digested: w.part.Digested,
	})
	if err != nil {
		return fmt.Errorf("create part %s of node %s: %w", name, w.a.claim.Task.Node, err)
	}
	return nil
}

// Write adds to the object.
func (w *partWriter) Write(p []byte) (int, error) {
	n, err := w.out.Write(p)
	w.a.bytes.Add(int64(n))
	return n, err
}

// Split ends the object and begins another.
func (w *partWriter) Split(counts drivers.Counts) error {
	record, err := w.commit(counts)
	if err != nil {
		return err
	}
	w.stored = append(w.stored, record)
	return w.next()
}

// commit stores the object and returns its record.
func (w *partWriter) commit(counts drivers.Counts) (json.RawMessage, error) {
	record, err := w.out.Commit()
	if err != nil {
		return nil, fmt.Errorf("store part %s of node %s: %w", w.part.Name, w.a.claim.Task.Node, err)
	}
	if w.part.Digested && counts.Digest == "" {
		return nil, fmt.Errorf("store part %s of node %s: %w: the driver told of a digest and counted none", w.part.Name, w.a.claim.Task.Node, drivers.ErrInvalid)
	}
	record.Rows, record.Digest, record.Ref, record.Base = counts.Rows, counts.Digest, w.part.Ref, w.part.Base
	stored, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encode record of part %s: %w", w.part.Name, err)
	}
	return stored, nil
}

// abort gives up what was not stored.
func (w *partWriter) abort() {
	if w.out != nil {
		w.out.Abort()
	}
}
