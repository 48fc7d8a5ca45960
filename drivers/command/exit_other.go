//go:build !linux

package command

import "syscall"

// attributes give the program a process group of its own.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitExit waits for the end of a child.
func awaitExit(_ int, reap func() error) {
	_ = reap() // its error is the same for whoever asks next
}
