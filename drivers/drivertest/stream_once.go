package drivertest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
)

// expectLost tells that nothing more can be had from a view, and that it says so.
func expectLost(t *testing.T, view drivers.View, part drivers.Part) {
	t.Helper()
	var b bytes.Buffer
	if _, err := view.Dump(t.Context(), part, &b); !errors.Is(err, drivers.ErrViewLost) || b.Len() > 0 {
		t.Errorf("Dump of a part that was read = %v with %d bytes, want ErrViewLost with none", err, b.Len())
	}
}

// freezeOnce opens a view that the test may spoil.
func (h StreamHarness) freezeOnce(t *testing.T, source string) drivers.View {
	t.Helper()
	view, err := h.open(t, source).Freeze(t.Context())
	if err != nil {
		t.Fatalf("Freeze: %v", err)
	}
	return view
}

// expectSpoiled ends a view whose part could not be dumped.
func expectSpoiled(t *testing.T, view drivers.View, part drivers.Part) {
	t.Helper()
	expectLost(t, view, part)
	if err := view.Alive(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("Alive after a failed Dump = %v, want ErrViewLost", err)
	}
	if err := view.End(t.Context()); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("End after a failed Dump = %v, want ErrViewLost", err)
	}
	if err := view.End(t.Context()); err != nil {
		t.Errorf("second End: %v", err)
	}
}

func (h StreamHarness) testDumpOnce(t *testing.T) {
	t.Parallel()
	source, _ := h.seeded(t)
	want := h.dump(t, source)
	view := h.freeze(t, source)
	for _, d := range want {
		var got [3]bytes.Buffer
		var errs [3]error
		var group errgroup.Group
		for i := range got {
			group.Go(func() error {
				_, errs[i] = view.Dump(t.Context(), d.part, &got[i])
				return nil
			})
		}
		_ = group.Wait()
		first := slices.Index(errs[:], nil)
		if first < 0 || !bytes.Equal(got[first].Bytes(), d.bytes) {
			t.Fatalf("Dump of %s at once: %v, want the bytes of another view from one of them", d.part.Name, errs)
		}
		for i, err := range errs {
			if i != first && (!errors.Is(err, drivers.ErrViewLost) || got[i].Len() > 0) {
				t.Errorf("Dump of %s beside another = %v with %d bytes, want ErrViewLost with none", d.part.Name, err, got[i].Len())
			}
		}
		expectLost(t, view, d.part)
	}
	if err := view.Alive(t.Context()); err != nil {
		t.Errorf("Alive when all was dumped: %v", err)
	}
}

func (h StreamHarness) testWriterErrorOnce(t *testing.T) {
	t.Parallel()
	source, _ := h.seeded(t)
	for _, d := range h.dump(t, source) {
		for _, room := range []int{0, len(d.bytes) / 2, len(d.bytes) - 1} {
			view := h.freezeOnce(t, source)
			_, err := view.Dump(t.Context(), d.part, &failWriter{room, errInjected})
			if err != errInjected { //nolint:errorlint // the contract: as it is
				t.Errorf("Dump %s to a writer that fails after %d bytes = %v, want its error as it is", d.part.Name, room, err)
			}
			expectSpoiled(t, view, d.part)
		}
	}
}

func (h StreamHarness) testDumpCancelOnce(t *testing.T) {
	t.Parallel()
	source, _ := h.seeded(t)
	for _, d := range h.dump(t, source) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		view := h.freezeOnce(t, source)
		if _, err := view.Dump(ctx, d.part, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
			t.Errorf("Dump with a cancelled context = %v, want context.Canceled", err)
		}
		// Nothing was read, so nothing is lost.
		if !bytes.Equal(dumpPart(t, view, d.part), d.bytes) {
			t.Error("Dump after one with a cancelled context gave other bytes")
		}
		if err := view.End(t.Context()); err != nil {
			t.Errorf("End: %v", err)
		}

		ctx, cancel = context.WithCancel(t.Context())
		view = h.freezeOnce(t, source)
		if _, err := view.Dump(ctx, d.part, cancelWriter{cancel}); !errors.Is(err, context.Canceled) {
			t.Errorf("Dump that is cancelled = %v, want context.Canceled (%d bytes, is the harness's data too small?)", err, len(d.bytes))
		}
		cancel()
		expectSpoiled(t, view, d.part)
	}
}
