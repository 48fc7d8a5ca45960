package workers_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/archive"
	"salvor/drivers"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

func rows(name string) tasks.Node { return tasks.Node{Name: name, Driver: "rows", Source: name} }
func files() tasks.Node           { return tasks.Node{Name: "tree", Driver: "files", Source: "tree"} }

func seed(b *bench) {
	db := b.site.place("db")
	db.exists = true
	db.parts["one"], db.parts["two"] = "1", "2"
	tree := b.site.place("tree")
	tree.exists = true
	tree.files[""] = file{dir: true}
	tree.files["a"] = file{dir: true}
	tree.put("a/big", strings.Repeat("0123456789abcdef", 3<<16), "v1")
	tree.put("a/empty", "", "v1")
	tree.put("small", "hello", "v1")
}

func TestDumpAndRestore(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", rows("db"), files())
	if s := b.run(t, dump); s.State != ledger.StateDone {
		t.Fatalf("dump ended %+v", s)
	}
	restore := b.restorePlan(t, dump, tasks.Restore{Nodes: map[string]tasks.RestoreNode{
		"set/db": {Driver: "rows", Source: "db2"}, "set/tree": {Driver: "files", Source: "tree2"},
	}})
	if s := b.run(t, restore); s.State != ledger.StateDone {
		t.Fatalf("restore ended %+v", s)
	}
	if diff := cmp.Diff(map[string]string{"one": "1@1", "two": "2@1"}, b.site.place("db2").parts); diff != "" {
		t.Errorf("restored rows (-want +got):\n%s", diff)
	}
	got, want := b.site.place("tree2"), b.site.place("tree")
	for path, f := range want.files {
		if have := got.files[path]; have.data != f.data || have.dir != f.dir {
			t.Errorf("restored %q has %d bytes, want %d", path, len(have.data), len(f.data))
		}
	}
	if diff := cmp.Diff([]string{"small", "a/big", "a", ""}, got.settled); diff != "" {
		t.Errorf("settled (-want +got):\n%s", diff)
	}
	r := results[tasks.NodeResult](t, b, restore.Run, "finish:set/tree")[0]
	if r.Entries != 5 || r.Warnings["owner not set"] == 0 {
		t.Errorf("restore said %+v", r)
	}

	// Once more: all is there already.
	again := b.restorePlan(t, dump, *restore.Restore)
	if s := b.run(t, again); s.State != ledger.StateDone {
		t.Fatalf("second restore ended %+v", s)
	}
	if r := results[tasks.NodeResult](t, b, again.Run, "finish:set/tree")[0]; r.Equal != 5 || r.Entries != 0 || b.site.place("db2").loads["one"] != 1 {
		t.Errorf("second restore said %+v", r)
	}
}

func TestEntriesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"files", "objects"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			entriesThatCannotBeRead(t, driver)
		})
	}
}

