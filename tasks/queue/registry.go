package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"
)

// Worker is a live server of the queue.
type Worker struct {
	ID string
	// Host is the host name whose tasks it takes beside those of no host; "" for none.
	Host string
	// Hostname and PID are the machine's name and the process there.
	Hostname string
	PID      int
	Version  string
	// WorkSlots and HoldSlots are how many tasks it does at once, and how many views it holds.
	WorkSlots, HoldSlots int
	Started              time.Time
	// Stopping tells that it takes no more work.
	Stopping bool
}

// Workers returns the live workers of this contract, sorted by host and id. One that died is seen for ten seconds more.
func (c *Conn) Workers(ctx context.Context) ([]Worker, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	servers, err := asynq.NewInspectorFromRedisClient(c.rdb).Servers()
	if err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	byID := make(map[string]*Worker)
	of := func(id string) *Worker {
		if byID[id] == nil {
			byID[id] = &Worker{ID: id}
		}
		return byID[id]
	}
	for _, s := range servers {
		for q := range s.Queues {
			if id, ok := strings.CutPrefix(q, ownPrefix()); ok {
				w := of(id)
				w.WorkSlots, w.Hostname, w.PID, w.Started = s.Concurrency, s.Host, s.PID, s.Started.UTC()
				w.Stopping = s.Status != statusActive
				w.Host = hostOf(s.Queues)
			} else if about, ok := strings.CutPrefix(q, aboutPrefix()); ok {
				id, version, _ := strings.Cut(about, " ")
				w := of(id)
				w.HoldSlots, w.Version = s.Concurrency, version
			}
		}
	}
	var out []Worker
	for _, w := range byID {
		if w.WorkSlots > 0 { // without, it is about to come or go
			out = append(out, *w)
		}
	}
	slices.SortFunc(out, func(a, b Worker) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.ID, b.ID)) })
	return out, nil
}

// statusActive is how asynq says that a server takes work.
const statusActive = "active"

// hostOf returns the host whose queue is among those of a work pool.
func hostOf(queues map[string]int) string {
	for q := range queues {
		if host, ok := strings.CutPrefix(q, hostQueue(workPool, "")); ok {
			return host
		}
	}
	return ""
}
