package archive

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

func TestContentRoundTrip(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx := t.Context()
		w := a.NewContentWriter(ctx)
		defer w.Close()
		var files []file
		for i := range 150 { // more than one pack
			files = append(files, file{entry: Entry{Type: fileType}, data: noise(uint64(i), 1600*i)})
		}
		files = append(files,
			file{entry: Entry{Type: fileType}, data: noise(1000, SmallSize)}, file{entry: Entry{Type: fileType}, data: text(1, SmallSize)},
			file{entry: Entry{Type: fileType}, data: noise(1001, SmallSize+1)}, file{entry: Entry{Type: fileType}, data: text(2, ChunkSize+1)},
			file{entry: Entry{Type: fileType}, data: noise(1002, ChunkSize+SmallSize+1)})
		if err := storeFiles(ctx, w, files); err != nil {
			t.Fatal(err)
		}
		w.Close() // one goroutine holds one share of the memory at a time
		for _, whole := range []bool{true, false} {
			r := a.NewContentReader(whole)
			for i, f := range files {
				if problem := f.entry.check(); problem != "" {
					t.Fatalf("file %d: %s", i, problem)
				}
				if got := must(readFile(ctx, r, f.entry))(t); !bytes.Equal(got, f.data) {
					t.Errorf("file %d differs", i)
				}
			}
			r.Close()
			r.Close()
		}
		if !a.memory.budget.TryAcquire(a.memory.total) {
			t.Error("memory was not given back")
		}
	})
}

func TestContentIsStoredOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx := t.Context()
		put := func() int64 {
			w := a.NewContentWriter(ctx)
			defer w.Close()
			var files []file
			for i := range 100 {
				files = append(files, file{entry: Entry{Type: fileType}, data: noise(uint64(i%10), 1000)})
			}
			files = append(files, file{entry: Entry{Type: fileType}, data: noise(99, SmallSize+1)})
			if err := storeFiles(ctx, w, files); err != nil {
				t.Fatal(err)
			}
			if files[0].entry.Chunks[0] != files[10].entry.Chunks[0] {
				t.Error("the same content twice has two chunks")
			}
			return w.Stored()
		}
		first := put()
		if want := int64(10*1000 + SmallSize + 1); first < want || first > want+10_000 {
			t.Errorf("%d bytes were stored, want about %d", first, want)
		}
		before := keys(t, a)
		if again := put(); again != 0 {
			t.Errorf("%d bytes were stored again", again)
		}
		// An object of a wrong length is not taken for stored.
		for _, key := range before {
			if strings.HasPrefix(key, packsDir) || strings.HasPrefix(key, objectsDir) {
				overwrite(t, a, key, []byte("cut"))
			}
		}
		if healed := put(); healed != first {
			t.Errorf("%d bytes were stored over damaged objects, want %d", healed, first)
		}
	})
}

func TestCompressionIsUsedWhereItHelps(t *testing.T) {
	t.Parallel()
	location, o := places["local"](t)
	a := create(t, location, o)
	w := a.NewContentWriter(t.Context())
	defer w.Close()
	mixed := append(noise(9, 500_000), text(1, 200_000)...)
	files := []file{
		{data: text(1, 10_000)},
		{data: noise(1, 10_000)},
		{data: text(2, SmallSize)},
		{data: noise(2, SmallSize)},
		{data: text(3, 5<<20)},
		{data: noise(3, 5<<20)},
		{data: []byte("tiny")},
		{data: mixed},
	}
	if err := storeFiles(t.Context(), w, files); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, true, false, true, false, false, true} {
		c := files[i].entry.Chunks[0]
		if c.Zstd != want || want == (c.Stored >= c.Size) {
			t.Errorf("chunk %d: compressed %t, %d of %d bytes", i, c.Zstd, c.Stored, c.Size)
		}
	}
}

func TestUnflushedContentIsNeverPublished(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		w := a.NewContentWriter(t.Context())
		c := must(w.AddSmall(t.Context(), []byte("data")))(t)
		_, err := a.PutSegment(t.Context(), testRef, SegmentName{Node: "n", Token: "t"},
			[]Entry{{Path: "x", Type: fileType, Size: 4, Chunks: []*Chunk{c}}})
		wantError(t, err, ErrInvalid)
		w.Close()
		if got := keys(t, a); len(got) != 2 {
			t.Errorf("objects are %v", got)
		}
		if _, err := w.AddSmall(t.Context(), []byte("x")); err == nil {
			t.Error("a closed writer takes content")
		}
		if err := w.Flush(t.Context()); err == nil {
			t.Error("a closed writer flushes")
		}
	})
}

