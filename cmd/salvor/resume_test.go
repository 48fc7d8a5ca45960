package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salvor/archive"
)

// lifetime is what an open run's mark says of its process.
type lifetime map[string]any

// interrupt takes the last run of an archive back to where a kill would have left it.
func interrupt(t *testing.T, place string, process lifetime) archive.Run {
	t.Helper()
	ctx := t.Context()
	a, err := archive.Open(ctx, place, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	runs, err := a.Runs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	run := runs[len(runs)-1]
	about := map[string]any{"operation": run.Operation, "set": run.Set, "dump": run.Dump, "process": process}
	mark := map[string]any{"type": "open", "format": 1, "run": run.Run, "about": about}
	if run.Operation == "dump" {
		mark["set"], mark["dump"] = run.Set, run.Dump
		if err := os.Remove(filepath.Join(place, "dumps", run.Set, run.Dump, "manifest.json")); err != nil {
			t.Fatal(err)
		}
	} else {
		var outcome map[string]any
		if err := json.Unmarshal(run.Detail, &outcome); err != nil {
			t.Fatal(err)
		}
		about["plan"] = outcome["plan"]
	}
	data, err := json.Marshal(mark)
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, '\n')
	data = fmt.Appendf(data, "%x\n", sha256.Sum256(data))
	name := filepath.Join(place, "runs", run.Run)
	if err := errors.Join(os.WriteFile(name+".open", data, 0o600), os.Remove(name+".json")); err != nil {
		t.Fatal(err)
	}
	return run
}

// dead is a process of this machine that is gone.
func dead(t *testing.T) lifetime {
	t.Helper()
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		data, err := os.ReadFile(name)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(data))
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	return lifetime{
		"hostname": hostname, "pid": 1<<22 + 1, "machine": read("/etc/machine-id"), "boot": read("/proc/sys/kernel/random/boot_id"), "space": space,
	}
}

func TestResumeInterruptedDump(t *testing.T) {
	t.Parallel()
	source := writeTree(t, map[string]string{"a": "1", "b/c": "2"})
	place := filepath.Join(t.TempDir(), "archive")
	dump := strings.TrimSpace(mustCall(t, "dump", "--archive", place, "dir:"+source))
	run := interrupt(t, place, dead(t))
	if list := mustCall(t, "list", "--archive", place); strings.Contains(list, dump) {
		t.Errorf("an uncommitted dump is listed:\n%s", list)
	}
	if got := strings.TrimSpace(mustCall(t, "resume", "--archive", place)); got != dump {
		t.Errorf("resume answered %q, want %s", got, dump)
	}
	target := filepath.Join(t.TempDir(), "new")
	mustCall(t, "restore", "--archive", place, dump, "--into", target)
	if data, err := os.ReadFile(filepath.Join(target, "b/c")); err != nil || string(data) != "2" {
		t.Errorf("restored: %q, %v", data, err)
	}
	_, problems, code := call(t, "resume", "--archive", place, run.Run)
	if code != exitUsage || !strings.Contains(problems, "the run is done") {
		t.Errorf("resume of a run that is done: exit code %d\n%s", code, problems)
	}
}

