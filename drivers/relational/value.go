package relational

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"salvor/drivers"
)

// Kind is what a value is.
type Kind byte

// The kinds. Their numbers are part of the hash of a row, which is stored: they never change.
const (
	Null    Kind = 0
	Bool    Kind = 1 // "true" or "false"
	Int     Kind = 2 // decimal digits, without a plus sign or leading zeros
	Decimal Kind = 3 // as the engine writes it, trailing zeros included
	Float   Kind = 4 // shortest form that is read back as the same; "NaN", "Infinity", "-Infinity"
	Text    Kind = 5 // UTF-8, or other bytes where the database holds such
	Bytes   Kind = 6
)

// Value is a cell in canonical form. Its text belongs to whoever made it; a row of [Rows] is good until the next one.
type Value struct {
	Kind Kind
	Text []byte
}

// Equal tells whether two values are the same thing.
func (v Value) Equal(other Value) bool {
	return v.Kind == other.Kind && bytes.Equal(v.Text, other.Text)
}

// Clone returns a value of its own.
func (v Value) Clone() Value { return Value{v.Kind, bytes.Clone(v.Text)} }

// CloneValues returns values of their own.
func CloneValues(values []Value) []Value {
	size := 0
	for _, v := range values {
		size += len(v.Text)
	}
	list, text := make([]Value, len(values)), make([]byte, 0, size)
	for i, v := range values {
		from := len(text)
		text = append(text, v.Text...)
		list[i] = Value{Kind: v.Kind, Text: text[from:len(text):len(text)]}
	}
	return list
}

// EqualValues tells whether two lists of values are the same.
func EqualValues(a, b []Value) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

// HasNull tells whether any value is NULL.
func HasNull(values []Value) bool {
	for _, v := range values {
		if v.Kind == Null {
			return true
		}
	}
	return false
}

// BoolValue makes true or false.
func BoolValue(b bool) Value { return Value{Bool, strconv.AppendBool(nil, b)} }

// IntValue makes a whole number.
func IntValue(n int64) Value { return Value{Int, strconv.AppendInt(nil, n, 10)} }

// TextValue makes a text.
func TextValue(s string) Value { return Value{Text, []byte(s)} }

// BytesValue makes bytes.
func BytesValue(b []byte) Value { return Value{Bytes, b} }

// FloatValue makes a floating-point number.
func FloatValue(f float64) Value { return Value{Float, AppendFloat(nil, f)} }

// AppendFloat appends the canonical text of a number: it is never that of a whole number, so that 5.0 is not 5.
func AppendFloat(to []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(to, "NaN"...)
	case math.IsInf(f, 1):
		return append(to, "Infinity"...)
	case math.IsInf(f, -1):
		return append(to, "-Infinity"...)
	}
	from := len(to)
	to = strconv.AppendFloat(to, f, 'g', -1, 64)
	if bytes.IndexByte(to[from:], '.') < 0 && bytes.IndexByte(to[from:], 'e') < 0 {
		to = append(to, ".0"...)
	}
	return to
}

// AppendValues appends values so that different lists are different bytes, whatever is in them.
func AppendValues(to []byte, values []Value) []byte {
	for _, v := range values {
		to = append(to, byte(v.Kind))
		if v.Kind != Null {
			to = binary.AppendUvarint(to, uint64(len(v.Text)))
			to = append(to, v.Text...)
		}
	}
	return to
}

// ReadValues reads n values that AppendValues has written, and returns what follows them. The values are parts of b. The error wraps
// [drivers.ErrCorrupt].
func ReadValues(b []byte, n int) (values []Value, rest []byte, err error) {
	values = make([]Value, n)
	for i := range values {
		if len(b) == 0 {
			return nil, nil, errValues
		}
		kind := Kind(b[0])
		b = b[1:]
		if kind == Null {
			continue
		}
		size, used := binary.Uvarint(b)
		if used <= 0 || size > uint64(len(b)-used) { //nolint:gosec // a size
			return nil, nil, errValues
		}
		b = b[used:]
		values[i] = Value{Kind: kind, Text: b[:size:size]}
		b = b[size:]
	}
	return values, b, nil
}

var errValues = fmt.Errorf("read values: %w", drivers.ErrCorrupt)

// HashSize is the length of a [Hash].
const HashSize = 16

// Hash is that of a row's values: 128 bits of SHA-256, so that nobody can make two rows that share it.
type Hash [HashSize]byte

// HashValues hashes values. scratch is memory to work in, which is returned to be used again.
func HashValues(values []Value, scratch []byte) (Hash, []byte) {
	scratch = AppendValues(scratch[:0], values)
	sum := sha256.Sum256(scratch)
	return Hash(sum[:HashSize]), scratch
}
