package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"salvor/drivers"
)

// partName is the name of the only part.
const partName = "output"

// ref describes the part; it is kept in the dump. The meaning of a field never changes.
type ref struct {
	Program string `json:"program"`
	// Identity is that of the program which dumped, so that it is not taken for one that restores.
	Identity string `json:"identity"`
}

// view is one run of a program.
type view struct {
	limits  limits
	process *process
	part    drivers.Part
	facts   json.RawMessage
	gate    gate
	reading sync.WaitGroup
	ending  chan struct{} // closed when the view ends

	mu    sync.Mutex
	read  bool  // somebody reads the output, or has read it
	lost  error // why nothing can be had from the view
	ended bool
}

// Freeze starts the program. It waits, once the pipe is full, until its output is read.
func (s *Source) Freeze(ctx context.Context) (drivers.View, error) {
	v, err := s.freeze(ctx)
	if err != nil {
		return nil, fmt.Errorf("freeze command: %w", err)
	}
	return v, nil
}

func (s *Source) freeze(ctx context.Context) (_ *view, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := s.dumping()
	if err != nil {
		return nil, err
	}
	v := &view{limits: s.limits, ending: make(chan struct{})}
	if v.part, v.facts, err = p.describe(s.options.Ext); err != nil {
		return nil, err
	}
	out, prints, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	v.gate.file = out
	v.process, err = p.start(ctx, nil, prints, s.limits)
	if closeErr := prints.Close(); err == nil && closeErr != nil {
		err = errors.Join(closeErr, v.process.close(true))
	}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return v, nil
}

func (p program) describe(ext string) (drivers.Part, json.RawMessage, error) {
	id, err := p.identity()
	if err != nil {
		return drivers.Part{}, nil, err
	}
	text, err := json.Marshal(ref{Program: p.name(), Identity: id})
	if err != nil {
		return drivers.Part{}, nil, fmt.Errorf("describe part: %w", err)
	}
	facts, err := json.Marshal(map[string]any{"program": p.name()})
	if err != nil {
		return drivers.Part{}, nil, fmt.Errorf("describe view: %w", err)
	}
	return drivers.Part{Name: partName, Ext: ext, Ref: text}, facts, nil
}

// Facts names the program.
func (v *view) Facts() json.RawMessage { return v.facts }

// Parts yields the only part.
func (v *view) Parts(ctx context.Context, yield func(drivers.Part) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return yield(v.part)
}

// Dump copies the program's output and waits for its end. It can be done once: a program does not print the same twice.
// After that, and after a failure of w or a cancel, the view is lost. A program that fails has failed for good: it is not run
// again unasked.
func (v *view) Dump(ctx context.Context, part drivers.Part, w io.Writer) (drivers.Counts, error) {
	if part.Name != partName {
		return drivers.Counts{}, fmt.Errorf("dump part %q: %w", part.Name, errNoPart)
	}
	if err := v.begin(ctx); err != nil {
		return drivers.Counts{}, err
	}
	defer v.reading.Done()
	writeErr, err := v.copy(ctx, w)
	if err = errors.Join(err, v.process.close(err != nil || writeErr != nil)); err == nil {
		err = v.process.outcome().err
	}
	if err == nil && writeErr == nil {
		return drivers.Counts{}, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case writeErr != nil:
		v.lost = errors.New("its output could not be written")
		return drivers.Counts{}, writeErr
	case ctx.Err() != nil:
		v.lost = errors.New("it was cancelled")
		return drivers.Counts{}, context.Cause(ctx)
	}
	v.lost = err
	return drivers.Counts{}, v.lostError()
}

// begin takes the right to read the output.
func (v *view) begin(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.ended:
		return v.lostError()
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case v.read:
		return v.lostError()
	}
	v.read = true
	v.reading.Add(1)
	return nil
}

// lostError tells why the view is lost; mu is held.
func (v *view) lostError() error {
	switch {
	case errors.Is(v.lost, drivers.ErrFailed):
		return v.lost // another view would end like this one
	case v.lost != nil:
		return fmt.Errorf("%w: %w", drivers.ErrViewLost, v.lost)
	case v.ended:
		return fmt.Errorf("view of program %s has ended: %w", v.process.name(), drivers.ErrViewLost)
	}
	return fmt.Errorf("the output of program %s was read already: %w", v.process.name(), drivers.ErrViewLost)
}

// copy copies the output until its end and the program's. writeErr is an error of w.
func (v *view) copy(ctx context.Context, w io.Writer) (writeErr, err error) {
	defer context.AfterFunc(ctx, v.gate.end)()
	done := make(chan struct{})
	var watch sync.WaitGroup
	defer watch.Wait()
	defer close(done)
	watch.Go(func() {
		select {
		case <-v.process.exited:
			_ = v.gate.limit(v.limits.quiet) // for a read that waits now; the others set it themselves
		case <-done:
		}
	})
	buf := make([]byte, 256<<10)
	for {
		if closed(v.process.exited) {
			if err := v.gate.limit(v.limits.quiet); err != nil {
				return nil, fmt.Errorf("read output: %w", err)
			}
		}
		n, err := v.gate.file.Read(buf)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err, nil
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil, v.awaitEnd(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded) && closed(v.ending):
			return nil, errEnded
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, &failedError{
				error: v.process.failure("ended, and others keep its output open"), final: true,
				hint: "what it starts must end before it, or close its standard output",
			}
		case err != nil:
			return nil, fmt.Errorf("read output of program %s: %w", v.process.name(), err)
		}
	}
}

var errEnded = errors.New("view was ended while it was read")

// awaitEnd waits for a program that has closed its output.
func (v *view) awaitEnd(ctx context.Context) error {
	stopped := make(chan struct{})
	defer context.AfterFunc(ctx, func() { close(stopped) })()
	select {
	case <-v.process.exited:
		return nil
	case <-stopped:
		return context.Cause(ctx)
	case <-v.ending:
		return errEnded
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Alive tells whether the output can be had, or was had. Of a program's failure Dump has told.
func (v *view) Alive(context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.lost != nil && !errors.Is(v.lost, drivers.ErrFailed) || v.ended {
		return v.lostError()
	}
	return nil
}

// End ends the program if it still runs. Its output, if it was read, was all of it: Dump has told.
func (v *view) End(context.Context) error {
	v.mu.Lock()
	if v.ended {
		v.mu.Unlock()
		return nil
	}
	v.ended = true
	read := v.read
	v.mu.Unlock()
	close(v.ending)
	v.gate.end()
	var err error
	if !read {
		err = v.process.close(true)
	}
	v.reading.Wait()
	if closeErr := v.gate.file.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("close output of program %s: %w", v.process.name(), closeErr))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.lost != nil {
		err = errors.Join(err, v.lostError())
	}
	return err
}
