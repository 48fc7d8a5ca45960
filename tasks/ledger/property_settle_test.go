package ledger_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

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
