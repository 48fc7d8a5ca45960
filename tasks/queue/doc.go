// Package queue carries attempts from the ledger to workers, with asynq.
//
// asynq gives queues, concurrency and delivery; what a delivery means is decided by package tasks/ledger, so that a
// delivery which is lost, repeated or late does no harm. A process opens a [Conn], sends what the ledger emits with a
// [Sender], takes deliveries with a [Server], and runs a [Sweeper] that sends again what nobody claimed. The package knows
// nothing of what tasks do.
//
// # Rules
//
//   - One asynq task for each attempt, its id "run:task:attempt", never retried by asynq.
//   - The payload is ids only.
//   - Queue names carry the contract's version: a worker of another contract never sees the task.
//   - Handlers run on contexts of their own: asynq cancels all of its own when Redis is away for half a minute.
package queue
