package ledger_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

// TestSchedules runs random plans by random schedules: deliveries are lost, repeated and reordered, workers die at any
// moment, come back late with what they did, lose views and links, runs are cancelled. It checks that
//
//   - of each task exactly one effect is among the results, one that the ledger accepted;
//   - no task of a step runs before what the step needs has ended as it must;
//   - neither windows nor gates are exceeded, revoked attempts included;
//   - every run ends, in the state that what happened to it demands.
func TestSchedules(t *testing.T) {
	t.Parallel()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		checkSchedules(t, realClient(t), 1<<30)
	})
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		checkSchedules(t, miniClient(t), 15)
	})
}

func checkSchedules(t *testing.T, rdb *redis.Client, cases int64) {
	t.Helper()
	var n atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		if n.Add(1) > cases && !t.Failed() {
			return
		}
		w := newWorld(rt, rdb)
		for range rapid.IntRange(0, 80).Draw(rt, "actions") {
			w.act()
			w.check()
		}
		w.settle()
		w.verify()
	})
}

// world is two runs, what is on its way to workers, and what workers do.
type world struct {
	*fixture
	rt       *rapid.T
	plans    map[string]*tasks.Plan
	runs     []string
	inbox    []ledger.Emission
	actors   []*actor
	zombies  []*actor                                      // lost their lease or were revoked, and do not know
	steps    map[string]map[string]*tasks.Step             // by run and id
	accepted map[string]map[string]map[string][]acceptance // run, step, task
	permsIn  map[string]map[string]bool                    // steps with a permanent failure
	perms    map[string]int
	cancels  map[string]bool
	attempts map[string]bool
}

type acceptance struct {
	token string
	epoch int
}

// actor is a worker that has claimed an attempt.
type actor struct {
	c     ledger.Claim
	grown map[string]int // tasks grown so far, by step
	gone  bool           // its lease has ended or its place's has
}

// total is how many tasks a step is grown by.
func total(s *tasks.Step) int { return len(s.ID) * 7 % 6 }

func newWorld(rt *rapid.T, rdb *redis.Client) *world {
	w := &world{
		fixture: newFixture(rt, rdb, ledger.Options{Tries: 1000, Deaths: 1000, Epochs: 1000}), rt: rt,
		plans: map[string]*tasks.Plan{}, steps: map[string]map[string]*tasks.Step{},
		accepted: map[string]map[string]map[string][]acceptance{}, permsIn: map[string]map[string]bool{}, perms: map[string]int{},
		cancels: map[string]bool{}, attempts: map[string]bool{},
	}
	for _, run := range []string{"r1", "r2"}[:rapid.IntRange(1, 2).Draw(rt, "runs")] {
		p := drawPlan(rt, run)
		w.plans[run], w.runs = &p, append(w.runs, run)
		w.steps[run], w.accepted[run], w.permsIn[run] = map[string]*tasks.Step{}, map[string]map[string][]acceptance{}, map[string]bool{}
		for i := range p.Steps {
			w.steps[run][p.Steps[i].ID] = &p.Steps[i]
			w.accepted[run][p.Steps[i].ID] = map[string][]acceptance{}
		}
		w.send(w.create(p))
	}
	return w
}

// drawPlan draws nodes in the shapes that runs have: a single step; a grower with its step; a holder with one or two held
// steps and the step that needs all of it; each may need earlier ones.
func drawPlan(rt *rapid.T, run string) tasks.Plan {
	p := plan(run)
	if rapid.Bool().Draw(rt, "continue") {
		p.OnError = tasks.OnErrorContinue
	}
	limit := rapid.IntRange(1, 2).Draw(rt, "gate")
	var last []string
	for i := range rapid.IntRange(1, 5).Draw(rt, "nodes") {
		var before []string
		for _, id := range last {
			if rapid.IntRange(0, 2).Draw(rt, "edge") == 0 {
				before = append(before, id)
			}
		}
		id := func(kind string) string { return fmt.Sprintf("%s:%d", kind, i) }
		tolerant := rapid.IntRange(0, 4).Draw(rt, "tolerant") == 0
		end := id("end")
		switch rapid.IntRange(0, 2).Draw(rt, "shape") {
		case 0:
			s := step(end, before)
			s.Tasks = someTasks(id("t"), rapid.IntRange(0, 4).Draw(rt, "tasks"))
			s.Tolerant = tolerant
			p.Steps = append(p.Steps, s)
		case 1:
			g := step(id("prepare"), before, id("grower"))
			g.Tolerant = tolerant
			d := step(id("load"), before)
			d.Grower = id("grower")
			if rapid.Bool().Draw(rt, "late") {
				d.Needs = needs(g.ID) // grown while it waits
			}
			p.Steps = append(p.Steps, g, d, step(end, needs(g.ID, d.ID), id("finish")))
		default:
			h := step(id("freeze"), before, id("holder"))
			h.Tolerant = tolerant
			if rapid.Bool().Draw(rt, "gated") {
				h.Gate = &tasks.Gate{Name: "views", Limit: limit, Until: end}
			}
			seal := step(end, needs(h.ID), id("seal"))
			p.Steps = append(p.Steps, h)
			for j := range rapid.IntRange(1, 2).Draw(rt, "held") {
				d := step(id(fmt.Sprintf("part%d", j)), before)
				d.Grower, d.Holder = id("holder"), id("holder")
				seal.Needs = append(seal.Needs, d.ID)
				p.Steps = append(p.Steps, d)
				last = append(last, d.ID) // what needs only the parts needs their holder's clean end all the same
			}
			p.Steps = append(p.Steps, seal)
		}
		last = append(last, end)
	}
	return p
}

