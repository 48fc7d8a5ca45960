package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

func readSegment(t testing.TB, a *Archive, rec SegmentRecord) ([]Entry, error) {
	t.Helper()
	var got []Entry
	err := a.Segment(t.Context(), rec, func(e Entry) error {
		got = append(got, e)
		return nil
	})
	return got, err
}

func TestSegmentRoundTrip(t *testing.T) {
	t.Parallel()
	location, o := places["bucket"](t)
	a := create(t, location, o)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		byPath := map[string]Entry{}
		for _, e := range rapid.SliceOfN(rapid.Custom(drawEntry), 0, 20).Draw(rt, "entries") {
			byPath[e.Path] = e
		}
		entries := make([]Entry, 0, len(byPath))
		for _, e := range byPath {
			entries = append(entries, e)
		}
		slices.SortFunc(entries, func(x, y Entry) int { return strings.Compare(x.Path, y.Path) })
		n++
		rec, err := a.PutSegment(t.Context(), testRef, SegmentName{Node: "n", Index: n, Token: "t"}, entries)
		if err != nil {
			rt.Fatal(err)
		}
		// The record travels as JSON.
		var back SegmentRecord
		if err := json.Unmarshal(must(json.Marshal(rec))(t), &back); err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(rec, back); diff != "" {
			rt.Errorf("record read back (-want +got):\n%s", diff)
		}
		got, err := readSegment(t, a, back)
		if err != nil {
			rt.Fatal(err)
		}
		if len(got) == 0 && len(entries) == 0 {
			return
		}
		if diff := cmp.Diff(entries, got); diff != "" {
			rt.Errorf("entries (-want +got):\n%s", diff)
		}
	})
}

func drawEntry(t *rapid.T) Entry {
	path := strings.ReplaceAll(string(rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "path")), "\x00", "/")
	e := Entry{
		Path:    path,
		Type:    rapid.SampledFrom([]string{"file", "dir", "symlink", "fifo"}).Draw(t, "type"),
		Version: rapid.String().Draw(t, "version"),
		Err:     rapid.SampledFrom([]string{"", "", "permission denied"}).Draw(t, "err"),
	}
	if rapid.Bool().Draw(t, "meta") {
		e.Meta = json.RawMessage(`{"mode":420,"target":"PD4m"}`)
	}
	if e.Type != fileType {
		return e
	}
	for range rapid.IntRange(0, 3).Draw(t, "chunks") {
		c := &Chunk{Hole: rapid.Int64Range(1, 1<<40).Draw(t, "hole")}
		if rapid.Bool().Draw(t, "stored") {
			size := rapid.Int64Range(1, ChunkSize).Draw(t, "size")
			c = &Chunk{Size: size, Stored: size, SHA256: sha([]byte(fmt.Sprint(size)))}
			if size <= SmallSize && rapid.Bool().Draw(t, "packed") {
				c.Pack, c.Offset, c.Zstd = sha(nil), 94, true
			}
		}
		e.Chunks = append(e.Chunks, c)
		e.Size += c.Len()
	}
	return e
}

func TestPutSegmentRefuses(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		hash := strings.Repeat("0", 64)
		file := func(path string, size int64, chunks ...*Chunk) Entry {
			return Entry{Path: path, Type: fileType, Size: size, Chunks: chunks}
		}
		for what, entries := range map[string][]Entry{
			"unsorted":          {file("c", 0), file("b", 0)},
			"twice":             {file("c", 0), file("c", 0)},
			"before the range":  {file("a", 0)},
			"after the range":   {file("x", 0)},
			"NUL":               {file("c\x00", 0)},
			"size differs":      {file("c", 5, &Chunk{Size: 4, Stored: 4, SHA256: hash})},
			"no content":        {file("c", 5)},
			"null":              {file("c", 0, nil)},
			"negative":          {file("c", -1)},
			"no hash":           {file("c", 4, &Chunk{Size: 4, Stored: 4})},
			"beyond the pack":   {file("c", 4, &Chunk{Size: 4, Stored: 4, SHA256: hash, Pack: hash, Offset: maxPack})},
			"overflow in pack":  {file("c", 4, &Chunk{Size: 4, Stored: 4, SHA256: hash, Pack: hash, Offset: math.MaxInt64 - 1})},
			"overflow":          {file("c", 1, &Chunk{Hole: 1 << 62}, &Chunk{Hole: 1 << 62})},
			"dir with contents": {{Path: "c", Type: "dir", Chunks: []*Chunk{{Hole: 1}}}},
		} {
			_, err := a.PutSegment(t.Context(), testRef, SegmentName{Node: "n", Token: "t", From: "b", To: "x"}, entries)
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: error is %v", what, err)
			}
		}
		for _, name := range []SegmentName{
			{Node: "n", Token: "t", From: "b", To: "b"},
			{Node: "n", Token: "t", From: "b", To: "a"},
			{Node: "n"},
			{Token: "t"},
			{Node: "n", Token: "t", Index: -1},
		} {
			_, err := a.PutSegment(t.Context(), testRef, name, nil)
			wantError(t, err, ErrInvalid)
		}
		if got := keys(t, a); len(got) != 2 {
			t.Errorf("objects are %v", got)
		}
	})
}

