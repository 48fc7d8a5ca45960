package filesystem

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"salvor/drivers"
)

func TestExcludeMatch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern  string
		match    string // paths, "/" at the end for directories, separated by spaces
		matchNot string
	}{
		{"*.log", "a.log x/y/b.log .log", "a.logx log a.log/b"},
		{"tmp", "tmp tmp/ a/tmp a/tmp/", "tmpx a/tmp/b xtmp"},
		{"tmp/", "tmp/ a/b/tmp/", "tmp a/tmp"},
		{"/tmp", "tmp tmp/", "a/tmp tmp/x"},
		{"/tmp/", "tmp/", "tmp a/tmp/"},
		{"tmp/**", "tmp/a tmp/a/b tmp/a/", "tmp tmp/ a/tmp/b"},
		{"a/b", "a/b a/b/", "x/a/b a/b/c b"},
		{"**/b", "b a/b a/x/b", "a/bc b/c"},
		{"**/b/c", "b/c a/b/c", "b a/c"},
		{"a/**/b", "a/b a/x/b a/x/y/b a/b/b", "a b x/a/b a/bb"},
		{"a/**/b/**/c", "a/b/c a/x/b/y/z/c a/b/b/c/c", "a/c/b a/b a/c"},
		{"**/", "a/ a/b/", "a"},
		{"/**", "a a/b", ""},
		{"a/*", "a/b a/b/", "a a/b/c"},
		{"a*c", "ac abc aXXc x/abc", "a/c abcd"},
		{"a**c", "ac abc", "a/c"},
		{"a?c", "abc aéc a\xffc", "ac abbc a/c"},
		{"[abc]x", "ax bx", "dx x abx"},
		{"[!abc]x", "dx éx", "ax x"},
		{"[^a-c]x", "dx -x", "bx"},
		{"[a-]x", "ax -x", "bx"},
		{"[]]x", "]x", "x"},
		{"[!]]x", "ax", "]x"},
		{`[\]a]x`, "]x ax", `\x`},
		{"[à-é]", "é à", "e a"},
		{`\*x`, "*x", "ax"},
		{`\!x`, "!x", "x"},
		{`a\\b`, `a\b`, "ab"},
		{"*a*b*c*", "abc xaxbxcx", "acb ab"},
		{"*é", "é xé", "e"},
		{"#x", "#x", "x"},
	} {
		list, err := parseExcludes([]string{"nothing-else", test.pattern})
		if err != nil {
			t.Errorf("%q: %v", test.pattern, err)
			continue
		}
		check := func(paths string, want bool) {
			for path := range strings.FieldsSeq(paths) {
				plain, dir := strings.CutSuffix(path, "/")
				if got := list.match(plain, dir); got != want {
					t.Errorf("%q matches %q: %v, want %v", test.pattern, path, got, want)
				}
			}
		}
		check(test.match, true)
		check(test.matchNot, false)
		if list.match("", true) {
			t.Errorf("%q matches the root", test.pattern)
		}
	}
}

