package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"salvor/archive"
	"salvor/coordinator"
)

// Completion asks the archive that the line so far names. It says nothing where anything is wrong: the command itself will.

// completeDumps completes a DUMP.
func (a *app) completeDumps(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := []string{archive.Latest + "\tthe newest whole dump"}
	a.withArchive(c, func(ctx context.Context, s settings, store *archive.Archive) {
		sets := []string{s.setName}
		if s.setName == "" {
			sets, _ = store.Sets(ctx)
		}
		for _, set := range sets {
			dumps, _ := store.Dumps(ctx, set)
			for _, m := range dumps {
				l := lineOf(m)
				names = append(names, l.Dump+"\t"+l.Set+", "+formatBytes(l.Bytes)+", "+l.stateCell())
			}
		}
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeDumpAndNode completes a DUMP, and then a NODE of it.
func (a *app) completeDumpAndNode(c *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return a.completeDumps(c, args, toComplete)
	case 1:
		return a.completeNodes(c, args, toComplete)
	default:
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeNodes completes a node of the dump that the line names.
func (a *app) completeNodes(c *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if strings.ContainsAny(toComplete, "=:") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []string
	a.withArchive(c, func(ctx context.Context, s settings, store *archive.Archive) {
		ref, err := store.Resolve(ctx, s.setName, dumpName(args))
		if err != nil {
			return
		}
		plan, err := coordinator.StoredPlan(ctx, store, ref)
		if err != nil {
			return
		}
		for path, n := range plan.Root.Walk() {
			if n.Driver != "" {
				names = append(names, shortestName(&plan.Root, path)+"\t"+n.Driver)
			}
		}
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeSources completes the scheme of a source; what follows it is a file's name.
func (a *app) completeSources(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if strings.Contains(toComplete, ":") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	name, _, named := strings.Cut(toComplete, "=")
	prefix := ""
	if named {
		prefix = name + "="
	}
	var schemes []string
	for _, d := range taskDrivers(a.registry) {
		schemes = append(schemes, prefix+d.Scheme+":")
	}
	return schemes, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

// withArchive calls f with the archive that the line names, if it can be opened.
func (a *app) withArchive(c *cobra.Command, f func(context.Context, settings, *archive.Archive)) {
	s, err := a.settings(needArchive)
	if err != nil {
		return
	}
	ctx := c.Context()
	if ctx == nil {
		return
	}
	store, err := a.openArchive(ctx, s)
	if err != nil {
		return
	}
	defer func() { _ = store.Close() }()
	f(ctx, s, store)
}
