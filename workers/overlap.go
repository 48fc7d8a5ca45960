package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"salvor/drivers"
	"salvor/tasks"
)

// pathIdentity begins the identity of a source that is a place in the file system.
const pathIdentity = "path:"

// pathOf returns the resolved path among a place's identities; "" for a place that has none.
func pathOf(identities []string) string {
	for _, id := range identities {
		if path, ok := strings.CutPrefix(id, pathIdentity); ok {
			return path
		}
	}
	return ""
}

// below returns inner's path relative to outer; ok is false if inner is not below outer.
func below(inner, outer string) (rel string, ok bool) {
	if inner == "" || outer == "" {
		return "", false
	}
	return strings.CutPrefix(inner, strings.TrimSuffix(outer, "/")+"/")
}

// bucketIdentity begins the identity of objects in a bucket: what all their keys begin with follows, after the bucket's name.
const bucketIdentity = "bucket:"

// sharedBucket tells whether two places are one bucket's objects and some of those are in both.
func sharedBucket(some, others []string) bool {
	for _, one := range some {
		for _, other := range others {
			if strings.HasPrefix(one, bucketIdentity) && strings.HasPrefix(other, bucketIdentity) &&
				(strings.HasPrefix(one, other) || strings.HasPrefix(other, one)) {
				return true
			}
		}
	}
	return false
}

// checkArchiveBucket is checkArchive for buckets: the target's driver tells what it would take the archive's place for.
func (a *attempt) checkArchiveBucket(ctx context.Context, t *target, identities []string) (err error) {
	if _, ok := t.source.(drivers.Bucket); !ok || a.run.archive.Path() != "" {
		return nil
	}
	_, place, err := a.openSource(ctx, a.run, a.claim.Task.Node, t.node.Driver, a.run.plan.Archive)
	if err != nil {
		return nil // what the driver cannot open is no place of its making
	}
	defer func() { err = errors.Join(err, place.Close()) }()
	its, err := place.Identities(ctx)
	if err != nil {
		return fmt.Errorf("identify archive: %w", err)
	}
	if !sharedBucket(its, identities) {
		return nil
	}
	return drivers.WithHint(
		fmt.Errorf("restore node %s: %w: the target and the archive %s lie in each other", a.claim.Task.Node, drivers.ErrInvalid, a.run.archive.Location()),
		"restore to a place apart from the archive")
}

// checkArchive refuses a target that the archive lies in, or that lies in the archive: a mirror would remove the archive,
// and what else is written there would be taken for the archive's.
func (a *attempt) checkArchive(t *target, identities []string) error {
	place, own := a.run.archive.Path(), pathOf(identities)
	if place == "" || own == "" {
		return nil
	}
	_, holds := below(place, own)
	_, inside := below(own, place)
	if place != own && !inside && (!holds || t.manifest.Shape != string(drivers.ShapeTree)) {
		return nil
	}
	return drivers.WithHint(
		fmt.Errorf("restore node %s: %w: the target %s and the archive %s lie in each other", a.claim.Task.Node, drivers.ErrInvalid, own, place),
		"restore to a place apart from the archive")
}

// otherTargets returns the paths, relative to the target, of other nodes' targets that lie below it. It refuses targets that
// would write over each other: the same place twice, or a tree that holds an entry where another node is restored to.
func (a *attempt) otherTargets(ctx context.Context) ([]string, error) {
	places := make(map[string][]string)
	for _, step := range a.run.plan.Steps {
		if step.Kind != tasks.KindCheck {
			continue
		}
		err := a.cfg.Ledger.Results(ctx, a.claim.Run, step.ID, func(task string, data json.RawMessage) error {
			var r tasks.NodeResult
			if err := json.Unmarshal(data, &r); err != nil {
				return fmt.Errorf("decode result of task %s: %w", task, err)
			}
			places[r.Node] = r.Identities
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read results of step %s: %w", step.ID, err)
		}
	}
	own := places[a.claim.Task.Node]
	var nested []string
	for node, other := range places {
		if node == a.claim.Task.Node {
			continue
		}
		if sharedBucket(own, other) || slices.ContainsFunc(own, func(id string) bool { return slices.Contains(other, id) }) {
			return nil, drivers.WithHint(
				fmt.Errorf("restore node %s: %w: node %s is restored to the same place", a.claim.Task.Node, drivers.ErrInvalid, node),
				"give each node a target of its own with --into")
		}
		// Whichever of the two comes first refuses, so that nothing is written.
		if rel, ok := below(pathOf(other), pathOf(own)); ok {
			if err := a.checkNested(ctx, a.claim.Task.Node, rel, node); err != nil {
				return nil, err
			}
			nested = append(nested, rel)
		}
		if rel, ok := below(pathOf(own), pathOf(other)); ok {
			if err := a.checkNested(ctx, node, rel, a.claim.Task.Node); err != nil {
				return nil, err
			}
		}
	}
	return nested, nil
}

// checkNested refuses to restore a tree that holds something at the path where another node is restored to.
func (a *attempt) checkNested(ctx context.Context, outer, rel, inner string) error {
	manifest, err := a.run.nodeManifest(ctx, outer)
	if err != nil || manifest == nil || manifest.Shape != string(drivers.ShapeTree) {
		return err
	}
	if !selectionOf(a.run.plan.Restore.Nodes[outer].Only).takes(rel) {
		return nil
	}
	clash, err := selection{rel}.matches(ctx, a.run.archive, manifest)
	if err != nil || !clash {
		return err
	}
	return drivers.WithHint(
		fmt.Errorf("restore node %s: %w: it holds %q, where node %s is restored to", outer, drivers.ErrInvalid, rel, inner),
		"restore one of them elsewhere with --into, or one after the other with --only")
}
