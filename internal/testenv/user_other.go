//go:build !unix

package testenv

import "os/exec"

// user is a system user that a program runs as; only Unix has them.
type user struct{}

func (*user) assume(*exec.Cmd) {}
