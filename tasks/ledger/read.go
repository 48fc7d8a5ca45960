package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"salvor/tasks"
)

// State is what a run is doing.
type State string

// The states of a run.
const (
	StateCreating   State = "creating"   // its plan is being stored
	StateRunning    State = "running"    // work is given out
	StateStopping   State = "stopping"   // a task failed; what runs is ending
	StateCancelling State = "cancelling" // it was cancelled; what runs is ending
	StateDone       State = "done"       // all steps are done
	StatePartial    State = "partial"    // it ended, with steps that failed or could not be reached
	StateFailed     State = "failed"     // it stopped after a failure
	StateCancelled  State = "cancelled"  // it was cancelled
)

// Terminal tells whether the run has ended: no attempt of it lives.
func (s State) Terminal() bool {
	return s == StateDone || s == StatePartial || s == StateFailed || s == StateCancelled
}

// RunState is how a run stands.
type RunState struct {
	State State
	// Failures are the first 100 of FailureCount.
	Failures     []tasks.Failure
	FailureCount int
	// Tasks and Weight count what is known so far: steps may still grow.
	Tasks, TasksDone   int
	Weight, WeightDone int64
	// Entries and Bytes are what finished tasks did and running ones report.
	Entries, Bytes int64
	Live           int // attempts that run
	StartedAt      time.Time
	EndedAt        time.Time // zero until the run is terminal
	Epochs         int       // views that were opened again
	Retries        int
	Deaths         int // attempts that were lost with their worker
}

// hash reads numbers from a Redis hash.
type hash map[string]string

func (h hash) int64(field string) int64 {
	n, _ := strconv.ParseInt(h[field], 10, 64)
	return n
}

func (h hash) int(field string) int { return int(h.int64(field)) }

func (h hash) time(field string) time.Time {
	if h[field] == "" {
		return time.Time{}
	}
	return time.UnixMilli(h.int64(field)).UTC()
}

// State returns how a run stands. [ErrNoRun] if Redis was emptied.
func (l *Ledger) State(ctx context.Context, run string) (RunState, error) {
	var fields *redis.MapStringStringCmd
	var failures, live *redis.StringSliceCmd
	_, err := l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		fields = p.HGetAll(ctx, l.runKey(run, ""))
		failures = p.LRange(ctx, l.runKey(run, ":fail"), 0, -1)
		live = p.ZRange(ctx, l.runKey(run, ":beat"), 0, -1)
		return nil
	})
	if err != nil {
		return RunState{}, fmt.Errorf("read run %s: %w", run, err)
	}
	h := hash(fields.Val())
	if len(h) == 0 {
		return RunState{}, fmt.Errorf("read run %s: %w", run, ErrNoRun)
	}
	s := RunState{
		State: State(h["st"]), FailureCount: h.int("failures"),
		Tasks: h.int("tasks"), TasksDone: h.int("tasks_done"), Weight: h.int64("weight"), WeightDone: h.int64("weight_done"),
		Entries: h.int64("entries"), Bytes: h.int64("bytes"), Live: len(live.Val()),
		StartedAt: h.time("started"), EndedAt: h.time("ended"),
		Epochs: h.int("epochs"), Retries: h.int("retries"), Deaths: h.int("deaths"),
	}
	for _, f := range failures.Val() {
		s.Failures = append(s.Failures, unpackFailure(f))
	}
	return s, l.addProgress(ctx, run, live.Val(), &s)
}

// addProgress adds what running attempts reported.
func (l *Ledger) addProgress(ctx context.Context, run string, live []string, s *RunState) error {
	for part := range slices.Chunk(live, readAtOnce) {
		cmds, err := l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, task := range part {
				p.HMGet(ctx, l.runKey(run, ":t:"+task), "e", "b")
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read progress of run %s: %w", run, err)
		}
		for _, cmd := range cmds {
			if c, ok := cmd.(*redis.SliceCmd); ok {
				v := reply(c.Val())
				h := hash{"e": v.text(0), "b": v.text(1)}
				s.Entries += h.int64("e")
				s.Bytes += h.int64("b")
			}
		}
	}
	return nil
}

// readAtOnce is how many things one round trip reads.
const readAtOnce = 500

// StepState is how a step stands.
type StepState struct {
	ID   string
	Kind tasks.Kind
	Node string
	// State is waiting, gated (ready, but its gate is full), open, failing (what runs of it is ending), done, failed or
	// unreachable.
	State string
	Epoch int
	// Closed tells that no more tasks will be added.
	Closed      bool
	Tasks, Done int
	// Outstanding are tasks that are not done, Live those of them that are out or run.
	Outstanding, Live  int
	OpenedAt, EndedAt  time.Time
	Weight, WeightDone int64 // of tasks that were added while the run ran
}

