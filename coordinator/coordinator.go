// Package coordinator decides what a run does and sees it to its end: it makes the plan, writes it to the archive and the
// ledger, watches until no attempt lives, and leaves a report in the archive.
//
// # States of a run
//
// A run is open from its mark in the archive (runs/<run>.open) to its report (runs/<run>.json). In between the ledger is
// the authority; a coordinator that dies is replaced by any other process that sweeps the ledger, as workers do. A run that
// expands a set, see [Coordinator.Expand], has neither mark nor report: it is in the ledger alone.
//
// The package moves no data and knows no driver; workers do that. They meet in package tasks.
package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"salvor/archive"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/tasks/queue"
)

// Config is what a coordinator needs. All fields are required but Log.
type Config struct {
	Ledger  *ledger.Ledger
	Conn    *queue.Conn
	Drivers []tasks.Driver
	Version string // of the program, for reports
	// Exit returns a program's exit code for an outcome, for reports; nil reports 0.
	Exit func(Outcome) int
	Log  *slog.Logger
}

// Coordinator starts runs and watches them. It is safe for concurrent use.
type Coordinator struct {
	cfg    Config
	sender *queue.Sender
}

// New makes a coordinator.
func New(cfg Config) *Coordinator {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Coordinator{cfg: cfg, sender: queue.NewSender(cfg.Conn, cfg.Ledger)}
}

// ErrResumable is returned when the ledger lost a run before its end (Redis was emptied). What it stored is kept; nothing
// was committed.
var ErrResumable = errors.New("the queue lost the run before its end")

// NewRun returns a new run's id.
func NewRun() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make run id: %w", err)
	}
	return id.String(), nil
}

// Outcome is how a run ended.
type Outcome struct {
	Run       string          `json:"run"`
	Operation tasks.Operation `json:"operation"`
	Set       string          `json:"set"`
	Dump      string          `json:"dump"`
	// Capture is the name of the capture that was to be made.
	Capture string       `json:"capture,omitempty"`
	State   ledger.State `json:"state"`
	Started time.Time    `json:"started"`
	Ended   time.Time    `json:"ended"`
	// Nodes says what was done for each node that was finished, by the order of the plan.
	Nodes []tasks.NodeResult `json:"nodes,omitempty"`
	// Missing are nodes that a partial dump lacks.
	Missing  []string        `json:"missing,omitempty"`
	Failures []tasks.Failure `json:"failures,omitempty"`
	// Retries, Deaths and Epochs count attempts that were tried again, lost with their worker, and views that were opened again.
	Retries int `json:"retries,omitempty"`
	Deaths  int `json:"deaths,omitempty"`
	Epochs  int `json:"epochs,omitempty"`
	// Resumed counts how often the run was taken up again.
	Resumed int `json:"resumed,omitempty"`
	// Process is who saw the run to its end.
	Process Process `json:"process"`
	// Plan is a restore's, where it did not do all of it: to resume it.
	Plan *tasks.Plan `json:"plan,omitempty"`
	// Workers says how many tasks each worker finished, by node.
	Workers []ledger.WorkerCount `json:"workers,omitempty"`
}

// Whole tells whether everything that was asked for was done: no node is missing, no entry unreadable.
func (o Outcome) Whole() bool {
	if o.State != ledger.StateDone {
		return false
	}
	for _, n := range o.Nodes {
		if n.Unreadable > 0 {
			return false
		}
	}
	return true
}

// start gives a plan to the ledger and sends its first tasks.
func (c *Coordinator) start(ctx context.Context, plan tasks.Plan) error {
	ready, err := c.cfg.Ledger.Create(ctx, plan)
	if err != nil {
		return fmt.Errorf("start run %s: %w", plan.Run, err)
	}
	if err := c.sender.Send(ctx, ready); err != nil {
		// The run stands in the ledger, and the sweep sends its tasks.
		c.cfg.Log.WarnContext(ctx, "send failed; the sweep will send again", "run", plan.Run, "error", err)
	}
	return nil
}

