package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
)

var errFault = errors.New("injected fault")

// faultStore fails its nth call, before it does anything or after it has done it (the answer is lost), or, for a write or
// a read of several calls, in the middle.
type faultStore struct {
	store
	mu   sync.Mutex
	at   int // which call fails; none if 0
	kind faultKind
	call int
}

type faultKind int

const (
	faultBefore faultKind = iota
	faultAfter
	faultShort
	faultKinds
)

// turn tells whether this call is the one.
func (f *faultStore) turn() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.call++
	return f.call == f.at
}

func (f *faultStore) wrap(do func() error) error {
	hit := f.turn()
	if hit && f.kind != faultAfter {
		return errFault
	}
	if err := do(); err != nil || !hit {
		return err
	}
	return errFault
}

func (f *faultStore) put(ctx context.Context, key string, data []byte) error {
	return f.wrap(func() error { return f.store.put(ctx, key, data) })
}

func (f *faultStore) putNew(ctx context.Context, key string, data []byte) error {
	return f.wrap(func() error { return f.store.putNew(ctx, key, data) })
}

func (f *faultStore) create(ctx context.Context, key string, expected int64) (objectWriter, error) {
	if f.turn() {
		return nil, errFault
	}
	w, err := f.store.create(ctx, key, expected)
	return &faultWriter{w, f}, err
}

type faultWriter struct {
	objectWriter
	f *faultStore
}

func (w *faultWriter) Write(p []byte) (int, error) {
	if !w.f.turn() {
		return w.objectWriter.Write(p)
	}
	n, err := 0, errFault
	if w.f.kind == faultShort {
		n, _ = w.objectWriter.Write(p[:len(p)/2])
	}
	return n, err
}

func (w *faultWriter) commit() error { return w.f.wrap(w.objectWriter.commit) }

func (f *faultStore) open(ctx context.Context, key string, offset, length int64) (r io.ReadCloser, err error) {
	if f.turn() {
		if f.kind != faultShort {
			return nil, errFault
		}
		r, err = f.store.open(ctx, key, offset, length)
		return &faultReader{r}, err
	}
	return f.store.open(ctx, key, offset, length)
}

// faultReader gives one byte and then fails.
type faultReader struct{ io.ReadCloser }

func (r *faultReader) Read(p []byte) (int, error) {
	if r.ReadCloser == nil || len(p) == 0 {
		return 0, errFault
	}
	n, _ := r.ReadCloser.Read(p[:1])
	return n, errFault
}

func (f *faultStore) stat(ctx context.Context, key string) (o objectInfo, err error) {
	err = f.wrap(func() (err error) { o, err = f.store.stat(ctx, key); return err })
	return o, err
}

func (f *faultStore) list(ctx context.Context, prefix string, depth listDepth, yield func(objectInfo) error) error {
	return f.wrap(func() error { return f.store.list(ctx, prefix, depth, yield) })
}

func (f *faultStore) remove(ctx context.Context, key string) error {
	return f.wrap(func() error { return f.store.remove(ctx, key) })
}

// After any single fault nothing uncommitted is listed, what is listed is whole, and a rerun ends right.
func TestAnySingleFault(t *testing.T) {
	t.Parallel()
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			buffers := newMemory(0, false, 1) // one for all rounds: making them is what takes time
			rounds, stride := 0, 1
			if name == "local" {
				stride = 5 // every write is synchronised to disk there
			}
			for kind := range faultKinds {
				if kind == faultShort {
					stride *= 3 // it differs in streams only
				}
				for at := 1 + int(kind); ; at += stride {
					location, o := place(t)
					a := create(t, location, o)
					a.memory = buffers
					faulty := &faultStore{store: a.store, at: at, kind: kind}
					broken := *a
					broken.store = faulty
					if err := rerun(t.Context(), a, &broken); err != nil {
						t.Fatalf("call %d, kind %d: %v", at, kind, err)
					}
					if rounds++; faulty.call < at {
						break
					}
				}
			}
			if rounds < 60/stride {
				t.Errorf("only %d faults were tried", rounds)
			}
		})
	}
}

func rerun(ctx context.Context, good, broken *Archive) error {
	s := newSample(testRef)
	// Small: the same calls, and there are many rounds.
	s.parts["database"], s.parts["public.orders/0"] = text(1, 2000), noise(1, 2000)
	for i := range s.files {
		if f := &s.files[i]; f.entry.Path == "big" {
			f.data = f.data[:SmallSize+1]
		} else if len(f.data) > 5000 {
			f.data = f.data[:5000]
		}
	}
	err := s.put(ctx, broken)
	if err != nil && !errors.Is(err, errFault) {
		return fmt.Errorf("first run: %w", err)
	}
	dumps, listErr := good.Dumps(ctx, testRef.Set)
	if listErr != nil {
		return fmt.Errorf("list after a fault: %w", listErr)
	}
	if len(dumps) > 0 {
		if err := s.check(ctx, good); err != nil {
			return fmt.Errorf("what is listed after a fault: %w", err)
		}
	} else if err == nil {
		return errors.New("the fault was swallowed and the dump is not there")
	}
	s.token = "tok2"
	if err := s.put(ctx, good); err != nil {
		return fmt.Errorf("rerun: %w", err)
	}
	if err := s.check(ctx, good); err != nil {
		return fmt.Errorf("after the rerun: %w", err)
	}
	if sum, err := good.Verify(ctx, nil, VerifyOptions{}); err != nil || !sum.OK() {
		return fmt.Errorf("verify after the rerun: %+v: %w", sum, err)
	}
	run, err := good.Run(ctx, testRun)
	if err != nil || run.State != "done" {
		return fmt.Errorf("the run's report: %+v: %w", run, err)
	}
	return nil
}

// Reading meets faults as well: they are errors, never short or wrong content; verify tries again.
func TestFaultsWhileReading(t *testing.T) {
	t.Parallel()
	location, o := places["local"](t)
	a := create(t, location, o)
	s := newSample(testRef)
	if err := s.put(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	for kind := range faultKinds {
		for at := 1; ; at++ {
			faulty := &faultStore{store: a.store, at: at, kind: kind}
			broken := *a
			broken.store = faulty
			if err := s.check(t.Context(), &broken); faulty.call >= at != errors.Is(err, errFault) || errors.Is(err, ErrCorrupt) {
				t.Fatalf("call %d, kind %d: error is %v", at, kind, err)
			}
			if faulty.call < at {
				break
			}
		}
	}
	for at := 1; at < 40; at += 3 {
		broken := *a
		broken.store = &faultStore{store: a.store, at: at}
		if sum, err := broken.Verify(t.Context(), []Ref{testRef}, VerifyOptions{}); err != nil || !sum.OK() {
			t.Errorf("call %d: verify says %+v, %v", at, sum, err)
		}
	}
	// What cannot be read at all is told apart from what is damaged.
	broken := *a
	broken.store = &deadStore{store: a.store, key: keys(t, a)[len(keys(t, a))-4]}
	sum, err := broken.Verify(t.Context(), nil, VerifyOptions{})
	if err != nil || sum.Unreadable != 1 || sum.Damaged+sum.Missing != 0 || sum.OK() {
		t.Errorf("verify says %+v, %v", sum, err)
	}
}

// deadStore never gives one object.
type deadStore struct {
	store
	key string
}

func (d *deadStore) open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if key == d.key {
		return nil, errFault
	}
	return d.store.open(ctx, key, offset, length)
}
