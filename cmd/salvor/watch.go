package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"salvor/archive"
	"salvor/coordinator"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// progressLine is how a run stands, as `watch --json` prints it.
type progressLine struct {
	Type       string       `json:"type"`
	Run        string       `json:"run"`
	Operation  string       `json:"operation"`
	Set        string       `json:"set"`
	Dump       string       `json:"dump"`
	State      ledger.State `json:"state"`
	Percent    int          `json:"percent"`
	Tasks      int          `json:"tasks"`
	TasksDone  int          `json:"tasks_done"`
	Weight     int64        `json:"weight"`
	WeightDone int64        `json:"weight_done"`
	Entries    int64        `json:"entries"`
	Bytes      int64        `json:"bytes"`
	Live       int          `json:"live"`
	Retries    int          `json:"retries"`
	Deaths     int          `json:"deaths"`
	Epochs     int          `json:"epochs"`
}

func (a *app) watchCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "watch [RUN]",
		Short: "Follow a run that any machine started, to its end",
		Long: "Follow a run of a queue as the command that started it does, and end with the exit status of the run. RUN is the run's\n" +
			"id or a unique beginning of it; it may be left out where only one run is active. Of a run that has ended, the archive\n" +
			"tells how. Ctrl-C ends the watching, not the run; salvor cancel does that." +
			exitHelp(exitOK, exitFailed, exitUsage, exitIncomplete, exitUnproven, exitResumable, exitMissing, exitAccess, exitCorrupt, exitInterrupted),
		Example: "  salvor watch --queue redis://redis:6379/0\n  salvor watch 0192f3c0 --json",
		Args:    cobra.MaximumNArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return a.watch(c.Context(), firstArg(args)) },
	}
}

// firstArg is the only argument, "" where there is none.
func firstArg(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (a *app) watch(ctx context.Context, name string) error {
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
		return a.watchEnded(ctx, s, e, name)
	}
	o, _, err := a.follow(ctx, e, s, coordinator.FollowRequest{Run: run})
	if err != nil {
		return resumable(err, run)
	}
	return a.reportEnd(o)
}

// findActive returns the run of the ledger that a name means; "" where it has none of that name.
func (a *app) findActive(ctx context.Context, e *engine, name string) (string, error) {
	runs, states, err := e.Active(ctx)
	if err != nil {
		return "", err
	}
	var fit []string
	for _, run := range runs {
		if run == name {
			return run, nil
		}
		if strings.HasPrefix(run, name) && (name != "" || !states[run].State.Terminal()) {
			fit = append(fit, run)
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) > 1 && name == "":
		return "", usagef("name one of them", "%s are active: %s", plural(int64(len(fit)), "run", "runs"), strings.Join(fit, ", "))
	case len(fit) > 1:
		return "", usagef("write more of the id", "run %s could be %s", quoteName(name), strings.Join(fit, ", "))
	case name == "":
		return "", usagef("salvor runs lists what was done with an archive", "no run is active on %s", e.conn.Where())
	}
	return "", nil
}

// endedRun finds the report of a run that the ledger does not have.
func (a *app) endedRun(ctx context.Context, s settings, e *engine, name string) (_ archive.Run, err error) {
	if s.archive == "" {
		return archive.Run{}, errNotActive(e, name)
	}
	store, err := a.openArchive(ctx, s)
	if err != nil {
		return archive.Run{}, err
	}
	defer func() { err = also(err, store.Close()) }()
	return store.Run(ctx, name)
}

// errNotActive is returned for a run that the queue does not have.
func errNotActive(e *engine, name string) error {
	return usagef("salvor workers and salvor watch name those that are active; with --archive, those that have ended are found too",
		"%s has no run %s", e.conn.Where(), quoteName(name))
}