// abandon ends a run whose plan makes no sense to the ledger.
func (c *Coordinator) abandon(ctx context.Context, a *archive.Archive, plan tasks.Plan) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelWait)
	defer stop()
	now := time.Now().UTC()
	o := outcomeOf(plan, ledger.StateFailed)
	o.Started, o.Ended = now, now
	if plan.Operation == tasks.OpRestore {
		o.Plan = &plan
	}
	return c.store(ctx, a, o)
}

// cancelWait bounds how long a cancelled run is waited for.
const cancelWait = 2 * time.Minute

// wait watches a run to its end. When ctx ends the run is cancelled, and waited for a while longer. It looks the
// more seldom the longer the run takes, but twenty times while an attempt beats once.
func (c *Coordinator) wait(ctx context.Context, run string, watch Watch) (ledger.RunState, error) {
	const soonest = 10 * time.Millisecond
	latest := c.cfg.Ledger.Options().Beat / 20
	started := time.Now()
	done := ctx.Done()
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	cancelled := true // or need not be
	var news news
	for {
		state, err := c.cfg.Ledger.State(ctx, run)
		switch {
		case errors.Is(err, ledger.ErrNoRun):
			return state, fmt.Errorf("watch run %s: %w", run, ErrResumable)
		case err != nil && ctx.Err() != nil:
			return state, fmt.Errorf("watch run %s: it did not end in %v after it was cancelled: %w", run, cancelWait, err)
		case err != nil:
			c.cfg.Log.WarnContext(ctx, "the ledger does not answer; trying again", "run", run, "error", err)
		default:
			watch(Progress{state, news.since(ctx, c.cfg.Ledger, run, state)})
			if state.State.Terminal() {
				return state, nil
			}
		}
		select {
		case <-done:
			done, cancelled = nil, false
			defer time.AfterFunc(cancelWait, stop).Stop()
		case <-time.After(max(min(time.Since(started)/20, latest), soonest)):
		}
		if !cancelled {
			if err := c.cancel(ctx, run); err != nil {
				c.cfg.Log.WarnContext(ctx, "the ledger does not take the cancel; trying again", "run", run, "error", err)
			} else {
				cancelled = true
			}
		}
	}
}

func (c *Coordinator) cancel(ctx context.Context, run string) error {
	err := c.cfg.Ledger.Cancel(ctx, run, tasks.Failure{Class: tasks.Permanent, Code: "cancelled", Message: "the run was cancelled"})
	if err != nil && !errors.Is(err, ledger.ErrNoRun) {
		return fmt.Errorf("cancel run %s: %w", run, err)
	}
	return nil
}

// conclude collects what the ledger knows of a run that ended, stores the report, and forgets the run.
func (c *Coordinator) conclude(ctx context.Context, a *archive.Archive, plan tasks.Plan, state ledger.RunState) Outcome {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelWait)
	defer stop()
	o, failed := c.collect(ctx, plan, state)
	if failed != nil {
		// Another process may have concluded the run, and the ledger forgot it meanwhile.
		if reported, err := Reported(ctx, a, plan.Run); err == nil {
			o, failed = reported, nil
		}
	}
	if failed = errors.Join(failed, c.settle(ctx, a, o)); failed != nil {
		c.cfg.Log.WarnContext(ctx, "the run ended, but its report is not complete", "run", plan.Run, "error", failed)
	}
	return o
}

// outcomeOf is what a plan alone says of how its run ended.
func outcomeOf(plan tasks.Plan, state ledger.State) Outcome {
	o := Outcome{Run: plan.Run, Operation: plan.Operation, Set: plan.Set, Dump: plan.Dump, State: state, Resumed: plan.Resumed}
	if plan.Capture != nil {
		o.Capture = plan.Capture.Capture
	}
	return o
}

