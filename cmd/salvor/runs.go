package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"salvor/archive"
	"salvor/coordinator"
	"salvor/tasks/ledger"
)

// runLine is a run as `runs --json` prints it.
type runLine struct {
	Type      string    `json:"type"`
	Run       string    `json:"run"`
	Operation string    `json:"operation"`
	Set       string    `json:"set"`
	Dump      string    `json:"dump"`
	Capture   string    `json:"capture,omitempty"` // the one that was made; Dump is what it was compared with
	State     string    `json:"state"`
	Percent   int       `json:"percent,omitempty"` // of a run that is active on the queue
	Started   time.Time `json:"started"`
	Ended     time.Time `json:"ended,omitzero"`
	Seconds   float64   `json:"seconds"`
	Nodes     int       `json:"nodes"`
	Bytes     int64     `json:"bytes"`
	Failures  int       `json:"failures"`
	Hostname  string    `json:"hostname,omitempty"`
	Version   string    `json:"version,omitempty"`
}

// runOutcome decodes what the coordinator left in a run's report. Of an open run it is what the run is about.
func runOutcome(r archive.Run) (coordinator.Outcome, error) {
	var o coordinator.Outcome
	if len(r.Detail) == 0 {
		return o, nil
	}
	if err := json.Unmarshal(r.Detail, &o); err != nil {
		return o, fmt.Errorf("%w: report of run %s: %w", archive.ErrCorrupt, r.Run, err)
	}
	return o, nil
}

// runLineOf joins a report and what stands in it.
func runLineOf(r archive.Run) (runLine, coordinator.Outcome, error) {
	o, err := runOutcome(r)
	l := runLine{
		Type: "run", Run: r.Run, Operation: r.Operation, Set: r.Set, Dump: r.Dump, State: r.State, Started: r.Started, Ended: r.Ended,
		Nodes: len(o.Nodes), Failures: len(o.Failures), Hostname: r.Hostname, Version: r.Version, Capture: o.Capture,
	}
	if o.Plan != nil && o.Plan.Capture != nil {
		l.Capture = o.Plan.Capture.Capture
	}
	if l.Operation == "" { // an open mark
		l.Operation = string(o.Operation)
		if l.Operation == "" {
			l.Operation = "dump"
		}
		l.Set, l.Dump = firstOf(l.Set, o.Set), firstOf(l.Dump, o.Dump)
	}
	if !r.Ended.IsZero() {
		l.Seconds = r.Ended.Sub(r.Started).Seconds()
	}
	for _, n := range o.Nodes {
		l.Bytes += n.Bytes
	}
	return l, o, err
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (a *app) runsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "runs",
		Short: "List what was done with an archive, and how it ended",
		Long: "List the runs of an archive, oldest first: dumps and restores, how each ended, and those that are open.\n" +
			"show RUN tells more of one. All of it is read from the archive; with a queue, active runs say how far they are." +
			exitHelp(exitOK, exitFailed, exitUsage, exitMissing, exitAccess, exitCorrupt, exitInterrupted),
		Example: "  salvor runs --archive /backups\n  salvor runs --json",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.runs(c.Context()) },
	}
}

func (a *app) runs(ctx context.Context) (err error) {
	s, err := a.settings(needArchive)
	if err != nil {
		return err
	}
	store, err := a.openArchive(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = also(err, store.Close()) }()
	active := a.activeRuns(ctx, s)
	list, damaged := store.Runs(ctx)
	if damaged != nil && len(list) == 0 {
		return damaged
	}
	rows := newTable("RUN", "OPERATION", "SET", "DUMP OR CAPTURE", "STATE", "STARTED (UTC)", "TOOK>", "NODES>", "BYTES>")
	for _, r := range list {
		l, _, err := runLineOf(r)
		damaged = errors.Join(damaged, err)
		if a.set != "" && l.Set != a.set {
			continue
		}
		cell := l.State
		if state, ok := active[l.Run]; ok && l.State == archive.StateOpen && !state.State.Terminal() {
			l.State, l.Percent, l.Bytes = string(state.State), percentOf(state), state.Bytes
			cell = fmt.Sprintf("%s, %d %%", state.State, l.Percent)
		}
		if a.json {
			if err := a.printJSON(l); err != nil {
				return err
			}
			continue
		}
		took := "-"
		if !l.Ended.IsZero() {
			took = formatDuration(l.Ended.Sub(l.Started))
		}
		rows.add(l.Run, l.Operation, l.Set, firstOf(l.Capture, l.Dump), cell, formatTime(l.Started), took, formatCount(int64(l.Nodes)), formatBytes(l.Bytes))
	}
	switch {
	case a.json:
	case len(rows.rows) == 1:
		a.console.line("no runs in %s", store.Location())
	default:
		if err := rows.write(a.out, ""); err != nil {
			return err
		}
	}
	return damaged
}

// activeRuns returns what the queue of the settings says of runs that have not ended. The archive alone tells all else, so a
// queue that does not answer is but a warning.
func (a *app) activeRuns(ctx context.Context, s settings) map[string]ledger.RunState {
	if s.queue == "" {
		return nil
	}
	var states map[string]ledger.RunState
	e, err := a.connect(ctx, s.queue)
	if err == nil {
		defer func() { a.stopEngine(ctx, e) }()
		_, states, err = e.Active(ctx)
	}
	if err != nil {
		a.console.problem("warning", "how active runs stand is not known: "+err.Error())
	}
	return states
}
