package coordinator_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/coordinator"
	"salvor/internal/secret"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

const manySet = `
set:
  name: site
  children:
    - name: servers
      order: parallel
      freeze: together
      children:
        - {name: one, driver: postgres, source: "${ONE}", databases: all, host: db-1}
        - {name: two, driver: postgres, source: "postgres://u:hunter2@h/x", databases: ["a*"], host: db-1}
    - {name: three, driver: postgres, source: "${THREE}", databases: all}
    - {name: files, driver: filesystem, source: /srv}
`

func TestPlanExpand(t *testing.T) {
	t.Parallel()
	set := parsePlanSet(t, manySet)
	expanding, some := set.Set.Expanding(planDrivers())
	if !some {
		t.Fatal("no node stands for many places")
	}
	in := coordinator.ExpandInput{Run: "run", Set: expanding, Once: true}
	plan, err := coordinator.PlanExpand(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := ledger.Validate(plan); err != nil {
		t.Fatal(err)
	}
	const want = `1. expand:site/servers/one (postgres) on db-1
1. expand:site/servers/two (postgres) on db-1
1. expand:site/three (postgres)
`
	if diff := cmp.Diff(want, printed(coordinator.Print(plan))); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if spec := string(plan.Steps[0].Tasks[0].Spec); spec != `{"once":true}` {
		t.Errorf("spec %s", spec)
	}
	if plan.Operation != tasks.OpExpand || plan.Set != "site" || plan.Archive != "" || plan.OnError != tasks.OnErrorContinue {
		t.Errorf("plan %+v", plan)
	}
	data, err := json.Marshal(plan)
	if err != nil || strings.Contains(string(data), "hunter2") || strings.Contains(string(data), "/srv") {
		t.Errorf("more travels than is asked: %s: %v", data, err)
	}
	for path, n := range plan.Root.Walk() {
		if !n.Literal.IsEmpty() {
			t.Errorf("the plan holds the secret of %s", path)
		}
	}
	if again, err := coordinator.PlanExpand(in); err != nil || !cmp.Equal(plan, again, cmp.Comparer(func(a, b secret.Text) bool { return a == b })) {
		t.Errorf("twice is not the same: %v", err)
	}
	if _, err := coordinator.PlanExpand(coordinator.ExpandInput{Set: expanding}); err == nil {
		t.Error("a plan without a run")
	}
}

// An expanded set is planned as one that was written so: groups, orders and hosts are those of the nodes that stood for many.
func TestPlanDumpExpanded(t *testing.T) {
	t.Parallel()
	set := parsePlanSet(t, manySet)
	place := func(name string) tasks.Place {
		return tasks.Place{Name: name, Options: json.RawMessage(`{"database":"` + name + `"}`)}
	}
	set.Set = set.Set.Expand(map[string][]tasks.Place{
		"site/servers/one": {place("a"), place("b")}, "site/servers/two": {place("a")}, "site/three": {place("A"), place("a")},
	})
	plan, err := coordinator.PlanDump(dumpInput(set))
	if err != nil {
		t.Fatal(err)
	}
	const want = `1. freeze:site/servers#together on db-1
1. part:site/servers/one/a (postgres) on db-1
1. part:site/servers/one/b (postgres) on db-1
1. part:site/servers/two/a (postgres) on db-1
2. seal:site/servers/one/a (postgres)  needs freeze:site/servers#together part:site/servers/one/a
2. seal:site/servers/one/b (postgres)  needs freeze:site/servers#together part:site/servers/one/b
2. seal:site/servers/two/a (postgres)  needs freeze:site/servers#together part:site/servers/two/a
3. freeze:site/three/%41 (postgres)  needs seal:site/servers/one/a seal:site/servers/one/b seal:site/servers/two/a
3. part:site/three/%41 (postgres)  needs seal:site/servers/one/a seal:site/servers/one/b seal:site/servers/two/a
3. freeze:site/three/a (postgres)  needs seal:site/servers/one/a seal:site/servers/one/b seal:site/servers/two/a
3. part:site/three/a (postgres)  needs seal:site/servers/one/a seal:site/servers/one/b seal:site/servers/two/a
4. seal:site/three/%41 (postgres)  needs freeze:site/three/%41 part:site/three/%41
4. seal:site/three/a (postgres)  needs freeze:site/three/a part:site/three/a
5. freeze:site/files (filesystem)  needs seal:site/three/%41 seal:site/three/a
5. part:site/files (filesystem)  needs seal:site/three/%41 seal:site/three/a
6. seal:site/files (filesystem)  needs freeze:site/files part:site/files
7. commit  needs seal:site/servers/one/a seal:site/servers/one/b seal:site/servers/two/a seal:site/three/%41 seal:site/three/a seal:site/files
`
	if diff := cmp.Diff(want, printed(coordinator.Print(plan))); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}
