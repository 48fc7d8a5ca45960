package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"salvor/archive"
	"salvor/coordinator"
	"salvor/drivers"
	"salvor/tasks"
)

type restoreOptions struct {
	into, only []string
	overwrite  bool
	mirror     bool
	inPlace    bool
	plan       bool
	goOn       bool
	create     bool
	clean      bool
	prove      bool
	trial      bool // of a drill: what it made is dropped
}

// restoreResult is what `restore --json` prints of a restore that was done.
type restoreResult struct {
	Type       string             `json:"type"`
	Set        string             `json:"set"`
	Dump       string             `json:"dump"`
	Run        string             `json:"run"`
	Started    time.Time          `json:"started"`
	Ended      time.Time          `json:"ended"`
	Seconds    float64            `json:"seconds"`
	Entries    int64              `json:"entries"`
	Equal      int64              `json:"equal"`
	Bytes      int64              `json:"bytes"`
	Unrestored int64              `json:"unrestored"`
	Warnings   map[string]int64   `json:"warnings,omitempty"`
	Missing    []string           `json:"missing,omitempty"`
	Nodes      []tasks.NodeResult `json:"nodes"`
	Exit       int                `json:"exit"`
}

func (a *app) restoreCommand() *cobra.Command {
	var o restoreOptions
	c := &cobra.Command{
		Use:   "restore [DUMP]",
		Short: "Restore a dump, or a part of it",
		Long: "Restore a dump: its id, a unique beginning of it, or latest, which is the default.\n\n" +
			"Each node goes where --into says; a node without one goes onto its own source, which needs --in-place. A node is\n" +
			"named by its path or a unique end of it. A PLACE is SCHEME:PLACE as for dump, or a path for the node's own driver.\n\n" +
			"A target must be absent or empty; what is already equal is left, so a restore can be repeated. --overwrite replaces what\n" +
			"differs and keeps what is extra, --mirror also removes what is extra. A database on a server must exist and be empty;\n" +
			"--create makes an absent one, --clean drops one with all that it holds and makes it anew; nothing else drops one.\n" +
			"--prove compares the rows of restored databases with those that were dumped. All targets are checked before anything\n" +
			"is written." +
			exitHelp(exitOK, exitFailed, exitUsage, exitIncomplete, exitUnproven, exitResumable, exitMissing, exitAccess, exitCorrupt, exitInterrupted),
		Example: "  salvor restore --archive /backups latest --into site=sqlite:new.db --into uploads=dir:new\n" +
			"  salvor restore --in-place --mirror\n" +
			"  salvor restore 20261122 --only uploads:2026/photo.png --into uploads=/tmp/photo\n" +
			"  salvor restore --in-place --overwrite --plan",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeDumps,
		RunE:              func(c *cobra.Command, args []string) error { return a.restore(c.Context(), o, args) },
	}
	f := c.Flags()
	f.StringArrayVar(&o.into, "into", nil, "restore a node there: [NODE=]PLACE; once for each node")
	f.StringArrayVar(&o.only, "only", nil, "restore this node only, or one file or folder of it: NODE[:PATH]; may be repeated")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace what differs, keep what is extra")
	f.BoolVar(&o.mirror, "mirror", false, "replace what differs, remove what is extra")
	f.BoolVar(&o.inPlace, "in-place", false, "restore nodes without --into onto what was dumped")
	f.BoolVar(&o.plan, "plan", false, "say what would be done, and do nothing")
	f.BoolVar(&o.create, "create", false, "make databases that do not exist")
	f.BoolVar(&o.clean, "clean", false, "drop target databases with all that they hold; with --only NODE:TABLE the table")
	f.BoolVar(&o.prove, "prove", false, "compare the rows of restored databases with those that were dumped")
	f.BoolVar(&o.goOn, "continue", false, "let independent nodes finish when one fails, and go on without what a database refuses")
	for _, name := range []string{"into", "only"} {
		_ = c.RegisterFlagCompletionFunc(name, a.completeNodes)
	}
	return c
}

