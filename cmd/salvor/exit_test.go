package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"testing"

	"salvor/archive"
	"salvor/coordinator"
	"salvor/drivers"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// Every code that a worker gives a failure has an exit code: one that is added there is missed here.
func TestFailureExitsCoverWorkersCodes(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../../workers/failure.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`Err\w+, "(\w+)"\}`).FindAllSubmatch(source, -1)
	if len(found) < 10 {
		t.Fatalf("found %d codes only", len(found))
	}
	for _, m := range found {
		if _, ok := failureExits()[string(m[1])]; !ok {
			t.Errorf("code %s has no exit code", m[1])
		}
	}
}

func TestExitOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, exitOK},
		{errors.New("any"), exitFailed},
		{usagef("", "x"), exitUsage},
		{fmt.Errorf("read: %w", &tasks.ConfigError{}), exitUsage},
		{fmt.Errorf("open: %w", archive.ErrNotFound), exitMissing},
		{fmt.Errorf("open: %w", archive.ErrNewerFormat), exitUsage},
		{fmt.Errorf("open: %w", archive.ErrAccess), exitAccess},
		{errors.Join(errors.New("close"), fmt.Errorf("read: %w", archive.ErrCorrupt)), exitCorrupt},
		{fmt.Errorf("watch: %w", coordinator.ErrResumable), exitResumable},
		{fmt.Errorf("open: %w", drivers.ErrNotFound), exitMissing},
		{fmt.Errorf("write: %w", drivers.ErrNoSpace), exitFailed},
		{context.Canceled, exitInterrupted},
		{errors.Join(&exitError{exitIncomplete}, errors.New("close")), exitIncomplete},
		{&resolveError{errors.New("x")}, exitUsage},
	} {
		if got := exitOf(c.err); got != c.want {
			t.Errorf("exitOf(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

func TestExitOfOutcome(t *testing.T) {
	t.Parallel()
	whole := []tasks.NodeResult{{Node: "a"}}
	for _, c := range []struct {
		name    string
		outcome coordinator.Outcome
		want    int
	}{
		{"done", coordinator.Outcome{State: ledger.StateDone, Nodes: whole}, exitOK},
		{"unreadable", coordinator.Outcome{State: ledger.StateDone, Nodes: []tasks.NodeResult{{Unreadable: 1}}}, exitIncomplete},
		{"partial", coordinator.Outcome{State: ledger.StatePartial, Nodes: whole, Failures: []tasks.Failure{{Code: "access"}}}, exitIncomplete},
		{"nothing", coordinator.Outcome{State: ledger.StatePartial, Failures: []tasks.Failure{{Code: "not_found"}, {}}}, exitMissing},
		{"failed", coordinator.Outcome{State: ledger.StateFailed, Failures: []tasks.Failure{{}, {Code: "access"}}}, exitAccess},
		{"unknown", coordinator.Outcome{State: ledger.StateFailed, Failures: []tasks.Failure{{Code: "new"}}}, exitFailed},
		{"cancelled", coordinator.Outcome{State: ledger.StateCancelled}, exitInterrupted},
	} {
		if got := exitOfOutcome(c.outcome); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// Every exit code is explained, once.
func TestExitMeanings(t *testing.T) {
	t.Parallel()
	explained := make(map[int]bool)
	for _, m := range exitMeanings() {
		if explained[m.code] {
			t.Errorf("exit code %d is explained twice", m.code)
		}
		explained[m.code] = true
	}
	for _, e := range errorExits() {
		if !explained[e.code] {
			t.Errorf("exit code %d of %v is not explained", e.code, e.err)
		}
	}
	for name, code := range failureExits() {
		if !explained[code] {
			t.Errorf("exit code %d of %s is not explained", code, name)
		}
	}
}
