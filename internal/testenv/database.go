//go:build unix

package testenv

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// attempts is how often a server is started: another process may take the port in between.
const attempts = 5

// onFreePort starts a server by start, each time on another port.
func onFreePort(t testing.TB, name string, start func(port int) error) {
	t.Helper()
	for try := 1; ; try++ {
		err := start(FreePort(t))
		if err == nil {
			return
		}
		if try == attempts {
			t.Fatalf("start %s: %v", name, err)
		}
	}
}

// untilItAnswers waits for a server that was started to answer a question.
func (p *process) untilItAnswers(ctx context.Context, limit time.Duration, ask func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if !p.alive() {
			return fmt.Errorf("it ended at once: %s", p.log)
		}
		if time.Now().After(deadline) {
			p.kill()
			return fmt.Errorf("it does not answer: %w: %s", err, p.log)
		}
		pause(ctx, 5*time.Millisecond)
	}
}

// database is what private database servers have in common. Its methods fail the test where they cannot do their work.
type database struct {
	// Dir holds the server's data in Dir/data, and its socket.
	Dir string
	// Port is the server's port on the loopback interface.
	Port int

	t       testing.TB
	name    string // for messages
	user    *user  // that the server runs as
	process *process
	names   atomic.Int64
	// do runs SQL statements in a database and returns the rows of all, as Query does.
	do func(ctx context.Context, database, sql string) (string, error)
}

// place makes the server's directory. Cleaning up ends the server by end first.
func (d *database) place(end func()) error {
	var err error
	if d.user, err = lesser(); err != nil {
		return err
	}
	dir, err := makeDir(d.user)
	if err != nil {
		return err
	}
	d.Dir = dir.path
	d.t.Cleanup(func() {
		end()
		dir.remove()
	})
	return nil
}

// stop ends the server by a signal and waits; what does not end is killed, with its children.
func (d *database) stop(sig syscall.Signal) {
	if d.process == nil || !d.process.alive() {
		return
	}
	_ = d.process.cmd.Process.Signal(sig) // it may be gone
	select {
	case <-d.process.exited:
	case <-time.After(60 * time.Second):
		_ = syscall.Kill(-d.process.cmd.Process.Pid, syscall.SIGKILL)
		d.process.kill()
	}
}

// Log returns the end of what the server said.
func (d *database) Log() string { return d.process.log.String() }

// Pid returns the server's process id.
func (d *database) Pid() int { return d.process.cmd.Process.Pid }

// NewName returns a name that no database of the server has.
func (d *database) NewName() string { return fmt.Sprintf("db%d", d.names.Add(1)) }

// Do runs SQL statements in one session and returns the rows of all, as Query does.
func (d *database) Do(ctx context.Context, database, sql string) (string, error) {
	return d.do(ctx, database, sql)
}

// Exec runs SQL statements in a database.
func (d *database) Exec(database, sql string) {
	d.t.Helper()
	d.Query(database, sql)
}

// Query runs a query and returns its rows, one a line, with | between the columns and NULL as such.
func (d *database) Query(database, sql string) string {
	d.t.Helper()
	text, err := d.do(d.t.Context(), database, sql)
	if err != nil {
		d.t.Fatalf("%s: %v\n%s", d.name, err, sql)
	}
	return text
}

// quoted is a text in single quotes, of which SQL of MariaDB and connection strings of PostgreSQL have the same form.
func quoted(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}
