package workers_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"salvor/archive"
	"salvor/internal/secret"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/tasks/queue"
	"salvor/workers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a ledger, a queue, an archive and as many workers as a test wants, all in this process.
type bench struct {
	site    site
	conn    *queue.Conn
	ledger  *ledger.Ledger
	sender  *queue.Sender
	bucket  *blob.Bucket
	archive *archive.Archive
	runs    int
}

func newBench(t *testing.T) *bench {
	t.Helper()
	conn, err := queue.OpenEmbedded(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{conn: conn, bucket: memblob.OpenBucket(nil)}
	b.ledger = ledger.New(conn.Redis(), ledger.Options{
		Lease: 2 * time.Second, Beat: 100 * time.Millisecond, ReEmit: 200 * time.Millisecond, Tries: 3,
		Backoff: func(int) time.Duration { return 10 * time.Millisecond },
	})
	b.sender = queue.NewSender(conn, b.ledger)
	b.archive = b.openArchive(t)
	ctx, stop := context.WithCancel(context.Background())
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		queue.NewSweeper(conn, b.ledger, slog.New(slog.DiscardHandler)).Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-swept
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		_ = b.bucket.Close()
	})
	return b
}

func (b *bench) openArchive(t *testing.T) *archive.Archive {
	t.Helper()
	a, err := archive.Create(t.Context(), "mem://test", archive.Options{Bucket: b.bucket, Memory: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// worker starts a worker that is stopped with the test.
func (b *bench) worker(t *testing.T, id string) *workers.Worker {
	t.Helper()
	w, err := workers.New(workers.Config{
		ID: id, Registry: b.site.registry(), Ledger: b.ledger, Conn: b.conn,
		Archive: func(ctx context.Context, _ string) (*archive.Archive, error) {
			return archive.Open(ctx, "mem://test", archive.Options{Bucket: b.bucket, Memory: 256 << 20})
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
	return w
}

// run carries out a plan and returns how it ended.
func (b *bench) run(t *testing.T, plan tasks.Plan) ledger.RunState {
	t.Helper()
	ready, err := b.ledger.Create(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.sender.Send(t.Context(), ready); err != nil {
		t.Fatal(err)
	}
	return b.wait(t, plan.Run)
}

func (b *bench) wait(t *testing.T, run string) ledger.RunState {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		state, err := b.ledger.State(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		if state.State.Terminal() {
			return state
		}
		select {
		case <-deadline:
			t.Fatalf("run %s hangs: %+v", run, state)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// results decodes the results of a step.
func results[T any](t *testing.T, b *bench, run, step string) []T {
	t.Helper()
	var all []T
	err := b.ledger.Results(t.Context(), run, step, func(_ string, data json.RawMessage) error {
		var r T
		if err := json.Unmarshal(data, &r); err != nil {
			return err
		}
		all = append(all, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func spec(t *testing.T, v any) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// dumpPlan is a dump of nodes that lie side by side; holds tells that their driver holds views.
func (b *bench) dumpPlan(t *testing.T, onError tasks.OnError, base string, nodes ...tasks.Node) tasks.Plan {
	t.Helper()
	b.runs++
	dump, err := b.archive.NewDumpID(t.Context(), "set")
	if err != nil {
		t.Fatal(err)
	}
	plan := tasks.Plan{
		Contract: tasks.Contract, Run: "run-" + string(rune('a'+b.runs)), Operation: tasks.OpDump, Set: "set", Dump: dump, Base: base,
		OnError: onError, Root: tasks.Node{Name: "set", Children: nodes},
	}
	commit := tasks.Step{
		ID: "commit", Kind: tasks.KindCommit, Tolerant: onError == tasks.OnErrorContinue,
		Tasks: []tasks.Task{{ID: "commit", Kind: tasks.KindCommit}},
	}
	for _, n := range nodes {
		path := "set/" + n.Name
		holds := n.Driver == "rows" || n.Driver == "bundles"
		freeze := tasks.Task{
			ID: "freeze:" + path, Kind: tasks.KindFreeze, Node: path, Route: tasks.Route{Hold: holds},
			Spec: spec(t, tasks.FreezeSpec{Nodes: []tasks.FreezeNode{{Node: path, Step: "part:" + path}}}),
		}
		part := tasks.Step{ID: "part:" + path, Kind: tasks.KindPart, Node: path, Grower: freeze.ID}
		if holds {
			part.Holder = freeze.ID
		}
		plan.Steps = append(plan.Steps,
			tasks.Step{ID: "freeze:" + path, Kind: tasks.KindFreeze, Node: path, Tasks: []tasks.Task{freeze}}, part,
			tasks.Step{
				ID: "seal:" + path, Kind: tasks.KindSeal, Node: path, Needs: []string{"freeze:" + path, "part:" + path},
				Tasks: []tasks.Task{{ID: "seal:" + path, Kind: tasks.KindSeal, Node: path}},
			})
		commit.Needs = append(commit.Needs, "seal:"+path)
	}
	plan.Steps = append(plan.Steps, commit)
	if err := b.archive.Begin(t.Context(), archive.Ref{Set: "set", Dump: dump}, plan.Run, spec(t, plan), nil); err != nil {
		t.Fatal(err)
	}
	return plan
}

// restorePlan restores nodes of a dump.
func (b *bench) restorePlan(t *testing.T, dump tasks.Plan, restore tasks.Restore) tasks.Plan {
	t.Helper()
	b.runs++
	plan := tasks.Plan{
		Contract: tasks.Contract, Run: "run-" + string(rune('a'+b.runs)), Operation: tasks.OpRestore, Set: "set", Dump: dump.Dump,
		OnError: tasks.OnErrorStop, Root: dump.Root, Restore: &restore,
	}
	for path := range restore.Nodes {
		one := func(kind tasks.Kind) []tasks.Task {
			return []tasks.Task{{ID: string(kind) + ":" + path, Kind: kind, Node: path}}
		}
		plan.Steps = append(plan.Steps,
			tasks.Step{ID: "check:" + path, Kind: tasks.KindCheck, Node: path, Tasks: one(tasks.KindCheck)},
			tasks.Step{ID: "prepare:" + path, Kind: tasks.KindPrepare, Node: path, Needs: []string{"check:" + path}, Tasks: one(tasks.KindPrepare)},
			tasks.Step{ID: "load:" + path, Kind: tasks.KindLoad, Node: path, Needs: []string{"check:" + path}, Grower: "prepare:" + path},
			tasks.Step{ID: "finish:" + path, Kind: tasks.KindFinish, Node: path, Needs: []string{"prepare:" + path, "load:" + path}, Tasks: one(tasks.KindFinish)})
	}
	return plan
}

// manifest returns a node's manifest in a dump.
func (b *bench) manifest(t *testing.T, plan tasks.Plan, path string) archive.NodeManifest {
	t.Helper()
	ref := archive.Ref{Set: plan.Set, Dump: plan.Dump}
	m, err := b.archive.Manifest(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range m.Nodes {
		if record.Path == path {
			n, err := b.archive.Node(t.Context(), ref, record)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("dump %s has no node %s", plan.Dump, path)
	return archive.NodeManifest{}
}

// entries returns the entries of the node set/tree in a dump.
func (b *bench) entries(t *testing.T, plan tasks.Plan) map[string]archive.Entry {
	t.Helper()
	all := map[string]archive.Entry{}
	for _, s := range b.manifest(t, plan, "set/tree").Segments {
		err := b.archive.Segment(t.Context(), s, func(e archive.Entry) error { all[e.Path] = e; return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}
