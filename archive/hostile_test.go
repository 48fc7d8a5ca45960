package archive

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Lengths and offsets that overflow when they are added up must be refused, not looked up.
func TestLengthsThatOverflowAreRefused(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx := t.Context()
		w := a.NewContentWriter(ctx)
		files := []file{{data: noise(1, 1000)}}
		err := storeFiles(ctx, w, files)
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, offset := range []int64{math.MaxInt64 - 1, math.MaxInt64, math.MaxInt64 - maxPack, math.MinInt64, -1} {
			c := *files[0].entry.Chunks[0]
			c.Offset = offset
			for _, whole := range []bool{true, false} {
				r := a.NewContentReader(whole)
				_, err := r.Chunk(ctx, &c)
				r.Close()
				wantError(t, err, ErrInvalid)
			}
			if must(a.NewPresence().Has(ctx, []*Chunk{&c}))(t) {
				t.Errorf("a chunk at %d is there", offset)
			}
		}
		// Entries whose sizes are lengths, and whose sum is none.
		var entries []Entry
		for i := range 3 {
			entries = append(entries, Entry{Path: fmt.Sprint(i), Type: fileType, Size: 1 << 62, Chunks: []*Chunk{{Hole: 1 << 62}}})
		}
		_, err = a.PutSegment(ctx, testRef, SegmentName{Node: "n", Token: "t"}, entries)
		wantError(t, err, ErrInvalid)
	})
}

func TestPartsOfHugeLengthsAreRefused(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		s := newSample(testRef)
		rec := must(s.putPart(t.Context(), a, PartName{Node: "n", Name: "database", Token: "t"}))(t)
		huge := rec
		huge.Size, huge.Stored = math.MaxInt64, math.MaxInt64
		_, err := readPart(t.Context(), a, huge)
		wantError(t, err, ErrCorrupt)
		v := testVerifier(a)
		v.blind = map[Ref]bool{}
		for i, change := range []func(*PartRecord){
			func(r *PartRecord) { *r = huge }, func(r *PartRecord) { *r = huge }, func(r *PartRecord) { r.Size = -5 },
			func(r *PartRecord) { r.Stored = -5 }, func(r *PartRecord) { r.Encoding = "none" },
		} {
			changed := rec
			change(&changed)
			v.expect(changed.Stored)
			if err := v.part(t.Context(), changed, owner{ref: testRef, node: "n", part: fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
			if v.losses[rec.Key] == nil || v.summary.Bytes < 0 || v.total < 0 {
				t.Errorf("change %d: %+v, %d bytes", i, v.losses, v.total)
			}
			clear(v.losses)
		}
		n := NodeManifest{Set: testRef.Set, Dump: testRef.Dump, Path: "n", Shape: ShapeStream, Parts: []PartRecord{rec}}
		n.Parts[0].Stored = -1
		_, err = a.PutNode(t.Context(), n)
		wantError(t, err, ErrInvalid)
	})
}

// While a document cannot be read, what nobody else names must not be offered for removal.
func TestVerifyCallsNothingAStrayThatALostDocumentMayName(t *testing.T) {
	t.Parallel()
	newer := must(encodeDocument(envelope{typeNode, Format + 1}))(t)
	onEach(t, func(t *testing.T, a *Archive) {
		if err := newSample(testRef).put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		stray := packKey(sha([]byte("p")))
		overwrite(t, a, stray, []byte("p"))
		for _, key := range keys(t, a) {
			isSegment := strings.Contains(key, "/segment-")
			if !isSegment && !strings.HasSuffix(key, "manifest.json") && !strings.Contains(key, "/nodes/") {
				continue
			}
			good := object(t, a, key)
			for what, stored := range map[string][]byte{"cut": good[:len(good)/2], "newer": newer} {
				overwrite(t, a, key, stored)
				sum, findings := verify(t, a)
				kinds := map[FindingKind][]string{}
				for _, f := range findings {
					kinds[f.Kind] = append(kinds[f.Kind], f.Key)
				}
				if sum.OK() || sum.Strays != 0 || sum.Unknown == 0 || !slices.Contains(kinds[Unknown], stray) {
					t.Errorf("%s %s: %+v", key, what, kinds)
				}
				if what == "newer" && !isSegment && (sum.Newer != 1 || sum.Unreadable != 1 || !slices.Equal(kinds[Newer], []string{key})) {
					t.Errorf("%s of a newer format: %+v", key, kinds)
				}
			}
			overwrite(t, a, key, good)
		}
		if sum, _ := verify(t, a); !sum.OK() || sum.Strays != 1 || sum.Unknown != 0 {
			t.Errorf("the repaired archive: %+v", sum)
		}
	})
}

