package filesystem

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
	"salvor/drivers/drivertest"
)

// BenchmarkWalk walks 20,000 files in 200 directories.
func BenchmarkWalk(b *testing.B) {
	place := b.TempDir()
	for i := range 20_000 {
		write(b, filepath.Join(place, fmt.Sprintf("d%d/e%d/file-%d", i%20, i%200, i)), "")
	}
	tree := open(b, place, nil)
	n := 0
	for b.Loop() {
		must(b, tree.Walk(b.Context(), drivers.Range{}, func(drivers.Entry) error {
			n++
			return nil
		}))
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkPut restores files of 8 KiB, two at a time.
func BenchmarkPut(b *testing.B) {
	text := strings.Repeat("x", 8<<10)
	entry := drivers.Entry{Type: drivers.TypeFile, Size: int64(len(text))}
	uid := uint32(os.Getuid())
	entry.Meta = drivers.Meta{Mode: 0o644, UID: &uid, GID: &uid}
	tree := open(b, b.TempDir(), nil)
	must(b, tree.target.Prepare(b.Context(), careful))
	n := 0
	for b.Loop() {
		var group errgroup.Group
		for worker := range 2 {
			group.Go(func() error {
				for i := range 1000 {
					e := entry
					e.Path = fmt.Sprintf("d%d/e%d/file-%d-%d", i%20, i%200, worker, n+i)
					if err := tree.target.Put(b.Context(), careful, attempt, e, drivertest.Extents(text)); err != nil {
						return err
					}
				}
				return nil
			})
		}
		must(b, group.Wait())
		n += 1000
	}
	b.ReportMetric(2*float64(n)/b.Elapsed().Seconds(), "files/s")
}
