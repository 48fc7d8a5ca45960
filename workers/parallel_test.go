package workers_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/archive"
	"salvor/drivers"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

func objects() tasks.Node { return tasks.Node{Name: "tree", Driver: "objects", Source: "tree"} }

// fill puts objects of many lengths into a place: none, some that fit in memory together, and one that is streamed.
func fill(p *place) {
	for i := range 600 {
		p.put(fmt.Sprintf("%03d", i), strings.Repeat(fmt.Sprintf("%d,", i), i), "v")
	}
	for i := range 6 { // together more than is read ahead
		p.put(fmt.Sprintf("big/%d", i), strings.Repeat(fmt.Sprintf("%015d\n", i), (3<<20)/16), "v")
	}
	p.put("empty", "", "v")
	p.put("huge", strings.Repeat("0123456789abcdef", (5<<20)/16), "v")
}

func contents(p *place) map[string]string {
	all := map[string]string{}
	for path, f := range p.files {
		all[path] = f.data
	}
	return all
}

// TestObjectsAreReadAndPutTogether holds each opening and putting until as many have come together as the driver says.
func TestObjectsAreReadAndPutTogether(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{0, 3} {
		t.Run(fmt.Sprintf("limit %d", limit), func(t *testing.T) {
			t.Parallel()
			want := 8
			if limit > 0 {
				want = limit
			}
			b := newBench(t)
			b.worker(t, "w1")
			source := b.site.place("tree")
			fill(source)
			source.opening = newCrowd(want)
			node := objects()
			node.Limit = limit
			dump := b.dumpPlan(t, tasks.OnErrorStop, "", node)
			if s := b.run(t, dump); s.State != ledger.StateDone {
				t.Fatalf("dump ended %+v", s)
			}
			if n := source.opening.greatest(); n < want || n > want+1 { // one more is the large object
				t.Errorf("%d objects were open at the same time, want %d", n, want)
			}
			if m := b.manifest(t, dump, "set/tree"); m.Entries != int64(len(source.files)) || m.Unreadable != 0 || m.Vanished != 0 {
				t.Errorf("manifest says %+v", m)
			}
			if v, err := b.archive.Verify(t.Context(), nil, archive.VerifyOptions{}); err != nil || !v.OK() {
				t.Errorf("archive: %+v, %v", v, err)
			}
			target := b.site.place("new")
			target.putting = newCrowd(want)
			nodes := into("set/tree", "objects", "new")
			restore := b.restorePlan(t, dump, tasks.Restore{Nodes: nodes})
			if s := b.run(t, restore); s.State != ledger.StateDone {
				t.Fatalf("restore ended %+v", s)
			}
			if n := target.putting.greatest(); n != want {
				t.Errorf("%d objects were put at the same time, want %d", n, want)
			}
			if diff := cmp.Diff(contents(source), contents(target)); diff != "" {
				t.Errorf("restored (-want +got):\n%.2000s", diff)
			}

			// All is there: the check and the loads compare, several at the same time, too.
			target.opening = newCrowd(want)
			again := b.restorePlan(t, dump, tasks.Restore{Nodes: nodes})
			if s := b.run(t, again); s.State != ledger.StateDone {
				t.Fatalf("second restore ended %+v", s)
			}
			if r := results[tasks.NodeResult](t, b, again.Run, "finish:set/tree")[0]; r.Equal != int64(len(source.files)) || r.Entries != 0 {
				t.Errorf("second restore said %+v", r)
			}
			if n := target.opening.greatest(); n < want {
				t.Errorf("%d objects were compared at the same time, want %d", n, want)
			}
		})
	}
}

