package workers

import (
	"math/rand/v2"
	"testing"

	"salvor/drivers"
)

// TestRing: no two spans share a byte, whatever the order in which they are given back, and an empty ring has all its room.
func TestRing(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	const size = 100
	r := ring{size: size}
	var used [size]bool
	mark := func(s *span, to bool) {
		for i := s.from; i < s.to; i++ {
			if used[i] == to {
				t.Fatalf("byte %d of [%d,%d) is used: %v already", i, s.from, s.to, to)
			}
			used[i] = to
		}
	}
	var out []*span
	wrapped := 0
	for range 100_000 {
		if n := random.IntN(40); random.IntN(3) > 0 {
			if s, ok := r.take(n); ok {
				if s.to-s.from != max(n, 1) {
					t.Fatalf("%d bytes were asked for, [%d,%d) were given", n, s.from, s.to)
				}
				if len(out) > 0 && s.from == 0 {
					wrapped++
				}
				mark(s, true)
				out = append(out, s)
			}
			continue
		}
		if len(out) > 0 {
			i := random.IntN(min(len(out), 3))
			mark(out[i], false)
			r.give(out[i])
			out = append(out[:i], out[i+1:]...)
		}
	}
	if wrapped == 0 {
		t.Error("the ring never went round")
	}
	for _, s := range out {
		r.give(s)
	}
	if _, ok := r.take(size + 1); ok {
		t.Error("more was given than there is")
	}
	if s, ok := r.take(size); !ok || s.from != 0 {
		t.Error("an empty ring does not give all it has")
	}
	if _, ok := r.take(0); ok {
		t.Error("a full ring gives more")
	}
}

// bucketOf is a bucket that says how much it bears.
type bucketOf struct {
	drivers.Bucket
	atOnce int
}

func (b bucketOf) AtOnce() int { return b.atOnce }

func TestWindowKeepsTheLimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		tree        drivers.Tree
		limit, want int
	}{
		{bucketOf{atOnce: 16}, 0, 0},
		{bucketOf{atOnce: 16}, 16, 1},
		{bucketOf{atOnce: 16}, 40, 2},
		{bucketOf{atOnce: 3}, 3, 1},
		{struct{ drivers.Tree }{}, 3, 3},
	} {
		if got := windowOf(tt.limit, tt.tree); got != tt.want {
			t.Errorf("limit %d at %d together: %d tasks, want %d", tt.limit, atOnce(tt.tree), got, tt.want)
		}
	}
}
