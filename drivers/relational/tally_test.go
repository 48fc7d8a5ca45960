package relational_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"pgregory.net/rapid"

	"salvor/drivers/relational"
)

// TestTally: in memory and in a file the counts are the same, and nothing is left.
func TestTally(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		budget := rapid.SampledFrom([]int64{0, 200, 1 << 20}).Draw(t, "budget")
		tally := relational.NewTally(dir, budget)
		want := map[string]int64{}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			key := rapid.SampledFrom([]string{"", "\x00", "a", "b", "c", "dd", "\xff\xff"}).Draw(t, "key")
			delta := rapid.Int64Range(-2, 2).Draw(t, "delta")
			want[key] += delta
			got, err := tally.Add(ctx, []byte(key), delta)
			if err != nil || got != want[key] {
				t.Fatalf("%q: %d, want %d: %v", key, got, want[key], err)
			}
		}
		for key, n := range want {
			if got, err := tally.Count(ctx, []byte(key)); err != nil || got != n {
				t.Fatalf("%q: %d, want %d: %v", key, got, n, err)
			}
		}
		for range 2 {
			if err := tally.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestTallySpills(t *testing.T) {
	t.Parallel()
	tally := relational.NewTally(t.TempDir(), 100)
	ctx, cancel := context.WithCancel(t.Context())
	for _, key := range []string{"a", "b"} {
		if _, err := tally.Add(ctx, []byte(key), 1); err != nil {
			t.Fatal(err)
		}
	}
	if !tally.Spilled() {
		t.Error("nothing is in a file")
	}
	cancel()
	if _, err := tally.Add(ctx, []byte("c"), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("add after a cancel: %v", err)
	}
	if n, err := tally.Count(t.Context(), []byte("a")); n != 1 || err != nil {
		t.Errorf("a key after a cancel: %d, %v", n, err)
	}
	if err := tally.Close(); err != nil {
		t.Error(err)
	}
	if tally := relational.NewTally("/nonexistent", 0); tally != nil {
		if _, err := tally.Add(t.Context(), []byte("a"), 1); err == nil {
			t.Error("a file is made in a directory that is not there")
		}
	}
}

// TestTallyGrows: a file of more keys than it was made for has all of them, and their counts.
func TestTallyGrows(t *testing.T) {
	t.Parallel()
	tally := relational.NewTally(t.TempDir(), 0)
	defer func() {
		if err := tally.Close(); err != nil {
			t.Error(err)
		}
	}()
	const keys = 20_000
	key := func(i int) []byte { return fmt.Appendf(nil, "key %d", i) }
	for round := range 3 {
		for i := range keys {
			delta := int64(i)
			if round == 1 && i%3 == 0 {
				delta = -delta // as often as it was added
			}
			if _, err := tally.Add(t.Context(), key(i), delta); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range keys {
		want := int64(3 * i)
		if i%3 == 0 {
			want = int64(i)
		}
		if n, err := tally.Count(t.Context(), key(i)); err != nil || n != want {
			t.Fatalf("key %d counts %d, want %d: %v", i, n, want, err)
		}
	}
	if n, err := tally.Count(t.Context(), []byte("none")); n != 0 || err != nil {
		t.Errorf("a key that is not there counts %d: %v", n, err)
	}
}
