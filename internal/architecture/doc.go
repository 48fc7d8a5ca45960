// Package architecture holds the module to its layers. It has no code of its own: its test reads what the go command
// knows of the packages and compares that with the rules.
//
//	cmd/salvor          wires everything; the only place that exits
//	coordinator workers never import each other
//	tasks               the contract between them
//	archive drivers     leaves; they know neither each other nor tasks
//	internal            what every layer may use; knows none of them
//
// The linter holds some of the same rules in the editor. This test holds all of them, for every platform, and also what
// no linter sees: which directories there are, what the released binary is linked with, which files have no name.
package architecture
