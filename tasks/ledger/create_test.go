package ledger_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

func TestCreateTwice(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		p := plan("r1", step("a", nil, "a1"))
		ready := f.create(p)
		wantNames(t, ready, "a1")
		wantNames(t, f.create(p))
		other := p
		other.Dump = "another"
		if _, err := f.Create(t.Context(), other); !errors.Is(err, ledger.ErrExists) {
			t.Errorf("create with another plan: %v, want ErrExists", err)
		}
		f.runAll(ready)
		f.is("r1", ledger.StateDone)
		wantNames(t, f.create(p))
		f.is("r1", ledger.StateDone)
		f.forget("r1")
	})
}

// TestCreateGoesOnAfterACrash stops creation after each of its calls in turn and repeats it.
func TestCreateGoesOnAfterACrash(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		p := plan("r1", step("a", nil), step("b", needs("a"), "b1"), step("c", nil))
		p.Steps[0].Tasks = someTasks("a", 700)
		p.Steps[2].Grower = "b1"
		for stop := int64(0); ; stop++ {
			calls := int64(0)
			hook := &flaky{lose: func() (bool, bool) { calls++; return calls > stop, false }}
			broken := redis.NewClient(options(rdb))
			broken.AddHook(hook)
			f := newFixture(t, rdb, ledger.Options{})
			dying := ledger.New(broken, f.Options())
			_, err := dying.Create(t.Context(), p)
			if closeErr := broken.Close(); closeErr != nil {
				t.Fatal(closeErr)
			}
			f.create(p)
			f.is("r1", ledger.StateRunning)
			if s := f.state("r1"); s.Tasks != 701 || s.Weight != 700 {
				t.Fatalf("after a crash at call %d the run has %d tasks of weight %d", stop, s.Tasks, s.Weight)
			}
			f.due("r1")
			ready := f.sweep()
			if len(ready) != 250 && len(ready) != 256 {
				t.Fatalf("after a crash at call %d the sweep names %d attempts", stop, len(ready))
			}
			if err == nil {
				if stop < 3 {
					t.Errorf("a plan of 700 tasks was stored by %d calls", stop)
				}
				return
			}
			if err := f.Cancel(t.Context(), "r1", tasks.Failure{}); err != nil {
				t.Fatal(err)
			}
			f.is("r1", ledger.StateCancelled)
			f.forget("r1")
		}
	})
}

// TestSlowSecondCreator: while it stores the plan another completes it, and work begins.
func TestSlowSecondCreator(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		p := plan("r1", step("a", nil))
		p.Steps[0].Tasks = someTasks("a", 300)
		f.create(plan("r0", step("a", nil, "a1"))) // so that the server knows the scripts
		var ready []ledger.Emission
		calls := 0
		slow := client(t, options(rdb))
		slow.AddHook(&flaky{lose: func() (bool, bool) {
			if calls++; calls == 2 {
				ready = f.create(p)
			}
			return false, false
		}})
		late, err := ledger.New(slow, f.Options()).Create(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		wantNames(t, late)
		if calls < 2 || len(ready) != 256 {
			t.Fatalf("after %d calls %d attempts are ready", calls, len(ready))
		}
		f.runAll(ready)
		if s := f.state("r1"); s.State != ledger.StateDone || s.TasksDone != 300 {
			t.Errorf("state is %+v", s)
		}
	})
}

func TestCreatingRunIsCancelled(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		f.create(plan("r0", step("a", nil, "a1"))) // so that the server knows the scripts
		if err := f.Cancel(t.Context(), "r0", tasks.Failure{}); err != nil {
			t.Fatal(err)
		}
		if err := f.Forget(t.Context(), "r0"); err != nil {
			t.Fatal(err)
		}
		calls := 0
		broken := redis.NewClient(options(rdb))
		broken.AddHook(&flaky{lose: func() (bool, bool) { calls++; return calls > 1, false }})
		if _, err := ledger.New(broken, f.Options()).Create(t.Context(), plan("r1", step("a", nil, "a1"))); err == nil {
			t.Fatal("create did not notice that Redis was gone")
		}
		if err := broken.Close(); err != nil {
			t.Fatal(err)
		}
		f.is("r1", ledger.StateCreating)
		wantNames(t, f.sweep())
		if err := f.Cancel(t.Context(), "r1", tasks.Failure{Message: "no more"}); err != nil {
			t.Fatal(err)
		}
		f.is("r1", ledger.StateCancelled)
		f.forget("r1")
	})
}

