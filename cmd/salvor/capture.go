package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"salvor/archive"
	"salvor/coordinator"
	"salvor/drivers/relational"
	"salvor/drivers/relational/declared"
	"salvor/internal/secret"
	"salvor/tasks"
)

type captureOptions struct {
	since           string
	against         string
	againstDB       string
	source          string
	scratch         string
	zone            string
	requireCoverage bool
	budget          int64
}

func (a *app) captureCommand() *cobra.Command {
	var o captureOptions
	c := &cobra.Command{
		Use:   "capture [NODE] {--against DUMP | --against-db SOURCE | --since TIME}",
		Short: "Keep what people did to a database since a dump",
		Long: "Keep the rows of a database that people made, changed or deleted since a dump, with all that they need, so that they can\n" +
			"be reviewed and merged into what is restored. Nothing is changed in the database.\n\n" +
			"--against restores the dump into a scratch database beside the source (or on the server of --scratch; a file for SQLite),\n" +
			"compares every row, and drops it again. --against-db compares with a database that is there. With --since alone, only what\n" +
			"rows say of their own times is known: tables without such a column are blind, and what was deleted is not seen.\n\n" +
			"Changes that many rows have in common (the same new value, the same moment, deletions) are taken for damage: they are kept apart\n" +
			"and left out until somebody says otherwise. salvor show CAPTURE tells all of it; the files are made to be read and edited.\n\n" +
			"The database is the NODE's of the config, or of the dump; or --source names it. A TIME is 2026-11-26T04:30:00Z, or without\n" +
			"a zone in UTC as the names of dumps are: 2026-11-26 04:30, 2026-11-26; or how long ago: 4d, 90m. The capture's name is the only line\n" +
			"on stdout." +
			exitHelp(exitOK, exitFailed, exitUsage, exitIncomplete, exitResumable, exitMissing, exitAccess, exitCorrupt, exitInterrupted),
		Example: "  salvor capture main --against latest\n" +
			"  salvor capture --archive /backups --source main=postgres://app@db/shop --against 20261122\n" +
			"  salvor capture main --since 4d --require-coverage",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeCaptureNode,
		RunE:              func(c *cobra.Command, args []string) error { return a.capture(c.Context(), o, args) },
	}
	c.AddCommand(a.captureCheckCommand())
	f := c.Flags()
	f.StringVar(&o.since, "since", "", "when the damage may have begun; default the moment of the dump")
	f.StringVar(&o.against, "against", "", "the dump to compare with: its id, a unique beginning of it, or latest")
	f.StringVar(&o.againstDB, "against-db", "", "a database to compare with, as for dump: SCHEME:PLACE")
	f.StringVar(&o.source, "source", "", "the database to capture, in place of the node's own: [NAME=]SCHEME:PLACE")
	f.StringVar(&o.scratch, "scratch", "", "a server for the scratch database, SCHEME:PLACE; or a directory for temporary files")
	f.StringVar(&o.zone, "zone", "", "what times without a zone are in, such as Europe/Berlin; default the database's own")
	f.BoolVar(&o.requireCoverage, "require-coverage", false, "fail where a table is blind")
	f.Int64Var(&o.budget, "budget", 1_000_000, "how many rows may hang on new ones by one foreign key; 0 for any number")
	_ = c.RegisterFlagCompletionFunc("against", func(c *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
		return a.completeDumps(c, nil, text)
	})
	return c
}

func (a *app) completeCaptureNode(c *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeNodes(c, args, text)
}

// capturing is a capture as the command line asks for it.
type capturing struct {
	settings settings
	store    *archive.Archive
	request  coordinator.CaptureRequest
	literals map[string]secret.Text // sources with a secret in them, by path
}

func (a *app) capture(ctx context.Context, o captureOptions, args []string) (err error) {
	if err := a.checkCaptureOptions(&o); err != nil {
		return err
	}
	n := needSet
	if o.source != "" {
		n = needArchive
	}
	s, err := a.settings(n)
	if err != nil {
		return err
	}
	open := archive.Create // as a dump does
	if o.against != "" {
		open = archive.Open
	}
	if err := s.checkArchive(); err != nil {
		return err
	}
	store, err := a.archiveAt(ctx, s.archive, open)
	if err != nil {
		return err
	}
	defer func() { err = also(err, store.Close()) }()
	c := &capturing{settings: s, store: store, literals: make(map[string]secret.Text)}
	c.request = coordinator.CaptureRequest{Archive: store, Location: s.archive, Set: cmp.Or(s.setName, tasks.DefaultSet)}
	c.request.Capture = tasks.Capture{RequireCoverage: o.requireCoverage, Budget: o.budget, Zone: o.zone}
	if err := a.chooseCaptured(ctx, c, o, args); err != nil {
		return err
	}
	if err := a.chooseBase(c, o); err != nil {
		return err
	}
	if err := a.checkCaptured(ctx, c); err != nil {
		return err
	}
	return a.runCapture(ctx, c)
}

