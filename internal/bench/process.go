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
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// command is a program to run, with what it is told.
type command struct {
	name   string
	args   []string
	env    []string // beside this process's own
	dir    string
	stdout io.Writer
}

// usage is what a command took.
type usage struct {
	wall      time.Duration
	processor time.Duration
	resident  memory // at its peak
}

// measure runs a command to its end and returns what it took. A command that fails is an error with the end of what it said.
func (b *bench) measure(ctx context.Context, c command) (usage, error) {
	cmd := exec.CommandContext(ctx, c.name, c.args...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Dir = c.dir
	cmd.Stdout = c.stdout
	said := &tail{}
	cmd.Stderr = said
	// The programs clean up after an interrupt, and what they would leave is removed in any case.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second

	began := time.Now()
	err := cmd.Run()
	wall := time.Since(began)
	if err != nil {
		if ctx.Err() != nil {
			return usage{}, context.Cause(ctx)
		}
		return usage{}, fmt.Errorf("run %s %s: %w\n%s", filepath.Base(c.name), strings.Join(c.args, " "), err, said.text)
	}
	state := cmd.ProcessState
	u := usage{wall: wall, processor: state.UserTime() + state.SystemTime()}
	rusage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return usage{}, errors.New("read the resources that were used: this platform does not tell")
	}
	u.resident = peak(rusage)
	return u, nil
}

// peak returns the most memory that was resident at once.
func peak(r *syscall.Rusage) memory {
	if runtime.GOOS == "darwin" { // which counts bytes
		return memory(r.Maxrss)
	}
	return memory(r.Maxrss) * 1024
}

// blind returns the memory below which measure cannot see: on Linux a program begins with the peak of the process that
// started it (exec_mmap in fs/exec.c). This process keeps itself small for that.
func blind() (memory, error) {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0, fmt.Errorf("read this process's own memory: %w", err)
	}
	return peak(&own), nil
}

// settle writes what earlier commands left in memory to the disk, so that the next one does not pay for it.
func settle() { unix.Sync() }

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

// Write keeps the last 4 KiB.
func (t *tail) Write(p []byte) (int, error) {
	const most = 4096
	t.text = append(t.text, p...)
	if len(t.text) > most {
		t.text = append([]byte(nil), t.text[len(t.text)-most:]...)
	}
	return len(p), nil
}
