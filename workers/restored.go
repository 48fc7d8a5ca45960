package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"salvor/archive"
	"salvor/tasks"
)

// skips tells whether the task's node was restored by an earlier life of the run.
func (a *attempt) skips() (bool, error) {
	if len(a.claim.Task.Spec) == 0 {
		return false, nil
	}
	var spec tasks.RestoredSpec
	err := a.spec(&spec)
	return spec.Restored, err
}

// restored returns what the archive was told of the task's node, by this life of the run or an earlier one; false where
// nothing was.
func (a *attempt) restored(ctx context.Context) (tasks.Restored, bool, error) {
	var r tasks.Restored
	path := a.claim.Task.Node
	must, err := a.skips()
	if err != nil {
		return r, false, err
	}
	data, ok, err := a.run.archive.Restored(ctx, a.claim.Run, path)
	switch {
	case err != nil:
		return r, false, fmt.Errorf("look whether node %s is restored: %w", path, err)
	case !ok && must:
		return r, false, fmt.Errorf("finish target of node %s: %w: what says that it is restored is gone", path, archive.ErrNotFound)
	case !ok:
		return r, false, nil
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, false, fmt.Errorf("%w: decode what is noted of node %s: %w", archive.ErrCorrupt, path, err)
	}
	return r, true, nil
}

// keepRestored tells the archive that the task's node is restored. An archive that cannot be written to keeps no run either,
// so none will be resumed.
func (a *attempt) keepRestored(ctx context.Context, r tasks.Restored) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode what is restored: %w", err)
	}
	err = a.run.archive.KeepRestored(ctx, a.claim.Run, a.claim.Task.Node, data)
	if errors.Is(err, archive.ErrAccess) || errors.Is(err, archive.ErrNoSpace) {
		a.cfg.Log.WarnContext(ctx, "the archive cannot be written: it is not noted that a node is restored", "node", a.claim.Task.Node, "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("note that node %s is restored: %w", a.claim.Task.Node, err)
	}
	return nil
}

// keepFound keeps what the run found first in its target's place, and returns it.
func (a *attempt) keepFound(ctx context.Context, what string) (string, error) {
	path := a.claim.Task.Node
	data, err := json.Marshal(what)
	if err != nil {
		return "", fmt.Errorf("encode what was found: %w", err)
	}
	kept, err := a.run.archive.KeepFound(ctx, a.claim.Run, path, data)
	if errors.Is(err, archive.ErrAccess) || errors.Is(err, archive.ErrNoSpace) {
		a.cfg.Log.WarnContext(ctx, "the archive cannot be written: it is not noted what was in the target's place", "node", path, "error", err)
		return what, nil
	}
	if err != nil {
		return "", fmt.Errorf("note what was in the place of node %s: %w", path, err)
	}
	if err := json.Unmarshal(kept, &what); err != nil {
		return "", fmt.Errorf("%w: decode what was in the place of node %s: %w", archive.ErrCorrupt, path, err)
	}
	return what, nil
}
