package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// captureIDs returns the names of all captures of a set, open ones included, oldest first.
func (a *Archive) captureIDs(ctx context.Context, set string) ([]string, error) {
	ids, err := a.level(ctx, captureDir+set+"/")
	return slices.DeleteFunc(ids, func(id string) bool {
		_, ok := captureIDTime(id)
		return !ok
	}), err
}

// captureRefs returns the committed captures of a set, or of all sets where it is "", those of one set oldest first.
func (a *Archive) captureRefs(ctx context.Context, set string) ([]CaptureRef, error) {
	sets := []string{set}
	if set == "" {
		var err error
		if sets, err = a.level(ctx, captureDir); err != nil {
			return nil, err
		}
	}
	var refs []CaptureRef
	for _, set := range sets {
		if !validSet(set) {
			continue
		}
		ids, err := a.captureIDs(ctx, set)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			ref := CaptureRef{set, id}
			_, err := a.store.stat(ctx, ref.dir()+"capture.json")
			switch {
			case err == nil:
				refs = append(refs, ref)
			case !errors.Is(err, errMissing):
				return nil, err
			}
		}
	}
	return refs, nil
}

// Captures returns the committed captures of a set, or of all sets where it is "", those of one set oldest first. One that is damaged
// is left out and told in the error, beside the others: the result counts even if there is an error that is [ErrCorrupt] or
// [ErrNewerFormat].
func (a *Archive) Captures(ctx context.Context, set string) ([]Capture, error) {
	if set != "" && !validSet(set) {
		return nil, invalid("set name %q", set)
	}
	refs, err := a.captureRefs(ctx, set)
	if err != nil {
		return nil, err
	}
	var list []Capture
	var damaged []error
	for _, ref := range refs {
		c, err := a.Capture(ctx, ref)
		switch {
		case err == nil:
			list = append(list, c)
		case errors.Is(err, ErrNoCapture): // it was removed since it was listed
		case errors.Is(err, ErrCorrupt), errors.Is(err, ErrNewerFormat):
			damaged = append(damaged, err)
		default:
			return nil, err
		}
	}
	return list, errors.Join(damaged...)
}

// ResolveCapture finds a committed capture by name: [Latest], its name, a unique beginning of it, or one of these after "set/". Without
// a set it looks at all sets. Errors: [ErrNoCapture], which lists what exists; [ErrAmbiguous], which lists what fits.
func (a *Archive) ResolveCapture(ctx context.Context, set, name string) (CaptureRef, error) {
	if before, after, ok := strings.Cut(name, "/"); ok && (set == "" || set == before) {
		set, name = before, after
	}
	if set != "" && !validSet(set) {
		return CaptureRef{}, invalid("set name %q", set)
	}
	if name == "" {
		return CaptureRef{}, invalid("capture name is empty")
	}
	all, err := a.captureRefs(ctx, set)
	if err != nil {
		return CaptureRef{}, err
	}
	fit := slices.Clone(all)
	if name != Latest {
		fit = slices.DeleteFunc(fit, func(r CaptureRef) bool { return !strings.HasPrefix(r.Capture, name) })
	}
	switch {
	case len(fit) == 0 && len(all) == 0:
		return CaptureRef{}, fmt.Errorf("%w: %s (the archive holds none)", ErrNoCapture, name)
	case len(fit) == 0:
		return CaptureRef{}, fmt.Errorf("%w: %s (have %s)", ErrNoCapture, name, newestCaptures(all))
	case name == Latest && fit[0].Set != fit[len(fit)-1].Set:
		return CaptureRef{}, withHint(fmt.Errorf("%w: the archive has captures of several sets: %s", ErrAmbiguous, newestCaptures(fit)),
			"say which set is meant")
	case name == Latest:
		return fit[len(fit)-1], nil
	case len(fit) > 1:
		return CaptureRef{}, fmt.Errorf("%w: capture %q could be %s", ErrAmbiguous, name, newestCaptures(fit))
	}
	return fit[0], nil
}

// newestCaptures lists the newest captures, newest first; with their sets where there are several.
func newestCaptures(refs []CaptureRef) string {
	list := make([]Ref, len(refs))
	for i, r := range refs {
		list[i] = Ref{Set: r.Set, Dump: r.Capture}
	}
	return newest(list)
}