// TestResumeCommittedDump: killed between the commit and the report.
func TestResumeCommittedDump(t *testing.T) {
	t.Parallel()
	source := writeTree(t, map[string]string{"a": "1"})
	place := filepath.Join(t.TempDir(), "archive")
	dump := strings.TrimSpace(mustCall(t, "dump", "--archive", place, "dir:"+source))
	manifest := filepath.Join(place, "dumps/default", dump, "manifest.json")
	data, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	interrupt(t, place, dead(t))
	if err := os.WriteFile(manifest, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(source); err != nil { // nothing is read again
		t.Fatal(err)
	}
	if got := strings.TrimSpace(mustCall(t, "resume", "--archive", place)); got != dump {
		t.Errorf("resume answered %q, want %s", got, dump)
	}
	if runs := mustCall(t, "runs", "--archive", place); !strings.Contains(runs, "done") || strings.Contains(runs, "open") {
		t.Errorf("runs after the resume:\n%s", runs)
	}
}

func TestResumeRefuses(t *testing.T) {
	t.Parallel()
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		process lifetime
		want    string
	}{
		"another machine": {lifetime{"hostname": "elsewhere", "pid": 7}, "process 7 on elsewhere carried it out, and from here nobody can tell whether it lives\n" +
			"salvor: hint: make sure that it is gone, then --force\n"},
		"a queue": {lifetime{"hostname": hostname, "pid": 7, "queue": "redis:6379"}, "it ran on the queue at redis:6379\n" +
			"salvor: hint: name its queue with --queue; --force if that is gone for good\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := writeTree(t, map[string]string{"a": "1"})
			place := filepath.Join(t.TempDir(), "archive")
			dump := strings.TrimSpace(mustCall(t, "dump", "--archive", place, "dir:"+source))
			run := interrupt(t, place, c.process)
			_, problems, code := call(t, "resume", "--archive", place)
			want := fmt.Sprintf("salvor: error: run %s: it may still be carried out: %s", run.Run, c.want)
			if code != exitUsage || problems != want {
				t.Errorf("exit code %d, want %d\n%swant\n%s", code, exitUsage, problems, want)
			}
			if got := strings.TrimSpace(mustCall(t, "resume", "--archive", place, "--force")); got != dump {
				t.Errorf("forced resume answered %q, want %s", got, dump)
			}
		})
	}
}

