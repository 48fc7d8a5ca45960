package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"salvor/tasks"
)

// LiveTask is a task that a worker has claimed and not ended.
type LiveTask struct {
	Run    string
	Task   string
	Kind   tasks.Kind
	Node   string
	Worker string
	Host   string
	Since  time.Time // when it was claimed
	// Entries and Bytes are what the attempt reported last.
	Entries, Bytes int64
}

// Live returns the tasks of a run that are being worked on, longest first. One whose worker died counts until its lease ends.
func (l *Ledger) Live(ctx context.Context, run string) ([]LiveTask, error) {
	ids, err := l.rdb.ZRange(ctx, l.runKey(run, ":beat"), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("read live tasks of run %s: %w", run, err)
	}
	var out []LiveTask
	for part := range slices.Chunk(ids, readAtOnce) {
		live, err := l.readLive(ctx, run, part)
		if err != nil {
			return nil, fmt.Errorf("read live tasks of run %s: %w", run, err)
		}
		out = append(out, live...)
	}
	slices.SortStableFunc(out, func(a, b LiveTask) int { return a.Since.Compare(b.Since) })
	return out, nil
}

func (l *Ledger) readLive(ctx context.Context, run string, ids []string) ([]LiveTask, error) {
	states := make([]*redis.MapStringStringCmd, 0, len(ids))
	_, err := l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range ids {
			states = append(states, p.HGetAll(ctx, l.runKey(run, ":t:"+id)))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []LiveTask
	abouts := make(map[string]*redis.SliceCmd)
	_, err = l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			h := hash(states[i].Val())
			if h["st"] != "run" {
				continue // it ended between the two reads
			}
			out = append(out, LiveTask{
				Run: run, Task: id, Node: h["step"], Worker: h["worker"], Host: h["host"], Since: h.time("since"),
				Entries: h.int64("e"), Bytes: h.int64("b"),
			})
			if abouts[h["step"]] == nil {
				abouts[h["step"]] = p.HMGet(ctx, l.runKey(run, ":S:"+h["step"]), "node", "kind")
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, t := range out {
		about := reply(abouts[t.Node].Val())
		out[i].Node, out[i].Kind = about.text(0), tasks.Kind(about.text(1))
	}
	return out, nil
}
