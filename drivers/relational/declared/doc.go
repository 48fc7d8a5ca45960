// Package declared is what somebody tells of a database that the database does not tell itself: the key capture of a node. It names the
// columns from which it shows when rows were made and changed, references that no constraint declares, the zone of times
// without one, and a margin. Much of it is told by Django's own tables, where there are some.
//
// # Nouns
//
//   - Options: the key, read strictly by Parse: everything that is wrong at once, each with its place (OptionError).
//   - ContentType: a row of Django's table of models, read by ReadContentTypes.
//   - Bound: Options and content types put on the tables of a database, by Bind: detectors, edges, labels. A table or column
//     that is not there is an error.
//
// # Who uses it
//
// The drivers of SQL databases check their nodes' option with it; whoever captures binds it. It knows no archive and no set.
package declared
