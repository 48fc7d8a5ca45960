package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/coordinator"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/workers"
)

// progressOf feeds states, 100 ms apart, to a progress on a terminal of that width (0: none), and returns what it wrote.
func progressOf(t *testing.T, width int, quiet bool, states []coordinator.Progress) string {
	t.Helper()
	var out bytes.Buffer
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	a := &app{
		env:     environment{now: func() time.Time { return now }},
		console: &console{out: &out, width: func() int { return width }, quiet: quiet},
	}
	p := a.newProgress(t.Context(), &engine{worker: &workers.Worker{}})
	p.begin(tasks.Plan{Operation: tasks.OpDump, Dump: "D"})
	for _, s := range states {
		now = now.Add(100 * time.Millisecond)
		p.update(s)
	}
	p.end()
	return out.String()
}

func growing(n int) []coordinator.Progress {
	var states []coordinator.Progress
	for i := range n {
		states = append(states, coordinator.Progress{RunState: ledger.RunState{
			State: ledger.StateRunning, Tasks: 10, TasksDone: i * 10 / n, Weight: int64(n) << 20, WeightDone: int64(i) << 20,
			Bytes: int64(i) << 20, Entries: int64(i),
		}})
	}
	return states
}

func TestProgressPlain(t *testing.T) {
	t.Parallel()
	got := progressOf(t, 0, false, growing(110))
	want := "dump D: started\n" +
		"dump D: 44 %, 6.1 s left, 49.0 MiB, 10.0 MiB/s, 49 entries, 4 of 10 tasks, 5.0 s\n" +
		"dump D: 90 %, 1.1 s left, 99.0 MiB, 10.0 MiB/s, 99 entries, 9 of 10 tasks, 10 s\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestProgressNotable(t *testing.T) {
	t.Parallel()
	news := make([]ledger.Event, 7)
	for i := range news {
		news[i] = ledger.Event{Kind: "death", Node: "s/files", Task: "part:s/files:1", Worker: "w1"}
	}
	got := progressOf(t, 0, false, []coordinator.Progress{
		{News: []ledger.Event{{Kind: "retry", Node: "s/db", Message: "read: no\nroute"}, {Kind: "retry", Task: "commit", Message: "full"}}},
		{News: news},
		{RunState: ledger.RunState{State: ledger.StateCancelling}, News: []ledger.Event{{Kind: "epoch", Node: "s/db"}}},
	})
	want := "dump D: started\ndump D: trying s/db again: read: no; route\ndump D: trying commit again: full\n" +
		strings.Repeat("dump D: doing a part of s/files again: worker w1 was lost\n", 5) + "dump D: and 2 events more like these\n" +
		"dump D: opening the view of s/db again\ndump D: cancelled; ending what runs\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// On a terminal one line is redrawn, never wider than the terminal, and nothing of it stays.
func TestProgressTerminal(t *testing.T) {
	t.Parallel()
	got := progressOf(t, 40, false, growing(30))
	lines := strings.Split(got, "\r\x1b[K")
	if len(lines) < 20 || lines[0] != "" || lines[len(lines)-1] != "" {
		t.Errorf("%d drawings, beginning with %q and ending with %q", len(lines), lines[0], lines[len(lines)-1])
	}
	for _, l := range lines {
		if len(l) >= 40 || strings.Contains(l, "\n") {
			t.Errorf("line %q does not fit", l)
		}
	}
	if !strings.HasPrefix(lines[15], "dump D: 46 %, 1.6 s left, 14.0 MiB") {
		t.Errorf("line %q", lines[15])
	}
}

func TestProgressQuiet(t *testing.T) {
	t.Parallel()
	for _, width := range []int{0, 80} {
		if got := progressOf(t, width, true, growing(100)); got != "" {
			t.Errorf("width %d: %q", width, got)
		}
	}
}

// Lines go above the status line, which stays.
func TestConsole(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &console{out: &out, width: func() int { return 80 }}
	c.setStatus("half")
	c.setStatus("half")
	c.line("a line")
	slog.New(&logHandler{console: c}).With("run", "R").Warn("odd\x1b thing", "error", "x\ny")
	slog.New(&logHandler{console: c}).Info("not seen")
	c.setStatus("")
	c.problem("error", "one\n\ntwo")
	c.problem("hint", "")
	const erase = "\r\x1b[K"
	want := erase + "half" + erase + "a line\nhalf" + erase + "salvor: warning: odd\x1b thing run=R error=\"x\\ny\"\nhalf" + erase +
		"salvor: error: one\nsalvor: error: two\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