func TestContentWriterMisuse(t *testing.T) {
	t.Parallel()
	location, o := places["local"](t)
	a := create(t, location, o)
	w := a.NewContentWriter(t.Context())
	defer w.Close()
	buf := must(w.Buffer(t.Context()))(t)
	_, err := w.Buffer(t.Context())
	wantError(t, err, ErrInvalid)
	_, err = w.AddLarge(t.Context(), make([]byte, 10))
	wantError(t, err, ErrInvalid)
	_, err = w.AddSmall(t.Context(), make([]byte, SmallSize+1))
	wantError(t, err, ErrInvalid)
	w.Release(make([]byte, 5))
	w.Release(nil)
	w.Release(buf)
	w.Release(buf)
	buf = must(w.Buffer(t.Context()))(t)
	_, err = w.AddLarge(t.Context(), buf[:0])
	wantError(t, err, ErrInvalid)
	if err := w.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}

// Many more writers than the budget has room for must all come to an end.
func TestWritersShareTheBudget(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		g, ctx := errgroup.WithContext(ctx)
		data := noise(1, SmallSize/2)
		for i := range 12 {
			g.Go(func() error {
				w := a.NewContentWriter(ctx)
				defer w.Close()
				for j := range 3 {
					buf, err := w.Buffer(ctx)
					if err != nil {
						return err
					}
					n := copy(buf, data)
					buf[0], buf[1] = byte(i), byte(j)
					if _, err := w.AddSmall(ctx, buf[:n]); err != nil {
						return err
					}
					if _, err := w.AddLarge(ctx, buf[:n]); err != nil {
						return err
					}
				}
				return w.Flush(ctx)
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if !a.memory.budget.TryAcquire(a.memory.total) {
			t.Error("memory was not given back")
		}
		if n := int64(len(a.memory.free)); n*a.memory.cost > a.memory.total {
			t.Errorf("%d buffers were made for a budget of %d bytes", n, a.memory.total)
		}
	})
}

// TestReadersAtOnce: with the memory that an archive has by default, two tasks read packs at the same time; one alone would leave a
// processor idle.
func TestReadersAtOnce(t *testing.T) {
	t.Parallel()
	const procs = 2
	m := newMemory(0, false, procs)
	for i := range procs {
		r := &ContentReader{archive: &Archive{memory: m}, seat: wholeSeat}
		if !m.tryAcquire(r.seat) {
			t.Fatalf("no memory is left for reader %d", i)
		}
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		defer r.free()
		if n := len(m.free); n != 0 {
			t.Errorf("%d buffers are free", n)
		}
	}
}

func TestWaitingForMemoryEndsWithTheContext(t *testing.T) {
	t.Parallel()
	location, o := places["local"](t)
	a := create(t, location, o)
	if !a.memory.budget.TryAcquire(a.memory.total) {
		t.Fatal("memory is in use")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	w := a.NewContentWriter(ctx)
	defer w.Close()
	_, err := w.Buffer(ctx)
	wantError(t, err, context.DeadlineExceeded)
	_, err = w.AddSmall(ctx, []byte("x"))
	wantError(t, err, context.DeadlineExceeded)
	_, err = a.CreatePart(ctx, testRef, PartName{Node: "n", Name: "a", Token: "t"})
	wantError(t, err, context.DeadlineExceeded)
	r := a.NewContentReader(true)
	_, err = r.Chunk(ctx, &Chunk{Size: 1, Stored: 1, SHA256: strings.Repeat("0", 64)})
	wantError(t, err, context.DeadlineExceeded)
	r.Close()
}

func TestContentReaderFindsEveryDamage(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx := t.Context()
		w := a.NewContentWriter(ctx)
		files := []file{
			{data: noise(1, 1000)}, {data: text(1, 10_000)}, {data: noise(2, SmallSize+1)}, {data: text(2, SmallSize+1)},
		}
		err := storeFiles(ctx, w, files)
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range files {
			c := f.entry.Chunks[0]
			good := object(t, a, c.key())
			for what, stored := range damages(good, int(c.Offset)+int(c.Stored)/2) {
				if what == "longer" {
					continue // beyond what the chunk names: verify's business
				}
				if stored == nil {
					if err := a.store.remove(ctx, c.key()); err != nil {
						t.Fatal(err)
					}
				} else {
					overwrite(t, a, c.key(), stored)
				}
				for _, whole := range []bool{true, false} {
					r := a.NewContentReader(whole)
					_, err := r.Chunk(ctx, c)
					r.Close()
					if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.key()) {
						t.Errorf("chunk %d %s (whole %t): error is %v", i, what, whole, err)
					}
				}
			}
			overwrite(t, a, c.key(), good)
		}
		r := a.NewContentReader(false)
		defer r.Close()
		for what, c := range map[string]*Chunk{
			"a hole": {Hole: 5}, "nothing": {}, "another size": {Size: 5, Stored: 6, SHA256: strings.Repeat("0", 64)},
			"a huge size": {Size: ChunkSize + 1, Stored: ChunkSize + 1, SHA256: strings.Repeat("0", 64)},
			"a path":      {Size: 1, Stored: 1, SHA256: "../../etc/passwd"},
		} {
			if _, err := r.Chunk(ctx, c); !errors.Is(err, ErrInvalid) {
				t.Errorf("chunk with %s: error is %v", what, err)
			}
		}
		bomb := *files[1].entry.Chunks[0]
		bomb.Size = 5000 // the stored bytes decode to more
		_, err = r.Chunk(ctx, &bomb)
		wantError(t, err, ErrCorrupt)
	})
}

