package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRescueWalk goes the way of docs/rescue.md, statements and commands, and compares what is printed, but for what differs from run
// to run.
func TestRescueWalk(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "rescue.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	db, err := openDB(filepath.Join(dir, "shop.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	capture := regexp.MustCompile(`c\d{8}-\d{6}-[0-9a-f]{4}`)
	places := strings.NewReplacer("/backup", filepath.Join(dir, "backup"))
	shown := strings.NewReplacer(filepath.Join(dir, "backup"), "/backup")
	made, commands := "", 0
	for i, block := range strings.Split(string(page), "```") {
		kind, text, _ := strings.Cut(block, "\n")
		switch {
		case i%2 == 0:
			continue
		case kind == "sql":
			if _, err := db.ExecContext(t.Context(), text); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			continue
		}
		line, _, _ := strings.Cut(text, "\n")
		command, ok := strings.CutPrefix(line, "$ ")
		if !ok {
			continue
		}
		commands++
		words := strings.Fields(capture.ReplaceAllString(places.Replace(command), made))
		cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		if found := capture.FindAllString(string(out), -1); made == "" && len(found) > 0 {
			made = found[len(found)-1]
		}
		if diff := cmp.Diff(lastingCapture(text), lastingCapture(line+"\n"+shown.Replace(string(out)))); diff != "" {
			t.Errorf("%s (-page +program):\n%s", line, diff)
		}
	}
	if commands != 5 {
		t.Errorf("the walk has %d commands", commands)
	}
}

// lastingCapture is lasting with what else differs of a capture.
func lastingCapture(transcript string) string {
	for _, r := range [][2]string{
		{`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`, "RUN"},
		{`salvor_drill_[0-9a-f]{12}`, "SCRATCH"},
		{`"[0-9a-f]{32}"`, "HASH"},
		{`(?m)^took .*$`, "took"},
		{`(?m)^capture \S+: \d+ .*\n`, ""},
		{`captures/site/\S+`, "captures/site/DUMP"},
	} {
		transcript = regexp.MustCompile(r[0]).ReplaceAllString(transcript, r[1])
	}
	return lasting(transcript)
}
