package archive

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// parallelRequests is how many small requests are in flight where many documents are looked at.
const parallelRequests = 8

// NewDumpID returns a name for a new dump of a set: its time in UTC and four random digits. It is at least a second later
// than any dump of the set, open ones included, so that names sort in the order in which dumps began, whatever the clocks
// of different hosts say.
func (a *Archive) NewDumpID(ctx context.Context, set string) (string, error) {
	if !validSet(set) {
		return "", invalid("set name %q", set)
	}
	ids, err := a.dumpIDs(ctx, set)
	if err != nil {
		return "", err
	}
	return a.newID(ids, dumpIDTime)
}

// newID makes a name at least a second later than those of others.
func (a *Archive) newID(ids []string, timeOf func(string) (time.Time, bool)) (string, error) {
	at := a.now().UTC().Truncate(time.Second)
	for _, id := range ids {
		if t, _ := timeOf(id); !t.Before(at) {
			at = t.Add(time.Second)
		}
	}
	var random [2]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("make a name: %w", err)
	}
	return at.Format(dumpTime) + "-" + hex.EncodeToString(random[:]), nil
}

type openDocument struct {
	envelope
	Run   string          `json:"run"`
	Life  int             `json:"life,omitempty"` // absent in the first
	Set   string          `json:"set,omitempty"`
	Dump  string          `json:"dump,omitempty"`
	About json.RawMessage `json:"about,omitempty"`
}

type planDocument struct {
	envelope
	Ref
	Run  string          `json:"run"`
	Plan json.RawMessage `json:"plan"`
}

// Begin opens a dump: it records that the run is open (with what it is about, any JSON), then what it is to dump. It may be
// repeated with the same arguments; [ErrExists] means that another run has the dump's name, or that the run has another plan.
func (a *Archive) Begin(ctx context.Context, ref Ref, run string, plan, about json.RawMessage) error {
	if err := ref.check(); err != nil {
		return err
	}
	if !json.Valid(plan) {
		return invalid("plan of %s is not JSON", ref)
	}
	if len(about) > 0 && !json.Valid(about) {
		return invalid("what run %s is about is not JSON", run)
	}
	if err := a.openRun(ctx, openDocument{Run: run, Set: ref.Set, Dump: ref.Dump, About: about}); err != nil {
		return err
	}
	data, err := encodeDocument(planDocument{envelope{typePlan, Format}, ref, run, plan})
	if err != nil {
		return fmt.Errorf("encode plan of %s: %w", ref, err)
	}
	err = putSame(ctx, a.store, ref.dir()+"plan.json", data)
	if errors.Is(err, ErrNoSpace) || errors.Is(err, ErrAccess) {
		// There is nothing to take up again.
		err = errors.Join(err, a.store.remove(context.WithoutCancel(ctx), openRunKey(run, 1)))
	}
	return err
}

// OpenRun records that a run is open that makes no dump, and what it builds on (about, any JSON), so that nothing of that
// is pruned meanwhile. It may be repeated with the same arguments.
func (a *Archive) OpenRun(ctx context.Context, run string, about json.RawMessage) error {
	if len(about) > 0 && !json.Valid(about) {
		return invalid("what run %s is about is not JSON", run)
	}
	return a.openRun(ctx, openDocument{Run: run, About: about})
}

func (a *Archive) openRun(ctx context.Context, doc openDocument) error {
	if !validRun(doc.Run) {
		return invalid("run id %q", doc.Run)
	}
	doc.envelope = envelope{typeOpen, Format}
	data, err := encodeDocument(doc)
	if err != nil {
		return fmt.Errorf("encode run %s: %w", doc.Run, err)
	}
	return putSame(ctx, a.store, openRunKey(doc.Run, doc.Life), data)
}

// Plan returns the plan of a dump, committed or not. [ErrNoDump] where there is none, [ErrCorrupt] where a committed dump has
// lost its plan.
func (a *Archive) Plan(ctx context.Context, ref Ref) (json.RawMessage, error) {
	if err := ref.check(); err != nil {
		return nil, err
	}
	key := ref.dir() + "plan.json"
	var doc planDocument
	if _, err := a.document(ctx, key, typePlan, &doc); err != nil {
		if !errors.Is(err, errMissing) {
			return nil, err
		}
		switch _, statErr := a.store.stat(ctx, ref.dir()+"manifest.json"); {
		case statErr == nil:
			return nil, needed(key, err) // a committed dump has a plan
		case !errors.Is(statErr, errMissing):
			return nil, statErr
		}
		return nil, fmt.Errorf("%w: %s has no plan", ErrNoDump, ref)
	}
	if doc.Ref != ref {
		return nil, corrupt(key, "plan is of %s", doc.Ref)
	}
	return doc.Plan, nil
}

type nodeDocument struct {
	Type string `json:"type"`
	NodeManifest
}

