package workers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/archive"
	"salvor/drivers"
	"salvor/internal/secret"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/workers"
)

// expandPlan asks nodes what they stand for.
func (b *bench) expandPlan(once bool, nodes ...tasks.Node) tasks.Plan {
	b.runs++
	plan := tasks.Plan{
		Contract: tasks.Contract, Run: fmt.Sprintf("expand%d", b.runs), Operation: tasks.OpExpand, Set: "set", OnError: tasks.OnErrorContinue,
		Root: tasks.Node{Name: "set", Children: nodes},
	}
	spec, _ := json.Marshal(tasks.ExpandSpec{Once: once})
	for _, n := range nodes {
		id := "expand:set/" + n.Name
		plan.Steps = append(plan.Steps, tasks.Step{ID: id, Kind: tasks.KindExpand, Node: "set/" + n.Name, Tasks: []tasks.Task{
			{ID: id, Kind: tasks.KindExpand, Node: "set/" + n.Name, Spec: spec},
		}})
	}
	return plan
}

// A worker without a reachable archive says what nodes stand for: it fills in the source, and leaves the options, which are
// stored with the answer, as they are written. What may pass is tried again.
func TestExpand(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w, err := workers.New(workers.Config{
		ID: "w1", Registry: b.site.registry(), Ledger: b.ledger, Conn: b.conn,
		Archive: func(context.Context, string) (*archive.Archive, error) {
			return nil, errors.New("an archive was opened")
		},
		Source: func(_ context.Context, _, _, source string) (secret.Text, error) {
			return secret.New(strings.ReplaceAll(source, "${NAME}", "filled")), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := w.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	many := b.site.place("filled")
	many.onExpand = func(spec drivers.Spec, try int) ([]drivers.Place, error) {
		if try == 1 {
			return nil, errors.New("the server is starting")
		}
		return []drivers.Place{{Name: "a", Options: spec.Options}, {Name: "b"}}, nil
	}
	b.site.place("alone").onExpand = func(drivers.Spec, int) ([]drivers.Place, error) { return nil, nil }
	b.site.place("down").onExpand = func(drivers.Spec, int) ([]drivers.Place, error) { return nil, errors.New("the server is down") }
	b.site.place("none").onExpand = func(drivers.Spec, int) ([]drivers.Place, error) {
		return nil, drivers.WithHint(fmt.Errorf("nothing fits: %w", drivers.ErrNotFound), "look what there is")
	}
	node := func(source string) tasks.Node {
		return tasks.Node{Name: strings.Trim(source, "${}"), Driver: "rows", Source: source, Options: []byte(`{"secret":"${NAME}"}`)}
	}
	plan := b.expandPlan(false, node("${NAME}"), node("alone"), node("down"), node("none"))
	state := b.run(t, plan)
	if state.State != ledger.StatePartial || len(state.Failures) != 2 {
		t.Errorf("run ended %+v", state)
	}
	for name, tries := range map[string]int{"filled": 2, "alone": 1, "down": b.ledger.Options().Tries, "none": 1} {
		if got := b.site.place(name).tries["expand"]; got != tries {
			t.Errorf("%s was asked %d times, want %d", name, got, tries)
		}
	}
	got := results[tasks.ExpandResult](t, b, plan.Run, "expand:set/NAME")
	want := []tasks.ExpandResult{{Places: []tasks.Place{{Name: "a", Options: []byte(`{"secret":"${NAME}"}`)}, {Name: "b"}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]tasks.ExpandResult{{}}, results[tasks.ExpandResult](t, b, plan.Run, "expand:set/alone")); diff != "" {
		t.Errorf("of one that stands for itself (-want +got):\n%s", diff)
	}
	for _, f := range state.Failures {
		switch f.Node {
		case "set/none":
			if f.Code != "not_found" || f.Message != "expand node set/none: nothing fits: "+drivers.ErrNotFound.Error() || f.Hint != "look what there is" {
				t.Errorf("failure %+v", f)
			}
		case "set/down":
			if f.Code != "" || f.Message != "expand node set/down: the server is down" {
				t.Errorf("failure %+v", f)
			}
		}
	}

	// Where somebody waits, once is enough; and what cannot expand is told.
	many.tries["expand"] = 0
	state = b.run(t, b.expandPlan(true, node("${NAME}"), tasks.Node{Name: "tree", Driver: "files", Source: "tree"}))
	if state.Retries != 0 || len(state.Failures) != 2 || many.tries["expand"] != 1 {
		t.Errorf("run ended %+v", state)
	}
	for _, f := range state.Failures {
		if f.Node == "set/tree" && f.Code != "invalid" {
			t.Errorf("failure %+v", f)
		}
	}
}
