package coordinator

import (
	"maps"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/tasks"
)

func planDrivers() []tasks.Driver {
	return []tasks.Driver{{Name: "sqlite", Scheme: "sqlite", Holds: true, Path: func(string) bool { return true }}, {Name: "filesystem", Scheme: "dir", Path: func(string) bool { return true }}}
}

func parseSet(t *testing.T, text string) tasks.BackupSet {
	t.Helper()
	set, err := tasks.Parse([]byte(text), tasks.ParseOptions{File: "/etc/backupset.yaml", Drivers: planDrivers()})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

const resumeSet = `
set:
  name: site
  children:
    - name: databases
      freeze: together
      children:
        - {name: main, driver: sqlite, source: /main.db}
        - {name: other, driver: sqlite, source: /other.db}
    - {name: alone, driver: sqlite, source: /alone.db}
    - {name: files, driver: filesystem, source: /files, after: [main]}
`

// TestResumedPlans: of sealed nodes only their seals are left, of groups all or nothing, and nothing needs what is gone.
func TestResumedPlans(t *testing.T) {
	t.Parallel()
	const main, other, alone, files = "site/databases/main", "site/databases/other", "site/alone", "site/files"
	for _, c := range []struct {
		sealed, again []string
	}{
		{nil, []string{main, other, alone, files}},
		{[]string{main}, []string{main, other, alone, files}},
		{[]string{main, other}, []string{alone, files}},
		{[]string{main, other, alone}, []string{files}},
		{[]string{main, other, alone, files}, nil},
		// What stands behind a node that is dumped again is dumped again, or the order of the set would not hold.
		{[]string{main, alone, files}, []string{main, other, alone, files}},
		{[]string{main, other, files}, []string{alone, files}},
	} {
		plan, err := PlanDump(DumpInput{
			Run: "run", Archive: "/backups", Dump: "20261122-043000-7f3a", Set: parseSet(t, resumeSet), Drivers: planDrivers(),
		})
		if err != nil {
			t.Fatal(err)
		}
		sealed := make(map[string]bool)
		for _, n := range c.sealed {
			sealed[n] = true
		}
		if err := unseal(&plan, sealed); err != nil {
			t.Fatal(err)
		}
		if err := withoutSealed(&plan, sealed); err != nil {
			t.Fatal(err)
		}
		ids := make(map[string]bool)
		parts := make(map[string]bool)
		for _, s := range plan.Steps {
			ids[s.ID] = true
			if s.Kind == tasks.KindPart {
				parts[s.Node] = true
			}
			if s.Kind == tasks.KindSeal && sealed[s.Node] != (string(s.Tasks[0].Spec) == `{"sealed":true}`) {
				t.Errorf("sealed %v: seal of %s is told %s", c.sealed, s.Node, s.Tasks[0].Spec)
			}
		}
		slices.Sort(c.again)
		if diff := cmp.Diff(c.again, slices.Sorted(maps.Keys(parts))); diff != "" {
			t.Errorf("sealed %v: dumped again (-want +got):\n%s", c.sealed, diff)
		}
		for _, s := range plan.Steps {
			for _, need := range s.Needs {
				if !ids[need] {
					t.Errorf("sealed %v: step %s needs %s, which is gone", c.sealed, s.ID, need)
				}
			}
		}
	}
}

func TestProcessLife(t *testing.T) {
	t.Parallel()
	self, err := thisProcess("")
	if err != nil {
		t.Fatal(err)
	}
	if self.Machine == "" {
		self.Machine = "a machine"
	}
	child := exec.CommandContext(t.Context(), "sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	other := self
	other.PID = child.Process.Pid
	other.Started, _ = startOf(other.PID)
	if got := other.life(self); got != lifeGoesOn {
		t.Errorf("a process that runs: %v", got)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	if got := other.life(self); got != lifeOver {
		t.Errorf("a process that was killed: %v", got)
	}
	if got := self.life(self); got != lifeGoesOn {
		t.Errorf("this process: %v", got)
	}
	bare := Process{Hostname: self.Hostname, PID: other.PID, Boot: "before"}
	if got := bare.life(Process{Hostname: self.Hostname, Boot: self.Boot}); got != lifeUnknown {
		t.Errorf("a machine without a name, and another boot: %v", got)
	}
	change := func(f func(*Process)) Process { p := self; f(&p); return p }
	for name, c := range map[string]struct {
		p    Process
		want life
	}{
		"another host":                {change(func(p *Process) { p.Hostname = "elsewhere" }), lifeUnknown},
		"another machine":             {change(func(p *Process) { p.Machine = "another" }), lifeUnknown},
		"another boot":                {change(func(p *Process) { p.Boot = "before" }), lifeOver},
		"another space":               {change(func(p *Process) { p.Space = "pid:[1]" }), lifeUnknown},
		"a number that was used anew": {change(func(p *Process) { p.Started = "1" }), lifeOver},
		"nothing is known":            {Process{}, lifeUnknown},
		"no start, alive":             {change(func(p *Process) { p.PID, p.Started = os.Getppid(), "" }), lifeGoesOn},
		"no start, gone":              {change(func(p *Process) { p.PID, p.Started = other.PID, "" }), lifeOver},
	} {
		if got := c.p.life(self); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
