package workers

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"salvor/drivers"
	"salvor/tasks"
)

// group is what the views of a group that is frozen together know of each other.
type group struct {
	size             int32
	getting          atomic.Int32
	ready            atomic.Int32
	taking           atomic.Int32
	all, ring        chan struct{} // closed when all get ready at a time, and when all take their moment at a time
	early            atomic.Int32  // moments that were taken before all were ready
	viewed, ended    atomic.Int32
	failReady, lossy string
}

func newGroup(size int32) *group {
	return &group{size: size, all: make(chan struct{}), ring: make(chan struct{})}
}

// meet returns when as many have come as there are.
func meet(ctx context.Context, n *atomic.Int32, size int32, met chan struct{}) error {
	if n.Add(1) == size {
		close(met)
	}
	select {
	case <-met:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// plainStream opens its view in one step.
type plainStream struct {
	drivers.Stream
	group *group
	name  string
}

func (*plainStream) Identities(context.Context) ([]string, error) { return nil, nil }

func (s *plainStream) Freeze(context.Context) (drivers.View, error) {
	s.group.checkReady()
	return groupView{}, nil
}

func (g *group) checkReady() {
	if g.ready.Load() != g.size {
		g.early.Add(1)
	}
}

type punctualStream struct{ plainStream }

func (s *punctualStream) GetReady(ctx context.Context) (drivers.Ready, error) {
	if s.name == s.group.failReady {
		return nil, errors.New("locked")
	}
	if err := meet(ctx, &s.group.getting, s.group.size, s.group.all); err != nil {
		return nil, err
	}
	s.group.ready.Add(1)
	return &groupReady{s}, nil
}

type groupReady struct{ s *punctualStream }

func (r *groupReady) Take(ctx context.Context) error {
	r.s.group.checkReady()
	return meet(ctx, &r.s.group.taking, r.s.group.size, r.s.group.ring)
}

func (r *groupReady) View(context.Context) (drivers.View, error) {
	if r.s.name == r.s.group.lossy {
		return nil, drivers.ErrViewLost
	}
	r.s.group.viewed.Add(1)
	return groupView{}, nil
}

func (r *groupReady) End(context.Context) { r.s.group.ended.Add(1) }

type groupView struct{ drivers.View }

func (groupView) Facts() json.RawMessage { return nil }

func (g *group) nodes(names ...string) []*held {
	var all []*held
	for _, name := range names {
		var s drivers.Stream = &punctualStream{plainStream{group: g, name: name}}
		if strings.HasPrefix(name, "plain") {
			s = &plainStream{group: g, name: name}
		}
		all = append(all, &held{FreezeNode: tasks.FreezeNode{Node: name}, source: s, stream: s})
	}
	return all
}

// TestOpenTogether lets each view of a group wait for the others, where it gets ready and where it takes its moment: one after
// the other they would wait for ever. The moments come when all are ready.
func TestOpenTogether(t *testing.T) {
	t.Parallel()
	g := newGroup(3)
	all := g.nodes("a", "plain1", "b", "c", "plain2")
	if err := openTogether(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if n := g.early.Load(); n > 0 || g.viewed.Load() != 3 {
		t.Errorf("%d views were opened before all were ready; %d of 3 were opened", n, g.viewed.Load())
	}
	for _, h := range all {
		if h.view == nil || h.frozen.Skew <= 0 || h.frozen.Skew != all[0].frozen.Skew || h.frozen.Started.IsZero() {
			t.Errorf("node %s: view %v, %+v", h.Node, h.view, h.frozen)
		}
	}

	// One that cannot get ready ends the waiting of the others.
	g = newGroup(3)
	g.failReady = "b"
	if err := openTogether(t.Context(), g.nodes("a", "b", "c")); err == nil || !strings.Contains(err.Error(), "freeze node b: locked") {
		t.Errorf("a node that is locked: %v", err)
	}
	g = newGroup(2)
	g.lossy = "a"
	if err := openTogether(t.Context(), g.nodes("a", "b")); !errors.Is(err, drivers.ErrViewLost) {
		t.Errorf("a moment of no use: %v", err)
	}
}
