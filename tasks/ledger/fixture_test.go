package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"salvor/internal/testenv"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a ledger in a Redis of its own, with the means to move its clock: leases and due times are in sorted sets.
type fixture struct {
	*ledger.Ledger
	t      tb
	rdb    *redis.Client
	prefix string
}

// servers runs a test on every kind of Redis that carries the ledger.
func servers(t *testing.T, f func(t *testing.T, rdb *redis.Client)) {
	t.Helper()
	t.Parallel()
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		f(t, miniClient(t))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		f(t, realClient(t))
	})
}

func miniClient(t testing.TB) *redis.Client {
	t.Helper()
	return client(t, &redis.Options{Addr: miniredis.RunT(t).Addr(), Protocol: 2})
}

func realClient(t testing.TB) *redis.Client {
	t.Helper()
	return client(t, &redis.Options{Addr: testenv.Redis(t).Addr()})
}

// options are those of a client, for another of the same server.
func options(rdb *redis.Client) *redis.Options {
	return &redis.Options{Addr: rdb.Options().Addr, Protocol: rdb.Options().Protocol}
}

func client(t testing.TB, o *redis.Options) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(o)
	t.Cleanup(func() {
		if err := rdb.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return rdb
}

// tb is what a fixture needs of a test, or of a drawn case.
type tb interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

func newFixture(t tb, rdb *redis.Client, o ledger.Options) *fixture {
	t.Helper()
	if o.Prefix == "" {
		o.Prefix = fmt.Sprintf("test-%x-", rand.Uint64())
	}
	if o.Backoff == nil {
		o.Backoff = func(int) time.Duration { return time.Hour }
	}
	return &fixture{Ledger: ledger.New(rdb, o), t: t, rdb: rdb, prefix: fmt.Sprintf("{%s%d}:", o.Prefix, tasks.Contract)}
}

func (f *fixture) key(run, suffix string) string { return f.prefix + "r:" + run + suffix }

// lapse ends the lease of a task's attempt.
func (f *fixture) lapse(run, task string) {
	f.t.Helper()
	if err := f.rdb.ZAddXX(f.t.Context(), f.key(run, ":beat"), redis.Z{Score: 1, Member: task}).Err(); err != nil {
		f.t.Fatalf("lapse %s: %v", task, err)
	}
}

// due makes everything in a run's outbox due.
func (f *fixture) due(run string) {
	f.t.Helper()
	f.scores(f.key(run, ":out"))
}

// lapseGhosts ends the leases of all revoked attempts in a shared window.
func (f *fixture) lapseGhosts(window string) {
	f.t.Helper()
	f.scores(f.prefix + "wg:@" + window)
	f.scores(f.prefix + "due")
}

func (f *fixture) scores(key string) {
	f.t.Helper()
	members, err := f.rdb.ZRangeWithScores(f.t.Context(), key, 0, -1).Result()
	if err != nil {
		f.t.Fatalf("read %s: %v", key, err)
	}
	for _, m := range members {
		if m.Score > 1e15 { // +inf: not a deadline
			continue
		}
		if err := f.rdb.ZAddXX(f.t.Context(), key, redis.Z{Score: 1, Member: m.Member}).Err(); err != nil {
			f.t.Fatalf("write %s: %v", key, err)
		}
	}
}

// sweep sweeps whoever swept last.
func (f *fixture) sweep() []ledger.Emission {
	f.t.Helper()
	if err := f.rdb.Del(f.t.Context(), f.prefix+"sweep").Err(); err != nil {
		f.t.Fatal(err)
	}
	out, err := f.Sweep(f.t.Context())
	if err != nil {
		f.t.Fatalf("sweep: %v", err)
	}
	return out
}

func (f *fixture) create(p tasks.Plan) []ledger.Emission {
	f.t.Helper()
	out, err := f.Create(f.t.Context(), p)
	if err != nil {
		f.t.Fatalf("create: %v", err)
	}
	return out
}

func (f *fixture) claim(e ledger.Emission) ledger.Claim {
	f.t.Helper()
	c, err := f.Claim(f.t.Context(), e.Run, e.Task, e.Attempt, "w1")
	if err != nil {
		f.t.Fatalf("claim %s: %v", e.Task, err)
	}
	return c
}

func (f *fixture) finish(c ledger.Claim) []ledger.Emission {
	f.t.Helper()
	out, err := f.Finish(f.t.Context(), c, result(c), tasks.Progress{Entries: 1, Bytes: 10})
	if err != nil {
		f.t.Fatalf("finish %s: %v", c.Task.ID, err)
	}
	return out
}

func (f *fixture) fail(c ledger.Claim, class tasks.Class) []ledger.Emission {
	f.t.Helper()
	out, err := f.Fail(f.t.Context(), c, tasks.Failure{Class: class, Message: "because " + string(class)})
	if err != nil {
		f.t.Fatalf("fail %s: %v", c.Task.ID, err)
	}
	return out
}

func (f *fixture) grow(c ledger.Claim, g ledger.Growth) []ledger.Emission {
	f.t.Helper()
	out, err := f.Grow(f.t.Context(), c, g)
	if err != nil {
		f.t.Fatalf("grow %s: %v", g.Step, err)
	}
	return out
}

func (f *fixture) beat(c ledger.Claim) ledger.Signal {
	f.t.Helper()
	s, err := f.Beat(f.t.Context(), c, tasks.Progress{})
	if err != nil {
		f.t.Fatalf("beat %s: %v", c.Task.ID, err)
	}
	return s
}

func (f *fixture) state(run string) ledger.RunState {
	f.t.Helper()
	s, err := f.State(f.t.Context(), run)
	if err != nil {
		f.t.Fatalf("state: %v", err)
	}
	return s
}

func (f *fixture) is(run string, want ledger.State) {
	f.t.Helper()
	if got := f.state(run).State; got != want {
		f.t.Fatalf("run is %s, want %s", got, want)
	}
}

// step returns a step of run r1.
func (f *fixture) step(id string) ledger.StepState {
	f.t.Helper()
	steps, err := f.Steps(f.t.Context(), "r1")
	if err != nil {
		f.t.Fatal(err)
	}
	i := slices.IndexFunc(steps, func(s ledger.StepState) bool { return s.ID == id })
	if i < 0 {
		f.t.Fatalf("no step %s", id)
	}
	return steps[i]
}

// stepIs holds a step of run r1 against the state it should be in.
func (f *fixture) stepIs(id, want string) {
	f.t.Helper()
	if got := f.step(id).State; got != want {
		f.t.Fatalf("step %s is %s, want %s", id, got, want)
	}
}

// results returns those of a step of run r1.
func (f *fixture) results(step string) map[string]string {
	f.t.Helper()
	out := map[string]string{}
	err := f.Results(f.t.Context(), "r1", step, func(task string, r json.RawMessage) error {
		if _, twice := out[task]; twice {
			f.t.Errorf("result of %s was yielded twice", task)
		}
		out[task] = string(r)
		return nil
	})
	if err != nil {
		f.t.Fatalf("results of %s: %v", step, err)
	}
	return out
}

// keys returns all keys of the ledger.
func (f *fixture) keys() []string {
	f.t.Helper()
	all, err := f.rdb.Keys(f.t.Context(), "*").Result()
	if err != nil {
		f.t.Fatal(err)
	}
	var own []string
	for _, k := range all {
		if strings.HasPrefix(k, f.prefix) && k != f.prefix+"sweep" {
			own = append(own, k)
		}
	}
	slices.Sort(own)
	return own
}

// forget forgets a run and looks for what was left behind.
func (f *fixture) forget(run string) {
	f.t.Helper()
	if err := f.Forget(f.t.Context(), run); err != nil {
		f.t.Fatalf("forget: %v", err)
	}
	if left := f.keys(); len(left) > 0 {
		f.t.Errorf("forget left keys: %v", left)
	}
	if _, err := f.State(f.t.Context(), run); !errors.Is(err, ledger.ErrNoRun) {
		f.t.Errorf("state of a forgotten run: %v", err)
	}
}

// runAll carries emissions out, and what they make ready, to the end.
func (f *fixture) runAll(ready []ledger.Emission) {
	f.t.Helper()
	for len(ready) > 0 {
		e := ready[0]
		ready = append(ready[1:], f.finish(f.claim(e))...)
	}
}

func result(c ledger.Claim) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"task":%q,"token":%q}`, c.Task.ID, c.Token))
}

func names(list []ledger.Emission) []string {
	out := []string{}
	for _, e := range list {
		out = append(out, e.Task)
	}
	return out
}

func wantNames(t testing.TB, list []ledger.Emission, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, names(list)); diff != "" {
		t.Fatalf("emissions (-want +got):\n%s", diff)
	}
}

// plan makes a plan of steps, filled with what the tests do not care about.
func plan(run string, steps ...tasks.Step) tasks.Plan {
	return tasks.Plan{
		Contract: tasks.Contract, Run: run, Operation: tasks.OpDump, Archive: "/a", Set: "s", Dump: "d", OnError: tasks.OnErrorStop, Steps: steps,
	}
}

// step makes a step with as many tasks as names follow.
func step(id string, needs []string, ids ...string) tasks.Step {
	s := tasks.Step{ID: id, Kind: tasks.KindPart, Node: "n/" + id, Needs: needs}
	for _, name := range ids {
		s.Tasks = append(s.Tasks, tasks.Task{ID: name, Kind: tasks.KindPart, Node: "n/" + id, Spec: json.RawMessage(`{"index":1}`)})
	}
	return s
}

func needs(ids ...string) []string { return ids }

func someTasks(prefix string, n int) []tasks.Task {
	var out []tasks.Task
	for i := range n {
		out = append(out, tasks.Task{ID: fmt.Sprintf("%s%05d", prefix, i), Kind: tasks.KindPart, Weight: 1})
	}
	return out
}

// flaky loses replies and requests on the way to Redis.
type flaky struct {
	lose func() (before, after bool)
	lost atomic.Int64
}

func (h *flaky) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *flaky) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "evalsha" && cmd.Name() != "eval" {
			return next(ctx, cmd)
		}
		before, after := h.lose()
		if before {
			h.lost.Add(1)
			cmd.SetErr(&net.OpError{Op: "write", Err: io.ErrClosedPipe})
			return cmd.Err()
		}
		err := next(ctx, cmd)
		if after && (err == nil || errors.Is(err, redis.Nil)) {
			h.lost.Add(1)
			cmd.SetErr(io.EOF)
			return cmd.Err()
		}
		return err
	}
}

func (h *flaky) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
