package archive

import "math"

const (
	// ChunkSize is the greatest length of a chunk; a longer content is cut into pieces of this length.
	ChunkSize = 16 << 20
	// SmallSize is the greatest length of a chunk that goes into a pack.
	SmallSize = 1 << 20
)

// Chunk is a stretch of an entry's content: where it is stored, or a hole. See docs/archive-format.md.
type Chunk struct {
	// Hole is the length of a hole, which reads as zeros; all else is zero then.
	Hole int64 `json:"hole,omitempty"`

	// Size and SHA256 are those of the content.
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	// Zstd tells that the stored bytes are compressed.
	Zstd bool `json:"zstd,omitempty"`
	// Stored is the number of stored bytes; -1 while the chunk is on its way (see [ContentWriter]).
	Stored int64 `json:"stored,omitempty"`
	// Pack is the hash that names the pack, and Offset where in it the stored bytes begin. An empty Pack means an object of
	// its own, named by SHA256.
	Pack   string `json:"pack,omitempty"`
	Offset int64  `json:"at,omitempty"`
}

// pendingChunk is Chunk.Stored before the chunk is stored.
const pendingChunk = -1

// Len is the length of the content.
func (c *Chunk) Len() int64 {
	if c.Hole > 0 {
		return c.Hole
	}
	return c.Size
}

// key is the object that holds the chunk; "" for a hole.
func (c *Chunk) key() string {
	switch {
	case c.Hole > 0:
		return ""
	case c.Pack != "":
		return packKey(c.Pack)
	}
	return objectKey(c.SHA256, c.Zstd)
}

// check says what is wrong with a chunk that was read or is to be written.
func (c *Chunk) check() string {
	switch {
	case c == nil:
		return "chunk is null"
	case c.Hole != 0:
		if c.Hole < 0 || *c != (Chunk{Hole: c.Hole}) {
			return "hole with a content"
		}
		return ""
	case c.Stored == pendingChunk:
		return "chunk is not stored yet (flush the writer first)"
	case !isHash(c.SHA256):
		return "chunk without a hash"
	case c.Size < 0 || c.Size > ChunkSize || c.Stored < 0 || c.Stored > ChunkSize:
		return "chunk is too long"
	case !c.Zstd && c.Size != c.Stored:
		return "chunk with two lengths"
	case c.Pack == "" && (c.Offset != 0 || c.Size == 0):
		return "chunk in no pack"
	case c.Pack != "" && (!isHash(c.Pack) || c.Offset < 0 || c.Offset > maxPack-c.Stored):
		return "chunk outside of its pack"
	}
	return ""
}

// addLengths adds what documents claim to be lengths: negative ones count as none, and a sum that is none stays the greatest.
func addLengths(sum, n int64) int64 {
	if n = max(n, 0); sum > math.MaxInt64-n {
		return math.MaxInt64
	}
	return sum + n
}

// contentLength sums up chunks; ok is false where the sum is not a length.
func contentLength(chunks []*Chunk) (sum int64, ok bool) {
	for _, c := range chunks {
		if sum > math.MaxInt64-c.Len() {
			return 0, false
		}
		sum += c.Len()
	}
	return sum, true
}
