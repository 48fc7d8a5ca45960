package ledger_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

func stale(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, ledger.ErrStale) {
		t.Errorf("%s: %v, want ErrStale", what, err)
	}
}

func TestOnlyOneClaimOfManyDeliveries(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		e := f.create(plan("r1", step("a", nil, "a1", "a2")))[0]
		c := f.claim(e)
		_, err := f.Claim(t.Context(), e.Run, e.Task, e.Attempt, "w2")
		stale(t, "second claim", err)
		_, err = f.Claim(t.Context(), e.Run, e.Task, "x-1", "w2")
		stale(t, "claim of an unknown attempt", err)
		_, err = f.Claim(t.Context(), e.Run, "x", e.Attempt, "w2")
		stale(t, "claim of an unknown task", err)
		f.finish(c)
		_, err = f.Claim(t.Context(), e.Run, e.Task, e.Attempt, "w2")
		stale(t, "claim of a finished attempt", err)
	})
}

func TestRepliesAreLost(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		hook := &flaky{lose: func() (bool, bool) { return rng.IntN(8) == 0, rng.IntN(5) == 0 }}
		o := options(rdb)
		o.MaxRetries = -1
		broken := client(t, o)
		broken.AddHook(hook)
		f := newFixture(t, broken, ledger.Options{Tries: 3, Backoff: func(int) time.Duration { return 0 }})
		p := plan("r1", step("freeze", nil, "h"), step("part", nil), step("seal", needs("freeze", "part"), "s"), step("x", needs("seal"), "x1"))
		p.Steps[1].Grower, p.Steps[1].Holder = "h", "h"
		var err error
		for range 100 {
			if _, err = f.Create(t.Context(), p); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		finished := map[string]int{}
		var holder *ledger.Claim
		for range 1000 {
			if f.state("r1").State.Terminal() {
				break
			}
			f.due("r1")
			_ = rdb.Del(t.Context(), f.prefix+"sweep").Err()
			ready, _ := f.Sweep(t.Context()) // what it lost it names again
			for _, e := range ready {
				c, err := f.Claim(t.Context(), e.Run, e.Task, e.Attempt, "w1")
				if errors.Is(err, ledger.ErrStale) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case c.Try == 1 && c.Step == "part":
					f.fail(c, tasks.Transient)
				case c.Task.ID == "h":
					holder = &c
					f.grow(c, ledger.Growth{Step: "part", Tasks: someTasks("p", 5)})
					f.grow(c, ledger.Growth{Step: "part", Close: true})
				default:
					f.finish(c)
					finished[c.Task.ID]++
				}
			}
			if holder == nil {
				continue
			}
			if s, err := f.Beat(t.Context(), *holder, tasks.Progress{}); err == nil && s.Release {
				f.finish(*holder)
				holder = nil
			}
		}
		if diff := cmp.Diff(map[string]int{"p00000": 1, "p00001": 1, "p00002": 1, "p00003": 1, "p00004": 1, "s": 1, "x1": 1}, finished); diff != "" {
			t.Errorf("finished (-want +got):\n%s", diff)
		}
		f.is("r1", ledger.StateDone)
		if s := f.state("r1"); s.Retries != 5 || s.TasksDone != 8 || s.Deaths != 0 || s.Epochs != 0 {
			t.Errorf("state is %+v", s)
		}
		if hook.lost.Load() == 0 {
			t.Error("nothing was lost")
		}
		if n := len(f.results("part")); n != 5 {
			t.Errorf("%d results of parts", n)
		}
	})
}

func TestClaimWaitsForRedis(t *testing.T) {
	t.Parallel()
	rdb := miniClient(t)
	f := newFixture(t, rdb, ledger.Options{})
	e := f.create(plan("r1", step("a", nil, "a1")))[0]
	gone := ledger.New(client(t, &redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1}), f.Options())
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errors.New("patience ended"))
	defer cancel()
	_, err := gone.Claim(ctx, e.Run, e.Task, e.Attempt, "w")
	if err == nil || !strings.Contains(err.Error(), "patience ended") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("claim: %v", err)
	}
	started := time.Now()
	if _, err := gone.Beat(t.Context(), ledger.Claim{Run: "r1"}, tasks.Progress{}); err == nil || time.Since(started) > 5*time.Second {
		t.Errorf("beat: %v after %v", err, time.Since(started))
	}
}