func TestSegmentFindsEveryDamage(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		entries := []Entry{{Path: "b", Type: "dir"}, {Path: "c", Type: "dir"}}
		name := SegmentName{Node: "n", Index: 3, Token: "t", From: "b", To: "x"}
		rec := must(a.PutSegment(t.Context(), testRef, name, entries))(t)
		good := object(t, a, rec.Key)
		bad := func(what string, rec SegmentRecord) {
			t.Helper()
			got, err := readSegment(t, a, rec)
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: error is %v", what, err)
			}
			if len(got) > 0 {
				t.Errorf("%s: %d entries were yielded", what, len(got))
			}
		}
		for what, stored := range damages(good, len(good)/2) {
			if stored == nil {
				if err := a.store.remove(t.Context(), rec.Key); err != nil {
					t.Fatal(err)
				}
			} else {
				overwrite(t, a, rec.Key, stored)
			}
			bad(what, rec)
		}
		overwrite(t, a, rec.Key, good)
		for what, change := range map[string]func(*SegmentRecord){
			"from": func(r *SegmentRecord) { r.From = []byte("a") },
			"to":   func(r *SegmentRecord) { r.To = nil }, "size": func(r *SegmentRecord) { r.Size-- },
			"huge": func(r *SegmentRecord) { r.Size = 1 << 50 }, "negative": func(r *SegmentRecord) { r.Size = -1 },
		} {
			changed := rec
			change(&changed)
			bad("record with another "+what, changed)
		}
		// Another segment that is whole, in its place.
		entries[1].Path = "d"
		var other SegmentRecord
		overwrite(t, a, rec.Key, must(encodeSegment(must(newEncoder())(t), testRef, name, entries, &other))(t))
		swapped := rec
		swapped.Size = other.Size
		bad("swapped", swapped)
		overwrite(t, a, rec.Key, good)
		// The same bytes under another name: swapped with another segment of the same length and hash.
		moved := rec
		moved.Key = segmentKey(Ref{"other", testRef.Dump}, name)
		overwrite(t, a, moved.Key, good)
		bad("moved", moved)
		rec.Index += 5 // a manifest numbers its segments anew, where ranges were split
		if got, err := readSegment(t, a, rec); err != nil || len(got) != 2 {
			t.Errorf("the good one: %d entries, %v", len(got), err)
		}
	})
}

// Segments whose hash is right and whose contents are not: as a faulty or hostile writer makes them.
func TestSegmentContentsAreChecked(t *testing.T) {
	t.Parallel()
	location, o := places["local"](t)
	a := create(t, location, o)
	name := SegmentName{Node: "n", Token: "t", From: "b"}
	header := `{"type":"segment","format":1,"set":"site","dump":"20261122-043000-7f3a","node":"n","index":0,"token":"t","from":"Yg=="}`
	const end1 = `{"end":{"entries":1,"files":0,"bytes":0}}`
	for what, lines := range map[string][]string{
		"empty":           {},
		"no header":       {`{"path":"b","type":"dir"}`, end1},
		"no trailer":      {header, `{"path":"b","type":"dir"}`},
		"wrong trailer":   {header, end1},
		"short trailer":   {header, `{"path":"b","type":"dir"}`, `{"path":"c","type":"dir"}`, end1},
		"after trailer":   {header, `{"path":"b","type":"dir"}`, end1, `{"path":"c","type":"dir"}`},
		"out of order":    {header, `{"path":"c","type":"dir"}`, `{"path":"b","type":"dir"}`, `{"end":{"entries":2,"files":0,"bytes":0}}`},
		"out of range":    {header, `{"path":"a","type":"dir"}`, end1},
		"no path":         {header, `{"type":"dir"}`, end1},
		"two paths":       {header, `{"path":"b","path_b64":"Yg==","type":"dir"}`, end1},
		"null chunk":      {header, `{"path":"b","type":"file","chunks":[null]}`, end1},
		"evil pack":       {header, `{"path":"b","type":"file","size":1,"chunks":[{"size":1,"stored":1,"sha256":"` + sha(nil) + `","pack":"../../../etc"}]}`, end1},
		"offset overflow": {header, `{"path":"b","type":"file","size":4,"chunks":[{"size":4,"stored":4,"sha256":"` + sha(nil) + `","pack":"` + sha(nil) + `","at":9223372036854775806}]}`, `{"end":{"entries":1,"files":1,"bytes":4}}`},
		"no JSON":         {header, `{`, end1},
		"another node":    {strings.Replace(header, `"n"`, `"m"`, 1), `{"path":"b","type":"dir"}`, end1},
		"another token":   {strings.Replace(header, `"t"`, `"u"`, 1), `{"path":"b","type":"dir"}`, end1},
		"another segment": {strings.Replace(header, `"segment"`, `"node"`, 1), `{"path":"b","type":"dir"}`, end1},
	} {
		_, err := putRawSegment(t, a, name, lines)
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: error is %v", what, err)
		}
	}
	_, err := putRawSegment(t, a, name, []string{strings.Replace(header, `"format":1`, `"format":2`, 1)})
	wantError(t, err, ErrNewerFormat)
	got, err := putRawSegment(t, a, name, []string{header, `{"path":"b","type":"dir","new":1}`, end1})
	if err != nil || len(got) != 1 {
		t.Errorf("a field to come: %v, %v", got, err)
	}
}

