package tasks_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"salvor/tasks"
)

func testEnv(name string) (string, bool) {
	value, ok := map[string]string{"A": "alpha", "EMPTY": "", "_b1": "${A}", "DOLLAR": "$$"}[name]
	return value, ok
}

func testFile(name string) ([]byte, error) {
	switch name {
	case "/run/pw":
		return []byte("hunter2\n"), nil
	case "/run/crlf":
		return []byte("hunter2\r\n"), nil
	case "/run/lines":
		return []byte("a\nb\n\n"), nil
	case "/run/bare":
		return []byte("hunter2"), nil
	case "/run/large":
		return make([]byte, 64<<10+1), nil
	}
	return nil, fs.ErrNotExist
}

func TestResolve(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                           "",
		"plain":                      "plain",
		"${A}":                       "alpha",
		"x${A}y${A}z":                "xalphayalphaz",
		"${EMPTY}":                   "",
		"${_b1}":                     "${A}", // what a reference stands for is not searched again
		"${DOLLAR}":                  "$$",
		"$$":                         "$",
		"$${A}":                      "${A}",
		"$$${A}":                     "$alpha",
		"$":                          "$",
		"a$b$":                       "a$b$",
		"$A":                         "$A",
		"}{":                         "}{",
		"${A}}":                      "alpha}",
		"postgres://u:${A}@h/d":      "postgres://u:alpha@h/d",
		"${file:/run/pw}":            "hunter2",
		"${file:/run/crlf}":          "hunter2",
		"${file:/run/lines}":         "a\nb\n",
		"${file:/run/bare}":          "hunter2",
		"u:${file:/run/pw}@${A}/$$x": "u:hunter2@alpha/$x",
	} {
		got, err := tasks.Resolve(text, testEnv, testFile)
		if err != nil || got.Reveal() != want {
			t.Errorf("resolve %q: %q, %v; want %q", text, got.Reveal(), err, want)
		}
		if err := tasks.CheckReferences(text); err != nil {
			t.Errorf("check %q: %v", text, err)
		}
	}
}

func TestResolveErrors(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct {
		want string
		form bool // CheckReferences sees it too
	}{
		"hunter2${NONE}":         {"resolve ${NONE}: the variable is not set", false},
		"hunter2${file:/run/no}": {"resolve ${file:/run/no}: file does not exist", false},
		"${file:/run/large}":     {"resolve ${file:/run/large}: the file has 65537 bytes, a secret at most 65536", false},
		"hunter2${A":             {"at character 8: ${ without its }", true},
		"hunter2${":              {"at character 8: ${ without its }", true},
		"${A${A}}":               {"at character 1: references do not nest", true},
		"${}":                    {"at character 1: between ${ and } stands neither a variable's name nor file:PATH", true},
		"x${hunter2-}":           {"at character 2: between ${ and } stands neither a variable's name nor file:PATH", true},
		"${1A}":                  {"at character 1: between ${ and } stands neither a variable's name nor file:PATH", true},
		"${ A }":                 {"at character 1: between ${ and } stands neither a variable's name nor file:PATH", true},
		"${file:}":               {"at character 1: ${file:PATH} needs an absolute path", true},
		"${file:run/pw}":         {"at character 1: ${file:PATH} needs an absolute path", true},
	} {
		got, err := tasks.Resolve(text, testEnv, testFile)
		if err == nil || err.Error() != c.want || !got.IsEmpty() {
			t.Errorf("resolve %q: %v; want %s", text, err, c.want)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("resolve %q: the error holds a secret", text)
		}
		if form := tasks.CheckReferences(text) != nil; form != c.form {
			t.Errorf("check %q: %v", text, form)
		}
		var hint interface{ Hint() string }
		if errors.As(err, &hint) != c.form {
			t.Errorf("resolve %q: a hint, or none", text)
		}
	}
	if _, err := tasks.Resolve("${file:/run/no}", testEnv, testFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file's error is lost: %v", err)
	}
}

