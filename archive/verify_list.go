package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	strayMessage   = "no committed dump needs it: a killed run left it, or an open one wrote it"
	foreignMessage = "not known to this format"
	unknownMessage = "cannot tell whether a dump needs it: a document that may name it cannot be read"
)

// found reports an object that nothing known names.
func (v *verifier) found(kind FindingKind, key string, ref Ref) {
	message := strayMessage
	switch kind {
	case Foreign:
		message = foreignMessage
	case Unknown:
		message = unknownMessage
	default:
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report(Finding{Kind: kind, Key: key, Message: message, Set: ref.Set, Dump: ref.Dump})
}

// listShared notes every pack and object, and reports what is neither.
func (v *verifier) listShared(ctx context.Context) error {
	note := func(o objectInfo) error {
		pack, isPack := packOfKey(o.key)
		object, zstd, isObject := objectOfKey(o.key)
		switch {
		case isTemp(o.key):
			v.found(Stray, o.key, Ref{})
		case o.odd && (isPack || isObject):
			v.odd = append(v.odd, o.key) // reported as damaged where something needs it
		case !isPack && !isObject:
			v.found(Foreign, o.key, Ref{})
		case isPack:
			v.packs[packID(hashBytes(pack))] = packState{}
		default:
			v.objects[objectID{hashBytes(object), zstd}] = objectState{}
		}
		v.total += o.size
		return nil
	}
	for _, prefix := range []string{packsDir, objectsDir} {
		if err := v.archive.store.list(ctx, prefix, listAll, note); err != nil {
			return err
		}
	}
	err := v.archive.store.list(ctx, dumpsDir, listAll, func(o objectInfo) error {
		v.total += o.size
		return nil
	})
	v.listed = true
	return err
}

// listDump reports what lies in a committed dump and is not named by it.
func (v *verifier) listDump(ctx context.Context, ref Ref, known map[string]bool) error {
	unnamed := Stray
	if v.blind[ref] {
		unnamed = Unknown
	}
	return v.archive.store.list(ctx, ref.dir(), listAll, func(o objectInfo) error {
		rest := o.key[len(ref.dir()):]
		switch {
		case known[o.key]:
		case isTemp(o.key):
			v.found(Stray, o.key, ref)
		case strings.HasPrefix(rest, "data/"), strings.HasPrefix(rest, "nodes/"), rest == "plan.json":
			v.found(unnamed, o.key, ref)
		default:
			v.found(Foreign, o.key, ref)
		}
		return nil
	})
}

// listRest reports what is neither in a committed dump nor needed by one.
func (v *verifier) listRest(ctx context.Context, refs []Ref) error {
	unnamed := Stray
	if v.blindShared {
		unnamed = Unknown
	}
	for _, key := range v.odd {
		if v.losses[key] == nil {
			v.found(Foreign, key, Ref{})
		}
	}
	for id, state := range v.packs {
		if state.state == onlyListed {
			v.found(unnamed, packKey(fmt.Sprintf("%x", id)), Ref{})
		}
	}
	for id, state := range v.objects {
		if state.state == onlyListed {
			v.found(unnamed, objectKey(fmt.Sprintf("%x", id.sha), id.zstd), Ref{})
		}
	}
	if err := v.listTop(ctx); err != nil {
		return err
	}
	committed := make(map[Ref]bool, len(refs))
	for _, ref := range refs {
		committed[ref] = true
	}
	sets, err := v.level(ctx, dumpsDir, validSet)
	if err != nil {
		return err
	}
	for _, set := range sets {
		ids, err := v.level(ctx, dumpsDir+set+"/", func(id string) bool { _, ok := dumpIDTime(id); return ok })
		if err != nil {
			return err
		}
		for _, id := range ids {
			ref := Ref{set, id}
			if committed[ref] {
				continue
			}
			// One that was committed meanwhile is neither verified nor a stray.
			if _, err := v.archive.store.stat(ctx, ref.dir()+"manifest.json"); err == nil {
				continue
			} else if !errors.Is(err, errMissing) {
				return err
			}
			if err := v.listDump(ctx, ref, map[string]bool{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// level returns the "directories" below a prefix that are valid and reports everything else there.
func (v *verifier) level(ctx context.Context, prefix string, valid func(string) bool) ([]string, error) {
	var names []string
	err := v.archive.store.list(ctx, prefix, listLevel, func(o objectInfo) error {
		name, ok := strings.CutSuffix(o.key[len(prefix):], "/")
		switch {
		case ok && valid(name):
			names = append(names, name)
		case !ok && isTemp(o.key):
			v.found(Stray, o.key, Ref{})
		default:
			v.found(Foreign, o.key, Ref{})
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}

func (v *verifier) listTop(ctx context.Context) error {
	return v.archive.store.list(ctx, "", listLevel, func(o objectInfo) error {
		switch {
		case o.key == markerKey, o.key == readmeKey, o.key == dumpsDir, o.key == packsDir, o.key == objectsDir, o.key == runsDir,
			o.key == captureDir, o.key == "lost+found/":
		case isTemp(o.key):
			v.found(Stray, o.key, Ref{})
		default:
			v.found(Foreign, o.key, Ref{})
		}
		return nil
	})
}

// readme looks at README.txt. It has no hash anywhere: its text is known only where this very version wrote it.
func (v *verifier) readme(ctx context.Context, made string) {
	var data []byte
	problem := v.read(ctx, func() (err error) {
		data, err = readLimited(ctx, v.archive.store, readmeKey, maxMarker)
		return err
	})
	message := ""
	switch {
	case errors.Is(problem, errMissing):
		message = "it is missing: the next dump writes it again"
	case problem != nil:
		message = problem.Error()
	case len(data) == 0, !utf8.Valid(data), bytes.IndexByte(data, 0) >= 0, made != "" && made == v.archive.version && string(data) != readme:
		message = "it is not as it was written: remove it, and the next dump writes it again"
	}
	if message == "" || ctx.Err() != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report(Finding{Kind: Notice, Key: readmeKey, Message: message})
}

// top verifies the marker and README.txt.
func (v *verifier) top(ctx context.Context) {
	var m marker
	if problem := v.read(ctx, func() (err error) { m, err = readMarker(ctx, v.archive.store); return err }); problem != nil {
		v.lose(ctx, markerKey, problem, owner{}, "", 0)
	}
	v.readme(ctx, m.Version)
}
