package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"salvor/archive"
	"salvor/coordinator"
	"salvor/drivers"
	"salvor/tasks"
)

type dumpOptions struct {
	goOn  bool
	full  bool
	views int
}

// dumpResult is what `dump --json` prints of a dump that exists.
type dumpResult struct {
	Type       string    `json:"type"`
	Set        string    `json:"set"`
	Dump       string    `json:"dump"`
	Run        string    `json:"run"`
	Archive    string    `json:"archive"`
	State      string    `json:"state"`
	Started    time.Time `json:"started"`
	Ended      time.Time `json:"ended"`
	Seconds    float64   `json:"seconds"`
	Entries    int64     `json:"entries"`
	Bytes      int64     `json:"bytes"`
	Stored     int64     `json:"stored"`
	Reused     int64     `json:"reused"`
	Unreadable int64     `json:"unreadable"`
	Vanished   int64     `json:"vanished"`
	// Epochs counts the views that were lost while they were read, and opened again.
	Epochs  int                `json:"epochs,omitempty"`
	Missing []string           `json:"missing,omitempty"`
	Nodes   []tasks.NodeResult `json:"nodes"`
	Exit    int                `json:"exit"`
}

func (a *app) dumpCommand() *cobra.Command {
	var o dumpOptions
	c := &cobra.Command{
		Use:   "dump [[NAME=]SOURCE]...",
		Short: "Dump a set into an archive",
		Long: "Dump the set of a config, or the sources given, into an archive, which is made where the place is absent or empty.\n\n" +
			"A SOURCE is SCHEME:PLACE; its NAME defaults to the scheme. Sources on the command line are dumped one after the\n" +
			"other, and no config is read. A file that an earlier dump of the set holds is not read again (--full does).\n\n" +
			"The dump's id is the only line on stdout. An entry that cannot be read never stops a dump: it is listed, and the\n" +
			"exit status is 3." +
			exitHelp(exitOK, exitFailed, exitUsage, exitIncomplete, exitResumable, exitMissing, exitAccess, exitCorrupt, exitInterrupted),
		Example: "  salvor dump --archive /backups site=sqlite:site.db uploads=dir:/var/www/uploads\n" +
			"  salvor dump --config backupset.yaml --continue",
		ValidArgsFunction: a.completeSources,
		RunE:              func(c *cobra.Command, args []string) error { return a.dump(c.Context(), o, args) },
	}
	f := c.Flags()
	f.BoolVar(&o.goOn, "continue", false, "let independent nodes finish when one fails; the dump is then partial")
	f.BoolVar(&o.full, "full", false, "read everything again, also what an earlier dump holds")
	f.IntVar(&o.views, "views", 2, "how many nodes may hold a consistent view open at once")
	return c
}

func (a *app) dump(ctx context.Context, o dumpOptions, sources []string) (err error) {
	if o.views < 1 {
		return usagef("", "--views must be at least 1")
	}
	s, err := a.dumpSettings(sources)
	if err != nil {
		return err
	}
	if err := s.checkArchive(); err != nil {
		return err
	}
	if err := a.checkSet(ctx, s); err != nil {
		return err
	}
	s.set.Archive = s.archive
	e, err := a.startEngine(ctx, s.queue)
	if err != nil {
		return err
	}
	defer func() { a.stopEngine(ctx, e) }()
	if err := a.expandForDump(ctx, e, &s.set.Set); err != nil {
		return err
	}
	if err := a.bindSet(ctx, e, &s.set.Set); err != nil {
		return err
	}
	store, err := a.archiveAt(ctx, s.archive, archive.Create)
	if err != nil {
		return err
	}
	defer func() { err = also(err, store.Close()) }()
	a.warnNested(ctx, store, s.archive, &s.set.Set)
	var plan tasks.Plan
	outcome, err := a.runDump(ctx, e, o, s, store, &plan)
	if plan.Dump == "" {
		return err
	}
	return a.endDump(ctx, store, &plan, outcome, err)
}

// endDump says how a dump's run ended. The dump exists if and only if its manifest does, whatever became of the run.
func (a *app) endDump(ctx context.Context, store *archive.Archive, plan *tasks.Plan, outcome coordinator.Outcome, err error) error {
	_, lookErr := store.Manifest(context.WithoutCancel(ctx), archive.Ref{Set: plan.Set, Dump: plan.Dump})
	committed := lookErr == nil
	if err != nil {
		if committed {
			a.console.problem("warning", "dump "+plan.Dump+" was committed all the same")
		}
		return resumable(err, plan.Run)
	}
	code := exitOfOutcome(outcome)
	if code == exitOK || code == exitIncomplete {
		switch {
		case errors.Is(lookErr, archive.ErrNoDump):
			code = exitOfFailures(outcome.Failures)
		case lookErr != nil:
			return lookErr
		}
	} else if committed {
		a.reportFailures(outcome.Failures)
		a.console.problem("error", fmt.Sprintf("dump %s, but only after %s was committed, run %s", stateText(outcome), plan.Dump, outcome.Run))
		return &exitError{code}
	}
	return a.reportDump(outcome, code, store.Location(), &plan.Root)
}