func (a *app) restore(ctx context.Context, o restoreOptions, args []string) (err error) {
	if o.overwrite && o.mirror {
		return usagef("--mirror replaces what --overwrite does, and removes what is extra", "--overwrite and --mirror exclude each other")
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
	ref, err := store.Resolve(ctx, s.setName, dumpName(args))
	if err != nil {
		return err
	}
	manifest, err := store.Manifest(ctx, ref)
	if err != nil {
		return err
	}
	plan, err := coordinator.StoredPlan(ctx, store, ref)
	if err != nil {
		return err
	}
	var config *tasks.Node
	if s.hasSet {
		config = &s.set.Set
	}
	plan.Root = coordinator.Trusted(&plan.Root, config, taskDrivers(a.registry))
	ch, err := a.chooseNodes(s, &plan.Root, manifest, o)
	if err != nil {
		return err
	}
	request := coordinator.RestoreRequest{
		Archive: store, Location: s.archive, Ref: ref, Plan: plan, Config: config, Nodes: ch.nodes, Overwrite: o.overwrite, Mirror: o.mirror,
		InPlace: o.inPlace, Create: o.create, Clean: o.clean, Prove: o.prove, OnError: onError(o.goOn),
	}
	if o.plan {
		return a.printRestore(ctx, request, ch, manifest)
	}
	var run string
	outcome, err := a.runRestore(ctx, s, request, ch, &run)
	if err != nil && !o.trial {
		err = resumable(err, run)
	}
	if err != nil {
		return err
	}
	ch.trial = o.trial
	return a.reportRestore(outcome, ch)
}

// dumpName is the dump that the arguments name.
func dumpName(args []string) string {
	if len(args) == 0 {
		return "latest"
	}
	return args[0]
}

// chooseNodes decides what is restored and where to, and checks that this process can.
func (a *app) chooseNodes(s settings, root *tasks.Node, manifest archive.Manifest, o restoreOptions) (choice, error) {
	c := &chooser{root: root, drivers: taskDrivers(a.registry), inPlace: o.inPlace, held: make(map[string]archive.NodeRecord)}
	for _, n := range manifest.Nodes {
		c.held[n.Path] = n
	}
	ch, err := choose(c, o.only, o.into)
	if err != nil {
		return ch, err
	}
	stored := maps.Collect(root.Walk())
	var wrong []error
	for _, path := range ch.paths {
		n := ch.nodes[path]
		if !n.Elsewhere && a.executes(n.Driver) && coordinator.Unnamed(stored[path]) {
			wrong = append(wrong, untrusted(path, shortestName(root, path)))
			continue
		}
		if host := stored[path].Host; s.queue == "" && host != "" && host != a.host && !n.Elsewhere {
			wrong = append(wrong, usagef("start on that host, with --host "+host+", or name a target with --into",
				"node %s is bound to host %s, and this is %s", path, host, a.host))
			continue
		}
		if n.Source == tasks.RedactedSource && ch.literals[path].IsEmpty() {
			wrong = append(wrong, usagef("name the target with --into", "the source of node %s held a secret, which is not stored", path))
			continue
		}
		if s.queue != "" {
			if !ch.literals[path].IsEmpty() {
				wrong = append(wrong, errLiteral(path))
			}
			continue // what is referred to is where the worker is
		}
		options := stored[path].Options
		if n.Elsewhere {
			options = nil
		}
		if err := a.checkReferences(n.Driver, n.Source, options); err != nil {
			wrong = append(wrong, fmt.Errorf("node %s: %w", path, err))
		}
	}
	return ch, errors.Join(wrong...)
}

// checkReferences tells whether what a source and its options refer to is there.
func (a *app) checkReferences(driver, source string, options json.RawMessage) error {
	if source != tasks.RedactedSource {
		if _, err := a.resolve(source); err != nil {
			return err
		}
	}
	kind, err := a.registry.Lookup(driver)
	if err != nil {
		return err
	}
	_, err = tasks.ResolveOptions(options, kind.Resolve, a.resolve)
	return err
}

// executes tells whether a driver runs programs.
func (a *app) executes(driver string) bool {
	kind, err := a.registry.Lookup(driver)
	return err == nil && kind.Executes
}

// untrusted is the error for a node whose program is known from the archive alone.
func untrusted(path, name string) error {
	return usagef("name the program with --into "+name+"=command:PROGRAM, or give the set that has the node with --config",
		"node %s is restored by a program, and one that only the archive names is not run", path)
}

// runRestore carries the restore out on an engine of its own.
func (a *app) runRestore(ctx context.Context, s settings, r coordinator.RestoreRequest, ch choice, run *string) (_ coordinator.Outcome, err error) {
	e, err := a.startEngine(ctx, s.queue)
	if err != nil {
		return coordinator.Outcome{}, err
	}
	defer func() { a.stopEngine(ctx, e) }()
	if err := a.bindTargets(ctx, e, &r.Plan.Root, r.Nodes); err != nil {
		return coordinator.Outcome{}, err
	}
	progress := a.newProgress(ctx, e)
	defer progress.end()
	r.Watch = progress.update
	r.Started = func(plan tasks.Plan) {
		*run = plan.Run
		for path, source := range ch.literals {
			e.literals.put(plan.Run, path, source)
		}
		progress.begin(plan)
	}
	return e.Restore(ctx, r)
}

// reportRestore says what was restored.
func (a *app) reportRestore(o coordinator.Outcome, ch choice) error {
	code := exitOfOutcome(o)
	a.reportFailures(o.Failures)
	if code != exitOK && code != exitIncomplete {
		a.console.problem("error", fmt.Sprintf("restore %s, run %s", stateText(o), o.Run))
		if !ch.trial {
			a.hintResume(o, code)
		}
		return &exitError{code}
	}
	if len(ch.missing) > 0 {
		code = exitIncomplete
	}
	r := restoreResult{
		Type: "restore", Set: o.Set, Dump: o.Dump, Run: o.Run, Started: o.Started, Ended: o.Ended,
		Seconds: o.Ended.Sub(o.Started).Seconds(), Missing: ch.missing, Nodes: o.Nodes, Warnings: make(map[string]int64), Exit: code,
	}
	for _, n := range o.Nodes {
		r.Entries += n.Entries
		r.Equal += n.Equal
		r.Bytes += n.Bytes
		r.Unrestored += n.Unreadable
		for kind, count := range n.Warnings {
			r.Warnings[kind] += count
		}
	}
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	}
	a.reportProblems(o.Nodes, "could not be restored")
	for _, kind := range slices.Sorted(maps.Keys(r.Warnings)) {
		a.console.line("note      %s: %s", kind, formatCount(r.Warnings[kind]))
	}
	if len(ch.missing) > 0 {
		a.console.problem("warning", "the dump is partial; it lacks "+strings.Join(ch.missing, ", "))
	}
	a.summariseRestore(r, ch)
	if code != exitOK {
		return &exitError{code}
	}
	return nil
}

