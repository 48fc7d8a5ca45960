package drivertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"salvor/drivers"
)

func (h StreamHarness) testAbsentSource(t *testing.T) {
	t.Parallel()
	source := h.Absent(t)
	if h.Missing != nil {
		source = h.Missing(t)
	}
	stream := h.open(t, source)
	if view, err := stream.Freeze(t.Context()); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("Freeze of an absent source = %v, %v, want ErrNotFound", view, err)
	}
	h.expect(t, source, "")
	h.expectNoLeftovers(t, source)
	// Open and Freeze must not have made what they did not find.
	if _, err := stream.Freeze(t.Context()); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("second Freeze of an absent source = %v, want ErrNotFound", err)
	}
}

func (h StreamHarness) testView(t *testing.T) {
	t.Parallel()
	source, contents := h.seeded(t)
	view, err := h.open(t, source).Freeze(t.Context())
	if err != nil {
		t.Fatalf("Freeze: %v", err)
	}
	var facts map[string]any
	if err := json.Unmarshal(view.Facts(), &facts); err != nil || len(facts) == 0 {
		t.Errorf("Facts = %s, want a JSON object (%v)", view.Facts(), err)
	}
	if err := view.Alive(t.Context()); err != nil {
		t.Errorf("Alive: %v", err)
	}
	part := parts(t, view)[0]
	// The view outlives the context of Freeze; its end must work while a run is cancelled.
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := view.End(cancelled); err != nil {
		t.Errorf("End: %v", err)
	}
	if err := view.End(t.Context()); err != nil {
		t.Errorf("second End: %v", err)
	}
	if err := view.Alive(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("Alive after End = %v, want ErrViewLost", err)
	}
	var b bytes.Buffer
	if _, err := view.Dump(t.Context(), part, &b); !errors.Is(err, drivers.ErrViewLost) || b.Len() > 0 {
		t.Errorf("Dump after End = %v with %d bytes, want ErrViewLost with none", err, b.Len())
	}
	h.expect(t, source, contents)
}

func (h StreamHarness) testParts(t *testing.T) {
	t.Parallel()
	source, _ := h.seeded(t)
	view := h.freeze(t, source)
	first := parts(t, view)
	if diff := cmp.Diff(first, parts(t, view)); diff != "" {
		t.Errorf("second Parts (-first +second):\n%s", diff)
	}
	names := map[string]bool{}
	for _, p := range first {
		if p.Name == "" || len(p.Name) > 512 || bytes.IndexByte([]byte(p.Name), 0) >= 0 || names[p.Name] {
			t.Errorf("part's name %q is empty, too long, holds a NUL or is there twice", p.Name)
		}
		names[p.Name] = true
		if p.Ext == "" || p.Size < 0 {
			t.Errorf("part %s has ending %q and size %d", p.Name, p.Ext, p.Size)
		}
	}
	calls := 0
	err := view.Parts(t.Context(), func(drivers.Part) error {
		calls++
		return errInjected
	})
	if !errors.Is(err, errInjected) || calls != 1 {
		t.Errorf("Parts with a yield that fails = %v after %d calls, want its error after 1", err, calls)
	}
	_, err = view.Dump(t.Context(), drivers.Part{Name: "no such part", Ref: json.RawMessage(`{}`)}, &bytes.Buffer{})
	if err == nil {
		t.Error("Dump of a part that does not exist: no error")
	}
}

