package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"salvor/drivers"
	"salvor/internal/secret"
	"salvor/tasks"
)

type drillOptions struct {
	on   []string
	keep bool
	goOn bool
}

func (a *app) drillCommand() *cobra.Command {
	var o drillOptions
	c := &cobra.Command{
		Use:   "drill [DUMP] --on [NODE=]SERVER",
		Short: "Restore databases of a dump into scratch databases, prove them, and drop them",
		Long: "Restore databases of a dump (default: latest) into databases of their own making on a server, compare every row\n" +
			"with the dump, say how long the restore took, and drop what was made. Nothing else on the server is touched: no roles,\n" +
			"accounts and tablespaces are made, and what the dump says of owners, rights, policies and subscriptions is left out.\n\n" +
			"A SERVER is SCHEME:PLACE as for restore; the database that it names is only connected to. A scratch database is\n" +
			"named salvor_drill_ and random digits; a drill that is killed leaves it behind." +
			exitHelp(exitOK, exitFailed, exitUsage, exitIncomplete, exitUnproven, exitMissing, exitAccess, exitCorrupt, exitInterrupted),
		Example:           "  salvor drill --archive /backups --on main=postgres://admin@test-server/postgres\n  salvor drill 20261122 --on 'main=${TEST_SERVER}'",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeDumps,
		RunE:              func(c *cobra.Command, args []string) error { return a.drill(c.Context(), o, args) },
	}
	f := c.Flags()
	f.StringArrayVar(&o.on, "on", nil, "where: [NODE=]SERVER; once for each node")
	f.BoolVar(&o.keep, "keep", false, "do not drop the scratch databases")
	f.BoolVar(&o.goOn, "continue", false, "let independent nodes finish when one fails, and go on without what a database refuses")
	return c
}

// scratch is a place that a drill makes.
type scratch struct {
	name string
	kind drivers.Kind
	text secret.Text
}

func (a *app) drill(ctx context.Context, o drillOptions, args []string) (err error) {
	if len(o.on) == 0 {
		return usagef("name a server for each database: --on NODE=postgres://USER@HOST/postgres, or NODE=mysql://USER@HOST/mysql", "where is the drill to be?")
	}
	r := restoreOptions{create: true, prove: true, goOn: o.goOn, trial: !o.keep}
	var made []scratch
	for _, on := range o.on {
		node, s, err := a.scratchOn(on)
		if err != nil {
			return err
		}
		made = append(made, s)
		into := s.kind.Scheme + ":" + s.text.Reveal()
		if strings.HasPrefix(s.text.Reveal(), s.kind.Scheme+"://") {
			into = s.text.Reveal()
		}
		if node != "" {
			r.only = append(r.only, node)
			into = node + "=" + into
		}
		r.into = append(r.into, into)
	}
	defer func() {
		if o.keep {
			return
		}
		for _, s := range made {
			err = also(err, a.dropScratch(context.WithoutCancel(ctx), s))
		}
	}()
	return a.restore(ctx, r, args)
}

// scratchOn reads [NODE=]SERVER and names a scratch database there.
func (a *app) scratchOn(on string) (node string, s scratch, err error) {
	list := taskDrivers(a.registry)
	place := on
	name, rest, named := strings.Cut(on, "=")
	if named && !strings.ContainsAny(name, ":$ ") {
		node, place = name, rest
	}
	if strings.HasPrefix(place, "${") {
		text, err := a.resolve(place)
		if err != nil {
			return "", s, err
		}
		place = text.Reveal()
	}
	_, driver, source, err := tasks.ParseSource("target="+place, list)
	if err != nil {
		return "", s, usagef(hintOf(err), "--on: %v", err)
	}
	if s.kind, err = a.registry.Lookup(driver); err != nil {
		return "", s, err
	}
	if s.kind.Scratch == nil {
		return "", s, usagef("restore it elsewhere with salvor restore --into", "--on: driver %s has no scratch places", driver)
	}
	text, err := a.resolve(source)
	if err != nil {
		return "", s, err
	}
	if s.name, err = scratchName(); err != nil {
		return "", s, err
	}
	if s.text, err = s.kind.Scratch(text, s.name); err != nil {
		return "", s, err
	}
	return node, s, nil
}

// scratchName names a place that nobody else has.
func scratchName() (string, error) {
	var random [6]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("name scratch database: %w", err)
	}
	return drivers.ScratchPrefix + hex.EncodeToString(random[:]), nil
}

// dropScratch removes a scratch database.
func (a *app) dropScratch(ctx context.Context, s scratch) (err error) {
	source, err := s.kind.Open(ctx, drivers.Spec{Node: s.name, Source: s.text, Scratch: a.scratch})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	dropper, ok := source.(drivers.Dropper)
	if !ok {
		return nil
	}
	if err := dropper.Drop(ctx, s.name); err != nil {
		return withHint(fmt.Errorf("drop scratch database %s: %w", s.name, err), "drop it by hand")
	}
	a.console.line("dropped   scratch database %s", s.name)
	return nil
}
