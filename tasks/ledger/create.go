package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"salvor/tasks"
)

// How much one call of a script carries at most. A script that runs longer than its caller waits would be repeated for
// ever.
const (
	chunkTasks = 250
	chunkWords = 2500
	chunkBytes = 1 << 20
	planPiece  = 256 << 10
	// firstGrown is greater than the number of any chunk of a plan: chunks that are grown come after them.
	firstGrown = 50_000_000
)

// Create stores a plan and starts its run. It returns the attempts that are ready; the caller sends them.
//
// It is idempotent by the plan: a second call with the same one completes what the first began, and does nothing where
// that is complete. Another plan with the run's id gives [ErrExists]. A plan that [Validate] refuses gives its error. After
// any other error the run may be there, not started: repeat the call, or Cancel and Forget the run.
func (l *Ledger) Create(ctx context.Context, plan tasks.Plan) ([]Emission, error) {
	if err := Validate(plan); err != nil {
		return nil, fmt.Errorf("plan of run %s: %w", plan.Run, err)
	}
	data, err := json.Marshal(plan)
	if err != nil {
		return nil, fmt.Errorf("encode plan of run %s: %w", plan.Run, err)
	}
	policy := plan.OnError
	if policy == "" {
		policy = tasks.OnErrorStop
	}
	sum := sha256.Sum256(data)
	r, err := l.eval(ctx, createScript, plan.Run, hex.EncodeToString(sum[:]), random(4), string(policy))
	if r.text(0) == "started" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("create run %s: %w", plan.Run, err)
	}
	w := putter{ledger: l, run: plan.Run}
	count, weight, err := w.plan(ctx, plan, data)
	if errors.Is(err, errStarted) {
		return nil, nil // another process with the same plan was faster
	}
	if err != nil {
		return nil, fmt.Errorf("store plan of run %s: %w", plan.Run, err)
	}
	r, err = l.eval(ctx, startScript, plan.Run, count, weight)
	if err != nil {
		return nil, fmt.Errorf("start run %s: %w", plan.Run, err)
	}
	return l.rest(ctx, plan.Run, r), nil
}

// putter collects writes and sends them in scripts that refuse once the run has started, so that a slow second creator
// cannot disturb it.
type putter struct {
	ledger *Ledger
	run    string
	args   []any
	bytes  int
	chunk  int // of waiting tasks, numbered through the plan
}

func (w *putter) key(suffix string) string { return w.ledger.runKey(w.run, suffix) }

var errStarted = errors.New("run has started")

// put collects commands that are sent together.
func (w *putter) put(ctx context.Context, commands ...[]string) error {
	for _, words := range commands {
		w.args = append(w.args, len(words))
		for _, word := range words {
			w.args = append(w.args, word)
			w.bytes += len(word)
		}
	}
	if len(w.args) >= chunkWords || w.bytes >= chunkBytes {
		return w.flush(ctx)
	}
	return nil
}

func (w *putter) flush(ctx context.Context) error {
	if len(w.args) == 0 {
		return nil
	}
	values, err := putScript.Run(ctx, w.ledger.rdb, []string{w.ledger.runKey(w.run, "")}, w.args...).Slice()
	if err != nil {
		return err
	}
	w.args, w.bytes = w.args[:0], 0
	if reply(values).text(0) == "started" {
		return errStarted
	}
	return reply(values).status()
}

// plan stores everything. All writes can be repeated.
func (w *putter) plan(ctx context.Context, plan tasks.Plan, data []byte) (count int, weight int64, err error) {
	key := w.key
	i := 0
	for piece := range slices.Chunk(data, planPiece) {
		if err := w.put(ctx, []string{"HSET", key(":plan"), strconv.Itoa(i), string(piece)}); err != nil {
			return 0, 0, err
		}
		i++
	}
	flags, owner := roles(plan)
	for i, s := range plan.Steps {
		if err := w.step(ctx, s, i, owner); err != nil {
			return 0, 0, err
		}
		if weight, err = w.tasks(ctx, s, flags, weight); err != nil {
			return 0, 0, err
		}
		count += len(s.Tasks)
	}
	for _, s := range plan.Steps {
		if len(s.Needs) == 0 {
			if err := w.put(ctx, []string{"RPUSH", key(":todo"), "open " + s.ID}); err != nil {
				return 0, 0, err
			}
		}
	}
	return count, weight, w.flush(ctx)
}