// checkCaptureOptions tells what is wrong with the options by themselves.
func (a *app) checkCaptureOptions(o *captureOptions) error {
	switch {
	case o.against != "" && o.againstDB != "":
		return usagef("give one of them", "--against and --against-db exclude each other")
	case o.against == "" && o.againstDB == "" && o.since == "":
		return usagef("--against latest compares with the last dump, and sees all; --since TIME goes by what rows say of their own times",
			"since when? Name a dump with --against, or a moment with --since")
	case o.budget < 0:
		return usagef("", "--budget must be 0 or more")
	}
	if o.zone != "" {
		if _, err := relational.ParseZone(o.zone); err != nil {
			return usagef("name it as Europe/Berlin, America/New_York, +02:00 or UTC", "--zone: %s is no time zone that is known here", quoteName(o.zone))
		}
	}
	if o.scratch == "" || strings.Contains(o.scratch, ":") || strings.HasPrefix(o.scratch, "${") {
		return nil
	}
	if info, err := os.Stat(o.scratch); err != nil || !info.IsDir() {
		return usagef("name a server, such as postgres://USER@HOST/postgres, or a directory that exists", "--scratch: %s is neither", quoteName(o.scratch))
	}
	a.scratch, o.scratch = o.scratch, ""
	return nil
}

// chooseCaptured finds the database that is captured, and the dump that it is compared with.
func (a *app) chooseCaptured(ctx context.Context, c *capturing, o captureOptions, args []string) error {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	node, path, err := a.capturedNode(c, o, name)
	if err != nil {
		return err
	}
	if o.since != "" {
		if c.request.Capture.Since, err = parseSince(o.since, a.env.now()); err != nil {
			return err
		}
		c.request.Capture.Margin = coordinator.MarginWithoutDump
	}
	if o.against != "" {
		if node, path, err = a.dumpedNode(ctx, c, o, node, cmp.Or(path, name)); err != nil {
			return err
		}
	}
	if node == nil {
		return usagef("name it with --source NAME=SCHEME:PLACE, or describe the set in "+defaultConfig, "which database?")
	}
	kind, err := a.registry.Lookup(node.Driver)
	if err != nil {
		return err
	}
	if kind.Scratch == nil && kind.ScratchIn == nil {
		return usagef("", "node %s is of the driver %s, which has no rows to capture", path, node.Driver)
	}
	said, err := declared.FromNode(node.Options)
	if err != nil {
		return fmt.Errorf("node %s: %w", path, err)
	}
	c.request.Capture.Zone, c.request.Capture.Margin = cmp.Or(c.request.Capture.Zone, said.Zone), max(c.request.Capture.Margin, said.Margin)
	c.request.Node, c.request.Capture.Node = *node, path
	if !node.Literal.IsEmpty() {
		c.literals[path] = node.Literal
	}
	return nil
}

// capturedNode finds the database among what the user names: --source, or the config. Nil leaves it to the dump.
func (a *app) capturedNode(c *capturing, o captureOptions, name string) (*tasks.Node, string, error) {
	if o.source != "" {
		set, err := tasks.FromSources(c.request.Set, []string{o.source}, taskDrivers(a.registry))
		if err != nil {
			return nil, "", err
		}
		for path, node := range set.Set.Walk() {
			if node.Driver == "" {
				continue
			}
			if name != "" && (o.against != "" || node.Name == a.schemeOf(node.Driver)) {
				path = name // of the dump, or what --source does not say
				if o.against == "" {
					path = tasks.JoinPath(c.request.Set, name)
				}
			}
			return node, path, nil
		}
	}
	if !c.settings.hasSet {
		return nil, "", nil
	}
	root := &c.settings.set.Set
	if name == "" {
		path, node, err := onlyDatabase(root, a)
		return node, path, err
	}
	path, node, err := root.Find(name)
	if errors.Is(err, tasks.ErrUnknownNode) && o.against != "" {
		return nil, "", nil // one of the databases that a node stood for
	}
	if err != nil {
		return nil, "", err
	}
	if node.Driver == "" {
		return nil, "", usagef("name the nodes below it, one after the other", "node %s holds nothing of its own", path)
	}
	if one := (tasks.Node{Name: node.Name, Driver: node.Driver, Options: node.Options}); standsForMany(&one, a) {
		return nil, "", usagef("name one of them, as the dump does: salvor show DUMP lists them", "node %s stands for several databases", path)
	}
	return node, path, nil
}

