package tasks_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/tasks"
)

func TestParseSource(t *testing.T) {
	t.Parallel()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string][3]string{
		"sqlite:a.db":                     {"sqlite", "sqlite", wd + "/a.db"},
		"dir:/a=b:c":                      {"dir", "filesystem", "/a=b:c"},
		"name=dir:/a=b:c":                 {"name", "filesystem", "/a=b:c"},
		"dir:.":                           {"dir", "filesystem", wd},
		"dir:///x":                        {"dir", "filesystem", "/x"},
		"dir:${HOME}/x":                   {"dir", "filesystem", "${HOME}/x"},
		"site/media=dir:/x":               {"site/media", "filesystem", "/x"},
		"postgres://u@h/d?x=y":            {"postgres", "postgres", "postgres://u@h/d?x=y"},
		"main=postgres://u:p@h/d":         {"main", "postgres", "postgres://u:p@h/d"},
		"postgres:host=h dbname=d":        {"postgres", "postgres", "host=h dbname=d"},
		"media:s3://bucket?region=x":      {"media", "media", "s3://bucket?region=x"},
		"m=media:/x":                      {"m", "media", "/x"},
		"media:a/b":                       {"media", "media", wd + "/a/b"},
		"media:///x":                      {"media", "media", "/x"},
		"media:file:///x":                 {"media", "media", "file:///x"},
		"command:mysqldump --opt=x a:b":   {"command", "command", "mysqldump --opt=x a:b"},
		"c=command:a=b":                   {"c", "command", "a=b"},
		"sqlite=sqlite:/sqlite:/sqlite=x": {"sqlite", "sqlite", "/sqlite:/sqlite=x"},
		"dir: x":                          {"dir", "filesystem", wd + "/ x"},
	} {
		name, driver, source, err := tasks.ParseSource(arg, testDrivers())
		if diff := cmp.Diff(want, [3]string{name, driver, source}); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", arg, err, diff)
		}
	}
}

func TestParseSourceErrors(t *testing.T) {
	t.Parallel()
	const schemes = "command, dir, media, postgres, sqlite"
	for arg, want := range map[string]string{
		"":                        "the source has no scheme; write SCHEME:SOURCE, SCHEME being " + schemes,
		"/var/lib/hunter2":        "the source has no scheme; write SCHEME:SOURCE, SCHEME being " + schemes,
		"name=/var/lib/hunter2":   "the source has no scheme; write SCHEME:SOURCE, SCHEME being " + schemes,
		"name=":                   "the source has no scheme; write SCHEME:SOURCE, SCHEME being " + schemes,
		"sqlit:hunter2":           `unknown scheme "sqlit" (have ` + schemes + `); did you mean "sqlite"?`,
		"x=oracle:hunter2":        `unknown scheme "oracle" (have ` + schemes + `)`,
		"filesystem:/x":           `unknown scheme "filesystem" (have ` + schemes + `); write dir:`,
		"a:b=dir:/x":              `unknown scheme "a" (have ` + schemes + `)`,
		"dir:":                    "nothing follows dir:",
		"postgres://":             "nothing follows postgres:",
		"sqlite://data/x.db":      "sqlite:// begins a URL with a host, and sqlite takes a path; write sqlite:PATH",
		"dir:~/x":                 "~ is not expanded; use ${HOME}",
		"dir:a\x00b":              "the source holds a NUL character",
		"my site=dir:/x":          `name "my site" is not valid; a name has letters, digits, - and _ only, and begins with a letter or digit`,
		"a//b=dir:/x":             `name "" is not valid; a name has letters, digits, - and _ only, and begins with a letter or digit`,
		"=dir:/x":                 `name "" is not valid; a name has letters, digits, - and _ only, and begins with a letter or digit`,
		"postgres://u:hunter2${@": "at character 21: ${ without its }; a dollar sign before { is written $$",
	} {
		_, _, _, err := tasks.ParseSource(arg, testDrivers())
		if err == nil {
			t.Errorf("%q: no error", arg)
			continue
		}
		got := err.Error()
		var hint interface{ Hint() string }
		if errors.As(err, &hint) && hint.Hint() != "" {
			got += "; " + hint.Hint()
		}
		if got != want {
			t.Errorf("%q:\n got %s\nwant %s", arg, got, want)
		}
		if strings.Contains(got, "hunter2") {
			t.Errorf("%q: the error holds a secret", arg)
		}
	}
}

func TestFromSources(t *testing.T) {
	t.Parallel()
	got, err := tasks.FromSources("", []string{"sqlite:/a.db", "b=sqlite:/b.db", "postgres://u:hunter2@h/d"}, testDrivers())
	if err != nil {
		t.Fatal(err)
	}
	want := tasks.Node{Name: "default", Children: []tasks.Node{
		{Name: "sqlite", Driver: "sqlite", Source: "/a.db"},
		{Name: "b", Driver: "sqlite", Source: "/b.db"},
		{Name: "postgres", Driver: "postgres", Source: tasks.RedactedSource},
	}}
	want.Children[2].Literal = got.Set.Children[2].Literal
	if diff := cmp.Diff(want, got.Set, compareSecrets()); diff != "" {
		t.Errorf("set (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"default/postgres"}, got.Literals()); diff != "" {
		t.Errorf("literals (-want +got):\n%s", diff)
	}
	if secret := got.Set.Children[2].Literal.Reveal(); secret != "postgres://u:hunter2@h/d" {
		t.Errorf("literal is %q", secret)
	}
}

func TestFromSourcesErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  string
		args []string
		want string
	}{
		"none": {"", nil, "no source is given"},
		"all at once": {"my set", []string{"dir:/a", "DIR=dir:/b", "x", "pg://u:hunter2@h", "a/b=dir:/c"}, `--set: name "my set" is not valid; ` +
			`a name has letters, digits, - and _ only, and begins with a letter or digit
source 2: name "DIR" is taken by another child of "my set"; give it one of its own: NAME=SCHEME:...
source 3: the source has no scheme; write SCHEME:SOURCE, SCHEME being command, dir, media, postgres, sqlite
source 4: unknown scheme "pg" (have command, dir, media, postgres, sqlite)
source 5: name "a/b" is not valid; a name has letters, digits, - and _ only, and begins with a letter or digit`},
		"options": {"", []string{"command:x"}, "source 1: argument: is required"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := tasks.FromSources(c.set, c.args, testDrivers())
			if _, ok := errors.AsType[*tasks.ConfigError](err); !ok {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}
