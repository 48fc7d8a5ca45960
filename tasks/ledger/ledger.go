package ledger

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"salvor/tasks"
)

// Errors of the ledger's methods. None of them is helped by trying again.
var (
	// ErrStale is returned by Claim, Beat, Grow, Finish and Fail: the token or the attempt is not the current one.
	// Somebody else has the task or it is done. Drop the work and report nothing.
	ErrStale = errors.New("attempt is not the current one")
	// ErrNoRun is returned by every method that names a run: the ledger does not have it. It was forgotten, or Redis was
	// emptied.
	ErrNoRun = errors.New("ledger has no such run")
	// ErrOver is returned by Claim and Grow: the run ends or has ended and takes no new work.
	ErrOver = errors.New("run takes no new work")
	// ErrExists is returned by Create: another plan has the run's id.
	ErrExists = errors.New("run exists with another plan")
	// ErrHeld is returned by Finish: a step that the task holds has not ended. Wait for [Signal].Release.
	ErrHeld = errors.New("a step that the task holds has not ended")
	// ErrClosed is returned by Grow: the step is closed and has no such task.
	ErrClosed = errors.New("step is closed")
	// ErrNotGrower is returned by Grow: the plan does not let this task grow that step.
	ErrNotGrower = errors.New("task does not grow the step")
	// ErrNotOver is returned by Forget: something of the run may still live. Cancel it first.
	ErrNotOver = errors.New("run is not over")

	errAnswer = errors.New("unknown answer of a script")
)

// Options are a ledger's settings. All processes that share a Redis must use the same. Zero fields have defaults.
type Options struct {
	// Prefix begins the name of every key, together with the contract's version. Default "salvor".
	Prefix string
	// Lease is how long an attempt lives without a beat. Default 30 s.
	Lease time.Duration
	// Beat is how often a running attempt should beat. Default 5 s.
	Beat time.Duration
	// ReEmit is how long an emission may stay unclaimed before the sweep names it again. Default 5 s.
	ReEmit time.Duration
	// Tries is the number of attempts of a task that may end Transient; the last of them fails it. Default 5.
	Tries int
	// Deaths is the number of attempts of a task that may be lost with their worker; the last of them fails it.
	// Default 10.
	Deaths int
	// Epochs is how often a holder's view may be lost; the last time fails it. Default 5.
	Epochs int
	// Backoff is the wait after the try of that number, from 1, failed. Default: twice as long each time from about a second
	// to a minute, with jitter.
	Backoff func(try int) time.Duration
}

func (o Options) withDefaults() Options {
	if o.Prefix == "" {
		o.Prefix = "salvor"
	}
	if o.Lease <= 0 {
		o.Lease = 30 * time.Second
	}
	if o.Beat <= 0 {
		o.Beat = 5 * time.Second
	}
	if o.ReEmit <= 0 {
		o.ReEmit = 5 * time.Second
	}
	if o.Tries <= 0 {
		o.Tries = 5
	}
	if o.Deaths <= 0 {
		o.Deaths = 10
	}
	if o.Epochs <= 0 {
		o.Epochs = 5
	}
	if o.Backoff == nil {
		o.Backoff = backoff
	}
	return o
}

func backoff(try int) time.Duration {
	d := time.Minute
	if try < 7 {
		d = time.Second << max(try-1, 0)
	}
	return d/2 + mrand.N(d) //nolint:gosec // jitter needs no secrecy
}

// Ledger is a client of the ledger in a Redis. It holds no state of runs and is safe for concurrent use.
//
// Methods that report an attempt's work (Claim, Grow, Finish, Fail) go on trying while Redis cannot be reached, until
// their context ends; the others return the error.
type Ledger struct {
	rdb    redis.UniversalClient
	o      Options
	prefix string
	host   string
}

// New makes a client. It does not talk to Redis and does not close rdb.
func New(rdb redis.UniversalClient, o Options) *Ledger {
	o = o.withDefaults()
	return &Ledger{rdb: rdb, o: o, prefix: "{" + o.Prefix + strconv.Itoa(tasks.Contract) + "}:"}
}

// ForHost returns a client like this one whose claims are told to be of that host.
func (l *Ledger) ForHost(host string) *Ledger {
	c := *l
	c.host = host
	return &c
}