// standsForMany tells whether a node has a child for each of its places when it is dumped.
func standsForMany(node *tasks.Node, a *app) bool {
	_, some := node.Expanding(taskDrivers(a.registry))
	return some
}

// onlyDatabase finds the node where a set has but one that can be captured.
func onlyDatabase(root *tasks.Node, a *app) (string, *tasks.Node, error) {
	var paths []string
	var found *tasks.Node
	for path, node := range root.Walk() {
		if kind, err := a.registry.Lookup(node.Driver); err == nil && (kind.Scratch != nil || kind.ScratchIn != nil) {
			paths, found = append(paths, path), node
		}
	}
	switch len(paths) {
	case 0:
		return "", nil, usagef("captures are of PostgreSQL, MySQL, MariaDB and SQLite", "the set has no database to capture")
	case 1:
		return paths[0], found, nil
	}
	return "", nil, usagef("name one of them", "the set has several databases: %s", strings.Join(paths, ", "))
}

// dumpedNode finds the node in the dump. live is where it is now; nil where only the dump says that.
func (a *app) dumpedNode(ctx context.Context, c *capturing, o captureOptions, live *tasks.Node, name string) (*tasks.Node, string, error) {
	ref, err := c.store.Resolve(ctx, c.settings.setName, o.against)
	if err != nil {
		return nil, "", err
	}
	manifest, err := c.store.Manifest(ctx, ref)
	if err != nil {
		return nil, "", err
	}
	plan, err := coordinator.StoredPlan(ctx, c.store, ref)
	if err != nil {
		return nil, "", err
	}
	root := &plan.Root
	var path string
	var dumped *tasks.Node
	if name == "" {
		path, dumped, err = onlyDatabase(root, a)
	} else {
		path, dumped, err = root.Find(lastOf(root, name))
	}
	if err != nil {
		return nil, "", err
	}
	var record *archive.NodeRecord
	for i := range manifest.Nodes {
		if manifest.Nodes[i].Path == path {
			record = &manifest.Nodes[i]
		}
	}
	switch {
	case record == nil:
		return nil, "", withHint(fmt.Errorf("%w: dump %s does not hold node %s", tasks.ErrUnknownNode, ref.Dump, path), "salvor show "+ref.Dump+" lists what it holds")
	case live == nil && dumped.Source == tasks.RedactedSource:
		config := maps.Collect(c.settings.set.Set.Walk())
		if text := literalOf(config, path, dumped.Driver); !text.IsEmpty() {
			node := dumped.Clone()
			node.Literal = text
			live = &node
			break
		}
		return nil, "", usagef("name it with --source "+lastName(path)+"=SCHEME:PLACE", "the source of node %s held a secret, which is not stored", path)
	case live == nil:
		live = dumped
	case live.Driver != record.Driver:
		return nil, "", usagef("", "node %s was dumped by %s, and what is to be captured is of %s", path, record.Driver, live.Driver)
	}
	stored, err := c.store.Node(ctx, ref, *record)
	if err != nil {
		return nil, "", err
	}
	if c.request.Capture.Since.IsZero() {
		c.request.Capture.Since, c.request.Capture.Margin = coordinator.DumpMoment(stored)
	}
	c.request.Set, c.request.Dump = ref.Set, ref.Dump
	c.request.Capture.Base = &tasks.CaptureBase{Driver: record.Driver, Options: dumped.Options}
	return live, path, nil
}

// lastOf makes a path of another set's (default/main, of --source) one that a dump's set may have.
func lastOf(root *tasks.Node, path string) string {
	if _, _, err := root.Find(path); err == nil {
		return path
	}
	return path[strings.IndexByte(path, '/')+1:]
}

