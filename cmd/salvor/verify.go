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

// findingLine is an object that is not as it should be, as `verify --json` prints it.
type findingLine struct {
	Type    string   `json:"type"`
	Kind    string   `json:"kind"`
	Key     string   `json:"key"`
	Message string   `json:"message,omitempty"`
	Set     string   `json:"set,omitempty"`
	Dump    string   `json:"dump,omitempty"`
	Node    string   `json:"node,omitempty"`
	Part    string   `json:"part,omitempty"`
	Paths   []string `json:"paths,omitempty"`
	Entries int64    `json:"entries,omitempty"`
}

// verifyResult is the last line of `verify --json`.
type verifyResult struct {
	Type       string  `json:"type"`
	Dumps      int     `json:"dumps"`
	Objects    int64   `json:"objects"`
	Bytes      int64   `json:"bytes"`
	Damaged    int64   `json:"damaged"`
	Missing    int64   `json:"missing"`
	Unreadable int64   `json:"unreadable"`
	Newer      int64   `json:"newer"`   // of the unreadable: of a newer format
	Unknown    int64   `json:"unknown"` // objects that a document which cannot be read may name
	Notices    int64   `json:"notices"`
	Strays     int64   `json:"strays"`
	Foreign    int64   `json:"foreign"`
	Seconds    float64 `json:"seconds"`
	Exit       int     `json:"exit"`
}

func (a *app) verifyCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "verify [DUMP]",
		Short: "Read everything stored again and compare it with its hashes",
		Long: "Read every stored object of a dump again (without a DUMP: of the whole archive) and compare it with its hash.\n\n" +
			"Each finding is a line: what is wrong, with which object, and what it belongs to. Strays of failed, killed or\n" +
			"running runs, and files that the archive does not know, are listed for a whole archive and are no damage." +
			exitHelp(exitOK, exitFailed, exitUsage, exitMissing, exitAccess, exitCorrupt, exitInterrupted),
		Example:           "  salvor verify --archive /backups\n  salvor verify --archive /backups latest",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeDumps,
		RunE: func(c *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return usagef("give either", "--all and a dump exclude each other")
			}
			return a.verify(c.Context(), args)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "verify the whole archive, which is the default without a DUMP")
	return c
}

func (a *app) verify(ctx context.Context, args []string) (err error) {
	s, err := a.settings(needArchive)
	if err != nil {
		return err
	}
	store, err := a.openArchive(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = also(err, store.Close()) }()
	var refs []archive.Ref
	if len(args) > 0 {
		ref, err := store.Resolve(ctx, s.setName, args[0])
		if err != nil {
			return err
		}
		refs = append(refs, ref)
	}
	started := a.env.now()
	var writeErr error
	progress := a.newVerifyProgress(started)
	summary, err := store.Verify(ctx, refs, archive.VerifyOptions{
		Report: func(f archive.Finding) {
			if writeErr == nil {
				writeErr = a.printFinding(f)
			}
		},
		Progress: progress,
	})
	a.console.setStatus("")
	if err = errors.Join(err, writeErr); err != nil {
		return err
	}
	return a.reportVerify(summary, a.env.now().Sub(started))
}

// newVerifyProgress returns what shows how far a verification is.
func (a *app) newVerifyProgress(started time.Time) func(done, total int64) {
	drawn := started
	var speed rate
	return func(done, total int64) {
		now := a.env.now()
		speed.add(now, done)
		every := printEvery
		if a.console.isTerminal() {
			every = redrawEvery
		}
		if now.Sub(drawn) < every {
			return
		}
		drawn = now
		text := fmt.Sprintf("verify: %s of %s", formatBytes(done), formatBytes(total))
		if per := speed.perSecond(); per > 0 && total > done {
			text += fmt.Sprintf(", %s/s, %s left", formatBytes(int64(per)),
				formatDuration(time.Duration(float64(total-done)/per*float64(time.Second))))
		}
		if a.console.isTerminal() {
			a.console.setStatus(text)
		} else {
			a.console.line("%s", text)
		}
	}
}

func (a *app) printFinding(f archive.Finding) error {
	if a.json {
		return a.printJSON(findingLine{
			Type: "finding", Kind: string(f.Kind), Key: f.Key, Message: f.Message, Set: f.Set, Dump: f.Dump, Node: f.Node, Part: f.Part,
			Paths: f.Paths, Entries: f.Entries,
		})
	}
	line := string(f.Kind) + " " + quoteName(f.Key)
	var belongs []string
	if f.Dump != "" {
		belongs = append(belongs, "dump "+f.Dump+" of set "+f.Set)
	}
	if f.Node != "" {
		belongs = append(belongs, "node "+f.Node)
	}
	if f.Part != "" {
		belongs = append(belongs, "part "+quoteName(f.Part))
	}
	if f.Entries > 0 {
		names := strings.Join(mapped(f.Paths, quoteName), ", ")
		if more := f.Entries - int64(len(f.Paths)); more > 0 && names != "" {
			names += fmt.Sprintf(" and %s more", formatCount(more))
		}
		if names != "" {
			names = ": " + names // a list that is damaged tells none
		}
		belongs = append(belongs, plural(f.Entries, "entry", "entries")+names)
	}
	if len(belongs) > 0 {
		line += " (" + strings.Join(belongs, ", ") + ")"
	}
	if f.Message != "" {
		line += ": " + strings.ReplaceAll(f.Message, "\n", "; ")
	}
	return a.printf("%s\n", line)
}

func (a *app) reportVerify(s archive.VerifySummary, took time.Duration) error {
	r := verifyResult{
		Type: "verify", Dumps: s.Dumps, Objects: s.Objects, Bytes: s.Bytes, Damaged: s.Damaged, Missing: s.Missing,
		Unreadable: s.Unreadable, Newer: s.Newer, Unknown: s.Unknown, Notices: s.Notices, Strays: s.Strays, Foreign: s.Foreign, Seconds: took.Seconds(),
	}
	switch {
	case s.Damaged+s.Missing > 0:
		r.Exit = exitCorrupt
	case s.Newer > 0 && s.Newer == s.Unreadable:
		r.Exit = exitUsage
	case s.Unreadable > 0:
		r.Exit = exitFailed
	}
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	}
	a.console.line("verified  %s: %s, %s", plural(int64(s.Dumps), "dump", "dumps"), plural(s.Objects, "object", "objects"), formatBytes(s.Bytes))
	if s.Unknown > 0 {
		a.console.line("note      %s that a document which cannot be read may name: do not remove them", plural(s.Unknown, "object", "objects"))
	}
	if s.Strays+s.Foreign > 0 {
		a.console.line("note      %s of failed, killed or running runs, %s", plural(s.Strays, "stray", "strays"), plural(s.Foreign, "foreign object", "foreign objects"))
	}
	a.console.line("took      %s, %s", formatDuration(took), formatRate(s.Bytes, took))
	if r.Exit != exitOK {
		a.console.problem("error", fmt.Sprintf("%s damaged, %s missing, %s unreadable",
			plural(s.Damaged, "object", "objects"), formatCount(s.Missing), formatCount(s.Unreadable)))
		return &exitError{r.Exit}
	}
	return nil
}