// Something else than a file in an object's place is damage, and found at once: not an error of the storage that may pass.
func TestOddFilesAreDamage(t *testing.T) {
	t.Parallel()
	location, o := places["local"](t)
	a := create(t, location, o)
	s := newSample(testRef)
	if err := s.put(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	aside := t.TempDir()
	kept := filepath.Join(aside, "kept")
	for _, key := range keys(t, a) {
		name := filepath.Join(location, key)
		for what, put := range map[string]func() error{
			"link out":      func() error { return os.Symlink(kept, name) },
			"link in":       func() error { return os.Symlink(filepath.Base(name)+"-x", name) },
			"directory":     func() error { return os.Mkdir(name, 0o700) },
			"linked parent": nil,
		} {
			moved, to := name, kept
			if put == nil {
				if moved = filepath.Dir(name); moved == location || strings.HasPrefix(key, runsDir) {
					continue
				}
				put = func() error { return os.Symlink(to, moved) }
			}
			if err := errors.Join(os.Rename(moved, to), put()); err != nil {
				t.Fatal(err)
			}
			checkOdd(t, a, s, key, what)
			if err := errors.Join(os.Remove(moved), os.Rename(to, moved)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if sum, findings := verify(t, a); !sum.OK() || len(findings) > 0 {
		t.Errorf("the repaired archive: %+v", findings)
	}
}

func checkOdd(t *testing.T, a *Archive, s *sample, key, what string) {
	t.Helper()
	if key == readmeKey {
		if sum, findings := verify(t, a); !sum.OK() || sum.Notices != 1 {
			t.Errorf("%s %s: %+v", key, what, findings)
		}
		return
	}
	sum, findings := verify(t, a)
	byKey := map[string]FindingKind{}
	for _, f := range findings {
		if f.Key == key || f.Kind != Foreign { // a link to a directory is foreign as well
			byKey[f.Key] = f.Kind
		}
	}
	if what == "linked parent" && filepath.Dir(key) == filepath.Clean(testRef.dir()) ||
		what == "directory" && strings.HasPrefix(key, runsDir) {
		return // then there is no such dump, or run
	}
	if sum.Unreadable != 0 || sum.Damaged == 0 || byKey[key] != Damaged {
		t.Errorf("%s %s: %+v", key, what, findings)
	}
	if err := s.check(t.Context(), a); strings.Contains(key, "/data/") || strings.HasPrefix(key, packsDir) {
		wantError(t, err, ErrCorrupt)
	}
	if c := s.files[2].entry.Chunks; strings.HasPrefix(key, objectsDir) && c[0].key() == key {
		if must(a.NewPresence().Has(t.Context(), c))(t) {
			t.Errorf("%s %s: is taken for there", key, what)
		}
	}
}

func TestACommittedDumpNeedsItsPlan(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		s := newSample(testRef)
		if err := s.put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		damage(t, a, testRef.dir()+"plan.json", nil)
		_, err := a.Plan(t.Context(), testRef)
		if !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNoDump) {
			t.Errorf("a lost plan is %v", err)
		}
		_, err = a.Plan(t.Context(), Ref{"site", "20200101-000000-0000"})
		wantError(t, err, ErrNoDump)
		broken := *a
		broken.store = failingStat{a.store}
		_, err = broken.Plan(t.Context(), testRef)
		wantError(t, err, errFault)
	})
}

// failingStat never tells an object's length.
type failingStat struct{ store }

func (failingStat) stat(context.Context, string) (objectInfo, error) { return objectInfo{}, errFault }

// recorder notes which objects are written and which are settled.
type recorder struct {
	store
	mu      sync.Mutex
	written map[string]int
	settled map[string]bool
}

func record(s store) *recorder {
	return &recorder{store: s, written: map[string]int{}, settled: map[string]bool{}}
}

func (r *recorder) put(ctx context.Context, key string, data []byte) error {
	r.mu.Lock()
	r.written[key]++
	r.mu.Unlock()
	return r.store.put(ctx, key, data)
}

func (r *recorder) settle(ctx context.Context, key string) error {
	r.mu.Lock()
	r.settled[key] = true
	r.mu.Unlock()
	return r.store.settle(ctx, key)
}

func TestTheSameLargeContentIsStoredOnceByAWriter(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		r := record(a.store)
		counted := *a
		counted.store = r
		w := counted.NewContentWriter(t.Context())
		defer w.Close()
		files := make([]file, 5)
		for i := range files {
			files[i] = file{entry: Entry{Type: fileType}, data: noise(uint64(i/4), 3<<20)}
		}
		if err := storeFiles(t.Context(), w, files); err != nil {
			t.Fatal(err)
		}
		if w.Stored() != 6<<20 || len(r.written) != 2 {
			t.Errorf("%d bytes were stored: %v", w.Stored(), r.written)
		}
		for key, n := range r.written {
			if n != 1 {
				t.Errorf("%s was written %d times", key, n)
			}
		}
		for i := range files {
			if problem := files[i].entry.check(); problem != "" {
				t.Errorf("file %d: %s", i, problem)
			}
		}
		if diff := cmp.Diff(files[0].entry.Chunks, files[3].entry.Chunks); diff != "" {
			t.Error(diff)
		}
	})
}

// failingPut fails every write of an object.
type failingPut struct{ store }

func (failingPut) put(context.Context, string, []byte) error { return errFault }

