package coordinator_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/coordinator"
	"salvor/internal/secret"
	"salvor/tasks"
)

// always tells that all sources of a driver are paths.
func always(string) bool { return true }

func planDrivers() []tasks.Driver {
	return []tasks.Driver{
		{Name: "sqlite", Scheme: "sqlite", Holds: true, Path: always},
		{Name: "postgres", Scheme: "postgres", Holds: true, Options: []string{"databases"}, Many: "databases"},
		{Name: "media", Scheme: "media", Options: []string{"exclude"}},
		{Name: "filesystem", Scheme: "dir", Path: always},
	}
}

// exampleSet is the set that the documentation shows, and one node that has children and a source.
const exampleSet = `
set:
  name: site
  children:
    - name: databases
      order: parallel
      freeze: together
      children:
        - {name: main,   driver: postgres, source: "${MAIN_URL}"}
        - {name: legacy, driver: sqlite, source: /legacy.db, limit: 4, host: db-1}
        - {name: attachments, driver: filesystem, source: /attachments}
    - name: media
      driver: media
      source: s3://site-media
      order: parallel
      children:
        - {name: thumbs, driver: media, source: s3://thumbs}
        - {name: index, driver: sqlite, source: /index.db}
    - name: foofiles
      driver: filesystem
      source: /var/lib/foo
      host: web-1
      after: [site/databases/main]
`

func parsePlanSet(tb testing.TB, text string) tasks.BackupSet {
	tb.Helper()
	set, err := tasks.Parse([]byte(text), tasks.ParseOptions{File: "/etc/backupset.yaml", Drivers: planDrivers()})
	if err != nil {
		tb.Fatal(err)
	}
	set.Archive = "/backups"
	return set
}

func dumpInput(set tasks.BackupSet) coordinator.DumpInput {
	return coordinator.DumpInput{
		Run: "run", Archive: set.Archive, Dump: "20261122-043000-7f3a", Base: "20261121-043000-7f3a", Set: set, Drivers: planDrivers(),
	}
}

// restoreAll restores every node of a set to its own source.
func restoreAll(root tasks.Node) coordinator.RestoreInput {
	in := coordinator.RestoreInput{
		Run: "run", Archive: "/backups", Set: root.Name, Dump: "20261122-043000-7f3a", Root: root,
		Nodes: make(map[string]tasks.RestoreNode), Drivers: planDrivers(),
	}
	for path, n := range root.Walk() {
		if n.Driver != "" {
			in.Nodes[path] = tasks.RestoreNode{Driver: n.Driver, Source: n.Source}
		}
	}
	return in
}

