package workers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"salvor/archive"
	"salvor/tasks"
)

// rootText is what segments say of the tree that they were read from, so that a resumed run takes only what is of the same
// tree.
func rootText(identities []string) string {
	sum := sha256.Sum256([]byte(strings.Join(identities, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// storedSegments returns the segments that earlier lives of the run stored of this tree, behind the place where the listing
// goes on: ascending, and without overlap.
func (c *cutter) storedSegments(ctx context.Context) ([]archive.StoredSegment, error) {
	if c.run.plan.Resumed == 0 || c.node.Anew {
		return nil, nil
	}
	all, err := c.run.archive.StoredSegments(ctx, c.run.ref, c.node.Node)
	if err != nil {
		return nil, fmt.Errorf("find what is stored of node %s: %w", c.node.Node, err)
	}
	root := rootText(c.next.Identities)
	end := string(c.next.From)
	var chosen []archive.StoredSegment
	for _, s := range all {
		if s.Root != root || s.From < end {
			continue
		}
		chosen = append(chosen, s)
		if end = s.To; end == "" {
			break
		}
	}
	return chosen, nil
}

// adopt answers with the segment that an earlier life of the run stored for the range, where that is whole.
func (a *attempt) adopt(ctx context.Context, spec tasks.PartSpec) (any, bool, error) {
	if spec.Adopt == "" {
		return nil, false, nil
	}
	record, ok, err := a.run.archive.Adopt(ctx, spec.Adopt, string(spec.From), string(spec.To))
	if err != nil {
		return nil, false, fmt.Errorf("read what is stored of node %s: %w", a.claim.Task.Node, err)
	}
	if !ok {
		return nil, false, nil
	}
	data, err := json.Marshal(record)
	if err != nil {
		return nil, false, fmt.Errorf("encode record of segment %s: %w", spec.Adopt, err)
	}
	a.entries.Add(record.Entries)
	return tasks.PartResult{Index: spec.Index, Ended: time.Now().UTC(), Segments: []json.RawMessage{data}}, true, nil
}
