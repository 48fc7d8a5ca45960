package main

import (
	"bytes"
	"strings"
	"testing"

	"salvor/coordinator"
	"salvor/tasks"
)

// TestHintResume: going on helps where what was in the way has passed, or can be mended.
func TestHintResume(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		failures []tasks.Failure
		code     int
		want     bool
	}{
		"a server that was gone":   {[]tasks.Failure{{Class: tasks.Transient}}, exitFailed, true},
		"a full disk":              {[]tasks.Failure{{Class: tasks.Permanent, Code: "no_space"}}, exitFailed, true},
		"a role to be made":        {[]tasks.Failure{{Class: tasks.Permanent, Code: "failed", Hint: "create the role"}}, exitFailed, true},
		"a statement that is none": {[]tasks.Failure{{Class: tasks.Transient}, {Class: tasks.Permanent, Code: "failed"}}, exitFailed, false},
		"an interrupt":             {[]tasks.Failure{{Class: tasks.Permanent, Code: "cancelled"}}, exitInterrupted, true},
		"a wrong set":              {nil, exitUsage, false},
	} {
		var out bytes.Buffer
		a := &app{console: &console{out: &out, width: func() int { return 0 }}}
		a.hintResume(coordinator.Outcome{Run: "run", Failures: c.failures}, c.code)
		if got := strings.Contains(out.String(), "salvor resume run"); got != c.want {
			t.Errorf("%s: %q", name, out.String())
		}
	}
}