// printed returns a plan as a person would read it.
func printed(lines []coordinator.PlanLine) string {
	var out strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&out, "%d. %s", l.Wave, l.Step)
		if l.Driver != "" {
			fmt.Fprintf(&out, " (%s)", l.Driver)
		}
		if l.Host != "" {
			fmt.Fprintf(&out, " on %s", l.Host)
		}
		if len(l.Needs) > 0 {
			fmt.Fprintf(&out, "  needs %s", strings.Join(l.Needs, " "))
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func TestPlanDumpExample(t *testing.T) {
	t.Parallel()
	set := parsePlanSet(t, exampleSet)
	plan, err := coordinator.PlanDump(dumpInput(set))
	if err != nil {
		t.Fatal(err)
	}
	const want = `1. freeze:site/databases#together on db-1
1. part:site/databases/main (postgres) on db-1
1. part:site/databases/legacy (sqlite) on db-1
2. seal:site/databases/main (postgres)  needs freeze:site/databases#together part:site/databases/main
2. seal:site/databases/legacy (sqlite)  needs freeze:site/databases#together part:site/databases/legacy
3. freeze:site/databases/attachments (filesystem)  needs seal:site/databases/main seal:site/databases/legacy
3. part:site/databases/attachments (filesystem)  needs seal:site/databases/main seal:site/databases/legacy
4. seal:site/databases/attachments (filesystem)  needs freeze:site/databases/attachments part:site/databases/attachments
5. freeze:site/media/thumbs (media)  needs seal:site/databases/main seal:site/databases/legacy seal:site/databases/attachments
5. part:site/media/thumbs (media)  needs seal:site/databases/main seal:site/databases/legacy seal:site/databases/attachments
5. freeze:site/media/index (sqlite)  needs seal:site/databases/main seal:site/databases/legacy seal:site/databases/attachments
5. part:site/media/index (sqlite)  needs seal:site/databases/main seal:site/databases/legacy seal:site/databases/attachments
6. seal:site/media/thumbs (media)  needs freeze:site/media/thumbs part:site/media/thumbs
6. seal:site/media/index (sqlite)  needs freeze:site/media/index part:site/media/index
7. freeze:site/media (media)  needs seal:site/media/thumbs seal:site/media/index
7. part:site/media (media)  needs seal:site/media/thumbs seal:site/media/index
8. seal:site/media (media)  needs freeze:site/media part:site/media
9. freeze:site/foofiles (filesystem) on web-1  needs seal:site/databases/main seal:site/media
9. part:site/foofiles (filesystem) on web-1  needs seal:site/databases/main seal:site/media
10. seal:site/foofiles (filesystem)  needs freeze:site/foofiles part:site/foofiles
11. commit  needs seal:site/databases/main seal:site/databases/legacy seal:site/databases/attachments ` +
		`seal:site/media/thumbs seal:site/media/index seal:site/media seal:site/foofiles
`
	if diff := cmp.Diff(want, printed(coordinator.Print(plan))); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestPlanDumpSteps(t *testing.T) {
	t.Parallel()
	in := dumpInput(parsePlanSet(t, exampleSet))
	in.OnError, in.Views = tasks.OnErrorContinue, 3
	plan, err := coordinator.PlanDump(in)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]tasks.Step)
	for _, s := range plan.Steps {
		got[s.ID] = s
	}
	group := tasks.Step{
		ID: "freeze:site/databases#together", Kind: tasks.KindFreeze, Node: "site/databases",
		Gate: &tasks.Gate{Name: "views", Limit: 3, Until: "freeze:site/databases#together"},
		Tasks: []tasks.Task{{
			ID: "freeze:site/databases#together", Kind: tasks.KindFreeze, Node: "site/databases",
			Route: tasks.Route{Hold: true, Host: "db-1"}, Spec: json.RawMessage(
				`{"nodes":[{"node":"site/databases/main","step":"part:site/databases/main"},` +
					`{"node":"site/databases/legacy","step":"part:site/databases/legacy"}]}`),
		}},
	}
	member := tasks.Step{
		ID: "part:site/databases/main", Kind: tasks.KindPart, Node: "site/databases/main",
		Grower: "freeze:site/databases#together", Holder: "freeze:site/databases#together",
	}
	tree := []string{"seal:site/databases/main", "seal:site/media"}
	freeze := tasks.Step{
		ID: "freeze:site/foofiles", Kind: tasks.KindFreeze, Node: "site/foofiles", Needs: tree,
		Gate: &tasks.Gate{Name: "views", Limit: 3, Until: "seal:site/foofiles"},
		Tasks: []tasks.Task{{
			ID: "freeze:site/foofiles", Kind: tasks.KindFreeze, Node: "site/foofiles", Route: tasks.Route{Host: "web-1"},
			Spec: json.RawMessage(`{"nodes":[{"node":"site/foofiles","step":"part:site/foofiles"}]}`),
		}},
	}
	part := tasks.Step{
		ID: "part:site/foofiles", Kind: tasks.KindPart, Node: "site/foofiles", Needs: tree, Grower: "freeze:site/foofiles",
	}
	seal := tasks.Step{
		ID: "seal:site/foofiles", Kind: tasks.KindSeal, Node: "site/foofiles", Needs: []string{"freeze:site/foofiles", "part:site/foofiles"},
		Tasks: []tasks.Task{{ID: "seal:site/foofiles", Kind: tasks.KindSeal, Node: "site/foofiles"}},
	}
	for _, want := range []tasks.Step{group, member, freeze, part, seal} {
		if diff := cmp.Diff(want, got[want.ID]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.ID, diff)
		}
	}
	if index := got["part:site/media/index"]; index.Holder != "freeze:site/media/index" || index.Grower != index.Holder {
		t.Errorf("a view without its holder: %+v", index)
	}
	if !got["commit"].Tolerant || plan.Base != in.Base || plan.Set != "site" || plan.Contract != tasks.Contract {
		t.Errorf("plan: %+v", plan)
	}
	in.OnError = ""
	if plan, err = coordinator.PlanDump(in); err != nil || plan.OnError != tasks.OnErrorStop || plan.Steps[len(plan.Steps)-1].Tolerant {
		t.Errorf("a dump that stops at errors commits in spite of them (%v)", err)
	}
}

