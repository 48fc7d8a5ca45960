package exclude

import (
	"errors"
	"regexp"
	"strings"
	"testing"

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
		list, err := Parse([]string{"nothing-else", test.pattern})
		if err != nil {
			t.Errorf("%q: %v", test.pattern, err)
			continue
		}
		check := func(paths string, want bool) {
			for path := range strings.FieldsSeq(paths) {
				plain, dir := strings.CutSuffix(path, "/")
				if got := list.Match(plain, dir); got != want {
					t.Errorf("%q matches %q: %v, want %v", test.pattern, path, got, want)
				}
			}
		}
		check(test.match, true)
		check(test.matchNot, false)
		if list.Match("", true) {
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
		_, err := Parse([]string{"fine", pattern})
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
		list, err := Parse([]string{pattern})
		if err != nil {
			t.Fatal(err)
		}
		want := regexp.MustCompile("^" + b.String() + "$").MatchString(path)
		if got := list.Match(path, false); got != want {
			t.Fatalf("%q matches %q: %v, want %v (%s)", pattern, path, got, want, b.String())
		}
	})
}

func FuzzExclude(f *testing.F) {
	for _, pattern := range []string{"*.log", "a/**/b", "[!a-z]?", `\[`, "[]", "!x", "**", "*a*b*c*d*e", "[a-\xff]"} {
		f.Add(pattern, "a/b/c.log")
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		list, err := Parse([]string{pattern})
		if err != nil {
			if !errors.Is(err, drivers.ErrInvalid) {
				t.Errorf("%q: error of another class: %v", pattern, err)
			}
			return
		}
		if list.Match(path, true) != list.Match(path, false) && !strings.HasSuffix(pattern, "/") {
			t.Errorf("%q tells directories from files", pattern)
		}
		// A pattern without special characters matches itself.
		if plain := strings.Trim(pattern, "/"); !strings.ContainsAny(pattern, `*?[\`) && !list.Match(plain, true) {
			t.Errorf("%q does not match %q", pattern, plain)
		}
	})
}

// TestMatchKey: an object is left out by any directory that its key names.
func TestMatchKey(t *testing.T) {
	t.Parallel()
	list, err := Parse([]string{"*.log", "cache/", "tmp/**", "/top"})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{
		"a": false, "a.log": true, "x/a.log": true, "a.log/b": true, "cache": false, "cache/": true, "cache/x": true,
		"x/cache/y/z": true, "tmp": false, "tmp/": false, "tmp/x": true, "tmp/x/y": true, "top": true, "top/x": true, "x/top": false,
		"": false, "/": false, "a//b": false, "//cache/x": true, "../a.log": true,
	} {
		if got := list.MatchKey(key); got != want {
			t.Errorf("%q is left out: %v, want %v", key, got, want)
		}
	}
	if List(nil).MatchKey("x") {
		t.Error("no patterns leave something out")
	}
}
