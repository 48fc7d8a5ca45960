package archive

import (
	"context"
	"errors"
)

// runs verifies the reports and marks of runs, and then compares them with the dumps: a report outlives the manifest that it
// tells of only where somebody removed that, and a manifest its report likewise.
func (v *verifier) runs(ctx context.Context, refs []Ref) error {
	committed := make(map[Ref]bool, len(refs))
	for _, ref := range refs {
		committed[ref] = true
	}
	seen := make(map[string]bool)
	err := v.archive.store.list(ctx, runsDir, listLevel, func(o objectInfo) error {
		run, _, isReport, isRun := runOfKey(o.key)
		if isTemp(o.key) {
			v.found(Stray, o.key, Ref{})
			return nil
		}
		if isNoteKey(o.key) {
			problem := v.read(ctx, func() error { _, err := v.archive.readNote(ctx, o.key); return err })
			if problem != nil && !errors.Is(problem, errMissing) {
				v.lose(ctx, o.key, problem, owner{}, "", 0)
			}
			v.count(o.size)
			return ctxError(ctx)
		}
		if !isRun {
			v.found(Foreign, o.key, Ref{})
			return nil
		}
		seen[run] = true
		var report Run
		problem := v.read(ctx, func() (err error) { report, err = v.archive.readRun(ctx, o); return err })
		if problem != nil && !errors.Is(problem, errMissing) { // missing: it has ended since
			v.lose(ctx, o.key, problem, owner{}, "", 0)
		}
		v.count(o.size)
		if ref := (Ref{report.Set, report.Dump}); problem == nil && isReport && report.committed() && !committed[ref] {
			return v.lostManifest(ctx, ref)
		}
		return ctxError(ctx)
	})
	if err != nil {
		return err
	}
	for run, ref := range v.made {
		if seen[run] {
			continue
		}
		if err := v.lostReport(ctx, run, ref); err != nil {
			return err
		}
	}
	return nil
}

// committed tells whether a run made a dump.
func (r *Run) committed() bool {
	return r.Operation == operationDump && (r.State == stateDone || r.State == statePartial && r.Exit == exitIncomplete)
}

// What the report of a run that made a dump says. A partial run that made none has another exit code.
const (
	operationDump  = "dump"
	stateDone      = "done"
	statePartial   = "partial"
	exitIncomplete = 3
)

// lostManifest reports the manifest of a dump that was committed, if it is not there and others of the dump's objects are:
// of a dump that was deleted nothing is left.
func (v *verifier) lostManifest(ctx context.Context, ref Ref) error {
	if ref.check() != nil {
		return ctxError(ctx)
	}
	key := ref.dir() + "manifest.json"
	err := v.read(ctx, func() error { _, err := v.archive.store.stat(ctx, key); return err })
	if err == nil {
		return ctxError(ctx) // it was committed while the archive was read
	}
	if !errors.Is(err, errMissing) {
		v.lose(ctx, key, err, owner{ref: ref}, "", 0)
		v.blinded(ref)
		return ctxError(ctx)
	}
	left := false
	err = v.archive.store.list(ctx, ref.dir(), listAll, func(objectInfo) error { left = true; return errStop })
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	if left {
		v.lose(ctx, key, needed(key, errMissing), owner{ref: ref}, "", 0)
		v.blinded(ref)
	}
	return ctxError(ctx)
}

// lostReport tells of a run's report that is not there. No restore needs it.
func (v *verifier) lostReport(ctx context.Context, run string, ref Ref) error {
	for _, key := range []string{openRunKey(run, 1), runKey(run, 1)} { // one of them was there at every moment
		if _, err := v.archive.store.stat(ctx, key); !errors.Is(err, errMissing) {
			return err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report(Finding{
		Kind: Notice, Key: runKey(run, 1), Set: ref.Set, Dump: ref.Dump, Message: "the report of the run that made this dump is missing",
	})
	return nil
}
