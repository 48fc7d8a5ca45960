package ledger_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

// loadPlan is a run with one grower and the step it grows.
func loadPlan(run string) tasks.Plan {
	load := step("load", nil)
	load.Grower = "g"
	return plan(run, step("prepare", nil, "g"), load)
}

func TestWindowGivesHeavierTasksFirst(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		g := f.claim(f.create(loadPlan("r1"))[0])
		list := []tasks.Task{{ID: "c", Weight: 5}, {ID: "a", Weight: 1 << 40}, {ID: "b", Weight: 5}, {ID: "d"}, {ID: "e", Weight: 9}, {ID: "f", Weight: 1, First: true}}
		ready := f.grow(g, ledger.Growth{Step: "load", Tasks: list, Close: true, Window: ledger.Window{ID: "src", Limit: 1}})
		f.finish(g)
		var order []string
		for len(ready) > 0 {
			if len(ready) != 1 {
				t.Fatalf("%d attempts in a window of 1", len(ready))
			}
			order = append(order, ready[0].Task)
			ready = f.finish(f.claim(ready[0]))
		}
		if diff := cmp.Diff([]string{"f", "a", "e", "b", "c", "d"}, order); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
		f.is("r1", ledger.StateDone)
		if s := f.state("r1"); s.Weight != 1<<40+20 || s.WeightDone != s.Weight {
			t.Errorf("weight %d of %d: to be first is no weight", s.WeightDone, s.Weight)
		}
		f.forget("r1")
	})
}

func TestWindowIsSharedByRuns(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		g1, g2 := f.claim(f.create(loadPlan("r1"))[0]), f.claim(f.create(loadPlan("r2"))[0])
		wide, narrow := ledger.Window{ID: "src", Limit: 4}, ledger.Window{ID: "src", Limit: 2}
		one := f.grow(g1, ledger.Growth{Step: "load", Tasks: someTasks("x", 6), Close: true, Window: wide})
		if len(one) != 4 {
			t.Fatalf("%d out, want 4", len(one))
		}
		wantNames(t, f.grow(g2, ledger.Growth{Step: "load", Tasks: someTasks("y", 2), Close: true, Window: narrow}))
		f.finish(g1)
		f.finish(g2)
		// The smallest limit counts: nothing comes until only one is out.
		wantNames(t, f.finish(f.claim(one[0])))
		wantNames(t, f.finish(f.claim(one[1])))
		next := f.finish(f.claim(one[2]))
		if len(next) != 1 || next[0].Run != "r1" || next[0].Task != "x00004" {
			t.Fatalf("then comes %+v", next)
		}
		next = append(next, f.finish(f.claim(one[3]))...)
		next = append(next, f.finish(f.claim(next[0]))...)
		if len(next) != 3 || next[2].Run != "r2" {
			t.Fatalf("then come %+v", next)
		}
		// When the narrower run has ended, the wider limit counts again.
		f.is("r2", ledger.StateRunning)
		rest := f.finish(f.claim(next[1]))
		rest = append(rest, f.finish(f.claim(next[2]))...)
		for len(rest) > 0 {
			rest = append(rest[1:], f.finish(f.claim(rest[0]))...)
		}
		f.is("r1", ledger.StateDone)
		f.is("r2", ledger.StateDone)
		if err := f.Forget(t.Context(), "r2"); err != nil {
			t.Fatal(err)
		}
		f.forget("r1")
	})
}

// TestWindowOpensWhenANarrowerRunLeaves: at once, not with the next task.
func TestWindowOpensWhenANarrowerRunLeaves(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		g1, g2 := f.claim(f.create(loadPlan("r1"))[0]), f.claim(f.create(loadPlan("r2"))[0])
		one := f.grow(g1, ledger.Growth{Step: "load", Tasks: someTasks("x", 6), Close: true, Window: ledger.Window{ID: "src", Limit: 3}})
		heavy := []tasks.Task{{ID: "y", Weight: 100}}
		wantNames(t, f.grow(g2, ledger.Growth{Step: "load", Tasks: heavy, Close: true, Window: ledger.Window{ID: "src", Limit: 1}}))
		wantNames(t, f.finish(f.claim(one[0])))
		wantNames(t, f.finish(f.claim(one[1])))
		y := f.finish(f.claim(one[2]))
		wantNames(t, y, "y")
		wantNames(t, f.finish(f.claim(y[0])), "x00003", "x00004", "x00005")
		if err := f.Cancel(t.Context(), "r1", tasks.Failure{}); err != nil {
			t.Fatal(err)
		}
		f.fail(g1, tasks.HandBack)
		f.finish(g2)
		if err := f.Forget(t.Context(), "r1"); err != nil {
			t.Fatal(err)
		}
		f.forget("r2")
	})
}