// windowOf is the shared window of a grown step, and its limit.
func windowOf(step string) (string, int) {
	switch len(step) % 3 {
	case 0:
		return "", 0
	case 1:
		return "wide", 3
	default:
		return "narrow", 1
	}
}

// send puts emissions on their way; some are lost there.
func (w *world) send(list []ledger.Emission) {
	for _, e := range list {
		if rapid.IntRange(0, 9).Draw(w.rt, "lost") == 0 {
			continue
		}
		w.inbox = append(w.inbox, e)
	}
}

func (w *world) pick(what string, n int) int { return rapid.IntRange(0, n-1).Draw(w.rt, what) }

func (w *world) act() {
	switch kind := rapid.IntRange(0, 99).Draw(w.rt, "action"); {
	case kind < 40:
		w.deliver()
	case kind < 75:
		if len(w.actors) > 0 {
			w.work(w.actors[w.pick("actor", len(w.actors))])
		}
	case kind < 80:
		if len(w.zombies) > 0 {
			w.work(w.zombies[w.pick("zombie", len(w.zombies))])
		}
	case kind < 86:
		if len(w.actors) > 0 { // its worker dies, or is stopped for longer than a lease
			a := w.actors[w.pick("victim", len(w.actors))]
			w.lapse(a.c.Run, a.c.Task.ID)
			w.retire(a, rapid.Bool().Draw(w.rt, "zombie"))
			a.gone = true
		}
	case kind < 92:
		if rapid.Bool().Draw(w.rt, "due") {
			w.dueAll()
		}
		w.send(w.sweep())
	case kind < 94:
		for _, z := range w.zombies {
			z.gone = true
		}
		w.lapseGhosts("wide")
		w.lapseGhosts("narrow")
	case kind < 98:
		if len(w.inbox) > 0 {
			e := w.inbox[w.pick("nudged", len(w.inbox))]
			next, err := w.Nudge(w.t.Context(), e.Run, e.Task, e.Attempt)
			w.must(err)
			if next != nil {
				w.send([]ledger.Emission{*next})
			}
		}
	case kind == 98:
		run := w.runs[w.pick("cancelled", len(w.runs))]
		if st := w.state(run).State; st == ledger.StateRunning {
			w.cancels[run] = true
		}
		w.must(w.Cancel(w.t.Context(), run, tasks.Failure{Class: tasks.Permanent, Message: "cancelled"}))
	}
}

func (w *world) dueAll() {
	for _, run := range w.runs {
		w.due(run)
	}
}

func (w *world) must(err error) {
	if err != nil {
		w.rt.Fatalf("%v", err)
	}
}

func (w *world) deliver() {
	if len(w.inbox) == 0 {
		return
	}
	i := w.pick("delivery", len(w.inbox))
	e := w.inbox[i]
	if rapid.IntRange(0, 5).Draw(w.rt, "repeated") != 0 {
		w.inbox = slices.Delete(w.inbox, i, i+1)
	}
	if rapid.IntRange(0, 9).Draw(w.rt, "dies before claim") == 0 {
		return
	}
	st := w.state(e.Run).State
	c, err := w.Claim(w.t.Context(), e.Run, e.Task, e.Attempt, "w")
	switch {
	case errors.Is(err, ledger.ErrStale):
		return
	case errors.Is(err, ledger.ErrOver):
		if st == ledger.StateRunning {
			w.rt.Fatalf("claim in a running run: %v", err)
		}
		return
	}
	w.must(err)
	if w.attempts[e.Run+e.Attempt] {
		w.rt.Fatalf("attempt %s was claimed twice", e.Attempt)
	}
	w.attempts[e.Run+e.Attempt] = true
	if st != ledger.StateRunning {
		w.rt.Fatalf("claim in a run that is %s", st)
	}
	w.checkEdges(c)
	a := &actor{c: c, grown: map[string]int{}}
	if c.Checkpoint != nil {
		w.must(json.Unmarshal(c.Checkpoint, &a.grown))
	}
	w.actors = append(w.actors, a)
}

