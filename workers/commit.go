package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"salvor/archive"
	"salvor/tasks"
)

// commit writes the dump's manifest: from then on the dump exists. Nodes without a seal are named as missing. Like seal
// it reads no clock.
func (a *attempt) commit(ctx context.Context) (any, error) {
	m := archive.Manifest{Set: a.run.plan.Set, Dump: a.run.plan.Dump, Run: a.run.plan.Run}
	for _, step := range a.run.plan.Steps {
		if step.Kind != tasks.KindSeal {
			continue
		}
		sealed := false
		err := a.cfg.Ledger.Results(ctx, a.claim.Run, step.ID, func(task string, data json.RawMessage) error {
			record, err := sealRecord(data)
			if err != nil {
				return fmt.Errorf("decode result of task %s: %w", task, err)
			}
			m.Nodes = append(m.Nodes, record)
			sealed = true
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read results of step %s: %w", step.ID, err)
		}
		if !sealed {
			m.Missing = append(m.Missing, step.Node)
		}
	}
	if len(m.Nodes) == 0 {
		return nil, fmt.Errorf("commit dump %s: %w: no node was dumped", a.run.ref.Dump, errNothingSealed)
	}
	m.Partial = len(m.Missing) > 0
	slices.SortFunc(m.Nodes, func(x, y archive.NodeRecord) int { return strings.Compare(x.Path, y.Path) })
	slices.Sort(m.Missing)
	for _, record := range m.Nodes {
		node, err := a.run.archive.Node(ctx, a.run.ref, record)
		if err != nil {
			return nil, fmt.Errorf("read manifest of node %s: %w", record.Path, err)
		}
		if m.Started.IsZero() || node.Started.Before(m.Started) {
			m.Started = node.Started
		}
		if node.Ended.After(m.Ended) {
			m.Ended = node.Ended
		}
		if a.hasBelow(record.Path) {
			continue
		}
		if err := a.run.archive.Sweep(ctx, node); err != nil {
			return nil, fmt.Errorf("remove what node %s does not need: %w", record.Path, err)
		}
	}
	if err := a.run.archive.Commit(ctx, m); err != nil {
		return nil, fmt.Errorf("commit dump %s: %w", a.run.ref.Dump, err)
	}
	return tasks.CommitResult{Partial: m.Partial, Missing: m.Missing}, nil
}

// hasBelow tells whether other nodes of the plan lie below one.
func (a *attempt) hasBelow(path string) bool {
	return slices.ContainsFunc(a.run.plan.Steps, func(s tasks.Step) bool { return strings.HasPrefix(s.Node, path+"/") })
}

// errNothingSealed tells that there is nothing to commit; the failures of the nodes say why.
var errNothingSealed = errors.New("every node failed")

func sealRecord(data json.RawMessage) (archive.NodeRecord, error) {
	var r tasks.NodeResult
	if err := json.Unmarshal(data, &r); err != nil {
		return archive.NodeRecord{}, err
	}
	var record archive.NodeRecord
	if err := json.Unmarshal(r.Manifest, &record); err != nil {
		return archive.NodeRecord{}, err
	}
	return record, nil
}
