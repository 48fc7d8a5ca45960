package coordinator_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"salvor/coordinator"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// drawPlanSet returns a random set: any shape, drivers, orders, groups, and afters between nodes of which neither is part
// of the other. It may have cycles.
func drawPlanSet(t *rapid.T) tasks.BackupSet {
	left := rapid.IntRange(1, 14).Draw(t, "nodes")
	root := drawPlanNode(t, "s", 0, &left)
	var paths []string
	for path := range root.Walk() {
		paths = append(paths, path)
	}
	for range rapid.IntRange(0, 4).Draw(t, "afters") {
		one, other := rapid.SampledFrom(paths).Draw(t, "one"), rapid.SampledFrom(paths).Draw(t, "other")
		if tasks.IsWithin(one, other) || tasks.IsWithin(other, one) {
			continue
		}
		_, n, err := root.Find(one)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(n.After, other) {
			n.After = append(n.After, other)
		}
	}
	return tasks.BackupSet{Archive: "/backups", Set: root}
}

func drawPlanNode(t *rapid.T, name string, depth int, left *int) tasks.Node {
	*left--
	n := tasks.Node{Name: name}
	kids := 0
	if depth < 4 {
		kids = rapid.IntRange(0, 4).Draw(t, "children")
	}
	for i := 0; i < kids && *left > 0; i++ {
		n.Children = append(n.Children, drawPlanNode(t, string(rune('a'+i)), depth+1, left))
	}
	if len(n.Children) == 0 || rapid.IntRange(0, 2).Draw(t, "own") == 0 {
		n.Driver = rapid.SampledFrom([]string{"sqlite", "media"}).Draw(t, "driver")
		n.Source = "/x"
	}
	if rapid.Bool().Draw(t, "parallel") {
		n.Order = tasks.OrderParallel
	}
	if rapid.IntRange(0, 4).Draw(t, "same") == 0 {
		n.RestoreOrder = tasks.RestoreSame
	}
	if rapid.IntRange(0, 4).Draw(t, "together") == 0 {
		n.Freeze = tasks.FreezeTogether
	}
	return n
}

// rules is what the design says about a set, pair by pair, made from the tree alone: which work must be over before which
// begins. It shares nothing with the planner but the paths.
type rules struct {
	paths []string // of the nodes with a driver
	nodes map[string]*tasks.Node
	group map[string]string // the outermost node that says together, by the path of any node in it
}

func newRules(root *tasks.Node) *rules {
	r := &rules{nodes: make(map[string]*tasks.Node), group: make(map[string]string)}
	for path, n := range root.Walk() {
		r.nodes[path] = n
		if n.Driver != "" {
			r.paths = append(r.paths, path)
		}
		// The shortest path on the way from the root that says together.
		for i := range len(path) + 1 {
			if i < len(path) && path[i] != '/' {
				continue
			}
			if r.nodes[path[:i]].Freeze == tasks.FreezeTogether {
				r.group[path] = path[:i]
				break
			}
		}
	}
	return r
}

// member tells whether a node's view is opened with a group's.
func (r *rules) member(path string) bool {
	return r.group[path] != "" && r.nodes[path].Driver == "sqlite"
}

// split returns the nearest node that holds both paths, and the children through which they are in it ("" for itself).
func split(a, b string) (parent, viaA, viaB string) {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	i := 0
	for i < len(as) && i < len(bs) && as[i] == bs[i] {
		i++
	}
	parent = strings.Join(as[:i], "/")
	if i < len(as) {
		viaA = as[i]
	}
	if i < len(bs) {
		viaB = bs[i]
	}
	return parent, viaA, viaB
}

// sequence tells whether a is in a child before b's in a sequence.
func (r *rules) sequence(a, b string) (before bool, parent *tasks.Node) {
	path, viaA, viaB := split(a, b)
	if viaA == "" || viaB == "" {
		return false, nil
	}
	parent = r.nodes[path]
	at := func(name string) int {
		return slices.IndexFunc(parent.Children, func(n tasks.Node) bool { return n.Name == name })
	}
	return parent.Order != tasks.OrderParallel && at(viaA) < at(viaB), parent
}

// after tells whether b, or something that it is part of, is after a or something that a is part of.
func (r *rules) after(a, b string) bool {
	for path, n := range r.nodes {
		if tasks.IsWithin(b, path) && slices.ContainsFunc(n.After, func(x string) bool { return tasks.IsWithin(a, x) }) {
			return true
		}
	}
	return false
}

// dumpBefore tells whether a must be sealed before b is frozen.
func (r *rules) dumpBefore(a, b string) bool {
	// The members of a group are one moment; inside it nothing comes before them.
	if r.member(b) && r.group[a] == r.group[b] {
		return false
	}
	inSequence, _ := r.sequence(a, b)
	return inSequence || tasks.IsBelow(a, b) || r.after(a, b)
}

