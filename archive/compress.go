package archive

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxWindow is the greatest window of a zstd stream in an archive; a decoder needs about that much memory.
const maxWindow = 8 << 20

// newEncoder returns a single-threaded encoder with a checksum: parallelism comes from parts and chunks.
func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
}

// newStreamDecoder decodes a stream without goroutines of its own.
func newStreamDecoder(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
}

const (
	// minCompress is the length below which a zstd frame's own bytes eat what it saves.
	minCompress = 64
	// sampled is the length above which a sample is tried first: media is compressed already, and trying all of it costs
	// more than packing it.
	sampled    = 64 << 10
	sampleSize = 8 << 10
)

// helps tells whether compressing size bytes to stored is worth a reader's time.
func helps(stored, size int) bool { return stored < size-size/16 }

// compress appends the compressed data to dst if that helps. The choice depends on data alone: the same content is stored
// in the same way every time.
func compress(e *zstd.Encoder, dst, data []byte) (out []byte, ok bool) {
	if len(data) < minCompress {
		return nil, false
	}
	if len(data) > sampled && !sampleHelps(e, dst, data) {
		return nil, false
	}
	out = e.EncodeAll(data, dst)
	return out, helps(len(out)-len(dst), len(data))
}

// sampleHelps tries three pieces: a header alone (of a picture, a video) says little about what follows.
func sampleHelps(e *zstd.Encoder, dst, data []byte) bool {
	stored := 0
	for _, at := range [3]int{0, (len(data) - sampleSize) / 2, len(data) - sampleSize} {
		stored += len(e.EncodeAll(data[at:at+sampleSize], dst)) - len(dst)
	}
	return helps(stored, 3*sampleSize)
}