// runDump carries the dump out.
func (a *app) runDump(
	ctx context.Context, e *engine, o dumpOptions, s settings, store *archive.Archive, made *tasks.Plan,
) (coordinator.Outcome, error) {
	progress := a.newProgress(ctx, e)
	defer progress.end()
	return e.Dump(ctx, coordinator.DumpRequest{
		Set: s.set, Archive: store, OnError: onError(o.goOn), Views: o.views, Full: o.full, Watch: progress.update,
		Started: func(plan tasks.Plan) {
			*made = plan
			e.literals.putAll(plan.Run, &s.set.Set)
			progress.begin(plan)
		},
	})
}

func onError(goOn bool) tasks.OnError {
	if goOn {
		return tasks.OnErrorContinue
	}
	return tasks.OnErrorStop
}

// dumpSettings returns the settings with the set: that of the sources given, or of the config.
func (a *app) dumpSettings(sources []string) (settings, error) {
	if len(sources) > 0 {
		if a.config != "" {
			return settings{}, usagef("give either", "--config and sources exclude each other")
		}
		s, err := a.settings(needNothing)
		if err != nil {
			return s, err
		}
		s.set, err = tasks.FromSources(a.set, sources, taskDrivers(a.registry))
		return s, err
	}
	s, err := a.settings(needSet)
	if err != nil {
		return s, err
	}
	if !s.hasSet {
		return s, usagef("give sources (NAME=SCHEME:PLACE), or describe the set in "+defaultConfig, "nothing to dump")
	}
	if a.set != "" && a.set != s.set.Set.Name {
		return s, usagef("", "--set %s: the config's set is named %s", quoteName(a.set), s.set.Set.Name)
	}
	return s, nil
}

// checkSet refuses, before anything runs, nodes that no worker serves and sources that cannot be resolved.
func (a *app) checkSet(ctx context.Context, s settings) error {
	var wrong []error
	for path, n := range s.set.Set.Walk() {
		if s.queue != "" && !n.Literal.IsEmpty() {
			wrong = append(wrong, errLiteral(path))
		}
		if s.queue == "" && n.Host != "" && n.Host != a.host {
			wrong = append(wrong, errOtherHost(path, n.Host, a.host))
		}
		if n.Driver == "" || s.queue != "" {
			continue // on a queue, sources are resolved where they are opened
		}
		err := a.checkReferences(n.Driver, n.Source, n.Options)
		if err == nil {
			err = a.checkServer(ctx, n)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("node %s: %w", path, err))
		}
	}
	return errors.Join(wrong...)
}

// checkServer tells what is wrong with the text of a database's source, without asking the server. (Of paths, opening tells.)
func (a *app) checkServer(ctx context.Context, n *tasks.Node) error {
	kind, err := a.registry.Lookup(n.Driver)
	if err != nil || kind.Scratch == nil {
		return err
	}
	text := n.Source
	if text == tasks.RedactedSource {
		text = n.Literal.Reveal()
	}
	source, err := a.resolve(text)
	if err != nil {
		return err
	}
	opened, err := kind.Open(ctx, drivers.Spec{Source: source, Options: n.Options, Scratch: a.scratch})
	if err != nil {
		return err
	}
	return opened.Close()
}

