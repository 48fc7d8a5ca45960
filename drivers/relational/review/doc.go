// Package review is what people say about captured rows before these are merged: which are taken, with which columns, and what
// becomes of those that are in conflict with the database that they are merged into.
//
// # Nouns
//
//   - Decisions: what a file decisions.yaml says, once it was found to make sense for a capture. Two pure functions read them: Of
//     says what becomes of a line, Policy what becomes of a conflict.
//   - Question: a mass of changes that somebody has to decide on. Template writes a file with all of them, as comments.
//   - Check: reads the lines of a capture as somebody may have edited them, and tells everything that is wrong with them or with
//     the decisions on them.
//
// # Invariants
//
// What is said of a row goes before what a rule says, a rule (the first that fits) before what is said of the table, and that
// before the default. A mass of changes stays out until a rule names its group, or a row in it is taken by its key.
//
// Nothing is guessed: a table, a column, a group, a row, a conflict or a policy that is not there is an error.
//
// # Who uses it
//
// `salvor capture` writes the template, `salvor capture check` and `salvor merge` read the decisions. The package knows no archive
// and no database, only the model and the lines of package relational.
package review
