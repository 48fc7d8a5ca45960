package queue

import (
	"encoding/json"
	"fmt"
	"strconv"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

// prefix begins every queue's name.
func prefix() string { return "salvor" + strconv.Itoa(tasks.Contract) }

const (
	workPool = "work"
	holdPool = "hold"
)

// Name returns the queue of a route.
func Name(r tasks.Route) string {
	pool := workPool
	if r.Hold {
		pool = holdPool
	}
	switch {
	case r.Worker != "":
		return ownQueue(r.Worker)
	case r.Host != "":
		return hostQueue(pool, r.Host)
	default:
		return prefix() + "." + pool
	}
}

func ownPrefix() string               { return prefix() + ".own." }
func ownQueue(worker string) string   { return ownPrefix() + worker }
func hostQueue(pool, h string) string { return prefix() + "." + pool + ".host." + h }

// A worker tells who it is by the names of queues that it serves, so that what asynq's registry says of live servers is all
// there is to know, also after Redis was emptied. Nothing is ever sent to the queue of this name.
func aboutPrefix() string                      { return prefix() + ".about." }
func aboutQueue(worker, version string) string { return aboutPrefix() + worker + " " + version }

// Delivery is an attempt that arrived. It may have arrived before, or be long out of date: the ledger's Claim tells.
type Delivery struct {
	Run     string `json:"run"`
	Task    string `json:"task"`
	Attempt string `json:"attempt"`
}

// taskType is the one type of asynq task.
const taskType = "attempt"

// taskID is the id of an attempt's asynq task.
func taskID(e ledger.Emission) string { return e.Run + ":" + e.Task + ":" + e.Attempt }

func encode(e ledger.Emission) ([]byte, error) {
	data, err := json.Marshal(Delivery{Run: e.Run, Task: e.Task, Attempt: e.Attempt})
	if err != nil {
		return nil, fmt.Errorf("encode delivery of task %s: %w", e.Task, err)
	}
	return data, nil
}

func decode(payload []byte) (Delivery, error) {
	var d Delivery
	if err := json.Unmarshal(payload, &d); err != nil {
		return d, fmt.Errorf("decode delivery: %w", err)
	}
	if d.Run == "" || d.Task == "" || d.Attempt == "" {
		return d, fmt.Errorf("decode delivery: run, task or attempt is missing")
	}
	return d, nil
}
