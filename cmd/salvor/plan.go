package main

import (
	"cmp"
	"context"
	"strings"

	"github.com/spf13/cobra"

	"salvor/coordinator"
	"salvor/tasks"
)

// stepResult is a step as `plan --json` and `restore --plan --json` print it.
type stepResult struct {
	Type string `json:"type"`
	coordinator.PlanLine
}

func (a *app) planCommand() *cobra.Command {
	var o dumpOptions
	c := &cobra.Command{
		Use:   "plan [[NAME=]SOURCE]...",
		Short: "Print the steps of a dump in their order, and do nothing",
		Long: "Print the steps that a dump of the set would take, in waves: a step's wave comes after those of all it needs, and\n" +
			"steps of one wave may run at the same time. No archive is needed, and nothing is opened but the servers of nodes that\n" +
			"stand for all their databases; of one that cannot be asked the node is shown as it is.\n\n" +
			"restore --plan does the same for a restore." + exitHelp(exitOK, exitUsage),
		Example:           "  salvor plan --config backupset.yaml\n  salvor plan site=sqlite:site.db uploads=dir:uploads --json",
		ValidArgsFunction: a.completeSources,
		RunE:              func(c *cobra.Command, args []string) error { return a.plan(c.Context(), o, args) },
	}
	f := c.Flags()
	f.BoolVar(&o.goOn, "continue", false, "plan for a dump with --continue")
	f.IntVar(&o.views, "views", 2, "how many nodes may hold a consistent view open at once")
	return c
}

func (a *app) plan(ctx context.Context, o dumpOptions, sources []string) error {
	if o.views < 1 {
		return usagef("", "--views must be at least 1")
	}
	s, err := a.dumpSettings(sources)
	if err != nil {
		return err
	}
	if err := a.expandForPlan(ctx, &s); err != nil {
		return err
	}
	// What a plan must have and this one does not need.
	const none = "plan"
	plan, err := coordinator.PlanDump(coordinator.DumpInput{
		Run: none, Dump: none, Archive: cmp.Or(s.archive, none), Set: s.set, Drivers: taskDrivers(a.registry),
		OnError: onError(o.goOn), Views: o.views,
	})
	if err != nil {
		return err
	}
	return a.printSteps(plan)
}

// printSteps prints a plan's steps in their order.
func (a *app) printSteps(plan tasks.Plan) error {
	rows := newTable("WAVE>", "STEP", "NODE", "DRIVER", "HOST", "NEEDS")
	for _, line := range coordinator.Print(plan) {
		if a.json {
			if err := a.printJSON(stepResult{Type: "step", PlanLine: line}); err != nil {
				return err
			}
			continue
		}
		rows.add(formatCount(int64(line.Wave)), line.Kind, cmp.Or(line.Node, "-"), cmp.Or(line.Driver, "-"), cmp.Or(line.Host, "-"),
			cmp.Or(strings.Join(line.Needs, ", "), "-"))
	}
	if a.json {
		return nil
	}
	return rows.write(a.out, "")
}
