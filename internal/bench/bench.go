//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// gigabyte is what disk makers and the flags mean by GB.
const gigabyte = 1_000_000_000

// bench is one run of the benchmarks.
type bench struct {
	options

	out    io.Writer
	root   string // the repository
	salvor string // the program
	dir    string // scratch, removed at the end
	over   int    // figures over their limit
}

// section is a group of figures that share their input.
type section struct {
	name string
	run  func(b *bench, ctx context.Context) error
	// room is about how many bytes of disk it takes.
	room func(o options) int64
}

func sections() []section {
	return []section{
		{"trivial", (*bench).trivial, func(options) int64 { return 1 << 20 }},
		{"ledger", (*bench).ledger, func(options) int64 { return 1 << 20 }},
		{"entries", (*bench).manyEntries, func(o options) int64 { return int64(o.entries) * 3 * 4096 }},
		{"sparse", (*bench).sparseFile, func(options) int64 { return 1 << 30 }},
		{"small", (*bench).smallFiles, smallRoom},
		{"large", (*bench).largeFiles, func(o options) int64 { return int64(o.large) * 3 * gigabyte }},
		{"postgres", (*bench).postgres, func(options) int64 { return postgresRoom }},
		{"mysql", (*bench).mysql, func(options) int64 { return mysqlRoom }},
		{"capture", (*bench).capture, func(o options) int64 { return int64(o.rows) * captureRoom }},
	}
}

// measureAll runs the sections that were asked for.
func measureAll(ctx context.Context, o options, out io.Writer) (err error) {
	b := &bench{options: o, out: out}
	b.root, err = repository(ctx)
	if err != nil {
		return err
	}
	b.salvor = filepath.Join(b.root, "bin", "salvor")
	if _, err := b.measure(ctx, command{name: "make", args: []string{"-s", "-C", b.root, "build"}}); err != nil {
		return fmt.Errorf("build bin/salvor: %w", err)
	}
	b.dir, err = os.MkdirTemp(o.dir, "salvor-bench-")
	if err != nil {
		return fmt.Errorf("make scratch directory: %w", err)
	}
	defer func() {
		if removeErr := os.RemoveAll(b.dir); removeErr != nil {
			err = errors.Join(err, fmt.Errorf("remove scratch directory: %w", removeErr))
		}
	}()
	if err := b.header(ctx); err != nil {
		return err
	}
	for _, s := range sections() {
		if !slices.Contains(o.only, s.name) {
			continue
		}
		if err := b.enough(s.room(o)); err != nil {
			return fmt.Errorf("section %s: %w", s.name, err)
		}
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("section %s: %w", s.name, err)
		}
	}
	least, err := blind()
	if err != nil {
		return err
	}
	b.note("resident memory below %s cannot be seen: it is this program's own", show(least))
	if b.over > 0 {
		b.note("figures that miss their limit: %d", b.over)
	}
	return nil
}

// header says what is measured, and on what.
func (b *bench) header(ctx context.Context) error {
	salvor, err := b.version(ctx, b.salvor, "version")
	if err != nil {
		return err
	}
	b.note("salvor: %s", salvor)
	b.note("go: %s, %s/%s, %d processors", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, program := range [][2]string{{"restic", "version"}, {"rclone", "version"}, {"redis-server", "--version"}} {
		version := "not installed"
		if installed(program[0]) {
			version, err = b.version(ctx, program[0], program[1])
			if err != nil {
				return err
			}
		}
		b.note("%s: %s", program[0], version)
	}
	b.note("directory: %s", b.options.dir)
	return nil
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// version returns the first line of what a program says of itself.
func (b *bench) version(ctx context.Context, program, argument string) (string, error) {
	var out strings.Builder
	if _, err := b.measure(ctx, command{name: program, args: []string{argument}, stdout: &out}); err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(out.String(), "\n")
	return line, nil
}

// enough fails where the scratch directory's file system has less room than is needed.
func (b *bench) enough(need int64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(b.dir, &fs); err != nil {
		return fmt.Errorf("ask for the free space of %s: %w", b.dir, err)
	}
	free := int64(fs.Bavail) * int64(fs.Bsize) //nolint:gosec,unconvert // the types differ between platforms; a disk's size fits
	if free < need {
		return fmt.Errorf("needs about %s of disk, and %s has %s (choose another with -dir)", size(need), b.options.dir, size(free))
	}
	return nil
}

// note writes a line that is not a figure.
func (b *bench) note(format string, args ...any) {
	// Whoever reads the figures is gone if this fails; the runs end by the signal that follows.
	_, _ = fmt.Fprintf(b.out, format+"\n", args...)
}

// figure writes a figure, with its limit where it has one: high is the most that it may be.
func figure[T time.Duration | memory | ratio](b *bench, name string, value, high T) {
	line := fmt.Sprintf("%s: %s", name, show(value))
	if high > 0 {
		line += fmt.Sprintf(" (limit %s)", show(high))
		if value > high {
			line += " OVER"
			b.over++
		}
	}
	b.note("%s", line)
}

// memory is a number of bytes of resident memory.
type memory int64

// ratio is what one took of what another took.
type ratio float64

func show[T time.Duration | memory | ratio](value T) string {
	switch v := any(value).(type) {
	case time.Duration:
		return seconds(v)
	case memory:
		return fmt.Sprintf("%.0f MiB", float64(v)/(1<<20))
	case ratio:
		return fmt.Sprintf("%.2f", float64(v))
	}
	return fmt.Sprint(value)
}

func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// size writes a number of bytes of disk.
func size(bytes int64) string {
	if bytes < gigabyte {
		return fmt.Sprintf("%.1f MB", float64(bytes)/1_000_000)
	}
	return fmt.Sprintf("%.1f GB", float64(bytes)/gigabyte)
}

// median returns the middle of the values, or the mean of the two in the middle.
func median[T time.Duration | memory | float64](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// repository returns the directory of the module that the program was started in.
func repository(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if filepath.Base(file) != "go.mod" {
		return "", errors.New("find the module: start it inside the repository")
	}
	return filepath.Dir(file), nil
}
