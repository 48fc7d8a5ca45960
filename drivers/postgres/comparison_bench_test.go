package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/internal/secret"
	"salvor/internal/testenv"
)

// BenchmarkComparison compares a table with one of which 1,000 rows differ, and reads both in the order of their key by the same driver, in
// turns. It reports the ratio of the two times. SALVOR_BENCH_ROWS is how many rows there are.
func BenchmarkComparison(b *testing.B) {
	rows := 50_000
	if n, err := strconv.Atoi(os.Getenv("SALVOR_BENCH_ROWS")); err == nil {
		rows = n
	}
	s := testenv.Postgres(b, testenv.PostgresOptions{})
	base := s.NewDatabase()
	s.Exec(base, fmt.Sprintf(`CREATE TABLE t AS SELECT i AS id, md5(i::text) a, i*1.5 total, i%%7=0 flag, timestamptz '2020-01-01' + i*interval '1s' made
		FROM generate_series(1,%d) i; ALTER TABLE t ADD PRIMARY KEY (id)`, rows))
	live := s.NewName()
	s.Exec("postgres", fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", live, base))
	s.Exec(live, fmt.Sprintf("UPDATE t SET a = 'changed' WHERE id %% %d = 0", max(rows/1000, 1)))
	for _, database := range []string{base, live} {
		s.Exec(database, "VACUUM ANALYZE")
	}
	open := func(database string) (relational.View, *relational.Table) {
		source, err := Kind().Open(b.Context(), drivers.Spec{Node: "db", Source: secret.New(s.URL(database))})
		if err != nil {
			b.Fatal(err)
		}
		rows, ok := source.(relational.Source)
		if !ok {
			b.Fatal("the source cannot be read by rows")
		}
		v, err := rows.Observe(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		ctx := context.WithoutCancel(b.Context())
		b.Cleanup(func() { _ = errors.Join(v.End(ctx), source.Close()) })
		m, err := v.Model(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		return v, m.Tables[0]
	}
	liveView, table := open(live)
	baseView, other := open(base)
	read := func(v relational.View, t *relational.Table) error {
		rows, err := v.Scan(b.Context(), relational.Scan{Table: t, Key: t.Primary})
		if err != nil {
			return err
		}
		for {
			if _, err := rows.Next(); err != nil {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				return errors.Join(err, rows.Close())
			}
		}
	}
	var comparing, reading time.Duration
	for b.Loop() {
		began := time.Now()
		found := 0
		c := relational.Comparison{Live: liveView, Base: baseView, Table: table, Other: other, Scratch: b.TempDir(), Memory: 8 << 20}
		_, err := c.Run(b.Context(), func(*relational.Found) error { found++; return nil })
		if err != nil || found == 0 {
			b.Fatalf("found %d rows, %v", found, err)
		}
		comparing += time.Since(began)
		began = time.Now()
		var g errgroup.Group
		g.Go(func() error { return read(liveView, table) })
		g.Go(func() error { return read(baseView, other) })
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
		reading += time.Since(began)
	}
	b.ReportMetric(comparing.Seconds()/reading.Seconds(), "ratio")
}
