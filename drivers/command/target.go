package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// CheckTarget tells whether the program that restores is there, may be run, and is not the one that dumped. What it would
// write to cannot be looked at: naming the program is the permission to run it, whatever the rules.
func (s *Source) CheckTarget(_ context.Context, target drivers.Target, contents []drivers.Part) error {
	if err := s.checkTarget(target, contents); err != nil {
		return fmt.Errorf("check command: %w", err)
	}
	return nil
}

func (s *Source) checkTarget(target drivers.Target, contents []drivers.Part) error {
	if _, err := s.record(target.Run); err != nil {
		return err
	}
	p, err := s.restoring()
	if err != nil {
		return err
	}
	if _, err := p.find(); err != nil {
		return err
	}
	for _, part := range contents {
		if err := checkNotDumper(p, part); err != nil {
			return err
		}
	}
	if err := unix.Faccessat(unix.AT_FDCWD, s.scratch, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return classify(&os.PathError{Op: "write to", Path: s.scratch, Err: err})
	}
	return nil
}

func checkNotDumper(p program, part drivers.Part) error {
	if part.Name != partName {
		return fmt.Errorf("part %q: %w", part.Name, errNoPart)
	}
	var r ref
	if err := json.Unmarshal(part.Ref, &r); err != nil {
		return fmt.Errorf("part %q: read description: %w: %w", part.Name, drivers.ErrInvalid, err)
	}
	id, err := p.identity()
	if err != nil || id != r.Identity {
		return err
	}
	return drivers.WithHint(fmt.Errorf("%s is the program that dumped, with the same arguments: %w", p.name(), drivers.ErrInvalid),
		restoreHint)
}

// Prepare makes the record of the restore, and removes old ones that restores which failed or died have left.
func (s *Source) Prepare(ctx context.Context, target drivers.Target, _ []drivers.Part) error {
	r, err := s.record(target.Run)
	if err == nil {
		err = classify(r.create())
	}
	if err != nil {
		return fmt.Errorf("prepare command: %w", err)
	}
	r.sweep(ctx)
	return nil
}

// Finish removes the record of the restore, unless the program was run: then a later one's Prepare does, after a week.
func (s *Source) Finish(ctx context.Context, target drivers.Target, _ []drivers.Part) error {
	if err := s.finish(ctx, target); err != nil {
		return fmt.Errorf("finish command: %w", err)
	}
	return nil
}

func (s *Source) finish(ctx context.Context, target drivers.Target) (err error) {
	r, err := s.record(target.Run)
	if err != nil {
		return err
	}
	release, err := r.acquire(ctx, s.limits.lock)
	if errors.Is(err, errOver) {
		return nil
	}
	if err != nil {
		return classify(err)
	}
	defer func() { err = errors.Join(err, release()) }()
	// A run that failed elsewhere is resumed under its own id, and must find that the program has done its part.
	if loaded, err := r.has("loaded"); err != nil || loaded {
		return classify(err)
	}
	return classify(r.remove())
}

// Load runs the program with the part as its input, unless an earlier attempt of the run did so and it went well.
func (s *Source) Load(ctx context.Context, target drivers.Target, _ drivers.Attempt, part drivers.Part, from io.Reader) error {
	if err := s.load(ctx, target, part, from); err != nil {
		return fmt.Errorf("load command: %w", err)
	}
	return nil
}

func (s *Source) load(ctx context.Context, target drivers.Target, part drivers.Part, from io.Reader) (err error) {
	if part.Name != partName {
		return fmt.Errorf("part %q: %w", part.Name, errNoPart)
	}
	p, err := s.restoring()
	if err != nil {
		return err
	}
	r, err := s.record(target.Run)
	if err != nil {
		return err
	}
	release, err := r.acquire(ctx, s.limits.lock)
	if err != nil {
		return classify(err)
	}
	defer func() { err = errors.Join(err, release()) }()
	if done, err := r.has("loaded"); err != nil || done {
		return classify(err)
	}
	if err := s.checkStarted(p, r); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := r.mark("started"); err != nil {
		return classify(err)
	}
	s.at("started")
	o := s.feed(ctx, p, from)
	switch {
	case o.err == nil:
		s.at("done")
		return classify(r.mark("loaded"))
	case o.unclear:
		return o.err
	}
	return errors.Join(o.err, classify(r.unmark("started")))
}

// checkStarted refuses to run a program again of which nobody knows what it did.
func (s *Source) checkStarted(p program, r record) error {
	started, err := r.has("started")
	if err != nil || !started || s.options.Idempotent {
		return classify(err)
	}
	return drivers.WithHint(
		fmt.Errorf("program %s was started by an earlier attempt and nobody knows how it ended: %w", p.name(), drivers.ErrNotEmpty),
		unclearHint)
}

