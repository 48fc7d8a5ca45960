package workers

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"salvor/archive"
	"salvor/drivers"
)

// selection restricts a restore to some paths, and all below each; or to parts by name. An empty one takes all.
type selection []string

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
		found := false
		for _, p := range t.manifest.Parts {
			found = found || selection([]string{only}).takes(p.Name)
		}
		for _, record := range t.manifest.Segments {
			one := selection{only}
			if found || !one.touches(drivers.Range{From: string(record.From), To: string(record.To)}) {
				continue
			}
			err := a.run.archive.Segment(ctx, record, func(e archive.Entry) error {
				if one.takes(e.Path) {
					return errFound
				}
				return nil
			})
			if err != nil && !errors.Is(err, errFound) {
				return err
			}
			found = err != nil
		}
		if !found {
			return drivers.WithHint(
				fmt.Errorf("restore node %s: %w: the dump holds nothing named %q", a.claim.Task.Node, drivers.ErrInvalid, only),
				fmt.Sprintf("list what it holds: salvor show %s %s", a.run.ref.Dump, a.claim.Task.Node))
		}
	}
	return nil
}

// errFound ends a search.
var errFound = errors.New("found")

// lastSegment is a node's own name.
func lastSegment(nodePath string) string { return path.Base(nodePath) }
