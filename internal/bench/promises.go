//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What the product promises.
const (
	trivialLimit  = 500 * time.Millisecond
	residentLimit = memory(256 << 20)
	ledgerLimit   = 2000 // tasks a second, at least
)

// trivial measures the dump of a database with a hundred rows and a directory with ten files, from the start of the program
// to its end, into an archive that it creates.
func (b *bench) trivial(ctx context.Context) (err error) {
	const runs = 10
	dir, clean, err := b.scratch("trivial")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean()) }()
	database, files := filepath.Join(dir, "site.db"), filepath.Join(dir, "files")
	if err := makeDatabase(ctx, database); err != nil {
		return err
	}
	if err := makeFiles(ctx, files, 10, 1000); err != nil {
		return err
	}
	var walls []time.Duration
	for i := range runs {
		u, err := b.measure(ctx, command{name: b.salvor, args: []string{
			"dump", "--archive", filepath.Join(dir, fmt.Sprintf("archive-%d", i)), "site=sqlite:" + database, "files=dir:" + files,
		}})
		if err != nil {
			return err
		}
		walls = append(walls, u.wall)
	}
	b.note("trivial dump, all of %d: %s to %s", runs, seconds(slices.Min(walls)), seconds(slices.Max(walls)))
	figure(b, fmt.Sprintf("trivial dump, median of %d", runs), median(walls), trivialLimit)
	return nil
}

// ledger measures no-op tasks through the queue and the ledger, one worker on a private redis-server: the benchmark of
// package tasks/ledger.
func (b *bench) ledger(ctx context.Context) error {
	if !installed("redis-server") {
		b.note("ledger: redis-server is not installed, nothing measured")
		return nil
	}
	var out strings.Builder
	_, err := b.measure(ctx, command{
		name: "go", args: []string{"test", "-run", "^$", "-bench", "Ledger", "-count", strconv.Itoa(b.rounds), "./tasks/..."},
		env: []string{"SALVOR_TEST_REQUIRE=redis"}, dir: b.root, stdout: &out,
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out.String())
	}
	results := rates(out.String())
	if len(results) == 0 {
		return fmt.Errorf("no benchmark of the ledger ran:\n%s", out.String())
	}
	for _, r := range results {
		line := fmt.Sprintf("ledger, %s, median of %d: %.0f tasks/s", r.name, len(r.values), median(r.values))
		// The embedded queue trades speed for needing no server.
		if name := strings.ToLower(r.name); !strings.Contains(name, "miniredis") && !strings.Contains(name, "embedded") {
			line += fmt.Sprintf(" (limit %d)", ledgerLimit)
			if median(r.values) < ledgerLimit {
				line += " UNDER"
				b.over++
			}
		}
		b.note("%s", line)
	}
	return nil
}

// rate is what a benchmark measured, each time that it ran.
type rate struct {
	name   string
	values []float64
}

// rates reads the output of go test: lines of a benchmark's name, its iterations, and pairs of value and unit. A benchmark
// that reports no tasks/s does one task in each iteration.
func rates(output string) []rate {
	var found []rate
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		units := make(map[string]float64)
		for i := 2; i+1 < len(fields); i += 2 {
			if value, err := strconv.ParseFloat(fields[i], 64); err == nil {
				units[fields[i+1]] = value
			}
		}
		value, ok := units["tasks/s"]
		if !ok {
			if units["ns/op"] == 0 {
				continue
			}
			value = float64(time.Second) / units["ns/op"]
		}
		// Go ends the name with the number of processors: BenchmarkX/redis-2.
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if at := strings.LastIndexByte(name, '-'); at > 0 {
			if _, err := strconv.Atoi(name[at+1:]); err == nil {
				name = name[:at]
			}
		}
		at := slices.IndexFunc(found, func(r rate) bool { return r.name == name })
		if at < 0 {
			found = append(found, rate{name: name})
			at = len(found) - 1
		}
		found[at].values = append(found[at].values, value)
	}
	return found
}

// manyEntries measures memory where there are many entries and little else.
func (b *bench) manyEntries(ctx context.Context) error {
	return b.thereAndBack(ctx, fmt.Sprintf("%d entries", b.entries), func(dir string) error {
		// The directories are entries as well, and so is their root.
		directories := (b.entries + directorySize) / (directorySize + 1)
		return makeFiles(ctx, dir, max(1, b.entries-directories-1), 64)
	})
}

// sparseFile measures memory, and that holes stay holes, with one large file.
func (b *bench) sparseFile(ctx context.Context) error {
	return b.thereAndBack(ctx, fmt.Sprintf("one sparse file of %d GB", b.sparse), func(dir string) error {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make input: %w", err)
		}
		return makeSparse(filepath.Join(dir, "disk.img"), int64(b.sparse)*gigabyte)
	})
}

// thereAndBack dumps, verifies and restores a tree once and prints what each took.
func (b *bench) thereAndBack(ctx context.Context, what string, fill func(dir string) error) (err error) {
	dir, clean, err := b.scratch("memory")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean()) }()
	source, archive, target := filepath.Join(dir, "source"), filepath.Join(dir, "archive"), filepath.Join(dir, "target")
	if err := fill(source); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		args []string
	}{
		{"dump", []string{"dump", "--archive", archive, "tree=dir:" + source}},
		{"verify", []string{"verify", "--archive", archive, "latest"}},
		{"restore", []string{"restore", "--archive", archive, "latest", "--into", "tree=dir:" + target}},
	} {
		settle()
		u, err := b.measure(ctx, command{name: b.salvor, args: step.args})
		if err != nil {
			return err
		}
		figure(b, fmt.Sprintf("%s of %s, wall time", step.name, what), u.wall, 0)
		figure(b, fmt.Sprintf("%s of %s, processor time", step.name, what), u.processor, 0)
		figure(b, fmt.Sprintf("%s of %s, resident memory", step.name, what), u.resident, residentLimit)
	}
	if err := same(ctx, source, target); err != nil {
		return err
	}
	for _, place := range []struct{ name, dir string }{{"source", source}, {"archive", archive}, {"restored copy", target}} {
		c, err := count(ctx, place.dir)
		if err != nil {
			return err
		}
		b.note("%s, on the disk, %s: %s", what, place.name, size(c.allocated))
	}
	return nil
}

// scratch makes a directory for a section's files and returns how to remove it.
func (b *bench) scratch(name string) (string, func() error, error) {
	dir, err := os.MkdirTemp(b.dir, name+"-")
	if err != nil {
		return "", nil, fmt.Errorf("make scratch directory: %w", err)
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}
