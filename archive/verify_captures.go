package archive

import (
	"context"
	"errors"
)

// captures verifies the captures: that their files are there. People edit them, so other contents are told and no failure.
func (v *verifier) captures(ctx context.Context) error {
	sets, err := v.level(ctx, captureDir, validSet)
	if err != nil {
		return err
	}
	for _, set := range sets {
		ids, err := v.level(ctx, captureDir+set+"/", func(id string) bool { _, ok := captureIDTime(id); return ok })
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := v.capture(ctx, CaptureRef{set, id}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *verifier) capture(ctx context.Context, ref CaptureRef) error {
	key := ref.dir() + "capture.json"
	known := map[string]bool{key: true}
	unnamed := Stray
	var c Capture
	problem := v.read(ctx, func() (err error) { c, err = v.archive.Capture(ctx, ref); return err })
	switch {
	case problem == nil:
		known[ref.dir()+DecisionsFile], known[ref.dir()+SummaryFile] = true, true
		for _, f := range c.Files {
			known[f.Key] = true
			v.captureFile(ctx, ref, f)
		}
	case !errors.Is(problem, ErrNoCapture):
		v.lose(ctx, key, problem, owner{ref: Ref{Set: ref.Set}}, "", 0)
		unnamed = Unknown
	}
	if err := ctxError(ctx); err != nil {
		return err
	}
	return v.archive.store.list(ctx, ref.dir(), listAll, func(o objectInfo) error {
		rest := o.key[len(ref.dir()):]
		switch {
		case known[o.key]:
		case isTemp(o.key):
			v.found(Stray, o.key, Ref{Set: ref.Set})
		case isCapturePart(rest), problem != nil:
			v.found(unnamed, o.key, Ref{Set: ref.Set})
		default:
			v.found(Foreign, o.key, Ref{Set: ref.Set})
		}
		return nil
	})
}

func (v *verifier) captureFile(ctx context.Context, ref CaptureRef, f CaptureFile) {
	edited := false
	problem := v.read(ctx, func() (err error) { edited, err = v.archive.CaptureEdited(ctx, ref, f); return err })
	if problem != nil {
		v.lose(ctx, f.Key, problem, owner{ref: Ref{Set: ref.Set}}, "", f.Total())
		return
	}
	v.count(f.Size)
	if !edited || ctx.Err() != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report(Finding{Kind: Notice, Key: f.Key, Set: ref.Set, Message: "it is not as it was captured: somebody has edited it"})
}
