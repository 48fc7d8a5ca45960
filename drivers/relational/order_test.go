package relational_test

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"salvor/drivers"
	"salvor/drivers/relational"
)

func key(t interface{ Fatal(...any) }, order relational.Order, values ...relational.Value) []byte {
	var b []byte
	for _, v := range values {
		var err error
		if b, err = relational.AppendKey(b, order, v); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func text(kind relational.Kind, s string) relational.Value {
	return relational.Value{Kind: kind, Text: []byte(s)}
}

// TestAppendKeyAscends: each list is in the order of the database, those between bars equal.
func TestAppendKeyAscends(t *testing.T) {
	t.Parallel()
	tests := []struct {
		order  relational.Order
		kind   relational.Kind
		values string // by spaces, equal ones by =
	}{
		{relational.OrderInt, relational.Int, "-9223372036854775808 -9223372036854775807 -2 -1 0 1 2 9223372036854775807 9223372036854775808 18446744073709551615"},
		{relational.OrderDecimal, relational.Decimal, "-Infinity -1e400 -100 -99.5 -10=-10.00=-1e1 -1.5 -1.05 -0.1 -0.01 0=-0=0.000=00 0.001 0.01 0.1 1=1.0=1.00 1.05 1.5 9 10=1E1 99.99 99.991 100 123456789012345678901234567890.5 1e400 Infinity NaN"},
		{relational.OrderFloat, relational.Float, "-Infinity -1e300 -1.5 -1e-310 0=-0=-0.0 1e-310 1.5 1e+300 Infinity NaN"},
		{relational.OrderBool, relational.Bool, "false true"},
		{relational.OrderTime, relational.Text, "-infinity 4713-01-01_BC 0044-03-15_12:00:00_BC 0044-03-15_12:00:01_BC 0001-01-01_BC 0001-01-01 2026-11-30 2026-11-30_10:00:00=2026-11-30_10:00:00+00 2026-11-30_10:00:00.000001+00 2026-11-30_10:00:00.1 2026-11-30_10:00:01 9999-12-31 10000-01-01 294276-12-31_23:59:59.999999+00 infinity"},
		{relational.OrderTime, relational.Text, "0000-00-00 0000-00-01 1000-01-01"},
		{relational.OrderSQLiteNoCase, relational.Text, "A=a AB=ab=aB abc É é"},
		{relational.OrderSQLite, relational.Text, "A AB a ab É é"},
	}
	for _, test := range tests {
		t.Run(string(test.order), func(t *testing.T) {
			t.Parallel()
			var last []byte
			for group := range strings.SplitSeq(test.values, " ") {
				var first []byte
				for i, value := range strings.Split(group, "=") {
					k := key(t, test.order, text(test.kind, strings.ReplaceAll(value, "_", " ")))
					switch {
					case i == 0 && bytes.Compare(last, k) >= 0:
						t.Errorf("%s does not come after what is before it", value)
					case i > 0 && !bytes.Equal(first, k):
						t.Errorf("%s is not equal to the first of %s", value, group)
					}
					if i == 0 {
						first = k
					}
				}
				last = first
			}
		})
	}
}

func TestAppendKeySQLiteClasses(t *testing.T) {
	t.Parallel()
	values := []relational.Value{
		{},
		text(relational.Float, "-Infinity"), text(relational.Int, "-9223372036854775808"), relational.FloatValue(-0.5), relational.IntValue(0),
		relational.FloatValue(9007199254740992), relational.IntValue(9007199254740993), relational.FloatValue(9007199254740994),
		relational.IntValue(math.MaxInt64), relational.FloatValue(1 << 63), text(relational.Float, "Infinity"),
		relational.TextValue(""), relational.TextValue("\x00"), relational.TextValue("1"), relational.TextValue("a"), relational.TextValue("a\x00b"), relational.TextValue("ab"),
		relational.BytesValue(nil), relational.BytesValue([]byte{0}), relational.BytesValue([]byte("a")),
	}
	if !slices.IsSortedFunc(values, func(a, b relational.Value) int {
		return bytes.Compare(key(t, relational.OrderSQLite, a), key(t, relational.OrderSQLite, b))
	}) {
		t.Error("classes are not in SQLite's order")
	}
	if !bytes.Equal(key(t, relational.OrderSQLite, relational.IntValue(5)), key(t, relational.OrderSQLite, relational.FloatValue(5))) {
		t.Error("5 and 5.0 are one key to SQLite")
	}
	if !bytes.Equal(key(t, relational.OrderSQLiteRTrim, relational.TextValue("a")), key(t, relational.OrderSQLiteRTrim, relational.TextValue("a  "))) {
		t.Error("RTRIM sees spaces at the end")
	}
}

// TestAppendKeyNumbers compares the order of mixed numbers with exact arithmetic.
func TestAppendKeyNumbers(t *testing.T) {
	t.Parallel()
	near := []int64{0, 1 << 53, -(1 << 53), 1 << 62, math.MaxInt64, math.MinInt64}
	number := rapid.Custom(func(t *rapid.T) relational.Value {
		n := rapid.OneOf(rapid.Int64(), rapid.Custom(func(t *rapid.T) int64 {
			return rapid.SampledFrom(near).Draw(t, "near") + rapid.Int64Range(-2000, 2000).Draw(t, "off")
		})).Draw(t, "n")
		if rapid.Bool().Draw(t, "float") {
			return relational.FloatValue(float64(n))
		}
		return relational.IntValue(n)
	})
	exact := func(v relational.Value) *big.Float {
		if v.Kind == relational.Float {
			f, err := strconv.ParseFloat(string(v.Text), 64)
			if err != nil {
				t.Fatal(err)
			}
			return big.NewFloat(f)
		}
		f, _, err := big.ParseFloat(string(v.Text), 10, 200, big.ToNearestEven)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		if got, want := bytes.Compare(key(t, relational.OrderSQLite, a), key(t, relational.OrderSQLite, b)), exact(a).Cmp(exact(b)); got != want {
			t.Fatalf("%s and %s compare as %d, not %d", a.Text, b.Text, got, want)
		}
	})
}

func TestAppendKeyDecimals(t *testing.T) {
	t.Parallel()
	decimal := rapid.StringMatching(`-?[0-9]{1,8}(\.[0-9]{1,6})?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := decimal.Draw(t, "a"), decimal.Draw(t, "b")
		x, okX := new(big.Rat).SetString(a)
		y, okY := new(big.Rat).SetString(b)
		if !okX || !okY {
			t.Fatal("not numbers")
		}
		got := bytes.Compare(key(t, relational.OrderDecimal, text(relational.Decimal, a)), key(t, relational.OrderDecimal, text(relational.Decimal, b)))
		if want := x.Cmp(y); got != want {
			t.Fatalf("%s and %s compare as %d, not %d", a, b, got, want)
		}
	})
}

// TestAppendKeyComposite: lists of texts compare column by column, so ('a','bc') is not ('ab','c').
func TestAppendKeyComposite(t *testing.T) {
	t.Parallel()
	piece := rapid.StringOfN(rapid.SampledFrom([]rune{0, 1, 'a', 'b', 0xff, 0x10ffff}), 0, 4, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.SliceOfN(piece, 3, 3).Draw(t, "a"), rapid.SliceOfN(piece, 3, 3).Draw(t, "b")
		encode := func(list []string) (k []byte) {
			for _, s := range list {
				k = append(k, key(t, relational.OrderBytes, relational.TextValue(s))...)
			}
			return k
		}
		if got, want := cmp.Compare(bytes.Compare(encode(a), encode(b)), 0), slices.Compare(a, b); got != want {
			t.Fatalf("%q and %q compare as %d, not %d", a, b, got, want)
		}
	})
}

func TestAppendKeyRefuses(t *testing.T) {
	t.Parallel()
	for order, value := range map[relational.Order]string{
		relational.OrderInt: "1.5", relational.OrderDecimal: "1,5", relational.OrderFloat: "x", relational.OrderTime: "12:00", relational.OrderSQLite: "",
	} {
		kind := relational.Int
		if _, err := relational.AppendKey(nil, order, text(kind, value)); !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("%s takes %q: %v", order, value, err)
		}
	}
}

func TestSQLiteOrderUTF16(t *testing.T) {
	t.Parallel()
	order, ok := relational.SQLiteOrder("BINARY", "UTF-16le")
	if !ok {
		t.Fatal("no order")
	}
	// U+0141 is 41 01, U+0042 is 42 00: the other way around than in UTF-8.
	if bytes.Compare(key(t, order, relational.TextValue("Ł")), key(t, order, relational.TextValue("B"))) >= 0 {
		t.Error("UTF-16le sorts as UTF-8")
	}
	if _, ok := relational.SQLiteOrder("german", "UTF-8"); ok {
		t.Error("a collation of an application has an order")
	}
}

// FuzzAppendKey: whatever a key is, it is taken or refused, a list of keys is split nowhere, and equal floats are equal keys.
func FuzzAppendKey(f *testing.F) {
	f.Add("1.50", "2026-11-30 10:00:00+00")
	f.Add("-1e-7", "infinity")
	f.Add("\x00\xff", "0044-03-15 BC")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, order := range []relational.Order{relational.OrderInt, relational.OrderDecimal, relational.OrderFloat, relational.OrderTime, relational.OrderBytes, relational.OrderSQLiteNoCase} {
			ka, errA := relational.AppendKey(nil, order, text(relational.Text, a))
			kb, errB := relational.AppendKey(nil, order, text(relational.Text, b))
			if errA != nil || errB != nil || bytes.Equal(ka, kb) {
				continue
			}
			if bytes.HasPrefix(ka, kb) || bytes.HasPrefix(kb, ka) {
				t.Errorf("%s: %q and %q: one key begins the other", order, a, b)
			}
		}
		x, errX := strconv.ParseFloat(a, 64)
		if errX == nil && !bytes.Equal(key(t, relational.OrderFloat, text(relational.Float, a)), key(t, relational.OrderFloat, relational.FloatValue(x))) {
			t.Errorf("%q and its canonical form differ", a)
		}
	})
}
