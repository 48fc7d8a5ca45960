package workers

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"salvor/archive"
	"salvor/drivers"
)

// selection restricts a restore to some paths, and all below each; or to parts by name. An empty one takes all.
type selection []string

func selectionOf(only [][]byte) selection {
	var s selection
	for _, path := range only {
		s = append(s, string(path))
	}
	return s
}

// takes tells whether a path (or a part's name) is selected.
func (s selection) takes(p string) bool {
	if len(s) == 0 {
		return true
	}
	for _, only := range s {
		if p == only || (len(p) > len(only) && p[len(only)] == '/' && strings.HasPrefix(p, only)) {
			return true
		}
	}
	return false
}

// touches tells whether a range of paths can hold a selected one.
func (s selection) touches(r drivers.Range) bool {
	if len(s) == 0 {
		return true
	}
	for _, only := range s {
		// The selected paths are only itself and those that begin with only + "/": all below only + "0", as "0" follows "/".
		if (r.To == "" || only < r.To) && only+"0" > r.From {
			return true
		}
	}
	return false
}

// checkFound refuses a selection that names something the dump does not hold.
func (s selection) checkFound(ctx context.Context, a *attempt, t *target) error {
	for _, only := range s {
		if slices.Contains(t.known, only) {
			continue
		}
		found, err := selection{only}.matches(ctx, a.run.archive, t.manifest)
		if err != nil {
			return err
		}
		if !found {
			return drivers.WithHint(
				fmt.Errorf("restore node %s: %w: the dump holds nothing named %q", a.claim.Task.Node, drivers.ErrInvalid, only),
				fmt.Sprintf("list what it holds: salvor show %s %s", a.run.ref.Dump, a.claim.Task.Node))
		}
	}
	return nil
}

// matches tells whether a node's dump holds anything of the selection.
func (s selection) matches(ctx context.Context, a *archive.Archive, m *archive.NodeManifest) (bool, error) {
	for _, p := range m.Parts {
		if s.takes(p.Name) {
			return true, nil
		}
	}
	for _, record := range m.Segments {
		if !s.touches(drivers.Range{From: string(record.From), To: string(record.To)}) {
			continue
		}
		err := a.Segment(ctx, record, func(e archive.Entry) error {
			if s.takes(e.Path) {
				return errFound
			}
			return nil
		})
		if errors.Is(err, errFound) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// errFound ends a search.
var errFound = errors.New("found")

// lastSegment is a node's own name.
func lastSegment(nodePath string) string { return path.Base(nodePath) }
