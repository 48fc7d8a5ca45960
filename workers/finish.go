package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"salvor/archive"
	"salvor/drivers"
	"salvor/tasks"
)

// finish settles a target after its last load: removes what a mirror must not have, sets what writing disturbed, and adds
// up what the loads said.
//
// Before the target loses what says that this run made it, and again when nothing is left to do, the archive is told: whoever
// resumes the run must not begin with a target anew that its users may have written to since.
func (a *attempt) finish(ctx context.Context) (_ any, err error) {
	kept, done, err := a.restored(ctx)
	switch {
	case err != nil:
		return nil, err
	case done && kept.Settled:
		return kept.Result, nil
	}
	t, err := a.openTarget(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.source.Close()) }()
	result := kept.Result
	if !done {
		if result, err = a.sumLoads(ctx); err != nil {
			return nil, err
		}
		result.Driver = t.node.Driver
	}
	if t.manifest.Shape == string(drivers.ShapeTree) {
		if err = a.occupy(ctx, t); err == nil {
			err = a.settleTree(ctx, t, &result)
		}
		if err == nil {
			a.vacate()
		}
	} else {
		var stream drivers.Stream
		if stream, err = t.stream(); err == nil {
			if !done {
				t.rules.Problem = func(name, message string) { addProblem(&result, name, errors.New(message)) }
				t.rules.Finished = func(ctx context.Context) error { return a.keepRestored(ctx, tasks.Restored{Result: result}) }
			}
			err = stream.Finish(ctx, t.rules, t.parts())
		}
		if err == nil && a.run.plan.Restore.Prove {
			err = a.prove(ctx, t, stream, &result)
		}
	}
	if err == nil {
		err = a.keepRestored(ctx, tasks.Restored{Result: result, Settled: true})
	}
	if err != nil {
		return nil, fmt.Errorf("finish target of node %s: %w", a.claim.Task.Node, err)
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
		if err := a.removeExtra(ctx, t, tree, to, result); err != nil {
			return err
		}
	}
	last := ""
	keep := func(e archive.Entry) bool {
		if e.Meta == nil {
			return false
		}
		// One entry of each directory is enough to have its leftovers removed, and the parents that were made for it settled.
		first := path.Dir(e.Path) != last
		last = path.Dir(e.Path)
		return first || e.Type == string(drivers.TypeDir) || strings.Contains(string(e.Meta), `"link":`)
	}
	err = t.descending(ctx, a.run.archive, keep, func(stored archive.Entry) error {
		e, err := entryOf(stored)
		if err != nil {
			return err
		}
		err = to.Settle(ctx, t.rules, a.name(), e)
		if t.cannotHold(err) {
			return nil // its load has listed it
		}
		if ownToEntry(err) {
			addProblem(result, e.Path, err)
			return nil
		}
		return err
	})
	if err = errors.Join(err, to.Sync(ctx)); err != nil {
		return err
	}
	addCounts(result.Warnings, to.Warnings())
	return nil
}

// ownToEntry tells an error that says nothing about other entries.
func ownToEntry(err error) bool {
	return errors.Is(err, drivers.ErrNotFound) || errors.Is(err, drivers.ErrAccess) || errors.Is(err, drivers.ErrInvalid)
}

// addProblem lists an entry that is not as the dump says.
func addProblem(result *tasks.NodeResult, path string, err error) {
	result.Unreadable++
	if len(result.Problems) < problemsKept {
		result.Problems = append(result.Problems, problem(path, err.Error()))
	}
}