// TestLargePlans: what a transition causes is done in bounded pieces, all of it.
func TestLargePlans(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		p := plan("r1", step("root", nil, "root"))
		const fan = 600
		var all []string
		for i := range fan {
			id := fmt.Sprintf("s%04d", i)
			p.Steps = append(p.Steps, step(id, needs("root"), id+"-1"))
			all = append(all, id)
		}
		p.Steps = append(p.Steps, step("end", all, "end"))
		ready := f.finish(f.claim(f.create(p)[0]))
		if len(ready) != fan {
			t.Fatalf("%d attempts are ready, want %d", len(ready), fan)
		}
		for i, e := range ready {
			if want := fmt.Sprintf("s%04d-1", i); e.Task != want {
				t.Fatalf("attempt %d is of %s, want %s: not in the order of the plan", i, e.Task, want)
			}
		}
		if err := f.Cancel(t.Context(), "r1", tasks.Failure{Message: "enough"}); err != nil {
			t.Fatal(err)
		}
		f.is("r1", ledger.StateCancelled)
		f.forget("r1")
	})
}

func TestUnreachableAll(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		p := plan("r1", step("s0", nil, "t0"))
		const chain = 400
		for i := 1; i < chain; i++ {
			p.Steps = append(p.Steps, step(fmt.Sprintf("s%d", i), needs(fmt.Sprintf("s%d", i-1)), fmt.Sprintf("t%d", i)))
		}
		p.OnError = tasks.OnErrorContinue
		f.fail(f.claim(f.create(p)[0]), tasks.Permanent)
		f.is("r1", ledger.StatePartial)
		f.stepIs("s0", "failed")
		f.stepIs(fmt.Sprintf("s%d", chain-1), "unreachable")
		f.forget("r1")
	})
}