// Steps returns all steps of a run, in the order of the plan.
func (l *Ledger) Steps(ctx context.Context, run string) ([]StepState, error) {
	ids, err := l.rdb.ZRange(ctx, l.runKey(run, ":steps"), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("read steps of run %s: %w", run, err)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("read steps of run %s: %w", run, ErrNoRun)
	}
	out := make([]StepState, 0, len(ids))
	for part := range slices.Chunk(ids, readAtOnce) {
		states, err := l.readSteps(ctx, run, part)
		if err != nil {
			return nil, fmt.Errorf("read steps of run %s: %w", run, err)
		}
		out = append(out, states...)
	}
	return out, nil
}

func (l *Ledger) readSteps(ctx context.Context, run string, ids []string) ([]StepState, error) {
	type read struct {
		fields           *redis.MapStringStringCmd
		tasks, done, out *redis.IntCmd
	}
	reads := make([]read, 0, len(ids))
	_, err := l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range ids {
			reads = append(reads, read{
				p.HGetAll(ctx, l.runKey(run, ":S:"+id)), p.HLen(ctx, l.runKey(run, ":spec:"+id)),
				p.LLen(ctx, l.runKey(run, ":done:"+id)), p.SCard(ctx, l.runKey(run, ":live:"+id)),
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]StepState, 0, len(ids))
	for i, r := range reads {
		h := hash(r.fields.Val())
		all, done := int(r.tasks.Val()), int(r.done.Val())
		out = append(out, StepState{
			ID: ids[i], Kind: tasks.Kind(h["kind"]), Node: h["node"], State: h["st"], Epoch: h.int("epoch"), Closed: h["closed"] == "1",
			Tasks: all, Done: done, Outstanding: all - done, Live: int(r.out.Val()),
			OpenedAt: h.time("opened"), EndedAt: h.time("ended"), Weight: h.int64("weight"), WeightDone: h.int64("weight_done"),
		})
	}
	return out, nil
}

// Results calls yield for every finished task of a step in its current epoch, once each, in the order in which they
// finished, and stops at yield's first error. It gives [ErrStale] if the step gets a new epoch meanwhile: what was
// yielded is void then. Memory does not grow with the number of tasks.
func (l *Ledger) Results(ctx context.Context, run, step string, yield func(task string, result json.RawMessage) error) error {
	epoch, err := l.epoch(ctx, run, step)
	if err != nil {
		return fmt.Errorf("read results of step %s: %w", step, err)
	}
	for start := int64(0); ; start += readAtOnce {
		ids, err := l.rdb.LRange(ctx, l.runKey(run, ":done:"+step), start, start+readAtOnce-1).Result()
		if err != nil {
			return fmt.Errorf("read results of step %s: %w", step, err)
		}
		var results []any
		if len(ids) > 0 {
			if results, err = l.rdb.HMGet(ctx, l.runKey(run, ":fin:"+step), ids...).Result(); err != nil {
				return fmt.Errorf("read results of step %s: %w", step, err)
			}
		}
		if now, err := l.epoch(ctx, run, step); err != nil || now != epoch {
			return fmt.Errorf("read results of step %s: %w", step, errors.Join(err, ErrStale))
		}
		for i, id := range ids {
			text := reply(results).text(i)
			if len(text) < tokenDigits {
				return fmt.Errorf("read results of step %s: task %s has none", step, id)
			}
			if err := yield(id, json.RawMessage(text[tokenDigits:])); err != nil {
				return err
			}
		}
		if len(ids) < readAtOnce {
			return nil
		}
	}
}

const tokenDigits = 32

func (l *Ledger) epoch(ctx context.Context, run, step string) (string, error) {
	epoch, err := l.rdb.HGet(ctx, l.runKey(run, ":S:"+step), "epoch").Result()
	if !errors.Is(err, redis.Nil) {
		return epoch, err
	}
	if n, err := l.rdb.Exists(ctx, l.runKey(run, "")).Result(); err != nil || n == 0 {
		return "", errors.Join(err, ErrNoRun)
	}
	return "", fmt.Errorf("run %s has no step %s", run, step)
}

// Plan returns the plan of a run.
func (l *Ledger) Plan(ctx context.Context, run string) (tasks.Plan, error) {
	var plan tasks.Plan
	pieces, err := l.rdb.HGetAll(ctx, l.runKey(run, ":plan")).Result()
	if err != nil {
		return plan, fmt.Errorf("read plan of run %s: %w", run, err)
	}
	if len(pieces) == 0 {
		return plan, fmt.Errorf("read plan of run %s: %w", run, ErrNoRun)
	}
	var text strings.Builder
	for i := range len(pieces) {
		text.WriteString(pieces[strconv.Itoa(i)])
	}
	if err := json.Unmarshal([]byte(text.String()), &plan); err != nil {
		return plan, fmt.Errorf("decode plan of run %s: %w", run, err)
	}
	return plan, nil
}

// Runs returns the ids of all runs that the ledger has, sorted: with UUIDv7 by age.
func (l *Ledger) Runs(ctx context.Context) ([]string, error) {
	runs, err := l.rdb.SMembers(ctx, l.key("runs")).Result()
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	slices.Sort(runs)
	return runs, nil
}

// WorkerCount is how many tasks of one kind of one node a worker finished.
type WorkerCount struct {
	Worker string     `json:"worker"`
	Node   string     `json:"node,omitempty"`
	Kind   tasks.Kind `json:"kind"`
	Tasks  int        `json:"tasks"`
	// Host is the host name that the worker was started with; "" if it was started with none.
	Host string `json:"host,omitempty"`
}

// Workers returns who finished how much of a run, sorted. Tasks that were finished in an earlier epoch count too: they
// were done.
func (l *Ledger) Workers(ctx context.Context, run string) ([]WorkerCount, error) {
	fields, err := l.rdb.HGetAll(ctx, l.runKey(run, ":wk")).Result()
	if err != nil {
		return nil, fmt.Errorf("read workers of run %s: %w", run, err)
	}
	out := make([]WorkerCount, 0, len(fields))
	for field, count := range fields {
		words := strings.Split(field, unit)
		n, err := strconv.Atoi(count)
		if err != nil || len(words) != 4 {
			return nil, fmt.Errorf("read workers of run %s: field %q is %q", run, field, count)
		}
		out = append(out, WorkerCount{Worker: words[0], Node: words[1], Kind: tasks.Kind(words[2]), Host: words[3], Tasks: n})
	}
	slices.SortFunc(out, func(a, b WorkerCount) int {
		return strings.Compare(a.Worker+unit+a.Node+unit+string(a.Kind), b.Worker+unit+b.Node+unit+string(b.Kind))
	})
	return out, nil
}

// Event is something notable that happened in a run.
type Event struct {
	// ID orders the events of a run.
	ID string
	At time.Time
	// Kind is "start", "step open", "step done", "step failed", "step unreachable", "retry", "failed" (a task, for good),
	// "death", "epoch", "stopping", "cancelling" or "end".
	Kind    string
	Step    string
	Task    string
	Node    string // of a task's event
	Worker  string
	Message string // an error, an epoch's number or a run's state
}

// Events returns at most limit events after the one with that id ("" for the first), oldest first. Of a long run only the
// last few thousand are kept.
func (l *Ledger) Events(ctx context.Context, run, after string, limit int) ([]Event, error) {
	from := "-"
	if after != "" {
		from = "(" + after
	}
	messages, err := l.rdb.XRangeN(ctx, l.runKey(run, ":ev"), from, "+", int64(limit)).Result()
	if err != nil {
		return nil, fmt.Errorf("read events of run %s: %w", run, err)
	}
	if len(messages) == 0 {
		if n, err := l.rdb.Exists(ctx, l.runKey(run, "")).Result(); err != nil || n == 0 {
			return nil, fmt.Errorf("read events of run %s: %w", run, errors.Join(err, ErrNoRun))
		}
	}
	out := make([]Event, 0, len(messages))
	for _, m := range messages {
		text := func(field string) string {
			s, _ := m.Values[field].(string)
			return s
		}
		ms, _, _ := strings.Cut(m.ID, "-")
		e := Event{
			ID: m.ID, At: time.UnixMilli(hash{"at": ms}.int64("at")).UTC(), Kind: text("k"),
			Step: text("s"), Task: text("t"), Worker: text("w"), Message: text("m"),
		}
		if e.Kind == "retry" || e.Kind == "failed" {
			f := unpackFailure(e.Message)
			e.Message, e.Node = f.Message, f.Node
		}
		out = append(out, e)
	}
	return out, l.addNodes(ctx, run, out)
}

// addNodes fills in the nodes of tasks' events that do not carry them.
func (l *Ledger) addNodes(ctx context.Context, run string, events []Event) error {
	nodes := make(map[string]*redis.StringCmd)
	_, err := l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, e := range events {
			if e.Task != "" && e.Node == "" && nodes[e.Step] == nil {
				nodes[e.Step] = p.HGet(ctx, l.runKey(run, ":S:"+e.Step), "node")
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("read events of run %s: %w", run, err)
	}
	for i, e := range events {
		if cmd := nodes[e.Step]; cmd != nil && e.Task != "" && e.Node == "" {
			events[i].Node = cmd.Val()
		}
	}
	return nil
}
