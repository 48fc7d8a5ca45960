package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

// dumpPlan is the shape of one node's dump: a holder, the parts it grows and holds, and what needs both.
func dumpPlan(run string) tasks.Plan {
	parts := step("part", nil)
	parts.Grower, parts.Holder = "h", "h"
	return plan(run, step("freeze", nil, "h"), parts, step("seal", needs("freeze", "part"), "s"))
}

func TestHolderIsReleasedWhenItsPartsAreDone(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		p := dumpPlan("r1")
		p.Steps = append(p.Steps, step("x", needs("part"), "x1")) // needs the parts only, which count from the holder's end on
		h := f.claim(f.create(p)[0])
		held := func() {
			t.Helper()
			if f.beat(h).Release {
				t.Fatal("released too early")
			}
			if _, err := f.Finish(t.Context(), h, nil, tasks.Progress{}); !errors.Is(err, ledger.ErrHeld) {
				t.Fatalf("finish of a holder: %v, want ErrHeld", err)
			}
		}
		held()
		parts := f.grow(h, ledger.Growth{Step: "part", Tasks: someTasks("p", 2)})
		wantNames(t, parts, "p00000", "p00001")
		wantNames(t, f.finish(f.claim(parts[0])))
		held()
		wantNames(t, f.finish(f.claim(parts[1])))
		held() // not closed yet
		wantNames(t, f.grow(h, ledger.Growth{Step: "part", Close: true}))
		f.stepIs("part", "done")
		f.stepIs("seal", "waiting") // the holder's clean end is the proof
		if !f.beat(h).Release {
			t.Fatal("not released")
		}
		next := f.finish(h)
		wantNames(t, next, "x1", "s")
		f.finish(h) // said again
		f.runAll(next)
		f.is("r1", ledger.StateDone)
		f.forget("r1")
	})
}

func TestLostViewOpensOneEpoch(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		h := f.claim(f.create(dumpPlan("r1"))[0])
		parts := f.grow(h, ledger.Growth{Step: "part", Tasks: someTasks("p", 4), Close: true, Checkpoint: []byte(`{"at":4}`)})
		done := f.claim(parts[0])
		f.finish(done)
		var live []ledger.Claim
		for _, e := range parts[1:] {
			live = append(live, f.claim(e))
		}
		f.fail(live[0], tasks.LostView)
		f.fail(live[0], tasks.LostView) // said again
		for _, c := range live[1:] {
			_, err := f.Fail(t.Context(), c, tasks.Failure{Class: tasks.LostView})
			stale(t, "another report of the loss", err)
			_, err = f.Finish(t.Context(), c, nil, tasks.Progress{})
			stale(t, "finish of a part of the lost view", err)
		}
		_, err := f.Beat(t.Context(), h, tasks.Progress{})
		stale(t, "beat of the holder", err)
		_, err = f.Grow(t.Context(), h, ledger.Growth{Step: "part"})
		stale(t, "grow of the old holder", err)
		_, err = f.Finish(t.Context(), h, nil, tasks.Progress{})
		stale(t, "finish of the old holder", err)
		if s := f.state("r1"); s.Epochs != 1 || s.Tasks != 2 || s.TasksDone != 0 || s.Weight != 0 || s.Entries != 0 || s.Bytes != 0 {
			t.Errorf("state is %+v", s)
		}
		if s := f.step("part"); s.Epoch != 2 || s.Closed || s.Tasks != 0 || s.State != "open" {
			t.Errorf("step is %+v", s)
		}
		if r := f.results("part"); len(r) != 0 {
			t.Errorf("results of a lost view: %v", r)
		}
		f.due("r1")
		h2 := f.claim(f.sweep()[0])
		if h2.Epoch != 2 || h2.Checkpoint != nil || h2.Task.ID != "h" {
			t.Errorf("the holder's claim is %+v", h2)
		}
		parts2 := f.grow(h2, ledger.Growth{Step: "part", Tasks: someTasks("p", 1), Close: true})
		c := f.claim(parts2[0])
		if c.Epoch != 2 {
			t.Errorf("the part's epoch is %d", c.Epoch)
		}
		_, err = f.Finish(t.Context(), done, result(done), tasks.Progress{})
		stale(t, "finish of the first epoch, said again", err)
		f.finish(c)
		f.runAll(f.finish(h2))
		f.is("r1", ledger.StateDone)
		if diff := cmp.Diff(map[string]string{"p00000": string(result(c))}, f.results("part")); diff != "" {
			t.Errorf("results (-want +got):\n%s", diff)
		}
		f.forget("r1")
	})
}