func TestTheSameLargeContentFailsOnce(t *testing.T) {
	t.Parallel()
	location, o := places["local"](t)
	a := create(t, location, o)
	a.store = failingPut{a.store}
	w := a.NewContentWriter(t.Context())
	defer w.Close()
	err := storeFiles(t.Context(), w, []file{{data: noise(1, 3<<20)}, {data: noise(1, 3<<20)}, {data: noise(1, 3<<20)}})
	wantError(t, err, errFault)
}

// What is there already may be a dead process's, published and not yet durable: it is made so before anything names it.
func TestWhatIsThereIsSettled(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		s := newSample(testRef)
		if err := s.put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		first := keys(t, a)
		r := record(a.store)
		again := *a
		again.store = r
		delete(s.done, "stream")
		err := errors.Join(s.putSegments(t.Context(), &again, &NodeManifest{Path: s.done["tree"].Path}),
			s.put(t.Context(), &again), initialise(t.Context(), r, Options{}))
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range first {
			if key != readmeKey && !r.settled[key] { // README.txt lies beside the marker
				t.Errorf("%s was taken as it was", key)
			}
		}
	})
	location, o := places["local"](t)
	old := create(t, location, o)
	overwrite(t, old, "packs/aa/x", nil)
	l := must(openLocal(location))(t)
	defer func() { _ = l.close() }()
	if err := l.settle(t.Context(), "packs/aa/x"); err != nil || !l.stable["packs"] || !l.stable["packs/aa"] {
		t.Errorf("directories that were there: %v, %v", l.stable, err)
	}
}

func TestVerifyReportsPathsThatARestoreRefuses(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		s := newSample(testRef)
		s.files = nil
		bad := []string{"../x", "/abs", "a//b", "a/../b", "b/", "./a", "c/."}
		for _, path := range append([]string{"", "...", "d/..e", "d/e"}, bad...) {
			s.files = append(s.files, file{entry: Entry{Path: path, Type: "dir"}})
		}
		s.files = append(s.files, file{entry: Entry{Path: "f/", Type: "file", Err: "not a name of a file"}})
		slices.SortFunc(s.files, func(x, y file) int { return strings.Compare(x.entry.Path, y.entry.Path) })
		if err := s.put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		sum, findings := verify(t, a)
		var got []string
		for _, f := range findings {
			got = append(got, f.Paths...)
			if f.Kind != Damaged || !strings.Contains(f.Key, "/segment-") || f.Node == "" {
				t.Errorf("finding is %+v", f)
			}
		}
		slices.Sort(got)
		slices.Sort(bad)
		if diff := cmp.Diff(bad, got); diff != "" || sum.OK() {
			t.Errorf("summary is %+v, paths (-want +got):\n%s", sum, diff)
		}
	})
}

// TestVerifyTakesKeysAsTheyAre: a bucket has names that a directory cannot have.
func TestVerifyTakesKeysAsTheyAre(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		s := newSample(testRef)
		s.files, s.keys = nil, true
		for _, path := range []string{"../x", "/abs", "a//b", "a/../b", "b/", "new\nline"} {
			s.files = append(s.files, file{entry: Entry{Path: path, Type: fileType}, data: []byte(path)})
		}
		slices.SortFunc(s.files, func(x, y file) int { return strings.Compare(x.entry.Path, y.entry.Path) })
		if err := s.put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if sum, findings := verify(t, a); !sum.OK() || len(findings) != 0 {
			t.Errorf("summary is %+v, findings %+v", sum, findings)
		}
	})
}

func TestVerifyLooksAtTheReadme(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		for what, stored := range map[string][]byte{"gone": nil, "empty": {}, "other": []byte("x"), "binary": {0xff, 0}} {
			damage(t, a, readmeKey, stored)
			sum, findings := verify(t, a)
			if !sum.OK() || sum.Notices != 1 || len(findings) != 1 || findings[0].Key != readmeKey || findings[0].Kind != Notice {
				t.Errorf("%s: %+v", what, findings)
			}
		}
		overwrite(t, a, readmeKey, []byte("as another version wrote it"))
		other := *a
		other.version = "another"
		if _, findings := verify(t, &other); len(findings) != 0 {
			t.Errorf("another version's text: %+v", findings)
		}
	})
}

// A damaged pack or object says how it heals, and it does.
func TestDamagedContentHeals(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		s := newSample(testRef)
		if err := s.put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys(t, a) {
			if !strings.HasPrefix(key, packsDir) && !strings.HasPrefix(key, objectsDir) {
				continue
			}
			overwrite(t, a, key, noise(5, len(object(t, a, key))))
			_, findings := verify(t, a)
			if len(findings) != 1 || !strings.Contains(findings[0].Message, "dump --full") {
				t.Errorf("findings are %+v", findings)
			}
			damage(t, a, key, nil)
			w := a.NewContentWriter(t.Context())
			err := storeFiles(t.Context(), w, s.files)
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			if sum, findings := verify(t, a); !sum.OK() {
				t.Errorf("%s was stored again: %+v", key, findings)
			}
		}
	})
}
