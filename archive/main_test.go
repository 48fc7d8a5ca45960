package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Started by the init of a dependency of the bucket drivers.
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// places are the kinds of stores that every behaviour is tested on.
var places = map[string]func(t testing.TB) (string, Options){
	"local": func(t testing.TB) (string, Options) {
		t.Helper()
		return filepath.Join(t.TempDir(), "archive"), Options{Version: "test"}
	},
	"bucket": func(t testing.TB) (string, Options) {
		t.Helper()
		return "mem://test", Options{Version: "test", Bucket: memBucket(t)}
	},
}

func memBucket(t testing.TB) *blob.Bucket {
	t.Helper()
	b := memblob.OpenBucket(nil)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// onEach runs a test on a new archive in each kind of store.
func onEach(t *testing.T, test func(t *testing.T, a *Archive)) {
	t.Helper()
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			location, o := place(t)
			test(t, create(t, location, o))
		})
	}
}

func create(t testing.TB, location string, o Options) *Archive {
	t.Helper()
	a, err := Create(t.Context(), location, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want %v", err, want)
	}
}

// noise returns incompressible bytes, the same for the same seed.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}

// text returns compressible bytes.
func text(seed, n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of text %d\n", i, seed)
	}
	return b.Bytes()[:n]
}

// file is an entry with its content, for tests.
type file struct {
	entry Entry
	data  []byte // without what lies in holes
	hole  int64  // before the data
}

// store stores the content of files and sets their chunks.
func storeFiles(ctx context.Context, w *ContentWriter, files []file) error {
	for i := range files {
		f := &files[i]
		f.entry.Chunks = nil
		if f.hole > 0 {
			f.entry.Chunks = append(f.entry.Chunks, &Chunk{Hole: f.hole})
		}
		if err := storeFile(ctx, w, f); err != nil {
			return err
		}
		f.entry.Size = int64(len(f.data)) + f.hole
		if f.entry.Type != fileType {
			f.entry.Size = 0
		}
	}
	return w.Flush(ctx)
}

func storeFile(ctx context.Context, w *ContentWriter, f *file) error {
	if len(f.data) == 0 {
		return nil
	}
	if len(f.data) <= SmallSize {
		c, err := w.AddSmall(ctx, f.data)
		f.entry.Chunks = append(f.entry.Chunks, c)
		return err
	}
	for piece := range slices.Chunk(f.data, ChunkSize) {
		buf, err := w.Buffer(ctx)
		if err != nil {
			return err
		}
		c, err := w.AddLarge(ctx, buf[:copy(buf, piece)])
		if err != nil {
			return err
		}
		f.entry.Chunks = append(f.entry.Chunks, c)
	}
	return nil
}

func entriesOf(files []file) []Entry {
	entries := make([]Entry, len(files))
	for i, f := range files {
		entries[i] = f.entry
	}
	return entries
}

// readFile reads an entry's content back, holes left out.
func readFile(ctx context.Context, r *ContentReader, e Entry) ([]byte, error) {
	var data []byte
	for _, c := range e.Chunks {
		if c.Hole > 0 {
			continue
		}
		piece, err := r.Chunk(ctx, c)
		if err != nil {
			return nil, err
		}
		data = append(data, piece...)
	}
	return data, nil
}

// sampleFiles has one of everything that a tree may hold.
func sampleFiles() []file { return slices.Clone(madeSample()) }

var madeSample = sync.OnceValue(makeSample) // the contents are never written to

