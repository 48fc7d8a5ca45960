package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"salvor/archive"
	"salvor/coordinator"
	"salvor/drivers/relational"
	"salvor/internal/secret"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/workers/captured"
)

// captureLine is a capture as `capture --json`, `list --json` and, first, `show CAPTURE --json` print it.
type captureLine struct {
	Type          string    `json:"type"`
	Set           string    `json:"set"`
	Capture       string    `json:"capture"`
	Run           string    `json:"run"`
	Archive       string    `json:"archive,omitempty"`
	Node          string    `json:"node"`
	Driver        string    `json:"driver"`
	Against       string    `json:"against,omitempty"` // the dump
	AgainstSource string    `json:"against_source,omitempty"`
	Moment        time.Time `json:"moment"`
	Since         time.Time `json:"since,omitzero"`
	Started       time.Time `json:"started"`
	Ended         time.Time `json:"ended"`
	Seconds       float64   `json:"seconds"`
	// Created, Modified, Deleted, Parents and Children count the lines that are taken; LeftOut those of groups.
	Created  int64 `json:"created"`
	Modified int64 `json:"modified"`
	Deleted  int64 `json:"deleted"`
	Parents  int64 `json:"parents"`
	Children int64 `json:"children"`
	LeftOut  int64 `json:"left_out"`
	Groups   int   `json:"groups"`
	// Blind are tables of which nobody would see what was made.
	Blind []string `json:"blind,omitempty"`
}

func captureLineOf(c archive.Capture, blind []string) captureLine {
	l := captureLine{
		Type: "capture", Set: c.Set, Capture: c.Capture, Run: c.Run, Node: c.Node, Driver: c.Driver, AgainstSource: c.AgainstSource, Moment: c.Moment, Since: c.Since,
		Started: c.Started, Ended: c.Ended, Seconds: c.Ended.Sub(c.Started).Seconds(), Blind: blind,
	}
	if c.Against != nil {
		l.Against = c.Against.Dump
	}
	for _, f := range c.Files {
		if f.Group > 0 {
			l.Groups++
			l.LeftOut += f.Total()
			continue
		}
		l.Created += f.Lines[string(relational.OpCreated)]
		l.Modified += f.Lines[string(relational.OpModified)]
		l.Deleted += f.Lines[string(relational.OpDeleted)]
		l.Parents += f.Lines[string(relational.OpSupport)]
		l.Children += f.Lines[string(relational.OpChild)]
	}
	return l
}

// blindTables are the tables of a capture of which nobody would see what was made.
func blindTables(c *captured.Capture) []string {
	var names []string
	for i := range c.Coverage {
		if c.Coverage[i].Blind() {
			names = append(names, c.Coverage[i].Table.String())
		}
	}
	return names
}

// runCapture carries the capture out, and sees to it that what was made for it is gone.
func (a *app) runCapture(ctx context.Context, c *capturing) (err error) {
	e, err := a.startEngine(ctx, c.settings.queue)
	if err != nil {
		return err
	}
	defer func() { a.stopEngine(ctx, e) }()
	if err := a.bindCaptured(ctx, e, c); err != nil {
		return err
	}
	var plan tasks.Plan
	outcome, err := a.carryOutCapture(ctx, e, c, &plan)
	if plan.Run == "" {
		return err
	}
	// The run drops it by its last task. One that was cancelled, or lost, does not come to that.
	if base := plan.Capture.Base; base != nil && base.Scratch != "" && (err != nil || outcome.State != ledger.StateDone) {
		defer func() { err = a.dropCaptured(ctx, c, base, err) }()
	}
	if err != nil {
		if errors.Is(err, coordinator.ErrResumable) {
			err = withHint(err, "nothing was kept: capture again when the queue is back")
		}
		return err
	}
	return a.reportCapture(ctx, c, outcome)
}

// carryOutCapture watches the run to its end.
func (a *app) carryOutCapture(ctx context.Context, e *engine, c *capturing, plan *tasks.Plan) (coordinator.Outcome, error) {
	progress := a.newProgress(ctx, e)
	defer progress.end()
	r := c.request
	r.Watch = progress.update
	r.Started = func(p tasks.Plan) {
		*plan = p
		for path, text := range c.literals {
			e.literals.put(p.Run, path, text)
		}
		if base := p.Capture.Base; base != nil && base.Scratch != "" {
			a.console.line("scratch   %s %s is made for dump %s, and dropped at the end", placeNoun(base), base.Scratch, p.Dump)
		}
		progress.begin(p)
	}
	return e.Capture(ctx, r)
}

func placeNoun(base *tasks.CaptureBase) string {
	if base.Temporary {
		return "temporary file"
	}
	return "database"
}

// bindCaptured binds the node, and what it is compared with, to hosts, where others do the work.
func (a *app) bindCaptured(ctx context.Context, e *engine, c *capturing) error {
	base := c.request.Capture.Base
	if e.worker != nil {
		if base != nil {
			base.Host = c.request.Node.Host
		}
		return nil
	}
	f, err := a.fleet(ctx, e)
	if err != nil {
		return err
	}
	node := &c.request.Node
	if node.Host, err = f.bind(c.request.Capture.Node, node.Host, node.Driver, node.Source); err != nil {
		return err
	}
	if base != nil {
		base.Host = node.Host // one task has both open
	}
	return nil
}

