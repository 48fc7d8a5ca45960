package workers

import (
	"context"
	"errors"
	"fmt"

	"salvor/drivers"
)

// checkTree refuses a target tree that holds what the dump does not, or something that differs, unless the rules allow to
// replace it. It goes through both in step, in constant memory, and reads contents only of files that are on both sides.
func (a *attempt) checkTree(ctx context.Context, t *target) error {
	if t.rules.Replace() {
		return nil
	}
	tree, err := t.tree()
	if err != nil {
		return err
	}
	stored := newEntryCursor(ctx, a.run.archive, t)
	defer stored.close()
	err = tree.Walk(ctx, drivers.Range{}, func(have drivers.Entry) error {
		if have.Path == "" || !t.only.takes(have.Path) {
			return nil // the root itself is no content
		}
		if have.Err != nil {
			return fmt.Errorf("look at %q: %w", have.Path, have.Err)
		}
		want, ok, err := stored.seek(have.Path)
		if err != nil {
			return err
		}
		if !ok {
			return occupied(have.Path, "is not in the dump")
		}
		e, err := entryOf(want)
		if err != nil {
			return err
		}
		same := tree.Target().Same(e, have)
		if same && have.Type == drivers.TypeFile {
			if same, err = sameContent(ctx, tree, have, want); err != nil {
				return err
			}
		}
		if !same {
			return occupied(have.Path, "differs from the dump")
		}
		return nil
	})
	if errors.Is(err, drivers.ErrNotFound) {
		return nil // absent is the best a target can be
	}
	return err
}

func occupied(path, how string) error {
	return drivers.WithHint(fmt.Errorf("%w: %q %s", drivers.ErrNotEmpty, path, how),
		"restore into an empty place, replace what differs with --overwrite, or make it the dump's image with --mirror")
}
