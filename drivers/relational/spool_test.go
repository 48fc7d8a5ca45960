package relational_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// drawFound makes any row that a comparison may find.
func drawFound(t *rapid.T) *relational.Found {
	value := rapid.Custom(func(t *rapid.T) relational.Value {
		v := relational.Value{Kind: relational.Kind(rapid.IntRange(0, int(relational.Bytes)).Draw(t, "kind"))}
		if v.Kind != relational.Null {
			v.Text = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "text")
		}
		return v
	})
	row := func(name string) []relational.Value {
		if rapid.Bool().Draw(t, name+" is not there") {
			return nil
		}
		return rapid.SliceOfN(value, 0, 5).Draw(t, name)
	}
	f := &relational.Found{
		Op:  rapid.SampledFrom([]relational.Op{relational.OpCreated, relational.OpModified, relational.OpDeleted}).Draw(t, "op"),
		Why: relational.Why(rapid.Byte().Draw(t, "why")), Key: rapid.SliceOfN(rapid.Byte(), 0, 10).Draw(t, "key"), Live: row("live"), Base: row("base"),
	}
	if len(f.Live) > 0 && rapid.Bool().Draw(t, "changed is known") {
		f.Changed = rapid.SliceOfN(rapid.IntRange(0, len(f.Live)-1), 0, 5).Draw(t, "changed")
	}
	return f
}

// same tells what is different, but for lists that are empty in one way or another.
func sameFound(want, got *relational.Found) string {
	diff := ""
	if (want.Live == nil) != (got.Live == nil) || (want.Base == nil) != (got.Base == nil) || (want.Changed == nil) != (got.Changed == nil) {
		diff = "one is nil\n"
	}
	return diff + cmp.Diff(relational.AppendFound(nil, want), relational.AppendFound(nil, got))
}

func TestSpool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		spool, err := relational.NewSpool(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer spool.Close() //nolint:errcheck // a file that is gone anyway
		want := rapid.SliceOfN(rapid.Custom(drawFound), 0, 10).Draw(t, "rows")
		for _, f := range want {
			if err := spool.Add(f); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // as often as is asked
			n := 0
			err := spool.Each(func(f *relational.Found) error {
				if diff := sameFound(want[n], f); diff != "" {
					t.Fatalf("row %d: %s", n, diff)
				}
				n++
				return nil
			})
			if err != nil || n != len(want) || spool.Rows() != int64(n) {
				t.Fatalf("%d rows of %d, %v", n, len(want), err)
			}
		}
		stop := errors.New("stop")
		if err := spool.Each(func(*relational.Found) error { return stop }); len(want) > 0 && !errors.Is(err, stop) {
			t.Fatalf("it does not stop: %v", err)
		}
	})
}

// FuzzFound reads rows of anywhere: they are read as what they are written as again, or refused.
func FuzzFound(f *testing.F) {
	row := relational.AppendFound(nil, &relational.Found{
		Op: relational.OpModified, Key: []byte{1}, Live: []relational.Value{relational.IntValue(1), {}}, Base: []relational.Value{relational.TextValue("")}, Changed: []int{1},
	})
	f.Add(row)
	f.Add(row[:len(row)-1])
	f.Add(append(bytes.Clone(row), 0))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'c'})
	f.Add([]byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 'c'})
	f.Fuzz(func(t *testing.T, data []byte) {
		var again []byte
		err := relational.EachFound(bytes.NewReader(data), func(f *relational.Found) error {
			again = relational.AppendFound(again, f)
			return nil
		})
		if err != nil {
			if !errors.Is(err, drivers.ErrCorrupt) {
				t.Errorf("error %v", err)
			}
			return
		}
		// Numbers may be written in more ways than one; what they say is the same.
		if err := relational.EachFound(bytes.NewReader(again), func(*relational.Found) error { return nil }); err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("what was read cannot be read again: %v", err)
		}
	})
}
