package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/internal/testenv"
	"salvor/tasks"
)

// gate is a way to a server that holds back who comes until it is opened.
type gate struct {
	listener net.Listener
	came     chan struct{} // closed when somebody came
	let      func()
}

func newGate(t *testing.T, port int) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener: l, came: make(chan struct{})}
	open, ended := make(chan struct{}), make(chan struct{})
	g.let = sync.OnceFunc(func() { close(open) })
	arrived := sync.OnceFunc(func() { close(g.came) })
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			arrived()
			passing.Go(func() {
				defer conn.Close() //nolint:errcheck // whoever came sees it
				select {
				case <-open:
				case <-ended:
					return
				}
				server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
				if err != nil {
					return
				}
				passing.Go(func() {
					_, _ = io.Copy(server, conn)
					_ = server.Close()
				})
				_, _ = io.Copy(conn, server)
			})
		}
	})
	t.Cleanup(func() {
		close(ended)
		_ = l.Close()
		passing.Wait()
	})
	return g
}

// url is that of the server, through the gate.
func (g *gate) url(server *testenv.PostgresServer) string {
	_, port, _ := net.SplitHostPort(g.listener.Addr().String())
	return strings.Replace(server.URL("postgres"), fmt.Sprintf(":%d/", server.Port), ":"+port+"/", 1)
}

func nodesOf(dump dumpResult) (nodes []string) {
	for _, n := range dump.Nodes {
		nodes = append(nodes, n.Node)
	}
	return nodes
}

// expanding waits until a worker lists databases, and returns the run.
func (s *ground) expanding() (run string) {
	s.t.Helper()
	testenv.Eventually(s.t, time.Minute, func() string {
		stdout, _ := s.run(exitOK, "workers", "--json")
		for line := range strings.Lines(stdout) {
			var w workerLine
			if err := json.Unmarshal([]byte(line), &w); err != nil {
				return err.Error()
			}
			for _, task := range w.Tasks {
				if task.Kind == tasks.KindExpand {
					run = task.Run
					return ""
				}
			}
		}
		return "nobody does it: " + stdout
	})
	return run
}

