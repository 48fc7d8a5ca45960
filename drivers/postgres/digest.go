package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"

	"github.com/zeebo/xxh3"

	"salvor/drivers"
)

// digest sums the hashes of rows: the 128-bit XXH3 of each line of COPY text, without its line feed, added modulo 2^128.
// The order of the rows does not matter, their number does. (An XOR would let a row that is there twice vanish.)
type digest struct {
	rows   int64
	hi, lo uint64
	// open is the hash of a row whose end has not come yet; began tells that there is one.
	open  xxh3.Hasher
	began bool
}

// write adds text, of which lines may begin and end anywhere.
func (d *digest) write(text []byte) {
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

func (d *digest) add(h xxh3.Uint128) {
	var carry uint64
	d.lo, carry = bits.Add64(d.lo, h.Lo, 0)
	d.hi, _ = bits.Add64(d.hi, h.Hi, carry)
	d.rows++
}

// sum adds another digest, of other rows of the same table.
func (d *digest) sum(hi, lo uint64, rows int64) {
	var carry uint64
	d.lo, carry = bits.Add64(d.lo, lo, 0)
	d.hi, _ = bits.Add64(d.hi, hi, carry)
	d.rows += rows
}

// whole tells whether the text so far ends with a line.
func (d *digest) whole() bool { return !d.began }

func (d *digest) String() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], d.hi)
	binary.BigEndian.PutUint64(b[8:], d.lo)
	return digestName + hex.EncodeToString(b[:])
}

// digestName names the method, so that another can follow.
const digestName = "xxh3-128-sum:"

func (d *digest) counts() drivers.Counts { return drivers.Counts{Rows: d.rows, Digest: d.String()} }

// addText adds a digest by its text.
func (d *digest) addText(text string, rows int64) error {
	raw, ok := bytes.CutPrefix([]byte(text), []byte(digestName))
	b, err := hex.DecodeString(string(raw))
	if !ok || err != nil || len(b) != 16 {
		return fmt.Errorf("digest %q: %w", text, drivers.ErrInvalid)
	}
	d.sum(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), rows)
	return nil
}
