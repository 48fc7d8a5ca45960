package ledger_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

// What a worker does is told from its claim to its end, and by its host ever after.
func TestLiveTasksAndTheirHosts(t *testing.T) {
	servers(t, func(t *testing.T, rdb *redis.Client) {
		f := newFixture(t, rdb, ledger.Options{})
		s := step("a", nil, "a1", "a2")
		s.Node = "n/a"
		ready := f.create(plan("r1", s))
		if live, err := f.Live(t.Context(), "r1"); err != nil || len(live) > 0 {
			t.Errorf("before the claim %v live, %v", live, err)
		}
		at := f.ForHost("web-1")
		c, err := at.Claim(t.Context(), "r1", ready[0].Task, ready[0].Attempt, "w7")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := at.Beat(t.Context(), c, tasks.Progress{Entries: 2, Bytes: 30}); err != nil {
			t.Fatal(err)
		}
		live, err := f.Live(t.Context(), "r1")
		if err != nil {
			t.Fatal(err)
		}
		want := []ledger.LiveTask{{
			Run: "r1", Task: ready[0].Task, Kind: tasks.KindPart, Node: "n/a", Worker: "w7", Host: "web-1", Entries: 2, Bytes: 30,
		}}
		if diff := cmp.Diff(want, live, cmpopts.IgnoreFields(ledger.LiveTask{}, "Since")); diff != "" {
			t.Fatal(diff)
		}
		if since := time.Since(live[0].Since); since < -time.Minute || since > time.Minute {
			t.Errorf("it is done since %v", live[0].Since)
		}
		if _, err := at.Finish(t.Context(), c, nil, tasks.Progress{}); err != nil {
			t.Fatal(err)
		}
		if live, err := f.Live(t.Context(), "r1"); err != nil || len(live) > 0 {
			t.Errorf("after the end %v live, %v", live, err)
		}
		workers, err := f.Workers(t.Context(), "r1")
		if err != nil {
			t.Fatal(err)
		}
		wantWorkers := []ledger.WorkerCount{{Worker: "w7", Node: "n/a", Kind: tasks.KindPart, Tasks: 1, Host: "web-1"}}
		if diff := cmp.Diff(wantWorkers, workers); diff != "" {
			t.Error(diff)
		}
	})
}
