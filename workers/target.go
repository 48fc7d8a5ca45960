package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"salvor/archive"
	"salvor/drivers"
	"salvor/tasks"
)

// target is where a node is restored to, with what is restored there.
type target struct {
	node     tasks.RestoreNode
	rules    drivers.Target
	manifest *archive.NodeManifest
	source   drivers.Source
	only     selection
	known    []string // selected names of what has no parts
}

// openTarget opens the place that the task's node is restored to.
func (a *attempt) openTarget(ctx context.Context) (*target, error) {
	path := a.claim.Task.Node
	if a.run.plan.Restore == nil {
		return nil, fmt.Errorf("task %s: %w: the run restores nothing", a.claim.Task.ID, drivers.ErrInvalid)
	}
	node, ok := a.run.plan.Restore.Nodes[path]
	if !ok {
		return nil, fmt.Errorf("task %s: %w: node %s is not restored", a.claim.Task.ID, drivers.ErrInvalid, path)
	}
	manifest, err := a.run.nodeManifest(ctx, path)
	if err != nil {
		return nil, err
	}
	if manifest == nil {
		return nil, fmt.Errorf("restore node %s: %w: dump %s does not hold it", path, drivers.ErrNotFound, a.run.ref.Dump)
	}
	if planned := a.run.nodes[path].Driver; planned != manifest.Driver {
		return nil, fmt.Errorf("restore node %s: %w: its manifest names the driver %q, its plan %q", path, archive.ErrCorrupt, manifest.Driver, planned)
	}
	open := func() (drivers.Kind, drivers.Source, error) {
		return a.openSource(ctx, a.run, path, node.Driver, node.Source)
	}
	if a.run.plan.Capture != nil {
		open = func() (drivers.Kind, drivers.Source, error) { return a.openCompared(ctx) }
	}
	kind, source, err := open()
	if err != nil {
		return nil, err
	}
	if string(kind.Shape) != manifest.Shape || (kind.Shape == drivers.ShapeStream && kind.Name != manifest.Driver) {
		err := fmt.Errorf("restore node %s: %w: what %s dumped cannot be restored by %s", path, drivers.ErrInvalid, manifest.Driver, kind.Name)
		return nil, errors.Join(err, source.Close())
	}
	if manifest.Keys && kind.Name != manifest.Driver {
		err := fmt.Errorf("restore node %s: %w: what it holds are objects, and %s knows none", path, drivers.ErrInvalid, kind.Name)
		return nil, errors.Join(drivers.WithHint(err, fmt.Sprintf("restore it by the driver %s, which takes a directory too: --into %s=%s:DIR",
			manifest.Driver, lastSegment(path), manifest.Driver)), source.Close())
	}
	r := a.run.plan.Restore
	names, known := kind.Selected(partsOf(manifest), selectionOf(node.Only))
	only := selection(names)
	t := &target{node: node, manifest: manifest, source: source, only: only, known: known}
	t.rules = drivers.Target{
		Run: a.claim.Run, Overwrite: r.Overwrite, Mirror: r.Mirror, Create: r.Create, Clean: r.Clean, Only: only,
		// What is compared with must be all that was dumped.
		Continue: a.run.plan.OnError == tasks.OnErrorContinue && a.run.plan.Capture == nil,
		Open: func(ctx context.Context, part drivers.Part) (io.ReadCloser, error) {
			for _, record := range manifest.Parts {
				if record.Name == part.Name {
					return a.run.archive.OpenPart(ctx, record)
				}
			}
			return nil, fmt.Errorf("open part %s: %w: the dump has no such part", part.Name, drivers.ErrInvalid)
		},
		Found: a.keepFound,
	}
	return t, nil
}

// cannotHold tells that the target is a directory and refused a key that only a bucket can have. Of what is said to be a
// directory's, such a path is no key but an attack.
func (t *target) cannotHold(err error) bool {
	return t.manifest.Keys && errors.Is(err, drivers.ErrUnsafePath)
}

// tree returns the target as a tree; it is one if the manifest has segments.
func (t *target) tree() (drivers.Tree, error) {
	tree, ok := t.source.(drivers.Tree)
	if !ok {
		return nil, fmt.Errorf("%w: driver %s is not a tree", drivers.ErrInvalid, t.node.Driver)
	}
	return tree, nil
}

// stream returns the target as a stream.
func (t *target) stream() (drivers.Stream, error) {
	stream, ok := t.source.(drivers.Stream)
	if !ok {
		return nil, fmt.Errorf("%w: driver %s is not a stream", drivers.ErrInvalid, t.node.Driver)
	}
	return stream, nil
}

// partsOf returns all parts of a stream.
func partsOf(m *archive.NodeManifest) []drivers.Part {
	parts := make([]drivers.Part, len(m.Parts))
	for i, p := range m.Parts {
		parts[i] = partOf(p)
	}
	return parts
}

// records returns the selected parts of a stream.
func (t *target) records() []archive.PartRecord {
	return slices.DeleteFunc(slices.Clone(t.manifest.Parts), func(p archive.PartRecord) bool { return !p.Base && !t.only.takes(p.Name) })
}

