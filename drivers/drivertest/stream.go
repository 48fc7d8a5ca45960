package drivertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/internal/secret"
)

// StreamHarness is what the suite needs to know of a stream driver: how to make sources and targets, how to change them,
// and how to read what is in them by other means than the driver. Places that its functions make are removed as the test
// ends.
type StreamHarness struct {
	Kind drivers.Kind
	// Options are the node's options, for every source and target; nil for none.
	Options json.RawMessage
	// New makes a source with data in it and returns its location, as a set would name it. Each call makes another
	// place with the same data, some of it large enough that a dump takes several writes.
	New func(t *testing.T) string
	// Absent returns a location where nothing is, which a restore can create.
	Absent func(t *testing.T) string
	// Empty makes a target that is there and holds nothing.
	Empty func(t *testing.T) string
	// Mutate commits one change, other than any before; it may wait while a view is open, if BlocksWriters says so.
	Mutate func(ctx context.Context, source string) error
	// Contents returns all that is in a place as a canonical text; "" where nothing is, or only an empty place.
	Contents func(t *testing.T, source string) string
	// Consistent tells whether contents can be one moment's state of a source of New: with the first n changes of a
	// single caller of Mutate, for any n.
	Consistent func(contents string) error
	// Leftovers lists what lies beside the data of a target that a restore could have made.
	Leftovers func(t *testing.T, target string) []string
	// BlocksWriters tells that writers wait while a view is open.
	BlocksWriters bool
	// Once tells that a part can be dumped once in a view, because nobody can read it again: the view is lost after that.
	// A retry then needs a new view.
	Once bool
	// Blind tells that the driver cannot see what a target holds, so that it refuses none.
	Blind bool
	// Missing returns a location that no restore could create either; nil where Absent is one to freeze.
	Missing func(t *testing.T) string
	// Record tells which entries of the scratch space outlive a restore, and are removed in time; nil for none.
	Record func(name string) bool
	// Adapt gives the rules of a restore what the driver's targets need beside the common ones; nil for nothing.
	Adapt func(drivers.Target) drivers.Target
	// Scratch is a directory below which the places that one test opens share their scratch space, for drivers that keep
	// there what a restore has to remember. "" gives each place its own.
	Scratch string
}

// Stream holds a driver to the contracts of [drivers.Stream] and [drivers.View]. The caller's TestMain looks for
// goroutines that were left (goleak).
func Stream(t *testing.T, h StreamHarness) {
	t.Helper()
	if h.Kind.Shape != drivers.ShapeStream || !h.Kind.Holds {
		t.Fatalf("kind %s is not a stream that holds a view: %+v", h.Kind.Name, h.Kind)
	}
	t.Run("absent source", h.testAbsentSource)
	t.Run("view", h.testView)
	t.Run("parts", h.testParts)
	if h.Once {
		t.Run("dump happens once", h.testDumpOnce)
		t.Run("dump passes a writer's error on", h.testWriterErrorOnce)
		t.Run("dump is cancelled", h.testDumpCancelOnce)
	} else {
		t.Run("dump is repeatable", h.testDumpRepeatable)
		t.Run("dump passes a writer's error on", h.testWriterError)
		t.Run("dump is cancelled", h.testDumpCancel)
	}
	t.Run("freeze is cancelled", h.testFreezeCancel)
	t.Run("view shows one moment", h.testOneMoment)
	t.Run("view is consistent under a writer", h.testUnderWriter)
	t.Run("identities", h.testIdentities)
	t.Run("restore to an absent place", h.testRestoreAbsent)
	t.Run("restore to an empty place", h.testRestoreEmpty)
	t.Run("restore is repeatable", h.testRestoreRepeatable)
	if !h.Blind {
		t.Run("restore refuses to replace", h.testRefuse)
	}
	t.Run("restore overwrites", h.testOverwrite)
	t.Run("load happens once", h.testLoadOnce)
	t.Run("load of two attempts at once", h.testLoadTwoAttempts)
	t.Run("load after a reader's error", h.testReaderError)
	t.Run("load is cancelled", h.testLoadCancel)
	t.Run("prepare and finish are idempotent", h.testPrepareFinish)
}

// run is the id of a restore of the suite.
const run = "019aa000-0000-7000-8000-000000000001"

var errInjected = errors.New("injected error")

// open opens a place and sees to it that no scratch file is left.
func (h StreamHarness) open(t *testing.T, source string) drivers.Stream {
	t.Helper()
	scratch := h.scratch(t)
	opened, err := h.Kind.Open(t.Context(), drivers.Spec{
		Node: "site/db", Source: secret.New(source), Options: h.Options, Scratch: scratch,
	})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	stream, ok := opened.(drivers.Stream)
	if !ok {
		t.Fatalf("Open returned a %T, which is not a Stream", opened)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := stream.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		left, err := os.ReadDir(scratch)
		left = slices.DeleteFunc(left, func(e os.DirEntry) bool { return h.Record != nil && h.Record(e.Name()) })
		if err != nil || len(left) > 0 {
			t.Errorf("scratch directory holds %v after Close (%v)", left, err)
		}
	})
	return stream
}

// scratch makes the scratch space of a place, or finds that of the test.
func (h StreamHarness) scratch(t *testing.T) string {
	t.Helper()
	if h.Scratch == "" {
		return t.TempDir()
	}
	dir := filepath.Join(h.Scratch, fmt.Sprintf("%x", sha256.Sum256([]byte(t.Name()))))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatalf("make scratch space: %v", err)
	}
	return dir
}

// freeze opens a view and ends it with the test.
func (h StreamHarness) freeze(t *testing.T, source string) drivers.View {
	t.Helper()
	view, err := h.open(t, source).Freeze(t.Context())
	if err != nil {
		t.Fatalf("Freeze: %v", err)
	}
	t.Cleanup(func() {
		if err := view.End(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("End: %v", err)
		}
	})
	return view
}