// damages are ways in which an object may be wrong; nil stands for its absence.
func damages(good []byte, at int) map[string][]byte {
	flipped := bytes.Clone(good)
	flipped[at] ^= 1
	return map[string][]byte{
		"flipped": flipped, "cut": good[:at], "empty": {}, "other": noise(77, len(good)), "longer": append(bytes.Clone(good), 0), "gone": nil,
	}
}

func TestPresence(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx := t.Context()
		w := a.NewContentWriter(ctx)
		files := []file{{data: noise(1, 1000)}, {data: noise(2, 1000)}, {data: noise(3, SmallSize+1), hole: 5}}
		err := storeFiles(ctx, w, files)
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		var all []*Chunk
		for _, f := range files {
			all = append(all, f.entry.Chunks...)
		}
		has := func(want bool, what string) {
			t.Helper()
			if got := must(a.NewPresence().Has(ctx, all))(t); got != want {
				t.Errorf("%s: has is %t", what, got)
			}
		}
		has(true, "all")
		for _, c := range []*Chunk{all[0], all[len(all)-1]} {
			good := object(t, a, c.key())
			overwrite(t, a, c.key(), good[:c.Offset+c.Stored-1])
			has(false, "a cut object")
			if err := a.store.remove(ctx, c.key()); err != nil {
				t.Fatal(err)
			}
			has(false, "an object that is gone")
			overwrite(t, a, c.key(), good)
		}
		has(true, "all again")
	})
}

// TestChunkAt: contents that lie beside each other in the reader's bytes stay as they are.
func TestChunkAt(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		w := a.NewContentWriter(t.Context())
		defer w.Close()
		ahead, err := w.Ahead(t.Context())
		if err != nil || len(ahead) != ChunkSize {
			t.Fatalf("%d bytes to read ahead, %v", len(ahead), err)
		}
		data := [][]byte{text(1, 5000), noise(2, 7000), text(3, SmallSize+1), noise(4, 1)}
		var chunks []*Chunk
		for i, d := range data {
			at := ahead[i*SmallSize*2:][:copy(ahead[i*SmallSize*2:], d)] // beside the buffer of the others
			var c *Chunk
			if len(d) <= SmallSize {
				c, err = w.AddSmall(t.Context(), at)
			} else {
				buf := must(w.Buffer(t.Context()))(t)
				c, err = w.AddLarge(t.Context(), buf[:copy(buf, at)])
			}
			if err != nil {
				t.Fatal(err)
			}
			chunks = append(chunks, c)
		}
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.Close()
		for _, whole := range []bool{true, false} {
			r := a.NewContentReader(whole)
			defer r.Close()
			got := make([][]byte, len(data))
			for i, c := range chunks {
				if got[i], err = r.ChunkAt(t.Context(), c, 2*SmallSize*i); err != nil {
					t.Fatal(err)
				}
			}
			for i := range data {
				if !bytes.Equal(got[i], data[i]) {
					t.Errorf("chunk %d is not what was stored (whole packs: %v)", i, whole)
				}
			}
			for _, offset := range []int{-1, ChunkSize - 1, ChunkSize + 1} {
				_, err := r.ChunkAt(t.Context(), chunks[0], offset)
				wantError(t, err, ErrInvalid)
			}
			r.Close()
		}
		// All the memory is there again.
		if !a.memory.budget.TryAcquire(a.memory.total) {
			t.Error("memory was not given back")
		} else {
			a.memory.budget.Release(a.memory.total)
		}
	})
}

// TestAheadAfterUse: memory to read ahead is part of what a writer takes at once, or it could wait for its own.
func TestAheadAfterUse(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		w := a.NewContentWriter(t.Context())
		defer w.Close()
		if _, err := w.AddSmall(t.Context(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		_, err := w.Ahead(t.Context())
		wantError(t, err, ErrInvalid)
	})
}