func TestPlanRestoreExample(t *testing.T) {
	t.Parallel()
	set := parsePlanSet(t, exampleSet)
	in := restoreAll(set.Set)
	in.Overwrite, in.InPlace = true, true
	delete(in.Nodes, "site/media/thumbs")
	delete(in.Nodes, "site/databases/attachments")
	in.Nodes["site/databases/legacy"] = tasks.RestoreNode{Source: "/other.db", Elsewhere: true}
	plan, err := coordinator.PlanRestore(in)
	if err != nil {
		t.Fatal(err)
	}
	const want = `1. check:site/databases/main (postgres)
1. check:site/databases/legacy (sqlite)
1. check:site/media (media)
1. check:site/media/index (sqlite)
1. check:site/foofiles (filesystem) on web-1
2. prepare:site/foofiles (filesystem) on web-1  needs CHECKS
2. load:site/foofiles (filesystem) on web-1  needs CHECKS
3. finish:site/foofiles (filesystem) on web-1  needs prepare:site/foofiles load:site/foofiles
4. prepare:site/media/index (sqlite)  needs finish:site/foofiles
4. load:site/media/index (sqlite)  needs finish:site/foofiles
5. finish:site/media/index (sqlite)  needs prepare:site/media/index load:site/media/index
6. prepare:site/media (media)  needs finish:site/media/index finish:site/foofiles
6. load:site/media (media)  needs finish:site/media/index finish:site/foofiles
7. finish:site/media (media)  needs prepare:site/media load:site/media
8. prepare:site/databases/legacy (sqlite)  needs finish:site/media
8. load:site/databases/legacy (sqlite)  needs finish:site/media
8. prepare:site/databases/main (postgres)  needs finish:site/foofiles finish:site/media
8. load:site/databases/main (postgres)  needs finish:site/foofiles finish:site/media
9. finish:site/databases/legacy (sqlite)  needs prepare:site/databases/legacy load:site/databases/legacy
9. finish:site/databases/main (postgres)  needs prepare:site/databases/main load:site/databases/main
`
	checks := "check:site/databases/main check:site/databases/legacy check:site/media check:site/media/index check:site/foofiles"
	got := strings.ReplaceAll(printed(coordinator.Print(plan)), checks, "CHECKS")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	restore := &tasks.Restore{Overwrite: true, InPlace: true, Nodes: map[string]tasks.RestoreNode{
		"site/databases/main":   {Driver: "postgres", Source: "${MAIN_URL}"},
		"site/databases/legacy": {Driver: "sqlite", Source: "/other.db", Elsewhere: true},
		"site/media":            {Driver: "media", Source: "s3://site-media"},
		"site/media/index":      {Driver: "sqlite", Source: "/index.db"},
		"site/foofiles":         {Driver: "filesystem", Source: "/var/lib/foo", Host: "web-1"},
	}}
	if diff := cmp.Diff(restore, plan.Restore); diff != "" {
		t.Errorf("restore (-want +got):\n%s", diff)
	}
}

