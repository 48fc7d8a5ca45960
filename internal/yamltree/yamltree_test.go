package yamltree_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/internal/yamltree"
)

func limit() yamltree.Limit { return yamltree.Limit{Noun: "a test", Size: 1000} }

func TestRead(t *testing.T) {
	t.Parallel()
	var found yamltree.Problems
	v := yamltree.Read([]byte("a: 10.50\nb: [0x10, 9007199254740993, null, yes, true]\nc: &x {k: 'v'}\nd: *x\n"), limit(), &found)
	if err := found.Err("f"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range v.Entries {
		plain, err := json.Marshal(e.Value.Plain())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d:%d %s: %s %q %s", e.Value.At.Line, e.Value.At.Column, e.Key, e.Value.Kind, e.Value.Text, plain))
	}
	want := []string{
		`1:4 a: a number "10.50" 10.5`, `2:4 b: a list "" [16,9007199254740993,null,"yes",true]`, `3:7 c: a mapping "" {"k":"v"}`, `3:7 d: a mapping "" {"k":"v"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a: 1\na: 2":                        `f:2:1: key "a" is given twice, first at 1:1`,
		"a: !!str x":                        "f:1:4: tags have no meaning in a test; leave it out",
		"a: {b":                             "f:1:",
		"a: \x00":                           "f:1:4: the file is not text in UTF-8",
		"a: 1\n---\n b":                     "f:3:2: a second document begins here",
		"a: *b":                             "f:1:4: alias of an anchor that is not defined above",
		strings.Repeat("#", limit().Size+1): "f: the file has 1001 bytes; a test has at most 1000",
	} {
		var found yamltree.Problems
		yamltree.Read([]byte(text), limit(), &found)
		if err := found.Err("f"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", text, err, want)
		}
	}
}

// FuzzRead: no text makes it panic, and where it says nothing there is a value.
func FuzzRead(f *testing.F) {
	f.Add("a: 1\nb: [x, {c: d}]\n# - e\n")
	f.Add("a: &b [*b]\n<<: {c: d}")
	f.Fuzz(func(t *testing.T, text string) {
		var found yamltree.Problems
		v := yamltree.Read([]byte(text), limit(), &found)
		err := found.Err("f")
		var all *yamltree.Error
		switch {
		case err != nil && (!errors.As(err, &all) || len(all.Problems) == 0):
			t.Fatalf("%q: %v", text, err)
		case err == nil && v == nil:
			t.Fatalf("%q: neither a value nor an error", text)
		}
	})
}
