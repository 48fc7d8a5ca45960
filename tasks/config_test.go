package tasks_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/internal/secret"
	"salvor/tasks"
)

var update = flag.Bool("update", false, "write the golden files")

// always tells that all sources of a driver are paths.
func always(string) bool { return true }

// testDrivers are drivers of every kind that a set can tell apart.
func testDrivers() []tasks.Driver {
	return []tasks.Driver{
		{Name: "sqlite", Scheme: "sqlite", Holds: true, Path: always},
		{Name: "postgres", Scheme: "postgres", Holds: true, Options: []string{"databases"}, Many: "databases"},
		{Name: "media", Scheme: "media", Path: func(s string) bool { return !strings.Contains(s, "://") }},
		{Name: "command", Scheme: "command", Options: []string{"argument", "placed"}, Check: checkCommand},
		{Name: "filesystem", Scheme: "dir", Path: always, Options: []string{"exclude", "only", "one_file_system"}, Check: checkFiles},
	}
}

// checkFiles wants lists of texts and truth values, and not both kinds of lists.
func checkFiles(data json.RawMessage) error {
	var keys map[string]any
	if err := json.Unmarshal(data, &keys); err != nil {
		return err
	}
	for _, key := range []string{"exclude", "only"} {
		if _, ok := keys[key].([]any); keys[key] != nil && !ok {
			return fmt.Errorf("%s: must be a list", key)
		}
	}
	if _, ok := keys["one_file_system"].(bool); keys["one_file_system"] != nil && !ok {
		return errors.New("one_file_system: must be true or false")
	}
	if keys["exclude"] != nil && keys["only"] != nil {
		return errors.New("exclude and only do not go together")
	}
	return nil
}

// placed is an error that tells where it is.
type placed []string

func (p placed) Error() string   { return strings.Join(p, " ") + " is wrong" }
func (p placed) Hint() string    { return "mend it" }
func (p placed) Place() []string { return p }

type several []error

func (s several) Error() string { return "several" }
func (s several) Each() []error { return s }

func checkCommand(data json.RawMessage) error {
	var keys map[string]any
	if err := json.Unmarshal(data, &keys); err != nil {
		return err
	}
	if keys["placed"] != nil {
		return several{placed{"placed", "a", "1", "c"}, placed{"placed", "a", "7"}, placed{"placed"}, placed{"placed", "b", "x"}, errors.New("nowhere")}
	}
	if keys["argument"] == nil {
		return errors.New("argument: is required")
	}
	return nil
}

// TestParseErrors compares what Parse says about each bad set with the text beside it.
func TestParseErrors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = tasks.Parse(data, tasks.ParseOptions{File: "backupset.yaml", Drivers: testDrivers()})
			if err == nil {
				t.Fatal("parsed without an error")
			}
			var config *tasks.ConfigError
			if !errors.As(err, &config) || config.File != "backupset.yaml" {
				t.Fatalf("not a ConfigError of the file: %#v", err)
			}
			checkGolden(t, strings.TrimSuffix(file, ".yaml")+".txt", describe(config))
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error holds a secret")
			}
		})
	}
}

// describe returns the error's text and, indented, where in the structure each problem is.
func describe(e *tasks.ConfigError) string {
	var out strings.Builder
	out.WriteString(e.Error() + "\n\n")
	for _, p := range e.Problems {
		fmt.Fprintf(&out, "%d:%d %s\n", p.Line, p.Column, p.Path)
	}
	return out.String()
}

func checkGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