// TestStateOfWhatNeverHoldsStill: what is said of it is no more than what the driver left open.
func TestStateOfWhatNeverHoldsStill(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		driver string
		err    error
		tries  int
		want   string
	}{
		{"files", drivers.ErrChanged, 100, "may mix two states"},
		{"files", errCut, 100, "may mix two states"},
		{"files", drivers.ErrChanged, 3, "is one state of it"},
		{"objects", drivers.ErrChanged, 100, "may mix two states"},
		{"objects", errCut, 100, "the beginning of one state of it"},
		{"objects", drivers.ErrChanged, 3, "is one state of it"},
	} {
		b := newBench(t)
		b.worker(t, "w1")
		tree := b.site.place("tree")
		tree.put("a", "whole", "v")
		tree.onOpen = map[string]func(*place, int) error{"a": func(_ *place, try int) error {
			if try <= tt.tries {
				return tt.err
			}
			return nil
		}}
		dump := b.dumpPlan(t, tasks.OnErrorStop, "", tasks.Node{Name: "tree", Driver: tt.driver, Source: "tree"})
		if s := b.run(t, dump); s.State != ledger.StateDone {
			t.Fatalf("dump ended %+v", s)
		}
		if e := b.entries(t, dump)["a"]; !strings.Contains(e.Err, tt.want) || strings.Contains(e.Err, "mix") != strings.Contains(tt.want, "mix") {
			t.Errorf("%s, %v in %d tries: %q, want %q", tt.driver, tt.err, tt.tries, e.Err, tt.want)
		}
	}
}

// TestFaultsAmongObjects: what ends a task ends it for all that is read or put beside it.
func TestFaultsAmongObjects(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	source := b.site.place("tree")
	fill(source)
	whole := maps.Clone(source.files)
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", objects())
	if s := b.run(t, dump); s.State != ledger.StateDone {
		t.Fatalf("dump ended %+v", s)
	}
	source.onOpen = map[string]func(*place, int) error{"300": func(*place, int) error { panic("a fault of the driver") }}
	s := b.run(t, b.dumpPlan(t, tasks.OnErrorStop, "", objects()))
	if s.State != ledger.StateFailed || !strings.Contains(s.Failures[0].Message, "a fault of the driver") {
		t.Errorf("dump ended %+v", s)
	}

	target := b.site.place("new")
	target.onPut = func(path string) error {
		if path == "300" {
			return fmt.Errorf("put: %w", drivers.ErrNoSpace)
		}
		return nil
	}
	restore := b.restorePlan(t, dump, tasks.Restore{Nodes: into("set/tree", "objects", "new")})
	if s := b.run(t, restore); s.State != ledger.StateFailed || s.Failures[0].Code != "no_space" {
		t.Errorf("restore ended %+v", s)
	}
	target.onPut = func(path string) error {
		if path == "300" {
			panic("a fault of the driver")
		}
		return nil
	}
	restore = b.restorePlan(t, dump, tasks.Restore{Nodes: into("set/tree", "objects", "new")})
	if s := b.run(t, restore); s.State != ledger.StateFailed || !strings.Contains(s.Failures[0].Message, "a fault of the driver") {
		t.Errorf("restore ended %+v", s)
	}

	// What a target refuses of each is listed in the order of the paths.
	target.onPut = func(path string) error {
		if strings.HasPrefix(path, "30") {
			return fmt.Errorf("put: %w", drivers.ErrInvalid)
		}
		return nil
	}
	clear(target.files)
	restore = b.restorePlan(t, dump, tasks.Restore{Nodes: into("set/tree", "objects", "new")})
	if s := b.run(t, restore); s.State != ledger.StateDone {
		t.Fatalf("restore ended %+v", s)
	}
	r := results[tasks.NodeResult](t, b, restore.Run, "finish:set/tree")[0]
	var paths []string
	for _, p := range r.Problems {
		paths = append(paths, p.Path)
	}
	if want := []string{"300", "301", "302", "303", "304", "305", "306", "307", "308", "309"}; !cmp.Equal(want, paths) || r.Unreadable != 10 ||
		r.Entries != int64(len(whole)-10) {
		t.Errorf("restore said %d entries, %d failed: %q", r.Entries, r.Unreadable, paths)
	}
}
