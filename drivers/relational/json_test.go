package relational_test

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"salvor/drivers"
	"salvor/drivers/relational"
)

func TestJSONForms(t *testing.T) {
	t.Parallel()
	column := func(typ relational.Type) *relational.Column { return &relational.Column{Name: "c", Type: typ} }
	dynamic := func(typ relational.Type) *relational.Column {
		return &relational.Column{Name: "c", Type: typ, Dynamic: true}
	}
	tests := []struct {
		column *relational.Column
		value  relational.Value
		want   string
	}{
		{column(relational.TypeText), relational.Value{}, `null`},
		{column(relational.TypeBool), relational.BoolValue(false), `false`},
		{column(relational.TypeInt), relational.IntValue(0), `0`},
		{column(relational.TypeText), relational.TextValue(""), `""`},
		{column(relational.TypeInt), relational.IntValue(1 << 53), `9007199254740992`},
		{column(relational.TypeInt), relational.IntValue(1<<53 + 1), `"9007199254740993"`},
		{column(relational.TypeInt), text(relational.Int, "18446744073709551615"), `"18446744073709551615"`},
		{column(relational.TypeDecimal), text(relational.Decimal, "10.50"), `"10.50"`},
		{column(relational.TypeDecimal), text(relational.Decimal, "0"), `"0"`},
		{column(relational.TypeFloat), text(relational.Float, "-0"), `-0`},
		{column(relational.TypeFloat), text(relational.Float, "NaN"), `"NaN"`},
		{column(relational.TypeFloat), text(relational.Float, "-Infinity"), `"-Infinity"`},
		{column(relational.TypeBytes), relational.BytesValue([]byte{0, 1}), `{"$b64":"AAE="}`},
		{column(relational.TypeBytes), relational.BytesValue(nil), `{"$b64":""}`},
		{column(relational.TypeText), relational.TextValue("\xff"), `{"$b64":"/w=="}`},
		{column(relational.TypeText), relational.TextValue("a\x00\u2028<é>"), `"a\u0000\u2028<é>"`},
		{column(relational.TypeTime), relational.TextValue("infinity"), `"infinity"`},
		{column(relational.TypeTime), relational.TextValue("-838:59:59"), `"-838:59:59"`},
		{column(relational.TypeJSON), relational.TextValue(`{"b": 1.00, "a": 2}`), `"{\"b\": 1.00, \"a\": 2}"`},
		{dynamic(relational.TypeInt), relational.IntValue(5), `5`},
		{dynamic(relational.TypeInt), relational.FloatValue(5), `5.0`},
		{dynamic(relational.TypeInt), relational.TextValue("x"), `"x"`},
		{dynamic(relational.TypeInt), relational.IntValue(1<<53 + 1), `"9007199254740993"`},
		{dynamic(relational.TypeText), relational.IntValue(1<<53 + 1), `{"$int":"9007199254740993"}`},
		{dynamic(relational.TypeText), relational.TextValue("9007199254740993"), `"9007199254740993"`},
		{dynamic(relational.TypeFloat), relational.FloatValue(math.Inf(1)), `{"$float":"Infinity"}`},
		{dynamic(relational.TypeText), relational.BytesValue([]byte("a")), `{"$b64":"YQ=="}`},
		{dynamic(relational.TypeText), relational.TextValue("\xff"), `{"$text64":"/w=="}`},
		{dynamic(relational.TypeBool), relational.IntValue(0), `false`},
		{dynamic(relational.TypeBool), relational.IntValue(2), `2`},
	}
	for _, test := range tests {
		got := relational.AppendJSON(nil, test.column, test.value)
		if string(got) != test.want {
			t.Errorf("%q of %s is written %s, want %s", test.value.Text, test.column.Type, got, test.want)
		}
		if read, err := relational.ParseJSON(test.column, got); err != nil || !read.Equal(test.value) {
			t.Errorf("%s is read as %q (%d): %v", got, read.Text, read.Kind, err)
		}
	}
}

