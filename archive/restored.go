package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// restoredDocument says that a run has restored a node.
type restoredDocument struct {
	envelope
	Run    string          `json:"run"`
	Node   string          `json:"node"`
	Detail json.RawMessage `json:"detail,omitempty"`
}

// noteKey names a run's note of a node.
func noteKey(run, node, end string) string {
	return runsDir + run + "." + encodeName(node, encodeDots) + end
}

// The ends of the keys of notes: of a node that is restored, and of what was found in its target's place.
const (
	restoredEnd = ".restored"
	foundEnd    = ".found"
)

// isNoteKey tells whether a key may be that of a note.
func isNoteKey(key string) bool {
	name, ok := strings.CutPrefix(key, runsDir)
	run, _, dotted := strings.Cut(name, ".")
	return ok && dotted && validRun(run) && (strings.HasSuffix(name, restoredEnd) || strings.HasSuffix(name, foundEnd))
}

// KeepFound notes what a run found in the place that it is going to restore a node to, any JSON, unless that is noted already,
// and returns what is: the first word counts, whoever resumes the run.
func (a *Archive) KeepFound(ctx context.Context, run, node string, found json.RawMessage) (json.RawMessage, error) {
	if err := checkNote(run, node); err != nil {
		return nil, err
	}
	data, err := encodeDocument(restoredDocument{envelope{typeRestored, Format}, run, node, found})
	if err != nil {
		return nil, fmt.Errorf("encode note of node %s: %w", node, err)
	}
	key := noteKey(run, node, foundEnd)
	err = a.store.putNew(ctx, key, data)
	if err == nil || !errors.Is(err, ErrExists) {
		return found, err
	}
	doc, err := a.readNote(ctx, key)
	if err != nil {
		return nil, err
	}
	if doc.Run != run || doc.Node != node {
		return nil, corrupt(key, "note is of node %s in run %s", doc.Node, doc.Run)
	}
	return doc.Detail, nil
}

// HasFound tells whether a run noted what it found in a node's place.
func (a *Archive) HasFound(ctx context.Context, run, node string) (bool, error) {
	if err := checkNote(run, node); err != nil {
		return false, err
	}
	_, err := a.store.stat(ctx, noteKey(run, node, foundEnd))
	if errors.Is(err, errMissing) {
		return false, nil
	}
	return err == nil, err
}

// KeepRestored notes that a run has restored a node, with detail, any JSON, so that a resume does not begin with it again. A
// later note of the same node replaces it.
func (a *Archive) KeepRestored(ctx context.Context, run, node string, detail json.RawMessage) error {
	if err := checkNote(run, node); err != nil {
		return err
	}
	data, err := encodeDocument(restoredDocument{envelope{typeRestored, Format}, run, node, detail})
	if err != nil {
		return fmt.Errorf("encode note of node %s: %w", node, err)
	}
	return a.store.put(ctx, noteKey(run, node, restoredEnd), data)
}

func checkNote(run, node string) error {
	if !validRun(run) {
		return invalid("run id %q", run)
	}
	return validNode(node)
}

// Restored returns what was noted of a node that a run has restored; false where there is nothing, or nothing that can be
// used.
func (a *Archive) Restored(ctx context.Context, run, node string) (json.RawMessage, bool, error) {
	if err := checkNote(run, node); err != nil {
		return nil, false, err
	}
	key := noteKey(run, node, restoredEnd)
	doc, err := a.readNote(ctx, key)
	if err == nil && (doc.Run != run || doc.Node != node) {
		return nil, false, nil // names that are cut may share a key
	}
	switch {
	case errors.Is(err, errMissing), errors.Is(err, ErrCorrupt), errors.Is(err, ErrNewerFormat):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	return doc.Detail, true, nil
}

func (a *Archive) readNote(ctx context.Context, key string) (restoredDocument, error) {
	var doc restoredDocument
	end := restoredEnd
	if strings.HasSuffix(key, foundEnd) {
		end = foundEnd
	}
	if _, err := a.document(ctx, key, typeRestored, &doc); err != nil {
		return doc, err
	}
	if checkNote(doc.Run, doc.Node) != nil || noteKey(doc.Run, doc.Node, end) != key {
		return doc, corrupt(key, "note is of node %s in run %s", doc.Node, doc.Run)
	}
	return doc, nil
}

// ForgetRestored removes the notes of a node, of a run that is not resumed any more. One that is absent is no error.
func (a *Archive) ForgetRestored(ctx context.Context, run, node string) error {
	if err := checkNote(run, node); err != nil {
		return err
	}
	return errors.Join(a.store.remove(ctx, noteKey(run, node, restoredEnd)), a.store.remove(ctx, noteKey(run, node, foundEnd)))
}
