package workers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"salvor/drivers/relational"
	"salvor/drivers/relational/declared"
)

// declare puts what the node's options say, and what Django's own tables tell, on the tables of the database.
func (a *attempt) declare(ctx context.Context, live *observed) (*declared.Bound, error) {
	path := a.run.plan.Capture.Node
	options, err := declared.FromNode(a.run.nodes[path].Options)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", path, err)
	}
	types, err := declared.ReadContentTypes(ctx, live.view)
	if err != nil {
		return nil, fmt.Errorf("observe node %s: %w", path, err)
	}
	bound, err := options.Bind(live.model, types)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", path, err)
	}
	return bound, nil
}

// encodeEdges writes references that no constraint declares as a capture's document has them; nil where there are none.
func encodeEdges(edges map[relational.Name][]relational.Edge) (json.RawMessage, error) {
	type tableEdges struct {
		Table relational.Name   `json:"table"`
		Edges []relational.Edge `json:"edges"`
	}
	var list []tableEdges
	for _, name := range slices.SortedFunc(maps.Keys(edges), relational.Name.Compare) {
		list = append(list, tableEdges{name, edges[name]})
	}
	if list == nil {
		return nil, nil
	}
	data, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("encode references: %w", err)
	}
	return data, nil
}
