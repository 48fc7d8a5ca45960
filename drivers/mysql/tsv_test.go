package mysql

import (
	"bufio"
	"bytes"
	"database/sql/driver"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"salvor/drivers"
)

func TestRowsThereAndBack(t *testing.T) {
	t.Parallel()
	columns := []column{{Name: "a"}, {Name: "n", Kind: kindNumber}, {Name: "f", Kind: kindFloat}}
	rows := [][]driver.Value{
		{[]byte("plain"), int64(-5), 1.5},
		{[]byte("\t\n\\\x00\\N\r\x1a\xff"), uint64(math.MaxUint64), math.Copysign(0, -1)},
		{nil, nil, nil},
		{[]byte(""), []byte("1.10"), math.MaxFloat64},
	}
	var text []byte
	for _, r := range rows {
		text = appendRow(text, r, columns)
	}
	if want := "plain\t-5\t1.5\n\\t\\n\\\\\\0\\\\N\r\x1a\xff\t18446744073709551615\t-0\n\\N\t\\N\t\\N\n\t1.10\t1.7976931348623157e+308\n"; string(text) != want {
		t.Fatalf("rows = %q", text)
	}
	in := &lines{in: bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(text)), 16)}
	for i, r := range rows {
		ok, err := in.next(3)
		if !ok || err != nil {
			t.Fatalf("row %d: %v, %v", i, ok, err)
		}
		for j, cell := range r {
			if want := appendValue(nil, cell); !bytes.Equal(in.cells[j], want) || (cell == nil) != (in.cells[j] == nil) {
				t.Errorf("row %d, column %d = %q, want %q", i, j, in.cells[j], want)
			}
		}
	}
	if ok, err := in.next(3); ok || err != nil {
		t.Errorf("after the last row: %v, %v", ok, err)
	}
}

func TestBadRows(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"a", "a\tb\tc\n", "\n", "a\\\tb\n", "a\\x\tb\n", "\\Na\tb\n", "a\tb\\"} {
		in := &lines{in: bufio.NewReader(strings.NewReader(text))}
		if ok, err := in.next(2); ok || !errors.Is(err, drivers.ErrCorrupt) {
			t.Errorf("%q = %v, %v", text, ok, err)
		}
	}
}

func TestCountedZeros(t *testing.T) {
	t.Parallel()
	const text = "0\t0\tx\n1\t0\t0\n0\t\\N\t0\n0\t00\t0\n0\t10\ty\n0\t0\tz\n"
	columns := []column{{Name: "a"}, {Name: "e", Kind: kindEnum}, {Name: "b"}}
	for _, in := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.HalfReader(strings.NewReader(text))} {
		r := &countedReader{in: in, columns: columns}
		if got, err := io.ReadAll(r); err != nil || string(got) != text || r.zeros != 3 {
			t.Errorf("%d zeros, %v", r.zeros, err)
		}
	}
}

func FuzzRows(f *testing.F) {
	f.Add([]byte("a\tb"), []byte("\\N"))
	f.Add([]byte("\x00\n\\"), []byte(""))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		text := appendRow(nil, []driver.Value{a, nil, b}, nil)
		if bytes.Count(text, []byte("\n")) != 1 || bytes.Count(text, []byte("\t")) != 2 {
			t.Fatalf("a row of %q", text)
		}
		in := &lines{in: bufio.NewReader(bytes.NewReader(text))}
		ok, err := in.next(3)
		if !ok || err != nil || !bytes.Equal(in.cells[0], a) || in.cells[1] != nil || !bytes.Equal(in.cells[2], b) {
			t.Fatalf("%q, %q come back as %q, %v", a, b, in.cells, err)
		}
		// Whatever it is, reading it must not panic.
		wild := &lines{in: bufio.NewReader(bytes.NewReader(append(a, '\n')))}
		_, _ = wild.next(2)
	})
}
