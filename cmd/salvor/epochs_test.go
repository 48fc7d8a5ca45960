package main

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"

	"salvor/coordinator"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// TestLostViewsAreTold looks for lost views in what a dump says at its end.
func TestLostViewsAreTold(t *testing.T) {
	t.Parallel()
	for epochs, want := range map[int]string{0: "", 1: "a consistent view was lost 1 time ", 2: "a consistent view was lost 2 times "} {
		var out bytes.Buffer
		a := &app{console: &console{out: &out, width: func() int { return 0 }}, out: bufio.NewWriter(io.Discard)}
		if err := a.reportDump(coordinator.Outcome{State: ledger.StateDone, Epochs: epochs}, exitOK, "/archive", &tasks.Node{Name: "site"}); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); want == "" && strings.Contains(got, "view") || !strings.Contains(got, want) {
			t.Errorf("%d epochs: %s", epochs, got)
		}
	}
}
