//go:build unix

// Command bench prints the figures that the product promises, and how it compares with restic and rclone on this machine.
//
// It builds bin/salvor as `make build` does, makes its input in a directory of its own, runs the programs as a user would,
// one at a time, and removes everything again. What it prints are lines
//
//	figure: value (limit)
//
// where a value that is over its limit says so. Figures of a machine that is busy with other things are worth nothing,
// so a missed limit is not a failure; a run that fails, or restores something else than was dumped, is.
//
// It knows the product by its command line alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil: // the flag package has said what is wrong
		return 2
	}
	if err := measureAll(ctx, o, stdout); err != nil {
		_, _ = fmt.Fprintf(stderr, "bench: error: %v\n", err)
		return 1
	}
	return 0
}

// options are what the command line asks for.
type options struct {
	only    []string
	dir     string
	rounds  int
	entries int
	sparse  int // GB
	small   int
	large   int // GB
	rows    int
}

func parse(args []string, stderr io.Writer) (options, error) {
	var names []string
	for _, s := range sections() {
		names = append(names, s.name)
	}
	all := strings.Join(names, ",")

	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	only := f.String("only", all, "the `sections` to run")
	f.StringVar(&o.dir, "dir", os.TempDir(), "the `directory` to work in: the file system that is measured")
	f.IntVar(&o.rounds, "rounds", 3, "how often programs that are compared take turns")
	f.IntVar(&o.entries, "entries", 200_000, "how many entries section entries has")
	f.IntVar(&o.sparse, "sparse", 10, "the size of section sparse's file in `GB`")
	f.IntVar(&o.small, "small", 50_000, "how many files of 8 KiB section small has")
	f.IntVar(&o.large, "large", 4, "the size of section large's files together in `GB`")
	f.IntVar(&o.rows, "rows", 5_000_000, "how many rows section capture compares")
	if err := f.Parse(args); err != nil {
		return options{}, err
	}
	o.only = strings.Split(*only, ",")
	var err error
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			err = fmt.Errorf("unknown section %q (have %s)", name, all)
		}
	}
	switch {
	case err != nil:
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.rounds < 1 || o.entries < 1 || o.sparse < 1 || o.small < 1 || o.large < 1 || o.rows < 1:
		err = errors.New("counts and sizes are at least 1")
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "bench: error: %v\n", err)
	}
	return o, err
}