func TestHolderThatDiesOpensAnEpoch(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		h := f.claim(f.create(dumpPlan("r1"))[0])
		parts := f.grow(h, ledger.Growth{Step: "part", Tasks: someTasks("p", 1), Close: true})
		f.finish(f.claim(parts[0]))
		f.stepIs("part", "done")
		f.lapse("r1", "h")
		ready := f.sweep()
		wantNames(t, ready, "h")
		f.stepIs("part", "open")
		_, err := f.Finish(t.Context(), h, nil, tasks.Progress{})
		stale(t, "finish of a holder whose lease ended", err) // its parts are gone
		h2 := f.claim(ready[0])
		f.grow(h2, ledger.Growth{Step: "part", Close: true})
		f.runAll(f.finish(h2))
		if s := f.state("r1"); s.State != ledger.StateDone || s.Epochs != 1 || s.Deaths != 1 {
			t.Errorf("state is %+v", s)
		}
		f.forget("r1")
	})
}

func TestHolderFails(t *testing.T) {
	for _, c := range []struct {
		class  tasks.Class
		atOnce bool
		epochs int // allowed; 0: any number
	}{{tasks.Transient, false, 2}, {tasks.LostView, false, 2}, {tasks.HandBack, true, 0}} {
		t.Run(string(c.class), func(t *testing.T) {
			servers(t, func(t *testing.T, rdb *redis.Client) {
				f := newFixture(t, rdb, ledger.Options{Epochs: 2})
				ready := f.create(dumpPlan("r1"))
				for epoch := 1; epoch <= 3; epoch++ {
					h := f.claim(ready[0])
					if h.Epoch != epoch {
						t.Errorf("epoch is %d, want %d", h.Epoch, epoch)
					}
					parts := f.grow(h, ledger.Growth{Step: "part", Tasks: someTasks("p", 2)})
					wantNames(t, parts, "p00000", "p00001")
					p := f.claim(parts[0])
					ready = f.fail(h, c.class)
					f.fail(h, c.class) // said again
					if epoch == c.epochs {
						f.is("r1", ledger.StateStopping)
						if !f.beat(p).Cancel {
							t.Error("the part is not told")
						}
						f.fail(p, tasks.HandBack)
						f.is("r1", ledger.StateFailed)
						f.stepIs("freeze", "failed")
						f.stepIs("part", "unreachable")
						f.stepIs("seal", "unreachable")
						f.forget("r1")
						return
					}
					_, err := f.Beat(t.Context(), p, tasks.Progress{})
					stale(t, "beat of a part", err)
					if !c.atOnce {
						wantNames(t, ready)
						f.due("r1")
						ready = f.sweep()
					}
					wantNames(t, ready, "h")
				}
			})
		})
	}
}

// TestWorkerDiesWithItsHolderAndParts: one sweep finds all of them dead, and each but once.
func TestWorkerDiesWithItsHolderAndParts(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		h := f.claim(f.create(dumpPlan("r1"))[0])
		for _, e := range f.grow(h, ledger.Growth{Step: "part", Tasks: someTasks("p", 3), Close: true}) {
			f.claim(e)
			f.lapse("r1", e.Task)
		}
		f.lapse("r1", "h")
		ready := f.sweep()
		wantNames(t, ready, "h")
		if s := f.state("r1"); s.Deaths != 1 || s.Epochs != 1 || s.Live != 0 {
			t.Errorf("state is %+v", s)
		}
		h = f.claim(ready[0])
		f.grow(h, ledger.Growth{Step: "part", Close: true})
		f.runAll(f.finish(h))
		f.is("r1", ledger.StateDone)
		f.forget("r1")
	})
}

// TestLossInAFailingStep: a holder whose own step is failing gets no other attempt.
func TestLossInAFailingStep(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{Backoff: func(int) time.Duration { return 0 }})
		p := dumpPlan("r1")
		p.OnError = tasks.OnErrorContinue
		p.Steps[0].Tasks = append(p.Steps[0].Tasks, tasks.Task{ID: "x"})
		ready := f.create(p)
		h := f.claim(ready[0])
		parts := f.grow(h, ledger.Growth{Step: "part", Tasks: someTasks("p", 1), Close: true})
		f.fail(f.claim(ready[1]), tasks.Permanent)
		f.stepIs("freeze", "failing")
		wantNames(t, f.fail(f.claim(parts[0]), tasks.LostView))
		f.due("r1")
		wantNames(t, f.sweep())
		if !f.beat(h).Cancel {
			t.Error("the holder is not told")
		}
		f.fail(h, tasks.HandBack)
		f.is("r1", ledger.StatePartial)
		f.stepIs("part", "unreachable")
		f.forget("r1")
	})
}

