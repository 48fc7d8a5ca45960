package tasks_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/internal/secret"
	"salvor/tasks"
)

func fill(text string) (secret.Text, error) {
	return tasks.Resolve(text, func(name string) (string, bool) {
		value, ok := map[string]string{"WORD": `hun"ter2`, "NESTED": "${WORD}"}[name]
		return value, ok
	}, func(string) ([]byte, error) { return []byte("from a file\n"), nil })
}

func TestResolveOptions(t *testing.T) {
	t.Parallel()
	keys := []string{"env", "dump", "absent"}
	const text = `{"env":{"A":"${WORD}","B":"$$x","C":"${NESTED}","${WORD}":""},"dump":["a $1","${file:/x}",12345678901234567890.10,true,null],` +
		`"exclude":["${WORD}","a$$","$"]}`
	const want = `{"dump":["a $1","from a file",12345678901234567890.10,true,null],"env":{"${WORD}":"","A":"hun\"ter2","B":"$x","C":"${WORD}"},` +
		`"exclude":["${WORD}","a$$","$"]}`
	got, err := tasks.ResolveOptions(json.RawMessage(text), keys, fill)
	if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
		t.Errorf("ResolveOptions: %v (-want +got):\n%s", err, diff)
	}
	for _, same := range []string{"", `{"exclude":["${WORD}"]}`} {
		got, err := tasks.ResolveOptions(json.RawMessage(same), keys, fill)
		if err != nil || string(got) != same {
			t.Errorf("ResolveOptions(%s) = %s, %v", same, got, err)
		}
	}
	if got, err := tasks.ResolveOptions(json.RawMessage(text), nil, fill); err != nil || string(got) != text {
		t.Errorf("ResolveOptions without keys = %s, %v", got, err)
	}
	for text, want := range map[string]string{
		`{"env":{"A":"${ABSENT}"}}`:     "env: A: resolve ${ABSENT}: the variable is not set",
		`{"env":{"A":" ${redacted} "}}`: "env: A: ${redacted} stands for a secret that was not stored",
		`{"dump":["${"]}`:               "dump: at character 1: ${ without its }",
	} {
		if _, err := tasks.ResolveOptions(json.RawMessage(text), keys, fill); err == nil || err.Error() != want {
			t.Errorf("ResolveOptions(%s) = %v, want %s", text, err, want)
		}
	}
	refs := tasks.References("x ${WORD} $$ ${A}", json.RawMessage(text), keys)
	if diff := cmp.Diff([]string{"${A}", "${NESTED}", "${WORD}", "${file:/x}"}, refs); diff != "" {
		t.Errorf("References (-want +got):\n%s", diff)
	}
	if refs := tasks.References(tasks.RedactedSource, nil, keys); len(refs) > 0 {
		t.Errorf("References of a redacted source = %q", refs)
	}
}

func programDriver() tasks.Driver {
	return tasks.Driver{
		Name: "command", Scheme: "command", Options: []string{"dump", "restore", "env"}, Resolve: []string{"dump", "env"},
		SourceKeys: []string{"dump"}, Executes: true,
	}
}

// What stands in options as text is stored, so a secret there is an error before anything is.
func TestSecretsInOptions(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]string{
		`dump: [a], env: {PGPASSWORD: hunter2}`:              `env: "PGPASSWORD" holds a secret`,
		`dump: [a], env: {REDISCLI_AUTH: "x${WORD}"}`:        `env: "REDISCLI_AUTH" holds a secret`,
		`dump: [a], env: {AWS_SECRET_ACCESS_KEY: hunter2}`:   `holds a secret`,
		`dump: [a], env: {URL: "postgres://u:hunter2@h/db"}`: `env holds a secret`,
		`dump: [a, --password, hunter2]`:                     `dump: "--password" holds a secret`,
		`dump: [a, --password=hunter2]`:                      `dump holds a secret`,
		`dump: [a], env: {A: "${redacted}"}`:                 `${redacted} stands for a secret`,
		`dump: [a], env: {A: "${"}`:                          `${ without its }`,
		`source: a, dump: [a]`:                               `source and dump exclude each other`,
		`restore: [a]`:                                       `the node has a driver and neither source nor dump`,
		``:                                                   `the node has a driver and neither source nor dump`,

		`dump: [a], env: {PGPASSWORD: "${WORD}", REDISCLI_AUTH: "${file:/run/x}", TOKEN: ""}`:           "",
		`dump: [redis-cli, --no-auth-warning, --rdb, "-"], env: {PGPASSFILE: /x, AWS_ACCESS_KEY_ID: x}`: "",
		`dump: [a, --author, me, --password, --quiet, "--token=${WORD}"], env: {LANG: C, AUTHOR: me}`:   "",
		`source: a b, restore: [c]`: "",
	} {
		text := fmt.Sprintf("set:\n  name: site\n  children:\n    - {name: it, driver: command, %s}\n", options)
		_, err := tasks.Parse([]byte(text), tasks.ParseOptions{Drivers: []tasks.Driver{programDriver()}})
		if want == "" {
			if err != nil {
				t.Errorf("Parse(%s) = %v", options, err)
			}
			continue
		}
		var config *tasks.ConfigError
		if !errors.As(err, &config) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Parse(%s) = %v, want %s", options, err, want)
		} else if strings.Contains(want, "holds a secret") && !strings.HasPrefix(config.Problems[0].Hint, "write ${NAME}") {
			t.Errorf("Parse(%s) hints %q", options, config.Problems[0].Hint)
		}
	}
}