// PutNode stores a node's manifest and returns the record of it for the dump's. It may be repeated: with the same content,
// times aside, it returns the record of what is stored; with other content [ErrExists].
func (a *Archive) PutNode(ctx context.Context, n NodeManifest) (NodeRecord, error) {
	n.Format = Format
	if problem := n.check(); problem != "" {
		return NodeRecord{}, invalid("manifest of node %s: %s", n.Path, problem)
	}
	if len(n.Problems) > MaxNodeProblems {
		n.Problems = n.Problems[:MaxNodeProblems]
	}
	key := nodeKey(n.Ref(), n.Path)
	data, err := encodeDocument(nodeDocument{typeNode, n})
	if err != nil {
		return NodeRecord{}, fmt.Errorf("encode manifest of node %s: %w", n.Path, err)
	}
	err = putSame(ctx, a.store, key, data)
	if errors.Is(err, ErrExists) {
		stored, have, readErr := a.readNode(ctx, n.Ref(), n.Path)
		if readErr == nil && sameNode(n, have) {
			if err := a.store.settle(ctx, key); err != nil {
				return NodeRecord{}, err
			}
			return have.record(key, stored), nil
		}
		return NodeRecord{}, errors.Join(err, readErr)
	}
	if err != nil {
		return NodeRecord{}, err
	}
	return n.record(key, data), nil
}

// sameNode compares what two manifests say, but for the times.
func sameNode(a, b NodeManifest) bool {
	for _, n := range []*NodeManifest{&a, &b} {
		n.Started, n.Ended, n.Skew = time.Time{}, time.Time{}, 0
	}
	return sameJSON(a, b)
}

func sameJSON(a, b any) bool {
	left, errLeft := encodeJSON(a)
	right, errRight := encodeJSON(b)
	return errLeft == nil && errRight == nil && string(left) == string(right)
}

func (n *NodeManifest) record(key string, stored []byte) NodeRecord {
	return NodeRecord{
		Path: n.Path, Driver: n.Driver, Key: key, Size: int64(len(stored)), SHA256: hashOf(stored),
		Parts: len(n.Parts) + len(n.Segments), Entries: n.Entries, Bytes: n.Bytes, Stored: n.Stored, Reused: n.Reused,
		Unreadable: n.Unreadable, Vanished: n.Vanished,
	}
}

// check says what is wrong with a manifest that was read or is to be written.
func (n *NodeManifest) check() string {
	if n.Ref().check() != nil || validNode(n.Path) != nil {
		return "names no node of a dump"
	}
	if n.Shape != ShapeStream && n.Shape != ShapeTree || n.Shape == ShapeStream && len(n.Segments) > 0 ||
		n.Shape == ShapeTree && len(n.Parts) > 0 {
		return "shape does not fit"
	}
	dir := dataDir(n.Ref(), n.Path)
	for i := range n.Parts {
		p := &n.Parts[i]
		if !validKey(p.Key) || !strings.HasPrefix(p.Key, dir) || p.Size < 0 || p.Stored < 0 || !isHash(p.StoredSHA256) ||
			!isHash(p.SHA256) && (p.SHA256 != "" || p.Digest == "") {
			return fmt.Sprintf("part %q is not of this node", p.Name)
		}
		if i > 0 && p.Index <= n.Parts[i-1].Index {
			return fmt.Sprintf("part %q is out of order", p.Name)
		}
	}
	for i := range n.Segments {
		s := &n.Segments[i]
		if !validKey(s.Key) || path.Dir(s.Key)+"/" != dir || s.Size < 0 || s.Size > maxSegment || !isHash(s.SHA256) {
			return fmt.Sprintf("segment %d is not of this node", s.Index)
		}
		if i == 0 {
			continue
		}
		before := &n.Segments[i-1]
		if s.Index <= before.Index || len(before.To) == 0 || string(s.From) < string(before.To) {
			return fmt.Sprintf("segment %d is out of order", s.Index)
		}
	}
	return ""
}

func (a *Archive) readNode(ctx context.Context, ref Ref, node string) ([]byte, NodeManifest, error) {
	key := nodeKey(ref, node)
	var doc nodeDocument
	data, err := a.document(ctx, key, typeNode, &doc)
	if err != nil {
		return nil, NodeManifest{}, needed(key, err)
	}
	if doc.Ref() != ref || doc.Path != node {
		return nil, NodeManifest{}, corrupt(key, "manifest is of node %s of %s", doc.Path, doc.Ref())
	}
	if problem := doc.check(); problem != "" {
		return nil, NodeManifest{}, corrupt(key, "%s", problem)
	}
	return data, doc.NodeManifest, nil
}