// TestLastEpochIsLostByAPart: the report of a part uses the last view up while the holder still runs.
func TestLastEpochIsLostByAPart(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{Epochs: 1})
		p := dumpPlan("r1")
		p.OnError = tasks.OnErrorContinue
		h := f.claim(f.create(p)[0])
		parts := f.grow(h, ledger.Growth{Step: "part", Tasks: someTasks("p", 2), Close: true})
		p1, p2 := f.claim(parts[0]), f.claim(parts[1])
		f.fail(p1, tasks.LostView)
		_, err := f.Beat(t.Context(), h, tasks.Progress{})
		stale(t, "beat of the holder", err)
		f.is("r1", ledger.StateRunning)
		if !f.beat(p2).Cancel {
			t.Error("the other part is not told")
		}
		f.fail(p2, tasks.LostView)
		f.is("r1", ledger.StatePartial)
		f.stepIs("freeze", "failed")
		f.stepIs("part", "unreachable")
		if s := f.state("r1"); s.FailureCount != 1 || s.Failures[0].Task != "p00000" {
			t.Errorf("failures: %+v", s.Failures)
		}
		f.forget("r1")
	})
}

// TestFrozenTogether: one holder of two nodes' views. What is lost of one is lost of both; what failed for good stays failed.
func TestFrozenTogether(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		a, b := step("part:a", nil), step("part:b", nil)
		a.Grower, a.Holder, b.Grower, b.Holder = "h", "h", "h", "h"
		p := plan("r1", step("freeze", nil, "h"), a, b,
			step("seal:a", needs("freeze", "part:a"), "sa"), step("seal:b", needs("freeze", "part:b"), "sb"))
		p.OnError = tasks.OnErrorContinue
		h := f.claim(f.create(p)[0])
		pa := f.grow(h, ledger.Growth{Step: "part:a", Tasks: someTasks("a", 1), Close: true})
		pb := f.grow(h, ledger.Growth{Step: "part:b", Tasks: someTasks("b", 1), Close: true})
		f.finish(f.claim(pa[0]))
		f.stepIs("part:a", "done")
		f.fail(f.claim(pb[0]), tasks.LostView)
		f.stepIs("part:a", "open")
		f.due("r1")
		h = f.claim(f.sweep()[0])
		pa = f.grow(h, ledger.Growth{Step: "part:a", Tasks: someTasks("a", 1), Close: true})
		pb = f.grow(h, ledger.Growth{Step: "part:b", Tasks: someTasks("b", 1), Close: true})
		f.fail(f.claim(pb[0]), tasks.Permanent)
		f.stepIs("part:b", "failed")
		f.stepIs("seal:b", "unreachable")
		if f.beat(h).Cancel || f.beat(h).Release {
			t.Error("the holder must go on for the other node")
		}
		wantNames(t, f.grow(h, ledger.Growth{Step: "part:b", Tasks: someTasks("b", 3)})) // dropped
		f.fail(f.claim(pa[0]), tasks.LostView)
		f.due("r1")
		h = f.claim(f.sweep()[0])
		if b := f.step("part:b"); b.State != "failed" || b.Epoch != 2 || h.Epoch != 3 {
			t.Errorf("in epoch %d the failed step is %+v", h.Epoch, b)
		}
		pa = f.grow(h, ledger.Growth{Step: "part:a", Tasks: someTasks("a", 1), Close: true})
		wantNames(t, f.grow(h, ledger.Growth{Step: "part:b", Tasks: someTasks("b", 1), Close: true}))
		f.finish(f.claim(pa[0]))
		if !f.beat(h).Release {
			t.Error("not released")
		}
		last := f.finish(h)
		wantNames(t, last, "sa")
		f.runAll(last)
		f.is("r1", ledger.StatePartial)
		f.forget("r1")
	})
}

func TestGrowerWithoutHolder(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		load := step("load", nil)
		load.Grower = "g"
		g := f.claim(f.create(plan("r1", step("prepare", nil, "g"), load, step("finish", needs("prepare", "load"), "f")))[0])
		one := ledger.Growth{Step: "load", Tasks: someTasks("l", 2), Checkpoint: []byte(`{"at":2}`)}
		parts := f.grow(g, one)
		wantNames(t, parts, "l00000", "l00001")
		wantNames(t, f.grow(g, one)) // said again
		if s := f.state("r1"); s.Tasks != 4 || s.Weight != 2 {
			t.Errorf("state is %+v", s)
		}
		done := f.claim(parts[0])
		f.finish(done)
		running := f.claim(parts[1])
		f.lapse("r1", "g")
		ready := f.sweep()
		wantNames(t, ready, "g")
		_, err := f.Grow(t.Context(), g, ledger.Growth{Step: "load", Tasks: someTasks("x", 1)})
		stale(t, "grow of a dead grower", err)
		g2 := f.claim(ready[0])
		if string(g2.Checkpoint) != `{"at":2}` || g2.Try != 2 || g2.Epoch != 1 {
			t.Errorf("claim is %+v", g2)
		}
		f.finish(running) // the step was not emptied
		more := f.grow(g2, ledger.Growth{Step: "load", Tasks: someTasks("l", 3)})
		wantNames(t, more, "l00002")
		next := f.finish(g2) // closes the step
		wantNames(t, next)
		if s := f.step("load"); !s.Closed || s.Outstanding != 1 {
			t.Errorf("step is %+v", s)
		}
		f.runAll(f.finish(f.claim(more[0])))
		if s := f.state("r1"); s.State != ledger.StateDone || s.TasksDone != 5 || s.Epochs != 0 {
			t.Errorf("state is %+v", s)
		}
		f.forget("r1")
	})
}