// TestResumeFailedRestore: what failed is resumed by its name, with the same target.
func TestResumeFailedRestore(t *testing.T) {
	t.Parallel()
	source := writeTree(t, map[string]string{"a": "1", "z/b": "2"})
	place := filepath.Join(t.TempDir(), "archive")
	mustCall(t, "dump", "--archive", place, "dir:"+source)
	target := filepath.Join(t.TempDir(), "new")
	if err := os.MkdirAll(target, 0o755); err != nil {
		t.Fatal(err)
	}
	obstacle := filepath.Join(target, "a")
	if err := os.WriteFile(obstacle, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, problems, code := call(t, "restore", "--archive", place, "--into", target); code != exitUsage {
		t.Fatalf("restore over a file: exit code %d\n%s", code, problems)
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	_, problems, code := call(t, "resume", "--archive", place)
	if want := "salvor: error: no run is open\nsalvor: hint: salvor runs lists all runs; one that failed or was cancelled is resumed by its name\n"; code != exitUsage || problems != want {
		t.Errorf("resume without an open run: exit code %d\n%s", code, problems)
	}
	a, err := archive.Open(t.Context(), place, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	runs, err := a.Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	mustCall(t, "resume", "--archive", place, runs[1].Run)
	if data, err := os.ReadFile(filepath.Join(target, "z/b")); err != nil || string(data) != "2" {
		t.Errorf("restored: %q, %v", data, err)
	}
	_, problems, code = call(t, "resume", "--archive", place, runs[1].Run)
	if code != exitUsage || !strings.Contains(problems, "the run is done") {
		t.Errorf("resume of a restore that is done: exit code %d\n%s", code, problems)
	}
}

// TestResumeRunsNoProgramOfTheArchive: who can write to an archive does not choose what a resume runs.
func TestResumeRunsNoProgramOfTheArchive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	place := filepath.Join(dir, "archive")
	trace := filepath.Join(dir, "trace")
	mustCall(t, "dump", "--archive", place, "it=command:echo hello")
	_, problems, code := call(t, "restore", "--archive", place, "--into", "it=command:sh -c 'echo ran >>"+trace+"; exit 3'")
	if code != exitFailed {
		t.Fatalf("restore into a program that fails: exit code %d\n%s", code, problems)
	}
	if err := os.Remove(trace); err != nil {
		t.Fatal(err)
	}
	restore := interrupt(t, place, dead(t))
	_, problems, code = call(t, "resume", "--archive", place)
	if code != exitUsage || !strings.Contains(problems, "one that only the archive names is not run") {
		t.Errorf("resume of a restore into a program: exit code %d\n%s", code, problems)
	}
	mustCall(t, "resume", "--archive", place, "--into", "it=command:sh -c 'cat >"+trace+".2'")
	if data, err := os.ReadFile(trace + ".2"); err != nil || string(data) != "hello\n" {
		t.Errorf("restored %q, %v", data, err)
	}
	_, problems, code = call(t, "resume", "--archive", place, restore.Run)
	if code != exitUsage {
		t.Errorf("resume of what is done: exit code %d\n%s", code, problems)
	}

	place = filepath.Join(dir, "other")
	mustCall(t, "dump", "--archive", place, "it=command:sh -c 'echo ran >>"+trace+"'")
	if err := os.Remove(trace); err != nil {
		t.Fatal(err)
	}
	interrupt(t, place, dead(t))
	nodes := filepath.Join(place, "dumps/default/*/nodes/default")
	if found, err := filepath.Glob(nodes); err != nil || len(found) != 1 || os.RemoveAll(found[0]) != nil {
		t.Fatalf("node manifests: %v, %v", found, err)
	}
	_, problems, code = call(t, "resume", "--archive", place)
	if code != exitUsage || !strings.Contains(problems, "a program that only the archive names is not run") {
		t.Errorf("resume of a dump of a program: exit code %d\n%s", code, problems)
	}
	if _, err := os.Stat(trace); err == nil {
		t.Error("a program that only the archive names was run")
	}
}

// TestCancelInterruptedRun: a run that nobody carries out is given up, and can still be resumed by its name.
func TestCancelInterruptedRun(t *testing.T) {
	t.Parallel()
	source := writeTree(t, map[string]string{"a": "1"})
	place := filepath.Join(t.TempDir(), "archive")
	dump := strings.TrimSpace(mustCall(t, "dump", "--archive", place, "dir:"+source))
	run := interrupt(t, place, lifetime{"hostname": "elsewhere", "pid": 7})
	_, problems, code := call(t, "cancel", "--archive", place, run.Run)
	if code != exitUsage || !strings.Contains(problems, "hint: make sure that it is gone, then --force") {
		t.Errorf("cancel of a run of another machine: exit code %d\n%s", code, problems)
	}
	mustCall(t, "cancel", "--archive", place, run.Run, "--force")
	if runs := mustCall(t, "runs", "--archive", place); !strings.Contains(runs, "cancelled") || strings.Contains(runs, "open") {
		t.Errorf("runs after the cancel:\n%s", runs)
	}
	_, problems, code = call(t, "cancel", "--archive", place, run.Run)
	if code != exitUsage || !strings.Contains(problems, "has ended already: cancelled") {
		t.Errorf("cancel of a run that has ended: exit code %d\n%s", code, problems)
	}
	if got := strings.TrimSpace(mustCall(t, "resume", "--archive", place, run.Run)); got != dump {
		t.Errorf("resume answered %q, want %s", got, dump)
	}
}

// TestResumeOfAnotherHost: a node of another host would wait for ever for somebody to serve that.
func TestResumeOfAnotherHost(t *testing.T) {
	t.Parallel()
	source := writeTree(t, map[string]string{"a": "1"})
	config := filepath.Join(writeTree(t, map[string]string{
		"set.yaml": "archive: archive\nset:\n  name: site\n  children:\n    - {name: files, driver: filesystem, source: " + source + ", host: web-1}\n",
	}), "set.yaml")
	mustCall(t, "dump", "--config", config, "--host", "web-1")
	interrupt(t, filepath.Join(filepath.Dir(config), "archive"), dead(t))
	_, problems, code := call(t, "resume", "--config", config)
	if code != exitUsage || !strings.Contains(problems, "node site/files is bound to host web-1, and this is here") {
		t.Errorf("resume on another host: exit code %d\n%s", code, problems)
	}
	mustCall(t, "resume", "--config", config, "--host", "web-1")
}

// TestResumeShowsForeignPlaces: where others can write to the archive, what it says is read and written is for the user to confirm.
func TestResumeShowsForeignPlaces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := writeTree(t, map[string]string{"a": "1"})
	place := filepath.Join(dir, "archive")
	config := filepath.Join(dir, "set.yaml")
	if err := os.WriteFile(config, []byte("archive: archive\nset: {name: files, driver: filesystem, source: "+source+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dump := strings.TrimSpace(mustCall(t, "dump", "--config", config))
	if err := os.Chmod(filepath.Join(place, "runs"), 0o777); err != nil {
		t.Fatal(err)
	}
	run := interrupt(t, place, dead(t))
	_, problems, code := call(t, "resume", "--archive", place)
	want := "salvor: error: run " + run.Run + " would dump files from dir:" + source + "; so says the archive alone, and others can write to that\n" +
		"salvor: hint: if that is what you want: salvor resume " + run.Run + " --as-stored\n"
	if code != exitUsage || problems != want {
		t.Errorf("resume: exit code %d\n%swant\n%s", code, problems, want)
	}
	if got := strings.TrimSpace(mustCall(t, "resume", "--config", config)); got != dump { // the config says the same
		t.Errorf("resume answered %q, want %s", got, dump)
	}
	target := filepath.Join(dir, "new")
	mustCall(t, "restore", "--archive", place, "--set", "files", "--overwrite", "--into", target)
	if data, err := os.ReadFile(filepath.Join(target, "a")); err != nil || string(data) != "1" {
		t.Errorf("restored: %q, %v", data, err)
	}
}

// TestResumeWithoutPlan: killed between its mark and its plan, a run has nothing to go on with, and can be ended.
func TestResumeWithoutPlan(t *testing.T) {
	t.Parallel()
	source := writeTree(t, map[string]string{"a": "1"})
	place := filepath.Join(t.TempDir(), "archive")
	dump := strings.TrimSpace(mustCall(t, "dump", "--archive", place, "dir:"+source))
	run := interrupt(t, place, dead(t))
	if err := os.RemoveAll(filepath.Join(place, "dumps", "default", dump)); err != nil {
		t.Fatal(err)
	}
	_, problems, code := call(t, "resume", "--archive", place)
	if code != exitUsage || !strings.Contains(problems, "it was killed before it began\nsalvor: hint: dump anew; salvor cancel "+run.Run) {
		t.Errorf("resume: exit code %d\n%s", code, problems)
	}
	mustCall(t, "cancel", "--archive", place, run.Run)
	if runs := mustCall(t, "runs", "--archive", place); strings.Contains(runs, "open") {
		t.Errorf("runs after the cancel:\n%s", runs)
	}
}

// TestResumeHealsItsReport: the dump was committed, and the report says otherwise.
func TestResumeHealsItsReport(t *testing.T) {
	t.Parallel()
	source := writeTree(t, map[string]string{"a": "1"})
	place := filepath.Join(t.TempDir(), "archive")
	dump := strings.TrimSpace(mustCall(t, "dump", "--archive", place, "dir:"+source))
	manifest := filepath.Join(place, "dumps/default", dump, "manifest.json")
	data, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	run := interrupt(t, place, dead(t))
	mustCall(t, "cancel", "--archive", place, run.Run)
	if err := os.WriteFile(manifest, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(mustCall(t, "resume", "--archive", place, run.Run)); got != dump {
		t.Errorf("resume answered %q, want %s", got, dump)
	}
	if runs := mustCall(t, "runs", "--archive", place); !strings.Contains(runs, "done") || strings.Contains(runs, "cancelled") {
		t.Errorf("runs after the resume:\n%s", runs)
	}
}
