package relational

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"salvor/drivers"
)

// Order says how the values of a key's column are sorted, and which of them are equal to the database.
type Order string

// The orders. A driver whose database sorts by none of them names one that begins with [OrderWeight] and gives the bytes that
// its database sorts by itself.
const (
	OrderInt     Order = "int"     // by number, up to 64 bits with or without a sign
	OrderDecimal Order = "decimal" // by number, of any length; NaN is the greatest
	OrderFloat   Order = "float"   // by number; 0 is -0, NaN is the greatest
	OrderBool    Order = "bool"    // false before true
	OrderBytes   Order = "bytes"   // by byte
	OrderTime    Order = "time"    // dates and moments in the form of ISO 8601, -infinity, infinity, and years BC
	// OrderSQLite is by SQLite's classes: numbers, texts by bytes, blobs. The others sort texts by one of its collations; see
	// [SQLiteOrder] for those of databases in UTF-16.
	OrderSQLite       Order = "sqlite"
	OrderSQLiteNoCase Order = "sqlite nocase" // A to Z are a to z
	OrderSQLiteRTrim  Order = "sqlite rtrim"  // spaces at the end do not count
	OrderWeight       Order = "weight"        // by bytes that the server computed: "weight utf8mb4_general_ci"
)

const (
	utf16le = " utf-16le"
	utf16be = " utf-16be"
)

// SQLiteOrder is the order of a collation in a database of that encoding, as SQLite names both. ok is false for a collation
// that an application has made.
func SQLiteOrder(collation, encoding string) (order Order, ok bool) {
	switch collation {
	case "BINARY", "":
		switch encoding {
		case "UTF-16le":
			return OrderSQLite + utf16le, true
		case "UTF-16be":
			return OrderSQLite + utf16be, true
		}
		return OrderSQLite, true
	case "RTRIM":
		return OrderSQLiteRTrim, true // which SQLite compares in UTF-8 whatever the encoding is
	case "NOCASE":
		return OrderSQLiteNoCase, true // this one too
	}
	return "", false
}

// Tags begin the values of a key. NULL comes first, so that a unique key that may be NULL can be written too.
const (
	tagNull  = 0x00
	tagValue = 0x10 // of all orders but SQLite's
	tagNum   = 0x20
	tagText  = 0x30
	tagBlob  = 0x40
)

// AppendKey appends a value of a key so that keys compare by bytes.Compare as the database sorts them, column by column,
// and are equal if and only if the database says that they are. It returns an error wrapping [drivers.ErrInvalid] for a
// value that the order is not made for.
func AppendKey(to []byte, order Order, v Value) ([]byte, error) {
	if v.Kind == Null {
		return append(to, tagNull), nil
	}
	switch order {
	case OrderInt:
		return appendInt(append(to, tagValue), v)
	case OrderBool:
		if len(v.Text) > 0 && v.Text[0] == 't' {
			return append(to, tagValue, 1), nil
		}
		return append(to, tagValue, 0), nil
	case OrderFloat:
		f, err := strconv.ParseFloat(string(v.Text), 64)
		if err != nil {
			return to, badKey(order, v)
		}
		return appendFloat(append(to, tagValue), f), nil
	case OrderDecimal:
		return appendDecimal(append(to, tagValue), v)
	case OrderTime:
		return appendTime(append(to, tagValue), v)
	case OrderBytes:
		return appendBytes(append(to, tagValue), v.Text), nil
	case OrderSQLite, OrderSQLiteNoCase, OrderSQLiteRTrim, OrderSQLite + utf16le, OrderSQLite + utf16be:
		return appendSQLite(to, order, v)
	default:
		return appendBytes(append(to, tagValue), v.Text), nil // OrderWeight: the server's own bytes
	}
}

func badKey(order Order, v Value) error {
	text := v.Text
	if len(text) > 40 {
		text = text[:40]
	}
	return fmt.Errorf("%q as a key in the order %q: %w", text, order, drivers.ErrInvalid)
}

// appendInt takes numbers from -2^63 to 2^64-1: a byte for the sign, then the number.
func appendInt(to []byte, v Value) ([]byte, error) {
	text := string(v.Text)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		sign := byte(1)
		if n < 0 {
			sign = 0
		}
		return binary.BigEndian.AppendUint64(append(to, sign), uint64(n)), nil //nolint:gosec // two's complement keeps the order of negative numbers
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return to, badKey(OrderInt, v)
	}
	return binary.BigEndian.AppendUint64(append(to, 1), n), nil
}

// appendFloat flips the bits of IEEE 754 so that they sort.
func appendFloat(to []byte, f float64) []byte {
	switch {
	case f == 0:
		f = 0 // and not -0
	case math.IsNaN(f):
		return binary.BigEndian.AppendUint64(to, math.MaxUint64)
	}
	b := math.Float64bits(f)
	if b>>63 == 1 {
		b = ^b
	} else {
		b |= 1 << 63
	}
	return binary.BigEndian.AppendUint64(to, b)
}

