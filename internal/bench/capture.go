//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// captureRoom is about how many bytes of disk a row takes, in both databases and their index, with the log.
	captureRoom = 600
	// captureChanged is how many rows are changed.
	captureChanged = 1000
	// captureLimit is the most that a comparison may take of the time of reading both tables.
	captureLimit ratio = 1.5
)

// capture compares a large table of which little was changed with what it was.
func (b *bench) capture(ctx context.Context) (err error) {
	s, err := b.newPostgres(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		b.note("capture: no PostgreSQL server is installed, nothing measured")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(context.WithoutCancel(ctx))) }()
	n := b.options.rows
	if err := s.sql(ctx, "postgres", "CREATE DATABASE base"); err != nil {
		return err
	}
	if err := s.sql(ctx, "base", fmt.Sprintf(`CREATE TABLE t AS SELECT i AS id, md5(i::text) a, i*1.5 total, i%%7=0 flag, timestamptz '2020-01-01' + i*interval '1s' created_at
		FROM generate_series(1,%d) i; ALTER TABLE t ADD PRIMARY KEY (id); CREATE INDEX ON t (created_at)`, n), "VACUUM ANALYZE"); err != nil {
		return err
	}
	step := max(n/captureChanged, 1)
	if err := s.sql(ctx, "postgres", "CREATE DATABASE live TEMPLATE base"); err != nil {
		return err
	}
	if err := s.sql(ctx, "live", fmt.Sprintf("UPDATE t SET a = 'changed ' || id WHERE id %% %d = 0", step),
		fmt.Sprintf("INSERT INTO t SELECT %d + i, 'new', 0, false, now() FROM generate_series(1,10) i", n), "VACUUM ANALYZE"); err != nil {
		return err
	}
	dir, clean, err := b.scratch("capture")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean()) }()
	what := fmt.Sprintf("capture of %d of %d rows", n/step, n)
	var whole, bySince []usage
	for range b.rounds {
		for _, turn := range []struct {
			all  *[]usage
			args []string
		}{{&whole, []string{"--against-db", s.source("base")}}, {&bySince, []string{"--since", "1h"}}} {
			settle()
			u, err := s.salvor(ctx, append([]string{"capture", "--archive", filepath.Join(dir, "archive"), "--source", "db=" + s.source("live")}, turn.args...)...)
			if err != nil {
				return err
			}
			*turn.all = append(*turn.all, u)
		}
	}
	figure(b, what+", most resident memory", largest(whole), residentLimit)
	b.note("%s, median of %d: %s", what, b.rounds, seconds(medians(whole).wall))
	b.note("capture of 10 new rows of %d by an indexed time, median of %d: %s", n, b.rounds, seconds(medians(bySince).wall))
	return b.comparison(ctx, n)
}

// comparison runs the driver's own benchmark, which compares two tables and reads both, in turns.
func (b *bench) comparison(ctx context.Context, rows int) error {
	var out strings.Builder
	_, err := b.measure(ctx, command{
		name: "go", args: []string{"test", "-run", "^$", "-bench", "^BenchmarkComparison$", "-benchtime", "1x", "-timeout", "1h", "-count", strconv.Itoa(b.rounds), "./drivers/postgres"},
		env: []string{"SALVOR_TEST_REQUIRE=postgres", "SALVOR_BENCH_ROWS=" + strconv.Itoa(rows)}, dir: b.root, stdout: &out,
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out.String())
	}
	values := metric(out.String(), "ratio")
	if len(values) == 0 {
		return fmt.Errorf("no benchmark of comparisons ran:\n%s", out.String())
	}
	figure(b, fmt.Sprintf("comparison of %d rows, to reading both tables in the order of the key", rows), ratio(median(values)), captureLimit)
	return nil
}

// metric reads the values of a unit from the output of go test.
func metric(output, unit string) []float64 {
	var values []float64
	for line := range strings.Lines(output) {
		words := strings.Fields(line)
		for i := 1; i < len(words); i++ {
			if !strings.HasPrefix(line, "Benchmark") || words[i] != unit {
				continue
			}
			if v, err := strconv.ParseFloat(words[i-1], 64); err == nil {
				values = append(values, v)
			}
		}
	}
	return values
}
