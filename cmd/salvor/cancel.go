package main

import (
	"context"

	"github.com/spf13/cobra"

	"salvor/archive"
	"salvor/coordinator"
	"salvor/tasks/ledger"
)

func (a *app) cancelCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "cancel RUN",
		Short: "Cancel a run that any machine started, or one that was interrupted",
		Long: "Cancel a run of a queue, and wait until nothing of it runs any more. RUN is the run's id or a unique beginning of it.\n" +
			"A dump that is cancelled does not exist; of a restore, what is written stays. Ctrl-C ends the waiting only.\n\n" +
			"A run that is open in the archive and that nobody carries out any more (its process was killed) is given up, so that\n" +
			"nothing is kept for it. salvor resume RUN goes on with a cancelled run all the same, as long as that is there." +
			exitHelp(exitOK, exitFailed, exitUsage, exitMissing, exitAccess, exitCorrupt, exitInterrupted),
		Example: "  salvor cancel 0192f3c0 --queue redis://redis:6379/0\n  salvor cancel 0192f3c0 --archive /backups",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return a.cancel(c.Context(), args[0], force) },
	}
	c.Flags().BoolVar(&force, "force", false, "give it up although nobody can tell whether the process that ran it is gone")
	return c
}

func (a *app) cancel(ctx context.Context, name string, force bool) error {
	if name == "" {
		return usagef("salvor watch and salvor runs name them", "which run?")
	}
	s, err := a.settings(needQueue)
	if err != nil {
		return err
	}
	if s.queue == "" && s.archive == "" {
		return errNoQueue()
	}
	e, err := a.connect(ctx, s.queue)
	if err != nil {
		return err
	}
	defer func() { a.stopEngine(ctx, e) }()
	run, err := a.findActive(ctx, e, name)
	if err != nil {
		return err
	}
	if run == "" {
		return a.cancelAbsent(ctx, s, e, name, force)
	}
	if state, err := e.book.State(ctx, run); err == nil && state.State.Terminal() {
		return errEnded(run, string(state.State))
	}
	o, last, err := a.follow(ctx, e, s, coordinator.FollowRequest{Run: run, Cancel: true})
	state := o.State
	switch {
	case isGone(err):
		return a.cancelAbsent(ctx, s, e, run, force)
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

// cancelAbsent gives a run up that the ledger does not have, or says why that cannot be.
func (a *app) cancelAbsent(ctx context.Context, s settings, e *engine, name string, force bool) (err error) {
	if s.archive == "" {
		return errNotActive(e, name)
	}
	store, err := a.openArchive(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = also(err, store.Close()) }()
	r, err := store.Run(ctx, name)
	if err != nil {
		return err
	}
	if r.State != archive.StateOpen {
		return errEnded(r.Run, r.State)
	}
	o, err := e.Abandon(ctx, coordinator.ResumeRequest{Archive: store, Location: s.archive, Run: r, Force: force})
	switch {
	case err != nil:
		return err
	case o.State != ledger.StateCancelled:
		return errEnded(o.Run, string(o.State)) // it had committed before it was killed
	case a.json:
		return a.printJSON(outcomeLine(o))
	}
	a.console.line("run %s was cancelled", o.Run)
	return nil
}