func (a *app) summariseRestore(r restoreResult, ch choice) {
	took := r.Ended.Sub(r.Started)
	for _, n := range r.Nodes {
		text := formatBytes(n.Bytes)
		if n.Entries > 0 {
			text += ", " + plural(n.Entries, "entry", "entries")
		}
		if n.Equal > 0 {
			text += ", " + formatCount(n.Equal) + " were equal already"
		}
		a.console.line("restored  %s into %s: %s", n.Node, a.placeOf(ch, n.Node), text)
		if proof := readProof(n.Proof); proof != nil {
			a.console.line("proved    %s: %s and their digests are those of the dump, in %s", n.Node,
				plural(proof.Rows, "row", "rows"), plural(int64(proof.Tables), "table", "tables"))
		}
	}
	a.console.line("took      %s, %s", formatDuration(took), formatRate(r.Bytes, took))
}

// readProof reads what a comparison found; nil where nothing was compared.
func readProof(data json.RawMessage) *drivers.Proof {
	var proof drivers.Proof
	if len(data) == 0 || json.Unmarshal(data, &proof) != nil {
		return nil
	}
	return &proof
}

// placeOf is a target as the command line names it.
func (a *app) placeOf(ch choice, path string) string {
	n := ch.nodes[path]
	if n.Source == "" {
		return "driver " + n.Driver + ", by its keys"
	}
	return a.schemeOf(n.Driver) + ":" + ch.shown(path)
}

// shown is a target's source without the secrets that it holds.
func (c *choice) shown(path string) string {
	n := c.nodes[path]
	if text := c.literals[path]; n.Source == tasks.RedactedSource && !text.IsEmpty() {
		return tasks.RedactSource(text.Reveal())
	}
	return n.Source
}

func (a *app) schemeOf(driver string) string {
	if k, err := a.registry.Lookup(driver); err == nil {
		return k.Scheme
	}
	return driver
}

// targetResult is a node of `restore --plan --json`.
type targetResult struct {
	Type    string   `json:"type"`
	Node    string   `json:"node"`
	Driver  string   `json:"driver"`
	Target  string   `json:"target"`
	InPlace bool     `json:"in_place"`
	Only    []string `json:"only,omitempty"`
	Entries int64    `json:"entries"`
	Bytes   int64    `json:"bytes"`
	Rule    string   `json:"rule"`
}