const wholeSet = `
archive: backups
queue: redis://redis:6379/0
set:
  name: site
  children:
    - name: databases
      order: parallel
      freeze: together
      restore_order: same
      children:
        - {name: main,   driver: postgres, source: "${MAIN_URL}"}
        - {name: legacy, driver: sqlite, source: ./data/../legacy.db, limit: 4}
    - name: media
      driver: media
      source: s3://site-media
    - &files
      name: foofiles
      driver: filesystem
      source: /var/lib/foo
      host: web-1
      exclude: ["tmp/**", "*.log"]
      one_file_system: true
      after: [main, databases/main, site/media]
    - <<: *files
      name: barfiles
      source: "${BAR}/data"
      after: [legacy]
    - name: hidden
      driver: filesystem
      source: .htaccess
`

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := tasks.Parse([]byte(wholeSet), tasks.ParseOptions{File: "/etc/$alvor/backupset.yaml", Drivers: testDrivers()})
	if err != nil {
		t.Fatal(err)
	}
	exclude := json.RawMessage(`{"exclude":["tmp/**","*.log"],"one_file_system":true}`)
	want := tasks.BackupSet{
		Archive: "/etc/$$alvor/backups",
		Queue:   "redis://redis:6379/0",
		Set: tasks.Node{Name: "site", Children: []tasks.Node{
			{Name: "databases", Order: tasks.OrderParallel, Freeze: tasks.FreezeTogether, RestoreOrder: tasks.RestoreSame, Children: []tasks.Node{
				{Name: "main", Driver: "postgres", Source: "${MAIN_URL}"},
				{Name: "legacy", Driver: "sqlite", Source: "/etc/$$alvor/data/../legacy.db", Limit: 4},
			}},
			{Name: "media", Driver: "media", Source: "s3://site-media"},
			{
				Name: "foofiles", Driver: "filesystem", Source: "/var/lib/foo", Host: "web-1", Options: exclude,
				After: []string{"site/databases/main", "site/media"},
			},
			{
				Name: "barfiles", Driver: "filesystem", Source: "${BAR}/data", Host: "web-1", Options: exclude,
				After: []string{"site/databases/legacy"},
			},
			{Name: "hidden", Driver: "filesystem", Source: "/etc/$$alvor/.htaccess"},
		}},
	}
	if diff := cmp.Diff(want, got, compareSecrets()); diff != "" {
		t.Errorf("set (-want +got):\n%s", diff)
	}
}

func compareSecrets() cmp.Option {
	return cmp.Comparer(func(a, b secret.Text) bool { return a.Reveal() == b.Reveal() })
}

// TestParseForms are texts that mean the same smallest set, or a place that is easily got wrong.
func TestParseForms(t *testing.T) {
	t.Parallel()
	want := tasks.Node{Name: "a", Driver: "sqlite", Source: "/x"}
	for name, text := range map[string]string{
		"flow":        `{set: {name: a, driver: sqlite, source: /x}}`,
		"json":        `{"set": {"name": "a", "driver": "sqlite", "source": "/x"}}`,
		"byte order":  "\ufeffset:\n  name: a\n  driver: sqlite\n  source: /x\n",
		"crlf":        "set:\r\n  name: a\r\n  driver: sqlite\r\n  source: /x\r\n",
		"header":      "---\nset:\n  name: a\n  driver: sqlite\n  source: /x\n...\n",
		"comments":    "# a\nset: # b\n  # c\n  name: a # d\n\n  driver: sqlite\n  source: /x\n# e\n",
		"quotes":      "set:\n  name: 'a'\n  driver: \"sqlite\"\n  source: |-\n    /x\n",
		"folded":      "set:\n  name: a\n  driver: sqlite\n  source: >-\n    /x\n",
		"quoted keys": "'set':\n  \"name\": a\n  driver: sqlite\n  source: /x\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tasks.Parse([]byte(text), tasks.ParseOptions{Drivers: testDrivers()})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.Set, compareSecrets()); diff != "" {
				t.Errorf("set (-want +got):\n%s", diff)
			}
		})
	}
}

// TestParseLiteral: a secret that stands in a set stays in this process.
func TestParseLiteral(t *testing.T) {
	t.Parallel()
	const url = "postgres://u:hunter2@h/d"
	text := "set:\n  name: a\n  driver: postgres\n  source: " + url + "\n"
	set, err := tasks.Parse([]byte(text), tasks.ParseOptions{Drivers: testDrivers()})
	if err != nil {
		t.Fatal(err)
	}
	if set.Set.Source != tasks.RedactedSource || set.Set.Literal.Reveal() != url {
		t.Errorf("source is %q, literal %q", set.Set.Source, set.Set.Literal.Reveal())
	}
	if diff := cmp.Diff([]string{"a"}, set.Literals()); diff != "" {
		t.Errorf("literals (-want +got):\n%s", diff)
	}
	data, err := json.Marshal(set.Set)
	if err != nil || strings.Contains(string(data)+fmt.Sprintf("%v %+v %#v", set, set, set), "hunter2") {
		t.Errorf("the secret is printed (%v)", err)
	}
}

