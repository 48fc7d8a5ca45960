package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"salvor/archive"
	"salvor/tasks"
)

// CaptureRequest is a capture that is asked for.
type CaptureRequest struct {
	Archive  *archive.Archive
	Location string // how workers find the archive
	Set      string
	Dump     string // that is compared with; "" for none
	Node     tasks.Node
	// Capture is what is asked for; its name is chosen here.
	Capture tasks.Capture
	Started func(tasks.Plan)
	Watch   Watch
}

// Capture captures what became of a database since a dump. See [Coordinator.Dump] for its results. The capture exists if and only if its
// document does, whatever became of the run: what it made may have to be removed by hand.
func (c *Coordinator) Capture(ctx context.Context, r CaptureRequest) (Outcome, error) {
	run, err := NewRun()
	if err != nil {
		return Outcome{}, err
	}
	if r.Capture.Capture, err = r.Archive.NewCaptureID(ctx, r.Set); err != nil {
		return Outcome{}, fmt.Errorf("name capture: %w", err)
	}
	plan, err := PlanCapture(CaptureInput{
		Run: run, Archive: r.Location, Set: r.Set, Dump: r.Dump, Node: r.Node, Capture: r.Capture, Drivers: c.cfg.Drivers,
	})
	if err != nil {
		return Outcome{}, err
	}
	mark, err := c.aboutRun(&plan)
	if err != nil {
		return Outcome{}, err
	}
	if err := r.Archive.OpenRun(ctx, plan.Run, mark); err != nil {
		return Outcome{}, fmt.Errorf("open run %s: %w", plan.Run, err)
	}
	return c.carryOut(ctx, r.Archive, plan, r.Started, r.Watch)
}

// leastMargin is what is taken off the moment of a dump at least: clocks differ.
const leastMargin = 5 * time.Minute

// DumpMoment is the moment that a node's dump shows, by the database's own clock where it has one, and the margin that must be taken
// off before times of rows are compared with it: a transaction that was open then gave its rows times from before, and is not in the dump.
func DumpMoment(n archive.NodeManifest) (moment time.Time, margin time.Duration) {
	var facts struct {
		Clock  time.Time `json:"clock"`
		Oldest time.Time `json:"oldest_transaction"`
	}
	moment, margin = n.Started, leastMargin
	if json.Unmarshal(n.Facts, &facts) != nil || facts.Clock.IsZero() {
		return moment, margin
	}
	if !facts.Oldest.IsZero() {
		margin = max(margin, facts.Clock.Sub(facts.Oldest))
	}
	return facts.Clock, margin
}

// MarginWithoutDump is the margin where a user names the moment.
const MarginWithoutDump = leastMargin

// errNotResumed tells that a capture is begun anew.
func errNotResumed(run string) error {
	return &resumeError{
		fmt.Errorf("resume run %s: %w: captures are not resumed", run, archive.ErrInvalid),
		"nothing of it is kept: capture again; salvor cancel " + run + " makes an end of it",
	}
}
