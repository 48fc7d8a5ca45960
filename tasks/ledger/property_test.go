package ledger_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

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

// tasksOf returns how many tasks a step has when all is well.
func (w *world) tasksOf(s *tasks.Step) int {
	if s.Grower != "" {
		return total(s)
	}
	return len(s.Tasks)
}

// whole tells whether all tasks of a step were finished in one epoch.
func (w *world) whole(run string, s *tasks.Step) bool {
	epochs := map[int]int{}
	for _, list := range w.accepted[run][s.ID] {
		for _, a := range list {
			epochs[a.epoch]++
		}
	}
	for _, n := range epochs {
		if n == w.tasksOf(s) {
			return true
		}
	}
	return w.tasksOf(s) == 0
}

// checkEdges is called for each claim.
func (w *world) checkEdges(c ledger.Claim) {
	s := w.steps[c.Run][c.Step]
	for _, need := range s.Needs {
		n := w.steps[c.Run][need]
		if s.Tolerant {
			st := w.fixture.stepOf(w.rt, c.Run, need)
			if st != "done" && st != "failed" && st != "unreachable" {
				w.rt.Fatalf("task %s runs while step %s, which it needs in any way, is %s", c.Task.ID, need, st)
			}
			continue
		}
		if !w.whole(c.Run, n) {
			w.rt.Fatalf("task %s runs before step %s, which it needs, is done", c.Task.ID, need)
		}
		if n.Holder != "" && len(w.accepted[c.Run][w.ownerOf(c.Run, n.Holder)][n.Holder]) == 0 {
			w.rt.Fatalf("task %s runs before the holder %s has ended", c.Task.ID, n.Holder)
		}
	}
}

func (w *world) ownerOf(run, task string) string {
	for _, s := range w.plans[run].Steps {
		for _, t := range s.Tasks {
			if t.ID == task {
				return s.ID
			}
		}
	}
	return ""
}

func (f *fixture) stepOf(rt *rapid.T, run, id string) string {
	steps, err := f.Steps(f.t.Context(), run)
	if err != nil {
		rt.Fatalf("%v", err)
	}
	for _, s := range steps {
		if s.ID == id {
			return s.State
		}
	}
	return ""
}

// check looks at what must hold at any moment: windows and gates.
func (w *world) check() {
	used := map[string]int{}
	for _, a := range slices.Concat(w.actors, w.zombies) {
		if id, _ := windowOf(a.c.Step); id != "" && !a.gone && w.steps[a.c.Run][a.c.Step].Grower != "" {
			used[id]++
		}
	}
	if used["wide"] > 3 || used["narrow"] > 1 {
		w.rt.Fatalf("windows are exceeded: %v", used)
	}
	for _, run := range w.runs {
		w.checkGate(run)
	}
}

func (w *world) checkGate(run string) {
	if !slices.ContainsFunc(w.plans[run].Steps, func(s tasks.Step) bool { return s.Gate != nil }) {
		return
	}
	steps, err := w.Steps(w.t.Context(), run)
	w.must(err)
	ended := map[string]bool{}
	opened := map[string]bool{}
	for _, s := range steps {
		ended[s.ID] = s.State == "done" || s.State == "failed" || s.State == "unreachable"
		opened[s.ID] = !s.OpenedAt.IsZero()
	}
	past, limit := 0, 0
	for _, s := range w.plans[run].Steps {
		if s.Gate != nil {
			limit = s.Gate.Limit
			if opened[s.ID] && !ended[s.Gate.Until] {
				past++
			}
		}
	}
	if past > limit {
		w.rt.Fatalf("%d steps are past a gate for %d", past, limit)
	}
}

// settle lets all that is left end: whatever happened, every run must.
func (w *world) settle() {
	for round := 0; ; round++ {
		over := 0
		for _, run := range w.runs {
			if w.state(run).State.Terminal() {
				over++
			}
		}
		if over == len(w.runs) {
			return
		}
		if round > 400 {
			w.rt.Fatalf("runs are stuck: %s", w.describe())
		}
		for _, z := range w.zombies { // they are as good as dead, but may have beaten since they were stopped
			w.lapse(z.c.Run, z.c.Task.ID)
			z.gone = true
		}
		w.zombies = nil
		w.lapseGhosts("wide")
		w.lapseGhosts("narrow")
		w.dueAll()
		w.inbox = append(w.inbox, w.sweep()...)
		for len(w.inbox) > 0 {
			w.deliverPlainly()
			w.check()
		}
		for _, a := range slices.Clone(w.actors) {
			w.workPlainly(a)
		}
	}
}

func (w *world) deliverPlainly() {
	e := w.inbox[0]
	w.inbox = w.inbox[1:]
	c, err := w.Claim(w.t.Context(), e.Run, e.Task, e.Attempt, "w")
	if errors.Is(err, ledger.ErrStale) || errors.Is(err, ledger.ErrOver) {
		return
	}
	w.must(err)
	w.checkEdges(c)
	a := &actor{c: c, grown: map[string]int{}}
	if c.Checkpoint != nil {
		w.must(json.Unmarshal(c.Checkpoint, &a.grown))
	}
	w.actors = append(w.actors, a)
}

