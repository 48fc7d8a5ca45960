package command

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/internal/secret"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`[]`:                         "options are not an object",
		`{"dump":"redis-cli --rdb"}`: "dump: it must be a list of texts, the program and its arguments; put numbers in quotes",
		`{"dump":["a",1]}`:           "dump: it must be a list of texts",
		`{"dump":[]}`:                "dump: not valid: it names no program",
		`{"restore":[""]}`:           "restore: not valid: it names no program",
		`{"restore":["a","\u0000"]}`: "restore: not valid: word 2 holds a NUL character",
		`{"env":["A=b"]}`:            "env: it must be a mapping of names to texts",
		`{"env":{"A":1}}`:            "env: it must be a mapping of names to texts; put numbers in quotes",
		`{"env":{"A=B":"hunter2"}}`:  `env: not valid: "A=B" is not a variable's name`,
		`{"env":{"":"x"}}`:           `env: not valid: "" is not a variable's name`,
		`{"env":{"A":"hun\u0000"}}`:  "env: not valid: the value of A holds a NUL character",
		`{"dir":"data"}`:             "dir: not valid: it must be an absolute path",
		`{"idempotent":"yes"}`:       "idempotent: it must be true or false",
		`{"idempotent":null}`:        "idempotent: it must be true or false",
		`{"ext":"../x"}`:             "ext: not valid: it must be 1 to 16 letters",
		`{"ext":""}`:                 "ext: not valid: it must be 1 to 16 letters",
		`{"stderr_lines":0}`:         "stderr_lines: not valid: it must be from 1 to 100",
		`{"stderr_lines":1.5}`:       "stderr_lines: it must be a number",
	} {
		err := Kind().Check(json.RawMessage(text))
		if !errors.Is(err, drivers.ErrInvalid) || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Check(%s) = %v, want %s…", text, err, want)
		}
	}
	const all = `{"dump":["a","b c"],"restore":["d"],"env":{"A":"${B}"},"dir":"/x","idempotent":true,"ext":"tar.gz","stderr_lines":3}`
	// References are filled in later.
	if err := Kind().Check(json.RawMessage(`{"dump":["${A}"],"dir":"${DIR}/x"}`)); err != nil {
		t.Errorf("Check of references: %v", err)
	}
	for _, text := range []string{"", "{}", all} {
		if err := Kind().Check(json.RawMessage(text)); err != nil {
			t.Errorf("Check(%s) = %v", text, err)
		}
	}
	got, _ := parseOptions(json.RawMessage(all))
	want := options{
		Dump: []string{"a", "b c"}, Restore: []string{"d"}, Env: map[string]string{"A": "${B}"}, Dir: "/x", Idempotent: true, Ext: "tar.gz", StderrLines: 3,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, source, options, want string }{
		{"quotes", "a 'hunter2", "", "open command: source: not valid: character 3: a single quote is not closed"},
		{"pipe", "a hunter2 | b", "", "open command: source: not valid: character 11: a | that is not quoted needs a shell"},
		{"relative directory", "a", `{"dir":"data"}`, "open command: dir: not valid: it must be an absolute path"},
		{"options", "a", `{"dir":1}`, "open command: dir: it must be a text: not valid"},
	} {
		_, err := Kind().Open(t.Context(), drivers.Spec{Source: secret.New(test.source), Options: json.RawMessage(test.options)})
		if !errors.Is(err, drivers.ErrInvalid) || err.Error() != test.want {
			t.Errorf("%s: Open = %v, want %s", test.name, err, test.want)
		}
	}
}