// watchEnded says how a run ended that the ledger does not have.
func (a *app) watchEnded(ctx context.Context, s settings, e *engine, name string) error {
	r, err := a.endedRun(ctx, s, e, name)
	if err != nil {
		return err
	}
	if r.State == archive.StateOpen {
		if p := coordinator.ProcessOf(r); p.PID != 0 && p.Queue != e.Self().Queue {
			return usagef("salvor runs tells how it ended", "run %s is not on %s: it is in %s", r.Run, e.conn.Where(), p)
		}
		return errLost(r.Run, e)
	}
	o, err := runOutcome(r)
	if err != nil {
		return err
	}
	return a.reportEnd(o)
}

// follow shows a run's progress until its end. It also returns the last state that was seen.
func (a *app) follow(ctx context.Context, e *engine, s settings, r coordinator.FollowRequest) (coordinator.Outcome, ledger.State, error) {
	progress := a.newProgress(ctx, e)
	defer progress.end()
	var (
		plan tasks.Plan
		last ledger.RunState
		told time.Time
	)
	r.Archive = func(ctx context.Context, place string) (*archive.Archive, error) {
		got, err := a.existingArchive(ctx, place)
		if err != nil && s.archive != "" && s.archive != place {
			return a.existingArchive(ctx, s.archive) // as this machine sees it
		}
		return got, err
	}
	r.Started = func(p tasks.Plan) {
		plan = p
		progress.begin(p)
	}
	r.Watch = func(state coordinator.Progress) {
		changed := state.State != last.State
		last = state.RunState
		progress.update(state)
		now := a.env.now()
		if !a.json || r.Cancel || !changed && now.Sub(told) < time.Second {
			return
		}
		told = now
		_ = a.printJSON(progressLineOf(plan, state.RunState)) // that nobody reads it any more is told by the run's own line
		_ = a.out.Flush()
	}
	o, err := e.Follow(ctx, r)
	return o, last.State, err
}

func progressLineOf(plan tasks.Plan, s ledger.RunState) progressLine {
	return progressLine{
		Type: "progress", Run: plan.Run, Operation: string(plan.Operation), Set: plan.Set, Dump: plan.Dump, State: s.State,
		Percent: percentOf(s), Tasks: s.Tasks, TasksDone: s.TasksDone, Weight: s.Weight, WeightDone: s.WeightDone,
		Entries: s.Entries, Bytes: s.Bytes, Live: s.Live, Retries: s.Retries, Deaths: s.Deaths, Epochs: s.Epochs,
	}
}

// reportEnd says how a run ended, and ends the command as the run did.
func (a *app) reportEnd(o coordinator.Outcome) error {
	code := exitOfOutcome(o)
	a.reportFailures(o.Failures)
	if a.json {
		if err := a.printJSON(outcomeLine(o)); err != nil {
			return err
		}
	} else {
		text := fmt.Sprintf("%s %s: %s after %s", o.Operation, cmp.Or(o.Dump, o.Set), o.State, formatDuration(o.Ended.Sub(o.Started)))
		if o.Operation != tasks.OpExpand {
			text += "; salvor show " + o.Run + " tells more"
		}
		a.console.line("%s", text)
	}
	if code != exitOK {
		return &exitError{code}
	}
	return nil
}

// outcomeLine is a run as `runs --json` prints it.
func outcomeLine(o coordinator.Outcome) runLine {
	l := runLine{
		Type: "run", Run: o.Run, Operation: string(o.Operation), Set: o.Set, Dump: o.Dump, State: string(o.State), Started: o.Started,
		Ended: o.Ended, Seconds: o.Ended.Sub(o.Started).Seconds(), Nodes: len(o.Nodes), Failures: len(o.Failures),
	}
	for _, n := range o.Nodes {
		l.Bytes += n.Bytes
	}
	return l
}

// errEnded is returned for a run that cannot be cancelled any more.
func errEnded(run string, state string) error {
	return usagef("salvor show "+run+" tells how it went", "run %s has ended already: %s", run, state)
}

// errLost is returned for a run that is open in the archive and that the queue does not have.
func errLost(run string, e *engine) error {
	return resumable(fmt.Errorf("run %s is open, but %s does not have it: %w", run, e.conn.Where(), coordinator.ErrResumable), run)
}

// isGone tells whether the ledger does not have a run.
func isGone(err error) bool { return errors.Is(err, ledger.ErrNoRun) }
