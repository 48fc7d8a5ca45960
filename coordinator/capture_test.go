package coordinator_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/archive"
	"salvor/coordinator"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

func captureInput(base *tasks.CaptureBase, dump string) coordinator.CaptureInput {
	return coordinator.CaptureInput{
		Run: "run", Archive: "/archive", Set: "site", Dump: dump,
		Node:    tasks.Node{Name: "other", Driver: "postgres", Source: "${URL}", Host: "web-1", Limit: 3},
		Capture: tasks.Capture{Node: "site/databases/main", Capture: "c20261122-043000-7f3a", Base: base},
		Drivers: []tasks.Driver{{Name: "postgres", Holds: true, PlaceKeys: []string{"database"}}},
	}
}

// A plan's steps, each with what it needs.
func shape(p tasks.Plan) map[string][]string {
	steps := make(map[string][]string)
	for _, s := range p.Steps {
		steps[s.ID] = append([]string{}, s.Needs...)
	}
	return steps
}

func TestPlanCapture(t *testing.T) {
	t.Parallel()
	const node = "site/databases/main"
	base := &tasks.CaptureBase{Driver: "postgres", Source: "${URL}", Options: json.RawMessage(`{"database":"x","chunk":1}`), Host: "web-1", Scratch: "salvor_drill_1"}
	in := captureInput(base, "20261122-043000-7f3a")
	plan, err := coordinator.PlanCapture(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := ledger.Validate(plan); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"check:" + node: {}, "prepare:" + node: {"check:" + node}, "load:" + node: {"check:" + node}, "finish:" + node: {"prepare:" + node, "load:" + node},
		"observe:" + node: {"finish:" + node}, "compare:" + node: {"finish:" + node}, "record:" + node: {"observe:" + node, "compare:" + node}, "drop:" + node: {"observe:" + node},
	}
	if diff := cmp.Diff(want, shape(plan)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	path, live, err := plan.Root.Find("main")
	if err != nil || path != node || live.Source != "${URL}" || live.Limit != 3 {
		t.Errorf("node %s %+v, %v", path, live, err)
	}
	if got := string(plan.Capture.Base.Options); got != `{"chunk":1}` {
		t.Errorf("options of what is compared with: %s", got)
	}
	if string(base.Options) != `{"database":"x","chunk":1}` {
		t.Errorf("the input was changed: %s", base.Options)
	}
	for _, s := range plan.Steps {
		if s.ID == "drop:"+node && !s.Tolerant {
			t.Error("what was made is dropped only where all went well")
		}
	}
	again, err := coordinator.PlanCapture(in)
	if diff := cmp.Diff(plan, again, cmp.AllowUnexported(tasks.Node{}.Literal)); diff != "" || err != nil {
		t.Errorf("equal inputs, other plans: %v\n%s", err, diff)
	}

	for name, in := range map[string]coordinator.CaptureInput{
		"nothing to compare with": captureInput(nil, ""), "another database": captureInput(&tasks.CaptureBase{Driver: "postgres", Source: "x"}, ""),
	} {
		plan, err := coordinator.PlanCapture(in)
		if err != nil || len(plan.Steps) != 3 || plan.Restore != nil || ledger.Validate(plan) != nil {
			t.Errorf("%s: %d steps, %v, %v", name, len(plan.Steps), err, ledger.Validate(plan))
		}
	}
	for name, in := range map[string]coordinator.CaptureInput{
		"a dump without a place for it": captureInput(&tasks.CaptureBase{Driver: "postgres", Source: "x"}, "20261122-043000-7f3a"),
		"a place without a dump":        captureInput(base, ""),
		"no run":                        {Archive: "a", Set: "s"},
	} {
		if _, err := coordinator.PlanCapture(in); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	unknown := captureInput(nil, "")
	unknown.Node.Driver = "pg"
	if _, err := coordinator.PlanCapture(unknown); err == nil {
		t.Error("an unknown driver: no error")
	}
}

// The margin is the age of the oldest transaction that was open, and five minutes at least.
func TestDumpMoment(t *testing.T) {
	t.Parallel()
	started := time.Date(2026, 11, 22, 4, 30, 0, 0, time.UTC)
	for facts, want := range map[string]struct {
		moment time.Time
		margin time.Duration
	}{
		``:                                 {started, 5 * time.Minute},
		`{"x":1}`:                          {started, 5 * time.Minute},
		`{"clock":1}`:                      {started, 5 * time.Minute},
		`{"clock":"2026-11-22T05:00:00Z"}`: {started.Add(30 * time.Minute), 5 * time.Minute},
		`{"clock":"2026-11-22T05:00:00Z","oldest_transaction":"2026-11-22T04:59:59Z"}`:   {started.Add(30 * time.Minute), 5 * time.Minute},
		`{"clock":"2026-11-22T05:00:00Z","oldest_transaction":"2026-11-21T05:00:00Z"}`:   {started.Add(30 * time.Minute), 24 * time.Hour},
		`{"clock":"2026-11-22T05:00:00Z","oldest_transaction":"2026-11-22T05:00:01.5Z"}`: {started.Add(30 * time.Minute), 5 * time.Minute},
	} {
		moment, margin := coordinator.DumpMoment(archive.NodeManifest{Started: started, Facts: json.RawMessage(facts)})
		if !moment.Equal(want.moment) || margin != want.margin {
			t.Errorf("%s: %s, %s", facts, moment, margin)
		}
	}
}