// The source names the program, or the keys do. A target that is named by --into comes with the keys of the node.
func TestWhichProgram(t *testing.T) {
	t.Parallel()
	both := map[string]any{"dump": []string{"printf", "by keys"}, "restore": []string{"cat"}}
	if got := mustDump(t, "", both); got != "by keys" {
		t.Errorf("dump by keys gave %q", got)
	}
	if got := mustDump(t, "printf %s 'by source'", nil); got != "by source" {
		t.Errorf("dump by source gave %q", got)
	}
	for name, s := range map[string]*Source{
		"both":    openSource(t, "printf x", both),
		"neither": openSource(t, "", map[string]any{"restore": []string{"cat"}}),
	} {
		if _, err := s.Freeze(t.Context()); !errors.Is(err, drivers.ErrInvalid) || hintOf(err) == "" {
			t.Errorf("%s: Freeze = %v, want ErrInvalid with a hint", name, err)
		}
	}
	p, err := openSource(t, "tee x", nil).restoring()
	if diff := cmp.Diff([]string{"tee", "x"}, p.argv); err != nil || diff != "" {
		t.Errorf("restoring elsewhere: %v\n%s", err, diff)
	}
	p, err = openSource(t, "", both).restoring()
	if diff := cmp.Diff([]string{"cat"}, p.argv); err != nil || diff != "" {
		t.Errorf("restoring by keys: %v\n%s", err, diff)
	}
	if _, err = openSource(t, "", map[string]any{"dump": []string{"a"}}).restoring(); !errors.Is(err, drivers.ErrInvalid) || hintOf(err) == "" {
		t.Errorf("restoring with a program that only dumps = %v, want ErrInvalid with a hint", err)
	}
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	id := func(source string, options map[string]any) string {
		t.Helper()
		ids, err := openSource(t, source, options).Identities(t.Context())
		if err != nil || len(ids) != 1 {
			t.Fatalf("Identities = %q, %v", ids, err)
		}
		return ids[0]
	}
	base := id("ssh db 'dump it'", nil)
	for name, same := range map[string]string{
		"quoted otherwise": id(`ssh  "db" dump\ it`, nil),
		"by key":           id("", map[string]any{"dump": []string{"ssh", "db", "dump it"}, "restore": []string{"x"}}),
		"other ending":     id("ssh db 'dump it'", map[string]any{"ext": "sql"}),
	} {
		if same != base {
			t.Errorf("%s: another identity", name)
		}
	}
	for name, other := range map[string]string{
		"arguments":   id("ssh db dump it", nil),
		"directory":   id("ssh db 'dump it'", map[string]any{"dir": "/"}),
		"environment": id("ssh db 'dump it'", map[string]any{"env": map[string]string{"PGHOST": "other"}}),
	} {
		if other == base || strings.Contains(other, "dump") {
			t.Errorf("%s: identity %s, and %s without it", name, other, base)
		}
	}
}

// Nothing that a reference stood for is shown or stored, whatever part of a node it stands in.
func TestSecretsAreHidden(t *testing.T) {
	t.Parallel()
	const script = `echo "$0 $1 $VARIABLE" >&2; exit 3`
	for name, options := range map[string]map[string]any{
		"word":      {"dump": []string{"sh", "-c", script, "--password=hunter2"}},
		"variable":  {"dump": []string{"sh", "-c", script}, "env": map[string]string{"VARIABLE": "x hunter2"}},
		"program":   {"dump": []string{"/no/hunter2/program"}},
		"directory": {"dump": []string{"sh"}, "dir": "/no/hunter2"},
	} {
		text, err := json.Marshal(options)
		if err != nil {
			t.Fatal(err)
		}
		s, err := open(drivers.Spec{Node: "n", Options: text, Secrets: []secret.Text{secret.New("hunter2")}, Scratch: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		s.limits = limits{grace: time.Second, quiet: time.Second, lock: time.Second}
		err = dump(t, s, io.Discard)
		if err == nil || strings.Contains(err.Error()+hintOf(err), "hunter2") || !strings.Contains(err.Error(), secret.Redacted) {
			t.Errorf("%s: dump = %v, want an error without the secret", name, err)
		}
		p, err := s.dumping()
		if err != nil {
			t.Fatal(err)
		}
		part, facts, err := p.describe("bin")
		if err != nil || strings.Contains(string(part.Ref)+string(facts), "hunter2") {
			t.Errorf("%s: part %s, facts %s, %v", name, part.Ref, facts, err)
		}
	}
}