func makeSample() []file {
	day := `{"mode":420,"mtime":"2026-11-20T10:11:12.123456789Z"}`
	meta := func(s string) json.RawMessage { return json.RawMessage(s) }
	files := []file{
		{entry: Entry{Path: "", Type: "dir", Meta: meta(`{"mode":493,"mtime":"2026-11-20T00:00:00Z"}`)}},
		{entry: Entry{Path: ".htaccess", Type: fileType, Version: "v1", Meta: meta(day)}, data: []byte("deny from all\n")},
		{entry: Entry{Path: "big", Type: fileType, Meta: meta(day)}, data: noise(1, SmallSize+SmallSize/2)},
		{entry: Entry{Path: "big text", Type: fileType, Meta: meta(day)}, data: text(2, 2*SmallSize)},
		{entry: Entry{Path: "dir", Type: "dir", Meta: meta(`{"mode":320,"mtime":"2026-11-19T00:00:00Z"}`)}},
		{entry: Entry{Path: "dir-a", Type: fileType, Meta: meta(day)}, data: noise(3, 100)},
		{entry: Entry{Path: "dir/new\nline \n", Type: fileType, Meta: meta(day)}, data: text(4, 5000)},
		{entry: Entry{Path: "dir/pipe", Type: "fifo", Meta: meta(`{"mode":384,"mtime":"2026-11-19T00:00:00Z"}`)}},
		{entry: Entry{Path: "empty", Type: fileType, Meta: meta(day)}},
		{entry: Entry{Path: "lock.sock", Type: "socket"}},
		{entry: Entry{Path: "same", Type: fileType, Meta: meta(day)}, data: noise(3, 100)},
		{entry: Entry{Path: "secret", Type: fileType, Err: "open secret: permission denied"}},
		{entry: Entry{Path: "sparse", Type: fileType, Meta: meta(day)}, data: noise(5, 4096), hole: 1 << 20},
		{entry: Entry{
			Path: "to-dir", Type: "symlink", Meta: meta(`{"target":"ZGlyL3BpcGU=","mtime":"2026-11-19T00:00:00Z"}`),
		}},
		{entry: Entry{Path: "umlaut-\xe4", Type: fileType, Meta: meta(day)}, data: []byte("latin1 in its name\n")},
	}
	slices.SortFunc(files, func(x, y file) int { return strings.Compare(x.entry.Path, y.entry.Path) })
	return files
}

const (
	testRun   = "0193cafe-0000-7000-8000-000000000001"
	testToken = "tok1"
)

var testTime = time.Date(2026, 11, 22, 4, 30, 0, 0, time.UTC)

// sample is a small dump with a stream node and a tree node.
type sample struct {
	ref   Ref
	run   string
	token string
	parts map[string][]byte
	files []file
	keys  bool // the paths are keys of objects
	// done are the nodes' manifests of what was stored: as a ledger would, it keeps a repeated run from doing them again.
	done map[string]*NodeManifest
}

func newSample(ref Ref) *sample {
	return &sample{
		ref: ref, run: testRun, token: testToken, files: sampleFiles(), done: map[string]*NodeManifest{},
		parts: map[string][]byte{"database": text(7, 30_000), "public.orders/0": noise(8, 70_000), "empty": nil},
	}
}

// put stores the whole dump, as a run does. It returns the first error.
func (s *sample) put(ctx context.Context, a *Archive) error {
	if err := a.Begin(ctx, s.ref, s.run, json.RawMessage(`{"contract":1}`), nil); err != nil {
		return err
	}
	stream, err := s.putStream(ctx, a)
	if err != nil {
		return err
	}
	tree, err := s.putTree(ctx, a)
	if err != nil {
		return err
	}
	err = a.Commit(ctx, Manifest{
		Set: s.ref.Set, Dump: s.ref.Dump, Run: s.run, Started: testTime, Ended: testTime.Add(time.Minute),
		Nodes: []NodeRecord{stream, tree},
	})
	if err != nil {
		return err
	}
	return a.EndRun(ctx, Run{
		Run: s.run, Operation: "dump", Set: s.ref.Set, Dump: s.ref.Dump, State: "done", Started: testTime,
		Ended: testTime.Add(time.Minute),
	})
}

func (s *sample) putStream(ctx context.Context, a *Archive) (NodeRecord, error) {
	n := s.done["stream"]
	if n == nil {
		n = &NodeManifest{
			Set: s.ref.Set, Dump: s.ref.Dump, Path: "site/databases/main", Driver: "sqlite", Shape: ShapeStream, Source: "${MAIN}",
			Started: testTime, Ended: testTime,
		}
		for i, name := range []string{"database", "empty", "public.orders/0"} {
			rec, err := s.putPart(ctx, a, PartName{Node: n.Path, Name: name, Ext: "sql", Index: i, Token: s.token})
			if err != nil {
				return NodeRecord{}, err
			}
			n.Parts = append(n.Parts, rec)
			n.Bytes += rec.Size
			n.Stored += rec.Stored
		}
		s.done["stream"] = n
	}
	return a.PutNode(ctx, *n)
}

func (s *sample) putPart(ctx context.Context, a *Archive, name PartName) (PartRecord, error) {
	w, err := a.CreatePart(ctx, s.ref, name)
	if err != nil {
		return PartRecord{}, err
	}
	defer w.Abort()
	if _, err := io.Copy(w, bytes.NewReader(s.parts[name.Name])); err != nil {
		return PartRecord{}, err
	}
	return w.Commit()
}

