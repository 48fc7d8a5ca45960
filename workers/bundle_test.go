package workers_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

// TestBundlesOfAnotherHost: an attempt at a preparation that dies after it added its tasks is followed by one on a host with another
// number of processors, which puts the parts together as the first did.
func TestBundlesOfAnotherHost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	from := b.site.place("from")
	from.exists = true
	for i := range 20 {
		from.parts[fmt.Sprintf("part%02d", i)] = fmt.Sprint("content ", i)
	}
	first := b.worker(t, "w1")
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", tasks.Node{Name: "db", Driver: "bundles", Source: "from"})
	if s := b.run(t, dump); s.State != ledger.StateDone {
		t.Fatalf("dump ended %+v", s)
	}
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}

	plan := b.restorePlan(t, dump, tasks.Restore{Nodes: into("set/db", "bundles", "to")})
	ready, err := b.ledger.Create(t.Context(), plan)
	claim := func() ledger.Claim {
		t.Helper()
		if err != nil || len(ready) != 1 {
			t.Fatalf("%d tasks are ready: %v", len(ready), err)
		}
		c, err := b.ledger.Claim(t.Context(), ready[0].Run, ready[0].Task, ready[0].Attempt, "gone")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ready, err = b.ledger.Finish(t.Context(), claim(), json.RawMessage("{}"), tasks.Progress{})
	c := claim()
	growth := ledger.Growth{Step: "load:set/db", Close: true, Checkpoint: json.RawMessage(`{"side_by_side":7}`)}
	for _, at := range []int{0, 7, 14} {
		s := tasks.LoadSpec{Index: at}
		for i := at + 1; i < min(at+7, 20); i++ {
			s.Also = append(s.Also, i)
		}
		growth.Tasks = append(growth.Tasks, tasks.Task{ID: fmt.Sprintf("load:set/db:%06d", at), Kind: tasks.KindLoad, Node: "set/db", Spec: spec(t, s)})
	}
	if _, err := b.ledger.Grow(t.Context(), c, growth); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ledger.Fail(t.Context(), c, tasks.Failure{Class: tasks.Transient, Message: "its host is gone"}); err != nil {
		t.Fatal(err)
	}
	b.worker(t, "w2")
	if s := b.wait(t, plan.Run); s.State != ledger.StateDone {
		t.Errorf("restore ended %+v", s)
	}
	if to := b.site.place("to"); len(to.parts) != len(from.parts) {
		t.Errorf("%d parts were loaded, of %d", len(to.parts), len(from.parts))
	}
}
