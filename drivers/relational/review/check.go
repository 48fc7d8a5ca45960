package review

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// File is one of a capture's, as it is now.
type File struct {
	// Name is for messages. Table is the one whose lines the file has, nil where it may have those of any. Group is the number of
	// the group that it is of, 0 for none.
	Name  string
	Table *relational.Table
	Group int
	// Lines is how many were written; negative where nobody knows.
	Lines int64
	Data  io.Reader
}

// Problem is something that is wrong with a line, or with what is said of it.
type Problem struct {
	File string `json:"file"`
	// Line is from 1 on; 0 where there is none.
	Line    int64  `json:"line,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// String is one line for people.
func (p Problem) String() string {
	text := p.File + ": " + p.Message
	if p.Line > 0 {
		text = fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
	}
	if p.Hint != "" {
		text += "; " + p.Hint
	}
	return text
}

// Report is what a check found.
type Report struct {
	Problems []Problem `json:"problems"`
	// More is the number of problems beyond those that are listed.
	More int64 `json:"more,omitempty"`
	// Edited are lines that are not as they were written, or were written by somebody, a bounded number of them; EditedLines
	// counts them all.
	Edited      []Problem `json:"edited"`
	EditedLines int64     `json:"edited_lines"`
	// Files says of each what becomes of its lines.
	Files []FileReport `json:"files"`
}

// FileReport says what becomes of a file's lines.
type FileReport struct {
	File  string `json:"file"`
	Group int    `json:"group,omitempty"`
	Lines int64  `json:"lines"`
	Taken int64  `json:"taken"`
	// Kept stay as the target has them, Skipped with all that hangs on them. Of a modified row of which some columns are taken,
	// the line counts as taken.
	Kept    int64 `json:"kept"`
	Skipped int64 `json:"skipped"`
}

// maxListed bounds how many problems, and how many edited lines, a report lists; maxLine how long a line may be.
const (
	maxListed = 200
	maxLine   = 256 << 20
)

// Checker reads the lines of a capture, file by file, and then tells what is wrong. It is used by one goroutine.
type Checker struct {
	model     *relational.Model
	decisions *Decisions
	name      string
	scratch   string
	memory    int64
	report    Report
	// met are the rows that something is said of, with the columns that their lines would write.
	met map[*rowChoice][]string
}

// NewChecker begins a check. decisions were read from a file of that name. Keys are kept in a file in scratch beyond memory bytes.
func NewChecker(m *relational.Model, d *Decisions, name, scratch string, memory int64) *Checker {
	return &Checker{
		model: m, decisions: d, name: name, scratch: scratch, memory: memory, met: make(map[*rowChoice][]string),
		report: Report{Problems: []Problem{}, Edited: []Problem{}, Files: []FileReport{}},
	}
}

// Read reads a file. What is wrong with its lines is in the report; the error is that of reading it.
func (c *Checker) Read(ctx context.Context, f File) (err error) {
	r := &reading{Checker: c, file: f, seen: relational.NewTally(c.scratch, c.memory), report: FileReport{File: f.Name, Group: f.Group}}
	defer func() { err = errors.Join(err, r.seen.Close()) }()
	if err := r.read(ctx); err != nil {
		return fmt.Errorf("read %s: %w", f.Name, err)
	}
	if f.Lines >= 0 && r.report.Lines < f.Lines {
		r.problem(0, fmt.Errorf("%d lines are left of %d: %w", r.report.Lines, f.Lines, drivers.ErrInvalid), "bring them back, and leave rows out by decisions: what is gone cannot be listed")
	}
	c.report.Files = append(c.report.Files, r.report)
	return nil
}

// Report returns what was found, once all files are read.
func (c *Checker) Report() *Report {
	var rows []*rowChoice
	for _, byKey := range c.decisions.rows {
		rows = slices.AppendSeq(rows, maps.Values(byKey))
	}
	slices.SortFunc(rows, func(a, b *rowChoice) int { return strings.Compare(a.key, b.key) })
	for _, row := range rows {
		columns, met := c.met[row]
		if !met {
			c.add(Problem{File: c.name + ":" + row.place, Message: fmt.Sprintf("row %s: no line has that key", row.key), Hint: `copy "pk" from the line that is meant`})
			continue
		}
		for _, column := range row.columns {
			if len(columns) > 0 && !slices.Contains(columns, column) {
				hint := "the row has changed " + strings.Join(columns, ", ")
				c.add(Problem{File: c.name + ":" + row.place, Message: fmt.Sprintf("row %s: column %q was not changed", row.key, column), Hint: hint})
			}
		}
	}
	return &c.report
}

// add lists a problem, or counts it.
func (c *Checker) add(p Problem) {
	if len(c.report.Problems) >= maxListed {
		c.report.More++
		return
	}
	c.report.Problems = append(c.report.Problems, p)
}

// reading is one file that is read.
type reading struct {
	*Checker
	file   File
	report FileReport
	seen   *relational.Tally
}

func (r *reading) problem(line int64, err error, hint string) {
	if h := hintOf(err); h != "" {
		hint = h
	}
	r.add(Problem{File: r.file.Name, Line: line, Message: err.Error(), Hint: hint})
}

// read reads lines, or the one array of older tools.
func (r *reading) read(ctx context.Context) error {
	in := bufio.NewReaderSize(r.file.Data, 1<<16)
	if head, _ := in.Peek(3); bytes.Equal(head, []byte("\ufeff")) {
		_, _ = in.Discard(len(head))
	}
	for line := int64(1); ; line++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		raw, err := readLine(in)
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return fmt.Errorf("line %d: %w", line, err)
		}
		text := bytes.TrimSpace(raw)
		if line == 1 && len(text) > 0 && text[0] == '[' {
			return r.array(ctx, io.MultiReader(bytes.NewReader(raw), in))
		}
		if len(text) > 0 {
			r.report.Lines++
			if l, err := r.model.ParseLine(text); err != nil {
				r.problem(line, err, "")
			} else if err := r.line(ctx, line, l); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

// errLong tells of a line that cannot be one.
var errLong = fmt.Errorf("longer than %d bytes: %w", maxLine, drivers.ErrInvalid)

// readLine reads to the next line feed, or to the end, with io.EOF.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		piece, err := in.ReadSlice('\n')
		line = append(line, piece...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
		if len(line) > maxLine {
			return nil, errLong
		}
	}
}

func (r *reading) array(ctx context.Context, in io.Reader) error {
	var stop error
	err := r.model.ParseArray(in, func(place int, l *relational.Line) error {
		r.report.Lines++
		if stop = r.line(ctx, int64(place), l); stop == nil && ctx.Err() != nil {
			stop = context.Cause(ctx)
		}
		return stop
	})
	if err != nil && stop == nil {
		r.problem(0, err, "")
		return nil
	}
	return stop
}

// line looks at one line.
func (r *reading) line(ctx context.Context, place int64, l *relational.Line) error {
	if r.file.Table != nil && l.Table.Name != r.file.Table.Name {
		r.problem(place, fmt.Errorf("a row of table %s: %w: the file is of table %s", l.Table.Name, drivers.ErrInvalid, r.file.Table.Name), "")
		return nil
	}
	if l.Edited {
		if r.Checker.report.EditedLines++; len(r.Checker.report.Edited) < maxListed {
			r.Checker.report.Edited = append(r.Checker.report.Edited, Problem{File: r.file.Name, Line: place, Message: "edited"})
		}
	}
	if key, ok := identity(l); ok {
		n, err := r.seen.Add(ctx, []byte(l.Table.Schema+"\x00"+l.Table.Name.Name+"\x00"+key), 1)
		if err != nil {
			return err
		}
		if n > 1 {
			r.problem(place, fmt.Errorf("a line of the same row is above: %w", drivers.ErrInvalid), "")
		}
	}
	if row := r.decisions.row(l); row != nil {
		var columns []string
		switch {
		case l.Op == relational.OpModified:
			columns = changes(l)
		case row.columns != nil:
			r.problem(place, fmt.Errorf("op %s: %w: no columns of such a row can be chosen, as %s:%s does", l.Op, drivers.ErrInvalid, r.name, row.place), "write action: take or keep")
		}
		r.met[row] = append(r.met[row], columns...)
	}
	switch r.decisions.Of(l, r.file.Group).Action {
	case Take:
		r.report.Taken++
	case Keep:
		r.report.Kept++
	case Skip:
		r.report.Skipped++
	}
	return nil
}
