package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Latest is the name of the newest dump of a set that lacks no node.
const Latest = "latest"

// maxListed is how many dumps an error lists.
const maxListed = 10

// Sets returns the names of the sets that have a committed dump, sorted.
func (a *Archive) Sets(ctx context.Context) ([]string, error) {
	names, err := a.level(ctx, dumpsDir)
	if err != nil {
		return nil, err
	}
	var sets []string
	for _, set := range names {
		if !validSet(set) {
			continue
		}
		ids, err := a.committed(ctx, set)
		if err != nil {
			return nil, err
		}
		if len(ids) > 0 {
			sets = append(sets, set)
		}
	}
	return sets, nil
}

// level returns the names of the "directories" below a prefix, sorted.
func (a *Archive) level(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	err := a.store.list(ctx, prefix, listLevel, func(o objectInfo) error {
		if name, ok := strings.CutSuffix(o.key[len(prefix):], "/"); ok {
			names = append(names, name)
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}

// dumpIDs returns the names of all dumps of a set, open ones included, oldest first.
func (a *Archive) dumpIDs(ctx context.Context, set string) ([]string, error) {
	ids, err := a.level(ctx, dumpsDir+set+"/")
	return slices.DeleteFunc(ids, func(id string) bool {
		_, ok := dumpIDTime(id)
		return !ok
	}), err
}

// committed returns the names of the committed dumps of a set, oldest first.
func (a *Archive) committed(ctx context.Context, set string) ([]string, error) {
	ids, err := a.dumpIDs(ctx, set)
	if err != nil {
		return nil, err
	}
	have := make([]bool, len(ids))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelRequests)
	for i, id := range ids {
		g.Go(func() error {
			_, err := a.store.stat(ctx, Ref{set, id}.dir()+"manifest.json")
			have[i] = err == nil
			if errors.Is(err, errMissing) {
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []string
	for i, id := range ids {
		if have[i] {
			out = append(out, id)
		}
	}
	return out, nil
}

// Dumps returns the manifests of a set's committed dumps, oldest first. A manifest that is damaged is left out and told in
// the error, beside the others: the result counts even if there is an error that is [ErrCorrupt] or [ErrNewerFormat].
func (a *Archive) Dumps(ctx context.Context, set string) ([]Manifest, error) {
	if !validSet(set) {
		return nil, invalid("set name %q", set)
	}
	ids, err := a.dumpIDs(ctx, set)
	if err != nil {
		return nil, err
	}
	manifests := make([]Manifest, len(ids))
	errs := make([]error, len(ids))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelRequests)
	for i, id := range ids {
		g.Go(func() error {
			manifests[i], errs[i] = a.Manifest(gctx, Ref{set, id})
			if errs[i] == nil || errors.Is(errs[i], ErrNoDump) || errors.Is(errs[i], ErrCorrupt) || errors.Is(errs[i], ErrNewerFormat) {
				return nil
			}
			return errs[i]
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []Manifest
	for i := range manifests {
		if errs[i] == nil {
			out = append(out, manifests[i])
		} else if errors.Is(errs[i], ErrNoDump) {
			errs[i] = nil // open
		}
	}
	return out, errors.Join(errs...)
}

// Resolve finds a committed dump by name: [Latest], a dump's name, a unique beginning of one, or one of these after
// "set/". Without a set it looks at all sets. The latest dump is the newest that lacks no node. Errors: [ErrNoDump],
// which lists what exists; [ErrAmbiguous], which lists what fits; [ErrCorrupt] where the newest manifest is damaged: an
// older one is not quietly taken instead.
func (a *Archive) Resolve(ctx context.Context, set, name string) (Ref, error) {
	if before, after, ok := strings.Cut(name, "/"); ok && (set == "" || set == before) {
		set, name = before, after
	}
	if set != "" && !validSet(set) {
		return Ref{}, invalid("set name %q", set)
	}
	if name == "" {
		return Ref{}, invalid("dump name is empty")
	}
	sets := []string{set}
	if set == "" {
		var err error
		if sets, err = a.Sets(ctx); err != nil {
			return Ref{}, err
		}
	}
	var all []Ref
	for _, s := range sets {
		ids, err := a.committed(ctx, s)
		if err != nil {
			return Ref{}, err
		}
		for _, id := range ids {
			all = append(all, Ref{s, id})
		}
	}
	if name == Latest {
		return a.latest(ctx, sets, all)
	}
	return pick(all, set, name)
}

func pick(all []Ref, set, name string) (Ref, error) {
	var fit []Ref
	for _, ref := range all {
		if strings.HasPrefix(ref.Dump, name) {
			fit = append(fit, ref)
		}
	}
	switch {
	case len(fit) == 0:
		return Ref{}, noDump(name, set, all)
	case len(fit) > 1:
		return Ref{}, fmt.Errorf("%w: dump %q could be %s", ErrAmbiguous, name, newest(fit))
	}
	return fit[0], nil
}

func (a *Archive) latest(ctx context.Context, sets []string, all []Ref) (Ref, error) {
	if len(sets) > 1 {
		return Ref{}, withHint(fmt.Errorf("%w: the archive has several sets: %s", ErrAmbiguous, strings.Join(sets, ", ")),
			"say which set is meant")
	}
	for _, ref := range slices.Backward(all) {
		m, err := a.Manifest(ctx, ref)
		if err != nil {
			return Ref{}, withHint(err, "name an older dump to restore that")
		}
		if !m.Partial {
			return ref, nil
		}
	}
	if len(all) > 0 {
		return Ref{}, withHint(fmt.Errorf("%w: %s: every dump lacks nodes: %s", ErrNoDump, Latest, newest(all)),
			"a dump that lacks nodes is restored by its name")
	}
	return Ref{}, noDump(Latest, strings.Join(sets, ""), all)
}

func noDump(name, set string, all []Ref) error {
	if set != "" {
		set = " of set " + set
	}
	if len(all) == 0 {
		return fmt.Errorf("%w: %s (the archive holds no dump%s)", ErrNoDump, name, set)
	}
	return fmt.Errorf("%w: %s (have%s %s)", ErrNoDump, name, set, newest(all))
}

// newest lists the newest dumps, newest first; with their sets where there are several.
func newest(refs []Ref) string {
	sorted := slices.SortedFunc(slices.Values(refs), func(x, y Ref) int { return strings.Compare(y.Dump, x.Dump) })
	several := slices.ContainsFunc(refs, func(r Ref) bool { return r.Set != refs[0].Set })
	var names []string
	for _, ref := range sorted[:min(len(sorted), maxListed)] {
		if several {
			names = append(names, ref.String())
		} else {
			names = append(names, ref.Dump)
		}
	}
	text := strings.Join(names, ", ")
	if more := len(sorted) - maxListed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
