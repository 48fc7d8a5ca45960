// Package exclude matches paths against the patterns of what a walk leaves out. The tree drivers use it; it knows paths and
// nothing of what they name.
//
// An excluded directory is not entered, so everything below it is left out too.
//
// # Patterns
//
// A pattern is a path relative to the root, in the manner of gitignore(5):
//
//   - Without a slash (one at the end aside) it matches a name at any depth: "*.log". With one it begins at the root:
//     "var/cache", "/tmp".
//   - A slash at the end matches directories only.
//   - "*" stands for any bytes but "/", "?" for one character, "[a-z]" and "[!a-z]" for one of a class; a backslash takes
//     the next character as it is.
//   - "**" as a whole name stands for any number of directories: "**/cache", "a/**/b". At the end it matches all that is
//     inside: "tmp/**" leaves the directory tmp, empty.
//
// Patterns that include again ("!") are refused: what they promise cannot be kept below an excluded directory.
package exclude

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"salvor/drivers"
)

// List is the patterns of one node. The zero of it leaves nothing out.
type List []pattern

// pattern is one pattern.
type pattern struct {
	names    []string // the pattern's names; "**" stands for itself
	anchored bool
	dirOnly  bool
}

// Parse compiles patterns; the error names the one that is wrong.
func Parse(patterns []string) (List, error) {
	list := make(List, 0, len(patterns))
	for _, text := range patterns {
		e, err := parse(text)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

func parse(text string) (pattern, error) {
	bad := func(why string) (pattern, error) {
		return pattern{}, fmt.Errorf("pattern %q: %s: %w", text, why, drivers.ErrInvalid)
	}
	if strings.HasPrefix(text, "!") {
		return bad(`including again ("!") is not supported; write "\!" for a name that begins so`)
	}
	var e pattern
	rest := text
	if body, ok := strings.CutSuffix(rest, "/"); ok {
		rest, e.dirOnly = body, true
	}
	if body, ok := strings.CutPrefix(rest, "/"); ok {
		rest, e.anchored = body, true
	}
	if rest == "" {
		return bad("empty")
	}
	e.names = strings.Split(rest, "/")
	if len(e.names) > 1 {
		e.anchored = true
	}
	for _, name := range e.names {
		switch name {
		case "":
			return bad("empty name between slashes")
		case ".", "..":
			return bad(`"." and ".." never match`)
		}
		if why := checkGlob(name); why != "" {
			return bad(why)
		}
	}
	return e, nil
}

// Match tells whether the entry at path is left out by itself; that a directory above it is left out must be asked for that.
// The root never is.
func (l List) Match(path string, dir bool) bool {
	if path == "" {
		return false
	}
	for i := range l {
		if l[i].match(path, dir) {
			return true
		}
	}
	return false
}

// MatchKey tells whether an object of a store without directories is left out: by its own key, or by what its key says that
// it lies in. A slash at the end makes it a directory (the marker of a folder).
func (l List) MatchKey(key string) bool {
	if len(l) == 0 {
		return false
	}
	for i := range len(key) {
		if key[i] == '/' && l.Match(key[:i], true) {
			return true
		}
	}
	return !strings.HasSuffix(key, "/") && l.Match(key, false)
}

func (e *pattern) match(path string, dir bool) bool {
	if e.dirOnly && !dir {
		return false
	}
	if !e.anchored {
		return matchGlob(e.names[0], path[strings.LastIndexByte(path, '/')+1:])
	}
	// Only the last "**" is ever tried again: whatever an earlier one could take more, the later one can take too. So the
	// time is bounded by the product of the lengths.
	p, rest := 0, path
	starP, starRest, starred := 0, "", false
	for {
		switch {
		case p < len(e.names) && e.names[p] == "**" && p == len(e.names)-1:
			if rest != "" { // what is inside, not the directory itself
				return true
			}
		case p < len(e.names) && e.names[p] == "**":
			p++
			starP, starRest, starred = p, rest, true
			continue
		case p == len(e.names) && rest == "":
			return true
		case p < len(e.names) && rest != "":
			name, after, _ := strings.Cut(rest, "/")
			if matchGlob(e.names[p], name) {
				p, rest = p+1, after
				continue
			}
		}
		if !starred || starRest == "" {
			return false
		}
		_, starRest, _ = strings.Cut(starRest, "/")
		p, rest = starP, starRest
	}
}

// checkGlob returns what is wrong with a name's pattern; "" if nothing.
func checkGlob(glob string) string {
	if strings.IndexByte(glob, 0) >= 0 {
		return "NUL in pattern"
	}
	for i := 0; i < len(glob); i++ {
		switch glob[i] {
		case '\\':
			if i++; i == len(glob) {
				return "nothing after the backslash"
			}
		case '[':
			end := classEnd(glob[i:])
			if end < 0 {
				return `"[" without "]"`
			}
			i += end - 1
		}
	}
	return ""
}

// matchGlob matches one name. The pattern was checked.
func matchGlob(glob, name string) bool {
	g, n := 0, 0
	starG, starN := -1, 0
	for {
		if g < len(glob) && glob[g] == '*' {
			g++
			starG, starN = g, n
			continue
		}
		if n == len(name) && g == len(glob) {
			return true
		}
		if n < len(name) && g < len(glob) {
			if dg, dn, ok := matchOne(glob[g:], name[n:]); ok {
				g, n = g+dg, n+dn
				continue
			}
		}
		if starG < 0 || starN >= len(name) {
			return false
		}
		_, width := utf8.DecodeRuneInString(name[starN:])
		starN += width
		g, n = starG, starN
	}
}

// matchOne matches one element of a pattern that is not "*" against the first character, and returns the lengths of both.
func matchOne(glob, name string) (dg, dn int, ok bool) {
	switch glob[0] {
	case '?':
		_, dn = utf8.DecodeRuneInString(name)
		return 1, dn, true
	case '[':
		end := classEnd(glob)
		r, dn := utf8.DecodeRuneInString(name)
		if r == utf8.RuneError && dn == 1 {
			r = invalidByte + rune(name[0])
		}
		return end, dn, inClass(glob[1:end-1], r)
	case '\\':
		return 2, 1, glob[1] == name[0]
	default:
		return 1, 1, glob[0] == name[0]
	}
}

// invalidByte keeps bytes that are not UTF-8 apart from the characters of the same number.
const invalidByte = utf8.MaxRune + 1

// classEnd returns the length of the class that glob begins with; -1 if it is not closed. "]" as the first member is a
// member.
func classEnd(glob string) int {
	i := 1
	if i < len(glob) && (glob[i] == '!' || glob[i] == '^') {
		i++
	}
	for first := true; i < len(glob); first = false {
		switch {
		case glob[i] == ']' && !first:
			return i + 1
		case glob[i] == '\\':
			i += 2
		default:
			i++
		}
	}
	return -1
}

// inClass tells whether r is in a class, given without its brackets.
func inClass(class string, r rune) bool {
	negated := false
	if class[0] == '!' || class[0] == '^' {
		class, negated = class[1:], true
	}
	found := false
	for class != "" {
		var low, high rune
		low, class = classRune(class)
		high = low
		if len(class) > 1 && class[0] == '-' {
			high, class = classRune(class[1:])
		}
		if low <= r && r <= high {
			found = true
		}
	}
	return found != negated
}

// classRune cuts the first character off a class.
func classRune(class string) (rune, string) {
	if class[0] == '\\' && len(class) > 1 {
		class = class[1:]
	}
	r, size := utf8.DecodeRuneInString(class)
	if r == utf8.RuneError && size == 1 {
		r = invalidByte + rune(class[0])
	}
	return r, class[size:]
}
