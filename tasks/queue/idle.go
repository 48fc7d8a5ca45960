package queue

import (
	"context"
	"strings"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// idle answers asynq's looks at empty queues of an embedded Redis without running its script. asynq looks fifty times a
// second at each queue, and miniredis builds a Lua interpreter for each script: idling took a tenth of a core.
type idle struct{ server *miniredis.Miniredis }

var _ redis.Hook = idle{}

// DialHook does nothing.
func (idle) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook does nothing.
func (idle) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook answers looks at empty queues.
func (h idle) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if pending := dequeues(cmd); pending != "" && !h.server.Exists(pending) {
			cmd.SetErr(redis.Nil)
			return redis.Nil
		}
		return next(ctx, cmd)
	}
}

// dequeues returns the list that asynq's dequeue script takes from, or "" for any other command. Its keys are asynq's
// {queue}:pending, :paused, :active and :lease.
func dequeues(cmd redis.Cmder) string {
	args := cmd.Args()
	if len(args) != 9 || cmd.Name() != "evalsha" {
		return ""
	}
	if n, ok := args[2].(int); !ok || n != 4 {
		return ""
	}
	pending, ok1 := args[3].(string)
	paused, ok2 := args[4].(string)
	base, ok3 := strings.CutSuffix(pending, ":pending")
	if !ok1 || !ok2 || !ok3 || paused != base+":paused" {
		return ""
	}
	return pending
}