func (w *world) workPlainly(a *actor) {
	signal, err := w.Beat(w.t.Context(), a.c, tasks.Progress{})
	if errors.Is(err, ledger.ErrStale) {
		w.retire(a, false)
		return
	}
	w.must(err)
	if signal.Cancel {
		out, err := w.Fail(w.t.Context(), a.c, tasks.Failure{Class: tasks.HandBack})
		w.must(err)
		w.inbox = append(w.inbox, out...)
		w.retire(a, false)
		return
	}
	holds := false
	for _, s := range w.grows(a.c.Run, a.c.Task.ID) {
		holds = holds || s.Holder != ""
		if a.grown[s.ID] <= total(s) {
			g := ledger.Growth{Step: s.ID, Close: true}
			for i := a.grown[s.ID]; i < total(s); i++ {
				g.Tasks = append(g.Tasks, tasks.Task{ID: fmt.Sprintf("%s/%d", s.ID, i), Kind: tasks.KindPart})
			}
			g.Window.ID, g.Window.Limit = windowOf(s.ID)
			out, err := w.Grow(w.t.Context(), a.c, g)
			w.must(err)
			w.inbox = append(w.inbox, out...)
			a.grown[s.ID] = total(s) + 1
		}
	}
	if holds && !signal.Release {
		return
	}
	out, err := w.Finish(w.t.Context(), a.c, result(a.c), tasks.Progress{Entries: 1})
	w.must(err)
	w.accept(a)
	w.retire(a, false)
	w.inbox = append(w.inbox, out...)
}

func (w *world) describe() string {
	text := ""
	for _, run := range w.runs {
		s := w.state(run)
		text += fmt.Sprintf("%s %s live %d;", run, s.State, s.Live)
		steps, err := w.Steps(w.t.Context(), run)
		w.must(err)
		for _, s := range steps {
			text += fmt.Sprintf(" %s %s %d/%d live %d closed %v;", s.ID, s.State, s.Done, s.Tasks, s.Live, s.Closed)
		}
	}
	return text
}

// verify looks at what the runs left.
func (w *world) verify() {
	for _, run := range w.runs {
		w.verifyRun(run)
	}
	for _, run := range w.runs {
		w.must(w.Forget(w.t.Context(), run))
	}
	if left := w.keys(); len(left) > 0 {
		w.rt.Fatalf("forget left keys: %v", left)
	}
}

func (w *world) verifyRun(run string) {
	s := w.state(run)
	want := ledger.StateDone
	switch {
	case w.cancels[run]:
		want = ledger.StateCancelled
	case w.perms[run] > 0 && w.plans[run].OnError == tasks.OnErrorStop:
		want = ledger.StateFailed
	case w.perms[run] > 0:
		want = ledger.StatePartial
	}
	if s.State != want {
		w.rt.Fatalf("run %s is %s, want %s: %s", run, s.State, want, w.describe())
	}
	if s.Live != 0 || s.StartedAt.IsZero() || s.EndedAt.IsZero() || time.Since(s.EndedAt) > time.Hour {
		w.rt.Fatalf("run %s ended with %+v", run, s)
	}
	steps, err := w.Steps(w.t.Context(), run)
	w.must(err)
	states := map[string]string{}
	for _, st := range steps {
		states[st.ID] = st.State
	}
	for _, st := range steps {
		plan := w.steps[run][st.ID]
		w.verifyResults(run, st)
		bad := w.badNeed(plan, states)
		switch st.State {
		case "done":
			if st.Done != w.tasksOf(plan) || bad && !plan.Tolerant {
				w.rt.Fatalf("step %s is done with %d of %d tasks: %s", st.ID, st.Done, w.tasksOf(plan), w.describe())
			}
		case "failed":
			if !w.permsIn[run][st.ID] {
				w.rt.Fatalf("step %s failed though none of its tasks did", st.ID)
			}
		case "unreachable":
			if (!bad || plan.Tolerant) && !w.badFeeder(run, plan, states) {
				w.rt.Fatalf("step %s is unreachable without a reason: %s", st.ID, w.describe())
			}
		default:
			if s.State == ledger.StateDone || s.State == ledger.StatePartial {
				w.rt.Fatalf("step %s is %s in a run that is %s", st.ID, st.State, s.State)
			}
		}
	}
}

func (w *world) badNeed(s *tasks.Step, states map[string]string) bool {
	return slices.ContainsFunc(s.Needs, func(id string) bool { return states[id] == "failed" || states[id] == "unreachable" })
}

func (w *world) badFeeder(run string, s *tasks.Step, states map[string]string) bool {
	feeder := states[w.ownerOf(run, s.Grower)]
	return s.Grower != "" && (feeder == "failed" || feeder == "unreachable")
}

// verifyResults holds a step's results against what was accepted: one effect for each task.
func (w *world) verifyResults(run string, st ledger.StepState) {
	seen := map[string]bool{}
	err := w.Results(w.t.Context(), run, st.ID, func(task string, data json.RawMessage) error {
		if seen[task] {
			w.rt.Fatalf("two results of task %s", task)
		}
		seen[task] = true
		var r struct{ Task, Token string }
		w.must(json.Unmarshal(data, &r))
		n := 0
		for _, a := range w.accepted[run][st.ID][task] {
			if a.token == r.Token {
				n++
			}
		}
		if r.Task != task || n == 0 {
			w.rt.Fatalf("the result of task %s was never accepted", task)
		}
		return nil
	})
	w.must(err)
	if len(seen) != st.Done {
		w.rt.Fatalf("step %s has %d results for %d tasks", st.ID, len(seen), st.Done)
	}
	// Within an epoch a task is accepted once, however often its finisher says so.
	for task, list := range w.accepted[run][st.ID] {
		byEpoch := map[int]string{}
		for _, a := range list {
			if other, ok := byEpoch[a.epoch]; ok && other != a.token {
				w.rt.Fatalf("two attempts at task %s were accepted", task)
			}
			byEpoch[a.epoch] = a.token
		}
	}
}
