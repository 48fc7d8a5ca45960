// Package ledger is the one authority on a run: what is ready, running, done, tried again or cancelled.
//
// The queue (package tasks/queue) carries one attempt at a time and may lose, repeat or reorder deliveries; the ledger
// decides what each delivery means. It lives in Redis, one Lua script per transition, each idempotent because clients
// repeat scripts by themselves. Coordinators call [Ledger.Create], [Ledger.State] and [Ledger.Cancel]; workers call
// [Ledger.Claim] and then [Ledger.Beat], [Ledger.Grow], [Ledger.Finish] or [Ledger.Fail]; both call [Ledger.Sweep]. The
// ledger knows nothing of what tasks do.
//
// # Rules
//
//   - Whoever claims a task gets a random token. Finish, fail, beat and grow carry it; a stale one is refused with
//     [ErrStale]. A finish by the last token counts while nobody has claimed since.
//   - A task that became ready stays in the outbox until it is claimed, not until it is enqueued. [Ledger.Sweep] names
//     what is overdue.
//   - An attempt without a beat for one lease becomes ready again; but if the previous sweep is older than half a lease
//     (Redis was away, nobody could beat), every attempt first gets a new lease.
//   - Time is Redis's own. No key expires. Sets, not counters, decide readiness. All keys share one hash tag.
//   - A script does a bounded part of what follows from a transition and leaves the rest in the run's todo. The caller
//     goes on with it; where the caller dies, the sweep does.
//
// # Keys
//
// All begin with "{<prefix><contract>}:". Of the ledger: runs, active (sets of runs), sweep (the time of the last),
// due (windows to look at, by time). Of a run, with r = "r:<run>":
//
//	r                    hash: st, hash of the plan, gen, n (the counter of attempts), policy, sums for display
//	r:plan               hash: the plan's JSON in pieces
//	r:steps, r:pending   all steps by their place in the plan; those that have not ended
//	r:S:<step>           hash: st, kind, node, epoch, closed, win, told (its end was told to others), ...
//	r:need:, r:then:     what a step still waits for; who waits for it
//	r:lets:, r:feeds:    gates that its end opens; steps that its tasks grow
//	r:spec:<step>        hash: the step's tasks, each a header line (flags, route, weight) and JSON
//	r:q:<step>           the chunks of waiting tasks, by their heaviest; r:c:<chunk>:<step> the tasks of one
//	r:live:<step>        the tasks that are out or run
//	r:fin:<step>         hash: token and result of finished tasks; r:done:<step> their order
//	r:t:<task>           hash of a task that is out or runs: st, att, tok, tries, deaths, ckpt, ...
//	r:gr:<task>          the steps that a task grows
//	r:out, r:beat        the outbox by time of emission; running attempts by the end of their lease
//	r:g:, r:gw:<gate>    the steps that are past a gate; those that wait before it
//	r:todo               what earlier transitions left to do
//	r:ev, r:fail, r:wk   events; failures; who finished how much
//	r:wreg, r:wins       shared windows that steps take part in now; or did ever
//
// A window is "@<id>" where runs share it, "<run> <step>" where it is a step's own: wh:<window> waiting steps, wo: what is
// out, wg: revoked attempts whose lease has not ended, wp: the growers' places, wl: limits.
package ledger
