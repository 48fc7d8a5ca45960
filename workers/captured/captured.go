// Package captured reads a capture: what its document says, in the terms of package drivers/relational, and its lines, as they are
// now. People may have edited them: each line is checked against the model as it is read.
//
// Workers use it to merge and to write what a capture comes to; commands to show, check and decide. It writes nothing and decides nothing.
package captured

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"salvor/archive"
	"salvor/drivers"
	"salvor/drivers/relational"
)

// Capture is a capture with its models read.
type Capture struct {
	archive.Capture

	// Model describes the database that was captured, Base the one that it was compared with; nil where there was none.
	Model, Base *relational.Model
	// Edges are references that the database does not declare, by their child.
	Edges map[relational.Name][]relational.Edge
	// Coverage is by the model's tables, then those that only the dump has.
	Coverage []relational.Coverage
	Missing  []Missing
}

// Missing is a reference of captured rows that leads nowhere.
type Missing struct {
	Table   relational.Name `json:"table"`
	Edge    string          `json:"edge"`
	Parent  relational.Name `json:"parent"`
	Rows    int64           `json:"rows"`
	Samples []string        `json:"samples"`
}

// Read reads a committed capture. Errors are those of the archive; [archive.ErrCorrupt] also where a model makes no sense.
func Read(ctx context.Context, a *archive.Archive, ref archive.CaptureRef) (*Capture, error) {
	stored, err := a.Capture(ctx, ref)
	if err != nil {
		return nil, err
	}
	return Of(stored)
}

// Of reads what a capture's document holds.
func Of(stored archive.Capture) (*Capture, error) {
	c := &Capture{Capture: stored}
	var edges []struct {
		Table relational.Name   `json:"table"`
		Edges []relational.Edge `json:"edges"`
	}
	for _, part := range []struct {
		name string
		raw  json.RawMessage
		into any
	}{{"model", stored.Model, &c.Model}, {"base model", stored.BaseModel, &c.Base}, {"coverage", stored.Coverage, &c.Coverage}, {"missing references", stored.Missing, &c.Missing}, {"edges", stored.Edges, &edges}} {
		if len(part.raw) == 0 {
			continue
		}
		if err := json.Unmarshal(part.raw, part.into); err != nil {
			return nil, fmt.Errorf("%w: %s of capture %s: %w", archive.ErrCorrupt, part.name, stored.Ref(), err)
		}
	}
	if c.Model == nil {
		return nil, fmt.Errorf("%w: capture %s has no model", archive.ErrCorrupt, stored.Ref())
	}
	for _, m := range []*relational.Model{c.Model, c.Base} {
		if m == nil {
			continue
		}
		if err := m.Check(); err != nil {
			return nil, fmt.Errorf("%w: model of capture %s: %w", archive.ErrCorrupt, stored.Ref(), err)
		}
	}
	for _, f := range c.Files {
		if c.Table(f) == nil {
			return nil, fmt.Errorf("%w: capture %s has rows of table %s, which its model lacks", archive.ErrCorrupt, stored.Ref(), nameOf(f))
		}
	}
	c.Edges = make(map[relational.Name][]relational.Edge, len(edges))
	for _, e := range edges {
		c.Edges[e.Table] = e.Edges
	}
	return c, nil
}

func nameOf(f archive.CaptureFile) relational.Name {
	return relational.Name{Schema: f.Schema, Name: f.Table}
}

// Table returns the table of a file.
func (c *Capture) Table(f archive.CaptureFile) *relational.Table { return c.Model.Table(nameOf(f)) }

// Group reads what the rows of a group's file have in common.
func (c *Capture) Group(f archive.CaptureFile) (relational.Group, error) {
	var g relational.Group
	if err := json.Unmarshal(f.Detail, &g); err != nil {
		return g, fmt.Errorf("%w: group %d of capture %s: %w", archive.ErrCorrupt, f.Group, c.Ref(), err)
	}
	return g, nil
}

// longestLine bounds a line, as an archive's entries are bounded.
const longestLine = 256 << 20

// Lines calls yield for each line of a file, with its number from 1, and stops at its first error. A line that cannot be read is given as an
// error in place of the line: what becomes of it is the caller's to say. Empty lines are passed over: people leave such.
func (c *Capture) Lines(ctx context.Context, a *archive.Archive, f archive.CaptureFile, yield func(number int, l *relational.Line, bad error) error) error {
	table := c.Table(f)
	return RawLines(ctx, a, c.Ref(), f, func(number int, raw []byte) error {
		l, bad := c.Model.ParseLine(raw)
		if bad == nil && l.Table != table {
			bad = fmt.Errorf("table %s: %w: the file is of table %s", l.Table.Name, drivers.ErrInvalid, table.Name)
		}
		if bad != nil {
			l = nil
		}
		return yield(number, l, bad)
	})
}

// RawLines calls yield for each line of a file as it is written, with its number from 1, and stops at its first error. The line is good until
// the call returns. Empty lines are passed over.
func RawLines(ctx context.Context, a *archive.Archive, ref archive.CaptureRef, f archive.CaptureFile, yield func(number int, raw []byte) error) (err error) {
	r, err := a.OpenCaptureFile(ctx, ref, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return eachLine(r, func(number int, raw []byte) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		return yield(number, raw)
	})
}

var errLongLine = fmt.Errorf("%w: a line is longer than %d bytes", drivers.ErrInvalid, longestLine)

// eachLine calls yield for each line that is not empty.
func eachLine(r io.Reader, yield func(number int, raw []byte) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var line []byte
	number, last := 0, false
	for !last {
		number++
		line = line[:0]
		for more := true; more; {
			piece, err := in.ReadSlice('\n')
			line = append(line, piece...)
			more, last = errors.Is(err, bufio.ErrBufferFull), errors.Is(err, io.EOF)
			switch {
			case err != nil && !more && !last:
				return fmt.Errorf("line %d: %w", number, err)
			case len(line) > longestLine:
				return fmt.Errorf("line %d: %w", number, errLongLine)
			}
		}
		if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 {
			if err := yield(number, trimmed); err != nil {
				return err
			}
		}
	}
	return nil
}
