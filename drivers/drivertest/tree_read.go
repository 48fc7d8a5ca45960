package drivertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
)

func testTreeAbsent(s treeTest) {
	t, h := s.t, s.harness
	if h.Absent == nil {
		t.Skip("a restore creates no places")
	}
	place := h.Absent(t)
	tree := h.open(t, place)
	err := tree.Walk(t.Context(), drivers.Range{}, func(e drivers.Entry) error {
		t.Errorf("an absent place has the entry %q", e.Path)
		return nil
	})
	expectError(t, "walk an absent place", err, drivers.ErrNotFound)
	if _, err := tree.Open(t.Context(), h.file("a", 1)); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("open in an absent place: got error %v, want %q", err, drivers.ErrNotFound)
	}
	for _, rules := range []drivers.Target{careful, overwrite, mirror} {
		if err := tree.Target().Check(t.Context(), rules); err != nil {
			t.Errorf("check an absent place: %v", err)
		}
	}
	err = tree.Walk(t.Context(), drivers.Range{}, func(drivers.Entry) error { return nil })
	expectError(t, "walk an absent place that was checked", err, drivers.ErrNotFound)
	before, err := tree.Identities(t.Context())
	if err != nil || len(before) == 0 {
		t.Fatalf("identities of an absent place: %q, %v", before, err)
	}
	if err := tree.Target().Prepare(t.Context(), drivers.Target{Run: "r"}); err != nil {
		t.Fatalf("prepare: %v", err)
	}
	walk(t, tree, drivers.Range{})
	after, err := h.open(t, place).Identities(t.Context())
	if err != nil {
		t.Fatalf("identities: %v", err)
	}
	if !share(before, after) {
		t.Errorf("a place is another one once it is there: %q, %q", before, after)
	}
}

func share(a, b []string) bool {
	return slices.ContainsFunc(a, func(text string) bool { return slices.Contains(b, text) })
}

func testTreeIdentities(s treeTest) {
	t, h := s.t, s.harness
	place, other := h.Empty(t), h.Empty(t)
	var ids [3][]string
	for i, p := range []string{place, place, other} {
		var err error
		if ids[i], err = h.open(t, p).Identities(t.Context()); err != nil {
			t.Fatalf("identities: %v", err)
		}
	}
	if !share(ids[0], ids[1]) {
		t.Errorf("one place has different identities: %q, %q", ids[0], ids[1])
	}
	if share(ids[0], ids[2]) {
		t.Errorf("two places share an identity: %q, %q", ids[0], ids[2])
	}
}

func testTreeOrder(s treeTest) {
	t, h := s.t, s.harness
	place, paths := h.odd(t)
	tree := h.open(t, place)
	if diff := cmp.Diff(paths, pathsOf(walk(t, tree, drivers.Range{}))); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	for path, text := range contents(t, tree) {
		if path != text {
			t.Errorf("%q holds the content of %q", path, text)
		}
	}
}

