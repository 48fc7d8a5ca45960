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

// restoredKey names the note of a node that a run has restored.
func restoredKey(run, node string) string {
	return runsDir + run + "." + encodeName(node, encodeDots) + restoredEnd
}

const restoredEnd = ".restored"

// isRestoredKey tells whether a key may be that of a note.
func isRestoredKey(key string) bool {
	name, ok := strings.CutPrefix(key, runsDir)
	run, _, dotted := strings.Cut(name, ".")
	return ok && dotted && validRun(run) && strings.HasSuffix(name, restoredEnd)
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
	return a.store.put(ctx, restoredKey(run, node), data)
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
	key := restoredKey(run, node)
	doc, err := a.readRestored(ctx, key)
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

func (a *Archive) readRestored(ctx context.Context, key string) (restoredDocument, error) {
	var doc restoredDocument
	if _, err := a.document(ctx, key, typeRestored, &doc); err != nil {
		return doc, err
	}
	if checkNote(doc.Run, doc.Node) != nil || restoredKey(doc.Run, doc.Node) != key {
		return doc, corrupt(key, "note is of node %s in run %s", doc.Node, doc.Run)
	}
	return doc, nil
}

// ForgetRestored removes the note of a node, of a run that is not resumed any more. One that is absent is no error.
func (a *Archive) ForgetRestored(ctx context.Context, run, node string) error {
	if err := checkNote(run, node); err != nil {
		return err
	}
	return a.store.remove(ctx, restoredKey(run, node))
}
