package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

// A coordinator creates a run; a worker claims what is ready, beats while it works, and finishes. What becomes ready is
// sent to workers by package queue; here the loop takes it itself.
func Example() {
	server, err := miniredis.Run()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), Protocol: 2})
	defer func() { _ = rdb.Close() }()
	ctx := context.Background()
	l := ledger.New(rdb, ledger.Options{})

	plan := tasks.Plan{Contract: tasks.Contract, Run: "run-1", Operation: tasks.OpDump, Steps: []tasks.Step{
		{ID: "part:db", Kind: tasks.KindPart, Tasks: []tasks.Task{{ID: "part:db:000000", Kind: tasks.KindPart}}},
		{ID: "seal:db", Kind: tasks.KindSeal, Needs: []string{"part:db"}, Tasks: []tasks.Task{{ID: "seal:db", Kind: tasks.KindSeal}}},
	}}
	ready, err := l.Create(ctx, plan)
	for err == nil && len(ready) > 0 {
		e := ready[0]
		ready = ready[1:]
		var claim ledger.Claim
		if claim, err = l.Claim(ctx, e.Run, e.Task, e.Attempt, "worker-1"); err != nil {
			break
		}
		fmt.Println("working on", claim.Task.ID)
		if _, err = l.Beat(ctx, claim, tasks.Progress{Bytes: 512}); err != nil {
			break
		}
		var next []ledger.Emission
		next, err = l.Finish(ctx, claim, json.RawMessage(`{"ok":true}`), tasks.Progress{Bytes: 1024})
		ready = append(ready, next...)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	state, err := l.State(ctx, "run-1")
	fmt.Println(state.State, state.TasksDone, state.Bytes, err)
	// Output:
	// working on part:db:000000
	// working on seal:db
	// done 2 2048 <nil>
}
