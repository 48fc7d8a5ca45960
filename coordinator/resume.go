package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"salvor/archive"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// Errors of [Coordinator.Resume]. They have hints.
var (
	// ErrRunAlive is returned for a run that another process carries out, or may.
	ErrRunAlive = errors.New("it may still be carried out")
	// ErrElsewhere is returned for a run whose places are those of another machine, as far as is known.
	ErrElsewhere = errors.New("its places are another machine's")
	// ErrRunDone is returned for a run that ended with all that it could do.
	ErrRunDone = errors.New("the run is done")
)

// about is what the archive keeps of an open run.
type about struct {
	Operation tasks.Operation `json:"operation"`
	Set       string          `json:"set"`
	Dump      string          `json:"dump"`
	Resumed   int             `json:"resumed,omitempty"`
	Process   Process         `json:"process"`
	// Plan is a restore's plan; a dump's stands beside its data.
	Plan *tasks.Plan `json:"plan,omitempty"`
}

// aboutRun describes a run that this process opens.
func (c *Coordinator) aboutRun(plan *tasks.Plan) (json.RawMessage, error) {
	self, err := c.self()
	if err != nil {
		return nil, err
	}
	a := about{Operation: plan.Operation, Set: plan.Set, Dump: plan.Dump, Resumed: plan.Resumed, Process: self}
	if plan.Operation != tasks.OpDump {
		a.Plan = plan
	}
	data, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode run %s: %w", plan.Run, err)
	}
	return data, nil
}

// Self describes this process as the marks of its runs do.
func (c *Coordinator) Self() Process {
	p, err := c.self()
	if err != nil {
		return Process{}
	}
	return p
}

func (c *Coordinator) self() (Process, error) {
	if c.cfg.Conn.Embedded() {
		return thisProcess("")
	}
	return thisProcess(c.cfg.Conn.Where())
}

// ResumeRequest is a run that is to be taken up again.
type ResumeRequest struct {
	Archive  *archive.Archive
	Location string // how workers find the archive
	Run      archive.Run
	// Force goes on although the process that carried the run out may live. Whoever sets it has made sure that it does not.
	Force bool
	// Config is the set that the user has now; nil where there is none. See [Trusted].
	Config *tasks.Node
	// Started is called with the plan, before any work; its error ends the resume with nothing changed. It may give targets
	// of plan.Restore.Nodes a source again where that is empty: it named a program, which is not taken from an archive.
	Started func(*tasks.Plan) error
	// Confirm is called after Started with a plan that is to be carried out as the archive says: where others can write to that, it
	// is for the user to say whether these are the sources and targets. Its error ends the resume with nothing changed.
	Confirm func(tasks.Plan) error
	Watch   Watch
}

// Resume takes up a run that was interrupted, or that ended without having committed its dump or finished its restore. A
// run that the ledger still knows is only watched to its end.
//
// # What is done again
//
// Of a dump: nodes that are sealed are not; trees go on after the segments that are stored; streams start again, and so do all
// members of a group that is frozen together unless all of them are sealed. Of a restore: nodes that are restored are not,
// whatever was written to them since; of the others, what a target holds already is not written again.
//
// The run keeps its id. Errors: [ErrRunAlive], [ErrRunDone], those of the archive. See [Coordinator.Dump] for the outcome.
func (c *Coordinator) Resume(ctx context.Context, r ResumeRequest) (Outcome, error) {
	past, err := c.past(ctx, r)
	if err != nil {
		return Outcome{}, err
	}
	plan := past.plan
	switch state, err := c.cfg.Ledger.State(ctx, plan.Run); {
	case err == nil && !past.open && state.State.Terminal():
		// Its report is stored, and nobody has made the ledger forget it yet.
		if err := c.cfg.Ledger.Forget(ctx, plan.Run); err != nil {
			return Outcome{}, fmt.Errorf("begin run %s anew: %w", plan.Run, err)
		}
	case err == nil:
		return c.followResumed(ctx, r)
	case !errors.Is(err, ledger.ErrNoRun):
		return Outcome{}, fmt.Errorf("look up run %s: %w", plan.Run, err)
	}
	if err := c.mayTakeOver(r, past); err != nil {
		return Outcome{}, err
	}
	if plan.Operation == tasks.OpCapture {
		return Outcome{}, errNotResumed(plan.Run)
	}
	if past.empty {
		return Outcome{}, &resumeError{
			fmt.Errorf("resume run %s: %w: it was killed before it began", plan.Run, archive.ErrInvalid),
			"dump anew; salvor cancel " + plan.Run + " makes an end of it",
		}
	}
	if plan.Operation == tasks.OpDump {
		if done, err := c.committed(ctx, r.Archive, plan); done != nil || err != nil {
			return c.reportCommitted(ctx, r.Archive, past, done, err)
		}
	}
	plan.Archive, plan.Resumed = r.Location, past.resumed+1
	if plan.Contract == 1 {
		plan.Contract = tasks.Contract // which differs by runs that are not resumed
	}
	c.distrust(&plan, r.Config)
	if r.Started != nil {
		if err := r.Started(&plan); err != nil {
			return Outcome{}, err
		}
	}
	if err := c.checkTrust(ctx, r.Archive, plan); err != nil {
		return Outcome{}, err
	}
	if err := checkLook(ctx, r.Archive, plan, r.Run.Started); err != nil {
		return Outcome{}, err
	}
	if r.Confirm != nil {
		if err := r.Confirm(plan); err != nil {
			return Outcome{}, err
		}
	}
	if err := c.claim(ctx, r.Archive, plan); err != nil {
		return Outcome{}, err
	}
	if plan.Operation == tasks.OpDump {
		// Only now: before, the life before this one may have sealed a node more.
		rest, again, err := c.rest(ctx, r.Archive, plan)
		if err != nil {
			return Outcome{}, err
		}
		for _, node := range again {
			if err := r.Archive.Unseal(ctx, archive.Ref{Set: plan.Set, Dump: plan.Dump}, node); err != nil {
				return Outcome{}, fmt.Errorf("open node %s again: %w", node, err)
			}
		}
		plan = rest
	} else {
		restored, err := restoredBefore(ctx, r.Archive, plan)
		if err == nil {
			err = withoutRestored(&plan, restored)
		}
		if err != nil {
			return Outcome{}, err
		}
	}
	return c.carryOut(ctx, r.Archive, plan, nil, r.Watch)
}

