// Package tasks is the contract between those who plan work and those who do it: the [BackupSet] as a user writes it, the
// [Plan] of a run (steps, tasks, edges), what each kind of task is told and what it answers.
//
// coordinator and workers meet here and nowhere else. The package knows no archive, no driver and no queue; it is pure
// data with its validation. What happens to a plan at run time is in package tasks/ledger, how attempts travel in
// tasks/queue.
//
// # Nouns
//
//   - node path: the names from the root of a set, joined by "/"; compared by whole segments, never by string prefix.
//   - run: one execution of an operation (dump, restore); a UUIDv7.
//   - step: a set of tasks of one run that may run in parallel; steps have prerequisites.
//   - task: the smallest unit of work. An attempt is one try at it, carried by the queue.
//   - holder: a task that holds consistent views open while other steps read from them.
package tasks

// Contract is the version of everything in this package that travels between processes. Queue names and ledger keys
// carry it, so that a worker of another contract never sees a task.
const Contract = 2
