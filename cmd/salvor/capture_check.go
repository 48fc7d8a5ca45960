package main

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/spf13/cobra"

	"salvor/archive"
	"salvor/drivers/relational/review"
	"salvor/internal/yamltree"
	"salvor/workers/captured"
)

func (a *app) captureCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check [CAPTURE]",
		Short: "Check the edited files and the decisions of a capture",
		Long: "Check the files of a capture as they are now: every line that somebody has edited, and " + archive.DecisionsFile + ". All that is wrong is\n" +
			"told at once, with file and line. Printed is what becomes of the lines, and which masses of changes nobody has decided on.\n\n" +
			"CAPTURE is its name, a unique beginning of it, or latest, which is the default. Nothing is changed." +
			exitHelp(exitOK, exitUsage, exitMissing, exitCorrupt),
		Example: "  salvor capture check\n  salvor capture check c20261122-043000-7f3a --json",
		Args:    cobra.MaximumNArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return a.captureCheck(c.Context(), args) },
	}
}

// checkResult is the result line of capture check in JSON.
type checkResult struct {
	Type      string   `json:"type"`
	Capture   string   `json:"capture"`
	Decisions []string `json:"decisions_problems"`
	Undecided []int    `json:"undecided_groups"`
	*review.Report
}

func (a *app) captureCheck(ctx context.Context, args []string) (err error) {
	s, err := a.settings(needArchive)
	if err != nil {
		return err
	}
	store, err := a.openArchive(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = also(err, store.Close()) }()
	ref, err := store.ResolveCapture(ctx, s.setName, dumpName(args))
	if err != nil {
		return err
	}
	c, err := captured.Read(ctx, store, ref)
	if err != nil {
		return err
	}
	decisions, err := c.Decisions(ctx, store)
	wrong, isWrong := errors.AsType[*yamltree.Error](err)
	if err != nil && !isWrong {
		return err
	}
	if isWrong { // the lines are looked at all the same
		groups, err := c.ReviewGroups()
		if err != nil {
			return err
		}
		decisions = review.None(groups)
	}
	report, err := a.checkLines(ctx, store, c, decisions)
	if err != nil {
		return err
	}
	result := checkResult{Type: "check", Capture: ref.Capture, Decisions: []string{}, Undecided: []int{}, Report: report}
	for _, g := range decisions.Undecided() {
		result.Undecided = append(result.Undecided, g.Number)
	}
	if isWrong {
		for _, p := range wrong.Problems {
			one := yamltree.Error{File: wrong.File, Problems: []yamltree.Problem{p}}
			result.Decisions = append(result.Decisions, one.Error())
		}
	}
	if a.json {
		err = a.printJSON(result)
	} else {
		if isWrong {
			a.reportWrong(wrong, "")
		}
		err = a.printCheck(decisions, report)
	}
	switch {
	case err != nil:
		return err
	case isWrong || len(report.Problems) > 0:
		return &exitError{exitUsage}
	case a.json:
		return nil
	}
	return a.printf("capture %s can be merged as it is\n", ref.Capture)
}

// checkMemory is what keys of rows take before they are in a file.
const checkMemory = 16 << 20

func (a *app) checkLines(ctx context.Context, store *archive.Archive, c *captured.Capture, d *review.Decisions) (*review.Report, error) {
	checker := review.NewChecker(c.Model, d, archive.DecisionsFile, a.scratch, checkMemory)
	for _, f := range c.Files {
		if err := checkFile(ctx, store, c, f, checker); err != nil {
			return nil, fmt.Errorf("check capture %s: %w", c.Ref(), err)
		}
	}
	return checker.Report(), nil
}

func checkFile(ctx context.Context, store *archive.Archive, c *captured.Capture, f archive.CaptureFile, checker *review.Checker) (err error) {
	r, err := store.OpenCaptureFile(ctx, c.Ref(), f)
	if err != nil {
		return err
	}
	defer func() { err = also(err, r.Close()) }()
	return checker.Read(ctx, review.File{Name: fileName(f), Table: c.Table(f), Group: f.Group, Lines: f.Total(), Data: r})
}

// fileName is a file's name within the capture's folder.
func fileName(f archive.CaptureFile) string {
	if f.Group > 0 {
		return path.Join(path.Base(path.Dir(f.Key)), path.Base(f.Key))
	}
	return path.Base(f.Key)
}

// printCheck tells people what was found: what is wrong on standard error, what becomes of the lines as the result.
func (a *app) printCheck(d *review.Decisions, report *review.Report) error {
	for _, p := range report.Problems {
		hint := p.Hint
		p.Hint = ""
		a.console.problem("error", p.String())
		a.console.problem("hint", hint)
	}
	if report.More > 0 {
		a.console.problem("error", fmt.Sprintf("%d problems more", report.More))
	}
	files := newTable("FILE", "LINES>", "TAKEN>", "KEPT>", "SKIPPED>")
	for _, f := range report.Files {
		files.add(f.File, formatCount(f.Lines), formatCount(f.Taken), formatCount(f.Kept), formatCount(f.Skipped))
	}
	if err := files.write(a.out, ""); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	for _, g := range d.Undecided() {
		if err := a.printf("group %d: nobody has decided on it, so it is left out: %s rows of %s %s\n", g.Number, formatCount(g.Rows), g.Table, g.String()); err != nil {
			return err
		}
	}
	if report.EditedLines == 0 {
		return nil
	}
	return a.printf("%s lines were edited, the first in %s, line %d\n", formatCount(report.EditedLines), report.Edited[0].File, report.Edited[0].Line)
}
