package ledger_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

func TestRunFromCreateToForget(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		p := plan("r1", step("a", nil, "a1", "a2"), step("b", needs("a"), "b1"), step("none", needs("b")))
		p.Steps[0].Tasks[1].Weight = 7
		p.Steps[0].Tasks[1].Route = tasks.Route{Hold: true, Host: "h", Worker: ""}
		ready := f.create(p)
		wantNames(t, ready, "a2", "a1") // the heavier first
		if ready[0].Route != p.Steps[0].Tasks[1].Route {
			t.Errorf("route is %+v", ready[0].Route)
		}
		f.is("r1", ledger.StateRunning)

		c := f.claim(ready[0])
		if diff := cmp.Diff(p.Steps[0].Tasks[1], c.Task); diff != "" {
			t.Errorf("claimed task (-want +got):\n%s", diff)
		}
		if c.Step != "a" || c.Epoch != 1 || c.Try != 1 || c.Checkpoint != nil || len(c.Token) != 32 {
			t.Errorf("claim is %+v", c)
		}
		if _, err := f.Beat(t.Context(), c, tasks.Progress{Entries: 3, Bytes: 30}); err != nil {
			t.Fatal(err)
		}
		if s := f.state("r1"); s.Live != 1 || s.Entries != 3 || s.Bytes != 30 || s.Tasks != 3 || s.Weight != 7 {
			t.Errorf("state is %+v", s)
		}
		wantNames(t, f.finish(c))
		if s := f.state("r1"); s.Live != 0 || s.Entries != 1 || s.Bytes != 10 || s.TasksDone != 1 || s.WeightDone != 7 {
			t.Errorf("state is %+v", s)
		}
		c1 := f.claim(ready[1])
		next := f.finish(c1)
		wantNames(t, next, "b1")
		f.stepIs("a", "done")
		f.stepIs("none", "waiting")
		f.runAll(next)
		f.stepIs("none", "done")

		s := f.state("r1")
		if s.State != ledger.StateDone || s.TasksDone != 3 || s.StartedAt.IsZero() || s.EndedAt.Before(s.StartedAt) || s.FailureCount != 0 {
			t.Errorf("state is %+v", s)
		}
		want := map[string]string{"a1": string(result(c1)), "a2": string(result(c))}
		if diff := cmp.Diff(want, f.results("a")); diff != "" {
			t.Errorf("results (-want +got):\n%s", diff)
		}
		workers, err := f.Workers(t.Context(), "r1")
		if err != nil {
			t.Fatal(err)
		}
		wantWorkers := []ledger.WorkerCount{{"w1", "n/a", tasks.KindPart, 2, ""}, {"w1", "n/b", tasks.KindPart, 1, ""}}
		if diff := cmp.Diff(wantWorkers, workers); diff != "" {
			t.Errorf("workers (-want +got):\n%s", diff)
		}
		stored, err := f.Plan(t.Context(), "r1")
		if err != nil {
			t.Fatal(err)
		}
		got, _ := json.Marshal(stored)
		exp, _ := json.Marshal(p)
		if diff := cmp.Diff(string(exp), string(got)); diff != "" {
			t.Errorf("plan (-want +got):\n%s", diff)
		}
		f.forget("r1")
	})
}

func TestEventsTellTheStory(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		f.runAll(f.create(plan("r1", step("a", nil, "a1"), step("b", needs("a"), "b1"))))
		var kinds []string
		after := ""
		for {
			events, err := f.Events(t.Context(), "r1", after, 2)
			if err != nil {
				t.Fatal(err)
			}
			if len(events) == 0 {
				break
			}
			for _, e := range events {
				kinds = append(kinds, e.Kind+" "+e.Step+e.Message)
				after = e.ID
			}
		}
		want := []string{"start ", "step open a", "step done a", "step open b", "step done b", "end done"}
		if diff := cmp.Diff(want, kinds); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestMethodsOfUnknownRuns(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		ctx := t.Context()
		c := ledger.Claim{Run: "r0", Token: "x", Task: tasks.Task{ID: "t"}, Step: "s"}
		calls := map[string]func() error{
			"Claim":  func() error { _, err := f.Claim(ctx, "r0", "t", "a", "w"); return err },
			"Beat":   func() error { _, err := f.Beat(ctx, c, tasks.Progress{}); return err },
			"Grow":   func() error { _, err := f.Grow(ctx, c, ledger.Growth{Step: "s"}); return err },
			"Finish": func() error { _, err := f.Finish(ctx, c, nil, tasks.Progress{}); return err },
			"Fail":   func() error { _, err := f.Fail(ctx, c, tasks.Failure{Class: tasks.HandBack}); return err },
			"Cancel": func() error { return f.Cancel(ctx, "r0", tasks.Failure{}) },
			"Nudge":  func() error { _, err := f.Nudge(ctx, "r0", "t", "a"); return err },
			"State":  func() error { _, err := f.State(ctx, "r0"); return err },
			"Steps":  func() error { _, err := f.Steps(ctx, "r0"); return err },
			"Plan":   func() error { _, err := f.Plan(ctx, "r0"); return err },
			"Events": func() error { _, err := f.Events(ctx, "r0", "", 5); return err },
			"Results": func() error {
				return f.Results(ctx, "r0", "s", func(string, json.RawMessage) error { return nil })
			},
		}
		for name, call := range calls {
			if err := call(); !errors.Is(err, ledger.ErrNoRun) {
				t.Errorf("%s: %v, want ErrNoRun", name, err)
			}
		}
		if err := f.Forget(ctx, "r0"); err != nil {
			t.Errorf("Forget: %v", err)
		}
		if left := f.keys(); len(left) > 0 {
			t.Errorf("calls for an unknown run made keys: %v", left)
		}
	})
}

func TestRuns(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		f.create(plan("r2", step("a", nil, "a1")))
		f.runAll(f.create(plan("r1", step("a", nil, "a1"))))
		runs, err := f.Runs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(runs, []string{"r1", "r2"}) {
			t.Errorf("runs are %v", runs)
		}
		if err := f.Forget(t.Context(), "r2"); !errors.Is(err, ledger.ErrNotOver) {
			t.Errorf("forget of a running run: %v", err)
		}
	})
}
