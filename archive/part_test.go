package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

func TestAbortedPartIsNeverPublished(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		before := keys(t, a)
		name := PartName{Node: "site/db", Name: "database", Ext: "sqlite", Token: "t1"}
		write := func(ctx context.Context) *PartWriter {
			w := must(a.CreatePart(ctx, testRef, name))(t)
			if _, err := w.Write(noise(1, 3<<20)); err != nil {
				t.Fatal(err)
			}
			return w
		}
		w := write(t.Context())
		w.Abort()
		w.Abort()
		if _, err := w.Commit(); err == nil {
			t.Error("commit after abort succeeded")
		}
		if _, err := w.Write([]byte("x")); err == nil {
			t.Error("write after abort succeeded")
		}

		ctx, cancel := context.WithCancel(t.Context())
		w = write(ctx)
		cancel()
		_, err := w.Commit()
		wantError(t, err, context.Canceled)
		w.Abort()
		if after := keys(t, a); len(after) != len(before) {
			t.Errorf("objects are %v", after)
		}

		w = write(t.Context())
		rec := must(w.Commit())(t)
		w.Abort()
		if data := must(readPart(t.Context(), a, rec))(t); !bytes.Equal(data, noise(1, 3<<20)) {
			t.Error("part was changed by abort after commit")
		}
		// The same attempt again: the same content is the same part, other content is refused.
		w = write(t.Context())
		if again := must(w.Commit())(t); again.Key != rec.Key || again.StoredSHA256 != rec.StoredSHA256 {
			t.Errorf("repeated part is %+v, want %+v", again, rec)
		}
		w = write(t.Context())
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		_, err = w.Commit()
		wantError(t, err, ErrExists)
		w.Abort()
	})
}

func TestPartGivesMemoryBack(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		for i := range 100 {
			s := &sample{ref: testRef, parts: map[string][]byte{"a": []byte("a")}}
			rec := must(s.putPart(t.Context(), a, PartName{Node: "n", Name: "a", Token: "t" + strings.Repeat("x", i/2), Index: i}))
			if i%2 == 0 {
				must(readPart(t.Context(), a, rec(t)))(t)
			}
		}
		if !a.memory.budget.TryAcquire(a.memory.total) {
			t.Error("memory was not given back")
		}
	})
}

func TestPartReaderFindsEveryDamage(t *testing.T) {
	t.Parallel()
	for _, digested := range []bool{false, true} {
		testDamage(t, digested)
	}
}

// testDamage damages a part; one with a digest of its rows has no hash of its content.
func testDamage(t *testing.T, digested bool) {
	t.Helper()
	onEach(t, func(t *testing.T, a *Archive) {
		content := append(text(1, 100_000), noise(2, 100_000)...)
		s := &sample{ref: testRef, parts: map[string][]byte{"a": content, "b": content[:len(content)-1]}}
		rec := must(s.putPart(t.Context(), a, PartName{Node: "n", Name: "a", Token: "t1", Digested: digested}))(t)
		other := must(s.putPart(t.Context(), a, PartName{Node: "n", Name: "b", Token: "t1", Digested: digested}))(t)
		if (rec.SHA256 == "") != digested {
			t.Errorf("digested %t, and the content's hash is %q", digested, rec.SHA256)
		}
		good := object(t, a, rec.Key)
		bad := func(what string, rec PartRecord, stored []byte) {
			t.Helper()
			if stored != nil {
				overwrite(t, a, rec.Key, stored)
				defer overwrite(t, a, rec.Key, good)
			}
			got, err := readPart(t.Context(), a, rec)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), rec.Key) {
				t.Errorf("%s: error is %v", what, err)
			}
			if int64(len(got)) > rec.Size {
				t.Errorf("%s: %d bytes were given", what, len(got))
			}
		}
		for _, at := range []int{0, 5, len(good) / 2, len(good) - 1} {
			flipped := bytes.Clone(good)
			flipped[at] ^= 1
			bad("flipped bit", rec, flipped)
			bad("cut short", rec, good[:at])
		}
		bad("longer", rec, append(bytes.Clone(good), good...))
		bad("trailing bytes", rec, append(bytes.Clone(good), 0))
		bad("swapped", rec, object(t, a, other.Key))
		var bomb bytes.Buffer
		z := must(zstd.NewWriter(&bomb))(t)
		if _, err := io.CopyN(z, iotest.DataErrReader(zeros{}), 64<<20); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		bad("bomb", rec, bomb.Bytes())

		for what, change := range map[string]func(*PartRecord){
			"size":     func(r *PartRecord) { r.Size-- },
			"size+1":   func(r *PartRecord) { r.Size++ },
			"hash":     func(r *PartRecord) { r.SHA256 = strings.Repeat("0", 64) },
			"stored":   func(r *PartRecord) { r.Stored++ },
			"stored#":  func(r *PartRecord) { r.StoredSHA256 = strings.Repeat("0", 64) },
			"key":      func(r *PartRecord) { r.Key = "../" + r.Key },
			"gone":     func(r *PartRecord) { r.Key += "x" },
			"encoding": func(r *PartRecord) { r.Encoding = "gzip" },
		} {
			changed := rec
			change(&changed)
			bad("record with another "+what, changed, nil)
		}
		if _, err := readPart(t.Context(), a, rec); err != nil {
			t.Errorf("part that was repaired: %v", err)
		}
	})
}

