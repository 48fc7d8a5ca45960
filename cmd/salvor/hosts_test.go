package main

import (
	"testing"

	"salvor/tasks/queue"
)

// A worker that stops takes nothing more: who waits for its host waits for another worker.
func TestAbsent(t *testing.T) {
	t.Parallel()
	stopping := queue.Worker{ID: "a", Host: "web-1", Stopping: true}
	other, same := queue.Worker{ID: "b", Host: "web-2"}, queue.Worker{ID: "c", Host: "web-1"}
	for _, test := range []struct {
		workers []queue.Worker
		want    string
	}{
		{nil, "no worker serves the queue"},
		{[]queue.Worker{stopping}, "no worker serves the queue"},
		{[]queue.Worker{stopping, other}, "no worker serves host web-1"},
		{[]queue.Worker{stopping, other, same}, ""},
	} {
		if got := absentAmong(test.workers, []string{"web-1", "web-2"}); got != test.want {
			t.Errorf("%v: got %q, want %q", test.workers, got, test.want)
		}
	}
}