// Node reads the manifest of a node that a dump's manifest names. It returns [ErrCorrupt] where it is missing or not what
// the record says.
func (a *Archive) Node(ctx context.Context, ref Ref, rec NodeRecord) (NodeManifest, error) {
	if err := ref.check(); err != nil {
		return NodeManifest{}, err
	}
	if validNode(rec.Path) != nil || rec.Key != nodeKey(ref, rec.Path) {
		return NodeManifest{}, corrupt(rec.Key, "key does not fit node %q of %s", rec.Path, ref)
	}
	data, n, err := a.readNode(ctx, ref, rec.Path)
	if err != nil {
		return NodeManifest{}, err
	}
	if int64(len(data)) != rec.Size || hashOf(data) != rec.SHA256 {
		return NodeManifest{}, corrupt(rec.Key, "manifest is not the one that was committed")
	}
	return n, nil
}

type manifestDocument struct {
	Type string `json:"type"`
	Manifest
}

// Commit makes the dump exist: it stores its manifest, after every node's manifest was read back as the records say. It
// may be repeated: with the same content (times aside) it does nothing; with other content it returns [ErrExists].
// [ErrInvalid] where the manifest contradicts itself, [ErrCorrupt] where a node's manifest is not there.
func (a *Archive) Commit(ctx context.Context, m Manifest) error {
	m.Format = Format
	if m.Version == "" {
		m.Version = a.version
	}
	if m.Nodes == nil {
		m.Nodes = []NodeRecord{}
	}
	if problem := m.check(); problem != "" {
		return invalid("manifest of %s: %s", m.Ref(), problem)
	}
	if err := a.checkNodes(ctx, m); err != nil {
		return fmt.Errorf("commit %s: %w", m.Ref(), err)
	}
	data, err := encodeDocument(manifestDocument{typeManifest, m})
	if err != nil {
		return fmt.Errorf("commit %s: %w", m.Ref(), err)
	}
	err = a.commitDocument(ctx, m.Ref().dir()+"manifest.json", data, func() (bool, error) {
		have, err := a.Manifest(ctx, m.Ref())
		return err == nil && sameManifest(m, have), err
	})
	if err != nil {
		return fmt.Errorf("commit %s: %w", m.Ref(), err)
	}
	return nil
}

// commitDocument stores the document that makes something exist. same reads it back and tells whether it is what was to be stored:
// that settles a retry whose times differ, and a store that takes two writers for the first.
func (a *Archive) commitDocument(ctx context.Context, key string, data []byte, same func() (bool, error)) error {
	err := putSame(ctx, a.store, key, data)
	if err != nil && !errors.Is(err, ErrExists) {
		return err
	}
	equal, readErr := same()
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if !equal {
		return ErrExists
	}
	if err != nil { // it was there: written by this run or a repetition of it that may have died since
		err = a.store.settle(ctx, key)
	}
	return err
}

func sameManifest(a, b Manifest) bool {
	for _, m := range []*Manifest{&a, &b} {
		m.Started, m.Ended, m.Version = time.Time{}, time.Time{}, ""
	}
	return sameJSON(a, b)
}

func (a *Archive) checkNodes(ctx context.Context, m Manifest) error {
	if _, err := a.Plan(ctx, m.Ref()); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelRequests)
	for _, rec := range m.Nodes {
		g.Go(func() error {
			_, err := a.Node(ctx, m.Ref(), rec)
			return err
		})
	}
	return g.Wait()
}

// check says what is wrong with a manifest that was read or is to be written.
func (m *Manifest) check() string {
	switch {
	case m.Ref().check() != nil:
		return "names no dump"
	case !validRun(m.Run):
		return "names no run"
	case m.Partial != (len(m.Missing) > 0):
		return "is partial if and only if nodes are missing"
	}
	seen := map[string]bool{}
	for i := range m.Nodes {
		rec := &m.Nodes[i]
		if validNode(rec.Path) != nil || rec.Key != nodeKey(m.Ref(), rec.Path) || !isHash(rec.SHA256) {
			return fmt.Sprintf("record of node %q is not of this dump", rec.Path)
		}
		if seen[rec.Path] {
			return fmt.Sprintf("node %q is there twice", rec.Path)
		}
		seen[rec.Path] = true
	}
	return ""
}

// Manifest reads the manifest of a committed dump. [ErrNoDump] where there is none.
func (a *Archive) Manifest(ctx context.Context, ref Ref) (Manifest, error) {
	if err := ref.check(); err != nil {
		return Manifest{}, err
	}
	key := ref.dir() + "manifest.json"
	var doc manifestDocument
	if _, err := a.document(ctx, key, typeManifest, &doc); err != nil {
		if errors.Is(err, errMissing) {
			return Manifest{}, fmt.Errorf("%w: %s", ErrNoDump, ref)
		}
		return Manifest{}, err
	}
	if doc.Ref() != ref {
		return Manifest{}, corrupt(key, "manifest is of %s", doc.Ref())
	}
	if problem := doc.check(); problem != "" {
		return Manifest{}, corrupt(key, "manifest %s", problem)
	}
	return doc.Manifest, nil
}
