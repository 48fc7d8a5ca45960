package ledger

import (
	"context"
	"errors"
	"fmt"
)

// sweepCalls bounds how much one sweep does for one run; the next goes on.
const sweepCalls = 1000

// Sweep looks at all runs: it takes back tasks whose attempt has not beaten for a lease, goes on with what dead callers
// left, ends runs of which nothing lives, and returns what must be sent: retries that are due, and attempts that nobody has
// claimed for [Options].ReEmit. Of these some may be on their way: sending them again is a conflict, to be looked into.
//
// Every worker and coordinator calls it each ReEmit; of calls that follow each other within half of that only the first
// does anything. What it returns together with an error is to be sent too.
func (l *Ledger) Sweep(ctx context.Context) ([]Emission, error) {
	r, err := l.eval(ctx, turnScript, "", l.o.ReEmit.Milliseconds()/2)
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	if r.number(1) == 0 {
		return nil, nil
	}
	n := r.number(2)
	out := r.emissions(3 + n)
	var failed error
	for i := range n {
		run := r.text(3 + i)
		emissions, err := l.sweepRun(ctx, run)
		out = append(out, emissions...)
		if err != nil && !errors.Is(err, ErrNoRun) {
			failed = errors.Join(failed, fmt.Errorf("sweep run %s: %w", run, err))
			if ctx.Err() != nil {
				break
			}
		}
	}
	return out, failed
}

func (l *Ledger) sweepRun(ctx context.Context, run string) ([]Emission, error) {
	var out []Emission
	for call := range sweepCalls {
		first := 0
		if call == 0 {
			first = 1
		}
		r, err := l.eval(ctx, sweepScript, run, l.o.Deaths, l.o.Epochs, first)
		if err != nil {
			return out, err
		}
		out = append(out, r.emissions(2)...)
		if r.number(1) == 0 {
			break
		}
	}
	return out, nil
}