func TestValidate(t *testing.T) {
	t.Parallel()
	grown := func(id, grower, holder string, needs ...string) tasks.Step {
		s := step(id, needs)
		s.Grower, s.Holder = grower, holder
		return s
	}
	gated := func(s tasks.Step, name string, limit int, until string) tasks.Step {
		s.Gate = &tasks.Gate{Name: name, Limit: limit, Until: until}
		return s
	}
	change := func(f func(*tasks.Plan)) tasks.Plan {
		p := plan("r1", step("a", nil, "a1"))
		f(&p)
		return p
	}
	for name, c := range map[string]struct {
		plan tasks.Plan
		want string
	}{
		"good":                   {plan("r1", step("freeze", nil, "h"), grown("part", "h", "h"), gated(step("seal", needs("freeze", "part"), "s"), "g", 1, "seal")), ""},
		"grown after its grower": {plan("r1", step("prepare", nil, "g"), grown("load", "g", "", "prepare")), ""},
		"no steps":               {plan("r1"), "plan has no steps"},
		"contract":               {change(func(p *tasks.Plan) { p.Contract = 99 }), "plan is of contract 99"},
		"run":                    {change(func(p *tasks.Plan) { p.Run = "a b" }), `run id "a b" is not valid`},
		"policy":                 {change(func(p *tasks.Plan) { p.OnError = "panic" }), `unknown policy "panic"`},
		"step id":                {plan("r1", step("", nil)), "step id"},
		"control character":      {plan("r1", step("a\n", nil)), "control characters"},
		"two steps":              {plan("r1", step("a", nil), step("a", nil)), `two steps have the id "a"`},
		"two tasks":              {plan("r1", step("a", nil, "t"), step("b", nil, "t")), `task "t" is in the steps "a" and "b"`},
		"weight":                 {change(func(p *tasks.Plan) { p.Steps[0].Tasks[0].Weight = -1 }), "weight -1 is negative"},
		"route":                  {change(func(p *tasks.Plan) { p.Steps[0].Tasks[0].Route.Host = "a\x1fb" }), "its route"},
		"unknown need":           {plan("r1", step("a", needs("x"))), `needs the unknown step "x"`},
		"self":                   {plan("r1", step("a", needs("a"))), "steps wait for each other: a -> a"},
		"cycle":                  {plan("r1", step("a", needs("c")), step("b", needs("a")), step("c", needs("b"))), "steps wait for each other: a -> c -> b -> a"},
		"unknown grower":         {plan("r1", grown("a", "x", "")), `grown by the unknown task "x"`},
		"own grower":             {change(func(p *tasks.Plan) { p.Steps[0].Grower = "a1" }), `grown by its own task "a1"`},
		"other holder":           {plan("r1", step("f", nil, "h", "g"), grown("a", "g", "h")), `held by task "h" but grown by "g"`},
		"held from the start": {plan("r1", step("f", nil, "h"), func() tasks.Step {
			s := step("a", nil, "t")
			s.Grower, s.Holder = "h", "h"
			return s
		}()), "is held and has tasks from the start"},
		"held needs its holder":  {plan("r1", step("f", nil, "h"), grown("a", "h", "h", "f")), "steps wait for each other"},
		"holder needs its held":  {plan("r1", step("f", needs("a"), "h"), grown("a", "h", "h")), "steps wait for each other"},
		"grower needs its grown": {plan("r1", step("f", needs("a"), "g"), grown("a", "g", "")), "steps wait for each other"},
		"through a holder":       {plan("r1", step("f", nil, "h"), grown("a", "h", "h", "x"), step("x", needs("f"), "x")), "steps wait for each other"},
		"gate limit":             {plan("r1", gated(step("a", nil), "g", 0, "a")), `gate "g" has the limit 0`},
		"gate until":             {plan("r1", gated(step("a", nil), "g", 1, "x")), `ends with the unknown step "x"`},
		"gate differs":           {plan("r1", gated(step("a", nil), "g", 1, "a"), gated(step("b", nil), "g", 2, "b")), "has the limit 2 here and 1 elsewhere"},
		"gate name":              {plan("r1", gated(step("a", nil), "", 1, "a")), "gate name"},
	} {
		err := ledger.Validate(c.plan)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	many := plan("r1")
	for i := range 100 {
		many.Steps = append(many.Steps, step("s", needs(fmt.Sprintf("x%d", i))))
	}
	if err := ledger.Validate(many); err == nil || !strings.Contains(err.Error(), "more") || strings.Count(err.Error(), "\n") != 20 {
		t.Errorf("of many problems: %v", err)
	}
}

func TestValidateLongChains(t *testing.T) {
	t.Parallel()
	p := plan("r1", step("s0", nil))
	for i := 1; i < 50_000; i++ {
		p.Steps = append(p.Steps, step(fmt.Sprintf("s%d", i), needs(fmt.Sprintf("s%d", i-1))))
	}
	started := time.Now()
	if err := ledger.Validate(p); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(started); d > 10*time.Second {
		t.Errorf("a chain of 50,000 steps took %v", d)
	}
}

func TestCreateRefusesBadPlans(t *testing.T) {
	t.Parallel()
	f := newFixture(t, miniClient(t), ledger.Options{})
	if _, err := f.Create(t.Context(), plan("r1", step("a", needs("b")))); err == nil || !strings.Contains(err.Error(), "unknown step") {
		t.Errorf("create: %v", err)
	}
	if left := f.keys(); len(left) > 0 {
		t.Errorf("a refused plan left %v", left)
	}
}
