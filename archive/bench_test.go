package archive

import (
	"fmt"
	"path/filepath"
	"testing"
)

// BenchmarkPack packs 50,000 files of 8 KiB into a local archive, and writes their segment; files/s is what counts.
func BenchmarkPack(b *testing.B) {
	for name, content := range map[string]func(i int) []byte{
		"noise": func(i int) []byte { return noise(uint64(i), 8<<10) },
		"text":  func(i int) []byte { return text(i, 8<<10) },
	} {
		b.Run(name, func(b *testing.B) {
			const files = 50_000
			data := make([][]byte, files)
			for i := range data {
				data[i] = content(i)
			}
			a := create(b, filepath.Join(b.TempDir(), "archive"), Options{})
			b.SetBytes(files * 8 << 10)
			b.ReportAllocs()
			round := 0
			for b.Loop() {
				round++
				packAll(b, a, data, round)
			}
			b.ReportMetric(float64(files)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
		})
	}
}

func packAll(b *testing.B, a *Archive, data [][]byte, round int) {
	b.Helper()
	w := a.NewContentWriter(b.Context())
	defer w.Close()
	entries := make([]Entry, len(data))
	for i, d := range data {
		d[0], d[1] = byte(round), byte(round>>8) // nothing is there already
		c, err := w.AddSmall(b.Context(), d)
		if err != nil {
			b.Fatal(err)
		}
		entries[i] = Entry{
			Path: fmt.Sprintf("dir/file-%06d", i), Type: fileType, Size: int64(len(d)), Chunks: []*Chunk{c},
			Meta: []byte(`{"mode":420,"mtime":"2026-11-20T10:11:12.123456789Z","uid":0,"gid":0}`),
		}
	}
	if err := w.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	if _, err := a.PutSegment(b.Context(), testRef, SegmentName{Node: "n", Index: round, Token: "t"}, entries); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPart writes and reads a stream part.
func BenchmarkPart(b *testing.B) {
	content := text(1, 64<<20)
	a := create(b, filepath.Join(b.TempDir(), "archive"), Options{})
	s := &sample{ref: testRef, parts: map[string][]byte{"a": content}}
	b.SetBytes(int64(len(content)))
	i := 0
	for b.Loop() {
		i++
		rec, err := s.putPart(b.Context(), a, PartName{Node: "n", Name: "a", Token: fmt.Sprintf("t%d", i)})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := readPart(b.Context(), a, rec); err != nil {
			b.Fatal(err)
		}
	}
}
