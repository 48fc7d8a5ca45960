package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"salvor/internal/testenv"
)

// envUID makes the command run as that user, where the tests run as root.
const envUID = "SALVOR_TEST_UID"

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"salvor": func() {
		dropRoot()
		os.Exit(start())
	}})
}

// leakChecked fails the tests that leave goroutines behind.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	for name, value := range testenv.S3Environment() {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	code := l.m.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func dropRoot() {
	uid, err := strconv.Atoi(os.Getenv(envUID))
	if err != nil || os.Getuid() != 0 || runtime.GOOS == "windows" {
		return
	}
	for _, err := range []error{syscall.Setgroups(nil), syscall.Setgid(uid), syscall.Setuid(uid)} {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(99)
		}
	}
}
