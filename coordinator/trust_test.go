package coordinator_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/coordinator"
	"salvor/internal/secret"
	"salvor/tasks"
)

// Whoever can write to an archive does not choose what a restore runs.
func TestProgramsOfArchives(t *testing.T) {
	t.Parallel()
	known := []tasks.Driver{{Name: "command", Scheme: "command", Executes: true}, {Name: "sqlite", Scheme: "sqlite"}}
	set := func(driver, source, options, host string) tasks.Node {
		return tasks.Node{Name: "site", Children: []tasks.Node{
			{Name: "it", Driver: driver, Source: source, Options: json.RawMessage(options), Host: host},
			{Name: "db", Driver: "sqlite", Source: "/db"},
		}}
	}
	stored := set("command", "evil source", `{"restore":["evil"],"env":{"PATH":"/evil"}}`, "evil")
	own := set("command", "good source", `{"restore":["good"]}`, "web")
	sqlite := set("sqlite", "/it", "", "")
	for _, test := range []struct {
		name      string
		config    *tasks.Node
		node      tasks.RestoreNode
		untrusted bool
		want      tasks.Node // of the node, with what it is restored to
	}{
		{"in place without a config", nil, tasks.RestoreNode{}, true, tasks.Node{}},
		{"in place as the archive says", nil, tasks.RestoreNode{Driver: "command", Source: "evil source"}, true, tasks.Node{}},
		{"another driver in the config", &sqlite, tasks.RestoreNode{}, true, tasks.Node{}},
		{"a path of the config's root", &own.Children[0], tasks.RestoreNode{}, true, tasks.Node{}},
		{
			"in place", &own,
			tasks.RestoreNode{Source: "evil source"},
			false,
			tasks.Node{Name: "it", Driver: "command", Source: "good source", Options: json.RawMessage(`{"restore":["good"]}`), Host: "web"},
		},
		{"elsewhere", nil, tasks.RestoreNode{Driver: "command", Source: "mine", Elsewhere: true}, false, tasks.Node{Name: "it", Driver: "command", Source: "mine"}},
		{
			"elsewhere with a config", &own,
			tasks.RestoreNode{Driver: "command", Source: "mine", Elsewhere: true},
			false,
			tasks.Node{Name: "it", Driver: "command", Source: "mine", Host: "web"},
		},
	} {
		plan, err := coordinator.PlanRestore(coordinator.RestoreInput{
			Run: "run", Archive: "a", Set: "site", Dump: "d", Root: stored, Config: test.config, Drivers: known,
			Nodes: map[string]tasks.RestoreNode{"site/it": test.node, "site/db": {}},
		})
		if test.untrusted {
			var hinted interface{ Hint() string }
			if !errors.Is(err, coordinator.ErrUntrusted) || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "--config") {
				t.Errorf("%s: PlanRestore = %v, want ErrUntrusted with a hint", test.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if text, _ := json.Marshal(plan); strings.Contains(string(text), "evil") {
			t.Errorf("%s: the plan holds what the archive says: %s", test.name, text)
		}
		got := plan.Root.Children[0]
		got.Source = plan.Restore.Nodes["site/it"].Source
		if diff := cmp.Diff(test.want, got,
			cmp.Comparer(func(a, b json.RawMessage) bool { return string(a) == string(b) }),
			cmp.Comparer(func(a, b secret.Text) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if plan.Restore.Nodes["site/db"].Source != "/db" {
			t.Errorf("%s: the other node is restored to %q", test.name, plan.Restore.Nodes["site/db"].Source)
		}
	}
	if !strings.Contains(string(stored.Children[0].Options), "evil") || !strings.Contains(string(own.Children[0].Options), "good") {
		t.Error("PlanRestore changed its input")
	}
}