// checkLook refuses to go on with a restore that may drop what is in its targets' places and ended before it looked at them, if
// another restore began since: what is there now may be that one's.
func checkLook(ctx context.Context, a *archive.Archive, plan tasks.Plan, started time.Time) error {
	if plan.Operation != tasks.OpRestore || !plan.Restore.Clean {
		return nil
	}
	looked := true
	for node := range plan.Restore.Nodes {
		found, err := a.HasFound(ctx, plan.Run, node)
		if err != nil {
			return fmt.Errorf("look for what was found: %w", err)
		}
		looked = looked && found
	}
	if looked {
		return nil
	}
	runs, err := a.Runs(ctx)
	if err != nil {
		return fmt.Errorf("look for other runs: %w", err)
	}
	for _, other := range runs {
		if other.Operation == string(tasks.OpRestore) && other.Run != plan.Run && other.Started.After(started) {
			return &resumeError{
				fmt.Errorf("resume run %s: %w: it ended before it looked at its targets, and run %s has restored since", plan.Run, archive.ErrInvalid, other.Run),
				"begin a new restore, if what is there now shall be dropped",
			}
		}
	}
	return nil
}

// claim begins the run's next life. Of two who do so at once, one gets [ErrRunAlive].
func (c *Coordinator) claim(ctx context.Context, a *archive.Archive, plan tasks.Plan) error {
	mark, err := c.aboutRun(&plan)
	if err != nil {
		return err
	}
	ref := archive.Ref{}
	if plan.Operation == tasks.OpDump {
		ref = archive.Ref{Set: plan.Set, Dump: plan.Dump}
	}
	err = a.Reopen(ctx, plan.Run, plan.Resumed+1, ref, mark)
	if errors.Is(err, archive.ErrExists) {
		return &resumeError{
			fmt.Errorf("resume run %s: %w: another process has just taken it up", plan.Run, ErrRunAlive), "wait for that process, or end it first",
		}
	}
	if err != nil {
		return fmt.Errorf("open run %s again: %w", plan.Run, err)
	}
	return nil
}

// distrust takes out of a plan that was read from an archive what names programs, see [Trusted].
func (c *Coordinator) distrust(plan *tasks.Plan, config *tasks.Node) {
	plan.Root = Trusted(&plan.Root, config, c.cfg.Drivers)
	if plan.Restore == nil {
		return
	}
	nodes := maps.Clone(plan.Restore.Nodes)
	for path, n := range plan.Root.Walk() {
		target, ok := nodes[path]
		if !ok || !c.executes(target.Driver) {
			continue
		}
		target.Source = ""
		if !target.Elsewhere {
			target.Source = n.Source
		}
		nodes[path] = target
	}
	restore := *plan.Restore
	restore.Nodes = nodes
	plan.Restore = &restore
}

