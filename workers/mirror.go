package workers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"salvor/drivers"
	"salvor/tasks"
)

// removeAtOnce bounds the paths that are collected before they are removed: a walk does not run while its tree changes.
const removeAtOnce = 1000

// errUnknown tells what a mirror left alone.
var errUnknown = errors.New("left as it is: the dump could not read this directory")

// mirror finds what a target holds and the dump does not.
type mirror struct {
	*attempt
	target *target
	tree   drivers.Tree
	result *tasks.NodeResult
	// nested are places below the target that other nodes are restored to.
	nested []string
	from   string   // where the next round begins
	extra  []string // found in this round
}

// removeExtra removes what the target holds and the dump does not. What the dump could not read is not known to be extra, and
// what another node is restored to is that node's.
func (a *attempt) removeExtra(ctx context.Context, t *target, tree drivers.Tree, to drivers.TreeTarget, result *tasks.NodeResult) error {
	nested, err := a.otherTargets(ctx)
	if err != nil {
		return err
	}
	m := mirror{attempt: a, target: t, tree: tree, result: result, nested: nested}
	for {
		if err := m.find(ctx); err != nil {
			return err
		}
		for _, p := range m.extra {
			if err := to.Remove(ctx, p); err != nil {
				return fmt.Errorf("remove %q: %w", p, err)
			}
			result.Warnings["extra entries removed"]++
		}
		if len(m.extra) < removeAtOnce {
			return nil
		}
		m.from = m.extra[len(m.extra)-1] + "\x00" // that one may still be there: it holds what is excluded
	}
}

// find collects the next extra paths; what lies below one of them is not named.
func (m *mirror) find(ctx context.Context) error {
	stored := newEntryCursor(ctx, m.run.archive, m.target)
	defer stored.close()
	m.extra = m.extra[:0]
	_, keys := m.tree.(drivers.Bucket) // nothing lies below an object
	err := list(ctx, m.tree, drivers.Range{From: m.from}, func(have drivers.Entry) error {
		if have.Path == "" || !m.target.only.takes(have.Path) {
			return nil
		}
		if n := len(m.extra); n > 0 && !keys && strings.HasPrefix(have.Path, m.extra[n-1]+"/") {
			return nil
		}
		if have.Err != nil {
			addProblem(m.result, have.Path, have.Err)
			return nil //nolint:nilerr // it is the entry's, and listed
		}
		_, known, err := stored.seek(have.Path)
		if err != nil {
			return err
		}
		switch {
		case known, m.foreign(have.Path):
			return nil
		case stored.unknown(have.Path):
			addProblem(m.result, have.Path, errUnknown)
			return nil
		}
		if m.extra = append(m.extra, have.Path); len(m.extra) == removeAtOnce {
			return errStopped
		}
		return nil
	})
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// foreign tells whether a path is another node's target, lies in one, or holds one.
func (m *mirror) foreign(p string) bool {
	for _, other := range m.nested {
		if p == other || strings.HasPrefix(p, other+"/") || strings.HasPrefix(other, p+"/") {
			return true
		}
	}
	return false
}
