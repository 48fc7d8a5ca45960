package workers

import (
	"context"
	"fmt"
	"sync"

	"salvor/drivers"
)

// views are the consistent views that this process holds or has joined, so that parts find them.
type views struct {
	mu     sync.Mutex
	open   map[viewKey]anyView
	joined map[viewKey]*joinedView

	joining sync.WaitGroup
}

// anyView is one that is read by parts ([drivers.View]) or by rows (relational.View).
type anyView interface {
	End(ctx context.Context) error
}

type viewKey struct {
	life, node string // of the run, see [ledger.Claim.Life]
	epoch      int
}

func (v *views) put(key viewKey, view anyView) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open == nil {
		v.open = make(map[viewKey]anyView)
	}
	v.open[key] = view
}

// get returns a view, or [drivers.ErrViewLost] if this process does not hold it (any more).
func (v *views) get(key viewKey) (anyView, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	view, ok := v.open[key]
	if !ok {
		return nil, fmt.Errorf("view of node %s: %w", key.node, drivers.ErrViewLost)
	}
	return view, nil
}

func (v *views) drop(key viewKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.open, key)
}
