package rows

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"

	"github.com/zeebo/xxh3"

	"salvor/drivers"
)

// Digest sums the hashes of rows: the 128-bit XXH3 of each line, without its line feed, added modulo 2^128.
// The order of the rows does not matter, their number does. (An XOR would let a row that is there twice vanish.)
type Digest struct {
	rows   int64
	hi, lo uint64
	// open is the hash of a row whose end has not come yet; began tells that there is one.
	open  xxh3.Hasher
	began bool
}

// Write adds text, of which lines may begin and end anywhere.
func (d *Digest) Write(text []byte) {
	for len(text) > 0 {
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			if !d.began {
				d.open.Reset()
				d.began = true
			}
			_, _ = d.open.Write(text) // a hash cannot fail
			return
		}
		if d.began {
			_, _ = d.open.Write(text[:end])
			d.add(d.open.Sum128())
			d.began = false
		} else {
			d.add(xxh3.Hash128(text[:end]))
		}
		text = text[end+1:]
	}
}

func (d *Digest) add(h xxh3.Uint128) {
	var carry uint64
	d.lo, carry = bits.Add64(d.lo, h.Lo, 0)
	d.hi, _ = bits.Add64(d.hi, h.Hi, carry)
	d.rows++
}

// sum adds another digest, of other rows of the same table.
func (d *Digest) sum(hi, lo uint64, rows int64) {
	var carry uint64
	d.lo, carry = bits.Add64(d.lo, lo, 0)
	d.hi, _ = bits.Add64(d.hi, hi, carry)
	d.rows += rows
}

// Whole tells whether the text so far ends with a line.
func (d *Digest) Whole() bool { return !d.began }

// String returns the digest with the name of its method.
func (d *Digest) String() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], d.hi)
	binary.BigEndian.PutUint64(b[8:], d.lo)
	return digestName + hex.EncodeToString(b[:])
}

// digestName names the method, so that another can follow.
const digestName = "xxh3-128-sum:"

// Counts returns the number of the rows and their digest.
func (d *Digest) Counts() drivers.Counts { return drivers.Counts{Rows: d.rows, Digest: d.String()} }

// AddText adds a digest by its text.
func (d *Digest) AddText(text string, rows int64) error {
	raw, ok := bytes.CutPrefix([]byte(text), []byte(digestName))
	b, err := hex.DecodeString(string(raw))
	if !ok || err != nil || len(b) != 16 {
		return fmt.Errorf("digest %q: %w", text, drivers.ErrInvalid)
	}
	d.sum(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), rows)
	return nil
}

// Rows returns the number of rows.
func (d *Digest) Rows() int64 { return d.rows }

// Difference tells how a table's rows differ from those that are wanted; "" where they do not.
func (d *Digest) Difference(name string, want *Digest) string {
	switch {
	case d.rows != want.rows:
		return fmt.Sprintf("%s: %d rows, the dump has %d", name, d.rows, want.rows)
	case d.hi != want.hi || d.lo != want.lo:
		return fmt.Sprintf("%s: %d rows as in the dump, but other ones", name, d.rows)
	}
	return ""
}