func (h StreamHarness) testDumpRepeatable(t *testing.T) {
	t.Parallel()
	source, _ := h.seeded(t)
	view := h.freeze(t, source)
	first := dumpView(t, view)
	var group errgroup.Group
	for range 3 {
		for _, d := range first {
			group.Go(func() error {
				var b bytes.Buffer
				if _, err := view.Dump(t.Context(), d.part, &b); err != nil {
					return fmt.Errorf("dump %s: %w", d.part.Name, err)
				}
				if !bytes.Equal(b.Bytes(), d.bytes) {
					return fmt.Errorf("dump of %s gave other bytes the second time", d.part.Name)
				}
				return view.Alive(t.Context())
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// failWriter fails once it was given some bytes.
type failWriter struct {
	room int
	err  error
}

func (w *failWriter) Write(p []byte) (int, error) {
	if len(p) > w.room {
		n := w.room
		w.room = 0
		return n, w.err
	}
	w.room -= len(p)
	return len(p), nil
}

func (h StreamHarness) testWriterError(t *testing.T) {
	t.Parallel()
	source, _ := h.seeded(t)
	view := h.freeze(t, source)
	for _, d := range dumpView(t, view) {
		for _, room := range []int{0, len(d.bytes) / 2, len(d.bytes) - 1} {
			if room < 0 || room >= len(d.bytes) {
				continue // nothing is written beyond it
			}
			_, err := view.Dump(t.Context(), d.part, &failWriter{room, errInjected})
			if err != errInjected { //nolint:errorlint // the contract: as it is
				t.Errorf("Dump %s to a writer that fails after %d bytes = %v, want its error as it is", d.part.Name, room, err)
			}
		}
		if !bytes.Equal(dumpPart(t, view, d.part), d.bytes) {
			t.Errorf("Dump %s after an error gave other bytes", d.part.Name)
		}
	}
}

// cancelWriter cancels at its first byte and takes all.
type cancelWriter struct{ cancel context.CancelFunc }

func (w cancelWriter) Write(p []byte) (int, error) {
	w.cancel()
	return len(p), nil
}

func (h StreamHarness) testDumpCancel(t *testing.T) {
	t.Parallel()
	source, _ := h.seeded(t)
	view := h.freeze(t, source)
	all := dumpView(t, view)
	largest := slices.MaxFunc(all, func(a, b dumped) int { return len(a.bytes) - len(b.bytes) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := view.Dump(ctx, largest.part, cancelWriter{cancel}); !errors.Is(err, context.Canceled) {
		t.Errorf("Dump that is cancelled = %v, want context.Canceled (%d bytes, is the harness's data too small?)",
			err, len(largest.bytes))
	}
	if _, err := view.Dump(ctx, largest.part, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Dump with a cancelled context = %v, want context.Canceled", err)
	}
	// The view is shared by other parts: it must not die of one that was cancelled.
	if !bytes.Equal(dumpPart(t, view, largest.part), largest.bytes) {
		t.Error("Dump after a cancel gave other bytes")
	}
	if err := view.Alive(t.Context()); err != nil {
		t.Errorf("Alive after a cancel: %v", err)
	}
}

func (h StreamHarness) testFreezeCancel(t *testing.T) {
	t.Parallel()
	source, contents := h.seeded(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.open(t, source).Freeze(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Freeze with a cancelled context = %v, want context.Canceled", err)
	}
	// Nothing may hold the source now.
	h.expect(t, source, contents)
	h.mutate(t, source)
}

func (h StreamHarness) testOneMoment(t *testing.T) {
	t.Parallel()
	source, before := h.seeded(t)
	view, err := h.open(t, source).Freeze(t.Context())
	if err != nil {
		t.Fatalf("Freeze: %v", err)
	}
	if !h.BlocksWriters {
		h.mutate(t, source)
	}
	dump := dumpView(t, view)
	if !h.BlocksWriters {
		h.mutate(t, source)
	}
	if !h.Once && !slices.EqualFunc(dump, dumpView(t, view), func(a, b dumped) bool { return bytes.Equal(a.bytes, b.bytes) }) {
		t.Error("the view changed while the source was written")
	}
	if err := view.End(t.Context()); err != nil {
		t.Fatalf("End: %v", err)
	}
	h.mustRestore(t, h.Absent(t), drivers.Target{Run: run}, dump, before)
}

func (h StreamHarness) testUnderWriter(t *testing.T) {
	t.Parallel()
	source, _ := h.seeded(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var changes atomic.Int64
	changed := make(chan struct{}, 1)
	stop := make(chan struct{})
	var writer errgroup.Group
	writer.Go(func() error {
		for {
			select {
			case <-stop:
				return nil
			default:
			}
			if err := h.Mutate(ctx, source); err != nil {
				return fmt.Errorf("mutate: %w", err)
			}
			changes.Add(1)
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	})
	const views = 4
	var dumps [views][]dumped
	for i := range dumps {
		select { // new changes before each view
		case <-changed:
		case <-ctx.Done():
			t.Fatal("the writer makes no progress")
		}
		view, err := h.open(t, source).Freeze(ctx)
		if err != nil {
			t.Fatalf("Freeze under a writer: %v", err)
		}
		if !h.BlocksWriters {
			at := changes.Load()
			for changes.Load() < at+2 {
				select {
				case <-changed:
				case <-ctx.Done():
					t.Fatal("the writer makes no progress while a view is open")
				}
			}
		}
		dumps[i] = dumpView(t, view)
		if err := view.End(t.Context()); err != nil {
			t.Errorf("End: %v", err)
		}
	}
	close(stop)
	if err := writer.Wait(); err != nil {
		t.Error(err)
	}
	for _, dump := range dumps {
		target := h.Absent(t)
		if err := h.restore(t, target, drivers.Target{Run: run}, dump); err != nil {
			t.Fatalf("restore of a view under a writer: %v", err)
		}
		if err := h.Consistent(h.Contents(t, target)); err != nil {
			t.Errorf("view under a writer is not one moment's state: %v", err)
		}
	}
}

func (h StreamHarness) testIdentities(t *testing.T) {
	t.Parallel()
	ids := func(source string) []string {
		t.Helper()
		ids, err := h.open(t, source).Identities(t.Context())
		if err != nil || len(ids) == 0 {
			t.Fatalf("Identities of %s = %q, %v", source, ids, err)
		}
		return ids
	}
	common := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(id string) bool { return slices.Contains(b, id) })
	}
	source, _ := h.seeded(t)
	other, _ := h.seeded(t)
	absent := h.Absent(t)
	if !common(ids(source), ids(source)) {
		t.Errorf("one place has nothing in common with itself: %q, %q", ids(source), ids(source))
	}
	if common(ids(source), ids(other)) || common(ids(source), ids(absent)) {
		t.Errorf("different places share an identity: %q, %q, %q", ids(source), ids(other), ids(absent))
	}
	before := ids(absent)
	if err := h.restore(t, absent, drivers.Target{Run: run}, h.dump(t, source)); err != nil {
		t.Fatalf("restore: %v", err)
	}
	if !common(before, ids(absent)) {
		t.Errorf("a place has nothing in common with what it was before it existed: %q, %q", before, ids(absent))
	}
}
