package command

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"redis-cli --rdb -":                     {"redis-cli", "--rdb", "-"},
		"  a\tb\nc \r\n":                        {"a", "b", "c"},
		"a '' \"\" b":                           {"a", "", "", "b"},
		"sh -c 'pg_dump x | gzip > \"y\"'":      {"sh", "-c", "pg_dump x | gzip > \"y\""},
		`a "b c"'d e'f\ g`:                      {"a", "b cd ef g"},
		`a "q\"\\\$\` + "`" + `\n" 'b\n' \n`:    {"a", `q"\$` + "`" + `\n`, `b\n`, "n"},
		"a \"two\nlines\" 'two\nlines'":         {"a", "two\nlines", "two\nlines"},
		"a b\\\nc \"d\\\ne\"":                   {"a", "bc", "de"},
		`a $HOME ~ * ? [x] # {1,2} (b) ! a=b`:   {"a", "$HOME", "~", "*", "?", "[x]", "#", "{1,2}", "(b)", "!", "a=b"},
		`a \| \; "&" '<' \>`:                    {"a", "|", ";", "&", "<", ">"},
		"Ünï 'ödd ñame'":                        {"Ünï", "ödd ñame"},
		`"/opt/my program/bin" --flag='x y'`:    {"/opt/my program/bin", "--flag=x y"},
		"mysqldump --result-file=/dev/stdout x": {"mysqldump", "--result-file=/dev/stdout", "x"},
	} {
		got, err := splitWords(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("splitWords(%q): %v\n%s", text, err, diff)
		}
	}
	for text, want := range map[string]string{
		"":             "it names no program",
		" \n":          "it names no program",
		"'' a":         "it names no program",
		"a 'hunter2":   "character 3: a single quote is not closed",
		`a "hunter2\"`: "character 3: a double quote is not closed",
		`a b\`:         "character 4: nothing follows a backslash",
		"a\x00b":       "it holds a NUL character",
		"a | b":        "character 3: a | that is not quoted needs a shell",
		"a&":           "character 2: a & that is not quoted needs a shell",
		"a;b":          "character 2: a ; that is not quoted needs a shell",
		"a <b":         "character 3: a < that is not quoted needs a shell",
		"a 2>b":        "character 4: a > that is not quoted needs a shell",
	} {
		if got, err := splitWords(text); err == nil || err.Error() != want {
			t.Errorf("splitWords(%q) = %q, %v, want %s", text, got, err, want)
		}
	}
}

// FuzzSplitWords: what is quoted comes back, and nothing makes it panic.
func FuzzSplitWords(f *testing.F) {
	for _, text := range []string{"a b", `a 'b c' "d\"e" \f`, "'", `"\`, "a\n\tb"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words, err := splitWords(text)
		if err != nil {
			return
		}
		quoted := make([]string, len(words))
		for i, word := range words {
			quoted[i] = quote(word)
		}
		again, err := splitWords(strings.Join(quoted, " "))
		if diff := cmp.Diff(words, again); err != nil || diff != "" {
			t.Errorf("%q gives %q, which quoted gives %q (%v)", text, words, again, err)
		}
	})
}