// chooseBase says where the dump is restored to, or which database is compared with.
func (a *app) chooseBase(c *capturing, o captureOptions) error {
	live := c.request.Node
	kind, err := a.registry.Lookup(live.Driver)
	if err != nil {
		return err
	}
	base := c.request.Capture.Base
	switch {
	case o.againstDB != "":
		base = &tasks.CaptureBase{Options: live.Options}
		c.request.Capture.Base = base
		if base.Driver, base.Source, err = a.otherSource(c, "--against-db", o.againstDB, live.Driver); err != nil {
			return err
		}
		return nil
	case base == nil:
		if o.scratch != "" {
			return usagef("name the dump with --against", "--scratch is where a dump is restored to, and none is compared with")
		}
		return nil
	}
	if base.Scratch, err = scratchName(); err != nil {
		return err
	}
	if kind.ScratchIn != nil {
		if o.scratch != "" {
			return usagef("name a directory", "--scratch: the driver %s makes a temporary file", kind.Name)
		}
		base.Temporary = true
		return nil
	}
	base.Source = live.Source
	if o.scratch != "" {
		_, base.Source, err = a.otherSource(c, "--scratch", o.scratch, live.Driver)
		return err
	}
	if !live.Literal.IsEmpty() {
		c.literals[tasks.BasePath(c.request.Capture.Node)] = live.Literal
	}
	return nil
}

// otherSource reads a source of the same driver. A secret in it stays in this process.
func (a *app) otherSource(c *capturing, flag, text, driver string) (string, string, error) {
	path := tasks.BasePath(c.request.Capture.Node)
	if strings.HasPrefix(text, "${") {
		if err := tasks.CheckReferences(text); err != nil {
			return "", "", usagef(hintOf(err), "%s: %v", flag, err)
		}
		return driver, text, nil
	}
	_, found, source, err := tasks.ParseSource("target="+text, taskDrivers(a.registry))
	if err != nil {
		return "", "", usagef(hintOf(err), "%s: %v", flag, err)
	}
	if found != driver {
		return "", "", usagef("rows are compared by one driver", "%s is of the driver %s, and node %s of %s", flag, found, c.request.Capture.Node, driver)
	}
	if tasks.HasLiteralSecret(source) {
		c.literals[path] = secret.New(source)
		source = tasks.RedactedSource
	}
	return found, source, nil
}

// checkCaptured refuses, before anything runs, what no worker could do.
func (a *app) checkCaptured(ctx context.Context, c *capturing) error {
	node, path := c.request.Node, c.request.Capture.Node
	if c.settings.queue != "" {
		for path, text := range c.literals {
			if !text.IsEmpty() {
				return errLiteral(strings.TrimSuffix(path, "@base"))
			}
		}
		return nil // sources are resolved where they are opened
	}
	if node.Host != "" && node.Host != a.host {
		return errOtherHost(path, node.Host, a.host)
	}
	if err := a.checkReferences(node.Driver, node.Source, node.Options); err != nil {
		return fmt.Errorf("node %s: %w", path, err)
	}
	if err := a.checkServer(ctx, &node); err != nil {
		return fmt.Errorf("node %s: %w", path, err)
	}
	base := c.request.Capture.Base
	if base == nil || base.Source == "" || base.Source == tasks.RedactedSource {
		return nil
	}
	if _, err := a.resolve(base.Source); err != nil {
		return fmt.Errorf("what node %s is compared with: %w", path, err)
	}
	return nil
}

var agoPattern = regexp.MustCompile(`^([0-9]{1,4})d$`)

// parseSince reads a moment: with a zone, in UTC, or how long ago.
func parseSince(text string, now time.Time) (time.Time, error) {
	var at time.Time
	ago, err := time.ParseDuration(text)
	if m := agoPattern.FindStringSubmatch(text); m != nil {
		days, _ := strconv.Atoi(m[1]) // up to four digits
		ago, err = time.Duration(days)*24*time.Hour, nil
	}
	if err == nil {
		at = now.Add(-ago)
	} else {
		for _, form := range []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02", "20060102-150405"} {
			if at, err = time.ParseInLocation(form, text, time.UTC); err == nil {
				break
			}
		}
	}
	if err != nil {
		return at, usagef("write 2026-11-26T04:30:00Z, 2026-11-26 04:30 (in UTC), or how long ago: 4d, 90m", "--since: %s is no time", quoteName(text))
	}
	if at.After(now) {
		return at, usagef("name the moment of the last good dump; times without a zone are in UTC", "--since: %s is in the future", formatTime(at)+" UTC")
	}
	return at.UTC(), nil
}
