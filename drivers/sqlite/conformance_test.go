package sqlite

import (
	"path/filepath"
	"testing"

	"salvor/drivers/drivertest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, journal := range []string{wal, delete} {
		t.Run(journal, func(t *testing.T) {
			t.Parallel()
			template := readFile(t, newDatabase(t, journal, 700))
			drivertest.Stream(t, drivertest.StreamHarness{
				Kind: Kind(),
				New: func(t *testing.T) string {
					t.Helper()
					path := filepath.Join(t.TempDir(), "app.db")
					writeFile(t, path, template, 0o640)
					return path
				},
				Absent: func(t *testing.T) string {
					t.Helper()
					return filepath.Join(t.TempDir(), "absent", "app.db")
				},
				Empty: func(t *testing.T) string {
					t.Helper()
					path := filepath.Join(t.TempDir(), "app.db")
					writeFile(t, path, nil, 0o640)
					return path
				},
				Mutate: insertChange,
				Contents: func(t *testing.T, path string) string {
					t.Helper()
					return contents(t, path)
				},
				Consistent: consistent,
				Leftovers: func(t *testing.T, path string) []string {
					t.Helper()
					return beside(t, path)
				},
				BlocksWriters: journal != wal,
			})
		})
	}
}
