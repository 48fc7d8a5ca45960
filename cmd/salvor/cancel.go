package main

import (
	"context"

	"github.com/spf13/cobra"

	"salvor/archive"
	"salvor/coordinator"
	"salvor/tasks/ledger"
)

func (a *app) cancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel RUN",
		Short: "Cancel a run that any machine started",
		Long: "Cancel a run of a queue, and wait until nothing of it runs any more. RUN is the run's id or a unique beginning of it.\n" +
			"A dump that is cancelled does not exist; of a restore, what is written stays. Ctrl-C ends the waiting only." +
			exitHelp(exitOK, exitFailed, exitUsage, exitResumable, exitAccess, exitInterrupted),
		Example: "  salvor cancel 0192f3c0 --queue redis://redis:6379/0",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return a.cancel(c.Context(), args[0]) },
	}
}

func (a *app) cancel(ctx context.Context, name string) error {
	if name == "" {
		return usagef("salvor watch and salvor runs name them", "which run?")
	}
	e, s, err := a.reachQueue(ctx)
	if err != nil {
		return err
	}
	defer func() { a.stopEngine(ctx, e) }()
	run, err := a.findActive(ctx, e, name)
	if err != nil {
		return err
	}
	if run == "" {
		return a.cancelAbsent(ctx, s, e, name)
	}
	if state, err := e.book.State(ctx, run); err == nil && state.State.Terminal() {
		return errEnded(run, string(state.State))
	}
	o, last, err := a.follow(ctx, e, s, coordinator.FollowRequest{Run: run, Cancel: true})
	state := o.State
	switch {
	case isGone(err):
		return a.cancelAbsent(ctx, s, e, run)
	case err != nil && ctx.Err() == nil && last == ledger.StateCancelled:
		// It is over all the same; its coordinator or a worker stores the report.
		a.console.problem("warning", err.Error())
		state = last
	case err != nil:
		return err
	}
	if state != ledger.StateCancelled {
		return errEnded(run, string(state))
	}
	if a.json {
		return a.printJSON(outcomeLine(o))
	}
	a.console.line("run %s was cancelled", run)
	return nil
}

// cancelAbsent says why a run that the ledger does not have cannot be cancelled.
func (a *app) cancelAbsent(ctx context.Context, s settings, e *engine, name string) error {
	r, err := a.endedRun(ctx, s, e, name)
	if err != nil {
		return err
	}
	if r.State == archive.StateOpen {
		return errLost(r.Run, e)
	}
	return errEnded(r.Run, r.State)
}
