package command

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes give the program a process group of its own, and end it with this process: it would otherwise take the end
// of its input for the end of the data.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitExit waits for the end of a child and leaves it to be reaped.
func awaitExit(pid int, reap func() error) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case err == nil:
			return
		case !errors.Is(err, unix.EINTR):
			_ = reap() // its error is the same for whoever asks next
			return
		}
	}
}