// tasks stores a step's tasks and adds their weights to sum. What waits is kept in chunks, heaviest first.
func (w *putter) tasks(ctx context.Context, s tasks.Step, flags map[string]string, sum int64) (int64, error) {
	list := make([]packedTask, 0, len(s.Tasks))
	for _, t := range s.Tasks {
		p, err := pack(t, flags[t.ID])
		if err != nil {
			return 0, err
		}
		list = append(list, p)
		sum += p.weight
	}
	byRank(list)
	for len(list) > 0 {
		n, size := 0, 0
		specs := []string{"HSET", w.key(":spec:" + s.ID)}
		chunk := fmt.Sprintf("%08d", w.chunk)
		waiting := w.key(":c:" + chunk + ":" + s.ID)
		push := []string{"RPUSH", waiting}
		for ; n < len(list) && n < chunkTasks && size < chunkBytes; n++ {
			p := list[n]
			specs = append(specs, p.id, p.text)
			push = append(push, strconv.FormatInt(p.rank, 10)+" "+p.id)
			size += len(p.text)
		}
		w.chunk++
		err := w.put(ctx, specs, []string{"DEL", waiting}, push,
			[]string{"ZADD", w.key(":q:" + s.ID), strconv.FormatInt(-list[0].rank, 10), chunk})
		if err != nil {
			return 0, err
		}
		list = list[n:]
	}
	return sum, nil
}

// roles returns each task's flag and step.
func roles(plan tasks.Plan) (flags, owner map[string]string) {
	flags, owner = make(map[string]string), make(map[string]string)
	for _, s := range plan.Steps {
		for _, t := range s.Tasks {
			flags[t.ID], owner[t.ID] = "-", s.ID
		}
	}
	for _, s := range plan.Steps {
		switch {
		case s.Holder != "":
			flags[s.Holder] = "h"
		case s.Grower != "" && flags[s.Grower] == "-":
			flags[s.Grower] = "g"
		}
	}
	return flags, owner
}

func (w *putter) step(ctx context.Context, s tasks.Step, index int, owner map[string]string) error {
	key := w.key
	place := strconv.Itoa(index)
	closed, tolerant := "1", "0"
	if s.Grower != "" {
		closed = "0"
	}
	if s.Tolerant {
		tolerant = "1"
	}
	gate := tasks.Gate{}
	if s.Gate != nil {
		gate = *s.Gate
	}
	commands := [][]string{
		{
			"HSET", key(":S:" + s.ID), "st", "waiting", "kind", string(s.Kind), "node", s.Node, "tolerant", tolerant,
			"grower", s.Grower, "holder", s.Holder, "gate", gate.Name, "glimit", strconv.Itoa(gate.Limit), "until", gate.Until,
			"epoch", "1", "closed", closed, "win", w.run + " " + s.ID, "chunks", strconv.Itoa(firstGrown),
		},
		{"ZADD", key(":steps"), place, s.ID},
		{"SADD", key(":pending"), s.ID},
	}
	for _, need := range s.Needs {
		commands = append(commands, []string{"SADD", key(":need:" + s.ID), need}, []string{"ZADD", key(":then:" + need), place, s.ID})
	}
	if s.Gate != nil {
		commands = append(commands, []string{"SADD", key(":lets:" + gate.Until), gate.Name + unit + s.ID})
	}
	if s.Grower != "" {
		commands = append(commands,
			[]string{"SADD", key(":gr:" + s.Grower), s.ID},
			[]string{"SADD", key(":feeds:" + owner[s.Grower]), s.ID})
	}
	for part := range slices.Chunk(commands, chunkTasks) {
		if err := w.put(ctx, part...); err != nil {
			return err
		}
	}
	return nil
}
