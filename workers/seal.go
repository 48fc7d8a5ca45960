package workers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"salvor/archive"
	"salvor/drivers"
	"salvor/tasks"
)

// problemsKept bounds how many problems are listed in a node's manifest; all of them stand in its segments.
const problemsKept = 100

// errIncomplete tells that the ledger's results do not make a whole; it is a defect, and nothing is committed on it.
var errIncomplete = errors.New("results are incomplete")

// seal writes the node's manifest out of the results of its freeze and its parts. It reads no clock: two attempts write
// the same bytes.
func (a *attempt) seal(ctx context.Context) (any, error) {
	path := a.claim.Task.Node
	node := a.run.nodes[path]
	if sealed, err := a.sealedBefore(); sealed || err != nil {
		return a.sealedResult(ctx, path, err)
	}
	kind, err := a.cfg.Registry.Lookup(node.Driver)
	if err != nil {
		return nil, errors.Join(drivers.ErrInvalid, err)
	}
	frozen, err := a.frozen(ctx, path)
	if err != nil {
		return nil, err
	}
	m := archive.NodeManifest{
		Set: a.run.plan.Set, Dump: a.run.plan.Dump, Path: path, Driver: node.Driver, Shape: string(kind.Shape), Keys: frozen.Keys,
		Source: node.Source, Options: node.Options, Hostname: frozen.Hostname, Identities: frozen.Identities,
		Facts: frozen.Facts, Started: frozen.Started, Ended: frozen.Ended, Skew: frozen.Skew,
	}
	if err := a.collect(ctx, &m, frozen.Parts); err != nil {
		return nil, err
	}
	record, err := a.run.archive.PutNode(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("write manifest of node %s: %w", path, err)
	}
	stored, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encode record of node %s: %w", path, err)
	}
	result := tasks.NodeResult{
		Node: path, Driver: node.Driver, Parts: len(m.Parts) + len(m.Segments), Entries: m.Entries, Bytes: m.Bytes,
		Stored: m.Stored, Reused: m.Reused, Unreadable: m.Unreadable, Vanished: m.Vanished, Manifest: stored,
	}
	for _, p := range m.Problems {
		result.Problems = append(result.Problems, problem(p.Path, p.Message))
	}
	return result, nil
}

// sealedBefore tells whether an earlier life of the run sealed the node.
func (a *attempt) sealedBefore() (bool, error) {
	if a.claim.Task.Spec == nil {
		return false, nil
	}
	var spec tasks.SealSpec
	err := a.spec(&spec)
	return spec.Sealed, err
}

// sealedResult answers for a node that was sealed before, out of its manifest.
func (a *attempt) sealedResult(ctx context.Context, path string, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	record, ok, err := a.run.archive.Sealed(ctx, a.run.ref, path)
	if err != nil {
		return nil, fmt.Errorf("read manifest of node %s: %w", path, err)
	}
	if !ok {
		return nil, fmt.Errorf("seal node %s: %w: its manifest is gone", path, archive.ErrCorrupt)
	}
	stored, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encode record of node %s: %w", path, err)
	}
	return tasks.NodeResult{
		Node: path, Driver: record.Driver, Parts: record.Parts, Entries: record.Entries, Bytes: record.Bytes, Stored: record.Stored,
		Reused: record.Reused, Unreadable: record.Unreadable, Vanished: record.Vanished, Manifest: stored,
	}, nil
}

// frozen finds what the freeze task said of this node.
func (a *attempt) frozen(ctx context.Context, path string) (tasks.Frozen, error) {
	var found *tasks.Frozen
	for _, step := range a.run.plan.Steps {
		if step.Kind != tasks.KindFreeze {
			continue
		}
		if !freezes(step, path) {
			continue
		}
		err := a.cfg.Ledger.Results(ctx, a.claim.Run, step.ID, func(_ string, data json.RawMessage) error {
			var r tasks.FreezeResult
			if err := json.Unmarshal(data, &r); err != nil {
				return fmt.Errorf("decode result of step %s: %w", step.ID, err)
			}
			if f, ok := r.Nodes[path]; ok {
				found = &f
			}
			return nil
		})
		if err != nil {
			return tasks.Frozen{}, fmt.Errorf("read results of step %s: %w", step.ID, err)
		}
	}
	if found == nil {
		return tasks.Frozen{}, fmt.Errorf("seal node %s: %w: no result of its freeze", path, errIncomplete)
	}
	return *found, nil
}

