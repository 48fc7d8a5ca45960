//go:build unix

package postgres

import (
	"os/exec"
	"syscall"
)

// ownGroup gives a program a process group of its own, so that a terminal's interrupt does not end it before this process
// decides, and ends the whole group on cancel.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