// TestPartsWithoutHash: a part has a hash of its content, or a digest of its rows, or both, as parts of earlier versions have.
func TestPartsWithoutHash(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		s := &sample{ref: testRef, parts: map[string][]byte{"a": []byte("a")}}
		rec := must(s.putPart(t.Context(), a, PartName{Node: "n", Name: "a", Token: "t1"}))(t)
		check := func(sum, digest, stored string) string {
			n := NodeManifest{Set: testRef.Set, Dump: testRef.Dump, Path: "n", Shape: ShapeStream, Parts: []PartRecord{rec}, Started: testTime, Ended: testTime}
			n.Parts[0].SHA256, n.Parts[0].Digest, n.Parts[0].StoredSHA256 = sum, digest, stored
			return n.check()
		}
		for what, c := range map[string]struct {
			sum, digest, stored string
			good                bool
		}{
			"hash":          {rec.SHA256, "", rec.StoredSHA256, true},
			"digest":        {"", "xxh3:0", rec.StoredSHA256, true},
			"both":          {rec.SHA256, "xxh3:0", rec.StoredSHA256, true},
			"neither":       {"", "", rec.StoredSHA256, false},
			"bad hash":      {"x", "xxh3:0", rec.StoredSHA256, false},
			"object's hash": {rec.SHA256, "xxh3:0", "", false},
		} {
			if text := check(c.sum, c.digest, c.stored); (text == "") != c.good {
				t.Errorf("%s: %q", what, text)
			}
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestPartReaderReadsInSmallPieces(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		content := text(1, 10_000)
		s := &sample{ref: testRef, parts: map[string][]byte{"a": content}}
		rec := must(s.putPart(t.Context(), a, PartName{Node: "n", Name: "a", Token: "t1"}))(t)
		r := must(a.OpenPart(t.Context(), rec))(t)
		got := must(io.ReadAll(iotest.OneByteReader(r)))(t)
		if !bytes.Equal(got, content) {
			t.Error("content differs")
		}
		if n, err := r.Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("read after the end: %d, %v", n, err)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestPartReaderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	location, o := places["local"](t)
	a := create(t, location, o)
	s := &sample{ref: testRef, parts: map[string][]byte{"a": noise(1, 4<<20)}}
	rec := must(s.putPart(t.Context(), a, PartName{Node: "n", Name: "a", Token: "t1"}))(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	r := must(a.OpenPart(ctx, rec))(t)
	why := errors.New("the worker stops")
	cancel(why)
	_, err := io.Copy(io.Discard, r)
	wantError(t, err, context.Canceled)
	wantError(t, err, why)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