func TestFinishTwiceAndLate(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		ready := f.create(plan("r1", step("a", nil, "a1", "a2", "a3")))
		c := f.claim(ready[0])
		f.finish(c)
		f.finish(c)
		if s := f.state("r1"); s.TasksDone != 1 || s.Entries != 1 {
			t.Errorf("two finishes count as %+v", s)
		}
		_, err := f.Beat(t.Context(), c, tasks.Progress{})
		stale(t, "beat after finish", err)
		_, err = f.Fail(t.Context(), c, tasks.Failure{Class: tasks.Permanent})
		stale(t, "fail after finish", err)

		// The sweep gives an attempt up; it ends before anybody else claims.
		late := f.claim(ready[1])
		f.lapse("r1", late.Task.ID)
		next := f.sweep()
		wantNames(t, next, late.Task.ID)
		_, err = f.Beat(t.Context(), late, tasks.Progress{})
		stale(t, "beat after the lease", err)
		f.finish(late)
		_, err = f.Claim(t.Context(), "r1", next[0].Task, next[0].Attempt, "w2")
		stale(t, "claim after the late finish", err)

		// Here somebody else claims first.
		tooLate := f.claim(ready[2])
		f.lapse("r1", tooLate.Task.ID)
		second := f.claim(f.sweep()[0])
		if second.Try != 2 {
			t.Errorf("try is %d, want 2", second.Try)
		}
		_, err = f.Finish(t.Context(), tooLate, result(tooLate), tasks.Progress{})
		stale(t, "finish after another claimed", err)
		f.finish(second)
		_, err = f.Finish(t.Context(), tooLate, result(tooLate), tasks.Progress{})
		stale(t, "finish after another finished", err)
		if got := f.results("a")[tooLate.Task.ID]; got != string(result(second)) {
			t.Errorf("result is %s", got)
		}
		if s := f.state("r1"); s.Deaths != 2 || s.State != ledger.StateDone {
			t.Errorf("state is %+v", s)
		}
	})
}

func TestTransientRetries(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		var waits []int
		f := newFixture(t, rdb, ledger.Options{Tries: 3, Backoff: func(try int) time.Duration { waits = append(waits, try); return time.Hour }})
		ready := f.create(plan("r1", step("a", nil, "a1")))
		for try := 1; try <= 3; try++ {
			c := f.claim(ready[0])
			if c.Try != try {
				t.Errorf("try is %d, want %d", c.Try, try)
			}
			wantNames(t, f.fail(c, tasks.Transient))
			f.fail(c, tasks.Transient) // said again
			if _, err := f.Finish(t.Context(), c, nil, tasks.Progress{}); !errors.Is(err, ledger.ErrStale) {
				t.Errorf("finish after fail: %v", err)
			}
			wantNames(t, f.sweep()) // not yet
			f.due("r1")
			ready = f.sweep()
		}
		f.is("r1", ledger.StateFailed)
		s := f.state("r1")
		if s.Retries != 3 || s.FailureCount != 1 || s.Failures[0].Message != "because transient" || s.Failures[0].Task != "a1" || s.Failures[0].Node != "n/a" {
			t.Errorf("state is %+v", s)
		}
		if diff := cmp.Diff([]int{1, 1, 2, 2, 3, 3}, waits); diff != "" {
			t.Errorf("waits (-want +got):\n%s", diff)
		}
		f.forget("r1")
	})
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	b := ledger.New(nil, ledger.Options{}).Options().Backoff
	for try, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1000: time.Minute} {
		for range 100 {
			if d := b(try); d < want/2 || d > 3*want/2 {
				t.Errorf("after try %d the wait is %v, want %v with jitter", try, d, want)
			}
		}
	}
}