func TestPlanErrors(t *testing.T) {
	t.Parallel()
	set := parsePlanSet(t, exampleSet)
	dump := func(change func(*coordinator.DumpInput)) error {
		in := dumpInput(set)
		in.Set.Set = in.Set.Set.Clone()
		change(&in)
		_, err := coordinator.PlanDump(in)
		return err
	}
	restore := func(change func(*coordinator.RestoreInput)) error {
		in := restoreAll(set.Set)
		in.Root = in.Root.Clone()
		change(&in)
		_, err := coordinator.PlanRestore(in)
		return err
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{dump(func(in *coordinator.DumpInput) { in.Run = "" }), "plan: no run is given"},
		{dump(func(in *coordinator.DumpInput) { in.Archive = "" }), "plan: no archive is given"},
		{dump(func(in *coordinator.DumpInput) { in.Views = -1 }), "plan dump: -1 views"},
		{dump(func(in *coordinator.DumpInput) { in.OnError = "go on" }), `plan: unknown policy "go on" (have continue, stop)`},
		{dump(func(in *coordinator.DumpInput) { in.Drivers = in.Drivers[:2] }), `plan node site/databases/attachments: unknown driver "filesystem" (have postgres, sqlite)`},
		{dump(func(in *coordinator.DumpInput) { in.Set.Set = tasks.Node{Name: "x"} }), "plan dump of x: no node has a driver"},
		{
			dump(func(in *coordinator.DumpInput) { in.Set.Set.Children[0].After = []string{"site/none"} }),
			`site/databases: after names "site/none", which does not exist`,
		},
		{
			dump(func(in *coordinator.DumpInput) { in.Set.Set.Children[0].After = []string{"site/media"} }),
			"site/databases: site/databases waits for itself: site/databases is after site/media, site/media follows site/databases in the sequence of site",
		},
		{
			dump(func(in *coordinator.DumpInput) { in.Set.Set.Children[0].Children[0].Host = "db-2" }),
			"site/databases: views that are opened together need one host, but site/databases/main on db-2, site/databases/legacy on db-1; " +
				"let one host reach all of them, or freeze them apart",
		},
		{dump(func(in *coordinator.DumpInput) { in.Set.Set.Children[1].Name = "databases" }), `site/databases: two nodes are named "site/databases"`},
		{restore(func(in *coordinator.RestoreInput) { in.Nodes = nil }), "plan restore: no node is chosen"},
		{restore(func(in *coordinator.RestoreInput) { in.Nodes["site/none"] = tasks.RestoreNode{} }), "plan restore: unknown node site/none"},
		{
			restore(func(in *coordinator.RestoreInput) { in.Nodes["site"] = tasks.RestoreNode{} }),
			"plan restore of site: the node has no source of its own",
		},
		{restore(func(in *coordinator.RestoreInput) { in.Drivers = nil }), `plan node site/databases/main: unknown driver "postgres" (have )`},
		{restore(func(in *coordinator.RestoreInput) { in.Dump = "" }), "plan: no dump is given"},
	} {
		if c.err == nil || c.err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", c.err, c.want)
		}
	}
	if err := restore(func(in *coordinator.RestoreInput) { in.Nodes["x"] = tasks.RestoreNode{} }); !errors.Is(err, tasks.ErrUnknownNode) {
		t.Errorf("not an unknown node: %v", err)
	}
}

// TestPlanHoldsNoSecret: a literal source stays in the set and does not get into the plan.
func TestPlanHoldsNoSecret(t *testing.T) {
	t.Parallel()
	set := parsePlanSet(t, "set: {name: a, driver: postgres, source: 'postgres://u:hunter2@h/d'}")
	dump, err := coordinator.PlanDump(dumpInput(set))
	if err != nil {
		t.Fatal(err)
	}
	restore, err := coordinator.PlanRestore(restoreAll(set.Set))
	if err != nil {
		t.Fatal(err)
	}
	if dump.Root.Literal != (secret.Text{}) || restore.Root.Literal != (secret.Text{}) || set.Set.Literal == (secret.Text{}) {
		t.Error("the literal source is in the plan, or not in the set")
	}
	data, err := json.Marshal([]tasks.Plan{dump, restore})
	if err != nil || strings.Contains(string(data), "hunter2") {
		t.Errorf("the plan holds the secret (%v)", err)
	}
}

