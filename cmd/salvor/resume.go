package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"salvor/archive"
	"salvor/coordinator"
	"salvor/drivers"
	"salvor/internal/secret"
	"salvor/tasks"
)

type resumeOptions struct {
	into     []string
	asStored bool
	force    bool
}

func (a *app) resumeCommand() *cobra.Command {
	var o resumeOptions
	c := &cobra.Command{
		Use:   "resume [RUN]",
		Short: "Go on with a dump or a restore that was interrupted",
		Long: "Go on with a run that was killed, cancelled, or failed, from what the archive holds of it. Of a dump, nodes that\n" +
			"are done are not dumped again, and files that are stored are not read again; databases are dumped anew. Of a restore, nodes\n" +
			"that are done are not restored again, and of the others what the target holds already is not written again.\n\n" +
			"RUN is a run's id or a unique beginning of it; without it, the one run that is open. A run that still goes on in\n" +
			"its queue is only watched to its end. It ends as the dump or the restore would have.\n\n" +
			"What is read and written stands in the archive. Where others than you can write to that, the places are shown first,\n" +
			"unless the config says the same, and --as-stored goes on with them." +
			exitHelp(exitOK, exitFailed, exitUsage, exitIncomplete, exitUnproven, exitResumable, exitMissing, exitAccess, exitCorrupt, exitInterrupted),
		Example: "  salvor resume --archive /backups\n  salvor resume 0199a3 --config backupset.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return a.resume(c.Context(), o, args) },
	}
	f := c.Flags()
	f.StringArrayVar(&o.into, "into", nil, "a restore's target whose text held a secret or a program, again: [NODE=]PLACE")
	f.BoolVar(&o.asStored, "as-stored", false, "read and write what the archive says, although others can write to the archive")
	f.BoolVar(&o.force, "force", false, "go on although nobody can tell whether the process that ran it is gone: make sure that it is")
	return c
}

// resumeHint tells how to go on with a run.
func resumeHint(run string) string { return "salvor resume " + run + " goes on with it" }

// hintResume tells how to go on with a run that ended by what passes (an interrupt, a full disk, a server that was gone), or by
// what the user was told to mend. What would come again needs no second run.
func (a *app) hintResume(o coordinator.Outcome, code int) {
	if (code == exitFailed || code == exitInterrupted) && !slices.ContainsFunc(o.Failures, comesAgain) {
		a.console.problem("hint", resumeHint(o.Run))
	}
}

func comesAgain(f tasks.Failure) bool {
	return f.Class == tasks.Permanent && f.Code != "no_space" && f.Code != "cancelled" && f.Hint == ""
}

// resumable gives the error of a run that was lost the hint that names it.
func resumable(err error, run string) error {
	if run == "" || !errors.Is(err, coordinator.ErrResumable) {
		return err
	}
	return withHint(err, resumeHint(run)+" when the queue is back")
}

func (a *app) resume(ctx context.Context, o resumeOptions, args []string) (err error) {
	s, err := a.settings(needArchive)
	if err != nil {
		return err
	}
	store, err := a.openArchive(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = also(err, store.Close()) }()
	run, err := a.interruptedRun(ctx, store, args)
	if err != nil {
		return err
	}
	e, err := a.startEngine(ctx, s.queue)
	if err != nil {
		return err
	}
	defer func() { a.stopEngine(ctx, e) }()
	progress := a.newProgress(ctx, e)
	defer progress.end()
	var config *tasks.Node
	if s.hasSet {
		config = &s.set.Set
	}
	var (
		plan  tasks.Plan
		ch    choice
		begun bool
	)
	outcome, err := e.Resume(ctx, coordinator.ResumeRequest{
		Archive: store, Location: s.archive, Run: run, Config: config, Force: o.force,
		Watch: func(p coordinator.Progress) {
			if !begun {
				begun = true
				progress.begin(plan)
			}
			progress.update(p)
		},
		Started: func(p *tasks.Plan) (err error) {
			if ch, err = a.secretsAgain(e, s, p, o.into); err != nil {
				return err
			}
			if err = a.checkServed(ctx, e, p); err != nil {
				return err
			}
			plan = *p
			return nil
		},
		Confirm: func(p tasks.Plan) error {
			if o.asStored || store.Own() {
				return nil
			}
			return a.confirmPlaces(&p, config)
		},
	})
	progress.end()
	if err == nil && plan.Run == "" { // it had committed before it was killed
		if plan, err = coordinator.StoredPlan(ctx, store, archive.Ref{Set: outcome.Set, Dump: outcome.Dump}); err != nil {
			return err
		}
	}
	switch {
	case plan.Run == "":
		return err
	case plan.Operation == tasks.OpDump:
		return a.endDump(ctx, store, &plan, outcome, err)
	case err != nil:
		return resumable(err, plan.Run)
	default:
		return a.reportRestore(outcome, ch)
	}
}