// reportDump prints the dump's id, and says what was stored and how to get it back.
func (a *app) reportDump(o coordinator.Outcome, code int, place string, root *tasks.Node) error {
	a.reportFailures(o.Failures)
	if code != exitOK && code != exitIncomplete {
		a.console.problem("error", fmt.Sprintf("dump %s, nothing was committed, run %s", stateText(o), o.Run))
		if !a.namesPrograms(root) { // they are not taken from the archive, and stand in no config
			a.hintResume(o, code)
		}
		return &exitError{code}
	}
	r := dumpResult{
		Type: "dump", Set: o.Set, Dump: o.Dump, Run: o.Run, Archive: place, State: "whole", Started: o.Started, Ended: o.Ended,
		Seconds: o.Ended.Sub(o.Started).Seconds(), Missing: o.Missing, Nodes: o.Nodes, Epochs: o.Epochs, Exit: code,
	}
	for _, n := range o.Nodes {
		r.Entries += n.Entries
		r.Bytes += n.Bytes
		r.Stored += n.Stored
		r.Reused += n.Reused
		r.Unreadable += n.Unreadable
		r.Vanished += n.Vanished
	}
	if len(o.Missing) > 0 {
		r.State = "partial"
	}
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else if err := a.printf("%s\n", o.Dump); err != nil {
		return err
	}
	a.reportProblems(o.Nodes, "could not be read")
	if len(o.Missing) > 0 {
		a.console.problem("warning", "the dump is partial; it lacks "+strings.Join(o.Missing, ", "))
	}
	a.summariseDump(r, root)
	if code != exitOK {
		return &exitError{code}
	}
	return nil
}

// namesPrograms tells whether a node's source, as it stands on a command line, is a program.
func (a *app) namesPrograms(root *tasks.Node) bool {
	for _, n := range root.Walk() {
		if a.executes(n.Driver) && n.Source != "" && a.place(a.config, envConfig) == "" {
			return true
		}
	}
	return false
}

func (a *app) summariseDump(r dumpResult, root *tasks.Node) {
	took := r.Ended.Sub(r.Started)
	content := formatBytes(r.Bytes) + " in " + plural(int64(len(r.Nodes)), "node", "nodes")
	if r.Entries > 0 {
		content += " with " + plural(r.Entries, "entry", "entries")
	}
	a.console.line("dumped   set %s: %s", r.Set, content)
	stored := formatBytes(r.Stored) + " in " + r.Archive
	if r.Reused > 0 {
		stored += ", " + formatBytes(r.Reused) + " were there already"
	}
	a.console.line("stored   %s", stored)
	a.console.line("took     %s, %s", formatDuration(took), formatRate(r.Bytes, took))
	if r.Epochs > 0 {
		a.console.line("note     a consistent view was lost %s (a server was restarted or ended its sessions, or a worker ended), and what it showed was read again from a new one",
			plural(int64(r.Epochs), "time", "times"))
	}
	if r.Vanished > 0 {
		a.console.line("note     %s vanished while being dumped", plural(r.Vanished, "entry", "entries"))
	}
	a.console.line("restore  %s", a.restoreHint(r, root))
}

// restoreHint is the command that restores a dump elsewhere.
func (a *app) restoreHint(r dumpResult, root *tasks.Node) string {
	words := []string{"salvor", "restore", "--archive", r.Archive, r.Dump}
	if r.Set != tasks.DefaultSet {
		words = append(words, "--set", r.Set)
	}
	for _, n := range r.Nodes {
		target := "NEW-" + strings.ToUpper(lastName(n.Node))
		if _, node, err := root.Find(n.Node); err == nil && a.executes(node.Driver) {
			target = a.schemeOf(node.Driver) + ":PROGRAM"
		}
		words = append(words, "--into", shortestName(root, n.Node)+"="+target)
	}
	return shellJoin(words...)
}

// shortestName is the shortest end of a node's path that names it.
func shortestName(root *tasks.Node, path string) string {
	for at := len(path); ; {
		at = strings.LastIndexByte(path[:at], '/')
		if at < 0 {
			return path
		}
		if found, _, err := root.Find(path[at+1:]); err == nil && found == path {
			return path[at+1:]
		}
	}
}

func lastName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// maxProblems bounds the entries that are named on the screen; show names more.
const maxProblems = 10

// reportProblems names the first entries that could not be read or restored.
func (a *app) reportProblems(nodes []tasks.NodeResult, what string) {
	var count int64
	named := 0
	for _, n := range nodes {
		count += n.Unreadable
		for _, p := range n.Problems {
			if named < maxProblems {
				a.console.problem("warning", fmt.Sprintf("%s:%s %s: %s", n.Node, quoteName(problemPath(p)), what, p.Message))
				named++
			}
		}
	}
	if rest := count - int64(named); rest > 0 && count > 0 {
		a.console.problem("warning", fmt.Sprintf("%s more %s", plural(rest, "entry", "entries"), what))
	}
}

func problemPath(p tasks.Problem) string {
	if len(p.PathB64) > 0 {
		return string(p.PathB64)
	}
	return p.Path
}

// stateText says how a run ended, in a sentence.
func stateText(o coordinator.Outcome) string {
	if exitOfOutcome(o) == exitInterrupted {
		return "was interrupted"
	}
	return "failed"
}