// TestPlanGrowsWithItsSteps: the size of a plan is in proportion to its set, also where hundreds wait for hundreds.
func TestPlanGrowsWithItsSteps(t *testing.T) {
	t.Parallel()
	const wide = 4_000
	root := tasks.Node{Name: "site"}
	for _, name := range []string{"a", "b", "c"} {
		group := tasks.Node{Name: name, Order: tasks.OrderParallel}
		if name == "b" {
			group.Freeze = tasks.FreezeTogether
		}
		for i := range wide / 2 {
			group.Children = append(group.Children,
				tasks.Node{Name: fmt.Sprintf("n%d", i), Driver: "sqlite", Source: "/x"}, tasks.Node{Name: fmt.Sprintf("m%d", i), Driver: "media", Source: "/x"})
		}
		root.Children = append(root.Children, group)
	}
	last := tasks.Node{Name: "d", Freeze: tasks.FreezeTogether}
	for i := range 200 {
		last.Children = append(last.Children,
			tasks.Node{Name: fmt.Sprintf("n%d", i), Driver: "sqlite", Source: "/x"}, tasks.Node{Name: fmt.Sprintf("m%d", i), Driver: "media", Source: "/x"})
	}
	root.Children = append(root.Children, last)
	started := time.Now()
	dump, err := coordinator.PlanDump(dumpInput(tasks.BackupSet{Archive: "/x", Set: root}))
	if err != nil {
		t.Fatal(err)
	}
	restore, err := coordinator.PlanRestore(restoreAll(root))
	if err != nil {
		t.Fatal(err)
	}
	coordinator.Print(dump)
	for _, plan := range []tasks.Plan{dump, restore} {
		needs := 0
		for _, s := range plan.Steps {
			needs += len(s.Needs)
		}
		if most := 10 * len(plan.Steps); needs > most {
			t.Errorf("%s: %d needs in %d steps", plan.Operation, needs, len(plan.Steps))
		}
	}
	t.Logf("%d and %d steps in %v", len(dump.Steps), len(restore.Steps), time.Since(started))
}

func BenchmarkPlanDump(b *testing.B) {
	set := parsePlanSet(b, exampleSet)
	for b.Loop() {
		if _, err := coordinator.PlanDump(dumpInput(set)); err != nil {
			b.Fatal(err)
		}
	}
}

// closure answers which steps come before which in a plan.
type closure struct {
	index  map[string]int
	before []map[int]bool
}

// newClosure follows all needs of a plan; it returns false for a cycle or a need that does not exist.
func newClosure(needs map[string][]string) (*closure, error) {
	c := &closure{index: make(map[string]int)}
	var ids []string
	for id := range needs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for i, id := range ids {
		c.index[id] = i
	}
	c.before = make([]map[int]bool, len(ids))
	busy := make([]bool, len(ids))
	var visit func(i int) error
	visit = func(i int) error {
		if busy[i] {
			return fmt.Errorf("%s is on a cycle", ids[i])
		}
		if c.before[i] != nil {
			return nil
		}
		busy[i] = true
		all := make(map[int]bool)
		for _, need := range needs[ids[i]] {
			n, ok := c.index[need]
			if !ok {
				return fmt.Errorf("%s needs %s, which does not exist", ids[i], need)
			}
			if err := visit(n); err != nil {
				return err
			}
			all[n] = true
			for b := range c.before[n] {
				all[b] = true
			}
		}
		busy[i] = false
		c.before[i] = all
		return nil
	}
	for i := range ids {
		if err := visit(i); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// comesBefore tells whether b waits for a.
func (c *closure) comesBefore(a, b string) bool {
	i, ok := c.index[a]
	j, ok2 := c.index[b]
	return ok && ok2 && c.before[j][i]
}

func needsOf(plan tasks.Plan) map[string][]string {
	needs := make(map[string][]string, len(plan.Steps))
	for _, s := range plan.Steps {
		needs[s.ID] = s.Needs
	}
	return needs
}
