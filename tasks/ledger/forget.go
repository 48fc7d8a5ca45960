package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Forget deletes all that the ledger knows of a run that is over; [ErrNotOver] if it is not. An interrupted Forget can be
// repeated; one of a run that is not there does nothing.
func (l *Ledger) Forget(ctx context.Context, run string) error {
	st, err := l.rdb.HGet(ctx, l.runKey(run, ""), "st").Result()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err == nil && !State(st).Terminal() {
		err = ErrNotOver
	}
	if err == nil {
		err = l.forget(ctx, run)
	}
	if err != nil {
		return fmt.Errorf("forget run %s: %w", run, err)
	}
	return nil
}

func (l *Ledger) forget(ctx context.Context, run string) error {
	windows, err := l.rdb.SMembers(ctx, l.runKey(run, ":wins")).Result()
	if err != nil {
		return err
	}
	for _, w := range windows {
		if err := l.leaveWindow(ctx, run, w); err != nil {
			return err
		}
	}
	steps, err := l.rdb.ZRange(ctx, l.runKey(run, ":steps"), 0, -1).Result()
	if err != nil {
		return err
	}
	for part := range slices.Chunk(steps, readAtOnce) {
		if err := l.forgetSteps(ctx, run, part); err != nil {
			return err
		}
	}
	keys := []string{}
	for _, suffix := range []string{
		":plan", ":pending", ":out", ":beat", ":todo", ":ev", ":fail", ":wk", ":wreg", ":wins", ":steps",
	} {
		keys = append(keys, l.runKey(run, suffix))
	}
	_, err = l.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Unlink(ctx, keys...)
		p.SRem(ctx, l.key("runs"), run)
		p.SRem(ctx, l.key("active"), run)
		p.Unlink(ctx, l.runKey(run, "")) // last: until then the call can be repeated
		return nil
	})
	return err
}

func (l *Ledger) forgetSteps(ctx context.Context, run string, steps []string) error {
	var chunks []*redis.StringSliceCmd
	var abouts []*redis.SliceCmd
	_, err := l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, step := range steps {
			abouts = append(abouts, p.HMGet(ctx, l.runKey(run, ":S:"+step), "grower", "gate"))
			chunks = append(chunks, p.ZRange(ctx, l.runKey(run, ":q:"+step), 0, -1))
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, step := range steps {
			var keys []string
			for _, kind := range []string{"S", "need", "then", "lets", "feeds", "spec", "q", "live", "fin", "done"} {
				keys = append(keys, l.runKey(run, ":"+kind+":"+step))
			}
			about := reply(abouts[i].Val())
			keys = append(keys, l.runKey(run, ":gr:"+about.text(0)), l.runKey(run, ":g:"+about.text(1)), l.runKey(run, ":gw:"+about.text(1)))
			for _, chunk := range chunks[i].Val() {
				keys = append(keys, l.runKey(run, ":c:"+chunk+":"+step))
			}
			own := run + " " + step
			for _, kind := range []string{"wh:", "wo:", "wg:"} {
				keys = append(keys, l.key(kind+own))
			}
			p.Unlink(ctx, keys...)
			p.ZRem(ctx, l.key("due"), own)
		}
		return nil
	})
	return err
}

// leaveWindow removes what a run left in a shared window: places of revoked attempts whose lease has not ended.
func (l *Ledger) leaveWindow(ctx context.Context, run, window string) error {
	var out, ghosts, heads, limits, places *redis.StringSliceCmd
	_, err := l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		out = p.SMembers(ctx, l.key("wo:"+window))
		ghosts = p.ZRange(ctx, l.key("wg:"+window), 0, -1)
		heads = p.ZRange(ctx, l.key("wh:"+window), 0, -1)
		limits = p.ZRange(ctx, l.key("wl:"+window), 0, -1)
		places = p.SMembers(ctx, l.key("wp:"+window))
		return nil
	})
	if err != nil {
		return err
	}
	_, err = l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for kind, cmd := range map[string]*redis.StringSliceCmd{"wg:": ghosts, "wh:": heads, "wl:": limits} {
			if own := ofRun(cmd.Val(), run); len(own) > 0 {
				p.ZRem(ctx, l.key(kind+window), own...)
			}
		}
		for kind, cmd := range map[string]*redis.StringSliceCmd{"wo:": out, "wp:": places} {
			if own := ofRun(cmd.Val(), run); len(own) > 0 {
				p.SRem(ctx, l.key(kind+window), own...)
			}
		}
		if len(heads.Val()) > len(ofRun(heads.Val(), run)) {
			p.ZAdd(ctx, l.key("due"), redis.Z{Score: 0, Member: window}) // other runs wait there: the sweep looks again
		} else {
			p.ZRem(ctx, l.key("due"), window)
		}
		return nil
	})
	return err
}

func ofRun(members []string, run string) []any {
	var own []any
	for _, m := range members {
		if strings.HasPrefix(m, run+" ") {
			own = append(own, m)
		}
	}
	return own
}