func TestHandBackDoesNotCount(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{Tries: 1})
		ready := f.create(plan("r1", step("a", nil, "a1")))
		for range 5 {
			c := f.claim(ready[0])
			if c.Try != 1 {
				t.Errorf("try is %d", c.Try)
			}
			ready = f.fail(c, tasks.HandBack)
			wantNames(t, ready, "a1")
		}
		f.runAll(ready)
		if s := f.state("r1"); s.State != ledger.StateDone || s.Retries != 0 || s.FailureCount != 0 {
			t.Errorf("state is %+v", s)
		}
	})
}

func TestDeathsAreCounted(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{Deaths: 2})
		ready := f.create(plan("r1", step("a", nil, "a1")))
		f.claim(ready[0])
		f.lapse("r1", "a1")
		ready = f.sweep()
		wantNames(t, ready, "a1")
		f.claim(ready[0])
		f.lapse("r1", "a1")
		wantNames(t, f.sweep())
		s := f.state("r1")
		want := []tasks.Failure{{
			Class: tasks.Permanent, Task: "a1", Node: "n/a", Worker: "w1", Message: "too many attempts were lost with their worker",
			Hint: "look at the logs of the workers: something ends them while they do this task",
		}}
		if diff := cmp.Diff(want, s.Failures); diff != "" || s.State != ledger.StateFailed || s.Deaths != 2 {
			t.Errorf("state is %+v\nfailures (-want +got):\n%s", s, diff)
		}
		f.forget("r1")
	})
}

func TestLostViewWithoutAHolderIsTransient(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		c := f.claim(f.create(plan("r1", step("a", nil, "a1")))[0])
		wantNames(t, f.fail(c, tasks.LostView))
		f.due("r1")
		f.runAll(f.sweep())
		if s := f.state("r1"); s.State != ledger.StateDone || s.Retries != 1 || s.Epochs != 0 {
			t.Errorf("state is %+v", s)
		}
	})
}

func TestFailRefusesUnknownClasses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, miniClient(t), ledger.Options{})
	c := f.claim(f.create(plan("r1", step("a", nil, "a1")))[0])
	if _, err := f.Fail(t.Context(), c, tasks.Failure{Class: "odd"}); err == nil {
		t.Error("an unknown class was accepted")
	}
	f.finish(c)
}

func TestStopPolicy(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		tolerant := step("t", needs("a"), "t1")
		tolerant.Tolerant = true
		ready := f.create(plan("r1", step("a", nil, "a1", "a2", "a3"), step("b", nil, "b1", "b2"), step("c", needs("a"), "c1"), tolerant))
		a1, a2, b1 := f.claim(ready[0]), f.claim(ready[1]), f.claim(ready[3])
		wantNames(t, f.fail(a1, tasks.Permanent))
		f.fail(a1, tasks.Permanent) // said again
		f.is("r1", ledger.StateStopping)
		_, err := f.Claim(t.Context(), ready[2].Run, ready[2].Task, ready[2].Attempt, "w")
		if !errors.Is(err, ledger.ErrOver) {
			t.Errorf("claim in a stopping run: %v, want ErrOver", err)
		}
		if !f.beat(a2).Cancel || !f.beat(b1).Cancel {
			t.Error("what runs is not told to end")
		}
		f.finish(b1)
		if len(f.results("b")) != 1 {
			t.Error("a finish in a stopping run was not recorded")
		}
		f.is("r1", ledger.StateStopping)
		wantNames(t, f.fail(a2, tasks.HandBack))
		f.is("r1", ledger.StateFailed)
		f.stepIs("a", "failed")
		f.stepIs("c", "unreachable")
		f.stepIs("t", "waiting")
		if s := f.state("r1"); s.FailureCount != 1 {
			t.Errorf("failures: %+v", s.Failures)
		}
		f.due("r1")
		wantNames(t, f.sweep())
		f.forget("r1")
	})
}

