//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   []time.Duration
		want time.Duration
	}{
		{[]time.Duration{7}, 7},
		{[]time.Duration{9, 1, 5}, 5},
		{[]time.Duration{8, 2, 4, 100}, 6},
	} {
		if got := median(c.in); got != c.want {
			t.Errorf("median of %v is %d, not %d", c.in, got, c.want)
		}
	}
}

func TestFigureTellsWhatIsOverItsLimit(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	b := &bench{out: &out}
	figure(b, "dump", 400*time.Millisecond, trivialLimit)
	figure(b, "dump", 12340*time.Millisecond, trivialLimit)
	figure(b, "dump", memory(300<<20), residentLimit)
	figure(b, "dump", 3*time.Second, 0)
	figure(b, "dump", ratio(0.812), ratio(0.8))
	figure(b, "dump", ratio(0.8), ratio(0.8))
	want := "dump: 0.40 s (limit 0.50 s)\ndump: 12.3 s (limit 0.50 s) OVER\ndump: 300 MiB (limit 256 MiB) OVER\ndump: 3.00 s\n" +
		"dump: 0.81 (limit 0.80) OVER\ndump: 0.80 (limit 0.80)\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
	if b.over != 3 {
		t.Errorf("counted %d over their limit, not 3", b.over)
	}
}

func TestRatesOfBenchmarks(t *testing.T) {
	t.Parallel()
	output := `goos: linux
BenchmarkLedgerNoop/redis-2         	   10000	    312500 ns/op	      3200 tasks/s	 120 B/op
BenchmarkLedgerNoop/miniredis-2     	    1000	   5000000 ns/op
BenchmarkLedgerNoop/redis-2         	   10000	    400000 ns/op	      2500 tasks/s
BenchmarkLedgerOdd-name
PASS
ok  	salvor/tasks/ledger	3.2s
`
	want := []rate{
		{name: "LedgerNoop/redis", values: []float64{3200, 2500}},
		{name: "LedgerNoop/miniredis", values: []float64{200}},
	}
	if diff := cmp.Diff(want, rates(output), cmp.AllowUnexported(rate{})); diff != "" {
		t.Errorf("rates (-want +got):\n%s", diff)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-only", "small,trivial", "-large", "2", "-dir", "/x"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := options{only: []string{"small", "trivial"}, dir: "/x", rounds: 3, entries: 200_000, sparse: 10, small: 50_000, large: 2, rows: 5_000_000}
	if diff := cmp.Diff(want, o, cmp.AllowUnexported(options{})); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
	for _, args := range [][]string{{"-only", "smal"}, {"-large", "0"}, {"small"}, {"-large", "x"}, {"-nonsense"}} {
		var stderr bytes.Buffer
		if code := run(t.Context(), args, io.Discard, &stderr); code != 2 || stderr.Len() == 0 {
			t.Errorf("%v: exit %d, wrote %q", args, code, stderr.String())
		}
	}
}

func TestInputIsTheSameInEachRun(t *testing.T) {
	t.Parallel()
	dirs := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "a")}
	for _, dir := range dirs {
		if err := makeFiles(t.Context(), dir, directorySize+2, 3000); err != nil {
			t.Fatal(err)
		}
	}
	c, err := count(t.Context(), dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	// The root and two directories are entries as well.
	if c.entries != directorySize+5 || c.bytes != (directorySize+2)*3000 {
		t.Errorf("made %d entries with %d bytes", c.entries, c.bytes)
	}
	name := filepath.Join("d00001", "f0000501.dat")
	first, second := read(t, filepath.Join(dirs[0], name)), read(t, filepath.Join(dirs[1], name))
	if !bytes.Equal(first, second) {
		t.Error("two runs made different files")
	}
	if bytes.Equal(first, read(t, filepath.Join(dirs[0], "d00001", "f0000500.dat"))) {
		t.Error("two files are equal: a program that stores equal content once would win by it")
	}
}

func TestSameSeesWhatIsMissing(t *testing.T) {
	t.Parallel()
	source, target := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "a")
	for _, dir := range []string{source, target} {
		if err := makeFiles(t.Context(), dir, 3, 10); err != nil {
			t.Fatal(err)
		}
	}
	if err := same(t.Context(), source, target); err != nil {
		t.Error(err)
	}
	if err := os.Truncate(filepath.Join(target, "d00000", "f0000001.dat"), 9); err != nil {
		t.Fatal(err)
	}
	if same(t.Context(), source, target) == nil {
		t.Error("did not see a file that is too short")
	}
	if same(t.Context(), source, filepath.Join(target, "d00000")) == nil {
		t.Error("did not see that a directory is missing")
	}
}

func TestSparseFileHasHoles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const bytes = 1 << 30
	if err := makeSparse(filepath.Join(dir, "disk"), bytes); err != nil {
		t.Fatal(err)
	}
	c, err := count(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.bytes != bytes || c.allocated < 10<<20 || c.allocated > bytes/2 {
		t.Errorf("%d bytes, of which %d are on the disk", c.bytes, c.allocated)
	}
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	b := &bench{}
	var out strings.Builder
	u, err := b.measure(t.Context(), command{name: "sh", args: []string{"-c", "echo $WORD; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"}, env: []string{"WORD=well"}, stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != "well\n" || u.wall <= 0 || u.processor <= 0 || u.resident < 100<<10 || u.resident > 1<<30 {
		t.Errorf("measured %+v of a command that wrote %q", u, out.String())
	}
	_, err = b.measure(t.Context(), command{name: "sh", args: []string{"-c", "echo the reason >&2; exit 3"}})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("a command that fails: %v", err)
	}
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	if _, err = b.measure(ctx, command{name: "sh", args: []string{"-c", "exit 0"}}); !errors.Is(err, reason) {
		t.Errorf("a command that was cancelled: %v", err)
	}
}

func TestContestLetsProgramsTakeTurns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// A product that copies, and writes down that it did.
	program := filepath.Join(dir, "salvor")
	script := "#!/bin/sh\necho $1 >>" + filepath.Join(dir, "log") + "\ncase $1 in\ndump) cp -r \"${4#tree=dir:}\" $3 ;;\nrestore) cp -r $3 \"${6#tree=dir:}\" ;;\nesac\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	b := &bench{options: options{rounds: 2, small: 10}, out: &out, salvor: program, dir: dir}
	err := b.contest(t.Context(), match{
		what: "some files", rivals: []string{"no-such-rival"}, dump: 0.7,
		fill: func(dir string) error { return makeFiles(t.Context(), dir, 5, 100) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("dump\nrestore\ndump\nrestore\n", string(read(t, filepath.Join(dir, "log")))); diff != "" {
		t.Errorf("what was run (-want +got):\n%s", diff)
	}
	for _, want := range []string{"no-such-rival is not installed", "dump of some files, salvor, median of 2: ", "restore of some files, salvor, median of 2: "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("did not print %q:\n%s", want, out.String())
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "contest-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left %v behind (%v)", left, err)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
