package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
)

func (h StreamHarness) testRestoreAbsent(t *testing.T) {
	t.Parallel()
	source, contents := h.seeded(t)
	target := h.Absent(t)
	h.mustRestore(t, target, drivers.Target{Run: run}, h.dump(t, source), contents)
	// What was restored is a source like the first.
	h.mustRestore(t, h.Absent(t), drivers.Target{Run: run}, h.dump(t, target), contents)
	h.expect(t, source, contents)
}

func (h StreamHarness) testRestoreEmpty(t *testing.T) {
	t.Parallel()
	source, contents := h.seeded(t)
	h.mustRestore(t, h.Empty(t), drivers.Target{Run: run}, h.dump(t, source), contents)
}

// testRestoreRepeatable restores onto what is already equal, as a second run does.
func (h StreamHarness) testRestoreRepeatable(t *testing.T) {
	t.Parallel()
	source, contents := h.seeded(t)
	dump := h.dump(t, source)
	target := h.Absent(t)
	h.mustRestore(t, target, drivers.Target{Run: run}, dump, contents)
	h.mustRestore(t, target, drivers.Target{Run: run + "-2"}, dump, contents)
}

func (h StreamHarness) testRefuse(t *testing.T) {
	t.Parallel()
	source, _ := h.seeded(t)
	dump := h.dump(t, source)
	other, _ := h.seeded(t)
	h.mutate(t, other)
	before := h.Contents(t, other)
	stream := h.open(t, other)
	rules := h.adapt(drivers.Target{Run: run}, dump)

	err := stream.CheckTarget(t.Context(), rules, contentsOf(dump))
	if !errors.Is(err, drivers.ErrNotEmpty) {
		t.Errorf("CheckTarget of another database = %v, want ErrNotEmpty", err)
	}
	var hint interface{ Hint() string }
	if !errors.As(err, &hint) {
		t.Errorf("CheckTarget of another database: %v has no hint", err)
	}
	h.expect(t, other, before)
	h.expectNoLeftovers(t, other)

	// What appeared after the check is not replaced either.
	err = stream.Prepare(t.Context(), rules, contentsOf(dump))
	for _, d := range loads(dump) {
		if err == nil {
			err = stream.Load(t.Context(), rules, attempt("one"), d.part, bytes.NewReader(d.bytes))
		}
	}
	if !errors.Is(err, drivers.ErrNotEmpty) {
		t.Errorf("Prepare and Load over another database = %v, want ErrNotEmpty", err)
	}
	h.expect(t, other, before)
	if err := stream.Finish(t.Context(), rules, contentsOf(dump)); err != nil {
		t.Logf("Finish after a refused load: %v", err)
	}
	h.expect(t, other, before)
}

func (h StreamHarness) testOverwrite(t *testing.T) {
	t.Parallel()
	source, contents := h.seeded(t)
	dump := h.dump(t, source)
	for _, rules := range []drivers.Target{{Run: run, Overwrite: true}, {Run: run, Mirror: true}} {
		other, _ := h.seeded(t)
		h.mutate(t, other)
		h.mustRestore(t, other, rules, dump, contents)
		h.mustRestore(t, h.Absent(t), rules, dump, contents)
	}
}

// begin opens and prepares a target.
func (h StreamHarness) begin(t *testing.T, place string, rules drivers.Target, dump []dumped) drivers.Stream {
	t.Helper()
	stream := h.open(t, place)
	if err := stream.CheckTarget(t.Context(), rules, contentsOf(dump)); err != nil {
		t.Fatalf("CheckTarget: %v", err)
	}
	if err := stream.Prepare(t.Context(), rules, contentsOf(dump)); err != nil {
		t.Fatalf("Prepare: %v", err)
	}
	return stream
}

func (h StreamHarness) finish(t *testing.T, stream drivers.Stream, place string, rules drivers.Target, dump []dumped, want string) {
	t.Helper()
	if err := stream.Finish(t.Context(), rules, contentsOf(dump)); err != nil {
		t.Fatalf("Finish: %v", err)
	}
	h.expect(t, place, want)
	h.expectNoLeftovers(t, place)
}

func mustLoad(t *testing.T, stream drivers.Stream, rules drivers.Target, token string, dump []dumped) {
	t.Helper()
	for _, d := range loads(dump) {
		if err := stream.Load(t.Context(), rules, attempt(token), d.part, bytes.NewReader(d.bytes)); err != nil {
			t.Fatalf("Load %s: %v", d.part.Name, err)
		}
	}
}

