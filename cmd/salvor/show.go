package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"salvor/archive"
	"salvor/coordinator"
)

// nodeLine is a node as `show --json` prints it: what its manifest says, without the list of its parts and segments.
type nodeLine struct {
	Type       string            `json:"type"`
	Node       string            `json:"node"`
	Driver     string            `json:"driver"`
	Shape      string            `json:"shape"`
	Source     string            `json:"source"`
	Hostname   string            `json:"hostname,omitempty"`
	Started    time.Time         `json:"started"`
	Ended      time.Time         `json:"ended"`
	Parts      int               `json:"parts"`
	Entries    int64             `json:"entries"`
	Bytes      int64             `json:"bytes"`
	Stored     int64             `json:"stored"`
	Reused     int64             `json:"reused"`
	Unreadable int64             `json:"unreadable"`
	Vanished   int64             `json:"vanished"`
	SkewNS     int64             `json:"skew_ns,omitempty"`
	Options    json.RawMessage   `json:"options,omitempty"`
	Facts      json.RawMessage   `json:"facts,omitempty"`
	Problems   []archive.Problem `json:"problems,omitempty"`
}

func (a *app) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show [DUMP [NODE[:PATH]] | CAPTURE | RUN]",
		Short: "Show a dump, the entries of a node, a capture, or what happened in a run",
		Long: "Show a dump (default: latest): its nodes, when each was read, what it holds and what could not be read.\n" +
			"With a NODE: its entries or parts, below PATH where one is given. With a RUN: how it went and who did what.\n" +
			"With a CAPTURE: how well each table was looked at, what was found in it, what was left out as a mass change, and samples.\n\n" +
			"Names with control characters or bytes that are no UTF-8 are printed quoted." +
			exitHelp(exitOK, exitFailed, exitUsage, exitMissing, exitAccess, exitCorrupt, exitInterrupted),
		Example: "  salvor show latest\n" +
			"  salvor show 20261122 uploads:2026\n" +
			"  salvor show 0192f3c0",
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: a.completeDumpAndNode,
		RunE:              func(c *cobra.Command, args []string) error { return a.show(c.Context(), args) },
	}
}

func (a *app) show(ctx context.Context, args []string) (err error) {
	s, err := a.settings(needArchive)
	if err != nil {
		return err
	}
	store, err := a.openArchive(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = also(err, store.Close()) }()
	ref, err := store.Resolve(ctx, s.setName, dumpName(args))
	if errors.Is(err, archive.ErrNoDump) && len(args) == 1 && args[0] != archive.Latest {
		switch ref, captureErr := store.ResolveCapture(ctx, s.setName, args[0]); {
		case captureErr == nil:
			return a.showCapture(ctx, store, ref)
		case !errors.Is(captureErr, archive.ErrNoCapture) && !errors.Is(captureErr, archive.ErrInvalid):
			return captureErr
		}
		switch r, runErr := store.Run(ctx, args[0]); {
		case runErr == nil:
			return a.showRun(r)
		case !errors.Is(runErr, archive.ErrNoRun):
			return runErr
		}
	}
	if err != nil {
		return err
	}
	manifest, err := store.Manifest(ctx, ref)
	if err != nil {
		return err
	}
	if len(args) == 2 {
		return a.showNode(ctx, store, manifest, args[1])
	}
	return a.showDump(ctx, store, manifest)
}

// showDump prints a dump's nodes.
func (a *app) showDump(ctx context.Context, store *archive.Archive, m archive.Manifest) error {
	l := lineOf(m)
	if a.json {
		if err := a.printJSON(l); err != nil {
			return err
		}
	} else if err := a.printf("dump     %s\nset      %s\nstate    %s\nstarted  %s UTC\ntook     %s\nrun      %s\n\n",
		l.Dump, l.Set, l.stateCell(), formatTime(l.Started), formatDuration(l.Ended.Sub(l.Started)), l.Run); err != nil {
		return err
	}
	rows := newTable("NODE", "DRIVER", "PARTS>", "ENTRIES>", "BYTES>", "STORED>", "REUSED>", "READ AT (UTC)", "TOOK>")
	var nodes []archive.NodeManifest
	for _, record := range m.Nodes {
		n, err := store.Node(ctx, m.Ref(), record)
		if err != nil {
			return err
		}
		if a.json {
			if err := a.printJSON(nodeLineOf(n)); err != nil {
				return err
			}
			continue
		}
		rows.add(n.Path, n.Driver, formatCount(int64(record.Parts)), formatCount(n.Entries), formatBytes(n.Bytes), formatBytes(n.Stored),
			formatBytes(n.Reused), formatTime(n.Started), formatDuration(n.Ended.Sub(n.Started)))
		n.Parts, n.Segments = nil, nil // of many nodes this is much
		nodes = append(nodes, n)
	}
	if a.json {
		return nil
	}
	if err := rows.write(a.out, ""); err != nil {
		return err
	}
	for _, path := range m.Missing {
		if err := a.printf("%s  missing\n", path); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if err := a.printDetails(n); err != nil {
			return err
		}
	}
	return nil
}

