package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"salvor/archive"
	"salvor/drivers/relational"
	"salvor/workers/captured"
)

// coverageLine is a table of a capture as `show CAPTURE --json` prints it.
type coverageLine struct {
	Type     string              `json:"type"`
	Table    relational.Name     `json:"table"`
	Lines    map[string]int64    `json:"lines"`
	Blind    bool                `json:"blind"`
	Dropped  bool                `json:"dropped,omitempty"`
	Edited   bool                `json:"edited,omitempty"`
	Coverage relational.Coverage `json:"coverage"`
	File     string              `json:"file,omitempty"`
	Samples  []json.RawMessage   `json:"samples,omitempty"`
}

// groupLine is a group of mass changes as `show CAPTURE --json` prints it.
type groupLine struct {
	Type    string            `json:"type"`
	Group   int               `json:"group"`
	Table   relational.Name   `json:"table"`
	Detail  relational.Group  `json:"detail"`
	Lines   int64             `json:"lines"`
	Edited  bool              `json:"edited,omitempty"`
	File    string            `json:"file"`
	Samples []json.RawMessage `json:"samples,omitempty"`
}

// showSamples is how many lines of each file are shown.
const showSamples = 3

// showCapture prints what a capture comes to.
func (a *app) showCapture(ctx context.Context, store *archive.Archive, ref archive.CaptureRef) error {
	c, err := captured.Read(ctx, store, ref)
	if err != nil {
		return err
	}
	if a.json {
		return a.printCapture(ctx, store, c)
	}
	if err := c.Summary(a.out); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	edited := false
	for _, f := range c.Files {
		s, err := lookInto(ctx, store, c, f)
		if err != nil {
			return err
		}
		title := relational.Name{Schema: f.Schema, Name: f.Table}.String()
		if f.Group > 0 {
			title = fmt.Sprintf("group %d, %s", f.Group, title)
		}
		if s.edited {
			title, edited = title+" (edited)", true
		}
		if err := a.printf("\n%s\n", title); err != nil {
			return err
		}
		for _, line := range s.lines {
			if err := a.printf("  %s\n", shortLine(line)); err != nil {
				return err
			}
		}
		if more := f.Total() - int64(len(s.lines)); more > 0 && !s.edited {
			if err := a.printf("  and %s more\n", formatCount(more)); err != nil {
				return err
			}
		}
	}
	if edited {
		if err := a.printf("\nEdited files are read as they are now; the numbers above are those of the capture.\n"); err != nil {
			return err
		}
	}
	if store.Path() != "" {
		return a.printf("\nfiles: %s/captures/%s/%s\n", store.Path(), ref.Set, ref.Capture)
	}
	return nil
}

// shownLine is how much of a line is shown.
const shownLine = 200

// shortLine is the beginning of a line, without what only programs read.
func shortLine(line []byte) string {
	text := string(line)
	if at := strings.LastIndex(text, `,"hash":"`); at > 0 {
		text = text[:at] + "}"
	}
	if len(text) <= shownLine {
		return text
	}
	return strings.ToValidUTF8(text[:shownLine], "") + "…"
}

// sample is what is shown of a file.
type sample struct {
	lines  [][]byte
	edited bool
}

var errEnough = errors.New("enough")

// lookInto reads the first lines of a file, and tells whether somebody has edited it.
func lookInto(ctx context.Context, store *archive.Archive, c *captured.Capture, f archive.CaptureFile) (s sample, err error) {
	if s.edited, err = store.CaptureEdited(ctx, c.Ref(), f); err != nil {
		return s, err
	}
	err = captured.RawLines(ctx, store, c.Ref(), f, func(_ int, raw []byte) error {
		s.lines = append(s.lines, append([]byte(nil), raw...))
		if len(s.lines) == showSamples {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return s, err
}

// printCapture prints a capture as JSON: itself, its tables, its groups.
func (a *app) printCapture(ctx context.Context, store *archive.Archive, c *captured.Capture) error {
	l := captureLineOf(c.Capture, blindTables(c))
	l.Archive = store.Location()
	if err := a.printJSON(struct {
		captureLine

		Zone    string               `json:"zone,omitempty"`
		Margin  float64              `json:"margin_seconds,omitempty"`
		Missing []captured.Missing   `json:"missing,omitempty"`
		Omitted []relational.Omitted `json:"omitted,omitempty"`
	}{l, c.Zone, c.Margin.Seconds(), c.Missing, c.Model.Omitted}); err != nil {
		return err
	}
	files := make(map[relational.Name]archive.CaptureFile)
	for _, f := range c.Files {
		if f.Group == 0 {
			files[relational.Name{Schema: f.Schema, Name: f.Table}] = f
		}
	}
	for i := range c.Coverage {
		v := &c.Coverage[i]
		t := coverageLine{Type: "table", Table: v.Table, Lines: map[string]int64{}, Blind: v.Blind(), Dropped: c.Model.Table(v.Table) == nil, Coverage: *v}
		if f, ok := files[v.Table]; ok {
			s, err := lookInto(ctx, store, c, f)
			if err != nil {
				return err
			}
			t.Lines, t.File, t.Edited, t.Samples = f.Lines, f.Key, s.edited, rawSamples(s)
		}
		if err := a.printJSON(t); err != nil {
			return err
		}
	}
	for _, f := range c.Groups() {
		g, err := c.Group(f)
		if err != nil {
			return err
		}
		s, err := lookInto(ctx, store, c, f)
		if err != nil {
			return err
		}
		if err := a.printJSON(groupLine{
			Type: "group", Group: f.Group, Table: relational.Name{Schema: f.Schema, Name: f.Table}, Detail: g, Lines: f.Total(), Edited: s.edited, File: f.Key, Samples: rawSamples(s),
		}); err != nil {
			return err
		}
	}
	return nil
}

// rawSamples are the lines that are JSON: people may have broken some.
func rawSamples(s sample) []json.RawMessage {
	var list []json.RawMessage
	for _, line := range s.lines {
		if json.Valid(line) {
			list = append(list, line)
		}
	}
	return list
}
