package sqlite

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"salvor/drivers"
)

func large(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "app.db")
	app := application(b, path)
	execAll(b, app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)", `WITH RECURSIVE c(i) AS
		(SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<200000) INSERT INTO t SELECT i, randomblob(1000) FROM c`)
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	return path
}

func BenchmarkDump(b *testing.B) {
	v := freezeAt(b, large(b))
	part := drivers.Part{Name: partName}
	for b.Loop() {
		if _, err := v.Dump(b.Context(), part, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBackup is what a dump would cost with a copy by the backup interface first.
func BenchmarkBackup(b *testing.B) {
	path := large(b)
	copied := filepath.Join(b.TempDir(), "copy.db")
	for b.Loop() {
		backup(b, path, copied)
		if err := os.Remove(copied); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRestore(b *testing.B) {
	part, data := image(b, large(b))
	rules := drivers.Target{Run: "r"}
	target := filepath.Join(b.TempDir(), "app.db")
	for b.Loop() {
		if err := restoreImage(b.Context(), openSource(b, target), rules, "one", part, data); err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(target); err != nil {
			b.Fatal(err)
		}
	}
}