// The databases of a server are listed where the server can be reached: whoever starts the dump, or asks for its plan, knows
// neither the server nor its password.
func TestFleetExpands(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t, testenv.PostgresOptions{Password: "hunter2"})
	for _, name := range []string{"app", "api", `"Web"`, `"web"`} {
		pg.Exec("postgres", "CREATE DATABASE "+name)
	}
	pg.Exec("app", "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1)")
	s := newGround(t, `{name: site, children: [
		{name: servers, order: parallel, freeze: together, children: [
			{name: one, driver: postgres, source: "${SALVOR_TEST_SERVER}", databases: ["a*"], host: db-1},
			{name: two, driver: postgres, source: "${SALVOR_TEST_SERVER}", databases: ["?eb"], host: db-1, order: sequence}]},
		{name: files, driver: filesystem, source: $DIR/files, host: web-1}]}`)
	s.files("files", 3, 100)

	_, stderr := s.run(exitUsage, "dump", "-q")
	if !strings.Contains(stderr, "no worker serves the queue") {
		t.Errorf("dump without workers: %s", stderr)
	}
	stdout, stderr := s.run(exitOK, "plan")
	if !strings.Contains(stdout, "site/servers/one ") || !strings.Contains(stderr, "warning: nodes that stand for several places are shown as they are") ||
		!strings.Contains(stderr, "no worker serves the queue") {
		t.Errorf("plan without workers: %s\n%s", stdout, stderr)
	}

	s.worker("web-1")
	_, stderr = s.run(exitUsage, "dump", "-q")
	if !strings.Contains(stderr, "node site/servers/one is bound to host db-1, which no worker serves") {
		t.Errorf("dump without the host: %s", stderr)
	}
	s.env = []string{"SALVOR_TEST_SERVER=" + pg.URL("postgres")}
	s.worker("db-1")
	stdout, stderr = s.run(exitOK, "plan")
	for _, node := range []string{"freeze:site/servers#together", "site/servers/one/api", "site/servers/one/app", "site/servers/two/%57eb", "site/servers/two/web"} {
		if !strings.Contains(stdout, node) {
			t.Errorf("the plan lacks %s:\n%s", node, stdout)
		}
	}
	if strings.Contains(stderr, "warning") {
		t.Errorf("plan: %s", stderr)
	}

	stdout, stderr = s.run(exitOK, "dump", "--json")
	var dump dumpResult
	if err := json.Unmarshal([]byte(stdout), &dump); err != nil {
		t.Fatal(err)
	}
	want := []string{"site/servers/one/api", "site/servers/one/app", "site/servers/two/%57eb", "site/servers/two/web", "site/files"}
	if diff := cmp.Diff(want, nodesOf(dump)); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	run := regexp.MustCompile(`expand site: run ([0-9a-f-]{36}) on `).FindStringSubmatch(stderr)
	if run == nil {
		t.Fatalf("the run that expands is not told: %s", stderr)
	}
	if _, stderr = s.run(exitOK, "watch", run[1]); !strings.Contains(stderr, "expand site: done after ") || strings.Contains(stderr, "salvor show") {
		t.Errorf("watch: %s", stderr)
	}
	if _, stderr = s.run(exitUsage, "cancel", run[1]); !strings.Contains(stderr, "has ended already: done") {
		t.Errorf("cancel: %s", stderr)
	}
	stdout, _ = s.run(exitOK, "runs", "--json")
	if strings.Count(stdout, "\n") != 1 {
		t.Errorf("runs: %s", stdout)
	}
	err := filepath.Walk(s.archive, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "hunter2") {
			t.Errorf("%s holds the password", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	// What was dumped stands in the archive: a restore asks nobody what there is.
	restored := pg.NewName()
	s.run(exitOK, "restore", "-q", "--only", "app", "--into", "app=${SALVOR_TEST_SERVER}&dbname="+restored, "--host", "db-1", "--create", "--prove")
	if got := pg.Query(restored, "SELECT count(*) FROM t"); got != "1" {
		t.Errorf("%s rows were restored", got)
	}
	testenv.Eventually(t, time.Minute, func() string { // by a worker
		if _, _, code := call(t, "watch", run[1], "--queue", s.redis.URL()); code != exitUsage {
			return "the ledger has not forgotten the run"
		}
		return ""
	})
}

// Without a server the error is the server's, as it was before others listed its databases.
func TestFleetExpandFails(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t, testenv.PostgresOptions{Password: "hunter2"})
	s := newGround(t, `{name: site, children: [
		{name: one, driver: postgres, source: "${SALVOR_TEST_SERVER}", databases: all},
		{name: two, driver: postgres, source: "${SALVOR_TEST_SERVER}", databases: ["none*", "nil"]}]}`)
	s.env = []string{"SALVOR_TEST_SERVER=" + pg.URL("postgres")}
	w := s.worker("db-1")
	replace := strings.NewReplacer(fmt.Sprintf("127.0.0.1:%d", pg.Port), "$SERVER", fmt.Sprint(pg.Port), "$PORT")
	args := []string{"dump", "-q", "--config", s.config, "--lease", testLease}
	expect(t, exitMissing, "salvor: error: expand node site/two: no database of the server fits databases: none*, nil: does not exist\n"+
		"salvor: hint: list them with psql -l\n"+
		"salvor: error: expand failed, nothing was dumped, run $RUN\n", replace, args...)
	stdout, stderr := s.run(exitOK, "plan")
	if !strings.Contains(stdout, "site/one/postgres ") || !strings.Contains(stdout, "site/two ") ||
		!strings.Contains(stderr, "warning: node site/two stands for several places, which cannot be listed: a dump has steps for each: expand node site/two: no database") {
		t.Errorf("plan: %s\n%s", stdout, stderr)
	}
	if _, err := os.Stat(s.archive); !os.IsNotExist(err) {
		t.Errorf("the archive was begun: %v", err)
	}
	w.kill()

	s.env = nil
	w = s.worker("db-1")
	_, stderr = s.run(exitUsage, "dump", "-q")
	for _, node := range []string{"one", "two"} {
		if !strings.Contains(stderr, "salvor: error: resolve source of node site/"+node+": resolve ${SALVOR_TEST_SERVER}: the variable is not set\n") {
			t.Errorf("a worker without the variable: %s", stderr)
		}
	}
	w.kill()

	s.env = []string{"SALVOR_TEST_SERVER=" + strings.Replace(pg.URL("postgres"), "hunter2", "hunter3", 1)}
	w = s.worker("db-1")
	_, stderr = s.run(exitAccess, "dump", "-q")
	if !strings.Contains(stderr, "expand node site/one: connect to postgres on ") || !strings.Contains(stderr, "hint: check the user and the password of the source") {
		t.Errorf("wrong password: %s", stderr)
	}
	w.kill()

	pg.Shutdown()
	s.env = []string{"SALVOR_TEST_SERVER=" + pg.URL("postgres")}
	s.worker("db-1")
	_, stderr = s.run(exitOK, "plan")
	if strings.Contains(stderr, "trying") || strings.Count(stderr, "warning: node site/") != 2 {
		t.Errorf("plan without the server: %s", stderr)
	}
	_, stderr = s.run(exitFailed, "dump")
	if !strings.Contains(stderr, "trying site/one again: expand node site/one: ") || !strings.Contains(stderr, "hint: check that the server runs and can be reached from here") ||
		strings.Contains(stderr, "hunter2") {
		t.Errorf("server down: %s", stderr)
	}
}

