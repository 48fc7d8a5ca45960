package workers_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite" // what is captured

	"salvor/archive"
	"salvor/drivers"
	"salvor/drivers/sqlite"
	"salvor/internal/secret"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/workers"
)

// captureWorker starts a worker that knows databases, and nothing else.
func (b *bench) captureWorker(t *testing.T) {
	t.Helper()
	registry := new(drivers.Registry)
	registry.Register(sqlite.Kind())
	w, err := workers.New(workers.Config{
		ID: "w", Registry: registry, Ledger: b.ledger, Conn: b.conn, Scratch: t.TempDir(),
		Archive: func(ctx context.Context, _ string) (*archive.Archive, error) {
			// As little memory as one writer of a bucket needs: nobody may hold a reader and a writer at once.
			return archive.Open(ctx, "mem://test", archive.Options{Bucket: b.bucket, Memory: 1})
		},
		Source: func(_ context.Context, _, _, source string) (secret.Text, error) { return secret.New(source), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := w.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
}

// makeDB makes a database.
func makeDB(t *testing.T, statements ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return path
}

// capturePlan compares two databases.
func capturePlan(t *testing.T, run, live, base string) tasks.Plan {
	t.Helper()
	const node = "s/db"
	step := func(kind tasks.Kind, route tasks.Route, needs ...string) tasks.Step {
		id := string(kind) + ":" + node
		return tasks.Step{ID: id, Kind: kind, Node: node, Needs: needs, Tasks: []tasks.Task{{ID: id, Kind: kind, Node: node, Route: route}}}
	}
	observe := step(tasks.KindObserve, tasks.Route{Hold: true})
	return tasks.Plan{
		Contract: tasks.Contract, Run: run, Operation: tasks.OpCapture, Archive: "mem://test", Set: "s", OnError: tasks.OnErrorContinue,
		Root:    tasks.Node{Name: "s", Children: []tasks.Node{{Name: "db", Driver: "sqlite", Source: live}}},
		Capture: &tasks.Capture{Node: node, Capture: "c20261122-043000-7f3a", Base: &tasks.CaptureBase{Driver: "sqlite", Source: base}},
		Steps: []tasks.Step{
			observe,
			{ID: "compare:" + node, Kind: tasks.KindCompare, Node: node, Grower: observe.ID, Holder: observe.ID},
			step(tasks.KindRecord, tasks.Route{}, observe.ID, "compare:"+node),
		},
	}
}

// objects reads what the archive holds of captures.
func (b *bench) objects(t *testing.T) map[string]string {
	t.Helper()
	got := make(map[string]string)
	list := b.bucket.List(nil)
	for {
		o, err := list.Next(t.Context())
		if err != nil {
			return got
		}
		if name, ok := strings.CutPrefix(o.Key, "captures/s/c20261122-043000-7f3a/"); ok {
			data, err := b.bucket.ReadAll(t.Context(), o.Key)
			if err != nil {
				t.Fatal(err)
			}
			got[name] = string(data)
		}
	}
}

// A capture that is there is left as it is, whoever comes again: people may have edited it. Another run's is refused.
func TestCaptureIsWrittenOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.captureWorker(t)
	schema := []string{"CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", "CREATE TABLE u (id INTEGER PRIMARY KEY, t INTEGER REFERENCES t)"}
	base := makeDB(t, schema...)
	live := makeDB(t, append(schema, "INSERT INTO t VALUES (1, '')", "INSERT INTO u VALUES (1, 1), (2, 99999)",
		"WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) INSERT INTO t SELECT i, 'a row of some length ' || i FROM n")...)
	plan := capturePlan(t, "run-1", live, base)
	if state := b.run(t, plan); state.State != ledger.StateDone {
		t.Fatalf("the run is %s: %+v", state.State, state.Failures)
	}
	got := b.objects(t)
	for _, name := range []string{"capture.json", "t.jsonl", "u.jsonl", "decisions.yaml", "summary.txt"} {
		if got[name] == "" {
			t.Errorf("%s is missing", name)
		}
	}
	if len(got) != 5 || strings.Count(got["t.jsonl"], "\n") != 29992 {
		t.Errorf("%d objects; %d rows", len(got), strings.Count(got["t.jsonl"], "\n"))
	}
	if want := `"edge":"`; !strings.Contains(got["capture.json"], want) || !strings.Contains(got["summary.txt"], "references that lead nowhere:\n  u: 1 row") {
		t.Errorf("the reference to nowhere is not told: %s", got["summary.txt"])
	}
	edited := "{\"table\":\"t\",\"data\":{\"id\":1,\"v\":\"edited\"}}\n"
	if err := b.bucket.WriteAll(t.Context(), "captures/s/c20261122-043000-7f3a/t.jsonl", []byte(edited), nil); err != nil {
		t.Fatal(err)
	}
	want := b.objects(t)
	if err := b.ledger.Forget(t.Context(), plan.Run); err != nil {
		t.Fatal(err)
	}
	if state := b.run(t, plan); state.State != ledger.StateDone {
		t.Fatalf("the run is %s again: %+v", state.State, state.Failures)
	}
	if diff := cmp.Diff(want, b.objects(t)); diff != "" {
		t.Errorf("the capture was changed (-before +after):\n%s", diff)
	}
	other := b.run(t, capturePlan(t, "run-2", live, base))
	if other.State == ledger.StateDone || len(other.Failures) == 0 || other.Failures[0].Code != "exists" {
		t.Errorf("another run's capture of that name: %s, %+v", other.State, other.Failures)
	}
	for name, text := range want {
		if b.objects(t)[name] != text {
			t.Errorf("another run changed %s", name)
		}
	}
}

// What was killed on the way left files under the names of the capture: they are the same, or they are not touched.
func TestCaptureMeetsFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.captureWorker(t)
	base := makeDB(t, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
	live := makeDB(t, "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
	if err := b.bucket.WriteAll(t.Context(), "captures/s/c20261122-043000-7f3a/t.jsonl", []byte("of somebody else\n"), nil); err != nil {
		t.Fatal(err)
	}
	state := b.run(t, capturePlan(t, "run-1", live, base))
	if state.State == ledger.StateDone || len(state.Failures) == 0 || state.Failures[0].Code != "exists" {
		t.Errorf("the run is %s, %+v", state.State, state.Failures)
	}
	if got := b.objects(t); got["t.jsonl"] != "of somebody else\n" || got["capture.json"] != "" {
		t.Errorf("the archive holds %v", got)
	}
}

// What a database does not have is no capture: the run says what is wrong, and nothing is left but strays.
func TestCaptureOfNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.captureWorker(t)
	db := makeDB(t, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
	for i, c := range []struct{ live, base, code string }{
		{filepath.Join(t.TempDir(), "absent"), db, "not_found"}, {db, filepath.Join(t.TempDir(), "absent"), "not_found"},
	} {
		state := b.run(t, capturePlan(t, fmt.Sprintf("run-%d", i), c.live, c.base))
		if state.State == ledger.StateDone || len(state.Failures) == 0 || state.Failures[0].Code != c.code {
			t.Errorf("case %d: the run is %s, %+v", i, state.State, state.Failures)
		}
		if got := b.objects(t); len(got) > 0 {
			t.Errorf("case %d: the archive holds %v", i, got)
		}
	}
}
