package drivertest

import (
	"slices"
	"testing"
)

// cases are what a rescue must find, and must leave alone, with the tests that hold every SQL driver to it. Of what only some databases have
// the rest is in the drivers' own tests: times that SQLite cannot tell (TestUnreadableTimes), references to other databases of
// MySQL (TestModelOfMySQL), schemas of PostgreSQL.
func cases() map[string][]string {
	return map[string][]string{
		"boundary, a microsecond before and after": {"Detect/Boundary"},
		"transaction committed after the snapshot": {"Detect/LateCommit"},
		"NULL created":                                    {"Detect/NullCreated"},
		"naive time in the repeated hour":                 {"Detect/RepeatedHour"},
		"date only":                                       {"Detect/DateOnly"},
		"backdated import":                                {"Detect/Backdated"},
		"UPDATE without touching modified":                {"Detect/Silent"},
		"touch without change":                            {"Detect/Touch"},
		"link table with neither column":                  {"Detect/LinkTable"},
		"expiry column not chosen":                        {"Detect/Expiry"},
		"deleted":                                         {"Detect/Deleted"},
		"deleted and made again with the same key":        {"Detect/DeletedAndMadeAgain"},
		"key updated in place: one deleted, one made":     {"Detect/KeyUpdated"},
		"the same change on 2, 4 and 1000 rows":           {"Diff/SameChange"},
		"two rows swap values":                            {"Diff/Swap"},
		"('a','bc') and ('ab','c')":                       {"Diff/Adjacent", "Diff/Composite"},
		"NULL and the empty text":                         {"Diff/NullAndEmpty"},
		"rows below the first and above the last key":     {"Diff/Ends"},
		"negative keys, 0, huge gaps":                     {"Diff/Gaps"},
		"case, accent, collation, UUID and binary keys":   {"Diff/Case"},
		"composite keys":                                  {"Diff/Composite"},
		"0, -0, NaN":                                      {"Diff/Floats", "Diff/Case"},
		"1.0 and 1.00":                                    {"Diff/Digits", "Diff/Case"},
		"JSON key order":                                  {"Diff/KeyOrderOfJSON"},
		"duplicates without a key":                        {"Diff/NoKey", "Diff/NoKeySpilled", "NoKey"},
		"writes during capture":                           {"Diff/WritesMeanwhile"},
		"column added, dropped, retyped":                  {"Diff/ColumnAdded", "Diff/ColumnDropped", "Diff/ColumnRetyped"},
		"a table that lost its key, a table that is new":  {"Diff/KeyLost", "Diff/TableNew"},
		"chain of 12":                                     {"Chain"},
		"new parent without created":                      {"NewParent", "NoDump"},
		"self-tree, and a row that references itself":     {"SelfTree"},
		"two self keys":                                   {"TwoSelfKeys"},
		"overlapping cycles":                              {"OverlappingCycles"},
		"unbreakable cycle":                               {"UnbreakableCycle"},
		"partly NULL composite key":                       {"PartlyNull"},
		"key to a unique that is not the primary one":     {"NotPrimary"},
		"across schemas":                                  {"AcrossSchemas"},
		"generic keys (int, uuid, char)":                  {"GenericKeys", "ContentTypes"},
		"content types numbered differently":              {"NumberedDifferently", "ContentTypes"},
		"three-level inheritance":                         {"Inheritance"},
		"orphan in the live database":                     {"Orphan"},
		"hub parent":                                      {"Hub"},
		"plain columns, arrays, JSON paths":               {"PlainColumn", "ArrayAndPath"},
		"budget, spilled key sets":                        {"Budget", "Spilled"},
		"UPDATE of all rows and 200 real edits":           {"UpdateOfAll"},
		"50,000-row cascade delete":                       {"CascadeDelete"},
		"a script that gives each row a value of its own": {"Script"},
	}
}

// TestCases: every case has its tests, and every test of the suites is for a case.
func TestCases(t *testing.T) {
	t.Parallel()
	var there []string
	for _, suite := range [][]named{compareTests(), closeTests(), damageTests()} {
		for _, test := range suite {
			there = append(there, test.name)
		}
	}
	var told []string
	for c, tests := range cases() {
		for _, name := range tests {
			told = append(told, name)
			if !slices.Contains(there, name) {
				t.Errorf("%s: there is no test %s", c, name)
			}
		}
	}
	for _, name := range there {
		if !slices.Contains(told, name) && name != "Diff/Empty" && name != "Diff/Binary" {
			t.Errorf("the test %s is for none of the cases", name)
		}
	}
}