// dropCaptured removes what was made for a capture whose run did not. It adds to the run's own error.
func (a *app) dropCaptured(ctx context.Context, c *capturing, base *tasks.CaptureBase, err error) error {
	s, dropErr := a.captureScratch(c, base)
	if dropErr == nil {
		dropErr = a.dropScratch(context.WithoutCancel(ctx), s)
	}
	if dropErr == nil {
		return err
	}
	a.console.problem("warning", fmt.Sprintf("%s %s may be left: %v", placeNoun(base), base.Scratch, dropErr))
	a.console.problem("hint", "drop it by hand")
	if err == nil {
		err = &exitError{exitIncomplete}
	}
	return err
}

func (a *app) captureScratch(c *capturing, base *tasks.CaptureBase) (s scratch, err error) {
	s.name = base.Scratch
	if s.kind, err = a.registry.Lookup(base.Driver); err != nil {
		return s, err
	}
	if base.Temporary {
		dir := a.scratch
		if dir == "" {
			dir = os.TempDir()
		}
		s.text = secret.New(s.kind.ScratchIn(dir, base.Scratch))
		return s, nil
	}
	text := base.Source
	if literal, ok := c.literals[tasks.BasePath(c.request.Capture.Node)]; ok {
		text = literal.Reveal()
	}
	server, err := a.resolve(text)
	if err != nil {
		return s, err
	}
	s.text, err = s.kind.Scratch(server, base.Scratch)
	return s, err
}

// reportCapture prints the capture's name, and says what was found. The capture exists if and only if its document does.
func (a *app) reportCapture(ctx context.Context, c *capturing, o coordinator.Outcome) error {
	a.reportFailures(o.Failures)
	stored, err := captured.Read(context.WithoutCancel(ctx), c.store, archive.CaptureRef{Set: o.Set, Capture: o.Capture})
	if errors.Is(err, archive.ErrNoCapture) {
		a.console.problem("error", fmt.Sprintf("capture %s, nothing was kept, run %s", stateText(o), o.Run))
		code := exitOfFailures(o.Failures)
		if o.State == ledger.StateCancelled {
			code = exitInterrupted
		}
		return &exitError{code}
	}
	if err != nil {
		return err
	}
	l := captureLineOf(stored.Capture, blindTables(stored))
	l.Archive = c.store.Location()
	if a.json {
		err = a.printJSON(l)
	} else {
		err = a.printf("%s\n", l.Capture)
	}
	if err != nil {
		return err
	}
	a.summariseCapture(stored, l)
	return nil
}

// maxBlind bounds the blind tables that are named.
const maxBlind = 5

func (a *app) summariseCapture(c *captured.Capture, l captureLine) {
	var parts []string
	for _, p := range []struct {
		n         int64
		one, many string
	}{{l.Created, "created", "created"}, {l.Modified, "modified", "modified"}, {l.Deleted, "deleted", "deleted"}, {l.Parents, "parent", "parents"}, {l.Children, "child", "children"}} {
		if p.n > 0 {
			parts = append(parts, plural(p.n, p.one, p.many))
		}
	}
	if len(parts) == 0 {
		parts = []string{"nothing"}
	}
	a.console.line("captured  %s: %s", l.Node, strings.Join(parts, ", "))
	if l.Groups > 0 {
		a.console.line("left out  %s in %s of mass changes, until somebody says otherwise", plural(l.LeftOut, "change", "changes"), plural(int64(l.Groups), "group", "groups"))
	}
	if len(c.Missing) > 0 {
		a.console.line("note      captured rows refer to rows that are nowhere; salvor show names them")
	}
	if len(c.Model.Omitted) > 0 {
		a.console.line("note      %s not looked at; salvor show names them", plural(int64(len(c.Model.Omitted)), "thing was", "things were"))
	}
	if dropped := droppedTables(c); len(dropped) > 0 {
		a.console.problem("warning", "tables of the dump that are not there any more are not captured: "+strings.Join(dropped, ", "))
	}
	if len(l.Blind) > 0 {
		names := l.Blind[:min(len(l.Blind), maxBlind)]
		text := strings.Join(names, ", ")
		if more := len(l.Blind) - len(names); more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		a.console.problem("warning", "no column tells when rows of "+text+" were made: what is new there was not seen")
		a.console.problem("hint", "compare with a dump: --against DUMP sees everything")
	}
	a.console.line("took      %s", formatDuration(c.Ended.Sub(c.Started)))
	words := []string{"salvor", "show", "--archive", l.Archive, l.Capture}
	if l.Set != tasks.DefaultSet {
		words = append(words, "--set", l.Set)
	}
	a.console.line("show      %s", shellJoin(words...))
}

func droppedTables(c *captured.Capture) []string {
	var names []string
	for i := range c.Coverage {
		if c.Model.Table(c.Coverage[i].Table) == nil {
			names = append(names, c.Coverage[i].Table.String())
		}
	}
	return slices.Compact(names)
}