func entriesThatCannotBeRead(t *testing.T, driver string) {
	t.Helper()
	node := tasks.Node{Name: "tree", Driver: driver, Source: "tree"}
	b := newBench(t)
	b.worker(t, "w1")
	tree := b.site.place("tree")
	for _, path := range []string{"changes-always", "changes-once", "gone", "gone-later", "secret", "steady"} {
		tree.put(path, "content of "+path, "v1")
	}
	changed := func(until int) func(*place, int) error {
		return func(_ *place, try int) error {
			if try <= until {
				return fmt.Errorf("read: %w", drivers.ErrChanged)
			}
			return nil
		}
	}
	tree.onOpen = map[string]func(*place, int) error{
		"changes-always": changed(1000),
		"changes-once":   changed(1),
		"gone":           func(*place, int) error { return fmt.Errorf("open: %w", drivers.ErrNotFound) },
		"gone-later": func(p *place, _ int) error {
			delete(p.files, "gone-later")
			return fmt.Errorf("read: %w", drivers.ErrChanged)
		},
		"secret": func(*place, int) error { return fmt.Errorf("open: %w", drivers.ErrAccess) },
	}
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", node)
	if s := b.run(t, dump); s.State != ledger.StateDone {
		t.Fatalf("dump ended %+v", s)
	}
	m := b.manifest(t, dump, "set/tree")
	if m.Unreadable != 2 || m.Vanished != 2 || m.Entries != 4 || len(m.Problems) != 2 {
		t.Errorf("manifest says unreadable %d, vanished %d, entries %d, problems %v", m.Unreadable, m.Vanished, m.Entries, m.Problems)
	}
	all := b.entries(t, dump)
	if e := all["changes-always"]; !strings.Contains(e.Err, "mix two states") || e.Size != 4 || len(e.Chunks) != 1 {
		t.Errorf("entry that always changes: %+v", e)
	}
	if e := all["changes-once"]; e.Err != "" || e.Size != int64(len("content of changes-once")) {
		t.Errorf("entry that changed once: %+v", e)
	}
	if e := all["secret"]; !strings.Contains(e.Err, "access denied") || e.Chunks != nil {
		t.Errorf("unreadable entry: %+v", e)
	}

	restore := b.restorePlan(t, dump, tasks.Restore{Nodes: map[string]tasks.RestoreNode{"set/tree": {Driver: driver, Source: "new"}}})
	if s := b.run(t, restore); s.State != ledger.StateDone {
		t.Fatalf("restore ended %+v", s)
	}
	if r := results[tasks.NodeResult](t, b, restore.Run, "finish:set/tree")[0]; r.Unreadable != 2 || len(r.Problems) != 2 {
		t.Errorf("restore said %+v, want the two entries that the dump could not read", r)
	}
	got := map[string]string{}
	for path, f := range b.site.place("new").files {
		got[path] = f.data
	}
	want := map[string]string{"changes-always": "torn", "changes-once": "content of changes-once", "steady": "content of steady"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
}

func TestLostViewStartsAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	stored := func(ctx context.Context) (keys []string) {
		objects, _ := b.bucket.List(nil).All(ctx)
		for object := range objects {
			if strings.Contains(object.Key, "/data/") {
				keys = append(keys, object.Key)
			}
		}
		return keys
	}
	var dumped atomic.Int32
	b.site.place("db").onDump = func(ctx context.Context, epoch int) error {
		if epoch > 1 || dumped.Add(1) == 1 {
			return nil
		}
		for len(stored(ctx)) == 0 { // the first part is stored before the view is lost
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(time.Millisecond):
			}
		}
		return fmt.Errorf("connection closed: %w", drivers.ErrViewLost)
	}
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", rows("db"))
	s := b.run(t, dump)
	if s.State != ledger.StateDone || s.Epochs != 1 {
		t.Fatalf("dump ended %+v", s)
	}
	parts := b.manifest(t, dump, "set/db").Parts
	// What was stored of the lost view is removed.
	var named []string
	for _, p := range parts {
		named = append(named, p.Key)
	}
	slices.Sort(named)
	if diff := cmp.Diff(named, stored(t.Context())); diff != "" {
		t.Errorf("objects (-of the manifest +stored):\n%s", diff)
	}
	for _, p := range parts {
		in, err := b.archive.OpenPart(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil || !strings.HasSuffix(string(data), "@2") {
			t.Errorf("part %s is %q (%v), want the second view's", p.Name, data, err)
		}
		_ = in.Close()
	}
}

func TestTransientErrorsAreTriedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	var failed atomic.Int32
	b.site.place("db").onDump = func(context.Context, int) error {
		if failed.Add(1) <= 2 {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", rows("db"))
	if s := b.run(t, dump); s.State != ledger.StateDone || s.Retries != 2 {
		t.Fatalf("dump ended %+v", s)
	}
}

func TestFailureStopsOrContinues(t *testing.T) {
	t.Parallel()
	for _, onError := range []tasks.OnError{tasks.OnErrorStop, tasks.OnErrorContinue} {
		t.Run(string(onError), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.worker(t, "w1")
			seed(b)
			dump := b.dumpPlan(t, onError, "", rows("absent"), files())
			s := b.run(t, dump)
			if len(s.Failures) == 0 || s.Failures[0].Code != "not_found" || s.Failures[0].Node != "set/absent" {
				t.Errorf("failures are %+v", s.Failures)
			}
			dumps, err := b.archive.Dumps(t.Context(), "set")
			if err != nil {
				t.Fatal(err)
			}
			if onError == tasks.OnErrorStop {
				if s.State != ledger.StateFailed || len(dumps) != 0 {
					t.Errorf("ended %s with %d dumps, want failed with none", s.State, len(dumps))
				}
				return
			}
			if s.State != ledger.StatePartial || len(dumps) != 1 || !dumps[0].Partial || dumps[0].Missing[0] != "set/absent" {
				t.Errorf("ended %s with dumps %+v", s.State, dumps)
			}
		})
	}
}

func TestSecondDumpReadsOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	tree := b.site.place("tree")
	first := b.dumpPlan(t, tasks.OnErrorStop, "", files())
	b.run(t, first)
	tree.opens = 0
	tree.put("small", "changed", "v2")
	tree.put("new", "new", "v1")
	tree.put("unsure", "unsure", "")
	second := b.dumpPlan(t, tasks.OnErrorStop, first.Dump, files())
	if s := b.run(t, second); s.State != ledger.StateDone {
		t.Fatalf("dump ended %+v", s)
	}
	if tree.opens != 3 {
		t.Errorf("%d files were read, want 3", tree.opens)
	}
	if m := b.manifest(t, second, "set/tree"); m.Reused != int64(len(tree.files["a/big"].data)) {
		t.Errorf("manifest says %d bytes reused", m.Reused)
	}

	// An object that is gone is no base: what it held is read again.
	big := b.entries(t, second)["a/big"].Chunks[0]
	suffix := ""
	if big.Zstd {
		suffix = ".zst"
	}
	if err := b.bucket.Delete(t.Context(), "objects/"+big.SHA256[:2]+"/"+big.SHA256+suffix); err != nil {
		t.Fatal(err)
	}
	third := b.dumpPlan(t, tasks.OnErrorStop, second.Dump, files())
	if s := b.run(t, third); s.State != ledger.StateDone {
		t.Fatalf("dump ended %+v", s)
	}
	if v, err := b.archive.Verify(t.Context(), nil, archive.VerifyOptions{}); err != nil || !v.OK() {
		t.Errorf("archive after the third dump: %+v, %v", v, err)
	}
}

func TestStoppedWorkerHandsItsWorkBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := b.worker(t, "w1")
	seed(b)
	reached := make(chan struct{}, 2)
	b.site.place("db").onDump = func(ctx context.Context, epoch int) error {
		if epoch > 1 {
			return nil
		}
		reached <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", rows("db"), files())
	ready, err := b.ledger.Create(t.Context(), dump)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.sender.Send(t.Context(), ready); err != nil {
		t.Fatal(err)
	}
	<-reached
	b.worker(t, "w2")
	now, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.Stop(now); err != nil {
		t.Fatal(err)
	}
	if s := b.wait(t, dump.Run); s.State != ledger.StateDone || s.Deaths != 0 {
		t.Fatalf("dump ended %+v", s)
	}
	if n := b.site.place("db").epochs; n != 2 {
		t.Errorf("%d views were opened, want 2", n)
	}
	b.manifest(t, dump, "set/db")
}

// TestStoppedHolderLetsGo: a worker that stops takes no more parts of the view that only it can read, so it does not keep the node
// until its time to stop is over.
func TestStoppedHolderLetsGo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := b.worker(t, "w1")
	seed(b)
	reached, release := make(chan struct{}, 9), make(chan struct{})
	b.site.place("db").onDump = func(_ context.Context, epoch int) error {
		if epoch == 1 {
			reached <- struct{}{}
			<-release // a part that takes longer than the rest of the dump
		}
		return nil
	}
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", rows("db"))
	ready, err := b.ledger.Create(t.Context(), dump)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.sender.Send(t.Context(), ready); err != nil {
		t.Fatal(err)
	}
	<-reached
	b.worker(t, "w2")
	stopped := make(chan error, 1)
	go func() { stopped <- first.Stop(context.WithoutCancel(t.Context())) }()
	if s := b.wait(t, dump.Run); s.State != ledger.StateDone || s.Deaths != 0 {
		t.Errorf("dump ended %+v", s)
	}
	close(release)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if n := b.site.place("db").epochs; n != 2 {
		t.Errorf("%d views were opened, want 2", n)
	}
}

func TestReplacedRootIsNoEmptyDirectory(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	b.site.place("tree").onIdentify = func(p *place, n int) {
		if n == 3 { // after the listing: the file system was unmounted
			p.inode++
			clear(p.files)
			p.files[""] = file{dir: true}
		}
	}
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", files())
	s := b.run(t, dump)
	if s.State != ledger.StateFailed || s.Failures[0].Code != "not_found" || !strings.Contains(s.Failures[0].Message, "not the place that was listed") {
		t.Errorf("dump ended %+v", s)
	}
}

func TestRangeThatGrewTakesSeveralSegments(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	tree := b.site.place("tree")
	tree.onIdentify = func(p *place, n int) {
		for i := 0; n == 3 && i < 20000; i++ { // after the listing
			p.files[fmt.Sprintf("new-%05d", i)] = file{}
		}
	}
	dump := b.dumpPlan(t, tasks.OnErrorStop, "", files())
	if s := b.run(t, dump); s.State != ledger.StateDone {
		t.Fatalf("dump ended %+v", s)
	}
	m := b.manifest(t, dump, "set/tree")
	if m.Entries != 20005 || len(m.Segments) != 3 || len(b.entries(t, dump)) != 20005 {
		t.Errorf("%d entries in %d segments", m.Entries, len(m.Segments))
	}
}

func TestPanicFailsTheTask(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.worker(t, "w1")
	seed(b)
	b.site.place("db").onDump = func(context.Context, int) error { panic("a fault of the driver") }
	s := b.run(t, b.dumpPlan(t, tasks.OnErrorStop, "", rows("db")))
	if s.State != ledger.StateFailed || !strings.Contains(s.Failures[0].Message, "a fault of the driver") || strings.Contains(s.Failures[0].Message, "goroutine") {
		t.Errorf("dump ended %+v", s)
	}
}
