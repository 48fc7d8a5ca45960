package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"salvor/drivers"
)

// process is a running program with all that it started, as far as that stayed in its process group.
//
// It does without the copying, the killing and the WaitDelay of os/exec. WaitDelay counts from the program's end, and
// would cut the output of a program that has ended while a slow archive still takes it; and it kills the program alone.
type process struct {
	program
	grace  time.Duration
	group  int
	exited chan struct{} // closed when the program itself has ended
	reap   func() error  // frees its process id; once
	state  func() *os.ProcessState

	tail    tail
	said    *os.File      // the reading end of what it says
	drained chan struct{} // closed when nothing more is read from said
	halt    func() error  // ends the group; once
}

// errUnkillable tells that a killed program did not end.
var errUnkillable = errors.New("it was killed and does not end")

// start runs the program. stdin and stdout are its own ends of pipes and stay open here; without a stdin it reads
// nothing, without a stdout what it prints is kept with what it says on standard error. The program does not end with
// ctx: whoever starts it calls close.
func (p program) start(ctx context.Context, stdin, stdout *os.File, l limits) (_ *process, err error) {
	path, err := p.find()
	if err != nil {
		return nil, err
	}
	said, says, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer func() {
		err = errors.Join(err, says.Close())
		if err != nil {
			err = errors.Join(err, said.Close())
		}
	}()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path)
	cmd.Args = p.argv
	cmd.Dir = p.dir
	cmd.Env = p.environ()
	cmd.Stdout, cmd.Stderr = says, says
	if stdin != nil {
		cmd.Stdin = stdin
	}
	if stdout != nil {
		cmd.Stdout = stdout
	}
	cmd.SysProcAttr = attributes()
	run := &process{
		program: p, grace: l.grace, said: said, exited: make(chan struct{}), drained: make(chan struct{}),
		reap: sync.OnceValue(cmd.Wait), state: func() *os.ProcessState { return cmd.ProcessState },
	}
	run.halt = sync.OnceValue(run.stop)
	started := make(chan error)
	go run.await(cmd, started)
	if err := <-started; err != nil {
		return nil, p.explain(err)
	}
	go run.drain()
	return run, nil
}

// await starts the program and waits for its end. A program is told of the death of the thread that started it, not of the
// process, so the thread must be this goroutine's own until then.
func (p *process) await(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	if err == nil {
		p.group = cmd.Process.Pid
	}
	started <- err
	if err != nil {
		return
	}
	awaitExit(p.group, p.reap)
	close(p.exited)
}

// drain keeps the end of what the program says.
func (p *process) drain() {
	defer close(p.drained)
	_, _ = io.Copy(&p.tail, p.said) // its end is the program's or the deadline that close sets; both are well
}

// signal sends a signal to the group; nil where there is nobody.
func (p *process) signal(s syscall.Signal) error {
	err := syscall.Kill(-p.group, s)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// stop asks the group to end, and kills what has not ended after the grace. The program is not reaped before all of its
// group was told: until then its process id, which is the group's, cannot be given to others.
func (p *process) stop() error {
	deadline := time.NewTimer(p.grace)
	defer deadline.Stop()
	err := errors.Join(p.signal(syscall.SIGTERM), p.signal(syscall.SIGCONT)) // a stopped one could not end
	select {
	case <-p.exited:
	case <-deadline.C:
		err = p.signal(syscall.SIGKILL)
		deadline.Reset(p.grace)
		select {
		case <-p.exited:
		case <-deadline.C:
			return errors.Join(errUnkillable, err)
		}
	}
	_ = p.reap() // why it ended is known: it was told to
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(-p.group, 0) == nil {
		select {
		case <-tick.C:
			continue
		case <-deadline.C:
		}
		return errors.Join(err, p.signal(syscall.SIGKILL))
	}
	return nil
}

// close sees to it that the program does not run any more and frees what it took. After a failure, its own or that of who
// uses it, that is the whole group; a program that did well may leave others behind, as ssh does. Unless it is to be
// stopped, the program must have ended.
func (p *process) close(stop bool) error {
	var err error
	if stop {
		err = p.halt()
	}
	// What was said last is in the pipe already; a process that stays may keep it open for ever.
	err = errors.Join(err, p.said.SetReadDeadline(time.Now().Add(lastWords)))
	<-p.drained
	err = errors.Join(err, p.said.Close())
	if !errors.Is(err, errUnkillable) && p.reap() != nil {
		err = errors.Join(err, p.halt()) // the rest of its group
	}
	if err != nil {
		return fmt.Errorf("end program %s: %w", p.name(), err)
	}
	return nil
}

// lastWords is how long is waited for the end of what an ended program said.
const lastWords = time.Second

// outcome is how the program ended.
type outcome struct {
	err error // nil after status 0
	// unclear tells that the program did not say itself how it went: it, or what a shell ran for it, was killed, or the
	// connection that ssh held was lost.
	unclear bool
}

// outcome is known after close.
func (p *process) outcome() outcome {
	state := p.state()
	if state == nil {
		return outcome{p.failed("did not end"), true}
	}
	if state.Success() {
		return outcome{}
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return outcome{p.failed(fmt.Sprintf("was ended by a signal (%s)", status.Signal())), true}
	}
	return outcome{p.failed(fmt.Sprintf("ended with status %d", state.ExitCode())), state.ExitCode() > 128}
}

// failed is the failure of a program by its own account, which is not tried again.
func (p *process) failed(how string) error {
	return &failedError{
		error: p.failure(how), final: true,
		hint: "run the program by hand, as this user, to see what is wrong with it; stderr_lines shows more of what it says",
	}
}

// failedError is the end of a program that did not end well.
type failedError struct {
	error
	final bool // it is not to be run again
	hint  string
}

func (e *failedError) Unwrap() error { return e.error }

// Is tells of a failure that is final that it is [drivers.ErrFailed].
func (e *failedError) Is(target error) bool { return e.final && target == drivers.ErrFailed }

// Hint returns what the user can do.
func (e *failedError) Hint() string { return e.hint }

// failure is an error with the end of what the program said.
func (p *process) failure(how string) error {
	said := p.tail.text(p.lines, p.hidden)
	if said == "" {
		return fmt.Errorf("program %s %s and said nothing", p.name(), how)
	}
	return fmt.Errorf("program %s %s: %s", p.name(), how, said)
}

// gate is one end of a pipe whose use can be given a limit, or be ended for good, by others than who uses it.
type gate struct {
	mu   sync.Mutex
	file *os.File
	shut bool
}

// limit ends a read or write that takes longer from now on.
func (g *gate) limit(d time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return nil
	}
	return g.file.SetDeadline(time.Now().Add(d))
}

// end ends the read or write that is going on, and all that follow.
func (g *gate) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	_ = g.file.SetDeadline(time.Unix(1, 0)) // fails only where the file is closed, and so at its end
}

var errNoPart = fmt.Errorf("no such part: %w", drivers.ErrInvalid)