// confirmPlaces refuses to go on with sources and targets that nothing but the archive names.
func (a *app) confirmPlaces(plan *tasks.Plan, config *tasks.Node) error {
	mine := make(map[string]*tasks.Node)
	if config != nil {
		maps.Insert(mine, config.Walk())
	}
	var places []string
	for path, n := range plan.Root.Walk() {
		own, known := mine[path]
		known = known && own.Driver == n.Driver && own.Source == n.Source && string(own.Options) == string(n.Options)
		target, restored := tasks.RestoreNode{}, false
		if plan.Restore != nil {
			target, restored = plan.Restore.Nodes[path]
		}
		switch {
		case restored:
			places = append(places, fmt.Sprintf("restore %s into %s:%s", path, a.schemeOf(target.Driver), target.Source))
		case plan.Restore == nil && n.Driver != "" && !known:
			places = append(places, fmt.Sprintf("dump %s from %s:%s", path, a.schemeOf(n.Driver), n.Source))
		}
	}
	if len(places) == 0 {
		return nil
	}
	var rules strings.Builder
	if r := plan.Restore; r != nil {
		for _, rule := range []struct {
			set  bool
			text string
		}{{r.Overwrite, "replacing what differs"}, {r.Mirror, "removing what is extra"}, {r.InPlace, "in place"}} {
			if rule.set {
				rules.WriteString(", " + rule.text)
			}
		}
	}
	if len(places) > maxPlaces {
		places = append(places[:maxPlaces], fmt.Sprintf("and %d more", len(places)-maxPlaces))
	}
	return usagef("if that is what you want: salvor resume "+plan.Run+" --as-stored", "run %s would %s%s; so says the archive alone, and others can write to that",
		plan.Run, strings.Join(places, ", "), rules.String())
}

// maxPlaces bounds the places that an error lists.
const maxPlaces = 20

// interruptedRun finds the run that is named, or the only one that is open.
func (a *app) interruptedRun(ctx context.Context, store *archive.Archive, args []string) (archive.Run, error) {
	if len(args) > 0 {
		return store.Run(ctx, args[0])
	}
	runs, err := store.Runs(ctx)
	if err != nil {
		return archive.Run{}, err
	}
	var open []archive.Run
	for _, r := range runs {
		l, _, err := runLineOf(r)
		if err != nil {
			return archive.Run{}, err
		}
		if r.State == archive.StateOpen && (a.set == "" || l.Set == a.set) {
			open = append(open, r)
		}
	}
	switch len(open) {
	case 0:
		return archive.Run{}, usagef("salvor runs lists all runs; one that failed or was cancelled is resumed by its name", "no run is open")
	case 1:
		return open[0], nil
	}
	names := mapped(open, func(r archive.Run) string { return r.Run })
	return archive.Run{}, usagef("name one of them", "%d runs are open: %s", len(open), strings.Join(names, ", "))
}

// secretsAgain finds the sources of a run that held a secret, which are stored nowhere: in the config, or in --into.
func (a *app) secretsAgain(e *engine, s settings, plan *tasks.Plan, into []string) (choice, error) {
	if plan.Operation == tasks.OpDump {
		if len(into) > 0 {
			return choice{}, usagef("", "--into is for restores, and run %s is a dump", plan.Run)
		}
		return choice{}, a.sourcesAgain(e, s, plan)
	}
	ch := choice{nodes: plan.Restore.Nodes}
	again := &chooser{root: &plan.Root, drivers: taskDrivers(a.registry), held: make(map[string]archive.NodeRecord)}
	again.nodes, again.literals = make(map[string]tasks.RestoreNode), make(map[string]secret.Text)
	for path := range plan.Root.Walk() {
		n, ok := plan.Restore.Nodes[path]
		if !ok {
			continue
		}
		ch.paths = append(ch.paths, path)
		if n.Source == tasks.RedactedSource || n.Source == "" && n.Elsewhere {
			n.Elsewhere = false
			again.nodes[path], again.paths = n, append(again.paths, path)
		}
	}
	for _, text := range into {
		name, _, _ := strings.Cut(text, "=")
		if path, _, err := plan.Root.Find(name); err == nil {
			if _, asked := again.nodes[path]; !asked && plan.Restore.Nodes[path].Elsewhere {
				return ch, usagef("leave --into out: the run goes on where it began", "the target of node %s is known", path)
			}
		}
		if err := again.readInto(text); err != nil {
			return ch, err
		}
	}
	for _, path := range again.paths {
		n, text := again.nodes[path], again.literals[path]
		switch {
		case !n.Elsewhere && n.Source == "":
			return ch, untrusted(path, shortestName(&plan.Root, path))
		case !n.Elsewhere:
			return ch, usagef("name it again with --into", "the target of node %s held a secret, which is not stored", path)
		case !text.IsEmpty() && s.queue != "":
			return ch, errLiteral(path)
		case !text.IsEmpty():
			e.literals.put(plan.Run, path, text)
		}
		plan.Restore.Nodes[path] = n
	}
	ch.literals = again.literals
	return ch, nil
}

// literalOf returns the literal source of a node in a config, or that of the nearest node above it with the same driver: a
// node that stands for many places has a child for each in a plan, and none in a config.
func literalOf(config map[string]*tasks.Node, path, driver string) secret.Text {
	for {
		if n := config[path]; n != nil && n.Driver == driver {
			return n.Literal
		}
		at := strings.LastIndexByte(path, '/')
		if at < 0 {
			return secret.Text{}
		}
		path = path[:at]
	}
}

// sourcesAgain takes sources that held a secret from the config.
func (a *app) sourcesAgain(e *engine, s settings, plan *tasks.Plan) error {
	config := make(map[string]*tasks.Node)
	maps.Insert(config, s.set.Set.Walk())
	for path, n := range plan.Root.Walk() {
		switch {
		case n.Driver == "" || n.Source == "":
		case n.Source == tasks.RedactedSource:
			text := literalOf(config, path, n.Driver)
			ok := !text.IsEmpty()
			if ok && s.queue != "" {
				return errLiteral(path)
			}
			if !ok {
				return drivers.WithHint(fmt.Errorf("%w: the source of node %s held a secret, which is not stored", drivers.ErrInvalid, path),
					"name the config that holds it with --config, or dump anew")
			}
			e.literals.put(plan.Run, path, text)
		case s.queue == "":
			if err := a.checkReferences(n.Driver, n.Source, n.Options); err != nil {
				return fmt.Errorf("node %s: %w", path, err)
			}
		}
	}
	return nil
}