// retire takes an actor away; as a zombie it may still act.
func (w *world) retire(a *actor, zombie bool) {
	w.actors = slices.DeleteFunc(w.actors, func(b *actor) bool { return a == b })
	w.zombies = slices.DeleteFunc(w.zombies, func(b *actor) bool { return a == b })
	if zombie {
		w.zombies = append(w.zombies, a)
	}
}

// grows returns the steps that a task grows.
func (w *world) grows(run, task string) []*tasks.Step {
	var out []*tasks.Step
	for i := range w.plans[run].Steps {
		if s := &w.plans[run].Steps[i]; s.Grower == task {
			out = append(out, s)
		}
	}
	return out
}

// work lets an actor do its next thing, or fail at it.
func (w *world) work(a *actor) {
	signal, err := w.Beat(w.t.Context(), a.c, tasks.Progress{})
	stale := errors.Is(err, ledger.ErrStale)
	if !stale {
		w.must(err)
	}
	chance := rapid.IntRange(0, 29).Draw(w.rt, "chance")
	switch {
	case signal.Cancel:
		w.failActor(a, tasks.HandBack)
		return
	case chance == 0:
		w.failActor(a, tasks.Permanent)
		return
	case chance <= 2:
		w.failActor(a, tasks.Transient)
		return
	case chance <= 4:
		w.failActor(a, tasks.LostView)
		return
	case chance == 5:
		w.failActor(a, tasks.HandBack)
		return
	}
	holds := false
	for _, s := range w.grows(a.c.Run, a.c.Task.ID) {
		holds = holds || s.Holder != ""
		if a.grown[s.ID] <= total(s) { // one more than the number is the close
			w.growActor(a, s)
			return
		}
	}
	if holds && !signal.Release {
		if _, err := w.Finish(w.t.Context(), a.c, result(a.c), tasks.Progress{}); !errors.Is(err, ledger.ErrHeld) && !errors.Is(err, ledger.ErrStale) {
			w.rt.Fatalf("finish of a holder before its release: %v", err)
		}
		return
	}
	w.finishActor(a)
}

func (w *world) growActor(a *actor, s *tasks.Step) {
	from, n := a.grown[s.ID], rapid.IntRange(1, 3).Draw(w.rt, "growth")
	to := min(from+n, total(s))
	g := ledger.Growth{Step: s.ID, Close: from+n > total(s)}
	for i := from; i < to; i++ {
		g.Tasks = append(g.Tasks, tasks.Task{ID: fmt.Sprintf("%s/%d", s.ID, i), Kind: tasks.KindPart, Weight: int64(i * 13 % 5)})
	}
	a.grown[s.ID] = to
	if g.Close {
		a.grown[s.ID] = total(s) + 1
	}
	g.Window.ID, g.Window.Limit = windowOf(s.ID)
	ckpt, err := json.Marshal(a.grown)
	w.must(err)
	g.Checkpoint = ckpt
	out, err := w.Grow(w.t.Context(), a.c, g)
	switch {
	case errors.Is(err, ledger.ErrStale):
		w.retire(a, false)
	case errors.Is(err, ledger.ErrOver):
		a.grown[s.ID] = from
	default:
		w.must(err)
		w.send(out)
	}
}

func (w *world) finishActor(a *actor) {
	out, err := w.Finish(w.t.Context(), a.c, result(a.c), tasks.Progress{Entries: 1})
	if errors.Is(err, ledger.ErrStale) {
		w.retire(a, false)
		return
	}
	w.must(err)
	w.accept(a)
	w.retire(a, rapid.IntRange(0, 9).Draw(w.rt, "finishes again") == 0)
	a.gone = true
	w.send(out)
}

// accept notes an accepted effect. Saying it twice is one effect.
func (w *world) accept(a *actor) {
	list := w.accepted[a.c.Run][a.c.Step]
	if one := (acceptance{a.c.Token, a.c.Epoch}); !slices.Contains(list[a.c.Task.ID], one) {
		list[a.c.Task.ID] = append(list[a.c.Task.ID], one)
	}
}

func (w *world) failActor(a *actor, class tasks.Class) {
	out, err := w.Fail(w.t.Context(), a.c, tasks.Failure{Class: class, Message: "drawn"})
	if errors.Is(err, ledger.ErrStale) {
		w.retire(a, false)
		return
	}
	w.must(err)
	if class == tasks.Permanent {
		w.perms[a.c.Run]++
		w.permsIn[a.c.Run][a.c.Step] = true
	}
	w.retire(a, false)
	a.gone = true
	w.send(out)
}
