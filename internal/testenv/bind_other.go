//go:build !linux

package testenv

import "os/exec"

// bind does nothing: only Linux can tie a child's life to its parent's. Tests' cleanup ends the servers.
func bind(*exec.Cmd) {}