func TestExcludeRefused(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"":        `pattern "": empty: not valid`,
		"/":       `pattern "/": empty: not valid`,
		"!keep":   `pattern "!keep": including again ("!") is not supported; write "\!" for a name that begins so: not valid`,
		"a//b":    `pattern "a//b": empty name between slashes: not valid`,
		"//a":     `pattern "//a": empty name between slashes: not valid`,
		"./a":     `pattern "./a": "." and ".." never match: not valid`,
		"a/../b":  `pattern "a/../b": "." and ".." never match: not valid`,
		"[ab":     `pattern "[ab": "[" without "]": not valid`,
		"[]":      `pattern "[]": "[" without "]": not valid`,
		`a\`:      `pattern "a\\": nothing after the backslash: not valid`,
		"a\x00b":  `pattern "a\x00b": NUL in pattern: not valid`,
		`x/[a\]/`: `pattern "x/[a\\]/": "[" without "]": not valid`,
	} {
		_, err := parseExcludes([]string{"fine", pattern})
		if err == nil || err.Error() != want || !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("%q: got error %v, want %s", pattern, err, want)
		}
	}
}

// TestExcludeModel compares with the same patterns as regular expressions.
func TestExcludeModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringOfN(rapid.RuneFrom([]rune("ab*?")), 1, 4, -1)
		names := rapid.SliceOfN(rapid.OneOf(name, rapid.Just("**")), 1, 5).Draw(t, "pattern")
		pattern := "/" + strings.Join(names, "/")
		path := strings.Join(rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 1, 4, -1), 1, 6).Draw(t, "path"), "/")
		var b strings.Builder
		for i, n := range names {
			last := i == len(names)-1
			switch {
			case n == "**" && last:
				b.WriteString(`[^/]+(/[^/]+)*`)
			case n == "**":
				b.WriteString(`([^/]+/)*`)
			default:
				b.WriteString(strings.NewReplacer("*", "[^/]*", "?", "[^/]").Replace(n))
				if !last {
					b.WriteString("/")
				}
			}
		}
		list, err := parseExcludes([]string{pattern})
		if err != nil {
			t.Fatal(err)
		}
		want := regexp.MustCompile("^" + b.String() + "$").MatchString(path)
		if got := list.match(path, false); got != want {
			t.Fatalf("%q matches %q: %v, want %v (%s)", pattern, path, got, want, b.String())
		}
	})
}

func FuzzExclude(f *testing.F) {
	for _, pattern := range []string{"*.log", "a/**/b", "[!a-z]?", `\[`, "[]", "!x", "**", "*a*b*c*d*e", "[a-\xff]"} {
		f.Add(pattern, "a/b/c.log")
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		list, err := parseExcludes([]string{pattern})
		if err != nil {
			if !errors.Is(err, drivers.ErrInvalid) {
				t.Errorf("%q: error of another class: %v", pattern, err)
			}
			return
		}
		if list.match(path, true) != list.match(path, false) && !strings.HasSuffix(pattern, "/") {
			t.Errorf("%q tells directories from files", pattern)
		}
		// A pattern without special characters matches itself.
		if plain := strings.Trim(pattern, "/"); !strings.ContainsAny(pattern, `*?[\`) && !list.match(plain, true) {
			t.Errorf("%q does not match %q", pattern, plain)
		}
	})
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]string{
		``:   "",
		`{}`: "",
		`{"exclude":["a"],"one_file_system":true,"cachedir_tag":false}`: "",
		`{"exclude":[]}`:           "",
		`[]`:                       "options: not a mapping of keys: not valid",
		`{"exclude":"a"}`:          "exclude: must be a list of patterns: not valid",
		`{"exclude":null}`:         "exclude: must be a list of patterns: not valid",
		`{"exclude":[1]}`:          "exclude: must be a list of patterns: not valid",
		`{"exclude":["!a"]}`:       `exclude: pattern "!a": including again ("!") is not supported; write "\!" for a name that begins so: not valid`,
		`{"one_file_system":"x"}`:  "one_file_system: must be true or false: not valid",
		`{"one_file_system":null}`: "one_file_system: must be true or false: not valid",
		`{"cachedir_tag":1}`:       "cachedir_tag: must be true or false: not valid",
		`{"excludes":["a"]}`:       "excludes: unknown option (have cachedir_tag, exclude, one_file_system): not valid",
	} {
		got := ""
		if err := Kind().Check([]byte(options)); err != nil {
			got = err.Error()
			if !errors.Is(err, drivers.ErrInvalid) {
				t.Errorf("%s: error of another class: %v", options, err)
			}
		}
		if got != want {
			t.Errorf("%s: got error %q, want %q", options, got, want)
		}
	}
}

func TestWalkExcludes(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	for _, path := range []string{"keep", "a.log", "sub/b.log", "sub/keep", "tmp/x", "tmp/y/z", "cache/deep/x", "sub/cache/x", "file/cache"} {
		write(t, filepath.Join(place, path), "x")
	}
	// Nothing may look into an excluded directory: this one would be an error.
	must(t, os.Mkdir(filepath.Join(place, "cache", "deep", "secret"), 0))
	tree := open(t, place, map[string]any{"exclude": []string{"*.log", "tmp/**", "cache/"}})
	want := []string{"", "file", "file/cache", "keep", "sub", "sub/keep", "tmp"}
	for _, r := range []drivers.Range{{}, {From: "", To: "zzz"}} {
		var got []string
		must(t, tree.Walk(t.Context(), r, func(e drivers.Entry) error {
			got = append(got, e.Path)
			return e.Err
		}))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("paths (-want +got):\n%s", diff)
		}
	}
	must(t, tree.Walk(t.Context(), drivers.Range{From: "cache/deep", To: "file"}, func(e drivers.Entry) error {
		t.Errorf("%q is below an excluded directory", e.Path)
		return nil
	}))
}

func TestCachedirTag(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	tag := "Signature: 8a477f597d28d172789f06886806bc55\n# by a test\n"
	for path, text := range map[string]string{
		"CACHEDIR.TAG": tag, "top": "x",
		"cache/CACHEDIR.TAG": tag, "cache/x": "x", "cache/deep/y": "y",
		"invalid/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc5", "invalid/x": "x",
		"dir/CACHEDIR.TAG/x": "x",
	} {
		write(t, filepath.Join(place, path), text)
	}
	all := []string{
		"", "CACHEDIR.TAG", "cache", "cache/CACHEDIR.TAG", "cache/deep", "cache/deep/y", "cache/x",
		"dir", "dir/CACHEDIR.TAG", "dir/CACHEDIR.TAG/x", "invalid", "invalid/CACHEDIR.TAG", "invalid/x", "top",
	}
	kept := slices.DeleteFunc(slices.Clone(all), func(path string) bool {
		return strings.HasPrefix(path, "cache/") && path != "cache/CACHEDIR.TAG"
	})
	for _, test := range []struct {
		options map[string]any
		want    []string
	}{{nil, kept}, {map[string]any{"cachedir_tag": true}, kept}, {map[string]any{"cachedir_tag": false}, all}} {
		tree := open(t, place, test.options)
		var got []string
		must(t, tree.Walk(t.Context(), drivers.Range{}, func(e drivers.Entry) error {
			got = append(got, e.Path)
			return e.Err
		}))
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("options %v: paths (-want +got):\n%s", test.options, diff)
		}
	}
	must(t, open(t, place, nil).Walk(t.Context(), drivers.Range{From: "cache/x", To: "cache/x\x00"}, func(e drivers.Entry) error {
		t.Errorf("%q is in a cache", e.Path)
		return nil
	}))
}