func TestParseJSONOfPeople(t *testing.T) {
	t.Parallel()
	clock := &relational.Column{Name: "c", Type: relational.TypeTime, Clock: relational.ClockMoment}
	tests := []struct {
		column *relational.Column
		raw    string
		want   string // "" for an error
	}{
		{&relational.Column{Type: relational.TypeInt}, `"5"`, "5"},
		{&relational.Column{Type: relational.TypeInt}, `true`, "1"},
		{&relational.Column{Type: relational.TypeInt}, `5.0`, ""},
		{&relational.Column{Type: relational.TypeInt}, `"five"`, ""},
		{&relational.Column{Type: relational.TypeInt}, `"05"`, ""},
		{&relational.Column{Type: relational.TypeInt}, `99999999999999999999`, ""},
		{&relational.Column{Type: relational.TypeDecimal}, `10.50`, "10.50"},
		{&relational.Column{Type: relational.TypeDecimal}, `"10,50"`, ""},
		{&relational.Column{Type: relational.TypeBool}, `1`, "true"},
		{&relational.Column{Type: relational.TypeBool}, `"yes"`, ""},
		{&relational.Column{Type: relational.TypeText}, `5`, ""},
		{&relational.Column{Type: relational.TypeText}, `"\ud800"`, ""},
		{&relational.Column{Type: relational.TypeText}, `"\ufffd"`, "\ufffd"},
		{&relational.Column{Type: relational.TypeText}, `{"$b64":"?"}`, ""},
		{&relational.Column{Type: relational.TypeText}, `{"a":1}`, ""},
		{&relational.Column{Type: relational.TypeBytes}, `"text"`, ""},
		{&relational.Column{Type: relational.TypeJSON}, `{"b": 1.00, "a": [2]}`, `{"b":1.00,"a":[2]}`},
		{&relational.Column{Type: relational.TypeFloat}, `"x"`, ""},
		{clock, `"2026-11-30T10:00:00Z"`, "2026-11-30T10:00:00Z"},
		{clock, `"yesterday"`, ""},
		{&relational.Column{Type: relational.TypeText}, `"a`, ""},
		{&relational.Column{Type: relational.TypeText}, ``, ""},
	}
	for _, test := range tests {
		got, err := relational.ParseJSON(test.column, []byte(test.raw))
		switch {
		case test.want == "" && !errors.Is(err, drivers.ErrInvalid):
			t.Errorf("%s in a column of %s: %q, %v", test.raw, test.column.Type, got.Text, err)
		case test.want != "" && (err != nil || string(got.Text) != test.want):
			t.Errorf("%s in a column of %s: %q, %v", test.raw, test.column.Type, got.Text, err)
		}
	}
}

func anyColumn(t *rapid.T) *relational.Column {
	types := []relational.Type{
		relational.TypeBool, relational.TypeInt, relational.TypeDecimal, relational.TypeFloat, relational.TypeText, relational.TypeBytes,
		relational.TypeTime, relational.TypeJSON, relational.TypeOther,
	}
	return &relational.Column{Name: "c", Type: rapid.SampledFrom(types).Draw(t, "type"), Dynamic: rapid.Bool().Draw(t, "dynamic")}
}

// valueOf draws a value that a column can hold.
func valueOf(t *rapid.T, c *relational.Column) relational.Value {
	anyText := func() []byte {
		if rapid.Bool().Draw(t, "bytes") {
			return rapid.SliceOf(rapid.Byte()).Draw(t, "raw")
		}
		return []byte(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "0", "5", "5.0", "NaN", "Infinity", "null", "9007199254740993", `{"$int":"5"}`})).Draw(t, "text"))
	}
	if rapid.IntRange(0, 9).Draw(t, "null") == 0 {
		return relational.Value{}
	}
	if c.Dynamic {
		switch rapid.IntRange(0, 3).Draw(t, "class") {
		case 0:
			return relational.IntValue(rapid.Int64().Draw(t, "int"))
		case 1:
			return relational.FloatValue(rapid.Float64().Draw(t, "float"))
		case 2:
			return relational.BytesValue(anyText())
		}
		return relational.Value{Kind: relational.Text, Text: anyText()}
	}
	switch c.Type {
	case relational.TypeBool:
		return relational.BoolValue(rapid.Bool().Draw(t, "bool"))
	case relational.TypeInt:
		if rapid.Bool().Draw(t, "unsigned") {
			return text(relational.Int, strconv.FormatUint(rapid.Uint64().Draw(t, "uint"), 10))
		}
		return relational.IntValue(rapid.Int64().Draw(t, "int"))
	case relational.TypeDecimal:
		return text(relational.Decimal, rapid.StringMatching(`-?[0-9]{1,30}(\.[0-9]{1,30})?|NaN|-?Infinity`).Draw(t, "decimal"))
	case relational.TypeFloat:
		return text(relational.Float, rapid.SampledFrom([]string{"0", "-0", "5", "1e+20", "0.1", "1e-310", "NaN", "Infinity", "-Infinity"}).Draw(t, "float"))
	case relational.TypeBytes:
		return relational.BytesValue(anyText())
	default:
		return relational.Value{Kind: relational.Text, Text: anyText()}
	}
}

