package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"salvor/drivers"
)

// options are a node's own keys.
type options struct {
	Dump, Restore []string
	Env           map[string]string
	Dir           string
	Idempotent    bool
	Ext           string
	StderrLines   int
}

const (
	defaultLines = 10
	mostLines    = 100
)

// parseOptions reads and checks the keys of a node.
func parseOptions(text json.RawMessage) (options, error) {
	o := options{Ext: "bin", StderrLines: defaultLines}
	if len(text) == 0 {
		return o, nil
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(text, &keys); err != nil {
		return o, fmt.Errorf("options are not an object: %w: %w", drivers.ErrInvalid, err)
	}
	const words = "a list of texts, the program and its arguments; put numbers in quotes"
	for _, key := range []struct {
		name, kind string
		into       any
		check      func() error
	}{
		{"dump", words, &o.Dump, func() error { return checkArgv(o.Dump) }},
		{"restore", words, &o.Restore, func() error { return checkArgv(o.Restore) }},
		{"env", "a mapping of names to texts; put numbers in quotes", &o.Env, func() error { return checkEnv(o.Env) }},
		{"dir", "a text", &o.Dir, func() error { return checkDir(o.Dir) }},
		{"idempotent", "true or false", &o.Idempotent, nil},
		{"ext", "a text", &o.Ext, func() error { return checkExt(o.Ext) }},
		{"stderr_lines", "a number", &o.StderrLines, func() error { return checkLines(o.StderrLines) }},
	} {
		value, ok := keys[key.name]
		if !ok {
			continue
		}
		if json.Unmarshal(value, key.into) != nil || string(value) == "null" {
			return o, fmt.Errorf("%s: it must be %s: %w", key.name, key.kind, drivers.ErrInvalid)
		}
		if key.check == nil {
			continue
		}
		if err := key.check(); err != nil {
			return o, fmt.Errorf("%s: %w: %w", key.name, drivers.ErrInvalid, err)
		}
	}
	return o, nil
}

func checkArgv(argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return errors.New("it names no program")
	}
	for i, word := range argv {
		if strings.ContainsRune(word, 0) {
			return fmt.Errorf("word %d holds a NUL character", i+1)
		}
	}
	return nil
}

func checkEnv(env map[string]string) error {
	for name, value := range env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("%q is not a variable's name", name)
		}
		if strings.ContainsRune(value, 0) {
			return fmt.Errorf("the value of %s holds a NUL character", name)
		}
	}
	return nil
}

func checkDir(dir string) error {
	if !filepath.IsAbs(dir) && !strings.HasPrefix(dir, "${") || strings.ContainsRune(dir, 0) {
		return errors.New("it must be an absolute path")
	}
	return nil
}

func checkExt(ext string) error {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_'
	}
	if ext == "" || len(ext) > 16 || ext[0] == '.' || strings.ContainsFunc(ext, func(r rune) bool { return !plain(r) }) {
		return errors.New("it must be 1 to 16 letters, digits, dots, - and _, and not begin with a dot")
	}
	return nil
}

func checkLines(n int) error {
	if n < 1 || n > mostLines {
		return fmt.Errorf("it must be from 1 to %d", mostLines)
	}
	return nil
}