// parts returns the selected parts of a stream, as its driver described them.
func (t *target) parts() []drivers.Part {
	var parts []drivers.Part
	for _, p := range t.records() {
		parts = append(parts, partOf(p))
	}
	return parts
}

func partOf(p archive.PartRecord) drivers.Part {
	return drivers.Part{Name: p.Name, Ext: p.Ext, Size: p.Size, Ref: p.Ref, Base: p.Base, SHA256: p.SHA256, Rows: p.Rows, Digest: p.Digest}
}

// entryOf is the driver's view of a stored entry.
func entryOf(e archive.Entry) (drivers.Entry, error) {
	out := drivers.Entry{Path: e.Path, Type: drivers.EntryType(e.Type), Size: e.Size, Version: e.Version}
	if len(e.Meta) > 0 {
		if err := json.Unmarshal(e.Meta, &out.Meta); err != nil {
			return out, fmt.Errorf("%w: metadata of %q: %w", archive.ErrCorrupt, e.Path, err)
		}
	}
	return out, nil
}

// check tells whether the node may be restored to its target. All checks of a run are done before anything is written.
func (a *attempt) check(ctx context.Context) (_ any, err error) {
	t, err := a.openTarget(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.source.Close()) }()
	identities, err := t.source.Identities(ctx)
	if err != nil {
		return nil, fmt.Errorf("identify target of node %s: %w", a.claim.Task.Node, err)
	}
	if skip, err := a.skips(); skip || err != nil {
		return tasks.NodeResult{Node: a.claim.Task.Node, Identities: identities}, err // others must know where it is
	}
	if err := a.checkPlace(t, identities); err != nil {
		return nil, err
	}
	if err := errors.Join(a.checkArchive(t, identities), a.checkArchiveBucket(ctx, t, identities)); err != nil {
		return nil, err
	}
	if err := t.only.checkFound(ctx, a, t); err != nil {
		return nil, err
	}
	if t.manifest.Shape == string(drivers.ShapeTree) {
		err = a.checkTree(ctx, t)
	} else {
		var stream drivers.Stream
		stream, err = t.stream()
		if err == nil && (t.rules.Replace() || t.rules.Clean) {
			err = a.run.archive.CheckStored(ctx, t.records()) // before anything is removed
		}
		if err == nil {
			err = stream.CheckTarget(ctx, t.rules, t.parts())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("check target of node %s: %w", a.claim.Task.Node, err)
	}
	return tasks.NodeResult{Node: a.claim.Task.Node, Identities: identities}, nil
}

// checkPlace refuses a target that is the source itself, unless the user said so.
func (a *attempt) checkPlace(t *target, identities []string) error {
	if a.run.plan.Restore.InPlace {
		return nil
	}
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read host name: %w", err)
	}
	here := hostname == t.manifest.Hostname
	same := sharedBucket(identities, t.manifest.Identities) || slices.ContainsFunc(identities, func(id string) bool {
		return (here || strings.HasPrefix(id, drivers.Global)) && slices.Contains(t.manifest.Identities, id)
	})
	if !same && !here {
		return nil
	}
	if !same && t.manifest.Shape == string(drivers.ShapeTree) {
		_, inside := below(pathOf(identities), pathOf(t.manifest.Identities))
		_, around := below(pathOf(t.manifest.Identities), pathOf(identities))
		same = inside || around
	}
	if !same {
		return nil
	}
	name := lastSegment(a.claim.Task.Node)
	return drivers.WithHint(
		fmt.Errorf("restore node %s: %w: the target is the source that was dumped, or one lies in the other", a.claim.Task.Node, drivers.ErrNotEmpty),
		fmt.Sprintf("restore elsewhere with --into %s=…, or allow it with --in-place", name))
}

// prepareTree makes a tree ready and keeps other runs out of it from now on. It tells whether nothing is there. What came
// since the check, by a run that was faster, is found again.
func (a *attempt) prepareTree(ctx context.Context, t *target) (fresh bool, err error) {
	tree, err := t.tree()
	if err != nil {
		return false, err
	}
	if err := a.occupy(ctx, t); err != nil {
		return false, err
	}
	if fresh, err = isEmpty(ctx, tree); err != nil || fresh || t.rules.Replace() {
		return fresh, err
	}
	return false, a.compareTree(ctx, t, tree, false)
}

// prepare makes the target ready and adds a task for each part or segment.
func (a *attempt) prepare(ctx context.Context) (_ any, err error) {
	t, err := a.openTarget(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.source.Close()) }()
	if _, err := a.otherTargets(ctx); err != nil {
		return nil, err
	}
	fresh := false
	if t.manifest.Shape == string(drivers.ShapeTree) {
		fresh, err = a.prepareTree(ctx, t)
	} else {
		var stream drivers.Stream
		if stream, err = t.stream(); err == nil {
			err = stream.Prepare(ctx, t.rules, t.parts())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("prepare target of node %s: %w", a.claim.Task.Node, err)
	}
	if err := a.growLoads(ctx, t, fresh); err != nil {
		return nil, err
	}
	return tasks.NodeResult{Node: a.claim.Task.Node}, nil
}
