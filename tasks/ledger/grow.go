package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"salvor/tasks"
)

// Window bounds the tasks of a source that are out at once, over all steps and runs that name its ID. The smallest Limit of
// those counts. Tasks beyond it wait in the ledger, heavier ones first.
type Window struct {
	// ID names the source; "" is the step's own window of 256.
	ID string
	// Limit is the greatest number of tasks out at once; 0 means 256.
	Limit int
	// HolderCounts adds a place for the grower until it ends. Beside growers there is always a place for one task, whatever
	// the limit.
	HolderCounts bool
}

// Growth adds tasks to a step.
type Growth struct {
	Step string
	// Tasks are those to add; one that the step has already is left as it is.
	Tasks []tasks.Task
	// Checkpoint, if not nil, is stored with the tasks and given to the next attempt of the grower, should there be one.
	Checkpoint json.RawMessage
	// Close says that these are the last.
	Close bool
	// Window is that of the step, from now on; the zero value leaves it as it is.
	Window Window
}

// AtomicGrowth is the number of tasks that [Ledger.Grow] stores together with the checkpoint. A larger growth is stored in
// pieces, the checkpoint with the last: a grower whose next attempt might list other tasks must not grow by more at once.
const AtomicGrowth = chunkTasks

const (
	defaultLimit = 256
	largestLimit = 1 << 20
)

// Grow adds tasks to a step that the claimed task grows, and returns what became ready. It counts as a beat. Repeating it is
// harmless. Errors: [ErrNotGrower], [ErrClosed], [ErrOver]. What is added to a step that has failed is dropped.
func (l *Ledger) Grow(ctx context.Context, c Claim, g Growth) ([]Emission, error) {
	var out []Emission
	head := []any{c.Task.ID, c.Token, g.Step}
	window := []any{g.Window.ID, min(g.Window.Limit, largestLimit), 0}
	if g.Window.Limit <= 0 {
		window[1] = defaultLimit
	}
	if g.Window.HolderCounts {
		window[2] = 1
	}
	rest := g.Tasks
	for {
		var args []any
		var err error
		if args, rest, err = chunk(rest); err != nil {
			return out, fmt.Errorf("grow step %s: %w", g.Step, err)
		}
		ckpt, closing := []byte(nil), 0
		if len(rest) == 0 {
			ckpt = g.Checkpoint
			if g.Close {
				closing = 1
			}
		}
		all := append(append(append([]any{}, head...), ckpt, closing), window...)
		r, err := l.persist(ctx, growScript, c.Run, append(all, args...)...)
		if err != nil {
			return out, fmt.Errorf("grow step %s: %w", g.Step, err)
		}
		out = append(out, l.rest(ctx, c.Run, r)...)
		if len(rest) == 0 {
			return out, nil
		}
	}
}

// chunk encodes as many tasks as one call carries, heaviest first, and returns the others.
func chunk(list []tasks.Task) (args []any, rest []tasks.Task, err error) {
	var words []packedTask
	size := 0
	for i, t := range list {
		if i == chunkTasks || size >= chunkBytes {
			rest = list[i:]
			break
		}
		if err := validTask(t); err != nil {
			return nil, nil, err
		}
		p, err := pack(t, "-")
		if err != nil {
			return nil, nil, err
		}
		words = append(words, p)
		size += len(p.text)
	}
	byRank(words)
	for _, p := range words {
		args = append(args, p.id, p.text, strconv.FormatInt(p.rank, 10))
	}
	return args, rest, nil
}