func (s *sample) putTree(ctx context.Context, a *Archive) (NodeRecord, error) {
	n := s.done["tree"]
	if n == nil {
		n = &NodeManifest{
			Set: s.ref.Set, Dump: s.ref.Dump, Path: "site/foo.files", Driver: "filesystem", Shape: ShapeTree, Source: "/var/lib/foo", Keys: s.keys,
			Started: testTime, Ended: testTime,
		}
		if err := s.putSegments(ctx, a, n); err != nil {
			return NodeRecord{}, err
		}
		s.done["tree"] = n
	}
	return a.PutNode(ctx, *n)
}

func (s *sample) putSegments(ctx context.Context, a *Archive, n *NodeManifest) error {
	w := a.NewContentWriter(ctx)
	defer w.Close()
	if err := storeFiles(ctx, w, s.files); err != nil {
		return err
	}
	half := len(s.files) / 2
	border := s.files[half].entry.Path
	for i, entries := range [][]Entry{entriesOf(s.files[:half]), entriesOf(s.files[half:])} {
		name := SegmentName{Node: n.Path, Index: i, Token: s.token, To: border}
		if i == 1 {
			name.From, name.To = border, ""
		}
		rec, err := a.PutSegment(ctx, s.ref, name, entries)
		if err != nil {
			return err
		}
		n.Segments = append(n.Segments, rec)
		n.Entries += rec.Entries
		n.Bytes += rec.Bytes
		n.Unreadable += rec.Unreadable
	}
	n.Segments[0].Stored = w.Stored()
	n.Stored = w.Stored()
	return nil
}

// check reads the whole dump back and compares.
func (s *sample) check(ctx context.Context, a *Archive) error {
	m, err := a.Manifest(ctx, s.ref)
	if err != nil {
		return err
	}
	got := map[string][]byte{}
	var files []file
	for _, rec := range m.Nodes {
		n, err := a.Node(ctx, s.ref, rec)
		if err != nil {
			return err
		}
		for _, p := range n.Parts {
			if got[p.Name], err = readPart(ctx, a, p); err != nil {
				return err
			}
		}
		for _, seg := range n.Segments {
			if files, err = appendSegment(ctx, a, seg, files); err != nil {
				return err
			}
		}
	}
	for name, want := range s.parts {
		if !bytes.Equal(got[name], want) {
			return fmt.Errorf("part %s: %d bytes, want %d", name, len(got[name]), len(want))
		}
	}
	if len(files) != len(s.files) {
		return fmt.Errorf("%d entries, want %d", len(files), len(s.files))
	}
	for i, f := range files {
		want := s.files[i]
		if f.entry.Path != want.entry.Path || f.entry.Type != want.entry.Type || f.entry.Err != want.entry.Err ||
			string(f.entry.Meta) != string(want.entry.Meta) || f.entry.Version != want.entry.Version || !bytes.Equal(f.data, want.data) {
			return fmt.Errorf("entry %q is not what was stored", want.entry.Path)
		}
	}
	return nil
}

func appendSegment(ctx context.Context, a *Archive, rec SegmentRecord, files []file) ([]file, error) {
	r := a.NewContentReader(len(files) == 0) // one segment each way
	defer r.Close()
	err := a.Segment(ctx, rec, func(e Entry) error {
		data, err := readFile(ctx, r, e)
		files = append(files, file{entry: e, data: data})
		return err
	})
	return files, err
}

func readPart(ctx context.Context, a *Archive, rec PartRecord) ([]byte, error) {
	r, err := a.OpenPart(ctx, rec)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// keys lists all objects.
func keys(t testing.TB, a *Archive) []string {
	t.Helper()
	var out []string
	err := a.store.list(t.Context(), "", listAll, func(o objectInfo) error {
		out = append(out, o.key)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// overwrite replaces an object behind the archive's back.
func overwrite(t testing.TB, a *Archive, key string, data []byte) {
	t.Helper()
	if err := a.store.put(t.Context(), key, data); err != nil {
		t.Fatal(err)
	}
}

func object(t testing.TB, a *Archive, key string) []byte {
	t.Helper()
	return must(readLimited(t.Context(), a.store, key, 64<<20))(t)
}

// verify runs Verify and returns its findings.
func verify(t testing.TB, a *Archive, refs ...Ref) (VerifySummary, []Finding) {
	t.Helper()
	var findings []Finding
	s, err := a.Verify(t.Context(), refs, VerifyOptions{Report: func(f Finding) { findings = append(findings, f) }})
	if err != nil {
		t.Fatal(err)
	}
	return s, findings
}
