package tasks_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"salvor/tasks"
)

// written is a node as yaml.Marshal writes it; sources are absolute by then.
type written struct {
	Name         string         `yaml:"name"`
	Driver       string         `yaml:"driver,omitempty"`
	Source       string         `yaml:"source,omitempty"`
	Children     []written      `yaml:"children,omitempty"`
	Order        string         `yaml:"order,omitempty"`
	RestoreOrder string         `yaml:"restore_order,omitempty"`
	Freeze       string         `yaml:"freeze,omitempty"`
	After        []string       `yaml:"after,omitempty"`
	Host         string         `yaml:"host,omitempty"`
	Limit        int            `yaml:"limit,omitempty"`
	Options      map[string]any `yaml:",inline"`
}

func write(n tasks.Node) written {
	w := written{
		Name: n.Name, Driver: n.Driver, Source: n.Source, Order: string(n.Order), RestoreOrder: n.RestoreOrder, Freeze: n.Freeze,
		After: n.After, Host: n.Host, Limit: n.Limit,
	}
	if !n.Literal.IsEmpty() {
		w.Source = n.Literal.Reveal()
	}
	for _, c := range n.Children {
		w.Children = append(w.Children, write(c))
	}
	return w
}

// FuzzParse: no text makes Parse panic, and what it accepts it accepts again when it is written out.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(wholeSet)
	f.Add("archive: a\nset: {name: a, order: parallel, children: [{name: b, driver: sqlite, source: x, limit: 2, host: h}, " +
		"{name: c, driver: media, source: 's3://x', after: [b]}, {name: d, driver: postgres, source: 'postgres://u:p@h/d'}]}")
	f.Fuzz(func(t *testing.T, text string) {
		o := tasks.ParseOptions{File: "/etc/backupset.yaml", Drivers: testDrivers()}
		set, err := tasks.Parse([]byte(text), o)
		if err != nil {
			var config *tasks.ConfigError
			if !errors.As(err, &config) || len(config.Problems) == 0 {
				t.Fatalf("not a ConfigError: %v", err)
			}
			return
		}
		for _, n := range set.Set.Walk() {
			if n.Options != nil {
				return // their form is the drivers'
			}
		}
		data, err := yaml.MarshalWithOptions(map[string]any{"archive": set.Archive, "queue": set.Queue, "set": write(set.Set)}, yaml.JSON())
		if err != nil {
			t.Fatal(err)
		}
		text = string(data)
		for _, key := range []string{"archive", "queue"} {
			text = strings.ReplaceAll(text, `"`+key+`": "", `, "")
		}
		again, err := tasks.Parse([]byte(text), o)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(set, again, compareSecrets()); diff != "" {
			t.Fatalf("parsed again (-first +second):\n%s", diff)
		}
	})
}

// FuzzParseSource: what is accepted names a driver and a source, and means the same when it is written with its name.
func FuzzParseSource(f *testing.F) {
	for _, s := range []string{"sqlite:a", "x=dir:/a=b:c", "postgres://u:p@h/d", "a/b=media:s3://x", "dir:///x", "a=b", "dir:${A}", "=:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		name, driver, source, err := tasks.ParseSource(arg, testDrivers())
		if err != nil {
			if strings.ContainsRune(err.Error(), '\n') {
				t.Fatalf("the error has lines: %q", err)
			}
			return
		}
		if name == "" || driver == "" || source == "" || tasks.CheckReferences(source) != nil {
			t.Fatalf("%q is %q, %q, %q", arg, name, driver, source)
		}
		if strings.HasPrefix(arg, name+"=") {
			return
		}
		name2, driver2, source2, err := tasks.ParseSource("n="+arg, testDrivers())
		if err != nil || name2 != "n" || driver2 != driver || source2 != source {
			t.Fatalf("%q with a name is %q, %q, %q, %v", arg, name2, driver2, source2, err)
		}
	})
}

// FuzzResolve: a text is resolved if and only if its form is right and all it names is there, and the dollar signs of
// what has none to give survive.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"${A}", "$$", "a${file:/run/pw}b", "${", "${A${A}}", "$", "${NONE}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all := func(string) (string, bool) { return "v", true }
		file := func(string) ([]byte, error) { return []byte("v\n"), nil }
		got, err := tasks.Resolve(text, all, file)
		if (err == nil) != (tasks.CheckReferences(text) == nil) {
			t.Fatalf("%q: resolve says %v, check %v", text, err, tasks.CheckReferences(text))
		}
		if !strings.Contains(text, "$") && (err != nil || got.Reveal() != text) {
			t.Fatalf("%q became %q, %v", text, got.Reveal(), err)
		}
		escaped, err := tasks.Resolve(strings.ReplaceAll(text, "$", "$$"), all, file)
		if err != nil || escaped.Reveal() != text {
			t.Fatalf("%q escaped became %q, %v", text, escaped.Reveal(), err)
		}
		if tasks.HasLiteralSecret(tasks.RedactSource(text)) {
			t.Errorf("%q is shown as %q", text, tasks.RedactSource(text))
		}
	})
}