// feed runs the program with what a reader gives as its input.
func (s *Source) feed(ctx context.Context, p program, from io.Reader) outcome {
	in, out, err := os.Pipe()
	if err != nil {
		return outcome{err: fmt.Errorf("make pipe: %w", err)}
	}
	run, err := p.start(ctx, in, nil, s.limits)
	if err != nil {
		return outcome{err: errors.Join(err, in.Close(), out.Close())}
	}
	f := &feeding{process: run, gate: gate{file: out}, in: in}
	err = f.write(ctx, from)
	if err == nil {
		s.at("fed")
		err = f.awaitEnd(ctx)
	}
	// The program is gone before its input ends, if it is to be stopped: it must not take that for the end of the data.
	closeErr := run.close(err != nil)
	left := f.unread()
	closeErr = errors.Join(closeErr, f.closePipe())
	o := outcome{err: err, unclear: f.whole}
	switch {
	case err == nil || errors.Is(err, errExited):
		o = run.outcome()
		o.unclear = o.unclear && f.whole
		o.err = s.judge(o)
		if o.err == nil && (left || err != nil) {
			o.err = drivers.WithHint(fmt.Errorf("%w: %w", drivers.ErrInvalid, run.failure("ended well without having read all of its input")),
				"a program that restores reads its standard input to the end")
		}
	case errors.Is(closeErr, errUnkillable):
		o.unclear = true // it may go on once it can, and its input has ended now
	}
	if o.err == nil && closeErr != nil {
		o.unclear = true
	}
	o.err = errors.Join(o.err, closeErr)
	return o
}

// judge says of a program's failure whether it may run again, and what to do if not.
func (s *Source) judge(o outcome) error {
	if failed, ok := errors.AsType[*failedError](o.err); ok {
		failed.final = !s.options.Idempotent
		if o.unclear && failed.final {
			failed.hint = unclearHint
		}
	}
	return o.err
}

const unclearHint = "look at what it wrote to and empty that, then restore again; a program that may run twice is declared with idempotent: true"

// errExited tells that the program ended before it was given all.
var errExited = errors.New("program has ended")

// feeding is a program's input. The reading end stays open here as well, so that what the program left unread can be
// told after its end.
type feeding struct {
	process *process
	gate    gate
	in      *os.File
	whole   bool // the program was told that its input is at its end
}

// write gives the program all that the reader has, then the end of its input.
func (f *feeding) write(ctx context.Context, from io.Reader) error {
	defer context.AfterFunc(ctx, f.gate.end)()
	done := make(chan struct{})
	var watch sync.WaitGroup
	defer watch.Wait()
	defer close(done)
	watch.Go(func() {
		select {
		case <-f.process.exited:
			f.gate.end()
		case <-done:
		}
	})
	buf := make([]byte, 256<<10)
	for idle := 0; ; {
		n, readErr := from.Read(buf)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if n > 0 {
			idle = 0
			if _, err := f.gate.file.Write(buf[:n]); err != nil {
				return f.writeError(ctx, err)
			}
		} else if idle++; idle == 100 && readErr == nil {
			readErr = io.ErrNoProgress
		}
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			return fmt.Errorf("read part: %w", readErr)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f.whole = true
	if err := f.gate.file.Close(); err != nil {
		return fmt.Errorf("close input of program %s: %w", f.process.name(), err)
	}
	return nil
}

func (f *feeding) writeError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case closed(f.process.exited):
		return errExited
	}
	return fmt.Errorf("write to program %s: %w", f.process.name(), err)
}

func (f *feeding) awaitEnd(ctx context.Context) error {
	stopped := make(chan struct{})
	defer context.AfterFunc(ctx, func() { close(stopped) })()
	select {
	case <-f.process.exited:
		return nil
	case <-stopped:
		if closed(f.process.exited) {
			return nil
		}
		return context.Cause(ctx)
	}
}

// unread tells whether the program, which has ended, left something of its whole input in the pipe. It does not wait:
// nobody else has the writing end, which is closed.
func (f *feeding) unread() bool {
	if !f.whole {
		return false
	}
	n, _ := f.in.Read(make([]byte, 1)) // the end of the pipe is the answer that is hoped for
	return n > 0
}

func (f *feeding) closePipe() error {
	err := f.in.Close()
	if closeErr := f.gate.file.Close(); !errors.Is(closeErr, os.ErrClosed) {
		err = errors.Join(err, closeErr)
	}
	if err != nil {
		return fmt.Errorf("close input of program %s: %w", f.process.name(), err)
	}
	return nil
}