func testTreeRanges(s treeTest) {
	t, h := s.t, s.harness
	place, paths := h.odd(t)
	tree := h.open(t, place)
	// Bounds between paths, too: what is not there may be a bound.
	bounds := slices.Clone(paths)
	for _, path := range paths {
		bounds = append(bounds, path+"/", path+"0", path+"-", path+"\x00", strings.TrimSuffix(path, "b"))
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same at every run
	for range 100 {
		cuts := []string{""}
		for range random.IntN(6) {
			cuts = append(cuts, bounds[random.IntN(len(bounds))])
		}
		slices.Sort(cuts)
		cuts = slices.Compact(cuts)
		var got []string
		for i, from := range cuts {
			r := drivers.Range{From: from}
			if i+1 < len(cuts) {
				r.To = cuts[i+1]
			}
			got = append(got, pathsOf(walk(t, tree, r))...)
		}
		if diff := cmp.Diff(paths, got); diff != "" {
			t.Fatalf("ranges cut at %q (-want +got):\n%s", cuts, diff)
		}
	}
}

func testTreeOnePath(s treeTest) {
	t, h := s.t, s.harness
	place, paths := h.odd(t)
	tree := h.open(t, place)
	for _, path := range paths {
		if e := mustFind(t, tree, path); e.Path != path {
			t.Errorf("looked for %q, found %q", path, e.Path)
		}
	}
	for _, path := range []string{"nothing", "a/nothing", "nothing/a", "a-b/x"} {
		if e, ok := find(t, tree, path); ok {
			t.Errorf("looked for %q, found %q", path, e.Path)
		}
	}
}

func testTreeYieldError(s treeTest) {
	t, h := s.t, s.harness
	place, paths := h.odd(t)
	tree := h.open(t, place)
	stop := errors.New("stop")
	for _, after := range []int{1, 2, len(paths) / 2, len(paths)} {
		n := 0
		err := tree.Walk(t.Context(), drivers.Range{}, func(drivers.Entry) error {
			if n++; n == after {
				return stop
			}
			return nil
		})
		if err != stop || n != after { //nolint:errorlint // as it is, says the contract
			t.Errorf("yield stopped at entry %d: walk went to %d and returned %v", after, n, err)
		}
	}
}

func testTreeWalkCancel(s treeTest) {
	t, h := s.t, s.harness
	place, _ := h.odd(t)
	tree := h.open(t, place)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := tree.Walk(ctx, drivers.Range{}, func(drivers.Entry) error {
		if n++; n == 3 {
			cancel()
		}
		return nil
	})
	expectError(t, "walk cancelled on the way", err, context.Canceled)
	if n > 4 {
		t.Errorf("walk went on for %d entries after it was cancelled", n-3)
	}
	err = tree.Walk(ctx, drivers.Range{}, func(e drivers.Entry) error {
		t.Errorf("a cancelled walk yields %q", e.Path)
		return nil
	})
	expectError(t, "walk cancelled before", err, context.Canceled)
	_, err = tree.Open(ctx, h.file("a-b", 3))
	expectError(t, "open cancelled before", err, context.Canceled)
}

func testTreeContent(s treeTest) {
	t, h := s.t, s.harness
	place := h.Empty(t)
	want := make(map[string]string)
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same at every run
	for name, size := range map[string]int{"empty": 0, "one": 1, "page": 4096, "odd": 4097, "large": 3<<20 + 11} {
		data := make([]byte, size)
		for i := range data {
			data[i] = "0123456789abcdef"[random.IntN(16)]
		}
		h.Write(t, place, name, data)
		want[name] = string(data)
	}
	tree := h.open(t, place)
	got := contents(t, tree)
	for name, data := range want {
		if got[name] != data {
			t.Errorf("%s: content differs (%d bytes, want %d)", name, len(got[name]), len(data))
		}
	}
	// Twice at the same time, in small pieces, and closed before the end.
	entry := mustFind(t, tree, "large")
	first, err := tree.Open(t.Context(), entry)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	second, err := tree.Open(t.Context(), entry)
	if err != nil {
		t.Fatalf("open again: %v", err)
	}
	for _, content := range []drivers.Content{first, second} {
		if _, err := content.Next(); err != nil {
			t.Fatalf("next: %v", err)
		}
		head := make([]byte, 100)
		if _, err := io.ReadFull(content, head); err != nil || string(head) != want["large"][:100] {
			t.Errorf("the first bytes differ, or error %v", err)
		}
	}
	_ = first.Close() // means nothing, says the contract
	rest := make([]byte, 50)
	if _, err := io.ReadFull(second, rest); err != nil || string(rest) != want["large"][100:150] {
		t.Errorf("the next bytes differ after another reader was closed, or error %v", err)
	}
	_ = second.Close() // means nothing, says the contract
}

func testTreeOpenGone(s treeTest) {
	t, h := s.t, s.harness
	place := h.Empty(t)
	h.Write(t, place, "dir/gone", []byte("x"))
	tree := h.open(t, place)
	entry := mustFind(t, tree, "dir/gone")
	h.Remove(t, place, "dir/gone")
	_, err := tree.Open(t.Context(), entry)
	expectError(t, "open what is gone", err, drivers.ErrNotFound)
	_, err = tree.Open(t.Context(), h.file("no/such/file", 1))
	expectError(t, "open what never was", err, drivers.ErrNotFound)
	entry.Size = drivers.AnySize
	_, err = tree.Open(t.Context(), entry)
	expectError(t, "open what is gone, in any state", err, drivers.ErrNotFound)
}

func testTreeOpenChanged(s treeTest) {
	t, h := s.t, s.harness
	place := h.Empty(t)
	h.Write(t, place, "file", []byte("before"))
	tree := h.open(t, place)
	entry := mustFind(t, tree, "file")
	h.Write(t, place, "file", []byte("afterwards"))
	content, err := tree.Open(t.Context(), entry)
	if err == nil {
		_, err = drain(content)
		if errClose := content.Close(); err == nil {
			err = errClose
		}
	}
	expectError(t, "read a file that changed since it was looked at", err, drivers.ErrChanged)
}

// testTreeOpenAny opens a file in whatever state it is by now.
func testTreeOpenAny(s treeTest) {
	t, h := s.t, s.harness
	place := h.Empty(t)
	h.Write(t, place, "file", []byte("before"))
	tree := h.open(t, place)
	entry := mustFind(t, tree, "file")
	entry.Size = drivers.AnySize
	for _, text := range []string{"before", "afterwards", "AFTERWARDS", "less", ""} {
		h.Write(t, place, "file", []byte(text))
		content, err := tree.Open(t.Context(), entry)
		if err != nil {
			t.Fatalf("open a file of %d bytes: %v", len(text), err)
		}
		data, err := drain(content)
		if errClose := content.Close(); err == nil {
			err = errClose
		}
		if err != nil || string(data) != text {
			t.Errorf("got %q, %v; want %q", data, err, text)
		}
	}
}

func testTreeChangedWhileRead(s treeTest) {
	t, h := s.t, s.harness
	before, after := bytes.Repeat([]byte("before\n"), 1<<18), bytes.Repeat([]byte("after!\n"), 1<<18)
	for name, second := range map[string][]byte{"same length": after, "shorter": after[:100], "longer": append(after, '!')} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := h.Empty(t)
			h.Write(t, place, "file", before)
			tree := h.open(t, place)
			content, err := tree.Open(t.Context(), mustFind(t, tree, "file"))
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			extent, err := content.Next()
			if err != nil || extent.Hole {
				t.Fatalf("next: %+v, %v", extent, err)
			}
			head := make([]byte, 1000)
			if _, err := io.ReadFull(content, head); err != nil {
				t.Fatalf("read: %v", err)
			}
			h.Write(t, place, "file", second)
			rest, err := io.ReadAll(onlyReader{content})
			if err == nil {
				var more []byte
				more, err = drain(content)
				rest = append(rest, more...)
			}
			if errClose := content.Close(); err == nil {
				err = errClose
			}
			// A source that goes on giving the old state is right, too.
			if err == nil && bytes.Equal(append(head, rest...), before) {
				return
			}
			expectError(t, "read a file while it changes", err, drivers.ErrChanged)
		})
	}
}

func testTreeVersion(s treeTest) {
	t, h := s.t, s.harness
	place := h.Empty(t)
	h.Write(t, place, "file", []byte("before"))
	tree := h.open(t, place)
	first := mustFind(t, tree, "file")
	if again := mustFind(t, h.open(t, place), "file"); first.Version != "" && again.Version != first.Version {
		t.Errorf("version of an untouched file: first %q, then %q", first.Version, again.Version)
	}
	h.Write(t, place, "file", []byte("AFTER!")) // of the same length
	if second := mustFind(t, tree, "file"); second.Version != "" && second.Version == first.Version {
		t.Errorf("version %q stands for two contents", first.Version)
	}
}
