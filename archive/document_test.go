package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestDocumentIsTwoLines(t *testing.T) {
	t.Parallel()
	data := must(encodeDocument(map[string]any{"type": "plan", "format": 1, "plan": "<&>\n"}))(t)
	lines := strings.Split(string(data), "\n")
	if len(lines) != 3 || lines[2] != "" || lines[1] != sha([]byte(lines[0]+"\n")) {
		t.Errorf("document is %q", data)
	}
	if !strings.Contains(lines[0], `<&>\n`) {
		t.Errorf("document is not for people: %s", lines[0])
	}
}

func TestDocumentRefuses(t *testing.T) {
	t.Parallel()
	seal := func(line string) []byte { return []byte(line + "\n" + sha([]byte(line+"\n")) + "\n") }
	good := seal(`{"type":"plan","format":1}`)
	var v map[string]any
	if err := decodeDocument("k", typePlan, good, &v); err != nil {
		t.Fatal(err)
	}
	for what, data := range map[string][]byte{
		"empty":        nil,
		"one line":     []byte("{}\n"),
		"no newline":   good[:len(good)-1],
		"another end":  append(bytes.Clone(good[:len(good)-1]), 'x'),
		"more":         append(bytes.Clone(good), '\n'),
		"wrong hash":   bytes.Replace(good, []byte("1}"), []byte("1 }"), 1),
		"upper case":   bytes.ToUpper(good),
		"another type": seal(`{"type":"node","format":1}`),
		"no format":    seal(`{"type":"plan"}`),
		"negative":     seal(`{"type":"plan","format":-1}`),
		"no object":    seal(`[]`),
		"no JSON":      seal(`{`),
		"two values":   seal(`{"type":"plan","format":1} {}`),
	} {
		if err := decodeDocument("some/key", typePlan, data, &v); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "some/key") {
			t.Errorf("%s: error is %v", what, err)
		}
	}
	err := decodeDocument("some/key", typePlan, seal(`{"type":"elsewhat","format":2}`), &v)
	wantError(t, err, ErrNewerFormat)
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"type":"node","format":1,"set":"site","dump":"20261122-043000-7f3a","path":"a","shape":"tree","segments":[{"key":"x"}]}`))
	f.Add([]byte(`{"type":"manifest","format":1,"set":"site","dump":"20261122-043000-7f3a","nodes":[{"path":"a"}]}`))
	f.Add([]byte(`{"type":"run","format":1,"run":"x","problems":[{"path_b64":"/w=="}]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		line = append(bytes.ReplaceAll(line, []byte("\n"), nil), '\n')
		data := append(bytes.Clone(line), sha(line)+"\n"...)
		for typ, v := range map[string]any{
			typeNode: &nodeDocument{}, typeManifest: &manifestDocument{}, typeRun: &runDocument{}, typeOpen: &openDocument{}, typePlan: &planDocument{},
		} {
			err := decodeDocument("k", typ, data, v)
			if err != nil {
				if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewerFormat) {
					t.Errorf("error is %v", err)
				}
				continue
			}
			switch v := v.(type) {
			case *nodeDocument:
				_ = v.check()
			case *manifestDocument:
				_ = v.check()
			}
			if _, err := json.Marshal(v); err != nil {
				t.Errorf("accepted document cannot be written: %v", err)
			}
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add("a/b", "..")
	f.Add("../x", "\xff")
	f.Fuzz(func(t *testing.T, node, part string) {
		name := PartName{Node: node, Name: part, Token: "t"}
		if name.check() != nil {
			return
		}
		for _, key := range []string{partKey(testRef, name), nodeKey(testRef, node)} {
			if !validKey(key) && len(key) <= maxKey {
				t.Errorf("%q, %q make key %q", node, part, key)
			}
			if !strings.HasPrefix(key, testRef.dir()) {
				t.Errorf("key %q leaves its dump", key)
			}
		}
	})
}