// printRestore says what a restore would do.
func (a *app) printRestore(ctx context.Context, r coordinator.RestoreRequest, ch choice, manifest archive.Manifest) error {
	plan, err := coordinator.PlanRestore(coordinator.RestoreInput{
		Run: "plan", Archive: r.Location, Set: r.Ref.Set, Dump: r.Ref.Dump, Root: r.Plan.Root, Config: r.Config, Nodes: r.Nodes, OnError: r.OnError,
		Overwrite: r.Overwrite, Mirror: r.Mirror, InPlace: r.InPlace, Create: r.Create, Clean: r.Clean, Prove: r.Prove, Drivers: taskDrivers(a.registry),
	})
	if err != nil {
		return err
	}
	rule := "a target must be absent, empty or equal"
	switch {
	case r.Overwrite:
		rule = "what differs is replaced, what is extra is kept"
	case r.Mirror:
		rule = "what differs is replaced, what is extra is removed"
	}
	var databases []string // whose rule is another
	rows := newTable("NODE", "ENTRIES>", "BYTES>", "ONLY", "TARGET")
	for _, record := range manifest.Nodes {
		n, ok := ch.nodes[record.Path]
		if !ok {
			continue
		}
		only := mapped(n.Only, func(p []byte) string { return string(p) })
		t := targetResult{
			Type: "target", Node: record.Path, Driver: n.Driver, Target: ch.shown(record.Path), InPlace: !n.Elsewhere, Only: only,
			Entries: record.Entries, Bytes: record.Bytes, Rule: a.ruleOf(n, r, rule),
		}
		if len(only) > 0 {
			if t.Entries, t.Bytes, err = a.countOnly(ctx, r.Archive, r.Ref, record, only); err != nil {
				return err
			}
		}
		if a.json {
			if err := a.printJSON(t); err != nil {
				return err
			}
			continue
		}
		what := "all"
		if len(only) > 0 {
			what = strings.Join(mapped(only, quoteName), ", ")
		}
		if t.Rule != rule {
			databases = append(databases, t.Node+": "+t.Rule)
		}
		rows.add(t.Node, formatCount(t.Entries), formatBytes(t.Bytes), what, a.placeOf(ch, record.Path))
	}
	if !a.json {
		if err := a.printf("Dump %s of set %s would be restored; %s.\n\n", r.Ref.Dump, r.Ref.Set, rule); err != nil {
			return err
		}
		if err := rows.write(a.out, "  "); err != nil {
			return err
		}
		for _, text := range databases {
			if err := a.printf("\n  %s\n", text); err != nil {
				return err
			}
		}
		if err := a.printf("\n"); err != nil {
			return err
		}
	}
	return a.printSteps(plan)
}

// ruleOf is the rule that holds for a node: databases on servers have their own.
func (a *app) ruleOf(n tasks.RestoreNode, r coordinator.RestoreRequest, rule string) string {
	kind, err := a.registry.Lookup(n.Driver)
	switch {
	case err != nil || kind.Scratch == nil:
		return rule
	case r.Clean && len(n.Only) > 0:
		return "the selected tables are DROPPED where they differ, and made anew"
	case len(n.Only) > 0:
		return "the selected tables must be absent or equal"
	case r.Clean:
		return "the database is DROPPED with all that it holds if it differs, and made anew; its sessions are ended"
	case r.Create:
		return "the database is made if it is absent; one that is not empty and differs is refused"
	}
	return "the database must exist and be empty or equal"
}

// countOnly counts the entries and bytes of a selection of a node.
func (a *app) countOnly(ctx context.Context, store *archive.Archive, ref archive.Ref, record archive.NodeRecord, only []string) (entries, bytes int64, err error) {
	n, err := store.Node(ctx, ref, record)
	if err != nil {
		return 0, 0, err
	}
	kind, err := a.registry.Lookup(record.Driver)
	if err != nil {
		return 0, 0, err
	}
	only, _ = kind.Selected(mapped(n.Parts, func(p archive.PartRecord) drivers.Part {
		return drivers.Part{Name: p.Name, Ref: p.Ref, Base: p.Base}
	}), only)
	for _, p := range n.Parts {
		if takes(only, p.Name) {
			entries++
			bytes += p.Size
		}
	}
	err = eachEntry(ctx, store, n, only, func(e archive.Entry) error {
		entries++
		bytes += e.Size
		return nil
	})
	return entries, bytes, err
}

func mapped[T, U any](list []T, f func(T) U) []U {
	out := make([]U, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}