func TestGrowRefuses(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		h := f.claim(f.create(dumpPlan("r1"))[0])
		if _, err := f.Grow(t.Context(), h, ledger.Growth{Step: "seal"}); !errors.Is(err, ledger.ErrNotGrower) {
			t.Errorf("grow of another's step: %v", err)
		}
		if _, err := f.Grow(t.Context(), h, ledger.Growth{Step: "nowhere"}); !errors.Is(err, ledger.ErrNotGrower) {
			t.Errorf("grow of an unknown step: %v", err)
		}
		if _, err := f.Grow(t.Context(), h, ledger.Growth{Step: "part", Tasks: []tasks.Task{{ID: "a\nb"}}}); err == nil {
			t.Error("a task id with a line break was accepted")
		}
		last := ledger.Growth{Step: "part", Tasks: someTasks("p", 2), Close: true}
		f.grow(h, last)
		wantNames(t, f.grow(h, last)) // said again
		if _, err := f.Grow(t.Context(), h, ledger.Growth{Step: "part", Tasks: someTasks("q", 1)}); !errors.Is(err, ledger.ErrClosed) {
			t.Errorf("grow of a closed step: %v", err)
		}
	})
}

func TestGrowByMany(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		h := f.claim(f.create(dumpPlan("r1"))[0])
		ready := f.grow(h, ledger.Growth{Step: "part", Tasks: someTasks("p", 1003), Close: true, Checkpoint: []byte(`1`)})
		if len(ready) != 256 {
			t.Errorf("%d attempts are out, want the default window's 256", len(ready))
		}
		if s := f.step("part"); s.Tasks != 1003 || !s.Closed || s.Live != 256 || s.Weight != 1003 {
			t.Errorf("step is %+v", s)
		}
		next := f.finish(f.claim(ready[0]))
		if len(next) != 1 {
			t.Errorf("one finished and %d came after it", len(next))
		}
	})
}

// TestGrownBeforeItOpens: a step may be grown while it waits for others.
func TestGrownBeforeItOpens(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		load := step("load", needs("prepare"))
		load.Grower = "g"
		g := f.claim(f.create(plan("r1", step("prepare", nil, "g"), load))[0])
		wantNames(t, f.grow(g, ledger.Growth{Step: "load", Tasks: someTasks("l", 2), Close: true, Window: ledger.Window{ID: "w", Limit: 1}}))
		next := f.finish(g)
		wantNames(t, next, "l00000")
		f.runAll(next)
		f.is("r1", ledger.StateDone)
		f.forget("r1")
	})
}

// TestGrowerFails: what a failed grower left open cannot be reached, what it had closed goes on.
func TestGrowerFails(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		open, closed := step("open", nil), step("closed", nil)
		open.Grower, closed.Grower = "g", "g"
		p := plan("r1", step("prepare", nil, "g"), open, closed, step("after", needs("closed"), "x"), step("never", needs("open"), "y"))
		p.OnError = tasks.OnErrorContinue
		g := f.claim(f.create(p)[0])
		one := f.grow(g, ledger.Growth{Step: "open", Tasks: someTasks("o", 1)})
		two := f.grow(g, ledger.Growth{Step: "closed", Tasks: someTasks("c", 1), Close: true})
		o := f.claim(one[0])
		f.fail(g, tasks.Permanent)
		if !f.beat(o).Cancel {
			t.Error("a task of the open step is not told")
		}
		f.fail(o, tasks.HandBack)
		f.runAll(f.finish(f.claim(two[0])))
		f.is("r1", ledger.StatePartial)
		for id, want := range map[string]string{"prepare": "failed", "open": "unreachable", "never": "unreachable", "closed": "done", "after": "done"} {
			f.stepIs(id, want)
		}
		f.forget("r1")
	})
}