func TestHasLiteralSecret(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"postgres://u:hunter2@h/d":                   true,
		"curl http://u:hunter2@h/":                   true,
		"sh -c 'curl http://u:hunter2@h/ | gzip'":    true,
		"curl http://u:${PW}@h/ http://h:80/a@b":     false,
		"postgres://u:hunter2@h":                     true,
		"postgres://:hunter2@h/d":                    true,
		"postgres://u:p%40x@h/d":                     true,
		"postgres://u:p/w@h/d":                       true, // unescaped slash
		"postgres://u:p#w?x@h/d":                     true,
		"postgres://u:a@b@h/d":                       true,
		"postgres://u:a${B}@h/d":                     true, // half of it is there
		"postgres://u:$$@h/d":                        true,
		"postgres://u:${PW}@h/d":                     false,
		"postgres://u:${file:/run/secrets/x}@h/d":    false,
		"postgres://${U}:${PW}@h/d":                  false,
		"postgres://u@h/d":                           false,
		"postgres://u:@h/d":                          false,
		"postgres://h:5432/d":                        false,
		"postgres://u@h:5432/d?application_name=a@b": false,
		"postgres://h/d?user=u&password=hunter2":     true,
		"postgres://h/d?user=u&password=${PW}":       false,
		"postgres://h/d?user=u&p%61ssword=hunter2":   true,
		"postgres://h/d?sslpassword=x":               true,
		"postgres://h/d?sslmode=require&passfile=/x": false,
		"mysql://u:hunter2@h/d":                      true,
		"u:hunter2@tcp(h:3306)/d":                    true,
		"u:hunter2@/d":                               true,
		"u:hunter2@unix(/run/x)/d":                   true,
		"u:${PW}@tcp(h:3306)/d":                      false,
		"u@tcp(h:3306)/d":                            false,
		"host=h user=u password=hunter2 dbname=d":    true,
		"host=h password = 'a b'":                    true,
		"host=h PASSWORD=hunter2":                    true,
		"host=h password=${PW}":                      false,
		"host=h password='${PW}'":                    false,
		"host=h password=":                           false,
		"host=h user=u":                              false,
		"s3://bucket?region=x":                       false,
		"s3://bucket?secret_access_key=x":            true,
		"az://c?sas_token=x":                         true,
		"az://c?sv=1&sig=x":                          true,
		"s3://bucket/design=1?config=2":              false,
		"s3://b?endpoint=http://u:hunter2@h":         true,
		"s3://b?a=1&endpoint=http%3A%2F%2Fu%3Ax%40h": true,
		"s3://b?endpoint=http%3A%2F%2Fu:${PW}%40h":   false,
		"s3://b?endpoint=http://h:9000&region=x":     false,
		"pg_dump --password=hunter2 x":               true,
		"PGPASSWORD=hunter2 pg_dump":                 true,
		"PGPASSWORD=${PW} pg_dump":                   false,
		"${MAIN_URL}":                                false,
		"${file:/run/u:p@h}":                         false,
		"":                                           false,
		"/var/lib/foo":                               false,
		"media":                                      false,
	} {
		if got := tasks.HasLiteralSecret(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestRedactSource(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"postgres://u@h:5432/db?sslmode=disable":          "postgres://u@h:5432/db?sslmode=disable",
		"postgres://u:word@h:5432/db?sslmode=disable":     "postgres://u:${redacted}@h:5432/db?sslmode=disable",
		"postgres://u:w@rd@h/db":                          "postgres://u:${redacted}@h/db",
		"postgres://u:w/rd@h/db":                          "${redacted}",
		"postgres://u:a@b/c@h/db":                         "${redacted}",
		"postgres://u@h/db?password=word&sslmode=disable": "postgres://u@h/db?password=${redacted}&sslmode=disable",
		"postgres://u:${PW}@h/db?password=word":           "postgres://u:${redacted}@h/db?password=${redacted}",
		"host=h password='a b' dbname=db":                 "host=h password=${redacted} dbname=db",
		"host=h password=${PW} dbname=db":                 "host=h password=${PW} dbname=db",
		"u:word@tcp(h:3306)/db":                           "u:${redacted}@tcp(h:3306)/db",
		"s3://bucket?endpoint=http%3A%2F%2Fu%3Aword%40h":  "${redacted}",
		"redis-cli -u redis://u:word@h --token=x":         "redis-cli -u redis://u:${redacted}@h --token=${redacted}",
		"/var/lib/site.db":                                "/var/lib/site.db",
	} {
		if got := tasks.RedactSource(text); got != want {
			t.Errorf("%s is shown as %s, want %s", text, got, want)
		}
	}
}
