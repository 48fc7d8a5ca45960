package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"salvor/archive"
	"salvor/drivers"
	"salvor/tasks"
)

// finish settles a target after its last load: removes what a mirror must not have, sets what writing disturbed, and adds
// up what the loads said.
func (a *attempt) finish(ctx context.Context) (_ any, err error) {
	path := a.claim.Task.Node
	t, err := a.openTarget(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.source.Close()) }()
	result, err := a.sumLoads(ctx)
	if err != nil {
		return nil, err
	}
	result.Driver = t.node.Driver
	if t.manifest.Shape == string(drivers.ShapeTree) {
		err = a.settleTree(ctx, t, &result)
	} else {
		var stream drivers.Stream
		if stream, err = t.stream(); err == nil {
			err = stream.Finish(ctx, t.rules, t.parts())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("finish target of node %s: %w", path, err)
	}
	return result, nil
}

// sumLoads adds up the results of the node's loads.
func (a *attempt) sumLoads(ctx context.Context) (tasks.NodeResult, error) {
	result := tasks.NodeResult{Node: a.claim.Task.Node, Warnings: make(map[string]int64)}
	step := a.stepOf(tasks.KindLoad, result.Node)
	err := a.cfg.Ledger.Results(ctx, a.claim.Run, step, func(task string, data json.RawMessage) error {
		var r tasks.LoadResult
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("decode result of task %s: %w", task, err)
		}
		result.Parts++
		result.Entries += r.Entries
		result.Equal += r.Equal
		result.Bytes += r.Bytes
		result.Unreadable += r.Failed
		addCounts(result.Warnings, r.Warnings)
		result.Problems = append(result.Problems, r.Problems[:min(len(r.Problems), problemsKept-len(result.Problems))]...)
		return nil
	})
	if err != nil {
		return result, fmt.Errorf("read results of step %s: %w", step, err)
	}
	return result, nil
}

func addCounts(to, from map[string]int64) {
	for k, n := range from {
		to[k] += n
	}
}

// settleTree removes extra entries where the rules say so, then sets directories and hard links, from the last path to
// the first.
func (a *attempt) settleTree(ctx context.Context, t *target, result *tasks.NodeResult) error {
	tree, err := t.tree()
	if err != nil {
		return err
	}
	to := tree.Target()
	if t.rules.Mirror {
		removed, err := a.removeExtra(ctx, t, tree, to)
		if err != nil {
			return err
		}
		if removed > 0 {
			result.Warnings["extra entries removed"] += removed
		}
	}
	keep := func(e archive.Entry) bool {
		return e.Meta != nil && e.Type == string(drivers.TypeDir) || strings.Contains(string(e.Meta), `"link":`)
	}
	err = t.descending(ctx, a.run.archive, keep, func(stored archive.Entry) error {
		e, err := entryOf(stored)
		if err != nil {
			return err
		}
		return to.Settle(ctx, t.rules, a.name(), e)
	})
	if err != nil {
		return err
	}
	if err := to.Sync(ctx); err != nil {
		return err
	}
	addCounts(result.Warnings, to.Warnings())
	return nil
}

// removeAtOnce bounds the paths that are collected before they are removed: a walk does not run while its tree changes.
const removeAtOnce = 1000

// removeExtra removes what the target holds and the dump does not.
func (a *attempt) removeExtra(ctx context.Context, t *target, tree drivers.Tree, to drivers.TreeTarget) (removed int64, err error) {
	from := ""
	for {
		extra, err := a.findExtra(ctx, t, tree, from)
		if err != nil {
			return removed, err
		}
		for _, p := range extra {
			if err := to.Remove(ctx, p); err != nil {
				return removed, fmt.Errorf("remove %q: %w", p, err)
			}
			removed++
		}
		if len(extra) < removeAtOnce {
			return removed, nil
		}
		from = extra[len(extra)-1]
	}
}

// findExtra returns the next extra paths from a path on; what lies below one of them is not named.
func (a *attempt) findExtra(ctx context.Context, t *target, tree drivers.Tree, from string) ([]string, error) {
	stored := newEntryCursor(ctx, a.run.archive, t)
	defer stored.close()
	var extra []string
	err := tree.Walk(ctx, drivers.Range{From: from}, func(have drivers.Entry) error {
		if have.Path == "" || !t.only.takes(have.Path) {
			return nil
		}
		if n := len(extra); n > 0 && strings.HasPrefix(have.Path, extra[n-1]+"/") {
			return nil
		}
		_, ok, err := stored.seek(have.Path)
		if err != nil {
			return err
		}
		if ok {
			return nil
		}
		if extra = append(extra, have.Path); len(extra) == removeAtOnce {
			return errStopped
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStopped) {
		return nil, err
	}
	return extra, nil
}
