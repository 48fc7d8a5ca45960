package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"salvor/archive"
)

// dumpLine is a dump as `list --json` prints it, and `show DUMP --json` first.
type dumpLine struct {
	Type       string    `json:"type"`
	Set        string    `json:"set"`
	Dump       string    `json:"dump"`
	Run        string    `json:"run"`
	State      string    `json:"state"`
	Started    time.Time `json:"started"`
	Ended      time.Time `json:"ended"`
	Nodes      int       `json:"nodes"`
	Entries    int64     `json:"entries"`
	Bytes      int64     `json:"bytes"`
	Stored     int64     `json:"stored"`
	Reused     int64     `json:"reused"`
	Unreadable int64     `json:"unreadable"`
	Missing    []string  `json:"missing,omitempty"`
	Version    string    `json:"version,omitempty"`
}

func lineOf(m archive.Manifest) dumpLine {
	l := dumpLine{
		Type: "dump", Set: m.Set, Dump: m.Dump, Run: m.Run, State: "whole", Started: m.Started, Ended: m.Ended, Nodes: len(m.Nodes),
		Missing: m.Missing, Version: m.Version,
	}
	for _, n := range m.Nodes {
		l.Entries += n.Entries
		l.Bytes += n.Bytes
		l.Stored += n.Stored
		l.Reused += n.Reused
		l.Unreadable += n.Unreadable
	}
	if l.Unreadable > 0 {
		l.State = "unreadable"
	}
	if m.Partial {
		l.State = "partial"
	}
	return l
}

// stateCell is the state for people, with what it is about.
func (l dumpLine) stateCell() string {
	var parts []string
	if l.State == "partial" {
		parts = append(parts, fmt.Sprintf("partial (lacks %s)", plural(int64(len(l.Missing)), "node", "nodes")))
	}
	if l.Unreadable > 0 {
		parts = append(parts, plural(l.Unreadable, "entry", "entries")+" unreadable")
	}
	if len(parts) == 0 {
		return l.State
	}
	return strings.Join(parts, ", ")
}

func (a *app) listCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the dumps and captures of an archive",
		Long: "List the dumps of an archive, oldest first: those of the config's set or of --set, else of all sets; then the captures.\n\n" +
			"BYTES is what the dump holds, STORED what it added to the archive." +
			exitHelp(exitOK, exitFailed, exitUsage, exitMissing, exitAccess, exitCorrupt, exitInterrupted),
		Example: "  salvor list --archive /backups\n  salvor list --all --json",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.list(c.Context(), all) },
	}
	c.Flags().BoolVar(&all, "all", false, "list the dumps of all sets")
	return c
}

func (a *app) list(ctx context.Context, all bool) (err error) {
	if all && a.set != "" {
		return usagef("give either", "--all and --set exclude each other")
	}
	s, err := a.settings(needArchive)
	if err != nil {
		return err
	}
	store, err := a.openArchive(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = also(err, store.Close()) }()
	sets := []string{s.setName}
	if all || s.setName == "" {
		if sets, err = store.Sets(ctx); err != nil {
			return err
		}
	}
	rows := newTable("DUMP", "SET", "TIME (UTC)", "AGE>", "NODES>", "ENTRIES>", "BYTES>", "STORED>", "STATE")
	var damaged []error
	for _, set := range sets {
		dumps, err := store.Dumps(ctx, set)
		if err != nil && !errors.Is(err, archive.ErrCorrupt) && !errors.Is(err, archive.ErrNewerFormat) {
			return err
		}
		damaged = append(damaged, err)
		for _, m := range dumps {
			l := lineOf(m)
			if a.json {
				if err := a.printJSON(l); err != nil {
					return err
				}
				continue
			}
			rows.add(l.Dump, l.Set, formatTime(l.Started), formatAge(a.env.now().Sub(l.Started)), formatCount(int64(l.Nodes)),
				formatCount(l.Entries), formatBytes(l.Bytes), formatBytes(l.Stored), l.stateCell())
		}
	}
	if !a.json && len(rows.rows) > 1 {
		if err := rows.write(a.out, ""); err != nil {
			return err
		}
	}
	if len(rows.rows) == 1 && !a.json {
		a.console.line("no dumps in %s", store.Location())
	}
	set := s.setName
	if all {
		set = ""
	}
	err = a.listCaptures(ctx, store, set, len(rows.rows) > 1)
	return errors.Join(append(damaged, err)...)
}

// listCaptures lists the captures of a set, or of all.
func (a *app) listCaptures(ctx context.Context, store *archive.Archive, set string, below bool) error {
	captures, damaged := store.Captures(ctx, set)
	if damaged != nil && !errors.Is(damaged, archive.ErrCorrupt) && !errors.Is(damaged, archive.ErrNewerFormat) {
		return damaged
	}
	rows := newTable("CAPTURE", "SET", "NODE", "TIME (UTC)", "AGE>", "AGAINST", "CREATED>", "MODIFIED>", "DELETED>", "LEFT OUT>")
	for _, c := range captures {
		l := captureLineOf(c, nil)
		if a.json {
			if err := a.printJSON(l); err != nil {
				return err
			}
			continue
		}
		rows.add(l.Capture, l.Set, l.Node, formatTime(l.Moment), formatAge(a.env.now().Sub(l.Moment)), firstOf(l.Against, firstOf(l.AgainstSource, "-")),
			formatCount(l.Created), formatCount(l.Modified), formatCount(l.Deleted), formatCount(l.LeftOut))
	}
	if a.json || len(rows.rows) == 1 {
		return damaged
	}
	if below {
		if err := a.printf("\n"); err != nil {
			return err
		}
	}
	return errors.Join(damaged, rows.write(a.out, ""))
}
