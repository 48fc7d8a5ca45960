package ledger_test

import (
	"encoding/json"
	"slices"
	"time"

	"pgregory.net/rapid"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

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