// restoreBefore tells whether a must be finished before b is prepared.
func (r *rules) restoreBefore(a, b string) bool {
	if tasks.IsBelow(a, b) || r.after(b, a) {
		return true
	}
	if before, parent := r.sequence(a, b); before && parent.RestoreOrder == tasks.RestoreSame {
		return true
	}
	before, parent := r.sequence(b, a)
	return before && parent.RestoreOrder != tasks.RestoreSame
}

// freezeStep returns the step that opens a node's view.
func (r *rules) freezeStep(path string) string {
	if r.member(path) {
		return "freeze:" + r.group[path] + "#together"
	}
	return "freeze:" + path
}

// dumpNeeds returns the rules as steps and their needs: much larger than a plan, and plain.
func (r *rules) dumpNeeds() map[string][]string {
	needs := make(map[string][]string)
	for _, b := range r.paths {
		freeze := r.freezeStep(b)
		needs["seal:"+b] = []string{freeze}
		if _, ok := needs[freeze]; !ok {
			needs[freeze] = nil
		}
		for _, a := range r.paths {
			if r.dumpBefore(a, b) {
				needs[freeze] = append(needs[freeze], "seal:"+a)
			}
		}
		// What is not a member reads nothing before the views of its group were open.
		if r.group[b] != "" && !r.member(b) {
			for _, m := range r.paths {
				if r.member(m) && r.group[m] == r.group[b] {
					needs[freeze] = append(needs[freeze], r.freezeStep(m))
				}
			}
		}
	}
	return needs
}

func (r *rules) restoreNeeds() map[string][]string {
	needs := make(map[string][]string)
	for _, b := range r.paths {
		needs["finish:"+b] = []string{"prepare:" + b}
		needs["prepare:"+b] = nil
		for _, a := range r.paths {
			if r.restoreBefore(a, b) {
				needs["prepare:"+b] = append(needs["prepare:"+b], "finish:"+a)
			}
		}
	}
	return needs
}

// checkPlan checks what holds for every plan, and returns what comes before what.
func checkPlan(t rapid.TB, plan tasks.Plan) *closure {
	if err := ledger.Validate(plan); err != nil {
		t.Fatalf("the ledger refuses the plan: %v", err)
	}
	steps, ids := make(map[string]bool), make(map[string]bool)
	for _, s := range plan.Steps {
		if steps[s.ID] || len(slices.Compact(slices.Sorted(slices.Values(s.Needs)))) != len(s.Needs) {
			t.Fatalf("step %s is there twice, or needs one twice: %v", s.ID, s.Needs)
		}
		steps[s.ID] = true
		for _, task := range s.Tasks {
			if ids[task.ID] {
				t.Fatalf("task %s is there twice", task.ID)
			}
			ids[task.ID] = true
		}
	}
	c, err := newClosure(needsOf(plan))
	if err != nil {
		t.Fatal(err)
	}
	lines := coordinator.Print(plan)
	wave := make(map[string]int)
	for _, l := range lines {
		wave[l.Step] = l.Wave
	}
	if len(lines) != len(plan.Steps) || !slices.IsSortedFunc(lines, func(a, b coordinator.PlanLine) int { return a.Wave - b.Wave }) {
		t.Fatalf("%d lines of %d steps", len(lines), len(plan.Steps))
	}
	for _, s := range plan.Steps {
		for _, need := range s.Needs {
			if wave[need] >= wave[s.ID] {
				t.Fatalf("%s in wave %d needs %s in wave %d", s.ID, wave[s.ID], need, wave[need])
			}
		}
	}
	return c
}

func equalPlans(a, b tasks.Plan) bool {
	one, err := json.Marshal(a)
	other, err2 := json.Marshal(b)
	return err == nil && err2 == nil && string(one) == string(other)
}

// checkDump checks that a plan holds the rules.
func (r *rules) checkDump(t rapid.TB, plan tasks.Plan) {
	c := checkPlan(t, plan)
	for _, b := range r.paths {
		freeze := r.freezeStep(b)
		for _, before := range []string{freeze, "part:" + b} {
			if !c.comesBefore(before, "seal:"+b) || !c.comesBefore("seal:"+b, "commit") {
				t.Fatalf("%s is not before seal:%s, or that not before commit", before, b)
			}
		}
		// A part step opens when its freeze may start, not before and not later.
		for _, a := range r.paths {
			if c.comesBefore("seal:"+a, freeze) != c.comesBefore("seal:"+a, "part:"+b) {
				t.Fatalf("%s and part:%s do not open together", freeze, b)
			}
			if r.dumpBefore(a, b) && !c.comesBefore("seal:"+a, freeze) {
				t.Fatalf("seal:%s must come before %s", a, freeze)
			}
		}
		for _, m := range r.paths {
			if r.member(m) && r.group[m] == r.group[b] && !r.member(b) && !c.comesBefore(r.freezeStep(m), freeze) {
				t.Fatalf("%s must come before %s", r.freezeStep(m), freeze)
			}
		}
	}
}