// TestGrowersPlaceIsGivenBack when it ends.
func TestGrowersPlaceIsGivenBack(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		w := ledger.Window{ID: "src", Limit: 3, HolderCounts: true}
		g := f.claim(f.create(loadPlan("r1"))[0])
		wantNames(t, f.grow(g, ledger.Growth{Step: "load", Tasks: someTasks("x", 5), Close: true, Window: w}), "x00000", "x00001")
		wantNames(t, f.finish(g), "x00002")
	})
}

// TestChunksAreMixedByWeight: what is grown later and is heavier comes earlier.
func TestChunksAreMixedByWeight(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		g := f.claim(f.create(loadPlan("r1"))[0])
		w := ledger.Window{ID: "src", Limit: 1}
		ready := f.grow(g, ledger.Growth{Step: "load", Window: w, Tasks: []tasks.Task{{ID: "a", Weight: 1}, {ID: "b", Weight: 5}, {ID: "c", Weight: 9}}})
		f.grow(g, ledger.Growth{Step: "load", Tasks: []tasks.Task{{ID: "d", Weight: 3}, {ID: "e", Weight: 7}, {ID: "f", Weight: 5}}, Close: true})
		f.finish(g)
		var order []string
		for len(ready) > 0 {
			order = append(order, ready[0].Task)
			ready = f.finish(f.claim(ready[0]))
		}
		if diff := cmp.Diff([]string{"c", "e", "b", "f", "d", "a"}, order); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

// TestManyWindowsAreLeft by a run that ends: none of its limits may bind others.
func TestManyWindowsAreLeft(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		p := plan("r1", step("prepare", nil, "g"))
		const n = 120
		for i := range n {
			s := step(fmt.Sprintf("load%d", i), nil)
			s.Grower = "g"
			p.Steps = append(p.Steps, s)
		}
		g := f.claim(f.create(p)[0])
		for i := range n {
			f.grow(g, ledger.Growth{Step: fmt.Sprintf("load%d", i), Window: ledger.Window{ID: fmt.Sprint(i), Limit: 1}})
		}
		if err := f.Cancel(t.Context(), "r1", tasks.Failure{}); err != nil {
			t.Fatal(err)
		}
		limits, err := rdb.Keys(t.Context(), f.prefix+"wl:*").Result()
		if err != nil || len(limits) > 0 {
			t.Errorf("%d limits are left, %v", len(limits), err)
		}
		f.fail(g, tasks.HandBack)
		f.forget("r1")
	})
}

// TestWindowOfARunThatStops: its share goes to the others.
func TestWindowOfARunThatStops(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		g1, g2 := f.claim(f.create(loadPlan("r1"))[0]), f.claim(f.create(loadPlan("r2"))[0])
		one := f.grow(g1, ledger.Growth{Step: "load", Tasks: someTasks("x", 6), Window: ledger.Window{ID: "src", Limit: 2}})
		wantNames(t, one, "x00000", "x00001")
		wantNames(t, f.grow(g2, ledger.Growth{Step: "load", Tasks: someTasks("y", 6), Close: true, Window: ledger.Window{ID: "src", Limit: 3}}))
		x0 := f.claim(one[0])
		if err := f.Cancel(t.Context(), "r1", tasks.Failure{}); err != nil {
			t.Fatal(err)
		}
		// The unclaimed place of r1 is free and its limit no longer counts; what it runs still has its place.
		f.due("r2")
		ready := f.sweep()
		wantNames(t, ready, "y00000", "y00001")
		next := f.fail(x0, tasks.HandBack)
		wantNames(t, next, "y00002")
		f.fail(g1, tasks.HandBack)
		f.is("r1", ledger.StateCancelled)
		f.finish(g2)
		f.runAll(append(ready, next...))
		f.is("r2", ledger.StateDone)
		if err := f.Forget(t.Context(), "r1"); err != nil {
			t.Fatal(err)
		}
		f.forget("r2")
	})
}

func TestHolderCountsInItsWindow(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		w := ledger.Window{ID: "src", Limit: 3, HolderCounts: true}
		h := f.claim(f.create(dumpPlan("r1"))[0])
		parts := f.grow(h, ledger.Growth{Step: "part", Tasks: someTasks("p", 6), Window: w})
		wantNames(t, parts, "p00000", "p00001") // and the holder
		// A second holder on the same source: each has its connection, the parts share what is left, at least one.
		h2 := f.claim(f.create(dumpPlan("r2"))[0])
		w.Limit = 2
		wantNames(t, f.grow(h2, ledger.Growth{Step: "part", Tasks: someTasks("q", 1), Close: true, Window: w}))
		wantNames(t, f.finish(f.claim(parts[0])))
		next := f.finish(f.claim(parts[1]))
		wantNames(t, next, "p00002")
		for range 4 {
			next = f.finish(f.claim(next[0]))
			if len(next) != 1 {
				t.Fatalf("%v are ready", names(next))
			}
		}
		wantNames(t, next, "q00000")
		wantNames(t, f.finish(f.claim(next[0])))
		f.runAll(f.finish(h2))
		f.grow(h, ledger.Growth{Step: "part", Close: true})
		f.runAll(f.finish(h))
		f.is("r1", ledger.StateDone)
		f.is("r2", ledger.StateDone)
		if err := f.Forget(t.Context(), "r1"); err != nil {
			t.Fatal(err)
		}
		f.forget("r2")
	})
}

