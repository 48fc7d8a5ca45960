// Command salvor dumps, restores and verifies ordered sets of databases and directories.
//
// main wires the process (signals, streams, exit code) and nothing else; [run] is the command, one file per subcommand,
// and engine.go joins queue, ledger, worker and coordinator in this process. exit.go holds the one table of exit codes.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata" // zones are known also where the system has none: in a container of this program alone

	"golang.org/x/term"
)

func main() {
	os.Exit(start())
}

func start() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// From the first signal on the next one has its default effect: it kills.
	context.AfterFunc(ctx, stop)
	return run(ctx, os.Args[1:], environment{
		stdin:    os.Stdin,
		stdout:   os.Stdout,
		stderr:   os.Stderr,
		lookup:   os.LookupEnv,
		hostname: os.Hostname,
		now:      time.Now,
		width: func() int {
			fd := int(os.Stderr.Fd())
			if !term.IsTerminal(fd) {
				return 0
			}
			width, _, err := term.GetSize(fd)
			if err != nil {
				return 0
			}
			return width
		},
	})
}