// checkTrust refuses a plan that still lacks what distrust took, for what is left to do of it.
func (c *Coordinator) checkTrust(ctx context.Context, a *archive.Archive, plan tasks.Plan) error {
	rest := plan
	if plan.Operation == tasks.OpDump {
		var err error
		if rest, _, err = c.rest(ctx, a, plan); err != nil {
			return err
		}
	}
	working := make(map[string]bool)
	for _, s := range rest.Steps {
		if s.Kind == tasks.KindPart || s.Kind == tasks.KindLoad {
			working[s.Node] = true
		}
	}
	for path, n := range plan.Root.Walk() {
		switch {
		case !working[path]:
		case plan.Restore == nil:
			if c.executes(n.Driver) && Unnamed(n) {
				return untrustedSource(path)
			}
		case c.executes(plan.Restore.Nodes[path].Driver):
			if target := plan.Restore.Nodes[path]; target.Source == "" && (target.Elsewhere || Unnamed(n)) {
				return untrusted(path)
			}
		}
	}
	return nil
}

func (c *Coordinator) executes(driver string) bool {
	return slices.ContainsFunc(c.cfg.Drivers, func(d tasks.Driver) bool { return d.Name == driver && d.Executes })
}

// pastRun is what the archive knows of a run.
type pastRun struct {
	plan    tasks.Plan // of a run that was killed before it stored one only the names
	empty   bool       // there is no plan
	resumed int
	open    bool
	process Process
}

// past reads what the archive knows of a run.
func (c *Coordinator) past(ctx context.Context, r ResumeRequest) (pastRun, error) {
	p := pastRun{open: r.Run.State == archive.StateOpen, resumed: max(r.Run.Life, 1) - 1}
	var a about
	if p.open && len(r.Run.Detail) > 0 {
		if err := json.Unmarshal(r.Run.Detail, &a); err != nil {
			return p, fmt.Errorf("%w: mark of run %s: %w", archive.ErrCorrupt, r.Run.Run, err)
		}
		p.process = a.Process
	}
	var ended Outcome
	if !p.open {
		if err := json.Unmarshal(r.Run.Detail, &ended); err != nil {
			return p, fmt.Errorf("%w: report of run %s: %w", archive.ErrCorrupt, r.Run.Run, err)
		}
		p.process = ended.Process
		if s := ledger.State(r.Run.State); s == ledger.StateDone || s == ledger.StatePartial && r.Run.Operation == string(tasks.OpDump) {
			return p, fmt.Errorf("resume run %s: %w", r.Run.Run, ErrRunDone)
		}
	}
	if r.Run.Dump != "" && (r.Run.Operation == "" || r.Run.Operation == string(tasks.OpDump)) {
		var err error
		p.plan, err = StoredPlan(ctx, r.Archive, archive.Ref{Set: r.Run.Set, Dump: r.Run.Dump})
		if errors.Is(err, archive.ErrNoDump) && p.open {
			p.empty, err = true, nil
			p.plan = tasks.Plan{Run: r.Run.Run, Operation: tasks.OpDump, Set: r.Run.Set, Dump: r.Run.Dump}
		}
		if err == nil && p.plan.Run != r.Run.Run {
			err = fmt.Errorf("resume run %s: %w: dump %s is of run %s", r.Run.Run, archive.ErrInvalid, r.Run.Dump, p.plan.Run)
		}
		return p, err
	}
	plan := a.Plan
	if !p.open {
		plan = ended.Plan
	}
	if r.Run.Operation == string(tasks.OpCapture) || plan != nil && plan.Operation == tasks.OpCapture {
		p.plan = tasks.Plan{Run: r.Run.Run, Operation: tasks.OpCapture, Set: r.Run.Set, Dump: r.Run.Dump}
		if plan != nil && plan.Run == r.Run.Run {
			p.plan = *plan
		}
		return p, nil
	}
	if plan == nil || plan.Run != r.Run.Run || plan.Operation != tasks.OpRestore {
		return p, fmt.Errorf("resume run %s: %w: what it was to do is not stored", r.Run.Run, archive.ErrInvalid)
	}
	p.plan = *plan
	return p, nil
}

// mayTakeOver refuses a run that somebody else may be carrying out, and one whose places are another machine's.
func (c *Coordinator) mayTakeOver(r ResumeRequest, past pastRun) error {
	if r.Force {
		return nil
	}
	self, err := c.self()
	if err != nil {
		return err
	}
	p := past.process
	refuse := func(hint, format string, args ...any) error {
		return &resumeError{fmt.Errorf("run %s: %w: "+format, append([]any{past.plan.Run, ErrRunAlive}, args...)...), hint}
	}
	if p.Queue != self.Queue {
		if p.Queue == "" {
			return refuse("resume it where it ran, without --queue; or --force", "it ran in %s, not on a queue", p)
		}
		return refuse("name its queue with --queue; --force if that is gone for good", "it ran on %s", p)
	}
	if !past.open {
		if p.Queue == "" && (p.Hostname != self.Hostname || p.Machine != self.Machine) {
			return &resumeError{
				fmt.Errorf("resume run %s: %w: it ran on %s, and this is %s", past.plan.Run, ErrElsewhere, p.Hostname, self.Hostname),
				"resume it there; --force if its places are the same here",
			}
		}
		return nil
	}
	switch p.life(self) {
	case lifeOver:
		return nil
	case lifeGoesOn:
		return refuse(fmt.Sprintf("wait for it, or end it: kill %d", p.PID), "process %d on this machine carries it out", p.PID)
	default:
		if p.Queue != "" {
			return nil // the ledger there does not know it any more, so its coordinator and its workers have let go
		}
		return refuse("make sure that it is gone, then --force", "%s carried it out, and from here nobody can tell whether it lives", p)
	}
}