// TestJSONRoundTrip: whatever a column can hold is written as JSON and read back as itself. A text of a dynamic column that likes
// numbers and looks like one cannot be: SQLite would have made a number of it.
func TestJSONRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := anyColumn(t)
		v := valueOf(t, c)
		raw := relational.AppendJSON(nil, c, v)
		if !json.Valid(raw) {
			t.Fatalf("%q is written as %q", v.Text, raw)
		}
		read, err := relational.ParseJSON(c, raw)
		if err != nil || !read.Equal(v) {
			t.Fatalf("%q (%d) of %s is written as %s and read as %q (%d): %v", v.Text, v.Kind, c.Type, raw, read.Text, read.Kind, err)
		}
	})
}

// FuzzParseJSON: what is taken can be written and is read back as itself.
func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{`null`, `"a"`, `1`, `1.5e3`, `{"$b64":"AAE="}`, `{"$int":"5"}`, `[1]`, `"\ud800"`, `{"$text64":"/w=="}`, `-0`} {
		f.Add(seed, uint8(0), true)
		f.Add(seed, uint8(4), false)
	}
	types := []relational.Type{
		relational.TypeBool, relational.TypeInt, relational.TypeDecimal, relational.TypeFloat, relational.TypeText, relational.TypeBytes,
		relational.TypeTime, relational.TypeJSON, relational.TypeOther,
	}
	f.Fuzz(func(t *testing.T, raw string, typ uint8, dynamic bool) {
		c := &relational.Column{Name: "c", Type: types[int(typ)%len(types)], Dynamic: dynamic}
		v, err := relational.ParseJSON(c, []byte(raw))
		if err != nil {
			if !errors.Is(err, drivers.ErrInvalid) {
				t.Fatalf("%s: %v", raw, err)
			}
			return
		}
		again, err := relational.ParseJSON(c, relational.AppendJSON(nil, c, v))
		if err != nil || !again.Equal(v) {
			t.Fatalf("%s is %q (%d), and then %q (%d): %v", raw, v.Text, v.Kind, again.Text, again.Kind, err)
		}
	})
}

// TestHashValues: rows that differ in anything have different hashes.
func TestHashValues(t *testing.T) {
	t.Parallel()
	rows := [][]relational.Value{
		{relational.TextValue("a"), relational.TextValue("bc")},
		{relational.TextValue("ab"), relational.TextValue("c")},
		{relational.TextValue("abc"), {}},
		{relational.TextValue("abc"), relational.TextValue("")},
		{relational.TextValue("abc")},
		{relational.BytesValue([]byte("abc"))},
		{relational.IntValue(0)},
		{relational.FloatValue(0)},
		{relational.FloatValue(math.Copysign(0, -1))},
		{text(relational.Decimal, "1.0")},
		{text(relational.Decimal, "1.00")},
		{{}},
		{},
	}
	seen := make(map[relational.Hash]int)
	var scratch []byte
	for i, row := range rows {
		var h relational.Hash
		h, scratch = relational.HashValues(row, scratch)
		if other, ok := seen[h]; ok {
			t.Errorf("rows %d and %d have one hash", other, i)
		}
		seen[h] = i
	}
}

func TestWall(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ moment, want string }{
		{"2026-07-01T10:00:00.123456Z", "2026-07-01 12:00:00.123456"},
		// The clock is put back from 3:00 to 2:00 at 01:00 UTC.
		{"2026-10-24T23:30:00Z", "2026-10-25 01:30:00"},
		{"2026-10-25T00:30:00Z", "2026-10-25 02:00:00"}, // it shows 2:30, and will show 2:00
		{"2026-10-25T00:59:59.999999Z", "2026-10-25 02:00:00"},
		{"2026-10-25T01:00:00Z", "2026-10-25 02:00:00"},
		{"2026-10-25T01:30:00Z", "2026-10-25 02:30:00"},
		{"2026-03-29T00:59:59Z", "2026-03-29 01:59:59"}, // and is put forward
		{"2026-03-29T01:00:00Z", "2026-03-29 03:00:00"},
	}
	for _, test := range tests {
		moment, err := time.Parse(time.RFC3339Nano, test.moment)
		if err != nil {
			t.Fatal(err)
		}
		if got := relational.Wall(moment, berlin).Format("2006-01-02 15:04:05.999999"); got != test.want {
			t.Errorf("%s: %s, want %s", test.moment, got, test.want)
		}
	}
	if got := relational.Wall(time.Unix(0, 0), nil); !got.Equal(time.Unix(0, 0)) {
		t.Errorf("without a zone: %v", got)
	}
}
