// Package relational is what a rescue needs to know of any SQL database: its tables, how they refer to each other, and their
// rows, read in one consistent view and in one form.
//
// # Nouns
//
//   - [Model]: what the tables of a database are: columns, keys, references, triggers, sequences. Plain data, kept in a capture.
//   - [Edge]: columns of a table that name rows of another one: a foreign key, or a reference that no constraint declares.
//   - [Graph]: the tables by their edges, with its cycles (components) and levels.
//   - [Value], [Row]: a cell and a row in canonical form. Two values are equal if and only if they have the same kind and text.
//   - [Key]: columns that no two rows have the same values in. [Order] says what their order and equality are.
//   - [Found], [Line]: what became of a row, as it is found, and as a capture has it.
//   - [View]: a moment of a database, out of which rows come in the order of a key, or by values.
//
// # Invariants
//
// null, false, 0 and the empty text are four things, and so are 0 and -0, 1.0 and 1.00: whatever the database keeps apart in a
// row is kept apart here. What a key calls equal is another matter: there the database's own rule holds (a key of
// 1.0 is the same as one of 1.00, and 'a' may be 'A'), so that a row that the database would refuse as a duplicate never counts as
// another one.
//
// [AppendKey] keeps the order: as byte strings, keys compare as the database sorts the rows. That is what lets two
// databases be compared in one pass, without holding either.
//
// JSON is written so that it is read back as exactly what it was ([AppendJSON]): where a plain form would be read as
// something else, the form says what it is.
//
// # Who uses it
//
// The drivers of SQL databases implement [Source] and [Target], and package drivertest holds them to it; workers capture by it. The
// package knows no SQL, no archive, and nothing of who decides what becomes of a row.
package relational