// Whoever started the dump dies while the databases are listed: nothing was begun, and nothing is left. A worker that dies
// there is replaced by another.
func TestFleetExpandIsKilled(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	pg.Exec("postgres", "CREATE DATABASE app")
	g := newGate(t, pg.Port)
	s := newGround(t, `{name: site, driver: postgres, source: "${SALVOR_TEST_SERVER}", databases: [app]}`)
	s.env = []string{"SALVOR_TEST_SERVER=" + g.url(pg)}
	w := s.worker("db-1")

	dump := s.start("dump")
	<-g.came
	run := s.expanding()
	dump.kill()
	if _, stderr := s.run(exitOK, "cancel", run); !strings.Contains(stderr, "was cancelled") {
		t.Errorf("cancel: %s", stderr)
	}
	if _, err := os.Stat(s.archive); !os.IsNotExist(err) {
		t.Errorf("the archive was begun: %v", err)
	}
	testenv.Eventually(t, time.Minute, func() string {
		if _, _, code := call(t, "watch", run, "--queue", s.redis.URL()); code != exitUsage {
			return "the ledger has not forgotten the run"
		}
		return ""
	})

	dump = s.start("dump", "--json")
	again := s.expanding()
	if again == run {
		t.Fatal("the run that was cancelled goes on")
	}
	w.kill()
	s.worker("db-2")
	dump.says("doing a part of site again: worker db-1-")
	g.let()
	dump.ends(exitOK)
	var result dumpResult
	if err := json.Unmarshal(dump.stdout.Bytes(), &result); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"site/app"}, nodesOf(result)); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}

// A dump that is cancelled from elsewhere, or interrupted, while the databases are listed ends as one later does.
func TestFleetExpandIsCancelled(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	g := newGate(t, pg.Port)
	s := newGround(t, `{name: site, driver: postgres, source: "${SALVOR_TEST_SERVER}", databases: all}`)
	s.env = []string{"SALVOR_TEST_SERVER=" + g.url(pg)}
	s.worker("db-1")
	for _, end := range []func(dump *program){
		func(*program) { s.run(exitOK, "cancel", s.expanding()) },
		func(dump *program) { dump.signal(os.Interrupt) },
	} {
		dump := s.start("dump")
		s.expanding()
		end(dump)
		dump.ends(exitInterrupted)
		if said := dump.said(); !strings.Contains(said, "error: expand was interrupted, nothing was dumped, run ") {
			t.Errorf("it says %s", said)
		}
		testenv.Eventually(t, time.Minute, func() string {
			if stdout, _ := s.run(exitOK, "workers", "--json"); strings.Contains(stdout, `"expand"`) {
				return stdout
			}
			return ""
		})
	}
	if _, err := os.Stat(s.archive); !os.IsNotExist(err) {
		t.Errorf("the archive was begun: %v", err)
	}
}

// In one process the databases are listed by its own worker, which holds the literal password, and by no other host's.
func TestExpandHere(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t, testenv.PostgresOptions{Password: "hunter2"})
	pg.Exec("postgres", "CREATE DATABASE app")
	dir := t.TempDir()
	config := filepath.Join(dir, "set.yaml")
	write := func(more string) {
		text := fmt.Sprintf("archive: %s/archive\nset: {name: site, driver: postgres, source: %q, databases: [a*]%s}\n", dir, pg.URL("postgres"), more)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(", host: elsewhere")
	_, stderr, code := call(t, "dump", "-q", "-c", config)
	if code != exitUsage || !strings.Contains(stderr, "node site is bound to host elsewhere, and this is here") {
		t.Errorf("dump of another host's node: exit code %d: %s", code, stderr)
	}
	stdout, stderr, code := call(t, "plan", "-c", config)
	if code != exitOK || !strings.Contains(stdout, "freeze:site") || !strings.Contains(stderr, "node site is bound to host elsewhere, and this is here") {
		t.Errorf("plan of another host's node: exit code %d: %s\n%s", code, stdout, stderr)
	}
	write("")
	if stdout := mustCall(t, "plan", "-c", config); !strings.Contains(stdout, "freeze:site/app") {
		t.Errorf("plan: %s", stdout)
	}
	var dump dumpResult
	if err := json.Unmarshal([]byte(mustCall(t, "dump", "-q", "--json", "-c", config)), &dump); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"site/app"}, nodesOf(dump)); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}