// freezes tells whether a freeze step opens the node's view.
func freezes(step tasks.Step, path string) bool {
	for _, t := range step.Tasks {
		var spec tasks.FreezeSpec
		if json.Unmarshal(t.Spec, &spec) != nil {
			continue
		}
		if slices.ContainsFunc(spec.Nodes, func(n tasks.FreezeNode) bool { return n.Node == path }) {
			return true
		}
	}
	return false
}

// collect puts the results of the node's parts into its manifest, in order, and proves that none is missing.
func (a *attempt) collect(ctx context.Context, m *archive.NodeManifest, parts int) error {
	step := a.stepOf(tasks.KindPart, m.Path)
	found := 0
	indexes := make(map[int]bool) // of the parts that are there
	err := a.cfg.Ledger.Results(ctx, a.claim.Run, step, func(task string, data json.RawMessage) error {
		var r tasks.PartResult
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("decode result of task %s: %w", task, err)
		}
		found++
		if r.Ended.After(m.Ended) {
			m.Ended = r.Ended
		}
		if r.Part != nil {
			indexes[r.Index] = true
			for _, data := range append(r.Splits, r.Part) {
				var p archive.PartRecord
				if err := json.Unmarshal(data, &p); err != nil {
					return fmt.Errorf("decode record of task %s: %w", task, err)
				}
				p.Index = r.Index
				m.Parts = append(m.Parts, p)
			}
			return nil
		}
		for _, data := range r.Segments {
			var s archive.SegmentRecord
			if err := json.Unmarshal(data, &s); err != nil {
				return fmt.Errorf("decode record of task %s: %w", task, err)
			}
			m.Segments = append(m.Segments, s)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read results of step %s: %w", step, err)
	}
	if found != parts {
		return fmt.Errorf("seal node %s: %w: %d of %d parts", m.Path, errIncomplete, found, parts)
	}
	for i := range len(indexes) {
		if !indexes[i] {
			return fmt.Errorf("seal node %s: %w: part %d is missing", m.Path, errIncomplete, i)
		}
	}
	// The objects of one part stand in the order of their making.
	slices.SortStableFunc(m.Parts, func(x, y archive.PartRecord) int { return x.Index - y.Index })
	for i := range m.Parts {
		m.Parts[i].Index = i
	}
	slices.SortFunc(m.Segments, func(x, y archive.SegmentRecord) int { return bytes.Compare(x.From, y.From) })
	return sum(m)
}

// problem names an entry in a result, whose text must be UTF-8.
func problem(path, message string) tasks.Problem {
	if utf8.ValidString(path) {
		return tasks.Problem{Path: path, Message: message}
	}
	return tasks.Problem{Path: strings.ToValidUTF8(path, "\uFFFD"), PathB64: []byte(path), Message: message}
}

// stepOf returns the id of a node's step of a kind.
func (a *attempt) stepOf(kind tasks.Kind, path string) string {
	for _, s := range a.run.plan.Steps {
		if s.Kind == kind && s.Node == path {
			return s.ID
		}
	}
	return ""
}

// sum adds up a manifest's records and checks that they are without a gap.
func sum(m *archive.NodeManifest) error {
	for _, p := range m.Parts {
		m.Entries++
		m.Bytes += p.Size
		m.Stored += p.Stored
	}
	end := []byte(nil)
	for i := range m.Segments {
		s := &m.Segments[i]
		s.Index = i
		if string(s.From) != string(end) || (i > 0 && len(s.From) == 0) {
			return fmt.Errorf("seal node %s: %w: segment %d is missing", m.Path, errIncomplete, i)
		}
		end = s.To
		m.Entries += s.Entries
		m.Bytes += s.Bytes
		m.Stored += s.Stored
		m.Reused += s.Reused
		m.Unreadable += s.Unreadable
		m.Vanished += s.Vanished
		m.Problems = append(m.Problems, s.Problems[:min(len(s.Problems), problemsKept-len(m.Problems))]...)
	}
	if len(end) > 0 || (m.Shape == string(drivers.ShapeTree) && len(m.Segments) == 0) {
		return fmt.Errorf("seal node %s: %w: the last segment is missing", m.Path, errIncomplete)
	}
	return nil
}