// Options returns the settings, defaults filled in.
func (l *Ledger) Options() Options { return l.o }

// Emission is an attempt that became ready and must be carried to a worker.
type Emission struct {
	Run  string
	Task string
	// Attempt names the attempt, uniquely in the run: a random generation and a number.
	Attempt string
	Route   tasks.Route
}

func (l *Ledger) key(name string) string           { return l.prefix + name }
func (l *Ledger) runKey(run, suffix string) string { return l.prefix + "r:" + run + suffix }

// reply is a script's answer: a status, then values.
type reply []any

func (r reply) text(i int) string {
	if i >= len(r) {
		return ""
	}
	switch v := r[i].(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	default:
		return ""
	}
}

func (r reply) number(i int) int {
	if i >= len(r) {
		return 0
	}
	n, _ := r[i].(int64)
	return int(n)
}

// status turns the first value into an error.
func (r reply) status() error {
	switch s := r.text(0); s {
	case "ok":
		return nil
	case "stale":
		return ErrStale
	case "norun":
		return ErrNoRun
	case "over":
		return ErrOver
	case "exists":
		return ErrExists
	case "held":
		return ErrHeld
	case "closed":
		return ErrClosed
	case "notgrower":
		return ErrNotGrower
	default:
		return fmt.Errorf("%w: %q", errAnswer, s)
	}
}

// emissions decodes groups of run, task, attempt and header from the i-th value on.
func (r reply) emissions(i int) []Emission {
	var out []Emission
	for ; i+3 < len(r); i += 4 {
		out = append(out, Emission{Run: r.text(i), Task: r.text(i + 1), Attempt: r.text(i + 2), Route: unpackRoute(r.text(i + 3))})
	}
	return out
}

// eval runs a script with the arguments that core.lua describes.
func (l *Ledger) eval(ctx context.Context, script *redis.Script, run string, args ...any) (reply, error) {
	all := append(make([]any, 0, 4+len(args)), l.prefix, l.o.Lease.Milliseconds(), l.o.ReEmit.Milliseconds(), run)
	all = append(all, args...)
	values, err := script.Run(ctx, l.rdb, []string{l.runKey(run, "")}, all...).Slice()
	if err != nil {
		return nil, err
	}
	return values, reply(values).status()
}

// persist runs a script until Redis answers it or ctx ends.
func (l *Ledger) persist(ctx context.Context, script *redis.Script, run string, args ...any) (reply, error) {
	const soonest, latest = 20 * time.Millisecond, time.Second
	var last error // why Redis did not answer; once ctx has ended the answer is but that
	for wait := soonest; ; wait = min(2*wait, latest) {
		r, err := l.eval(ctx, script, run, args...)
		if err == nil || !away(err) {
			return r, err
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("%w; last: %w", context.Cause(ctx), last)
		case <-timer.C:
		}
	}
}

// away tells whether an error means that Redis cannot do it now, rather than that it will not.
func away(err error) bool {
	if _, answered := errors.AsType[redis.Error](err); !answered {
		return !errors.Is(err, redis.ErrClosed) && !isStatus(err)
	}
	return redis.IsLoadingError(err) || redis.IsReadOnlyError(err) || redis.IsClusterDownError(err) || redis.IsTryAgainError(err) ||
		redis.IsMasterDownError(err) || redis.IsMaxClientsError(err) || redis.IsNoReplicasError(err) || redis.IsOOMError(err) ||
		redis.HasErrorPrefix(err, "MISCONF") || redis.HasErrorPrefix(err, "BUSY")
}

func isStatus(err error) bool {
	for _, known := range []error{ErrStale, ErrNoRun, ErrOver, ErrExists, ErrHeld, ErrClosed, ErrNotGrower, errAnswer} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// rest goes on with a run's todo, of which a transition did a part, and adds what it emits. Where it fails the sweep goes
// on, so the transition stands and its emissions are returned.
func (l *Ledger) rest(ctx context.Context, run string, r reply) []Emission {
	out := r.emissions(2)
	for r.number(1) == 1 {
		var err error
		if r, err = l.eval(ctx, advanceScript, run); err != nil {
			break
		}
		out = append(out, r.emissions(2)...)
	}
	return out
}

// random returns n random bytes as hexadecimal digits.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails: the documentation says so
	return hex.EncodeToString(b)
}
