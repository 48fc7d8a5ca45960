package ledger_test

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

func TestSweepNamesWhatNobodyClaims(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		ready := f.create(plan("r1", step("a", nil, "a1", "a2")))
		wantNames(t, f.sweep()) // not before a while
		f.due("r1")
		f.claim(ready[0])
		again := f.sweep()
		if len(again) != 1 || again[0] != ready[1] {
			t.Errorf("the sweep names %+v, want %+v", again, ready[1])
		}
		wantNames(t, f.sweep())
	})
}

func TestSweepIsShared(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{ReEmit: time.Hour})
		f.create(plan("r1", step("a", nil, "a1")))
		wantNames(t, f.sweep())
		f.due("r1")
		out, err := f.Sweep(t.Context()) // another swept just now
		if err != nil {
			t.Fatal(err)
		}
		wantNames(t, out)
		wantNames(t, f.sweep(), "a1")
		// A clock that was set back does not stop the sweeps.
		if err := rdb.Set(t.Context(), f.prefix+"sweep", time.Now().Add(1000*time.Hour).UnixMilli(), 0).Err(); err != nil {
			t.Fatal(err)
		}
		f.due("r1")
		if out, err = f.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantNames(t, out, "a1")
	})
}

func TestBeatKeepsTheLease(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		ready := f.create(plan("r1", step("a", nil, "a1", "a2")))
		c := f.claim(ready[0])
		f.claim(ready[1])
		f.lapse("r1", "a1")
		f.lapse("r1", "a2")
		f.beat(c)
		wantNames(t, f.sweep(), "a2")
		f.finish(c)
	})
}

// TestSweepAfterRedisWasAway: nobody could beat, so nobody is dead.
func TestSweepAfterRedisWasAway(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		c := f.claim(f.create(plan("r1", step("a", nil, "a1")))[0])
		f.lapse("r1", "a1")
		long := time.Now().Add(-time.Minute).UnixMilli()
		if err := rdb.HSet(t.Context(), f.key("r1", ""), "swept", long).Err(); err != nil {
			t.Fatal(err)
		}
		wantNames(t, f.sweep())
		f.beat(c)
		f.lapse("r1", "a1")
		wantNames(t, f.sweep(), "a1")
	})
}

func TestNudge(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		first := f.create(plan("r1", step("a", nil, "a1")))[0]
		next, err := f.Nudge(t.Context(), "r1", "a1", first.Attempt)
		if err != nil || next == nil {
			t.Fatalf("nudge: %v, %v", next, err)
		}
		if next.Task != "a1" || next.Attempt == first.Attempt {
			t.Errorf("nudge gave %+v", next)
		}
		none, err := f.Nudge(t.Context(), "r1", "a1", first.Attempt)
		if err != nil || none != nil {
			t.Errorf("nudge of an old attempt: %v, %v", none, err)
		}
		_, err = f.Claim(t.Context(), "r1", "a1", first.Attempt, "w")
		stale(t, "claim of the old attempt", err)
		c := f.claim(*next)
		if c.Try != 1 {
			t.Errorf("try is %d", c.Try)
		}
		if none, err = f.Nudge(t.Context(), "r1", "a1", next.Attempt); err != nil || none != nil {
			t.Errorf("nudge of a claimed attempt: %v, %v", none, err)
		}
		f.finish(c)
	})
}

// TestManyDie: one sweep takes back everything, in bounded calls.
func TestManyDie(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		p := plan("r1", step("a", nil))
		p.Steps[0].Tasks = someTasks("t", 300)
		for _, e := range f.create(p) {
			f.claim(e)
			f.lapse("r1", e.Task)
		}
		ready := f.sweep()
		all := names(ready)
		slices.Sort(all)
		if len(slices.Compact(all)) != 256 {
			t.Fatalf("%d attempts are ready again, want 256", len(all))
		}
		f.runAll(ready)
		if s := f.state("r1"); s.State != ledger.StateDone || s.Deaths != 256 || s.TasksDone != 300 {
			t.Errorf("state is %+v", s)
		}
		f.forget("r1")
	})
}

// TestSweepGoesOn with what a dead caller left in the run's todo.
func TestSweepGoesOn(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		f.runAll(f.create(plan("r0", step("a", nil, "a1")))) // so that the server knows the scripts
		p := plan("r1", step("root", nil, "root"))
		for i := range 500 {
			id := string(rune('a'+i/26)) + string(rune('a'+i%26))
			p.Steps = append(p.Steps, step(id, needs("root"), "t"+id))
		}
		c := f.claim(f.create(p)[0])
		// The caller dies after the first call.
		calls := 0
		broken := redis.NewClient(options(rdb))
		broken.AddHook(&flaky{lose: func() (bool, bool) { calls++; return calls > 1, false }})
		dying := ledger.New(broken, f.Options())
		first, err := dying.Finish(t.Context(), c, result(c), tasks.Progress{})
		if closeErr := broken.Close(); err != nil || closeErr != nil {
			t.Fatal(err, closeErr)
		}
		if len(first) == 0 || len(first) >= 500 {
			t.Fatalf("the first call emitted %d", len(first))
		}
		rest := f.sweep()
		if len(first)+len(rest) != 500 {
			t.Errorf("%d and %d attempts", len(first), len(rest))
		}
	})
}

// TestOlderCopyOfRedis: after a failover to an older state nothing is accepted twice.
func TestOlderCopyOfRedis(t *testing.T) {
	t.Parallel()
	rdb := realClient(t)
	f := newFixture(t, rdb, ledger.Options{})
	ready := f.create(plan("r1", step("a", nil, "a1", "a2")))
	dump := map[string]string{}
	for _, k := range f.keys() {
		v, err := rdb.Dump(t.Context(), k).Result()
		if err != nil {
			t.Fatal(err)
		}
		dump[k] = v
	}
	c1, c2 := f.claim(ready[0]), f.claim(ready[1])
	f.finish(c1)
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for k, v := range dump {
		if err := rdb.Restore(t.Context(), k, 0, v).Err(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := f.Finish(t.Context(), c2, result(c2), tasks.Progress{})
	stale(t, "finish of an attempt that the copy does not know", err)
	_, err = f.Beat(t.Context(), c2, tasks.Progress{})
	stale(t, "beat", err)
	f.due("r1")
	f.runAll(f.sweep())
	f.is("r1", ledger.StateDone)
	if got := f.results("a"); len(got) != 2 || got["a1"] == string(result(c1)) {
		t.Errorf("results are %v", got)
	}
	f.forget("r1")
}
