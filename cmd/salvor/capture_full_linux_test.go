package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A scratch space without room for the dump: the capture fails, says so, and leaves nothing there.
func TestCaptureScratchFull(t *testing.T) {
	t.Parallel()
	if !privately(t) {
		return
	}
	s := newSources(t)
	archive := filepath.Join(t.TempDir(), "archive")
	mustCall(t, "dump", "-q", "--archive", archive, "site=sqlite:"+s.database)
	d := newDisk(t)
	d.set(t, "size=64k")
	stdout, stderr, code := call(t, "capture", "--archive", archive, "-q", "--source", "site=sqlite:"+s.database, "--against", "latest", "--scratch", d.path)
	if stdout != "" || code != exitFailed || !strings.Contains(stderr, "no space left") || !strings.Contains(stderr, "hint: the dump is restored to be compared with") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	left, err := os.ReadDir(d.path)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if list := mustCall(t, "list", "--archive", archive, "--json"); strings.Contains(list, `"type":"capture"`) {
		t.Errorf("a capture is listed: %s", list)
	}
	d.set(t, "size=16m")
	if l := mustCapture(t, "--archive", archive, "--source", "site=sqlite:"+s.database, "--against", "latest", "--scratch", d.path); l.Created+l.Modified+l.Deleted != 0 {
		t.Errorf("captured %+v", l)
	}
}
