package workers

import (
	"context"
	"errors"
	"fmt"

	"salvor/archive"
	"salvor/drivers"
)

// checkTree refuses a target tree that holds what the dump does not, or something that differs, unless the rules allow to
// replace it. It goes through both in step, in constant memory, and reads contents only of files that are on both sides.
func (a *attempt) checkTree(ctx context.Context, t *target) error {
	tree, err := t.tree()
	if err != nil {
		return err
	}
	if err := tree.Target().Check(ctx, t.rules); err != nil {
		return err
	}
	if t.rules.Mirror {
		return nil // whatever is there gives way
	}
	err = a.compareTree(ctx, t, tree, true)
	if errors.Is(err, drivers.ErrNotFound) {
		return nil // absent is the best a target can be
	}
	return err
}

// compareTree goes through the target and the dump. Without contents, files that look the same are taken to be: a load reads
// and refuses what differs.
func (a *attempt) compareTree(ctx context.Context, t *target, tree drivers.Tree, contents bool) error {
	stored := newEntryCursor(ctx, a.run.archive, t)
	defer stored.close()
	hands := newCrew(ctx, atOnce(tree), archive.ChunkSize, a.logPanic(ctx))
	defer hands.close()
	err := tree.Walk(ctx, drivers.Range{}, func(have drivers.Entry) error {
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
		if t.rules.Overwrite {
			if !ok || have.Type != drivers.TypeDir || want.Type == string(drivers.TypeDir) {
				return nil
			}
			return emptyDir(ctx, tree, have.Path)
		}
		if !ok {
			return occupied(have.Path, "is not in the dump")
		}
		e, err := entryOf(want)
		if err != nil {
			return err
		}
		if !tree.Target().Same(e, have) {
			return occupied(have.Path, "differs from the dump")
		}
		if !contents || have.Type != drivers.TypeFile {
			return nil
		}
		return hands.start(0, func(ctx context.Context, _ *span) error {
			same, err := sameContent(ctx, tree, have, want)
			if err == nil && !same {
				err = occupied(have.Path, "differs from the dump")
			}
			return err
		})
	})
	if err == nil {
		err = hands.wait()
	}
	return err
}

// emptyDir refuses a directory with something in it: --overwrite keeps what is extra, so nothing else can take its place.
func emptyDir(ctx context.Context, tree drivers.Tree, path string) error {
	return tree.Walk(ctx, drivers.Range{From: path + "/", To: path + "0"}, func(e drivers.Entry) error {
		return drivers.WithHint(fmt.Errorf("%w: %q is a directory that holds %q, and no directory in the dump", drivers.ErrNotEmpty, path, e.Path),
			"remove it, or make the target the dump's image with --mirror")
	})
}

func occupied(path, how string) error {
	return drivers.WithHint(fmt.Errorf("%w: %q %s", drivers.ErrNotEmpty, path, how),
		"restore into an empty place, replace what differs with --overwrite, or make it the dump's image with --mirror")
}
