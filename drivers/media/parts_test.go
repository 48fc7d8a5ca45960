package media

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"salvor/drivers"
	"salvor/drivers/drivertest"
	"salvor/internal/secret"
)

// TestPartsOf: what uploads hold fits in the memory that there is for all of them.
func TestPartsOf(t *testing.T) {
	t.Parallel()
	const gib, tib = 1 << 30, 1 << 40
	for _, test := range []struct {
		memory, size   int64
		length, atOnce int64 // 0 for what cannot be uploaded
	}{
		{64 * mebibyte, 0, partSize, 2},
		{64 * mebibyte, partSize, partSize, 2},
		{64 * mebibyte, 100 * mebibyte, partSize, 2},
		{64 * mebibyte, 300 * gib, 300 * gib / maxParts, 2},
		{64 * mebibyte, 400 * gib, 400 * gib / maxParts, 1},
		{64 * mebibyte, 625 * gib, 625 * gib / maxParts, 1},
		{64 * mebibyte, 626 * gib, 0, 0},
		{64 * mebibyte, 5 * tib, 0, 0},
		{525 * mebibyte, 5 * tib, 5 * tib / maxParts, 1},
		{partSize, 3 * partSize, partSize, 1},
	} {
		m := drivers.NewMemory(test.memory)
		p, err := partsOf(t.Context(), m, test.size, partSize)
		if test.length == 0 {
			wantError(t, "too large", err, drivers.ErrInvalid, "raise --memory")
			continue
		}
		must(t, err)
		if p.length < test.length || p.length > test.length+1 || int64(p.atOnce) != test.atOnce {
			t.Errorf("%d bytes with %d: %d parts of %d", test.size, test.memory, p.atOnce, p.length)
		}
		if held := min(test.size, p.length*int64(p.atOnce)); held > test.memory {
			t.Errorf("%d bytes with %d: %d are held", test.size, test.memory, held)
		}
		p.release()
		whole, err := m.Take(t.Context(), test.memory) // all of it is back
		must(t, err)
		whole()
	}
}

// withMemory opens a source in a process with that memory.
func withMemory(t *testing.T, source string, m *drivers.Memory) drivers.Tree {
	t.Helper()
	tree, err := Open(t.Context(), drivers.Spec{Node: "n", Source: secret.New(source), Memory: m})
	must(t, err)
	t.Cleanup(func() { must(t, tree.Close()) })
	return tree
}

// endless is a content that would be read if it could be written.
type endless struct{ t *testing.T }

func (endless) Next() (drivers.Extent, error) { return drivers.Extent{Length: 5 << 40}, nil }

func (e endless) Read([]byte) (int, error) {
	e.t.Error("the content was read")
	return 0, io.ErrUnexpectedEOF
}

// TestHugeObject: what there is no memory for is refused, not tried.
func TestHugeObject(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	bucket := s.Bucket(t)
	tree := withMemory(t, s.URL(bucket, ""), drivers.NewMemory(64*mebibyte))
	err := tree.Target().Put(t.Context(), careful, attempt, drivers.Entry{Path: "huge", Type: drivers.TypeFile, Size: 5 << 40}, endless{t})
	wantError(t, "huge", err, drivers.ErrInvalid, "raise --memory")
	if err == nil || !strings.Contains(err.Error(), "takes 525 MiB of memory, and of --memory uploads may have 64 MiB") {
		t.Errorf("huge: %v", err)
	}
}

// TestUploadsShareMemory: uploads wait for one another where there is no memory for all, and then their parts go one by one.
func TestUploadsShareMemory(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	bucket := s.Bucket(t)
	var now, most atomic.Int64
	s.Handle = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		n := now.Add(1)
		defer now.Add(-1)
		for {
			have := most.Load()
			if n <= have || most.CompareAndSwap(have, n) {
				break
			}
		}
		s.Fake.Server().ServeHTTP(w, r)
		return true
	}
	memory := drivers.NewMemory(partSize)
	trees := []drivers.Tree{withMemory(t, s.URL(bucket, ""), memory), withMemory(t, s.URL(bucket, ""), memory)}
	piece := strings.Repeat("x", partSize)
	done := make(chan error)
	for i, tree := range trees {
		for _, name := range []string{"a", "b"} {
			go func() {
				e := drivers.Entry{Path: name + string(rune('0'+i)), Type: drivers.TypeFile, Size: 2*partSize + 3}
				done <- tree.Target().Put(t.Context(), careful, attempt, e, drivertest.Extents(piece, piece, "end"))
			}()
		}
	}
	for range 4 {
		must(t, <-done)
	}
	if most.Load() != 1 {
		t.Errorf("%d parts were in flight together", most.Load())
	}
	for _, key := range []string{"a0", "a1", "b0", "b1"} {
		if _, data := s.Read(t, bucket, key); string(data) != piece+piece+"end" {
			t.Errorf("%s is not what was put", key)
		}
	}
}

// seated is a content whose reader waits for a place in a memory of its own, as that of an archive does.
type seated struct {
	drivers.ContentReader
	asks chan struct{} // closed when it is asked for the first data
	seat chan struct{} // closed when there is a place
}

func (s *seated) Next() (drivers.Extent, error) {
	e, err := s.ContentReader.Next()
	if s.asks != nil && !e.Hole {
		close(s.asks)
		s.asks = nil
		<-s.seat
	}
	return e, err
}

// TestTwoMemories: who waits for a place to read from holds none of the memory that those need who have one.
func TestTwoMemories(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	bucket := s.Bucket(t)
	tree := withMemory(t, s.URL(bucket, ""), drivers.NewMemory(16))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	put := func(name string, content drivers.ContentReader) error {
		return tree.Target().Put(ctx, careful, attempt, drivers.Entry{Path: name, Type: drivers.TypeFile, Size: 16}, content)
	}
	waits := &seated{drivertest.Extents(4, 4, "somedata"), make(chan struct{}), make(chan struct{})}
	asks, done := waits.asks, make(chan error, 1)
	go func() { done <- put("waits", waits) }()
	<-asks
	has := make(chan error, 1)
	go func() { has <- put("has", drivertest.Extents("sixteen bytes...")) }()
	select {
	case err := <-has:
		must(t, err)
	case <-time.After(20 * time.Second):
		t.Error("both wait for each other")
		cancel()
	}
	close(waits.seat)
	if err := <-done; t.Failed() || err != nil {
		t.Fatal(err)
	}
	if _, data := s.Read(t, bucket, "waits"); string(data) != "\x00\x00\x00\x00\x00\x00\x00\x00somedata" {
		t.Errorf("got %q", data)
	}
}