func (h StreamHarness) testLoadOnce(t *testing.T) {
	t.Parallel()
	source, contents := h.seeded(t)
	dump := h.dump(t, source)
	target := h.Absent(t)
	rules := h.adapt(drivers.Target{Run: run, Overwrite: true}, dump)
	stream := h.begin(t, target, rules, dump)
	mustLoad(t, stream, rules, "one", dump)
	// An attempt after one that succeeded does nothing, even if its reader could not give the part.
	for _, d := range loads(dump) {
		err := h.open(t, target).Load(t.Context(), rules, attempt("two"), d.part, &failReader{nil, errInjected})
		if err != nil {
			t.Errorf("second Load of %s = %v, want nil", d.part.Name, err)
		}
	}
	// What is written after the load is not loaded over.
	if err := h.Mutate(t.Context(), target); err != nil {
		t.Fatalf("Mutate: %v", err)
	}
	changed := h.Contents(t, target)
	if changed == contents {
		t.Fatal("Mutate changed nothing")
	}
	if err := stream.CheckTarget(t.Context(), drivers.Target{Run: run}, contentsOf(dump)); err != nil {
		t.Errorf("CheckTarget of the run that loaded = %v, want nil", err)
	}
	mustLoad(t, stream, rules, "three", dump)
	h.finish(t, stream, target, rules, dump, changed)
}

func (h StreamHarness) testLoadTwoAttempts(t *testing.T) {
	t.Parallel()
	source, contents := h.seeded(t)
	dump := h.dump(t, source)
	target := h.Absent(t)
	rules := h.adapt(drivers.Target{Run: run}, dump)
	stream := h.begin(t, target, rules, dump)
	var group errgroup.Group
	for i := range 3 {
		other := h.open(t, target)
		group.Go(func() error {
			for _, d := range loads(dump) {
				err := other.Load(t.Context(), rules, attempt(fmt.Sprintf("token%d", i)), d.part, bytes.NewReader(d.bytes))
				if err != nil {
					return fmt.Errorf("attempt %d: Load %s: %w", i, d.part.Name, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	h.finish(t, stream, target, rules, dump, contents)
}

// failReader gives some bytes, then an error.
type failReader struct {
	bytes []byte
	err   error
}

func (r *failReader) Read(p []byte) (int, error) {
	if len(r.bytes) == 0 {
		return 0, r.err
	}
	n := copy(p, r.bytes)
	r.bytes = r.bytes[n:]
	return n, nil
}

func (h StreamHarness) testReaderError(t *testing.T) {
	t.Parallel()
	source, contents := h.seeded(t)
	dump := h.dump(t, source)
	target := h.Absent(t)
	rules := h.adapt(drivers.Target{Run: run}, dump)
	stream := h.begin(t, target, rules, dump)
	for _, d := range loads(dump) {
		for i, room := range []int{0, 1, len(d.bytes) / 2, len(d.bytes)} {
			// An archive reports a damaged part at its end, when all of its bytes have been given; and as a truncated stream.
			for _, want := range []error{errInjected, io.ErrUnexpectedEOF} {
				err := stream.Load(t.Context(), rules, attempt(fmt.Sprintf("bad%d", i)), d.part, &failReader{d.bytes[:min(room, len(d.bytes))], want})
				if !errors.Is(err, want) {
					t.Errorf("Load %s with an error after %d bytes = %v, want %v", d.part.Name, room, err, want)
				}
			}
		}
	}
	h.expect(t, target, "")
	mustLoad(t, stream, rules, "good", dump)
	h.finish(t, stream, target, rules, dump, contents)
}

// cancelReader cancels at its first byte and goes on.
type cancelReader struct {
	io.Reader
	cancel context.CancelFunc
}

func (r cancelReader) Read(p []byte) (int, error) {
	r.cancel()
	return r.Reader.Read(p)
}

func (h StreamHarness) testLoadCancel(t *testing.T) {
	t.Parallel()
	source, contents := h.seeded(t)
	dump := h.dump(t, source)
	target := h.Absent(t)
	rules := h.adapt(drivers.Target{Run: run}, dump)
	stream := h.begin(t, target, rules, dump)
	for _, d := range loads(dump) {
		ctx, cancel := context.WithCancel(t.Context())
		err := stream.Load(ctx, rules, attempt("cancelled"), d.part, cancelReader{bytes.NewReader(d.bytes), cancel})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Load %s that is cancelled = %v, want context.Canceled", d.part.Name, err)
		}
	}
	h.expect(t, target, "")
	mustLoad(t, stream, rules, "good", dump)
	h.finish(t, stream, target, rules, dump, contents)
}

func (h StreamHarness) testPrepareFinish(t *testing.T) {
	t.Parallel()
	source, contents := h.seeded(t)
	dump := h.dump(t, source)
	other, _ := h.seeded(t)
	h.mutate(t, other)
	rules := h.adapt(drivers.Target{Run: run, Overwrite: true}, dump)
	stream := h.begin(t, other, rules, dump)
	if err := stream.Prepare(t.Context(), rules, contentsOf(dump)); err != nil {
		t.Errorf("second Prepare: %v", err)
	}
	mustLoad(t, stream, rules, "one", dump)
	h.begin(t, other, rules, dump)
	mustLoad(t, stream, rules, "two", dump)
	h.finish(t, stream, other, rules, dump, contents)
	h.finish(t, stream, other, rules, dump, contents)
}