// TestParseLimits: texts that would take time or memory are refused, and soon.
func TestParseLimits(t *testing.T) {
	t.Parallel()
	nest := func(depth int) string {
		return "set: " + strings.Repeat("{name: a, children: [", depth) + "{name: z, driver: sqlite, source: /x}" + strings.Repeat("]}", depth)
	}
	many := func(n int) string {
		var out strings.Builder
		out.WriteString("set:\n  name: a\n  children:\n")
		for i := range n {
			fmt.Fprintf(&out, "  - {name: n%d, driver: sqlite, source: /x}\n", i)
		}
		return out.String()
	}
	for name, c := range map[string]struct{ text, want string }{
		"size":            {strings.Repeat("#", 1<<20+1), "backupset.yaml: the file has 1048577 bytes; a set has at most 1048576"},
		"depth":           {nest(31), ""},
		"too deep":        {nest(32), "nodes are nested more than 32 deep"},
		"nodes":           {many(9_999), ""},
		"too many nodes":  {many(10_000), "the set has more than 10000 nodes"},
		"brackets":        {strings.Repeat("[", 1<<20), "nested more than 100 deep"},
		"braces":          {strings.Repeat("{a: ", 1<<16), "nested more than 100 deep"},
		"dashes":          {strings.Repeat("- ", 1<<17), "nested more than 100 deep"},
		"questions":       {strings.Repeat("? ", 1<<17), "nested more than 100 deep"},
		"anchors":         {strings.Repeat("&a ", 1<<16), "nested more than 100 deep"},
		"tags":            {strings.Repeat("!a ", 1<<16), "nested more than 100 deep"},
		"keys":            {strings.Repeat("k: v\n", 1<<15), "a mapping has more than 1000 keys"},
		"values":          {"[" + strings.Repeat("a,", 1<<18) + "]", "more than 200000 values"},
		"NUL":             {"set: a\x00b", "backupset.yaml:1:7: the file is not text in UTF-8"},
		"not UTF-8":       {"set:\n  ä\xff", "backupset.yaml:2:4: the file is not text in UTF-8"},
		"UTF-16":          {"\xff\xfes\x00e\x00t\x00", "1:1: the file is not text in UTF-8"},
		"problems":        {"set: {name: a, children: [" + strings.Repeat("{},", 5_000) + "]}", "... and 9800 problems more"},
		"one long string": {"set: " + strings.Repeat("x", 1<<19), "a node is a mapping, not text"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := tasks.Parse([]byte(c.text), tasks.ParseOptions{File: "backupset.yaml", Drivers: testDrivers()})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %.300v; want %s", err, c.want)
			}
		})
	}
}

// TestParseRelative: paths are relative to the file, also where only its name is given.
func TestParseRelative(t *testing.T) {
	t.Parallel()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		"x": wd + "/conf/x", "./x": wd + "/conf/x", ".": wd + "/conf", "./": wd + "/conf", "..": wd + "/conf/..",
		"a/": wd + "/conf/a/", ".//a": wd + "/conf/a", ".x": wd + "/conf/.x", "/x": "/x", "${X}": "${X}", "$$x": wd + "/conf/$$x",
	} {
		set, err := tasks.Parse(fmt.Appendf(nil, "archive: %q\nset: {name: a, driver: sqlite, source: %q}", source, source),
			tasks.ParseOptions{File: "conf/backupset.yaml", Drivers: testDrivers()})
		if err != nil {
			t.Fatal(err)
		}
		if set.Set.Source != want || set.Archive != want {
			t.Errorf("%q became source %q, archive %q; want %q", source, set.Set.Source, set.Archive, want)
		}
	}
}
