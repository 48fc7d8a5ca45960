package rows_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"salvor/drivers"
	"salvor/drivers/internal/rows"
)

func TestKey(t *testing.T) {
	t.Parallel()
	if got := rows.Key("a.b", "c/d%"); got != "a%2Eb.c%2Fd%25" {
		t.Errorf("Key = %s", got)
	}
}

func TestDigestDoesNotCareAboutOrder(t *testing.T) {
	t.Parallel()
	var a, b rows.Digest
	a.Write([]byte("one\ntwo\nthree\n"))
	for _, piece := range []string{"thr", "ee\no", "ne\ntw", "o", "\n"} {
		b.Write([]byte(piece))
	}
	if a.Counts() != b.Counts() || a.Rows() != 3 || !b.Whole() || a.Difference("t", &b) != "" {
		t.Errorf("%v, %v", a.Counts(), b.Counts())
	}
	b.Write([]byte("one\n"))
	if got := b.Difference("t", &a); got != "t: 4 rows, the dump has 3" {
		t.Errorf("Difference = %q", got)
	}
	var sum rows.Digest
	for _, piece := range []string{"two\n", "one\nthree\n"} {
		var d rows.Digest
		d.Write([]byte(piece))
		if err := sum.AddText(d.String(), d.Rows()); err != nil {
			t.Fatal(err)
		}
	}
	if sum.Counts() != a.Counts() {
		t.Errorf("sum = %v, want %v", sum.Counts(), a.Counts())
	}
	if err := sum.AddText("md5:00", 1); err == nil {
		t.Error("a digest of another method was added")
	}
}

type objects struct {
	bytes.Buffer
	sizes  []int
	counts []drivers.Counts
}

func (o *objects) Split(c drivers.Counts) error {
	o.sizes, o.counts = append(o.sizes, o.Len()), append(o.counts, c)
	return nil
}

func TestSinkSplitsBetweenRows(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("123456789\n", 1000)
	for _, piece := range []int{1, 7, 10, 4096, len(text)} {
		var out objects
		s := rows.NewSink(&out, 995)
		for rest := []byte(text); len(rest) > 0; {
			n := min(piece, len(rest))
			if err := s.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := s.Flush(); err != nil || out.String() != text || len(out.sizes) != 9 || out.sizes[0] != 1000 || out.counts[8].Rows != 100 || s.Counts().Rows != 100 {
			t.Errorf("pieces of %d: %v, objects end at %v, the last has %v", piece, err, out.sizes, s.Counts())
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestSinkKeepsTheWritersError(t *testing.T) {
	t.Parallel()
	want := errors.New("full")
	s := rows.NewSink(failing{want}, 10)
	if err := errors.Join(s.Write([]byte("a\n")), s.Flush()); !errors.Is(err, want) || s.Err() != want { //nolint:errorlint // the contract: as it is
		t.Errorf("err = %v, Err = %v", err, s.Err())
	}
}