// collect reads what the ledger knows of a run that ended. With an error the outcome is not complete.
func (c *Coordinator) collect(ctx context.Context, plan tasks.Plan, state ledger.RunState) (Outcome, error) {
	o := outcomeOf(plan, state.State)
	o.Started, o.Ended, o.Failures = state.StartedAt, state.EndedAt, state.Failures
	o.Retries, o.Deaths, o.Epochs = state.Retries, state.Deaths, state.Epochs
	if plan.Operation == tasks.OpRestore && state.State != ledger.StateDone {
		o.Plan = &plan
	}
	// The run has ended as it has: what fails from here on is no failure of it.
	var failed, err error
	for _, step := range plan.Steps {
		failed = errors.Join(failed, c.stepOutcome(ctx, step, &o))
	}
	if o.Workers, err = c.cfg.Ledger.Workers(ctx, plan.Run); err != nil {
		failed = errors.Join(failed, fmt.Errorf("read workers: %w", err))
	}
	return o, failed
}

// settle stores a run's report and forgets the run. Doing it twice is harmless. What cannot be stored is not forgotten: a worker
// may be able to store it later.
func (c *Coordinator) settle(ctx context.Context, a *archive.Archive, o Outcome) error {
	failed := c.store(ctx, a, o)
	if failed != nil && !errors.Is(failed, archive.ErrExists) {
		return failed
	}
	if err := c.cfg.Ledger.Forget(ctx, o.Run); err != nil {
		failed = errors.Join(failed, fmt.Errorf("remove the run from the ledger: %w", err))
	}
	return failed
}

// stepOutcome takes what a seal, commit or finish step answered.
func (c *Coordinator) stepOutcome(ctx context.Context, step tasks.Step, o *Outcome) error {
	switch step.Kind {
	case tasks.KindSeal, tasks.KindCommit, tasks.KindRecord:
	case tasks.KindFinish:
		if o.Operation == tasks.OpCapture {
			return nil // what was restored to be compared with is nobody's result
		}
	default:
		return nil
	}
	err := c.cfg.Ledger.Results(ctx, o.Run, step.ID, func(_ string, data json.RawMessage) error {
		if step.Kind == tasks.KindCommit {
			var r tasks.CommitResult
			err := json.Unmarshal(data, &r)
			o.Missing = r.Missing
			return err
		}
		var r tasks.NodeResult
		if err := json.Unmarshal(data, &r); err != nil {
			return err
		}
		r.Manifest = nil // it stands in the archive
		o.Nodes = append(o.Nodes, r)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read results of step %s: %w", step.ID, err)
	}
	return nil
}

// store leaves the report of the run's life in the archive.
func (c *Coordinator) store(ctx context.Context, a *archive.Archive, o Outcome) error {
	var err error
	if o.Process, err = c.self(); err != nil {
		return err
	}
	detail, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode report of run %s: %w", o.Run, err)
	}
	report := archive.Run{
		Run: o.Run, Life: o.Resumed + 1, Operation: string(o.Operation), Set: o.Set, Dump: o.Dump, State: string(o.State),
		Started: o.Started, Ended: o.Ended, Hostname: o.Process.Hostname, Version: c.cfg.Version, Detail: detail,
	}
	if c.cfg.Exit != nil {
		report.Exit = c.cfg.Exit(o)
	}
	if err := a.EndRun(ctx, report); err != nil {
		return fmt.Errorf("store report of run %s: %w", o.Run, err)
	}
	if o.Operation == tasks.OpCapture && o.State != ledger.StateDone {
		// Nobody resumes it: rows of a database do not stay behind.
		if err := a.DropCapture(ctx, archive.CaptureRef{Set: o.Set, Capture: o.Capture}); err != nil {
			return fmt.Errorf("remove what was captured: %w", err)
		}
	}
	if o.Operation != tasks.OpRestore || o.State != ledger.StateDone {
		return nil // it may be resumed
	}
	for _, n := range o.Nodes {
		if err := a.ForgetRestored(ctx, o.Run, n.Node); err != nil {
			return fmt.Errorf("store report of run %s: %w", o.Run, err)
		}
	}
	return nil
}
