package merging

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// CheckSpec refuses a merge whose name, or whose plan's, could not be a part of a statement.
func CheckSpec(spec relational.MergeSpec) error {
	for _, text := range []string{spec.ID, spec.Plan} {
		odd := func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != ':'
		}
		if text == "" || len(text) > 80 || strings.ContainsFunc(text, odd) {
			return fmt.Errorf("merge %.100q of plan %.100q: %w: letters, digits, dashes and colons only", spec.ID, spec.Plan, drivers.ErrInvalid)
		}
	}
	return nil
}

// InUse tells that the target is another merge's.
func InUse(why string) error {
	return drivers.WithHint(fmt.Errorf("%w: %s", relational.ErrInUse, why), "wait for it, resume it, or undo it")
}

// AtWork tells that another process merges into the target.
func AtWork() error { return InUse("it is at work") }

// Taken judges by the rows of the table Run, of id, plan and the number of units that are done, whether the target is this merge's
// already. Where it is not, and there is no error, the caller takes it.
func Taken(spec relational.MergeSpec, rows [][]string) (ours bool, err error) {
	if len(rows) == 1 {
		id, plan, begun := rows[0][0], rows[0][1], rows[0][2] != "0"
		switch {
		case id == spec.ID && plan == spec.Plan:
			return true, nil
		case begun && id == spec.ID:
			return false, fmt.Errorf("a part of another plan was written: %w", relational.ErrTargetMoved)
		case begun:
			return false, InUse("the merge " + id + " has written a part of it")
		}
	}
	if spec.Join {
		return false, InUse("it is not this merge's")
	}
	return false, nil
}

// TakenSQL asks for the rows that Taken judges by.
func TakenSQL(run, done string) string {
	return "SELECT id, plan, (SELECT COUNT(*) FROM " + done + ") FROM " + run
}

// Place is a table's in the model, by which its staging table is named; -1 for one that the model lacks.
func Place(m *relational.Model, t *relational.Table) int {
	for i, other := range m.Tables {
		if other.Name == t.Name {
			return i
		}
	}
	return -1
}

// Units reads the units that are done out of the rows of the table Done.
func Units(rows [][]string, err error) ([]int, error) {
	if err != nil {
		return nil, fmt.Errorf("list what is done: %w", err)
	}
	units := make([]int, len(rows))
	for i, r := range rows {
		if units[i], err = strconv.Atoi(r[0]); err != nil {
			return nil, fmt.Errorf("list what is done: %w", err)
		}
	}
	return units, nil
}

// Pool keeps sessions that changes are staged by, for whoever stages next. It is used by any number of goroutines.
type Pool[C any] struct {
	// Open makes a session, Shut ends one.
	Open func(context.Context) (C, error)
	Shut func(context.Context, C)

	mu    sync.Mutex
	spare []C
}

// With lends a session to f; one that f failed with is ended.
func (p *Pool[C]) With(ctx context.Context, f func(C) error) error {
	c, err := p.take(ctx)
	if err != nil {
		return err
	}
	if err := f(c); err != nil {
		p.Shut(ctx, c)
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spare = append(p.spare, c)
	return nil
}

func (p *Pool[C]) take(ctx context.Context) (c C, err error) {
	p.mu.Lock()
	if n := len(p.spare); n > 0 {
		c, p.spare = p.spare[n-1], p.spare[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	return p.Open(ctx)
}

// Close ends the sessions that nobody uses.
func (p *Pool[C]) Close(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.spare {
		p.Shut(ctx, c)
	}
	p.spare = nil
}
