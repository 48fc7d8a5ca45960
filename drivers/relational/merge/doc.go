// Package merge makes and carries out the plan by which captured rows come into a database that was restored.
//
// # Nouns
//
//   - Line: a captured row, see [relational.Line].
//   - Decisions: what somebody has said of lines and conflicts.
//   - Conflict: a line that cannot simply be written, with a code that never changes its meaning, and the Policy that settles it.
//     One that nothing settles is open.
//   - Plan: batches of changes in the order of writing, with the conflicts, in files.
//   - Fate: what becomes of a captured row: it is in the target under the same key, under another one, or not at all. Rows that refer to
//     it follow it.
//
// # Invariants
//
// A plan is a pure function of the lines, the decisions and what the target says: the same ones give the same plan, byte for
// byte, and its hash. That is how a target that has moved is told, and a second merge of the same lines gives a plan without changes.
//
// Every change carries what the row was before, and is refused by a row that is another one by then. So the plan is its own
// journal: turned around, it is the undo.
//
// Rows are written so that at the end of every unit no row refers to nothing: parents come before children; where rows refer to
// each other in a cycle, a column that may be NULL is set later, or all are of one unit.
//
// Memory is bounded: lines pass by, and what has to be known of all of them is in files beyond a budget.
//
// # Who uses it
//
// The command merge, through its tasks. The package knows no SQL and no archive.
package merge