func nodeLineOf(n archive.NodeManifest) nodeLine {
	return nodeLine{
		Type: "node", Node: n.Path, Driver: n.Driver, Shape: n.Shape, Source: n.Source, Hostname: n.Hostname, Started: n.Started,
		Ended: n.Ended, Parts: len(n.Parts) + len(n.Segments), Entries: n.Entries, Bytes: n.Bytes, Stored: n.Stored, Reused: n.Reused,
		Unreadable: n.Unreadable, Vanished: n.Vanished, SkewNS: int64(n.Skew), Options: n.Options, Facts: n.Facts, Problems: n.Problems,
	}
}

// printDetails prints what a table has no room for.
func (a *app) printDetails(n archive.NodeManifest) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s", n.Path)
	if n.Source == "" {
		b.WriteString("\n  source   named by its keys")
	} else {
		fmt.Fprintf(&b, "\n  source   %s", quoteName(n.Source))
	}
	if n.Hostname != "" {
		fmt.Fprintf(&b, " on %s", quoteName(n.Hostname))
	}
	if len(n.Options) > 0 {
		fmt.Fprintf(&b, "\n  options  %s", n.Options)
	}
	if len(n.Facts) > 0 {
		fmt.Fprintf(&b, "\n  facts    %s", n.Facts)
	}
	if n.Skew > 0 {
		fmt.Fprintf(&b, "\n  skew     %s", n.Skew)
	}
	if n.Vanished > 0 {
		fmt.Fprintf(&b, "\n  vanished %s", plural(n.Vanished, "entry", "entries"))
	}
	if n.Unreadable > 0 {
		fmt.Fprintf(&b, "\n  unreadable %s", plural(n.Unreadable, "entry", "entries"))
		for _, p := range n.Problems {
			fmt.Fprintf(&b, "\n    %s: %s", quoteName(p.Path), p.Message)
		}
		if more := n.Unreadable - int64(len(n.Problems)); more > 0 {
			fmt.Fprintf(&b, "\n    and %s more", formatCount(more))
		}
	}
	return a.printf("%s\n", b.String())
}

// runDetail is a run as `show RUN --json` prints it.
type runDetail struct {
	runLine
	Missing []string `json:"missing,omitempty"`
	Outcome any      `json:"outcome,omitempty"`
}

// showRun prints how a run went.
func (a *app) showRun(r archive.Run) error {
	l, o, err := runLineOf(r)
	if err != nil {
		return err
	}
	if a.json {
		d := runDetail{runLine: l, Missing: o.Missing}
		if r.State != archive.StateOpen {
			d.Outcome = r.Detail
		}
		return a.printJSON(d)
	}
	took := "-"
	if !l.Ended.IsZero() {
		took = formatDuration(l.Ended.Sub(l.Started))
	}
	if err := a.printf("run        %s\noperation  %s\nset        %s\ndump       %s\nstate      %s\nstarted    %s UTC\ntook       %s\n",
		l.Run, l.Operation, l.Set, l.Dump, l.State, formatTime(l.Started), took); err != nil {
		return err
	}
	if l.Capture != "" {
		if err := a.printf("capture    %s\n", l.Capture); err != nil {
			return err
		}
	}
	if o.Retries+o.Deaths+o.Epochs > 0 {
		if err := a.printf("attempts   %d tried again, %d lost with a worker, %d views opened again\n", o.Retries, o.Deaths, o.Epochs); err != nil {
			return err
		}
	}
	return a.printOutcome(o)
}

// printOutcome prints the nodes, failures and workers of a run.
func (a *app) printOutcome(o coordinator.Outcome) error {
	var b bytes.Buffer
	if len(o.Nodes) > 0 {
		rows := newTable("NODE", "DRIVER", "PARTS>", "ENTRIES>", "EQUAL>", "BYTES>", "STORED>", "REUSED>", "UNREADABLE>")
		for _, n := range o.Nodes {
			rows.add(n.Node, n.Driver, formatCount(int64(n.Parts)), formatCount(n.Entries), formatCount(n.Equal), formatBytes(n.Bytes),
				formatBytes(n.Stored), formatBytes(n.Reused), formatCount(n.Unreadable))
		}
		b.WriteString("\n")
		if err := rows.write(&b, ""); err != nil {
			return err
		}
	}
	if len(o.Missing) > 0 {
		fmt.Fprintf(&b, "\nmissing: %s\n", strings.Join(o.Missing, ", "))
	}
	if len(o.Failures) > 0 {
		b.WriteString("\nfailures:\n")
		for _, f := range o.Failures {
			fmt.Fprintf(&b, "  %s: %s\n", firstOf(f.Task, "run"), strings.ReplaceAll(f.Message, "\n", "; "))
			if f.Hint != "" {
				fmt.Fprintf(&b, "    hint: %s\n", f.Hint)
			}
		}
	}
	if len(o.Workers) > 0 {
		b.WriteString("\n")
		rows := newTable("HOST", "WORKER", "NODE", "KIND", "TASKS>")
		for _, w := range o.Workers {
			rows.add(firstOf(w.Host, "-"), w.Worker, firstOf(w.Node, "-"), string(w.Kind), formatCount(int64(w.Tasks)))
		}
		if err := rows.write(&b, ""); err != nil {
			return err
		}
	}
	return a.printf("%s", b.String())
}
