package testenv

import (
	"os"
	"path/filepath"
	"testing"
)

// RealDataVariable is the environment variable that names a directory of public sample databases.
const RealDataVariable = "SALVOR_REAL_DATA"

// RealData returns the path of a file among the public sample databases. Without such a directory the test is skipped: it is no part
// of the repository. A file that is missing there fails the test.
func RealData(t testing.TB, name ...string) string {
	t.Helper()
	dir := os.Getenv(RealDataVariable)
	if dir == "" {
		t.Skipf("%s names no directory of sample databases", RealDataVariable)
	}
	path := filepath.Join(append([]string{dir}, name...)...)
	if _, err := os.Stat(path); err != nil { //nolint:gosec // where the data is, is the environment's to say
		t.Fatalf("%s: %v", RealDataVariable, err)
	}
	return path
}