func TestContinuePolicy(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		tolerant := step("commit", needs("c", "d"), "commit")
		tolerant.Tolerant = true
		p := plan("r1", step("a", nil, "a1", "a2", "a3"), step("b", nil, "b1"), step("c", needs("a"), "c1"), step("d", needs("b"), "d1"), tolerant)
		p.OnError = tasks.OnErrorContinue
		ready := f.create(p)
		a1, a2, b1 := f.claim(ready[0]), f.claim(ready[1]), f.claim(ready[3])
		f.fail(a1, tasks.Permanent)
		f.is("r1", ledger.StateRunning)
		f.stepIs("a", "failing")
		_, err := f.Claim(t.Context(), "r1", ready[2].Task, ready[2].Attempt, "w")
		stale(t, "claim of a dropped task", err)
		if !f.beat(a2).Cancel || f.beat(b1).Cancel {
			t.Error("the wrong attempts are told to end")
		}
		f.stepIs("c", "waiting") // until nothing of a lives
		next := f.finish(b1)
		wantNames(t, next, "d1")
		wantNames(t, f.fail(a2, tasks.Transient))
		f.stepIs("a", "failed")
		f.stepIs("c", "unreachable")
		last := f.finish(f.claim(next[0]))
		wantNames(t, last, "commit")
		f.runAll(last)
		f.is("r1", ledger.StatePartial)
		f.forget("r1")
	})
}

func TestCancel(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		ready := f.create(plan("r1", step("a", nil, "a1", "a2", "a3"), step("b", needs("a"), "b1")))
		c, dying := f.claim(ready[0]), f.claim(ready[1])
		why := tasks.Failure{Class: tasks.Permanent, Message: "by hand"}
		for range 2 {
			if err := f.Cancel(t.Context(), "r1", why); err != nil {
				t.Fatal(err)
			}
		}
		f.is("r1", ledger.StateCancelling)
		if !f.beat(c).Cancel {
			t.Error("the attempt is not told")
		}
		_, err := f.Grow(t.Context(), c, ledger.Growth{Step: "a"})
		if !errors.Is(err, ledger.ErrOver) {
			t.Errorf("grow: %v", err)
		}
		wantNames(t, f.fail(c, tasks.Transient))
		f.is("r1", ledger.StateCancelling)
		f.due("r1")
		wantNames(t, f.sweep())
		f.lapse("r1", dying.Task.ID) // the other died: only the sweep can tell
		wantNames(t, f.sweep())
		f.is("r1", ledger.StateCancelled)
		if s := f.state("r1"); s.FailureCount != 1 || s.Failures[0].Message != "by hand" || s.EndedAt.IsZero() {
			t.Errorf("state is %+v", s)
		}
		if err := f.Cancel(t.Context(), "r1", why); err != nil {
			t.Errorf("cancel of a run that has ended: %v", err)
		}
		if s := f.state("r1"); s.FailureCount != 1 {
			t.Errorf("it counts %d failures", s.FailureCount)
		}
		f.forget("r1")
	})
}

func TestManyFailuresAreCapped(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		p := plan("r1")
		p.OnError = tasks.OnErrorContinue
		for i := range 120 {
			p.Steps = append(p.Steps, step("s"+string(rune('0'+i/10))+string(rune('0'+i%10)), nil, "t"+string(rune('0'+i/10))+string(rune('0'+i%10))))
		}
		for _, e := range f.create(p) {
			f.fail(f.claim(e), tasks.Permanent)
		}
		if s := f.state("r1"); s.FailureCount != 120 || len(s.Failures) != 100 || s.Failures[0].Task != "t00" || s.State != ledger.StatePartial {
			t.Errorf("%d of %d failures, the first of %+v", len(s.Failures), s.FailureCount, s.Failures[0])
		}
		f.forget("r1")
	})
}