// TestPlanJoins: steps that stand for many keep the rules.
func TestPlanJoins(t *testing.T) {
	t.Parallel()
	root := tasks.Node{Name: "s"}
	for g := range 4 {
		group := tasks.Node{Name: fmt.Sprintf("g%d", g)}
		if g < 3 {
			group.Order = tasks.OrderParallel
		}
		if g >= 2 {
			group.Freeze = tasks.FreezeTogether
		}
		for i := range 40 {
			driver := []string{"sqlite", "media"}[i%2]
			group.Children = append(group.Children, tasks.Node{Name: fmt.Sprintf("n%d", i), Driver: driver, Source: "/x"})
		}
		root.Children = append(root.Children, group)
	}
	root.Children[1].Children[7].After = []string{"s/g0/n3"}
	set := tasks.BackupSet{Archive: "/x", Set: root}
	dump, err := coordinator.PlanDump(dumpInput(set))
	if err != nil {
		t.Fatal(err)
	}
	restore, err := coordinator.PlanRestore(restoreAll(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, plan := range []tasks.Plan{dump, restore} {
		if !slices.ContainsFunc(plan.Steps, func(s tasks.Step) bool { return s.Kind == tasks.KindJoin }) {
			t.Errorf("%s: nothing is joined", plan.Operation)
		}
	}
	r := newRules(&root)
	r.checkDump(t, dump)
	c := checkPlan(t, restore)
	for _, b := range r.paths {
		for _, a := range r.paths {
			if !c.comesBefore("check:"+a, "load:"+b) || r.restoreBefore(a, b) && !c.comesBefore("finish:"+a, "prepare:"+b) {
				t.Fatalf("finish:%s must come before prepare:%s, and check:%s", a, b, a)
			}
		}
	}
}

// TestPlanDumpRules: a set has a plan if and only if the rules have no cycle; then the plan holds them all, and nothing in
// it can block another.
func TestPlanDumpRules(t *testing.T) {
	t.Parallel()
	plans := 0
	rapid.Check(t, func(t *rapid.T) {
		set := drawPlanSet(t)
		in := dumpInput(set)
		in.Views = rapid.IntRange(1, 3).Draw(t, "views")
		in.OnError = rapid.SampledFrom([]tasks.OnError{tasks.OnErrorStop, tasks.OnErrorContinue}).Draw(t, "policy")
		r := newRules(&set.Set)
		_, cycle := newClosure(r.dumpNeeds())
		plan, err := coordinator.PlanDump(in)
		if err != nil {
			var config *tasks.ConfigError
			if cycle == nil || !errors.As(err, &config) {
				t.Fatalf("no plan for a set without a cycle: %v", err)
			}
			return
		}
		if cycle != nil {
			t.Fatalf("a plan for a set whose rules have a cycle: %v", cycle)
		}
		plans++
		r.checkDump(t, plan)
		again, err := coordinator.PlanDump(in)
		if err != nil || !equalPlans(plan, again) {
			t.Fatalf("planned twice, two plans (%v)", err)
		}
		simulate(t, plan)
	})
	if plans == 0 {
		t.Error("no set had a plan")
	}
}

// TestPlanRestoreRules is TestPlanDumpRules for a restore of some nodes: what is ordered through nodes that are left out
// stays ordered.
func TestPlanRestoreRules(t *testing.T) {
	t.Parallel()
	plans := 0
	rapid.Check(t, func(t *rapid.T) {
		set := drawPlanSet(t)
		in := restoreAll(set.Set)
		r := newRules(&set.Set)
		for _, path := range r.paths {
			if len(in.Nodes) > 1 && rapid.IntRange(0, 2).Draw(t, "leave out") == 0 {
				delete(in.Nodes, path)
			}
		}
		want, cycle := newClosure(r.restoreNeeds())
		plan, err := coordinator.PlanRestore(in)
		if err != nil {
			var config *tasks.ConfigError
			if cycle == nil || !errors.As(err, &config) {
				t.Fatalf("no plan for a set without a cycle: %v", err)
			}
			return
		}
		if cycle != nil {
			t.Fatalf("a plan for a set whose rules have a cycle: %v", cycle)
		}
		plans++
		c := checkPlan(t, plan)
		for b := range in.Nodes {
			if !c.comesBefore("prepare:"+b, "finish:"+b) || !c.comesBefore("load:"+b, "finish:"+b) {
				t.Fatalf("finish:%s does not need what it finishes", b)
			}
			for a := range in.Nodes {
				if !c.comesBefore("check:"+a, "prepare:"+b) || !c.comesBefore("check:"+a, "load:"+b) {
					t.Fatalf("%s is written before %s is checked", b, a)
				}
				before := c.comesBefore("finish:"+a, "prepare:"+b)
				if before != c.comesBefore("finish:"+a, "load:"+b) {
					t.Fatalf("prepare:%s and load:%s do not open together", b, b)
				}
				// No more than the rules: what is not ordered may run at once.
				if before != want.comesBefore("finish:"+a, "prepare:"+b) {
					t.Fatalf("finish:%s before prepare:%s: %v", a, b, before)
				}
			}
		}
		again, err := coordinator.PlanRestore(in)
		if err != nil || !equalPlans(plan, again) {
			t.Fatalf("planned twice, two plans (%v)", err)
		}
		simulate(t, plan)
	})
	if plans == 0 {
		t.Error("no set had a plan")
	}
}

// simulate carries a plan out in a random order by the ledger's rules: a step opens when its needs are done and its gate
// has room; a grown step is done after its grower has begun; a holder ends after all it holds.
func simulate(t *rapid.T, plan tasks.Plan) {
	step := make(map[string]tasks.Step)
	begun, done := make(map[string]bool), make(map[string]bool)
	held := make(map[string][]string)
	for _, s := range plan.Steps {
		step[s.ID] = s
		if s.Holder != "" {
			held[s.Holder] = append(held[s.Holder], s.ID)
		}
	}
	inside := func(gate *tasks.Gate) int {
		n := 0
		for id, s := range step {
			if s.Gate != nil && s.Gate.Name == gate.Name && begun[id] && !done[s.Gate.Until] {
				n++
			}
		}
		return n
	}
	open := func(s tasks.Step) bool {
		return !slices.ContainsFunc(s.Needs, func(need string) bool { return !done[need] })
	}
	for len(done) < len(step) {
		var moves []string
		for _, s := range plan.Steps {
			switch {
			case done[s.ID] || !open(s):
			case !begun[s.ID]:
				if s.Gate == nil || inside(s.Gate) < s.Gate.Limit {
					moves = append(moves, "begin "+s.ID)
				}
			case s.Grower != "" && !begun[s.Grower]:
			case slices.ContainsFunc(held[s.ID], func(id string) bool { return !done[id] }):
			default:
				moves = append(moves, "end "+s.ID)
			}
		}
		if len(moves) == 0 {
			t.Fatalf("the run is stuck; done are %v", done)
		}
		kind, id, _ := strings.Cut(rapid.SampledFrom(moves).Draw(t, "move"), " ")
		if kind == "begin" {
			begun[id] = true
		} else {
			done[id] = true
		}
	}
}

// TestParseRefusesWhatCannotBePlanned: Parse and the planner agree on which sets can be dumped and restored.
func TestParseRefusesWhatCannotBePlanned(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		set := drawPlanSet(t)
		_, dump := coordinator.PlanDump(dumpInput(set))
		_, restore := coordinator.PlanRestore(restoreAll(set.Set))
		data, err := json.Marshal(map[string]any{"set": set.Set})
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := tasks.Parse(data, tasks.ParseOptions{File: "/backupset.yaml", Drivers: planDrivers()})
		if (err == nil) != (dump == nil && restore == nil) {
			t.Fatalf("parse: %v\ndump: %v\nrestore: %v\n%s", err, dump, restore, data)
		}
		if err != nil {
			return
		}
		again, err := json.Marshal(map[string]any{"set": parsed.Set})
		if err != nil || string(again) != string(data) {
			t.Fatalf("written and parsed (%v):\n%s\n%s", err, data, again)
		}
	})
}

func ExamplePrint() {
	set := tasks.BackupSet{Archive: "/backups", Set: tasks.Node{Name: "site", Children: []tasks.Node{
		{Name: "db", Driver: "sqlite", Source: "/db"}, {Name: "media", Driver: "media", Source: "s3://media"},
	}}}
	plan, err := coordinator.PlanDump(dumpInput(set))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, l := range coordinator.Print(plan) {
		fmt.Println(l.Wave, l.Kind, l.Node, l.Driver)
	}
	// Output:
	// 1 freeze site/db sqlite
	// 1 part site/db sqlite
	// 2 seal site/db sqlite
	// 3 freeze site/media media
	// 3 part site/media media
	// 4 seal site/media media
	// 5 commit
}