// dumped is a part with its bytes, as an archive would hold them.
type dumped struct {
	part  drivers.Part
	bytes []byte
}

func parts(t *testing.T, view drivers.View) []drivers.Part {
	t.Helper()
	var all []drivers.Part
	err := view.Parts(t.Context(), func(p drivers.Part) error {
		all = append(all, p)
		return nil
	})
	if err != nil {
		t.Fatalf("Parts: %v", err)
	}
	if len(all) == 0 {
		t.Fatal("Parts: none")
	}
	slices.SortFunc(all, func(a, b drivers.Part) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func dumpPart(t *testing.T, view drivers.View, part drivers.Part) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := view.Dump(t.Context(), part, &b); err != nil {
		t.Fatalf("Dump %s: %v", part.Name, err)
	}
	return b.Bytes()
}

// dump dumps a source in a view of its own.
func (h StreamHarness) dump(t *testing.T, source string) []dumped {
	t.Helper()
	view, err := h.open(t, source).Freeze(t.Context())
	if err != nil {
		t.Fatalf("Freeze: %v", err)
	}
	all := dumpView(t, view)
	if err := view.End(t.Context()); err != nil {
		t.Fatalf("End: %v", err)
	}
	return all
}

func dumpView(t *testing.T, view drivers.View) []dumped {
	t.Helper()
	var all []dumped
	for _, part := range parts(t, view) {
		var b bytes.Buffer
		counts, err := view.Dump(t.Context(), part, &b)
		if err != nil {
			t.Fatalf("Dump %s: %v", part.Name, err)
		}
		data := b.Bytes()
		part = stored(t, part)
		part.Rows, part.Digest = counts.Rows, counts.Digest
		part.SHA256 = fmt.Sprintf("%x", sha256.Sum256(data))
		all = append(all, dumped{part, data})
	}
	return all
}

// stored returns a part as it comes back out of an archive.
func stored(t *testing.T, part drivers.Part) drivers.Part {
	t.Helper()
	text, err := json.Marshal(part)
	if err != nil {
		t.Fatalf("marshal part %s: %v", part.Name, err)
	}
	var back drivers.Part
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatalf("unmarshal part %s: %v", part.Name, err)
	}
	return back
}

// adapt gives rules what the driver needs, and the contents of the parts of a dump.
func (h StreamHarness) adapt(rules drivers.Target, dump []dumped) drivers.Target {
	if h.Adapt != nil {
		rules = h.Adapt(rules)
	}
	rules.Open = func(_ context.Context, part drivers.Part) (io.ReadCloser, error) {
		for _, d := range dump {
			if d.part.Name == part.Name {
				return io.NopCloser(bytes.NewReader(d.bytes)), nil
			}
		}
		return nil, fmt.Errorf("open part %s: no such part", part.Name)
	}
	return rules
}

// loads are the parts that Load is for.
func loads(dump []dumped) []dumped {
	return slices.DeleteFunc(slices.Clone(dump), func(d dumped) bool { return d.part.Base })
}

func contentsOf(dump []dumped) []drivers.Part {
	all := make([]drivers.Part, 0, len(dump))
	for _, d := range dump {
		all = append(all, d.part)
	}
	return all
}

func attempt(token string) drivers.Attempt {
	return drivers.Attempt{Run: run, Task: "load:site/db:0", Token: token}
}

// restore does all of a restore, as another process would: it opens the target anew.
func (h StreamHarness) restore(t *testing.T, to string, target drivers.Target, dump []dumped) error {
	t.Helper()
	stream := h.open(t, to)
	target = h.adapt(target, dump)
	contents := contentsOf(dump)
	if err := stream.CheckTarget(t.Context(), target, contents); err != nil {
		return err
	}
	if err := stream.Prepare(t.Context(), target, contents); err != nil {
		return err
	}
	for _, d := range loads(dump) {
		if err := stream.Load(t.Context(), target, attempt("one"), d.part, bytes.NewReader(d.bytes)); err != nil {
			return err
		}
	}
	return stream.Finish(t.Context(), target, contents)
}

// mustRestore restores and compares.
func (h StreamHarness) mustRestore(t *testing.T, to string, target drivers.Target, dump []dumped, want string) {
	t.Helper()
	if err := h.restore(t, to, target, dump); err != nil {
		t.Fatalf("restore: %v", err)
	}
	h.expect(t, to, want)
	h.expectNoLeftovers(t, to)
}

func (h StreamHarness) expect(t *testing.T, place, want string) {
	t.Helper()
	if diff := cmp.Diff(want, h.Contents(t, place)); diff != "" {
		t.Fatalf("contents (-want +got):\n%s", diff)
	}
}

func (h StreamHarness) expectNoLeftovers(t *testing.T, place string) {
	t.Helper()
	if left := h.Leftovers(t, place); len(left) > 0 {
		t.Fatalf("leftovers: %q", left)
	}
}

func (h StreamHarness) mutate(t *testing.T, source string) {
	t.Helper()
	before := h.Contents(t, source)
	if err := h.Mutate(t.Context(), source); err != nil {
		t.Fatalf("Mutate: %v", err)
	}
	if h.Contents(t, source) == before {
		t.Fatal("Mutate changed nothing: the harness proves nothing")
	}
}

// seeded makes a source and checks that the harness can tell it from nothing.
func (h StreamHarness) seeded(t *testing.T) (source, contents string) {
	t.Helper()
	source = h.New(t)
	contents = h.Contents(t, source)
	if contents == "" {
		t.Fatal("New made no contents: the harness proves nothing")
	}
	return source, contents
}
