// Package command dumps what a program prints and restores by feeding it to a program: it is the driver "command", a
// [drivers.Stream] for everything that no other driver knows.
//
// # The dump
//
// A view is one run of the program. Freeze starts it, with /dev/null as its input; its only part is its standard output,
// which waits in a pipe until the part is read. The dump is good if the program ends with status 0 and its output ends;
// anything else is an error that shows the end of what the program wrote to standard error. Nothing can read that output
// twice: after the first read, good or bad, the view is lost for whoever comes again, and a new one runs the program anew.
//
// # The restore
//
// The part is written to the program's standard input. The restore is good if the program has read all of it, to its
// end, and ends with status 0. If the part turns out to be damaged, or the restore is cancelled, the program is killed
// before its input ends: a program that changes nothing before the end of its input changes nothing then.
//
// # Exactly once
//
// A program's effect cannot be undone or looked at, so a program is run at least once. A record (see record) keeps it from
// being run again after it succeeded, and from being run again when nobody knows how it ended, unless the node is
// declared idempotent.
//
// # What it does not know
//
// A shell: programs get their arguments as they are. What a target holds: nothing is refused for not being empty.
package command

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"salvor/drivers"
)

// Kind returns what a registry needs to know of this driver.
func Kind() drivers.Kind {
	return drivers.Kind{
		Name:    "command",
		Scheme:  "command",
		Place:   "PROGRAM ARG…",
		Shape:   drivers.ShapeStream,
		Holds:   true,
		Options: []string{"dump", "restore", "env", "dir", "idempotent", "ext", "stderr_lines"},
		Resolve: []string{"dump", "restore", "env", "dir"},

		SourceKeys: []string{"dump"},
		Executes:   true,
		Check: func(text json.RawMessage) error {
			_, err := parseOptions(text)
			return err
		},
		Open: func(_ context.Context, spec drivers.Spec) (drivers.Source, error) {
			return open(spec)
		},
	}
}

// Limits of time. Tests shorten them.
type limits struct {
	grace time.Duration // from asking a program to end to killing it
	quiet time.Duration // how long an ended program's output may stay open without a byte
	lock  time.Duration // how long a load waits for another of the same run
}

// Source is a program to dump with, a program to restore with, or both. It is safe for concurrent use.
type Source struct {
	node    string
	named   []string // the program that the source names; nil where the keys name them
	options options
	hidden  []string // what messages must not show: values of the environment that is added, and of references
	scratch string
	limits  limits
	hook    func(step string) // called after each step of a load; nil but in tests
}

var (
	_ drivers.Stream = (*Source)(nil)
	_ drivers.View   = (*view)(nil)
)

func open(spec drivers.Spec) (*Source, error) {
	o, err := parseOptions(spec.Options)
	if err != nil {
		return nil, fmt.Errorf("open command: %w", err)
	}
	s := &Source{
		node: spec.Node, options: o, hidden: hiddenTexts(o.Env, spec.Secrets), scratch: spec.Scratch,
		limits: limits{grace: 10 * time.Second, quiet: 10 * time.Second, lock: 30 * time.Second},
	}
	if s.scratch == "" {
		s.scratch = os.TempDir()
	}
	if text := spec.Source.Reveal(); text != "" {
		if s.named, err = splitWords(text); err != nil {
			return nil, drivers.WithHint(fmt.Errorf("open command: source: %w: %w", drivers.ErrInvalid, err),
				`a source is PROGRAM ARG…, quoted as for a shell but run without one; for a pipe write sh -c '…'`)
		}
	}
	return s, nil
}

// at tells the hook that a step is done.
func (s *Source) at(step string) {
	if s.hook != nil {
		s.hook(step)
	}
}

// dumping returns the program that dumps.
func (s *Source) dumping() (program, error) {
	const hint = "name it either by the source or by the node's key dump"
	switch {
	case s.named != nil && s.options.Dump != nil:
		return program{}, drivers.WithHint(fmt.Errorf("the source names a program, and so does the key dump: %w", drivers.ErrInvalid), hint)
	case s.named != nil:
		return s.program(s.named)
	case s.options.Dump == nil:
		return program{}, drivers.WithHint(fmt.Errorf("no program to dump with: %w", drivers.ErrInvalid), hint)
	}
	return s.program(s.options.Dump)
}

// restoring returns the program that restores: that of the key, which a target that is named elsewhere comes without, or that
// of the source.
func (s *Source) restoring() (program, error) {
	switch {
	case s.options.Restore != nil:
		return s.program(s.options.Restore)
	case s.named != nil:
		return s.program(s.named)
	}
	return program{}, drivers.WithHint(fmt.Errorf("no program to restore with: %w", drivers.ErrInvalid), restoreHint)
}

const restoreHint = "name the program that restores with --into NODE=command:PROGRAM, or by the node's key restore"

// Identities returns a digest of the program, its arguments, its directory and the environment it is given. What the
// program reads or writes is not known: equal programs are the same place, and of different ones nothing can be said.
// Without a source, the program that dumps is the node's place.
func (s *Source) Identities(context.Context) ([]string, error) {
	argv := s.named
	if argv == nil {
		argv = s.options.Dump
	}
	if argv == nil {
		argv = s.options.Restore
	}
	if argv == nil {
		return nil, fmt.Errorf("identify command: no program is named: %w", drivers.ErrInvalid)
	}
	p, err := s.program(argv)
	if err != nil {
		return nil, fmt.Errorf("identify command: %w", err)
	}
	id, err := p.identity()
	if err != nil {
		return nil, fmt.Errorf("identify command: %w", err)
	}
	return []string{id}, nil
}

// Close does nothing: a source runs nothing, its views and loads do.
func (*Source) Close() error { return nil }

// identity returns a text that is equal for equal programs. Arguments and environment may hold secrets and the text is
// stored with the dump, so it is made slow to guess.
func (p program) identity() (string, error) {
	text, err := json.Marshal(struct {
		Argv []string          `json:"argv"`
		Dir  string            `json:"dir"`
		Env  map[string]string `json:"env"`
	}{p.argv, p.dir, p.env})
	if err != nil {
		return "", fmt.Errorf("encode program: %w", err)
	}
	const rounds = 1 << 14
	key, err := pbkdf2.Key(sha256.New, string(text), []byte("salvor command"), rounds, 16)
	if err != nil {
		return "", fmt.Errorf("digest program: %w", err)
	}
	return "program:" + hex.EncodeToString(key), nil
}
