package archive

import (
	"context"
	"errors"
	"fmt"
)

// Sweep removes what attempts at a node left beside the objects that its manifest names: parts of a view that was lost, or of a
// worker that was given up after it had stored them. n is the node's manifest, all of its parts are done, and no other node of the
// dump lies below it. Where this process may write but not remove, they stay: nothing reads them.
func (a *Archive) Sweep(ctx context.Context, n NodeManifest) error {
	ref := Ref{Set: n.Set, Dump: n.Dump}
	if err := errors.Join(ref.check(), validNode(n.Path)); err != nil {
		return err
	}
	named := make(map[string]bool, len(n.Parts)+len(n.Segments))
	for _, p := range n.Parts {
		named[p.Key] = true
	}
	for _, s := range n.Segments {
		named[s.Key] = true
	}
	var left []string
	err := a.store.list(ctx, dataDir(ref, n.Path), listAll, func(o objectInfo) error {
		// What is no key, such as the temporary file of a process that was killed, or still writes, is not this one's to remove.
		if !named[o.key] && !o.odd && validKey(o.key) {
			left = append(left, o.key)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list objects of node %s: %w", n.Path, err)
	}
	for _, key := range left {
		if err := a.store.remove(ctx, key); err != nil && !errors.Is(err, ErrAccess) {
			return err
		}
	}
	return nil
}
