//go:build unix

package testenv

import (
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"strconv"
	"syscall"
)

// user is a system user that a program runs as, because it refuses to run as root.
type user struct{ uid, gid uint32 }

// lesser returns a user without rights where this process is root, and nil where it is not.
func lesser() (*user, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nobody else is needed
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := osuser.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr != nil || gidErr != nil {
			continue
		}
		return &user{uint32(uid), uint32(gid)}, nil
	}
	return nil, fmt.Errorf("this process is root, which the program refuses, and there is no user nobody")
}

// assume makes a command run as the user.
func (u *user) assume(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: u.uid, Gid: u.gid}
}

// write makes a file that only the user may read.
func (u *user) write(path string, content []byte) error {
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	return u.own(path)
}

// own gives a file or a directory to the user.
func (u *user) own(path string) error {
	if u == nil {
		return nil
	}
	return os.Chown(path, int(u.uid), int(u.gid))
}