// resumeError is an error with a hint.
type resumeError struct {
	error
	hint string
}

func (e *resumeError) Unwrap() error { return e.error }

// Hint returns what the user can do.
func (e *resumeError) Hint() string { return e.hint }

// followResumed sees a run to its end that the ledger still knows. When ctx ends the watching ends, not the run.
func (c *Coordinator) followResumed(ctx context.Context, r ResumeRequest) (Outcome, error) {
	plan, err := c.cfg.Ledger.Plan(ctx, r.Run.Run)
	if err != nil {
		return Outcome{}, fmt.Errorf("read plan of run %s: %w", r.Run.Run, err)
	}
	if r.Started != nil {
		if err := r.Started(&plan); err != nil {
			return Outcome{}, err
		}
	}
	state, err := c.untilOver(ctx, plan.Run, orphaned, watchOrNothing(r.Watch))
	if err != nil && !errors.Is(err, ledger.ErrNoRun) {
		return Outcome{}, err
	}
	return c.ended(ctx, r.Archive, plan, state, err == nil)
}

// committed returns the manifest of the run's dump, nil where there is none.
func (c *Coordinator) committed(ctx context.Context, a *archive.Archive, plan tasks.Plan) (*archive.Manifest, error) {
	m, err := a.Manifest(ctx, archive.Ref{Set: plan.Set, Dump: plan.Dump})
	if errors.Is(err, archive.ErrNoDump) {
		return nil, nil //nolint:nilnil // no dump is an ordinary answer
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest of dump %s: %w", plan.Dump, err)
	}
	return &m, nil
}

// reportCommitted ends a run that died between its commit and its report, or whose report says otherwise.
func (c *Coordinator) reportCommitted(ctx context.Context, a *archive.Archive, past pastRun, m *archive.Manifest, err error) (Outcome, error) {
	if err != nil {
		return Outcome{}, err
	}
	plan := past.plan
	plan.Resumed = past.resumed
	if !past.open {
		plan.Resumed++
		if err := c.claim(ctx, a, plan); err != nil {
			return Outcome{}, err
		}
	}
	o := outcomeOf(plan, ledger.StateDone)
	o.Missing, o.Started, o.Ended = m.Missing, m.Started, m.Ended
	if m.Partial {
		o.State = ledger.StatePartial
	}
	for _, n := range m.Nodes {
		o.Nodes = append(o.Nodes, tasks.NodeResult{
			Node: n.Path, Driver: n.Driver, Parts: n.Parts, Entries: n.Entries, Bytes: n.Bytes, Stored: n.Stored, Reused: n.Reused,
			Unreadable: n.Unreadable, Vanished: n.Vanished,
		})
	}
	if err := c.store(ctx, a, o); err != nil {
		return Outcome{}, err
	}
	return o, nil
}

// Abandon ends a run that nobody carries out any more and that is not to be resumed, so that nothing is kept for it. What
// it stored stays until it is pruned. It refuses runs as [Coordinator.Resume] does.
func (c *Coordinator) Abandon(ctx context.Context, r ResumeRequest) (Outcome, error) {
	past, err := c.past(ctx, r)
	if err != nil {
		return Outcome{}, err
	}
	if !past.open {
		return Outcome{}, fmt.Errorf("cancel run %s: %w", r.Run.Run, ErrRunDone)
	}
	if err := c.mayTakeOver(r, past); err != nil {
		return Outcome{}, err
	}
	plan := past.plan
	if plan.Operation == tasks.OpDump {
		if done, err := c.committed(ctx, r.Archive, plan); done != nil || err != nil {
			return c.reportCommitted(ctx, r.Archive, past, done, err)
		}
	}
	o := outcomeOf(plan, ledger.StateCancelled)
	o.Resumed, o.Started, o.Ended = past.resumed, r.Run.Started, time.Now().UTC()
	if plan.Operation == tasks.OpRestore {
		o.Plan = &plan
	}
	if err := c.store(ctx, r.Archive, o); err != nil {
		return Outcome{}, err
	}
	return o, nil
}