func putRawSegment(t *testing.T, a *Archive, name SegmentName, lines []string) ([]Entry, error) {
	t.Helper()
	all := strings.Join(append(lines, ""), "\n")
	data := compressed(t, []byte(all))
	rec := SegmentRecord{
		Index: name.Index, Key: segmentKey(testRef, name), From: bytesOrNil(name.From), To: bytesOrNil(name.To),
		Entries: int64(strings.Count(all, `{"path`)), Size: int64(len(data)), SHA256: sha(data),
	}
	overwrite(t, a, rec.Key, data)
	return readSegment(t, a, rec)
}

func compressed(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := must(zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1)))(t)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSegmentStopsAtTheCallersError(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		rec := must(a.PutSegment(t.Context(), testRef, SegmentName{Node: "n", Token: "t"},
			[]Entry{{Path: "b", Type: "dir"}, {Path: "c", Type: "dir"}}))(t)
		stop, calls := errors.New("stop"), 0
		err := a.Segment(t.Context(), rec, func(Entry) error { calls++; return stop })
		if err != stop || calls != 1 { //nolint:errorlint // as it is
			t.Errorf("error is %v after %d calls", err, calls)
		}
	})
}

func FuzzSegment(f *testing.F) {
	header := `{"type":"segment","format":1,"set":"site","dump":"20261122-043000-7f3a","node":"n","index":0,"token":"t"}` + "\n"
	f.Add([]byte(header + `{"path":"b","type":"dir"}` + "\n" + `{"end":{"entries":1,"files":0,"bytes":0}}` + "\n"))
	f.Add([]byte(header + `{"path_b64":"/w==","type":"file","size":3,"chunks":[{"hole":3}]}` + "\n" + `{"end":{"entries":1,"files":1,"bytes":3}}` + "\n"))
	f.Add([]byte(header + `{"end":{"entries":0,"files":0,"bytes":0}}` + "\n"))
	hash := sha(nil)
	f.Add([]byte(header + `{"path":"b","type":"file","size":4,"chunks":[{"size":4,"stored":4,"sha256":"` + hash + `","pack":"` + hash +
		`","at":9223372036854775806}]}` + "\n" + `{"end":{"entries":1,"files":1,"bytes":4}}` + "\n"))
	f.Add([]byte(header + `{"path":"b","type":"file","size":3,"chunks":[{"hole":9223372036854775807},{"hole":9223372036854775807},{"hole":5}]}` + "\n" +
		`{"end":{"entries":1,"files":1,"bytes":3}}` + "\n"))
	z := must(newEncoder())(f)
	f.Fuzz(func(t *testing.T, lines []byte) {
		name := SegmentName{Node: "n", Token: "t"}
		for _, count := range []segmentEnd{{}, {Entries: 1}, {Entries: 1, Files: 1, Bytes: 3}} {
			rec := SegmentRecord{Key: segmentKey(testRef, name), Entries: count.Entries, Files: count.Files, Bytes: count.Bytes}
			var entries []Entry
			err := decodeLines(t.Context(), rec, bytes.NewReader(lines), func(e Entry) error {
				entries = append(entries, e)
				return nil
			})
			if err != nil {
				if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewerFormat) {
					t.Errorf("error is %v", err)
				}
				continue
			}
			// What is accepted can be written again.
			var again SegmentRecord
			if _, err := encodeSegment(z, testRef, name, entries, &again); err != nil {
				t.Errorf("accepted entries cannot be written: %v", err)
			}
		}
	})
}