// TestRevokedAttemptsKeepTheirPlaces until their leases end: their connections may still be open.
func TestRevokedAttemptsKeepTheirPlaces(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		w := ledger.Window{ID: "src", Limit: 3, HolderCounts: true}
		h := f.claim(f.create(dumpPlan("r1"))[0])
		parts := f.grow(h, ledger.Growth{Step: "part", Tasks: someTasks("p", 4), Close: true, Window: w})
		wantNames(t, parts, "p00000", "p00001")
		reporter := f.claim(parts[0])
		f.claim(parts[1])
		f.fail(reporter, tasks.LostView) // it has ended itself; the other part and the holder may live on
		f.due("r1")
		h2 := f.claim(f.sweep()[0])
		wantNames(t, f.grow(h2, ledger.Growth{Step: "part", Tasks: someTasks("p", 4), Close: true, Window: w}))
		wantNames(t, f.sweep())
		f.lapseGhosts("src")
		next := f.sweep()
		wantNames(t, next, "p00000", "p00001")
		f.runAll(next)
		f.runAll(f.finish(h2))
		f.is("r1", ledger.StateDone)
		f.forget("r1")
	})
}

func TestForgetLeavesNoGhosts(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		h := f.claim(f.create(dumpPlan("r1"))[0])
		parts := f.grow(h, ledger.Growth{Step: "part", Tasks: someTasks("p", 4), Window: ledger.Window{ID: "src", Limit: 3, HolderCounts: true}})
		f.claim(parts[1])
		f.fail(f.claim(parts[0]), tasks.LostView)
		if err := f.Cancel(t.Context(), "r1", tasks.Failure{}); err != nil {
			t.Fatal(err)
		}
		f.is("r1", ledger.StateCancelled)
		f.forget("r1")
	})
}

func TestGateLetsStepsPassInOrder(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		p := plan("r1")
		p.OnError = tasks.OnErrorContinue
		for i := range 5 {
			freeze := step(fmt.Sprintf("freeze%d", i), nil, fmt.Sprintf("f%d", i))
			seal := step(fmt.Sprintf("seal%d", i), needs(freeze.ID), fmt.Sprintf("s%d", i))
			freeze.Gate = &tasks.Gate{Name: "views", Limit: 2, Until: seal.ID}
			p.Steps = append(p.Steps, freeze, seal)
		}
		ready := f.create(p)
		wantNames(t, ready, "f0", "f1")
		f.stepIs("freeze2", "gated")
		seal0 := f.finish(f.claim(ready[0]))
		wantNames(t, seal0, "s0") // still past the gate
		third := f.finish(f.claim(seal0[0]))
		wantNames(t, third, "f2")
		fourth := f.fail(f.claim(ready[1]), tasks.Permanent) // its seal cannot be reached
		wantNames(t, fourth, "f3")
		f.runAll(append(third, fourth...))
		f.is("r1", ledger.StatePartial)
		f.forget("r1")
	})
}

func TestResultsAreStreamed(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		h := f.claim(f.create(dumpPlan("r1"))[0])
		const n = 1100
		ready := f.grow(h, ledger.Growth{Step: "part", Tasks: someTasks("p", n), Close: true})
		var order []string
		for len(ready) > 0 {
			order = append(order, ready[0].Task)
			ready = append(ready[1:], f.finish(f.claim(ready[0]))...)
		}
		var got []string
		err := f.Results(t.Context(), "r1", "part", func(task string, _ json.RawMessage) error {
			got = append(got, task)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(order, got); diff != "" || len(got) != n {
			t.Errorf("%d results; order (-want +got):\n%s", len(got), diff)
		}
		enough := errors.New("enough")
		err = f.Results(t.Context(), "r1", "part", func(string, json.RawMessage) error { return enough })
		if !errors.Is(err, enough) {
			t.Errorf("results: %v", err)
		}
		// A new epoch in the middle.
		count := 0
		err = f.Results(t.Context(), "r1", "part", func(string, json.RawMessage) error {
			if count++; count == 10 {
				f.fail(h, tasks.HandBack)
			}
			return nil
		})
		stale(t, "results of a step that is opened again", err)
		if err := f.Results(t.Context(), "r1", "nowhere", nil); err == nil || errors.Is(err, ledger.ErrNoRun) {
			t.Errorf("results of an unknown step: %v", err)
		}
	})
}
