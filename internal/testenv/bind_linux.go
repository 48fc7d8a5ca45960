package testenv

import (
	"os/exec"
	"syscall"
)

// bind makes a child die with this process, however that ends.
func bind(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