// appendDecimal writes a number of any length: its sign, the place of its first digit, its digits without zeros at the end. Those
// of a negative number are inverted, the sign excepted.
func appendDecimal(to []byte, v Value) ([]byte, error) {
	const (
		negInf, neg, zero, pos, posInf, nan = 0, 1, 2, 3, 4, 5
	)
	switch string(v.Text) {
	case "NaN":
		return append(to, nan), nil
	case "Infinity":
		return append(to, posInf), nil
	case "-Infinity":
		return append(to, negInf), nil
	}
	text, negative := bytes.CutPrefix(v.Text, []byte("-"))
	var exponent int64
	if i := bytes.IndexAny(text, "eE"); i >= 0 {
		n, err := strconv.ParseInt(string(text[i+1:]), 10, 32)
		if err != nil {
			return to, badKey(OrderDecimal, v)
		}
		text, exponent = text[:i], n
	}
	whole, fraction, _ := bytes.Cut(text, []byte("."))
	if len(whole)+len(fraction) == 0 {
		return to, badKey(OrderDecimal, v)
	}
	place := exponent + int64(len(whole)) // digits before the point
	digits := append(bytes.Clone(whole), fraction...)
	for _, d := range digits {
		if d < '0' || d > '9' {
			return to, badKey(OrderDecimal, v)
		}
	}
	trimmed := bytes.TrimLeft(digits, "0")
	place -= int64(len(digits) - len(trimmed))
	digits = bytes.TrimRight(trimmed, "0")
	if len(digits) == 0 {
		return append(to, zero), nil
	}
	sign, flip := byte(pos), byte(0)
	if negative {
		sign, flip = neg, 0xff
	}
	to = append(to, sign)
	from := len(to)
	to = binary.BigEndian.AppendUint64(to, uint64(place)^(1<<63)) //nolint:gosec // the bits of a signed number, its sign turned
	to = append(to, digits...)
	to = append(to, 0)
	for i := from; i < len(to); i++ {
		to[i] ^= flip
	}
	return to, nil
}

// appendTime takes 2026-11-30, with or without a time behind it, BC, infinity and -infinity. What stands behind the year is of
// a fixed width up to the fraction of a second, whose zeros at the end are not written by any engine.
func appendTime(to []byte, v Value) ([]byte, error) {
	const before, finite, after = 0, 1, 2
	text := v.Text
	switch string(text) {
	case "-infinity":
		return append(to, before), nil
	case "infinity":
		return append(to, after), nil
	}
	text, bc := bytes.CutSuffix(text, []byte(" BC"))
	dash := bytes.IndexByte(text, '-')
	if dash <= 0 || bytes.IndexByte(text, 0) >= 0 {
		return to, badKey(OrderTime, v)
	}
	year, err := strconv.ParseInt(string(text[:dash]), 10, 32)
	if err != nil || year < 0 {
		return to, badKey(OrderTime, v)
	}
	if bc {
		year = 1 - year
	}
	to = append(to, finite)
	to = binary.BigEndian.AppendUint64(to, uint64(year)^(1<<63)) //nolint:gosec // the bits of a signed number, its sign turned
	rest := bytes.TrimSuffix(text[dash+1:], []byte("+00"))
	return append(append(to, rest...), 0), nil
}

// appendBytes ends bytes so that no key is the beginning of another: 00 is written 00 FF, the end 00 01.
func appendBytes(to, b []byte) []byte {
	for {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			return append(append(to, b...), 0, 1)
		}
		to = append(append(to, b[:i]...), 0, 0xff)
		b = b[i+1:]
	}
}

// appendSQLite sorts by SQLite's classes. See https://www.sqlite.org/datatype3.html#sort_order.
func appendSQLite(to []byte, order Order, v Value) ([]byte, error) {
	switch v.Kind {
	case Int:
		n, err := strconv.ParseInt(string(v.Text), 10, 64)
		if err != nil {
			return to, badKey(order, v)
		}
		return appendNumber(append(to, tagNum), n), nil
	case Float:
		f, err := strconv.ParseFloat(string(v.Text), 64)
		if err != nil {
			return to, badKey(order, v)
		}
		return binary.BigEndian.AppendUint16(appendFloat(append(to, tagNum), f), 1<<15), nil
	case Bytes:
		return appendBytes(append(to, tagBlob), v.Text), nil
	case Text:
		return appendBytes(append(to, tagText), collated(order, v.Text)), nil
	default:
		return to, badKey(order, v)
	}
}

// appendNumber sorts whole numbers among floating-point ones, exactly: the nearest double, and how far the number is from it. Of
// two numbers with different nearest doubles these tell, since rounding never turns an order around.
func appendNumber(to []byte, n int64) []byte {
	f := float64(n)
	var rest int64
	if f >= 1<<63 {
		rest = n - math.MaxInt64 - 1 // the double is 2^63, which is no int64
	} else {
		rest = n - int64(f)
	}
	return binary.BigEndian.AppendUint16(appendFloat(to, f), uint16(rest+1<<15)) //nolint:gosec // doubles are at most 1024 apart there
}

// collated is a text as a collation compares it.
func collated(order Order, text []byte) []byte {
	switch order {
	case OrderSQLiteNoCase:
		return noCase(text)
	case OrderSQLiteRTrim:
		return bytes.TrimRight(text, " ")
	case OrderSQLite + utf16le:
		return utf16Bytes(text, binary.LittleEndian)
	case OrderSQLite + utf16be:
		return utf16Bytes(text, binary.BigEndian)
	default:
		return text
	}
}

// noCase folds a text as SQLite's NOCASE compares it. Behind a NUL that looks at the length alone (sqlite3StrNICmp ends there).
func noCase(text []byte) []byte {
	folded := bytes.Clone(text)
	for i, c := range folded {
		if c == 0 {
			return binary.BigEndian.AppendUint64(folded[:i+1], uint64(len(text)))
		}
		if c >= 'A' && c <= 'Z' {
			folded[i] = c + 'a' - 'A'
		}
	}
	return folded
}

func utf16Bytes(text []byte, order binary.AppendByteOrder) []byte {
	out := make([]byte, 0, 2*len(text))
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if a, b := utf16.EncodeRune(r); a != utf8.RuneError {
			out = order.AppendUint16(order.AppendUint16(out, uint16(a)), uint16(b)) //nolint:gosec // two halves of a pair
		} else {
			out = order.AppendUint16(out, uint16(r)) //nolint:gosec // below 10000 hexadecimal
		}
		text = text[size:]
	}
	return out
}
